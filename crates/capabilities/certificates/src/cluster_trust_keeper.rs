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
use omnirelay_identity::trust::{HeardTrust, MeshTrust};
use omnirelay_node::transport::{NodeTransport, SiblingWays};
use omnirelay_pki::revocation::Revocations;
use omnirelay_pki::trust::TrustBundle;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{OwnChange, put};
use omnirelay_registry::view::View;
use omnirelay_store::{CommitError, Write};
use omnirelay_wire::fault::{Fault, unanswered};
use omnirelay_wire::pb::omnirelay::store::v1::ClusterTrustValue;
use omnirelay_wire::reasons;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::authority::bundle_of;
use super::cluster_trust::{LIST_BYTES_MAX, all_judged, digest_of, judged, of_answer};
use super::pb;
use super::signer::Signer;
use crate::identity_keeper::KeepError;
use pb::cluster_trust_service_client::ClusterTrustServiceClient;

/// How often another cluster is asked, a tenth earlier at most.
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// How often instead, once it has told so many new things within this time.
const RESTLESS_EVERY: Duration = Duration::from_secs(60);
const NEWS_MAX: usize = 20;
const NEWS_WITHIN: Duration = Duration::from_secs(600);
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
    /// When it has told something new lately.
    news: Vec<Instant>,
}

impl AskedCluster {
    fn new() -> Self {
        Self { heard: Instant::now(), failed: String::new(), news: Vec::new() }
    }
}

/// Keeps trust in other clusters.
pub struct ClusterTrustKeeper {
    registry: Arc<Registry>,
    signer: Arc<Signer>,
    trust: Arc<MeshTrust>,
    asked: Mutex<BTreeMap<String, AskedCluster>>,
    ways: SiblingWays,
}

impl ClusterTrustKeeper {
    pub fn new(
        registry: Arc<Registry>,
        signer: Arc<Signer>,
        trust: Arc<MeshTrust>,
        transport: Arc<NodeTransport>,
    ) -> Self {
        Self { registry, signer, trust, asked: Mutex::default(), ways: SiblingWays::new(transport) }
    }

    fn cluster(&self) -> &str {
        self.signer.cluster()
    }

    /// The roots of this mesh, if it has an authority whose roots can be read.
    fn roots(&self) -> Option<TrustBundle> {
        let authority = current_authority(self.registry.view())?;
        bundle_of(&authority.roots).ok()
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
        // What is revoked here may be an issuer of another cluster.
        let revoked = async {
            let mut changes = self.trust.changes();
            let mut number = changes.borrow_and_update().revocations.number();
            while changes.changed().await.is_ok() {
                let now = changes.borrow_and_update().revocations.number();
                if now != number {
                    number = now;
                    self.take();
                }
            }
        };
        tokio::join!(self.registry.react(sense, look), revoked);
    }

    fn take(&self) {
        let view = self.registry.view();
        let Some(bundle) = self.roots() else { return };
        let others = other_clusters(view, self.cluster()).into_iter().map(|other| other.cluster);
        let told: Vec<(String, Option<Arc<ClusterTrustValue>>)> = others
            .map(|cluster| {
                let told = view.get(&trust_id(&cluster)).and_then(|record| record.value());
                (cluster, told)
            })
            .collect();
        let trusted = self.trust.current();
        let siblings = all_judged(&bundle, &trusted.revocations, &told, &trusted.siblings);
        if siblings == *trusted.siblings {
            return;
        }
        let is_refused =
            |(cluster, told): &&(String, Option<_>)| told.is_some() && siblings[cluster].heard.is_none();
        for (cluster, _) in told.iter().filter(is_refused) {
            warn!(
                cluster,
                "what was heard of another cluster is not signed by its issuer; it is passed over"
            );
        }
        info!(clusters = siblings.len(), "trust in other clusters taken over");
        self.trust.update(|trusted| trusted.siblings = Arc::new(siblings));
    }

    /// Asks other clusters again and again while this node can issue, for ever. Each goes by itself: one that is slow keeps no
    /// other one waiting.
    pub async fn ask(&self) {
        loop {
            let changed = cluster_records::changed(self.registry.view());
            let others = other_clusters(self.registry.view(), self.cluster());
            self.forget_others(&others).await;
            let all = async {
                join_all(others.iter().map(|other| self.follow(other))).await;
                std::future::pending::<()>().await;
            };
            let other = |view: &View| (cluster_records::changed(view) != changed).then_some(());
            tokio::select! {
                () = all => {}
                () = self.registry.look_until_found(other) => {}
            }
        }
    }

    async fn follow(&self, other: &OtherCluster) {
        loop {
            match self.is_asking() {
                true => self.ask_one(other).await,
                false => drop(self.asked.lock().remove(&other.cluster)),
            }
            let pause = if self.is_restless(&other.cluster) { RESTLESS_EVERY } else { ASKED_EVERY };
            tokio::time::sleep(pause.mul_f64(1.0 - 0.1 * random_part())).await;
        }
    }

    /// Whether a cluster has told something new so often that it is asked more seldom: each of it is a commit here.
    fn is_restless(&self, cluster: &str) -> bool {
        let mut asked = self.asked.lock();
        let Some(asked) = asked.get_mut(cluster) else { return false };
        asked.news.retain(|at| at.elapsed() < NEWS_WITHIN);
        asked.news.len() >= NEWS_MAX
    }

    /// Whether this node asks: it can sign what it hears.
    fn is_asking(&self) -> bool {
        let view = self.registry.view();
        let can_issue = || current_authority(view).is_some_and(|authority| self.signer.can_issue(&authority));
        view.head().caught_up && view.silence().is_none() && can_issue()
    }

    /// Drops what is held of clusters that are known no more.
    async fn forget_others(&self, others: &[OtherCluster]) {
        if !self.is_asking() {
            return;
        }
        let is_known = |cluster: &str| others.iter().any(|other| other.cluster == cluster);
        self.asked.lock().retain(|cluster, _| is_known(cluster));
        self.ways.retain(|cluster, address| {
            others.iter().any(|other| {
                other.cluster == cluster && other.endpoints.iter().any(|endpoint| endpoint == address)
            })
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
                Ok(is_news) => {
                    let mut asked = self.asked.lock();
                    let known = asked.entry(other.cluster.clone()).or_insert_with(|| {
                        info!(cluster = other.cluster, "another cluster says how it vouches");
                        AskedCluster::new()
                    });
                    if !known.failed.is_empty() {
                        info!(cluster = other.cluster, "another cluster says again how it vouches");
                    }
                    known.heard = Instant::now();
                    known.failed.clear();
                    known.news.extend(is_news.then(Instant::now));
                    return;
                }
                Err(error) => failed = format!("{endpoint}: {error}"),
            }
        }
        let mut asked = self.asked.lock();
        let known = asked.entry(other.cluster.clone()).or_insert_with(AskedCluster::new);
        if known.failed.is_empty() {
            warn!(cluster = other.cluster, error = failed, "another cluster does not say how it vouches");
        }
        known.failed = failed;
    }

    /// Asks at one address; whether that was news.
    async fn ask_at(&self, cluster: &str, endpoint: &str) -> Result<bool, String> {
        let way = self.ways.to(cluster, endpoint)?;
        let bundle = self.roots().ok_or("this mesh has no authority")?;
        let enforced = self.trust.current().revocations.clone();
        let held = self.registry.view().get(&trust_id(cluster));
        let held = held.and_then(|record| record.value::<ClusterTrustValue>());
        // What does not count any more is asked for anew.
        let held = held.filter(|held| judged(bundle.issuers_of(cluster), &enforced, held).is_some());
        let known = held.as_ref().map(|held| digest_of(held).to_vec()).unwrap_or_default();
        let client = ClusterTrustServiceClient::new(way.channel.clone().within(WITHIN));
        let mut client = client.max_decoding_message_size(ANSWER_BYTES_MAX);
        let asked = pb::GetClusterTrustRequest { known };
        let answer = client.get_trust(asked).await.map_err(|status| unanswered(&status))?.into_inner();
        if answer.cluster_id != cluster {
            return Err("the daemon there is of another cluster".to_owned());
        }
        match (answer.unchanged, held) {
            (true, Some(_)) => Ok(false),
            (true, None) => Err("it says that nothing is new, and nothing of it is known here".to_owned()),
            (false, _) => self.hear(cluster, &bundle, &enforced, &of_answer(answer)?).await,
        }
    }

    /// Keeps what a cluster tells, if it has signed that and it is newer than what is kept; whether it is.
    async fn hear(
        &self,
        cluster: &str,
        bundle: &TrustBundle,
        enforced: &Revocations,
        told: &ClusterTrustValue,
    ) -> Result<bool, String> {
        let issuers = bundle.issuers_of(cluster);
        let news = judged(issuers, enforced, told)
            .ok_or("what it tells is not signed by an issuer of it that is believed here")?;
        if news.token_keys.len() < told.token_keys.len() {
            return Err("one of its keys of tokens is not vouched for by its issuer".to_owned());
        }
        let action = "clusters.hear-trust";
        let written = self.registry.change_own::<(), KeepError>(action, [CLUSTER_TRUST], |reader| {
            let (found, known) = (reader.get(&trust_id(cluster)), reader.get(&cluster_id(cluster)));
            let held = found.and_then(|found| found.value::<ClusterTrustValue>());
            if known.is_none() || held.as_ref().is_some_and(|held| digest_of(held) == digest_of(told)) {
                return Ok(None);
            }
            let before = held.and_then(|held| judged(issuers, enforced, &held));
            check_newer(before.as_ref(), &news)?;
            let before = before.map_or(0, |before| before.revocations.number());
            let changes =
                vec![format!("revocations of {cluster}: {before} -> {}", news.revocations.number())];
            Ok(Some(OwnChange::of(put(trust_id(cluster), told), changes)))
        });
        written.await.map(|news| news.is_some()).map_err(|error| chain(&error))
    }

    /// Silences of the clusters that this node asks: for how many seconds each was not heard.
    pub fn silences(&self) -> Vec<(String, u64)> {
        let asked = self.asked.lock();
        asked.iter().map(|(cluster, asked)| (cluster.clone(), asked.heard.elapsed().as_secs())).collect()
    }
}

/// Checks that what a cluster tells is no older than what is kept, and no other list of the same number.
///
/// # Errors
/// `VERSION_CONFLICT`, with both numbers.
fn check_newer(before: Option<&HeardTrust>, news: &HeardTrust) -> Result<(), Fault> {
    let Some(before) = before.map(|before| &before.revocations) else { return Ok(()) };
    let (was, is) = (before.number(), news.revocations.number());
    if is > was || (is == was && *before == news.revocations) {
        return Ok(());
    }
    let message = format!(
        "its list of revocations has the number {is}, and another one of number {was} was heard already"
    );
    Err(Fault::new(reasons::VERSION_CONFLICT, message))
}

#[cfg(test)]
mod tests {
    use omnirelay_pki::certificate::CertificateSerial;
    use omnirelay_pki::revocation::RevokedSubject;

    use super::*;

    #[test]
    fn a_list_is_followed_by_newer_ones_alone() {
        let list = |number: u64, serial: u8| {
            let mut list = Revocations::new(number, []);
            list.revoke(RevokedSubject::Serial(CertificateSerial::of(&[serial])), 1, i64::MAX, "");
            HeardTrust { revocations: list, ..HeardTrust::default() }
        };
        let known = list(6, 1);
        for (what, news, is_taken) in [
            ("newer", list(7, 2), true),
            ("the same, with other keys", list(6, 1), true),
            ("older", list(5, 1), false),
            ("another of the same number", list(6, 2), false),
        ] {
            assert_eq!(check_newer(Some(&known), &news).is_ok(), is_taken, "{what}");
            assert!(check_newer(None, &news).is_ok(), "{what}, where nothing is known");
        }
    }
}
