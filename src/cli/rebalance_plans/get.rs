//! `mesh rebalance-plans get`.

use omnirelay_wire::rpc::rebalance_control_service;

use super::KIND;
use super::follow::how_far;
use crate::complete;
use crate::frame::document::{because, or_nobody};
use crate::frame::listing::first;
use crate::frame::prelude::*;

pub(crate) const GET: RpcMethod = rebalance_control_service::GET;
pub(super) const LEAF: LeafCommand = LeafCommand::read("mesh rebalance-plans get", &[&GET]);

/// How many moves are told.
const MOVES_TOLD: usize = 40;

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh rebalance-plans get plan_1a215015b7ad4fc0a
  omnirelay mesh rebalance-plans get plan_1a215015b7ad4fc0a -o json | jq -r '.plan.moves[] | select(.progress != \"moved\")'";

/// Show a plan: its moves, why each, who said what, and how far it is
#[derive(Args, Debug)]
#[command(visible_alias = "show", before_long_help = EXAMPLES)]
pub(super) struct RebalancePlansGetArgs {
    /// The plan
    #[arg(value_name = "PLAN", value_parser = id_of(super::KIND), add = complete::ids(&super::OBJECTS))]
    plan: String,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(super) async fn run(
    args: &RebalancePlansGetArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let document = session.call(&Call::of(&GET, &json!({ "planId": args.plan }))?).await?;
    session.warn_if_stale(&document);
    let lines = describe(&document, args.absolute);
    session.show(&CommandOutput::lines(document, format!("{KIND}/{}", args.plan), lines))?;
    Ok(Exit::Ok)
}

/// Everything of a plan.
pub(super) fn describe(document: &Value, absolute: bool) -> String {
    let plan = field(document, "plan");
    let moment = time::moment(document, absolute);
    let ago = |of: &Value, path: &str| time::back(time::ago(field(of, path), moment), moment);
    let said = |path: &str| text(plan, path).to_owned();
    let number = |path: &str| field(plan, path).as_u64().unwrap_or(0);
    let removed = items(plan, "removed").iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let mut rows = vec![
        ("plan", said("planId")),
        ("namespace", said("namespace")),
        ("state", said("state")),
        ("because", said("stateReason")),
        ("since", ago(plan, "stateSince")),
        (
            "author",
            if flag(plan, "automatic") {
                format!("{} (the controller)", text(plan, "author"))
            } else {
                said("author")
            },
        ),
        ("reason", said("reason")),
        ("ticket", said("changeTicket")),
        ("map", said("mapVersion")),
        ("strategy", said("strategyId")),
        ("weights", pairs(plan, "weights")),
        ("removed", removed),
        ("forced", if flag(plan, "forced") { "yes".to_owned() } else { String::new() }),
        (
            "moves",
            format!(
                "{}, no plan has fewer than {}; {} by choice",
                number("summary.moves"),
                number("summary.lowerBound"),
                number("summary.byChoice")
            ),
        ),
        ("progress", if field(plan, "startedAt").is_null() { String::new() } else { how_far(plan) }),
        (
            "imbalance",
            format!(
                "{:.3} -> {:.3}",
                field(plan, "summary.imbalanceBefore").as_f64().unwrap_or(0.0),
                field(plan, "summary.imbalanceAfter").as_f64().unwrap_or(0.0)
            ),
        ),
        ("created", ago(plan, "createdAt")),
        ("started", ago(plan, "startedAt")),
        ("ended", ago(plan, "endedAt")),
        ("version", said("version")),
        ("writer", said("lastWriterId")),
    ];
    rows.extend(items(plan, "decisions").iter().map(|said| {
        let reason = because(said, "reason");
        ("said", format!("{} by {} {}{reason}", text(said, "what"), text(said, "by"), ago(said, "at")))
    }));
    let moves = items(plan, "moves");
    let gap = if moves.is_empty() { "" } else { "\n" };
    format!("{}{gap}{}", listing(&rows), first(moves, MOVES_TOLD, line))
}

fn line(one: &Value) -> String {
    format!(
        "{}  {} -> {}  {}  {}",
        text(one, "shardId"),
        or_nobody(text(one, "from")),
        text(one, "to"),
        text(one, "cause"),
        text(one, "progress")
    )
}
