//! `mesh peers undrain`.

use std::time::{Duration, Instant};

use clap::Args;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::peer_control_service;
use serde_json::{Value, json};

use super::LIST;
use super::change::{Change, meant};
use crate::cli::complete;
use crate::cli::frame::args::WriteArgs;
use crate::cli::frame::document::{items, number, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::global::Span;
use crate::cli::frame::rpc::{Call, Leaf, Rpc};
use crate::cli::frame::session::Session;
use crate::cli::namespaces;

pub const UNDRAIN: Rpc = peer_control_service::UNDRAIN;
pub const LEAF: Leaf = Leaf::write("mesh peers undrain", &[&UNDRAIN, &LIST, &namespaces::LIST]);

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
pub struct UndrainArgs {
    /// Ids, peer/ID, or their first letters if unique; - reads them from standard input
    #[arg(required_unless_present = "selector", value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// The peers with these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    /// Have the shards that the drain took from them go back to them, and wait until no shard is on its way
    #[arg(long)]
    restore: bool,
    /// Wait at most this long
    #[arg(long, value_name = "DURATION", default_value = "1m", requires = "restore")]
    timeout: Span,
    #[command(flatten)]
    write: WriteArgs,
}

pub async fn run(args: &UndrainArgs, session: &mut Session) -> Result<Exit, CliError> {
    let ids = meant(session, &args.ids, args.selector.as_deref()).await?;
    let change = Change {
        rpc: &UNDRAIN,
        write: &args.write,
        done: "undrained",
        already: "not draining",
        failed: "could not be undrained",
        fields: if args.restore { json!({"restoreShards": true}) } else { json!({}) },
    };
    let exit = change.run(session, ids).await?;
    if args.restore && !args.write.is_dry_run() && exit == Exit::Ok {
        until_settled(session, args.timeout.0).await?;
    }
    Ok(exit)
}

/// Waits until no shard is on its way. Whoever places them begins within a moment.
async fn until_settled(session: &Session, limit: Duration) -> Result<(), CliError> {
    const BEGINS_WITHIN: Duration = Duration::from_secs(2);
    let began = Instant::now();
    let mut were_moving = false;
    loop {
        let listed = session.call(&Call::of(&namespaces::LIST, &json!({}))?).await?;
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
        if began.elapsed() > limit {
            let message = format!("shards of {} are still on their way", names.join(", "));
            return Err(CliError::new(reasons::PLAN_TIMEOUT, message).hint(
                "omnirelay mesh namespaces list --watch    # the drain is taken back, and they go on",
            ));
        }
        session.notes().step(1, || format!("shards of {} go back", names.join(", ")));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
