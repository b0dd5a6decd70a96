//! Restoration: what a new epoch has lost is put back, by whom its kind says.
//!
//! What is a node's own, that node puts back at once. For the rest, each daemon that was there in the epoch before says in the
//! registry how far it had come, and how much it misses. Once all have said so, or their turn is over, whoever had come furthest puts
//! everything back: one daemon, so that what belongs together is of one moment. The next one in line does so where that one does not
//! come to it, as for a node that does not come to its own. Until then nobody else writes anything in the place of what is missing.

mod mount;
#[cfg(test)]
mod reload_test;
pub mod store;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow::{self, Continue};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::text::chain;
use omnirelay_host::live::Live;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::SCHEMA_VERSION;
use omnirelay_nouns::merge::{MergeOutcome, RecordMergers};
use omnirelay_nouns::request::MutationRequest;
use omnirelay_peer_records::{nodes_there, own_session, peer_id};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority, put};
use omnirelay_registry::audit_record::{named, own_body};
use omnirelay_registry::epoch_loss::{FollowedSpan, LostRecord, LostRecords, RESTORE, RestoredBy};
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::reactor::LookPace;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_restoration_records::{
    RESTORATION, RestorationAccount, account_id, accounts, given_up_id, said,
};
use omnirelay_store::{
    CommitError, Epoch, GroupRef, Record, RecordId, RecordKind, Revision, StoreError, Version, Write,
};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::RestorationValue;
use omnirelay_wire::rpc::store_service;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, info, warn};

pub use mount::{KINDS, mount};

/// How long daemons have to say how far they had come: each meets a new epoch within a beat, a second at most. Too low: what one
/// that is put last knows is not waited for. Too high: what is lost is away for longer.
const TURN: Duration = Duration::from_secs(2);
/// How long each in line has before the next one does it.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// How often it is looked at most as others say how far they had come, and at first whether this node is there itself.
const PACE: Duration = Duration::from_millis(100);
/// How often it is looked whether those that come first live.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long after a commit that failed, or did not do it all, it is looked again.
const AGAIN: Duration = Duration::from_millis(500);
/// How many records are put back in one commit, and how many bytes of values.
const AT_ONCE: usize = 128;
const BYTES_AT_ONCE: usize = 2 * 1024 * 1024;

/// Puts back what this daemon knows and a new epoch lacks.
pub struct LostRecordRestorer {
    registry: Arc<Registry>,
    mergers: Arc<RecordMergers>,
    /// How long the node that a record names has for it before others do it.
    own_turn: Live<Duration>,
    /// Until when it is left to others to put back what this daemon may not write, by the first of the kinds.
    left_to_others: Mutex<BTreeMap<RecordKind, Instant>>,
}

/// Write that puts a record back.
struct RecordPut {
    id: RecordId,
    /// That it replaces; 0: there is nothing.
    version: Version,
    value: Bytes,
    /// What it is part of, which must not be there yet.
    part_of: Option<RecordId>,
}

/// How far a daemon had come in the epoch before; in an earlier one, while it has something to restore of that which is nobody's own.
fn reached(lost: &LostRecords, followed: FollowedSpan) -> Revision {
    let oldest = lost.records().filter(|of| of.is_of_nobody()).min_by_key(|of| of.lost.since());
    oldest.map_or(followed.until, |of| of.lost.reached())
}

/// Rest that is not put back of what one daemon tried to put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum UnrestoredRest {
    Nothing,
    /// What nobody can say yet.
    Unknown,
    /// It may not write some of it.
    ToOthers,
}

impl LostRecordRestorer {
    pub fn new(
        registry: Arc<Registry>,
        mergers: Arc<RecordMergers>,
        own_turn: impl Into<Live<Duration>>,
    ) -> Self {
        Self { registry, mergers, own_turn: own_turn.into(), left_to_others: Mutex::default() }
    }

    /// Does so for ever. What is nobody's own does not wait for what nodes own, which may be much.
    pub async fn run(&self) {
        let epoch = |view: &View| view.head().epoch;
        let pace = || LookPace { sense: |view: &View| view.changed(&RESTORATION), between: PACE };
        let of_nobody = self.registry.react_paced(epoch, pace(), || self.look());
        let owned = self.registry.react_paced(epoch, pace(), || self.look_at_owned());
        tokio::join!(of_nobody, owned);
    }

    /// Says what is missing, and puts back what is nobody's own.
    async fn look(&self) -> Option<Instant> {
        let (registry, epoch) = (&self.registry, self.registry.view().head().epoch);
        self.heed_given_up(epoch);
        let lost = self.still_lost(&accounts(registry.view(), epoch));
        if let Err(error) = self.account(epoch, &lost).await {
            debug!(error = %chain(&error), "what is missing of the epoch before was not entered; trying again");
            return Some(Instant::now() + AGAIN);
        }
        if lost.families.is_empty() {
            return None;
        }
        // What nodes own comes back without anything that is looked at here.
        let mut again = Some(Instant::now() + LOOK_AGAIN);
        // By whose word it is this daemon's turn, by that it lets go what is deleted.
        let accounts = accounts(registry.view(), epoch);
        let lost = self.still_lost(&accounts);
        let after = self.turn(&accounts);
        let Some(met) = self.met(&lost, LostRecord::is_of_nobody) else { return again };
        for family in lost.families.iter().filter(|family| family.iter().any(LostRecord::is_of_nobody)) {
            let family: Vec<&LostRecord> = family.iter().filter(|of| of.is_of_nobody()).collect();
            let at = self.put_when_due(epoch, &family, met + after).await;
            again = earliest(again, at);
        }
        again
    }

    /// Since when all of some sort is known to be lost, and the present epoch is; `None`: nothing is.
    fn met(&self, lost: &LostRecords, is_of_sort: fn(&LostRecord) -> bool) -> Option<Instant> {
        let since = lost.records().filter(|of| is_of_sort(of)).map(|of| of.lost.since()).max()?;
        let losses = self.registry.losses();
        let followed = losses.followed(self.registry.view().head().epoch);
        Some(followed.map_or(since, |followed| followed.met.max(since)))
    }

    /// Puts back what nodes own: this node its own, and what others do not come to.
    async fn look_at_owned(&self) -> Option<Instant> {
        let (registry, epoch) = (&self.registry, self.registry.view().head().epoch);
        let accounts = accounts(registry.view(), epoch);
        let lost = self.still_lost(&accounts);
        let owned: Vec<&LostRecord> = lost.records().filter(|of| !of.is_of_nobody()).collect();
        let met = self.met(&lost, |of| !of.is_of_nobody())?;
        // What a node says of itself it writes by itself.
        let (own, others): (Vec<&LostRecord>, Vec<&LostRecord>) = owned.into_iter().partition(|of| of.is_own);
        let own: Vec<&LostRecord> = own.into_iter().filter(|of| of.by == RestoredBy::Owner).collect();
        let mut again = None;
        if !own.is_empty() {
            let is_there = registry.view().get(&peer_id(registry.node_id())).is_some();
            let at = match is_there {
                true => self.put_when_due(epoch, &own, met).await,
                false => Instant::now() + PACE.max(met.elapsed() / 8),
            };
            again = earliest(again, at);
        }
        if !others.is_empty() {
            let place = self.place(&accounts, |account| account.value.missing_owned > 0);
            let turn = self.own_turn.get().max(TURN) + TAKE_OVER * place;
            let at = self.put_when_due(epoch, &others, met + turn).await;
            again = earliest(again, at);
        }
        again
    }

    /// Puts back what is due, and says when to look again.
    async fn put_when_due(&self, epoch: Epoch, some: &[&LostRecord], due: Instant) -> Instant {
        let (now, kind) = (Instant::now(), some.first().map(|of| of.id().kind.clone()));
        let left_until = kind.as_ref().and_then(|kind| self.left_to_others.lock().get(kind).copied());
        let due = left_until.map_or(due, |until| until.max(due));
        if now < due {
            // Whoever comes first may end before it has done it.
            return due.min(now + LOOK_AGAIN);
        }
        match self.put_all_back(epoch, some).await {
            Ok(UnrestoredRest::Nothing) => Instant::now() + AGAIN,
            Ok(UnrestoredRest::Unknown) => Instant::now() + LOOK_AGAIN,
            Ok(UnrestoredRest::ToOthers) => {
                let until = Instant::now() + TAKE_OVER;
                self.left_to_others.lock().extend(kind.map(|kind| (kind, until)));
                until
            }
            Err(error) => {
                warn!(error = %chain(&error), "lost records were not put back; trying again");
                Instant::now() + AGAIN
            }
        }
    }

    fn heed_given_up(&self, epoch: Epoch) {
        let registry = &self.registry;
        if said(registry.view(), &given_up_id(), epoch).is_some() {
            let count = registry.losses().give_up(registry.view());
            if count > 0 {
                warn!(count, "what the epoch before had is given up, as an operator has said");
            }
        }
    }

    /// What is lost, but for what others have merged, and what somebody else knows to be gone, who had come further and has
    /// nothing of its sort to restore any more: that is let go.
    fn still_lost(&self, accounts: &[RestorationAccount]) -> LostRecords {
        let losses = self.registry.losses();
        let mut lost = losses.lost(self.registry.view());
        if lost.families.is_empty() {
            return lost;
        }
        let done = |is_done: fn(&RestorationValue) -> bool| -> BTreeMap<(u64, u64), &str> {
            let done = accounts.iter().filter(|account| is_done(&account.value));
            done.map(|of| ((of.value.began, of.value.reached), of.node_id.as_str())).collect()
        };
        let of_nobody = done(|value| value.missing == 0);
        let owned = done(|value| value.missing_owned == 0);
        let is_lost = |of: &LostRecord| {
            if of.is_merged && self.registry.view().get(of.id()).is_some_and(|now| self.is_whole(of, &now)) {
                losses.note_restored(of.id());
                return false;
            }
            // Of older copies of what nodes own nobody says anything but their owner.
            let done = match of.is_missing || of.is_merged {
                true if of.is_of_nobody() => &of_nobody,
                true => &owned,
                false => return true,
            };
            let reached = of.lost.reached().0;
            let knows = |&(&(began, until), _): &(&(u64, u64), &&str)| began <= reached && until > reached;
            let Some((_, node)) = done.iter().find(knows) else { return true };
            info!(record = %of.id(), node, "was changed or deleted by the end of the epoch before, as a node says that had seen more of it");
            losses.note_superseded(of.id());
            false
        };
        lost.families.iter_mut().for_each(|family| family.retain(is_lost));
        lost.families.retain(|family| !family.is_empty());
        lost
    }

    /// Whether what is there of a record that is merged has all that was lost of it.
    fn is_whole(&self, of: &LostRecord, now: &ViewRecord) -> bool {
        self.mergers.of(&of.id().kind).is_some_and(|merger| merger.is_whole(&of.lost, now))
    }

    /// Enters how far this daemon had come, and what it misses; once, and once more when that is all there. One that was not there
    /// in the epoch before takes back what it said in a life before.
    async fn account(&self, epoch: Epoch, lost: &LostRecords) -> Result<(), CommitError> {
        let (registry, id) = (&self.registry, account_id(self.registry.node_id()));
        let known = said(registry.view(), &id, epoch);
        let followed = registry.losses().followed(epoch);
        let write = match (known, followed) {
            (None, None) => return Ok(()),
            (Some(_), None) => Write::Delete { id },
            (known, Some(followed)) => {
                let of_nobody = lost.records().filter(|of| of.is_of_nobody()).count() as u64;
                let owned = lost.records().filter(|of| !of.is_of_nobody()).count() as u64;
                let has_said = |known: &Arc<RestorationValue>| {
                    (known.missing == 0, known.missing_owned == 0) == (of_nobody == 0, owned == 0)
                };
                if known.as_ref().is_some_and(has_said) {
                    return Ok(());
                }
                let value = RestorationValue {
                    epoch: epoch.0,
                    reached: known.map_or_else(|| reached(lost, followed).0, |known| known.reached),
                    missing: of_nobody,
                    began: followed.began.0,
                    missing_owned: owned,
                    unknown_fields: Default::default(),
                };
                put(id, &value)
            }
        };
        let act = DaemonAct::new("restoration.account", [RESTORATION], WriteAuthority::Unfenced);
        registry.attempt(&act, CommitPlan::read_in(epoch).write([write])).await.map(drop)
    }

    /// How long after an epoch was met it is for this daemon to put back what is nobody's own.
    fn turn(&self, accounts: &[RestorationAccount]) -> Duration {
        let turn = if self.have_all_said(accounts) { Duration::ZERO } else { TURN };
        turn + TAKE_OVER * self.place(accounts, |account| account.value.missing > 0)
    }

    /// How many come before this daemon: of those who live and have something of it to restore the ones that had come further, and of
    /// those alike the first by name.
    fn place(&self, accounts: &[RestorationAccount], has_to: impl Fn(&RestorationAccount) -> bool) -> u32 {
        let own = accounts.iter().find(|account| account.node_id == self.registry.node_id());
        let reached = own.map_or(0, |own| own.value.reached);
        let own = (Reverse(reached), self.registry.node_id());
        let comes_before = |account: &&RestorationAccount| {
            has_to(account)
                && account.may_live
                && (Reverse(account.value.reached), account.node_id.as_str()) < own
        };
        u32::try_from(accounts.iter().filter(comes_before).count()).unwrap_or(u32::MAX)
    }

    /// Whether all nodes that were there have said how far they had come: then it is known who had come furthest.
    fn have_all_said(&self, accounts: &[RestorationAccount]) -> bool {
        let said: BTreeSet<&str> = accounts.iter().map(|account| account.node_id.as_str()).collect();
        let nodes = nodes_there(&self.registry);
        nodes.contains(self.registry.node_id()) && nodes.iter().all(|node| said.contains(node.as_str()))
    }

    /// Puts back what belongs together.
    async fn put_all_back(&self, epoch: Epoch, some: &[&LostRecord]) -> Result<UnrestoredRest, CommitError> {
        // Who was held up, and is not there any more, revives nothing that was deleted meanwhile.
        let Some(session) = own_session(&self.registry) else { return Ok(UnrestoredRest::Unknown) };
        let (puts, left) = self.puts(some).await.map_err(CommitError::Store)?;
        Ok(self.put_family_back(epoch, &session, &puts).await?.max(left))
    }

    /// How lost records are to be written, in the order in which they are given; what is not to be is noted.
    async fn puts(&self, some: &[&LostRecord]) -> Result<(Vec<RecordPut>, UnrestoredRest), StoreError> {
        let (view, losses) = (self.registry.view(), self.registry.losses());
        let deleted = self.deleted_since(some).await?;
        deleted.iter().for_each(|id| losses.note_superseded(id));
        let (mut puts, mut left, mut other) = (Vec::new(), UnrestoredRest::Nothing, BTreeSet::new());
        for of in some.iter().filter(|of| !deleted.contains(of.id())) {
            let now = view.get(of.id());
            match self.merged(of, now.as_deref()).await? {
                MergeOutcome::Unknown => left = UnrestoredRest::Unknown,
                MergeOutcome::Superseded if of.is_merged || of.is_own => losses.note_superseded(of.id()),
                // It is let go together with its parts.
                MergeOutcome::Superseded => _ = other.insert(of.id().clone()),
                MergeOutcome::Restored => losses.note_restored(of.id()),
                MergeOutcome::Put(value) => puts.push(RecordPut {
                    id: of.id().clone(),
                    version: now.map_or(Version(0), |now| now.record.version),
                    value,
                    part_of: of.part_of.clone(),
                }),
            }
        }
        puts.retain(|put: &RecordPut| put.part_of.as_ref().is_none_or(|whole| !other.contains(whole)));
        Ok((puts, left))
    }

    async fn merged(&self, of: &LostRecord, now: Option<&ViewRecord>) -> Result<MergeOutcome, StoreError> {
        if of.is_merged {
            if now.is_some_and(|now| self.is_whole(of, now)) {
                return Ok(MergeOutcome::Restored);
            }
            let merger = self.mergers.of(&of.id().kind);
            let Some(merger) = merger else { return Ok(MergeOutcome::Unknown) };
            return merger.merge(&self.registry, &of.lost, now).await;
        }
        let was = &of.lost.record.record;
        Ok(match now {
            Some(now) if now.record.value == was.value => MergeOutcome::Restored,
            Some(now) if !of.is_own || of.lost.is_older_than(&now.record) => MergeOutcome::Superseded,
            Some(_) | None => MergeOutcome::Put(was.value.clone()),
        })
    }

    /// What this daemon may not write it leaves to the next in line, with what that is a part of, and puts back what is behind it.
    async fn put_family_back(
        &self,
        epoch: Epoch,
        session: &GroupRef,
        family: &[RecordPut],
    ) -> Result<UnrestoredRest, CommitError> {
        let (mut left, mut without_parts) = (UnrestoredRest::Nothing, BTreeSet::new());
        for some in portions(family) {
            if said(self.registry.view(), &given_up_id(), epoch).is_some() {
                return Ok(UnrestoredRest::Nothing);
            }
            let due: Vec<&RecordPut> = some.iter().filter(|put| !without_parts.contains(&put.id)).collect();
            match self.put_back(epoch, session, due).await {
                Ok(()) => {}
                Err(error) if is_denied(&error) => {
                    let error = chain(&error);
                    debug!(%error, count = some.len(), "lost records left to a daemon that may write them");
                    without_parts.extend(some.iter().filter_map(|put| put.part_of.clone()));
                    left = UnrestoredRest::ToOthers;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }

    /// What somebody has made and deleted in this epoch: theirs is the last word.
    async fn deleted_since(&self, some: &[&LostRecord]) -> Result<BTreeSet<RecordId>, StoreError> {
        let view = self.registry.view();
        let gone = some.iter().filter(|of| view.get(of.id()).is_none());
        let gone: BTreeMap<&RecordId, &LostRecord> = gone.map(|of| (of.id(), *of)).collect();
        let mut deleted = BTreeSet::new();
        let mut look_at = |trace: Record| -> ControlFlow<()> {
            let is_newer = |of: &&LostRecord| of.lost.is_older_than(&trace);
            if trace.deleted && gone.get(&trace.id).is_some_and(is_newer) {
                deleted.insert(trace.id);
            }
            Continue(())
        };
        // Of what a node owns, only that is looked through.
        let mut prefixes = BTreeSet::new();
        for of in gone.values() {
            let (kind, key) = (&of.id().kind, &of.id().key);
            let of_node = key.split_once('/').map(|(node, _)| format!("{node}/"));
            match of_node {
                _ if of.is_of_nobody() => _ = prefixes.insert((kind, String::new())),
                Some(of_node) => _ = prefixes.insert((kind, of_node)),
                None => _ = self.registry.read_one(kind, key).await?.map(&mut look_at),
            }
        }
        for (kind, prefix) in prefixes {
            self.registry.each_behind(kind, &prefix, &prefix, &mut look_at).await?;
        }
        Ok(deleted)
    }

    /// Writes some records, but for those that somebody else has written meanwhile.
    async fn put_back(
        &self,
        epoch: Epoch,
        session: &GroupRef,
        mut some: Vec<&RecordPut>,
    ) -> Result<(), CommitError> {
        loop {
            match self.write(epoch, session, &some).await {
                // The view will show that.
                Err(CommitError::Conflict { id, .. }) if some.iter().any(|put| put.id == id) => {
                    some.retain(|put| put.id != id);
                }
                written => return written,
            }
        }
    }

    async fn write(&self, epoch: Epoch, session: &GroupRef, some: &[&RecordPut]) -> Result<(), CommitError> {
        let registry = &self.registry;
        let version = |id: &RecordId| registry.view().get(id).map_or(Version(0), |now| now.record.version);
        let is_due = |put: &&RecordPut| {
            // What it was decided by may have been heeded otherwise meanwhile.
            let is_lost = registry.losses().of(registry.view(), &put.id).is_some();
            is_lost && version(&put.id) == put.version
        };
        let due: Vec<&RecordPut> = some.iter().copied().filter(is_due).collect();
        if due.is_empty() {
            return Ok(());
        }
        let act = DaemonAct::new(
            RESTORE,
            due.iter().map(|put| put.id.kind.clone()),
            WriteAuthority::Session(session.clone()),
        );
        let writes =
            due.iter().map(|put| Write::Put { id: put.id.clone(), value: put.value.clone(), group: None });
        // Parts come before their whole, so that they are never seen with another one.
        let wholes: BTreeSet<&RecordId> = some.iter().filter_map(|put| put.part_of.as_ref()).collect();
        let wholes = wholes.into_iter().filter(|id| registry.losses().awaits(registry.view(), id));
        let expected = due.iter().map(|put| (put.id.clone(), put.version));
        let expected: BTreeMap<RecordId, Version> =
            expected.chain(wholes.map(|id| (id.clone(), Version(0)))).collect();
        let named = named(due.iter().map(|put| put.id.to_string()).collect());
        let body = own_body(registry.node_id(), RESTORE, format!("registry/{epoch}"), named);
        let plan = CommitPlan::read_in(epoch).expect(expected).write(writes).audit([body]);
        registry.attempt(&act, plan).await?;
        due.iter().for_each(|put| registry.losses().note_restored(&put.id));
        info!(count = due.len(), %epoch, "lost records put back");
        Ok(())
    }
}

/// The first of two instants.
fn earliest(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// Whether the store, or the mesh, does not let this daemon write it, as others may.
fn is_denied(error: &CommitError) -> bool {
    matches!(error, CommitError::KindDenied { .. } | CommitError::Store(StoreError::Denied { .. }))
}

/// The records of a family in portions that fit into a commit each, none of them of two kinds.
fn portions(family: &[RecordPut]) -> Vec<&[RecordPut]> {
    let (mut portions, mut rest) = (Vec::new(), family);
    while let Some(first) = rest.first() {
        let (mut bytes, kind) = (0, &first.id.kind);
        let fits = |put: &&RecordPut| {
            bytes += put.value.len();
            bytes <= BYTES_AT_ONCE && put.id.kind == *kind
        };
        let count = rest.iter().take(AT_ONCE).take_while(fits).count().max(1);
        let (some, others) = rest.split_at(count);
        portions.push(some);
        rest = others;
    }
    portions
}

/// What is to be put back, by kind.
fn missing_counts(registry: &Registry) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for of in registry.losses().lost(registry.view()).missing() {
        *counts.entry(of.id().kind.0.to_string()).or_default() += 1;
    }
    counts
}

/// Trouble with records that are missing still; `None`: none is.
pub fn trouble(registry: &Registry) -> Option<String> {
    let kinds: Vec<String> =
        missing_counts(registry).iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    (!kinds.is_empty()).then(|| {
        format!(
            "records of the epoch before are missing, and nothing is written in their place: {}",
            kinds.join(", ")
        )
    })
}

/// Has all daemons give up what the present epoch has lost and nobody has put back.
///
/// # Errors
/// Those of [`MutationRequest::of_record`].
pub async fn give_up(
    registry: &Registry,
    caller: &Caller,
    asked: pb::GiveUpLostRequest,
) -> Result<pb::GiveUpLostResponse, Fault> {
    registry.ready_for("").await?;
    let hash = request_hash(&asked);
    let pb::GiveUpLostRequest { dry_run, reason } = asked;
    let (rpc, id) = (store_service::GIVE_UP_LOST, "lost".to_owned());
    let asked = MutationRequest { caller, rpc, id, reason, expected_version: None, dry_run, hash };
    asked
        .of_records(registry, given_up_id(), &[], |reader| {
            let missing = missing_counts(registry);
            let changes = missing.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
            let value = RestorationValue { epoch: reader.epoch().0, ..Default::default() };
            // Others may miss what this daemon does not, so that it is noted in any case.
            let is_noted = said(registry.view(), &given_up_id(), reader.epoch()).is_some();
            let writes = if is_noted { Vec::new() } else { vec![put(given_up_id(), &value)] };
            let answer =
                pb::GiveUpLostResponse { schema_version: SCHEMA_VERSION.to_owned(), ..Default::default() };
            Ok(MutationDecision { writes, changes, answer })
        })
        .await
}

#[cfg(test)]
#[path = "restoration_test.rs"]
mod tests;
