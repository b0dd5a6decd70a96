//! `mesh leaders explain`.

use omnirelay_wire::rpc::leadership_control_service;

use super::KIND;
use crate::complete;
use crate::frame::output::OutputFormat;
use crate::frame::prelude::*;

pub(super) const EXPLAIN: RpcMethod = leadership_control_service::EXPLAIN;
pub(super) const LEAF: LeafCommand = LeafCommand::read("mesh leaders explain", &[&EXPLAIN]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh leaders explain global-control
  omnirelay mesh leaders explain shard/orders/04 -o json | jq -r '.candidates[] | select(.eligible) | .nodeId'";

/// Explain who leads a scope, who would be next and who may not
#[derive(Args, Debug)]
#[command(visible_alias = "why", before_long_help = EXAMPLES)]
pub(super) struct LeadersExplainArgs {
    /// A scope or leader/SCOPE, in full
    #[arg(value_name = "SCOPE", value_parser = super::scope, add = complete::ids(&super::OBJECTS))]
    scope: String,
    #[command(flatten)]
    table: TableArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("rank", |candidate, _| rank(candidate))
        // Those who may not lead come last.
        .number(|candidate| match field(candidate, "rank").as_f64() {
            Some(rank) if rank > 0.0 => rank,
            Some(_) | None => f64::MAX,
        })
        .keep(),
    Column::new("node", |candidate, _| text(candidate, "nodeId").to_owned()).keep(),
    Column::new("priority", |candidate, _| plain(field(candidate, "priority")))
        .number(|candidate| field(candidate, "priority").as_f64().unwrap_or(0.0)),
    Column::new("leads", |candidate, _| if flag(candidate, "leads") { "yes" } else { "" }.to_owned()),
    Column::new("excluded-by", |candidate, _| {
        let reasons = items(candidate, "excludedBy").iter().filter_map(Value::as_str);
        reasons.collect::<Vec<_>>().join(",")
    })
    .titled("EXCLUDED-BY"),
];

fn rank(candidate: &Value) -> String {
    Some(plain(field(candidate, "rank"))).filter(|rank| rank != "0").unwrap_or_default()
}

pub(super) async fn run(args: &LeadersExplainArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    let mut document = session.call(&Call::of(&EXPLAIN, &json!({ "scope": args.scope }))?).await?;
    args.table.order(COLUMNS, &mut document, "candidates")?;
    let moment = time::moment(&document, args.table.absolute);
    let table = TextTable::of(COLUMNS, items(&document, "candidates"), moment, &args.table.layout())?;
    let because = items(&document, "because").iter().filter_map(Value::as_str);
    let because: String = because.map(|sentence| format!("{}\n", printable(sentence))).collect();
    let rows = table.render(session.format() == OutputFormat::Wide, session.out.screen()).lines;
    let name = format!("{KIND}/{}", args.scope);
    session.warn_if_stale(&document);
    session.show(&CommandOutput::lines(document, name, format!("{because}\n{rows}")))?;
    Ok(Exit::Ok)
}

/// What a policy excludes a node for; for all else it would be excluded by any.
const OF_POLICY: &[&str] = &["node", "role", "region", "zone", "labels"];

/// Says when nobody may lead a scope now, or `leader` may not any longer. It is a help only: when the daemon
/// does not say, nothing is said.
pub(super) async fn warn_of_excluded(session: &CommandSession, scope: &str, leader: &str, cursor: &str) {
    let request = json!({ "scope": scope, "minRevision": cursor });
    let Ok(call) = Call::of(&EXPLAIN, &request) else { return };
    let Ok(document) = session.call(&call).await else { return };
    if let Some(words) = excluded(items(&document, "candidates"), scope, leader) {
        session.notes().warn(&printable(&words));
        session.notes().say(&format!("hint: omnirelay mesh leaders explain {scope}"));
    }
}

fn excluded(candidates: &[Value], scope: &str, leader: &str) -> Option<String> {
    if candidates.is_empty() {
        return None;
    }
    if !candidates.iter().any(|candidate| flag(candidate, "eligible")) {
        return Some(format!("no node may lead {scope} now"));
    }
    let incumbent = candidates.iter().find(|candidate| text(candidate, "nodeId") == leader)?;
    let why = items(incumbent, "excludedBy").iter().filter_map(Value::as_str);
    let why: Vec<&str> = why.filter(|why| OF_POLICY.contains(why)).collect();
    (!why.is_empty()).then(|| {
        format!("{leader}, which led {scope}, may not any longer ({}): it hands over", why.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_excluded_is_said_of_all_and_of_who_led() {
        let node =
            |id: &str, why: &[&str]| json!({"nodeId": id, "eligible": why.is_empty(), "excludedBy": why});
        let cases = [
            ("all may", vec![node("a", &[]), node("b", &[])], None),
            ("another may not", vec![node("a", &[]), node("b", &["role"])], None),
            (
                "who led may not",
                vec![node("a", &["role", "zone"]), node("b", &[])],
                Some("a, which led s, may not any longer (role, zone): it hands over"),
            ),
            ("not for the policy", vec![node("a", &["cordoned"]), node("b", &[])], None),
            ("nobody may", vec![node("a", &["role"]), node("b", &["dead"])], Some("no node may lead s now")),
            ("nobody says", vec![], None),
        ];
        for (what, candidates, expected) in cases {
            assert_eq!(excluded(&candidates, "s", "a").as_deref(), expected, "{what}");
        }
    }
}
