//! Puts a history from a file through the checker: `OMNIRELAY_HISTORY=file cargo test --test
//! leadership replay`. Without one, a history that is known to be good.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::checker::{AtLeast, Bounds, check, in_words};
use crate::generated;
use crate::history::History;

/// For a history that does not say what it was promised.
const LEADERLESS_MAX: Duration = Duration::from_secs(10);
/// Of services that ask their daemons; nodes that are recorded themselves hand over at once.
const HANDOVER_MAX: Duration = Duration::from_secs(2);

#[test]
fn a_history_from_a_file_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = std::env::var_os("OMNIRELAY_HISTORY").map(PathBuf::from).unwrap_or_else(|| {
        let path = dir.path().join("good.jsonl");
        generated::good(7).write(&path).unwrap();
        path
    });
    let history = History::read(&path).unwrap();
    let leaderless_max = history.leaderless_max_us().map_or(LEADERLESS_MAX, Duration::from_micros);
    match check(
        &history,
        &Bounds { leaderless_max, handover_max: HANDOVER_MAX, at_least: AtLeast::default() },
    ) {
        Ok(summary) => println!("{}: {summary}", path.display()),
        Err(violations) => panic!("{}: {}", path.display(), in_words(&violations)),
    }
}

#[test]
fn a_history_comes_back_from_its_file() {
    let history = generated::good(3);
    assert_eq!(History::from_lines(&history.to_lines()).unwrap(), history);
    let mut swapped: Vec<_> = history.to_lines().lines().map(str::to_owned).collect();
    swapped.swap(0, 1);
    let order = History::from_lines(&swapped.join("\n")).unwrap_err();
    assert!(order.to_string().contains("does not rise"), "{order}");
    let junk = History::from_lines("{\"event\":\"gossip\"}").unwrap_err();
    assert!(junk.to_string().contains("line 1"), "{junk}");
    let away = History::read(Path::new("no such file")).unwrap_err();
    assert!(away.to_string().contains("no such file"), "{away}");
}
