//! Standing of a node by its identity: it says so, to its operator and to the others, and looks again by itself where
//! it has none.

use omnirelay_certificate_records::current_authority;
use omnirelay_core::text::chain;
use omnirelay_identity::files::LOOK_EVERY;
use omnirelay_identity::node_identity::{IdentityFiles, NodeIdentity};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::issue::with_own;
use crate::identity_keeper::IdentityKeeper;

/// Standing of a node by its identity, as it says it to the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdentityStanding {
    /// It has none, in a mesh that has an authority.
    pub without_identity: bool,
    /// It has one from files.
    pub of_files: bool,
    /// It can issue; without an authority, that it will once it is made.
    pub issues: bool,
}

/// Whether a node says that it issues before it has seen an authority: where it has a secret, or makes both itself, so that it need not
/// say so a moment after it was entered.
pub fn issues_at_start(files: &IdentityFiles, makes_authority: bool) -> bool {
    files.has_secret() || makes_authority
}

/// Tells the others.
pub type IdentityAnnouncement = Box<dyn Fn(IdentityStanding) + Send + Sync>;

/// Trouble with the identity of a node, as it was found last.
#[derive(Default)]
pub struct IdentityTrouble {
    /// Why what is kept of it cannot be read.
    unread: Mutex<Option<String>>,
    /// `None`: nothing yet.
    said: Mutex<Option<IdentityStanding>>,
    say: Option<IdentityAnnouncement>,
}

impl IdentityTrouble {
    /// Nothing is wrong yet; what is found is told by `say`, where it is another thing than before.
    pub fn saying(say: IdentityAnnouncement) -> Self {
        Self { say: Some(say), ..Self::default() }
    }

    /// Reason why the kept identity cannot be read, and that it is looked at again; `None`: it can, or nothing is kept.
    pub fn unread(&self) -> Option<String> {
        let every = humantime::format_duration(LOOK_EVERY);
        let why = self.unread.lock();
        why.as_ref().map(|why| {
            format!("the identity of this node cannot be read, and is looked at again every {every}: {why}")
        })
    }

    /// Notes what came of reading it.
    pub(super) fn note(&self, failed: Option<&dyn std::error::Error>) {
        *self.unread.lock() = failed.map(chain);
    }
}

impl IdentityKeeper {
    /// As [`IdentityKeeper::look`], of a node that may have no identity.
    pub(super) async fn look_and_say(&self) -> Option<Instant> {
        self.read_again();
        let again = self.look().await;
        self.say_standing();
        let soon = self.lacking.unread().map(|_| Instant::now() + LOOK_EVERY);
        again.into_iter().chain(soon).min()
    }

    /// Reads the identity that could not be read, unless another has been issued meanwhile.
    fn read_again(&self) {
        if self.lacking.unread().is_none() {
            return;
        }
        if self.trust.current().own.is_some() {
            return self.lacking.note(None);
        }
        match self.files.identity() {
            Ok(identity) => {
                info!("identity of this node can be read again");
                self.lacking.note(None);
                if self.provision.is_of_mesh() {
                    self.trust.update(|trusted| trusted.own = identity.map(std::sync::Arc::new));
                }
            }
            Err(error) => self.lacking.note(Some(&error)),
        }
    }

    /// Tells the others how this node stands, where that is another thing than it said last.
    fn say_standing(&self) {
        let Some(say) = &self.lacking.say else { return };
        let authority = current_authority(self.registry.view());
        let has_own = self.trust.current().own.is_some();
        let issues = match &authority {
            Some(authority) => self.signer.can_issue(authority),
            None => issues_at_start(&self.files, self.makes_authority),
        };
        // Whoever can issue is about to have one.
        let without_identity = !has_own && authority.is_some() && !issues;
        let of_files = has_own && !self.provision.is_of_mesh();
        let now = IdentityStanding { without_identity, of_files, issues };
        let mut said = self.lacking.said.lock();
        if *said == Some(now) {
            return;
        }
        if now.without_identity && said.is_none_or(|said| !said.without_identity) {
            warn!("this node has no certificate of the mesh: it leads nothing and gets no shards");
        }
        *said = Some(now);
        say(now);
    }

    /// Names by which this node is to be called that its certificate has not.
    pub(super) fn lacking_names(&self, own: &NodeIdentity) -> Vec<String> {
        let (wanted, has) = (with_own(&self.node.get(), self.names.get()), &own.leaf.names);
        let dns = wanted.dns.into_iter().filter(|name| !has.dns.contains(name));
        let addresses = wanted.addresses.into_iter().filter(|address| !has.addresses.contains(address));
        dns.chain(addresses.map(|address| address.to_string())).collect()
    }

    /// Says once which names a node lacks that cannot give them to itself: its renewals keep those that joining gave it.
    pub(super) fn say_lacking_names(&self) {
        let Some(own) = self.trust.current().own.clone() else { return };
        let lacking = self.lacking_names(&own);
        let told = std::mem::replace(&mut self.tried.lock().told_names, lacking.clone());
        if told != lacking && !lacking.is_empty() {
            warn!(
                names = lacking.join(" "),
                "the certificate of this node lacks names by which it is to be called; a renewal keeps those that it has, so it joins \
                 again: omnirelay token create --replace --node ID --role ROLE --name NAME, and here omnirelay mesh join --force --name \
                 NAME"
            );
        }
    }
}
