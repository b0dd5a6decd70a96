//! What many callers see: marks only rise, no write comes behind its successor's, scopes are apart.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use omnirelay_sdk::{Admitted, FencingGate, Refused};

/// How long anything that should happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a call that must wait is watched. Too short, it only notices less.
const WATCHED: Duration = Duration::from_millis(200);

const STALE_WRITES: u64 = 1_000_000;
const STALE_WRITERS: u64 = 4;

/// Numbers that look random, from a seed.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[test]
fn no_write_comes_behind_one_of_a_successor() {
    let place = tempfile::tempdir().unwrap();
    let gate = FencingGate::open(place.path().join("marks")).unwrap();
    let written = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for number in 0..8 {
            let (gate, written) = (&gate, &written);
            threads.spawn(move || {
                let mut chance = number;
                for step in 0..500 {
                    let token = 1 + step / 20 + next(&mut chance) % 3;
                    let _ = gate.run("a", token, || written.lock().unwrap().push(token));
                }
            });
        }
    });
    let written = written.into_inner().unwrap();
    assert!(written.is_sorted(), "a stale write came through: {written:?}");
    assert_eq!(gate.mark("a"), written.last().copied());
    assert_eq!(gate.refused(), 8 * 500 - written.len() as u64);
}

#[test]
fn each_token_is_raised_by_one_caller_and_the_mark_only_rises() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("marks");
    let gate = FencingGate::open(&path).unwrap();
    let raised = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                let mut before = 0;
                for token in 1..=50 {
                    match gate.admit("a", token) {
                        Ok(Admitted::Raised) => _ = raised.fetch_add(1, Ordering::Relaxed),
                        Ok(Admitted::Current) => {}
                        Err(refused) => {
                            assert!(matches!(refused, Refused::Stale { mark, .. } if mark > token));
                        }
                    }
                    let mark = gate.mark("a").unwrap();
                    assert!(
                        mark >= before && mark >= token,
                        "{mark} after {before}, {token} was admitted or less"
                    );
                    before = mark;
                }
            });
        }
    });
    assert!(raised.into_inner() <= 50, "a token was raised twice");
    drop(gate);
    assert_eq!(FencingGate::open(&path).unwrap().mark("a"), Some(50));
}

#[test]
fn a_million_stale_writes_are_refused_beside_the_current_ones() {
    let place = tempfile::tempdir().unwrap();
    let gate = FencingGate::open(place.path().join("marks")).unwrap();
    let current = AtomicU64::new(1000);
    gate.admit("a", 1000).unwrap();
    let (stale_accepted, stale_tried, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let leader = || {
        let (mut tried, mut accepted) = (0_u64, 0_u64);
        while !stop.load(Ordering::Relaxed) || tried < 100 {
            let token = 1000 + tried / 50;
            tried += 1;
            accepted += u64::from(gate.run("a", token, || ()).is_ok());
            current.store(token, Ordering::Release);
        }
        (tried, accepted)
    };
    let stale = |number: u64| {
        let mut chance = number;
        for _ in 0..STALE_WRITES / STALE_WRITERS {
            let token = current.load(Ordering::Acquire) - 1 - next(&mut chance) % 900;
            stale_tried.fetch_add(1, Ordering::Relaxed);
            stale_accepted.fetch_add(u64::from(gate.run("a", token, || ()).is_ok()), Ordering::Relaxed);
        }
    };
    let (tried, accepted) = std::thread::scope(|threads| {
        let leading = threads.spawn(leader);
        let stale: Vec<_> = (0..STALE_WRITERS).map(|number| threads.spawn(move || stale(number))).collect();
        stale.into_iter().for_each(|thread| thread.join().unwrap());
        stop.store(true, Ordering::Relaxed);
        leading.join().unwrap()
    });
    println!("{tried} current writes, {STALE_WRITES} stale ones");
    assert_eq!((stale_tried.into_inner(), stale_accepted.into_inner()), (STALE_WRITES, 0));
    assert_eq!(accepted, tried, "a current write was refused");
    assert_eq!(gate.refused(), STALE_WRITES);
}

#[test]
fn a_successor_waits_for_the_write_under_way() {
    let gate = FencingGate::in_memory();
    let ended = AtomicBool::new(false);
    let (begun, has_begun) = mpsc::channel();
    let (succeeded, has_succeeded) = mpsc::channel();
    std::thread::scope(|threads| {
        let (gate, ended) = (&gate, &ended);
        threads.spawn(move || {
            let write = || {
                begun.send(()).unwrap();
                assert!(has_succeeded.recv_timeout(WATCHED).is_err(), "a successor was admitted meanwhile");
                ended.store(true, Ordering::SeqCst);
            };
            gate.run("a", 5, write).unwrap();
        });
        has_begun.recv_timeout(PATIENCE).unwrap();
        gate.admit("a", 6).unwrap();
        assert!(ended.load(Ordering::SeqCst), "the successor did not wait");
        // The write may have ended and taken its receiver along.
        let _ = succeeded.send(());
    });
}

#[test]
fn a_long_write_holds_up_neither_its_own_token_nor_other_scopes() {
    let place = tempfile::tempdir().unwrap();
    let gate = FencingGate::open(place.path().join("marks")).unwrap();
    let (begun, has_begun) = mpsc::channel();
    let (others_done, are_others_done) = mpsc::channel();
    std::thread::scope(|threads| {
        let gate = &gate;
        threads.spawn(move || {
            let write = || {
                begun.send(()).unwrap();
                are_others_done.recv_timeout(PATIENCE).expect("the others waited for this write");
            };
            gate.run("a", 5, write).unwrap();
        });
        has_begun.recv_timeout(PATIENCE).unwrap();
        gate.run("a", 5, || ()).unwrap();
        assert!(matches!(gate.admit("a", 4), Err(Refused::Stale { .. })));
        for token in 1..5 {
            gate.run("b", token, || ()).unwrap();
        }
        others_done.send(()).unwrap();
    });
}

#[test]
fn scopes_that_are_raised_together_are_all_durable() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("marks");
    let gate = FencingGate::open(&path).unwrap();
    std::thread::scope(|threads| {
        for number in 0..16 {
            let gate = &gate;
            threads.spawn(move || {
                for token in 1..=20 {
                    gate.admit(&format!("s{number}"), token).unwrap();
                }
            });
        }
    });
    drop(gate);
    let gate = FencingGate::open(&path).unwrap();
    for number in 0..16 {
        assert_eq!(gate.mark(&format!("s{number}")), Some(20), "s{number}");
    }
}

#[test]
fn whoever_waits_for_a_disk_that_fails_is_refused_and_served_later() {
    let place = tempfile::tempdir().unwrap();
    let (folder, aside) = (place.path().join("folder"), place.path().join("aside"));
    std::fs::create_dir(&folder).unwrap();
    let gate = FencingGate::open(folder.join("marks")).unwrap();
    let raise_all = |token: u64| -> Vec<Result<Admitted, Refused>> {
        std::thread::scope(|threads| {
            let gate = &gate;
            let raise = |number: u32| threads.spawn(move || gate.admit(&format!("s{number}"), token));
            let raising: Vec<_> = (0..16).map(raise).collect();
            raising.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    std::fs::rename(&folder, &aside).unwrap();
    for answer in raise_all(9) {
        assert!(matches!(answer, Err(Refused::Unrecorded { token: 9, .. })), "{answer:?}");
    }
    std::fs::rename(&aside, &folder).unwrap();
    for answer in raise_all(8) {
        assert_eq!(answer.unwrap(), Admitted::Raised);
    }
    drop(gate);
    let gate = FencingGate::open(folder.join("marks")).unwrap();
    for number in 0..16 {
        assert_eq!(gate.mark(&format!("s{number}")), Some(8), "s{number}: nothing is left of the refused 9");
    }
}

#[test]
fn what_is_admitted_is_kept_while_the_disk_comes_and_goes() {
    let place = tempfile::tempdir().unwrap();
    let (folder, aside) = (place.path().join("folder"), place.path().join("aside"));
    std::fs::create_dir(&folder).unwrap();
    let gate = FencingGate::open(folder.join("marks")).unwrap();
    let admitted = AtomicUsize::new(0);
    // A scope for each call, so that no later call makes up for one that was not recorded.
    let scope = |number: usize, step: usize| format!("s{number}-{step}");
    std::thread::scope(|threads| {
        for number in 0..8 {
            let (gate, admitted) = (&gate, &admitted);
            threads.spawn(move || {
                for step in 0..100 {
                    while gate.admit(&scope(number, step), 1).is_err() {}
                    admitted.fetch_add(1, Ordering::Release);
                }
            });
        }
        let is_done = || admitted.load(Ordering::Acquire) == 800;
        while !is_done() {
            let (refused_before, admitted_before) = (gate.refused(), admitted.load(Ordering::Acquire));
            std::fs::rename(&folder, &aside).unwrap();
            while !is_done() && gate.refused() == refused_before {
                std::thread::yield_now();
            }
            std::fs::rename(&aside, &folder).unwrap();
            while !is_done() && admitted.load(Ordering::Acquire) == admitted_before {
                std::thread::yield_now();
            }
        }
    });
    println!("{} refusals on the way", gate.refused());
    drop(gate);
    let gate = FencingGate::open(folder.join("marks")).unwrap();
    for (number, step) in (0..8).flat_map(|number| (0..100).map(move |step| (number, step))) {
        assert_eq!(gate.mark(&scope(number, step)), Some(1), "{}", scope(number, step));
    }
}
