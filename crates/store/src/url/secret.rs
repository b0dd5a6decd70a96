//! Secrets of a store: texts that are shown nowhere.

use std::fmt;
use std::io::Read;
use std::path::Path;

use omnirelay_core::secret_file::first_line;
use omnirelay_core::text::chain;
use zeroize::Zeroizing;

use crate::settings::InvalidStoreSetting;

/// Longer files are no passwords.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// What is said of a secret that a document has as a number or a truth.
const UNQUOTED: &str = "it is no text; put it in quotes";

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct UrlSecret(String);

impl UrlSecret {
    /// Wraps what must not be shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password in the first line of a file, which the setting `key` names; `None` where it names none.
    ///
    /// # Errors
    /// `key`, and why the file cannot be used.
    pub fn of_file(key: &'static str, path: Option<&Path>) -> Result<Option<Self>, InvalidStoreSetting> {
        let Some(path) = path else { return Ok(None) };
        let mut content = Zeroizing::new(Vec::new());
        std::fs::File::open(path)
            .and_then(|file| file.take(PASSWORD_BYTES_MAX + 1).read_to_end(&mut content))
            .map_err(|error| (key, format!("cannot read `{}`: {}", path.display(), chain(&error))))?;
        if content.len() as u64 > PASSWORD_BYTES_MAX {
            let what =
                format!("`{}` is longer than the {PASSWORD_BYTES_MAX} bytes of a password", path.display());
            return Err((key, what));
        }
        let line = first_line(&content);
        let line = line.map_err(|fault| (key, format!("`{}` holds no password: {fault}", path.display())))?;
        Ok(Some(Self::new(line)))
    }

    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Shows that there is one, and not which.
impl serde::Serialize for UrlSecret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> serde::Deserialize<'de> for UrlSecret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretText)
    }
}

/// Reads a secret, and repeats nothing of what is none.
struct SecretText;

impl serde::de::Visitor<'_> for SecretText {
    type Value = UrlSecret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<UrlSecret, E> {
        Ok(UrlSecret::new(text))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<UrlSecret, E> {
        Err(E::custom(UNQUOTED))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<UrlSecret, E> {
        Err(E::custom(UNQUOTED))
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<UrlSecret, E> {
        Err(E::custom(UNQUOTED))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<UrlSecret, E> {
        Err(E::custom(UNQUOTED))
    }
}

impl fmt::Debug for UrlSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_file_is_the_password() {
        let directory = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let path = directory.path().join("password");
            std::fs::write(&path, text).unwrap();
            UrlSecret::of_file("key", Some(&path))
        };
        for (text, password) in [("p w\n", "p w"), ("\u{feff}s\r\nrotated by ops\r\n", "s")] {
            assert_eq!(read(text), Ok(Some(UrlSecret::new(password))), "{text:?}");
        }
        for text in [String::new(), "\n".to_owned(), "a".repeat(5000)] {
            assert_eq!(read(&text).unwrap_err().0, "key");
        }
        assert_eq!(UrlSecret::of_file("key", Some(&directory.path().join("no"))).unwrap_err().0, "key");
        assert_eq!(UrlSecret::of_file("key", None), Ok(None));
    }
}
