//! The record of a scope through elections and losses, as tables.

use super::*;
use pb::Tenure;

const SCOPE: &str = "shard/orders/03";

fn numbers(term: u64) -> TenureNumbers {
    TenureNumbers { term, token: term * 10, acquired_at: Millis(term * 1000) }
}

fn expired(at: u64) -> TenureEnding {
    TenureEnding { end: End::Expired, reason: "lease_expired", at: Millis(at) }
}

#[test]
fn an_election_says_why_and_how_long_nobody_led() {
    let first = elect(&LeadershipValue::default(), "a", 7, "c-1");
    let tenure = current(SCOPE, first.current.as_ref().unwrap(), numbers(1));
    let expected = Tenure {
        scope: SCOPE.to_owned(),
        leader_id: "a".to_owned(),
        term: 1,
        fence_token: 10,
        elected_at: Some(timestamp(Millis(1000))),
        reason: "created".to_owned(),
        correlation_id: "c-1".to_owned(),
        ..Tenure::default()
    };
    assert_eq!(tenure, expected);
    let vacant = vacate(SCOPE, &first, numbers(1), expired(1700), "c-2");
    assert_eq!((vacant.current.as_ref(), vacant.vacant_since), (None, Some(timestamp(Millis(1700)))));
    let over = Tenure {
        ended_at: Some(timestamp(Millis(1700))),
        end: End::Expired.into(),
        end_reason: "lease_expired".to_owned(),
        end_correlation_id: "c-2".to_owned(),
        ..expected
    };
    assert_eq!(vacant.past, [over]);
    let second = elect(&vacant, "b", 8, "c-2");
    assert_eq!(second.vacant_since, None, "somebody leads");
    let tenure = current(SCOPE, second.current.as_ref().unwrap(), numbers(2));
    assert_eq!((tenure.reason.as_str(), tenure.leaderless_ms), ("lease_expired", Some(300)));
    let early = TenureNumbers { acquired_at: Millis(1500), ..numbers(2) };
    let tenure = current(SCOPE, second.current.as_ref().unwrap(), early);
    assert_eq!(tenure.leaderless_ms, Some(0), "never less than nothing");
}

#[test]
fn elections_and_losses_end_orders_and_keep_policy_and_labels() {
    let value = LeadershipValue {
        labels: Labels::from([("tier".to_owned(), "gold".to_owned())]),
        policy: Some(in_order(&["a"])),
        order: order(Verb::StepDown, ""),
        ..led_by("a")
    };
    let vacant = vacate(SCOPE, &value, numbers(1), expired(1), "c");
    assert_eq!((&vacant.labels, &vacant.policy, &vacant.order), (&value.labels, &value.policy, &None));
    let ordered = LeadershipValue { order: value.order.clone(), ..vacant };
    let elected = elect(&ordered, "b", 1, "c");
    assert_eq!((&elected.labels, &elected.policy, &elected.order), (&value.labels, &value.policy, &None));
}

#[test]
fn a_vacant_scope_that_is_vacated_stays_as_it_is() {
    let vacant = vacate(SCOPE, &led_by("a"), numbers(1), expired(1), "c");
    assert_eq!(vacate(SCOPE, &vacant, numbers(1), expired(2), "d"), vacant);
}

#[test]
fn the_newest_sixteen_tenures_are_kept_the_newest_first() {
    let mut value = LeadershipValue::default();
    for term in 1..=20 {
        value = elect(&value, "a", 1, &format!("c-{term}"));
        value = vacate(SCOPE, &value, numbers(term), expired(term), "c");
    }
    let terms: Vec<_> = value.past.iter().map(|tenure| tenure.term).collect();
    assert_eq!(terms, (5..=20).rev().collect::<Vec<_>>());
}

#[test]
fn elections_are_counted_since_an_instant() {
    let mut value = LeadershipValue::default();
    for term in 1..=3 {
        value = vacate(SCOPE, &elect(&value, "a", 1, "c"), numbers(term), expired(term), "c");
    }
    let cases = [
        ("all", None, 0, 3),
        ("the instant counts", None, 2000, 2),
        ("behind it", None, 2001, 1),
        ("with the current one", Some(Millis(4000)), 2001, 2),
        ("an old current one", Some(Millis(4000)), 4001, 0),
    ];
    for (what, elected_at, since, expected) in cases {
        assert_eq!(elections_since(&value, elected_at, Millis(since)), expected, "{what}");
    }
}

#[test]
fn only_what_was_not_handed_over_is_a_flap() {
    let mut value = LeadershipValue::default();
    let over = TenureEnding { end: End::SteppedDown, reason: "transferred", at: Millis(2000) };
    for (term, ending) in [(1, expired(1)), (2, over), (3, expired(3))] {
        value = vacate(SCOPE, &elect(&value, "a", 1, "c"), numbers(term), ending, "c");
    }
    let at = |ending: TenureEnding| ending.at.0;
    assert_eq!(flaps_since(&value, Millis(0)), 2);
    assert_eq!(flaps_since(&value, Millis(at(expired(3)))), 1, "the instant counts");
    assert_eq!(flaps_since(&value, Millis(at(expired(3)) + 1)), 0);
}

/// A transition as `elected a 1/10 because` or `ended a 1/10 because`.
fn told(
    before: Option<&LeadershipValue>,
    after: Option<&LeadershipValue>,
    granted: TenureNumbers,
) -> Vec<String> {
    let line = |word: &str, tenure: &Tenure, because: &str| {
        format!("{word} {} {}/{} {because}", tenure.leader_id, tenure.term, tenure.fence_token)
    };
    let shown = |transition| match transition {
        TenureTransition::Ended(tenure) => line("ended", &tenure, &tenure.end_reason),
        TenureTransition::Elected(tenure) => line("elected", &tenure, &tenure.reason),
        TenureTransition::Changed => "changed".to_owned(),
        TenureTransition::Removed => "removed".to_owned(),
    };
    transitions(SCOPE, before, after, granted, Millis(9000)).into_iter().map(shown).collect()
}

#[test]
fn a_change_of_a_record_is_told_as_what_it_means() {
    let created = LeadershipValue::default();
    let led = elect(&created, "a", 1, "c-1");
    let vacant = vacate(SCOPE, &led, numbers(1), expired(1), "c-2");
    let next = elect(&vacant, "b", 1, "c-2");
    let again = elect(&vacant, "a", 1, "c-3");
    let ordered = LeadershipValue { order: order(Verb::Delete, ""), ..led.clone() };
    let (no, one, two) = (TenureNumbers::default(), numbers(1), numbers(2));
    let cases = [
        ("created", None, Some(&created), no, vec!["changed"]),
        ("first election", Some(&created), Some(&led), one, vec!["elected a 1/10 created"]),
        ("created and led", None, Some(&led), one, vec!["elected a 1/10 created"]),
        ("ordered", Some(&led), Some(&ordered), no, vec!["changed"]),
        ("vacated", Some(&led), Some(&vacant), no, vec!["ended a 1/10 lease_expired"]),
        (
            "the next in one change",
            Some(&led),
            Some(&next),
            two,
            vec!["ended a 1/10 lease_expired", "elected b 2/20 lease_expired"],
        ),
        (
            "the same node in one change",
            Some(&led),
            Some(&again),
            two,
            vec!["ended a 1/10 lease_expired", "elected a 2/20 lease_expired"],
        ),
        ("the next later", Some(&vacant), Some(&next), two, vec!["elected b 2/20 lease_expired"]),
        (
            "taken away without a record of it",
            Some(&next),
            Some(&LeadershipValue { current: None, ..next.clone() }),
            two,
            vec!["ended b 2/20 scope_deleted"],
        ),
        ("removed while led", Some(&ordered), None, one, vec!["ended a 1/10 scope_deleted", "removed"]),
        ("removed while vacant", Some(&vacant), None, no, vec!["removed"]),
    ];
    for (what, before, after, granted, expected) in cases {
        assert_eq!(told(before, after, granted), expected, "{what}");
    }
}

#[test]
fn the_end_of_a_removed_scope_is_when_it_was_removed() {
    let led = elect(&LeadershipValue::default(), "a", 1, "c-1");
    let told = transitions(SCOPE, Some(&led), None, numbers(1), Millis(9000));
    let Some(TenureTransition::Ended(tenure)) = told.first() else { panic!("{told:?}") };
    assert_eq!(tenure.ended_at, Some(timestamp(Millis(9000))));
    assert_eq!((tenure.end(), tenure.elected_at), (End::SteppedDown, Some(timestamp(Millis(1000)))));
}
