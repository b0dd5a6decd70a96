//! The follower of domains: on the node that leads `global-control`, what other clusters are active for is taken over as they commit it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use omnirelay_cluster_records::cluster_id;
use omnirelay_cluster_records::domain::{DomainKind, Domains, replica_id};
use omnirelay_core::scope::GLOBAL_CONTROL;
use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_host::chance::random_part;
use omnirelay_leadership_records::ScopeFences;
use omnirelay_registry::Registry;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::View;
use omnirelay_store::{LeaseFence, Record, RecordId, RecordKind, Version, Write};
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::fault::{Fault, unanswered};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::domain_replica_value::State;
use omnirelay_wire::reasons;
use omnirelay_wire::timestamp::{millis, timestamp};
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;
use tracing::{debug, info, warn};

use super::SILENT_AFTER;
use super::batches::append;
use super::compare::{DifferingRanges, DomainComparison, RangeDifference};
use super::planted::{PlantedFault, is_deaf, is_planted};
use super::replica::{DomainReplica, FollowError, cursor, followed, no_sense};
use super::ways::{SourceClient, SourceWays, client, endpoints};
use crate::as_count;
use pb::domain_frame::Told;

/// How soon a source is called again that was not reached, or has ended the stream.
const AGAIN: Duration = Duration::from_millis(500);
/// How soon at most, after it was so again and again.
const AGAIN_MAX: Duration = Duration::from_secs(15);
/// The same of one that is not reached.
const UNREACHED_AGAIN_MAX: Duration = Duration::from_secs(2);
/// How long the first frame may take.
const HELLO_WITHIN: Duration = Duration::from_secs(4);
/// How often it is kept that the source was heard, where nothing else is written.
const KEPT_EVERY: Duration = Duration::from_secs(2);
/// After how many beats in a row by which something differs all is compared.
const DIFFERS_MAX: u32 = 2;
/// How many bytes of what differs are kept until it is known that it may be written; of more all is fetched again. As many as one
/// answer has, since all domains of a cluster may be compared at once.
const KEPT_BYTES_MAX: usize = 2 << 20;
/// Of how many records that would be deleted by a comparison none needs an operator's word, and how many of a hundred.
const DELETED_FREELY: usize = 10;

/// Follows the domains of other clusters.
pub(crate) struct DomainFollower {
    pub registry: Arc<Registry>,
    /// The cluster of the daemon.
    cluster: String,
    kinds: Arc<[DomainKind]>,
    leads: Arc<dyn ScopeFences>,
    ways: Arc<dyn SourceWays>,
}

/// Ground on which a domain is followed: once it is another one, the domain is followed anew.
#[derive(Clone, PartialEq)]
struct FollowGround {
    domain: Option<Version>,
    source: Option<Version>,
    /// Namespaces that are of other domains here.
    others: Vec<String>,
}

impl DomainFollower {
    pub(crate) fn new(
        registry: Arc<Registry>,
        cluster: String,
        kinds: Arc<[DomainKind]>,
        leads: Arc<dyn ScopeFences>,
        ways: Arc<dyn SourceWays>,
    ) -> Self {
        Self { registry, cluster, kinds, leads, ways }
    }

    /// Does so for ever.
    pub(crate) async fn run(&self) {
        loop {
            let (names, fence) = self.followed();
            let token = fence.as_ref().map(|fence| fence.token);
            let view = self.registry.view();
            self.ways.keep_known(view);
            let all = async {
                if let Some(fence) = &fence {
                    join_all(names.iter().map(|name| self.follow(name, fence))).await;
                }
                std::future::pending::<()>().await;
            };
            let is_other = |_: &View| {
                let (now, fence) = self.followed();
                (now != names || fence.map(|fence| fence.token) != token).then_some(())
            };
            tokio::select! {
                biased;
                () = all => {}
                () = self.registry.look_until_found(is_other) => {}
            }
        }
    }

    /// Names of the domains that are active elsewhere, and the fence of this node while it is for it to follow them.
    fn followed(&self) -> (Vec<String>, Option<LeaseFence>) {
        let view = self.registry.view();
        let fence = self.leads.fence(GLOBAL_CONTROL).filter(|_| view.head().caught_up);
        let names = fence.as_ref().map(|_| followed(&Domains::of(view), &self.cluster));
        (names.unwrap_or_default(), fence)
    }

    fn ground(&self, view: &View, name: &str) -> FollowGround {
        let domains = Domains::of(view);
        let domain = domains.find(name);
        let source = domain.and_then(|domain| view.get(&cluster_id(&domain.value.active)));
        FollowGround {
            domain: domain.map(|domain| domain.record.record.version),
            source: source.map(|source| source.record.version),
            others: domains.namespaces_besides(name),
        }
    }

    /// Follows one domain, for ever.
    async fn follow(&self, name: &str, fence: &LeaseFence) {
        let (mut compare, mut told, mut pause) = (false, String::new(), AGAIN);
        loop {
            let ground = self.ground(self.registry.view(), name);
            let began = Instant::now();
            let is_other = |view: &View| (self.ground(view, name) != ground).then_some(());
            let ended = tokio::select! {
                biased;
                ended = self.follow_once(name, fence, compare) => ended,
                () = self.registry.look_until_found(is_other) => continue,
            };
            let Err(error) = ended else {
                // It was taken over what the source says of it, or it is active here: that is seen in a moment.
                sleep(AGAIN).await;
                continue;
            };
            // One that was followed for a while is followed again soon, and one that is not reached before long.
            let at_most = match error {
                FollowError::Source(_) | FollowError::Commit(_) => UNREACHED_AGAIN_MAX,
                FollowError::Cut
                | FollowError::Differs(_)
                | FollowError::NoSense(_)
                | FollowError::Braked(_)
                | FollowError::SetAside(_) => AGAIN_MAX,
            };
            pause = if began.elapsed() > AGAIN_MAX { AGAIN } else { (pause * 2).min(at_most) };
            let braked = matches!(error, FollowError::Braked(_));
            compare = braked || matches!(error, FollowError::Cut | FollowError::Differs(_));
            let error = chain(&error);
            if error == told {
                debug!(domain = name, error, "a domain is not followed yet");
            } else {
                warn!(domain = name, error, "a domain is not followed now; it is tried again");
            }
            told = error;
            let replica = self.registry.view().changed(&replica_id(name).kind);
            let is_released =
                |view: &View| (braked && view.changed(&replica_id(name).kind) != replica).then_some(());
            tokio::select! {
                biased;
                () = sleep(pause.mul_f64(1.0 - 0.2 * random_part())) => {}
                () = self.registry.look_until_found(is_released) => {}
            }
        }
    }

    async fn follow_once(&self, name: &str, fence: &LeaseFence, compare: bool) -> Result<(), FollowError> {
        let replica =
            DomainReplica::of(&self.registry, fence.clone(), (name, &self.cluster), self.kinds.clone());
        let Some(mut replica) = replica else { return Ok(()) };
        replica.begin().await?;
        let asked = pb::FollowDomainRequest {
            kinds: replica.kinds(),
            domain: name.to_owned(),
            cluster_id: self.cluster.clone(),
            since: replica.applied().map(|applied| applied.to_string()).unwrap_or_default(),
            compare: compare || !replica.is_whole(),
        };
        let mut last = format!("nobody has said where cluster `{}` is", replica.source);
        for endpoint in endpoints(self.registry.view(), &replica.source) {
            let called = self.call(&replica.source, &endpoint, asked.clone()).await;
            let (client, mut frames) = match called {
                Ok(called) => called,
                Err(error) => {
                    last = format!("{endpoint}: {error}");
                    continue;
                }
            };
            let hello = match next(&mut frames, HELLO_WITHIN).await {
                Ok(Some(Told::Hello(hello))) if hello.reconcile || !asked.compare => hello,
                Ok(_) => return Err(no_sense("it begins with no greeting, or compares nothing")),
                Err(error) => {
                    last = format!("{endpoint}: {}", chain(&error));
                    continue;
                }
            };
            if replica.meet(&hello).await? {
                info!(domain = name, version = hello.version, "a domain is active in another cluster");
                return Ok(());
            }
            replica.greet(cursor(&hello.head)?, &hello);
            if hello.reconcile {
                self.compare(&mut replica, client.clone(), &hello).await?;
            } else {
                replica.note(State::Following, "", |_| {}).await?;
            }
            info!(domain = name, source = replica.source, endpoint, "a domain is followed");
            return self.read(&mut replica, client, frames).await;
        }
        Err(FollowError::Source(last))
    }

    async fn call(
        &self,
        source: &str,
        endpoint: &str,
        asked: pb::FollowDomainRequest,
    ) -> Result<(SourceClient, Streaming<EncodedMessage<pb::DomainFrame>>), String> {
        let mut streams = client(&*self.ways, (source, endpoint), true)?;
        let frames = streams.follow(asked).await.map_err(|status| unanswered(&status))?;
        Ok((client(&*self.ways, (source, endpoint), false)?, frames.into_inner()))
    }

    /// Takes what the source sends, until it ends or is silent.
    async fn read(
        &self,
        replica: &mut DomainReplica<'_>,
        client: SourceClient,
        mut frames: Streaming<EncodedMessage<pb::DomainFrame>>,
    ) -> Result<(), FollowError> {
        let (mut kept, mut differs, mut waiting) = (Instant::now(), 0, None);
        loop {
            let told = match waiting.take() {
                Some(told) => Some(told),
                None => next(&mut frames, SILENT_AFTER).await?,
            };
            match told {
                Some(Told::Batch(mut batch)) => {
                    // What has come meanwhile goes into the same commit, so that none waits for those before it.
                    while waiting.is_none() {
                        let Some(told) = next(&mut frames, SILENT_AFTER).now_or_never() else { break };
                        waiting = match told? {
                            Some(Told::Batch(more)) => append(&mut batch, more).map(Told::Batch),
                            Some(Told::Announcement(_)) => None,
                            Some(other) => Some(other),
                            None => break,
                        };
                    }
                    if is_planted(PlantedFault::AcknowledgesFirst) {
                        self.acknowledge(client.clone(), replica, cursor(&batch.to)?);
                        sleep(AGAIN).await;
                    }
                    if is_planted(PlantedFault::AppliesNothing) || is_planted(PlantedFault::StandsStill) {
                        continue;
                    }
                    let durable = replica.apply(batch).await?;
                    kept = Instant::now();
                    self.acknowledge(client.clone(), replica, durable);
                }
                Some(Told::Beat(beat)) => {
                    let head = replica.hear(&beat)?;
                    differs = match replica.is_as(&beat.fingerprints) {
                        Some(true) => 0,
                        Some(false) => differs + 1,
                        None => differs,
                    };
                    if differs >= DIFFERS_MAX && !is_deaf() {
                        return Err(FollowError::Differs(head));
                    }
                    if kept.elapsed() >= KEPT_EVERY {
                        replica.keep().await?;
                        kept = Instant::now();
                        self.acknowledge(client.clone(), replica, head);
                    }
                }
                Some(Told::Announcement(_)) => {}
                Some(Told::Hello(_)) | None => return Err(no_sense("it greets twice, or says nothing")),
            }
        }
    }

    /// Says how far everything is durable here, beside what is read next; the answer says how far the source is.
    fn acknowledge(&self, mut client: SourceClient, replica: &DomainReplica<'_>, durable: Cursor) {
        let (domain, cluster_id) = (replica.name.clone(), self.cluster.clone());
        let time = replica.applied_time().map(timestamp);
        let durable = durable.to_string();
        let asked = pb::AcknowledgeDomainRequest { domain, cluster_id, durable, time };
        let answered = replica.answered.clone();
        tokio::spawn(async move {
            match client.acknowledge(asked).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    let time = answer.time.as_ref().map(millis).unwrap_or_default().0;
                    *answered.lock() = cursor(&answer.head).ok().map(|head| (head, time));
                }
                Err(status) => {
                    debug!(error = unanswered(&status), "how far a domain is followed was not told");
                }
            }
        });
    }

    /// Makes what is here what the source has, unless that needs an operator's word.
    async fn compare(
        &self,
        replica: &mut DomainReplica<'_>,
        client: SourceClient,
        hello: &pb::DomainHello,
    ) -> Result<(), FollowError> {
        let (head, began) = (cursor(&hello.head)?, Instant::now());
        if replica.value().state() != State::Braked {
            replica.note(State::Loading, "", |_| {}).await?;
        }
        let (name, scope) = (replica.name.clone(), replica.scope.clone());
        let view = self.registry.view();
        let of = (name.as_str(), &scope);
        let mut comparison = DomainComparison::begin(&self.registry, client, of, Some(head)).await?;
        let ranges = comparison.differing().await?;
        let is_trusted = hello.has_all && replica.applied().is_some();
        let (changes, kept) = self.count(&mut comparison, ranges.clone(), replica.applied_time()).await?;
        let is_approved = self.check_brake(replica, &changes, (is_trusted, head)).await?;
        replica.take_all_back();
        let (mut kept, mut ranges) = (kept.map(Vec::into_iter), ranges);
        let (mut deleted, mut stored) = (Vec::new(), BTreeMap::<RecordKind, Vec<String>>::new());
        while let Some(found) = match &mut kept {
            Some(kept) => kept.next(),
            None => comparison.next(&mut ranges).await?,
        } {
            replica.write_sent(found.others.into_iter().map(|other| other.there).collect()).await?;
            for RecordId { kind, key } in found.only_here.into_iter().map(|record| record.id) {
                match comparison.is_stored(&kind) && !is_approved {
                    true => stored.entry(kind).or_default().push(key),
                    false => deleted.push(RecordId { kind, key }),
                }
            }
        }
        // More than were counted may be gone by now; that is for the next comparison.
        let counted = if is_approved { changes.deleted + changes.histories } else { changes.deleted };
        deleted.truncate(if is_planted(PlantedFault::NeverDeletes) { 0 } else { counted });
        replica.write(deleted.into_iter().map(|id| Write::Delete { id }).collect()).await?;
        // Histories that are here alone stay, unless it is known that they were deleted.
        for (kind, keys) in stored {
            let deleted = comparison.deleted(&kind, &keys).await?;
            replica.write(deleted.into_iter().map(|id| Write::Delete { id }).collect()).await?;
        }
        let (time, now) = (hello.time.as_ref().map(millis).unwrap_or_default().0, view.now().0);
        let (questions, bytes, latest) = (comparison.questions(), comparison.bytes(), comparison.latest());
        let is_mixed = latest.revision > head.revision;
        let state = if is_mixed { State::Loading } else { State::Following };
        replica.mix_until(latest);
        replica
            .note(state, "", |value| {
                (value.epoch, value.applied, value.applied_time_ms) = (head.epoch.0, head.revision.0, time);
                (value.head, value.head_time_ms, value.compared_ms) = (head.revision.0, time, now);
                (value.braked_deletions, value.braked_replacements, value.braked_epoch) = (0, 0, 0);
                value.approval = None;
            })
            .await?;
        let ComparedDomain { added, renewed, replaced, deleted, .. } = changes;
        let took_ms = began.elapsed().as_millis();
        info!(
            domain = name,
            added,
            renewed,
            replaced,
            deleted,
            questions,
            bytes,
            took_ms,
            "a domain is as its active cluster has it"
        );
        Ok(())
    }

    /// Counts what would change; with all of it, unless that is more than is kept at once.
    async fn count(
        &self,
        comparison: &mut DomainComparison<'_>,
        mut ranges: DifferingRanges,
        known: Option<Millis>,
    ) -> Result<(ComparedDomain, Option<Vec<RangeDifference>>), FollowError> {
        let (mut counted, mut kept, mut bytes) = (ComparedDomain::default(), Some(Vec::new()), 0);
        while let Some(found) = comparison.next(&mut ranges).await? {
            for other in &found.others {
                match other.here {
                    None => counted.added += 1,
                    Some(_) if known.is_some_and(|known| other.is_newer_there(known)) => {
                        counted.renewed += 1;
                    }
                    Some(_) => counted.replaced += 1,
                }
            }
            let is_stored = |here: &&Record| comparison.is_stored(&here.id.kind);
            let histories = found.only_here.iter().filter(is_stored).count();
            counted.histories += histories;
            counted.deleted += found.only_here.len() - histories;
            bytes += found.bytes();
            kept = kept.filter(|_| bytes <= KEPT_BYTES_MAX);
            if let Some(kept) = &mut kept {
                kept.push(found);
            }
        }
        Ok((counted, kept))
    }

    /// Checks that what would change needs no operator's word, or has it; whether it has.
    async fn check_brake(
        &self,
        replica: &mut DomainReplica<'_>,
        changes: &ComparedDomain,
        (is_trusted, head): (bool, Cursor),
    ) -> Result<bool, FollowError> {
        let is_many = changes.deleted > DELETED_FREELY && changes.deleted > replica.held() / 100;
        let is_other = !is_trusted && changes.deleted + changes.replaced > 0;
        if !is_many && !is_other || is_planted(PlantedFault::NeverBrakes) {
            return Ok(false);
        }
        let deletions = as_count(changes.deleted + changes.histories);
        let replacements = as_count(changes.replaced);
        let is_approved = replica.value().approval.as_ref().is_some_and(|approval| {
            approval.epoch == head.epoch.0
                && deletions <= approval.deletions
                && (is_trusted || replacements <= approval.replacements)
        });
        if is_approved {
            return Ok(true);
        }
        let why = match (is_other, replica.applied()) {
            (true, None) => "it was not followed before",
            (true, Some(_)) => "its active cluster may have lost what is here",
            (false, _) => "those are more than a follower deletes by itself",
        };
        let reason = format!("{deletions} records would be deleted and {replacements} replaced: {why}");
        let note = replica.note(State::Braked, &reason, |value| {
            (value.braked_deletions, value.braked_replacements) = (deletions, replacements);
            value.braked_epoch = head.epoch.0;
        });
        note.await?;
        Err(FollowError::Braked(reason))
    }
}

/// Changes that a comparison comes to.
#[derive(Clone, Copy, Debug, Default)]
struct ComparedDomain {
    added: usize,
    /// How many are here, and were written anew there since.
    renewed: usize,
    /// How many are here, and are there as they were before, or as nobody can say.
    replaced: usize,
    deleted: usize,
    /// How many records of histories are here alone: they stay unless an operator has let pass what is braked.
    histories: usize,
}

/// The next frame of a stream.
async fn next(
    frames: &mut Streaming<EncodedMessage<pb::DomainFrame>>,
    within: Duration,
) -> Result<Option<Told>, FollowError> {
    let silent = || FollowError::Source(format!("the source was silent for {} ms", within.as_millis()));
    let frame = timeout(within, frames.message()).await.map_err(|_| silent())?;
    match frame {
        Ok(Some(frame)) => Ok(frame.into_message().told),
        Ok(None) => Err(FollowError::Source("the source has ended the stream".to_owned())),
        Err(status) => {
            let fault = Fault::from(&status);
            Err(if fault.is(reasons::EPOCH_CHANGED) { FollowError::Cut } else { fault.into() })
        }
    }
}
