//! Report of what was found of endpoints and their policy, as people read it.

use crate::frame::prelude::*;

/// Two lines for each finding, then what is counted, then the result.
pub(super) fn describe(report: &Value) -> String {
    let mut lines = String::new();
    for finding in items(report, "findings") {
        let of = |name| printable(text(finding, name));
        lines.push_str(&format!("{:9}  {}: {}\n", of("level"), of("rule"), of("what")));
        lines.push_str(&format!("      try: {}\n", of("remedy")));
    }
    let of = |name| number(report, name);
    lines.push_str(&format!(
        "{}, raw {} of {}, legacy {} of {}\n",
        count(of("endpoints"), "endpoint"),
        of("rawEndpoints"),
        of("rawEndpointsMax"),
        of("legacyPairings"),
        of("legacyPairingsMax"),
    ));
    lines.push_str(if flag(report, "fit") { "Result: FIT\n" } else { "Result: REFUSED\n" });
    lines
}

/// Whether anything is to be looked at.
pub(super) fn warns(report: &Value) -> bool {
    items(report, "findings").iter().any(|finding| text(finding, "level") == "warning")
}
