//! The cursor of a watch: read from a file at the start, saved after what it stands for was printed.

use omnirelay_wire::reasons;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::frame::error::CliError;

/// Position where a watch stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchPosition {
    /// Empty before the first.
    at: String,
    saved: String,
    /// It is a place, and not a time or a duration that somebody asked to begin with.
    is_place: bool,
    file: Option<PathBuf>,
}

impl WatchPosition {
    /// The cursor given by `since`, or else by `file`; a file that is not there is an empty one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn begin(since: Option<&str>, file: Option<&Path>) -> Result<Self, CliError> {
        let saved = match file.map(std::fs::read_to_string) {
            Some(Ok(text)) => text.trim().to_owned(),
            Some(Err(error)) if error.kind() == ErrorKind::NotFound => String::new(),
            Some(Err(error)) => return Err(unusable("read", file, &error)),
            None => String::new(),
        };
        let at = since.map_or_else(|| saved.clone(), str::to_owned);
        Ok(Self { is_place: is_place(&at), at, saved, file: file.map(Path::to_path_buf) })
    }

    pub(crate) fn at(&self) -> &str {
        &self.at
    }

    /// Moves to `cursor`; an empty one, as inside a snapshot, moves nothing.
    pub(crate) fn advance(&mut self, cursor: &str) {
        if !cursor.is_empty() {
            cursor.clone_into(&mut self.at);
            self.is_place = true;
        }
    }

    /// Forgets where it stood, as after a reset.
    pub(crate) fn forget(&mut self) {
        self.at.clear();
    }

    /// Whether the file is behind.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.file.is_some() && self.is_place && !self.at.is_empty() && self.at != self.saved
    }

    /// Saves the cursor; a crash leaves either the old or the new one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(&mut self) -> Result<(), CliError> {
        let Some(file) = self.file.as_deref().filter(|_| self.is_unsaved()) else { return Ok(()) };
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = file.with_file_name(name);
        let written = std::fs::write(&temporary, format!("{}\n", self.at))
            .and_then(|()| std::fs::rename(&temporary, file));
        written.map_err(|error| unusable("write", Some(file), &error))?;
        self.saved.clone_from(&self.at);
        Ok(())
    }
}

/// Whether a text is a cursor, `<epoch>:<revision>`, rather than a time or a duration.
fn is_place(text: &str) -> bool {
    let epoch = text.split_once(':').map_or("", |(epoch, _)| epoch);
    !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a file holds a cursor to go on from.
pub(crate) fn is_kept(file: Option<&Path>) -> bool {
    let kept = file.and_then(|file| std::fs::read_to_string(file).ok());
    kept.is_some_and(|kept| !kept.trim().is_empty())
}

fn unusable(what: &str, file: Option<&Path>, error: &std::io::Error) -> CliError {
    let file = file.unwrap_or(Path::new("")).display();
    CliError::local(reasons::CURSOR_FILE, format!("cannot {what} the cursor file {file}"), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_survives_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cur");
        let mut cursor = WatchPosition::begin(None, Some(&file)).unwrap();
        assert_eq!(cursor.at(), "");
        cursor.advance("1:7");
        cursor.advance("");
        assert!(cursor.is_unsaved());
        cursor.save().unwrap();
        assert!(!cursor.is_unsaved());
        assert_eq!(WatchPosition::begin(None, Some(&file)).unwrap().at(), "1:7");
        assert_eq!(WatchPosition::begin(Some("1:3"), Some(&file)).unwrap().at(), "1:3");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_watch_was_to_begin_with_is_not_saved() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cur");
        for since in ["10m", "2026-11-20T06:00:00Z"] {
            let mut cursor = WatchPosition::begin(Some(since), Some(&file)).unwrap();
            cursor.save().unwrap();
            assert!(!file.exists() && !cursor.is_unsaved(), "an hour later it would mean something else");
        }
        let mut cursor = WatchPosition::begin(Some("10m"), Some(&file)).unwrap();
        cursor.advance("1:3");
        cursor.save().unwrap();
        assert!(is_kept(Some(&file)));
        assert!(WatchPosition::begin(Some("1a:3.1,readiness=7"), Some(&file)).unwrap().is_unsaved());
    }

    #[test]
    fn forgotten_cursor_is_not_saved() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cur");
        let mut cursor = WatchPosition::begin(Some("1:3"), Some(&file)).unwrap();
        cursor.forget();
        cursor.save().unwrap();
        assert!(!file.exists());
    }
}
