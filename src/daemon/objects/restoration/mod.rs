//! Restoration: what a new epoch has lost whole, and what is nobody's own, is put back as whoever knew most of the epoch before had it.
//!
//! Each daemon that was there then says in the registry how far it had come, and how much it misses. After a turn, in which all
//! can do so, whoever had come furthest puts everything back: one daemon, so that what belongs together is of one moment. The next one
//! in line does so where that one does not come to it. Until then nobody writes anything in the place of what is missing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow::Continue;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_store::{CommitError, Epoch, Kind, Record, RecordId, Revision, StoreError, Version, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::pb::omnirelay::store::v1::RestorationValue;
use omnirelay_wire::rpc::store_service;
use prost::Message as _;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::SCHEMA_VERSION;
use super::asked::{Asked, answers};
use super::peers::session_id;
use crate::daemon::identity::caller::Caller;
use crate::daemon::registry::Registry;
use crate::daemon::registry::act::{Act, Authority, Plan};
use crate::daemon::registry::audit_record::{named, own_body};
use crate::daemon::registry::epoch_loss::{FollowedSpan, MissingRecord, MissingRecords, RESTORE};
use crate::daemon::registry::mutate::{Decision, request_hash};
use crate::daemon::registry::view::View;

/// Records of what daemons miss of an epoch.
pub const RESTORATION: Kind = Kind::of("restoration");

/// What the keys of accounts begin with.
const NODE: &str = "node/";
/// How long daemons have to say how far they had come: each meets a new epoch within a beat, a second at most. Too low: what one
/// that is put last knows is not waited for. Too high: what is lost is away for longer.
const TURN: Duration = Duration::from_secs(2);
/// How long each in line has before the next one does it.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// How often it is looked whether those that come first live.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long after a commit that failed, or did not do it all, it is looked again.
const AGAIN: Duration = Duration::from_millis(500);
/// How many records are put back in one commit, and how many bytes of values.
const AT_ONCE: usize = 128;
const BYTES_AT_ONCE: usize = 2 * 1024 * 1024;

/// Puts back what this daemon knows and a new epoch lacks.
pub struct RecordRestorer {
    pub registry: Arc<Registry>,
}

fn account_id(node_id: &str) -> RecordId {
    RecordId::new(RESTORATION, format!("{NODE}{node_id}"))
}

fn given_up_id() -> RecordId {
    RecordId::new(RESTORATION, "given-up")
}

/// What a record of an epoch says; `None`: it is of another one, or there is none.
fn said(view: &View, id: &RecordId, epoch: Epoch) -> Option<Arc<RestorationValue>> {
    view.get(id)?.value::<RestorationValue>().filter(|value| value.epoch == epoch.0)
}

/// Whether nobody who lives misses anything of what an epoch has lost, as far as daemons have said.
pub fn is_over(view: &View, epoch: Epoch) -> bool {
    !accounts(view, epoch).iter().any(|account| is_missing(view, account))
}

/// Whether somebody who lives misses something.
fn is_missing(view: &View, account: &Account) -> bool {
    account.value.missing > 0 && view.live_group(&session_id(&account.node_id)).is_some()
}

/// What a daemon has said of an epoch.
struct Account {
    node_id: String,
    value: Arc<RestorationValue>,
}

fn accounts(view: &View, epoch: Epoch) -> Vec<Account> {
    let records = view.list(&RESTORATION).records;
    let each = records.iter().filter_map(|record| {
        let node_id = record.record.id.key.strip_prefix(NODE)?.to_owned();
        let value = record.value::<RestorationValue>().filter(|value| value.epoch == epoch.0)?;
        Some(Account { node_id, value })
    });
    each.collect()
}

/// How far a daemon had come when the oldest began of what it misses.
fn reached(missing: &MissingRecords, followed: Option<FollowedSpan>) -> Revision {
    let of_missing = missing.records().map(|of| of.reached).min();
    of_missing.or(followed.map(|followed| followed.until)).unwrap_or_default()
}

/// What is not put back of what one daemon tried to put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    /// It may not write some of it.
    ToOthers,
}

impl RecordRestorer {
    /// Does so for ever.
    pub async fn run(self) {
        let registry = self.registry.clone();
        let sense = |view: &View| (view.head().epoch, view.changed(&RESTORATION));
        registry.react(sense, || self.look()).await;
    }

    async fn look(&self) -> Option<Instant> {
        let (registry, epoch) = (&self.registry, self.registry.view().head().epoch);
        self.heed_given_up(epoch);
        self.heed_others(epoch);
        let missing = registry.losses().missing(registry.view());
        if let Err(error) = self.account(epoch, &missing).await {
            debug!(error = %chain(&error), "what is missing of the epoch before was not entered; trying again");
            return Some(Instant::now() + AGAIN);
        }
        let due = missing.since()? + TURN + TAKE_OVER * self.place(epoch, reached(&missing, None));
        if Instant::now() < due {
            // Whoever comes first may end before it has done it.
            return Some(due.min(Instant::now() + LOOK_AGAIN));
        }
        match self.put_all_back(epoch, missing).await {
            Ok(Left::Nothing) => {}
            Ok(Left::ToOthers) => return Some(Instant::now() + TAKE_OVER),
            Err(error) => warn!(error = %chain(&error), "lost records were not put back; trying again"),
        }
        Some(Instant::now() + AGAIN)
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

    /// Lets go what somebody else knows to be gone: who had come further, and misses nothing any more.
    fn heed_others(&self, epoch: Epoch) {
        let (view, losses) = (self.registry.view(), self.registry.losses());
        let done: Vec<Account> =
            accounts(view, epoch).into_iter().filter(|account| account.value.missing == 0).collect();
        if done.is_empty() {
            return;
        }
        for of in losses.missing(view).records() {
            let knows = |account: &Account| {
                account.value.began <= of.reached.0 && account.value.reached > of.reached.0
            };
            if let Some(by) = done.iter().find(|account| knows(account)) {
                info!(record = %of.record.record.id, node = by.node_id, "was changed or deleted by the end of the epoch before, as a node says that had seen more of it");
                losses.note_superseded(&of.record.record.id);
            }
        }
    }

    /// Enters how far this daemon had come, and what it misses; once, and once more when that is all there. One that was not there
    /// in the epoch before takes back what it said in a life before.
    async fn account(&self, epoch: Epoch, missing: &MissingRecords) -> Result<(), CommitError> {
        let (registry, id) = (&self.registry, account_id(self.registry.node_id()));
        let known = said(registry.view(), &id, epoch);
        let followed = registry.losses().followed(epoch);
        let write = match (known, followed) {
            (None, None) => return Ok(()),
            (Some(_), None) => Write::Delete { id },
            (known, Some(followed)) => {
                let count = missing.records().count() as u64;
                if known.as_ref().is_some_and(|known| (known.missing == 0) == (count == 0)) {
                    return Ok(());
                }
                let value = RestorationValue {
                    epoch: epoch.0,
                    reached: known.map_or_else(|| reached(missing, Some(followed)).0, |known| known.reached),
                    missing: count,
                    began: followed.began.0,
                    unknown_fields: Default::default(),
                };
                Write::Put { id, value: value.encode_to_vec().into(), group: None }
            }
        };
        let act = Act::new("restoration.account", [RESTORATION], Authority::Unfenced);
        registry.attempt(&act, Plan::read_in(epoch).write([write])).await.map(drop)
    }

    /// How many come before this daemon: of those who live and miss something the ones that had come further, and of those alike the first
    /// by name.
    fn place(&self, epoch: Epoch, reached: Revision) -> u32 {
        let (view, own) = (self.registry.view(), (Reverse(reached.0), self.registry.node_id()));
        let comes_before = |account: &Account| {
            is_missing(view, account) && (Reverse(account.value.reached), account.node_id.as_str()) < own
        };
        let count = accounts(view, epoch).into_iter().filter(comes_before).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Puts back all that belongs together, and goes on with the rest where that cannot be done.
    async fn put_all_back(&self, epoch: Epoch, missing: MissingRecords) -> Result<Left, CommitError> {
        let deleted = self.deleted_since(&missing).await.map_err(CommitError::Store)?;
        deleted.iter().for_each(|id| self.registry.losses().note_superseded(id));
        let mut outcome = Ok(Left::Nothing);
        for mut family in missing.families {
            family.retain(|of| !deleted.contains(&of.record.record.id));
            outcome = match (self.put_family_back(epoch, &family).await, outcome) {
                (Ok(Left::ToOthers), Ok(_)) => Ok(Left::ToOthers),
                (Ok(_), before) => before,
                (failed, before) => before.and(failed),
            };
        }
        outcome
    }

    /// What this daemon may not write it leaves to the next in line, with what that is a part of, and puts back what is behind it.
    async fn put_family_back(&self, epoch: Epoch, family: &[MissingRecord]) -> Result<Left, CommitError> {
        let (mut left, mut without_parts) = (Left::Nothing, BTreeSet::new());
        for some in portions(family) {
            if said(self.registry.view(), &given_up_id(), epoch).is_some() {
                return Ok(Left::Nothing);
            }
            let is_whole = |of: &&MissingRecord| !without_parts.contains(&of.record.record.id);
            let due: Vec<MissingRecord> = some.iter().filter(is_whole).cloned().collect();
            match self.put_back(epoch, due).await {
                Ok(()) => {}
                Err(error) if is_denied(&error) => {
                    let error = chain(&error);
                    debug!(%error, count = some.len(), "lost records left to a daemon that may write them");
                    without_parts.extend(some.iter().filter_map(|of| of.part_of.clone()));
                    left = Left::ToOthers;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }

    /// What somebody has made and deleted in this epoch: theirs is the last word.
    async fn deleted_since(&self, missing: &MissingRecords) -> Result<BTreeSet<RecordId>, StoreError> {
        let (losses, view) = (self.registry.losses(), self.registry.view());
        let kinds: BTreeSet<&Kind> = missing.records().map(|of| &of.record.record.id.kind).collect();
        let mut deleted = BTreeSet::new();
        for kind in kinds {
            let each = |trace: Record| {
                let is_newer = || losses.of(view, &trace.id).is_some_and(|lost| lost.is_older_than(&trace));
                if trace.deleted && is_newer() {
                    deleted.insert(trace.id);
                }
                Continue(())
            };
            self.registry.each_behind(kind, "", "", each).await?;
        }
        Ok(deleted)
    }

    /// Writes some records as they were, but for those in whose place there is something.
    async fn put_back(&self, epoch: Epoch, mut some: Vec<MissingRecord>) -> Result<(), CommitError> {
        loop {
            match self.write(epoch, &some).await {
                // Somebody has just written it: the view will show that.
                Err(CommitError::Conflict { id, .. }) if some.iter().any(|of| of.record.record.id == id) => {
                    some.retain(|of| of.record.record.id != id);
                }
                written => return written,
            }
        }
    }

    async fn write(&self, epoch: Epoch, some: &[MissingRecord]) -> Result<(), CommitError> {
        let registry = &self.registry;
        let is_due = |of: &&MissingRecord| registry.view().get(&of.record.record.id).is_none();
        let due: Vec<&Record> = some.iter().filter(is_due).map(|of| &of.record.record).collect();
        if due.is_empty() {
            return Ok(());
        }
        let act = Act::new(RESTORE, due.iter().map(|record| record.id.kind.clone()), Authority::Unfenced);
        let put = due.iter().map(|record| Write::Put {
            id: record.id.clone(),
            value: record.value.clone(),
            group: None,
        });
        // Parts come before their whole, so that they are never seen with another one.
        let wholes: BTreeSet<&RecordId> = some.iter().filter_map(|of| of.part_of.as_ref()).collect();
        let wholes = wholes.into_iter().filter(|id| registry.losses().awaits(registry.view(), id));
        let absent = due.iter().map(|record| &record.id).chain(wholes).cloned().collect::<BTreeSet<_>>();
        let absent = absent.into_iter().map(|id| (id, Version(0)));
        let named = named(due.iter().map(|record| record.id.to_string()).collect());
        let body = own_body(registry.node_id(), RESTORE, format!("registry/{epoch}"), named);
        let plan = Plan::read_in(epoch).expect(absent).write(put).audit([body]);
        registry.attempt(&act, plan).await?;
        info!(count = due.len(), %epoch, "lost records put back");
        Ok(())
    }
}

/// Whether the store, or the mesh, does not let this daemon write it, as others may.
fn is_denied(error: &CommitError) -> bool {
    matches!(error, CommitError::KindDenied { .. } | CommitError::Store(StoreError::Denied { .. }))
}

/// The records of a family in portions that fit into a commit each, none of them of two kinds.
fn portions(family: &[MissingRecord]) -> Vec<&[MissingRecord]> {
    let (mut portions, mut rest) = (Vec::new(), family);
    while let Some(first) = rest.first() {
        let (mut bytes, kind) = (0, &first.record.record.id.kind);
        let fits = |of: &&MissingRecord| {
            bytes += of.record.record.value.len();
            bytes <= BYTES_AT_ONCE && of.record.record.id.kind == *kind
        };
        let count = rest.iter().take(AT_ONCE).take_while(fits).count().max(1);
        let (some, others) = rest.split_at(count);
        portions.push(some);
        rest = others;
    }
    portions
}

/// What is to be put back, by kind.
fn counts(missing: &MissingRecords) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for of in missing.records() {
        *counts.entry(of.record.record.id.kind.0.as_ref()).or_default() += 1;
    }
    counts
}

/// What is missing still; `None`: nothing.
pub fn trouble(registry: &Registry) -> Option<String> {
    let missing = registry.losses().missing(registry.view());
    let kinds: Vec<String> = counts(&missing).iter().map(|(kind, count)| format!("{count} {kind}")).collect();
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
/// Those of [`Asked::of_record`].
pub async fn give_up(
    registry: &Registry,
    caller: &Caller,
    asked: pb::GiveUpLostRequest,
) -> Result<pb::GiveUpLostResponse, Fault> {
    registry.ready_for("").await?;
    let hash = request_hash(&asked);
    let pb::GiveUpLostRequest { dry_run, reason } = asked;
    let (rpc, id) = (store_service::GIVE_UP_LOST, "lost".to_owned());
    let asked = Asked { caller, rpc, id, reason, expected_version: None, dry_run, hash };
    asked
        .of_records(registry, given_up_id(), &[], |reader| {
            let missing = registry.losses().missing(registry.view());
            let changes: Vec<String> =
                counts(&missing).iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
            let value = RestorationValue { epoch: reader.epoch().0, ..Default::default() };
            let put = Write::Put { id: given_up_id(), value: value.encode_to_vec().into(), group: None };
            // Others may miss what this daemon does not, so that it is noted in any case.
            let is_noted = said(registry.view(), &given_up_id(), reader.epoch()).is_some();
            let writes = if is_noted { Vec::new() } else { vec![put] };
            let answer =
                pb::GiveUpLostResponse { schema_version: SCHEMA_VERSION.to_owned(), ..Default::default() };
            Ok(Decision { writes, changes, answer })
        })
        .await
}

answers! { pb::GiveUpLostResponse }

#[cfg(test)]
#[path = "restoration_test.rs"]
mod tests;
