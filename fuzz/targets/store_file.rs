//! A data directory whose files were damaged: the store opens and says what it holds, or says that it is damaged.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use omnirelay_store::{Commit, EmbeddedStore, Epoch, RecordKind, Pulse, RecordId, Scan, Store, Write};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const THING: RecordKind = RecordKind::of("thing");

/// A sound directory, from which each run takes a copy.
struct Sound {
    runtime: Runtime,
    files: Vec<(String, Vec<u8>)>,
}

static SOUND: OnceLock<Sound> = OnceLock::new();

fn sound() -> Sound {
    // Whatever panics ends the run, but for the engine: the store makes an error of that.
    let ends = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|at| at.file().contains("/redb-")) {
            ends(panic);
        }
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    runtime.block_on(async {
        let store = EmbeddedStore::open(directory.path()).expect("a new store");
        let epoch = store.pulse(Pulse::default()).await.expect("it answers").epoch;
        for number in 0..50 {
            write(&store, epoch, number).await;
        }
    });
    let entries = std::fs::read_dir(directory.path()).expect("a directory").filter_map(Result::ok);
    let files = entries.filter_map(|entry| {
        Some((entry.file_name().into_string().ok()?, std::fs::read(entry.path()).ok()?))
    });
    Sound { runtime, files: files.collect() }
}

async fn write(store: &EmbeddedStore, epoch: Epoch, number: u32) {
    let id = RecordId::new(THING, format!("t{number}"));
    let value = Bytes::from(vec![number as u8; 200]);
    let commit = Commit {
        epoch,
        writes: vec![Write::Put { id, value, group: None }],
        writer: "fuzz".into(),
        ..Commit::default()
    };
    let _ = store.commit(commit).await;
}

/// Opens, reads and writes; every refusal is an error and not a panic.
async fn use_it(directory: &Path) {
    let Ok(store) = EmbeddedStore::open(directory) else { return };
    let _ = store.scan(Scan { kind: THING, after: None, backwards: false, limit: 100 }).await;
    if let Ok(beat) = store.pulse(Pulse::default()).await {
        write(&store, beat.epoch, 7).await;
    }
}

// Which file, and what is put where: a byte over what is there, or the file's new end.
fuzz_target!(|damage: (u8, Vec<(u32, u8)>, Option<u32>)| {
    let sound = SOUND.get_or_init(sound);
    let (which, bytes, end) = damage;
    let directory = TempDir::new().expect("a directory");
    for (number, (name, contents)) in sound.files.iter().enumerate() {
        let mut contents = contents.clone();
        if number == usize::from(which) % sound.files.len() && !contents.is_empty() {
            for (at, byte) in &bytes {
                let at = *at as usize % contents.len();
                contents[at] = *byte;
            }
            if let Some(end) = end {
                contents.truncate(end as usize % contents.len());
            }
        }
        std::fs::write(directory.path().join(name), contents).expect("a file");
    }
    sound.runtime.block_on(use_it(directory.path()));
});
