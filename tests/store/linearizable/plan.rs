//! What the clients of a round are to do, from one seed.

use omnirelay_core::split_mix::{STEP, split_mix};

/// Chance that repeats itself: the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        split_mix(self.0)
    }

    /// A number from 0 up to `end`, which is not among them.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// One round.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub seed: u64,
    pub clients: usize,
    pub keys: usize,
    /// Of each client.
    pub calls: usize,
}

/// What a client does next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Intent {
    /// Put, on the condition of the version that the client saw last, or the one before.
    Swap,
    Put,
    Delete,
    /// Delete on the condition of the version that the client saw last.
    DeleteSeen,
    Read,
}

impl Plan {
    /// 4 to 16 clients, and at most about 300 calls on each key.
    pub(super) fn of(seed: u64) -> Self {
        let mut chance = Chance::of(seed);
        let clients = 4 + chance.below(13) as usize;
        let keys = 1 + chance.below(4) as usize;
        let calls = (60 + chance.below(180) as usize) * keys / clients;
        Self { seed, clients, keys, calls }
    }

    /// What the chance of client number `client` begins with.
    pub(super) fn chance_of(&self, client: usize) -> Chance {
        Chance::of(Chance::of(self.seed ^ (client as u64 + 1)).next())
    }
}

impl Intent {
    pub(super) fn any(chance: &mut Chance) -> Self {
        match chance.below(16) {
            0..6 => Self::Swap,
            6..8 => Self::Put,
            8 => Self::Delete,
            9 => Self::DeleteSeen,
            _ => Self::Read,
        }
    }
}
