//! Access to the store: what a node that joins is given, and what one that was put out knows.

use std::net::IpAddr;

use omnirelay_core::text::chain;
use omnirelay_pki::key::Fingerprint;
use omnirelay_store::Store;
use omnirelay_store::redis::url::{Address, RedisUrl};
use omnirelay_store::redis::users::node_user;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tracing::warn;

/// The store of the registry, as this daemon uses it.
pub struct StoreAccess {
    /// `None` for a store that only daemons of this host can use.
    url: Option<RedisUrl>,
    username: Option<String>,
    password: Option<String>,
    /// What this node's own user is called, if it has one.
    own_user: String,
}

impl StoreAccess {
    /// A store of one host.
    pub fn of_this_host() -> Self {
        Self { url: None, username: None, password: None, own_user: String::new() }
    }

    /// One in a Redis, and the credentials by which this daemon, `node` of `mesh`, uses it.
    pub fn of(
        url: RedisUrl,
        username: Option<String>,
        password: Option<String>,
        [mesh, node]: [&str; 2],
    ) -> Self {
        let username = username.or_else(|| url.username.clone());
        let password = password.or_else(|| url.password.as_ref().map(|known| known.reveal().to_owned()));
        let own_user = node_user(&url.prefix, mesh, node);
        Self { url: Some(url), username, password, own_user }
    }

    /// Whether other hosts reach it.
    pub fn is_reachable(&self) -> bool {
        let is_here = |address: &Address| match address.host.parse::<IpAddr>() {
            Ok(ip) => ip.is_loopback() || ip.is_unspecified(),
            Err(_) => address.host == "localhost",
        };
        self.url.as_ref().is_some_and(|url| !url.addresses().iter().any(is_here))
    }

    /// Whether daemons of other processes use it.
    pub fn is_shared(&self) -> bool {
        self.url.is_some()
    }

    /// With what URL `node` uses the store: with credentials of its own where they can be given, else with those of this
    /// daemon. Empty: it is a store of one host.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`; `NOT_AN_ISSUER` where this daemon has credentials of its own alone, which are nobody else's.
    pub async fn admitted(&self, store: &dyn Store, node: &str) -> Result<String, Fault> {
        let Some(url) = &self.url else { return Ok(String::new()) };
        match store.admit(node).await {
            Ok(Some(own)) => Ok(url.revealing(Some(&own.username), Some(&own.password))),
            Ok(None) if self.username.as_ref() == Some(&self.own_user) => {
                let message = "this daemon cannot give the host access to the store: it has credentials of its own alone";
                Err(Fault::new(reasons::NOT_AN_ISSUER, message)
                    .hint("ask a daemon whose user of the store may make others (+acl|setuser)"))
            }
            Ok(None) => Ok(url.revealing(self.username.as_deref(), self.password.as_deref())),
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
        if self.url.is_none() {
            return Vec::new();
        }
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let text = ["omnirelay store", salt, &part(&self.username), &part(&self.password)].join("\0");
        Fingerprint::of(text.as_bytes()).as_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_credentials_are_told_apart_and_the_same_are_not() {
        let of = |url: &str, password: Option<&str>| {
            StoreAccess::of(url.parse().unwrap(), None, password.map(str::to_owned), ["default", "a"])
        };
        let one = of("redis://ann:one@10.0.0.1:1", None);
        assert_eq!(one.digest("x"), of("redis://ann@10.0.0.2:2", Some("one")).digest("x"));
        assert_ne!(one.digest("x"), one.digest("y"));
        for other in ["redis://ann:two@10.0.0.1:1", "redis://bob:one@10.0.0.1:1", "redis://10.0.0.1:1"] {
            assert_ne!(one.digest("x"), of(other, None).digest("x"), "{other}");
        }
        assert!(StoreAccess::of_this_host().digest("x").is_empty());
    }

    #[test]
    fn a_store_of_this_host_alone_is_reached_from_nowhere_else() {
        for (url, expected) in [
            ("redis://10.0.0.1:1", true),
            ("redis://redis-1,redis-2", true),
            ("redis://127.0.0.1:1", false),
            ("redis://localhost", false),
            ("redis+sentinel://10.0.0.1,[::1]/mesh", false),
        ] {
            let access = StoreAccess::of(url.parse().unwrap(), None, None, ["default", "a"]);
            assert_eq!(access.is_reachable(), expected, "{url}");
        }
    }
}
