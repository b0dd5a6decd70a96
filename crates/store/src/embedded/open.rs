//! Opening the file of an embedded store: for the first time, and again after a failure.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use omnirelay_core::time::Millis;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError};
use tracing::warn;

use super::super::rules::State;
use super::super::{Clock, Epoch, GroupId, StoreError};
use super::Options;
use super::disk::{Disk, Seen, Watched};
use super::failure::Failure;
use super::opening::{Note, Opening};
use super::proof::Past;
use super::shared::{Groups, Shared, StoreClock};
use super::tables::{self, SCHEMA, Snapshot, Written};
use crate::chance::random_u64;

/// How long a file that is not the one used last grants no scope, at least and at most: as long as
/// a session may trust what the other file gave it. The longest session that can be configured
/// lasts the most; sessions much longer than those that the file knows are not foreseen.
const QUARANTINE_MIN: Duration = Duration::from_secs(60);
const QUARANTINE_MAX: Duration = Duration::from_secs(600);
/// How long a file is waited for that somebody has open: mostly a process that this one has just forked, which has all
/// that was open here until its own program begins.
const HELD_MAX: Duration = Duration::from_secs(1);
const HELD_LOOK_EVERY: Duration = Duration::from_millis(10);

/// Why an embedded store could not be opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "store file `{}` is open elsewhere: stop the process that uses it, or choose another data directory",
        path.display()
    )]
    Held { path: PathBuf },
    #[error(
        "store file `{}` was written by a newer version of this program (its schema is {found}, this one knows {SCHEMA})",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error(
        "store file `{}` is damaged, or is no store file: restore it from a copy; or move it away and start once with \
         --accept-data-loss, which begins anew without anything that was registered",
        path.display()
    )]
    Damaged { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "store file `{}` is {what}, and this directory had a registry: put the file back, or restore it from a copy; or \
         start once with --accept-data-loss, which begins anew without anything that was registered",
        path.display()
    )]
    Lost { path: PathBuf, what: &'static str },
    #[error("cannot open store file `{}`", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Makes sure that the directory is there, readable for its owner only if it is new.
pub(super) fn make_directory(dir: &Path) -> Result<(), OpenError> {
    let made = || {
        let missing: Vec<_> = dir.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // What a power loss must not take is reached through these.
        for parent in missing.iter().filter_map(|made| made.parent()).filter(|parent| parent.is_dir()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    };
    made().map_err(|source| OpenError::Io { path: dir.to_path_buf(), source })
}

/// Opens what may be open elsewhere for a moment yet.
pub(super) fn once_free<T>(mut open: impl FnMut() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let begun = Instant::now();
    loop {
        match open() {
            Err(OpenError::Held { .. }) if begun.elapsed() < HELD_MAX => thread::sleep(HELD_LOOK_EVERY),
            opened => return opened,
        }
    }
}

/// Refuses a file of a newer version, or one without the registry that was there, and does not write to it.
///
/// A file that was not closed cleanly cannot be read without repairing it; the check after
/// opening it for writing then has to do.
pub(super) fn refuse_untouched(path: &Path, past: Past) -> Result<(), OpenError> {
    if !path.try_exists().map_err(|source| OpenError::Io { path: path.to_path_buf(), source })? {
        return Ok(());
    }
    spared(path, || match Builder::new().open_read_only(path) {
        Ok(database) => {
            let schema =
                database.begin_read().map_err(redb::Error::from).and_then(|read| tables::schema(&read));
            check_schema(path, schema, past).map(|_| ())
        }
        Err(DatabaseError::DatabaseAlreadyOpen) => Err(OpenError::Held { path: path.to_path_buf() }),
        Err(_) => Ok(()),
    })
}

/// Opens the file, makes a store of it if it is empty, and shows what it holds.
///
/// A file that is not the one used here last (an older copy was restored, or the file came from
/// elsewhere without its lock file) begins a new epoch with a quarantine: revisions, terms and
/// instances would else be given out a second time. What evades this: copying or rolling back the
/// whole directory, the lock file included; and after a power loss a copy taken in the last
/// moments before it, whose batches the operating system had not noted yet. One that was `lost` and is made
/// anew begins an epoch above that one, in the same way.
pub(super) fn open(
    disk: &mut dyn Disk,
    clock: Box<dyn Clock>,
    options: &Options,
    past: Past,
) -> Result<Shared, OpenError> {
    let path = disk.path().to_path_buf();
    let seen = Arc::new(Seen::default());
    let database = once_free(|| open_database(disk, &seen, options.cache_bytes))?;
    match spared(&path, || begin(disk, &database, clock, past)) {
        Ok(Begun { written, groups, clock, opening }) => {
            let shared = Shared::new(path, clock, seen, options.cache_bytes, opening);
            shared.use_database(Some(database));
            shared.show_file(&written, groups);
            Ok(shared)
        }
        Err(error) => {
            close(database);
            Err(error)
        }
    }
}

/// What an opening begins with.
struct Begun {
    written: Written,
    groups: Groups,
    clock: StoreClock,
    opening: Opening,
}

fn begin(
    disk: &mut dyn Disk,
    database: &Database,
    clock: Box<dyn Clock>,
    past: Past,
) -> Result<Begun, OpenError> {
    let path = disk.path().to_path_buf();
    let io = |source| OpenError::Io { path: path.clone(), source };
    let this = random_u64().map_err(io)?;
    let schema = database.begin_read().map_err(redb::Error::from).and_then(|read| tables::schema(&read));
    let created = check_schema(&path, schema, past)?.is_none();
    if created {
        create(database, clock.now().0, this).map_err(|error| not_written(&path, error))?;
    }
    let (mut written, mut groups) = load(database).map_err(|error| damaged(&path, error))?;
    let clock = StoreClock::at_least(clock, written.clock);
    let noted = disk.noted().map_err(io)?;
    let noted = noted.filter(|noted| noted.agrees_with(&written));
    let is_other = !created && noted.is_none();
    let heard = noted.map_or(written.clock, |noted| noted.at.max(written.clock));
    let lost = past.lost();
    if is_other || lost.is_some() {
        written.state.epoch = written.state.epoch.max(lost.unwrap_or_default());
        begin_epoch(database, &mut written, &groups, clock.now(), this)
            .map_err(|error| not_written(&path, error))?;
        say_begun(&path, written.state.epoch, lost);
    }
    disk.note(Note::of(&written)).and_then(|()| disk.settle()).map_err(io)?;
    let opening = Opening { id: this, before: written.opening.id };
    let now = clock.now();
    groups.values_mut().for_each(|group| group.recover(now, heard));
    Ok(Begun { written, groups, clock, opening })
}

fn say_begun(path: &Path, epoch: Epoch, lost: Option<Epoch>) {
    let path = path.display();
    match lost {
        Some(_) => warn!(%path, %epoch, "store file was lost, which was accepted; a new epoch has begun"),
        None => warn!(%path, %epoch, "store file is a copy or was moved here; a new epoch has begun"),
    }
}

/// Does something with the storage engine: what it makes of a damaged file must not end the process.
fn spared<R>(path: &Path, does: impl FnOnce() -> Result<R, OpenError>) -> Result<R, OpenError> {
    let gave_up = |_| Err(damaged(path, "the storage engine gave up reading it"));
    catch_unwind(AssertUnwindSafe(does)).unwrap_or_else(gave_up)
}

/// Closes a database that may be of a damaged file.
pub(super) fn close(database: Database) {
    // There is nothing that could be done about it.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
}

/// Opens the file again after a failure. Deadlines that only memory knows stay.
pub(super) fn reopen(disk: &mut dyn Disk, shared: &Shared) -> Result<(Database, Written, Groups), Failure> {
    let failure = |error: &dyn std::error::Error| Failure::new(&shared.path, error.to_string());
    let database = open_database(disk, &shared.seen, shared.cache_bytes).map_err(|error| failure(&error))?;
    let loaded = spared(&shared.path, || load(&database).map_err(|error| damaged(&shared.path, error)));
    let (written, mut groups) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            close(database);
            return Err(failure(&error));
        }
    };
    remember(&mut groups, &shared.shown().groups);
    Ok((database, written, groups))
}

/// Takes over what memory knows of renewals that were not written.
pub(super) fn remember(groups: &mut Groups, known: &Groups) {
    for (id, group) in groups {
        if let Some(known) = known.get(id) {
            group.remember(known);
        }
    }
}

fn open_database(disk: &mut dyn Disk, seen: &Arc<Seen>, cache_bytes: usize) -> Result<Database, OpenError> {
    let path = disk.path().to_path_buf();
    let watched = match disk.open().and_then(|medium| Watched::over(medium, Arc::clone(seen))) {
        Ok(watched) => watched,
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(OpenError::Held { path }),
        Err(source) => return Err(OpenError::Io { path, source }),
    };
    spared(&path, || {
        let opened = Builder::new().set_cache_size(cache_bytes).create_with_backend(watched);
        opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::Held { path: path.clone() },
            DatabaseError::Storage(StorageError::Io(source)) if !is_of_content(source.kind()) => {
                OpenError::Io { path: path.clone(), source }
            }
            error => damaged(&path, error),
        })
    })
}

/// Whether it is what is in a file that cannot be read, and not the file.
fn is_of_content(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// The schema of the file if this program knows it; `None` for one without a registry where none was.
fn check_schema(
    path: &Path,
    schema: Result<Option<u32>, redb::Error>,
    past: Past,
) -> Result<Option<u32>, OpenError> {
    match schema {
        Ok(None) if past == Past::Registry => {
            Err(damaged(path, "there is no registry in it, and this directory had one"))
        }
        Ok(Some(found)) if found > SCHEMA => Err(OpenError::Newer { path: path.to_path_buf(), found }),
        Ok(schema) => Ok(schema),
        Err(error) => Err(damaged(path, error)),
    }
}

/// Makes a store of an empty file; its epoch is the time of its making.
fn create(database: &Database, now_ms: u64, opening: u64) -> Result<(), redb::Error> {
    let state = State { epoch: Epoch(now_ms.max(1)), ..State::default() };
    let opening = Opening { id: opening, before: 0 };
    let transaction = database.begin_write()?;
    tables::create(&transaction, &Written { state, opening, ..Written::default() })?;
    Ok(transaction.commit()?)
}

/// Begins a new epoch in a file that may be behind what its users have seen.
fn begin_epoch(
    database: &Database,
    written: &mut Written,
    groups: &Groups,
    now: Millis,
    opening: u64,
) -> Result<(), redb::Error> {
    let longest = groups.values().map(|group| group.ttl).max().unwrap_or_default();
    let quarantine = longest.clamp(QUARANTINE_MIN, QUARANTINE_MAX);
    let state = &mut written.state;
    state.epoch = Epoch(state.epoch.0.saturating_add(1).max(now.0));
    state.quarantine_until = state.quarantine_until.max(now.after(quarantine));
    written.clock = now;
    written.batch += 1;
    written.opening = Opening { id: opening, before: opening };
    let transaction = database.begin_write()?;
    tables::create(&transaction, written)?;
    Ok(transaction.commit()?)
}

fn not_written(path: &Path, error: redb::Error) -> OpenError {
    match error {
        redb::Error::Io(source) if !is_of_content(source.kind()) => {
            OpenError::Io { path: path.to_path_buf(), source }
        }
        error => damaged(path, error),
    }
}

fn load(database: &Database) -> Result<(Written, Groups), StoreError> {
    let engine = |error: redb::Error| StoreError::Unavailable(error.into());
    let transaction = database.begin_read().map_err(|error| engine(error.into()))?;
    let nobody = |_: &GroupId| None;
    let snapshot = Snapshot::of(&transaction, &nobody).map_err(|error| engine(error.into()))?;
    let groups: BTreeMap<_, _> = snapshot.written_groups()?;
    Ok((snapshot.written()?, groups))
}

fn damaged(path: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> OpenError {
    OpenError::Damaged { path: path.to_path_buf(), source: error.into() }
}
