//! Budgets: how much one sender, and all of them together, may have this member do.

use std::collections::BTreeMap;

use crate::Time;
use crate::record::NodeId;

/// Pace of a token bucket: how many units it has at once, and how many more each second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BucketPace {
    pub burst: u32,
    pub each_second: u32,
}

/// Packets of one sender: an honest one sends fewer than ten a second to one member.
pub(crate) const PACKETS: BucketPace = BucketPace { burst: 1024, each_second: 256 };
/// Updates of one sender beside [`Config::members_max`](crate::Config::members_max) at once, which somebody who joins is told of.
pub(crate) const UPDATES: BucketPace = BucketPace { burst: 4096, each_second: 512 };
/// Messages of exchanges of one sender; one counts more the longer it is, see [`exchange_cost`].
pub(crate) const EXCHANGES: BucketPace = BucketPace { burst: 128, each_second: 8 };
/// Names that one sender tells of first, and that nobody knows, each second; at once as many as there is room for.
pub(crate) const STRANGERS_EACH_SECOND: u32 = 8;
/// How many times as much all senders may together as one; exchanges more, as all come to those who are known when many start at
/// once.
const TOGETHER: u32 = 8;
const EXCHANGES_TOGETHER: u32 = 64;
/// How many senders are remembered; all further ones share one budget.
const SENDERS_MAX: usize = 16_384;

/// Cost of a message of an exchange of so many bytes, in units of the budget.
pub(crate) fn exchange_cost(bytes: usize) -> u32 {
    const BYTES_PER_UNIT: usize = 64 * 1024;
    u32::try_from(bytes / BYTES_PER_UNIT).unwrap_or(u32::MAX).saturating_add(1)
}

impl BucketPace {
    fn times(self, times: u32) -> Self {
        Self { burst: self.burst.saturating_mul(times), each_second: self.each_second.saturating_mul(times) }
    }
}

/// Token bucket of one pace: what is left of its units.
#[derive(Clone, Copy, Debug)]
struct TokenBucket {
    pace: BucketPace,
    left: f64,
    at: Time,
}

impl TokenBucket {
    fn full(pace: BucketPace, now: Time) -> Self {
        Self { pace, left: pace.burst.into(), at: now }
    }

    fn refill(&mut self, now: Time) {
        let more = now.saturating_sub(self.at).as_secs_f64() * f64::from(self.pace.each_second);
        self.left = (self.left + more).min(self.pace.burst.into());
        self.at = self.at.max(now);
    }

    fn has(&mut self, now: Time, count: u32) -> bool {
        self.refill(now);
        self.left >= f64::from(count)
    }

    fn give_back(&mut self, count: u32) {
        self.left = (self.left + f64::from(count)).min(self.pace.burst.into());
    }
}

/// Sort of work that is counted against a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkKind {
    Packets,
    Updates,
    Exchanges,
    /// A name that nobody knows.
    Strangers,
}

/// Budget of one sender, or of several together: what is left of each sort of work.
struct Budget {
    packets: TokenBucket,
    updates: TokenBucket,
    exchanges: TokenBucket,
    strangers: TokenBucket,
}

impl Budget {
    fn of(&mut self, work: WorkKind) -> &mut TokenBucket {
        match work {
            WorkKind::Packets => &mut self.packets,
            WorkKind::Updates => &mut self.updates,
            WorkKind::Exchanges => &mut self.exchanges,
            WorkKind::Strangers => &mut self.strangers,
        }
    }

    fn is_rested(&mut self, now: Time) -> bool {
        [WorkKind::Packets, WorkKind::Updates, WorkKind::Exchanges, WorkKind::Strangers].into_iter().all(
            |work| {
                let bucket = self.of(work);
                bucket.refill(now);
                bucket.left >= f64::from(bucket.pace.burst)
            },
        )
    }
}

/// The budgets of those who send, and of all of them together. Who they are is proven by the connections that they come by.
pub(crate) struct Budgets {
    updates: BucketPace,
    strangers: BucketPace,
    all: Budget,
    others: Budget,
    of: BTreeMap<NodeId, Budget>,
}

impl Budgets {
    pub(crate) fn new(members_max: usize, strangers_max: usize, now: Time) -> Self {
        let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
        let updates = BucketPace { burst: UPDATES.burst.saturating_add(count(members_max)), ..UPDATES };
        let strangers = BucketPace { burst: count(strangers_max), each_second: STRANGERS_EACH_SECOND };
        let budget = |times: u32, exchanges: u32| Budget {
            packets: TokenBucket::full(PACKETS.times(times), now),
            updates: TokenBucket::full(updates.times(times), now),
            exchanges: TokenBucket::full(EXCHANGES.times(exchanges), now),
            strangers: TokenBucket::full(strangers.times(times), now),
        };
        let (all, others) = (budget(TOGETHER, EXCHANGES_TOGETHER), budget(1, 1));
        Self { updates, strangers, all, others, of: BTreeMap::new() }
    }

    fn sender(&mut self, now: Time, from: &NodeId) -> &mut Budget {
        if self.of.len() >= SENDERS_MAX && !self.of.contains_key(from) {
            return &mut self.others;
        }
        let (updates, strangers) = (self.updates, self.strangers);
        self.of.entry(from.clone()).or_insert_with(|| Budget {
            packets: TokenBucket::full(PACKETS, now),
            updates: TokenBucket::full(updates, now),
            exchanges: TokenBucket::full(EXCHANGES, now),
            strangers: TokenBucket::full(strangers, now),
        })
    }

    /// Counts so much work of a sender, if both it and all together may; else nothing is counted.
    pub(crate) fn take(&mut self, now: Time, from: &NodeId, work: WorkKind, count: u32) -> bool {
        if !self.all.of(work).has(now, count) || !self.sender(now, from).of(work).has(now, count) {
            return false;
        }
        self.all.of(work).left -= f64::from(count);
        self.sender(now, from).of(work).left -= f64::from(count);
        true
    }

    /// Gives back what was counted for nothing.
    pub(crate) fn give_back(&mut self, from: &NodeId, work: WorkKind, count: u32) {
        self.all.of(work).give_back(count);
        if let Some(budget) = self.of.get_mut(from) {
            budget.of(work).give_back(count);
        }
    }

    /// Forgets those who have all again.
    pub(crate) fn sweep(&mut self, now: Time) {
        self.of.retain(|_, budget| !budget.is_rested(now));
    }

    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_sender_takes_nothing_from_another_and_gets_it_back_in_time() {
        let [liar, honest] = ["liar", "honest"].map(|name| NodeId::new(name).unwrap());
        let mut budgets = Budgets::new(100, 10, Time::ZERO);
        let burst = (0..10_000).filter(|_| budgets.take(Time::ZERO, &liar, WorkKind::Packets, 1)).count();
        assert_eq!(burst, PACKETS.burst as usize);
        assert!(budgets.take(Time::ZERO, &honest, WorkKind::Packets, 1));
        let later = Duration::from_secs(1);
        let more = (0..10_000).filter(|_| budgets.take(later, &liar, WorkKind::Packets, 1)).count();
        assert_eq!(more, PACKETS.each_second as usize);
        budgets.give_back(&liar, WorkKind::Packets, 3);
        assert_eq!((0..10).filter(|_| budgets.take(later, &liar, WorkKind::Packets, 1)).count(), 3);
        budgets.sweep(later);
        assert_eq!(budgets.len(), 1, "who has all again is forgotten");
        budgets.sweep(Duration::from_secs(60));
        assert_eq!(budgets.len(), 0);
    }

    #[test]
    fn all_together_have_a_budget_too() {
        let mut budgets = Budgets::new(100, 10, Time::ZERO);
        let taken: usize = (0..100)
            .map(|number| {
                let from = NodeId::new(&format!("n{number}")).unwrap();
                (0..2000).filter(|_| budgets.take(Time::ZERO, &from, WorkKind::Packets, 1)).count()
            })
            .sum();
        assert_eq!(taken, (PACKETS.burst * TOGETHER) as usize);
    }
}
