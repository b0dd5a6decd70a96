//! Timers: what is to be done, and at which instant.

use std::collections::BTreeMap;

use crate::Time;
use crate::record::NodeId;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
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
    /// Somebody who was heard to be a suspect, or to have left, is probed out of turn.
    Confirm(NodeId),
    /// Whoever was accused by others has had time to answer.
    Believe(NodeId),
    /// Somebody was to be heard by now.
    Silence,
}

/// One of each at most, in the order in which they are due; those of one moment in the order in which they were set.
#[derive(Default)]
pub(crate) struct Timers {
    due: BTreeMap<(Time, u64), Timer>,
    set: BTreeMap<Timer, (Time, u64)>,
    count: u64,
}

impl Timers {
    /// Has something done then, or sooner where that was said before.
    pub(crate) fn set(&mut self, at: Time, timer: Timer) {
        if let Some(before) = self.set.get(&timer) {
            if before.0 <= at {
                return;
            }
            self.due.remove(before);
        }
        self.count += 1;
        self.due.insert((at, self.count), timer.clone());
        self.set.insert(timer, (at, self.count));
    }

    /// Has something not done.
    pub(crate) fn cancel(&mut self, timer: &Timer) {
        if let Some(at) = self.set.remove(timer) {
            self.due.remove(&at);
        }
    }

    pub(crate) fn first(&self) -> Option<Time> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    /// Takes the first that is due.
    pub(crate) fn due(&mut self, now: Time) -> Option<Timer> {
        let first = self.due.first_entry().filter(|first| first.key().0 <= now)?;
        let timer = first.remove();
        self.set.remove(&timer);
        Some(timer)
    }

    /// Has all of them so much later.
    pub(crate) fn delay(&mut self, by: Time) {
        for (timer, (at, number)) in &mut self.set {
            self.due.remove(&(*at, *number));
            *at += by;
            self.due.insert((*at, *number), timer.clone());
        }
    }
}

/// Something that is done once in a while at most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MinimumInterval(Option<Time>);

impl MinimumInterval {
    /// Whether it may be done now; if so, it counts as done.
    pub(crate) fn is_due(&mut self, now: Time, every: Time) -> bool {
        let is_due = self.0.is_none_or(|at| now.saturating_sub(at) >= every);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn there_is_one_of_each_and_the_earlier_stays() {
        let mut timers = Timers::default();
        let at = Duration::from_secs;
        for (second, timer) in [(5, Timer::Round), (3, Timer::Gossip), (2, Timer::Round), (9, Timer::Gossip)]
        {
            timers.set(at(second), timer);
        }
        assert_eq!((timers.len(), timers.first()), (2, Some(at(2))));
        timers.delay(at(10));
        assert_eq!(timers.due(at(11)), None);
        assert_eq!((timers.due(at(12)), timers.first()), (Some(Timer::Round), Some(at(13))));
        assert_eq!(timers.due(at(13)), Some(Timer::Gossip));
        assert_eq!((timers.len(), timers.first()), (0, None));
    }
}
