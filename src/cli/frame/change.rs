//! A change of one object: how it is previewed, confirmed, sent and told.

use std::iter;

use omnirelay_wire::fault::Exit;
use serde_json::{Value, json};

use super::args::WriteArgs;
use super::changed;
use super::client::fresh_key;
use super::document::flag;
use super::error::CliError;
use super::output::CommandOutput;
use super::rpc::{Call, RpcMethod};
use super::session::CommandSession;

/// A change of one object.
pub(crate) struct ObjectChange<'a> {
    pub rpc: &'a RpcMethod,
    /// `KIND/ID`.
    pub name: String,
    pub write: &'a WriteArgs,
    /// What is asked before it; `None`: nothing.
    pub question: Option<String>,
    /// `paused`, as in "shard/orders/12 paused".
    pub done: &'static str,
    /// Why it stays as it is, where that is so.
    pub already: &'static str,
    /// What is said behind the head of a change that was made; `None`: what is different, a line each.
    pub became: Option<fn(&Value) -> String>,
    /// The version to be replaced, unless `--if-match` says another.
    pub version: Option<u64>,
    /// The fields of the request, the id among them; reason, version and the like apart.
    pub fields: Value,
}

impl ObjectChange<'_> {
    /// Carries the change out and prints the answer.
    ///
    /// # Errors
    /// As of [`ObjectChange::send`].
    pub(crate) async fn run(&self, session: &mut CommandSession) -> Result<Exit, CliError> {
        let document = self.send(session).await?;
        self.tell(session, document)
    }

    /// Carries the change out.
    ///
    /// # Errors
    /// The daemon's fault; usage, when the flags do not fit or nobody confirms.
    pub(crate) async fn send(&self, session: &mut CommandSession) -> Result<Value, CliError> {
        self.write.check(session, 1)?;
        if let Some(question) = self.question.as_deref().filter(|_| !self.write.is_dry_run()) {
            if !self.write.yes && !session.settings.no_input && session.notes().can_ask() {
                let plan = session.call(&self.call(&fresh_key()?, true)?).await?;
                session.notes().write(self.describe(&plan).trim_end());
            }
            self.write.confirm(session, question)?;
        }
        session.announce_target()?;
        session.call(&self.call(&self.write.key()?, self.write.is_dry_run())?).await
    }

    /// Prints what became of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn tell(&self, session: &mut CommandSession, document: Value) -> Result<Exit, CliError> {
        let changed = flag(&document, "changed");
        let lines = self.describe(&document);
        session.show(&CommandOutput::lines(document, self.name.clone(), lines))?;
        Ok(if changed && self.write.exit_code { Exit::Negative } else { Exit::Ok })
    }

    fn call(&self, key: &str, dry_run: bool) -> Result<Call, CliError> {
        let mut request = self.fields.clone();
        request["reason"] = json!(self.write.reason_text());
        request["dryRun"] = json!(dry_run);
        if let Some(version) = self.write.if_match.or(self.version) {
            request["expectedVersion"] = json!(version.to_string());
        }
        // One key per request: the same key with another request is a conflict. What was read before a repetition may differ.
        let mut part = self.version.map(|version| format!("/{version}")).unwrap_or_default();
        if dry_run {
            part.push_str("/dry-run");
        }
        let call = Call::of(self.rpc, &request)?.keyed(key, &part);
        Ok(Call { awaits_work: true, ..call })
    }

    fn describe(&self, document: &Value) -> String {
        let head = changed::head(&self.name, document, self.done, self.already);
        match self.became.filter(|_| !flag(document, "dryRun")) {
            None => changed::told(&head, changed::lines(document, self.done)),
            Some(became) if flag(document, "changed") => {
                changed::told(&format!("{head}: {}", became(document)), iter::empty())
            }
            Some(_) => changed::told(&head, iter::empty()),
        }
    }
}
