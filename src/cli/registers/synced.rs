//! Result of a resync: its document, its table, and what it comes to.

use serde_json::Map;

use crate::frame::prelude::*;
use crate::frame::screen::StdoutScreen;
use crate::frame::table::TableLayout;
use crate::ops::KIND;
use crate::ops::follow::verdict;
use crate::ops::get::failures;
use crate::ops::list::took;

/// What can be done about a refusal to remove so many.
pub(super) const OVERRIDE: &str = "look at the plan with --dry-run; --yes removes them all the same";

/// What is counted.
const COUNTS: [&str; 7] = ["processed", "added", "updated", "removed", "unchanged", "failed", "deferred"];

macro_rules! counted {
    ($name:literal) => {
        Column::new($name, |synced, _| number(synced, $name).to_string())
            .number(|synced| number(synced, $name) as f64)
    };
}

static COLUMNS: &[Column] = &[
    Column::new("operation", |synced, _| text(synced, "operationId").to_owned()).keep(),
    Column::new("result", |synced, _| text(synced, "result").to_owned()).keep(),
    counted!("added").keep(),
    counted!("updated").keep(),
    counted!("removed").keep(),
    counted!("unchanged").keep(),
    counted!("failed").keep(),
    Column::new("took", |synced, _| text(synced, "took").to_owned()).keep(),
];

/// The document of a resync that has ended: the operation's counts as numbers.
pub(super) fn document(operation: &Value) -> Value {
    let mut counts: Map<String, Value> = COUNTS
        .iter()
        .map(|name| ((*name).to_owned(), json!(number(operation, &format!("counts.{name}")))))
        .collect();
    let listed = items(operation, "failures");
    // Of more failures than are listed the count is right, of those that nobody counted the list.
    if number(operation, "counts.failed") < listed.len() as u64 {
        counts["failed"] = json!(listed.len());
    }
    if number(operation, "counts.processed") == 0 {
        counts["processed"] = json!(number(operation, "done"));
    }
    let results: Vec<Value> = listed.iter().map(result).collect();
    let mut document = json!({
        "schemaVersion": "v1", "operationId": text(operation, "operationId"), "result": word(operation, &counts),
    });
    if let Some(fields) = document.as_object_mut() {
        fields.extend(counts);
        fields.insert("results".to_owned(), json!(results));
    }
    document
}

fn result(failure: &Value) -> Value {
    json!({
        "registerId": text(failure, "object"), "reason": text(failure, "reason"),
        "message": text(failure, "message"),
    })
}

/// `unchanged`, `synced`, `partial`, `failed` or `cancelled`.
fn word(operation: &Value, counts: &Map<String, Value>) -> String {
    let changed = ["added", "updated", "removed", "failed"].iter().any(|name| counts[*name] != json!(0));
    match text(operation, "state") {
        "succeeded" if changed => "synced".to_owned(),
        "succeeded" => "unchanged".to_owned(),
        other => other.to_owned(),
    }
}

/// The document, and for a person a line of counts and what was not synced.
///
/// # Errors
/// Never in fact: the table has all of its columns.
pub(super) fn view(operation: &Value, document: &Value) -> Result<CommandOutput, CliError> {
    let mut row = document.clone();
    row["took"] = json!(took(operation));
    let moment = CellContext { now_ms: None, absolute: false };
    let table = TextTable::of(COLUMNS, &[row], moment, &TableLayout::default())?;
    let lines = format!("{}{}", table.render(false, StdoutScreen::default()).lines, failures(operation));
    Ok(CommandOutput::lines(document.clone(), format!("{KIND}/{}", text(document, "operationId")), lines))
}

/// Error of a resync that was not carried out in full; `again` is the command that does the rest.
pub(super) fn shortfall(operation: &Value, document: &Value, again: &str) -> Option<CliError> {
    let some_failed = number(document, "failed") > 0;
    let error = match (text(operation, "state"), some_failed, waiting(document)) {
        ("partial" | "succeeded", false, Some(waiting)) => return Some(in_memory(waiting)),
        ("partial", true, None) => not_synced(document),
        ("partial", true, Some(waiting)) => not_synced(document).cause(format!("besides, {waiting}")),
        ("failed", ..) if met_brake(operation) => return Some(braked(operation)),
        _ => verdict(operation)?,
    };
    Some(error.hint(format!("{again}        # unchanged entries cost nothing")))
}

fn in_memory(waiting: String) -> CliError {
    CliError::partial(waiting)
        .cause("the store is away; the daemon shows them, and writes them once it is back")
        .hint("omnirelay registers status        # until they are stored")
}

/// Whether so much was to go, only when its turn came, that nothing was done.
fn met_brake(operation: &Value) -> bool {
    let failures = items(operation, "failures").iter();
    let too_many = reasons::REMOVES_TOO_MANY.name;
    text(operation, "message").contains(too_many)
        || failures.map(|failure| text(failure, "reason")).any(|reason| reason == too_many)
}

fn braked(operation: &Value) -> CliError {
    let name = format!("{KIND}/{}", text(operation, "operationId"));
    CliError::new(reasons::REMOVES_TOO_MANY, format!("{name} would have removed too much"))
        .cause(text(operation, "message"))
        .hint(OVERRIDE)
}

/// `1 of 101 registers was not synced`
fn not_synced(document: &Value) -> CliError {
    let (failed, processed) = (number(document, "failed"), number(document, "processed"));
    let was = if failed == 1 { "was" } else { "were" };
    let message = format!("{failed} of {} {was} not synced", count(processed.max(failed), "register"));
    items(document, "results").iter().cloned().fold(CliError::partial(message), CliError::detail)
}

/// `3 advertisements wait in memory for the store`; `None`: none do.
fn waiting(document: &Value) -> Option<String> {
    let deferred = number(document, "deferred");
    let waits = if deferred == 1 { "waits" } else { "wait" };
    (deferred > 0).then(|| format!("{} {waits} in memory for the store", count(deferred, "advertisement")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(state: &str, counts: Value, failures: usize) -> Value {
        let failure =
            json!({"object": "reg-a", "reason": "STORE_UNAVAILABLE", "message": "it did not answer"});
        json!({
            "operationId": "op_1", "state": state, "done": "101", "total": "101", "counts": counts,
            "failures": vec![failure; failures], "startedAt": "2026-11-20T06:00:00Z",
            "finishedAt": "2026-11-20T06:00:07.900Z", "message": "",
        })
    }

    #[test]
    fn result_says_in_a_word_what_has_happened() {
        let cases = [
            ("nothing", "succeeded", json!({"unchanged": "101"}), "unchanged", None),
            ("added", "succeeded", json!({"added": "1", "unchanged": "100"}), "synced", None),
            ("removed", "succeeded", json!({"removed": "1"}), "synced", None),
            ("partial", "partial", json!({"added": "1", "failed": "1"}), "partial", Some(7)),
            ("failed", "failed", json!({"failed": "3"}), "failed", Some(1)),
            ("cancelled", "cancelled", json!({}), "cancelled", Some(4)),
            ("in memory", "partial", json!({"added": "2", "deferred": "2"}), "partial", Some(7)),
            ("a part, and nobody says which", "partial", json!({"added": "2"}), "partial", Some(7)),
        ];
        for (what, state, counts, word, exit) in cases {
            let operation = operation(state, counts, 0);
            let document = document(&operation);
            assert_eq!(document["result"], word, "{what}");
            let error = shortfall(&operation, &document, "again");
            assert_eq!(error.map(|error| error.exit() as u8), exit, "{what}");
        }
    }

    #[test]
    fn document_has_numbers_and_what_failed() {
        let counts = json!({"processed": "101", "added": "3", "updated": "1", "removed": "1", "unchanged": "95", "failed": "1"});
        assert_eq!(
            document(&operation("partial", counts, 1)),
            json!({
                "schemaVersion": "v1", "operationId": "op_1", "result": "partial", "processed": 101, "added": 3,
                "updated": 1, "removed": 1, "unchanged": 95, "failed": 1, "deferred": 0,
                "results": [{"registerId": "reg-a", "reason": "STORE_UNAVAILABLE", "message": "it did not answer"}],
            })
        );
        let uncounted = document(&operation("partial", json!({}), 2));
        assert_eq!((&uncounted["processed"], &uncounted["failed"]), (&json!(101), &json!(2)));
    }

    #[test]
    fn partial_result_is_counted_for_a_person() {
        let operation = operation("partial", json!({"added": "3", "failed": "1", "processed": "101"}), 1);
        let mut document = document(&operation);
        let error = shortfall(&operation, &document, "again").unwrap().to_text();
        assert!(error.starts_with("error: 1 of 101 registers was not synced\n"), "{error}");
        assert!(!error.contains("memory"), "{error}");
        assert!(error.contains("try: again "), "{error}");
        document["deferred"] = json!(1);
        let error = shortfall(&operation, &document, "again").unwrap().to_text();
        assert!(error.contains("cause: besides, 1 advertisement waits in memory for the store\n"), "{error}");
    }

    #[test]
    fn what_only_waits_for_the_store_has_not_failed() {
        let operation = operation("partial", json!({"added": "3", "deferred": "3", "processed": "101"}), 0);
        let error = shortfall(&operation, &document(&operation), "again").unwrap().to_text();
        assert!(error.starts_with("error: 3 advertisements wait in memory for the store\n"), "{error}");
        assert!(error.contains("omnirelay registers status") && !error.contains("again"), "{error}");
    }

    #[test]
    fn brake_that_is_met_at_last_is_a_conflict_and_no_register() {
        let mut operation = operation("failed", json!({}), 0);
        let error = shortfall(&operation, &document(&operation), "again").unwrap();
        assert_eq!((error.exit() as u8, error.reason()), (1, "OPERATION_FAILED"));
        operation["message"] = json!("REMOVES_TOO_MANY: this would withdraw 12 of 15 advertisements");
        let told = document(&operation);
        assert_eq!((&told["results"], &told["failed"]), (&json!([]), &json!(0)));
        let error = shortfall(&operation, &told, "again").unwrap();
        assert_eq!((error.exit() as u8, error.reason()), (4, "REMOVES_TOO_MANY"));
        let error = error.to_text();
        assert!(error.contains("12 of 15") && error.contains("--yes") && !error.contains("again"), "{error}");
        operation["message"] = json!("");
        operation["failures"] = json!([{"object": "", "reason": "REMOVES_TOO_MANY", "message": ""}]);
        assert_eq!(shortfall(&operation, &document(&operation), "again").unwrap().exit() as u8, 4);
    }
}
