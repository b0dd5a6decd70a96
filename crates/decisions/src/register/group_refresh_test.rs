//! Tests of when groups of advertisements are refreshed, by cases.

use super::*;
use EntryKeeping::{NotAtAll, OnceMore, WhileRunning};

const TTL: Duration = Duration::from_secs(160);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn refresh(refreshed: Option<u64>, refresh_at: Option<u64>) -> GroupRefresh<Duration> {
    GroupRefresh { refreshed: refreshed.map(at), refresh_at: refresh_at.map(at) }
}

#[test]
fn an_entry_is_wanted_as_long_as_its_producer_may_say_so() {
    let cases = [
        ("of the catalogue, pushed long ago", WhileRunning, Some(10_000), true),
        ("of the catalogue, not pushed since the start", WhileRunning, None, false),
        ("of a service, while two clocks agree", OnceMore, Some(149), true),
        ("of a service, where they may not", OnceMore, Some(150), false),
        ("of a service, not pushed since the start", OnceMore, None, false),
        ("of a file, while two clocks agree", NotAtAll, Some(149), true),
        ("of a file, where they may not", NotAtAll, Some(150), false),
    ];
    for (what, keeping, pushed, is_wanted) in cases {
        assert_eq!(keeping.wants(pushed.map(at), TTL), is_wanted, "{what}");
    }
}

#[test]
fn a_group_is_refreshed_when_it_is_time_or_the_session_is_new() {
    let known = refresh(Some(0), Some(80));
    let last = refresh(Some(0), None);
    // What is confirmed, and whether the session is new; whether it is due.
    let cases = [
        ("before its time", known, WhileRunning, 79, (true, false), false),
        ("in time", known, WhileRunning, 80, (true, false), true),
        ("in time, though nothing is confirmed", known, OnceMore, 80, (false, false), true),
        ("of a new session", known, OnceMore, 1, (true, true), true),
        ("of a new session, and nothing is confirmed", known, OnceMore, 1, (false, true), false),
        ("of a new session, of a file", refresh(Some(0), None), NotAtAll, 1, (true, true), false),
        ("of a new session, never refreshed", refresh(None, Some(80)), OnceMore, 1, (true, true), false),
        ("for the last time already", last, OnceMore, 500, (true, false), false),
        (
            "of the catalogue, which nobody has refreshed",
            refresh(None, None),
            WhileRunning,
            1,
            (true, false),
            true,
        ),
        (
            "of the catalogue, with nothing confirmed",
            refresh(None, None),
            WhileRunning,
            1,
            (false, false),
            false,
        ),
    ];
    for (what, known, keeping, now, (is_confirmed, is_new), is_due) in cases {
        assert_eq!(known.is_due(keeping, at(now), is_new, || is_confirmed), is_due, "{what}");
    }
}

#[test]
fn a_push_refreshes_what_is_not_fresh() {
    let cases = [
        ("a first push", OnceMore, None, 100, (true, Some(180))),
        ("one of a thousand", OnceMore, Some(81), 100, (false, Some(180))),
        ("an eighth of the TTL later", OnceMore, Some(80), 100, (true, Some(180))),
        ("of a file, each time", NotAtAll, Some(99), 100, (true, None)),
    ];
    for (what, keeping, refreshed, now, (is_due, next)) in cases {
        let mut group = refresh(refreshed, Some(7));
        assert_eq!((group.push(keeping, at(now), TTL), group), (is_due, refresh(refreshed, next)), "{what}");
    }
}

#[test]
fn what_was_refreshed_is_refreshed_again_where_it_is_to_last() {
    let cases = [
        ("of the catalogue", WhileRunning, None, refresh(Some(100), Some(180))),
        ("of a service that has pushed since", OnceMore, Some(101), refresh(Some(100), Some(101))),
        ("of a service, once more", OnceMore, Some(100), refresh(Some(100), None)),
        ("of a file", NotAtAll, None, refresh(Some(100), None)),
    ];
    for (what, keeping, refresh_at, expected) in cases {
        let mut group = refresh(Some(20), refresh_at);
        group.answer(keeping, at(100), TTL);
        assert_eq!(group, expected, "{what}");
    }
}
