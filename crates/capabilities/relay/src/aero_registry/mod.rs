//! The registry of Aero Arc: relays and the agents that they hold, in one service.

#[cfg(test)]
mod registry_test;
pub mod watching;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use omnirelay_host::live::Live;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::at_cursor;
use omnirelay_nouns::feed::{NounEventStream, NounWatches};
use omnirelay_registry::Registry;
use omnirelay_registry::view::ViewRecord;
use omnirelay_wire::pb::aeroarc::registry::v1 as pb;
use tonic::{Request, Response, Status, Streaming};

use crate::agents::{self, Agents};
use crate::relays::{RelaySpeaker, Relays};
use pb::aero_registry_server::AeroRegistry as AeroRegistryCalls;
use watching::{RelaysAndAgents, WatchFilter};

/// Settings of the registry of relays and agents: how long they live, and how many there may be.
#[derive(Clone, Copy, Debug)]
pub struct AeroRegistrySettings {
    /// Without a heartbeat, 1 ms and more.
    pub relay_ttl: Duration,
    /// The same of an agent.
    pub agent_ttl: Duration,
    /// How many relays may be registered.
    pub relays_max: usize,
    /// The same of agents.
    pub agents_max: usize,
    /// As of the session: how long others get to be heard after a silence of the store.
    pub grace: Duration,
}

/// Serves `AeroRegistry`. Its clones are one, and may be served on several surfaces and called in the process.
#[derive(Clone)]
pub struct AeroRegistry {
    parts: Arc<AeroRegistryParts>,
}

/// Parts of the service that its clones share.
struct AeroRegistryParts {
    registry: Arc<Registry>,
    relays: Relays,
    agents: Agents,
    watches: NounWatches<pb::WatchEvent>,
    settings: Live<AeroRegistrySettings>,
}

impl AeroRegistry {
    /// At most `watches_max` watches are served at once. Heartbeats are answered while [`Self::run`] does.
    pub fn new(
        registry: Arc<Registry>,
        settings: impl Into<Live<AeroRegistrySettings>>,
        watches_max: impl Into<Live<usize>>,
    ) -> Self {
        let settings = settings.into();
        let parts = AeroRegistryParts {
            relays: Relays::new(registry.clone(), settings.clone()),
            agents: Agents::new(registry.clone(), settings.clone()),
            watches: NounWatches::new(registry.clone(), watches_max),
            settings,
            registry,
        };
        Self { parts: Arc::new(parts) }
    }

    /// Who speaks by a request.
    fn speaker<T>(&self, request: &Request<T>) -> RelaySpeaker {
        RelaySpeaker::of(request.extensions().get::<Caller>(), self.parts.registry.node_id())
    }

    /// Tells the store of heartbeats, and ends what ended relays held, for ever.
    pub async fn run(&self) {
        let grace = self.parts.settings.map(|settings| settings.grace);
        tokio::join!(self.parts.registry.send_refreshes(grace), self.parts.agents.drop_orphans());
    }
}

#[tonic::async_trait]
impl AeroRegistryCalls for AeroRegistry {
    type WatchStream = NounEventStream<pb::WatchEvent>;
    type HeartbeatAgentsStream = BoxStream<'static, Result<pb::HeartbeatAgentsResponse, Status>>;

    async fn register_relay(
        &self,
        request: Request<pb::RegisterRelayRequest>,
    ) -> Result<Response<pb::RegisterRelayResponse>, Status> {
        let speaker = self.speaker(&request);
        self.parts.relays.register(&speaker, request.into_inner().relay).await?;
        Ok(Response::new(pb::RegisterRelayResponse {}))
    }

    async fn heartbeat_relay(
        &self,
        request: Request<pb::HeartbeatRelayRequest>,
    ) -> Result<Response<pb::HeartbeatRelayResponse>, Status> {
        self.parts.relays.heartbeat(&self.speaker(&request), &request.get_ref().relay_id).await?;
        Ok(Response::new(pb::HeartbeatRelayResponse {}))
    }

    async fn list_relays(
        &self,
        request: Request<pb::ListRelaysRequest>,
    ) -> Result<Response<pb::ListRelaysResponse>, Status> {
        let listed = self.parts.relays.list(request.into_inner(), agents::held).await?;
        let cursor = listed.cursor.clone();
        Ok(at_cursor(listed, &cursor))
    }

    async fn register_agent(
        &self,
        request: Request<pb::RegisterAgentRequest>,
    ) -> Result<Response<pb::RegisterAgentResponse>, Status> {
        let speaker = self.speaker(&request);
        self.parts.agents.register(&speaker, request.into_inner()).await?;
        Ok(Response::new(pb::RegisterAgentResponse {}))
    }

    async fn heartbeat_agent(
        &self,
        request: Request<pb::HeartbeatAgentRequest>,
    ) -> Result<Response<pb::HeartbeatAgentResponse>, Status> {
        let speaker = self.speaker(&request);
        self.parts.agents.heartbeat(&speaker, request.into_inner()).await?;
        Ok(Response::new(pb::HeartbeatAgentResponse {}))
    }

    async fn heartbeat_agents(
        &self,
        request: Request<Streaming<pb::HeartbeatAgentsRequest>>,
    ) -> Result<Response<Self::HeartbeatAgentsStream>, Status> {
        let (parts, speaker) = (Arc::clone(&self.parts), self.speaker(&request));
        let answers = request.into_inner().then(move |asked| {
            let (parts, speaker) = (Arc::clone(&parts), speaker.clone());
            async move { Ok(parts.agents.heartbeat_all(&speaker, asked?).await?) }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn list_agents(
        &self,
        request: Request<pb::ListAgentsRequest>,
    ) -> Result<Response<pb::ListAgentsResponse>, Status> {
        let listed = self.parts.agents.list(request.into_inner()).await?;
        let cursor = listed.cursor.clone();
        Ok(at_cursor(listed, &cursor))
    }

    async fn get_agent_placement(
        &self,
        request: Request<pb::GetAgentPlacementRequest>,
    ) -> Result<Response<pb::GetAgentPlacementResponse>, Status> {
        let placement = self.parts.agents.placement(request.into_inner()).await?;
        let cursor = placement.cursor.clone();
        Ok(at_cursor(placement, &cursor))
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let asked = request.into_inner();
        let watched = WatchFilter::of(&asked)?;
        let kinds = watched.kinds.clone();
        let filter = move |record: &ViewRecord| watched.matches(record);
        let begun = self.parts.watches.begin(kinds, filter, &asked.since).await?;
        Ok(Response::new(begun.of(RelaysAndAgents::new(self.parts.registry.clone())).events()))
    }
}
