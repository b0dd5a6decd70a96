//! The port of the API, and its socket.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use omnirelay_identity::socket::PATH_BYTES_MAX;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::check::{InvalidSetting, Section, count, is_host, within};
use super::{Config, HumanDuration, RateLimitConfig};

/// The port of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ControlConfig {
    /// Where the API listens. Beyond loopback it needs `tls.source`, or `insecure`.
    pub listen: SocketAddr,
    pub tls: ControlTlsConfig,
    /// Whether it is served over UDP too, by the same number, for HTTP/3; with `tls.source` `mesh` or `files`.
    pub http3: bool,
    /// The UDP port that answers name for HTTP/3 (`Alt-Svc`), 1 to 65535, where a NAT or a balancer before the daemon has
    /// another one for it; default that of `listen`. A wrong one: clients try it in vain, and go on over TCP.
    pub http3_advertise: Option<u16>,
    /// Serves without authentication on any address: whoever reaches the port may do anything.
    pub insecure: bool,
    /// A unix socket beside the port, an absolute path of at most 107 bytes: whoever can open it may do anything, under
    /// the name of its user.
    pub socket: Option<PathBuf>,
    /// Who can open it: `0600`, this daemon's user and root; `0660`, its group as well.
    pub socket_mode: FileMode,
    /// The group that it is given to, by name or number; default that of the process.
    pub socket_group: Option<String>,
    /// Further `Host` names that are served on loopback.
    pub hosts: Vec<String>,
    /// 1 to 100000. Too low: clients are refused; too high: memory at 30 kB each.
    pub connections_max: usize,
    /// How many of them one address may have that is not of the loopback interface, 1 to 100000; default a quarter.
    /// Too low: clients behind one gateway are refused; too high: one host keeps all others out.
    pub connections_per_address_max: Option<usize>,
    /// 1 to 100000 open watches per object.
    pub watches_max: usize,
    /// How often callers may call.
    pub rate_limit: RateLimitConfig,
    /// How long running calls may take to end when the daemon stops. Too low: they are cut off.
    pub drain_grace: HumanDuration,
}

/// TLS of the control port. No version before 1.3 is spoken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ControlTlsConfig {
    /// What the port shows.
    pub source: TlsSource,
    /// The certificate with its chain, in PEM, of `files`.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
}

/// Source of the certificate of the control port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsSource {
    /// The identity of the node, as soon as it has one; clients that speak no TLS are served as well. For loopback.
    #[default]
    Auto,
    /// The identity of the node. Without TLS nobody is served, and before the node has one nobody at all.
    Mesh,
    /// The files `cert` and `key`, read again when they change. Without TLS nobody is served.
    Files,
    /// There is no TLS.
    Off,
}

impl TlsSource {
    /// Whether nobody is served without TLS.
    pub fn is_demanded(self) -> bool {
        matches!(self, Self::Mesh | Self::Files)
    }
}

/// The permission bits of a socket: its owner may use it, and perhaps its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Default for FileMode {
    fn default() -> Self {
        Self(0o600)
    }
}

impl fmt::Display for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Serialize for FileMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FileModeVisitor;
        impl serde::de::Visitor<'_> for FileModeVisitor {
            type Value = FileMode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("octal digits in quotes, such as \"0660\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<FileMode, E> {
                let digits = (3..=4).contains(&text.len()).then(|| u32::from_str_radix(text, 8));
                let mode = digits.and_then(Result::ok);
                mode.map(FileMode).ok_or_else(|| E::custom(format!("`{text}` is no mode: write \"0660\"")))
            }
        }
        deserializer.deserialize_any(FileModeVisitor)
    }
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 17420)),
            tls: ControlTlsConfig::default(),
            insecure: false,
            http3: false,
            http3_advertise: None,
            socket: None,
            socket_mode: FileMode::default(),
            socket_group: None,
            hosts: Vec::new(),
            connections_max: 16_384,
            connections_per_address_max: None,
            watches_max: 16_384,
            rate_limit: RateLimitConfig::default(),
            drain_grace: HumanDuration(Duration::from_secs(10)),
        }
    }
}

impl Section for ControlConfig {
    fn check(&self, _: &Config) -> Result<(), InvalidSetting> {
        let Self { listen, insecure, hosts, tls, http3, http3_advertise, .. } = self;
        if *http3 && !tls.source.is_demanded() {
            let what = "HTTP/3 is spoken under TLS alone; set control.tls.source to mesh or files";
            return Err(("control.http3", what.to_owned()));
        }
        if http3_advertise.is_some() && !http3 {
            let what = "there is no HTTP/3 to be told of; set control.http3";
            return Err(("control.http3Advertise", what.to_owned()));
        }
        if *http3_advertise == Some(0) {
            return Err(("control.http3Advertise", "0 is no port that clients can call".to_owned()));
        }
        if !listen.ip().is_loopback() && !insecure && !tls.source.is_demanded() {
            let what = format!(
                "{listen} can be reached by others, and no TLS is configured; set control.tls.source to mesh or files, \
                 listen on 127.0.0.1, or say --insecure to let whoever reaches the port do anything"
            );
            return Err(("control.listen", what));
        }
        tls.check()?;
        if let Some(host) = hosts.iter().find(|host| !is_host(host)) {
            return Err(("control.hosts", format!("`{host}` is no host name; write it without a port")));
        }
        if let Some(path) = &self.socket {
            check_path(path).map_err(|what| ("control.socket", what))?;
        }
        let mode = self.socket_mode;
        // The bits of others: they would hold every scope, and nobody would be kept out any more.
        if mode.0 & !0o660 != 0 || mode.0 & 0o600 != 0o600 {
            let what = format!("{mode} is not for this: write \"0600\", or \"0660\" to let a group in");
            return Err(("control.socketMode", what));
        }
        within("control.drainGrace", self.drain_grace, Duration::ZERO, Duration::from_secs(600))?;
        count("control.connectionsMax", self.connections_max, 1, 100_000)?;
        if let Some(max) = self.connections_per_address_max {
            count("control.connectionsPerAddressMax", max, 1, 100_000)?;
        }
        self.rate_limit.check()?;
        count("control.watchesMax", self.watches_max, 1, 100_000)
    }
}

impl ControlTlsConfig {
    fn check(&self) -> Result<(), InvalidSetting> {
        let given = self.cert.is_some() || self.key.is_some();
        match (self.source, &self.cert, &self.key) {
            (TlsSource::Files, Some(_), Some(_)) => Ok(()),
            (TlsSource::Files, None, _) => {
                Err(("control.tls.cert", "`files` needs the certificate and its chain, in PEM".to_owned()))
            }
            (TlsSource::Files, _, None) => Err((
                "control.tls.key",
                "`files` needs the private key of the certificate, in PEM".to_owned(),
            )),
            (TlsSource::Auto | TlsSource::Mesh | TlsSource::Off, ..) if given => {
                let what =
                    "only `files` has a certificate and a key of its own; set control.tls.source to it";
                Err(("control.tls.source", what.to_owned()))
            }
            (TlsSource::Auto | TlsSource::Mesh | TlsSource::Off, ..) => Ok(()),
        }
    }
}

fn check_path(path: &Path) -> Result<(), String> {
    let (shown, bytes) = (path.display(), path.as_os_str().as_bytes());
    if !path.is_absolute() || path.file_name().is_none() {
        return Err(format!("`{shown}` is no absolute path of a file"));
    }
    match bytes.len() {
        0..=PATH_BYTES_MAX if !bytes.contains(&0) => Ok(()),
        0..=PATH_BYTES_MAX => Err(format!("`{shown}` has a zero byte in it")),
        length => Err(format!(
            "`{shown}` has {length} bytes, and the system takes {PATH_BYTES_MAX} for a socket; choose a shorter one"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_modes_that_cannot_be_are_refused() {
        let long = format!("/{}", "x".repeat(107));
        let path = |path: &str| Config::default().with_socket(path).check();
        assert_eq!(path("/run/omnirelay/control.sock"), Ok(()));
        assert_eq!(path(&long[..107]), Ok(()));
        for (text, expected) in [("control.sock", "absolute"), ("/", "absolute"), (&long, "has 108 bytes")] {
            let (key, what) = path(text).unwrap_err();
            assert!(key == "control.socket" && what.contains(expected), "{text}: {what}");
        }
        for (text, fits) in [("0600", true), ("660", true), ("0666", false), ("0770", false), ("0060", false)]
        {
            let mut config = Config::default();
            config.control.socket_mode = serde_json::from_value(text.into()).unwrap();
            assert_eq!(config.check().is_ok(), fits, "{text}");
        }
        for text in ["rw-------", "0888", "6", ""] {
            assert!(serde_json::from_value::<FileMode>(text.into()).is_err(), "{text}");
        }
        let error = serde_json::from_value::<FileMode>(660.into()).unwrap_err().to_string();
        assert!(error.contains("in quotes"), "{error}");
    }

    #[test]
    fn http3_is_told_of_where_it_is_served() {
        for (http3, advertise, refused) in
            [(true, None, false), (true, Some(443), false), (true, Some(0), true), (false, Some(443), true)]
        {
            let mut config = Config::default();
            config.control.tls.source = TlsSource::Mesh;
            (config.control.http3, config.control.http3_advertise) = (http3, advertise);
            let expected = if refused { Err("control.http3Advertise") } else { Ok(()) };
            assert_eq!(config.check().map_err(|(key, _)| key), expected, "{http3}, {advertise:?}");
        }
    }

    impl Config {
        fn with_socket(mut self, path: &str) -> Self {
            self.control.socket = Some(path.into());
            self
        }
    }
}
