//! The file of the embedded store, and what it costs.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::embedded::{EmbeddedOptions, FILE_NAME, OpenError};
use omnirelay_store::{
    Clock, Commit, CommitError, CommitOutcome, EmbeddedStore, GroupId, GroupRef, LeaseOp, ManualClock,
    OpenGroup, OpenedGroup, Pulse, RecordId, RecordKind, Retention, Revision, Store, Write,
};
use redb::{Database, TableDefinition};

use super::disks::{Faults, SimDisk};
use super::power_loss::open;
use crate::harness::epoch;

const HOLD_IN: &str = "STORE_TEST_HOLD_IN";
const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(30);
const KEEP: Retention = Retention {
    log_age: LONG,
    log_entries_max: 100,
    tombstone_age: LONG,
    idempotency_age: LONG,
    idempotency_entries_max: 100,
};

async fn open_group(store: &EmbeddedStore, id: &str, ttl: Duration) -> GroupRef {
    let open = OpenGroup { epoch: epoch(store).await, id: GroupId(id.into()), ttl, secret: "secret".into() };
    match store.open_group(open).await.unwrap() {
        OpenedGroup::Open(group) => group.of,
        OpenedGroup::Held { until } => panic!("held until {until}"),
    }
}

async fn renew(store: &EmbeddedStore, group: &GroupRef) -> Option<Millis> {
    let epoch = Some(epoch(store).await);
    store.pulse(Pulse { epoch, renew: vec![group.clone()], ..Pulse::default() }).await.unwrap().renewed[0]
}

async fn make(store: &EmbeddedStore, commit: Commit) -> Result<CommitOutcome, CommitError> {
    store.commit(Commit { epoch: epoch(store).await, ..commit }).await
}

fn put(key: &str) -> Commit {
    let id = RecordId::new(RecordKind::of("thing"), key);
    Commit {
        writes: vec![Write::Put { id, value: Bytes::from_static(b"x"), group: None }],
        ..Commit::default()
    }
}

#[tokio::test]
async fn heartbeats_and_idleness_cost_no_sync() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let session = open_group(&store, "s", SHORT).await;
    make(&store, put("a")).await.unwrap();
    let before = disk.syncs();
    let epoch = crate::harness::epoch(&store).await;
    for _ in 0..20 {
        renew(&store, &session).await.expect("a deadline");
        store.housekeep(epoch, KEEP).await.unwrap();
        store.leases().await.unwrap();
    }
    let nothing = LeaseOp::Release { scope: "never held".into(), token: 1 };
    make(&store, Commit { leases: vec![nothing], ..Commit::default() }).await.unwrap();
    assert_eq!(disk.syncs(), before, "nothing waited for the disk");
    let long = open_group(&store, "long", LONG).await;
    let syncs = disk.syncs();
    renew(&store, &long).await.expect("a deadline");
    assert_eq!(disk.syncs(), syncs, "whatever its time to live is");
}

#[tokio::test]
async fn until_when_a_short_session_was_renewed_is_known_after_a_kill() {
    let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = ManualClock::at(Millis(1_000_000));
    let open = |dir: &Path| EmbeddedStore::open_with(dir, clock.clone(), EmbeddedOptions::default()).unwrap();
    let store = open(dir.path());
    let session = open_group(&store, "s", SHORT).await;
    for _ in 0..60 {
        clock.advance(Duration::from_secs(1));
        renew(&store, &session).await.expect("a deadline");
    }
    let renewed_at = clock.now();
    // What a process leaves that is killed now.
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copied.path().join(file.file_name())).unwrap();
    }
    clock.advance(Duration::from_secs(3));
    let store = open(copied.path());
    let beat = store.pulse(Pulse::default()).await.unwrap();
    let group = beat.moved.iter().find(|group| group.of == session).expect("it is told of");
    let silent = renewed_at.since(group.renewed_at);
    assert!(
        silent <= Duration::from_secs(1) && group.renewed_at <= renewed_at,
        "renewed at {}",
        group.renewed_at
    );
}

#[tokio::test]
async fn a_session_is_trusted_as_long_after_a_restart_as_it_was_told() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(Millis(1_000_000)));
    let reopen = || EmbeddedStore::open_with(dir.path(), clock.clone(), EmbeddedOptions::default()).unwrap();
    let store = reopen();
    let holder = open_group(&store, "holder", SHORT).await;
    let rival = open_group(&store, "rival", LONG).await;
    let acquire = |holder: &GroupRef| Commit {
        leases: vec![LeaseOp::Acquire { scope: "x".into(), holder: holder.clone(), token_floor: 0 }],
        ..Commit::default()
    };
    make(&store, acquire(&holder)).await.unwrap();
    clock.advance(Duration::from_millis(1500));
    let trusted_until = renew(&store, &holder).await.expect("a deadline");
    drop(store);
    // The rows have only the first deadline, which is past.
    clock.advance(Duration::from_millis(1500));
    let store = reopen();
    let refused = make(&store, acquire(&rival)).await;
    let Err(CommitError::LeaseHeld { until, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(until, trusted_until);
    clock.advance(until.since(clock.now()));
    make(&store, acquire(&rival)).await.unwrap();
}

#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&dir.path().join("new")).unwrap();
    let dir = dir.path().join("new");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(&dir.join(FILE_NAME))), (0o700, 0o600));
    drop(store);
    std::fs::set_permissions(dir.join(FILE_NAME), PermissionsExt::from_mode(0o644)).unwrap();
    let _store = EmbeddedStore::open(&dir).unwrap();
    assert_eq!(mode(&dir.join(FILE_NAME)), 0o600);
}

/// Not a test of its own: what the child of the test below does.
#[test]
fn child_that_holds_the_file() {
    let Some(dir) = std::env::var_os(HOLD_IN) else { return };
    let _store = EmbeddedStore::open(dir.as_ref()).unwrap();
    println!("\nholding");
    // Until the other end is closed.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_file_in_use_is_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |who: &str| match EmbeddedStore::open(dir.path()) {
        Err(error @ OpenError::Held { .. }) => {
            let path = dir.path().join(FILE_NAME).display().to_string();
            assert!(error.to_string().contains(&path), "{error}");
        }
        Err(other) => panic!("{who}: {other}"),
        Ok(_) => panic!("{who}: opened twice"),
    };
    let name = concat!(module_path!(), "::child_that_holds_the_file").split_once("::").unwrap().1;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(HOLD_IN, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "holding"));
    refused("another process");
    child.kill().unwrap();
    child.wait().unwrap();
    let _store = EmbeddedStore::open(dir.path()).unwrap();
    refused("the same process");
}

#[test]
fn a_file_of_a_newer_version_is_refused_untouched() {
    const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    drop(EmbeddedStore::open(dir.path()).unwrap());
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(ROWS).unwrap().insert([0, 0].as_slice(), 7_u32.to_be_bytes().as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let before = std::fs::read(&path).unwrap();
    match EmbeddedStore::open(dir.path()) {
        Err(OpenError::Newer { found: 7, .. }) => {}
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
    assert!(std::fs::read(&path).unwrap() == before, "the file was written to");
}

#[test]
fn a_file_that_is_no_store_is_refused_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    let junk = b"not a store, but somebody's file".repeat(1000);
    std::fs::write(&path, &junk).unwrap();
    let refused = EmbeddedStore::open(dir.path());
    assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{:?}", refused.err());
    assert!(std::fs::read(&path).unwrap() == junk);
}

#[tokio::test]
async fn a_store_that_was_never_finished_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("registry.new"), vec![0; 100_000]).unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    make(&store, put("a")).await.unwrap();
    assert!(!dir.path().join("registry.new").exists());
}

#[test]
fn each_start_makes_the_file_findable() {
    let disk = SimDisk::new();
    for starts in 1..=2 {
        drop(open(&disk));
        assert_eq!(disk.settled(), starts, "the first may have ended before it had done so");
    }
}

#[tokio::test]
async fn calls_in_flight_share_syncs() {
    let disk = SimDisk::new();
    let store = Arc::new(open(&disk));
    // Long enough that a busy machine lets most of the clients ask meanwhile.
    disk.set_faults(Faults { sync_takes: Duration::from_millis(20), ..Faults::default() });
    let before = disk.syncs();
    let clients = (0..64).map(|client| {
        let store = Arc::clone(&store);
        async move {
            for number in 0..10 {
                make(&store, put(&format!("k{client}-{number}"))).await.unwrap();
            }
        }
    });
    futures_util::future::join_all(clients).await;
    let per_sync = 640 / (disk.syncs() - before);
    println!("{per_sync} commits per sync");
    assert!(per_sync >= 16);
}

#[tokio::test]
async fn the_log_is_whole_where_memory_ends() {
    let disk = SimDisk::new();
    let store = open(&disk);
    for number in 0..1500 {
        make(&store, put(&format!("k{}", number % 7))).await.unwrap();
    }
    for after in [0, 1, 470, 476, 477, 1000, 1498] {
        let page = store.log(Revision(after), 100, Duration::ZERO).await.unwrap();
        assert_eq!(page.entries[0].previous, Revision(after));
        assert_eq!(page.entries.len() as u64, (1500 - after).min(100));
        assert!(page.entries.windows(2).all(|two| two[1].previous == two[0].revision));
    }
}
