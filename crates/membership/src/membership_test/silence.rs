//! Members that are silent, asleep or missed a record, and what becomes of them.

use super::*;

/// The number of the last stream that it wants to be tried.
fn reaches(outputs: &[MembershipOutput]) -> Option<u32> {
    let number = |output: &MembershipOutput| match output {
        MembershipOutput::Reach { number, .. } => Some(*number),
        MembershipOutput::Send { .. }
        | MembershipOutput::Event(_)
        | MembershipOutput::Exchange { .. }
        | MembershipOutput::Measured { .. } => None,
    };
    outputs.iter().rev().find_map(number)
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
    assert!(
        dies(&outputs) && status(&member, "b") == (MemberStatus::Dead, 0),
        "of the last one nothing was heard"
    );
    let mut member = self::member();
    say(&mut member, Time::ZERO, "b", START, by("c"));
    member.members.get_mut(&name("b")).unwrap().reaching =
        Some(crate::members::StreamAttempt { number: 7, began: Time::ZERO, until: seconds(9) });
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
        let own = OwnMember { node: name(node), incarnation: START, record: record(1, 1) };
        Membership::new(own, Config::default(), 1, Time::ZERO)
    });
    let exchange = |a: &mut Membership, b: &mut Membership| {
        let (mut message, mut turn) = (Some(a.begin_exchange()), 0);
        while let Some(said) = message {
            let said = ExchangeMessage::decode(&said.encode()).unwrap();
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
    let packet = Packet {
        message: PacketMessage::Gossip,
        incarnation: START,
        version: 1,
        health: 0,
        updates: Vec::new(),
    };
    let mut bytes = Vec::new();
    packet.encode(&mut bytes);
    member.receive(hour, &name("b"), &bytes).unwrap();
    say(&mut member, hour, "d", START, MemberClaim::Alive(Arc::new(record(4, 1))));
    let outputs = until(&mut member, hour + seconds(1));
    let passes_on = |output: &MembershipOutput| matches!(output, MembershipOutput::Send { .. });
    assert!(outputs.iter().any(passes_on), "what is news after that is not put off by an hour");
}
