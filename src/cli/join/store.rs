//! The store of the registry, as the daemon of a host that has joined is configured to use it.

use std::path::Path;

use omnirelay_store::whole_file::write_whole;
use omnirelay_store::{JoinedSetting, JoinedStore};

use super::node::cannot_write;
use crate::frame::prelude::*;

/// The section `store` of the configuration. What belongs in files of their own is written to `directory`; what is left to
/// do is added to `warnings`.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn section(
    store: JoinedStore,
    directory: &Path,
    warnings: &mut Vec<String>,
) -> Result<Value, CliError> {
    let mut config = json!({});
    for (key, setting) in store.settings {
        let value = match setting {
            JoinedSetting::Text(text) => json!(text),
            JoinedSetting::Number(number) => json!(number),
            JoinedSetting::File { name, content } => {
                let path = directory.join(name);
                write_whole(&path, content.as_bytes()).map_err(|error| cannot_write(&path, &error))?;
                json!(path)
            }
        };
        *key.split('.').fold(&mut config, |section, name| &mut section[name]) = value;
    }
    warnings.extend(store.warnings);
    Ok(config["store"].take())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_of_its_own_is_its_owners_alone() {
        let (folder, mut warnings) = (tempfile::tempdir().unwrap(), vec!["before".to_owned()]);
        let file = JoinedSetting::File { name: "password", content: "secret".to_owned() };
        let store = JoinedStore {
            settings: vec![
                ("store.url", JoinedSetting::Text("redis://10.0.0.1".to_owned())),
                ("store.sentinel.passwordFile", file),
                ("store.redis.leadersNeedReplicas", JoinedSetting::Number(2)),
            ],
            warnings: vec!["set aclfile".to_owned()],
        };
        let section = section(store, folder.path(), &mut warnings).unwrap();
        let path = folder.path().join("password");
        assert_eq!(
            section,
            json!({
                "url": "redis://10.0.0.1",
                "sentinel": {"passwordFile": path},
                "redis": {"leadersNeedReplicas": 2},
            })
        );
        assert!(serde_json::from_value::<omnirelay_store::StoreConfig>(section).is_ok());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(warnings, ["before", "set aclfile"]);
    }

    #[test]
    fn a_store_that_needs_nothing_leaves_nothing() {
        let (folder, mut warnings) = (tempfile::tempdir().unwrap(), Vec::new());
        let url = JoinedSetting::Text("redis://10.0.0.1".to_owned());
        let store = JoinedStore { settings: vec![("store.url", url)], warnings: Vec::new() };
        assert_eq!(section(store, folder.path(), &mut warnings).unwrap(), json!({"url": "redis://10.0.0.1"}));
        assert!(warnings.is_empty() && std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
