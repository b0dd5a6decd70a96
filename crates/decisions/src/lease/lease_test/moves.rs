//! Moves of a node about a scope, as tables.

use super::*;

const LIVE: LeaseStanding = LeaseStanding::Live { until: Millis(7000), renewed_at: Millis(5000) };
const EXPIRED: LeaseStanding = LeaseStanding::Expired { renewed_at: Millis(5000), at: Millis(7000) };

/// Nodes a, b and c, preferred in this order; a leads, and `me` decides.
struct Situation {
    value: LeadershipValue,
    held: Option<HeldLease>,
    token_seen: u64,
    me: &'static str,
    my_session: Option<u64>,
    crowd: Crowd,
    now: u64,
    not_before: u64,
    left_alone_until: Option<Millis>,
    in_doubt: bool,
    leaving: bool,
}

impl Situation {
    /// As `me` sees it at `now` when the lease of a stands like this.
    fn of(me: &'static str, standing: LeaseStanding, now: u64) -> Self {
        let held = HeldLease {
            node: "a".to_owned(),
            session: 1,
            term: 3,
            token: 30,
            acquired_at: Millis(1000),
            standing,
        };
        let mut crowd = Crowd::of(&["a", "b", "c"]);
        if !matches!(standing, LeaseStanding::Live { .. } | LeaseStanding::Released) {
            crowd.end_session("a");
        }
        let value = LeadershipValue { policy: Some(in_order(&["a", "b", "c"])), ..led_by("a") };
        Self {
            value,
            held: Some(held),
            token_seen: 30,
            me,
            my_session: Some(1),
            crowd,
            now,
            not_before: 0,
            left_alone_until: None,
            in_doubt: false,
            leaving: false,
        }
    }

    /// As `me` sees it when a gave the scope up at 6000 for this reason.
    fn vacant(me: &'static str, reason: &str, now: u64) -> Self {
        let situation = Self::of(me, LeaseStanding::Released, now);
        let past =
            pb::Tenure { leader_id: "a".to_owned(), end_reason: reason.to_owned(), ..pb::Tenure::default() };
        let value = LeadershipValue {
            current: None,
            vacant_since: Some(timestamp(Millis(6000))),
            past: vec![past],
            ..situation.value
        };
        Self { value, ..situation }
    }

    fn scene<T>(&self, ask: impl FnOnce(&LeadershipScene<'_>) -> T) -> T {
        ask(&LeadershipScene {
            scope: "global-control",
            value: &self.value,
            held: self.held.as_ref(),
            token_seen: self.token_seen,
            me: self.me,
            my_session: self.my_session,
            nodes: &self.crowd.nodes(),
            changed_at: Millis(6000),
            last_led: None,
            now: Millis(self.now),
            not_before: Millis(self.not_before),
            backoff: BACKOFF,
            left_alone_until: self.left_alone_until,
            in_doubt: self.in_doubt,
            leaving: self.leaving,
        })
    }
}

type Case = (&'static str, Situation, LeadershipMove);

fn check(cases: impl IntoIterator<Item = Case>) {
    for (what, situation, expected) in cases {
        assert_eq!(situation.scene(decide), expected, "{what}");
    }
}

/// A situation with a change.
fn with(mut situation: Situation, change: impl FnOnce(&mut Situation)) -> Situation {
    change(&mut situation);
    situation
}

fn look(at: u64) -> LeadershipMove {
    LeadershipMove::Look { at: Millis(at) }
}

fn campaign(end: End, reason: &'static str, at: u64) -> LeadershipMove {
    LeadershipMove::Campaign { ending: Some(TenureEnding { end, reason, at: Millis(at) }) }
}

#[test]
fn a_live_lease_is_left_alone() {
    let of = Situation::of;
    check([
        ("mine", of("a", LIVE, 6000), LeadershipMove::Rest),
        ("another's", of("b", LIVE, 6000), look(7000)),
        (
            "mine, but I may not rely on my session",
            with(of("a", LIVE, 6000), |s| s.my_session = None),
            look(7000),
        ),
        ("of my session before", with(of("a", LIVE, 6000), |s| s.my_session = Some(2)), look(7000)),
        (
            "another's, while I have no session",
            with(of("b", LIVE, 6000), |s| s.my_session = None),
            look(7000),
        ),
    ]);
}

#[test]
fn a_lease_that_is_over_is_asked_for_in_turn() {
    let of = Situation::of;
    let closed = LeaseStanding::Closed { at: Millis(6000) };
    let replaced = LeaseStanding::Replaced;
    let expired = campaign(End::Expired, "lease_expired", 5000);
    check([
        ("expired, the first", of("b", EXPIRED, 7000), expired.clone()),
        ("expired, the second at once", of("c", EXPIRED, 7000), look(7100)),
        ("expired, the second a moment early", of("c", EXPIRED, 7099), look(7100)),
        ("expired, the second in its turn", of("c", EXPIRED, 7100), expired.clone()),
        (
            "never renewed: it was last heard of when it was elected",
            with(of("b", EXPIRED, 7000), |s| s.held.as_mut().unwrap().acquired_at = Millis(5500)),
            campaign(End::Expired, "lease_expired", 5500),
        ),
        ("closed, the first", of("b", closed, 6000), campaign(End::SteppedDown, "shutdown", 6000)),
        ("closed, the second", of("c", closed, 6000), look(6100)),
        ("replaced, the first", of("b", replaced, 6000), campaign(End::Lost, "session_replaced", 6000)),
        ("replaced, the second", of("c", replaced, 6050), look(6100)),
        (
            "released without a record of it",
            of("a", LeaseStanding::Released, 8000),
            campaign(End::Lost, "epoch_changed", 8000),
        ),
        (
            "unknown, the first",
            of("b", LeaseStanding::Unknown, 8000),
            campaign(End::Lost, "epoch_changed", 8000),
        ),
        (
            "no lease at all, the first",
            with(of("a", LIVE, 8000), |s| s.held = None),
            campaign(End::Lost, "epoch_changed", 8000),
        ),
        (
            "a lease that is not the recorded one",
            with(of("b", EXPIRED, 8000), |s| s.held.as_mut().unwrap().session = 9),
            campaign(End::Lost, "epoch_changed", 8000),
        ),
    ]);
}

#[test]
fn who_is_not_first_gets_its_turn_even_if_nobody_knows_since_when_the_scope_is_free() {
    let of = Situation::of;
    let lost = |now| campaign(End::Lost, "epoch_changed", now);
    check([
        ("the session is unknown", of("c", LeaseStanding::Unknown, 8000), lost(8000)),
        ("there is no lease", with(of("c", LIVE, 8000), |s| s.held = None), lost(8000)),
        ("released without a record of it", of("c", LeaseStanding::Released, 8000), lost(8000)),
        (
            "in a quarantine, behind the first",
            with(of("c", LeaseStanding::Unknown, 8000), |s| s.not_before = 9000),
            look(9100),
        ),
    ]);
}

#[test]
fn a_vacant_scope_is_asked_for_in_turn_and_not_in_a_quarantine() {
    let vacant = |me, now| Situation::vacant(me, "transferred", now);
    let campaign = LeadershipMove::Campaign { ending: None };
    let never_led = |me| {
        with(vacant(me, 8000), |s| {
            s.held = None;
            s.value.vacant_since = None;
            s.value.past.clear();
        })
    };
    let quarantined = |me, now| with(vacant(me, now), |s| s.not_before = 9000);
    check([
        ("the first", vacant("a", 6000), campaign.clone()),
        ("the second", vacant("b", 6050), look(6100)),
        ("the third", vacant("c", 6200), campaign.clone()),
        ("never led", never_led("a"), campaign.clone()),
        ("a quarantine", quarantined("a", 8999), look(9000)),
        ("its end", quarantined("a", 9000), campaign.clone()),
        ("its end, for the second", quarantined("b", 9000), look(9100)),
        ("I have no session", with(vacant("a", 6000), |s| s.my_session = None), LeadershipMove::Rest),
        (
            "my record is of another session",
            with(vacant("a", 6000), |s| s.crowd.peer("a").session = 2),
            LeadershipMove::Rest,
        ),
        ("I am no node", with(vacant("a", 6000), |s| s.me = "x"), LeadershipMove::Rest),
    ]);
}

#[test]
fn who_stepped_down_comes_last() {
    let vacant = |me, now| Situation::vacant(me, "step_down", now);
    let campaign = LeadershipMove::Campaign { ending: None };
    check([
        ("the next one", vacant("b", 6000), campaign.clone()),
        ("the one after", vacant("c", 6000), look(6100)),
        ("the one who stepped down", vacant("a", 6000), look(6200)),
        (
            "if there is nobody else, at once",
            with(vacant("a", 6000), |s| s.crowd = Crowd::of(&["a"])),
            campaign.clone(),
        ),
        ("who handed over is not last", Situation::vacant("a", "transferred", 6000), campaign),
    ]);
}

#[test]
fn a_leader_does_what_it_is_told() {
    let told =
        |verb, to: &'static str| with(Situation::of("a", LIVE, 6000), |s| s.value.order = order(verb, to));
    let to_b = || LeadershipMove::HandOver { to: "b".to_owned(), reason: "transferred" };
    check([
        ("transfer", told(Verb::Transfer, "b"), to_b()),
        (
            "transfer while it drains",
            with(told(Verb::Transfer, "b"), |s| s.crowd.peer("a").draining = true),
            to_b(),
        ),
        (
            "transfer to one that may not",
            with(told(Verb::Transfer, "b"), |s| s.crowd.peer("b").cordoned = true),
            LeadershipMove::DropOrder,
        ),
        ("transfer to itself", told(Verb::Transfer, "a"), LeadershipMove::DropOrder),
        ("transfer to nobody", told(Verb::Transfer, "x"), LeadershipMove::DropOrder),
        ("step down", told(Verb::StepDown, ""), LeadershipMove::StepDown { reason: "step_down" }),
        ("delete", told(Verb::Delete, ""), LeadershipMove::Remove),
        ("nothing", told(Verb::Unspecified, ""), LeadershipMove::DropOrder),
        ("others wait for it", with(told(Verb::Delete, ""), |s| s.me = "b"), look(7000)),
    ]);
}

#[test]
fn what_a_dead_leader_was_told_is_heeded_by_who_comes_next() {
    let told = |me, verb, to: &'static str, now| {
        with(Situation::of(me, EXPIRED, now), |s| s.value.order = order(verb, to))
    };
    let expired = campaign(End::Expired, "lease_expired", 5000);
    check([
        ("transfer: its target is first", told("c", Verb::Transfer, "c", 7000), expired.clone()),
        ("transfer: others come later", told("b", Verb::Transfer, "c", 7000), look(7100)),
        (
            "transfer to one that may not",
            with(told("b", Verb::Transfer, "c", 7000), |s| s.crowd.peer("c").cordoned = true),
            expired.clone(),
        ),
        ("step down", told("b", Verb::StepDown, "", 7000), expired),
        (
            "delete",
            with(told("b", Verb::Delete, "", 7000), |s| s.crowd = Crowd::of(&["b"])),
            LeadershipMove::Remove,
        ),
        (
            "delete, by one that may not lead",
            with(told("b", Verb::Delete, "", 7000), |s| {
                s.crowd = Crowd::of(&["b"]);
                s.crowd.peer("b").cordoned = true;
            }),
            LeadershipMove::Remove,
        ),
        (
            "delete, without a session",
            with(told("b", Verb::Delete, "", 7000), |s| s.my_session = None),
            LeadershipMove::Rest,
        ),
    ]);
    let places: Vec<_> = ["b", "c"].iter().map(|me| told(me, Verb::Delete, "", 7000).scene(decide)).collect();
    assert!(places.contains(&LeadershipMove::Remove) && places.contains(&look(7100)), "in turn: {places:?}");
}

#[test]
fn draining_hands_over_and_cordoning_does_not() {
    let leads = || Situation::of("a", LIVE, 6000);
    let draining = |s: &mut Situation| s.crowd.peer("a").draining = true;
    let alone = |s: &mut Situation| ["b", "c"].iter().for_each(|id| s.crowd.peer(id).cordoned = true);
    let vacant = |me| Situation::vacant(me, "transferred", 6000);
    let campaign = LeadershipMove::Campaign { ending: None };
    check([
        (
            "draining",
            with(leads(), draining),
            LeadershipMove::HandOver { to: "b".to_owned(), reason: "drained" },
        ),
        ("draining, nobody else may", with(with(leads(), draining), alone), LeadershipMove::Rest),
        ("cordoned", with(leads(), |s| s.crowd.peer("a").cordoned = true), LeadershipMove::Rest),
        (
            "suspected although it lives",
            with(leads(), |s| s.crowd.peer("a").status = Status::Suspect.into()),
            LeadershipMove::Rest,
        ),
        (
            "a cordoned candidate",
            with(vacant("a"), |s| s.crowd.peer("a").cordoned = true),
            LeadershipMove::Rest,
        ),
        ("a draining candidate", with(vacant("a"), draining), LeadershipMove::Rest),
        ("its successor is first then", with(vacant("b"), draining), campaign),
    ]);
}

#[test]
fn a_scope_that_its_leader_enters_no_more_goes_to_another_and_stays_where_there_is_none() {
    let leads = || with(Situation::of("a", LIVE, 6000), |s| s.leaving = true);
    let alone = |s: &mut Situation| ["b", "c"].iter().for_each(|id| s.crowd.peer(id).cordoned = true);
    let to = |reason| LeadershipMove::HandOver { to: "b".to_owned(), reason };
    check([
        ("there is another", leads(), to("step_down")),
        ("nobody else may", with(leads(), alone), LeadershipMove::Rest),
        ("it drains too", with(leads(), |s| s.crowd.peer("a").draining = true), to("drained")),
        ("it does not lead", with(Situation::of("b", LIVE, 6000), |s| s.leaving = true), look(7000)),
    ]);
    let given_up = |situation: Situation| situation.scene(|scene| give_up(scene, STEP_DOWN));
    assert_eq!(given_up(Situation::of("a", LIVE, 6000)), to("step_down"));
    let down = LeadershipMove::StepDown { reason: "step_down" };
    assert_eq!(given_up(with(Situation::of("a", LIVE, 6000), alone)), down);
}

#[test]
fn a_policy_that_excludes_the_leader_moves_the_scope() {
    let lets = |ids: &[&str]| {
        with(Situation::of("a", LIVE, 6000), |s| {
            s.value.policy =
                Some(pb::LeadershipPolicy { eligible: Some(only(ids)), ..in_order(&["a", "b", "c"]) });
        })
    };
    let broken = |situation| {
        with(situation, |s: &mut Situation| {
            let selector = "=x".to_owned();
            let eligible = Some(pb::NodeFilter { selector, ..pb::NodeFilter::default() });
            s.value.policy = Some(pb::LeadershipPolicy {
                eligible,
                prefer: Vec::new(),
                unknown_fields: Default::default(),
            });
        })
    };
    check([
        (
            "there is another",
            lets(&["b", "c"]),
            LeadershipMove::HandOver { to: "b".to_owned(), reason: "not_eligible" },
        ),
        ("there is none", lets(&["x"]), LeadershipMove::StepDown { reason: "not_eligible" }),
        ("it is in", lets(&["a"]), LeadershipMove::Rest),
        ("a policy that is none", broken(Situation::of("a", LIVE, 6000)), LeadershipMove::Rest),
        (
            "a policy that is none, for a candidate",
            broken(Situation::of("b", EXPIRED, 7000)),
            LeadershipMove::Rest,
        ),
    ]);
}

#[test]
fn when_nobody_may_lead_that_is_recorded_once_in_turn() {
    let nobody = |me, standing, now| {
        with(Situation::of(me, standing, now), |s| {
            s.value.policy = Some(pb::LeadershipPolicy {
                eligible: Some(only(&["x"])),
                prefer: Vec::new(),
                unknown_fields: Default::default(),
            });
        })
    };
    let ending = TenureEnding { end: End::Expired, reason: "lease_expired", at: Millis(5000) };
    let moves: Vec<_> = ["b", "c"].iter().map(|me| nobody(me, EXPIRED, 7000).scene(decide)).collect();
    assert!(moves.contains(&LeadershipMove::Vacate { ending }), "one of them: {moves:?}");
    assert!(moves.contains(&look(7100)), "the other one later: {moves:?}");
    check([
        ("b in the end", nobody("b", EXPIRED, 7100), LeadershipMove::Vacate { ending }),
        ("c in the end", nobody("c", EXPIRED, 7100), LeadershipMove::Vacate { ending }),
        (
            "it is recorded",
            with(nobody("b", EXPIRED, 7100), |s| s.value.current = None),
            LeadershipMove::Rest,
        ),
        (
            "without a session",
            with(nobody("b", EXPIRED, 7100), |s| s.my_session = None),
            LeadershipMove::Rest,
        ),
    ]);
}

#[test]
fn a_leader_that_stops_names_the_best_of_the_others() {
    let leads = || Situation::of("a", LIVE, 6000);
    let cases = [
        ("the first of the others", leads(), Some("b")),
        ("who may not is passed over", with(leads(), |s| s.crowd.peer("b").draining = true), Some("c")),
        ("its session is over", with(leads(), |s| s.crowd.end_session("b")), Some("c")),
        ("nobody else", with(leads(), |s| s.crowd = Crowd::of(&["a"])), None),
        (
            "a policy for itself alone",
            with(leads(), |s| {
                s.value.policy = Some(pb::LeadershipPolicy {
                    eligible: Some(only(&["a"])),
                    prefer: Vec::new(),
                    unknown_fields: Default::default(),
                });
            }),
            None,
        ),
        ("it may not lead itself", with(leads(), |s| s.crowd.peer("a").draining = true), Some("b")),
    ];
    for (what, situation, expected) in cases {
        assert_eq!(situation.scene(successor).as_deref(), expected, "{what}");
        let given_up = match expected {
            Some(to) => LeadershipMove::HandOver { to: to.to_owned(), reason: "shutdown" },
            None => LeadershipMove::StepDown { reason: "shutdown" },
        };
        assert_eq!(situation.scene(|scene| give_up(scene, SHUTDOWN)), given_up, "{what}");
    }
}

#[test]
fn a_leader_gives_back_what_it_may_have_given_back_already() {
    let doubts = |situation| with(situation, |it| it.in_doubt = true);
    let gives_back = || LeadershipMove::StepDown { reason: "in_doubt" };
    let unconfirmed = LeaseStanding::Unconfirmed { until: Millis(7000), renewed_at: Millis(5000) };
    let ordered = || with(Situation::of("a", LIVE, 6000), |it| it.value.order = order(Verb::Delete, ""));
    check([
        ("it would lead on", doubts(Situation::of("a", LIVE, 6000)), gives_back()),
        ("it would wait", doubts(Situation::of("a", unconfirmed, 6000)), gives_back()),
        ("it has something else to do", doubts(ordered()), LeadershipMove::Remove),
        ("it knows", Situation::of("a", LIVE, 6000), LeadershipMove::Rest),
    ]);
}

#[test]
fn a_scope_that_is_left_alone_is_looked_at_later() {
    let alone = |situation| with(situation, |it| it.left_alone_until = Some(Millis(6500)));
    let look = || LeadershipMove::Look { at: Millis(6500) };
    let ordered = || with(Situation::of("a", LIVE, 6000), |it| it.value.order = order(Verb::StepDown, ""));
    check([
        ("by its leader", alone(ordered()), look()),
        ("by a candidate", alone(Situation::of("b", EXPIRED, 8000)), look()),
        ("though it is in doubt", alone(with(ordered(), |it| it.in_doubt = true)), look()),
    ]);
}

#[test]
fn a_leader_with_a_smaller_token_than_one_seen_is_elected_anew() {
    let unconfirmed = LeaseStanding::Unconfirmed { until: Millis(7000), renewed_at: Millis(5000) };
    let seen =
        |me, standing, token_seen| with(Situation::of(me, standing, 6500), |it| it.token_seen = token_seen);
    let written = |situation| with(situation, |it| it.value.token_floor = 31);
    let look = || LeadershipMove::Look { at: Millis(7000) };
    check([
        ("its own is the greatest", seen("a", LIVE, 30), LeadershipMove::Rest),
        (
            "the leader has seen a greater one",
            seen("a", LIVE, 31),
            LeadershipMove::HandOver { to: "a".to_owned(), reason: TOKEN_OVERTAKEN },
        ),
        ("another has, and writes it down", seen("b", LIVE, 31), LeadershipMove::Raise { token: 31 }),
        ("it is written down already", written(seen("b", LIVE, 31)), look()),
        (
            "a greater one than is written down",
            written(seen("b", LIVE, 32)),
            LeadershipMove::Raise { token: 32 },
        ),
        ("nobody may rely on the lease", seen("b", unconfirmed, 31), look()),
        ("nobody may, and its holder waits", seen("a", unconfirmed, 30), look()),
    ]);
}
