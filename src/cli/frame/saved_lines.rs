//! Lines that a daemon streams, saved in a file as they come: whole or not at all.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use omnirelay_core::text::hex;
use omnirelay_wire::reasons;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::error::{self, CliError};
use super::failure::CallFailure;
use super::output::OutputWriter;
use super::rpc::Call;
use super::session::CommandSession;

/// The longest line: a record with its largest value twice, in base64 and to read.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a daemon may say nothing between two lines.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// Lines that are saved, and the place for them.
pub(crate) struct SavedLines<'a> {
    /// `export`, `snapshot`.
    pub what: &'static str,
    /// `None`, or `-`: standard output.
    pub file: Option<&'a Path>,
    /// Whether a file that is there is written over.
    pub force: bool,
}

/// Writer of lines, and the hash of them.
struct HashingWriter<'a> {
    to: SaveTarget<'a>,
    hash: Sha256,
}

enum SaveTarget<'a> {
    Out(&'a mut OutputWriter),
    File { file: BufWriter<File>, temporary: PathBuf, path: PathBuf },
}

impl SavedLines<'_> {
    /// Saves what `call` streams. `each` is shown every line; `end` makes the last one, of the SHA-256 of all before it.
    ///
    /// # Errors
    /// The daemon's fault, `FILE_EXISTS`, `EXPORT_INCOMPLETE`, and what keeps the file from being written. Nothing is left then.
    pub(crate) async fn save(
        &self,
        session: &mut CommandSession,
        mut call: Call,
        mut each: impl FnMut(&Value),
        end: impl FnOnce(&Sha256) -> String,
    ) -> Result<(), CliError> {
        let file = self.file.filter(|file| file.as_os_str() != "-");
        // What is no file, such as /dev/null, cannot be lost.
        if let Some(path) = file.filter(|path| path.is_file() && !self.force) {
            return Err(CliError::new(
                reasons::FILE_EXISTS,
                format!("`{}` is there already", path.display()),
            )
            .hint("name another file, or write over it with --force"));
        }
        call.headers.push(("accept".to_owned(), "application/x-ndjson".to_owned()));
        let response = session.client()?.open(&call).await?;
        if !response.status().is_success() {
            // Asked again the usual way, the refusal is told the usual way.
            session.client()?.send(&call).await?;
        }
        let mut writer = HashingWriter::to(file, &mut session.out)?;
        let mut chunks = response.bytes_stream();
        let mut rest: Vec<u8> = Vec::new();
        let late = |_| self.cut(&CallFailure::timeout());
        while let Some(chunk) = timeout(SILENCE_MAX, chunks.next()).await.map_err(late)? {
            let chunk = chunk.map_err(|error| self.cut(&CallFailure::of(&error)))?;
            // Only what is new is looked through.
            let mut begun = rest.len();
            rest.extend_from_slice(&chunk);
            let mut taken = 0;
            while let Some(end) = rest[begun..].iter().position(|byte| *byte == b'\n') {
                let line = &rest[taken..=begun + end];
                each(&self.line(line)?);
                writer.line(line)?;
                (taken, begun) = (begun + end + 1, begun + end + 1);
            }
            rest.drain(..taken);
            if rest.len() > LINE_BYTES_MAX {
                let long = format!("a line is longer than {LINE_BYTES_MAX} bytes");
                return Err(self.cut(&CallFailure::garbled(long)));
            }
        }
        if !rest.is_empty() {
            return Err(self.cut(&CallFailure::closed()));
        }
        let last = end(&writer.hash);
        writer.write(last.as_bytes())?;
        writer.end()
    }

    fn line(&self, line: &[u8]) -> Result<Value, CliError> {
        let item: Value = serde_json::from_slice(line)
            .map_err(|_| self.cut(&CallFailure::garbled("a line was not JSON")))?;
        match item.get("error") {
            Some(problem) => {
                Err(error::from_problem(problem).unwrap_or_else(|| self.cut(&CallFailure::closed())))
            }
            None => Ok(item),
        }
    }

    fn cut(&self, failure: &CallFailure) -> CliError {
        let what = self.what;
        CliError::new(reasons::EXPORT_INCOMPLETE, format!("the {what} ended too soon"))
            .cause(failure.cause.clone())
            .hint("run the command again")
    }
}

/// The last line of what is saved: what all lines before it come to, how many of which sort and their SHA-256.
pub(crate) fn end_line(mut counts: Map<String, Value>, hash: &Sha256) -> String {
    counts.insert("sha256".to_owned(), hex(&hash.clone().finalize()).into());
    format!("{}\n", json!({ "end": counts }))
}

fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::local(reasons::OUTPUT, format!("cannot write `{}`", path.display()), error)
}

impl<'a> HashingWriter<'a> {
    fn to(file: Option<&Path>, out: &'a mut OutputWriter) -> Result<Self, CliError> {
        let to = match file {
            None => SaveTarget::Out(out),
            Some(path) => {
                let mut temporary = path.as_os_str().to_owned();
                temporary.push(format!(".{}.tmp", std::process::id()));
                let temporary = PathBuf::from(temporary);
                let mut options = File::options();
                let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
                let file = BufWriter::new(file.map_err(|error| unwritable(&temporary, &error))?);
                SaveTarget::File { file, temporary, path: path.to_owned() }
            }
        };
        Ok(Self { to, hash: Sha256::new() })
    }

    /// Takes a line as the daemon sent it.
    fn line(&mut self, line: &[u8]) -> Result<(), CliError> {
        self.hash.update(line);
        self.write(line)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match &mut self.to {
            SaveTarget::Out(out) => out.write(bytes),
            SaveTarget::File { file, temporary, .. } => {
                file.write_all(bytes).map_err(|error| unwritable(temporary, &error))
            }
        }
    }

    fn end(mut self) -> Result<(), CliError> {
        match &mut self.to {
            SaveTarget::Out(out) => out.flush(),
            SaveTarget::File { file, temporary, path } => {
                let kept = file.flush().and_then(|()| file.get_ref().sync_all());
                kept.and_then(|()| std::fs::rename(&temporary, &path))
                    .map_err(|error| unwritable(path, &error))
            }
        }
    }
}

impl Drop for HashingWriter<'_> {
    fn drop(&mut self) {
        if let SaveTarget::File { temporary, .. } = &self.to {
            // Renamed when it was complete; else what there is of it is of no use.
            let _ = std::fs::remove_file(temporary);
        }
    }
}
