//! `omnirelay audit`: who changed what, when and why, and whether the trail is as it was written.

mod export;
mod get;
mod list;
pub(crate) mod offline;
mod tail;
mod verify;

use super::complete;
use super::entry::verbs;
use super::peers;
use super::schema::documents::message;
use crate::frame::prelude::*;

/// The kind in the names of audit records.
const KIND: &str = "audit";

verbs! {
    /// Read the audit trail
    #[command(arg_required_else_help = true)]
    "audit" AuditArgs {
        List: list::AuditListArgs,
        Tail: tail::AuditTailArgs,
        Get: get::AuditGetArgs,
        Verify: verify::AuditVerifyArgs,
        Export: export::AuditExportArgs,
    }
    &[
        message("audit", "audit list", "omnirelay.security.v1.ListAuditRecordsResponse"),
        message("audit-event", "audit tail", "omnirelay.security.v1.AuditEvent"),
        message("audit-export-line", "audit export", "omnirelay.security.v1.AuditExportItem"),
        message("audit-record", "audit get", "omnirelay.security.v1.GetAuditRecordResponse"),
        message("audit-verdict", "audit verify", "omnirelay.security.v1.VerifyAuditResponse"),
    ]
}

/// What there is room for of a reason where a terminal is too narrow for all of it.
const REASON_CHARS: usize = 24;

/// Which records.
#[derive(Args, Clone, Debug, Default)]
struct RecordArgs {
    /// Only from here on: a time in UTC, or how long ago, such as 10m
    #[arg(long, value_name = "TIME|DURATION", value_parser = since)]
    since: Option<String>,
    /// Only what this principal did, such as operator:ann; in all names * is whatever stands there
    #[arg(long, value_name = "PRINCIPAL")]
    actor: Option<String>,
    /// Only this action, such as peers.cordon; peers.* is all of an object's
    #[arg(long, value_name = "ACTION", add = complete::actions())]
    action: Option<String>,
    /// Only what was done to this object, as commands or records name it: peer/node-2, leader/*
    #[arg(long, value_name = "KIND/ID", add = complete::named(&peers::OBJECTS))]
    object: Option<String>,
    /// Only what this node carried out
    #[arg(long, value_name = "NODE", add = complete::ids(&peers::OBJECTS))]
    node: Option<String>,
}

/// Until when.
#[derive(Args, Clone, Debug, Default)]
struct UntilArgs {
    /// Only what is of before this: a time in UTC, or how long ago, such as 10m
    #[arg(long, value_name = "TIME|DURATION", value_parser = since)]
    until: Option<String>,
}

impl RecordArgs {
    /// The fields of a request.
    fn request(&self) -> Value {
        json!({
            "actor": self.actor, "action": self.action, "object": self.object, "nodeId": self.node, "since": self.since,
        })
    }
}

/// The time itself, or now less a duration, as RFC 3339.
fn since(given: &str) -> Result<String, String> {
    use std::time::SystemTime;
    if humantime::parse_rfc3339(given).is_ok() {
        return Ok(given.to_owned());
    }
    let ago = humantime::parse_duration(given).map_err(|_| {
        format!("`{given}` is neither a time such as 2026-11-20T06:00:00Z nor a duration such as 10m")
    })?;
    let then = SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
    Ok(humantime::format_rfc3339_millis(then.max(SystemTime::UNIX_EPOCH)).to_string())
}

static COLUMNS: &[Column] = &[
    Column::new("reason", |record, _| text(record, "reason").to_owned()).keep().at_most(REASON_CHARS),
    Column::new("time", |record, moment| time::ago(super::frame::document::field(record, "time"), moment))
        .ranked(|record| time::millis(super::frame::document::field(record, "time")).unwrap_or(0) as f64)
        .keep(),
    Column::new("actor", |record, _| text(record, "actor").to_owned()),
    Column::new("node", |record, _| text(record, "nodeId").to_owned()),
    Column::new("action", |record, _| action(record)).keep(),
    Column::new("object", |record, _| text(record, "object").to_owned()).keep(),
    Column::new("changes", |record, _| changes(record)),
    Column::new("revision", |record, _| text(record, "revision").to_owned())
        .number(|record| text(record, "revision").parse().unwrap_or(0.0))
        .wide(),
    Column::new("sealed", |record, _| covered(record)).wide(),
    Column::new("request", |record, _| text(record, "requestId").to_owned()).wide(),
    Column::new("record", |record, _| text(record, "recordId").to_owned()).wide(),
];

/// Whether a seal reaches as far as the record. It was not compared with the seal.
fn covered(record: &Value) -> String {
    if flag(record, "sealed") { "unverified" } else { "not yet" }.to_owned()
}

/// Who asked, at which node: what a host says of callers is its own word, and each has its own `uid:root`.
fn actor(record: &Value) -> String {
    match (text(record, "actor"), text(record, "nodeId")) {
        (actor, "") => actor.to_owned(),
        (actor, node) => format!("{actor} at {node}"),
    }
}

fn action(record: &Value) -> String {
    let dry = if flag(record, "dryRun") { " (dry run)" } else { "" };
    let refused = if flag(record, "refused") { " (refused)" } else { "" };
    format!("{}{dry}{refused}", text(record, "action"))
}

fn changes(record: &Value) -> String {
    if flag(record, "refused") {
        let count = super::frame::document::field(record, "count");
        return format!("refused {count} times: {}", text(record, "refusal"));
    }
    let lines = items(record, "changes").iter().filter_map(Value::as_str);
    lines.collect::<Vec<_>>().join("; ")
}

/// Line about a record that is new.
pub(crate) fn summary(record: &Value) -> String {
    let parts = [actor(record), action(record), text(record, "object").to_owned()];
    let parts = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    let changes = Some(changes(record)).filter(|changes| !changes.is_empty());
    let reason = Some(text(record, "reason")).filter(|reason| !reason.is_empty());
    let changes = changes.map(|changes| format!(": {changes}")).unwrap_or_default();
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("{parts}{changes}{reason}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::screen::StdoutScreen;
    use crate::frame::table::{TableLayout, TextTable};

    #[test]
    fn since_takes_a_time_or_an_age() {
        assert_eq!(since("2026-11-20T06:00:00Z").unwrap(), "2026-11-20T06:00:00Z");
        assert!(humantime::parse_rfc3339(&since("10m").unwrap()).is_ok());
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn why_stands_first_and_is_seen_on_a_terminal_of_80_columns() {
        let reason = "the disk of node-2 has bad sectors and the vendor wants it off by noon";
        let record = json!({
            "time": "2026-11-20T06:00:00Z", "actor": "operator:ann", "nodeId": "node-1",
            "action": "rebalance-plans.approve", "object": "rebalance-plan/019a0f4c1b2a3-5f0c9a7b3e1d2486",
            "changes": ["state: proposed -> approved", "approvedBy: - -> operator:ann"], "reason": reason,
        });
        let moment = time::moment(&json!({"generatedAt": "2026-11-20T06:01:00Z"}), false);
        let table = TextTable::of(COLUMNS, &[record], moment, &TableLayout::default()).unwrap();
        let narrow = table.render(false, StdoutScreen { width: Some(80), ..StdoutScreen::default() }).lines;
        let lines: Vec<&str> = narrow.lines().collect();
        assert!(lines[0].starts_with("REASON  "), "{narrow}");
        assert!(lines[1].starts_with("the disk of "), "{narrow}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{narrow}");
        for column in ["TIME", "ACTION", "OBJECT"] {
            assert!(lines[0].contains(column), "{narrow}");
        }
        let piped = table.render(false, StdoutScreen::default()).lines;
        assert!(piped.contains(reason), "{piped}");
    }

    #[test]
    fn a_line_says_who_did_what_and_why() {
        let record = json!({
            "actor": "local", "action": "peers.cordon", "object": "peer/a",
            "changes": ["cordoned: false -> true"], "reason": "disk",
        });
        assert_eq!(summary(&record), "local peers.cordon peer/a: cordoned: false -> true (disk)");
        let of_host =
            json!({"actor": "uid:root", "nodeId": "a", "action": "peers.drain", "object": "peer/a"});
        assert_eq!(summary(&of_host), "uid:root at a peers.drain peer/a");
        let refusal = json!({
            "actor": "bob", "action": "peers.cordon", "refused": true, "count": 3, "refusal": "MISSING_SCOPE",
        });
        assert_eq!(summary(&refusal), "bob peers.cordon (refused): refused 3 times: MISSING_SCOPE");
    }
}
