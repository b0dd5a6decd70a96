//! Proof that a directory had a registry: a store file that is not there any more is then a loss, and no first start.

use std::fs::File;
use std::io;
use std::path::Path;

use super::failure::OpenError;
use super::files::{FILE_NAME, LOCK_NAME, PREPARED_NAME};
use super::note::{BatchNote, FoundNote};
use crate::whole_file::write_whole;
use crate::{Epoch, MissingFileAction};

/// Says which epoch a registry of this directory was in when it was last opened.
const MADE_NAME: &str = "registry.made";
const MADE_TEXT: &str = "this directory has a registry; epoch ";

/// Past of a directory: what it had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DirectoryPast {
    /// Nothing that is known: a first start, unless its file says otherwise.
    Unknown,
    /// A registry, which must be in its file.
    Registry,
    /// A registry in this epoch, 0 if that is not known, whose file was lost, which was accepted.
    Lost(Epoch),
}

impl DirectoryPast {
    /// The epoch whose loss was accepted.
    pub(super) fn lost(self) -> Option<Epoch> {
        match self {
            Self::Lost(epoch) => Some(epoch),
            Self::Unknown | Self::Registry => None,
        }
    }
}

/// Finds out what a directory had, and whether its store file was lost; makes way for a new one where that is accepted.
pub(super) fn past(dir: &Path, missing: MissingFileAction) -> Result<DirectoryPast, OpenError> {
    let path = dir.join(FILE_NAME);
    let io = |source| OpenError::Io { path: path.clone(), source };
    let gone = gone(&path).map_err(io)?;
    let Some(epoch) = proven(dir, gone).map_err(io)? else { return Ok(DirectoryPast::Unknown) };
    let Some(what) = gone else { return Ok(DirectoryPast::Registry) };
    match missing {
        MissingFileAction::Refuse => Err(OpenError::Lost { path, what }),
        MissingFileAction::AcceptLoss => {
            if what == EMPTY {
                std::fs::remove_file(&path).map_err(io)?;
            }
            Ok(DirectoryPast::Lost(epoch))
        }
    }
}

/// Notes durably that the directory has a registry, which is in this epoch.
pub(super) fn note(dir: &Path, epoch: Epoch) -> io::Result<()> {
    let path = dir.join(MADE_NAME);
    let text = made(epoch);
    if read(&path)?.is_some_and(|noted| noted == text) {
        return Ok(());
    }
    write_whole(&path, text.as_bytes())?;
    File::open(dir)?.sync_all()
}

/// What is said of an epoch: a line, and one with its checksum.
fn made(epoch: Epoch) -> String {
    let text = format!("{MADE_TEXT}{:x}\n", epoch.0);
    let sum = crc32fast::hash(text.as_bytes());
    format!("{text}crc32 {sum:08x}\n")
}

/// The epoch that is said; 0 where that is not known. Version 0.2 wrote no checksum.
fn epoch_in(text: &str) -> Epoch {
    let line = text.lines().next().unwrap_or_default();
    let told = line.strip_prefix(MADE_TEXT).and_then(|epoch| u64::from_str_radix(epoch, 16).ok()).map(Epoch);
    let is_whole = |epoch: &Epoch| text.lines().nth(1).is_none() || text == made(*epoch);
    told.filter(is_whole).unwrap_or_default()
}

const ABSENT: &str = "missing";
const EMPTY: &str = "empty";

/// How a store file is gone; `None`: there is something in it.
fn gone(path: &Path) -> io::Result<Option<&'static str>> {
    match std::fs::metadata(path) {
        Ok(there) => Ok((there.len() == 0).then_some(EMPTY)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(ABSENT)),
        Err(error) => Err(error),
    }
}

/// The epoch of the registry that there was, by what it left beside its file.
fn proven(dir: &Path, gone: Option<&str>) -> io::Result<Option<Epoch>> {
    if let Some(text) = read(&dir.join(MADE_NAME))? {
        return Ok(Some(epoch_in(&text)));
    }
    // Version 0.1 left none but this. A first start that ended before the file had its name has written it too.
    let unfinished = gone == Some(ABSENT) && dir.join(PREPARED_NAME).try_exists()?;
    let noted = read(&dir.join(LOCK_NAME))?
        .is_some_and(|text| BatchNote::read(text.as_bytes()) != FoundNote::Nothing);
    Ok((noted && !unfinished).then_some(Epoch(0)))
}

/// The text of a file; `None` if there is none.
fn read(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
