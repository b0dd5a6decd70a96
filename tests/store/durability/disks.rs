//! Disks that lose what was not synced, fail, or are full.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use omnirelay_store::embedded::{Disk, Medium, Note};
use redb::StorageBackend;

use super::Chance;

/// The unit in which a disk loses what was written.
const SECTOR: usize = 512;

/// A disk in memory. Its clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<Sim>>);

#[derive(Debug, Default)]
struct Sim {
    /// What a power loss leaves.
    platter: Vec<u8>,
    /// What readers see.
    shown: Vec<u8>,
    /// What stands between the two, in order.
    unsynced: VecDeque<Change>,
    faults: Faults,
    operations: u64,
    syncs: u64,
    settled: u64,
    /// What was noted, from the last one that is certainly durable on.
    notes: Vec<Note>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize(usize),
}

/// What goes wrong, and when.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The operation at which the power goes; nothing works after it.
    pub power_lost_at: Option<u64>,
    /// The operations that fail, each once.
    pub failing: Vec<u64>,
    /// Those that fail are syncs only, and what they should have written out is forgotten.
    pub failing_syncs: bool,
    /// The most bytes that the disk holds.
    pub bytes_max: Option<usize>,
    /// The disk promises room that it does not have: writing into it fails.
    pub promises_room: bool,
    pub sync_takes: Duration,
}

impl SimDisk {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// How much was done to it: reads do not count.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// How often it was told to make what it holds findable.
    pub fn settled(&self) -> u64 {
        self.lock().settled
    }

    pub fn bytes(&self) -> usize {
        self.lock().shown.len()
    }

    /// The disk as it is found when the power is back: any part of what was not synced is lost,
    /// sector by sector.
    pub fn after_power_loss(&self, chance: &mut Chance) -> Self {
        let sim = self.lock();
        let mut platter = sim.platter.clone();
        // Sometimes all or nothing, which a fair coin would hardly ever give.
        let kept_of_8 = chance.below(9);
        for change in &sim.unsynced {
            if chance.below(8) < kept_of_8 {
                change.apply_part(&mut platter, chance);
            }
        }
        let kept = chance.below(sim.notes.len().max(1) as u64) as usize;
        let notes = sim.notes.get(kept).into_iter().copied().collect();
        Self(Arc::new(Mutex::new(Sim { shown: platter.clone(), platter, notes, ..Sim::default() })))
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

    fn room(&self, end: usize) -> io::Result<()> {
        match self.faults.bytes_max {
            Some(max) if end > max => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.shown);
        self.unsynced.push_back(change);
    }
}

impl StorageBackend for SimDisk {
    fn len(&self) -> io::Result<u64> {
        let sim = self.lock();
        sim.powered()?;
        Ok(sim.shown.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let sim = self.lock();
        sim.powered()?;
        let offset = offset as usize;
        let found = sim.shown.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut sim = self.lock();
        sim.step(false)?;
        if !sim.faults.promises_room {
            sim.room(len as usize)?;
        }
        sim.change(Change::Resize(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let takes = self.lock().faults.sync_takes;
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        let mut sim = self.lock();
        let result = sim.step(true);
        let changes = std::mem::take(&mut sim.unsynced);
        if result.is_err() {
            if sim.faults.failing_syncs {
                // Shown to readers, but written out by no later sync.
                return result;
            }
            sim.unsynced = changes;
            return result;
        }
        changes.iter().for_each(|change| change.apply(&mut sim.platter));
        sim.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut sim = self.lock();
        sim.step(false)?;
        sim.room(offset as usize + data.len())?;
        sim.change(Change::Write { offset: offset as usize, data: data.to_vec() });
        Ok(())
    }
}

impl Disk for SimDisk {
    fn path(&self) -> &Path {
        Path::new("simulated.redb")
    }

    fn open(&mut self) -> io::Result<Medium> {
        self.lock().powered()?;
        Ok(Medium { backend: Box::new(self.clone()), file: None })
    }

    fn settle(&mut self) -> io::Result<()> {
        let mut sim = self.lock();
        sim.settled += 1;
        let durable = sim.notes.pop();
        sim.notes = durable.into_iter().collect();
        Ok(())
    }

    fn noted(&mut self) -> io::Result<Option<Note>> {
        Ok(self.lock().notes.last().copied())
    }

    fn note(&mut self, note: Note) -> io::Result<()> {
        let mut sim = self.lock();
        sim.powered()?;
        sim.notes.push(note);
        Ok(())
    }
}
