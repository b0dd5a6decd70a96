//! What is to be done when.

use std::collections::BTreeMap;

use crate::Time;
use crate::record::NodeId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The next probe.
    Round,
    /// The next packets of gossip.
    Gossip,
    /// The next exchange.
    Exchange,
    /// An answer to a ping is late.
    Late(u32),
    /// A probe is over.
    Over(u32),
    /// Somebody who was pinged for another has not answered.
    Nack(u32),
    /// A suspect has had its time.
    Suspicion(NodeId),
    /// Somebody who was heard to be a suspect is probed out of turn.
    Confirm(NodeId),
}

/// In the order in which they are due; those of one moment in the order in which they were set.
#[derive(Default)]
pub struct Timers {
    set: BTreeMap<(Time, u64), Timer>,
    count: u64,
}

impl Timers {
    pub fn set(&mut self, at: Time, timer: Timer) {
        self.count += 1;
        self.set.insert((at, self.count), timer);
    }

    pub fn first(&self) -> Option<Time> {
        self.set.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the first that is due.
    pub fn due(&mut self, now: Time) -> Option<Timer> {
        let first = self.set.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// Has all of them so much later.
    pub fn delay(&mut self, by: Time) {
        let before = std::mem::take(&mut self.set);
        self.set = before.into_iter().map(|((at, number), timer)| ((at + by, number), timer)).collect();
    }
}
