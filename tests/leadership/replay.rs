//! Holds a run to what it was promised, keeps the history of one that failed, and reads it again:
//! `OMNIRELAY_HISTORY=file cargo test --test leadership replay`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::checker::{AtLeast, Bounds, Summary, check, in_words};
use crate::generated;
use crate::history::History;

/// For a history that does not say what it was promised.
const LEADERLESS_MAX: Duration = Duration::from_secs(10);
/// Of services that ask their daemons; nodes that are recorded themselves hand over at once.
const HANDOVER_MAX: Duration = Duration::from_secs(2);

/// Checks `history`. One that fails is written to a file, and the panic says what is wrong and how
/// to see it again.
pub(crate) fn assert_kept(what: &str, history: &History, bounds: &Bounds) -> Summary {
    let violations = match check(history, bounds) {
        Ok(summary) => {
            println!("{what}: {summary}");
            return summary;
        }
        Err(violations) => violations,
    };
    panic!("{what}: {}\n{}", in_words(&violations), kept(what, history));
}

/// Keeps `history` in a file, and says how to see it again.
pub(crate) fn kept(what: &str, history: &History) -> String {
    let is_plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = what.chars().map(is_plain).collect();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.jsonl"));
    match history.write(&path) {
        Ok(()) => format!("OMNIRELAY_HISTORY={}", path.display()),
        Err(error) => format!("the history is lost: {error:#}"),
    }
}

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
    assert_kept(
        "replay",
        &history,
        &Bounds { leaderless_max, handover_max: HANDOVER_MAX, at_least: AtLeast::default() },
    );
}

#[test]
fn a_history_that_fails_is_kept() {
    let what = "a history that is too short";
    let bounds = Bounds {
        leaderless_max: LEADERLESS_MAX,
        handover_max: HANDOVER_MAX,
        at_least: AtLeast { grants: 1000, ..AtLeast::default() },
    };
    let history = generated::good(5);
    let verdict = std::panic::catch_unwind(|| assert_kept(what, &history, &bounds));
    let said = verdict.expect_err("it is too short").downcast::<String>().expect("words");
    let (_, path) = said.split_once("OMNIRELAY_HISTORY=").expect("where it is kept");
    assert_eq!(History::read(Path::new(path)).unwrap(), history);
    std::fs::remove_file(path).unwrap();
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
