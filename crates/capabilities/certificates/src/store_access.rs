//! Access to the store: what a node that joins is given, and what one that was put out knows.

use std::path::PathBuf;

use omnirelay_core::text::chain;
use omnirelay_pki::key::Fingerprint;
use omnirelay_store::{Store, StoreCredentials, WritableKinds};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::security::v1::JoinStore;
use omnirelay_wire::reasons;
use tracing::warn;

use super::store_rights::KnownRecordKinds;
use super::store_users::PasswordHash;

/// The store, as whoever uses it by some credentials is told of it.
type ToldOf = Box<dyn Fn(Option<&StoreCredentials>) -> JoinStore + Send + Sync>;

/// The store of the registry, as this daemon uses it.
pub struct StoreAccess {
    /// Whether daemons of other processes use it.
    pub is_shared: bool,
    /// Whether other hosts reach it.
    pub is_reachable: bool,
    /// Whether this daemon has credentials that nobody else has.
    pub is_own: bool,
    /// By what it uses the store.
    pub credentials: Option<StoreCredentials>,
    /// What whoever uses the store by these credentials is told of it, but for what is in `ca`.
    pub told: ToldOf,
    /// Who has signed the certificates of its servers, where they are not those of the public authorities.
    pub ca: Option<PathBuf>,
    /// What of records there is.
    pub kinds: KnownRecordKinds,
}

impl StoreAccess {
    /// A store of one host.
    pub fn of_this_host() -> Self {
        let told = Box::new(|_: Option<&StoreCredentials>| JoinStore::default());
        let kinds = KnownRecordKinds::default();
        Self {
            is_shared: false,
            is_reachable: false,
            is_own: false,
            credentials: None,
            told,
            ca: None,
            kinds,
        }
    }

    /// Access by which `node` uses the store: with credentials of its own where they can be given, by which it may
    /// write what `writable` says, and whose hash is told beside, else with those of this daemon. `None`: it is a store
    /// of one host.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`; `NOT_AN_ISSUER` where this daemon has credentials of its own alone, which are nobody else's.
    pub async fn admitted(
        &self,
        store: &dyn Store,
        node: &str,
        writable: &WritableKinds,
    ) -> Result<Option<(JoinStore, Option<PasswordHash>)>, Fault> {
        if !self.is_shared {
            return Ok(None);
        }
        let not_now = |why: &str| not_admitted_now(node, why);
        let own = store.admit(node, writable).await.map_err(|error| not_now(&chain(&error)))?;
        let hash = own.as_ref().map(|own| *Fingerprint::of(own.password.as_bytes()).as_bytes());
        let mut told = match &own {
            Some(own) => {
                // That it cannot be looked at keeps nobody out.
                let why = store.forgets_credentials().await.ok().flatten();
                JoinStore { users_not_kept: why.unwrap_or_default(), ..(self.told)(Some(own)) }
            }
            None if self.is_own => return Err(gives_none()),
            None => (self.told)(self.credentials.as_ref()),
        };
        if let Some(ca) = &self.ca {
            told.ca_pem = tokio::fs::read_to_string(ca)
                .await
                .map_err(|error| not_now(&format!("{}: {error}", ca.display())))?;
        }
        Ok(Some((told, hash)))
    }

    /// Checks that a host can be given access to the store, before anything is counted or issued for it.
    ///
    /// # Errors
    /// As of [`StoreAccess::admitted`].
    pub async fn check_admits(&self, store: &dyn Store, node: &str) -> Result<(), Fault> {
        if !self.is_shared || !self.is_own {
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
        if !self.is_shared || !store.may_admit().await.unwrap_or(false) {
            return Vec::new();
        }
        store.forgets_credentials().await.ok().flatten().into_iter().collect()
    }

    /// Digest that tells the credentials of this daemon from others, for one who knows `salt`; empty where there is no
    /// store to reach.
    pub fn digest(&self, salt: &str) -> Vec<u8> {
        if !self.is_shared {
            return Vec::new();
        }
        let [user, password] = match &self.credentials {
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
            StoreAccess { is_shared: true, credentials: Some(credentials), ..StoreAccess::of_this_host() }
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
