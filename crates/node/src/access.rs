//! Access to a node as the settings have it by then: who the node is by files, and whose nodes besides are let in.

use futures_util::future::join;
use omnirelay_identity::IdentitySources;
use omnirelay_settings::{Config, LiveConfig};

/// Takes the node's identity, and the certificates of other clusters, from where the settings say by then.
pub(super) fn follow_access(
    settings: &LiveConfig,
    access: &IdentitySources,
) -> impl Future<Output = ()> + use<> {
    let (provision, federation) = (access.provision.clone(), access.federation.clone());
    let provided = settings.live(|config| config.security.identity.provided());
    let federated = settings.live(Config::federated);
    let provided = provided.each(move |provided| provision.choose(provided));
    let federated = federated.each(move |clusters| federation.choose(clusters));
    async move {
        join(provided, federated).await;
    }
}

#[cfg(test)]
mod reload_test;
