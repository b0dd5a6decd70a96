//! The names by which a node is to be called, as its configuration has them, and those that its certificate has.

use omnirelay_identity::node_identity::NodeIdentity;
use tracing::warn;

use super::issue::with_own;
use crate::identity_keeper::IdentityKeeper;

impl IdentityKeeper {
    /// By which names this node is to be called that its certificate has not.
    pub(super) fn lacking_names(&self, own: &NodeIdentity) -> Vec<String> {
        let (wanted, has) = (with_own(&self.node, self.names.clone()), &own.leaf.names);
        let dns = wanted.dns.into_iter().filter(|name| !has.dns.contains(name));
        let addresses = wanted.addresses.into_iter().filter(|address| !has.addresses.contains(address));
        dns.chain(addresses.map(|address| address.to_string())).collect()
    }

    /// Says once which names a node lacks that cannot give them to itself: its renewals keep those that joining gave it.
    pub(super) fn say_lacking_names(&self) {
        let Some(own) = self.trust.current().own.clone() else { return };
        let lacking = self.lacking_names(&own);
        if !std::mem::replace(&mut self.tried.lock().has_told_names, true) && !lacking.is_empty() {
            warn!(
                names = lacking.join(" "),
                "the certificate of this node lacks names by which it is to be called; a renewal keeps those that it has, so it joins \
                 again: omnirelay token create --replace --node ID --role ROLE --name NAME, and here omnirelay mesh join --force --name \
                 NAME"
            );
        }
    }
}
