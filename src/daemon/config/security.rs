//! Who is let in, and by what proof.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Config;
use crate::daemon::identity::socket::PATH_BYTES_MAX;

/// What callers must prove.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SecurityConfig {
    /// Whether being on this host is proof enough.
    pub loopback: LoopbackTrust,
    /// The tokens that prove somebody, a line `NAME TOKEN [SCOPE...]` each; default `control-token` in the data
    /// directory, which is made with one token in it. Read again on SIGHUP.
    pub token_file: Option<PathBuf>,
}

/// What a caller on this host is without proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoopbackTrust {
    /// `local`, with every scope: any user and any program of this host.
    #[default]
    Open,
    /// Nobody.
    Proof,
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
        struct Text;
        impl serde::de::Visitor<'_> for Text {
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
        deserializer.deserialize_any(Text)
    }
}

impl Config {
    pub(super) fn check_access(&self) -> Result<(), (&'static str, String)> {
        if self.control.insecure && self.security.loopback == LoopbackTrust::Proof {
            let what =
                "`proof` contradicts `control.insecure`, which lets everybody in; leave one of them out";
            return Err(("security.loopback", what.to_owned()));
        }
        if let Some(path) = &self.control.socket {
            check_path(path).map_err(|what| ("control.socket", what))?;
        }
        let mode = self.control.socket_mode;
        // The bits of others: they would hold every scope, and nobody would be kept out any more.
        if mode.0 & !0o660 != 0 || mode.0 & 0o600 != 0o600 {
            let what = format!("{mode} is not for this: write \"0600\", or \"0660\" to let a group in");
            return Err(("control.socketMode", what));
        }
        Ok(())
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
        let path = |path: &str| Config::default().with_socket(path).check_access();
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
            assert_eq!(config.check_access().is_ok(), fits, "{text}");
        }
        for text in ["rw-------", "0888", "6", ""] {
            assert!(serde_json::from_value::<FileMode>(text.into()).is_err(), "{text}");
        }
        let error = serde_json::from_value::<FileMode>(660.into()).unwrap_err().to_string();
        assert!(error.contains("in quotes"), "{error}");
    }

    #[test]
    fn proof_and_no_proof_contradict_each_other() {
        let mut config = Config::default();
        config.security.loopback = LoopbackTrust::Proof;
        assert_eq!(config.check(), Ok(()));
        config.control.insecure = true;
        assert_eq!(config.check().unwrap_err().0, "security.loopback");
    }

    impl Config {
        fn with_socket(mut self, path: &str) -> Self {
            self.control.socket = Some(path.into());
            self
        }
    }
}
