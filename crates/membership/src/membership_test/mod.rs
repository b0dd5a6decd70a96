//! Tests of one member: what it does with what it is told.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::event::SuspicionEvidence;
use crate::exchange::ExchangeMessage;
use crate::record::MemberStatus;

mod configure;
mod silence;

const START: u64 = 1_700_000_000_000 << 10;

fn name(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn record(instance: u64, version: u64) -> GossipMemberRecord {
    GossipMemberRecord { instance, version, body: Bytes::from_static(b"body") }
}

/// One called `a` that knows `b` and `c`.
fn member() -> Membership {
    let own = OwnMember { node: name("a"), incarnation: START, record: record(1, 1) };
    // Nobody is probed out of turn, so that it is certain who is.
    let config = Config { confirmers: 0, ..Config::default() };
    let mut member = Membership::new(own, config, 1, Time::ZERO);
    for (other, instance) in [("b", 2), ("c", 3)] {
        let claim = MemberClaim::Alive(Arc::new(record(instance, 1)));
        let update = MemberUpdate { node: name(other), incarnation: START, claim };
        member.apply(Time::ZERO, &name(other), update, UpdateChannel::Gossip);
    }
    while member.poll().is_some() {}
    member
}

fn say(
    member: &mut Membership,
    at: Time,
    node: &str,
    incarnation: u64,
    claim: MemberClaim,
) -> Vec<MembershipOutput> {
    member.apply(
        at,
        &name("c"),
        MemberUpdate { node: name(node), incarnation, claim },
        UpdateChannel::Gossip,
    );
    std::iter::from_fn(|| member.poll()).collect()
}

fn by(accuser: &str) -> MemberClaim {
    MemberClaim::Suspect { by: vec![name(accuser)] }
}

fn status(member: &Membership, node: &str) -> (MemberStatus, u64) {
    let member = member.members().get(node).unwrap();
    (member.status, member.incarnation - START)
}

fn seconds(seconds: u64) -> Time {
    Duration::from_secs(seconds)
}

/// What it wants done until then, asked whenever it wants to be.
fn until(member: &mut Membership, end: Time) -> Vec<MembershipOutput> {
    let mut outputs = Vec::new();
    while let Some(at) = member.wakes_at().filter(|at| *at <= end) {
        member.advance(at);
        outputs.extend(std::iter::from_fn(|| member.poll()));
    }
    outputs
}

fn dies(outputs: &[MembershipOutput]) -> bool {
    outputs.iter().any(|output| matches!(output, MembershipOutput::Event(MembershipEvent::Died { .. })))
}

#[test]
fn which_claims_win() {
    let alive = |version| MemberClaim::Alive(Arc::new(record(2, version)));
    let dead = || MemberClaim::Dead { by: name("c") };
    type TimedClaims = Vec<(u64, u64, MemberClaim)>;
    #[rustfmt::skip]
    let cases: Vec<(&str, TimedClaims, (MemberStatus, u64))> = vec![
        ("a suspicion", vec![(0, 0, by("c"))], (MemberStatus::Suspect, 0)),
        ("of an older incarnation", vec![(0, 5, alive(1)), (0, 4, by("c"))], (MemberStatus::Alive, 5)),
        ("an answer", vec![(0, 0, by("c")), (1, 1, alive(1))], (MemberStatus::Alive, 1)),
        ("a record is no answer", vec![(0, 0, by("c")), (1, 0, alive(2))], (MemberStatus::Suspect, 0)),
        ("a death of nobody's suspect", vec![(0, 0, dead())], (MemberStatus::Suspect, 0)),
        ("a death that comes too soon", vec![(0, 0, by("c")), (0, 0, dead())], (MemberStatus::Suspect, 0)),
        ("a death in time", vec![(0, 0, by("c")), (1, 0, dead())], (MemberStatus::Dead, 0)),
        ("a suspicion of the dead", vec![(0, 0, by("c")), (1, 0, dead()), (2, 9, by("c"))], (MemberStatus::Dead, 0)),
        ("back from the dead", vec![(0, 0, by("c")), (1, 0, dead()), (2, 1, alive(1))], (MemberStatus::Alive, 1)),
        ("a leave, as one other says", vec![(0, 0, MemberClaim::Left), (1, 0, MemberClaim::Left)], (MemberStatus::Alive, 0)),
        ("a leave of before", vec![(0, 1, alive(1)), (0, 0, MemberClaim::Left)], (MemberStatus::Alive, 1)),
        ("far ahead of what is known", vec![(0, 5_000, by("c")), (0, 5_000, MemberClaim::Left)], (MemberStatus::Alive, 0)),
        ("of next year", vec![(0, (400 * 24 * 3_600_000) << 10, alive(1))], (MemberStatus::Alive, 0)),
    ];
    for (what, said, expected) in cases {
        let mut member = member();
        for (at, incarnation, claim) in said {
            say(&mut member, seconds(at), "b", START + incarnation, claim);
        }
        assert_eq!(status(&member, "b"), expected, "{what}");
    }
}

#[test]
fn a_leave_counts_from_the_member_itself_or_from_two_others() {
    let left = |member: &mut Membership, from: &str, incarnation| {
        let update =
            MemberUpdate { node: name("b"), incarnation: START + incarnation, claim: MemberClaim::Left };
        member.apply(Time::ZERO, &name(from), update, UpdateChannel::Gossip);
        std::iter::from_fn(|| member.poll()).collect::<Vec<_>>()
    };
    let mut itself = member();
    left(&mut itself, "b", 0);
    assert_eq!(status(&itself, "b"), (MemberStatus::Left, 0));
    say(&mut itself, Time::ZERO, "b", START, by("c"));
    assert_eq!(status(&itself, "b"), (MemberStatus::Left, 0), "left already");
    say(&mut itself, Time::ZERO, "b", START + 1, MemberClaim::Alive(Arc::new(record(2, 1))));
    assert_eq!(status(&itself, "b"), (MemberStatus::Alive, 1), "back after a leave");
    let mut others = member();
    let outputs = left(&mut others, "c", 7);
    let sent = outputs.iter().find_map(|output| match output {
        MembershipOutput::Send { to, packet } if to.as_str() == "b" => Some(Packet::decode(packet).unwrap()),
        MembershipOutput::Send { .. }
        | MembershipOutput::Event(_)
        | MembershipOutput::Exchange { .. }
        | MembershipOutput::Reach { .. } => None,
        MembershipOutput::Measured { .. } => None,
    });
    let told = sent.unwrap().updates.into_iter().find(|update| update.node == name("b"));
    assert_eq!(
        told.map(|update| update.claim),
        Some(MemberClaim::Left),
        "it hears of it, so that it can answer"
    );
    left(&mut others, "c", 8);
    assert_eq!(status(&others, "b"), (MemberStatus::Alive, 0));
    left(&mut others, "d", 0);
    assert_eq!(status(&others, "b"), (MemberStatus::Left, 0));
    // An answer ends it.
    let mut answered = member();
    left(&mut answered, "c", 0);
    say(&mut answered, Time::ZERO, "b", START + 1, MemberClaim::Alive(Arc::new(record(2, 1))));
    left(&mut answered, "d", 1);
    assert_eq!(status(&answered, "b"), (MemberStatus::Alive, 1));
}

#[test]
fn whoever_is_silent_and_said_to_have_left_has_left() {
    let mut member = member();
    member.timers = Timers::default();
    say(&mut member, Time::ZERO, "b", START, MemberClaim::Left);
    let evidence =
        SuspicionEvidence { waited: seconds(1), helpers: Vec::new(), nacks: 0, rtt: None, health: 0 };
    member.accuse(Time::ZERO, &name("b"), evidence, true);
    let outputs = until(&mut member, seconds(60));
    assert!(!dies(&outputs), "{outputs:?}");
    assert_eq!(status(&member, "b"), (MemberStatus::Left, 0));
}

#[test]
fn an_accusation_by_others_is_shown_once_it_could_have_been_answered() {
    let shown = |member: &Membership| member.members().get("b").unwrap().shown();
    let told = |outputs: &[MembershipOutput]| {
        outputs
            .iter()
            .any(|output| matches!(output, MembershipOutput::Event(MembershipEvent::Suspected { .. })))
    };
    let mut member = member();
    member.timers = Timers::default();
    let outputs = say(&mut member, Time::ZERO, "b", START, by("c"));
    assert!(!told(&outputs) && shown(&member) == MemberStatus::Alive);
    let outputs = until(&mut member, seconds(1));
    assert!(told(&outputs) && shown(&member) == MemberStatus::Suspect);
    // What is answered in time is neither shown nor told.
    let mut member = self::member();
    say(&mut member, Time::ZERO, "b", START, by("c"));
    let outputs = say(&mut member, Time::ZERO, "b", START + 1, MemberClaim::Alive(Arc::new(record(2, 1))));
    assert!(!outputs.iter().any(|output| matches!(output, MembershipOutput::Event(_))), "{outputs:?}");
    // What this member has found itself is shown at once.
    let evidence =
        SuspicionEvidence { waited: seconds(1), helpers: Vec::new(), nacks: 0, rtt: None, health: 0 };
    member.accuse(Time::ZERO, &name("b"), evidence, true);
    assert_eq!(shown(&member), MemberStatus::Suspect);
}

/// A member of which another one, `liar`, tells of so many names that nobody has.
fn told_of(member: &mut Membership, at: Time, from: &str, count: usize, what: &str) {
    for number in 0..count {
        let claim = MemberClaim::Alive(Arc::new(record(9, 1)));
        let update = MemberUpdate { node: name(&format!("{what}-{number}")), incarnation: START, claim };
        member.take_updates(at, &name(from), vec![update], UpdateChannel::Gossip);
    }
    while member.poll().is_some() {}
}

#[test]
fn names_that_nobody_knows_have_a_small_share_and_go_away() {
    let mut member = member();
    member.receive(Time::ZERO, &name("b"), &gossip_of("b")).unwrap();
    member.receive(Time::ZERO, &name("c"), &gossip_of("c")).unwrap();
    let strangers_max = member.config.strangers_max;
    told_of(&mut member, Time::ZERO, "b", 20_000, "nobody");
    assert_eq!(member.strangers().count(), strangers_max);
    assert_eq!(member.members().len(), strangers_max + 2);
    assert!(member.queued() <= strangers_max + 3);
    // Whoever tells of fewer is heard beside.
    told_of(&mut member, Time::ZERO, "c", 1, "new");
    assert!(member.members().get("new-0").is_some());
    assert_eq!(member.strangers().count(), strangers_max);
    // Once it is heard it is none any more, and stays.
    member.receive(Time::ZERO, &name("new-0"), &gossip_of("new-0")).unwrap();
    assert!(!member.members().get("new-0").unwrap().is_stranger());
    // One is known from elsewhere.
    member.know(&name("nobody-7"));
    assert_eq!(member.strangers().count(), strangers_max - 2);
    // Few of those that are probed are strangers.
    let mut rng = fastrand::Rng::with_seed(1);
    let strange = (0..1000)
        .filter(|_| {
            let next = member.members.next(&mut rng).unwrap();
            member.members.get(next.as_str()).unwrap().is_stranger()
        })
        .count();
    assert!((150..350).contains(&strange), "{strange}");
    // Nothing was heard of them for long: they are gone, and are not taken again as others still have them.
    let later = Duration::from_secs(400);
    member.timers.set(later, Timer::Exchange);
    member.advance(later);
    assert_eq!(member.strangers().count(), 0);
    assert_eq!(member.members().len(), 4);
    let claim = MemberClaim::Alive(Arc::new(record(9, 1)));
    let update = MemberUpdate { node: name("nobody-9"), incarnation: START, claim };
    member.take_updates(later, &name("c"), vec![update], UpdateChannel::Gossip);
    assert!(member.members().get("nobody-9").is_none());
}

#[test]
fn a_full_table_takes_whoever_comes_itself() {
    let own = OwnMember { node: name("a"), incarnation: START, record: record(1, 1) };
    let config = Config { members_max: 100, strangers_max: 90, ..Config::default() };
    let mut member = Membership::new(own, config, 1, Time::ZERO);
    told_of(&mut member, Time::ZERO, "liar", 1000, "nobody");
    assert_eq!(member.members().len(), 90);
    for number in 0..100 {
        let node = format!("real-{number}");
        let claim = MemberClaim::Alive(Arc::new(record(3, 1)));
        let update = MemberUpdate { node: name(&node), incarnation: START, claim };
        member.take_updates(Time::ZERO, &name(&node), vec![update], UpdateChannel::Gossip);
        assert!(member.members().get(&node).is_some());
    }
    assert_eq!((member.members().len(), member.strangers().count()), (100, 0));
}

#[test]
fn what_one_sender_may_have_done_is_bounded() {
    let mut member = member();
    let claims = |number: u64| {
        let updates = (0..60).map(|at| MemberUpdate {
            node: name("b"),
            incarnation: START + number * 60 + at,
            claim: MemberClaim::Alive(Arc::new(record(2, 1))),
        });
        let mut bytes = Vec::new();
        let updates = updates.collect();
        let message = PacketMessage::Gossip;
        Packet { message, incarnation: START, version: 1, health: 0, updates }.encode(&mut bytes);
        bytes
    };
    for number in 0..10_000 {
        member.receive(Time::ZERO, &name("c"), &claims(number)).unwrap();
        while member.poll().is_some() {}
    }
    let taken = member.members().get("b").unwrap().incarnation - START;
    assert!(taken < 20_000, "{taken}");
    assert!(member.stats().throttled > 9000 - 300);
    // Another one is heard all the same.
    let claim = MemberClaim::Alive(Arc::new(record(2, 2)));
    let update = MemberUpdate { node: name("b"), incarnation: START + 1_000_000, claim };
    member.take_updates(Time::ZERO, &name("b"), vec![update], UpdateChannel::Gossip);
    assert_eq!(status(&member, "b").1, 1_000_000);
    let exchanges = (0..1000).filter(|_| member.may_exchange(Time::ZERO, &name("c"), 100)).count();
    assert_eq!(exchanges, 128);
    assert!(!member.may_exchange(Time::ZERO, &name("b"), crate::MESSAGE_BYTES_MAX + 1));
}

#[test]
fn ten_thousand_that_are_known_are_taken_from_one_exchange_after_the_other() {
    let own = OwnMember { node: name("a"), incarnation: START, record: record(1, 1) };
    let mut knows = Membership::new(own.clone(), Config::default(), 1, Time::ZERO);
    for number in 0..9_999 {
        let node = name(&format!("node-{number:05}"));
        let claim = MemberClaim::Alive(Arc::new(GossipMemberRecord {
            body: Bytes::from(vec![7; 150]),
            ..record(3, 1)
        }));
        knows.apply(
            Time::ZERO,
            &node,
            MemberUpdate { node: node.clone(), incarnation: START, claim },
            UpdateChannel::Gossip,
        );
    }
    while knows.poll().is_some() {}
    let own = OwnMember { node: name("new"), incarnation: START, record: record(8, 1) };
    let mut new = Membership::new(own, Config::default(), 2, Time::ZERO);
    let mut exchanges = 0;
    while new.members().len() < 10_000 {
        exchanges += 1;
        assert!(exchanges < 8, "{} after {exchanges} exchanges", new.members().len());
        let mut message = Some(new.begin_exchange());
        while let Some(said) = message {
            message = taken(&mut knows, "new", said).and_then(|said| taken(&mut new, "a", said));
        }
    }
    assert_eq!(new.strangers().count(), 0);
}

#[test]
fn exchanges_hand_on_once_whom_nobody_knows() {
    let one = |of: &str| {
        let own = OwnMember { node: name(of), incarnation: START, record: record(2, 1) };
        Membership::new(own, Config::default(), 2, Time::ZERO)
    };
    let exchange = |(from, begins): (&str, &mut Membership), (to, answers): (&str, &mut Membership)| {
        let mut message = Some(begins.begin_exchange());
        while let Some(said) = message {
            let answer = answers.take_exchange(Time::ZERO, &name(from), said);
            message = answer.and_then(|said| begins.take_exchange(Time::ZERO, &name(to), said));
        }
    };
    let (mut tells, mut hears, mut third) = (member(), one("b"), one("e"));
    told_of(&mut tells, Time::ZERO, "liar", 3, "nobody");
    exchange(("b", &mut hears), ("a", &mut tells));
    assert!(hears.members().get("c").is_some() && hears.members().get("nobody-0").is_some());
    exchange(("e", &mut third), ("b", &mut hears));
    exchange(("b", &mut hears), ("e", &mut third));
    assert_eq!(third.members().len(), 2, "of itself, and of whom it has heard");
    assert!(
        hears
            .queue
            .take(10_000, 10, 9, true, None)
            .iter()
            .all(|update| !update.node.as_str().starts_with("nobody"))
    );
}

#[test]
fn a_leave_is_said_again_ahead_of_what_others_say() {
    let mut member = member();
    member.leave(Time::ZERO);
    while member.poll().is_some() {}
    let said = |member: &Membership| (member.own().incarnation - START, member.own_update().claim);
    let outputs = say(&mut member, seconds(1), "a", START + 2, by("c"));
    assert_eq!(said(&member), (3, MemberClaim::Left));
    assert_eq!(outputs.len(), 2, "each of them is told directly");
    let outputs = say(&mut member, seconds(1), "a", START + 4, by("c"));
    assert_eq!((said(&member).0, outputs.len()), (5, 0), "directly once in a while at most");
}

/// Takes a message of an exchange as it is driven: in parts, and whoever is told of is known from elsewhere.
fn taken(member: &mut Membership, from: &str, message: ExchangeMessage) -> Option<ExchangeMessage> {
    let bytes = message.encode();
    assert!(member.may_exchange(Time::ZERO, &name(from), bytes.len()), "{} bytes", bytes.len());
    let mut message = ExchangeMessage::decode(&bytes).unwrap();
    let mut parts: Vec<_> = std::iter::from_fn(|| message.part()).collect();
    parts.push(message);
    let mut answer = None;
    for part in parts {
        answer = member.take_exchange(Time::ZERO, &name(from), part);
        while let Some(output) = member.poll() {
            if let MembershipOutput::Event(MembershipEvent::Joined { node }) = output {
                member.know(&node);
            }
        }
    }
    answer
}

fn gossip_of(_: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packet = Packet {
        message: PacketMessage::Gossip,
        incarnation: START,
        version: 1,
        health: 0,
        updates: Vec::new(),
    };
    packet.encode(&mut bytes);
    bytes
}

#[test]
fn whoever_hears_nobody_knows_that_it_is_cut_off() {
    let mut member = member();
    let cut_off =
        |outputs: &[MembershipOutput]| outputs.contains(&MembershipOutput::Event(MembershipEvent::CutOff));
    let outputs = until(&mut member, seconds(2));
    assert!(!cut_off(&outputs) && !member.is_cut_off());
    let outputs = until(&mut member, seconds(5));
    assert!(cut_off(&outputs) && member.is_cut_off());
    member.receive(seconds(5), &name("b"), &gossip_of("b")).unwrap();
    assert!(!member.is_cut_off());
    let outputs: Vec<_> = std::iter::from_fn(|| member.poll()).collect();
    assert!(outputs.contains(&MembershipOutput::Event(MembershipEvent::InTouch)));
}

#[test]
fn nobody_is_entered_as_a_suspect_or_dead() {
    let mut member = member();
    for claim in [by("c"), MemberClaim::Dead { by: name("c") }, MemberClaim::Left] {
        assert_eq!(say(&mut member, Time::ZERO, "d", START, claim), []);
    }
    assert!(member.members().get("d").is_none());
}

#[test]
fn whoever_is_accused_answers_those_who_accuse() {
    let mut member = member();
    let claim = MemberClaim::Suspect { by: vec![name("b"), name("c")] };
    let outputs = say(&mut member, Time::ZERO, "a", START + 3, claim);
    let told: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            MembershipOutput::Send { to, packet } => Some((to.as_str(), Packet::decode(packet).unwrap())),
            MembershipOutput::Event(_)
            | MembershipOutput::Exchange { .. }
            | MembershipOutput::Reach { .. }
            | MembershipOutput::Measured { .. } => None,
        })
        .collect();
    assert_eq!(told.iter().map(|(to, _)| *to).collect::<Vec<_>>(), ["b", "c"]);
    for (_, packet) in told {
        let own = packet.updates.iter().find(|update| update.node == name("a")).unwrap();
        assert_eq!((own.incarnation - START, own.claim.status()), (4, MemberStatus::Alive));
    }
    assert_eq!((member.own().incarnation - START, member.health(), member.stats().refuted), (4, 1, 1));
    // Said again it is old.
    assert_eq!(say(&mut member, Time::ZERO, "a", START + 3, by("b")), []);
}

#[test]
fn a_suspect_hears_of_it_in_whatever_it_is_sent() {
    let mut member = member();
    let evidence =
        SuspicionEvidence { waited: seconds(1), helpers: Vec::new(), nacks: 0, rtt: None, health: 0 };
    member.accuse(Time::ZERO, &name("b"), evidence, true);
    let accused = |packet: &[u8]| {
        let first = Packet::decode(packet).unwrap().updates.remove(0);
        assert_eq!((first.node, first.claim), (name("b"), by("a")));
    };
    let outputs: Vec<_> = std::iter::from_fn(|| member.poll()).collect();
    let sent = outputs.iter().find_map(|output| match output {
        MembershipOutput::Send { to, packet } if to.as_str() == "b" => Some(packet),
        MembershipOutput::Send { .. }
        | MembershipOutput::Event(_)
        | MembershipOutput::Exchange { .. }
        | MembershipOutput::Reach { .. }
        | MembershipOutput::Measured { .. } => None,
    });
    accused(sent.unwrap());
    // However often it was passed on.
    while !member.queue.is_empty() {
        let _ = member.packet(&name("c"), PacketMessage::Gossip);
    }
    accused(&member.packet(&name("b"), PacketMessage::Ping { number: 1 }));
}

#[test]
fn of_two_with_one_name_each_hears_of_the_other() {
    let mut member = member();
    let (other, from) = (Arc::new(record(99, 1)), name("c"));
    let outputs = say(&mut member, Time::ZERO, "a", START, MemberClaim::Alive(other.clone()));
    let conflict = MembershipEvent::Conflict { record: other.clone(), incarnation: START, from };
    assert!(outputs.contains(&MembershipOutput::Event(conflict)));
    // Not again at once, so that both do not answer each other without end.
    assert_eq!(say(&mut member, Time::ZERO, "a", START + 9, MemberClaim::Alive(other)), []);
    let restarted = MemberClaim::Alive(Arc::new(record(55, 1)));
    let outputs = say(&mut member, Time::ZERO, "b", START + 1, restarted);
    assert!(outputs.contains(&MembershipOutput::Event(MembershipEvent::Restarted {
        node: name("b"),
        instance: 55,
        from: name("c")
    })));
}

#[test]
fn a_packet_is_bounded_and_so_is_what_is_sent_at_a_time() {
    let mut member = member();
    for number in 0..200 {
        let body = Bytes::from(vec![7; 500]);
        let claim = MemberClaim::Alive(Arc::new(GossipMemberRecord { instance: number, version: 1, body }));
        say(&mut member, Time::ZERO, &format!("n{number}"), START, claim);
    }
    for _ in 0..50 {
        assert!(member.packet(&name("b"), PacketMessage::Gossip).len() <= member.config.packet_bytes_max);
    }
    let sent = (0..1000).filter(|_| member.may_send(Time::ZERO)).count();
    assert!(sent <= member.config.outbound_max && member.stats().capped > 0);
}

#[test]
fn one_name_is_probed_once_in_a_round_however_often_it_comes_and_goes() {
    let mut member = member();
    for turn in 0..100 {
        let incarnation = START + 1 + turn;
        say(&mut member, Time::ZERO, "b", incarnation, MemberClaim::Alive(Arc::new(record(2, 1))));
        say(&mut member, Time::ZERO, "b", incarnation, MemberClaim::Left);
    }
    assert!(member.members.to_probe() <= 2 && member.pending() < 20, "{}", member.pending());
}

#[test]
fn news_is_not_for_whoever_pings_most() {
    let mut member = member();
    say(&mut member, Time::ZERO, "d", START, MemberClaim::Alive(Arc::new(record(4, 1))));
    let before = member.queued();
    let ping = Packet {
        message: PacketMessage::Ping { number: 7 },
        incarnation: START,
        version: 1,
        health: 0,
        updates: vec![],
    };
    let mut bytes = Vec::new();
    ping.encode(&mut bytes);
    for _ in 0..100 {
        member.receive(Time::ZERO, &name("b"), &bytes).unwrap();
    }
    assert_eq!(member.queued(), before);
}
