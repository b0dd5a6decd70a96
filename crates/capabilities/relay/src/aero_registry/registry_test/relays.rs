//! RegisterRelay and HeartbeatRelay.

use bytes::Bytes;
use omnirelay_registry::ttl_records::TtlClaim;
use omnirelay_scripted::{Ill, Method};
use omnirelay_wire::pb::omnirelay::store::v1::RelayValue;
use prost::Message;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_relay_is_refused_that_is_not_named_or_not_anywhere() {
    let a = alone().await;
    let long = "x".repeat(129);
    let cases = [
        ("none", None, "`relay`"),
        ("no id", Some(relay("", "host")), "relayId"),
        ("a long id", Some(relay(&long, "host")), "relayId"),
        ("an id with a slash", Some(relay("a/b", "host")), "relayId"),
        ("an id that is ours", Some(relay("_a", "host")), "relayId"),
        ("no address", Some(relay("r", "")), "address"),
        ("a long address", Some(relay("r", &"x".repeat(254))), "address"),
        ("an address with a line", Some(relay("r", "a\nb")), "address"),
        ("a port below", Some(pb::Relay { grpc_port: -1, ..relay("r", "host") }), "grpcPort"),
        ("a port above", Some(pb::Relay { grpc_port: 65536, ..relay("r", "host") }), "grpcPort"),
    ];
    for (what, relay, says) in cases {
        println!("{what}");
        refused(a.register_relay(relay).await, Code::InvalidArgument, says);
    }
    assert!(a.relays().await.is_empty());
    for port in [0, 65535] {
        a.register_relay(Some(pb::Relay { grpc_port: port, ..relay("r", "host") })).await.unwrap();
        assert_eq!(a.relays().await[0].grpc_port, port, "a port is taken as it is");
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_lives_for_its_ttl_after_the_last_word_and_no_longer() {
    let store = memory();
    let (a, b) = (daemon_with(&store, "a", UNTIDY).await, daemon_with(&store, "b", UNTIDY).await);
    a.relay("r").await;
    sleep(HEARD).await;
    assert_eq!(b.relay_ids().await, ["r"], "on any daemon");
    for _ in 0..5 {
        sleep(TTL - SECOND * 2).await;
        b.beat_relay("r").await.unwrap();
    }
    sleep(TTL - SECOND).await;
    assert_eq!((a.relay_ids().await, b.relay_ids().await), (vec!["r".to_owned()], vec!["r".to_owned()]));
    sleep(SECOND).await;
    // Whoever reads first has the store asked.
    let _ = (a.relays().await, b.relays().await);
    sleep(MS * 51).await;
    assert!(a.relay_ids().await.is_empty() && b.relay_ids().await.is_empty(), "before anybody tidies");
    refused(a.beat_relay("r").await, Code::NotFound, "`r`");
    a.relay("r").await;
    assert_eq!(a.relay_ids().await, ["r"], "it may come again");
    a.beat_relay("r").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_of_an_unknown_relay_is_not_found() {
    let a = alone().await;
    refused(a.beat_relay("").await, Code::InvalidArgument, "relayId");
    refused(a.beat_relay("a b").await, Code::InvalidArgument, "relayId");
    refused(a.beat_relay("r").await, Code::NotFound, "`r`");
}

#[tokio::test(start_paused = true)]
async fn registering_again_is_a_heartbeat_and_a_commit_only_if_something_is_new() {
    let a = alone().await;
    a.relay("r").await;
    a.agent("x", "r").await;
    let before = a.commits().await;
    sleep(TTL - SECOND).await;
    a.relay("r").await;
    a.beat_agent("x", "").await.unwrap();
    assert_eq!(a.commits().await, before, "it was so already");
    sleep(SECOND * 2).await;
    assert_eq!(a.relay_ids().await, ["r"], "it was refreshed");
    assert_eq!(a.relays().await[0].version, 1, "a heartbeat is no change of its record");
    a.register_relay(Some(pb::Relay { grpc_port: 7, ..relay("r", "elsewhere") })).await.unwrap();
    assert_eq!(a.commits().await, before + 1, "it is elsewhere");
    let shown = a.relays().await.remove(0);
    assert_eq!((shown.address.as_str(), shown.grpc_port, shown.agents), ("elsewhere", 7, 1));
    assert_eq!((shown.version, shown.last_writer_id.as_str()), (2, "a"));
    assert_eq!(a.agents().await, ["x@r"], "what it holds it holds");
}

#[tokio::test(start_paused = true)]
async fn many_registrations_at_once_are_one_relay() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    let before = a.commits().await;
    // None sees what the others do before it is done.
    [&a, &b].iter().for_each(|it| it.path.fall_ill([Method::Open, Method::Commit], Ill::AnswersLate));
    let all = (0..20).map(|at| if at % 2 == 0 { &a } else { &b });
    for outcome in
        futures_util::future::join_all(all.map(|it| it.register_relay(Some(relay("r", "host"))))).await
    {
        outcome.unwrap();
    }
    sleep(HEARD).await;
    assert_eq!(a.commits().await, before + 1);
    assert_eq!((a.relay_ids().await, b.relay_ids().await), (vec!["r".to_owned()], vec!["r".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_told_by_the_clock_of_the_server_in_milliseconds() {
    let a = alone().await;
    a.relay("r").await;
    sleep(SECOND * 7).await;
    a.beat_relay("r").await.unwrap();
    let shown = a.relays().await.remove(0);
    assert_eq!(shown.last_heartbeat_unix_ms, a.now_ms());
    assert_eq!(shown.expires_in_ms, Some(30_000));
    sleep(SECOND * 3).await;
    let shown = a.relays().await.remove(0);
    assert_eq!((shown.last_heartbeat_unix_ms, shown.expires_in_ms), (a.now_ms() - 3000, Some(27_000)));
}

#[tokio::test(start_paused = true)]
async fn what_was_made_from_an_older_life_is_not_written_over_a_newer_one() {
    let a = daemon_with(&memory(), "a", UNTIDY).await;
    a.relay("r").await;
    let known = crate::relays::find(a.registry.view(), "r").unwrap();
    sleep(TTL + SECOND).await;
    a.relay("r").await;
    let before = a.commits().await;
    let elsewhere = claimed(&RelayValue { address: "elsewhere".to_owned(), ..(*known.value).clone() });
    let claim = TtlClaim {
        record: &known.record,
        ttl: TTL,
        until: Instant::now() + SECOND,
        value: &elsewhere,
        preconditions: &[],
    };
    let outcome = a.registry.claim(claim).await;
    assert!(outcome.is_err_and(|error| error.is_overtaken()), "it is to be decided anew");
    assert_eq!((a.relays().await[0].address.as_str(), a.commits().await), ("host", before));
}

fn claimed(value: &RelayValue) -> Bytes {
    Bytes::from(value.encode_to_vec())
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_looks_ended_and_is_not_is_not_begun_anew() {
    let store = memory();
    let (a, b) = (daemon(&store, "a").await, daemon(&store, "b").await);
    // Not when the heart beats.
    sleep(MS * 137).await;
    a.relay("r").await;
    sleep(HEARD).await;
    a.agent("x", "r").await;
    let before = a.commits().await;
    sleep(TTL - HEARD - MS * 20).await;
    // It is heard of at the other daemon, and no beat tells of that here before it looks ended.
    b.beat_relay("r").await.unwrap();
    b.beat_agent("x", "").await.unwrap();
    sleep(MS * 21).await;
    a.relay("r").await;
    assert_eq!(a.commits().await, before, "it is the same relay");
    sleep(HEARD).await;
    assert_eq!(a.agents().await, ["x@r"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_registered_than_may_be() {
    let a = daemon_with(&memory(), "a", Setup { max: 2, ..SETUP }).await;
    for id in ["r", "s"] {
        a.relay(id).await;
        a.agent(id, "r").await;
    }
    refused(a.register_relay(Some(relay("t", "host"))).await, Code::ResourceExhausted, "as many relays");
    refused(a.register_agent(Some("t"), "r").await, Code::ResourceExhausted, "as many agents");
    // What is there may be registered again, and come again.
    a.register_relay(Some(relay("r", "elsewhere"))).await.unwrap();
    a.agent("r", "s").await;
    a.beat_for(TTL + SECOND * 6, &["s"], &["r"]).await;
    a.relay("t").await;
    a.agent("t", "s").await;
}

#[tokio::test(start_paused = true)]
async fn another_time_to_live_reaches_what_lives() {
    let store = memory();
    let old = daemon(&store, "a").await;
    old.relay("r").await;
    old.agent("x", "r").await;
    sleep(HEARD).await;
    drop(old);
    let long = Setup { relay_ttl: TTL * 4, agent_ttl: TTL * 2, ..SETUP };
    let a = daemon_with(&store, "a", long).await;
    a.relay("r").await;
    a.agent("x", "r").await;
    let before = a.commits().await;
    a.relay("r").await;
    a.agent("x", "r").await;
    assert_eq!(a.commits().await, before, "it has it already");
    sleep(TTL + SECOND).await;
    assert_eq!(a.agents().await, ["x@r"]);
    a.beat_agent("x", "r").await.unwrap();
    sleep(TTL * 2 - SECOND * 2).await;
    assert_eq!((a.agents().await, a.relays().await[0].agents), (vec!["x@r".to_owned()], 1));
    sleep(TTL + SECOND * 2).await;
    assert!(a.relay_ids().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_registration_takes_five_seconds_and_no_longer() {
    let a = alone().await;
    a.path.fall_ill([Method::Commit], Ill::Hangs);
    let begun = Instant::now();
    let all = (0..10).map(|_| a.register_relay(Some(relay("r", "host"))));
    let mut codes: Vec<Code> =
        futures_util::future::join_all(all).await.into_iter().map(|it| it.unwrap_err().code()).collect();
    assert!(begun.elapsed() <= SECOND * 5 + MS * 10, "{:?}", begun.elapsed());
    codes.sort_by_key(|code| *code as i32);
    let expected: Vec<Code> = [Code::DeadlineExceeded].into_iter().chain([Code::Unavailable; 9]).collect();
    assert_eq!(codes, expected, "of one nobody knows, the others have changed nothing");
}

/// What somebody is told who may connect and no more, or why they are refused.
async fn as_service<T>(
    principal: &str,
    message: T,
    call: impl AsyncFnOnce(Request<T>) -> Result<(), Status>,
) -> Result<(), String> {
    let mut request = Request::new(message);
    let scopes = [Scope::MeshConnect, Scope::MeshRead].into_iter().collect();
    request.extensions_mut().insert(Caller { scopes, ..Caller::of_tests(principal) });
    call(request).await.map_err(|status| Fault::from(&status).reason.into_owned())
}

#[tokio::test(start_paused = true)]
async fn nobody_speaks_for_a_relay_that_another_has_registered() {
    let a = alone().await;
    let register = async |who: &str, address: &str| {
        let asked = pb::RegisterRelayRequest { relay: Some(relay("r", address)) };
        as_service(who, asked, async |request| a.aero.register_relay(request).await.map(drop)).await
    };
    let beat = async |who: &str| {
        let asked = pb::HeartbeatRelayRequest { relay_id: "r".to_owned(), ..Default::default() };
        as_service(who, asked, async |request| a.aero.heartbeat_relay(request).await.map(drop)).await
    };
    let place = async |who: &str| {
        let agent = Some(pb::Agent { agent_id: "drone".to_owned(), ..Default::default() });
        let asked = pb::RegisterAgentRequest { agent, relay_id: "r".to_owned() };
        as_service(who, asked, async |request| a.aero.register_agent(request).await.map(drop)).await
    };
    let beat_agent = async |who: &str, relay_id: &str| {
        let (agent_id, relay_id) = ("drone".to_owned(), relay_id.to_owned());
        let asked = pb::HeartbeatAgentRequest { agent_id, relay_id, ..Default::default() };
        as_service(who, asked, async |request| a.aero.heartbeat_agent(request).await.map(drop)).await
    };
    let (own, other, refused) = ("service:relay", "service:other", Err("RELAY_OF_ANOTHER".to_owned()));
    assert_eq!(register(own, "host").await, Ok(()));
    assert_eq!(register(other, "elsewhere").await, refused);
    assert_eq!(beat(other).await, refused);
    assert_eq!(place(other).await, refused);
    assert_eq!((beat(own).await, place(own).await), (Ok(()), Ok(())));
    for relay_id in ["r", ""] {
        assert_eq!(beat_agent(other, relay_id).await, refused);
        assert_eq!(beat_agent(own, relay_id).await, Ok(()));
    }
    // Whoever operates the mesh may, and is not who speaks for it afterwards.
    a.register_relay(Some(relay("r", "moved"))).await.unwrap();
    assert_eq!((register(own, "host").await, register(other, "elsewhere").await), (Ok(()), refused));
    sleep(TTL + SECOND).await;
    assert_eq!(register(other, "elsewhere").await, Ok(()), "it does not live any more");
}
