//! The row of Redis in the table of backends.

use std::sync::Arc;

use omnirelay_wire::pb::omnirelay::store::v1::HandedRedisStore;
use prost::Message as _;

use super::RedisStore;
use super::settings::{self, SETTINGS};
use super::url::SCHEMES;
use super::users::node_user;
use crate::StoreCredentials;
use crate::backend::{
    Backend, BackendSetting, JoinedSetting, JoinedStore, NodeAccess, StoreAdmission, StoreMember,
    StoreOpenError, StoreOpening, StorePlace, StoreSource,
};
use crate::settings::{InvalidStoreSetting, StoreConfig};
use crate::url::{ServerAddress, UrlSecret};

/// A store in Redis, which hosts share.
pub(crate) struct RedisBackend;

impl Backend for RedisBackend {
    fn schemes(&self) -> &'static [&'static str] {
        &SCHEMES
    }

    fn settings(&self) -> &'static [BackendSetting] {
        &SETTINGS
    }

    fn place(&self, config: &StoreConfig) -> Result<StorePlace, InvalidStoreSetting> {
        let url = settings::url(config)?;
        Ok(StorePlace {
            name: url.name(),
            servers: url.addresses().to_vec(),
            is_plaintext: !url.tls,
            has: settings::had(&url),
        })
    }

    fn check_files(&self, config: &StoreConfig) -> Result<(), InvalidStoreSetting> {
        settings::options(config).map(drop)
    }

    fn open(&self, config: &StoreConfig, opening: &StoreOpening<'_>) -> Result<StoreSource, StoreOpenError> {
        let (url, options) = (settings::url(config)?, settings::options(config)?);
        let (cluster, quarantine) = (opening.cluster.to_owned(), opening.quarantine);
        Ok(StoreSource::EachItsOwn(Arc::new(move || {
            Arc::new(RedisStore::new(url.clone(), options.clone(), &cluster, quarantine))
        })))
    }

    fn admission(
        &self,
        config: &StoreConfig,
        member: &StoreMember<'_>,
    ) -> Result<Option<StoreAdmission>, InvalidStoreSetting> {
        let (url, options) = (settings::url(config)?, settings::options(config)?);
        let username = options.username.or_else(|| url.username.clone());
        let password = options.password.or_else(|| url.password.clone());
        let is_given = username.is_some() || password.is_some();
        let text = |secret: Option<UrlSecret>| secret.map(|it| it.reveal().to_owned()).unwrap_or_default();
        let of_all = HandedRedisStore {
            sentinel_username: options.sentinel_username.unwrap_or_default(),
            sentinel_password: text(options.sentinel_password),
            leaders_need_replicas: options.leaders_need,
            needs_certificate: options.tls.cert.is_some(),
            ..HandedRedisStore::default()
        };
        Ok(Some(StoreAdmission {
            is_reachable: !url.addresses().iter().any(ServerAddress::is_of_this_host),
            is_own: username.as_ref() == Some(&node_user(&url.prefix, member.cluster, member.node)),
            credentials: is_given.then(|| StoreCredentials {
                username: username.unwrap_or_default(),
                password: text(password),
            }),
            ca: options.tls.ca,
            hand_over: Box::new(move |access| {
                let NodeAccess { credentials, ca_pem, users_not_kept } = access.clone();
                let url = url.revealing(credentials.as_ref());
                HandedRedisStore { url, ca_pem, users_not_kept, ..of_all.clone() }.encode_to_vec()
            }),
        }))
    }

    fn joined(&self, handed: &[u8]) -> Option<JoinedStore> {
        let HandedRedisStore {
            url,
            ca_pem,
            sentinel_username,
            sentinel_password,
            leaders_need_replicas,
            needs_certificate,
            users_not_kept,
        } = HandedRedisStore::decode(handed).ok()?;
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let file = |name, content| text(content).map(|content| JoinedSetting::File { name, content });
        let settings = [
            ("store.url", Some(JoinedSetting::Text(url))),
            ("store.tls.ca", file("store-ca.pem", ca_pem)),
            ("store.sentinel.username", text(sentinel_username).map(JoinedSetting::Text)),
            ("store.sentinel.passwordFile", file("sentinel-password", sentinel_password)),
            ("store.redis.leadersNeedReplicas", leaders_need_replicas.map(JoinedSetting::Number)),
        ];
        let settings = settings.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let not_kept = text(users_not_kept).map(|what| format!("of the store: {what}"));
        let certificate = needs_certificate.then(|| NEEDS_CERTIFICATE.to_owned());
        Some(JoinedStore { settings, warnings: not_kept.into_iter().chain(certificate).collect() })
    }
}

const NEEDS_CERTIFICATE: &str = "the servers of the store ask for a certificate: give this host one, and name it in the \
                                 configuration as store.tls.cert and store.tls.key";

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: StoreMember<'_> = StoreMember { cluster: "eu", node: "a" };

    fn admission(url: &str) -> StoreAdmission {
        StoreConfig::of_url(url).admission(&MEMBER).unwrap().unwrap()
    }

    #[test]
    fn a_daemon_says_by_what_it_uses_the_store() {
        let cases = [
            ("a user of all", "redis://ann:one@10.0.0.1", true, false, Some(("ann", "one"))),
            (
                "its own user",
                "redis://omnirelay_eu_a:one@10.0.0.1",
                true,
                true,
                Some(("omnirelay_eu_a", "one")),
            ),
            (
                "that of another node",
                "redis://omnirelay_eu_b:one@h",
                true,
                false,
                Some(("omnirelay_eu_b", "one")),
            ),
            ("nobody", "redis://10.0.0.1", true, false, None),
            ("a server of this host", "redis://10.0.0.1,127.0.0.1", false, false, None),
        ];
        for (what, url, is_reachable, is_own, credentials) in cases {
            let found = admission(url);
            let known = found.credentials.as_ref().map(|of| (of.username.as_str(), of.password.as_str()));
            assert_eq!(
                (found.is_reachable, found.is_own, known),
                (is_reachable, is_own, credentials),
                "{what}"
            );
        }
        for url in ["memory:", "embedded:"] {
            assert!(StoreConfig::of_url(url).admission(&MEMBER).unwrap().is_none(), "{url}");
        }
    }

    #[test]
    fn a_host_is_configured_with_what_it_was_handed() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            Some(path)
        };
        let mut config = StoreConfig::of_url("rediss+sentinel://ann:one@10.0.0.1/mesh");
        config.sentinel.username = Some("watcher".to_owned());
        config.sentinel.password_file = file("of-sentinels", "of the Sentinels\n");
        config.redis.leaders_need_replicas = Some(2);
        (config.tls.cert, config.tls.key) = (file("cert", ""), file("key", ""));
        let admission = config.admission(&MEMBER).unwrap().unwrap();
        let own = StoreCredentials { username: "b".to_owned(), password: "own".to_owned() };
        let handed = (admission.hand_over)(&NodeAccess {
            credentials: Some(own),
            ca_pem: "-----BEGIN CERTIFICATE-----".to_owned(),
            users_not_kept: "users are not kept; set aclfile".to_owned(),
        });
        let joined = JoinedStore::read(&handed).unwrap();
        let text = |text: &str| JoinedSetting::Text(text.to_owned());
        let file = |name, content: &str| JoinedSetting::File { name, content: content.to_owned() };
        assert_eq!(
            joined.settings,
            [
                ("store.url", text("rediss+sentinel://b:own@10.0.0.1:26379/mesh")),
                ("store.tls.ca", file("store-ca.pem", "-----BEGIN CERTIFICATE-----")),
                ("store.sentinel.username", text("watcher")),
                ("store.sentinel.passwordFile", file("sentinel-password", "of the Sentinels")),
                ("store.redis.leadersNeedReplicas", JoinedSetting::Number(2)),
            ]
        );
        assert_eq!(joined.warnings[0], "of the store: users are not kept; set aclfile");
        assert!(joined.warnings[1].contains("store.tls.cert"), "{:?}", joined.warnings);
    }

    #[test]
    fn a_store_that_needs_nothing_leaves_nothing() {
        let handed = (admission("redis://10.0.0.1").hand_over)(&NodeAccess::default());
        let joined = JoinedStore::read(&handed).unwrap();
        let url = JoinedSetting::Text("redis://10.0.0.1:6379".to_owned());
        assert_eq!(joined, JoinedStore { settings: vec![("store.url", url)], warnings: Vec::new() });
    }
}
