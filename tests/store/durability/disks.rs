//! Disks that lose what was not synced, fail, or are full.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use omnirelay_store::embedded::{BatchNote, Disk, DiskMedium, FoundNote, MachineBoot};
use redb::StorageBackend;

use super::Chance;

/// The unit in which a disk loses what was written.
const SECTOR: usize = 512;

/// A disk in memory. Its clones are the same disk.
#[derive(Clone, Debug)]
pub(super) struct SimDisk(Arc<Mutex<Sim>>);

/// The store file, the two segments of its log, and the renewals.
const FILES: usize = 4;
const RENEWALS: usize = 3;

/// One file of a disk.
#[derive(Clone, Debug)]
struct SimFile {
    disk: SimDisk,
    which: usize,
}

#[derive(Debug, Default)]
struct Sim {
    files: [Bytes; FILES],
    /// What was written and not synced, in order.
    unsynced: VecDeque<(usize, Change)>,
    faults: Faults,
    operations: u64,
    /// How often the power was lost before.
    losses: u128,
    /// By how much its clock was set.
    clock_ms: i64,
    syncs: u64,
    settled: u64,
    /// What was noted, from the last one that is certainly durable on.
    notes: Vec<BatchNote>,
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
struct Bytes {
    /// What a power loss leaves.
    platter: Vec<u8>,
    /// What readers see.
    shown: Vec<u8>,
    /// How far it was ever written to.
    filled: usize,
}

/// What a power loss takes of what was not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    All,
    /// Any part of it, sector by sector, and of any file without that of another.
    AnyPart,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize(usize),
}

/// What goes wrong, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// The operation at which the power goes; nothing works after it.
    pub power_lost_at: Option<u64>,
    /// The operations that fail, each once.
    pub failing: Vec<u64>,
    /// Those that fail are syncs only, and what they should have written out is forgotten.
    pub failing_syncs: bool,
    /// Syncs do nothing, and say that they have.
    pub lying_syncs: bool,
    /// The most bytes that the disk holds.
    pub bytes_max: Option<usize>,
    /// The disk promises room that it does not have: writing into it fails.
    pub promises_room: bool,
    pub sync_takes: Duration,
}

impl SimDisk {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// How much was done to it: reads do not count.
    pub(super) fn operations(&self) -> u64 {
        self.lock().operations
    }

    pub(super) fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// How often it was told to make what it holds findable.
    pub(super) fn settled(&self) -> u64 {
        self.lock().settled
    }

    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes()
    }

    /// The disk as it is found when the power is back.
    pub(super) fn after_power_loss(&self, loss: Loss, chance: &mut Chance) -> Self {
        let sim = self.lock();
        let mut platters = sim.files.clone().map(|file| file.platter);
        // Sometimes all or nothing, which a fair coin would hardly ever give.
        let kept_of_8 = match loss {
            Loss::All => 0,
            Loss::AnyPart => chance.below(9),
        };
        for (which, change) in &sim.unsynced {
            if chance.below(8) < kept_of_8 {
                change.apply_part(&mut platters[*which], chance);
            }
        }
        let kept = chance.below(sim.notes.len().max(1) as u64) as usize;
        let notes = sim.notes.get(kept).into_iter().copied().collect();
        let files = platters.map(|platter| Bytes { shown: platter.clone(), filled: platter.len(), platter });
        Self(Arc::new(Mutex::new(Sim { files, notes, losses: sim.losses + 1, ..Sim::default() })))
    }

    /// The disk as it is found when the process was killed: all that was written is there, synced or not.
    pub(super) fn after_kill(&self) -> Self {
        let Sim { files, unsynced, losses, clock_ms, notes, .. } = &*self.lock();
        let (files, unsynced, notes) = (files.clone(), unsynced.clone(), notes.clone());
        let (losses, clock_ms) = (*losses, *clock_ms);
        Self(Arc::new(Mutex::new(Sim { files, unsynced, losses, clock_ms, notes, ..Sim::default() })))
    }

    /// Sets the clock of the machine.
    pub(super) fn set_clock(&self, by_ms: i64) {
        self.lock().clock_ms += by_ms;
    }

    /// Has the renewals be those of another time.
    pub(super) fn forget_renewals(&self) {
        self.lock().files[RENEWALS] = Bytes::default();
    }

    fn file(&self, which: usize) -> Box<dyn StorageBackend> {
        Box::new(SimFile { disk: self.clone(), which })
    }

    fn lock(&self) -> MutexGuard<'_, Sim> {
        self.0.lock().unwrap()
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => put(bytes, *offset, data),
            Self::Resize(length) => bytes.resize(*length, 0),
        }
    }

    fn apply_part(&self, bytes: &mut Vec<u8>, chance: &mut Chance) {
        let Self::Write { offset, data } = self else { return self.apply(bytes) };
        let torn = chance.below(4) == 0;
        for (number, sector) in data.chunks(SECTOR).enumerate() {
            if !torn || chance.below(2) == 0 {
                put(bytes, offset + number * SECTOR, sector);
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

impl Sim {
    /// Counts an operation that changes something, and fails where it shall.
    fn step(&mut self, sync: bool) -> io::Result<()> {
        self.powered()?;
        self.operations += 1;
        self.powered()?;
        if self.faults.failing_syncs && !sync {
            return Ok(());
        }
        let now = self.operations;
        let due = self.faults.failing.iter().position(|at| *at <= now);
        match due {
            Some(which) => {
                self.faults.failing.swap_remove(which);
                Err(io::Error::other("simulated failure"))
            }
            None => Ok(()),
        }
    }

    fn powered(&self) -> io::Result<()> {
        match self.faults.power_lost_at {
            Some(at) if self.operations >= at => Err(io::Error::other("simulated power loss")),
            _ => Ok(()),
        }
    }

    fn bytes(&self) -> usize {
        self.files.iter().map(|file| file.shown.len()).sum()
    }

    /// Whether a file may be as long as `end`, beside what the others take.
    fn room(&self, which: usize, end: usize, taken: impl Fn(&Bytes) -> usize) -> io::Result<()> {
        let others = self.files.iter().enumerate().filter(|(other, _)| *other != which);
        let others: usize = others.map(|(_, file)| taken(file)).sum();
        match self.faults.bytes_max {
            Some(max) if end > taken(&self.files[which]) && others + end > max => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    fn change(&mut self, which: usize, change: Change) {
        change.apply(&mut self.files[which].shown);
        self.unsynced.push_back((which, change));
    }
}

impl SimFile {
    fn lock(&self) -> MutexGuard<'_, Sim> {
        self.disk.lock()
    }
}

impl StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        let sim = self.lock();
        sim.powered()?;
        Ok(sim.files[self.which].shown.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let sim = self.lock();
        sim.powered()?;
        let offset = offset as usize;
        let found = sim.files[self.which].shown.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut sim = self.lock();
        sim.step(false)?;
        if !sim.faults.promises_room {
            sim.room(self.which, len as usize, |file| file.shown.len())?;
        }
        let filled = &mut sim.files[self.which].filled;
        *filled = (len as usize).min(*filled);
        sim.change(self.which, Change::Resize(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let takes = self.lock().faults.sync_takes;
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        let mut sim = self.lock();
        let result = sim.step(true);
        if result.is_err() && !sim.faults.failing_syncs {
            return result;
        }
        if sim.faults.lying_syncs {
            return Ok(());
        }
        let unsynced = std::mem::take(&mut sim.unsynced);
        let (changes, others) = unsynced.into_iter().partition(|(which, _)| *which == self.which);
        sim.unsynced = others;
        // Else shown to readers, but written out by no later sync.
        result?;
        let platter = &mut sim.files[self.which].platter;
        VecDeque::iter(&changes).for_each(|(_, change)| change.apply(platter));
        sim.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut sim = self.lock();
        sim.step(false)?;
        let end = offset as usize + data.len();
        sim.room(self.which, end, |file| file.filled)?;
        let filled = &mut sim.files[self.which].filled;
        *filled = end.max(*filled);
        sim.change(self.which, Change::Write { offset: offset as usize, data: data.to_vec() });
        Ok(())
    }
}

impl Disk for SimDisk {
    fn path(&self) -> &Path {
        Path::new("simulated.redb")
    }

    fn open(&mut self) -> io::Result<DiskMedium> {
        self.lock().powered()?;
        Ok(DiskMedium { backend: self.file(0), file: None })
    }

    fn open_segment(&mut self, which: usize) -> io::Result<Box<dyn StorageBackend>> {
        self.lock().powered()?;
        Ok(self.file(which + 1))
    }

    fn open_renewals(&mut self) -> io::Result<Box<dyn StorageBackend>> {
        self.lock().powered()?;
        Ok(self.file(RENEWALS))
    }

    fn boot(&self) -> Option<MachineBoot> {
        let sim = self.lock();
        Some(MachineBoot { id: (sim.losses + 1).to_be_bytes(), clock_ms: sim.clock_ms })
    }

    fn set_aside(&mut self) -> io::Result<()> {
        panic!("no disk of version 0.1 is simulated");
    }

    fn settle(&mut self) -> io::Result<()> {
        let mut sim = self.lock();
        sim.settled += 1;
        let durable = sim.notes.pop();
        sim.notes = durable.into_iter().collect();
        Ok(())
    }

    fn noted(&mut self) -> io::Result<FoundNote> {
        Ok(self.lock().notes.last().map_or(FoundNote::Nothing, |note| FoundNote::Note(*note)))
    }

    fn note(&mut self, note: BatchNote) -> io::Result<()> {
        let mut sim = self.lock();
        sim.powered()?;
        sim.notes.push(note);
        Ok(())
    }
}
