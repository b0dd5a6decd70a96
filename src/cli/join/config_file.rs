//! The configuration of the daemon of a host that joins: where it is, and what of it joining says.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use omnirelay_store::whole_file::write_whole;

use super::node::cannot_write;
use super::owner::DataDirOwner;
use crate::frame::address::SOCKET_OF_UNIT;
use crate::frame::prelude::*;
use crate::frame::yaml;

/// Where the unit of the packages looks.
const OF_UNIT: &str = "/etc/omnirelay/omnirelayd.yaml";
/// The data directory of that unit.
const DATA_OF_UNIT: &str = "/var/lib/omnirelay";
/// What a configuration is called in a data directory.
const NAME: &str = "omnirelayd.yaml";
/// The socket of a daemon without the unit.
const SOCKET: &str = "control.sock";
/// Longer paths no unix socket can have, on any system.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// The first line of what was written here.
const HEAD: &str = "# Of `omnirelay mesh join`. Who can read this file can use the registry.\n";
/// Beside a configuration that somebody else wrote: what it was.
const BEFORE: &str = "before-join";

/// The configuration of a daemon.
#[derive(Clone, Debug)]
pub(super) struct ConfigFile {
    pub path: PathBuf,
    /// Whether the unit of the packages runs the daemon.
    pub is_of_unit: bool,
    data: PathBuf,
    /// Whose the data directory is, if it is not this process's.
    owner: Option<DataDirOwner>,
}

impl ConfigFile {
    /// The one that is named; else the unit's, for its data directory; else one in the data directory. Both paths are absolute.
    pub(super) fn of(named: Option<&Path>, data: &Path, owner: Option<DataDirOwner>) -> Self {
        let has_unit =
            data == Path::new(DATA_OF_UNIT) && Path::new(OF_UNIT).parent().is_some_and(Path::is_dir);
        let default = if has_unit { PathBuf::from(OF_UNIT) } else { data.join(NAME) };
        let path = named.map_or(default, Path::to_owned);
        Self { is_of_unit: path == Path::new(OF_UNIT), path, data: data.to_owned(), owner }
    }

    /// Socket where its daemon is to listen for those who administer the host; `None`: no socket can be there.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        let socket = if self.is_of_unit { PathBuf::from(SOCKET_OF_UNIT) } else { self.data.join(SOCKET) };
        (socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX).then_some(socket)
    }

    /// Checks that joining can write it, before anything is asked: the answer has credentials that are in no other
    /// place. What it says besides stays as it is.
    ///
    /// # Errors
    /// `FILE_EXISTS` where it says otherwise what joining says, or cannot be read as one.
    pub(super) fn check(&self, node_id: &str) -> Result<(), CliError> {
        let refuse = |why: String| {
            let message = format!("{} is there already, and {why}", self.path.display());
            CliError::new(reasons::FILE_EXISTS, message)
                .hint("add --force to write over that, or name another file with --config-file")
        };
        let Some(text) = self.read()? else { return Ok(()) };
        let Some(says) = parsed(&text) else { return Err(refuse("is no configuration".to_owned())) };
        match contradiction(&says, node_id, &self.data, text.starts_with(HEAD)) {
            Some(what) => Err(refuse(format!("says {what}"))),
            None => Ok(()),
        }
    }

    /// Writes what joining says, and leaves in it what it says besides.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn write(&self, mut joined: Value) -> Result<(), CliError> {
        let before = self.read()?;
        let mut config =
            before.as_deref().and_then(parsed).unwrap_or_else(|| Value::Object(Default::default()));
        // Any socket will do, and somebody may count on the one that there is.
        if config.pointer("/control/socket").is_some()
            && let Some(control) = joined.get_mut("control").and_then(Value::as_object_mut)
        {
            control.remove("socket");
        }
        // Of another store than this one nothing holds.
        if let (Some(config), Some(_)) = (config.as_object_mut(), joined.get("store")) {
            config.remove("store");
        }
        merge(&mut config, joined);
        let yaml = yaml::write(&config, "the configuration")?;
        let text = format!("{HEAD}{yaml}");
        let is_in_data = self.path.starts_with(&self.data);
        if let Some(before) = before.filter(|before| !before.starts_with(HEAD)) {
            let mut beside = self.path.as_os_str().to_owned();
            beside.push(format!(".{BEFORE}"));
            self.put(Path::new(&beside), &before, is_in_data)?;
        }
        self.put(&self.path, &text, is_in_data)
    }

    /// In the data directory it is its owner's; elsewhere root's, and for the group to read.
    fn put(&self, path: &Path, text: &str, is_in_data: bool) -> Result<(), CliError> {
        let write = || write_whole(path, text.as_bytes());
        let written = match self.owner {
            None => write(),
            Some(owner) if is_in_data => owner.act(write).and_then(|written| written),
            Some(owner) => write()
                .and_then(|()| chown(path, None, Some(owner.group())))
                .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o640))),
        };
        written.map_err(|error| cannot_write(path, &error))
    }

    fn read(&self) -> Result<Option<String>, CliError> {
        let read = || std::fs::read_to_string(&self.path);
        let is_in_data = self.path.starts_with(&self.data);
        let read = match self.owner.filter(|_| is_in_data) {
            Some(owner) => owner.act(read).and_then(|read| read),
            None => read(),
        };
        match read {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let message = format!("cannot read {}", self.path.display());
                Err(CliError::local(reasons::FILE, message, &error))
            }
        }
    }
}

/// The settings of a file; `None`: it is no table of settings. A file of comments has none.
fn parsed(text: &str) -> Option<Value> {
    match serde_yaml::from_str::<Value>(text).ok()? {
        Value::Null => Some(Value::Object(Default::default())),
        table @ Value::Object(_) => Some(table),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

/// What a configuration says otherwise than joining would. `is_joined`: an earlier join wrote it, and its store.
fn contradiction(says: &Value, node_id: &str, data: &Path, is_joined: bool) -> Option<String> {
    let said = |path: &str| says.pointer(path).and_then(Value::as_str);
    let data = data.to_string_lossy();
    let other = |name: &str, path: &str, own: &str| {
        said(path).filter(|said| *said != own).map(|said| format!("{name}: {said}"))
    };
    other("node.id", "/node/id", node_id)
        .or_else(|| other("node.dataDir", "/node/dataDir", &data))
        .or_else(|| other("control.tls.source", "/control/tls/source", "mesh"))
        .or_else(|| said("/control/tls/cert").map(|cert| format!("control.tls.cert: {cert}")))
        // It may have a password in it.
        .or_else(|| {
            said("/store/url")
                .filter(|url| !is_joined && *url != "embedded:")
                .map(|_| "which store it uses (store.url)".to_owned())
        })
}

/// Lays one table over another.
fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (key, value) in above {
                merge(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (below, above) => *below = above,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use serde_json::json;

    use super::*;

    const PACKAGED: &str = include_str!("../../../packaging/omnirelayd.yaml");

    fn file(folder: &Path) -> ConfigFile {
        ConfigFile::of(Some(&folder.join("c.yaml")), &folder.join("data"), None)
    }

    #[test]
    fn what_the_package_brings_is_joined_and_the_rest_of_it_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        std::fs::write(&file.path, PACKAGED).unwrap();
        file.check("b").unwrap();
        file.write(json!({"node": {"id": "b"}, "control": {"tls": {"source": "mesh"}, "socket": "/else"}, "store": {"url": "redis://s"}}))
            .unwrap();
        let written = std::fs::read_to_string(&file.path).unwrap();
        let said = parsed(&written).unwrap();
        assert_eq!(said["control"]["socket"], SOCKET_OF_UNIT, "as the package has it");
        assert_eq!((&said["node"]["id"], &said["control"]["tls"]["source"]), (&json!("b"), &json!("mesh")));
        assert_eq!(std::fs::metadata(&file.path).unwrap().mode() & 0o777, 0o600);
        let before = folder.path().join(format!("c.yaml.{BEFORE}"));
        assert_eq!(std::fs::read_to_string(&before).unwrap(), PACKAGED);
        // Once more: its store is this program's own word, and what was kept is not what the package brought.
        file.check("b").unwrap();
        file.write(json!({"store": {"url": "redis://t", "tls": {"ca": "x"}}})).unwrap();
        file.write(json!({"store": {"url": "redis://u"}})).unwrap();
        let said = parsed(&std::fs::read_to_string(&file.path).unwrap()).unwrap();
        assert_eq!(said["store"], json!({"url": "redis://u"}));
        assert_eq!(std::fs::read_to_string(&before).unwrap(), PACKAGED);
    }

    #[test]
    fn what_says_otherwise_is_written_over_by_force_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = file(folder.path());
        let cases = [
            ("node: {id: c}", "node.id: c"),
            ("node: {dataDir: /elsewhere}", "node.dataDir: /elsewhere"),
            ("control: {tls: {source: files}}", "control.tls.source: files"),
            ("control: {tls: {cert: /c.pem}}", "control.tls.cert: /c.pem"),
            ("store: {url: 'redis://:secret@s'}", "which store it uses"),
            ("- no table", "is no configuration"),
            (": :", "is no configuration"),
        ];
        for (text, why) in cases {
            std::fs::write(&file.path, text).unwrap();
            let refused = file.check("b").unwrap_err();
            assert!(refused.body().message.contains(why), "{text}: {}", refused.body().message);
            assert!(!refused.body().message.contains("secret"), "{text}");
        }
        for text in ["", "# nothing\n", "node: {id: b}", "store: {url: 'embedded:'}", "log: {filter: debug}"]
        {
            std::fs::write(&file.path, text).unwrap();
            file.check("b").unwrap();
        }
    }

    #[test]
    fn the_unit_looks_for_its_configuration_in_one_place() {
        let elsewhere = ConfigFile::of(None, Path::new("/srv/b"), None);
        assert_eq!(
            (elsewhere.path.as_path(), elsewhere.is_of_unit),
            (Path::new("/srv/b/omnirelayd.yaml"), false)
        );
        assert_eq!(elsewhere.socket().as_deref(), Some(Path::new("/srv/b/control.sock")));
        let unit = ConfigFile::of(Some(Path::new(OF_UNIT)), Path::new(DATA_OF_UNIT), None);
        assert!(unit.is_of_unit && unit.socket().as_deref() == Some(Path::new(SOCKET_OF_UNIT)));
        let deep = ConfigFile::of(None, &Path::new("/").join("d".repeat(120)), None);
        assert_eq!(deep.socket(), None, "no socket has a path of that length");
        let unit = include_str!("../../../packaging/systemd/omnirelayd.service");
        assert!(unit.contains(OF_UNIT) && unit.contains(DATA_OF_UNIT) && PACKAGED.contains(SOCKET_OF_UNIT));
    }
}
