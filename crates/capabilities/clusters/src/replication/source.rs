//! The source of a domain: streams its commits to nodes of other clusters, and compares with them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::unfold;
use omnirelay_cluster_records::cluster_id;
use omnirelay_cluster_records::domain::{
    DOMAIN_FOLLOWER, Domain, DomainKind, DomainVersion, Domains, domain_id, follower_id,
};
use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_host::places::TakenPlace;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::feed::{NounEventStream, WatchPlaces};
use omnirelay_nouns::{serve, timestamp};
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority, put};
use omnirelay_registry::commits::{CommitReader, CommitsAhead, HistoryCut};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::{Registry, parse_cursor};
use omnirelay_store::StoreError;
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::DomainFollowerValue;
use omnirelay_wire::reasons;
use omnirelay_wire::timestamp::millis;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tracing::debug;

use super::BEAT_EVERY;
use super::batches::frames;
use super::planted::{PlantedFault, is_planted};
use super::records::{DomainScope, fingerprints};
use crate::domains::show::tenure;
use crate::{check_cluster, check_domain};
use pb::domain_frame::Told;
use pb::replication_service_server::ReplicationService;

/// How many kinds a question has at most.
pub(super) const KINDS_MAX: usize = 32;
/// How often it is noted how far a cluster has followed a domain.
const NOTED_EVERY: Duration = Duration::from_secs(5);
/// Act that notes how far a cluster has followed a domain.
const NOTE_FOLLOWER: &str = "domains.note-follower";

/// Serves `ReplicationService` from a registry.
pub(crate) struct ReplicationSource {
    pub(super) registry: Arc<Registry>,
    cluster: String,
    pub(super) kinds: Arc<[DomainKind]>,
    places: WatchPlaces,
    /// When it was noted last how far each cluster has followed each domain.
    noted: Mutex<BTreeMap<(String, String), Instant>>,
}

serve! {
    ReplicationService for ReplicationSource {
        acknowledge(AcknowledgeDomainRequest) -> AcknowledgeDomainResponse: |source, caller, asked| source.hear(caller, asked);
        reconcile(ReconcileDomainRequest) -> ReconcileDomainResponse: |source, _, asked| source.answer(asked);
        [FollowStream] follow(FollowDomainRequest) -> DomainFrame: |source, caller, asked| source.begin(caller, asked);
    }
}

/// Stream of a domain.
struct DomainStream {
    registry: Arc<Registry>,
    domain: String,
    version: DomainVersion,
    scope: DomainScope,
    commits: CommitsAhead,
    ready: VecDeque<Told>,
    /// Up to which the follower was told everything.
    told: Cursor,
    /// Up to which everything was looked at; what is behind `told` is of no domain's concern.
    read: Cursor,
    /// When the commit there was made; `None`: none was read yet.
    read_time: Option<Millis>,
    beat_at: Instant,
    _place: TakenPlace,
}

impl ReplicationSource {
    /// `places`: how many follow at once.
    pub(crate) fn new(
        registry: Arc<Registry>,
        cluster: String,
        kinds: Arc<[DomainKind]>,
        places: WatchPlaces,
    ) -> Self {
        Self { registry, cluster, kinds, places, noted: Mutex::default() }
    }

    async fn begin(
        &self,
        caller: &Caller,
        asked: pb::FollowDomainRequest,
    ) -> Result<NounEventStream<pb::DomainFrame>, Fault> {
        check_domain(&asked.domain)?;
        check_cluster(&asked.cluster_id)?;
        check_caller(caller, &asked.cluster_id)?;
        let since = parse_cursor(&asked.since)?;
        let place = self.places.take()?;
        self.registry.ready_for("").await?;
        self.check_whole()?;
        let view = self.registry.view();
        // Whoever comes from another daemon here may know more than this one shows.
        if since.is_some_and(|since| since.epoch == view.head().epoch) {
            self.registry.ready_for(&asked.since).await?;
        }
        let domains = Domains::of(view);
        let known = domains.find(&asked.domain).filter(|domain| domain.value.active == self.cluster);
        let domain = known.ok_or_else(|| self.not_active(&asked.domain, domains.find(&asked.domain)))?;
        let head = view.head().cursor();
        let members = domain.members(&domains);
        if asked.kinds.len() > KINDS_MAX {
            return Err(Fault::invalid(format!(
                "field `kinds`: {} are more than {KINDS_MAX}",
                asked.kinds.len()
            )));
        }
        let is_known = |kind: &&DomainKind| asked.kinds.iter().any(|known| *known == *kind.kind.0);
        let kinds: Arc<[DomainKind]> = self.kinds.iter().filter(is_known).cloned().collect();
        let is_held = !asked.compare && since.is_some_and(|since| reaches_back(since, head));
        let from = since.filter(|_| is_held).map_or(head, |since| Cursor { epoch: head.epoch, ..since });
        let hello = pb::DomainHello {
            cluster_id: self.cluster.clone(),
            local_node_id: self.registry.node_id().to_owned(),
            version: domain.version().to_string(),
            lineage: domain.value.lineage.iter().map(tenure).collect(),
            namespaces: domain.value.namespaces.clone(),
            other_namespaces: domains.namespaces_besides(&asked.domain),
            head: head.to_string(),
            time: Some(timestamp(view.now())),
            reconcile: !is_held,
            has_all: since.is_some_and(|since| self.has_all(since)),
            kinds: self.kinds.iter().map(|kind| kind.kind.0.to_string()).collect(),
        };
        let names = kinds.iter().map(|kind| kind.kind.clone());
        let commits = CommitReader::behind(self.registry.clone(), names, from).ahead();
        let stream = DomainStream {
            registry: self.registry.clone(),
            domain: asked.domain,
            version: domain.version(),
            commits,
            scope: DomainScope { kinds, members },
            ready: [Told::Hello(hello)].into(),
            told: from,
            read: from,
            read_time: None,
            beat_at: Instant::now() + BEAT_EVERY,
            _place: place,
        };
        Ok(Box::pin(unfold(stream, |mut stream| async move {
            let frame = stream.next().await.transpose()?;
            let frame = frame.map(|told| EncodedMessage::from(pb::DomainFrame { told: Some(told) }));
            Some((frame.map_err(Status::from), stream))
        })))
    }

    /// Whether everything up to a cursor is here: that is of this epoch, or of the one before, and nothing of that is lost.
    fn has_all(&self, since: Cursor) -> bool {
        let (view, losses) = (self.registry.view(), self.registry.losses());
        let now = view.head().epoch;
        let is_whole = losses.told(view).iter().any(|loss| {
            loss.epoch == now
                && loss.epoch_before == since.epoch
                && loss.is_restored()
                && loss.accepted.is_none()
        });
        let reached = losses.followed(now).is_some_and(|followed| followed.until >= since.revision);
        since.epoch == now && since.revision <= view.head().revision || is_whole && reached
    }

    /// Checks that nothing is about to be put back here: what is missing now is not gone.
    pub(super) fn check_whole(&self) -> Result<(), Fault> {
        if self.registry.view().is_whole() {
            return Ok(());
        }
        let message = "the registry has begun a new epoch, and what it has lost is being put back".to_owned();
        Err(Fault::new(reasons::STORE_UNAVAILABLE, message).hint("ask again in a moment"))
    }

    pub(super) fn not_active(&self, name: &str, known: Option<&Domain>) -> Fault {
        let (message, hint) = match known {
            Some(domain) => (
                format!("domain `{name}` is active in cluster `{}`, not here", domain.value.active),
                format!(
                    "follow that one: omnirelay mesh domains set {name} --active {}",
                    domain.value.active
                ),
            ),
            None => (
                format!("nobody in cluster `{}` has said that domain `{name}` is active there", self.cluster),
                format!("say so there: omnirelay mesh domains set {name} --active {}", self.cluster),
            ),
        };
        Fault::new(reasons::NOT_ACTIVE, message).hint(hint)
    }

    async fn hear(
        &self,
        caller: &Caller,
        asked: pb::AcknowledgeDomainRequest,
    ) -> Result<pb::AcknowledgeDomainResponse, Fault> {
        check_domain(&asked.domain)?;
        check_cluster(&asked.cluster_id)?;
        let durable = parse_cursor(&asked.durable)?
            .ok_or_else(|| Fault::invalid("field `durable`: an acknowledgement has a cursor".to_owned()))?;
        check_caller(caller, &asked.cluster_id)?;
        let head = self.registry.view().head();
        if durable.epoch != head.epoch || durable.revision > head.revision {
            return Err(Fault::invalid("field `durable`: it is no commit of this registry".to_owned()));
        }
        // Who is of this cluster may ask, and follows nothing.
        if caller.proof.sibling().is_some() && self.is_due(&asked.domain, &asked.cluster_id) {
            let until = asked.time.as_ref().map(millis).unwrap_or_default();
            self.note((&asked.domain, &asked.cluster_id), durable, until).await;
        }
        Ok(pb::AcknowledgeDomainResponse {
            local_node_id: self.registry.node_id().to_owned(),
            head: Cursor::at(head.epoch, head.revision.max(self.registry.view().heard_of())).to_string(),
            time: Some(timestamp(self.registry.view().now())),
        })
    }

    /// Whether what a follower says is to be noted: it is now and then, of clusters and domains that there are.
    fn is_due(&self, domain: &str, cluster: &str) -> bool {
        let view = self.registry.view();
        let is_known = view.get(&domain_id(domain)).is_some() && view.get(&cluster_id(cluster)).is_some();
        let mut noted = self.noted.lock();
        noted.retain(|_, at| at.elapsed() < NOTED_EVERY);
        let key = (domain.to_owned(), cluster.to_owned());
        is_known && !noted.contains_key(&key) && noted.insert(key, Instant::now()).is_none()
    }

    /// Notes how far a follower has durably come. What cannot be noted is said again.
    async fn note(&self, (domain, cluster): (&str, &str), durable: Cursor, until: Millis) {
        let (head, now) = (self.registry.view().head(), self.registry.view().now());
        let value = DomainFollowerValue {
            epoch: durable.epoch.0,
            durable: durable.revision.0,
            heard_ms: now.0,
            head: head.revision.0,
            until_ms: until.min(now).0,
            ..Default::default()
        };
        let act = DaemonAct::new(NOTE_FOLLOWER, [DOMAIN_FOLLOWER], WriteAuthority::Unfenced);
        let plan = CommitPlan::read_in(head.epoch).write([put(follower_id(domain, cluster), &value)]);
        if let Err(error) = self.registry.attempt(&act, plan).await {
            debug!(domain, cluster, error = %chain(&error), "how far a domain is followed was not noted");
        }
    }
}

impl DomainStream {
    async fn next(&mut self) -> Result<Option<Told>, Fault> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Ok(Some(told));
            }
            self.check_active()?;
            let head = || self.registry.view().head().cursor();
            tokio::select! {
                biased;
                () = sleep_until(self.beat_at) => {
                    self.beat_at = Instant::now() + BEAT_EVERY;
                    let time = Some(timestamp(self.registry.view().now()));
                    // What the store says of its time is old where it is silent.
                    if self.registry.view().silence().is_none() {
                        self.told = self.read;
                        let told = self.registry.view().heard_of();
                        let head = Cursor::at(self.told.epoch, told.max(self.told.revision)).to_string();
                        let (sent, fingerprints) = (self.told.to_string(), self.fingerprints());
                        let sent_time = self.read_time.map(timestamp);
                        let beat = pb::DomainBeat { sent, time, fingerprints, head, sent_time };
                        return Ok(Some(Told::Beat(beat)));
                    }
                }
                read = self.commits.next() => {
                    if is_planted(PlantedFault::JumpsOverCut) && matches!(read, Some(Err(_))) {
                        let kinds = self.scope.kinds.iter().map(|kind| kind.kind.clone());
                        (self.told, self.read) = (head(), head());
                        self.commits = CommitReader::behind(self.registry.clone(), kinds, self.told).ahead();
                        continue;
                    }
                    let Some(read) = read.transpose().map_err(cut)? else { return Ok(None) };
                    self.ready.extend(frames(&read, &self.scope, (self.told, head(), self.registry.view().now())));
                    (self.read, self.read_time) = (read.to, Some(read.time));
                    // Of what others than followed kinds write a beat tells, now and then.
                    if !self.ready.is_empty() {
                        self.told = read.to;
                    }
                }
            }
        }
    }

    /// Fingerprints of what there is at the commit up to which all was told; none while the view is of another one.
    fn fingerprints(&self) -> Vec<pb::KindFingerprint> {
        let view = self.registry.view();
        let is_told = || view.head().cursor() == self.told && view.is_whole();
        let fingerprints = if is_told() { fingerprints(view, &self.scope) } else { Vec::new() };
        if is_told() { fingerprints } else { Vec::new() }
    }

    /// That the domain is still as the follower was told.
    fn check_active(&self) -> Result<(), Fault> {
        let view = self.registry.view();
        let domains = Domains::of(view);
        let is_so = domains.find(&self.domain).is_some_and(|domain| {
            domain.version() == self.version && domain.members(&domains) == self.scope.members
        });
        if is_so {
            return Ok(());
        }
        let message = format!("domain `{}` has changed since it was followed", self.domain);
        Err(Fault::new(reasons::NOT_ACTIVE, message).hint("follow it again"))
    }
}

/// Whether the log may reach back to a cursor; that it does not is met while it is read.
fn reaches_back(since: Cursor, head: Cursor) -> bool {
    is_planted(PlantedFault::TakesAnyEpoch) || since.epoch == head.epoch && since.revision <= head.revision
}

pub(super) fn not_read(error: StoreError) -> Fault {
    let message = format!("the history cannot be read: {}", chain(&error));
    Fault::new(reasons::STORE_UNAVAILABLE, message).hint("ask again in a moment")
}

fn cut(why: HistoryCut) -> Fault {
    Fault::new(reasons::EPOCH_CHANGED, format!("the domain cannot be followed on: {}", chain(&why)))
        .hint("compare by ranges")
}

/// Checks that a node of another cluster names its own.
fn check_caller(caller: &Caller, cluster: &str) -> Result<(), Fault> {
    match caller.proof.sibling() {
        Some(own) if own != cluster => {
            Err(Fault::invalid(format!("field `clusterId`: the caller is of cluster `{own}`")))
        }
        Some(_) | None => Ok(()),
    }
}
