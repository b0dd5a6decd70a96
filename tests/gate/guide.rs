//! The example of `docs/guides/fencing.md` is the code below, which is compiled and run here.

use omnirelay_sdk::{FencingGate, Refused};

use crate::example::Ledger;

const GUIDE: &str = include_str!("../../docs/guides/fencing.md");

/// What stands in the `rust` blocks of a guide.
fn rust(guide: &str) -> Vec<String> {
    let blocks = guide.split("```rust\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_guide_shows_the_example_that_is_tested() {
    assert_eq!(rust(GUIDE), [include_str!("example.rs")]);
}

#[test]
fn the_example_refuses_a_stale_leader() {
    let place = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(place.path()).unwrap();
    ledger.append("orders", 7, "first").unwrap();
    ledger.append("orders", 8, "second").unwrap();
    let error = ledger.append("orders", 7, "too late").unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(Refused::Stale { token: 7, mark: 8, .. })), "{error}");
    let written = std::fs::read_to_string(place.path().join("ledger.txt")).unwrap();
    assert_eq!(written, "first\nsecond\n");
    assert!(FencingGate::open(place.path().join("fences")).is_err(), "it keeps its marks where it says");
}
