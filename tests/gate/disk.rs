//! What is found after a restart: whole marks, or an error; and what a bad disk does.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use omnirelay_sdk::{Admitted, FencingGate, GateError, Refused};

/// A folder with a file of marks, in which `a` has 7.
fn used() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("marks");
    FencingGate::open(&path).unwrap().admit("a", 7).unwrap();
    (place, path)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

fn mark_of_a(path: &Path) -> Result<Option<u64>, GateError> {
    FencingGate::open(path).map(|gate| gate.mark("a"))
}

#[test]
fn marks_survive_a_restart_and_only_the_owner_reads_them() {
    let (_place, path) = used();
    let gate = FencingGate::open(&path).unwrap();
    assert!(matches!(gate.admit("a", 6), Err(Refused::Stale { mark: 7, .. })));
    assert_eq!(gate.admit("a", 7).unwrap(), Admitted::Current);
    for file in [path.clone(), beside(&path, ".lock")] {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn a_second_gate_on_the_file_is_locked_out() {
    let (_place, path) = used();
    let _first = FencingGate::open(&path).unwrap();
    let error = FencingGate::open(&path).unwrap_err();
    assert!(matches!(error, GateError::Locked { .. }), "{error}");
    assert!(error.to_string().ends_with("are in use by another process; stop that one first"), "{error}");
}

/// Wherever a write from 7 to 8 is cut off, the next start finds 7 or 8.
#[test]
fn a_write_that_was_cut_off_leaves_the_old_mark_or_the_new() {
    let (_place, path) = used();
    let old = std::fs::read(&path).unwrap();
    FencingGate::open(&path).unwrap().admit("a", 8).unwrap();
    let new = std::fs::read(&path).unwrap();
    for length in 0..=new.len() {
        std::fs::write(&path, &old).unwrap();
        std::fs::write(beside(&path, ".new"), &new[..length]).unwrap();
        assert_eq!(mark_of_a(&path).unwrap(), Some(7), "cut off at byte {length}, before the rename");
        let gate = FencingGate::open(&path).unwrap();
        assert_eq!(gate.admit("a", 8).unwrap(), Admitted::Raised, "what was left behind is in nobody's way");
    }
    std::fs::write(beside(&path, ".new"), &new).unwrap();
    std::fs::rename(beside(&path, ".new"), &path).unwrap();
    assert_eq!(mark_of_a(&path).unwrap(), Some(8), "behind the rename");
}

/// No crash leaves a part of the file, so a part is damage, and never an empty gate.
#[test]
fn a_part_of_a_file_is_an_error_wherever_it_ends() {
    let (_place, path) = used();
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = mark_of_a(&path).unwrap_err();
        assert!(matches!(error, GateError::Damaged { .. }), "cut off at byte {length}: {error}");
        assert_eq!(std::fs::read(&path).unwrap(), whole[..length], "it is left as it was");
    }
    std::fs::write(&path, b"").unwrap();
    let said = mark_of_a(&path).unwrap_err().to_string();
    for part in [
        "marks` are damaged at line 1: ",
        "no earlier leader still runs",
        "move the file away",
        "marks.lock`",
    ] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

#[test]
fn a_file_that_vanished_is_not_taken_for_a_first_start() {
    let (_place, path) = used();
    std::fs::remove_file(&path).unwrap();
    let error = mark_of_a(&path).unwrap_err();
    assert!(matches!(error, GateError::Vanished { .. }), "{error}");
    std::fs::remove_file(beside(&path, ".lock")).unwrap();
    assert_eq!(mark_of_a(&path).unwrap(), None, "what the message says helps");
}

#[test]
fn what_is_no_regular_file_is_not_used() {
    let (place, path) = used();
    let (link, folder) = (place.path().join("link"), place.path().join("folder"));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    std::fs::create_dir(&folder).unwrap();
    for strange in [link, folder, place.path().join("missing/marks")] {
        assert!(matches!(FencingGate::open(&strange), Err(GateError::Open { .. })), "{}", strange.display());
    }
}

/// Spoils the disk, expects that only what needs it is refused, repairs it, and expects that all works.
fn refuses_while_spoilt(what: &str, spoil: impl Fn(&Path), repair: impl Fn(&Path)) {
    let (_place, path) = used();
    let gate = FencingGate::open(&path).unwrap();
    spoil(&path);
    let mut run = false;
    assert!(matches!(gate.run("a", 8, || run = true), Err(Refused::Unrecorded { token: 8, .. })), "{what}");
    assert!(!run, "{what}: it wrote although its token is not durable");
    assert!(matches!(gate.admit("b", 1), Err(Refused::Unrecorded { .. })), "{what}: a first token");
    assert_eq!((gate.mark("a"), gate.mark("b")), (Some(7), None), "{what}: the marks in memory stay");
    assert_eq!(gate.admit("a", 7).unwrap(), Admitted::Current, "{what}: the leader of before goes on");
    assert!(matches!(gate.admit("a", 6), Err(Refused::Stale { mark: 7, .. })), "{what}");
    repair(&path);
    assert_eq!(gate.admit("b", 1).unwrap(), Admitted::Raised, "{what}: repaired");
    drop(gate);
    let gate = FencingGate::open(&path).unwrap();
    assert_eq!(
        (gate.mark("a"), gate.mark("b")),
        (Some(7), Some(1)),
        "{what}: what was refused left no trace"
    );
}

#[test]
fn a_token_that_cannot_be_recorded_is_refused() {
    let folder = |path: &Path| path.parent().unwrap().to_owned();
    let aside = move |path: &Path| folder(path).with_extension("aside");
    refuses_while_spoilt(
        "the directory is gone",
        |path| std::fs::rename(path.parent().unwrap(), aside(path)).unwrap(),
        |path| std::fs::rename(aside(path), path.parent().unwrap()).unwrap(),
    );
    refuses_while_spoilt(
        "the file beside it cannot be made",
        |path| std::fs::create_dir(beside(path, ".new")).unwrap(),
        |path| std::fs::remove_dir(beside(path, ".new")).unwrap(),
    );
    refuses_while_spoilt(
        "the file cannot be replaced",
        |path| {
            std::fs::rename(path, beside(path, ".kept")).unwrap();
            std::fs::create_dir(path).unwrap();
        },
        |path| {
            std::fs::remove_dir(path).unwrap();
            std::fs::rename(beside(path, ".kept"), path).unwrap();
        },
    );
}
