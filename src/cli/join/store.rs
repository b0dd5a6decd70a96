//! The store of the registry, as the daemon of a host that has joined is configured to use it.

use std::path::Path;

use omnirelay_store::whole_file::write_whole;
use omnirelay_wire::pb::omnirelay::security::v1::JoinStore;

use super::node::cannot_write;
use crate::frame::prelude::*;

/// The section `store` of the configuration. What belongs in files of their own is written to `directory`; what is left to
/// do is added to `warnings`.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn section(
    store: &JoinStore,
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Value, CliError> {
    let keep = |name: &str, content: &str| {
        let path = directory.join(name);
        write_whole(&path, content.as_bytes()).map_err(|error| cannot_write(&path, &error))?;
        Ok::<_, CliError>(json!(path))
    };
    let mut section = json!({"url": store.url});
    if !store.ca_pem.is_empty() {
        section["tls"] = json!({"ca": keep("store-ca.pem", &store.ca_pem)?});
    }
    if !store.sentinel_username.is_empty() {
        section["sentinel"]["username"] = json!(store.sentinel_username);
    }
    if !store.sentinel_password.is_empty() {
        section["sentinel"]["passwordFile"] = keep("sentinel-password", &store.sentinel_password)?;
    }
    if let Some(need) = store.leaders_need_replicas {
        section["redis"] = json!({"leadersNeedReplicas": need});
    }
    if !store.users_not_kept.is_empty() {
        warnings.push(format!("of the store: {}", store.users_not_kept));
    }
    if store.needs_certificate {
        warnings.push(
            "the servers of the store ask for a certificate: give this host one, and name it in the configuration as store.tls.cert and store.tls.key"
                .to_owned(),
        );
    }
    Ok(section)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use omnirelay_store::redis::url::UrlSecret;

    use super::*;
    use omnirelay_settings::StoreConfig;

    fn told() -> JoinStore {
        JoinStore {
            url: "rediss+sentinel://b:own@10.0.0.1/mesh".to_owned(),
            ca_pem: "-----BEGIN CERTIFICATE-----".to_owned(),
            sentinel_username: "watcher".to_owned(),
            sentinel_password: "of the Sentinels".to_owned(),
            leaders_need_replicas: Some(2),
            needs_certificate: true,
            users_not_kept: "users are not kept; set aclfile".to_owned(),
        }
    }

    #[test]
    fn the_daemon_uses_the_store_as_the_one_that_let_it_in() {
        let (folder, mut warnings) = (tempfile::tempdir().unwrap(), Vec::new());
        let section = section(&told(), folder.path(), &mut warnings).unwrap();
        let read: StoreConfig = serde_json::from_value(section).unwrap();
        let (url, options) = read.redis().unwrap().unwrap();
        assert_eq!(url.username.as_deref(), Some("b"));
        assert_eq!(options.sentinel_username.as_deref(), Some("watcher"));
        assert_eq!(options.sentinel_password.as_ref().map(UrlSecret::reveal), Some("of the Sentinels"));
        assert_eq!(options.leaders_need, Some(2));
        assert_eq!(std::fs::read_to_string(options.tls.ca.unwrap()).unwrap(), told().ca_pem);
        let mode = std::fs::metadata(folder.path().join("sentinel-password")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(warnings.concat().contains("store.tls.cert"), "{warnings:?}");
        assert!(warnings.concat().contains("set aclfile"), "{warnings:?}");
    }

    #[test]
    fn a_store_that_needs_nothing_leaves_nothing() {
        let (folder, mut warnings) = (tempfile::tempdir().unwrap(), Vec::new());
        let store = JoinStore { url: "redis://10.0.0.1".to_owned(), ..JoinStore::default() };
        assert_eq!(section(&store, folder.path(), &mut warnings).unwrap(), json!({"url": store.url}));
        assert!(warnings.is_empty() && std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
