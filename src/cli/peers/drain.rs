//! `mesh peers drain`: a peer gets nothing new and hands over what it leads and owns.

use std::time::Duration;

use omnirelay_wire::rpc::peer_control_service;
use tokio::time::Instant;

use super::change::PeersChange;
use super::get::GET;
use super::{KIND, LIST};
use crate::complete;
use crate::frame::global::HumanDuration;
use crate::frame::prelude::*;

pub(crate) const DRAIN: RpcMethod = peer_control_service::DRAIN;
pub(crate) const GET_DRAIN: RpcMethod = peer_control_service::GET_DRAIN;
pub(crate) const LEAF: LeafCommand =
    LeafCommand::write("mesh peers drain", &[&DRAIN, &GET_DRAIN, &GET, &LIST]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers drain node-2 --yes --reason \"kernel upgrade\" && ssh node-2 reboot
  omnirelay mesh peers drain node-2 node-3 --yes --timeout 5m
  omnirelay mesh peers drain node-2 --yes --no-wait
  omnirelay mesh peers drain node-2 --dry-run";

/// The first pause between two looks at what is left; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Of what is left, how many scopes are named.
const NAMED_MAX: usize = 10;

/// Cordon peers, and have others take over what they lead and own
///
/// All of them at once, and until none leads or owns anything. What is left and what blocks it is said on standard
/// error. Interrupted or after --timeout the drain itself goes on: mesh peers undrain takes it
/// back. Asks before it changes anything, unless --yes.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct PeersDrainArgs {
    /// Ids, peer/ID, or their first letters if unique; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// End once the drain is ordered
    #[arg(long, help_heading = "Wait options")]
    no_wait: bool,
    /// End with 8 when a peer still leads or owns something after this time; 0s is for ever
    #[arg(long, value_name = "DURATION", default_value = "60s", help_heading = "Wait options")]
    timeout: HumanDuration,
    #[command(flatten)]
    write: WriteArgs,
}

pub(crate) async fn run(args: &PeersDrainArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let ids = ids::expand(&args.ids, KIND)?;
    let drain = drain(&args.write);
    args.write.check(session, ids.len())?;
    if !args.write.is_dry_run() {
        if !args.write.yes && !session.settings.no_input && session.notes().can_ask() {
            let write = args.write.for_preview();
            self::drain(&write).preview(session, &ids).await?;
        }
        let names = ids.iter().map(|id| format!("{KIND}/{id}")).collect::<Vec<_>>().join(", ");
        args.write.confirm(session, &format!("Drain {names}?"))?;
    }
    session.announce_target()?;
    tokio::select! {
        outcome = all(args, session, &drain, ids) => outcome,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| CliError::local(reasons::SIGNALS, "cannot listen for signals", &error))?;
            session.notes().say("The drain goes on; omnirelay mesh peers undrain takes it back.");
            Ok(Exit::Interrupted)
        }
    }
}

/// Drains one peer, and waits until it leads nothing.
///
/// # Errors
/// What keeps it from being drained, in time.
pub(crate) async fn wait(
    session: &mut CommandSession,
    write: &WriteArgs,
    id: &str,
    timeout: Duration,
) -> Result<(), CliError> {
    let ordered = drain(write).one(session, id, &write.key()?, true, None).await?;
    DrainWait::until(timeout).drained(session, ordered).await.map(drop)
}

fn drain(write: &WriteArgs) -> PeersChange<'_> {
    PeersChange {
        rpc: &DRAIN,
        write,
        done: "draining",
        already: "it is draining already",
        failed: "could not be drained",
        fields: json!({}),
    }
}

/// Orders every drain before it waits for one, so that what one peer hands over does not go to the next.
async fn all(
    args: &PeersDrainArgs,
    session: &mut CommandSession,
    drain: &PeersChange<'_>,
    ids: Vec<String>,
) -> Result<Exit, CliError> {
    let key = drain.write.key()?;
    let several = ids.len() > 1;
    let mut orders = BatchOutcomes::new(KIND, "change", drain.failed);
    for id in ids {
        let ordered = match orders.hopeless() {
            Some(error) => Err(error),
            None => drain.one(session, &id, &key, several, args.write.if_match).await,
        };
        orders.push(id, ordered);
    }
    let waits = !args.no_wait && !args.write.is_dry_run();
    let mut wait = DrainWait::until(args.timeout.0);
    let mut changed = false;
    let mut batch = BatchOutcomes::new(KIND, "change", drain.failed);
    for (id, ordered) in orders.into_outcomes() {
        changed |= ordered.as_ref().is_ok_and(|document| flag(document, "changed"));
        let outcome = match ordered {
            Ok(document) if waits => wait.drained(session, document).await,
            outcome => outcome,
        };
        batch.push(id, outcome);
    }
    let exit = batch.finish(session, |id, document| {
        let ordered = drain.describe(id, document);
        if waits { format!("{ordered}{KIND}/{} drained\n", text(document, "peer.nodeId")) } else { ordered }
    })?;
    Ok(if changed && args.write.exit_code && exit == Exit::Ok { Exit::Negative } else { exit })
}

/// Wait for peers: how long it is, and who was asked last.
struct DrainWait {
    timeout: Duration,
    /// `None`: for ever.
    deadline: Option<Instant>,
    /// Whom the last look asked, and the id of that request.
    target: Option<Value>,
    request_id: Option<String>,
}

impl DrainWait {
    /// A wait that begins now; no time is for ever.
    fn until(timeout: Duration) -> Self {
        let deadline = Some(timeout).filter(|timeout| !timeout.is_zero());
        let deadline = deadline.map(|timeout| Instant::now() + timeout);
        Self { timeout, deadline, target: None, request_id: None }
    }

    /// Waits until the peer of `ordered` leads nothing, and gives the document with the peer as it is then;
    /// what is left is said whenever it changes.
    ///
    /// # Errors
    /// `DRAIN_TIMEOUT` when that is not so in time, `DRAIN_TAKEN_BACK` when somebody has taken it back; what
    /// keeps the daemon from saying.
    async fn drained(&mut self, session: &CommandSession, ordered: Value) -> Result<Value, CliError> {
        let id = text(&ordered, "peer.nodeId").to_owned();
        let request = json!({ "nodeId": id, "minRevision": text(&ordered, "cursor") });
        let call = Call::of(&GET_DRAIN, &request)?;
        let (mut pause, mut left) = (PAUSE_FIRST, String::new());
        loop {
            match self.look(session, &call).await {
                Ok(progress) if !flag(&progress, "draining") => return Err(self.asked(taken_back(&id))),
                Ok(progress) if flag(&progress, "drained") => return as_it_is(session, &id, ordered).await,
                Ok(progress) => {
                    let now = remaining(&progress);
                    if now != left {
                        session.notes().progress(&format!("{KIND}/{id} still {}", printable(&now)));
                        left = now;
                    }
                }
                // The daemon may be back before the time is over.
                Err(error) if matches!(error.exit(), Exit::Unavailable | Exit::Timeout) => {
                    session.notes().step(1, || format!("asking again: {}", error.body().message));
                }
                Err(error) => return Err(error),
            }
            let rest = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if rest.is_some_and(|rest| rest.is_zero()) {
                return Err(self.asked(too_slow(&id, self.timeout, &left)));
            }
            // The last look is when the time is over.
            tokio::time::sleep(rest.map_or(pause, |rest| rest.min(pause))).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// How far the drain is; notes who said so.
    async fn look(&mut self, session: &CommandSession, call: &Call) -> Result<Value, CliError> {
        let client = session.client()?;
        match client.ask(call).await {
            Ok((progress, answer)) => {
                self.target = Some(client.target().to_json(&answer.address));
                self.request_id = answer.header("x-request-id").map(str::to_owned);
                Ok(progress)
            }
            Err(error) => {
                self.target = error.body().target.clone().or(self.target.take());
                self.request_id.clone_from(&error.body().request_id);
                Err(error)
            }
        }
    }

    /// `error` with who was asked last.
    fn asked(&self, error: CliError) -> CliError {
        let error = error.request_id(self.request_id.clone());
        self.target.clone().into_iter().fold(error, CliError::target)
    }
}

/// The document of a finished drain: the answer to the order, with the peer as it is now.
async fn as_it_is(session: &CommandSession, id: &str, mut ordered: Value) -> Result<Value, CliError> {
    let request = json!({ "nodeId": id, "minRevision": text(&ordered, "cursor") });
    match session.call(&Call::of(&GET, &request)?).await {
        Ok(now) if field(&now, "peer").is_object() => {
            for name in ["peer", "cursor"] {
                ordered[name] = field(&now, name).clone();
            }
        }
        // It is drained, whoever can say the rest; what was read before the drain would be false.
        Ok(_) | Err(_) => ordered["peer"]["leads"] = json!([]),
    }
    Ok(ordered)
}

/// `leads 2 scopes: global-control, shard/orders/03 (no other node may lead it: 1 dead); owns 3 shards of orders, 2 of them moving`
pub(crate) fn remaining(progress: &Value) -> String {
    let leads = (!items(progress, "remaining").is_empty()).then(|| format!("leads {}", scopes(progress)));
    leads.into_iter().chain(items(progress, "shards").iter().map(shards)).collect::<Vec<_>>().join("; ")
}

/// `owns 3 shards of orders, 2 of them moving (the brake holds ...)`
fn shards(of: &Value) -> String {
    let number = |name: &str| field(of, name).as_u64().unwrap_or(0);
    let moving = match number("moving") {
        0 => String::new(),
        moving => format!(", {moving} of them moving"),
    };
    let blocked = match text(of, "blockedBy") {
        "" => String::new(),
        blocked => format!(" ({blocked})"),
    };
    format!("owns {} of {}{moving}{blocked}", count(number("shards"), "shard"), text(of, "namespace"))
}

fn scopes(progress: &Value) -> String {
    let left = items(progress, "remaining");
    let one = |scope: &Value| match text(scope, "blockedBy") {
        "" => text(scope, "scope").to_owned(),
        blocked => format!("{} ({blocked})", text(scope, "scope")),
    };
    // What is blocked is what somebody must look at.
    let (blocked, others): (Vec<&Value>, Vec<&Value>) =
        left.iter().partition(|scope| !text(scope, "blockedBy").is_empty());
    let mut named: Vec<String> = blocked.into_iter().chain(others).take(NAMED_MAX).map(one).collect();
    if left.len() > NAMED_MAX {
        named.push(format!("and {} more", left.len() - NAMED_MAX));
    }
    format!("{}: {}", count(left.len() as u64, "scope"), named.join(", "))
}

fn too_slow(id: &str, timeout: Duration, left: &str) -> CliError {
    let span = humantime::format_duration(timeout);
    let left = if left.is_empty() {
        "the daemon did not say what it still leads and owns".to_owned()
    } else {
        format!("it still {left}")
    };
    CliError::new(
        reasons::DRAIN_TIMEOUT,
        format!("{KIND}/{id} is not drained after {span}; the drain goes on"),
    )
    .cause(left)
    .hint(format!("omnirelay mesh peers status {id}     # how far it is"))
    .hint(format!("omnirelay mesh peers undrain {id}    # take it back"))
}

fn taken_back(id: &str) -> CliError {
    CliError::new(reasons::DRAIN_TAKEN_BACK, format!("{KIND}/{id} is no longer draining"))
        .cause("somebody has taken the drain back")
        .hint(format!("omnirelay audit list --object {KIND}/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_names_what_is_blocked_first_and_ten_at_most() {
        let scope = |name: &str, blocked: &str| json!({"scope": name, "blockedBy": blocked});
        let progress = json!({"remaining": [scope("a", ""), scope("b", "nobody else may")]});
        assert_eq!(remaining(&progress), "leads 2 scopes: b (nobody else may), a");
        let owns = json!({"shards": [{"namespace": "orders", "shards": 3, "moving": 2, "blockedBy": ""}]});
        assert_eq!(remaining(&owns), "owns 3 shards of orders, 2 of them moving");
        let many: Vec<Value> = (0..12).map(|number| scope(&format!("s{number}"), "")).collect();
        let words = remaining(&json!({ "remaining": many }));
        assert!(words.starts_with("leads 12 scopes: s0, ") && words.ends_with("s9, and 2 more"), "{words}");
    }
}
