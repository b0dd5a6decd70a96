//! Signed records, against what the trail says was written of them: whoever can sign, and writes to the store alone, leaves no
//! audit record.

use std::collections::BTreeMap;

use omnirelay_store::{Kind, Record, RecordId, Store, StoreError};
use omnirelay_wire::pb::omnirelay::store::v1::WrittenRecord;
use prost::Message;
use ring::digest::{SHA256, digest};

use super::store::stretch;
use crate::core::audit_seal::check::{Finding, Wrong};
use crate::daemon::registry::view::View;

/// How many signed records are remembered of the trail. Beyond that nothing is said of those that it does not name.
const NAMED_MAX: usize = 65_536;
/// How many records are read at a time.
const PAGE: usize = 512;

/// What an audit record says of the signed records that its commit has written: a part of its `AuditValue`.
#[derive(Clone, PartialEq, prost::Message)]
struct Written {
    #[prost(message, repeated, tag = "14")]
    records: Vec<WrittenRecord>,
}

/// The newest that the trail says of a record.
struct Named {
    /// The id of the audit record.
    audit: String,
    revision: u64,
    sha256: Vec<u8>,
}

/// What the trail says of signed records.
#[derive(Default)]
pub struct WrittenRecords {
    /// By `KIND/KEY`.
    named: BTreeMap<String, Named>,
    /// The revision of the oldest audit record that was looked at.
    oldest: Option<u64>,
    has_more: bool,
}

/// How many signed records were compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Those that stand in the store as the trail says.
    pub as_written: u64,
    /// Those that were written before the oldest audit record.
    pub of_before: u64,
}

impl WrittenRecords {
    /// Takes in what an audit record says.
    pub fn take(&mut self, audit: &Record) {
        let revision = audit.revision.0;
        self.oldest = Some(self.oldest.map_or(revision, |oldest| oldest.min(revision)));
        let Ok(Written { records }) = Written::decode(audit.value.clone()) else { return };
        for WrittenRecord { record, sha256, .. } in records {
            let is_newer = self.named.get(&record).map(|known| known.revision < revision);
            match is_newer {
                Some(false) => {}
                None if self.named.len() >= NAMED_MAX => self.has_more = true,
                Some(true) | None => {
                    self.named.insert(record, Named { audit: audit.id.key.clone(), revision, sha256 });
                }
            }
        }
    }

    /// Compares the signed records in the store with it, but for those written behind the revision `head`, where the trail was
    /// read: `found` is told what is wrong.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn compare(
        mut self,
        store: &dyn Store,
        view: &View,
        head: u64,
        mut found: impl FnMut(Finding),
    ) -> Result<Compared, StoreError> {
        let mut compared = Compared::default();
        if !view.demands_signatures() {
            return Ok(compared);
        }
        for kind in view.signed_kinds() {
            let mut after = None;
            loop {
                let page = stretch(store, kind.clone(), after.take(), PAGE).await?;
                let there =
                    page.records.iter().filter(|record| !record.deleted && view.is_signed(&record.id));
                for record in there {
                    let named = self.named.remove(&record.id.to_string());
                    if record.revision.0 > head {
                        continue;
                    }
                    match self.judge(record, named) {
                        Ok(count) => count(&mut compared),
                        Err(finding) => found(*finding),
                    }
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        self.named.iter().filter_map(|(name, named)| gone(view, name, named)).for_each(found);
        Ok(compared)
    }

    /// Judges a record as it stands in the store; what it counts as.
    fn judge(&self, record: &Record, named: Option<Named>) -> Result<fn(&mut Compared), Box<Finding>> {
        let revision = record.revision.0;
        let Some(named) = named else {
            let is_of_before = self.oldest.is_none_or(|oldest| revision < oldest);
            return match is_of_before || self.has_more {
                true => Ok(|compared| compared.of_before += 1),
                false => Err(finding(record, "", "no audit record says that it was written")),
            };
        };
        let what = match named.revision.cmp(&revision) {
            std::cmp::Ordering::Equal if digest(&SHA256, &record.value).as_ref() == named.sha256 => {
                return Ok(|compared| compared.as_written += 1);
            }
            std::cmp::Ordering::Equal => "it is not what its commit has written",
            std::cmp::Ordering::Less => "it was written again after that, and no audit record says so",
            std::cmp::Ordering::Greater => "it is older than that: somebody has put it back",
        };
        Err(finding(record, &named.audit, what))
    }
}

/// What is wrong with a record that is gone from the store although it counts.
fn gone(view: &View, name: &str, named: &Named) -> Option<Finding> {
    let (kind, key) = name.split_once('/')?;
    let kind = view.signed_kinds().into_iter().find(|signed: &Kind| *signed.0 == *kind)?;
    let id = RecordId::new(kind, key);
    // What has ended goes without a note, and is known no more.
    view.get(&id).is_some().then(|| Finding {
        wrong: Wrong::Unwritten.into(),
        record_id: named.audit.clone(),
        object: name.to_owned(),
        what: "it is gone from the store, and no audit record says so".to_owned(),
        ..Finding::default()
    })
}

fn finding(record: &Record, audit: &str, what: &str) -> Box<Finding> {
    let by = format!("{what}; revision {} of the store, by {}", record.revision.0, record.writer);
    Box::new(Finding {
        wrong: Wrong::Unwritten.into(),
        node_id: record.writer.to_string(),
        record_id: audit.to_owned(),
        object: record.id.to_string(),
        what: by,
        ..Finding::default()
    })
}
