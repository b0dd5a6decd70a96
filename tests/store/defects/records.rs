//! Defects of records, scans, the log and housekeeping.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use omnirelay_store::{
    HousekeepingOutcome, LogEntry, LogPage, PAGE_MAX, Record, RecordId, RecordKind, Retention, Revision,
    Scan, ScanPage, Store, Version,
};

use super::{Defect, altering, write_junk};

pub(crate) fn loses_the_end_of_values() -> Defect {
    let record = altering(|record: &mut Record| {
        record.value.truncate(record.value.len().saturating_sub(1));
    });
    Defect { record, ..Defect::default() }
}

pub(crate) fn skips_versions() -> Defect {
    Defect {
        record: altering(|record: &mut Record| record.version.0 += u64::from(record.version.0 > 1)),
        ..Defect::default()
    }
}

pub(crate) fn hides_tombstones() -> Defect {
    Defect {
        page: altering(|page: &mut ScanPage| page.records.retain(|record| !record.deleted)),
        ..Defect::default()
    }
}

pub(crate) fn forgets_versions_at_deletion() -> Defect {
    let deleted: Mutex<BTreeMap<RecordId, Version>> = Mutex::default();
    let record = altering(move |record: &mut Record| {
        let mut deleted = deleted.lock().unwrap();
        if record.deleted {
            deleted.insert(record.id.clone(), record.version);
        } else if let Some(before) = deleted.get(&record.id) {
            record.version.0 -= before.0;
        }
    });
    Defect { record, ..Defect::default() }
}

pub(crate) fn forgets_versions_at_collection() -> Defect {
    let collected: Mutex<bool> = Mutex::default();
    Defect {
        // Only a record that begins above the floor has a first version above one.
        entry: altering(move |entry: &mut LogEntry| {
            let mut collected = collected.lock().unwrap();
            for change in &mut entry.changes {
                *collected |= change.after.deleted;
                if *collected && change.before.is_none() && change.after.id.key == "a" {
                    change.after.version = Version(1);
                }
            }
        }),
        ..Defect::default()
    }
}

pub(crate) fn forgets_when_records_were_created() -> Defect {
    Defect {
        record: altering(|record: &mut Record| record.created_at = record.updated_at),
        ..Defect::default()
    }
}

pub(crate) fn forgets_writers() -> Defect {
    Defect { record: altering(|record: &mut Record| record.writer = Arc::default()), ..Defect::default() }
}

pub(crate) fn ignores_the_direction() -> Defect {
    Defect { scan: altering(|scan: &mut Scan| scan.backwards = false), ..Defect::default() }
}

pub(crate) fn loses_the_first_of_a_page() -> Defect {
    let page = altering(|page: &mut ScanPage| {
        if page.records.len() > 1 {
            page.records.remove(0);
        }
    });
    Defect { page, ..Defect::default() }
}

pub(crate) fn mixes_kinds() -> Defect {
    Defect {
        scan_instead: Some(Box::new(|store, scan| {
            Box::pin(async move {
                let other = Scan { kind: RecordKind::of("things"), ..scan.clone() };
                let mut page = store.scan(scan).await?;
                page.records.extend(store.scan(other).await?.records);
                Ok(page)
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn ignores_the_bytes_of_a_page() -> Defect {
    Defect {
        scan_instead: Some(Box::new(|store, scan| {
            Box::pin(async move {
                let mut page = store.scan(scan.clone()).await?;
                while page.more && page.records.len() < scan.limit {
                    let after = page.records.last().map(|record| record.id.key.clone());
                    let next = store.scan(Scan { after, ..scan.clone() }).await?;
                    page.more = next.more;
                    page.records.extend(next.records);
                }
                Ok(page)
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn drops_a_log_entry() -> Defect {
    let log_page = altering(|page: &mut LogPage| {
        if page.entries.len() > 2 {
            page.entries.remove(1);
        }
    });
    Defect { log_page, ..Defect::default() }
}

pub(crate) fn remembers_the_log_with_a_gap() -> Defect {
    Defect { remembered: drops_a_log_entry().log_page, ..Defect::default() }
}

pub(crate) fn ignores_page_limits() -> Defect {
    Defect { log: altering(|(limit, _): &mut (usize, Duration)| *limit = PAGE_MAX), ..Defect::default() }
}

pub(crate) fn does_not_wait() -> Defect {
    Defect { log: altering(|(_, wait): &mut (usize, Duration)| *wait = Duration::ZERO), ..Defect::default() }
}

pub(crate) fn subscribes_after_reading() -> Defect {
    Defect {
        log_instead: Some(Box::new(|store, (after, limit, wait)| {
            Box::pin(async move {
                let page = store.log(after, limit, Duration::ZERO).await?;
                if wait.is_zero() || page.compacted || !page.entries.is_empty() {
                    return Ok(page);
                }
                // Gives the commit of the rule time to come in between.
                std::thread::sleep(Duration::from_micros(50));
                let subscribed_at = head(store).await;
                store.log(subscribed_at, limit, wait).await?;
                store.log(after, limit, Duration::ZERO).await
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn waits_forever() -> Defect {
    Defect {
        log: altering(|(_, wait): &mut (usize, Duration)| *wait = Duration::from_secs(3600)),
        ..Defect::default()
    }
}

pub(crate) fn serves_gaps_silently() -> Defect {
    Defect { log_page: altering(|page: &mut LogPage| page.compacted = false), ..Defect::default() }
}

pub(crate) fn trusts_the_future() -> Defect {
    serves_gaps_silently()
}

pub(crate) fn never_trims() -> Defect {
    let keep = altering(|keep: &mut Retention| {
        keep.log_entries_max = usize::MAX;
        keep.log_age = Duration::MAX;
    });
    Defect { keep, ..Defect::default() }
}

pub(crate) fn collects_tombstones_early() -> Defect {
    Defect { keep: altering(|keep: &mut Retention| keep.tombstone_age = Duration::ZERO), ..Defect::default() }
}

pub(crate) fn keeps_answers_forever() -> Defect {
    let keep = altering(|keep: &mut Retention| {
        keep.idempotency_age = Duration::MAX;
        keep.idempotency_entries_max = usize::MAX;
    });
    Defect { keep, ..Defect::default() }
}

pub(crate) fn logs_housekeeping() -> Defect {
    Defect {
        housekeep_instead: Some(Box::new(|store, (epoch, keep)| {
            Box::pin(async move {
                write_junk(store).await;
                store.housekeep(epoch, keep).await
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn expires_everything_at_once() -> Defect {
    Defect {
        housekeep_instead: Some(Box::new(|store, (epoch, keep)| {
            Box::pin(async move {
                let mut all = HousekeepingOutcome::default();
                loop {
                    let step = store.housekeep(epoch, keep).await?;
                    all.records_expired += step.records_expired;
                    if !step.more {
                        return Ok(all);
                    }
                }
            })
        })),
        ..Defect::default()
    }
}

pub(crate) fn forgets_to_mark_expiry() -> Defect {
    let entry = altering(|entry: &mut LogEntry| {
        entry.changes.iter_mut().for_each(|change| change.expired = false);
    });
    Defect { entry, ..Defect::default() }
}

pub(crate) fn clamps_pages() -> Defect {
    Defect {
        scan: altering(|scan: &mut Scan| scan.limit = scan.limit.clamp(1, PAGE_MAX)),
        log: altering(|(limit, _): &mut (usize, Duration)| *limit = (*limit).clamp(1, PAGE_MAX)),
        ..Defect::default()
    }
}

/// All records of a kind, the log's head aside.
pub(crate) async fn all(store: &impl Store, kind: RecordKind) -> Vec<Record> {
    let scan = Scan { kind, after: None, backwards: false, limit: PAGE_MAX };
    store.scan(scan).await.expect("a page").records
}

/// The head of the log.
pub(crate) async fn head(store: &impl Store) -> Revision {
    store.log(Revision(0), 1, Duration::ZERO).await.expect("a page").head
}
