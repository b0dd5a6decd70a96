//! What one caller sees: tables, a model, the limits, the log.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use omnirelay_sdk::gate::SCOPE_BYTES_MAX;
use omnirelay_sdk::{Admitted, FencingGate, Refused};
use proptest::prelude::*;

/// An answer in few words, to compare.
fn short(answer: Result<Admitted, Refused>) -> String {
    match answer {
        Ok(Admitted::Current) => "current".to_owned(),
        Ok(Admitted::Raised) => "raised".to_owned(),
        Err(Refused::Stale { scope, token, mark }) => format!("{scope}: {token} < {mark}"),
        Err(Refused::Unrecorded { .. }) => "unrecorded".to_owned(),
        Err(Refused::TooManyScopes { scopes_max, .. }) => format!("more than {scopes_max}"),
        Err(Refused::ScopeName { what }) => what.to_owned(),
        Err(Refused::NoToken { .. }) => "no token".to_owned(),
    }
}

/// Runs an empty write, and says how it went in the words of `admit`.
fn run(gate: &FencingGate, scope: &str, token: u64) -> String {
    let raises = gate.mark(scope).is_none_or(|mark| mark < token);
    short(gate.run(scope, token, || if raises { Admitted::Raised } else { Admitted::Current }))
}

#[test]
fn lower_tokens_are_refused_and_greater_ones_become_the_mark() {
    let steps = [
        // what                          scope  token      answer
        ("first token", "a", 5, "raised"),
        ("the same again", "a", 5, "current"),
        ("one less", "a", 4, "a: 4 < 5"),
        ("another scope begins anew", "b", 4, "raised"),
        ("a successor", "a", 6, "raised"),
        ("the one before it", "a", 5, "a: 5 < 6"),
        ("a leap", "a", u64::MAX, "raised"),
        ("nothing is above the last", "a", u64::MAX, "current"),
        ("one below the last", "a", u64::MAX - 1, "a: 18446744073709551614 < 18446744073709551615"),
        ("names differ by case", "A", 1, "raised"),
        ("no token", "a", 0, "no token"),
        ("no token for a new scope", "c", 0, "no token"),
        ("no name", "", 1, "is empty"),
        ("a line break", "a\n", 1, "has control characters"),
    ];
    let (admitting, running) = (FencingGate::in_memory(), FencingGate::in_memory());
    for (what, scope, token, answer) in steps {
        assert_eq!(short(admitting.admit(scope, token)), answer, "{what}: admit");
        assert_eq!(run(&running, scope, token), answer, "{what}: run");
    }
    assert_eq!((admitting.refused(), running.refused()), (7, 7));
    assert_eq!((admitting.mark("b"), admitting.mark("c")), (Some(4), None));
}

#[test]
fn a_refused_write_is_not_run() {
    let gate = FencingGate::in_memory();
    assert_eq!(gate.run("a", 2, || "written").unwrap(), "written");
    let mut written = false;
    assert!(matches!(gate.run("a", 1, || written = true), Err(Refused::Stale { token: 1, mark: 2, .. })));
    assert!(!written);
}

#[test]
fn a_panic_in_a_write_lets_go_of_the_scope() {
    let gate = FencingGate::in_memory();
    let outcome =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| gate.run("a", 1, || panic!("as planned"))));
    assert!(outcome.is_err());
    assert_eq!(short(gate.admit("a", 2)), "raised");
}

#[test]
fn names_and_numbers_of_scopes_are_limited() {
    let gate = FencingGate::in_memory();
    assert_eq!(short(gate.admit(&"x".repeat(SCOPE_BYTES_MAX), 1)), "raised");
    assert_eq!(short(gate.admit(&"x".repeat(SCOPE_BYTES_MAX + 1), 1)), "is longer than 256 bytes");

    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("marks");
    let gate = FencingGate::open_limited(&path, 2).unwrap();
    let answers = ["a", "b", "c", "a"].map(|scope| short(gate.admit(scope, 1)));
    assert_eq!(answers, ["raised", "raised", "more than 2", "current"]);
    assert_eq!(short(gate.admit("b", 2)), "raised", "known scopes go on");
    drop(gate);
    let lowered = FencingGate::open_limited(&path, 1).unwrap();
    assert_eq!(short(lowered.admit("b", 1)), "b: 1 < 2", "what is in the file is never left out");
}

#[test]
fn messages_say_what_to_do() {
    let gate = FencingGate::in_memory();
    gate.admit("orders", 7).unwrap();
    let stale = "stale fence token 6 for `orders`: 7 was admitted before; stop writing as its leader";
    let cases = [
        (gate.admit("orders", 6), stale),
        (gate.admit("orders", 0), "fence token 0 for `orders`: a token is at least 1; was it left out?"),
        (gate.admit("", 1), "the name of the scope is empty"),
    ];
    for (answer, said) in cases {
        assert_eq!(answer.unwrap_err().to_string(), said);
    }
}

proptest! {
    /// The gate is a map from scopes to the greatest token, across any number of restarts.
    #[test]
    fn the_gate_is_a_map_of_maxima(calls in proptest::collection::vec((0..4u8, 1..20u64, 0..8u8), 1..30)) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("marks");
        let mut gate = FencingGate::open(&path).unwrap();
        let mut model = BTreeMap::<String, u64>::new();
        for (scope, token, how) in calls {
            let scope = format!("s{scope}");
            let mark = model.get(&scope).copied().unwrap_or_default();
            let expected = match token.cmp(&mark) {
                std::cmp::Ordering::Less => format!("{scope}: {token} < {mark}"),
                std::cmp::Ordering::Equal => "current".to_owned(),
                std::cmp::Ordering::Greater => "raised".to_owned(),
            };
            let answer = if how % 2 == 0 { short(gate.admit(&scope, token)) } else { run(&gate, &scope, token) };
            prop_assert_eq!(answer, expected);
            model.insert(scope.clone(), mark.max(token));
            prop_assert_eq!(gate.mark(&scope), model.get(&scope).copied());
            if how == 7 {
                drop(gate);
                gate = FencingGate::open(&path).unwrap();
            }
        }
        drop(gate);
        let gate = FencingGate::open(&path).unwrap();
        for (scope, mark) in model {
            prop_assert_eq!(gate.mark(&scope), Some(mark));
        }
    }
}

/// What was logged, as text.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stale_leader_is_logged_once_however_often_it_tries() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .with_writer(move || writer.clone())
        .finish();
    let gate = FencingGate::in_memory();
    // With one subscriber in the process, only the thread that comes to a line first is asked whether it is wanted.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    tracing::subscriber::with_default(subscriber, || {
        gate.admit("orders", 7).unwrap();
        gate.admit("stock", 7).unwrap();
        for _ in 0..100 {
            let _ = gate.admit("orders", 6);
            let _ = gate.run("orders", 5, || ());
            let _ = gate.admit("stock", 6);
        }
    });
    let text = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let line =
        |scope: &str, token: u64| format!("WARN stale write refused scope=\"{scope}\" token={token} mark=7");
    assert_eq!(lines, [line("orders", 6), line("orders", 5), line("stock", 6)]);
    assert_eq!(gate.refused(), 300);
}
