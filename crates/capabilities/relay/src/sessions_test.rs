use async_trait::async_trait;
use omnirelay_wire::pb::aeroarc::registry::v1::Relay;
use tonic::Status;

use super::*;
use crate::report::{RegistryClient, ReportSettings, ToldRegistry};

fn sessions(sessions_max: usize) -> AgentSessions {
    sessions_told_of(sessions_max, Arc::default())
}

fn sessions_told_of(sessions_max: usize, reports: Arc<Reports>) -> AgentSessions {
    let settings =
        SessionSettings { relay_id: "relay-1".to_owned(), ttl: Duration::from_secs(45), sessions_max };
    AgentSessions::new(settings, Arc::default(), reports)
}

/// A registry that hears everything.
struct Hears;

#[async_trait]
impl RegistryClient for Hears {
    async fn register_relay(&self, _: &Relay) -> Result<(), Status> {
        Ok(())
    }

    async fn heartbeat_relay(&self, _: &str) -> Result<(), Status> {
        Ok(())
    }

    async fn register_agent(&self, _: &str, _: &str) -> Result<(), Status> {
        Ok(())
    }

    async fn heartbeat_agent(&self, _: &str, _: &str) -> Result<(), Status> {
        Ok(())
    }
}

/// Sessions and what the registry is told of them.
fn reported() -> (AgentSessions, Arc<Reports>) {
    let settings = ReportSettings {
        relay: Relay::default(),
        heartbeat_interval: Duration::from_secs(10),
        request_timeout: Duration::from_secs(5),
        agents_max: 10,
    };
    let told = ToldRegistry { address: None, client: Arc::new(Hears) };
    let reports = Arc::new(Reports::new(settings, told));
    (sessions_told_of(10, reports.clone()), reports)
}

fn register(sessions: &AgentSessions, agent_id: &str) -> Arc<AgentSession> {
    let asked = agent_pb::RegisterRequest { agent_id: agent_id.to_owned(), ..Default::default() };
    sessions.register(asked).unwrap()
}

fn open(sessions: &AgentSessions, agent_id: &str) -> (Arc<AgentStream>, StreamOrders) {
    sessions.open(agent_id).unwrap_or_else(|fault| panic!("{fault:?}"))
}

#[tokio::test(start_paused = true)]
async fn each_registration_is_a_session_that_nobody_can_guess() {
    let sessions = sessions(10);
    let ids: std::collections::BTreeSet<String> =
        (0..100).map(|_| register(&sessions, "a").id.clone()).collect();
    assert_eq!(ids.len(), 100);
    assert!(ids.iter().all(|id| id.len() == "sess-".len() + 32), "{ids:?}");
    assert_eq!(sessions.list("", usize::MAX).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_stream_ends_with_its_time() {
    let sessions = sessions(10);
    register(&sessions, "a");
    tokio::time::advance(Duration::from_secs(44)).await;
    assert!(sessions.status("a").is_some_and(|drone| !drone.streaming));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!((sessions.status("a"), sessions.list("", usize::MAX).len()), (None, 0));
    assert_eq!(
        sessions.open("a").err().map(|fault| fault.reason.to_string()).as_deref(),
        Some("NOT_REGISTERED")
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_with_a_stream_does_not_end() {
    let sessions = sessions(10);
    register(&sessions, "a");
    let (stream, _orders) = open(&sessions, "a");
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(sessions.status("a").is_some_and(|drone| drone.streaming));
    sessions.close(&stream, StreamEnding::Broken);
    tokio::time::advance(Duration::from_secs(44)).await;
    assert!(sessions.status("a").is_some_and(|drone| !drone.streaming), "it may come back");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(sessions.status("a"), None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_closed_ends_its_session() {
    let sessions = sessions(10);
    register(&sessions, "a");
    let (stream, _orders) = open(&sessions, "a");
    sessions.close(&stream, StreamEnding::Clean);
    assert_eq!((sessions.status("a"), sessions.counts()), (None, (0, 0)));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_old_stream_touches_nothing_of_a_new_one() {
    for ending in [StreamEnding::Clean, StreamEnding::Broken] {
        let sessions = sessions(10);
        let first = register(&sessions, "a");
        let (old, _old_orders) = open(&sessions, "a");
        let second = register(&sessions, "a");
        assert!(first.is_replaced() && !second.is_replaced());
        let (_new, _orders) = open(&sessions, "a");
        // Of the same session as the newest one.
        let (again, _more_orders) = open(&sessions, "a");
        sessions.close(&old, ending);
        sessions.close(&again, ending);
        tokio::time::advance(Duration::from_secs(100)).await;
        let drone = sessions.status("a").unwrap();
        assert_eq!((drone.session_id.as_str(), drone.streaming), (second.id.as_str(), true), "{ending:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_oldest_of_too_many_streams_is_ended() {
    let sessions = sessions(10);
    register(&sessions, "a");
    let mut streams: Vec<_> = (0..=STREAMS_PER_AGENT_MAX).map(|_| open(&sessions, "a")).collect();
    let ended: Vec<bool> = streams.iter_mut().map(|(_, orders)| orders.ended.try_recv().is_ok()).collect();
    assert_eq!(ended.iter().position(|ended| *ended), Some(0));
    assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_bounded_and_make_room_when_they_end() {
    let sessions = sessions(2);
    register(&sessions, "a");
    register(&sessions, "b");
    let asked = agent_pb::RegisterRequest { agent_id: "c".to_owned(), ..Default::default() };
    assert_eq!(sessions.register(asked.clone()).unwrap_err().reason, "TOO_MANY_SESSIONS");
    register(&sessions, "b");
    tokio::time::advance(Duration::from_secs(45)).await;
    assert!(sessions.register(asked).is_ok());
    assert_eq!(sessions.counts().0, 1);
}

#[tokio::test(start_paused = true)]
async fn drones_are_listed_in_their_order_with_what_they_do() {
    let sessions = sessions(10);
    ["b", "c", "a"].iter().for_each(|id| drop(register(&sessions, id)));
    let (stream, _orders) = open(&sessions, "b");
    stream.shape.set(StreamShape::Legacy).unwrap();
    stream.session.note_held(3);
    stream.session.note_let_go(2);
    stream.session.note_acked(2, 9);
    stream.session.note_flight("f1", "i1", 4);
    let listed = sessions.list("", usize::MAX);
    let ids: Vec<&str> = listed.iter().map(|drone| drone.drone_id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    let drone = &listed[1];
    assert_eq!((drone.acked_seq, drone.acked_frames, drone.inflight_frames), (9, 2, 1));
    assert_eq!((drone.flight_id.as_str(), drone.intent_version, drone.wire.as_str()), ("f1", 4, "legacy"));
    assert_eq!(drone.relay_id, "relay-1");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_has_no_stream_left_is_reported_no_more() {
    for ending in [StreamEnding::Clean, StreamEnding::Broken] {
        let (sessions, reports) = reported();
        register(&sessions, "a");
        let (first, _first_orders) = open(&sessions, "a");
        assert_eq!(reports.health().agents, 1);
        register(&sessions, "a");
        // Of the new session there is no stream yet, and there will be none.
        assert_eq!(reports.health().agents, 1, "a former stream is still open");
        sessions.close(&first, ending);
        assert_eq!(reports.health().agents, 0, "{ending:?}");
        assert!(sessions.status("a").is_some(), "its session is not that of the stream");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_reported_while_its_session_has_a_stream() {
    let (sessions, reports) = reported();
    register(&sessions, "a");
    let (former, _former_orders) = open(&sessions, "a");
    register(&sessions, "a");
    let (first, _first_orders) = open(&sessions, "a");
    let (second, _second_orders) = open(&sessions, "a");
    sessions.close(&former, StreamEnding::Broken);
    sessions.close(&first, StreamEnding::Broken);
    assert_eq!(reports.health().agents, 1);
    sessions.close(&second, StreamEnding::Broken);
    assert_eq!(reports.health().agents, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_removed_is_reported_no_more() {
    let (sessions, reports) = reported();
    register(&sessions, "a");
    // Whoever held it.
    reports.hold("a");
    tokio::time::advance(Duration::from_secs(45)).await;
    sessions.remove_ended(&mut sessions.agents.lock());
    assert_eq!((sessions.counts(), reports.health().agents), ((0, 0), 0));
}
