//! Opening the file of an embedded store: for the first time, and again after a failure.

use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError};
use tracing::warn;

use super::super::rules::{GroupState, Groups, State};
use super::super::{AcceptedLoss, Clock, Epoch};
use super::base::{self, FileBase, SCHEMA, close};
use super::disk::{Disk, MediumHealth, WatchedMedium};
use super::failure::{FileFailure, OpenError, damaged};
use super::files::LOCK_NAME;
use super::note::{BatchNote, FoundNote};
use super::options::EmbeddedOptions;
use super::overlay::Overlay;
use super::proof::DirectoryPast;
use super::renewals::{self, RenewalFile, RenewalHeader};
use super::shared::{SharedStore, StoreClock, StoreContent};
use super::tables::{BatchChanges, View};
use super::wal::{FoundSegments, LogTail, Wal};
use super::written_state::{Opening, WrittenState};
use crate::MissingFileAction;
use crate::chance::random_u64;

/// How long a file that is not the one used last grants no scope, at least and at most: as long as
/// a session may trust what the other file gave it. The longest session that can be configured
/// lasts the most; sessions much longer than those that the file knows are not foreseen.
const QUARANTINE_MIN: Duration = Duration::from_secs(60);
const QUARANTINE_MAX: Duration = Duration::from_secs(600);
/// The version of the rows of a file that had no log beside it.
const SCHEMA_WITHOUT_LOG: u32 = 1;
/// How long a file is waited for that somebody has open: mostly a process that this one has just forked, which has all
/// that was open here until its own program begins.
const HELD_MAX: Duration = Duration::from_secs(1);
const HELD_LOOK_EVERY: Duration = Duration::from_millis(10);

/// Makes sure that the directory is there, readable for its owner only if it is new.
pub(super) fn make_directory(dir: &Path) -> Result<(), OpenError> {
    let made = || {
        let missing: Vec<_> = dir.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // What a power loss must not take is reached through these.
        for parent in missing.iter().filter_map(|made| made.parent()) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
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
pub(super) fn refuse_untouched(path: &Path, past: DirectoryPast) -> Result<(), OpenError> {
    if !path.try_exists().map_err(|source| OpenError::Io { path: path.to_path_buf(), source })? {
        return Ok(());
    }
    spared(path, || match Builder::new().open_read_only(path) {
        Ok(database) => check_schema(path, schema(&database), past).map(|_| ()),
        Err(DatabaseError::DatabaseAlreadyOpen) => Err(OpenError::Held { path: path.to_path_buf() }),
        Err(_) => Ok(()),
    })
}

/// Input of an opening: the options, and what is known of a file that was there before.
#[derive(Clone, Copy)]
pub(super) struct OpeningInput {
    pub options: EmbeddedOptions,
    pub past: DirectoryPast,
    pub missing: MissingFileAction,
}

/// A store that was opened for the first time.
pub(super) struct StartedStore {
    pub shared: SharedStore,
    pub wal: Wal,
    /// The last batch that the file has.
    pub file: WrittenState,
    pub lost: Option<AcceptedLoss>,
}

/// Opened store: what it was found to hold, and how it goes on.
pub(super) struct OpenedStore {
    pub held: StoreContent,
    pub wal: Wal,
    /// The last batch that the file has.
    pub file: WrittenState,
}

/// Opens the file, makes a store of it if it is empty, and shows what it and the log hold.
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
    given: OpeningInput,
) -> Result<StartedStore, OpenError> {
    let path = disk.path().to_path_buf();
    let options = given.options;
    let seen = Arc::new(MediumHealth::default());
    let mut database = once_free(|| open_database(disk, &seen, options.cache_bytes))?;
    if spared(&path, || Ok(schema(&database).ok().flatten()))? == Some(SCHEMA_WITHOUT_LOG) {
        close(database);
        disk.set_aside().map_err(|source| OpenError::Io { path: path.clone(), source })?;
        database = open_database(disk, &seen, options.cache_bytes)?;
    }
    match spared(&path, || begin(disk, &database, clock, &seen, given)) {
        Ok(OpeningState { opened: OpenedStore { held, wal, file }, clock, opening, lost }) => {
            let shared = SharedStore::new(path, clock, seen, options, opening);
            shared.show_opened(database, held);
            Ok(StartedStore { shared, wal, file, lost })
        }
        Err(error) => {
            close(database);
            Err(error)
        }
    }
}

/// Content recovered from the file and the log.
struct RecoveredContent {
    base: FileBase,
    /// The last batch that the file has.
    file: WrittenState,
    log: FoundSegments,
    tail: LogTail,
}

impl RecoveredContent {
    fn read(
        disk: &mut dyn Disk,
        database: &Database,
        segment_bytes: u64,
        seen: &Arc<MediumHealth>,
    ) -> Result<Self, OpenError> {
        let path = disk.path().to_path_buf();
        let base = FileBase::of(database).map_err(|error| damaged(&path, error))?;
        let file = View::of_file(&base).written().map_err(|error| damaged(&path, error))?;
        let log = FoundSegments::open(disk, segment_bytes, seen)
            .map_err(|source| OpenError::Io { path: path.clone(), source })?;
        let tail = log.tail(&file).map_err(|error| damaged(&path, error))?;
        Ok(Self { base, file, log, tail })
    }

    /// All groups, as they were written.
    fn groups(&self, path: &Path) -> Result<Groups, OpenError> {
        let layers = [None, Some(&self.tail.active), self.tail.frozen.as_ref()];
        View { base: &self.base, layers }.groups().map_err(|error| damaged(path, error))
    }

    /// Goes on as it is, with what the log has behind the file; or with the file alone.
    fn go_on(self, with_log: bool, groups: Groups, renewals: RenewalFile) -> io::Result<OpenedStore> {
        let Self { base, file, log, tail } = self;
        let wal = if with_log { log.resume(&tail)? } else { log.begin_anew()? };
        let LogTail { last: written, frozen, active, .. } = tail;
        Ok(OpenedStore { held: StoreContent { base, written, groups, renewals, frozen, active }, wal, file })
    }

    /// Writes to the file what it and the log hold, and these groups as they are, as the batch `written`. Nothing of the
    /// log is needed any more.
    fn write_all(
        &mut self,
        database: &Database,
        written: WrittenState,
        groups: &Overlay,
    ) -> Result<(), redb::Error> {
        let layers: Vec<_> = self.tail.frozen.iter().chain([&self.tail.active, groups]).collect();
        base::checkpoint(database, &layers, Some(&written))?;
        (self.base, self.file, self.tail) =
            (FileBase::of(database)?, written, LogTail::nothing_behind(&written));
        Ok(())
    }
}

/// State with which an opening begins.
struct OpeningState {
    opened: OpenedStore,
    clock: StoreClock,
    opening: Opening,
    lost: Option<AcceptedLoss>,
}

fn begin(
    disk: &mut dyn Disk,
    database: &Database,
    clock: Box<dyn Clock>,
    seen: &Arc<MediumHealth>,
    OpeningInput { options, past, missing }: OpeningInput,
) -> Result<OpeningState, OpenError> {
    let path = disk.path().to_path_buf();
    let io = |source| OpenError::Io { path: path.clone(), source };
    let this = random_u64().map_err(io)?;
    let created = prepare(database, &path, past, clock.now(), this)?;
    let mut found = RecoveredContent::read(disk, database, options.segment_bytes, seen)?;
    let noted = disk.noted().map_err(io)?;
    let standing = match created {
        true => StoreStanding::Fresh,
        false => standing(noted, &found.file, &found.tail, missing).map_err(|refused| match refused {
            OpenRefusal::Behind => OpenError::Behind { path: path.clone() },
            OpenRefusal::Note => OpenError::Note { path: path.with_file_name(LOCK_NAME) },
        })?,
    };
    if matches!(standing, StoreStanding::Fresh | StoreStanding::Other { with_log: false }) {
        found.tail = LogTail::nothing_behind(&found.file);
    }
    let last = found.tail.last;
    let mut groups = found.groups(&path)?;
    let (renewals, boot) = (disk.open_renewals().map_err(io)?, disk.boot());
    let mut renewed = renewals::FoundRenewals::read(&*renewals, boot, last.opening).map_err(io)?;
    renewed.is_whole &= standing == StoreStanding::Same;
    // The time in a note that is not proven may be anything.
    let known = noted.note().filter(|note| !noted.is_doubtful() && note.is_in(&last));
    let noted_at = known.map_or(Millis(0), |note| note.at);
    let renewals_heard = renewed.prolong(&mut groups);
    let heard = renewals_heard.at.max(noted_at).max(last.clock);
    let clock = StoreClock::at_least(clock, heard).in_boot(boot);
    let lost = match standing {
        StoreStanding::Behind => Some(AcceptedLoss { epoch: last.state.epoch, everything: false }),
        _ => past.lost().map(|epoch| AcceptedLoss { epoch, everything: true }),
    };
    let begins_epoch = lost.is_some() || !matches!(standing, StoreStanding::Same | StoreStanding::Fresh);
    let spared = if renewed.is_whole { Overlay::default() } else { spare(&mut groups, clock.now(), heard) };
    if begins_epoch || !spared.is_empty() {
        if standing == StoreStanding::Same {
            // Else a note of long ago could make this store look like another one.
            disk.note(BatchNote::of(&last, &found.file)).and_then(|()| disk.settle()).map_err(io)?;
        }
        let mut written = last;
        if begins_epoch {
            begin_epoch(&mut written, &groups, lost, clock.now());
        }
        written.clock = clock.now();
        written.batch += 1;
        written.opening = Opening { id: this, before: if begins_epoch { this } else { last.opening.id } };
        found.write_all(database, written, &spared).map_err(|error| not_written(&path, error))?;
        if begins_epoch {
            say_begun(&path, written.state.epoch, lost);
        }
    }
    let opening = Opening { id: this, before: found.tail.last.opening.id };
    let renewals = renewed.go_on(renewals, boot, opening, &groups).map_err(io)?;
    // Who was heard before a silence has its grace after it.
    found.tail.last.state.heard = renewals_heard;
    let with_log = standing == StoreStanding::Same && spared.is_empty();
    let opened = found.go_on(with_log, groups, renewals).map_err(io)?;
    let written = opened.held.written;
    disk.note(BatchNote::of(&written, &opened.file)).and_then(|()| disk.settle()).map_err(io)?;
    Ok(OpeningState { opened, clock, opening, lost })
}

/// Makes a store of an empty file, and one of this version of an older one. True: it was empty.
fn prepare(
    database: &Database,
    path: &Path,
    past: DirectoryPast,
    now: Millis,
    opening: u64,
) -> Result<bool, OpenError> {
    let (written, created) = match check_schema(path, schema(database), past)? {
        Some(SCHEMA) => return Ok(false),
        Some(_) => {
            let base = FileBase::of(database).map_err(|error| damaged(path, error))?;
            (View::of_file(&base).written().map_err(|error| damaged(path, error))?, false)
        }
        // Its epoch is the time of its making.
        None => {
            let state = State { epoch: Epoch(now.0.max(1)), ..State::default() };
            (
                WrittenState {
                    state,
                    opening: Opening { id: opening, before: 0 },
                    ..WrittenState::default()
                },
                true,
            )
        }
    };
    base::checkpoint(database, &[], Some(&written)).map_err(|error| not_written(path, error))?;
    Ok(created)
}

/// Standing of an opened store against the note of the one that was used here last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoreStanding {
    /// It was made just now.
    Fresh,
    Same,
    /// Its file is another one; the log beside it goes on from it, or has nothing to do with it.
    Other {
        with_log: bool,
    },
    /// It lacks what was acknowledged, which was accepted.
    Behind,
}

/// Reason why a store is not opened.
enum OpenRefusal {
    /// The log lacks what was acknowledged.
    Behind,
    /// What was noted is damaged, and does not fit.
    Note,
}

fn standing(
    noted: FoundNote,
    file: &WrittenState,
    tail: &LogTail,
    missing: MissingFileAction,
) -> Result<StoreStanding, OpenRefusal> {
    let refused = |why| match missing {
        MissingFileAction::Refuse => Err(why),
        MissingFileAction::AcceptLoss => Ok(StoreStanding::Behind),
    };
    let fits = |note: &BatchNote| is_of(note, file, tail) && !tail.torn && note.is_in(&tail.last);
    match noted {
        FoundNote::Note(note) | FoundNote::Unproven(note) if fits(&note) => Ok(StoreStanding::Same),
        // What it says would have the log dropped, or changes missed that there never were.
        FoundNote::Unproven(_) | FoundNote::Damaged => refused(OpenRefusal::Note),
        FoundNote::Note(note) if is_of(&note, file, tail) => refused(OpenRefusal::Behind),
        // A file that was restored alone: the log is of the state that it replaces, and may go on from it by chance.
        FoundNote::Note(note) => {
            Ok(StoreStanding::Other { with_log: !tail.torn && tail.last.batch < note.batch })
        }
        FoundNote::Nothing if tail.torn => refused(OpenRefusal::Behind),
        FoundNote::Nothing => Ok(StoreStanding::Other { with_log: true }),
    }
}

/// Whether a note is of this file. Whichever opening the last checkpoint is of: the log goes on from there up to what
/// was noted.
fn is_of(note: &BatchNote, file: &WrittenState, tail: &LogTail) -> bool {
    let is_followed = note.file_batch <= file.batch && file.batch < tail.last.batch && note.is_in(&tail.last);
    note.is_of_file(file) || is_followed
}

fn say_begun(path: &Path, epoch: Epoch, lost: Option<AcceptedLoss>) {
    let path = path.display();
    match lost {
        Some(AcceptedLoss { everything: true, .. }) => {
            warn!(%path, %epoch, "store file was lost, which was accepted; a new epoch has begun");
        }
        Some(_) => {
            warn!(%path, %epoch, "newest changes were lost with the log, which was accepted; a new epoch has begun");
        }
        None => warn!(%path, %epoch, "store file is a copy or was moved here; a new epoch has begun"),
    }
}

/// Does something with the storage engine: what it makes of a damaged file must not end the process.
fn spared<R>(path: &Path, does: impl FnOnce() -> Result<R, OpenError>) -> Result<R, OpenError> {
    let gave_up = |_| Err(damaged(path, "the storage engine gave up reading it"));
    catch_unwind(AssertUnwindSafe(does)).unwrap_or_else(gave_up)
}

/// Opens the store again after a failure. Deadlines that only memory knows stay, those among them that are `renewed` in
/// the batch that failed, if the store ends with it.
pub(super) fn reopen<'a>(
    disk: &mut dyn Disk,
    shared: &SharedStore,
    renewed: impl Fn(&WrittenState) -> Option<&'a Groups>,
) -> Result<(Database, OpenedStore), FileFailure> {
    let failure = |error: &dyn std::error::Error| FileFailure::new(&shared.path, chain(&error));
    let EmbeddedOptions { cache_bytes, segment_bytes, .. } = shared.options;
    let database = open_database(disk, &shared.seen, cache_bytes).map_err(|error| failure(&error))?;
    let opened = spared(&shared.path, || {
        let mut found = RecoveredContent::read(disk, &database, segment_bytes, &shared.seen)?;
        if found.tail.torn || found.tail.last.batch < shared.shown().batch {
            return Err(OpenError::Behind { path: shared.path.to_path_buf() });
        }
        let io = |source| OpenError::Io { path: shared.path.to_path_buf(), source };
        let mut groups = found.groups(&shared.path)?;
        remember(&mut groups, &shared.lives().groups);
        if let Some(renewed) = renewed(&found.tail.last) {
            remember(&mut groups, renewed);
        }
        // Who was heard before the failure has its grace after it.
        let State { heard, grace, .. } = shared.lives().state;
        (found.tail.last.state.heard, found.tail.last.state.grace) = (heard, grace);
        let header = RenewalHeader::of(shared.clock.boot(), shared.opening, heard.grace);
        let renewals = renewals::begin(disk, header, &groups).map_err(io)?;
        found.go_on(true, groups, renewals).map_err(io)
    });
    match opened {
        Ok(opened) => Ok((database, opened)),
        Err(error) => {
            close(database);
            Err(failure(&error))
        }
    }
}

/// Gives the room that a file does not use back. Nothing of its log is needed any more then.
///
/// # Errors
/// As of opening it; when the log holds what the file does not.
pub(super) fn compact(disk: &mut dyn Disk, seen: &Arc<MediumHealth>) -> Result<(), OpenError> {
    let path = disk.path().to_path_buf();
    let mut database = open_database(disk, seen, EmbeddedOptions::default().cache_bytes)?;
    let compacted = spared(&path, || {
        let RecoveredContent { file, tail, .. } =
            RecoveredContent::read(disk, &database, EmbeddedOptions::default().segment_bytes, seen)?;
        if tail.torn || file.batch < tail.last.batch {
            let what = "what its log holds could not be written to it";
            return Err(OpenError::Io { path: path.clone(), source: io::Error::other(what) });
        }
        // Once may not be enough.
        while database.compact().map_err(|error| damaged(&path, error))? {}
        Ok(())
    });
    close(database);
    compacted
}

/// Takes over what memory knows of renewals that were not written.
fn remember(groups: &mut Groups, known: &Groups) {
    for (id, group) in groups {
        if let Some(known) = known.get(id) {
            group.remember(known);
        }
    }
}

fn open_database(
    disk: &mut dyn Disk,
    seen: &Arc<MediumHealth>,
    cache_bytes: usize,
) -> Result<Database, OpenError> {
    let path = disk.path().to_path_buf();
    let watched = match disk.open().and_then(|medium| WatchedMedium::over(medium, Arc::clone(seen))) {
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
    past: DirectoryPast,
) -> Result<Option<u32>, OpenError> {
    match schema {
        Ok(None) if past == DirectoryPast::Registry => {
            Err(damaged(path, "there is no registry in it, and this directory had one"))
        }
        Ok(Some(found)) if found > SCHEMA => Err(OpenError::Newer { path: path.to_path_buf(), found }),
        Ok(schema) => Ok(schema),
        Err(error) => Err(damaged(path, error)),
    }
}

/// Makes good for renewals that nobody knows any more, and says what is to be written of it.
fn spare(groups: &mut Groups, now: Millis, heard: Millis) -> Overlay {
    BatchChanges::group_rows(
        groups.iter_mut().filter_map(|(id, group)| group.spare(now, heard).then_some((id, &*group))),
    )
}

/// Makes a new epoch begin with `written`, above one that was lost, of a store that may be behind what its users have
/// seen.
fn begin_epoch(written: &mut WrittenState, groups: &Groups, lost: Option<AcceptedLoss>, now: Millis) {
    let promised = |group: &GroupState| group.ttl.max(group.deadline.since(now));
    let longest = groups.values().map(promised).max().unwrap_or_default();
    let quarantine = longest.clamp(QUARANTINE_MIN, QUARANTINE_MAX);
    let state = &mut written.state;
    let before = state.epoch.max(lost.map(|lost| lost.epoch).unwrap_or_default());
    state.epoch = Epoch(before.0.saturating_add(1).max(now.0));
    state.quarantine_until = state.quarantine_until.max(now.after(quarantine));
}

fn not_written(path: &Path, error: redb::Error) -> OpenError {
    match error {
        redb::Error::Io(source) if !is_of_content(source.kind()) => {
            OpenError::Io { path: path.to_path_buf(), source }
        }
        error => damaged(path, error),
    }
}

fn schema(database: &impl ReadableDatabase) -> Result<Option<u32>, redb::Error> {
    base::schema(&database.begin_read()?)
}
