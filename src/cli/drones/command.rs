//! Command to one agent and its answer, common to set-context and clear-context.

use omnirelay_core::text::hex;

use super::KIND;
use super::find::find;
use super::fleet::{DronesRelayArgs, QueriedRelays};
use crate::frame::global::token;
use crate::frame::prelude::*;

/// How a command is given.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Change options")]
pub(super) struct DronesCommandArgs {
    /// Id of the command; with the same one it can be repeated safely [default: a fresh one]
    #[arg(long, value_name = "ID", value_parser = token)]
    pub command_id: Option<String>,

    /// Confirm without being asked; only a protected context asks
    #[arg(short, long)]
    pub yes: bool,
}

/// A command to the agent of a drone.
pub(super) struct AgentCommand<'a> {
    pub rpc: &'a RpcMethod,
    pub args: &'a DronesCommandArgs,
    pub relays: &'a DronesRelayArgs,
    /// What is asked before it is given in a protected context: `Set the context of`.
    pub question: &'static str,
    /// `has its context set`, as in "drone/a has its context set".
    pub done: &'static str,
    /// The fields of the command, its id apart.
    pub fields: Value,
}

impl AgentCommand<'_> {
    /// Gives the command to the relay that holds the drone, and tells what the agent answers.
    ///
    /// # Errors
    /// Not found, when nobody holds it; the relay's refusal; unavailable, when the agent cannot do it now.
    pub(super) async fn run(&self, session: &mut CommandSession, id: &str) -> Result<Exit, CliError> {
        let id = ids::expand(&[id.to_owned()], KIND)?.concat();
        if session.target()?.protected {
            let write = WriteArgs::confirmed(self.args.yes);
            write.confirm(session, &format!("{} {KIND}/{}?", self.question, printable(&id)))?;
        }
        let command_id = self.args.command_id.clone().map_or_else(fresh_id, Ok)?;
        let fleet = QueriedRelays::of(self.relays, session).await?;
        let site = match fleet.sites.first() {
            Some(site) if fleet.named => site,
            _ => find(session, self.relays, &fleet, &id).await?.site,
        };
        session.notes().say(&format!("Target: {}, command {command_id}", site.describe()));
        let mut document = site.call(&self.call(&id, &command_id)?).await?;
        document["agentId"] = json!(id);
        document["relayId"] = json!(site.relay_id);
        self.tell(session, &id, &command_id, document)
    }

    fn call(&self, id: &str, command_id: &str) -> Result<Call, CliError> {
        let mut command = self.fields.clone();
        command["commandId"] = json!(command_id);
        let call = Call::of(self.rpc, &json!({ "agentId": id, "command": command }))?;
        let repeat_with = Some(("--command-id", command_id.to_owned()));
        Ok(Call { awaits_work: true, repeat_with, ..call })
    }

    fn tell(
        &self,
        session: &mut CommandSession,
        id: &str,
        command_id: &str,
        document: Value,
    ) -> Result<Exit, CliError> {
        let name = format!("{KIND}/{id}");
        let why = match text(&document, "result.error") {
            "" => "it does not say why".to_owned(),
            why => printable(why),
        };
        let (line, exit) = match text(&document, "result.status") {
            "applied" => (format!("{name} {}\n", self.done), Exit::Ok),
            "already_applied" => (format!("{name} unchanged: it was told so before\n"), Exit::Ok),
            "rejected" => (format!("{name} refuses: {why}\n"), Exit::Negative),
            status => {
                let message = match status {
                    "temporary_error" => format!("{name} could not do it now"),
                    _ => format!("{name} answered what nobody understands: `{}`", printable(status)),
                };
                return Err(CliError::new(reasons::AGENT_TEMPORARY_ERROR, message)
                    .cause(why)
                    .hint(format!("repeat the command with --command-id {command_id}; that is safe"))
                    .detail(json!({ "result": document["result"] })));
            }
        };
        session.show(&CommandOutput::lines(document, name, printable_line(&line)))?;
        Ok(exit)
    }
}

/// A line of which only the end may be a control character.
fn printable_line(line: &str) -> String {
    format!("{}\n", printable(line.trim_end()))
}

/// A new id in the form of a UUID.
///
/// # Errors
/// When the operating system has no random numbers.
fn fresh_id() -> Result<String, CliError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        CliError::new(reasons::RANDOM, "cannot make an id for the command").cause(format!("{error}"))
    })?;
    // Version 4 and variant 1, as RFC 9562 has it.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::env::EnvironmentVariables;
    use crate::frame::global::GlobalArgs;
    use crate::frame::settings::CommandSettings;

    #[test]
    fn ids_are_uuids_of_chance() {
        let (one, other) = (fresh_id().unwrap(), fresh_id().unwrap());
        assert_ne!(one, other);
        let lengths: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{one}");
        assert!(&one[14..15] == "4" && "89ab".contains(&one[19..20]), "{one}");
    }

    #[test]
    fn answer_of_the_agent_decides_the_exit_code() {
        const RPC: RpcMethod = super::super::set_context::SET;
        let (args, relays) = (DronesCommandArgs::default(), DronesRelayArgs::default());
        let command = AgentCommand {
            rpc: &RPC,
            args: &args,
            relays: &relays,
            question: "Set the context of",
            done: "has its context set",
            fields: json!({}),
        };
        let flags =
            GlobalArgs { quiet: true, output: Some(crate::OutputFormat::Name), ..GlobalArgs::default() };
        let mut session =
            CommandSession::new(CommandSettings::resolve(&flags, EnvironmentVariables::default()).unwrap());
        let cases = [
            ("applied", Exit::Ok),
            ("already_applied", Exit::Ok),
            ("rejected", Exit::Negative),
            ("temporary_error", Exit::Unavailable),
            ("unspecified", Exit::Unavailable),
        ];
        for (status, expected) in cases {
            let document = json!({"result": {"status": status, "error": "no"}});
            let told = command.tell(&mut session, "d", "c-1", document);
            let exit = told.unwrap_or_else(|error| {
                assert!(error.to_text().contains("--command-id c-1"), "{}", error.to_text());
                error.exit()
            });
            assert_eq!(exit, expected, "{status}");
        }
    }

    #[test]
    fn command_carries_its_id_and_can_be_repeated_with_it() {
        const RPC: RpcMethod = super::super::set_context::SET;
        let (args, relays) = (DronesCommandArgs::default(), DronesRelayArgs::default());
        let fields = json!({"context": {"flightId": "f", "intentId": "i", "intentVersion": 2}});
        let command =
            AgentCommand { rpc: &RPC, args: &args, relays: &relays, question: "", done: "", fields };
        let call = command.call("d", "c-1").unwrap();
        let body: Value = serde_json::from_str(call.body.as_deref().unwrap()).unwrap();
        assert_eq!(body["command"]["commandId"], "c-1");
        assert_eq!(body["command"]["context"]["intentVersion"], 2);
        assert_eq!(call.repeat_with, Some(("--command-id", "c-1".to_owned())));
        assert!(!call.is_read() && call.awaits_work);
    }
}
