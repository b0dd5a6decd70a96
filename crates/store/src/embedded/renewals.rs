//! Renewals: how far the lives of groups were prolonged, in a file that nobody waits for.
//!
//! ```text
//! magic 8 bytes | boot 16 bytes | clock i64 | opening u64 | before u64 | grace u64 | left cleanly u32 | crc32 u32
//! slot: group 16 bytes | instance u64 | deadline u64 | renewed at u64 | zeros 20 bytes | crc32 u32
//! ```
//!
//! Numbers are little-endian, times are in ms; a group is told by the beginning of the SHA-256 of its id. Each group has
//! one slot, which is written without a sync: what ends the process alone loses none. What ends the machine may lose any,
//! so what is found after another boot is not all that was promised, unless the file was left cleanly, with a sync. Nor
//! is it where the clock was set meanwhile, for deadlines are read by it.
//!
//! A slot never lies on two pages: a process that is killed while it writes leaves it as it was, or as it is to be.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use omnirelay_core::time::{Millis, whole_ms};
use redb::StorageBackend;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::super::GroupId;
use super::super::rules::{GroupState, Groups, LastRenewal};
use super::boot::MachineBoot;
use super::disk::Disk;
use super::wal::{u32_at, u64_at};
use super::written_state::Opening;

const MAGIC: &[u8; 8] = b"omnirnw1";
/// How long the header is, and each slot.
const PLACE_BYTES: usize = 64;
const SUM_AT: usize = PLACE_BYTES - 4;

/// Hash of the id of a group, which tells it without the id.
type GroupHash = [u8; 16];

/// File of the renewals, while the store is open.
pub(super) struct RenewalFile {
    file: Box<dyn StorageBackend>,
    header: RenewalHeader,
    places: HashMap<GroupHash, u64>,
    free: Vec<u64>,
    /// How many slots there are.
    slots: u64,
    state: RenewalKeeping,
}

/// Keeping of the renewals that are noted: whether the file has all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RenewalKeeping {
    All,
    /// Nothing is, and the file says so: the next start spares every group.
    Nothing,
    /// Some is not, and the file does not say so. Nobody may rely on a renewal.
    Unknown,
}

/// Renewals that were found in the file.
#[derive(Default)]
pub(super) struct FoundRenewals {
    /// The newest slot of each group, and where it is: a group that was forgotten has left one behind.
    newest: HashMap<GroupHash, (u64, Slot)>,
    /// How many slots there are.
    slots: u64,
    grace: Duration,
    /// Whether that is all that was promised.
    pub is_whole: bool,
}

/// Header of the file of renewals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RenewalHeader {
    /// That in which the store's clock was set: deadlines are told by it.
    boot: MachineBoot,
    opening: Opening,
    /// How much grace was asked for with the last renewal.
    grace: Duration,
    left_cleanly: bool,
}

/// A renewal that was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    name: GroupHash,
    instance: u64,
    deadline: Millis,
    renewed_at: Millis,
}

impl FoundRenewals {
    /// Reads what is in the file, in this boot, beside a store whose last batch is of the opening `last`.
    pub(super) fn read(
        file: &dyn StorageBackend,
        boot: Option<MachineBoot>,
        last: Opening,
    ) -> io::Result<Self> {
        let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        file.read(0, &mut bytes)?;
        Ok(Self::of(&bytes, boot, last).unwrap_or_default())
    }

    fn of(bytes: &[u8], boot: Option<MachineBoot>, last: Opening) -> Option<Self> {
        let (header, places) = bytes.as_chunks::<PLACE_BYTES>().0.split_first()?;
        let header = RenewalHeader::read(header)?;
        if ![header.opening.id, header.opening.before].contains(&last.id) {
            // It is of another store.
            return None;
        }
        let mut found = Self {
            newest: HashMap::new(),
            slots: places.len() as u64,
            grace: header.grace,
            is_whole: header.is_whole(boot),
        };
        for (at, place) in (0..).zip(places) {
            match Slot::read(place) {
                Some(slot) => found.see(at, slot),
                None => found.is_whole &= place.iter().all(|byte| *byte == 0),
            }
        }
        Some(found)
    }

    fn see(&mut self, at: u64, slot: Slot) {
        let newest = self.newest.entry(slot.name).or_insert((at, slot));
        if (newest.1.instance, newest.1.deadline) < (slot.instance, slot.deadline) {
            *newest = (at, slot);
        }
    }

    /// Prolongs the lives of groups by what was noted, whether that is all or not, and says who was heard last.
    pub(super) fn prolong(&self, groups: &mut Groups) -> LastRenewal {
        let mut at = Millis(0);
        for (id, group) in groups {
            let Some((_, slot)) = self.newest.get(&name_of(id)) else { continue };
            if slot.instance == group.instance {
                group.prolong(slot.deadline, slot.renewed_at);
                at = at.max(slot.renewed_at);
            }
        }
        LastRenewal { at, grace: self.grace }
    }

    /// The file from now on, for `opening` in this boot, with the slots of these groups; what is not whole begins anew.
    pub(super) fn go_on(
        self,
        file: Box<dyn StorageBackend>,
        boot: Option<MachineBoot>,
        opening: Opening,
        groups: &Groups,
    ) -> io::Result<RenewalFile> {
        let header = RenewalHeader::of(boot, opening, self.grace);
        if !self.is_whole {
            return RenewalFile::empty(file, header);
        }
        file.write(0, &header.bytes())?;
        // After a loss of power it must not look as if it had been left cleanly and nothing been renewed since.
        file.sync_data()?;
        let place = |name: GroupHash| Some((name, self.newest.get(&name)?.0));
        let places: HashMap<_, _> = groups.keys().map(name_of).filter_map(place).collect();
        let taken: HashSet<_> = places.values().copied().collect();
        let free = (0..self.slots).rev().filter(|at| !taken.contains(at)).collect();
        Ok(RenewalFile { places, free, slots: self.slots, ..RenewalFile::new(file, header) })
    }
}

/// Begins the file anew, of groups that memory knows all about.
pub(super) fn begin(disk: &mut dyn Disk, header: RenewalHeader, groups: &Groups) -> io::Result<RenewalFile> {
    let of_no_boot = RenewalHeader { boot: MachineBoot::default(), ..header };
    let mut renewals = RenewalFile::empty(disk.open_renewals()?, of_no_boot)?;
    renewals.note(groups.iter());
    if renewals.state == RenewalKeeping::All {
        // Only now all of them are in it.
        renewals.header = header;
        renewals.write_header();
    }
    Ok(renewals)
}

impl RenewalFile {
    fn new(file: Box<dyn StorageBackend>, header: RenewalHeader) -> Self {
        Self { file, header, places: HashMap::new(), free: Vec::new(), slots: 0, state: RenewalKeeping::All }
    }

    /// Has nothing in the file but this header.
    fn empty(file: Box<dyn StorageBackend>, header: RenewalHeader) -> io::Result<Self> {
        file.set_len(0)?;
        let mut renewals = Self::new(file, header);
        // Where there is no room even for this, renewals go on in memory.
        renewals.write_header();
        Ok(renewals)
    }

    /// Notes how far these groups are prolonged. What cannot be noted is no reason to fail, as long as the next start
    /// knows that it is not all there.
    pub(super) fn note<'a>(&mut self, groups: impl Iterator<Item = (&'a GroupId, &'a GroupState)>) {
        for (id, group) in groups {
            if self.state != RenewalKeeping::All {
                return;
            }
            let GroupState { instance, deadline, renewed_at, .. } = *group;
            let slot = Slot { name: name_of(id), instance, deadline, renewed_at };
            let at = self.place(slot.name);
            self.write((at + 1) * PLACE_BYTES as u64, &slot.bytes());
        }
    }

    /// Notes how much grace was asked for.
    pub(super) fn note_grace(&mut self, grace: Duration) {
        if grace != self.header.grace && self.state == RenewalKeeping::All {
            self.header.grace = grace;
            self.write_header();
        }
    }

    /// A group is no more.
    pub(super) fn forget(&mut self, id: &GroupId) {
        self.free.extend(self.places.remove(&name_of(id)));
    }

    /// False: nobody may be told that a renewal was made. Tries to make the file say that not all is in it.
    pub(super) fn may_promise(&mut self) -> bool {
        if self.state == RenewalKeeping::Unknown {
            self.give_up();
        }
        self.state != RenewalKeeping::Unknown
    }

    /// Leaves the file so that all is known of it that was noted, whatever happens to the machine.
    pub(super) fn leave(&mut self, opening: Opening) -> io::Result<()> {
        if self.state != RenewalKeeping::All {
            return Ok(());
        }
        // The slots before the word that they are all there.
        self.file.sync_data()?;
        self.header = RenewalHeader { opening, left_cleanly: true, ..self.header };
        self.write_header();
        self.file.sync_data()
    }

    /// The slot of a group, which has one from now on.
    fn place(&mut self, name: GroupHash) -> u64 {
        *self.places.entry(name).or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.slots += 1;
                self.slots - 1
            })
        })
    }

    fn write_header(&mut self) {
        let header = self.header.bytes();
        self.write(0, &header);
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        if let Err(error) = self.file.write(offset, bytes) {
            warn!(%error, "renewals cannot be noted; the next start gives every group its time once more");
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        let erased = self.file.set_len(0);
        self.state = if erased.is_ok() { RenewalKeeping::Nothing } else { RenewalKeeping::Unknown };
    }
}

impl RenewalHeader {
    pub(super) fn of(boot: Option<MachineBoot>, opening: Opening, grace: Duration) -> Self {
        Self { boot: boot.unwrap_or_default(), opening, grace, left_cleanly: false }
    }

    /// Whether all that was promised is in a file with this header.
    fn is_whole(&self, now: Option<MachineBoot>) -> bool {
        match now.filter(|now| now.id == self.boot.id) {
            // However it was left: deadlines are told by a clock that may have been set.
            Some(now) => now.is_same(&self.boot),
            None => self.left_cleanly,
        }
    }

    fn bytes(&self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..24].copy_from_slice(&self.boot.id);
        bytes[24..32].copy_from_slice(&self.boot.clock_ms.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.opening.id.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.opening.before.to_le_bytes());
        bytes[48..56].copy_from_slice(&whole_ms(self.grace).to_le_bytes());
        bytes[56..SUM_AT].copy_from_slice(&u32::from(self.left_cleanly).to_le_bytes());
        sealed(bytes)
    }

    fn read(bytes: &[u8; PLACE_BYTES]) -> Option<Self> {
        if !is_sealed(bytes) || !bytes.starts_with(MAGIC) {
            return None;
        }
        let clock_ms = i64::from_le_bytes(*bytes.get(24..)?.first_chunk()?);
        Some(Self {
            boot: MachineBoot { id: *bytes.get(8..)?.first_chunk()?, clock_ms },
            opening: Opening { id: u64_at(bytes, 32)?, before: u64_at(bytes, 40)? },
            grace: Duration::from_millis(u64_at(bytes, 48)?),
            left_cleanly: u32_at(bytes, 56)? != 0,
        })
    }
}

impl Slot {
    fn bytes(&self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[..16].copy_from_slice(&self.name);
        bytes[16..24].copy_from_slice(&self.instance.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.deadline.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.renewed_at.0.to_le_bytes());
        sealed(bytes)
    }

    /// `None`: nothing whole is in it.
    fn read(bytes: &[u8; PLACE_BYTES]) -> Option<Self> {
        if !is_sealed(bytes) {
            return None;
        }
        let (deadline, renewed_at) = (Millis(u64_at(bytes, 24)?), Millis(u64_at(bytes, 32)?));
        Some(Self { name: *bytes.first_chunk()?, instance: u64_at(bytes, 16)?, deadline, renewed_at })
    }
}

/// With its checksum at its end.
fn sealed(mut bytes: [u8; PLACE_BYTES]) -> [u8; PLACE_BYTES] {
    let sum = crc32fast::hash(&bytes[..SUM_AT]);
    bytes[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn is_sealed(bytes: &[u8; PLACE_BYTES]) -> bool {
    u32_at(bytes, SUM_AT) == Some(crc32fast::hash(&bytes[..SUM_AT]))
}

fn name_of(id: &GroupId) -> GroupHash {
    let digest = Sha256::digest(id.0.as_bytes());
    std::array::from_fn(|at| digest[at])
}
