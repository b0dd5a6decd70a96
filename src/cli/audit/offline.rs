//! Checks an export without a daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use omnirelay_decisions::audit_record::readable;
use omnirelay_decisions::audit_seal::check::{ChainCheck, KnownChain, SealFinding, Wrong, check_key};
use omnirelay_decisions::audit_seal::trail::{HeldTrail, keep, told};
use omnirelay_decisions::audit_seal::{ChainId, PUBLIC_KEY_BYTES, StoredRecord, fingerprint, open};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::SnapshotRecord;
use omnirelay_wire::pb::omnirelay::security::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::export::end_line;
use crate::frame::prelude::*;
use crate::frame::saved_lines::LINE_BYTES_MAX;
use pb::audit_export_item::Item;

/// How far the clock of a record may be behind that of the head of its export.
const CLOCK_SLACK_SECONDS: u64 = 10;

/// The key that a node is known by.
#[derive(Clone, Debug)]
pub(crate) struct NodePin {
    node_id: String,
    fingerprint: String,
}

impl FromStr for NodePin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node_id, key) = text.split_once('=').ok_or_else(|| format!("`{text}` is no NODE=BASE64"))?;
        let key = BASE64.decode(key).ok().filter(|key| key.len() == PUBLIC_KEY_BYTES);
        let key =
            key.ok_or_else(|| format!("`{text}` holds no key of {PUBLIC_KEY_BYTES} bytes in base64"))?;
        Ok(Self { node_id: node_id.to_owned(), fingerprint: fingerprint(&key) })
    }
}

/// State of an offline verification: what was read so far.
struct OfflineCheck<'p> {
    pins: &'p [NodePin],
    trail: HeldTrail,
    /// The seals, by chain and in their order.
    seals: BTreeMap<ChainId, Vec<pb::AuditExportSeal>>,
    /// The chains that were followed, once the first record has come.
    followed: Option<Vec<ChainCheck>>,
    hash: Sha256,
    lines: u64,
    records: u64,
    sealed_lines: u64,
    head: Option<pb::AuditExportHead>,
    ended: bool,
}

/// Checks a file; `-` is standard input.
///
/// # Errors
/// When it cannot be read. What is wrong with it is in the document.
pub(crate) fn verify(file: &Path, pins: &[NodePin]) -> Result<Value, CliError> {
    let unreadable = |error: &std::io::Error| {
        CliError::local(reasons::INPUT, format!("cannot read `{}`", file.display()), error)
    };
    let mut input: Box<dyn BufRead> = if file.as_os_str() == "-" {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(std::fs::File::open(file).map_err(|error| unreadable(&error))?))
    };
    let mut check = OfflineCheck::new(pins);
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line);
        if read.map_err(|error| unreadable(&error))? == 0 {
            return Ok(check.end());
        }
        check.line(&line);
    }
}

/// Checks the trail of a snapshot: its seals, then its records.
pub(crate) struct TrailCheck(OfflineCheck<'static>);

impl TrailCheck {
    pub(crate) fn new() -> Self {
        let mut check = OfflineCheck::new(&[]);
        check.trail.complete = true;
        check.head = Some(pb::AuditExportHead::default());
        check.ended = true;
        Self(check)
    }

    /// Takes the record of a seal.
    pub(crate) fn seal(&mut self, key: String, value: Vec<u8>) {
        self.0.lines += 1;
        self.0.seal(pb::AuditExportSeal { key, value });
    }

    /// Takes an audit record.
    pub(crate) fn record(&mut self, of: &SnapshotRecord) {
        self.0.lines += 1;
        let stored = StoredRecord {
            key: &of.key,
            value: &of.value,
            version: of.version,
            revision: of.revision,
            created_at_ms: of.created_at_ms,
            updated_at_ms: of.updated_at_ms,
            writer: &of.writer,
        };
        self.0.follow();
        let node_id = AuditValue::decode(&*of.value).ok().map(|value| value.node_id);
        self.0.trail.record(node_id.as_deref(), &stored);
    }

    /// Result of the verification, as a document of `audit verify`.
    pub(crate) fn end(self) -> Value {
        self.0.end()
    }
}

impl<'p> OfflineCheck<'p> {
    fn new(pins: &'p [NodePin]) -> Self {
        Self {
            pins,
            trail: HeldTrail::default(),
            seals: BTreeMap::new(),
            followed: None,
            hash: Sha256::new(),
            lines: 0,
            records: 0,
            sealed_lines: 0,
            head: None,
            ended: false,
        }
    }

    fn line(&mut self, line: &[u8]) {
        self.lines += 1;
        if self.ended {
            return self.spoilt("there are lines behind the last one");
        }
        let end = end_line(self.records, self.sealed_lines, &self.hash);
        if line == end.as_bytes() {
            self.ended = true;
            return;
        }
        self.hash.update(line);
        let item: Option<pb::AuditExportItem> = serde_json::from_slice(line).ok();
        match item.and_then(|item| item.item) {
            Some(Item::Head(head)) if self.lines == 1 => {
                self.trail.complete = head.complete;
                self.head = Some(head);
            }
            Some(Item::Seal(seal)) if self.followed.is_none() => {
                self.sealed_lines += 1;
                self.seal(seal);
            }
            Some(Item::Record(record)) => {
                self.records += 1;
                self.follow();
                self.record(record);
            }
            Some(Item::Head(_) | Item::Seal(_)) | None => self.spoilt("it is no line of an export"),
        }
    }

    fn seal(&mut self, seal: pb::AuditExportSeal) {
        match ChainId::parse(&seal.key) {
            Some((chain, _)) => self.seals.entry(chain).or_default().push(seal),
            None => self.spoilt("it is a seal without a name"),
        }
    }

    /// Notes that a line is not what an export has there.
    fn spoilt(&mut self, what: &str) {
        let what = format!("line {}: {what}", self.lines);
        self.find(SealFinding {
            wrong: Wrong::Changed.into(),
            seal: "-".to_owned(),
            what,
            ..SealFinding::default()
        });
    }

    fn find(&mut self, finding: SealFinding) {
        keep(&mut self.trail.findings, finding);
    }

    /// Follows the chains, once all seals are here.
    fn follow(&mut self) {
        if self.followed.is_some() {
            return;
        }
        let mut followed = Vec::new();
        for (chain, seals) in std::mem::take(&mut self.seals) {
            let pinned = self.pins.iter().filter(|pin| pin.node_id == chain.node_id);
            let mut seen: Vec<String> = pinned.map(|pin| pin.fingerprint.clone()).collect();
            if self.pins.is_empty() {
                seen.push(chain.fingerprint.clone());
            }
            if let Err(finding) = check_key(&chain, None, &seen) {
                self.find(*finding);
                continue;
            }
            let newest = seals.last().and_then(|seal| open(&seal.value).ok());
            let mut oldest_kept = newest.map_or(1, |opened| opened.seal.oldest_kept);
            if !self.trail.complete {
                // What was left out at the beginning is no loss.
                let first = seals.first().and_then(|seal| Some(ChainId::parse(&seal.key)?.1));
                oldest_kept = oldest_kept.max(first.unwrap_or(1));
            }
            let mut check = ChainCheck::new(chain, KnownChain { oldest_kept, ..KnownChain::default() });
            for seal in &seals {
                self.trail.seal(&mut check, &seal.key, &seal.value);
            }
            self.trail.close(&check);
            followed.push(check);
        }
        self.followed = Some(followed);
    }

    fn record(&mut self, line: pb::AuditExportRecord) {
        let shown = line.record.unwrap_or_default();
        let stored = StoredRecord {
            key: &shown.record_id,
            value: &line.value,
            version: line.version,
            revision: shown.revision,
            created_at_ms: line.created_at_ms,
            updated_at_ms: line.updated_at_ms,
            writer: &line.writer,
        };
        let value = AuditValue::decode(line.value.as_slice()).ok();
        let node_id = value.as_ref().map(|value| value.node_id.clone());
        self.trail.record(node_id.as_deref(), &stored);
        if node_id.as_ref().is_some_and(|node_id| self.should_be_sealed(node_id, &stored)) {
            self.find(SealFinding {
                wrong: Wrong::Unclaimed.into(),
                node_id: node_id.clone().unwrap_or_default(),
                record_id: shown.record_id.clone(),
                what: "the export says that it was sealed, and holds no seal of it".to_owned(),
                ..SealFinding::default()
            });
        }
        if readable(&stored, value) != shown {
            self.find(SealFinding {
                wrong: Wrong::Changed.into(),
                node_id: node_id.unwrap_or_default(),
                record_id: shown.record_id.clone(),
                what: format!("line {}: what is to be read is not what the record says", self.lines),
                ..SealFinding::default()
            });
        }
    }

    /// Whether a record that no seal covers was there when the exporting node had sealed everything.
    fn should_be_sealed(&self, node_id: &str, record: &StoredRecord<'_>) -> bool {
        let Some(head) = self.head.as_ref().filter(|head| head.sealed && head.local_node_id == node_id)
        else {
            return false;
        };
        let through = self.trail.counts.get(node_id).map_or(0, |count| count.through);
        let begun = head.generated_at.as_ref().and_then(|at| u64::try_from(at.seconds).ok()).unwrap_or(0);
        record.revision > through && record.created_at_ms / 1000 + CLOCK_SLACK_SECONDS < begun
    }

    /// Notes the pinned nodes of which a complete export holds no chain.
    fn find_absent(&mut self) {
        let chains = self.followed.iter().flatten().map(|check| check.chain().node_id.clone());
        let present: BTreeSet<String> = chains.collect();
        let absent = self.pins.iter().filter(|pin| self.trail.complete && !present.contains(&pin.node_id));
        for node_id in absent.map(|pin| pin.node_id.clone()).collect::<BTreeSet<_>>() {
            self.find(SealFinding {
                wrong: Wrong::Missing.into(),
                node_id,
                seal: "-".to_owned(),
                what: "there is no seal under the key that was given for it".to_owned(),
                ..SealFinding::default()
            });
        }
    }

    fn end(mut self) -> Value {
        self.follow();
        self.find_absent();
        if self.head.is_none() {
            self.find(SealFinding {
                wrong: Wrong::Missing.into(),
                seal: "-".to_owned(),
                what: "it does not begin as an export does".to_owned(),
                ..SealFinding::default()
            });
        }
        if !self.ended {
            self.find(SealFinding {
                wrong: Wrong::Truncated.into(),
                seal: "-".to_owned(),
                what: "its last line is missing or is not that of the lines before it".to_owned(),
                ..SealFinding::default()
            });
        }
        let chains = self.followed.unwrap_or_default();
        let (mut verdict, left_out) = self.trail.end();
        verdict.findings = told(verdict.findings);
        let nodes = verdict.counts.iter().map(|(node_id, count)| pb::AuditNodeTally {
            node_id: node_id.clone(),
            sealed: count.sealed,
            unsealed: count.unsealed,
            of_before: count.of_before,
            chains: chains.iter().filter(|one| one.chain().node_id == *node_id).map(shown).collect(),
        });
        let head = self.head.unwrap_or_default();
        let answer = pb::VerifyAuditResponse {
            // An export has the trail alone.
            signed_records: 0,
            signed_records_of_before: 0,
            schema_version: "v1".to_owned(),
            generated_at: head.generated_at,
            local_node_id: head.local_node_id,
            ok: verdict.findings.is_empty(),
            sealed: verdict.counts.values().map(|count| count.sealed).sum(),
            unsealed: verdict.counts.values().map(|count| count.unsealed).sum(),
            of_before: verdict.counts.values().map(|count| count.of_before).sum(),
            nodes: nodes.collect(),
            findings: verdict.findings,
        };
        let mut document = serde_json::to_value(answer).unwrap_or_default();
        document["keysFrom"] = json!(if self.pins.is_empty() { "file" } else { "arguments" });
        document["leftOut"] = json!(left_out.to_string());
        document
    }
}

fn shown(check: &ChainCheck) -> pb::AuditChain {
    let newest = check.newest();
    pb::AuditChain {
        fingerprint: check.chain().fingerprint.clone(),
        public_key: newest.map(|opened| opened.seal.public_key.clone()).unwrap_or_default(),
        seals: check.seals(),
        sequence: newest.map_or(0, |opened| opened.seal.sequence),
        through: check.through(),
        sealed_at: None,
        hash: newest.map(|opened| opened.hash.0.to_vec()).unwrap_or_default(),
    }
}
