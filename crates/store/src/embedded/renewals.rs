//! Renewals: how far the lives of groups were prolonged, in a file that nobody waits for.
//!
//! ```text
//! magic 8 bytes | boot 16 bytes | opening u64 | before u64 | left cleanly u32 | crc32 u32 | slots ...
//! slot: group 16 bytes | instance u64 | deadline u64 | renewed at u64 | zeros u32 | crc32 u32
//! ```
//!
//! Numbers are little-endian; a group is told by the beginning of the SHA-256 of its id. Each group has one slot, which
//! is written without a sync: what ends the process alone loses none. What ends the machine may lose any, so what is
//! found after another boot is not all that was promised, unless the file was left cleanly, with a sync.

use std::collections::{HashMap, HashSet};
use std::io;

use omnirelay_core::time::Millis;
use redb::StorageBackend;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::super::GroupId;
use super::super::rules::GroupState;
use super::disk::Disk;
use super::lives::Groups;
use super::opening::Opening;
use super::wal::{u32_at, u64_at};

const MAGIC: &[u8; 8] = b"omnirnw1";
const HEADER_BYTES: usize = 48;
const SLOT_BYTES: usize = 48;
/// Slots that are no further apart than this are written together, with what is between them.
const GAP_MAX: usize = 4096;

/// Which boot of the machine it is.
pub type Boot = [u8; 16];

/// Tells a group without its id.
type Name = [u8; 16];

/// The file, while the store is open.
pub(super) struct Renewals {
    file: Box<dyn StorageBackend>,
    /// All that is in it.
    bytes: Vec<u8>,
    places: HashMap<Name, usize>,
    free: Vec<usize>,
    state: Keeping,
}

/// Whether what is noted is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    All,
    /// Nothing is, and the file says so: the next start spares every group.
    Nothing,
    /// Some is not, and the file does not say so. Nobody may rely on a renewal.
    Unknown,
}

/// What was found in the file.
#[derive(Default)]
pub(super) struct Found {
    bytes: Vec<u8>,
    places: HashMap<Name, usize>,
    /// Whether that is all that was promised.
    pub is_whole: bool,
    was_left_cleanly: bool,
}

/// A renewal that was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    name: Name,
    instance: u64,
    deadline: Millis,
    renewed_at: Millis,
}

impl Found {
    /// Reads what is in the file, in this boot, beside a store whose last batch is of the opening `last`.
    pub fn read(file: &dyn StorageBackend, boot: Option<Boot>, last: Opening) -> io::Result<Self> {
        let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read(0, &mut bytes)?;
        Ok(Self::of(bytes, boot, last).unwrap_or_default())
    }

    fn of(bytes: Vec<u8>, boot: Option<Boot>, last: Opening) -> Option<Self> {
        let header = bytes.get(..HEADER_BYTES)?;
        let is_sound = crc32fast::hash(header.get(..44)?) == u32_at(header, 44)?;
        if header.get(..8)? != MAGIC || !is_sound {
            return None;
        }
        let of_this_boot = boot.is_some_and(|boot| header.get(8..24) == Some(&boot[..]));
        let of_this_store = [u64_at(header, 24)?, u64_at(header, 32)?].contains(&last.id);
        let was_left_cleanly = u32_at(header, 40)? != 0;
        let slots = bytes.get(HEADER_BYTES..)?.chunks_exact(SLOT_BYTES);
        let named = slots.enumerate().filter_map(|(at, slot)| Some((Slot::read(slot)?.name, at)));
        let places = named.collect();
        let is_whole = of_this_store && (of_this_boot || was_left_cleanly);
        Some(Self { places, is_whole, was_left_cleanly, bytes })
    }

    /// Prolongs the lives of groups by what was noted, whether that is all or not, and says when the last renewal was.
    pub fn prolong<'a>(&self, groups: impl Iterator<Item = (&'a GroupId, &'a mut GroupState)>) -> Millis {
        let mut last = Millis(0);
        for (id, group) in groups {
            let Some(slot) = self.places.get(&name_of(id)).and_then(|at| slot_at(&self.bytes, *at)) else {
                continue;
            };
            if slot.instance == group.instance {
                group.prolong(slot.deadline, slot.renewed_at);
                last = last.max(slot.renewed_at);
            }
        }
        last
    }

    /// The file from now on, for `opening` in this boot; what is not whole begins anew.
    pub fn go_on(
        self,
        file: Box<dyn StorageBackend>,
        boot: Option<Boot>,
        opening: Opening,
    ) -> io::Result<Renewals> {
        let keeps = self.is_whole;
        let Self { mut bytes, places, was_left_cleanly, .. } = if keeps { self } else { Self::default() };
        bytes.truncate(bytes.len().saturating_sub(HEADER_BYTES) / SLOT_BYTES * SLOT_BYTES + HEADER_BYTES);
        bytes.resize(bytes.len().max(HEADER_BYTES), 0);
        let slots = (bytes.len() - HEADER_BYTES) / SLOT_BYTES;
        let taken: HashSet<_> = places.values().copied().collect();
        let free = (0..slots).rev().filter(|at| !taken.contains(at)).collect();
        let mut renewals = Renewals { file, bytes, places, free, state: Keeping::All };
        if !keeps {
            renewals.file.set_len(0)?;
        }
        renewals.write_header(boot.unwrap_or_default(), opening, false)?;
        if was_left_cleanly {
            // After a loss of power it must not look as if nothing had been renewed since.
            renewals.file.sync_data()?;
        }
        Ok(renewals)
    }
}

/// Begins the file anew, of groups that memory knows all about.
pub(super) fn begin(disk: &mut dyn Disk, opening: Opening, groups: &Groups) -> io::Result<Renewals> {
    let mut renewals = Found::default().go_on(disk.open_renewals()?, None, opening)?;
    renewals.note(groups.iter());
    // Only now all of them are in it.
    renewals.write_header(disk.boot().unwrap_or_default(), opening, false)?;
    Ok(renewals)
}

impl Renewals {
    /// Notes how far these groups are prolonged. What cannot be noted is no reason to fail, as long as the next start
    /// knows that it is not all there.
    pub fn note<'a>(&mut self, groups: impl Iterator<Item = (&'a GroupId, &'a GroupState)>) {
        if self.state == Keeping::Nothing {
            return;
        }
        let mut changed: Vec<usize> = groups.map(|(id, group)| self.set(id, group)).collect();
        changed.sort_unstable();
        let offset = |at: usize| HEADER_BYTES + at * SLOT_BYTES;
        let mut stretches: Vec<(usize, usize)> = Vec::new();
        for at in changed {
            let (begin, end) = (offset(at), offset(at + 1));
            match stretches.last_mut() {
                Some((_, last)) if begin <= *last + GAP_MAX => *last = end,
                _ => stretches.push((begin, end)),
            }
        }
        let written = stretches.into_iter().try_for_each(|(begin, end)| {
            self.file.write(begin as u64, self.bytes.get(begin..end).unwrap_or_default())
        });
        if let Err(error) = written {
            warn!(%error, "renewals cannot be noted; the next start gives every group its time once more");
            self.give_up();
        }
    }

    /// A group is no more.
    pub fn forget(&mut self, id: &GroupId) {
        self.free.extend(self.places.remove(&name_of(id)));
    }

    /// False: nobody may be told that a renewal was made. Tries to make the file say that not all is in it.
    pub fn may_promise(&mut self) -> bool {
        if self.state == Keeping::Unknown {
            self.give_up();
        }
        self.state != Keeping::Unknown
    }

    /// Leaves the file so that all is known of it that was noted, whatever happens to the machine.
    pub fn leave(&mut self, opening: Opening) -> io::Result<()> {
        if self.state != Keeping::All {
            return Ok(());
        }
        // The slots before the word that they are all there.
        self.file.sync_data()?;
        self.write_header(Boot::default(), opening, true)?;
        self.file.sync_data()
    }

    fn give_up(&mut self) {
        let erased = self.file.set_len(0);
        self.state = if erased.is_ok() { Keeping::Nothing } else { Keeping::Unknown };
    }

    /// Puts a group into its slot, and says which one that is.
    fn set(&mut self, id: &GroupId, group: &GroupState) -> usize {
        let name = name_of(id);
        let next = (self.bytes.len() - HEADER_BYTES) / SLOT_BYTES;
        let at = *self.places.entry(name).or_insert_with(|| self.free.pop().unwrap_or(next));
        let begin = HEADER_BYTES + at * SLOT_BYTES;
        if self.bytes.len() < begin + SLOT_BYTES {
            self.bytes.resize(begin + SLOT_BYTES, 0);
        }
        let GroupState { instance, deadline, renewed_at, .. } = *group;
        let slot = Slot { name, instance, deadline, renewed_at }.bytes();
        if let Some(place) = self.bytes.get_mut(begin..begin + SLOT_BYTES) {
            place.copy_from_slice(&slot);
        }
        at
    }

    fn write_header(&mut self, boot: Boot, opening: Opening, left_cleanly: bool) -> io::Result<()> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&boot);
        header.extend_from_slice(&opening.id.to_le_bytes());
        header.extend_from_slice(&opening.before.to_le_bytes());
        header.extend_from_slice(&u32::from(left_cleanly).to_le_bytes());
        let sum = crc32fast::hash(&header);
        header.extend_from_slice(&sum.to_le_bytes());
        self.file.write(0, &header)
    }
}

impl Slot {
    fn bytes(&self) -> [u8; SLOT_BYTES] {
        let mut bytes = [0; SLOT_BYTES];
        bytes[..16].copy_from_slice(&self.name);
        bytes[16..24].copy_from_slice(&self.instance.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.deadline.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.renewed_at.0.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None`: nothing whole is in it.
    fn read(bytes: &[u8]) -> Option<Self> {
        if crc32fast::hash(bytes.get(..44)?) != u32_at(bytes, 44)? {
            return None;
        }
        let name = *bytes.first_chunk()?;
        let (deadline, renewed_at) = (Millis(u64_at(bytes, 24)?), Millis(u64_at(bytes, 32)?));
        Some(Self { name, instance: u64_at(bytes, 16)?, deadline, renewed_at })
    }
}

fn slot_at(bytes: &[u8], at: usize) -> Option<Slot> {
    let begin = HEADER_BYTES + at * SLOT_BYTES;
    Slot::read(bytes.get(begin..begin + SLOT_BYTES)?)
}

fn name_of(id: &GroupId) -> Name {
    let digest = Sha256::digest(id.0.as_bytes());
    std::array::from_fn(|at| digest[at])
}
