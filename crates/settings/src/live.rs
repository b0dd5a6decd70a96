//! The live configuration of a node: what is set now, and how it is replaced while the node runs.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use omnirelay_core::text::chain;
use omnirelay_host::live::{Live, LiveSource};
use parking_lot::Mutex;
use serde_json::Value;

use super::Config;
use super::layers::ConfigError;

/// The settings that are as they were at the start for as long as the daemon runs: who the node is, where its records are, where it
/// listens, and what begins a mesh. Each stands for all below it.
#[cfg(any(test, feature = "testing"))]
pub const AT_START: [&str; 16] = [
    "control.http3",
    "control.listen",
    "control.socket",
    "control.socketGroup",
    "control.socketMode",
    "mesh.http3Support",
    "mesh.listen",
    "node.cluster",
    "node.dataDir",
    "node.id",
    "node.services",
    "relay.httpListen",
    "relay.listen",
    "security.joinPolicy",
    "security.makeAuthority",
    "store",
];

/// Reads the configuration again from where it came from.
type ConfigLoader = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;
/// Says what of another configuration cannot be had, with its key.
type ChangeCheck = Arc<dyn Fn(&Config) -> Result<(), RefusedSetting> + Send + Sync>;

/// Reads something again that the configuration names.
type RepeatedRead = Arc<dyn Fn(&Config) + Send + Sync>;

/// File that a setting names, if it names one, and the key of the setting.
pub type NamedFile = (&'static str, Option<PathBuf>);

/// Setting that a running daemon cannot take over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}`: {what}")]
pub struct RefusedSetting {
    pub key: &'static str,
    pub what: String,
}

/// Outcome of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigReload {
    /// Keys of what is otherwise than before, and in effect.
    pub changed: Vec<String>,
    /// Keys of what is otherwise than in the running daemon, and is so only once it was started again.
    pub restart_due: Vec<String>,
}

/// Reason why a configuration was not taken over. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    #[error(transparent)]
    Load(#[from] ConfigError),
    #[error(transparent)]
    Refused(#[from] RefusedSetting),
    /// The process made it, and can read it nowhere.
    #[error("the configuration of this daemon is in no file, and cannot be read again")]
    NoSource,
}

/// Part of a configuration that is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Take {
    All,
    /// It is only looked at.
    Nothing,
}

/// Configuration of a node as it is now.
#[derive(Clone)]
pub struct LiveConfig(Arc<LiveParts>);

struct LiveParts {
    current: Arc<LiveSource<Config>>,
    loader: Option<ConfigLoader>,
    checks: Mutex<Vec<ChangeCheck>>,
    /// What is about to be read again before the configuration, whatever becomes of that.
    read_again: Mutex<Vec<RepeatedRead>>,
    restart_due: Mutex<Vec<String>>,
    /// Whoever replaces it.
    turn: Mutex<()>,
}

impl fmt::Debug for LiveConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveConfig").field(&self.now()).finish()
    }
}

impl From<Config> for LiveConfig {
    /// One that is read from nowhere again.
    fn from(config: Config) -> Self {
        Self::new(config, None)
    }
}

impl LiveConfig {
    fn new(config: Config, loader: Option<ConfigLoader>) -> Self {
        Self(Arc::new(LiveParts {
            current: LiveSource::new(config),
            loader,
            checks: Mutex::default(),
            read_again: Mutex::default(),
            restart_due: Mutex::default(),
            turn: Mutex::default(),
        }))
    }

    /// A configuration, and what reads it again.
    pub fn loaded(
        config: Config,
        load: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    ) -> Self {
        Self::new(config, Some(Box::new(load)))
    }

    /// The configuration as it is now.
    pub fn now(&self) -> Arc<Config> {
        self.0.current.now()
    }

    /// A setting, or what follows from some, as it is whenever it is read. Settings that are checked together, such as a time to live
    /// and the pace of its renewals, are read by one: two may be of two configurations.
    pub fn live<T>(&self, of: impl Fn(&Config) -> T + Send + Sync + 'static) -> Live<T> {
        self.0.current.live(of)
    }

    /// Has every other configuration looked at before it is taken over. For what only the running daemon knows, such as whether a file
    /// that is named can be read: what cannot be in itself was refused when it was read.
    pub fn check(&self, check: impl Fn(&Config) -> Result<(), RefusedSetting> + Send + Sync + 'static) {
        self.0.checks.lock().push(Arc::new(check));
    }

    /// Refuses other files of these settings that cannot be read. At its start a daemon waits for them.
    pub fn check_files<const N: usize>(&self, named: fn(&Config) -> [NamedFile; N]) {
        let running = self.live(named);
        self.check(move |config| {
            let mut files = named(config).into_iter().zip(running.get());
            files.try_for_each(|((key, path), (_, before))| match path {
                Some(path) if before.as_ref() != Some(&path) => {
                    let what = |error| format!("cannot read `{}`: {}", path.display(), chain(&error));
                    File::open(&path).map(drop).map_err(|error| RefusedSetting { key, what: what(error) })
                }
                Some(_) | None => Ok(()),
            })
        });
    }

    /// Has something that the running configuration names read again with each reload, even when that is refused. For what takes
    /// rights away: whoever does relies on it.
    pub fn read_again(&self, read: impl Fn(&Config) + Send + Sync + 'static) {
        self.0.read_again.lock().push(Arc::new(read));
    }

    /// Keys of what is otherwise in the configuration, and waits for a restart.
    pub fn restart_due(&self) -> Vec<String> {
        self.0.restart_due.lock().clone()
    }

    /// Reads the configuration again, and takes over all of it that need not wait for a restart, or nothing. Reads files.
    ///
    /// # Errors
    /// [`ReloadError`], of the first setting that is wrong.
    pub fn reload(&self) -> Result<ConfigReload, ReloadError> {
        let _turn = self.0.turn.lock();
        let read_again = self.0.read_again.lock().clone();
        read_again.iter().for_each(|read| read(&self.now()));
        Ok(self.take(self.load()?, Take::All)?)
    }

    /// Outcome that a reload would have, which is not made.
    ///
    /// # Errors
    /// As of [`Self::reload`].
    pub fn would_reload(&self) -> Result<ConfigReload, ReloadError> {
        let _turn = self.0.turn.lock();
        Ok(self.take(self.load()?, Take::Nothing)?)
    }

    fn load(&self) -> Result<Config, ReloadError> {
        let load = self.0.loader.as_ref().ok_or(ReloadError::NoSource)?;
        Ok(load()?)
    }

    /// Takes over all of a configuration that need not wait for a restart, or nothing.
    ///
    /// # Errors
    /// [`RefusedSetting`], of the first one that the running daemon cannot take over.
    pub fn replace(&self, config: Config) -> Result<ConfigReload, RefusedSetting> {
        let _turn = self.0.turn.lock();
        self.take(config, Take::All)
    }

    /// Sets one setting by its key, as a reload of a file does that says so.
    ///
    /// # Panics
    /// Where the configuration cannot be so, or the running daemon does not take it over.
    #[cfg(any(test, feature = "testing"))]
    #[expect(clippy::panic, reason = "of tests")]
    pub fn set(&self, key: &str, value: impl Into<Value>) {
        let mut tree = serde_json::to_value(&*self.now()).unwrap_or_default();
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        super::layers::insert(&mut tree, &path, value.into());
        let mut config: Config =
            serde_json::from_value(tree).unwrap_or_else(|error| panic!("{key}: {error}"));
        // It is shown nowhere, so that it was not in the tree.
        if key != "relay.publish.password" {
            config.relay.publish.password.clone_from(&self.now().relay.publish.password);
        }
        config.check().unwrap_or_else(|(key, what)| panic!("{key}: {what}"));
        let done = self.replace(config).unwrap_or_else(|refused| panic!("{refused}"));
        assert!(done.restart_due.is_empty(), "{key} is as it was at the start");
    }

    fn take(&self, mut config: Config, take: Take) -> Result<ConfigReload, RefusedSetting> {
        let running = self.now();
        let wanted = keys_that_differ(&running, &config);
        config.stay_at_start(&running);
        let changed = keys_that_differ(&running, &config);
        // It was sound by itself, and may not be beside what stays as it was.
        config.check().map_err(|(key, what)| RefusedSetting { key, what })?;
        let checks = self.0.checks.lock().clone();
        checks.iter().try_for_each(|check| check(&config))?;
        let restart_due: Vec<String> = wanted.difference(&changed).cloned().collect();
        if take == Take::All {
            self.0.restart_due.lock().clone_from(&restart_due);
            if *running != config {
                self.0.current.replace(config);
            }
        }
        Ok(ConfigReload { changed: changed.into_iter().collect(), restart_due })
    }
}

impl Config {
    /// Keeps what cannot change while the daemon runs as it was at the start.
    fn stay_at_start(&mut self, running: &Self) {
        let Self { node, control, mesh, relay, store, security, .. } = running;
        self.security.join_policy.clone_from(&security.join_policy);
        self.security.make_authority = security.make_authority;
        self.node.cluster.clone_from(&node.cluster);
        self.node.data_dir.clone_from(&node.data_dir);
        self.node.id.clone_from(&node.id);
        self.node.services.clone_from(&node.services);
        if self.control.http3 != control.http3 {
            // It says where that is.
            self.control.http3_advertise = control.http3_advertise;
        }
        self.control.http3 = control.http3;
        self.control.listen = control.listen;
        self.control.socket.clone_from(&control.socket);
        self.control.socket_group.clone_from(&control.socket_group);
        self.control.socket_mode = control.socket_mode;
        self.mesh.listen = mesh.listen;
        self.mesh.http3_support = mesh.http3_support;
        self.relay.listen = relay.listen;
        self.relay.http_listen = relay.http_listen;
        self.store.clone_from(store);
    }
}

/// Keys of the settings that two configurations have otherwise, down to lists and free maps.
fn keys_that_differ(one: &Config, other: &Config) -> BTreeSet<String> {
    let tree = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let mut keys = BTreeSet::new();
    note_differences(&tree(one), &tree(other), "", &mut keys);
    // It is shown nowhere.
    if one.relay.publish.password != other.relay.publish.password {
        keys.insert("relay.publish.password".to_owned());
    }
    keys
}

fn note_differences(one: &Value, other: &Value, path: &str, into: &mut BTreeSet<String>) {
    match (one, other) {
        (Value::Object(had), Value::Object(has)) if !FREE_MAPS.contains(&path) => {
            for name in had.keys().chain(has.keys()) {
                let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let of =
                    |fields: &serde_json::Map<String, Value>| fields.get(name).cloned().unwrap_or_default();
                note_differences(&of(had), &of(has), &key, into);
            }
        }
        (one, other) if one != other => {
            into.insert(path.to_owned());
        }
        _ => {}
    }
}

/// Settings that are maps whose keys are the operator's.
const FREE_MAPS: [&str; 1] = ["node.labels"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::keys;

    fn live(config: Config) -> LiveConfig {
        LiveConfig::from(config)
    }

    #[test]
    fn a_reload_takes_over_all_or_nothing_and_says_which_setting_is_wrong() {
        let settings = live(Config::default());
        let region = settings.live(|config| config.node.region.clone());
        settings.check(|config| match config.node.zone.as_str() {
            "bad" => Err(RefusedSetting { key: "node.zone", what: "there is none".to_owned() }),
            _ => Ok(()),
        });
        let mut next = Config::default();
        (next.node.region, next.node.zone) = ("north".to_owned(), "bad".to_owned());
        let refused = settings.replace(next.clone()).unwrap_err();
        assert_eq!((refused.key, region.get().as_str()), ("node.zone", ""));

        next.node.zone = "a".to_owned();
        next.node.cluster = "other".to_owned();
        next.control.listen = "127.0.0.1:1".parse().unwrap();
        let done = settings.replace(next).unwrap();
        assert_eq!(done.changed, ["node.region", "node.zone"]);
        assert_eq!(done.restart_due, ["control.listen", "node.cluster"]);
        assert_eq!((settings.restart_due(), region.get()), (done.restart_due, "north".to_owned()));
        assert_eq!(settings.now().node.cluster, "default");

        // As it was at the start: nothing is due any more.
        assert_eq!(settings.replace(Config::default()).unwrap().changed, ["node.region", "node.zone"]);
        assert!(settings.restart_due().is_empty());
    }

    #[test]
    fn a_configuration_of_no_file_is_not_read_again() {
        let settings = live(Config::default());
        assert!(matches!(settings.reload(), Err(ReloadError::NoSource)));
    }

    /// Every other setting is to be in effect without a restart: a rule of the repository looks for its `reload_test.rs`.
    #[test]
    fn what_stays_as_at_the_start_is_what_is_said_to() {
        let is_said = |key: &str| {
            AT_START.iter().any(|fixed| {
                key == *fixed || key.strip_prefix(fixed).is_some_and(|rest| rest.starts_with('.'))
            })
        };
        for fixed in AT_START {
            assert!(
                keys().iter().any(|(key, _)| is_said(key) && key.starts_with(fixed)),
                "{fixed} is no setting"
            );
        }
        let mut other = Config::default();
        other.node.id = Some("x".into());
        other.node.cluster = "x".into();
        other.node.data_dir = Some("/x".into());
        other.node.services = serde_json::from_str(r#"["relay"]"#).unwrap();
        other.control.http3 = true;
        other.control.listen = "127.0.0.1:1".parse().unwrap();
        other.control.socket = Some("/x".into());
        other.control.socket_group = Some("x".into());
        other.control.socket_mode = crate::FileMode(0o660);
        other.mesh.listen = "127.0.0.1:1".parse().unwrap();
        other.mesh.http3_support = false;
        other.relay.listen = "127.0.0.1:1".parse().unwrap();
        other.relay.http_listen = "127.0.0.1:1".parse().unwrap();
        other.security.make_authority = true;
        other.security.join_policy = Some(serde_json::from_str(r#"{"rules": []}"#).unwrap());
        other.store.url = "memory:".into();
        other.store.username = Some("x".into());
        other.store.password_file = Some("/x".into());
        other.store.tls.ca = Some("/x".into());
        other.store.sentinel.username = Some("x".into());
        let settings = live(Config::default());
        let done = settings.replace(other).unwrap();
        assert!(done.changed.is_empty(), "{:?}", done.changed);
        assert!(done.restart_due.iter().all(|key| is_said(key)), "{:?}", done.restart_due);
        for fixed in AT_START {
            assert!(done.restart_due.iter().any(|key| key.starts_with(fixed)), "{fixed} was taken over");
        }
    }
}
