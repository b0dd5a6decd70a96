//! AeroRegistry.Watch.

use anyhow::{Context, Result, ensure};
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::pb::aeroarc::registry::v1::watch_event::{Object as What, Type};
use omnirelay_wire::pb::aeroarc::registry::v1::watch_request::Object as Asked;
use omnirelay_wire::pb::aeroarc::registry::v1::{WatchEvent, WatchRequest};
use tonic::{Code, Streaming};

use crate::on_both;
use crate::process::{PATIENCE, until};
use crate::registry::Registry;
use crate::world::{Backing, Plan, Relay};

on_both! {
    a_watch_tells_what_comes_moves_and_goes
    a_watch_goes_on_behind_its_cursor
    a_watch_tells_what_it_was_asked_for
}

pub(crate) struct Watching(Streaming<EncodedMessage<WatchEvent>>);

impl Watching {
    pub(crate) async fn begin(registry: &Registry, request: WatchRequest) -> Result<Self> {
        Ok(Self(registry.raw().watch(request).await?.into_inner()))
    }

    /// The next event that says something, as its type, its object in short, and its cursor.
    pub(crate) async fn next(&mut self) -> Result<(Type, String, String)> {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.0.message()).await.context("no event")??;
            let event = event.context("the watch ended")?.into_message();
            let what = match &event.object {
                Some(What::Relay(relay)) => relay.relay_id.clone(),
                Some(What::Placement(placement)) => {
                    format!("{}@{}", placement.agent_id, placement.relay_id)
                }
                None => String::new(),
            };
            if event.r#type() != Type::Progress {
                return Ok((event.r#type(), what, event.cursor));
            }
        }
    }

    /// Fails unless this comes next; returns its cursor.
    async fn expect(&mut self, kind: Type, what: &str) -> Result<String> {
        let (came, object, cursor) = self.next().await?;
        ensure!(came == kind && object == what, "{came:?} {object:?} instead of {kind:?} {what:?}");
        Ok(cursor)
    }
}

async fn start(backing: Backing) -> Result<(Relay, Registry)> {
    let relay = Plan::new("own").set(&["registry.relayTtl=2s", "registry.agentTtl=2s"]).start(backing)?;
    let registry = Registry::of(&relay).await?;
    until("it knows itself", async || Ok(registry.relay("own").await?.is_some())).await?;
    Ok((relay, registry))
}

async fn a_watch_tells_what_comes_moves_and_goes(backing: Backing) -> Result<()> {
    let (_relay, registry) = start(backing).await?;
    let mut watch = Watching::begin(&registry, WatchRequest::default()).await?;
    watch.expect(Type::Snapshot, "own").await?;
    watch.expect(Type::Synced, "").await?;
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    watch.expect(Type::Added, "r-1").await?;
    registry.register_agent("a-1", "r-1").await?;
    watch.expect(Type::Added, "a-1@r-1").await?;
    // No heartbeat is told of, nor what is registered again as it was.
    for _ in 0..5 {
        registry.heartbeat_relay("r-1").await?;
        registry.heartbeat_agent("a-1", "r-1").await?;
        registry.register_relay("r-1", "10.0.0.1", 1).await?;
        registry.register_agent("a-1", "r-1").await?;
    }
    registry.register_relay("r-1", "10.0.0.2", 1).await?;
    watch.expect(Type::Modified, "r-1").await?;
    registry.register_agent("a-1", "own").await?;
    watch.expect(Type::Modified, "a-1@own").await?;
    // Nobody is heard of any more.
    let mut gone = [watch.next().await?, watch.next().await?].map(|(kind, what, _)| (kind, what));
    gone.sort_by(|one, other| one.1.cmp(&other.1));
    let expected = ["a-1@own", "r-1"].map(|what| (Type::Removed, what.to_owned()));
    ensure!(gone == expected, "{gone:?}");
    Ok(())
}

async fn a_watch_goes_on_behind_its_cursor(backing: Backing) -> Result<()> {
    let (_relay, registry) = start(backing).await?;
    let relays = || WatchRequest { object: vec![Asked::Relays.into()], ..WatchRequest::default() };
    let mut watch = Watching::begin(&registry, relays()).await?;
    watch.expect(Type::Snapshot, "own").await?;
    let since = watch.expect(Type::Synced, "").await?;
    drop(watch);
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    registry.register_relay("r-2", "10.0.0.1", 1).await?;
    let mut watch = Watching::begin(&registry, WatchRequest { since, ..relays() }).await?;
    let (mut seen, mut since) = (Vec::new(), String::new());
    while seen.len() < 2 {
        let (kind, what, cursor) = watch.next().await?;
        if kind == Type::Added {
            seen.push(what);
            since = cursor;
        }
        ensure!(kind != Type::Snapshot && kind != Type::Reset, "it began anew");
    }
    ensure!(seen == ["r-1", "r-2"], "{seen:?}");
    // A cursor of another store is told, one that is none is refused.
    let (epoch, revision) = since.split_once(':').context("no cursor")?;
    let other = if epoch == "1" { "2" } else { "1" };
    let asked = WatchRequest { since: format!("{other}:{revision}"), ..relays() };
    Watching::begin(&registry, asked).await?.expect(Type::Reset, "").await?;
    let asked = WatchRequest { since: format!("nonsense:{since}"), ..relays() };
    let refused = registry.raw().watch(asked).await.err().context("it was taken")?;
    ensure!(refused.code() == Code::InvalidArgument, "{refused:?}");
    Ok(())
}

async fn a_watch_tells_what_it_was_asked_for(backing: Backing) -> Result<()> {
    let (_relay, registry) = start(backing).await?;
    registry.register_relay("r-1", "10.0.0.1", 1).await?;
    let of_relay = WatchRequest { relay_id: "r-1".to_owned(), ..WatchRequest::default() };
    let of_agent = WatchRequest { agent_id: "a-1".to_owned(), ..WatchRequest::default() };
    let only_agents = WatchRequest { object: vec![Asked::Agents.into()], ..WatchRequest::default() };
    let mut of_relay = Watching::begin(&registry, of_relay).await?;
    of_relay.expect(Type::Snapshot, "r-1").await?;
    of_relay.expect(Type::Synced, "").await?;
    let mut of_agent = Watching::begin(&registry, of_agent).await?;
    of_agent.expect(Type::Synced, "").await?;
    let mut only_agents = Watching::begin(&registry, only_agents).await?;
    only_agents.expect(Type::Synced, "").await?;
    registry.register_agent("a-0", "own").await?;
    registry.register_agent("a-1", "r-1").await?;
    registry.register_agent("a-1", "own").await?;
    of_relay.expect(Type::Added, "a-1@r-1").await?;
    // It has left what is watched; this is what it was.
    let (kind, what, _) = of_relay.next().await?;
    ensure!(kind == Type::Removed && what.starts_with("a-1@"), "{kind:?} {what}");
    of_agent.expect(Type::Added, "a-1@r-1").await?;
    of_agent.expect(Type::Modified, "a-1@own").await?;
    only_agents.expect(Type::Added, "a-0@own").await?;
    only_agents.expect(Type::Added, "a-1@r-1").await?;
    only_agents.expect(Type::Modified, "a-1@own").await?;
    Ok(())
}
