//! Damage anywhere in the data directory: it is told, and ends neither the process nor a thread of the store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use omnirelay_store::{
    Commit, EmbeddedStore, GroupId, OpenGroup, RecordId, RecordKind, Revision, Scan, Store, StoreError, Write,
};

use super::Chance;
use crate::harness::epoch;

const ROUNDS: usize = 96;
const THING: RecordKind = RecordKind::of("thing");
/// How long a call of a damaged store may take.
const PATIENCE: Duration = Duration::from_secs(20);

async fn fill(dir: &Path) {
    let store = EmbeddedStore::open(dir).unwrap();
    let epoch = epoch(&store).await;
    for number in 0..200 {
        let id = RecordId::new(THING, format!("{number:04}"));
        let writes = vec![Write::Put { id, value: Bytes::from(vec![7; number * 8]), group: None }];
        store.commit(Commit { epoch, writes, ..Commit::default() }).await.unwrap();
    }
    for number in 0..20 {
        let (id, secret) = (GroupId(format!("g{number}")), "secret".to_owned());
        store.open_group(OpenGroup { epoch, id, ttl: Duration::from_secs(60), secret }).await.unwrap();
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.metadata().unwrap().len() > 0).collect();
    files.sort();
    files
}

/// Damages one file of the directory, the longer the likelier, and says how.
fn damage(dir: &Path, chance: &mut Chance) -> String {
    let files = files(dir);
    let length = |path: &PathBuf| path.metadata().unwrap().len();
    let mut place = chance.below(files.iter().map(length).sum());
    let path = files.iter().find(|path| {
        let here = place < length(path);
        place -= if here { 0 } else { length(path) };
        here
    });
    let path = path.unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let end = bytes.len() as u64;
    let what = match chance.below(4) {
        0 => {
            bytes.truncate(place as usize);
            format!("cut at {place}")
        }
        1 => {
            let to = (place + 4096).min(end);
            bytes[place as usize..to as usize].fill(0);
            format!("nothing from {place} to {to}")
        }
        2 => {
            // Where engines keep what they find the rest by.
            let at = chance.below(end.min(512));
            bytes[at as usize] ^= 1 << chance.below(8);
            format!("a bit at {at}")
        }
        _ => {
            let count = 1 + chance.below(64);
            for _ in 0..count {
                bytes[chance.below(end) as usize] = chance.next() as u8;
            }
            format!("{count} bytes anywhere")
        }
    };
    std::fs::write(path, &bytes).unwrap();
    format!("{}: {what}", path.file_name().unwrap().to_string_lossy())
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// Calls everything that a daemon calls; whatever a call says, it answers.
async fn use_it(store: &EmbeddedStore, what: &str) {
    let used = async {
        let epoch = match store.pulse(Default::default()).await {
            Ok(beat) => beat.epoch,
            Err(error) => return said(what, &error),
        };
        let page = store.scan(Scan { kind: THING, after: None, backwards: false, limit: 1000 }).await;
        page.err().iter().for_each(|error| said(what, error));
        store.log(Revision(1), 1000, Duration::ZERO).await.err().iter().for_each(|error| said(what, error));
        store.leases().await.err().iter().for_each(|error| said(what, error));
        let writes = vec![Write::Put { id: RecordId::new(THING, "new"), value: Bytes::new(), group: None }];
        let _ = store.commit(Commit { epoch, writes, ..Commit::default() }).await;
        // The threads of the store are still there.
        store.pulse(Default::default()).await.err().iter().for_each(|error| said(what, error));
    };
    tokio::time::timeout(PATIENCE, used).await.unwrap_or_else(|_| panic!("{what}: no answer"));
}

fn said(what: &str, error: &StoreError) {
    let text = format!("{error:?}");
    assert!(!text.contains("the store gave no answer"), "{what}: a panic was no store error: {text}");
}

#[tokio::test]
async fn damage_anywhere_is_told_and_ends_nothing() {
    let mut chance = Chance::seeded("damage_anywhere_is_told_and_ends_nothing");
    let sound = tempfile::tempdir().unwrap();
    fill(sound.path()).await;
    let mut refused = 0;
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        copy(sound.path(), dir.path());
        let what = format!("round {round}, {}", damage(dir.path(), &mut chance));
        let opened = std::panic::catch_unwind(|| EmbeddedStore::open(dir.path()));
        match opened.unwrap_or_else(|_| panic!("{what}: the process would have ended")) {
            Ok(store) => use_it(&store, &what).await,
            Err(error) => {
                let text = error.to_string();
                let told = text.contains("is damaged") || text.contains("is empty") || text.contains("newer");
                assert!(told, "{what}: {text}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "nothing was damaged");
}
