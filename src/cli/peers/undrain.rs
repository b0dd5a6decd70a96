//! `mesh peers undrain`.

use std::time::{Duration, Instant};

use omnirelay_wire::rpc::peer_control_service;

use super::LIST;
use super::change::{PeersChange, meant};
use crate::complete;
use crate::frame::global::HumanDuration;
use crate::frame::list;
use crate::frame::prelude::*;
use crate::namespaces;

pub(super) const UNDRAIN: RpcMethod = peer_control_service::UNDRAIN;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("mesh peers undrain", &[&UNDRAIN, &LIST, &namespaces::LIST]);

/// How often it is looked how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(250);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers undrain node-2 --reason \"upgrade done\"
  omnirelay mesh peers undrain node-2 --restore --timeout 5m
  omnirelay mesh peers undrain -l zone=eu-west-1b --dry-run";

/// Take the drain of peers back, and the cordon that came with it
///
/// What was handed over stays where it is, but for the shards with --restore: they go back at the pace of all moves, and the command
/// waits for it.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct PeersUndrainArgs {
    /// Ids, peer/ID, or their first letters if unique; - reads them from standard input
    #[arg(required_unless_present = "selector", value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// The peers with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Wait until they live, have the shards that the drain took from them go back to them, and wait until no shard is on its way
    #[arg(long)]
    restore: bool,
    /// Wait at most this long
    #[arg(long, value_name = "DURATION", default_value = "1m", requires = "restore")]
    timeout: HumanDuration,
    #[command(flatten)]
    write: WriteArgs,
}

pub(super) async fn run(args: &PeersUndrainArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let ids = meant(session, &args.ids, args.selector.as_deref()).await?;
    let waits = args.restore && !args.write.is_dry_run();
    let until = Instant::now() + args.timeout.0;
    if waits {
        args.write.check(session, ids.len())?;
        until_alive(session, &ids, until).await?;
    }
    let change = PeersChange {
        rpc: &UNDRAIN,
        write: &args.write,
        done: "undrained",
        already: "not draining",
        failed: "could not be undrained",
        fields: if args.restore { json!({"restoreShards": true}) } else { json!({}) },
    };
    let exit = change.run(session, ids).await?;
    if waits && exit == Exit::Ok {
        until_settled(session, until).await?;
    }
    Ok(exit)
}

/// Waits until all of these nodes live, so that shards can go back to them: after a restart they take a moment to be back.
async fn until_alive(session: &CommandSession, ids: &[String], until: Instant) -> Result<(), CliError> {
    loop {
        let listed = list::whole(session, &LIST, "peers", json!({})).await?;
        let peers = items(&listed, "peers");
        let known: Vec<&str> = peers.iter().map(|peer| text(peer, "nodeId")).collect();
        let status = |id: &String| {
            let exact = known.iter().copied().find(|known| known == id);
            let full = exact.or_else(|| ids::by_prefix(id, &known, super::KIND).ok().flatten());
            // What is unknown is for the daemon to refuse, as is what stands for several.
            let peer = full.and_then(|full| peers.iter().find(|peer| text(peer, "nodeId") == full));
            peer.map_or("alive", |peer| text(peer, "status"))
        };
        let gone = ids.iter().map(|id| (id, status(id))).find(|(_, status)| *status != "alive");
        let Some((id, status)) = gone else { return Ok(()) };
        if Instant::now() > until {
            return Err(CliError::new(
                reasons::NODE_NOT_ALIVE,
                format!("{id} is {status}, so no shard can go back to it; its drain stays"),
            )
            .hint(format!(
                "start omnirelayd on its host, then repeat: omnirelay mesh peers undrain {id} --restore"
            ))
            .hint(format!("omnirelay mesh peers status {id}")));
        }
        session.notes().step(1, || format!("{id} is {status}: waiting until it is back"));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until no shard is on its way. Whoever places them begins within a moment.
async fn until_settled(session: &CommandSession, until: Instant) -> Result<(), CliError> {
    const BEGINS_WITHIN: Duration = Duration::from_secs(2);
    let began = Instant::now();
    let mut were_moving = false;
    loop {
        let listed = list::whole(session, &namespaces::LIST, "namespaces", json!({})).await?;
        let busy = |one: &&Value| {
            number(one, "moving") > 0 || matches!(text(one, "state"), "draining" | "rebalancing")
        };
        let moving: Vec<&Value> = items(&listed, "namespaces").iter().filter(busy).collect();
        were_moving |= !moving.is_empty();
        if moving.is_empty() && (were_moving || began.elapsed() > BEGINS_WITHIN) {
            if !were_moving {
                session.notes().warn("no shard goes back; omnirelay mesh namespaces list says what is waited for, if anything is");
            }
            return Ok(());
        }
        let names: Vec<&str> = moving.iter().map(|one| text(one, "namespace")).collect();
        if Instant::now() > until {
            let message = format!("shards of {} are still on their way", names.join(", "));
            return Err(CliError::new(reasons::PLAN_TIMEOUT, message).hint(
                "omnirelay mesh namespaces list --watch    # the drain is taken back, and they go on",
            ));
        }
        session.notes().step(1, || format!("shards of {} go back", names.join(", ")));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
