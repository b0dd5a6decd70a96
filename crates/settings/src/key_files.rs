//! Private keys in files that the configuration names, and who may read them.

use std::path::Path;

use omnirelay_host::permissions::open_to_everybody;

use super::Config;

impl Config {
    /// The files of private keys that are used as they are, each by the key of the configuration that names it. An identity
    /// from files is not among them: the daemon does not use one that is open to everybody.
    fn key_files(&self) -> Vec<(&'static str, &Path)> {
        let Self { control, mesh, relay, registers, store, otlp, .. } = self;
        let named = [
            ("control.tls.key", &control.tls.key),
            ("mesh.shards.webhook.secretFile", &mesh.shards.webhook.secret_file),
            ("otlp.headersFile", &otlp.headers_file),
            ("otlp.tls.key", &otlp.tls.key),
            ("relay.tls.key", &relay.tls.key),
            ("relay.registry.tls.key", &relay.registry.tls.key),
            ("relay.sinks.http.tls.key", &relay.sinks.http.tls.key),
            ("registers.peerServicesTls.key", &registers.peer_services_tls.key),
            ("store.tls.key", &store.tls.key),
        ];
        named.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?))).collect()
    }

    /// Those that everybody of this host may read or write, as it is now. Blocks.
    pub fn open_key_files(&self) -> Vec<String> {
        let open = self.key_files().into_iter().filter_map(|(key, path)| {
            let mode = open_to_everybody(path)?;
            Some(format!("{} (mode {mode:04o}; {key})", path.display()))
        });
        open.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_that_everybody_may_read_are_told_and_no_others() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("key.pem");
        std::fs::write(&path, "").unwrap();
        type Name = fn(&mut Config) -> &mut Option<std::path::PathBuf>;
        let names: [Name; 7] = [
            |config| &mut config.control.tls.key,
            |config| &mut config.relay.tls.key,
            |config| &mut config.relay.registry.tls.key,
            |config| &mut config.relay.sinks.http.tls.key,
            |config| &mut config.registers.peer_services_tls.key,
            |config| &mut config.otlp.tls.key,
            |config| &mut config.store.tls.key,
        ];
        for name in names {
            let mut config = Config::default();
            *name(&mut config) = Some(path.clone());
            for (mode, is_told) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true)] {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
                let told = config.open_key_files();
                assert_eq!(told.len(), usize::from(is_told), "{mode:o}: {told:?}");
                assert!(told.iter().all(|told| told.contains("key.pem (mode 0") && told.contains(".key)")));
            }
        }
        let mut config = Config::default();
        config.control.tls.key = Some(place.path().join("nowhere"));
        assert!(config.open_key_files().is_empty());
    }
}
