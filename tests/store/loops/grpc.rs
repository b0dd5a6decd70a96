//! The door of gRPC.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as mesh;
use omnirelay_wire::pb::omnirelay::registers::v1 as registers;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::api::{LABEL, value_of};
use super::{Door, Record, Seen, Told};
use mesh::leadership_control_service_client::LeadershipControlServiceClient;
use mesh::peer_control_service_client::PeerControlServiceClient;
use registers::register_service_client::RegisterServiceClient;

/// gRPC, with `expected_version`.
pub(super) struct Grpc {
    peers: PeerControlServiceClient<Channel>,
    leaders: LeadershipControlServiceClient<Channel>,
    registers: RegisterServiceClient<Channel>,
}

impl Grpc {
    pub(super) fn new(control: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{control}"))?;
        let channel =
            endpoint.connect_timeout(Duration::from_secs(2)).timeout(Duration::from_secs(20)).connect_lazy();
        Ok(Self {
            peers: PeerControlServiceClient::new(channel.clone()),
            leaders: LeadershipControlServiceClient::new(channel.clone()),
            registers: RegisterServiceClient::new(channel),
        })
    }

    async fn try_change(&self, record: &Record, expected: u64, value: u64) -> Result<Option<u64>, Status> {
        let labels = HashMap::from([(LABEL.to_owned(), format!("v{value}"))]).into_iter().collect();
        let expected_version = Some(expected);
        Ok(match record {
            Record::Peer(node) => {
                let node_id = node.clone();
                let request = mesh::UpdatePeerLabelsRequest {
                    node_id,
                    set: labels,
                    overwrite: true,
                    expected_version,
                    ..Default::default()
                };
                self.peers.clone().update_labels(request).await?.into_inner().peer.map(|peer| peer.version)
            }
            Record::Scope(scope) => {
                let nobody = mesh::NodeFilter { nodes: vec!["nobody".to_owned()], ..Default::default() };
                let policy = mesh::LeadershipPolicy { eligible: Some(nobody), ..Default::default() };
                let (scope, policy) = (scope.clone(), Some(policy));
                let request =
                    mesh::SetScopeRequest { scope, labels, policy, expected_version, ..Default::default() };
                let changed = self.leaders.clone().set_scope(request).await?.into_inner();
                changed.leadership.map(|scope| scope.version)
            }
            Record::Register(node, id) => {
                let (node_id, register_id) = (node.clone(), id.clone());
                let request = registers::UpdateRegisterRequest {
                    node_id,
                    register_id,
                    set_labels: labels,
                    expected_version,
                    ..Default::default()
                };
                let changed = self.registers.clone().update(request).await?.into_inner();
                changed.register.map(|register| register.version)
            }
            Record::Thing(_) => None,
        })
    }
}

#[async_trait]
impl Door for Grpc {
    async fn read(&self, record: &Record) -> Result<Seen> {
        let (version, labels) = match record {
            Record::Peer(node) => {
                let request = mesh::GetPeerRequest { node_id: node.clone(), ..Default::default() };
                let peer = self.peers.clone().get(request).await?.into_inner().peer.context("no peer")?;
                (peer.version, peer.metadata.unwrap_or_default().labels)
            }
            Record::Scope(scope) => {
                let request = mesh::GetLeaderRequest { scope: scope.clone(), ..Default::default() };
                let answer = self.leaders.clone().get(request).await?.into_inner();
                let scope = answer.leadership.context("no scope")?;
                (scope.version, scope.labels)
            }
            Record::Register(node, id) => {
                let (node_id, register_id) = (node.clone(), id.clone());
                let request = registers::GetRegisterRequest { node_id, register_id, ..Default::default() };
                let answer = self.registers.clone().get(request).await?.into_inner();
                let register = answer.register.context("no register")?;
                (register.version, register.labels)
            }
            Record::Thing(key) => anyhow::bail!("{key} is in no daemon"),
        };
        let value = labels.get(LABEL).and_then(|label| value_of(label)).unwrap_or_default();
        Ok(Seen { version, value })
    }

    async fn change(&self, record: &Record, expected: u64, value: u64) -> Told {
        let status = match self.try_change(record, expected, value).await {
            Ok(Some(version)) => return Told::Done { version },
            Ok(None) => return Told::Unknown("an answer without a version".to_owned()),
            Err(status) => status,
        };
        let fault = Fault::from(&status);
        let actual = fault.details.get("actualVersion").and_then(|actual| actual.parse().ok());
        match (fault.reason.as_ref(), actual) {
            ("VERSION_CONFLICT", Some(actual)) => Told::Refused { actual },
            ("STORE_UNAVAILABLE", _) => Told::Failed(status.to_string()),
            _ if status.to_string().contains("tcp connect error") => Told::Failed(status.to_string()),
            _ => Told::Unknown(status.to_string()),
        }
    }
}
