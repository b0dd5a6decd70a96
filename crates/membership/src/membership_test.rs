//! What one member does with what it is told.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::event::Evidence;
use crate::exchange::Exchange;

const START: u64 = 1_700_000_000_000 << 10;

fn name(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn record(instance: u64, version: u64) -> Record {
    Record { instance, version, body: Bytes::from_static(b"body") }
}

/// One called `a` that knows `b` and `c`.
fn member() -> Membership {
    let own = Own { node: name("a"), incarnation: START, record: record(1, 1) };
    // Nobody is probed out of turn, so that it is certain who is.
    let config = Config { confirmers: 0, ..Config::default() };
    let mut member = Membership::new(own, config, 1, Time::ZERO);
    for (other, instance) in [("b", 2), ("c", 3)] {
        let claim = Claim::Alive(Arc::new(record(instance, 1)));
        let update = Update { node: name(other), incarnation: START, claim };
        member.apply(Time::ZERO, &name(other), update);
    }
    while member.poll().is_some() {}
    member
}

fn say(member: &mut Membership, at: Time, node: &str, incarnation: u64, claim: Claim) -> Vec<Output> {
    member.apply(at, &name("c"), Update { node: name(node), incarnation, claim });
    std::iter::from_fn(|| member.poll()).collect()
}

fn by(accuser: &str) -> Claim {
    Claim::Suspect { by: vec![name(accuser)] }
}

fn status(member: &Membership, node: &str) -> (Status, u64) {
    let member = member.members().get(node).unwrap();
    (member.status, member.incarnation - START)
}

fn seconds(seconds: u64) -> Time {
    Duration::from_secs(seconds)
}

#[test]
fn which_claims_win() {
    let alive = |version| Claim::Alive(Arc::new(record(2, version)));
    let dead = || Claim::Dead { by: name("c") };
    type Said = Vec<(u64, u64, Claim)>;
    #[rustfmt::skip]
    let cases: Vec<(&str, Said, (Status, u64))> = vec![
        ("a suspicion", vec![(0, 0, by("c"))], (Status::Suspect, 0)),
        ("of an older incarnation", vec![(0, 5, alive(1)), (0, 4, by("c"))], (Status::Alive, 5)),
        ("an answer", vec![(0, 0, by("c")), (1, 1, alive(1))], (Status::Alive, 1)),
        ("a record is no answer", vec![(0, 0, by("c")), (1, 0, alive(2))], (Status::Suspect, 0)),
        ("a death of nobody's suspect", vec![(0, 0, dead())], (Status::Suspect, 0)),
        ("a death that comes too soon", vec![(0, 0, by("c")), (0, 0, dead())], (Status::Suspect, 0)),
        ("a death in time", vec![(0, 0, by("c")), (1, 0, dead())], (Status::Dead, 0)),
        ("a suspicion of the dead", vec![(0, 0, by("c")), (1, 0, dead()), (2, 9, by("c"))], (Status::Dead, 0)),
        ("back from the dead", vec![(0, 0, by("c")), (1, 0, dead()), (2, 1, alive(1))], (Status::Alive, 1)),
        ("a leave", vec![(0, 0, Claim::Left)], (Status::Left, 0)),
        ("a leave of before", vec![(0, 1, alive(1)), (0, 0, Claim::Left)], (Status::Alive, 1)),
        ("back after a leave", vec![(0, 0, Claim::Left), (0, 1, alive(1))], (Status::Alive, 1)),
        ("left already", vec![(0, 0, Claim::Left), (0, 0, by("c"))], (Status::Left, 0)),
        ("far ahead of what is known", vec![(0, 5_000, by("c")), (0, 5_000, Claim::Left)], (Status::Alive, 0)),
        ("of next year", vec![(0, (400 * 24 * 3_600_000) << 10, alive(1))], (Status::Alive, 0)),
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
fn nobody_is_entered_as_a_suspect_or_dead() {
    let mut member = member();
    for claim in [by("c"), Claim::Dead { by: name("c") }, Claim::Left] {
        assert_eq!(say(&mut member, Time::ZERO, "d", START, claim), []);
    }
    assert!(member.members().get("d").is_none());
}

#[test]
fn whoever_is_accused_answers_those_who_accuse() {
    let mut member = member();
    let claim = Claim::Suspect { by: vec![name("b"), name("c")] };
    let outputs = say(&mut member, Time::ZERO, "a", START + 3, claim);
    let told: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Send { to, packet } => Some((to.as_str(), Packet::decode(packet).unwrap())),
            Output::Event(_) | Output::Exchange { .. } | Output::Reach { .. } | Output::Measured { .. } => {
                None
            }
        })
        .collect();
    assert_eq!(told.iter().map(|(to, _)| *to).collect::<Vec<_>>(), ["b", "c"]);
    for (_, packet) in told {
        let own = packet.updates.iter().find(|update| update.node == name("a")).unwrap();
        assert_eq!((own.incarnation - START, own.claim.status()), (4, Status::Alive));
    }
    assert_eq!((member.own().incarnation - START, member.health(), member.stats().refuted), (4, 1, 1));
    // Said again it is old.
    assert_eq!(say(&mut member, Time::ZERO, "a", START + 3, by("b")), []);
}

#[test]
fn a_suspect_hears_of_it_in_whatever_it_is_sent() {
    let mut member = member();
    let evidence = Evidence { waited: seconds(1), helpers: Vec::new(), nacks: 0, rtt: None, health: 0 };
    member.accuse(Time::ZERO, &name("b"), evidence, true);
    let accused = |packet: &[u8]| {
        let first = Packet::decode(packet).unwrap().updates.remove(0);
        assert_eq!((first.node, first.claim), (name("b"), by("a")));
    };
    let outputs: Vec<_> = std::iter::from_fn(|| member.poll()).collect();
    let sent = outputs.iter().find_map(|output| match output {
        Output::Send { to, packet } if to.as_str() == "b" => Some(packet),
        Output::Send { .. }
        | Output::Event(_)
        | Output::Exchange { .. }
        | Output::Reach { .. }
        | Output::Measured { .. } => None,
    });
    accused(sent.unwrap());
    // However often it was passed on.
    while !member.queue.is_empty() {
        let _ = member.packet(&name("c"), Message::Gossip);
    }
    accused(&member.packet(&name("b"), Message::Ping { number: 1 }));
}

#[test]
fn of_two_with_one_name_each_hears_of_the_other() {
    let mut member = member();
    let other = Claim::Alive(Arc::new(record(99, 1)));
    let outputs = say(&mut member, Time::ZERO, "a", START, other.clone());
    let conflict = Event::Conflict { record: Arc::new(record(99, 1)), incarnation: START };
    assert!(outputs.contains(&Output::Event(conflict)));
    // Not again at once, so that both do not answer each other without end.
    assert_eq!(say(&mut member, Time::ZERO, "a", START + 9, other), []);
    let restarted = Claim::Alive(Arc::new(record(55, 1)));
    let outputs = say(&mut member, Time::ZERO, "b", START + 1, restarted);
    assert!(outputs.contains(&Output::Event(Event::Restarted { node: name("b"), instance: 55 })));
}

#[test]
fn a_packet_is_bounded_and_so_is_what_is_sent_at_a_time() {
    let mut member = member();
    for number in 0..200 {
        let body = Bytes::from(vec![7; 500]);
        let claim = Claim::Alive(Arc::new(Record { instance: number, version: 1, body }));
        say(&mut member, Time::ZERO, &format!("n{number}"), START, claim);
    }
    for _ in 0..50 {
        assert!(member.packet(&name("b"), Message::Gossip).len() <= member.config.packet_bytes_max);
    }
    let sent = (0..1000).filter(|_| member.may_send(Time::ZERO)).count();
    assert!(sent <= member.config.outbound_max && member.stats().capped > 0);
}

/// What it wants done until then, asked whenever it wants to be.
fn until(member: &mut Membership, end: Time) -> Vec<Output> {
    let mut outputs = Vec::new();
    while let Some(at) = member.wakes_at().filter(|at| *at <= end) {
        member.advance(at);
        outputs.extend(std::iter::from_fn(|| member.poll()));
    }
    outputs
}

/// The number of the last stream that it wants to be tried.
fn reaches(outputs: &[Output]) -> Option<u32> {
    let number = |output: &Output| match output {
        Output::Reach { number, .. } => Some(*number),
        Output::Send { .. } | Output::Event(_) | Output::Exchange { .. } | Output::Measured { .. } => None,
    };
    outputs.iter().rev().find_map(number)
}

fn dies(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Event(Event::Died { .. })))
}

#[test]
fn nobody_is_found_dead_whom_a_stream_reaches() {
    let mut member = member();
    member.timers = Timers::default();
    say(&mut member, Time::ZERO, "b", START, by("c"));
    // It is tried again for as long as it is answered.
    let mut last = 0;
    for round in 1..20 {
        let (mut at, mut outputs) = (Time::ZERO, Vec::new());
        while reaches(&outputs).is_none() {
            at = member.wakes_at().unwrap();
            outputs = until(&mut member, at);
        }
        let number = reaches(&outputs).unwrap();
        assert!(!dies(&outputs) && number > last, "{round}: {outputs:?}");
        // What is said of another one counts for nothing.
        member.reached(at, &name("b"), last, false);
        member.reached(at, &name("b"), number, true);
        last = number;
        assert!(member.timers.len() <= 2, "{}", member.timers.len());
    }
    let outputs = until(&mut member, seconds(200));
    assert!(dies(&outputs) && status(&member, "b") == (Status::Dead, 0), "of the last one nothing was heard");
    let mut member = self::member();
    say(&mut member, Time::ZERO, "b", START, by("c"));
    member.members.get_mut(&name("b")).unwrap().reaching =
        Some(crate::members::Reaching { number: 7, began: Time::ZERO, until: seconds(9) });
    member.reached(seconds(1), &name("b"), 6, false);
    assert!(!member.members().get("b").unwrap().suspicion.unwrap().is_unreached);
    member.reached(seconds(1), &name("b"), 7, false);
    assert!(member.members().get("b").unwrap().suspicion.unwrap().is_unreached);
}

#[test]
fn whoever_slept_gives_others_time() {
    let mut member = member();
    member.timers = Timers::default();
    say(&mut member, Time::ZERO, "b", START, by("c"));
    let deadline = |member: &Membership| member.members().get("b").unwrap().suspicion.unwrap().deadline;
    let before = deadline(&member);
    // Something that is due sooner, and late.
    member.timers.set(seconds(1), Timer::Nack(0));
    member.advance(seconds(61));
    assert_eq!(deadline(&member), before + seconds(60));
    assert_eq!((member.health(), member.stats().late), (1, 1));
    let outputs = until(&mut member, before + seconds(59));
    assert_eq!(reaches(&outputs), None, "{outputs:?}");
}

#[test]
fn a_record_that_was_missed_is_asked_for_and_comes() {
    let [mut a, mut b] = ["a", "b"].map(|node| {
        let own = Own { node: name(node), incarnation: START, record: record(1, 1) };
        Membership::new(own, Config::default(), 1, Time::ZERO)
    });
    let exchange = |a: &mut Membership, b: &mut Membership| {
        let (mut message, mut turn) = (Some(a.begin_exchange()), 0);
        while let Some(said) = message {
            let said = Exchange::decode(&said.encode()).unwrap();
            let (from, to) = if turn % 2 == 0 { ("a", &mut *b) } else { ("b", &mut *a) };
            message = to.take_exchange(Time::ZERO, &name(from), said);
            turn += 1;
        }
        turn
    };
    exchange(&mut a, &mut b);
    assert_eq!(exchange(&mut a, &mut b), 2, "they know the same");
    b.set_body(Time::ZERO, Bytes::from_static(b"another")).unwrap();
    assert!(exchange(&mut a, &mut b) > 2);
    assert_eq!(a.members().get("b").unwrap().record.body, "another");
    let large = Bytes::from(vec![0; 513]);
    assert_eq!(b.set_body(Time::ZERO, large), Err(TooLarge(513)));
}

#[test]
fn whoever_sleeps_notices_it_before_anything_else() {
    let mut member = member();
    let hour = seconds(3600);
    let packet =
        Packet { message: Message::Gossip, incarnation: START, version: 1, health: 0, updates: Vec::new() };
    let mut bytes = Vec::new();
    packet.encode(&mut bytes);
    member.receive(hour, &name("b"), &bytes).unwrap();
    say(&mut member, hour, "d", START, Claim::Alive(Arc::new(record(4, 1))));
    let outputs = until(&mut member, hour + seconds(1));
    let passes_on = |output: &Output| matches!(output, Output::Send { .. });
    assert!(outputs.iter().any(passes_on), "what is news after that is not put off by an hour");
}

#[test]
fn one_name_is_probed_once_in_a_round_however_often_it_comes_and_goes() {
    let mut member = member();
    for turn in 0..100 {
        let incarnation = START + 1 + turn;
        say(&mut member, Time::ZERO, "b", incarnation, Claim::Alive(Arc::new(record(2, 1))));
        say(&mut member, Time::ZERO, "b", incarnation, Claim::Left);
    }
    assert!(member.members.to_probe() <= 2 && member.pending() < 20, "{}", member.pending());
}

#[test]
fn news_is_not_for_whoever_pings_most() {
    let mut member = member();
    say(&mut member, Time::ZERO, "d", START, Claim::Alive(Arc::new(record(4, 1))));
    let before = member.queued();
    let ping = Packet {
        message: Message::Ping { number: 7 },
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
