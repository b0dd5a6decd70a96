//! Packets and exchanges of members: what another member sends may be anything, what is read is written again as it was, and
//! whoever takes it stays bounded.
#![no_main]

use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use omnirelay_membership::{Config, ExchangeMessage, Membership, NodeId, OwnMember, Packet, GossipMemberRecord};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = Packet::decode(bytes) {
        let mut written = Vec::new();
        packet.encode(&mut written);
        assert_eq!(Packet::decode(&written).as_ref(), Ok(&packet));
        let updates: usize = packet.updates.iter().map(|update| update.encoded_len()).sum();
        assert!(updates <= written.len());
    }
    let exchange = ExchangeMessage::decode(bytes);
    if let Ok(exchange) = &exchange {
        assert_eq!(ExchangeMessage::decode(&exchange.encode()).as_ref(), Ok(exchange));
    }
    let [own, other] = ["a", "b"].map(|name| NodeId::new(name).unwrap());
    let record = GossipMemberRecord { instance: 1, version: 1, body: Bytes::new() };
    let own = OwnMember { node: own, incarnation: Membership::first_incarnation(Duration::from_secs(1_700_000_000)), record };
    let config = Config { members_max: 100, ..Config::default() };
    let mut member = Membership::new(own, config, 1, Duration::ZERO);
    let now = Duration::from_secs(1);
    let _ = member.receive(now, &other, bytes);
    let _ = member.answer(now, &other, bytes);
    if let Ok(exchange) = exchange {
        let _ = member.take_exchange(now, &other, exchange);
    }
    for second in 2..30 {
        member.advance(Duration::from_secs(second));
        let outputs = std::iter::from_fn(|| member.poll()).take(10_000).count();
        assert!(outputs < 10_000 && member.members().len() <= 100);
    }
});
