//! The keeper of trust in other clusters: nodes that can issue ask them how they vouch, and every node judges by what was heard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use omnirelay_certificate_records::cluster_trust::{CLUSTER_TRUST, trust_id};
use omnirelay_certificate_records::{authority_id, current_authority};
use omnirelay_cluster_records as cluster_records;
use omnirelay_cluster_records::{OtherCluster, cluster_id, other_clusters};
use omnirelay_core::text::chain;
use omnirelay_host::chance::random_part;
use omnirelay_identity::trust::MeshTrust;
use omnirelay_node::transport::{NeighbourPeer, NodeTransport};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{OwnChange, put};
use omnirelay_registry::view::View;
use omnirelay_store::{CommitError, Write};
use omnirelay_wire::fault::unanswered;
use omnirelay_wire::pb::omnirelay::store::v1::ClusterTrustValue;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::cluster_trust::{LIST_BYTES_MAX, all_judged, digest_of, judged, of_answer, roots_of};
use super::pb;
use super::signer::Signer;
use pb::cluster_trust_service_client::ClusterTrustServiceClient;

/// How often another cluster is asked, a tenth earlier at most.
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// How long one of its nodes may take to answer, a connection included.
const WITHIN: Duration = Duration::from_secs(4);
/// The longest answer in bytes: the list, and keys with their signers.
const ANSWER_BYTES_MAX: usize = LIST_BYTES_MAX + 256 * 1024;

/// Outcome of asking a cluster.
#[derive(Clone, Debug)]
struct AskedCluster {
    /// When it has answered last, or was asked first.
    heard: Instant,
    /// Why it has not answered since; empty: it has.
    failed: String,
}

/// Keeps trust in other clusters.
pub struct ClusterTrustKeeper {
    registry: Arc<Registry>,
    signer: Arc<Signer>,
    trust: Arc<MeshTrust>,
    transport: Arc<NodeTransport>,
    asked: Mutex<BTreeMap<String, AskedCluster>>,
    /// Ways to their nodes, by cluster and address: a connection stays open from one question to the next.
    ways: Mutex<BTreeMap<(String, String), NeighbourPeer>>,
}

impl ClusterTrustKeeper {
    pub fn new(
        registry: Arc<Registry>,
        signer: Arc<Signer>,
        trust: Arc<MeshTrust>,
        transport: Arc<NodeTransport>,
    ) -> Self {
        let (asked, ways) = (Mutex::default(), Mutex::default());
        Self { registry, signer, trust, transport, asked, ways }
    }

    fn cluster(&self) -> &str {
        self.signer.cluster()
    }

    /// Judges by what was heard of each cluster, for ever.
    pub async fn take_over(&self) {
        let sense = |view: &View| {
            let authority = view.get(&authority_id()).map(|found| found.record.version);
            (view.changed(&CLUSTER_TRUST), cluster_records::changed(view), authority)
        };
        let look = || {
            self.take();
            async { None }
        };
        self.registry.react(sense, look).await;
    }

    fn take(&self) {
        let view = self.registry.view();
        let Some(bundle) = current_authority(view).and_then(|authority| roots_of(&authority)) else { return };
        let others = other_clusters(view, self.cluster());
        let told: Vec<(String, Arc<ClusterTrustValue>)> = others
            .into_iter()
            .filter_map(|OtherCluster { cluster, .. }| {
                let told = view.get(&trust_id(&cluster))?.value()?;
                Some((cluster, told))
            })
            .collect();
        let trusted = self.trust.current();
        let siblings = all_judged(&bundle, &trusted.revocations, &told, &trusted.siblings);
        if siblings.len() < told.len() {
            warn!("what was heard of another cluster is not signed by its issuer; it is passed over");
        }
        if siblings != *trusted.siblings {
            let clusters = siblings.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            info!(clusters, "trust in other clusters taken over");
            self.trust.update(|trusted| trusted.siblings = Arc::new(siblings));
        }
    }

    /// Asks other clusters again and again while this node can issue, for ever.
    pub async fn ask(&self) {
        loop {
            if self.is_asking() {
                let others = other_clusters(self.registry.view(), self.cluster());
                self.forget_others(&others).await;
                join_all(others.iter().map(|other| self.ask_one(other))).await;
            } else {
                self.asked.lock().clear();
                self.ways.lock().clear();
            }
            let changed = cluster_records::changed(self.registry.view());
            let other = |view: &View| (cluster_records::changed(view) != changed).then_some(());
            tokio::select! {
                () = tokio::time::sleep(ASKED_EVERY.mul_f64(1.0 - 0.1 * random_part())) => {}
                () = self.registry.look_until_found(other) => {}
            }
        }
    }

    /// Whether this node asks: it can sign what it hears.
    fn is_asking(&self) -> bool {
        let view = self.registry.view();
        let can_issue = || current_authority(view).is_some_and(|authority| self.signer.can_issue(&authority));
        view.head().caught_up && view.silence().is_none() && can_issue()
    }

    /// Drops what is held of clusters that are known no more.
    async fn forget_others(&self, others: &[OtherCluster]) {
        let is_known = |cluster: &str| others.iter().any(|other| other.cluster == cluster);
        self.asked.lock().retain(|cluster, _| is_known(cluster));
        self.ways.lock().retain(|(cluster, address), _| {
            others.iter().any(|other| other.cluster == *cluster && other.endpoints.contains(address))
        });
        let records = self.registry.view().list(&CLUSTER_TRUST).records;
        for record in records.iter().filter(|record| !is_known(&record.record.id.key)) {
            let cluster = record.record.id.key.clone();
            let done = self.registry.change_own::<(), CommitError>(
                "clusters.forget-trust",
                [CLUSTER_TRUST],
                |reader| {
                    let (found, known) = (reader.get(&trust_id(&cluster)), reader.get(&cluster_id(&cluster)));
                    let changes = vec![format!("trust in {cluster}: heard -> none")];
                    let gone = found.filter(|_| known.is_none());
                    Ok(gone.map(|found| OwnChange {
                        object: found.record.id.to_string(),
                        writes: vec![Write::Delete { id: found.record.id.clone() }],
                        changes,
                        answer: (),
                    }))
                },
            );
            if let Err(error) = done.await {
                warn!(cluster, error = %chain(&error), "trust in a cluster that is known no more not dropped; it is tried again");
            }
        }
    }

    /// Asks a cluster how it vouches, at one of its addresses after the other.
    async fn ask_one(&self, other: &OtherCluster) {
        let mut endpoints = other.endpoints.clone();
        fastrand::shuffle(&mut endpoints);
        let mut failed = "nobody has said where it is".to_owned();
        for endpoint in &endpoints {
            match self.ask_at(&other.cluster, endpoint).await {
                Ok(()) => {
                    let answered = AskedCluster { heard: Instant::now(), failed: String::new() };
                    let before = self.asked.lock().insert(other.cluster.clone(), answered);
                    if before.is_none_or(|before| !before.failed.is_empty()) {
                        info!(cluster = other.cluster, "another cluster answers how it vouches");
                    }
                    return;
                }
                Err(error) => failed = format!("{endpoint}: {error}"),
            }
        }
        let mut asked = self.asked.lock();
        let unheard = || AskedCluster { heard: Instant::now(), failed: String::new() };
        let known = asked.entry(other.cluster.clone()).or_insert_with(unheard);
        if known.failed.is_empty() {
            warn!(cluster = other.cluster, error = failed, "another cluster does not say how it vouches");
        }
        known.failed = failed;
    }

    async fn ask_at(&self, cluster: &str, endpoint: &str) -> Result<(), String> {
        let way = self.way(cluster, endpoint)?;
        let held = self.registry.view().get(&trust_id(cluster));
        let held = held.and_then(|record| record.value::<ClusterTrustValue>());
        let known = held.as_ref().map(|held| digest_of(held).to_vec()).unwrap_or_default();
        let client = ClusterTrustServiceClient::new(way.channel.clone().within(WITHIN));
        let mut client = client.max_decoding_message_size(ANSWER_BYTES_MAX);
        let asked = pb::GetClusterTrustRequest { known };
        let answer = client.get_trust(asked).await.map_err(|status| unanswered(&status))?.into_inner();
        if answer.cluster_id != cluster {
            return Err("the daemon there is of another cluster".to_owned());
        }
        if answer.unchanged {
            return Ok(());
        }
        let told = of_answer(answer)?;
        self.hear(cluster, &told).await
    }

    fn way(&self, cluster: &str, endpoint: &str) -> Result<NeighbourPeer, String> {
        let key = (cluster.to_owned(), endpoint.to_owned());
        if let Some(known) = self.ways.lock().get(&key) {
            return Ok(known.clone());
        }
        let way = self.transport.sibling_peer(endpoint, cluster)?;
        self.ways.lock().insert(key, way.clone());
        Ok(way)
    }

    /// Keeps what a cluster tells, if it has signed that and it is no older than what is kept.
    async fn hear(&self, cluster: &str, told: &ClusterTrustValue) -> Result<(), String> {
        let authority = current_authority(self.registry.view());
        let bundle = authority.and_then(|authority| roots_of(&authority));
        let bundle = bundle.ok_or("this mesh has no authority")?;
        let (issuers, trusted) = (bundle.issuers_of(cluster), self.trust.current());
        let news = judged(issuers, &trusted.revocations, told)
            .ok_or("what it tells is not signed by an issuer of it that is believed here")?;
        let number = news.revocations.number();
        if news.token_keys.len() < told.token_keys.len() {
            return Err("one of its keys of tokens is not vouched for by its issuer".to_owned());
        }
        let held = self
            .registry
            .view()
            .get(&trust_id(cluster))
            .and_then(|record| record.value::<ClusterTrustValue>());
        let before = held.and_then(|held| judged(issuers, &trusted.revocations, &held));
        let before = before.map_or(0, |before| before.revocations.number());
        if number < before {
            return Err(format!(
                "its list of revocations has the number {number}, and {before} was heard already"
            ));
        }
        let written =
            self.registry.change_own::<(), CommitError>("clusters.hear-trust", [CLUSTER_TRUST], |reader| {
                let (found, known) = (reader.get(&trust_id(cluster)), reader.get(&cluster_id(cluster)));
                let held = found.and_then(|found| found.value::<ClusterTrustValue>());
                let is_news = held.is_none_or(|held| digest_of(&held) != digest_of(told));
                let changes = vec![format!("revocations of {cluster}: {before} -> {number}")];
                Ok((is_news && known.is_some()).then(|| OwnChange::of(put(trust_id(cluster), told), changes)))
            });
        written.await.map(drop).map_err(|error| chain(&error))
    }

    /// Silences of the clusters that this node asks: for how many seconds each was not heard.
    pub fn silences(&self) -> Vec<(String, u64)> {
        let asked = self.asked.lock();
        asked.iter().map(|(cluster, asked)| (cluster.clone(), asked.heard.elapsed().as_secs())).collect()
    }
}
