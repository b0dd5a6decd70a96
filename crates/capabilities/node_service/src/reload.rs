//! Reload of the configuration: a caller has the daemon read it again.

use std::sync::Arc;

use omnirelay_core::text::chain;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::{SCHEMA_VERSION, check_reason};
use omnirelay_registry::Registry;
use omnirelay_registry::record::AuditedAction;
use omnirelay_settings::{ConfigReload, LiveConfig, ReloadError};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::node_service::RELOAD_CONFIG;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

/// Configuration of the daemon, as callers have it reloaded.
#[derive(Clone)]
pub struct ReloadableConfig {
    pub registry: Arc<Registry>,
    pub settings: LiveConfig,
    turn: Arc<Mutex<()>>,
}

impl ReloadableConfig {
    pub(crate) fn new(registry: Arc<Registry>, settings: LiveConfig) -> Self {
        Self { registry, settings, turn: Arc::default() }
    }

    pub(crate) async fn reload(
        &self,
        caller: &Caller,
        asked: pb::ReloadConfigRequest,
    ) -> Result<pb::ReloadConfigResponse, Fault> {
        check_reason(&asked.reason)?;
        self.registry.recheck(caller).await?;
        let (config, caller) = (self.clone(), caller.clone());
        // It is brought to its end and told of also when the caller has gone.
        let reloaded = tokio::spawn(async move { config.carry_out(&caller, asked).await });
        reloaded.await.map_err(|error| Fault::new(reasons::INTERNAL, chain(&error)))?
    }

    async fn carry_out(
        &self,
        caller: &Caller,
        asked: pb::ReloadConfigRequest,
    ) -> Result<pb::ReloadConfigResponse, Fault> {
        // One at a time: each reads files on a thread of its own.
        let _turn = self.turn.lock().await;
        let (settings, dry_run) = (self.settings.clone(), asked.dry_run);
        let reloaded =
            spawn_blocking(move || if dry_run { settings.would_reload() } else { settings.reload() });
        let reloaded = reloaded.await.map_err(|error| Fault::new(reasons::INTERNAL, chain(&error)))?;
        let ConfigReload { changed, restart_due } = reloaded.map_err(|error| refusal(&error))?;
        if !dry_run {
            info!(
                changed = changed.join(" "),
                restart_due = restart_due.join(" "),
                by = %caller.principal,
                "configuration reloaded"
            );
        }
        self.record(caller, &asked, &changed, &restart_due).await;
        Ok(pb::ReloadConfigResponse {
            schema_version: SCHEMA_VERSION.to_owned(),
            local_node_id: self.registry.node_id().to_owned(),
            changed: !changed.is_empty(),
            dry_run,
            settings: changed,
            restart_due,
        })
    }

    /// Records it in the audit trail. A store that is away is no reason to undo it: settings are changed to bring it back, too.
    async fn record(
        &self,
        caller: &Caller,
        asked: &pb::ReloadConfigRequest,
        changed: &[String],
        restart_due: &[String],
    ) {
        let (done, with) = match asked.dry_run {
            false => ("in effect", "with the next start"),
            true => ("would be in effect", "would be with the next start"),
        };
        let in_effect = changed.iter().map(|key| format!("{key}: {done}"));
        let due = restart_due.iter().map(|key| format!("{key}: {with}"));
        let deed = AuditedAction {
            action: RELOAD_CONFIG.audit_action,
            object: format!("node/{}", self.registry.node_id()),
            reason: &asked.reason,
            dry_run: asked.dry_run,
            changes: in_effect.chain(due).collect(),
        };
        if let Err(error) = self.registry.record(caller, deed).await {
            let (request_id, error) = (&caller.request_id, chain(&error));
            warn!(%request_id, error, "a reload of the configuration is not in the audit trail");
        }
    }
}

fn refusal(error: &ReloadError) -> Fault {
    let what = chain(error);
    match error {
        ReloadError::NoSource => Fault::new(reasons::CONFIG_NOT_RELOADED, what)
            .hint("the settings of `omnirelay up` are given when it starts: omnirelay up --set KEY=VALUE"),
        ReloadError::Load(_) | ReloadError::Refused(_) => {
            let message = format!("the configuration was not reloaded, and nothing was changed: {what}");
            Fault::new(reasons::CONFIG_NOT_RELOADED, message)
                .hint("mend it where the message says, then reload again")
        }
    }
}
