//! Reads the file of a snapshot: a head, records, and a last line that says what they come to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::Path;

use omnirelay_core::text::hex;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use pb::snapshot_item::Item;
use sha2::{Digest as _, Sha256};

use crate::frame::error::CliError;
use crate::frame::saved_lines::{self, LINE_BYTES_MAX};

/// How a file that was compressed by gzip begins.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// Contents of a whole file.
pub(super) struct SnapshotContents {
    pub head: pb::SnapshotHead,
    /// How many records, by kind.
    pub kinds: BTreeMap<String, u64>,
    pub records: u64,
    pub bytes: u64,
    /// SHA-256 of all lines but the last.
    pub sha256: String,
}

/// The last line: what all lines before it come to.
pub(super) fn end_line(records: u64, hash: &Sha256) -> String {
    saved_lines::end_line([("records".to_owned(), records.into())].into_iter().collect(), hash)
}

/// Reads a file from its beginning to its end, and shows each record; `-` is standard input.
///
/// # Errors
/// `SNAPSHOT_UNREADABLE` with the line that is wrong; that the file cannot be read; those of `each`.
pub(super) fn read(
    file: &Path,
    mut each: impl FnMut(pb::SnapshotRecord) -> Result<(), CliError>,
) -> Result<SnapshotContents, CliError> {
    let unreadable = |error: &std::io::Error| {
        CliError::local(reasons::INPUT, format!("cannot read `{}`", file.display()), error)
    };
    let opened: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(stdin()),
        false => Box::new(File::open(file).map_err(|error| unreadable(&error))?),
    };
    let mut input = BufReader::with_capacity(1 << 20, opened);
    let spoilt = |number: u64, what: &str| {
        let message = format!("`{}` line {number}: {what}", file.display());
        CliError::new(reasons::SNAPSHOT_UNREADABLE, message)
            .hint("take another copy of the file, or another snapshot")
    };
    let (mut hash, mut head, mut kinds) = (Sha256::new(), None, BTreeMap::<String, u64>::new());
    let (mut number, mut records, mut bytes, mut line) = (0, 0, 0, Vec::new());
    loop {
        line.clear();
        let got = input.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line);
        let got = got.map_err(|error| unreadable(&error))? as u64;
        (number, bytes) = (number + 1, bytes + got);
        if got == 0 {
            return Err(spoilt(number, "the file ends before its last line: it was cut off"));
        }
        if line.starts_with(b"{\"end\"") {
            break;
        }
        hash.update(&line);
        let item: Option<pb::SnapshotItem> = serde_json::from_slice(&line).ok();
        match item.and_then(|item| item.item) {
            Some(Item::Head(of)) if number == 1 => head = Some(of),
            Some(Item::Record(record)) if head.is_some() => {
                records += 1;
                *kinds.entry(record.kind.clone()).or_default() += 1;
                each(record)?;
            }
            None if number == 1 && line.starts_with(GZIP) => {
                return Err(spoilt(
                    number,
                    "it is compressed: gunzip it, or `gunzip -c FILE | omnirelay snapshot inspect -`",
                ));
            }
            Some(Item::Head(_) | Item::Record(_)) | None if number == 1 => {
                return Err(spoilt(
                    number,
                    "it does not begin as a snapshot does: omnirelay snapshot save makes one",
                ));
            }
            Some(Item::Head(_) | Item::Record(_)) | None => {
                return Err(spoilt(number, "it is no line of a snapshot"));
            }
        }
    }
    if line != end_line(records, &hash).as_bytes() {
        return Err(spoilt(
            number,
            "the lines before it are not those that were saved: something was changed or left out",
        ));
    }
    if !input.fill_buf().map_err(|error| unreadable(&error))?.is_empty() {
        return Err(spoilt(number + 1, "there is something behind the last line"));
    }
    let head = head.ok_or_else(|| spoilt(1, "it does not begin as a snapshot does"))?;
    Ok(SnapshotContents { head, kinds, records, bytes, sha256: hex(&hash.finalize()) })
}
