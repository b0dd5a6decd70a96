//! Another process has the gate: it keeps this one out, and is killed while it raises marks.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use omnirelay_sdk::{FencingGate, GateError};

/// How the test tells its child which marks to raise.
const CHILD_MARKS: &str = "GATE_TEST_RAISE_IN";
const WRITERS: usize = 4;
const KILLS: u64 = 40;

/// Not a test of its own: what the child of the tests below does until it is killed.
#[test]
fn child_that_raises_marks_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD_MARKS) else { return };
    let gate = FencingGate::open(Path::new(&path)).unwrap();
    std::thread::scope(|threads| {
        for number in 0..WRITERS {
            let gate = &gate;
            threads.spawn(move || {
                let scope = scope(number);
                for token in gate.mark(&scope).unwrap_or_default() + 1.. {
                    say(&format!("trying {number} {token}\n"));
                    gate.admit(&scope, token).unwrap();
                    say(&format!("admitted {number} {token}\n"));
                }
            });
        }
    });
}

fn scope(number: usize) -> String {
    format!("s{number}")
}

/// One write each, so that a kill cuts at most the last line.
fn say(line: &str) {
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// A child that is killed at the latest when this is dropped.
struct Raising {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Raising {
    fn start(path: &Path) -> Self {
        let name = "kill::child_that_raises_marks_until_it_is_killed";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(CHILD_MARKS, path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next `(word, number, token)` that it says; `None` after its end.
    fn next(&mut self) -> Option<(String, usize, u64)> {
        loop {
            let line = self.lines.next()?.ok()?;
            let words: Vec<&str> = line.split(' ').collect();
            // The harness of the child may put its own words before the first one.
            if let [.., word, number, token] = words.as_slice()
                && let Some(word) = ["trying", "admitted"].into_iter().find(|known| word.ends_with(known))
                && let (Ok(number), Ok(token)) = (number.parse(), token.parse())
            {
                return Some((word.to_owned(), number, token));
            }
        }
    }

    /// Kills it with SIGKILL.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Raising {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_second_process_is_locked_out_until_the_first_has_ended() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("marks");
    let mut child = Raising::start(&path);
    child.next().expect("the child has opened the gate");
    assert!(matches!(FencingGate::open(&path), Err(GateError::Locked { .. })));
    child.kill();
    FencingGate::open(&path).unwrap();
}

/// The greatest token of each writer that it tried, and that was admitted.
#[derive(Default)]
struct Said {
    trying: [u64; WRITERS],
    admitted: [u64; WRITERS],
}

impl Said {
    fn note(&mut self, (word, number, token): (String, usize, u64)) {
        let of = if word == "trying" { &mut self.trying } else { &mut self.admitted };
        of[number] = token;
    }
}

#[test]
fn no_admitted_token_is_forgotten_when_the_process_is_killed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("marks");
    let mut said = Said::default();
    for round in 0..KILLS {
        let mut child = Raising::start(&path);
        for _ in 0..20 + round {
            said.note(child.next().expect("it goes on until it is killed"));
        }
        // Anywhere in a write.
        std::thread::sleep(Duration::from_micros(round * 97 % 1500));
        child.kill();
        while let Some(last) = child.next() {
            said.note(last);
        }
        let gate = FencingGate::open(&path).unwrap();
        for number in 0..WRITERS {
            let mark = gate.mark(&scope(number)).unwrap_or_default();
            let (least, most) = (said.admitted[number], said.trying[number]);
            assert!((least..=most).contains(&mark), "round {round}: {mark} is not in {least}..={most}");
        }
    }
    println!("{KILLS} kills, admitted {:?}", said.admitted);
}
