//! The file of marks: a text of one line for each scope, replaced as a whole.
//!
//! ```text
//! omnirelay fence marks, version 1
//! 1795180357123 global-control
//! 1795180359004 shard/orders/7
//! end 2 53a4c1f09b7e2d68
//! ```
//!
//! It is written beside the old one, synced, renamed over it, and the directory is synced. A journal
//! would write less, but a crash can tear its last entry, and then a torn entry, which may be dropped,
//! looks like a damaged one, which had been admitted: dropping that would lower a mark. After a rename
//! the old file or the new one is there, whole, so whatever else is found is damage, and said. The price
//! is a write of the whole file for a greater token; that is once for each new leader, not for each write.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh64::xxh64;

use super::recorder::ScopeMarks;
use super::scope::{self, Name};
use super::{GateError, SCOPE_BYTES_MAX, SCOPES_MAX};

const HEADER: &str = "omnirelay fence marks, version 1";
/// What the lock file says once there are marks to lose.
const USED: &[u8] = b"a fencing gate keeps its marks beside this file\n";
const FILE_MODE: u32 = 0o600;
/// Twenty digits, two separators.
const LINE_BYTES_MAX: usize = SCOPE_BYTES_MAX + 22;
/// Longer files are not ours; the second term is for the first line and the last.
const FILE_BYTES_MAX: u64 = (SCOPES_MAX * LINE_BYTES_MAX + 128) as u64;

/// A locked file of marks. The lock ends with the process or with this value.
#[derive(Debug)]
pub(super) struct MarkFile {
    path: PathBuf,
    prepared: PathBuf,
    directory: PathBuf,
    lock: Lock,
}

/// A file that is locked until this is dropped.
#[derive(Debug)]
struct Lock(File);

/// Damage of a text of marks: what is wrong, and in which line, from 1.
#[derive(Debug, PartialEq, Eq)]
struct Damage {
    line: usize,
    what: String,
}

impl MarkFile {
    /// Locks the file and reads its marks. They are durable when this returns: a process that was killed
    /// may have left them renamed and not yet synced.
    pub(super) fn open(path: &Path) -> Result<(Self, ScopeMarks), GateError> {
        let refuse = |source| GateError::Open { path: path.to_owned(), source };
        // A later change of the working directory must not move it.
        let path = std::path::absolute(path).map_err(refuse)?;
        let lock_path = beside(&path, ".lock");
        let refuse = |source| GateError::Open { path: path.clone(), source };
        let lock = lock(&path, &lock_path)?;
        let was_used = lock.0.metadata().map_err(refuse)?.len() > 0;
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        let read = read_text(&path).map_err(refuse)?;
        let marks = match &read {
            Some(text) => parse(text).map_err(|Damage { line, what }| GateError::Damaged {
                path: path.clone(),
                lock: lock_path,
                line,
                what,
            })?,
            None if was_used => return Err(GateError::Vanished { path: path.clone(), lock: lock_path }),
            None => ScopeMarks::new(),
        };
        let mut file = Self { prepared: beside(&path, ".new"), path: path.clone(), directory, lock };
        match read {
            Some(_) => file.sync_directory().map_err(refuse)?,
            None => file.write(&marks).map_err(refuse)?,
        }
        if !was_used {
            file.lock.0.write_all(USED).map_err(refuse)?;
        }
        Ok((file, marks))
    }

    /// Replaces what the file holds. It is durable when this returns.
    ///
    /// # Errors
    /// Those of the file system. The file holds what it held, or, if the last step failed, `marks`.
    pub(super) fn write(&self, marks: &ScopeMarks) -> io::Result<()> {
        match std::fs::remove_file(&self.prepared) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&self.prepared)?;
        file.write_all(to_text(marks).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&self.prepared, &self.path)?;
        self.sync_directory()
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

impl Drop for Lock {
    /// Lets go of the lock even while a process that was just forked still has the file open.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn lock(path: &Path, lock_path: &Path) -> Result<Lock, GateError> {
    let refuse = |source| GateError::Open { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let file = options.open(lock_path).map_err(refuse)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(GateError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(refuse(source)),
    }
}

/// The content of the file; `None` if it is not there.
fn read_text(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::symlink_metadata(path) {
        // Renaming over a link would replace the link and leave what it names behind.
        Ok(metadata) if !metadata.is_file() => return Err(io::Error::other("it is no regular file")),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut text = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    Ok(Some(text))
}

fn to_text(marks: &ScopeMarks) -> String {
    let mut text = format!("{HEADER}\n");
    for (scope, mark) in marks {
        text.push_str(&mark.to_string());
        text.push(' ');
        text.push_str(scope);
        text.push('\n');
    }
    let end = end_line(marks.len(), text.as_bytes());
    text.push_str(&end);
    text
}

fn end_line(scopes: usize, before: &[u8]) -> String {
    format!("end {scopes} {:016x}\n", xxh64(before, 0))
}

fn parse(bytes: &[u8]) -> Result<ScopeMarks, Damage> {
    let damage = |line: usize, what: &str| Damage { line, what: what.to_owned() };
    let invalid = |at: usize| damage(line_of(bytes, at), "it is no text");
    let text = std::str::from_utf8(bytes).map_err(|error| invalid(error.valid_up_to()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(damage(1, "it is longer than any file of marks"));
    }
    if text.lines().next() != Some(HEADER) {
        return Err(damage(1, "it does not begin as a file of marks, version 1"));
    }
    let last = text.lines().count();
    let Some(at) = text.strip_suffix('\n').and_then(|text| text.rfind('\n')) else {
        return Err(damage(last, "it is cut off"));
    };
    let (body, end) = text.split_at(at + 1);
    if !end.starts_with("end ") {
        return Err(damage(last, "its last line is missing, so it is cut off"));
    }
    if end != end_line(last - 2, body.as_bytes()) {
        return Err(damage(last, "the sum of what stands before does not match"));
    }
    let lines = body.lines().enumerate().skip(1);
    lines.map(|(at, line)| mark(line).ok_or_else(|| damage(at + 1, "it is not a mark and a scope"))).collect()
}

fn line_of(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn mark(line: &str) -> Option<(Name, u64)> {
    let (mark, scope) = line.split_once(' ')?;
    scope::check_name(scope).ok()?;
    Some((Name::from(scope), mark.parse().ok().filter(|mark| *mark > 0)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marks(of: &[(&str, u64)]) -> ScopeMarks {
        of.iter().map(|(scope, mark)| (Name::from(*scope), *mark)).collect()
    }

    /// What a process that was forked and has not yet begun its program has open is the same open file.
    #[test]
    fn a_lock_is_let_go_of_while_a_forked_process_has_it_open() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("marks");
        let held = lock(&path, &beside(&path, ".lock")).unwrap();
        let forked = held.0.try_clone().unwrap();
        assert!(matches!(lock(&path, &beside(&path, ".lock")), Err(GateError::Locked { .. })));
        drop(held);
        assert!(lock(&path, &beside(&path, ".lock")).is_ok());
        drop(forked);
    }

    #[test]
    fn the_documented_form_is_the_form() {
        let text =
            to_text(&marks(&[("shard/orders/7", 1_795_180_359_004), ("global-control", 1_795_180_357_123)]));
        let lines: Vec<&str> = text.lines().collect();
        let shown = [
            "omnirelay fence marks, version 1",
            "1795180357123 global-control",
            "1795180359004 shard/orders/7",
        ];
        assert_eq!(lines[..3], shown);
        assert!(lines[3].starts_with("end 2 ") && lines[3].len() == 22, "{}", lines[3]);
    }

    #[test]
    fn damage_is_told_with_its_line() {
        let sealed = |body: &str| body.to_owned() + &end_line(body.lines().count() - 1, body.as_bytes());
        let good = to_text(&marks(&[("a", 1), ("b", 2)]));
        let cases = [
            ("empty", String::new(), 1),
            ("another file", "hello\nworld\n".to_owned(), 1),
            ("header alone", format!("{HEADER}\n"), 1),
            ("without its end", format!("{HEADER}\n1 a\n"), 2),
            ("without the last line break", good.trim_end().to_owned(), 4),
            ("a mark changed", good.replace("2 b", "1 b"), 4),
            ("a line taken out", good.replace("2 b\n", ""), 3),
            ("written twice", good.repeat(2), 8),
            ("zeros behind it", format!("{good}\0\0"), 5),
            ("no mark", sealed(&format!("{HEADER}\n1 a\nx b\n")), 3),
            ("mark of 0", sealed(&format!("{HEADER}\n0 a\n")), 2),
            ("no scope", sealed(&format!("{HEADER}\n1 \n")), 2),
        ];
        for (what, text, line) in cases {
            assert_eq!(parse(text.as_bytes()).map_err(|damage| damage.line), Err(line), "{what}");
        }
        assert_eq!(
            parse(b"omnirelay\n\xff").unwrap_err(),
            Damage { line: 2, what: "it is no text".to_owned() }
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(of in proptest::collection::btree_map("[^\\p{Cc}]{1,40}", 1..u64::MAX, 0..20)) {
            let marks: ScopeMarks = of.iter().map(|(scope, mark)| (Name::from(scope.as_str()), *mark)).collect();
            prop_assert_eq!(parse(to_text(&marks).as_bytes()), Ok(marks));
        }

        #[test]
        fn no_byte_can_change_unnoticed(at in 0..10_000usize, to in any::<u8>()) {
            let mut text = to_text(&marks(&[("global-control", 7), ("shard/orders/1", 1_795_180_357_123)])).into_bytes();
            let at = at % text.len();
            prop_assume!(text[at] != to);
            text[at] = to;
            prop_assert!(parse(&text).is_err());
        }
    }
}
