//! Access to the store: what a node that joins is given, and what one that was put out knows.

use omnirelay_core::text::chain;
use omnirelay_pki::key::Fingerprint;
use omnirelay_store::{Credentials, Store};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tracing::warn;

/// The URL of the store for whoever uses it by some credentials.
type UrlOf = Box<dyn Fn(Option<&Credentials>) -> String + Send + Sync>;

/// The store of the registry, as this daemon uses it.
pub struct StoreAccess {
    /// Whether daemons of other processes use it.
    pub is_shared: bool,
    /// Whether other hosts reach it.
    pub is_reachable: bool,
    /// Whether this daemon has credentials that nobody else has.
    pub is_own: bool,
    /// By what it uses the store.
    pub credentials: Option<Credentials>,
    /// The URL for whoever uses the store by these credentials.
    pub url: UrlOf,
}

impl StoreAccess {
    /// A store of one host.
    pub fn of_this_host() -> Self {
        let url = Box::new(|_: Option<&Credentials>| String::new());
        Self { is_shared: false, is_reachable: false, is_own: false, credentials: None, url }
    }

    /// With what URL `node` uses the store: with credentials of its own where they can be given, else with those of this
    /// daemon. Empty: it is a store of one host.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`; `NOT_AN_ISSUER` where this daemon has credentials of its own alone, which are nobody else's.
    pub async fn admitted(&self, store: &dyn Store, node: &str) -> Result<String, Fault> {
        if !self.is_shared {
            return Ok(String::new());
        }
        match store.admit(node).await {
            Ok(Some(own)) => Ok((self.url)(Some(&own))),
            Ok(None) if self.is_own => {
                let message = "this daemon cannot give the host access to the store: it has credentials of its own alone";
                Err(Fault::new(reasons::NOT_AN_ISSUER, message)
                    .hint("ask a daemon whose user of the store may make others (+acl|setuser)"))
            }
            Ok(None) => Ok((self.url)(self.credentials.as_ref())),
            Err(error) => {
                warn!(error = %chain(&error), peer = node, "no credentials of the store for a node that joins");
                Err(Fault::new(reasons::STORE_UNAVAILABLE, "the store gives the host no credentials now")
                    .hint("repeat the command: the use of the token is counted once"))
            }
        }
    }

    /// What tells the credentials of this daemon from others, for one who knows `salt`; empty where there is no store to
    /// reach.
    pub fn digest(&self, salt: &str) -> Vec<u8> {
        if !self.is_shared {
            return Vec::new();
        }
        let [user, password] = match &self.credentials {
            Some(Credentials { username, password }) => [username.as_str(), password.as_str()],
            None => ["", ""],
        };
        let text = ["omnirelay store", salt, user, password].join("\0");
        Fingerprint::of(text.as_bytes()).as_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_credentials_are_told_apart_and_the_same_are_not() {
        let of = |username: &str, password: &str| {
            let credentials = Credentials { username: username.into(), password: password.into() };
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
