//! A process is killed while it writes, again and again.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use omnirelay_store::embedded::EmbeddedOptions;
use omnirelay_store::{CommitOutcome, EmbeddedStore, Revision, Store};

use super::{Chance, Counting, Ledger};
use crate::harness::epoch;

/// How the test tells its child where to write.
const CHILD_DIR: &str = "STORE_TEST_WRITE_IN";
const WRITERS: usize = 8;
const DIRS: usize = 5;
const ROUNDS: usize = 20;

/// Not a test of its own: what the child of the test below does until it is killed.
#[test]
fn child_that_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(write_on(dir.as_ref()));
}

/// Every second start has a log that is full after a few batches.
fn options(dir: &Path) -> EmbeddedOptions {
    let starts = dir.join("starts");
    let started = std::fs::read(&starts).unwrap_or_default();
    std::fs::write(&starts, [&started, b".".as_slice()].concat()).unwrap();
    match started.len() % 2 {
        0 => EmbeddedOptions::default(),
        _ => EmbeddedOptions { segment_bytes: 64 * 1024, ..EmbeddedOptions::default() },
    }
}

async fn write_on(dir: &Path) {
    let clock = omnirelay_store::SystemClock::start();
    let store = std::sync::Arc::new(EmbeddedStore::open_with(dir, clock, options(dir)).unwrap());
    let writers = (0..WRITERS).map(|number| {
        let store = store.clone();
        async move {
            let mut counting = Counting::resume(store.as_ref(), &format!("w{number}")).await.unwrap();
            loop {
                let CommitOutcome::Done(entry) = store.commit(counting.commit()).await.unwrap() else {
                    panic!("replayed a new step");
                };
                // One write each, so that a kill cuts at most the last line.
                let line = format!("ack {} {}\n", counting.id(), entry.revision);
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                counting.count += 1;
            }
        }
    });
    futures_util::future::join_all(writers).await;
}

fn start(dir: &Path) -> Child {
    let name = concat!(module_path!(), "::child_that_writes_until_it_is_killed");
    let name = name.split_once("::").unwrap().1;
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets a child write for a while, kills it, and notes what it had acknowledged.
fn write_and_kill(dir: &Path, ledger: &Ledger, chance: &mut Chance) {
    let mut child = start(dir);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (first_ack, acked) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut acks = Vec::new();
        for line in lines.map_while(Result::ok) {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            // The harness of the child may put its own words before the first one.
            if let [.., ack, id, revision] = words.as_slice()
                && ack.ends_with("ack")
            {
                acks.push((id.clone(), Revision(revision.parse().unwrap())));
                let _ = first_ack.send(());
            }
        }
        acks
    });
    // Mostly under load, sometimes while it still opens the file or makes it.
    if chance.below(8) > 0 {
        acked.recv_timeout(Duration::from_secs(20)).expect("a first acknowledgement");
    }
    std::thread::sleep(Duration::from_micros(chance.below(150_000)));
    child.kill().unwrap();
    child.wait().unwrap();
    for (id, revision) in reader.join().unwrap() {
        ledger.note_made(&id, revision);
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let mut chance = Chance::seeded("kill");
    let mut acknowledged = 0;
    for _ in 0..DIRS {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::default();
        let mut first_epoch = None;
        for _ in 0..ROUNDS {
            write_and_kill(dir.path(), &ledger, &mut chance);
            // Mostly it is killed again before it was ever closed.
            if chance.below(3) > 0 {
                continue;
            }
            let store = EmbeddedStore::open(dir.path()).unwrap();
            let found = epoch(&store).await;
            assert_eq!(found, *first_epoch.get_or_insert(found), "a killed process leaves no copy");
            ledger.check(&store).await;
        }
        ledger.check(&EmbeddedStore::open(dir.path()).unwrap()).await;
        acknowledged += ledger.counts().0;
    }
    println!("{} kills, {acknowledged} acknowledged commits", DIRS * ROUNDS);
    assert!(acknowledged > DIRS * ROUNDS, "the load was a load");
}
