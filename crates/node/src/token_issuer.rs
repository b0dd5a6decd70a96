//! The issuer of tokens outside of the mesh, as the settings name it by then.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_host::live::{Live, LiveSource};
use omnirelay_identity::bearer::oidc::{OidcIssuer, OidcSettings};
use omnirelay_settings::{Config, LiveConfig};
use parking_lot::Mutex;

use crate::metrics::{IssuerMetrics, Metrics};

/// How long the keys of another issuer may take to be read before its tokens are taken: until then nobody can be judged by them.
const BEGIN_WITHIN: Duration = Duration::from_millis(500);

/// The issuer outside whose tokens are taken, and what says which one that is.
pub(super) struct TokenIssuer {
    wanted: Live<Option<OidcSettings>>,
    chosen: Arc<LiveSource<Option<Arc<OidcIssuer>>>>,
}

impl TokenIssuer {
    pub(super) fn of(settings: &LiveConfig) -> Self {
        let wanted = settings.live(issuer_settings);
        let first = wanted.get().map(|settings| Arc::new(OidcIssuer::new(settings)));
        Self { wanted, chosen: LiveSource::new(first) }
    }

    /// The issuer as it is whenever it is asked for; `None`: there is none.
    pub(super) fn live(&self) -> Live<Option<Arc<OidcIssuer>>> {
        self.chosen.live(Option::clone)
    }

    /// Has its keys told of, for as long as there is one.
    pub(super) fn tell(&self, metrics: &Metrics) {
        let (issuer, all, told) = (self.live(), metrics.all().clone(), Mutex::new(None));
        metrics.before_scrape(move || {
            let mut told = told.lock();
            match issuer.get() {
                Some(issuer) => {
                    if told.is_none() {
                        *told = IssuerMetrics::new(&all).ok();
                    }
                    if let Some(told) = &*told {
                        told.read(issuer.keys_age(), issuer.keys());
                    }
                }
                None => {
                    if let Some(told) = told.take() {
                        told.withdraw(&all);
                    }
                }
            }
        });
    }

    /// Keeps its keys, and changes it as the settings do; for ever.
    pub(super) async fn keep(mut self) {
        loop {
            let current = self.chosen.now();
            let last = current.as_ref().as_ref().map(|issuer| issuer.settings().clone());
            let kept = async {
                if let Some(issuer) = &*current {
                    Arc::clone(issuer).keep().await;
                }
                std::future::pending::<()>().await;
            };
            let next = tokio::select! {
                () = kept => continue,
                next = self.wanted.other_than(&last) => next,
            };
            let next = next.map(|settings| match &*current {
                Some(before) => before.followed_by(settings),
                None => OidcIssuer::new(settings),
            });
            if let Some(next) = &next {
                // Its keeping reads them again.
                let _ = tokio::time::timeout(BEGIN_WITHIN, next.begin()).await;
            }
            let issuer = next.as_ref().map(|next| next.settings().issuer.clone());
            tracing::info!(issuer, "issuer of tokens changed");
            self.chosen.replace(next.map(Arc::new));
        }
    }
}

/// What is wrong with it was refused with the configuration.
fn issuer_settings(config: &Config) -> Option<OidcSettings> {
    config.security.oidc.as_ref().and_then(|oidc| oidc.settings().ok())
}

#[cfg(test)]
mod reload_test;
