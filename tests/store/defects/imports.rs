//! Defects of imports.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use omnirelay_store::{
    Commit, ExistingRecord, GroupRef, LogEntry, MemoryStore, ORIGIN_MAX, Record, RecordId, RecordKind,
    RecordOrigin, Revision, Store, Version, Write,
};

use super::commits::instead;
use super::records::all;
use super::{Defect, altering, blank};

/// What records came with, by what the store took instead.
type Came<K> = Arc<Mutex<BTreeMap<(RecordId, K), K>>>;

/// Alters what each record comes with.
fn importing(alter: impl Fn(&RecordId, &mut RecordOrigin) + Send + Sync + 'static) -> Defect {
    let commit = altering(move |commit: &mut Commit| {
        for write in &mut commit.writes {
            if let Write::Import { id, origin, .. } = write {
                alter(id, origin);
            }
        }
    });
    Defect { commit, ..Defect::default() }
}

/// The records of which there is something, bound to a group or not.
async fn there(store: &MemoryStore) -> BTreeSet<RecordId> {
    let records: Vec<Record> = all(store, RecordKind::of("thing")).await;
    records.into_iter().filter(|record| !record.deleted).map(|record| record.id).collect()
}

pub(crate) fn imports_as_it_puts() -> Defect {
    let commit = altering(|commit: &mut Commit| {
        for write in &mut commit.writes {
            if let Write::Import { id, value, .. } = write {
                *write = Write::Put { id: id.clone(), value: value.clone(), group: None };
            }
        }
    });
    Defect { commit, ..Defect::default() }
}

/// Takes the time that an imported record comes with for one that no later write is before.
pub(crate) fn lets_no_write_be_before_an_import() -> Defect {
    let latest: Mutex<BTreeMap<RecordId, Record>> = Mutex::default();
    let record = altering(move |record: &mut Record| {
        let mut latest = latest.lock().unwrap();
        if let Some(before) = latest.get(&record.id) {
            record.updated_at = record.updated_at.max(before.updated_at);
        }
        latest.insert(record.id.clone(), record.clone());
    });
    Defect { record, ..Defect::default() }
}

pub(crate) fn imports_over_what_is_there() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            let there = there(store).await;
            for write in &commit.writes {
                if matches!(write, Write::Import { id, .. } if there.contains(id)) {
                    let writes = vec![Write::Delete { id: write.id().clone() }];
                    store.commit(Commit { writes, ..blank(store).await }).await?;
                }
            }
            store.commit(commit).await
        })
    })
}

/// Counts the revisions of imports that have no effect.
pub(crate) fn counts_every_import() -> Defect {
    instead(|store, commit| {
        Box::pin(async move {
            let there = there(store).await;
            for write in &commit.writes {
                let Write::Import { id, value, origin, existing } = write else { continue };
                if there.contains(id) {
                    let id = RecordId::new(RecordKind::of("junk"), "junk");
                    let (value, origin, existing) = (value.clone(), origin.clone(), *existing);
                    let junk = Write::Import { id, value, origin, existing };
                    store.commit(Commit { writes: vec![junk], ..blank(store).await }).await?;
                }
            }
            store.commit(commit).await
        })
    })
}

/// Takes a record whose group is over for one that is there.
pub(crate) fn spares_expired_records_from_imports() -> Defect {
    let bound: Mutex<BTreeSet<RecordId>> = Mutex::default();
    let commit = altering(move |commit: &mut Commit| {
        let mut bound = bound.lock().unwrap();
        commit.writes.retain(|write| !(matches!(write, Write::Import { .. }) && bound.contains(write.id())));
        bound.extend(commit.writes.iter().filter_map(|write| match write {
            Write::Put { id, group: Some(_), .. } => Some(id.clone()),
            Write::Put { .. } | Write::Delete { .. } | Write::Import { .. } => None,
        }));
    });
    Defect { commit, ..Defect::default() }
}

/// Keeps what is there, whatever an import says.
pub(crate) fn keeps_what_imports_replace() -> Defect {
    let commit = altering(|commit: &mut Commit| {
        for write in &mut commit.writes {
            if let Write::Import { existing, .. } = write {
                *existing = ExistingRecord::Keep;
            }
        }
    });
    Defect { commit, ..Defect::default() }
}

/// Makes room for an import by a deletion, above whose version the imported record stands then.
pub(crate) fn deletes_before_it_replaces() -> Defect {
    instead(|store, mut commit| {
        Box::pin(async move {
            let there = there(store).await;
            for write in &mut commit.writes {
                let Write::Import { id, existing, .. } = write else { continue };
                if *existing == ExistingRecord::Replace && there.contains(id) {
                    let writes = vec![Write::Delete { id: id.clone() }];
                    store.commit(Commit { writes, ..blank(store).await }).await?;
                }
                *existing = ExistingRecord::Keep;
            }
            store.commit(commit).await
        })
    })
}

/// Leaves a record in its group when an import replaces it.
pub(crate) fn replaces_within_the_group() -> Defect {
    let bound: Mutex<BTreeMap<RecordId, GroupRef>> = Mutex::default();
    let commit = altering(move |commit: &mut Commit| {
        let mut bound = bound.lock().unwrap();
        for write in &mut commit.writes {
            match write {
                Write::Put { id, group: Some(group), .. } => {
                    bound.insert(id.clone(), group.clone());
                }
                Write::Import { id, value, .. } => {
                    let Some(group) = bound.get(id).cloned() else { continue };
                    *write = Write::Put { id: id.clone(), value: value.clone(), group: Some(group) };
                }
                Write::Put { .. } | Write::Delete { .. } => {}
            }
        }
    });
    Defect { commit, ..Defect::default() }
}

/// Has each record have the version that it comes with, whatever was there.
pub(crate) fn imports_with_any_version() -> Defect {
    let came: Came<u64> = Arc::default();
    let known = Arc::clone(&came);
    Defect {
        record: altering(move |record: &mut Record| {
            if let Some(version) = known.lock().unwrap().get(&(record.id.clone(), record.revision.0)) {
                record.version = Version(*version);
            }
        }),
        ..importing(move |id, origin| {
            came.lock().unwrap().insert((id.clone(), origin.revision.0), origin.version.0);
        })
    }
}

/// Goes on from its own head, whatever revisions it imports.
pub(crate) fn repeats_revisions_of_imports() -> Defect {
    let came: Came<u64> = Arc::default();
    let known = Arc::clone(&came);
    Defect {
        record: altering(move |record: &mut Record| {
            if let Some(revision) = known.lock().unwrap().get(&(record.id.clone(), record.revision.0)) {
                record.revision = Revision(*revision);
            }
        }),
        ..importing(move |id, origin| {
            let noted = std::mem::replace(&mut origin.revision, Revision(1));
            came.lock().unwrap().insert((id.clone(), 1), noted.0);
        })
    }
}

/// Names as the entry before the one whose revision is the next lower one.
pub(crate) fn chains_by_counting() -> Defect {
    let entry = altering(|entry: &mut LogEntry| {
        if !entry.is_empty() {
            entry.previous = Revision(entry.revision.0 - 1);
        }
    });
    Defect { entry, ..Defect::default() }
}

pub(crate) fn clamps_origins() -> Defect {
    importing(|_, origin| {
        origin.version.0 = origin.version.0.clamp(1, ORIGIN_MAX);
        origin.revision.0 = origin.revision.0.clamp(1, ORIGIN_MAX);
        origin.created_at.0 = origin.created_at.0.min(ORIGIN_MAX);
        origin.updated_at.0 = origin.updated_at.0.min(ORIGIN_MAX);
    })
}

/// Counts in twos above what imports come with, as a number of 52 bits does.
pub(crate) fn counts_origins_inexactly() -> Defect {
    let entry = altering(|entry: &mut LogEntry| {
        if entry.revision.0 > ORIGIN_MAX {
            entry.revision.0 &= !1;
        }
    });
    Defect { entry, ..Defect::default() }
}
