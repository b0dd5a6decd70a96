//! The store of the mesh: another server in its place.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use tracing::warn;

use super::{SCHEMA_VERSION, caller, check_reason};
use crate::core::time::whole_ms;
use crate::daemon::registry::Registry;
use crate::daemon::registry::follow::chain;
use crate::daemon::registry::record::Deed;
use crate::daemon::store::{Obstacle, Standby, SwitchError, SwitchOrder, Switched};
use crate::wire::fault::{Code, Fault};
use crate::wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::store_service_server::StoreService;

/// Serves `StoreService`.
pub struct StoreCalls {
    pub registry: Arc<Registry>,
}

impl StoreCalls {
    async fn switch_once(
        &self,
        request: Request<pb::SwitchStoreRequest>,
    ) -> Result<pb::SwitchStoreResponse, Fault> {
        let caller = caller(&request)?;
        let asked = request.into_inner();
        check_reason(&asked.reason)?;
        let pb::SwitchStoreRequest { from, dry_run, reason } = asked;
        let order = SwitchOrder { from: Some(from).filter(|from| !from.is_empty()), dry_run: true };
        // What is in the way is told before anything is recorded.
        let plan = self.registry.store().switch(&order).await.map_err(fault)?;
        let deed = Deed {
            action: "store.switch",
            object: format!("store/{}", plan.from),
            reason: &reason,
            dry_run,
            changes: vec![format!("master: {} -> one of {}", plan.from, names(&plan.standbys))],
        };
        // Before it, so that it is among what the next master has.
        if let Err(error) = self.registry.record(&caller, deed).await {
            let request_id = &caller.request_id;
            warn!(%request_id, error = %chain(&error), "switch of the store was not recorded in the audit trail");
        }
        if dry_run {
            return Ok(answer(plan, true));
        }
        let order = SwitchOrder { from: Some(plan.from), dry_run: false };
        let registry = Arc::clone(&self.registry);
        // It is carried to its end also when the caller has gone: changes are paused meanwhile.
        let switched = tokio::spawn(async move { registry.store().switch(&order).await });
        let switched = switched.await.map_err(|_| Fault::internal(&caller.request_id))?;
        Ok(answer(switched.map_err(fault)?, false))
    }
}

fn answer(switched: Switched, dry_run: bool) -> pb::SwitchStoreResponse {
    let Switched { from, to, standbys, paused } = switched;
    let standbys = standbys
        .into_iter()
        .map(|Standby { at, behind_bytes }| pb::StoreStandby { address: at, behind_bytes });
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

fn names(standbys: &[Standby]) -> String {
    standbys.iter().map(|standby| standby.at.as_str()).collect::<Vec<_>>().join(", ")
}

fn fault(error: SwitchError) -> Fault {
    let cannot = |what: &str| format!("cannot switch the store: {what}");
    match error {
        SwitchError::Refused { obstacle, what, hint } => {
            let what = cannot(&what);
            let fault = match obstacle {
                Obstacle::Alone => Fault::new(Code::FailedPrecondition, "STORE_HAS_NO_STANDBY", what),
                Obstacle::OtherMaster => Fault::new(Code::FailedPrecondition, "MASTER_DIFFERS", what),
                Obstacle::NoStandby => Fault::new(Code::FailedPrecondition, "NO_STANDBY", what),
                Obstacle::NotPermitted => Fault::new(Code::FailedPrecondition, "STORE_NOT_PERMITTED", what),
                Obstacle::NotBegun => Fault::new(Code::FailedPrecondition, "FAILOVER_REFUSED", what),
            };
            fault.hint(hint)
        }
        SwitchError::Unavailable(what) => {
            let message = format!("{}; nothing was changed", cannot(&what));
            Fault::new(Code::Unavailable, "STORE_UNAVAILABLE", message).hint("try again")
        }
        SwitchError::OutcomeUnknown(what) => Fault::new(Code::DeadlineExceeded, "OUTCOME_UNKNOWN", what)
            .hint("who is the master says: omnirelay mesh store switch --dry-run"),
    }
}

#[tonic::async_trait]
impl StoreService for StoreCalls {
    async fn switch(
        &self,
        request: Request<pb::SwitchStoreRequest>,
    ) -> Result<Response<pb::SwitchStoreResponse>, Status> {
        Ok(Response::new(self.switch_once(request).await?))
    }
}
