//! Restoring of a catalogue when the registry begins a new epoch.

use omnirelay_registry::epoch_loss::EpochLoss;
use omnirelay_restoration::trouble;

use super::*;

/// Two daemons, each with a path of its own to the store.
struct Mesh {
    clock: PausedClock,
    paths: [Arc<Faulty>; 2],
    a: Daemon,
    b: Daemon,
}

async fn mesh() -> Mesh {
    let clock = PausedClock(Instant::now());
    let shared = Arc::new(MemoryStore::new(clock));
    let paths = [Faulty::over(shared.clone()), Faulty::over(shared)];
    let a = daemon(paths[0].clone(), "a").await;
    let b = daemon(paths[1].clone(), "b").await;
    Mesh { clock, paths, a, b }
}

impl Mesh {
    /// Puts another store in the place of the present one and waits for what follows.
    async fn fail_over(&self, next: &Arc<MemoryStore>) {
        self.paths.iter().for_each(|path| path.swap(next.clone()));
        sleep(TTL * 3).await;
    }
}

async fn put(store: &MemoryStore, writer: &str, id: &RecordId, name: &str) {
    let epoch = store.pulse(Pulse::default()).await.unwrap().epoch;
    let value = RegisterValue { name: name.to_owned(), ..RegisterValue::default() };
    let writes = vec![Write::Put { id: id.clone(), value: value.encode_to_vec().into(), group: None }];
    store.commit(Commit { epoch, writes, writer: writer.into(), ..Commit::default() }).await.unwrap();
}

async fn remove(store: &MemoryStore, id: &RecordId) {
    let epoch = store.pulse(Pulse::default()).await.unwrap().epoch;
    let writes = vec![Write::Delete { id: id.clone() }];
    store.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
}

fn told(daemon: &Daemon) -> EpochLoss {
    daemon.registry.losses().told(daemon.registry.view()).pop().unwrap()
}

fn name_of(daemon: &Daemon, node_id: &str, register_id: &str) -> Option<String> {
    value(daemon, node_id, register_id).map(|value| value.name.clone())
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_lost_registers_are_restored_by_their_node() {
    let mesh = mesh().await;
    let mut request = import(items(10_000));
    request.registers[7].name = Some("seven".to_owned());
    request.registers[7].advertise = Some(true);
    imported(&mesh.a, request).await;
    created(&mesh.b, new("of-b")).await;
    sleep(TTL).await;
    let next = Arc::new(MemoryStore::new(mesh.clock));
    mesh.fail_over(&next).await;
    for daemon in [&mesh.a, &mesh.b] {
        assert_eq!((ids(daemon, "a").len(), ids(daemon, "b").len()), (10_000, 1));
    }
    let told = told(&mesh.a);
    assert_eq!((told.count(), told.restored), (10_003, 10_003), "with two peers");
    assert!(value(&mesh.b, "a", "r000007").unwrap().advertise);
    assert_eq!(name_of(&mesh.b, "a", "r000007").as_deref(), Some("seven"));
    let log = next.log(Revision(0), 1000, Duration::ZERO).await.unwrap();
    let of_a = |entry: &&Arc<LogEntry>| entry.changes[0].after.id.key.starts_with("a/");
    // Each has its audit record besides.
    let pieces: Vec<usize> = log.entries.iter().filter(of_a).map(|entry| entry.changes.len() - 1).collect();
    assert_eq!((pieces.len(), pieces.iter().sum::<usize>()), (79, 10_000));
    assert!(log.entries.iter().filter(of_a).all(|entry| &*entry.writer == "a"), "its node comes first");
    let lines: Vec<String> = audited(next.as_ref()).await.into_iter().flat_map(|it| it.changes).collect();
    assert!(lines.contains(&"register: 10001 lost".to_owned()), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_written_or_deleted_in_the_new_epoch_is_left_alone() {
    let mesh = mesh().await;
    for id in ["gone", "written", "removed", "older", "changed"] {
        created(&mesh.a, pb::CreateRegisterRequest { name: "old".to_owned(), ..new(id) }).await;
    }
    sleep(TTL).await;
    let next = Arc::new(MemoryStore::new(mesh.clock));
    let record = |id: &str| register_record("a", id);
    for id in ["older", "changed"] {
        put(&next, "a", &record(id), "old").await;
        let named = pb::UpdateRegisterRequest { name: Some("new".to_owned()), ..update(id) };
        updated(&mesh.a, named).await;
    }
    sleep(TTL).await;
    mesh.paths.iter().for_each(|path| path.fall_ill(EVERY_CALL, Ill::Fails));
    sleep(TTL).await;
    put(&next, "c", &record("written"), "theirs").await;
    put(&next, "c", &record("removed"), "theirs").await;
    remove(&next, &record("removed")).await;
    put(&next, "c", &record("changed"), "theirs").await;
    mesh.paths.iter().for_each(|path| path.recover());
    mesh.fail_over(&next).await;
    for daemon in [&mesh.a, &mesh.b] {
        assert_eq!(name_of(daemon, "a", "gone").as_deref(), Some("old"));
        assert_eq!(
            name_of(daemon, "a", "older").as_deref(),
            Some("new"),
            "the older copy is no word of the new epoch"
        );
        assert_eq!(name_of(daemon, "a", "written").as_deref(), Some("theirs"));
        assert_eq!(name_of(daemon, "a", "changed").as_deref(), Some("theirs"));
        assert_eq!(name_of(daemon, "a", "removed"), None);
    }
    assert!(mesh.a.registry.losses().own_of(&REGISTER).is_empty(), "all are settled");
}

#[tokio::test(start_paused = true)]
async fn a_restoration_that_is_refused_is_tried_again() {
    let mesh = mesh().await;
    imported(&mesh.a, import(items(1000))).await;
    sleep(TTL).await;
    let next = Arc::new(MemoryStore::new(mesh.clock));
    mesh.paths[0].fall_ill([Method::Scan], Ill::Fails);
    mesh.paths[0].swap(next.clone());
    sleep(TTL).await;
    assert!(ids(&mesh.b, "a").len() == 1000, "b has not failed over yet");
    mesh.paths[0].recover();
    mesh.paths[0].fall_ill([Method::Commit], Ill::Fails);
    mesh.paths[1].swap(next.clone());
    sleep(TTL / 2).await;
    assert!(ids(&mesh.b, "a").is_empty(), "its node has the first turn");
    mesh.paths[0].recover();
    sleep(TTL / 2).await;
    assert_eq!(ids(&mesh.b, "a").len(), 1000);
    let writers = writers_of(&mesh.b, "a");
    assert_eq!(writers, ["a".to_owned()].into());
}

fn writers_of(daemon: &Daemon, node_id: &str) -> BTreeSet<String> {
    let records = daemon.registry.view().list(&REGISTER).records;
    let of_node = records.iter().filter(|of| of.record.id.key.starts_with(&format!("{node_id}/")));
    of_node.map(|of| of.record.writer.to_string()).collect()
}

/// Its node may be down, or have ended and know nothing of them.
#[tokio::test(start_paused = true)]
async fn registers_of_a_node_that_does_not_come_are_put_back_by_another() {
    for starts_anew in [false, true] {
        let mut mesh = mesh().await;
        imported(&mesh.a, import(items(300))).await;
        created(&mesh.b, new("of-b")).await;
        sleep(TTL).await;
        let (next, path) = (Arc::new(MemoryStore::new(mesh.clock)), mesh.paths[0].clone());
        drop(mesh.a);
        mesh.paths.iter().for_each(|path| path.swap(next.clone()));
        if starts_anew {
            sleep(TTL / 4).await;
            mesh.a = daemon(path, "a").await;
            let anew = pb::CreateRegisterRequest { node_id: "a".to_owned(), ..new("r000007") };
            let refused = mesh.b.registers.create(called(anew, |_| {})).await;
            assert_eq!(reason_of(refused), "STORE_UNAVAILABLE", "nobody makes it anew meanwhile");
            sleep(TTL * 2).await;
            assert_eq!(ids(&mesh.a, "a").len(), 300);
        }
        sleep(TTL * 3).await;
        assert_eq!((ids(&mesh.b, "a").len(), ids(&mesh.b, "b").len()), (300, 1), "{starts_anew}");
        assert_eq!(writers_of(&mesh.b, "a"), ["b".to_owned()].into());
        assert_eq!(trouble(&mesh.b.registry), None);
    }
}
