//! TLS of a port as the settings have it by then: what whoever connects next is shown.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_host::live::{Live, LiveSource};
use omnirelay_identity::tls::{ListenerTls, TlsError};
use omnirelay_settings::{Config, RefusedSetting};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::NodeBuilder;
use super::node_builder::StopPhase;

/// How long after files could not be read they are tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// TLS of a port, as it is whenever it is asked for; `None`: there is none.
pub type LiveTls = Live<Option<Arc<ListenerTls>>>;

/// Makes the TLS of a port of its settings.
pub type TlsOpener<K> = Box<dyn Fn(&K) -> Result<Option<ListenerTls>, TlsError> + Send + Sync>;

/// Settings of the TLS of a port, and what is made of them.
pub struct PortTls<K> {
    /// The settings that it depends on.
    pub of: fn(&Config) -> K,
    /// Makes it; reads files.
    pub open: TlsOpener<K>,
    /// The key of the setting that is wrong where it cannot be made.
    pub wrong: fn(&K, &TlsError) -> &'static str,
}

impl NodeBuilder {
    /// Opens the TLS of a port, and opens it again for connections that begin later when the settings are others. One that cannot be
    /// had is refused with its configuration.
    ///
    /// # Errors
    /// When it cannot be had as it is set at the start.
    pub fn follow_tls<K>(&mut self, port: PortTls<K>) -> Result<LiveTls, TlsError>
    where
        K: Clone + PartialEq + Send + Sync + 'static,
    {
        let (wanted, port) = (self.settings.live(port.of), Arc::new(port));
        let first = wanted.get();
        let shown = LiveSource::new((port.open)(&first)?.map(Arc::new));
        let (running, checked) = (wanted.clone(), Arc::clone(&port));
        self.settings.check(move |config| {
            let asked = (checked.of)(config);
            if asked == running.get() {
                return Ok(());
            }
            let opened = (checked.open)(&asked).map(drop);
            opened
                .map_err(|error| RefusedSetting { key: (checked.wrong)(&asked, &error), what: chain(&error) })
        });
        let live = shown.live(Option::clone);
        self.run(StopPhase::End, follow(wanted, first, port, shown));
        Ok(live)
    }
}

/// Keeps what is shown, and replaces it as the settings say; for ever.
async fn follow<K>(
    mut wanted: Live<K>,
    mut last: K,
    port: Arc<PortTls<K>>,
    shown: Arc<LiveSource<Option<Arc<ListenerTls>>>>,
) where
    K: Clone + PartialEq + Send + Sync + 'static,
{
    loop {
        let current = shown.now();
        let kept = async {
            if let Some(tls) = &*current {
                Arc::clone(tls).keep().await;
            }
            pending::<()>().await;
        };
        let next = tokio::select! {
            () = kept => continue,
            next = wanted.other_than(&last) => next,
        };
        let (opening, asked) = (Arc::clone(&port), next.clone());
        // Files may be far away.
        match spawn_blocking(move || (opening.open)(&asked)).await {
            Ok(Ok(tls)) => {
                shown.replace(tls.map(Arc::new));
            }
            // They were there when the configuration was checked.
            Ok(Err(error)) => {
                let error = chain(&error);
                tracing::error!(
                    error,
                    "TLS of a port not taken over yet; what it was goes on, and it is tried again"
                );
                sleep(AGAIN).await;
                continue;
            }
            // What panics there is told by the runtime.
            Err(_) => {}
        }
        last = next;
    }
}
