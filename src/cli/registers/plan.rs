//! Plan of a resync, in words.

use omnirelay_decisions::register::brakes;

use crate::frame::prelude::*;

/// Of each kind of change, how many are named.
const NAMED_MAX: usize = 20;

/// Whether the pool can be looked into, so that the numbers of a plan are known.
fn is_known(plan: &Value) -> bool {
    text(plan, "target") == "local"
}

/// Whether a full sync removes something, or may.
pub(super) fn may_remove(plan: &Value) -> bool {
    number(plan, "remove") > 0 || !is_known(plan)
}

/// Whether a full sync removes more than is done without somebody's word.
pub(super) fn is_braked(plan: &Value) -> bool {
    let of = |word: &str| number(plan, word) as usize;
    brakes(of("remove"), of("keep") + of("update") + of("remove"))
}

/// Whether a resync changes something, or may.
pub(super) fn changes(plan: &Value, full: bool) -> bool {
    ["add", "update"].iter().any(|word| number(plan, word) > 0) || full && may_remove(plan)
}

/// The counts of a plan, what it removes, and that others are left alone.
pub(super) fn describe(plan: &Value, full: bool) -> String {
    let lines = match (is_known(plan), full) {
        (true, _) => format!("{}\n{}", headline(plan, full), named(plan, "remove")),
        (false, false) => format!("{}\n", pushed(plan, "Sync")),
        (false, true) => format!(
            "{}; what it removes there is not known.\n",
            pushed(plan, "Full sync").trim_end_matches('.')
        ),
    };
    if !is_known(plan) {
        return lines;
    }
    format!("{lines}Remote advertisements ({}) are not touched.\n", number(plan, "remote"))
}

/// As [`describe`], and besides what is added and updated.
pub(super) fn describe_all(plan: &Value, full: bool) -> String {
    format!("{}{}{}", describe(plan, full), named(plan, "update"), named(plan, "add"))
}

/// `Full sync will ADD 3, UPDATE 2, KEEP 95 and REMOVE 1 local advertisement:`
fn headline(plan: &Value, full: bool) -> String {
    let of = |word: &str| number(plan, word);
    if !full {
        let kept = count(of("keep"), "local advertisement");
        return format!("Sync will ADD {}, UPDATE {} and KEEP {kept}.", of("add"), of("update"));
    }
    let removed = count(of("remove"), "local advertisement");
    let end = if of("remove") == 0 { '.' } else { ':' };
    format!(
        "Full sync will ADD {}, UPDATE {}, KEEP {} and REMOVE {removed}{end}",
        of("add"),
        of("update"),
        of("keep")
    )
}

/// `Sync will push 101 registers to http://peer-service:8080.`
fn pushed(plan: &Value, what: &str) -> String {
    let registers = count(number(plan, "add"), "register");
    printable(&format!("{what} will push {registers} to {}.", text(plan, "target")))
}

/// A line for each of the first changes of a kind, and how many more there are.
fn named(plan: &Value, action: &str) -> String {
    let sign = match action {
        "remove" => '-',
        "add" => '+',
        _ => '~',
    };
    let changes = items(plan, "changes").iter().filter(|change| text(change, "action") == action);
    let changes: Vec<&Value> = changes.take(NAMED_MAX).collect();
    let width = changes.iter().map(|change| text(change, "registerId").chars().count()).max().unwrap_or(0);
    let line = |change: &&Value| {
        let detail = match text(change, "detail") {
            "" => String::new(),
            detail => format!("   ({detail})"),
        };
        let id = text(change, "registerId");
        format!("{}\n", printable(format!("  {sign} {id:width$}{detail}").trim_end()))
    };
    let mut lines: String = changes.iter().map(line).collect();
    let more = number(plan, action).saturating_sub(changes.len() as u64);
    if more > 0 {
        lines.push_str(&format!("  {sign} and {more} more\n"));
    }
    lines
}

/// The names of the registers that a plan changes.
pub(super) fn names(document: &Value) -> Vec<String> {
    let changes = items(field(document, "plan"), "changes").iter();
    changes.map(|change| format!("{}/{}", super::KIND, text(change, "registerId"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan(remove: usize) -> Value {
        let removed = (0..remove).map(|at| {
            json!({"action": "remove", "registerId": format!("reg-{at}"), "detail": "not in the catalogue"})
        });
        let added = json!({"action": "add", "registerId": "reg-new", "detail": ""});
        let updated = json!({"action": "update", "registerId": "reg-b", "detail": "latestVersion: 1 -> 2"});
        json!({
            "target": "local", "add": 1, "update": 1, "keep": 95, "remove": remove, "remote": 214,
            "changes": removed.chain([added, updated]).collect::<Vec<_>>(),
        })
    }

    #[test]
    fn full_plan_names_what_goes() {
        assert_eq!(
            describe(&plan(1), true),
            "Full sync will ADD 1, UPDATE 1, KEEP 95 and REMOVE 1 local advertisement:\n  \
               - reg-0   (not in the catalogue)\n\
             Remote advertisements (214) are not touched.\n"
        );
        assert!(may_remove(&plan(1)) && !may_remove(&plan(0)));
        assert!(describe(&plan(0), true).starts_with(
            "Full sync will ADD 1, UPDATE 1, KEEP 95 and REMOVE 0 local advertisements.\nRemote"
        ));
    }

    #[test]
    fn at_most_twenty_are_named_and_the_rest_is_counted() {
        let told = describe(&plan(20), true);
        assert!(told.contains("  - reg-19 ") && !told.contains("more"), "{told}");
        let told = describe(&plan(23), true);
        assert_eq!(told.lines().filter(|line| line.contains("not in the catalogue")).count(), 20, "{told}");
        assert!(told.contains("  - and 3 more\n"), "{told}");
        // The daemon names a thousand changes at most, and counts them all.
        let mut many = plan(23);
        many["remove"] = json!(5000);
        assert!(describe(&many, true).contains("  - and 4980 more\n"));
    }

    #[test]
    fn plan_that_is_not_full_removes_nothing_and_a_dry_run_names_the_rest() {
        assert_eq!(
            describe_all(&plan(0), false),
            "Sync will ADD 1, UPDATE 1 and KEEP 95 local advertisements.\n\
             Remote advertisements (214) are not touched.\n  \
               ~ reg-b   (latestVersion: 1 -> 2)\n  \
               + reg-new\n"
        );
    }

    #[test]
    fn what_another_pool_has_is_not_known() {
        let plan = json!({"target": "http://p:1", "add": 101, "remove": 0, "changes": []});
        assert_eq!(
            describe(&plan, true),
            "Full sync will push 101 registers to http://p:1; what it removes there is not known.\n"
        );
        assert_eq!(describe(&plan, false), "Sync will push 101 registers to http://p:1.\n");
        assert!(may_remove(&plan));
        let nothing = json!({"target": "http://p:1", "add": 0, "remove": 0, "changes": []});
        assert!(changes(&nothing, true), "an empty set may empty it");
        assert!(!changes(&nothing, false));
    }

    #[test]
    fn plan_changes_what_is_added_updated_or_removed() {
        let of = |add: u32, update: u32, remove: u32| json!({"target": "local", "add": add, "update": update, "keep": 9, "remove": remove});
        for (plan, full, expected) in [
            (of(0, 0, 0), true, false),
            (of(1, 0, 0), false, true),
            (of(0, 1, 0), false, true),
            (of(0, 0, 1), true, true),
        ] {
            assert_eq!(changes(&plan, full), expected, "{plan}");
        }
    }

    #[test]
    fn brake_is_measured_by_what_is_there_and_not_by_what_is_new() {
        let of = |add: u32, update: u32, keep: u32, remove: u32| {
            is_braked(
                &json!({"target": "local", "add": add, "update": update, "keep": keep, "remove": remove}),
            )
        };
        assert!(of(0, 0, 10, 11) && of(100, 5, 5, 11));
        assert!(!of(0, 1, 10, 11) && !of(0, 0, 0, 10) && !of(0, 0, 0, 0));
    }
}
