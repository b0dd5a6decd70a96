//! Layers of settings: a file, then the environment, then `--set`, then flags.
//!
//! Every value remembers its source, so that an error names the line, the variable or the flag.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use omnirelay_core::text::chain;
use omnirelay_store::url::redacted;
use serde_json::{Map, Value};

use super::lines::{line_of, lines_of};
use super::overrides::{
    SchemaPlace, SettingOverride, from_variables, insert_item, known_path, mistaken, typed,
};
use super::schema::schema;
use super::sinks::without_query;
use super::{Config, aliases, foreign, origin};

/// The settings that are URLs with a password in them, perhaps.
const URLS: [&str; 2] = ["store.url", "relay.sinks.redis.url"];
/// Those that are addresses with a token in them, perhaps.
const ADDRESSES: [&str; 3] = ["relay.sinks.http.url", "mesh.shards.webhook.url", "otlp.endpoint"];

/// Source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSource {
    Default,
    /// The line counts from 1; `None` where it cannot be told.
    File(PathBuf, Option<u64>),
    Variable(String),
    Set(String),
    Flag(&'static str),
}

/// A configuration and the source of each of its values by key.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    pub config: Config,
    pub sources: BTreeMap<String, ValueSource>,
    /// What was read otherwise than it was written, a sentence each.
    pub warnings: Vec<String>,
}

/// Reason why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration `{path}`")]
    Read { path: PathBuf, source: std::io::Error },
    /// The text says the line and the column.
    #[error("`{path}` is no configuration: {what}")]
    File { path: PathBuf, what: String },
    #[error("there is no setting `{key}` ({origin}); `{parent}` has {known}")]
    Unknown { key: String, parent: String, known: String, origin: ValueSource },
    #[error("`{key}` ({origin}): {what}")]
    Value { key: String, origin: ValueSource, what: String },
    #[error("`--set {0}` is not KEY=VALUE")]
    NotASetting(String),
    #[error("variable `{name}` is not UTF-8; write it anew")]
    NotText { name: String },
}

/// Sources of the configuration of a process, but for its environment, so that it can be read again.
#[derive(Clone, Debug, Default)]
pub struct ConfigSource {
    pub file: Option<PathBuf>,
    /// `KEY=VALUE`, as they were given.
    pub set: Vec<String>,
    /// The flags that say a setting, with its key and its value.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

impl ConfigSource {
    /// Puts the layers together, with the environment of this process.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load(&self) -> Result<LoadedConfig, ConfigError> {
        load(self.file.as_deref(), std::env::vars_os(), &self.set, &self.flags)
    }
}

/// Puts the layers together.
///
/// # Errors
/// [`ConfigError`] for the first unknown key or bad value, with its place.
pub fn load(
    file: Option<&Path>,
    variables: impl Iterator<Item = (OsString, OsString)>,
    set: &[String],
    flags: &[(&'static str, &str, String)],
) -> Result<LoadedConfig, ConfigError> {
    let loaded = read(file, variables, set, flags)?;
    loaded.config.check().map_err(|(key, what)| loaded.refuse(key, what))?;
    Ok(loaded)
}

/// The same on another host than that which it is for: what it names need not be there, and its limits are not checked.
///
/// # Errors
/// As [`load`], of what cannot be read.
pub fn read(
    file: Option<&Path>,
    variables: impl Iterator<Item = (OsString, OsString)>,
    set: &[String],
    flags: &[(&'static str, &str, String)],
) -> Result<LoadedConfig, ConfigError> {
    let variables: Vec<_> = variables.collect();
    let schema = schema();
    let (mut sources, mut warnings) = (BTreeMap::new(), Vec::new());
    let mut tree = match file {
        Some(path) => {
            let mut into = FileNotes { sources: &mut sources, warnings: &mut warnings };
            read_file(path, &schema, &variables, &mut into)?
        }
        None => Value::Object(Map::new()),
    };
    let (given, told) = foreign::read(&variables)?;
    warnings.extend(told);
    for foreign::ForeignSetting { name, path, value } in given {
        let pointer = format!("/{}", path.join("/"));
        if tree.pointer(&pointer).is_none_or(Value::is_null) {
            insert(&mut tree, &path, value);
            sources.insert(path.join("."), ValueSource::Variable(name.to_owned()));
        }
    }
    warnings.extend(variables.iter().filter_map(|(name, _)| mistaken(&name.to_string_lossy())));
    let mut overrides = from_variables(variables.into_iter())?;
    let dotted = |key: &str, text: &str, source| {
        let path = key.split('.').map(str::to_owned).collect();
        SettingOverride { path, separator: ".", text: text.to_owned(), source }
    };
    for text in set {
        let (key, value) = text.split_once('=').ok_or_else(|| ConfigError::NotASetting(text.clone()))?;
        overrides.push(dotted(key, value, ValueSource::Set(key.to_owned())));
    }
    overrides.extend(flags.iter().map(|(flag, key, value)| dotted(key, value, ValueSource::Flag(flag))));
    for item in overrides {
        let SchemaPlace { path, value, is_item } = known_path(&schema, &item)?;
        match is_item {
            true => insert_item(&mut tree, &path, item.text.as_str().into()).map_err(|what| {
                ConfigError::Value { key: path.join("."), origin: item.source.clone(), what }
            })?,
            false => insert(&mut tree, &path, typed(&item.text, value)),
        }
        sources.insert(path.join("."), item.source);
    }
    aliases::resolve(&mut aliases::SettingsTree {
        tree: &mut tree,
        sources: &mut sources,
        warnings: &mut warnings,
    })?;
    let config = serde_path_to_error::deserialize::<_, Config>(&tree).map_err(|error| {
        let key = error.path().to_string();
        let origin = source_of(&sources, &key);
        ConfigError::Value { key, origin, what: chain(error.inner()) }
    })?;
    warnings.extend(config.registers.strangers(&config.security.federated_clusters));
    Ok(LoadedConfig { config, sources, warnings })
}

/// Notes that are taken while a file is read.
struct FileNotes<'a> {
    sources: &'a mut BTreeMap<String, ValueSource>,
    warnings: &'a mut Vec<String>,
}

fn read_file(
    path: &Path,
    schema: &Value,
    variables: &[(OsString, OsString)],
    noted: &mut FileNotes<'_>,
) -> Result<Value, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Object(Map::new()));
    }
    let refuse =
        |error: serde_saphyr::Error| ConfigError::File { path: path.to_owned(), what: chain(&error) };
    if is_origin(&text, variables) {
        return read_origin(path, &text, schema, variables, noted);
    }
    // Once into its types, for errors with their line and column, and once as it is.
    serde_saphyr::from_str::<Config>(&text).map_err(refuse)?;
    let mut tree: Value = serde_saphyr::from_str(&text).map_err(refuse)?;
    drop_empty_sections(&mut tree, schema);
    let lines = lines_of(&text);
    let source = |key: &str| ValueSource::File(path.to_owned(), line_of(&lines, key));
    note_leaves(&tree, schema, &mut Vec::new(), &source, noted.sources);
    Ok(tree)
}

/// Whether a file was written for a relay of Aero Arc. Such a one need be YAML only once its variables have values.
fn is_origin(text: &str, variables: &[(OsString, OsString)]) -> bool {
    let tree = serde_saphyr::from_str(text)
        .or_else(|_| serde_saphyr::from_str(&origin::expand(text, variable_of(variables)).0));
    tree.is_ok_and(|tree| origin::is_origin(&tree))
}

/// The value of a variable that is set and is a text.
fn variable_of(variables: &[(OsString, OsString)]) -> impl Fn(&str) -> Option<String> {
    move |name| {
        let (_, text) = variables.iter().find(|(known, _)| known == name)?;
        text.to_str().map(str::to_owned)
    }
}

/// Reads a file that was written for a relay of Aero Arc.
fn read_origin(
    path: &Path,
    text: &str,
    schema: &Value,
    variables: &[(OsString, OsString)],
    noted: &mut FileNotes<'_>,
) -> Result<Value, ConfigError> {
    let (text, unset) = origin::expand(text, variable_of(variables));
    noted.warnings.extend(unset);
    let tree = serde_saphyr::from_str(&text)
        .map_err(|error| ConfigError::File { path: path.to_owned(), what: chain(&error) })?;
    let lines = lines_of(&text);
    let place = |key: &str| ValueSource::File(path.to_owned(), line_of(&lines, key));
    let origin::TranslatedFile { mut tree, from, warnings } = origin::translate(tree).map_err(|refused| {
        ConfigError::Value { origin: place(&refused.key), key: refused.key, what: refused.what }
    })?;
    noted.warnings.extend(warnings);
    drop_empty_sections(&mut tree, schema);
    let source = |key: &str| place(from.get(key).map_or(key, String::as_str));
    note_leaves(&tree, schema, &mut Vec::new(), &source, noted.sources);
    Ok(tree)
}

/// Removes sections that are named and left empty, which YAML reads as null.
fn drop_empty_sections(tree: &mut Value, schema: &Value) {
    let (Value::Object(fields), Value::Object(known)) = (tree, schema) else { return };
    fields.retain(|name, value| !(value.is_null() && known.get(name).is_some_and(Value::is_object)));
    for (name, value) in fields {
        drop_empty_sections(value, known.get(name).unwrap_or(&Value::Null));
    }
}

/// Notes the source of every value of `tree` down to the depth the schema has.
fn note_leaves(
    tree: &Value,
    schema: &Value,
    path: &mut Vec<String>,
    source: &impl Fn(&str) -> ValueSource,
    into: &mut BTreeMap<String, ValueSource>,
) {
    match (tree, schema) {
        (Value::Object(fields), Value::Object(known)) if !known.is_empty() => {
            for (name, value) in fields {
                path.push(name.clone());
                note_leaves(value, known.get(name).unwrap_or(&Value::Null), path, source, into);
                path.pop();
            }
        }
        (_, _) => {
            let key = path.join(".");
            into.insert(key.clone(), source(&key));
        }
    }
}

pub(super) fn insert(tree: &mut Value, path: &[String], value: Value) {
    let mut level = tree;
    for part in path {
        if !level.is_object() {
            *level = Value::Object(Map::new());
        }
        let Value::Object(fields) = level else { return };
        level = fields.entry(part.clone()).or_insert(Value::Null);
    }
    *level = value;
}

/// The source of a key, or of the nearest one above it.
pub(super) fn source_of(sources: &BTreeMap<String, ValueSource>, key: &str) -> ValueSource {
    let mut key = key;
    loop {
        if let Some(source) = sources.get(key) {
            return source.clone();
        }
        match key.rsplit_once(['.', '[']) {
            Some((above, _)) => key = above,
            None => return ValueSource::Default,
        }
    }
}

impl LoadedConfig {
    /// A value that cannot be so, with its place.
    pub(super) fn refuse(&self, key: &str, what: String) -> ConfigError {
        ConfigError::Value { key: key.to_owned(), origin: source_of(&self.sources, key), what }
    }

    /// Every key with its value and its source, in order.
    pub fn explain(&self) -> Vec<(String, String, ValueSource)> {
        rows_of(&self.config)
            .into_iter()
            .map(|(key, value)| {
                let source = source_of(&self.sources, &key);
                (key, value, source)
            })
            .collect()
    }
}

/// Every key of a configuration with its value, in order.
pub(super) fn rows_of(config: &Config) -> Vec<(String, String)> {
    let tree = serde_json::to_value(config).unwrap_or_default();
    let mut rows = Vec::new();
    explain(&tree, String::new(), &mut rows);
    rows
}

fn explain(value: &Value, key: String, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, below) in fields {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                explain(below, key, into);
            }
        }
        // It may hold a password.
        Value::String(text) if URLS.contains(&key.as_str()) => into.push((key, redacted(text))),
        Value::String(text) if ADDRESSES.contains(&key.as_str()) => into.push((key, without_query(text))),
        Value::String(text) => into.push((key, text.clone())),
        other => into.push((key, other.to_string())),
    }
}

impl fmt::Display for ValueSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, Some(line)) => write!(f, "file {}:{line}", path.display()),
            Self::File(path, None) => write!(f, "file {}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Set(key) => write!(f, "--set {key}"),
            Self::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str, value: &str) -> (OsString, OsString) {
        (name.into(), value.into())
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn later_layers_win_and_each_value_knows_its_source() {
        let written = file("node:\n  role: gateway\n  zone: a\n  region: eu\nsession:\n  ttl: 3s\n");
        let loaded = load(
            Some(written.path()),
            [variable("OMNIRELAYD__NODE__ZONE", "b"), variable("omnirelayd__session__renew_every", "250ms")]
                .into_iter(),
            &["node.region=us".to_owned()],
            &[("--role", "node.role", "control".to_owned())],
        )
        .unwrap();
        assert_eq!(loaded.config.node.role, "control");
        assert_eq!(loaded.config.node.zone, "b");
        assert_eq!(loaded.config.node.region, "us");
        assert_eq!(loaded.config.session.ttl.to_string(), "3s");
        assert_eq!(loaded.sources["node.role"], ValueSource::Flag("--role"));
        assert_eq!(loaded.sources["node.zone"], ValueSource::Variable("OMNIRELAYD__NODE__ZONE".to_owned()));
        assert_eq!(loaded.sources["node.region"], ValueSource::Set("node.region".to_owned()));
        let line = Some(6);
        assert_eq!(loaded.sources["session.ttl"], ValueSource::File(written.path().to_owned(), line));
        assert_eq!(source_of(&loaded.sources, "node.cluster"), ValueSource::Default);
    }

    #[test]
    fn errors_name_the_place_of_the_value() {
        let none = || std::iter::empty::<(OsString, OsString)>();
        let text = |error: ConfigError| error.to_string();
        let unknown_in_file = file("node:\n  role: x\n  colour: red\n");
        let bad_in_file = file("node:\n  role: x\nsession:\n  ttl: 10\n");
        let out_of_range =
            file("# all of it\nnode:\n  labels:\nmesh:\nsession:\n  # too short\n  ttl: 1ms\n");
        let cases = [
            (
                "unknown key in a file",
                text(load(Some(unknown_in_file.path()), none(), &[], &[]).unwrap_err()),
                "colour",
            ),
            ("its line", text(load(Some(unknown_in_file.path()), none(), &[], &[]).unwrap_err()), "3"),
            (
                "bare number in a file",
                text(load(Some(bad_in_file.path()), none(), &[], &[]).unwrap_err()),
                "no unit",
            ),
            ("its line", text(load(Some(bad_in_file.path()), none(), &[], &[]).unwrap_err()), "4"),
            ("range", text(load(Some(out_of_range.path()), none(), &[], &[]).unwrap_err()), "500ms to 10m"),
            ("its line", text(load(Some(out_of_range.path()), none(), &[], &[]).unwrap_err()), ":7)"),
            (
                "unknown variable",
                text(
                    load(None, [variable("OMNIRELAYD__NODE__COLOUR", "red")].into_iter(), &[], &[])
                        .unwrap_err(),
                ),
                "variable OMNIRELAYD__NODE__COLOUR",
            ),
            (
                "bad value in a variable",
                text(
                    load(None, [variable("OMNIRELAYD__SESSION__TTL", "10")].into_iter(), &[], &[])
                        .unwrap_err(),
                ),
                "variable OMNIRELAYD__SESSION__TTL",
            ),
            (
                "set without a value",
                text(load(None, none(), &["node.role".to_owned()], &[]).unwrap_err()),
                "KEY=VALUE",
            ),
            (
                "missing file",
                text(load(Some(Path::new("/nowhere.yaml")), none(), &[], &[]).unwrap_err()),
                "/nowhere.yaml",
            ),
        ];
        for (what, error, expected) in cases {
            assert!(error.contains(expected), "{what}: {error}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_printed() {
        let set = ["store.url=redis://me:hunter2@a".to_owned()];
        let loaded = load(None, std::iter::empty(), &set, &[]).unwrap();
        assert!(loaded.config.store.url.contains("hunter2"));
        let printed = format!("{:?} {loaded:?}", loaded.explain());
        assert!(printed.contains("redis://me:***@a") && !printed.contains("hunter2"), "{printed}");
        let set = ["store.url=redis://me:hunter2@a:0".to_owned()];
        let error = load(None, std::iter::empty(), &set, &[]).unwrap_err().to_string();
        assert!(error.contains("store.url") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_fault_deep_in_a_section_names_its_line_or_that_of_its_part() {
        let written = file("store:\n  url: rediss://a\n  tls:\n    cert: /nowhere.pem\n");
        let error = load(Some(written.path()), std::iter::empty(), &[], &[]).unwrap_err().to_string();
        assert!(error.contains("`store.tls.cert`") && error.contains(":4)"), "{error}");
    }

    #[test]
    fn a_variable_that_looks_like_ours_and_is_not_read_is_told() {
        let cases = [
            ("OMNIRELAYD_NODE__ID", true),
            ("omnirelayd_session_ttl", true),
            ("MESH_GOSSIP_SEEDPEERS", true),
            ("MESH_GOSSIP_PORT", false),
            ("MESH_GOSSIP_SERVICE_PORT_HTTP", false),
            ("OMNIRELAYD_SERVICE_HOST", false),
            ("OMNIRELAYD_METRICS_SERVICE_HOST", false),
            ("OMNIRELAYD_METRICS_PORT", false),
            ("OMNIRELAYD_METRICS_PORT_9090_TCP", false),
            ("OMNIRELAYD_PORT_17420_TCP_ADDR", false),
            ("OMNIRELAY_ADDR", false),
            ("MESH_OTHER", false),
        ];
        for (name, expected) in cases {
            let loaded = load(None, [variable(name, "x")].into_iter(), &[], &[]).unwrap();
            assert_eq!(loaded.warnings.iter().any(|text| text.contains(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_list_is_given_by_commas_as_yaml_or_item_by_item_wherever_one_is_set() {
        for text in ["node.services=registry,relay", "node.services=[registry, relay]"] {
            let loaded = load(None, std::iter::empty(), &[text.to_owned()], &[]).unwrap();
            assert_eq!(loaded.config.node.services, ["registry", "relay"], "{text}");
        }
        let set = ["node.services.0=registry".to_owned(), "node.services.1=relay".to_owned()];
        let loaded = load(None, std::iter::empty(), &set, &[]).unwrap();
        assert_eq!(loaded.config.node.services, ["registry", "relay"]);
        for text in ["[registry, relay", "{registry: relay}", "{registry, relay"] {
            let set = [format!("node.services={text}")];
            let error = load(None, std::iter::empty(), &set, &[]).unwrap_err().to_string();
            assert!(error.contains("node.services") && error.contains("expected a list"), "{text}: {error}");
        }
        // No list in brackets, but two addresses.
        let seeds = typed("[::1]:7946, [::2]:7946", &serde_json::json!([]));
        assert_eq!(seeds, serde_json::json!(["[::1]:7946", "[::2]:7946"]));
        let scope = [variable("MESH_LEADERSHIP__SCOPES__0__NAME", "jobs")];
        let error = load(None, scope.into_iter(), &[], &[]).unwrap_err().to_string();
        assert!(error.contains("as in YAML"), "{error}");
    }

    #[test]
    fn text_that_looks_like_a_number_can_still_be_a_name() {
        let loaded = load(None, [variable("OMNIRELAYD__NODE__ID", "17")].into_iter(), &[], &[]).unwrap();
        assert_eq!(loaded.config.node.id.as_deref(), Some("17"));
    }

    #[test]
    fn only_our_own_variables_must_be_utf_8() {
        use std::os::unix::ffi::OsStringExt;
        let odd = || OsString::from_vec(vec![b'a', 0xff]);
        let foreign = [(OsString::from("LESSOPEN"), odd()), (odd(), odd())];
        assert!(load(None, foreign.into_iter(), &[], &[]).is_ok());
        let ours = [(OsString::from("OMNIRELAYD__NODE__ROLE"), odd())];
        let error = load(None, ours.into_iter(), &[], &[]).unwrap_err().to_string();
        assert!(error.contains("OMNIRELAYD__NODE__ROLE") && error.contains("UTF-8"), "{error}");
    }

    #[test]
    fn labels_are_free_keys() {
        let loaded = load(None, std::iter::empty(), &["node.labels.Tier=std".to_owned()], &[]).unwrap();
        assert_eq!(loaded.config.node.labels["Tier"], "std");
        let set = ["node.labels.example.com/tier=1".to_owned()];
        let variables = [variable("OMNIRELAYD__NODE__LABELS__a__b", "2")];
        let loaded = load(None, variables.into_iter(), &set, &[]).unwrap();
        let labels = [("a__b", "2"), ("example.com/tier", "1")];
        assert!(loaded.config.node.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(labels));
        let key = "node.labels.example.com/tier";
        assert!(matches!(source_of(&loaded.sources, key), ValueSource::Set(_)));
    }

    #[test]
    fn text_is_taken_as_it_is() {
        for text in ["/srv/a #b", "'quoted'", "null", "- a", "true"] {
            let flag = [("--data-dir", "node.dataDir", text.to_owned())];
            let loaded = load(None, std::iter::empty(), &[], &flag).unwrap();
            assert_eq!(loaded.config.node.data_dir.as_deref(), Some(Path::new(text)));
        }
    }

    #[test]
    fn a_file_of_the_origin_may_be_yaml_only_once_its_variables_have_values() {
        let written =
            file("relay: {mode: multi, grpc_port: ${PORT}}\n# see $NOWHERE\nsinks: {file: {path: ${DIR}}}\n");
        let variables = [variable("PORT", "7"), variable("DIR", "/srv/t")];
        let loaded = load(Some(written.path()), variables.into_iter(), &[], &[]).unwrap();
        assert_eq!(loaded.config.relay.listen.port(), 7);
        assert_eq!(loaded.config.relay.sinks.file.path.as_deref(), Some(Path::new("/srv/t")));
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        // One that is ours is taken as it is, and its faults are told where they are.
        let ours = file("relay:\n  id: {a: ${PORT}\n");
        let error = load(Some(ours.path()), std::iter::empty(), &[], &[]).unwrap_err();
        assert!(matches!(error, ConfigError::File { .. }), "{error}");
    }

    #[test]
    fn the_sample_configurations_are_sound() {
        for name in ["dev", "prod", "redis"] {
            let path = format!("{}/../../deploy/config/omnirelayd.{name}.yaml", env!("CARGO_MANIFEST_DIR"));
            let loaded = load(Some(Path::new(&path)), std::iter::empty(), &[], &[]);
            assert!(loaded.is_ok(), "{name}: {}", loaded.unwrap_err());
        }
    }
}
