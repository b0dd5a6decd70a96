//! Limits at work, on a registry whose store is in memory.

mod hundred;
mod judging;
mod room;
mod telling;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use omnirelay_decisions::capacity::LimitKind;
use omnirelay_nouns::notice::Notices;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::lab::LabRegistry;
use omnirelay_scripted::{Faulty, memory};
use omnirelay_settings::{Config, LiveConfig};
use omnirelay_store::{CommitError, CommitOutcome, RecordId, RecordKind, Write};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;

use super::CountedRecords;
use crate::calls::CallLimits;
use crate::commits::CommitLimits;
use crate::ledger::RoomLedger;
use crate::monitor::{CapacityMonitor, MonitoredUse};
use crate::shown_use::ShownUse;
use crate::use_counts::UseCounts;

/// Records as other capabilities have them: of which one stands for itself, one for a peer, one for a host that was let in, and one for
/// as many shards as its value has bytes.
pub(crate) const THING: RecordKind = RecordKind::of("thing");
pub(crate) const MEMBER: RecordKind = RecordKind::of("member");
pub(crate) const PASS: RecordKind = RecordKind::of("pass");
pub(crate) const SPACE: RecordKind = RecordKind::of("space");
static MIRRORED: [RecordKind; 4] = [THING, MEMBER, PASS, SPACE];

/// An act that a limit may refuse, and one that it may not.
pub(crate) const CREATE: &str = "registers.create";
pub(crate) const JOIN: &str = "mesh.join";
pub(crate) const ENTER: &str = "peers.enter";

pub(crate) fn counted() -> CountedRecords {
    CountedRecords {
        peers: MEMBER,
        let_in: Arc::new(|id| (id.kind == PASS).then(|| RecordId::new(MEMBER, id.key.clone()))),
        namespaces: SPACE,
        shards_in: |value| value.len() as u64,
        shards_of: |record| record.record.value.len() as u64,
    }
}

/// A daemon whose commits and calls are judged.
pub(crate) struct LimitedDaemon {
    pub lab: LabRegistry,
    pub store: Arc<Faulty>,
    pub settings: LiveConfig,
    pub counts: Arc<UseCounts>,
    pub ledger: RoomLedger,
    pub calls: CallLimits,
    pub monitor: Arc<CapacityMonitor>,
    pub notices: Arc<Notices>,
}

impl LimitedDaemon {
    pub(crate) async fn new() -> Self {
        let store = Faulty::over(memory());
        let lab = LabRegistry::new(Registry::new("a", store.clone(), &MIRRORED)).await;
        let settings = LiveConfig::from(Config::default());
        let limits = settings.live(|config| config.limits);
        let (counts, shown) = (Arc::new(UseCounts::default()), Arc::new(ShownUse::new(counted())));
        let commits = CommitLimits::new(limits.clone(), counts.clone(), shown.clone());
        let ledger = commits.ledger.clone();
        lab.registry.write_gate().judge_by(Arc::new(commits));
        let calls = CallLimits::new(limits.clone(), counts.clone());
        let (registry, notices) = (lab.registry.clone(), Arc::<Notices>::default());
        let of = MonitoredUse { registry, limits, counts: counts.clone(), shown, gossip: None };
        let monitor = Arc::new(CapacityMonitor::new(of, notices.clone()));
        Self { lab, store, settings, counts, ledger, calls, monitor, notices }
    }

    /// Enforces a limit of the section of this name.
    pub(crate) fn enforce(&self, section: &str, max: u64) {
        self.settings.set(&format!("limits.{section}.max"), max);
        self.settings.set(&format!("limits.{section}.mode"), "enforce");
    }

    pub(crate) async fn write(
        &self,
        action: &'static str,
        kind: RecordKind,
        key: &str,
        bytes: usize,
    ) -> Result<CommitOutcome, CommitError> {
        self.plan(action, CommitPlan::default(), (kind, key), bytes).await
    }

    /// The same, as far as what this plan demands holds.
    pub(crate) async fn plan(
        &self,
        action: &'static str,
        plan: CommitPlan,
        (kind, key): (RecordKind, &str),
        bytes: usize,
    ) -> Result<CommitOutcome, CommitError> {
        let act = DaemonAct::new(action, MIRRORED.to_vec(), WriteAuthority::Unfenced);
        let value = Bytes::from(vec![b'v'; bytes]);
        let put = Write::Put { id: RecordId::new(kind, key), value, group: None };
        self.lab.registry.attempt(&act, plan.write([put])).await
    }

    pub(crate) fn refused(&self, kind: LimitKind) -> u64 {
        self.counts.refused(kind)
    }

    pub(crate) fn watchers(&self) -> u64 {
        self.counts.watchers.load(Ordering::SeqCst)
    }
}

/// The fault that a commit was declined with.
pub(crate) fn declined<T>(outcome: Result<T, CommitError>) -> Fault {
    match outcome {
        Err(CommitError::Declined(fault)) => {
            let is_rate = fault.retried_after().is_some();
            let reason = if is_rate { reasons::LIMIT_EXHAUSTED } else { reasons::LIMIT_REACHED };
            assert!(fault.is(reason), "{fault:?}");
            *fault
        }
        Err(other) => panic!("it failed otherwise: {other}"),
        Ok(_) => panic!("it was made"),
    }
}
