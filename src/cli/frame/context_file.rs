//! The file that holds the contexts: what it says, with exact errors where it says nothing sensible.
//!
//! Keys this version does not know are reported, and kept when the file is written.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use omnirelay_wire::reasons;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::frame::address::{Address, AddressError};
use crate::frame::env::{self, EnvironmentVariables};
use crate::frame::error::{CliError, chain};
use crate::frame::tls_files::TlsFiles;
use crate::frame::yaml;

/// What `apiVersion` says in files of this layout.
pub(crate) const API_VERSION: &str = "omnirelay.io/config/v1";
const KEYS: &[&str] = &["apiVersion", "currentContext", "defaults", "contexts"];
const DEFAULTS_KEYS: &[&str] = &["output", "color", "requestTimeout", "connectTimeout"];
const TLS_KEYS: &[&str] = &["ca", "cert", "key", "serverName", "clusters"];
const CONTEXT_KEYS: &[&str] =
    &["name", "address", "addresses", "cluster", "namespace", "protected", "tokenFile", "tls", "auth"];

/// One context: where a mesh is and how careful to be with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    pub name: String,
    /// Tried in order; at least one.
    pub addresses: Vec<Address>,
    pub cluster: Option<String>,
    /// True: mutations need a reason, destructive ones a typed confirmation.
    pub protected: bool,
    /// The file whose first token proves the caller.
    pub token_file: Option<PathBuf>,
    /// Whom it believes and what it shows, where TLS is spoken.
    pub tls: TlsFiles,
}

impl Context {
    /// An address that a command names itself: of one without a scheme TLS is spoken where it is at all of the context's, unless it is
    /// of this host.
    ///
    /// # Errors
    /// As of the text.
    pub fn address_of(&self, text: &str) -> Result<Address, AddressError> {
        let plain: Address = text.parse()?;
        let speaks_tls = !self.addresses.is_empty() && self.addresses.iter().all(Address::is_tls);
        let says_none = !text.contains("://") && plain.socket().is_none();
        if speaks_tls && says_none && !plain.is_loopback() {
            format!("https://{text}").parse()
        } else {
            Ok(plain)
        }
    }

    /// Files of the context that go for an address which a command names itself, where `given` says nothing: its
    /// authority, and its certificate where that authority alone vouches for whoever is shown it.
    pub fn tls_at(&self, address: &Address, given: &TlsFiles, has_token: bool) -> TlsFiles {
        if !address.is_tls() || self.tls.ca.is_none() || given.ca.is_some() {
            return TlsFiles::default();
        }
        let is_named = self.addresses.contains(address);
        let kept =
            TlsFiles { server_name: self.tls.server_name.clone().filter(|_| is_named), ..self.tls.clone() };
        if has_token { TlsFiles { cert: None, key: None, ..kept } } else { kept }
    }
}

/// Defaults that apply where neither flag nor variable says otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Defaults {
    pub output: Option<String>,
    pub color: Option<String>,
    pub request_timeout: Option<String>,
    pub connect_timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContext {
    name: String,
    address: Option<OneOrMany>,
    addresses: Option<OneOrMany>,
    cluster: Option<String>,
    #[serde(default)]
    protected: bool,
    token_file: Option<PathBuf>,
    #[serde(default)]
    tls: RawTls,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawTls {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    server_name: Option<String>,
    clusters: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawFile {
    current_context: Option<String>,
    defaults: Defaults,
    contexts: Vec<RawContext>,
}

/// The contents of the file; empty when there is no file.
#[derive(Clone, Debug, Default)]
pub struct ContextFile {
    pub path: PathBuf,
    /// Permission bits; `None` when there is no file.
    pub mode: Option<u32>,
    pub current: Option<String>,
    pub defaults: Defaults,
    pub contexts: Vec<Context>,
    /// Keys of the file that mean nothing to this version.
    pub unknown_keys: Vec<String>,
    /// Everything but the contexts, as it was read.
    tree: Map<String, Value>,
    /// The contexts as they were read.
    entries: Vec<Value>,
}

/// Path of the file: `--config`, `$OMNIRELAY_CONFIG`, `$XDG_CONFIG_HOME`, `~/.config`.
pub(crate) fn path(flag: Option<&Path>, env: &EnvironmentVariables) -> PathBuf {
    if let Some(path) = flag {
        return path.to_path_buf();
    }
    if let Some(path) = env.get(env::CONFIG) {
        return PathBuf::from(path);
    }
    let folder = env.get(env::XDG_CONFIG_HOME).map(PathBuf::from);
    let folder = folder.or_else(|| Some(Path::new(env.get(env::HOME)?).join(".config")));
    folder.unwrap_or_default().join("omnirelay").join("config.yaml")
}

impl ContextFile {
    /// Reads the file at `path`; a file that is not there is an empty one.
    ///
    /// # Errors
    /// Usage, when the file cannot be read or does not say what it should.
    pub fn load(path: &Path) -> Result<Self, CliError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { path: path.to_path_buf(), ..Self::default() });
            }
            Err(error) => return Err(unreadable(path, &error)),
        };
        let mode = std::fs::metadata(path).ok().map(|metadata| metadata.mode() & 0o777);
        Self::parse(path, &text).map(|file| Self { mode, ..file })
    }

    fn parse(path: &Path, text: &str) -> Result<Self, CliError> {
        let tree = if text.trim().is_empty() { json!({}) } else { parse_yaml(path, text)? };
        let raw: RawFile = serde_path_to_error::deserialize(tree.clone()).map_err(|error| {
            let key = error.path().to_string();
            invalid(path, format!("`{key}`: {}", error.into_inner()))
        })?;
        let Value::Object(mut tree) = tree else { return Err(invalid(path, "it is not a mapping")) };
        if let Some(version) = tree.get("apiVersion").filter(|version| *version != API_VERSION) {
            return Err(invalid(path, format!("`apiVersion` is {version}, expected {API_VERSION:?}"))
                .hint("a newer omnirelay may have written it"));
        }
        let contexts =
            raw.contexts.into_iter().map(|context| checked(path, context)).collect::<Result<_, _>>()?;
        Ok(Self {
            path: path.to_path_buf(),
            mode: None,
            current: raw.current_context.filter(|name| !name.is_empty()),
            defaults: raw.defaults,
            contexts,
            unknown_keys: unknown_keys(&tree),
            entries: match tree.shift_remove("contexts") {
                Some(Value::Array(entries)) => entries,
                _ => Vec::new(),
            },
            tree,
        })
    }

    /// The context called `name`.
    ///
    /// # Errors
    /// Usage, with the names there are.
    pub fn context(&self, name: &str) -> Result<&Context, CliError> {
        self.contexts.iter().find(|context| context.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.contexts.iter().map(|context| context.name.as_str()).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            CliError::new(reasons::CONTEXT_UNKNOWN, format!("there is no context `{name}`"))
                .cause(format!("contexts in {}: {known}", self.path.display()))
                .hint("omnirelay context list")
        })
    }

    /// The context that commands use where nothing names another; `None`: there is none, or none of that name.
    pub fn current_context(&self) -> Option<&Context> {
        let name = self.current.as_deref()?;
        self.contexts.iter().find(|context| context.name == name)
    }

    /// Whether others than the owner may read or write the file.
    pub fn is_loose(&self) -> bool {
        self.mode.is_some_and(|mode| mode & 0o077 != 0)
    }

    /// Puts `context` in, in place of the one with its name.
    pub fn put(&mut self, context: Context) {
        let entry = self.entries.iter().position(|entry| entry["name"] == json!(context.name));
        let mut fields = match entry {
            Some(at) => self.entries[at].as_object().cloned().unwrap_or_default(),
            None => Map::new(),
        };
        write_fields(&mut fields, &context);
        match entry {
            Some(at) => self.entries[at] = Value::Object(fields),
            None => self.entries.push(Value::Object(fields)),
        }
        match self.contexts.iter_mut().find(|known| known.name == context.name) {
            Some(known) => *known = context,
            None => self.contexts.push(context),
        }
    }

    /// Gives a context another name; the current one stays current.
    pub fn rename(&mut self, old: &str, new: &str) {
        for entry in self.entries.iter_mut().filter(|entry| entry["name"] == json!(old)) {
            entry["name"] = json!(new);
        }
        for context in self.contexts.iter_mut().filter(|context| context.name == old) {
            new.clone_into(&mut context.name);
        }
        if self.current.as_deref() == Some(old) {
            self.select(Some(new));
        }
    }

    /// Takes a context out; if it was the current one, none is.
    pub fn remove(&mut self, name: &str) {
        self.entries.retain(|entry| entry["name"] != json!(name));
        self.contexts.retain(|context| context.name != name);
        if self.current.as_deref() == Some(name) {
            self.select(None);
        }
    }

    /// Makes `name` the current context.
    pub fn select(&mut self, name: Option<&str>) {
        self.current = name.map(str::to_owned);
        match name {
            Some(name) => drop(self.tree.insert("currentContext".into(), json!(name))),
            None => drop(self.tree.shift_remove("currentContext")),
        }
    }

    /// The file as it is to be written.
    ///
    /// # Errors
    /// When it cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String, CliError> {
        let mut tree = Map::new();
        tree.insert("apiVersion".into(), json!(API_VERSION));
        tree.extend(self.tree.clone());
        tree.insert("apiVersion".into(), json!(API_VERSION));
        tree.insert("contexts".into(), json!(self.entries));
        yaml::write(&Value::Object(tree), "the contexts")
    }
}

fn parse_yaml(path: &Path, text: &str) -> Result<Value, CliError> {
    serde_saphyr::from_str(text).map_err(|error| invalid(path, chain(&error)))
}

fn checked(path: &Path, raw: RawContext) -> Result<Context, CliError> {
    let mut addresses = raw.address.map(OneOrMany::into_vec).unwrap_or_default();
    for address in raw.addresses.map(OneOrMany::into_vec).unwrap_or_default() {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let name = raw.name;
    if addresses.is_empty() {
        return Err(invalid(path, format!("context `{name}` has no `address`")));
    }
    let parsed = addresses.iter().map(|address| address.parse()).collect::<Result<_, _>>();
    let addresses = parsed.map_err(|error| invalid(path, format!("context `{name}`: {error}")))?;
    let token_file = raw.token_file.filter(|path| !path.as_os_str().is_empty());
    let RawTls { ca, cert, key, server_name, clusters } = raw.tls;
    let tls = TlsFiles { ca, cert, key, server_name, clusters };
    Ok(Context { name, addresses, cluster: raw.cluster, protected: raw.protected, token_file, tls })
}

/// Writes what this version knows of `context` over `fields`, leaving the rest alone.
fn write_fields(fields: &mut Map<String, Value>, context: &Context) {
    fields.insert("name".into(), json!(context.name));
    let addresses: Vec<&str> = context.addresses.iter().map(Address::as_str).collect();
    fields.shift_remove("address");
    fields.shift_remove("addresses");
    match addresses.as_slice() {
        [one] => drop(fields.insert("address".into(), json!(one))),
        several => drop(fields.insert("addresses".into(), json!(several))),
    }
    match &context.cluster {
        Some(cluster) => drop(fields.insert("cluster".into(), json!(cluster))),
        None => drop(fields.shift_remove("cluster")),
    }
    match &context.token_file {
        Some(path) => drop(fields.insert("tokenFile".into(), json!(path))),
        None => drop(fields.shift_remove("tokenFile")),
    }
    match context.tls.to_json() {
        Some(tls) => drop(fields.insert("tls".into(), tls)),
        None => drop(fields.shift_remove("tls")),
    }
    if context.protected {
        fields.insert("protected".into(), json!(true));
    } else {
        fields.shift_remove("protected");
    }
}

fn unknown_keys(tree: &Map<String, Value>) -> Vec<String> {
    let stray = |map: &Map<String, Value>, known: &[&str], prefix: &str| -> Vec<String> {
        map.keys().filter(|key| !known.contains(&key.as_str())).map(|key| format!("{prefix}{key}")).collect()
    };
    let mut keys = stray(tree, KEYS, "");
    if let Some(Value::Object(defaults)) = tree.get("defaults") {
        keys.extend(stray(defaults, DEFAULTS_KEYS, "defaults."));
    }
    for (index, context) in tree.get("contexts").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if let Value::Object(context) = context {
            keys.extend(stray(context, CONTEXT_KEYS, &format!("contexts[{index}].")));
            if let Some(Value::Object(tls)) = context.get("tls") {
                keys.extend(stray(tls, TLS_KEYS, &format!("contexts[{index}].tls.")));
            }
        }
    }
    keys
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::new(reasons::CONFIG_UNREADABLE, format!("cannot read {}", path.display()))
        .cause(chain(error))
        .hint("name another file with --config or OMNIRELAY_CONFIG")
}

fn invalid(path: &Path, cause: impl Into<String>) -> CliError {
    CliError::new(reasons::CONFIG_INVALID, format!("{} is not a valid configuration", path.display()))
        .cause(cause)
        .hint("correct the file, or name another with --config")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
apiVersion: omnirelay.io/config/v1
currentContext: prod
colour: blue
contexts:
- name: prod
  address: http://a:1
  addresses: [http://b:2]
  protected: true
  tls: {ca: /etc/ca.pem}
";

    fn parse(text: &str) -> Result<ContextFile, CliError> {
        ContextFile::parse(Path::new("config.yaml"), text)
    }

    #[test]
    fn addresses_are_kept_in_order() {
        let file = parse(FILE).unwrap();
        let context = file.context("prod").unwrap();
        assert_eq!(
            context.addresses.iter().map(Address::as_str).collect::<Vec<_>>(),
            ["http://a:1", "http://b:2"]
        );
        assert!(context.protected);
        assert_eq!(file.unknown_keys, ["colour"]);
    }

    #[test]
    fn writing_keeps_what_it_does_not_know() {
        let mut file = parse(FILE).unwrap();
        let mut context = file.context("prod").unwrap().clone();
        context.cluster = Some("eu-1".into());
        file.put(context);
        file.rename("prod", "live");
        let text = file.to_yaml().unwrap();
        for kept in ["colour: blue", "ca: /etc/ca.pem", "currentContext: live", "cluster: eu-1", "name: live"]
        {
            assert!(text.contains(kept), "{kept} is missing from:\n{text}");
        }
        assert_eq!(parse(&text).unwrap().contexts, file.contexts);
    }

    #[test]
    fn removing_the_current_context_leaves_none() {
        let mut file = parse(FILE).unwrap();
        file.remove("prod");
        assert_eq!(file.current, None);
        assert!(!file.to_yaml().unwrap().contains("currentContext"));
    }

    #[test]
    fn errors_name_place_and_key() {
        let cases = [
            ("syntax", "contexts:\n- name: [", "line 2"),
            ("type", "contexts:\n- name: a\n  protected: perhaps\n", "contexts[0].protected"),
            ("no address", "contexts:\n- name: a\n", "context `a` has no `address`"),
            ("bad address", "contexts:\n- name: a\n  address: ftp://x\n", "context `a`: "),
            ("other version", "apiVersion: omnirelay.io/config/v9\n", "apiVersion"),
            ("no mapping", "- a\n", "not a mapping"),
        ];
        for (what, text, expected) in cases {
            let error = parse(text).expect_err(what).to_text();
            assert!(error.contains(expected), "{what}: {error}");
        }
    }
}
