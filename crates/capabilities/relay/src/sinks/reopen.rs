//! Reopening of sinks whose settings have changed. The new one is opened beside the old one, which writes what it has; so nothing
//! that was acknowledged is lost.

use std::sync::Arc;

use omnirelay_core::text::chain;
use omnirelay_host::live::Live;
use omnirelay_settings::RefusedSetting;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::open::{SinkError, SinkSpec};
use super::{Sink, Sinks};
use crate::RELAY_RUNBOOK;

impl Sinks {
    /// Checks that these could be opened, where others are open. Changes nothing.
    ///
    /// # Errors
    /// Of the first that could not.
    pub fn check(&self, specs: &[SinkSpec]) -> Result<(), RefusedSetting> {
        let current = self.current();
        let others = specs.iter().filter(|spec| !current.iter().any(|sink| sink.spec == **spec));
        for spec in others {
            spec.check().map_err(|error| match error {
                SinkError::Setting { key, what } => RefusedSetting { key, what },
                SinkError::Folder { .. } => {
                    RefusedSetting { key: "relay.sinks.file.path", what: chain(&error) }
                }
            })?;
        }
        Ok(())
    }

    /// Has the sinks be as they are configured by then, for ever.
    pub async fn follow(self: Arc<Self>, mut specs: Live<Vec<SinkSpec>>) {
        loop {
            let (sinks, wanted) = (self.clone(), specs.get());
            // Files are opened where it may block.
            if let Err(error) = spawn_blocking(move || sinks.replace(wanted)).await {
                warn!(%error, runbook = RELAY_RUNBOOK, "sink cannot be opened as it is configured; all sinks go on as they were");
            }
            specs.replaced().await;
        }
    }

    /// Opens what is not open as it should be, and has what it replaces write what it has. Where one cannot be opened all stay as they
    /// were.
    pub(super) fn replace(&self, specs: Vec<SinkSpec>) {
        let before = self.current();
        let mut sinks = Vec::with_capacity(specs.len());
        for spec in specs {
            let name = spec.kind.name;
            if let Some(same) = before.iter().find(|sink| sink.name() == name && sink.spec == spec) {
                sinks.push(same.clone());
                continue;
            }
            match self.opener.open(spec) {
                Ok(sink) => sinks.push(Arc::new(sink)),
                Err(error) => {
                    let error = chain(&error);
                    warn!(
                        sink = name,
                        error,
                        runbook = RELAY_RUNBOOK,
                        "sink cannot be opened as it is configured; all sinks go on as they were"
                    );
                    return self.retire(without(&sinks, &before));
                }
            }
        }
        for sink in without(&sinks, &before) {
            info!(sink = sink.name(), "sink opened as it is configured");
        }
        let gone = without(&before, &sinks);
        *self.current.write() = Arc::new(sinks);
        // Whoever finds it closed finds the other one by then.
        self.retire(gone);
    }

    /// Has sinks take nothing more, and end once they have written what they have. Of each kind at most one goes on so: what the one
    /// before it has not got rid of by then is lost, and told.
    fn retire(&self, gone: Vec<Arc<Sink>>) {
        let mut retired = self.retired.lock();
        retired.retain(|sink| !sink.is_over());
        for sink in gone {
            sink.queue.close();
            let name = sink.name();
            while let Some(at) = retired.iter().position(|former| former.name() == name) {
                let frames = retired.remove(at).give_up();
                warn!(
                    sink = name,
                    frames,
                    runbook = RELAY_RUNBOOK,
                    "former sink given up with frames in its queue: it was replaced twice"
                );
            }
            retired.push(sink);
        }
    }
}

/// Those of some sinks that are not among others.
fn without(some: &[Arc<Sink>], others: &[Arc<Sink>]) -> Vec<Arc<Sink>> {
    let is_other = |sink: &&Arc<Sink>| !others.iter().any(|other| Arc::ptr_eq(sink, other));
    some.iter().filter(is_other).cloned().collect()
}
