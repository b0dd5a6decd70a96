//! Alarms: what is wrong with shards and stands in no record, by the rules of the alerts.

use std::collections::BTreeMap;
use std::time::Duration;

/// A node has so many times its share: as the alert `ShardsUnbalanced`.
pub const UNBALANCED: f64 = 1.25;
const UNBALANCED_FOR: Duration = Duration::from_secs(15 * 60);
/// Steps fail again and again for so long, with none that failed for a minute in between: much as the alert `RebalanceStepsFail`.
const FAILING_FOR: Duration = Duration::from_secs(5 * 60);
const FAILING_AGAIN: Duration = Duration::from_secs(60);
/// How long the counters of a namespace that is gone are remembered: longer than its series stay, which go within a minute.
const GONE_KNOWN_FOR: Duration = Duration::from_secs(60 * 60);

/// A namespace as a daemon sees it.
#[derive(Clone, Copy, Debug)]
pub struct NamespaceSight<'a> {
    pub namespace: &'a str,
    /// How many shards workers of this node have served beside another owner, since the daemon began.
    pub concurrent: u64,
    /// How many steps the store has not made for this daemon, since it began.
    pub failures: u64,
    /// `None`: this daemon leaves that to whoever leads.
    pub imbalance: Option<f64>,
}

/// Alarm about the shards of a namespace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ShardAlarm {
    /// So many shards were served beside another owner.
    ServedTwice(u64),
    /// So many steps were not made.
    StepsFail(u64),
    Unbalanced(f64),
}

impl ShardAlarm {
    /// As it is told.
    pub fn word(self) -> &'static str {
        match self {
            Self::ServedTwice(_) => "served_twice",
            Self::StepsFail(_) => "steps_fail",
            Self::Unbalanced(_) => "unbalanced",
        }
    }
}

/// Memory of what was seen of namespaces before, so that each alarm is raised once.
#[derive(Debug, Default)]
pub struct ShardAlarms(BTreeMap<String, NamespaceMemory>);

#[derive(Debug, Default)]
struct NamespaceMemory {
    /// Since when the namespace is not seen any more.
    gone_since: Option<Duration>,
    concurrent: u64,
    failures: u64,
    failed_last: Option<Duration>,
    failing: LastingCondition,
    unbalanced: LastingCondition,
}

/// Something that is an alarm once it has lasted.
#[derive(Clone, Copy, Debug, Default)]
struct LastingCondition {
    since: Option<Duration>,
    raised: bool,
}

impl LastingCondition {
    /// Whether it has lasted long enough by now, and was not said so before.
    fn is_due(&mut self, holds: bool, now: Duration, lasts: Duration) -> bool {
        if !holds {
            *self = Self::default();
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let is_due = !self.raised && now.saturating_sub(since) >= lasts;
        self.raised |= is_due;
        is_due
    }
}

impl ShardAlarms {
    /// Returns the alarms that are to be told, `now` being the time since any moment. Namespaces that are not seen are
    /// forgotten, but for what the counters of one will go on from if it comes again.
    pub fn look(&mut self, now: Duration, sights: &[NamespaceSight<'_>]) -> Vec<(String, ShardAlarm)> {
        self.0.retain(|name, known| {
            let is_seen = sights.iter().any(|sight| sight.namespace == name);
            if is_seen {
                known.gone_since = None;
                return true;
            }
            let since = *known.gone_since.get_or_insert(now);
            let (concurrent, failures) = (known.concurrent, known.failures);
            *known = NamespaceMemory {
                gone_since: Some(since),
                concurrent,
                failures,
                ..NamespaceMemory::default()
            };
            concurrent + failures > 0 && now.saturating_sub(since) < GONE_KNOWN_FOR
        });
        let mut raised = Vec::new();
        for sight in sights {
            let known = self.0.entry(sight.namespace.to_owned()).or_default();
            // A counter that is lower is another: the one before went with its namespace.
            let counted = |now: u64, before: u64| now.checked_sub(before).unwrap_or(now);
            let beside = counted(sight.concurrent, known.concurrent);
            let fails = counted(sight.failures, known.failures) > 0;
            let failed = known.failed_last.is_some_and(|at| now.saturating_sub(at) < FAILING_AGAIN);
            if fails {
                // One after a while is a beginning.
                known.failing = if failed { known.failing } else { LastingCondition::default() };
                known.failed_last = Some(now);
            }
            let is_unbalanced = sight.imbalance.is_some_and(|ratio| ratio > UNBALANCED);
            (known.concurrent, known.failures) = (sight.concurrent, sight.failures);
            let alarms = [
                (beside > 0).then_some(ShardAlarm::ServedTwice(beside)),
                (known.failing.is_due(fails || failed, now, FAILING_FOR))
                    .then_some(ShardAlarm::StepsFail(sight.failures)),
                (known.unbalanced.is_due(is_unbalanced, now, UNBALANCED_FOR))
                    .then(|| ShardAlarm::Unbalanced(sight.imbalance.unwrap_or_default())),
            ];
            raised.extend(alarms.into_iter().flatten().map(|alarm| (sight.namespace.to_owned(), alarm)));
        }
        raised
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raised(alarms: &mut ShardAlarms, minute: u64, sight: NamespaceSight<'_>) -> Vec<ShardAlarm> {
        raised_at(alarms, 60 * minute, sight)
    }

    fn raised_at(alarms: &mut ShardAlarms, seconds: u64, sight: NamespaceSight<'_>) -> Vec<ShardAlarm> {
        let raised = alarms.look(Duration::from_secs(seconds), &[sight]);
        raised.into_iter().map(|(_, alarm)| alarm).collect()
    }

    const FINE: NamespaceSight<'_> =
        NamespaceSight { namespace: "orders", concurrent: 0, failures: 0, imbalance: Some(1.05) };

    #[test]
    fn what_was_served_twice_is_told_at_once_and_once() {
        let mut alarms = ShardAlarms::default();
        assert_eq!(raised(&mut alarms, 0, FINE), []);
        assert_eq!(
            raised(&mut alarms, 1, NamespaceSight { concurrent: 2, ..FINE }),
            [ShardAlarm::ServedTwice(2)]
        );
        assert_eq!(raised(&mut alarms, 2, NamespaceSight { concurrent: 2, ..FINE }), []);
        assert_eq!(
            raised(&mut alarms, 3, NamespaceSight { concurrent: 3, ..FINE }),
            [ShardAlarm::ServedTwice(1)]
        );
    }

    #[test]
    fn steps_that_fail_for_minutes_are_told_until_they_do_not() {
        let mut alarms = ShardAlarms::default();
        let failing = |failures| NamespaceSight { failures, ..FINE };
        // One fails every half minute, and it is looked every ten seconds.
        for at in (0..300).step_by(10) {
            assert_eq!(raised_at(&mut alarms, at, failing(at / 30 + 1)), [], "{at}");
        }
        assert_eq!(raised_at(&mut alarms, 300, failing(11)), [ShardAlarm::StepsFail(11)]);
        assert_eq!(raised_at(&mut alarms, 330, failing(12)), [], "it is told once");
        assert_eq!(raised_at(&mut alarms, 390, failing(12)), [], "none has failed for a minute");
        assert_eq!(raised_at(&mut alarms, 400, failing(13)), [], "it begins anew");
        assert_eq!(raised_at(&mut alarms, 450, failing(14)), []);
        assert_eq!(raised_at(&mut alarms, 1000, failing(15)), [], "one after a long time is a beginning");
    }

    #[test]
    fn imbalance_is_told_by_who_leads_once_it_has_lasted() {
        let mut alarms = ShardAlarms::default();
        let uneven = NamespaceSight { imbalance: Some(1.3), ..FINE };
        assert_eq!(raised(&mut alarms, 0, uneven), []);
        assert_eq!(raised(&mut alarms, 14, uneven), []);
        assert_eq!(raised(&mut alarms, 15, uneven), [ShardAlarm::Unbalanced(1.3)]);
        assert_eq!(raised(&mut alarms, 40, uneven), []);
        assert_eq!(raised(&mut alarms, 41, NamespaceSight { imbalance: None, ..FINE }), []);
        assert_eq!(raised(&mut alarms, 42, uneven), [], "whoever leads again begins anew");
        assert_eq!(raised(&mut alarms, 57, uneven), [ShardAlarm::Unbalanced(1.3)]);
        assert_eq!(alarms.look(Duration::ZERO, &[]), []);
        assert!(alarms.0.is_empty(), "what is gone is forgotten");
    }

    #[test]
    fn a_namespace_that_comes_again_goes_on_from_its_counters() {
        let mut alarms = ShardAlarms::default();
        assert_eq!(
            raised(&mut alarms, 0, NamespaceSight { concurrent: 2, ..FINE }),
            [ShardAlarm::ServedTwice(2)]
        );
        assert_eq!(alarms.look(Duration::from_secs(60), &[]), []);
        assert_eq!(raised(&mut alarms, 2, NamespaceSight { concurrent: 2, ..FINE }), []);
        assert_eq!(
            raised(&mut alarms, 3, NamespaceSight { concurrent: 3, ..FINE }),
            [ShardAlarm::ServedTwice(1)]
        );
    }

    #[test]
    fn a_namespace_that_is_gone_is_forgotten_and_one_made_again_counts_from_its_start() {
        let mut alarms = ShardAlarms::default();
        let beside = |concurrent| NamespaceSight { concurrent, ..FINE };
        assert_eq!(raised(&mut alarms, 0, beside(3)), [ShardAlarm::ServedTwice(3)]);
        alarms.look(Duration::from_secs(60), &[]);
        assert_eq!(raised(&mut alarms, 2, beside(3)), [], "its counter went on");
        assert_eq!(raised(&mut alarms, 3, beside(1)), [ShardAlarm::ServedTwice(1)], "another counter");
        alarms.look(Duration::from_secs(240), &[]);
        alarms.look(Duration::from_secs(240) + GONE_KNOWN_FOR, &[]);
        assert!(alarms.0.is_empty());
    }
}
