//! `audit export`: the trail as JSON lines that can be checked without a daemon.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt as _;
use omnirelay_core::text::{count, hex};
use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::audit_service;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::{RecordArgs, UntilArgs};
use crate::cli::frame::error::{self, CliError};
use crate::cli::frame::failure::Failure;
use crate::cli::frame::output::Out;
use crate::cli::frame::rpc::{Call, Leaf, Rpc};
use crate::cli::frame::session::Session;

pub const EXPORT: Rpc = audit_service::EXPORT;
pub const LEAF: Leaf = Leaf::read("audit export", &[&EXPORT]).exiting("0 1 2 4 5 6 8 9 11");

/// The longest line: a seal or a record with its largest value twice, in base64 and to read.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a daemon may say nothing inside an export.
const SILENCE_MAX: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  omnirelay audit export audit.jsonl
  omnirelay audit export audit.jsonl --force
  omnirelay audit export --since 24h | gzip > audit.jsonl.gz";

/// Write the trail and its seals as JSON lines
///
/// The newest records of the daemon that is asked are sealed first, if that takes no longer than 5s.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct ExportArgs {
    /// Where to write; standard output if it is not given, or -
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    records: RecordArgs,
    #[command(flatten)]
    until: UntilArgs,
}

/// Where lines go, and what they come to.
struct Writer<'a> {
    to: Target<'a>,
    hash: Sha256,
    records: u64,
    seals: u64,
}

enum Target<'a> {
    Out(&'a mut Out),
    File { file: BufWriter<File>, temporary: PathBuf, path: PathBuf },
}

pub async fn run(args: &ExportArgs, session: &mut Session) -> Result<Exit, CliError> {
    let file = args.file.as_deref().filter(|file| file.as_os_str() != "-");
    // What is no file, such as /dev/null, cannot be lost.
    if let Some(path) = file.filter(|path| path.is_file() && !args.force) {
        return Err(CliError::new(reasons::FILE_EXISTS, format!("`{}` is there already", path.display()))
            .hint("name another file, or write over it with --force"));
    }
    let mut request = args.records.request();
    request["until"] = json!(args.until.until);
    let mut call = Call::of(&EXPORT, &request)?;
    call.headers.push(("accept".to_owned(), "application/x-ndjson".to_owned()));
    let response = session.client()?.open(&call).await?;
    if !response.status().is_success() {
        // Asked again the usual way, the refusal is told the usual way.
        session.client()?.send(&call).await?;
    }
    let notes = session.notes();
    let mut writer = Writer::to(file, &mut session.out)?;
    let mut sealed = true;
    let mut chunks = response.bytes_stream();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(chunk) = timeout(SILENCE_MAX, chunks.next()).await.map_err(|_| cut(&Failure::timeout()))? {
        let chunk = chunk.map_err(|error| cut(&Failure::of(&error)))?;
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            sealed &= writer.line(&line)?;
        }
        if rest.len() > LINE_BYTES_MAX {
            return Err(cut(&Failure::garbled(format!("a line is longer than {LINE_BYTES_MAX} bytes"))));
        }
    }
    if !rest.is_empty() {
        return Err(cut(&Failure::closed()));
    }
    let (records, seals) = writer.end()?;
    if !sealed {
        notes.warn("the newest records of the daemon are not sealed yet; export again to have them sealed");
    }
    notes.say(&format!("{}, {}", count(records, "record"), count(seals, "seal")));
    Ok(Exit::Ok)
}

fn cut(failure: &Failure) -> CliError {
    CliError::new(reasons::EXPORT_INCOMPLETE, "the export ended too soon")
        .cause(failure.cause.clone())
        .hint("export again")
}

fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::local(reasons::OUTPUT, format!("cannot write `{}`", path.display()), error)
}

/// The last line: what all lines before it come to.
pub fn end_line(records: u64, seals: u64, hash: &Sha256) -> String {
    let hash = hex(&hash.clone().finalize());
    format!("{}\n", json!({"end": {"records": records, "seals": seals, "sha256": hash}}))
}

impl<'a> Writer<'a> {
    fn to(file: Option<&Path>, out: &'a mut Out) -> Result<Self, CliError> {
        let to = match file {
            None => Target::Out(out),
            Some(path) => {
                let mut temporary = path.as_os_str().to_owned();
                temporary.push(format!(".{}.tmp", std::process::id()));
                let temporary = PathBuf::from(temporary);
                let mut options = File::options();
                let file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary);
                let file = BufWriter::new(file.map_err(|error| unwritable(&temporary, &error))?);
                Target::File { file, temporary, path: path.to_owned() }
            }
        };
        Ok(Self { to, hash: Sha256::new(), records: 0, seals: 0 })
    }

    /// Takes a line as the daemon sent it; false when it says that something is not sealed yet.
    fn line(&mut self, line: &[u8]) -> Result<bool, CliError> {
        let item: Value =
            serde_json::from_slice(line).map_err(|_| cut(&Failure::garbled("a line was not JSON")))?;
        if let Some(problem) = item.get("error") {
            return Err(error::from_problem(problem).unwrap_or_else(|| cut(&Failure::closed())));
        }
        self.records += u64::from(item.get("record").is_some());
        self.seals += u64::from(item.get("seal").is_some());
        self.hash.update(line);
        self.write(line)?;
        Ok(item.pointer("/head/sealed").is_none_or(|sealed| sealed == true))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        match &mut self.to {
            Target::Out(out) => out.write(bytes),
            Target::File { file, temporary, .. } => {
                file.write_all(bytes).map_err(|error| unwritable(temporary, &error))
            }
        }
    }

    fn end(mut self) -> Result<(u64, u64), CliError> {
        let line = end_line(self.records, self.seals, &self.hash);
        self.write(line.as_bytes())?;
        match &mut self.to {
            Target::Out(out) => out.flush()?,
            Target::File { file, temporary, path } => {
                let kept = file.flush().and_then(|()| file.get_ref().sync_all());
                kept.and_then(|()| std::fs::rename(&temporary, &path))
                    .map_err(|error| unwritable(path, &error))?;
            }
        }
        Ok((self.records, self.seals))
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        if let Target::File { temporary, .. } = &self.to {
            // Renamed when it was complete; else what there is of it is of no use.
            let _ = std::fs::remove_file(temporary);
        }
    }
}
