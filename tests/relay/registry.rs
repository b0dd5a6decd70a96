//! The seven methods of AeroRegistry: what they take, what they answer, what they refuse.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use omnirelay_registry::cursor::Cursor;
use omnirelay_wire::pb::aeroarc::registry::v1::aero_registry_client::AeroRegistryClient;
use omnirelay_wire::pb::aeroarc::registry::v1::{
    Agent as Listed, AgentPlacement, GetAgentPlacementRequest, HeartbeatAgentRequest, HeartbeatRelayRequest,
    ListAgentsRequest, ListRelaysRequest, RegisterAgentRequest, RegisterRelayRequest, Relay as Known,
};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::agent::refused;
use crate::on_both;
use crate::process::{PATIENCE, pause, until};
use crate::world::{Backing, Plan, Relay};

on_both! {
    register_relay_is_an_idempotent_upsert
    register_relay_refuses_what_is_none
    heartbeat_relay_moves_its_time_by_the_registrys_clock
    heartbeat_relay_of_the_unknown_is_not_found
    list_relays_is_sorted_and_paged
    register_agent_moves_the_placement
    register_agent_refuses_what_is_none
    heartbeat_agent_moves_its_times_by_the_registrys_clock
    heartbeat_agent_of_the_unknown_is_not_found
    heartbeat_agent_of_a_former_owner_is_refused
    list_agents_is_sorted_filtered_and_paged
    get_agent_placement_says_who_holds_it
    get_agent_placement_refuses_what_is_none
    heartbeats_leave_no_trail
    relays_tell_the_registry_of_themselves_and_their_agents
}

/// A client of a registry that says what a test wants.
#[derive(Clone)]
pub(crate) struct Registry(AeroRegistryClient<Channel>);

/// What a call is answered once it need not be made again, or for the last time.
async fn repeated<T, E>(
    call: impl AsyncFn() -> Result<T, E>,
    again: impl Fn(&Result<T, E>) -> bool,
) -> Result<T, E> {
    let begun = Instant::now();
    loop {
        let answer = call().await;
        if !again(&answer) || begun.elapsed() >= PATIENCE {
            return answer;
        }
        tokio::time::sleep(pause(begun)).await;
    }
}

/// What a registration is answered when the store answers: on a busy machine it does not for a moment, or not in time.
/// Whether it was made is unknown then; a second one changes nothing, and callers try again.
async fn in_the_end<T>(call: impl AsyncFn() -> Result<T, Status>) -> Result<T, Status> {
    let unanswered = |status: &Status| matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded);
    repeated(call, |answer| answer.as_ref().is_err_and(unanswered)).await
}

/// What is read when the daemon hears of its store: on a busy machine its heart is late now and then, and it says that
/// what it shows is old.
async fn fresh<T>(read: impl AsyncFn() -> Result<T>, is_stale: impl Fn(&T) -> bool) -> Result<T> {
    repeated(read, |answer| answer.as_ref().is_ok_and(&is_stale)).await
}

impl Registry {
    pub(crate) async fn of(relay: &Relay) -> Result<Self> {
        Ok(Self(relay.registry().await?))
    }

    pub(crate) fn raw(&self) -> AeroRegistryClient<Channel> {
        self.0.clone()
    }

    pub(crate) async fn register_relay(&self, id: &str, address: &str, port: i32) -> Result<(), Status> {
        let relay = Known {
            relay_id: id.to_owned(),
            address: address.to_owned(),
            grpc_port: port,
            ..Known::default()
        };
        let request = RegisterRelayRequest { relay: Some(relay) };
        in_the_end(async || self.raw().register_relay(request.clone()).await).await.map(|_| ())
    }

    pub(crate) async fn heartbeat_relay(&self, id: &str) -> Result<(), Status> {
        // What the caller's clock says is not heard.
        let request = HeartbeatRelayRequest { relay_id: id.to_owned(), timestamp_unix_ms: 1 };
        self.raw().heartbeat_relay(request).await.map(|_| ())
    }

    pub(crate) async fn relays(&self) -> Result<Vec<Known>, Status> {
        Ok(self.raw().list_relays(ListRelaysRequest::default()).await?.into_inner().relays)
    }

    pub(crate) async fn relay(&self, id: &str) -> Result<Option<Known>, Status> {
        Ok(self.relays().await?.into_iter().find(|relay| relay.relay_id == id))
    }

    pub(crate) async fn register_agent(&self, id: &str, relay: &str) -> Result<(), Status> {
        let agent = Some(Listed { agent_id: id.to_owned(), ..Listed::default() });
        let request = RegisterAgentRequest { agent, relay_id: relay.to_owned() };
        in_the_end(async || self.raw().register_agent(request.clone()).await).await.map(|_| ())
    }

    pub(crate) async fn heartbeat_agent(&self, id: &str, relay: &str) -> Result<(), Status> {
        let (agent_id, relay_id) = (id.to_owned(), relay.to_owned());
        let request = HeartbeatAgentRequest { agent_id, timestamp_unix_ms: 1, relay_id };
        self.raw().heartbeat_agent(request).await.map(|_| ())
    }

    pub(crate) async fn agents(&self) -> Result<Vec<Listed>, Status> {
        Ok(self.raw().list_agents(ListAgentsRequest::default()).await?.into_inner().agents)
    }

    pub(crate) async fn placement(&self, id: &str) -> Result<AgentPlacement, Status> {
        let request = GetAgentPlacementRequest { agent_id: id.to_owned(), ..Default::default() };
        let answer = self.raw().get_agent_placement(request).await?.into_inner();
        answer.placement.ok_or_else(|| Status::unknown("no placement"))
    }

    /// Which relay holds an agent, if one does.
    pub(crate) async fn holder(&self, id: &str) -> Result<Option<String>, Status> {
        match self.placement(id).await {
            Ok(placement) => Ok(Some(placement.relay_id)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }
}

/// A registry in which nothing ends within a test.
async fn lasting(backing: Backing) -> Result<(Relay, Registry)> {
    let settings = ["registry.relayTtl=60s", "registry.agentTtl=60s"];
    let relay = Plan::new("own").set(&settings).start(backing)?;
    let registry = Registry::of(&relay).await?;
    // It registers itself.
    until("it knows itself", async || Ok(registry.relay("own").await?.is_some())).await?;
    Ok((relay, registry))
}

fn now_ms() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

async fn register_relay_is_an_idempotent_upsert(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    let before = now_ms()?;
    registry.register_relay("r-1", "10.0.0.1", 50051).await?;
    let read = async || registry.relay("r-1").await?.context("it is not listed");
    let first = fresh(read, |relay| relay.expires_in_ms.is_none()).await?;
    ensure!((first.address.as_str(), first.grpc_port) == ("10.0.0.1", 50051), "{first:?}");
    ensure!((before - 1000..=now_ms()? + 1000).contains(&first.last_heartbeat_unix_ms), "{first:?}");
    ensure!(first.expires_in_ms.is_some_and(|left| left > 50_000 && left <= 60_000), "{first:?}");
    registry.register_agent("a-1", "r-1").await?;
    // The same again changes nothing but the time, and another place is a new one; what it holds stays.
    for (address, port) in [("10.0.0.1", 50051), ("relay.example", 1234), ("fd00::1", 0)] {
        registry.register_relay("r-1", address, port).await?;
        let again = registry.relay("r-1").await?.context("it is not listed")?;
        ensure!((again.address.as_str(), again.grpc_port) == (address, port), "{again:?}");
        ensure!(
            again.last_heartbeat_unix_ms >= first.last_heartbeat_unix_ms && again.agents == 1,
            "{again:?}"
        );
    }
    ensure!(registry.holder("a-1").await? == Some("r-1".to_owned()));
    Ok(())
}

async fn register_relay_refuses_what_is_none(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    let none = registry.raw().register_relay(RegisterRelayRequest { relay: None }).await;
    refused(none, Code::InvalidArgument, "relay")?;
    let long = "a".repeat(129);
    for id in ["", "_r", "a b", long.as_str()] {
        refused(registry.register_relay(id, "10.0.0.1", 1).await, Code::InvalidArgument, "relay_id")
            .with_context(|| format!("{id:?}"))?;
    }
    let long = "a".repeat(254);
    for address in ["", long.as_str()] {
        refused(registry.register_relay("r-1", address, 1).await, Code::InvalidArgument, "address")?;
    }
    ensure!(registry.relay("r-1").await?.is_none());
    Ok(())
}

async fn heartbeat_relay_moves_its_time_by_the_registrys_clock(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    let first = registry.relay("r-1").await?.context("it is not listed")?;
    until("its time moves", async || {
        registry.heartbeat_relay("r-1").await?;
        let now = registry.relay("r-1").await?.context("it is not listed")?;
        ensure!((now_ms()? - now.last_heartbeat_unix_ms).abs() < 10_000, "{now:?}");
        Ok(now.last_heartbeat_unix_ms > first.last_heartbeat_unix_ms)
    })
    .await
}

async fn heartbeat_relay_of_the_unknown_is_not_found(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    refused(registry.heartbeat_relay("").await, Code::InvalidArgument, "relay_id")?;
    refused(registry.heartbeat_relay("nobody").await, Code::NotFound, "nobody")?;
    // An agent of that name is no relay.
    registry.register_agent("a-1", "own").await?;
    refused(registry.heartbeat_relay("a-1").await, Code::NotFound, "a-1")
}

async fn list_relays_is_sorted_and_paged(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    for id in ["m", "Z", "a:1", "0", "z", "a.1"] {
        registry.register_relay(id, "10.0.0.1", 1).await?;
    }
    let all = ["0", "Z", "a.1", "a:1", "m", "own", "z"];
    let listed = registry.relays().await?;
    ensure!(listed.iter().map(|relay| relay.relay_id.as_str()).eq(all), "{listed:?}");
    let (mut paged, mut token) = (Vec::new(), String::new());
    for page in 0.. {
        let request = ListRelaysRequest { page_size: 3, page_token: token, ..Default::default() };
        let read = async || Ok(registry.raw().list_relays(request.clone()).await?.into_inner());
        let answer = fresh(read, |answer| answer.stale).await?;
        ensure!(answer.relays.len() <= 3 && !answer.cursor.is_empty() && !answer.stale, "{answer:?}");
        paged.extend(answer.relays.into_iter().map(|relay| relay.relay_id));
        token = answer.next_page_token;
        if token.is_empty() {
            ensure!(page == 2);
            break;
        }
    }
    ensure!(paged == all, "{paged:?}");
    let request = ListRelaysRequest { page_size: 1001, ..Default::default() };
    refused(registry.raw().list_relays(request).await, Code::InvalidArgument, "page_size")?;
    let request = ListRelaysRequest { page_token: "nonsense".to_owned(), ..Default::default() };
    refused(registry.raw().list_relays(request).await, Code::InvalidArgument, "page_token")
}

async fn register_agent_moves_the_placement(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    for id in ["r-1", "r-2"] {
        registry.register_relay(id, "10.0.0.1", 1).await?;
    }
    registry.register_agent("a-1", "r-1").await?;
    let first = registry.placement("a-1").await?;
    ensure!(first.relay_id == "r-1" && first.previous_relay_id.is_empty(), "{first:?}");
    registry.register_agent("a-1", "r-1").await?;
    let again = registry.placement("a-1").await?;
    ensure!(again.relay_id == "r-1" && again.placed_at_unix_ms == first.placed_at_unix_ms, "{again:?}");
    registry.register_agent("a-1", "r-2").await?;
    let moved = registry.placement("a-1").await?;
    ensure!(moved.relay_id == "r-2" && moved.previous_relay_id == "r-1", "{moved:?}");
    ensure!(moved.placed_at_unix_ms >= first.placed_at_unix_ms, "{moved:?}");
    let agents = registry.agents().await?;
    ensure!(agents.len() == 1 && agents[0].relay_id == "r-2", "{agents:?}");
    let held =
        |relays: Vec<Known>| relays.iter().map(|it| (it.relay_id.clone(), it.agents)).collect::<Vec<_>>();
    let held = held(registry.relays().await?);
    ensure!(held.contains(&("r-1".to_owned(), 0)) && held.contains(&("r-2".to_owned(), 1)), "{held:?}");
    Ok(())
}

async fn register_agent_refuses_what_is_none(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    // In this order: the relay's name, the agent, its name, and only then whether there is such a relay.
    let raw = |agent: Option<Listed>, relay: &str| {
        let request = RegisterAgentRequest { agent, relay_id: relay.to_owned() };
        let mut client = registry.raw();
        async move { client.register_agent(request).await }
    };
    refused(raw(None, "").await, Code::InvalidArgument, "relay_id")?;
    refused(raw(None, "own").await, Code::InvalidArgument, "agent")?;
    refused(raw(Some(Listed::default()), "nobody").await, Code::InvalidArgument, "agent_id")?;
    refused(registry.register_agent("_a", "own").await, Code::InvalidArgument, "agent_id")?;
    refused(registry.register_agent("a-1", "nobody").await, Code::NotFound, "nobody")?;
    ensure!(registry.agents().await?.is_empty());
    Ok(())
}

async fn heartbeat_agent_moves_its_times_by_the_registrys_clock(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    registry.register_agent("a-1", "own").await?;
    let first = registry.placement("a-1").await?;
    for relay in ["", "own"] {
        until("its times move", async || {
            registry.heartbeat_agent("a-1", relay).await?;
            let placement = registry.placement("a-1").await?;
            let agents = registry.agents().await?;
            ensure!((now_ms()? - placement.last_updated_unix_ms).abs() < 10_000, "{placement:?}");
            ensure!(placement.placed_at_unix_ms == first.placed_at_unix_ms, "{placement:?}");
            Ok(placement.last_updated_unix_ms > first.last_updated_unix_ms
                && agents[0].last_heartbeat_unix_ms > first.last_updated_unix_ms)
        })
        .await?;
    }
    Ok(())
}

async fn heartbeat_agent_of_the_unknown_is_not_found(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    refused(registry.heartbeat_agent("", "").await, Code::InvalidArgument, "agent_id")?;
    refused(registry.heartbeat_agent("nobody", "").await, Code::NotFound, "nobody")?;
    refused(registry.heartbeat_agent("nobody", "own").await, Code::NotFound, "nobody")?;
    // A relay of that name is no agent.
    refused(registry.heartbeat_agent("own", "").await, Code::NotFound, "own")
}

async fn heartbeat_agent_of_a_former_owner_is_refused(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    for id in ["r-1", "r-2"] {
        registry.register_relay(id, "10.0.0.1", 1).await?;
        registry.register_agent("a-1", id).await?;
    }
    refused(registry.heartbeat_agent("a-1", "r-1").await, Code::FailedPrecondition, "r-1")?;
    for relay in ["", "r-2"] {
        registry.heartbeat_agent("a-1", relay).await?;
    }
    ensure!(registry.holder("a-1").await? == Some("r-2".to_owned()));
    Ok(())
}

async fn list_agents_is_sorted_filtered_and_paged(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    for id in ["r-1", "r-2"] {
        registry.register_relay(id, "10.0.0.1", 1).await?;
    }
    for (place, id) in ["m", "Z", "a:1", "0", "z", "a.1"].into_iter().enumerate() {
        registry.register_agent(id, ["r-1", "r-2"][place % 2]).await?;
    }
    let all = ["0", "Z", "a.1", "a:1", "m", "z"];
    let listed = registry.agents().await?;
    ensure!(listed.iter().map(|agent| agent.agent_id.as_str()).eq(all), "{listed:?}");
    let request = ListAgentsRequest { relay_id: "r-2".to_owned(), ..Default::default() };
    let filtered = registry.raw().list_agents(request).await?.into_inner().agents;
    ensure!(filtered.iter().map(|agent| agent.agent_id.as_str()).eq(["0", "Z", "a.1"]), "{filtered:?}");
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListAgentsRequest { page_size: 4, page_token: token, ..Default::default() };
        let read = async || Ok(registry.raw().list_agents(request.clone()).await?.into_inner());
        let answer = fresh(read, |answer| answer.stale).await?;
        ensure!(answer.agents.len() <= 4 && !answer.stale, "{answer:?}");
        paged.extend(answer.agents.into_iter().map(|agent| agent.agent_id));
        token = answer.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    ensure!(paged == all, "{paged:?}");
    let request = ListAgentsRequest { page_size: 1001, ..Default::default() };
    refused(registry.raw().list_agents(request).await, Code::InvalidArgument, "page_size")
}

async fn get_agent_placement_says_who_holds_it(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    registry.register_agent("a-1", "r-1").await?;
    let read = async || Ok(registry.placement("a-1").await?);
    let placement = fresh(read, |placement| placement.expires_in_ms.is_none()).await?;
    ensure!(placement.agent_id == "a-1" && placement.relay_id == "r-1", "{placement:?}");
    ensure!((now_ms()? - placement.last_updated_unix_ms).abs() < 10_000, "{placement:?}");
    ensure!(placement.expires_in_ms.is_some_and(|left| left > 50_000 && left <= 60_000), "{placement:?}");
    // Reading with the cursor of an answer sees at least as much.
    let request = GetAgentPlacementRequest { agent_id: "a-1".to_owned(), ..Default::default() };
    let cursor = registry.raw().get_agent_placement(request).await?.into_inner().cursor;
    let request = GetAgentPlacementRequest { agent_id: "a-1".to_owned(), min_revision: cursor };
    let read = async || Ok(registry.raw().get_agent_placement(request.clone()).await?.into_inner());
    ensure!(!fresh(read, |answer| answer.stale).await?.stale);
    Ok(())
}

async fn get_agent_placement_refuses_what_is_none(backing: Backing) -> Result<()> {
    let (_relay, registry) = lasting(backing).await?;
    refused(registry.placement("").await, Code::InvalidArgument, "agent_id")?;
    refused(registry.placement("nobody").await, Code::NotFound, "nobody")?;
    refused(registry.placement("own").await, Code::NotFound, "own")
}

async fn heartbeats_leave_no_trail(backing: Backing) -> Result<()> {
    let (relay, registry) = lasting(backing).await?;
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    registry.register_agent("a-1", "r-1").await?;
    let revision = async || {
        let answer = registry.raw().list_relays(ListRelaysRequest::default()).await?;
        Ok::<_, anyhow::Error>(answer.into_inner().cursor.parse::<Cursor>()?.revision.0)
    };
    let api = crate::process::api::Api::new(&relay.daemon()?.control)?;
    // What the trail says of leaders, and of all else: on a busy machine one may be elected anew meanwhile.
    let audited = async || {
        let of_leaders =
            |told: &serde_json::Value| told["action"].as_str().is_some_and(|it| it.starts_with("leaders."));
        let (elections, others): (Vec<_>, Vec<_>) = api.audit().await?.into_iter().partition(of_leaders);
        anyhow::Ok((elections.len(), others.len()))
    };
    let ((elections, others), before) = (audited().await?, revision().await?);
    for _ in 0..50 {
        registry.heartbeat_relay("r-1").await?;
        registry.heartbeat_agent("a-1", "").await?;
    }
    let (after, (elected, audited)) = (revision().await?, audited().await?);
    // The daemon seals its audit trail meanwhile. Who is elected anew has said before that it is back.
    let (moved, elected) = (after - before, (elected - elections) as u64);
    ensure!(moved <= 3 + 2 * elected, "of 100 heartbeats {moved} are in the log, {elected} elections");
    ensure!(audited == others, "heartbeats are audited");
    Ok(())
}

async fn relays_tell_the_registry_of_themselves_and_their_agents(backing: Backing) -> Result<()> {
    use crate::agent::{Agent, Shape};
    let (relay, registry) = lasting(backing).await?;
    // Another daemon, with a store of its own, tells the registry of this one.
    let address = format!("relay.registry.address={}", relay.url());
    let far =
        Plan::new("far").set(&["relay.advertise=far.example:7000", &address]).start(Backing::Embedded)?;
    until("it is known", async || Ok(registry.relay("far").await?.is_some())).await?;
    let known = registry.relay("far").await?.context("it is gone")?;
    ensure!((known.address.as_str(), known.grpc_port) == ("far.example", 7000), "{known:?}");
    let known = registry.relay("own").await?.context("it is gone")?;
    ensure!((known.address.as_str(), known.grpc_port) == ("127.0.0.1", i32::from(relay.port)), "{known:?}");
    for (relay, id) in [(&relay, "own"), (&far, "far")] {
        // Who only registers with a relay is not held by it.
        let agent = Agent::registered(relay, "drone-1").await?;
        let mut stream = agent.stream(Shape::Legacy);
        stream.delivers(1..=1).await?;
        until("it is placed", async || Ok(registry.holder("drone-1").await?.as_deref() == Some(id))).await?;
        stream.close().await?;
    }
    Ok(())
}
