//! The store of the mesh: another server in its place, and its time brought back.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_core::time::{Millis, rfc3339, whole_ms};
use omnirelay_host::wall_clock;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::serve;
use omnirelay_nouns::{SCHEMA_VERSION, check_reason, timestamp};
use omnirelay_registry::Registry;
use omnirelay_registry::record::AuditedAction;
use omnirelay_store::{
    ClockReset, CommitError, RESET_MIN, ResetClock, ResetClockError, StandbyServer, StoreError, SwitchError,
    SwitchObstacle, SwitchOrder, SwitchOutcome,
};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::store_service;
use tokio::time::{Instant, sleep};
use tracing::warn;

use pb::store_service_server::StoreService;

/// How long how a switch ended is tried to be recorded, and how often.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);
const RECORD_AGAIN: Duration = Duration::from_millis(250);

/// Serves `StoreService`.
pub struct StoreCalls {
    pub registry: Arc<Registry>,
}

impl StoreCalls {
    async fn switch_once(
        &self,
        caller: &Caller,
        asked: pb::SwitchStoreRequest,
    ) -> Result<pb::SwitchStoreResponse, Fault> {
        check_reason(&asked.reason)?;
        self.registry.recheck(caller).await?;
        let pb::SwitchStoreRequest { from, dry_run, reason } = asked;
        let order = SwitchOrder { from: Some(from).filter(|from| !from.is_empty()), dry_run: true };
        // What is in the way is told before anything is recorded.
        let plan = self.registry.store().switch(&order).await.map_err(fault)?;
        let told = format!("ordered: master {} -> one of {}", plan.from, names(&plan.standbys));
        let (registry, caller) = (Arc::clone(&self.registry), caller.clone());
        let (action, object) = (store_service::SWITCH.audit_action, format!("store/{}", plan.from));
        let trail = StoreChangeAudit { registry, caller, action, object, reason, dry_run };
        // Before it, so that it is among what the next master has.
        if let Err(error) = trail.record(told).await {
            trail.warn_of(&error);
        }
        if dry_run {
            return Ok(answer(plan, true));
        }
        let order = SwitchOrder { from: Some(plan.from), dry_run: false };
        let request_id = trail.caller.request_id.clone();
        // It is carried to its end also when the caller has gone: changes are paused meanwhile.
        let switched = tokio::spawn(async move {
            let switched = trail.registry.store().switch(&order).await;
            let told = match &switched {
                Ok(SwitchOutcome { from, to, .. }) => {
                    format!("master: {from} -> {}", to.as_deref().unwrap_or_default())
                }
                Err(error) => format!("not switched: {error}"),
            };
            tokio::spawn(async move { trail.record_in_time(told).await });
            switched
        });
        let switched = switched.await.map_err(|_| Fault::internal(&request_id))?;
        Ok(answer(switched.map_err(fault)?, false))
    }
}

impl StoreCalls {
    async fn reset_clock_once(
        &self,
        caller: &Caller,
        asked: pb::ResetStoreClockRequest,
    ) -> Result<pb::ResetStoreClockResponse, Fault> {
        check_reason(&asked.reason)?;
        self.registry.ready_for("").await?;
        self.registry.recheck(caller).await?;
        let pb::ResetStoreClockRequest { dry_run, reason } = asked;
        let epoch = self.registry.view().head().epoch;
        let order = move |dry_run| {
            let wall = Millis(whole_ms(wall_clock::unix()));
            ResetClock { epoch, wall, dry_run }
        };
        // What is in the way is told before anything is recorded.
        let plan = self.registry.store().reset_clock(order(true)).await.map_err(not_reset)?;
        let (registry, caller) = (Arc::clone(&self.registry), caller.clone());
        let (action, object) = (store_service::RESET_CLOCK.audit_action, "store/clock".to_owned());
        let trail = StoreChangeAudit { registry, caller, action, object, reason, dry_run };
        if let Err(error) = trail.record(format!("ordered: {}", moved(&plan))).await {
            trail.warn_of(&error);
        }
        if dry_run {
            return Ok(reset_answer(&plan, true));
        }
        let request_id = trail.caller.request_id.clone();
        // It is carried to its end, and recorded, also when the caller has gone.
        let reset = tokio::spawn(async move {
            let reset = trail.registry.store().reset_clock(order(false)).await;
            let told = match &reset {
                Ok(reset) => {
                    warn!(epoch = %reset.epoch, moved = moved(reset), "store time was brought back, in a new epoch");
                    format!("{}, epoch {epoch} -> {}", moved(reset), reset.epoch)
                }
                Err(error) => format!("not brought back: {}", chain(error)),
            };
            tokio::spawn(async move { trail.record_in_time(told).await });
            reset
        });
        let reset = reset.await.map_err(|_| Fault::internal(&request_id))?.map_err(not_reset)?;
        Ok(reset_answer(&reset, false))
    }
}

/// `store time: 2026-11-28T01:00:00Z -> 2026-11-26T19:00:00Z`.
fn moved(of: &ClockReset) -> String {
    format!("store time: {} -> {}", rfc3339(of.before), rfc3339(of.now))
}

fn reset_answer(of: &ClockReset, dry_run: bool) -> pb::ResetStoreClockResponse {
    pb::ResetStoreClockResponse {
        schema_version: SCHEMA_VERSION.to_owned(),
        changed: true,
        dry_run,
        ahead_ms: whole_ms(of.before.since(of.now)),
        before: Some(timestamp(of.before)),
        now: Some(timestamp(of.now)),
    }
}

fn not_reset(error: ResetClockError) -> Fault {
    let cannot = |what: &str| format!("cannot bring store time back: {what}; nothing was changed");
    match error {
        ResetClockError::NotAhead | ResetClockError::Unsupported => {
            let least = RESET_MIN.as_secs();
            let what = cannot(&format!("it is not {least} s ahead of the clock that the store goes by"));
            Fault::new(reasons::STORE_CLOCK_NOT_AHEAD, what)
                .hint("omnirelay mesh check    # nodes-clocks says which clock is wrong")
        }
        ResetClockError::ClocksDiffer { store } => {
            let what = format!(
                "the clock that the store goes by shows {}, and that of this daemon's host",
                rfc3339(store)
            );
            let host = rfc3339(Millis(whole_ms(wall_clock::unix())));
            Fault::new(reasons::STORE_CLOCKS_DIFFER, cannot(&format!("{what} {host}")))
                .hint("put the wrong one right first: chronyc tracking    # on both hosts")
        }
        ResetClockError::Store(StoreError::EpochChanged { .. }) => {
            Fault::new(reasons::STORE_UNAVAILABLE, cannot("the registry has just begun a new epoch"))
                .hint("try again")
        }
        ResetClockError::Store(StoreError::OutcomeUnknown(_)) => {
            Fault::new(reasons::OUTCOME_UNKNOWN, "the store did not say whether its time was brought back")
                .hint("whether it is still ahead says: omnirelay mesh store reset-clock --dry-run")
        }
        ResetClockError::Store(error) => {
            Fault::new(reasons::STORE_UNAVAILABLE, cannot(&chain(&error))).hint("try again")
        }
    }
}

/// Audit of one change of the store: what the trail says of it.
struct StoreChangeAudit {
    registry: Arc<Registry>,
    caller: Caller,
    action: &'static str,
    object: String,
    reason: String,
    dry_run: bool,
}

impl StoreChangeAudit {
    async fn record(&self, told: String) -> Result<(), CommitError> {
        let deed = AuditedAction {
            action: self.action,
            object: self.object.clone(),
            reason: &self.reason,
            dry_run: self.dry_run,
            changes: vec![told],
        };
        self.registry.record(&self.caller, deed).await
    }

    /// Until the registry takes it: a new epoch has just begun.
    async fn record_in_time(&self, told: String) {
        let until = Instant::now() + RECORDED_WITHIN;
        while let Err(error) = self.record(told.clone()).await {
            if Instant::now() > until {
                return self.warn_of(&error);
            }
            sleep(RECORD_AGAIN).await;
        }
    }

    fn warn_of(&self, error: &CommitError) {
        let request_id = &self.caller.request_id;
        warn!(%request_id, error = %chain(error), "change of the store was not recorded in the audit trail");
    }
}

fn answer(switched: SwitchOutcome, dry_run: bool) -> pb::SwitchStoreResponse {
    let SwitchOutcome { from, to, standbys, paused } = switched;
    let standbys = standbys
        .into_iter()
        .map(|StandbyServer { at, behind_bytes }| pb::StoreStandby { address: at, behind_bytes });
    pb::SwitchStoreResponse {
        schema_version: SCHEMA_VERSION.to_owned(),
        changed: true,
        dry_run,
        from,
        to: to.unwrap_or_default(),
        standbys: standbys.collect(),
        paused_ms: u32::try_from(whole_ms(paused)).unwrap_or(u32::MAX),
    }
}

fn names(standbys: &[StandbyServer]) -> String {
    standbys.iter().map(|standby| standby.at.as_str()).collect::<Vec<_>>().join(", ")
}

fn fault(error: SwitchError) -> Fault {
    let cannot = |what: &str| format!("cannot switch the store: {what}");
    match error {
        SwitchError::Refused { obstacle, what, hint } => {
            let what = cannot(&what);
            let fault = match obstacle {
                SwitchObstacle::Alone => Fault::new(reasons::STORE_HAS_NO_STANDBY, what),
                SwitchObstacle::OtherMaster => Fault::new(reasons::MASTER_DIFFERS, what),
                SwitchObstacle::NoStandby => Fault::new(reasons::NO_STANDBY, what),
                SwitchObstacle::NotPermitted => Fault::new(reasons::STORE_NOT_PERMITTED, what),
                SwitchObstacle::NotBegun => Fault::new(reasons::FAILOVER_REFUSED, what),
            };
            fault.hint(hint)
        }
        SwitchError::Unavailable(what) => {
            let message = format!("{}; nothing was changed", cannot(&what));
            Fault::new(reasons::STORE_UNAVAILABLE, message).hint("try again")
        }
        SwitchError::OutcomeUnknown(what) => Fault::new(reasons::OUTCOME_UNKNOWN, what)
            .hint("who is the master says: omnirelay mesh store switch --dry-run"),
    }
}

serve! {
    StoreService for StoreCalls {
        give_up_lost(GiveUpLostRequest) -> GiveUpLostResponse: |of, caller, asked| crate::give_up(&of.registry, caller, asked);
        reset_clock(ResetStoreClockRequest) -> ResetStoreClockResponse: |of, caller, asked| of.reset_clock_once(caller, asked);
        switch(SwitchStoreRequest) -> SwitchStoreResponse: |of, caller, asked| of.switch_once(caller, asked);
    }
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
