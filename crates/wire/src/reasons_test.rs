//! Laws that hold for all reasons.

use super::*;

/// A client repeats by itself what is exhausted: that helps where time or others make room, and not where somebody has to
/// remove something or raise a limit first.
#[test]
fn what_is_exhausted_has_room_again_by_itself() {
    let exhausted = all().filter(|reason| reason.code == Code::ResourceExhausted);
    let names: Vec<&str> = exhausted.map(|reason| reason.name).collect();
    assert_eq!(
        names,
        [
            "HEADERS_TOO_LARGE", // As gRPC has it.
            "LIMIT_EXHAUSTED",
            "STORE_FULL",
            "TOO_MANY_ADVERTISEMENTS", // Those of who is silent end, as those of relays and agents do.
            "TOO_MANY_AGENTS",
            "TOO_MANY_CALLS",
            "TOO_MANY_CERTIFICATES", // Renewals are kept until those of before have ended.
            "TOO_MANY_COMMANDS",
            "TOO_MANY_ISSUED",
            "TOO_MANY_JOINS",
            "TOO_MANY_OPERATIONS",
            "TOO_MANY_RELAYS",
            "TOO_MANY_SESSIONS",
            "TOO_MANY_WATCHES",
            "TOO_MANY_WORKERS",
            "TOO_MUCH_IN_FLIGHT",
        ]
    );
}

#[test]
fn reasons_are_sorted_and_unique() {
    assert!(all().is_sorted_by(|a, b| a.name < b.name));
}
