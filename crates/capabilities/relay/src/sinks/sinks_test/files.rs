//! Files as they are left behind.

use std::io::Read;

use omnirelay_settings::{FileCompression, FileSinkConfig, SinksConfig};

use super::super::file::{FileSettings, FileWriter};
use super::*;

fn settings(folder: &Path) -> FileSettings {
    FileSettings {
        folder: folder.to_owned(),
        prefix: "t".to_owned(),
        rotate_every: Duration::from_secs(3600),
        rotate_bytes: 1 << 30,
        compress: FileCompression::None,
        files_max: 0,
        synced: false,
    }
}

fn text_of(files: &[PathBuf]) -> String {
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

fn unpacked(files: &[PathBuf]) -> String {
    let mut text = String::new();
    for file in files {
        let file = std::fs::File::open(file).unwrap();
        zstd::Decoder::new(file).unwrap().read_to_string(&mut text).unwrap();
    }
    text
}

fn all(count: u64) -> Vec<(String, u64)> {
    (0..count).map(|seq| ("a".to_owned(), seq)).collect()
}

#[tokio::test]
async fn a_burst_is_in_the_file_when_it_is_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("deep/telemetry");
    let config = SinksConfig::default();
    let sinks = Sinks::open(&config, AcknowledgeWhen::Written, &folder, metrics(), &Arc::default()).unwrap();
    let mut handed = Vec::new();
    for at in 0..100 {
        handed.push(sinks.take(batch("a", at * 10..at * 10 + 10)).await);
    }
    for handed in handed {
        handed.done().await.unwrap();
    }
    let files = files_in(&folder);
    assert_eq!(files.len(), 1);
    assert_eq!(seqs(&text_of(&files)), all(1000));
    sinks.close(PATIENCE).await;
    assert_eq!(files_in(&folder), files);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_told() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let folder = file.join("telemetry");
    let config = SinksConfig {
        file: FileSinkConfig { path: Some(folder.clone()), ..FileSinkConfig::default() },
        ..SinksConfig::default()
    };
    let refused =
        Sinks::open(&config, AcknowledgeWhen::Written, Path::new("/nowhere"), metrics(), &Arc::default());
    let said = refused.err().unwrap().to_string();
    assert!(said.contains(&*folder.to_string_lossy()) && said.contains("relay.sinks.file.path"), "{said}");
}

#[tokio::test]
async fn a_file_that_is_large_is_followed_by_another() {
    let place = tempfile::tempdir().unwrap();
    let line = item("a", [1]).lines().text.len() as u64;
    let mut writer =
        FileWriter::open(FileSettings { rotate_bytes: 3 * line, ..settings(place.path()) }).unwrap();
    for seq in 1..7 {
        writer.write(&[item("a", [seq])]).await.unwrap();
    }
    writer.write(&[item("a", 7..9), item("a", 9..20)]).await.unwrap();
    writer.write(&[item("a", [20])]).await.unwrap();
    writer.close().await.unwrap();
    let files = files_in(place.path());
    let lines: Vec<usize> =
        files.iter().map(|file| text_of(std::slice::from_ref(file)).lines().count()).collect();
    let mut sorted = lines.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [1, 3, 3, 13], "{files:?}: one write is never divided");
}

#[tokio::test]
async fn a_file_that_is_old_is_followed_by_another_when_there_is_something_to_write() {
    let place = tempfile::tempdir().unwrap();
    let every = Duration::from_millis(30);
    let mut writer =
        FileWriter::open(FileSettings { rotate_every: every, ..settings(place.path()) }).unwrap();
    assert_eq!(writer.due(), None, "nothing was written");
    writer.write(&[item("a", [0])]).await.unwrap();
    let due = writer.due().unwrap();
    tokio::time::sleep_until(due).await;
    writer.attend().await;
    assert_eq!(writer.due(), None, "it is closed");
    assert_eq!(files_in(place.path()).len(), 1, "and no empty one is begun");
    writer.write(&[item("a", [1])]).await.unwrap();
    tokio::time::sleep_until(writer.due().unwrap()).await;
    writer.write(&[item("a", [2])]).await.unwrap();
    writer.close().await.unwrap();
    assert_eq!(files_in(place.path()).len(), 3);
}

#[tokio::test]
async fn closed_files_are_compressed_and_hold_every_line() {
    let place = tempfile::tempdir().unwrap();
    let compressing =
        FileSettings { rotate_bytes: 1, compress: FileCompression::Zstd, ..settings(place.path()) };
    let mut writer = FileWriter::open(compressing.clone()).unwrap();
    for seq in 0..3 {
        writer.write(&[item("a", [seq])]).await.unwrap();
    }
    let packed =
        || files_in(place.path()).iter().filter(|file| file.extension().is_some_and(|e| e == "zst")).count();
    eventually("two files are compressed", || packed() == 2).await;
    eventually("and nothing else is left", || files_in(place.path()).len() == 3).await;
    writer.close().await.unwrap();
    drop(writer);

    // As a process leaves it that was killed while it compressed, and one that was killed just after.
    let left = files_in(place.path()).into_iter().find(|file| file.extension().unwrap() == "jsonl").unwrap();
    std::fs::write(left.with_extension("jsonl.zst.partial"), "half").unwrap();
    std::fs::write(place.path().join("t_4.jsonl.zst.partial"), "of one that is gone").unwrap();
    let done = place.path().join("t_5.jsonl");
    std::fs::write(&done, "{}\n").unwrap();
    std::fs::write(place.path().join("t_5.jsonl.zst"), zstd::encode_all(&b"{}\n"[..], 3).unwrap()).unwrap();
    let mut writer = FileWriter::open(compressing).unwrap();
    eventually("the next process does the rest", || packed() == 4 && files_in(place.path()).len() == 4).await;
    writer.close().await.unwrap();
    std::fs::remove_file(place.path().join("t_5.jsonl.zst")).unwrap();
    let mut read = seqs(&unpacked(&files_in(place.path())));
    read.sort();
    assert_eq!(read, all(3));
}

#[tokio::test]
async fn only_the_newest_files_are_kept() {
    let place = tempfile::tempdir().unwrap();
    for old in ["t_1.jsonl", "t_2.jsonl", "t_2_1.jsonl", "other_1.jsonl", "t_x.jsonl"] {
        std::fs::write(place.path().join(old), "{}\n").unwrap();
    }
    let keeping = FileSettings { rotate_bytes: 1, files_max: 2, ..settings(place.path()) };
    let mut writer = FileWriter::open(keeping).unwrap();
    for seq in 0..3 {
        writer.write(&[item("a", [seq])]).await.unwrap();
    }
    eventually("two and the strangers are left", || files_in(place.path()).len() == 4).await;
    let read = |files: Vec<PathBuf>| {
        text_of(
            &files
                .into_iter()
                .filter(|f| !f.ends_with("t_x.jsonl") && !f.ends_with("other_1.jsonl"))
                .collect::<Vec<_>>(),
        )
    };
    let mut kept: Vec<u64> = seqs(&read(files_in(place.path()))).into_iter().map(|(_, seq)| seq).collect();
    kept.sort_unstable();
    assert_eq!(kept, [1, 2]);
    writer.close().await.unwrap();
}

#[tokio::test]
async fn a_file_of_another_process_life_is_never_touched() {
    let place = tempfile::tempdir().unwrap();
    // Every name that the next minute could want.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for second in now..now + 60 {
        std::fs::write(place.path().join(format!("t_{second}.jsonl")), "old\n").unwrap();
        std::fs::write(place.path().join(format!("t_{second}_1.jsonl.zst")), "old\n").unwrap();
    }
    let mut writer = FileWriter::open(settings(place.path())).unwrap();
    writer.write(&[item("a", [0])]).await.unwrap();
    writer.close().await.unwrap();
    let (old, new): (Vec<_>, Vec<_>) =
        files_in(place.path()).into_iter().partition(|file| std::fs::read(file).unwrap() == b"old\n");
    assert_eq!((old.len(), new.len()), (120, 1));
    assert!(new[0].to_string_lossy().ends_with("_2.jsonl"), "{new:?}");
    assert_eq!(seqs(&text_of(&new)), all(1));
}

#[tokio::test]
async fn a_file_that_another_process_writes_is_not_compressed() {
    let place = tempfile::tempdir().unwrap();
    let compressing =
        FileSettings { compress: FileCompression::Zstd, files_max: 1, ..settings(place.path()) };
    let mut first = FileWriter::open(compressing.clone()).unwrap();
    first.write(&[item("a", [0])]).await.unwrap();
    let mut second = FileWriter::open(FileSettings { rotate_bytes: 1, ..compressing }).unwrap();
    for seq in 0..3 {
        second.write(&[item("b", [seq])]).await.unwrap();
    }
    eventually("the second's own files are looked after", || files_in(place.path()).len() == 2).await;
    first.write(&[item("a", [1])]).await.unwrap();
    let plain: Vec<PathBuf> =
        files_in(place.path()).into_iter().filter(|f| f.extension().unwrap() == "jsonl").collect();
    assert!(seqs(&text_of(&plain)).contains(&("a".to_owned(), 1)));
    first.close().await.unwrap();
    second.close().await.unwrap();
}
