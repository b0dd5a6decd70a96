//! Limits of calls: how many a second, and how many watches at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use omnirelay_decisions::capacity::{LimitKind, LimitMode, ReachedLimit, SetLimit, may_refuse_call};
use omnirelay_host::live::Live;
use omnirelay_node::PortName;
use omnirelay_settings::LimitsConfig;
use omnirelay_surface::{BeginningCall, CallHold, CallJudge};
use omnirelay_wire::fault::Fault;

use crate::use_counts::{RateLimit, UseCounts};

/// Judge of the calls of a daemon by its limits.
pub(crate) struct CallLimits {
    limits: Live<LimitsConfig>,
    counts: Arc<UseCounts>,
    rate: RateLimit,
}

/// A watch that is served until this is dropped.
struct ServedWatch(Arc<UseCounts>);

impl Drop for ServedWatch {
    fn drop(&mut self) {
        self.0.watchers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl CallLimits {
    pub(crate) fn new(limits: Live<LimitsConfig>, counts: Arc<UseCounts>) -> Self {
        Self { rate: RateLimit::new(LimitKind::Calls, limits.clone()), limits, counts }
    }

    /// Counts one more watch; beyond the limit only one that may not be refused.
    fn watch(&self, may_refuse: bool) -> Result<ServedWatch, ReachedLimit> {
        let max = match self.limits.get().of(LimitKind::Watchers).filter(|_| may_refuse) {
            Some(SetLimit { max, mode: LimitMode::Enforce }) => max,
            Some(SetLimit { mode: LimitMode::Observe, .. }) | None => u64::MAX,
        };
        let one_more = |served| (served < max).then_some(served + 1);
        match self.counts.watchers.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more) {
            Ok(_) => Ok(ServedWatch(self.counts.clone())),
            Err(used) => Err(ReachedLimit { kind: LimitKind::Watchers, used, max, retry_after: None }),
        }
    }
}

impl CallJudge for CallLimits {
    fn begin(&self, call: &BeginningCall) -> Result<CallHold, Fault> {
        // What nodes ask of each other there keeps the mesh together.
        let may_refuse = call.port != PortName::Mesh.word() && may_refuse_call(call.method);
        let refuse = |reached| self.counts.refuse(reached).fault(call.method.trim_start_matches('/'));
        let turn = self.rate.take();
        if may_refuse {
            turn.map_err(refuse)?;
        }
        self.counts.calls.fetch_add(1, Ordering::Relaxed);
        if !call.is_watch {
            return Ok(None);
        }
        let watch = self.watch(may_refuse).map_err(refuse)?;
        Ok(Some(Box::new(watch)))
    }
}
