//! Access to the store: what a node that joins is given, and what one that was put out knows.

use omnirelay_core::text::chain;
use omnirelay_pki::key::Fingerprint;
use omnirelay_store::{NodeAccess, Store, StoreAdmission, StoreCredentials, WritableKinds};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tracing::warn;

use super::store_rights::KnownRecordKinds;
use super::store_users::PasswordHash;

/// The store of the registry, as this daemon uses it.
pub struct StoreAccess {
    /// By what this daemon uses it, and what it hands to nodes; `None`: it is a store of one host.
    pub admission: Option<StoreAdmission>,
    /// What of records there is.
    pub kinds: KnownRecordKinds,
}

impl StoreAccess {
    /// A store of one host.
    pub fn of_this_host() -> Self {
        Self { admission: None, kinds: KnownRecordKinds::default() }
    }

    /// Whether daemons of other processes use it.
    pub(crate) fn is_shared(&self) -> bool {
        self.admission.is_some()
    }

    /// Whether other hosts reach it.
    pub(crate) fn is_reachable(&self) -> bool {
        self.admission.as_ref().is_some_and(|admission| admission.is_reachable)
    }

    /// Whether this daemon has credentials that nobody else has.
    pub(crate) fn is_own(&self) -> bool {
        self.admission.as_ref().is_some_and(|admission| admission.is_own)
    }

    /// Access by which `node` uses the store: with credentials of its own where they can be given, by which it may
    /// write what `writable` says, and whose hash is told beside, else with those of this daemon. What it is handed are
    /// bytes of the backend. `None`: it is a store of one host.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`; `NOT_AN_ISSUER` where this daemon has credentials of its own alone, which are nobody else's.
    pub async fn admitted(
        &self,
        store: &dyn Store,
        node: &str,
        writable: &WritableKinds,
    ) -> Result<Option<(Vec<u8>, Option<PasswordHash>)>, Fault> {
        let Some(admission) = &self.admission else { return Ok(None) };
        let not_now = |why: &str| not_admitted_now(node, why);
        let own = store.admit(node, writable).await.map_err(|error| not_now(&chain(&error)))?;
        let hash = own.as_ref().map(|own| *Fingerprint::of(own.password.as_bytes()).as_bytes());
        let mut access = NodeAccess::default();
        match own {
            Some(own) => {
                access.credentials = Some(own);
                // That it cannot be looked at keeps nobody out.
                let why = store.forgets_credentials().await.ok().flatten();
                access.users_not_kept = why.unwrap_or_default();
            }
            None if admission.is_own => return Err(gives_none()),
            None => access.credentials.clone_from(&admission.credentials),
        }
        if let Some(ca) = &admission.ca {
            access.ca_pem = tokio::fs::read_to_string(ca)
                .await
                .map_err(|error| not_now(&format!("{}: {error}", ca.display())))?;
        }
        Ok(Some(((admission.hand_over)(&access), hash)))
    }

    /// Checks that a host can be given access to the store, before anything is counted or issued for it.
    ///
    /// # Errors
    /// As of [`StoreAccess::admitted`].
    pub async fn check_admits(&self, store: &dyn Store, node: &str) -> Result<(), Fault> {
        if !self.is_own() {
            return Ok(());
        }
        match store.may_admit().await {
            Ok(true) => Ok(()),
            Ok(false) => Err(gives_none()),
            Err(error) => Err(not_admitted_now(node, &chain(&error))),
        }
    }

    /// Warnings of what is in the way of the hosts that join, though they are let in.
    pub async fn warnings(&self, store: &dyn Store) -> Vec<String> {
        // What cannot be looked at now is told when a host joins.
        if !self.is_shared() || !store.may_admit().await.unwrap_or(false) {
            return Vec::new();
        }
        store.forgets_credentials().await.ok().flatten().into_iter().collect()
    }

    /// Digest that tells the credentials of this daemon from others, for one who knows `salt`; empty where there is no
    /// store to reach.
    pub fn digest(&self, salt: &str) -> Vec<u8> {
        let Some(admission) = &self.admission else { return Vec::new() };
        let [user, password] = match &admission.credentials {
            Some(StoreCredentials { username, password }) => [username.as_str(), password.as_str()],
            None => ["", ""],
        };
        let text = ["omnirelay store", salt, user, password].join("\0");
        Fingerprint::of(text.as_bytes()).as_bytes().to_vec()
    }
}

pub(super) fn not_admitted_now(node: &str, why: &str) -> Fault {
    warn!(error = why, peer = node, "a node that joins cannot be told how the store is used");
    Fault::new(reasons::STORE_UNAVAILABLE, "the host cannot be given access to the store now")
        .hint("repeat the command: the use of the token is counted once")
}

fn gives_none() -> Fault {
    let message = "this daemon cannot give the host access to the store: it has credentials of its own alone";
    Fault::new(reasons::NOT_AN_ISSUER, message)
        .hint("ask a daemon whose user of the store may make others (+acl|setuser)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_credentials_are_told_apart_and_the_same_are_not() {
        let of = |username: &str, password: &str| {
            let credentials = StoreCredentials { username: username.into(), password: password.into() };
            let admission = StoreAdmission {
                is_reachable: true,
                is_own: false,
                credentials: Some(credentials),
                ca: None,
                hand_over: Box::new(|_| Vec::new()),
            };
            StoreAccess { admission: Some(admission), ..StoreAccess::of_this_host() }
        };
        let one = of("ann", "one");
        assert_eq!(one.digest("x"), of("ann", "one").digest("x"));
        assert_ne!(one.digest("x"), one.digest("y"));
        for other in [of("ann", "two"), of("bob", "one"), of("", "")] {
            assert_ne!(one.digest("x"), other.digest("x"));
        }
        assert!(StoreAccess::of_this_host().digest("x").is_empty());
    }
}
