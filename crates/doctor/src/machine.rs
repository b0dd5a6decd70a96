//! Facts about a host that are judged: found out once, on this host alone.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use omnirelay_core::text::chain;
use omnirelay_host::data_dir;
use omnirelay_host::data_dir::disk_space::bytes_free;
use omnirelay_host::permissions::{is_writable_by_all, mode};
use omnirelay_host::users::{Uid, user_name};
use omnirelay_settings::{Config, PeerServiceConfig};
use omnirelay_store::StorePlace;
use rustix::process::{Resource, getrlimit};
use tokio::time::timeout;

use super::processes::LocalDaemon;

/// How long a name server may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where a daemon that was installed is configured, and keeps what it must.
const INSTALLED: (&str, &str) = ("/etc/omnirelay/omnirelayd.yaml", "/var/lib/omnirelay");

/// Facts about this host.
pub struct HostFacts {
    /// Every name that is configured, and what became of it.
    pub names: Vec<NameFound>,
    /// The daemon's configuration and where it is; `None` where there is none.
    pub daemon: Option<ConfigFound>,
    /// Where a daemon keeps what it must.
    pub data: Option<DataDirectory>,
    pub ports: Vec<PortToListenOn>,
    /// The unix socket of the control port; `None`: there is to be none.
    pub socket: Option<(PathBuf, SocketState)>,
    /// The most files that a process may open; `None`: without limit.
    pub files: Option<u64>,
    /// The daemons that run here, or this one.
    pub running: Vec<LocalDaemon>,
    pub clock: ClockKeeper,
}

/// The data directory of a daemon.
pub struct DataDirectory {
    pub path: PathBuf,
    pub state: DataState,
    /// Bytes that are free where it is, or will be.
    pub free: Option<u64>,
}

/// State of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataState {
    Absent,
    NoFolder,
    /// With its mode, where anybody may write to it.
    Open(u32),
    /// With its mode, where others than its owner may read it, or its group write to it.
    Shared(u32),
    /// A file in it belongs to another user than it, who is not root, as when a daemon was once started by root.
    Foreign {
        file: PathBuf,
        of: String,
        dir_of: String,
    },
    Fine,
    Unreadable(String),
}

/// A port that a daemon is to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortToListenOn {
    pub address: SocketAddr,
    /// The setting that says so.
    pub key: &'static str,
    pub taken: PortAvailability,
}

/// State of a unix socket: it is there, can be made, or something stands in its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketState {
    There,
    CanBeMade,
    /// The service makes its folder when it starts.
    OfService,
    /// Its folder is not there.
    NoFolder(PathBuf),
    /// With its mode, a folder in which anybody may put another socket in its place.
    Open(PathBuf, u32),
    /// Something else is there.
    NoSocket,
    Unreadable(String),
}

/// Availability of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortAvailability {
    Free,
    ByDaemon,
    ByAnother,
    /// For who asks, and maybe not for a daemon.
    Reserved,
    Refused(String),
}

/// Service that keeps the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockKeeper {
    Kept(&'static str),
    /// No service is there that is known.
    Nobody,
}

/// Configuration of a daemon that was found: its path, and what is in it or why it cannot be read.
pub type ConfigFound = (PathBuf, Result<Config, String>);

/// The configuration in a file; `None`: in that of an installed daemon, if there is one.
pub fn config_in(file: Option<&Path>) -> Option<ConfigFound> {
    let path = match file {
        Some(path) => path.to_path_buf(),
        None => Some(PathBuf::from(INSTALLED.0)).filter(|path| path.exists())?,
    };
    let loaded = omnirelay_settings::load(Some(&path), std::iter::empty(), &[], &[]);
    Some((path, loaded.map(|loaded| loaded.config).map_err(|error| chain(&error))))
}

/// A name, and what became of looking it up.
pub type NameFound = (String, Result<(), String>);

/// The names of hosts that a daemon with this configuration connects to.
pub fn names_of(config: &Config) -> BTreeSet<String> {
    hosts(config).iter().filter_map(|host| named(host)).collect()
}

/// Looks them up, all at once.
pub async fn look_up(names: BTreeSet<String>) -> Vec<NameFound> {
    join_all(names.into_iter().map(resolved)).await
}

impl HostFacts {
    /// Looks at everything but the ports: by this configuration of a daemon, or where there is no file by `otherwise`; with its
    /// data directory, or the one of its configuration; with what became of its names. `running` are the daemons whose limits are judged.
    pub fn examine(
        daemon: Option<ConfigFound>,
        otherwise: &Config,
        data_dir: Option<&Path>,
        names: Vec<NameFound>,
        ports: Vec<PortToListenOn>,
        running: Vec<LocalDaemon>,
    ) -> Self {
        let config = match &daemon {
            Some((_, config)) => config.as_ref().ok(),
            None => Some(otherwise),
        };
        let installed = daemon.as_ref().is_some_and(|(path, _)| path == Path::new(INSTALLED.0));
        Self {
            names,
            data: data_dir.map(Path::to_path_buf).or_else(|| data_path(config?, installed)).map(data),
            ports,
            socket: config
                .and_then(|config| config.control.socket.clone())
                .map(|path| socket(path, installed)),
            files: getrlimit(Resource::Nofile).maximum,
            running,
            clock: clock(),
            daemon,
        }
    }
}

/// The host of a URL.
pub fn host_of(url: &str) -> Option<String> {
    reqwest::Url::parse(url).ok()?.host_str().map(str::to_owned)
}

/// A host that has to be looked up.
pub fn named(host: &str) -> Option<String> {
    let is_number = host.parse::<std::net::IpAddr>().is_ok() || host.starts_with('[');
    (!host.is_empty() && !is_number && host != "localhost").then(|| host.to_owned())
}

/// The hosts that a daemon with this configuration connects to.
fn hosts(config: &Config) -> Vec<String> {
    let relay = &config.relay;
    let stores = [Some(&config.store.url), relay.sinks.redis.url.as_ref()];
    let places = stores.into_iter().flatten().filter_map(|url| StorePlace::of_url(url).ok());
    let mut hosts: Vec<String> = places.flat_map(|place| place.servers).map(|server| server.host).collect();
    let peers = config.registers.peer_services.iter().map(PeerServiceConfig::url);
    let webhook = config.mesh.shards.webhook.url.as_deref();
    let urls = relay.sinks.http.url.as_deref().into_iter().chain(webhook).chain(peers);
    hosts.extend(urls.filter_map(host_of));
    // These have no scheme, or may have none.
    let plain = config.mesh.seeds.iter().chain(&relay.registry.address);
    let bare = plain.map(|address| address.split_once("://").map_or(address.as_str(), |(_, rest)| rest));
    hosts.extend(bare.filter_map(|address| Some(address.rsplit_once(':')?.0.to_owned())));
    hosts
}

async fn resolved(name: String) -> NameFound {
    let looked_up = timeout(PATIENCE, tokio::net::lookup_host((name.clone(), 0))).await;
    let found = match looked_up {
        Ok(Ok(mut addresses)) => addresses.next().map(drop).ok_or_else(|| "it has no address".to_owned()),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("no name server answered within {}", humantime::format_duration(PATIENCE))),
    };
    (name, found)
}

fn data_path(config: &Config, installed: bool) -> Option<PathBuf> {
    match &config.node.data_dir {
        // Its unit names it, and that wins.
        _ if installed => Some(PathBuf::from(INSTALLED.1)),
        Some(path) => Some(path.clone()),
        None => Some(data_dir::default_path()),
    }
}

fn data(path: PathBuf) -> DataDirectory {
    let state = match std::fs::metadata(&path) {
        Ok(found) if !found.is_dir() => DataState::NoFolder,
        Ok(found) => data_state(&path, &found),
        Err(error) if error.kind() == ErrorKind::NotFound => DataState::Absent,
        Err(error) => DataState::Unreadable(chain(&error)),
    };
    let free = bytes_free(&path);
    DataDirectory { path, state, free }
}

/// Of a folder that is there: who may do what in it, and whose the files in it are, as far as who asks may see them.
fn data_state(path: &Path, found: &Metadata) -> DataState {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        Err(error) => return DataState::Unreadable(chain(&error)),
    };
    let entries = entries.into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| Some((entry.path(), Uid(entry.metadata().ok()?.uid()))));
    let owner = Uid(found.uid());
    match (mode(found), foreign(owner, files)) {
        (mode, _) if mode & 0o002 != 0 => DataState::Open(mode),
        (_, Some((file, of))) => DataState::Foreign { file, of: user_name(of), dir_of: user_name(owner) },
        (mode, None) if mode & 0o077 != 0 => DataState::Shared(mode),
        (_, None) => DataState::Fine,
    }
}

/// The first of these files that `owner` of their folder may not be able to open.
fn foreign(owner: Uid, mut files: impl Iterator<Item = (PathBuf, Uid)>) -> Option<(PathBuf, Uid)> {
    // A file system puts this into its root by itself.
    let is_its_own = |path: &Path| path.ends_with("lost+found");
    files.find(|(path, of)| owner != Uid::ROOT && *of != owner && !is_its_own(path))
}

/// Whether a daemon could make its socket there.
fn socket(path: PathBuf, installed: bool) -> (PathBuf, SocketState) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let state = match (std::fs::symlink_metadata(&path), std::fs::metadata(folder)) {
        (Ok(found), _) if !found.file_type().is_socket() => SocketState::NoSocket,
        (_, Ok(folder_is)) if folder_is.is_dir() && is_writable_by_all(&folder_is) => {
            SocketState::Open(folder.to_path_buf(), mode(&folder_is))
        }
        (Ok(_), _) => SocketState::There,
        (Err(error), _) if error.kind() == ErrorKind::PermissionDenied => {
            SocketState::Unreadable(chain(&error))
        }
        (Err(_), Ok(folder)) if folder.is_dir() => SocketState::CanBeMade,
        _ if installed && folder.starts_with("/run") => SocketState::OfService,
        _ => SocketState::NoFolder(folder.to_path_buf()),
    };
    (path, state)
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

fn clock() -> ClockKeeper {
    let found = KEEPERS.iter().find(|(path, _)| Path::new(path).exists());
    found.map_or(ClockKeeper::Nobody, |(_, name)| ClockKeeper::Kept(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn state(path: &Path) -> DataState {
        data(path.to_path_buf()).state
    }

    fn let_in(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_data_directory_is_judged_by_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        assert_eq!(state(&path), DataState::Absent);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("node-id"), "node-1").unwrap();
        for (mode, expected) in
            [(0o700, DataState::Fine), (0o750, DataState::Shared(0o750)), (0o777, DataState::Open(0o777))]
        {
            let_in(&path, mode);
            assert_eq!(state(&path), expected);
        }
        assert_eq!(state(&path.join("node-id")), DataState::NoFolder);
        assert!(data(path).free.is_some());
    }

    #[test]
    fn files_of_another_user_are_foreign_but_not_to_root() {
        let (root, daemon) = (Uid::ROOT, Uid(1234));
        let of = |owner, files: &[(&str, Uid)]| {
            foreign(owner, files.iter().map(|(path, of)| (Path::new("/data").join(path), *of)))
        };
        assert_eq!(of(daemon, &[("node-id", daemon), ("lost+found", root)]), None);
        assert_eq!(of(root, &[("node-id", daemon)]), None);
        let log = ("/data/log".into(), root);
        assert_eq!(of(daemon, &[("node-id", daemon), ("log", root)]), Some(log));
    }

    #[test]
    fn a_socket_needs_a_folder_that_others_cannot_write_to() {
        let folder = tempfile::tempdir().unwrap();
        let of = |path: &Path, installed| socket(path.to_path_buf(), installed).1;
        let path = folder.path().join("o.sock");
        let_in(folder.path(), 0o700);
        assert_eq!(of(&path, false), SocketState::CanBeMade);
        let _listener = UnixListener::bind(&path).unwrap();
        assert_eq!(of(&path, false), SocketState::There);
        let_in(folder.path(), 0o777);
        assert_eq!(of(&path, false), SocketState::Open(folder.path().to_path_buf(), 0o777));
        let_in(folder.path(), 0o700);
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert_eq!(of(&folder.path().join("file"), false), SocketState::NoSocket);
        let nowhere = Path::new("/run/omnirelay-nowhere/o.sock");
        assert_eq!(of(nowhere, false), SocketState::NoFolder("/run/omnirelay-nowhere".into()));
        assert_eq!(of(nowhere, true), SocketState::OfService);
    }

    #[test]
    fn every_host_of_a_configuration_is_looked_up() {
        let mut config = Config::default();
        config.store.url = "redis://cache.example:6379".to_owned();
        config.mesh.seeds = vec!["seed.example:17421".to_owned(), "192.0.2.7:17421".to_owned()];
        let named: Vec<String> = hosts(&config).iter().filter_map(|host| named(host)).collect();
        assert_eq!(named, ["cache.example", "seed.example"]);
    }
}
