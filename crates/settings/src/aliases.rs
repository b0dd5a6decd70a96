//! Other names of settings: those that the origin has under `mesh.gossip`. Each is the same value as the setting that it stands for,
//! and is refused where both are given and differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use omnirelay_core::labels::Labels;
use serde_json::{Map, Value, json};

use super::MeshConfig;
use super::gossip::{GossipConfig, GossipTlsConfig};
use super::layers::{ConfigError, ValueSource, insert, source_of};

const SECTION: &str = "mesh.gossip";
/// Those that stand for one setting, as it is.
const SAME: [(&str, &str); 6] = [
    ("nodeId", "node.id"),
    ("role", "node.role"),
    ("clusterId", "node.cluster"),
    ("region", "node.region"),
    ("labels", "node.labels"),
    ("tls.allowedThumbprints", "mesh.pinnedCertificates"),
];

impl GossipConfig {
    /// With a value of its kind for each other name.
    pub(super) fn with_all_names(self) -> Self {
        let text = || Some(String::new());
        Self {
            node_id: text(),
            role: text(),
            cluster_id: text(),
            region: text(),
            mesh_version: text(),
            port: Some(0),
            bind_address: text(),
            advertise_host: text(),
            advertise_port: Some(0),
            seed_peers: Some(Vec::new()),
            labels: Some(Labels::new()),
            tls: Some(GossipTlsConfig {
                certificate_path: Some(PathBuf::new()),
                certificate_password: text(),
                check_certificate_revocation: Some(true),
                allowed_thumbprints: Some(Vec::new()),
            }),
            ..self
        }
    }
}

/// Tree of settings as read so far, with the sources of its values.
pub(super) struct SettingsTree<'a> {
    pub tree: &'a mut Value,
    pub sources: &'a mut BTreeMap<String, ValueSource>,
    pub warnings: &'a mut Vec<String>,
}

/// Puts what other names say under the names that count.
pub(super) fn resolve(read: &mut SettingsTree<'_>) -> Result<(), ConfigError> {
    // What a name holds of another kind than the setting's would be looked for there in vain.
    if let Some(section) = read.tree.pointer("/mesh/gossip").filter(|section| !section.is_null()) {
        serde_path_to_error::deserialize::<_, GossipConfig>(section).map_err(|error| {
            let name = error.path().to_string();
            read.refuse(&name, error.into_inner().to_string())
        })?;
    }
    let Some(section) = read.tree.pointer_mut("/mesh/gossip").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    let names = known_names();
    let (mut given, kept): (Map<_, _>, Map<_, _>) =
        std::mem::take(section).into_iter().partition(|(name, _)| names.contains(name));
    *section = kept;
    given.retain(|_, value| !value.is_null());
    let tls = given.remove("tls").and_then(|tls| if let Value::Object(tls) = tls { Some(tls) } else { None });
    for (name, value) in tls.unwrap_or_default() {
        if !value.is_null() {
            given.insert(format!("tls.{name}"), value);
        }
    }
    for (name, to) in SAME {
        if let Some(value) = given.remove(name) {
            read.put(name, to, value)?;
        }
    }
    read.addresses(&given)?;
    if given.contains_key("meshVersion") {
        read.warnings
            .push("`mesh.gossip.meshVersion` is ignored: nodes tell the version that they are".to_owned());
    }
    read.identity(&given)
}

/// The other names.
fn known_names() -> BTreeSet<String> {
    let all = serde_json::to_value(GossipConfig::default().with_all_names()).unwrap_or_default();
    let own = serde_json::to_value(GossipConfig::default()).unwrap_or_default();
    let names = |of: &Value| -> BTreeSet<String> {
        of.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
    };
    names(&all).difference(&names(&own)).cloned().collect()
}

/// The whole key of another name.
fn key_of(name: &str) -> String {
    format!("{SECTION}.{name}")
}

impl SettingsTree<'_> {
    fn refuse(&self, name: &str, what: String) -> ConfigError {
        let key = key_of(name);
        ConfigError::Value { origin: source_of(self.sources, &key), key, what }
    }

    /// Has a setting be what another name says.
    fn put(&mut self, name: &str, to: &str, value: Value) -> Result<(), ConfigError> {
        let pointer = format!("/{}", to.replace('.', "/"));
        match self.tree.pointer(&pointer).filter(|there| !there.is_null()) {
            Some(there) if *there != value => {
                let source = source_of(self.sources, to);
                Err(self.refuse(name, format!("it is another name of `{to}`, which is {there} ({source})")))
            }
            Some(_) => Ok(()),
            None => {
                let path: Vec<String> = to.split('.').map(str::to_owned).collect();
                insert(self.tree, &path, value);
                let source = source_of(self.sources, &key_of(name));
                self.sources.insert(to.to_owned(), source);
                Ok(())
            }
        }
    }

    fn addresses(&mut self, given: &Map<String, Value>) -> Result<(), ConfigError> {
        let text = |name: &str| given.get(name).and_then(Value::as_str);
        let number = |name: &str| given.get(name).and_then(Value::as_u64);
        let usual = MeshConfig::default().listen;
        let (any, usual) = (usual.ip().to_string(), usual.port().into());
        let (bind, port) = (text("bindAddress"), number("port"));
        if let Some(name) = bind.map(|_| "bindAddress").or(port.map(|_| "port")) {
            let address = joined(bind.unwrap_or(&any), port.unwrap_or(usual));
            self.put(name, "mesh.listen", json!(address))?;
        }
        match (text("advertiseHost"), number("advertisePort")) {
            (Some(host), at) => {
                let listen = self.tree.pointer("/mesh/listen").and_then(Value::as_str);
                let listens = listen.and_then(|listen| listen.rsplit_once(':')?.1.parse().ok());
                let address = joined(host, at.or(listens).unwrap_or(usual));
                self.put("advertiseHost", "mesh.advertise", json!(address))?;
            }
            (None, Some(_)) => {
                let what = "it says nothing without `mesh.gossip.advertiseHost`; or write `mesh.advertise`";
                return Err(self.refuse("advertisePort", what.to_owned()));
            }
            (None, None) => {}
        }
        if let Some(seeds) = given.get("seedPeers").and_then(Value::as_array) {
            let seeds = seeds.iter().filter_map(Value::as_str).map(address_of).collect::<Vec<_>>();
            self.put("seedPeers", "mesh.seeds", json!(seeds))?;
        }
        Ok(())
    }

    fn identity(&mut self, given: &Map<String, Value>) -> Result<(), ConfigError> {
        if given.contains_key("tls.certificatePassword") {
            let what = "a password does not stand in a configuration: write it into a file that the daemon alone reads, and name it by `security.identity.passwordFile`";
            return Err(self.refuse("tls.certificatePassword", what.to_owned()));
        }
        if given.get("tls.checkCertificateRevocation") == Some(&Value::Bool(false)) {
            let what = "whoever was revoked is never let in; leave it out";
            return Err(self.refuse("tls.checkCertificateRevocation", what.to_owned()));
        }
        let Some(path) = given.get("tls.certificatePath").and_then(Value::as_str) else { return Ok(()) };
        if ![".pfx", ".p12"].iter().any(|end| path.to_ascii_lowercase().ends_with(end)) {
            let what = "it is taken where it is PKCS#12 (`.pfx`, `.p12`); for PEM write `security.identity.cert` and `security.identity.key`";
            return Err(self.refuse("tls.certificatePath", what.to_owned()));
        }
        self.put("tls.certificatePath", "security.identity.pkcs12", json!(path))?;
        self.put("tls.certificatePath", "security.identity.source", json!("files"))
    }
}

/// A host and a port, as one address.
fn joined(host: &str, port: u64) -> String {
    let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
    if is_bare_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The address in a URL, or as it is.
fn address_of(seed: &str) -> &str {
    let behind = seed.split_once("://").map_or(seed, |(_, behind)| behind);
    behind.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::super::{LoadedConfig, load};
    use super::*;

    fn of(text: &str, variables: &[(&str, &str)]) -> Result<LoadedConfig, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        load(Some(file.path()), variables, &[], &[])
    }

    #[test]
    fn what_the_origin_calls_otherwise_is_the_same_setting() {
        let text = "mesh:\n  gossip:\n    enabled: true\n    nodeId: a\n    clusterId: eu\n    region: north\n    port: 7000\n    \
                    advertiseHost: a.example\n    seedPeers: ['https://b.example:7000', 'c.example:7001']\n    labels: {tier: std}\n    \
                    meshVersion: dev\n    fanout: 4\n    tls: {checkCertificateRevocation: true}\n";
        let loaded = of(text, &[("MESH_GOSSIP__ROLE", "gateway")]).unwrap();
        let LoadedConfig { config, sources, warnings } = loaded;
        assert_eq!(
            (config.node.id.as_deref(), &*config.node.role, &*config.node.cluster),
            (Some("a"), "gateway", "eu")
        );
        assert_eq!((&*config.node.region, config.node.labels["tier"].as_str()), ("north", "std"));
        assert_eq!(
            (config.mesh.listen.to_string(), config.mesh.advertise.as_deref()),
            ("0.0.0.0:7000".to_owned(), Some("a.example:7000"))
        );
        assert_eq!(config.mesh.seeds, ["b.example:7000", "c.example:7001"]);
        assert_eq!((config.mesh.gossip.fanout, config.mesh.gossip.node_id), (4, None));
        assert_eq!(sources["node.role"], ValueSource::Variable("MESH_GOSSIP__ROLE".to_owned()));
        assert!(
            matches!(sources["node.cluster"], ValueSource::File(_, Some(5))),
            "{:?}",
            sources["node.cluster"]
        );
        assert!(warnings.iter().any(|warning| warning.contains("meshVersion")), "{warnings:?}");
    }

    #[test]
    fn what_is_advertised_has_the_port_that_is_listened_at() {
        let text = "mesh: {listen: '0.0.0.0:7000', gossip: {advertiseHost: a.example}}\n";
        assert_eq!(of(text, &[]).unwrap().config.mesh.advertise.as_deref(), Some("a.example:7000"));
    }

    #[test]
    fn seeds_of_the_environment_are_heard_however_they_are_listed() {
        let file = "mesh: {gossip: {seedPeers: ['f:1', 'g:2']}}\n";
        let many: Vec<(String, String)> =
            (0..11).map(|at| (format!("MESH_GOSSIP__SEEDPEERS__{at}"), format!("h{at}:1"))).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
        let all: Vec<String> = (0..11).map(|at| format!("h{at}:1")).collect();
        let all: Vec<&str> = all.iter().map(|seed| &**seed).collect();
        type Case<'a> = (&'static str, &'a [(&'a str, &'a str)], &'a [&'a str]);
        let cases: [Case<'_>; 8] = [
            ("", &[("MESH_GOSSIP__SEEDPEERS", "a:1,b:2")], &["a:1", "b:2"]),
            ("", &[("MESH_GOSSIP__SEEDPEERS", "https://a:1/ , b:2,")], &["a:1", "b:2"]),
            ("", &[("MESH_GOSSIP__SEEDPEERS", "a:1")], &["a:1"]),
            ("", &[("MESH_GOSSIP__SEEDPEERS", "['a:1', 'b:2']")], &["a:1", "b:2"]),
            (
                "",
                &[("MESH_GOSSIP__SEEDPEERS__1", "b:2"), ("MESH_GOSSIP__SEEDPEERS__0", "a:1")],
                &["a:1", "b:2"],
            ),
            (file, &[("MESH_GOSSIP__SEEDPEERS__1", "b:2")], &["f:1", "b:2"]),
            ("", &[("OMNIRELAYD__MESH__SEEDS", "a:1,b:2")], &["a:1", "b:2"]),
            ("", &many, &all),
        ];
        for (text, variables, expected) in cases {
            assert_eq!(of(text, variables).unwrap().config.mesh.seeds, expected, "{variables:?}");
        }
    }

    #[test]
    fn the_defaults_of_the_origin_are_taken_at_a_start() {
        let text = "mesh: {gossip: {interval: 1s, pingTimeout: 2s, suspicionInterval: 5s, retransmitLimit: 3, fanout: 3}}\n";
        let gossip = of(text, &[]).unwrap().config.mesh.gossip;
        assert_eq!(gossip.membership().probe_time(), std::time::Duration::from_secs(3));
        let seconds = "mesh: {gossip: {interval: '00:00:01', pingTimeout: '00:00:02'}}\n";
        assert_eq!(of(seconds, &[]).unwrap().config.mesh.gossip.ping_timeout.to_string(), "2s");
    }

    #[test]
    fn two_names_of_one_setting_may_not_differ() {
        let both = |role: &str| format!("node: {{role: gateway}}\nmesh: {{gossip: {{role: {role}}}}}\n");
        assert_eq!(of(&both("gateway"), &[]).unwrap().config.node.role, "gateway");
        let error = of(&both("worker"), &[]).unwrap_err().to_string();
        assert!(
            error.contains("`mesh.gossip.role`") && error.contains("another name of `node.role`"),
            "{error}"
        );
        assert!(error.contains("\"gateway\" (file "), "{error}");
    }

    #[test]
    fn what_cannot_be_said_so_says_how() {
        let cases = [
            ("{advertisePort: 7}", "advertiseHost"),
            ("{tls: {certificatePassword: x}}", "passwordFile"),
            ("{tls: {checkCertificateRevocation: false}}", "never let in"),
            ("{tls: {certificatePath: a.pem}}", "security.identity.cert"),
            ("{tls: {allowedThumbprints: [abc]}}", "mesh.pinnedCertificates"),
            ("{fanout: 0}", "between 1 and 32"),
            ("{pingTimeout: 2m}", "between 10ms and 1m"),
            ("{interval: 1ms}", "between"),
            ("{colour: red}", "colour"),
        ];
        for (text, expected) in cases {
            let error = of(&format!("mesh:\n  gossip: {text}\n"), &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let wrong = [
            ("MESH_GOSSIP__PORT", "many", "invalid type"),
            ("MESH_GOSSIP__ADVERTISEPORT", "70000", "u16"),
            ("MESH_GOSSIP__TLS__CHECKCERTIFICATEREVOCATION", "perhaps", "boolean"),
            ("MESH_GOSSIP__LABELS", "tier", "map"),
            ("MESH_GOSSIP__SEEDPEERS__A", "b:7000", "from 0 on"),
            ("MESH_GOSSIP__SEEDPEERS__1", "b:7000", "has 0 before"),
            ("MESH_GOSSIP__PEERS", "b:7000", "`seedPeers`"),
        ];
        for (name, value, expected) in wrong {
            let error = of("", &[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(name), "{name}: {error}");
        }
        let variables = [("MESH_GOSSIP__TLS__CERTIFICATEPASSWORD", "x")];
        let error = of("", &variables).unwrap_err().to_string();
        assert!(error.contains("variable MESH_GOSSIP__TLS__CERTIFICATEPASSWORD"), "{error}");
        assert!(!error.contains("\"x\""), "{error}");
    }
}
