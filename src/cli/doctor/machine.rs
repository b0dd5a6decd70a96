//! What the doctor judges: found out once, on this machine alone.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use omnirelay_wire::fault::Exit;
use rustix::process::{Resource, getrlimit};
use serde_json::json;
use tokio::time::timeout;

use crate::cli::frame::address::Address;
use crate::cli::frame::client::Client;
use crate::cli::frame::context_file::ContextFile;
use crate::cli::frame::document::text;
use crate::cli::frame::error::{CliError, chain};
use crate::cli::frame::rpc::Call;
use crate::cli::frame::session::Session;
use crate::cli::frame::settings::{Source, Target};
use crate::cli::node::NODE;
use crate::daemon::config::{self, Config};

/// How long a name server or a port may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where a daemon that was installed is configured, and keeps what it must.
const CONFIG: &str = "/etc/omnirelay/omnirelayd.yaml";

/// What is known of this machine.
pub struct Machine {
    pub contexts: Result<ContextFile, CliError>,
    /// The folder of the contexts, and why it cannot be written.
    pub home: (PathBuf, Result<(), String>),
    /// Every name that contexts and the daemon's configuration have, and what became of it.
    pub names: Vec<(String, Result<(), String>)>,
    /// The daemon's configuration and where it is; `None` where there is none.
    pub daemon: Option<(PathBuf, Result<Config, String>)>,
    /// Where a daemon keeps what it must.
    pub data: Option<Data>,
    pub ports: Vec<(SocketAddr, Taken)>,
    /// The most files that a process may open; `None`: without limit.
    pub files: Option<u64>,
    pub clock: Clock,
}

/// The data directory of a daemon.
pub struct Data {
    pub path: PathBuf,
    pub state: DataState,
    /// Bytes that are free where it is, or will be.
    pub free: Option<u64>,
}

/// What is at that path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataState {
    Absent,
    NoFolder,
    /// With its mode, where others than its owner and group may write to it.
    Open(u32),
    Fine,
    Unreadable(String),
}

/// Whether a port can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    Free,
    ByDaemon,
    ByAnother,
    Refused(String),
}

/// Who keeps the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Kept(&'static str),
    /// No service is there that is known.
    Nobody,
}

/// Looks at everything: with the daemon's configuration at `config`, or where an installed one has it, and its data
/// directory, or the one of its configuration.
pub async fn examine(session: &Session, config: Option<&Path>, data_dir: Option<&Path>) -> Machine {
    let contexts = session.settings.config.clone();
    let daemon = daemon_config(config);
    let config = daemon.as_ref().and_then(|(_, config)| config.as_ref().ok());
    let mut names = BTreeSet::new();
    names.extend(
        contexts
            .iter()
            .flat_map(|file| &file.contexts)
            .flat_map(|context| &context.addresses)
            .filter_map(host),
    );
    names.extend(config.map(|config| config.store.url.as_str()).and_then(host_of_url));
    let listens = config.map(|config| config.control.listen);
    Machine {
        home: home(&session.settings.config_path),
        names: join_all(names.into_iter().map(resolved)).await,
        data: data(data_dir, config),
        ports: join_all(listens.into_iter().map(|address| taken(session, address))).await,
        files: getrlimit(Resource::Nofile).maximum,
        clock: clock(),
        contexts,
        daemon,
    }
}

fn daemon_config(given: Option<&Path>) -> Option<(PathBuf, Result<Config, String>)> {
    let path = match given {
        Some(path) => path.to_path_buf(),
        None => Some(PathBuf::from(CONFIG)).filter(|path| path.exists())?,
    };
    let loaded = config::load(Some(&path), std::iter::empty(), &[], &[]);
    Some((path, loaded.map(|loaded| loaded.config).map_err(|error| chain(&error))))
}

/// Whether the folder can be written, or made.
fn home(contexts: &Path) -> (PathBuf, Result<(), String>) {
    let folder =
        std::path::absolute(contexts).unwrap_or_default().parent().map(Path::to_path_buf).unwrap_or_default();
    let existing = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let can = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).map_err(|error| error.to_string());
    (folder, can)
}

/// The name in an address, where it is one that has to be looked up.
fn host(address: &Address) -> Option<String> {
    host_of_url(address.as_str())
}

fn host_of_url(url: &str) -> Option<String> {
    let host = reqwest::Url::parse(url).ok()?.host_str()?.to_owned();
    let is_number = host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[');
    (!is_number && host != "localhost").then_some(host)
}

async fn resolved(name: String) -> (String, Result<(), String>) {
    let looked_up = timeout(PATIENCE, tokio::net::lookup_host((name.clone(), 0))).await;
    let found = match looked_up {
        Ok(Ok(mut addresses)) => addresses.next().map(drop).ok_or_else(|| "it has no address".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no name server answered within {}", humantime::format_duration(PATIENCE))),
    };
    (name, found)
}

fn data(given: Option<&Path>, config: Option<&Config>) -> Option<Data> {
    let path = given.map(Path::to_path_buf).or_else(|| config?.node.data_dir.clone())?;
    let state = match std::fs::metadata(&path) {
        Ok(found) if !found.is_dir() => DataState::NoFolder,
        Ok(found) => {
            let mode = std::os::unix::fs::MetadataExt::mode(&found) & 0o7777;
            if mode & 0o002 != 0 { DataState::Open(mode) } else { DataState::Fine }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => DataState::Absent,
        Err(error) => DataState::Unreadable(error.to_string()),
    };
    let existing = path.ancestors().find(|path| path.exists());
    let free =
        existing.and_then(|path| rustix::fs::statvfs(path).ok()).map(|found| found.f_bavail * found.f_frsize);
    Some(Data { path, state, free })
}

async fn taken(session: &Session, address: SocketAddr) -> (SocketAddr, Taken) {
    let state =
        match TcpListener::bind(address) {
            Ok(_) => Taken::Free,
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                if is_daemon(session, address).await { Taken::ByDaemon } else { Taken::ByAnother }
            }
            Err(error) => Taken::Refused(error.to_string()),
        };
    (address, state)
}

/// Whether a daemon answers there, be it that it refuses the caller.
async fn is_daemon(session: &Session, address: SocketAddr) -> bool {
    let Ok(address) = format!("http://{address}").parse() else { return false };
    let target = Target {
        context: String::new(),
        addresses: vec![address],
        cluster: None,
        protected: false,
        token_file: None,
        source: Source::BuiltIn,
        named_by_flag: false,
    };
    let Ok(client) = Client::new(&session.settings, target) else { return false };
    let Ok(call) = Call::of(&NODE, &json!({})) else { return false };
    match timeout(PATIENCE, client.call(&call)).await {
        Ok(Ok(node)) => !text(&node, "localNodeId").is_empty(),
        Ok(Err(error)) => matches!(error.exit(), Exit::Denied | Exit::Unauthenticated),
        Err(_) => false,
    }
}

/// The services that say that they keep the clock, by what they leave behind.
const KEEPERS: [(&str, &str); 6] = [
    ("/run/systemd/timesync/synchronized", "systemd-timesyncd"),
    ("/run/chrony/chronyd.pid", "chrony"),
    ("/run/chronyd.pid", "chrony"),
    ("/var/run/chrony/chronyd.pid", "chrony"),
    ("/run/ntpd.pid", "ntpd"),
    ("/run/openntpd.sock", "openntpd"),
];

fn clock() -> Clock {
    let found = KEEPERS.iter().find(|(path, _)| Path::new(path).exists());
    found.map_or(Clock::Nobody, |(_, name)| Clock::Kept(name))
}
