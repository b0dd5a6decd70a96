//! Record shown of a member: what it has said itself, and nothing that others say in its name.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_membership::{
    Config, GossipMemberRecord, MemberClaim, MemberUpdate, Membership, MembershipEvent, MembershipOutput,
    NodeId, OwnMember, Packet, PacketMessage, Time,
};

const START: u64 = 1_700_000_000_000 << 10;

fn name(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

fn record(instance: u64, version: u64, body: &'static str) -> GossipMemberRecord {
    GossipMemberRecord { instance, version, body: Bytes::from_static(body.as_bytes()) }
}

fn member(node: &str, instance: u64, body: &'static str) -> Membership {
    let own = OwnMember { node: name(node), incarnation: START, record: record(instance, 1, body) };
    Membership::new(own, Config::default(), instance, Time::ZERO)
}

fn alive(node: &str, incarnation: u64, record: GossipMemberRecord) -> MemberUpdate {
    MemberUpdate { node: name(node), incarnation, claim: MemberClaim::Alive(Arc::new(record)) }
}

/// Has somebody say something.
fn say(to: &mut Membership, from: &str, updates: Vec<MemberUpdate>) {
    say_at(to, Time::ZERO, from, updates);
}

fn say_at(to: &mut Membership, now: Time, from: &str, updates: Vec<MemberUpdate>) {
    let mut bytes = Vec::new();
    Packet { message: PacketMessage::Gossip, incarnation: START, version: 1, health: 0, updates }
        .encode(&mut bytes);
    to.receive(now, &name(from), &bytes).unwrap();
}

fn events(of: &mut Membership) -> Vec<MembershipEvent> {
    let outputs = std::iter::from_fn(|| of.poll());
    outputs
        .filter_map(|output| match output {
            MembershipOutput::Event(event) => Some(event),
            MembershipOutput::Send { .. }
            | MembershipOutput::Reach { .. }
            | MembershipOutput::Exchange { .. }
            | MembershipOutput::Measured { .. } => None,
        })
        .collect()
}

/// What `a` shows of `b`, and what it passes on.
fn of_b(a: &Membership) -> (Option<&'static str>, &'static str) {
    let word = |body: &Bytes| match &body[..] {
        b"true" => "true",
        b"false" => "false",
        b"newer" => "newer",
        _ => "other",
    };
    let b = a.members().get("b").unwrap();
    (b.said().map(|record| word(&record.body)), word(&b.record.body))
}

#[test]
fn what_others_say_of_a_member_is_not_what_it_says() {
    let mut a = member("a", 1, "a");
    say(&mut a, "c", vec![alive("b", START, record(2, 1, "false"))]);
    assert_eq!(of_b(&a), (None, "false"), "nobody has heard b");
    say(&mut a, "b", vec![alive("b", START, record(2, 1, "true"))]);
    assert_eq!(of_b(&a), (Some("true"), "true"), "its own word of the same version puts it right");
    for (version, incarnation) in [(2, START), (1, START + 1), (9, START + 7)] {
        say(&mut a, "c", vec![alive("b", incarnation, record(2, version, "false"))]);
        assert_eq!(of_b(&a), (Some("true"), "false"), "version {version}");
    }
    // It has not heard of that, and goes on to say what it does.
    say(&mut a, "b", vec![alive("b", START, record(2, 1, "true"))]);
    assert_eq!(of_b(&a), (Some("true"), "false"));
    say(&mut a, "b", vec![alive("b", START + 8, record(2, 2, "newer"))]);
    assert_eq!(of_b(&a), (Some("newer"), "newer"), "it has answered");
    say(&mut a, "b", vec![alive("b", START, record(2, 1, "true"))]);
    assert_eq!(of_b(&a).0, Some("newer"), "a packet that was late");
    // It has started again, on a host whose clock is behind.
    say(&mut a, "b", vec![alive("b", START, record(3, 1, "true"))]);
    assert_eq!(of_b(&a).0, Some("true"));
}

#[test]
fn a_member_answers_whatever_is_made_up_in_its_name() {
    let cases = [
        ("what it says", record(1, 1, "a"), false),
        ("another body", record(1, 1, "false"), true),
        ("a later version", record(1, 2, "false"), true),
        ("the last there is", record(1, u64::MAX, "false"), true),
        ("one of before", record(1, 0, "false"), false),
    ];
    for (what, said, answers) in cases {
        let mut a = member("a", 1, "a");
        say(&mut a, "c", vec![alive("a", START, said)]);
        assert_eq!(a.own().incarnation > START, answers, "{what}");
        assert!(
            !events(&mut a).iter().any(|event| matches!(event, MembershipEvent::Conflict { .. })),
            "{what}"
        );
    }
    let mut a = member("a", 1, "a");
    say(&mut a, "c", vec![alive("a", START, record(9, 1, "false"))]);
    let conflict = MembershipEvent::Conflict {
        record: Arc::new(record(9, 1, "false")),
        incarnation: START,
        from: name("c"),
    };
    assert!(events(&mut a).contains(&conflict), "whoever says so is named");
}

#[test]
fn each_is_told_by_a_member_itself_what_it_says() {
    let mut a = member("a", 1, "a");
    let others = || ["b", "c"].map(|other| alive(other, START, record(2, 1, "true"))).to_vec();
    say(&mut a, "b", others());
    let told = |a: &mut Membership, from: Time| {
        let mut told = std::collections::BTreeMap::<String, usize>::new();
        for second in 0..40 {
            a.advance(from + Duration::from_secs(second));
            while let Some(output) = a.poll() {
                let MembershipOutput::Send { to, packet } = output else { continue };
                let packet = Packet::decode(&packet).unwrap();
                let is_probe = matches!(packet.message, PacketMessage::Ping { .. });
                let has_own = packet.updates.iter().any(|update| update.node == name("a"));
                let count = told.entry(to.to_string()).or_default();
                *count += usize::from(is_probe && has_own);
                // It answers, so that it is not found dead.
                if let PacketMessage::Ping { number } = packet.message {
                    let ack = PacketMessage::Ack { number };
                    let mut bytes = Vec::new();
                    Packet { message: ack, incarnation: START, version: 1, health: 0, updates: vec![] }
                        .encode(&mut bytes);
                    a.receive(from + Duration::from_secs(second), &to, &bytes).unwrap();
                }
            }
        }
        told
    };
    for (to, times) in told(&mut a, Time::ZERO) {
        assert!((1..=6).contains(&times), "{to} was told {times} times");
    }
    a.set_body(Duration::from_secs(100), Bytes::from_static(b"newer")).unwrap();
    let again = told(&mut a, Duration::from_secs(101));
    assert!(again.values().all(|times| *times >= 1), "{again:?}");
    // One that begins anew knows nothing of it.
    let now = Duration::from_secs(141);
    say_at(&mut a, now, "b", vec![alive("b", START + 1, record(3, 1, "true"))]);
    let b = a.members().get("b").unwrap();
    assert_eq!((b.incarnation, b.record.instance), (START + 1, 3));
    let begun_anew = told(&mut a, now);
    assert!(begun_anew["b"] >= 1, "{begun_anew:?}");
}
