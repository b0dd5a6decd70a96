//! The replica of a domain: what is here of it, and the record of how far that is, which moves in the same commit.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_cluster_records::domain::{
    DOMAIN, Domain, DomainKind, DomainMembers, DomainVersion, Domains, FOLLOW, LINEAGE_MAX, MESH_DOMAIN,
    NAMESPACES_MAX, REPLICA, domain_id, replica, replica_id,
};
use omnirelay_core::names::check_node_name;
use omnirelay_core::text::{chain, printable};
use omnirelay_core::time::Millis;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority, put};
use omnirelay_registry::audit_record::own_body;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::parse_cursor;
use omnirelay_store::{
    CommitError, CommitOutcome, Epoch, LeaseFence, Precondition, RecordKind, Revision, StoreError, Version,
    Write,
};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::{
    AuditValue, DomainReplicaValue, DomainTenureValue, DomainValue, SetAsideRecordValue, domain_replica_value,
};
use omnirelay_wire::timestamp::millis;
use parking_lot::Mutex;
use tracing::{debug, warn};

use super::batches::{BYTES_MAX, RECORDS_MAX};
use super::planted::{PlantedFault, is_planted};
use super::records::{DomainScope, RefusedRecord, fingerprints, write_of};
use super::set_aside::{self, SET_ASIDE_MAX};
use domain_replica_value::State;

/// How long one commit may take.
const WITHIN: Duration = Duration::from_secs(5);
/// The greatest term of a domain.
const TERM_MAX: u64 = 1 << 32;
/// How many kinds are noted that are not known here.
const KINDS_MAX: usize = 32;

/// Reason why a domain is not followed on.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    /// The source was not reached, or has ended the stream.
    #[error("{0}")]
    Source(String),
    /// The log of the source does not reach back: it is to be compared.
    #[error("the log of the source does not reach back")]
    Cut,
    /// What is here is not what the source has at the same commit: it is to be compared.
    #[error("at {0} the source has something else than is here: all is compared")]
    Differs(Cursor),
    /// What the source sends is not what it may send.
    #[error("what the source sends makes no sense: {0}")]
    NoSense(String),
    /// Something would be deleted or replaced that needs an operator's word.
    #[error("{0}")]
    Braked(String),
    /// More records cannot be written here than are set aside.
    #[error("more than {SET_ASIDE_MAX} records cannot be written here; the last of them is {0}")]
    SetAside(String),
    #[error("not written here: {}", chain(.0))]
    Commit(#[from] CommitError),
}

/// Replica of a domain, as the node that follows it knows it.
pub(super) struct DomainReplica<'a> {
    registry: &'a Registry,
    fence: LeaseFence,
    epoch: Epoch,
    pub name: String,
    pub source: String,
    domain: DomainValue,
    domain_version: Version,
    /// Of the domain `mesh`, which is written again whenever a namespace goes to another domain.
    mesh_version: Version,
    /// Newest commit of the source that an answer has told of, and the time of the source then.
    pub answered: Arc<Mutex<Option<(Cursor, u64)>>>,
    /// Commit of the source up to which what is here may be of different moments.
    mixed_until: Option<Cursor>,
    value: DomainReplicaValue,
    /// Which records are set aside as the record of the replica says.
    known_aside: Vec<SetAsideRecordValue>,
    version: Version,
    pub scope: DomainScope,
}

impl<'a> DomainReplica<'a> {
    /// As a view has it; `None`: the domain is active here.
    pub(super) fn of(
        registry: &'a Registry,
        fence: LeaseFence,
        (name, cluster): (&str, &str),
        kinds: Arc<[DomainKind]>,
    ) -> Option<Self> {
        let view = registry.view();
        let epoch = view.head().epoch;
        let domains = Domains::of(view);
        let domain = domains.find(name).filter(|domain| domain.value.active != cluster)?;
        let known = replica(view, name);
        let version = known.as_ref().map_or(Version(0), |(record, _)| record.record.version);
        let of_source = known.filter(|(_, value)| value.source == domain.value.active);
        let value = of_source.map(|(_, value)| (*value).clone()).unwrap_or_default();
        Some(Self {
            registry,
            fence,
            epoch,
            name: name.to_owned(),
            source: domain.value.active.clone(),
            domain: (*domain.value).clone(),
            domain_version: domain.record.record.version,
            mesh_version: domains.find(MESH_DOMAIN).map_or(Version(0), |mesh| mesh.record.record.version),
            answered: Arc::default(),
            mixed_until: None,
            known_aside: value.set_aside.clone(),
            value,
            version,
            scope: DomainScope { kinds, members: domain.members(&domains) },
        })
    }

    /// Cursor of the source up to which everything is here; `None`: nothing is.
    pub(super) fn applied(&self) -> Option<Cursor> {
        let at = |epoch| Cursor::at(Epoch(epoch), Revision(self.value.applied));
        Some(self.value.epoch).filter(|epoch| *epoch > 0).map(at)
    }

    /// Up to when, by the clock of the source, everything is here.
    pub(super) fn applied_time(&self) -> Option<Millis> {
        self.applied().map(|_| Millis(self.value.applied_time_ms))
    }

    /// Whether what is here is of one moment of the source, as far as this registry has lost nothing since, and this version knows no
    /// more kinds than the one before.
    pub(super) fn is_whole(&self) -> bool {
        self.value.state() == State::Following
            && self.value.own_epoch == self.epoch.0
            && self.value.kinds == self.kinds()
    }

    /// Number of the records of the domain that are held here.
    pub(super) fn held(&self) -> usize {
        self.scope.held(self.registry.view())
    }

    /// Names of the kinds that are followed, sorted.
    pub(super) fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = self.scope.kinds.iter().map(|kind| kind.kind.0.to_string()).collect();
        kinds.sort();
        kinds
    }

    /// Notes that the domain is to be followed, before anything of it was heard.
    ///
    /// # Errors
    /// [`FollowError::Commit`].
    pub(super) async fn begin(&mut self) -> Result<(), FollowError> {
        if self.value.since_ms > 0 {
            return Ok(());
        }
        let now = self.registry.view().now().0;
        self.note(State::Loading, "nothing of it was heard yet", |value| value.heard_ms = now).await
    }

    /// Takes in what the source greets with: up to when it has made commits.
    pub(super) fn greet(&mut self, head: Cursor, hello: &pb::DomainHello) {
        let (known, now) = (self.kinds(), self.registry.view().now().0);
        let value = &mut self.value;
        value.unknown_kinds = hello.kinds.iter().filter(|kind| !known.contains(kind)).cloned().collect();
        value.unknown_kinds.sort();
        value.unknown_kinds.truncate(KINDS_MAX);
        value.kinds = known;
        if is_planted(PlantedFault::TakesAnyEpoch) {
            value.epoch = head.epoch.0;
        }
        value.head = head.revision.0;
        value.head_time_ms = hello.time.as_ref().map(millis).unwrap_or_default().0;
        value.heard_ms = now;
    }

    pub(super) fn value(&self) -> &DomainReplicaValue {
        &self.value
    }

    /// Takes over what the source says of the domain; whether that is news.
    ///
    /// # Errors
    /// [`FollowError`].
    pub(super) async fn meet(&mut self, hello: &pb::DomainHello) -> Result<bool, FollowError> {
        let told: DomainVersion = hello.version.parse().map_err(|_| no_sense("its version is none"))?;
        let known = DomainVersion::of(self.domain.version.as_ref());
        let is_sound = hello.lineage.len() <= LINEAGE_MAX && hello.namespaces.len() <= NAMESPACES_MAX;
        if hello.cluster_id != self.source || !(1..=TERM_MAX).contains(&told.term) || !is_sound {
            return Err(no_sense("it is not what it says to be"));
        }
        if told < known {
            return Err(FollowError::Source(format!("it knows version {told}, and here {known} is known")));
        }
        let domains = Domains::of(self.registry.view());
        // What is of another domain here is none of its business, whatever it says: but for one that the same cluster is active for.
        let may_have = |namespace: &&String| {
            self.domain.namespaces.contains(namespace)
                || check_node_name(namespace).is_ok()
                    && domains.name_of(namespace) == MESH_DOMAIN
                    && domains.find(MESH_DOMAIN).is_some_and(|mesh| mesh.value.active == self.source)
        };
        let mut namespaces: Vec<String> = hello.namespaces.iter().filter(may_have).cloned().collect();
        namespaces.sort();
        namespaces.dedup();
        if namespaces.len() < hello.namespaces.len() {
            debug!(
                domain = self.name,
                "the source says that it has namespaces that are of other domains here"
            );
        }
        let mut others = domains.namespaces_besides(&self.name);
        others.extend(hello.other_namespaces.iter().cloned());
        self.scope.members = DomainMembers::new(&self.name, namespaces.clone(), others);
        if told == known && namespaces == self.domain.namespaces {
            return Ok(false);
        }
        let lineage: Option<Vec<DomainTenureValue>> = hello.lineage.iter().map(tenure_of).collect();
        let value = DomainValue {
            active: self.source.clone(),
            version: Some(told.value()),
            namespaces: namespaces.clone(),
            lineage: merged(lineage.ok_or_else(|| no_sense("its lineage is none"))?, &self.domain.lineage),
            ..Default::default()
        };
        let changes = vec![format!("version: {known} -> {told}")];
        let body = self.audit("domain", changes);
        let mesh = domains.find(MESH_DOMAIN).filter(|_| self.name != MESH_DOMAIN);
        let moved = mesh.filter(|_| namespaces != self.domain.namespaces);
        let moved = moved.map(|mesh| put(domain_id(MESH_DOMAIN), &*mesh.value));
        let plan = self.plan().write([put(domain_id(&self.name), &value)]).write(moved).audit([body]);
        self.registry.attempt(&self.act([DOMAIN]), plan).await?;
        Ok(true)
    }

    /// Notes a state, with what else is new.
    ///
    /// # Errors
    /// [`FollowError::Commit`].
    pub(super) async fn note(
        &mut self,
        state: State,
        reason: &str,
        edit: impl FnOnce(&mut DomainReplicaValue),
    ) -> Result<(), FollowError> {
        let before = (self.value.state(), self.value.reason.clone());
        let mut value = self.value.clone();
        edit(&mut value);
        let now = self.registry.view().now().0;
        if before != (state, reason.to_owned()) || value.since_ms == 0 {
            value.since_ms = now;
        }
        value.set_state(state);
        reason.clone_into(&mut value.reason);
        let mut audit = Vec::new();
        if before.0 != state {
            let words = |state: State| state.as_str_name();
            let mut changes = vec![format!("state: {} -> {}", words(before.0), words(state))];
            changes.extend((!reason.is_empty()).then(|| reason.to_owned()));
            audit.push(self.audit("domain-replica", changes));
        }
        self.commit(Vec::new(), value, audit).await
    }

    /// Makes what a batch says, and notes how far that is.
    ///
    /// # Errors
    /// [`FollowError`].
    pub(super) async fn apply(&mut self, batch: pb::DomainBatch) -> Result<Cursor, FollowError> {
        let from = cursor(&batch.from)?;
        let to = cursor(&batch.to)?;
        let head = cursor(&batch.head)?;
        if Some(from) != self.applied() {
            return Err(no_sense("a batch does not begin where the one before has ended"));
        }
        if to.epoch != from.epoch || to.revision < from.revision || head.revision < to.revision {
            return Err(no_sense("a batch ends before it begins, or behind the newest commit"));
        }
        let writes = self.writes(batch.records)?;
        let time = batch.time.as_ref().map(millis).unwrap_or_default().0;
        let mut value = self.value.clone();
        (value.applied, value.applied_time_ms) = (to.revision.0, time);
        let head_time = batch.head_time.as_ref().map(millis).unwrap_or_default().0;
        (value.head, value.head_time_ms) = (head.revision.0, head_time.max(time));
        value.heard_ms = self.registry.view().now().0;
        self.look_ahead(&mut value);
        self.settle(&mut value, to);
        match self.commit(writes.clone(), value.clone(), Vec::new()).await {
            // One of them cannot be written, or together with what they take the place of they are more than a commit has room for.
            Err(error) if is_refused(&error) && !writes.is_empty() => {
                self.value.set_state(State::Loading);
                self.write(writes).await?;
                value.set_aside.clone_from(&self.value.set_aside);
                self.commit(Vec::new(), value, Vec::new()).await?;
            }
            done => done?,
        }
        Ok(to)
    }

    /// The writes by which records are here as they were sent, but for those of other domains, and for those that no record can be
    /// here: they are set aside.
    ///
    /// # Errors
    /// [`FollowError::NoSense`]; [`FollowError::SetAside`].
    fn writes(&mut self, sent: Vec<pb::DomainRecord>) -> Result<Vec<Write>, FollowError> {
        let mut writes = Vec::new();
        for sent in sent {
            let (kind, key, deleted) = (sent.kind.clone(), sent.key.clone(), sent.deleted);
            match write_of(&self.scope, sent) {
                Ok(write) => writes.push(write),
                Err(refused @ RefusedRecord::Kind(_)) => return Err(no_sense(&chain(&refused))),
                Err(RefusedRecord::Size) if deleted => {
                    set_aside::remove(&mut self.value.set_aside, &kind, &key);
                }
                Err(refused @ RefusedRecord::Size) => self.set_aside((&kind, &key), &chain(&refused))?,
            }
        }
        let view = self.registry.view();
        let (own, foreign): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|write| self.scope.may_write(view, write));
        if let Some(first) = foreign.first() {
            let (record, count) = (first.id(), foreign.len());
            warn!(domain = self.name, %record, count, "records of other domains were sent, and are left as they are");
        }
        Ok(own)
    }

    /// Notes that what is here may be of different moments until everything up to a commit is.
    pub(super) fn mix_until(&mut self, until: Cursor) {
        self.mixed_until = Some(until);
    }

    /// Takes in how far the source is that answers have told of: what is on its way here may be older.
    fn look_ahead(&self, value: &mut DomainReplicaValue) {
        let answered = *self.answered.lock();
        let Some((head, time_ms)) = answered.filter(|(head, _)| head.epoch.0 == value.epoch) else { return };
        if head.revision.0 > value.head {
            (value.head, value.head_time_ms) = (head.revision.0, time_ms.max(value.head_time_ms));
        }
    }

    /// Says that what is here is of one moment once everything up to `to` is.
    fn settle(&mut self, value: &mut DomainReplicaValue, to: Cursor) {
        let is_mixed = self.mixed_until.is_some_and(|until| to.revision < until.revision);
        if value.state() == State::Loading && !is_mixed {
            value.set_state(State::Following);
            value.reason.clear();
            value.since_ms = self.registry.view().now().0;
        }
    }

    /// Takes in that the source has sent everything up to a commit, and what its newest one is.
    ///
    /// # Errors
    /// [`FollowError::NoSense`] where that is before what is here.
    pub(super) fn hear(&mut self, beat: &pb::DomainBeat) -> Result<Cursor, FollowError> {
        let (sent, head) = (cursor(&beat.sent)?, cursor(&beat.head)?);
        if is_planted(PlantedFault::StandsStill) {
            self.value.heard_ms = self.registry.view().now().0;
            return Ok(Cursor::at(sent.epoch, Revision(self.value.applied)));
        }
        let time = beat.time.as_ref().map(millis).unwrap_or_default().0;
        let mut value = self.value.clone();
        if sent.epoch.0 != value.epoch || sent.revision.0 < value.applied || head.revision < sent.revision {
            return Err(no_sense("a beat is of an earlier commit than the batch before"));
        }
        (value.applied, value.head, value.head_time_ms) = (sent.revision.0, head.revision.0, time);
        // Others commit all the time, and a beat may be of a moment in between.
        let sent_time = beat.sent_time.as_ref().map(millis).unwrap_or_default().0;
        value.applied_time_ms =
            if sent == head { time } else { value.applied_time_ms.max(sent_time.min(time)) };
        value.heard_ms = self.registry.view().now().0;
        self.look_ahead(&mut value);
        self.settle(&mut value, sent);
        self.value = value;
        Ok(sent)
    }

    /// Whether what is here is what these fingerprints are of; `None`: they say nothing, or other domains have some of it.
    pub(super) fn is_as(&mut self, theirs: &[pb::KindFingerprint]) -> Option<bool> {
        // What is set aside differs, and that is known.
        if !self.value.set_aside.is_empty() {
            return None;
        }
        let view = self.registry.view();
        let own = fingerprints(view, &self.scope);
        let pairs = own.iter().filter_map(|own| {
            let theirs = theirs.iter().find(|theirs| theirs.kind == own.kind)?;
            Some(own.fingerprint == theirs.fingerprint)
        });
        let same: Vec<bool> = pairs.collect();
        let is_same = !same.is_empty() && same.iter().all(|same| *same);
        if is_same {
            self.value.compared_ms = view.now().0;
        }
        (!same.is_empty()).then_some(is_same)
    }

    /// Keeps what was heard.
    ///
    /// # Errors
    /// [`FollowError::Commit`].
    pub(super) async fn keep(&mut self) -> Result<(), FollowError> {
        self.commit(Vec::new(), self.value.clone(), Vec::new()).await
    }

    /// Writes records as they were sent.
    ///
    /// # Errors
    /// [`FollowError`].
    pub(super) async fn write_sent(&mut self, sent: Vec<pb::DomainRecord>) -> Result<(), FollowError> {
        let writes = self.writes(sent)?;
        self.write(writes).await
    }

    /// Writes records without a change of how far is followed; what cannot be written is set aside.
    ///
    /// # Errors
    /// [`FollowError::Commit`]; [`FollowError::SetAside`].
    pub(super) async fn write(&mut self, writes: Vec<Write>) -> Result<(), FollowError> {
        let mut left = portions(writes);
        left.reverse();
        while let Some(mut portion) = left.pop() {
            match self.commit(portion.clone(), self.value.clone(), Vec::new()).await {
                Err(error) if is_refused(&error) && portion.len() > 1 => {
                    let second = portion.split_off(portion.len() / 2);
                    left.extend([second, portion]);
                }
                Err(FollowError::Commit(error)) if is_invalid(&error) => {
                    let id = portion[0].id();
                    self.set_aside((&id.kind.0, &id.key), &chain(&error))?;
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// Forgets what was set aside: all is compared, and what cannot be written still is set aside again.
    pub(super) fn take_all_back(&mut self) {
        self.value.set_aside.clear();
    }

    fn set_aside(&mut self, (kind, key): (&str, &str), reason: &str) -> Result<(), FollowError> {
        if is_planted(PlantedFault::PassesUnwritten) {
            return Ok(());
        }
        let now = self.registry.view().now();
        if !set_aside::add(&mut self.value.set_aside, (kind, key), reason, now) {
            return Err(FollowError::SetAside(format!("{kind}/{}", printable(key))));
        }
        warn!(
            domain = self.name,
            kind, key, reason, "a record of the active cluster cannot be written here, and is set aside"
        );
        Ok(())
    }

    async fn commit(
        &mut self,
        writes: Vec<Write>,
        mut value: DomainReplicaValue,
        audit: Vec<AuditValue>,
    ) -> Result<(), FollowError> {
        self.source.clone_into(&mut value.source);
        value.version = self.domain.version.clone();
        value.own_epoch = self.epoch.0;
        if !value.set_aside.is_empty() {
            let written = writes.iter().map(Write::id);
            written.for_each(|id| set_aside::remove(&mut value.set_aside, &id.kind.0, &id.key));
        }
        let aside = set_aside::changes(&self.known_aside, &value.set_aside);
        let aside = (!aside.is_empty()).then(|| self.audit("domain-replica", aside));
        let kinds: Vec<RecordKind> =
            self.scope.kinds.iter().map(|kind| kind.kind.clone()).chain([REPLICA]).collect();
        let plan = self.plan().expect([(replica_id(&self.name), self.version)]);
        let plan = plan.write(writes).write([put(replica_id(&self.name), &value)]).audit(audit).audit(aside);
        // Without a key of idempotency none was made before.
        if let CommitOutcome::Done(entry) = self.registry.attempt(&self.act(kinds), plan).await? {
            let written = entry.changes.iter().find(|change| change.after.id == replica_id(&self.name));
            self.version = written.map_or(self.version, |change| change.after.version);
        }
        self.known_aside.clone_from(&value.set_aside);
        self.value = value;
        Ok(())
    }

    /// Audit record of changes of this domain.
    fn audit(&self, kind: &str, changes: Vec<String>) -> AuditValue {
        own_body(self.registry.node_id(), FOLLOW, format!("{kind}/{}", self.name), changes)
    }

    /// A plan that rests on that the domain is as it is known here.
    fn plan(&self) -> CommitPlan {
        let is = |name: &str, version| Precondition::Version { id: domain_id(name), version };
        let mesh = (self.name != MESH_DOMAIN).then(|| is(MESH_DOMAIN, self.mesh_version));
        CommitPlan::read_in(self.epoch).require([is(&self.name, self.domain_version)]).require(mesh)
    }

    fn act(&self, kinds: impl IntoIterator<Item = RecordKind>) -> DaemonAct {
        let authority = match is_planted(PlantedFault::IgnoresFence) {
            true => WriteAuthority::Unfenced,
            false => WriteAuthority::Leader(self.fence.clone()),
        };
        DaemonAct { within: WITHIN, ..DaemonAct::new(FOLLOW, kinds, authority) }
    }
}

/// Whether a commit was refused for what it would write, and would be again.
fn is_refused(error: &FollowError) -> bool {
    matches!(error, FollowError::Commit(error) if is_invalid(error))
}

fn is_invalid(error: &CommitError) -> bool {
    matches!(error, CommitError::Store(StoreError::Invalid { .. }))
}

/// Tenures of a domain as another cluster tells them, with those that are known here alone.
fn merged(mut told: Vec<DomainTenureValue>, known: &[DomainTenureValue]) -> Vec<DomainTenureValue> {
    let of = |tenure: &DomainTenureValue| DomainVersion::of(tenure.version.as_ref());
    let missing: Vec<DomainTenureValue> =
        known.iter().filter(|known| told.iter().all(|told| of(told) != of(known))).cloned().collect();
    told.extend(missing);
    told.sort_by_key(|tenure| std::cmp::Reverse(of(tenure)));
    told.truncate(LINEAGE_MAX);
    told
}

/// Writes in as many portions as commits have room for.
pub(super) fn portions(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let (mut portions, mut bytes) = (Vec::<Vec<Write>>::new(), 0);
    for write in writes {
        let size = write.value().map_or(0, |value| value.len());
        match portions.last_mut().filter(|last| last.len() < RECORDS_MAX && bytes + size <= BYTES_MAX) {
            Some(last) => {
                bytes += size;
                last.push(write);
            }
            None => {
                bytes = size;
                portions.push(vec![write]);
            }
        }
    }
    portions
}

pub(super) fn cursor(text: &str) -> Result<Cursor, FollowError> {
    let parsed = parse_cursor(text).ok().flatten();
    parsed.ok_or_else(|| no_sense("a cursor is none"))
}

pub(super) fn no_sense(why: &str) -> FollowError {
    FollowError::NoSense(printable(why).to_string())
}

fn tenure_of(told: &pb::DomainTenure) -> Option<DomainTenureValue> {
    let since = parse_cursor(&told.since).ok()??;
    Some(DomainTenureValue {
        version: Some(told.version.parse::<DomainVersion>().ok()?.value()),
        cluster: told.cluster_id.clone(),
        epoch: since.epoch.0,
        first: since.revision.0,
        ..Default::default()
    })
}

impl From<Fault> for FollowError {
    fn from(fault: Fault) -> Self {
        Self::Source(fault.message)
    }
}

/// Domains of a view that are followed here.
pub(super) fn followed(domains: &Domains, cluster: &str) -> Vec<String> {
    let elsewhere = |domain: &&Domain| domain.value.active != cluster;
    domains.all().iter().filter(elsewhere).map(|domain| domain.name().to_owned()).collect()
}
