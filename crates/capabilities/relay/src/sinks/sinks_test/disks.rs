//! Disks that are full, fail or are slow.

use std::io::{self, ErrorKind};

use omnirelay_settings::FileCompression;

use super::super::file::{Disk, FileSettings, FileWriter, OpenFile, RealDisk};
use super::*;

/// Somebody has compressed a file of the same name at the last moment.
struct Raced(AtomicBool);

impl Disk for Raced {
    fn create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        if !self.0.swap(true, Ordering::SeqCst) {
            std::fs::write(path.with_extension("jsonl.zst"), b"whole")?;
        }
        RealDisk.create(path)
    }
}

/// Faults of a disk.
#[derive(Default)]
struct Faults {
    /// How many bytes still fit; a write beyond writes those and fails.
    room: Mutex<Option<usize>>,
    kind: Mutex<Option<ErrorKind>>,
    no_truncate: AtomicBool,
    no_sync: AtomicBool,
    syncs: AtomicUsize,
    /// Held while syncing must not end.
    sync_gate: Mutex<()>,
}

struct Faulty(Arc<Faults>);
struct FaultyFile(Arc<Faults>, Box<dyn OpenFile>);

impl Disk for Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        Ok(Box::new(FaultyFile(Arc::clone(&self.0), RealDisk.create(path)?)))
    }
}

impl OpenFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut room = self.0.room.lock();
        match room.as_mut() {
            Some(room) if *room < bytes.len() => {
                self.1.append(&bytes[..*room])?;
                *room = 0;
                Err(self.0.kind.lock().unwrap_or(ErrorKind::StorageFull).into())
            }
            Some(room) => {
                *room -= bytes.len();
                self.1.append(bytes)
            }
            None => self.1.append(bytes),
        }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        if self.0.no_truncate.load(Ordering::SeqCst) {
            return Err(ErrorKind::Other.into());
        }
        self.1.truncate(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        drop(self.0.sync_gate.lock());
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        if self.0.no_sync.load(Ordering::SeqCst) {
            return Err(ErrorKind::Other.into());
        }
        self.1.sync()
    }
}

fn settings(folder: &Path, synced: bool) -> FileSettings {
    FileSettings {
        folder: folder.to_owned(),
        prefix: "t".to_owned(),
        rotate_every: Duration::from_secs(3600),
        rotate_bytes: 1 << 30,
        compress: FileCompression::None,
        files_max: 0,
        synced,
    }
}

/// The numbers of all whole lines, by file; asserts that only the end of a file may be half a line.
fn read(folder: &Path) -> Vec<Vec<u64>> {
    let of = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).unwrap();
        let whole = text.rfind('\n').map_or("", |at| &text[..at]);
        seqs(whole).into_iter().map(|(_, seq)| seq).collect()
    };
    files_in(folder).iter().map(of).collect()
}

#[tokio::test]
async fn what_was_half_written_never_stays_in_the_middle() {
    let cases = [
        // what                              error, truncates, files after it
        ("no room", ErrorKind::StorageFull, true, 1),
        ("another error", ErrorKind::Other, true, 2),
        ("no room, cannot be taken back", ErrorKind::StorageFull, false, 2),
    ];
    for (what, kind, truncates, files) in cases {
        let place = tempfile::tempdir().unwrap();
        let faults = Arc::new(Faults::default());
        *faults.kind.lock() = Some(kind);
        faults.no_truncate.store(!truncates, Ordering::SeqCst);
        let mut writer = FileWriter::on(Box::new(Faulty(Arc::clone(&faults))), settings(place.path(), false));
        writer.write(&[item("a", [0])]).await.unwrap();
        *faults.room.lock() = Some(300);
        let failed = writer.write(&[item("a", 1..4)]).await;
        assert!(
            matches!(&failed, Err(WriteError::Failed(said)) if said.contains("cannot write")),
            "{failed:?}"
        );
        *faults.room.lock() = None;
        writer.write(&[item("a", 1..4)]).await.unwrap();
        writer.close().await.unwrap();
        let read = read(place.path());
        assert_eq!(read.len(), files, "{what}");
        let mut all: Vec<u64> = read.concat();
        all.sort_unstable();
        if truncates {
            assert_eq!(all, [0, 1, 2, 3], "{what}");
            let text: String =
                files_in(place.path()).iter().map(|f| std::fs::read_to_string(f).unwrap()).collect();
            assert_eq!(text.lines().count(), 4, "{what}: nothing half is left");
        } else {
            all.dedup();
            assert_eq!(all, [0, 1, 2, 3], "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn durability_is_what_was_asked_for() {
    for (when, waits) in
        [(AcknowledgeWhen::Queued, false), (AcknowledgeWhen::Written, false), (AcknowledgeWhen::Synced, true)]
    {
        let place = tempfile::tempdir().unwrap();
        let faults = Arc::new(Faults::default());
        let disk = Box::new(Faulty(Arc::clone(&faults)));
        let writer = FileWriter::on(disk, settings(place.path(), when == AcknowledgeWhen::Synced));
        let kind = SinkKind { name: "file", acknowledges: true, patience: PATIENCE };
        let sink =
            Sink::start(spec_of(kind, &QueueConfig::default(), when), Box::new(writer), counts("file"));
        let sinks = sinks_of(vec![sink]);
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (ready, begun) = std::sync::mpsc::channel();
        let gate = Arc::clone(&faults);
        let holder = std::thread::spawn(move || {
            let _gate = gate.sync_gate.lock();
            ready.send(()).unwrap();
            let _ = held.recv();
        });
        begun.recv().unwrap();
        let mut done = Box::pin(sinks.take(batch("a", [0])).await.done());
        if waits {
            eventually("it is written", || read(place.path()).concat() == [0]).await;
            assert!(futures_util::poll!(&mut done).is_pending(), "{when:?}");
        } else {
            assert_eq!((&mut done).await, Ok(()), "{when:?}");
            assert_eq!(faults.syncs.load(Ordering::SeqCst), 0);
        }
        drop(hold);
        holder.join().unwrap();
        if waits {
            assert_eq!(done.await, Ok(()));
        }
        sinks.close(PATIENCE).await;
        assert!(faults.syncs.load(Ordering::SeqCst) > 0, "{when:?}: synced at the end at the latest");
        assert_eq!(read(place.path()).concat(), [0], "{when:?}");
    }
}

#[tokio::test]
async fn written_means_written_and_queued_does_not() {
    for (when, fails) in [(AcknowledgeWhen::Queued, false), (AcknowledgeWhen::Written, true)] {
        let place = tempfile::tempdir().unwrap();
        let faults = Arc::new(Faults::default());
        *faults.room.lock() = Some(0);
        let writer = FileWriter::on(Box::new(Faulty(faults)), settings(place.path(), false));
        let kind = SinkKind { name: "file", acknowledges: true, patience: Duration::from_millis(100) };
        let sink =
            Sink::start(spec_of(kind, &QueueConfig::default(), when), Box::new(writer), counts("file"));
        let sinks = sinks_of(vec![sink]);
        assert_eq!(sinks.take(batch("a", [0])).await.done().await.is_err(), fails, "{when:?}");
        sinks.close(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn what_could_not_be_put_on_the_disk_is_written_anew() {
    let place = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let mut writer = FileWriter::on(Box::new(Faulty(Arc::clone(&faults))), settings(place.path(), true));
    writer.write(&[item("a", [0])]).await.unwrap();
    faults.no_sync.store(true, Ordering::SeqCst);
    assert!(writer.write(&[item("a", [1])]).await.is_err());
    faults.no_sync.store(false, Ordering::SeqCst);
    writer.write(&[item("a", [1])]).await.unwrap();
    writer.close().await.unwrap();
    let mut read = read(place.path());
    read.sort();
    assert_eq!(read, [[0], [1]], "in another file");
}

#[tokio::test]
async fn no_file_has_the_name_of_one_that_was_compressed() {
    let place = tempfile::tempdir().unwrap();
    let disk = Box::new(Raced(AtomicBool::new(false)));
    let mut writer = FileWriter::on(disk, settings(place.path(), false));
    writer.write(&[item("a", [0])]).await.unwrap();
    writer.close().await.unwrap();
    let names = |ending: &str| {
        let name = |file: PathBuf| file.to_str().and_then(|name| Some(name.strip_suffix(ending)?.to_owned()));
        files_in(place.path()).into_iter().filter_map(name).collect::<Vec<_>>()
    };
    let (plain, compressed) = (names(".jsonl"), names(".jsonl.zst"));
    assert_eq!((plain.len(), compressed.len()), (1, 1), "the empty one is gone");
    assert_ne!(plain, compressed);
}

/// A file system of 64 KiB.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(place.path());
        let mounted = mount.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success());
        mounted.then_some(Self(place))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

/// Runs this test again where this user is one who may mount.
fn again_as_one_who_mounts() {
    assert!(std::env::var_os(MAY_MOUNT).is_none(), "no file system can be mounted: mount(8) fails");
    let mut again = std::process::Command::new("unshare");
    again.args(["--user", "--map-root-user", "--mount"]).arg(std::env::current_exe().unwrap());
    let name = "a_full_disk_holds_whole_lines_and_goes_on_when_there_is_room";
    let status = again.args([name, "--nocapture"]).env(MAY_MOUNT, "1").status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "a full disk needs unshare(1): {status:?}");
}

/// Set for a run in which mounting must be possible.
const MAY_MOUNT: &str = "OMNIRELAY_TEST_MAY_MOUNT";

#[tokio::test]
async fn a_full_disk_holds_whole_lines_and_goes_on_when_there_is_room() {
    let Some(small) = Small::mount() else { return again_as_one_who_mounts() };
    let folder = small.0.path();
    std::fs::write(folder.join("ballast"), vec![0; 40 * 1024]).unwrap();
    let mut writer = FileWriter::open(settings(folder, false)).unwrap();
    let mut written = 0;
    let failed = loop {
        match writer.write(&[item("a", written * 10..written * 10 + 10)]).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "it is never full");
    };
    assert!(matches!(&failed, WriteError::Failed(said) if said.contains("No space left")), "{failed:?}");
    std::fs::remove_file(folder.join("ballast")).unwrap();
    writer.write(&[item("a", written * 10..written * 10 + 10)]).await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(read(folder), [(0..written * 10 + 10).collect::<Vec<_>>()]);
}
