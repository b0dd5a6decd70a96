//! The file of tokens: read as it stands, or made with one token in it.
//!
//! A line is `NAME TOKEN [SCOPE...]`; without scopes a token has what the control socket gives. Empty lines and those that begin with `#`
//! say nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use omnirelay_core::names::check_node_name;
use omnirelay_core::secret_file::without_mark;
use omnirelay_host::chance::random_secret;
use omnirelay_host::permissions::{UnsafeSecretFile, check_private};
use omnirelay_store::whole_file::write_whole;

use super::caller::{Scope, Scopes};
use super::host_door::of_door;
use super::proof::SecretToken;

/// The file in the data directory, and the name of the token that is made there.
pub const FILE: &str = "control-token";
const NAME: &str = "control";

/// Longer files are no file of tokens.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// The shortest token is beyond guessing even in hex digits.
pub(super) const TOKEN_CHARS: std::ops::RangeInclusive<usize> = 32..=512;

/// Reason why a file of tokens cannot be used. No variant holds a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    #[error("cannot use the token file `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the token file `{path}` is open to others (mode {mode:04o}): whoever reads it may do anything here; \
         chmod 600 it, and write new tokens if others may have read it"
    )]
    Open { path: PathBuf, mode: u32 },
    #[error("the token file `{path}` belongs to another user; chown it to the daemon's, or to root")]
    Foreign { path: PathBuf },
    #[error("line {line} of the token file `{path}`: {what}; a line is NAME TOKEN [SCOPE...]")]
    Line { path: PathBuf, line: usize, what: String },
    #[error("the token file `{path}` holds no token; write a line NAME TOKEN [SCOPE...]")]
    Empty { path: PathBuf },
}

/// Reads the tokens of a file.
///
/// # Errors
/// [`TokenFileError`], with the line where there is one.
pub fn read(path: &Path) -> Result<Vec<SecretToken>, TokenFileError> {
    let refuse = |source| TokenFileError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(refuse)?;
    let metadata = file.metadata().map_err(refuse)?;
    check_private(&metadata).map_err(|why| match (why, path.to_owned()) {
        (UnsafeSecretFile::Open(mode), path) => TokenFileError::Open { path, mode },
        (UnsafeSecretFile::Foreign, path) => TokenFileError::Foreign { path },
    })?;
    if metadata.len() > FILE_BYTES_MAX {
        let what = format!("it is longer than {FILE_BYTES_MAX} bytes");
        return Err(refuse(io::Error::new(io::ErrorKind::InvalidData, what)));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(refuse)?;
    let tokens = parse(without_mark(&text)).map_err(|(line, what)| TokenFileError::Line {
        path: path.to_owned(),
        line,
        what,
    })?;
    if tokens.is_empty() {
        return Err(TokenFileError::Empty { path: path.to_owned() });
    }
    Ok(tokens)
}

/// As [`read`], of the file in a data directory, which is made when it is not there.
///
/// # Errors
/// As of [`read`], or when it cannot be made.
pub fn read_or_make(directory: &Path) -> Result<Vec<SecretToken>, TokenFileError> {
    let path = directory.join(FILE);
    let refuse = |source| TokenFileError::Read { path: path.clone(), source };
    if !path.try_exists().map_err(refuse)? {
        let (high, low) = (random_secret().map_err(refuse)?, random_secret().map_err(refuse)?);
        write_whole(&path, format!("{NAME} {high}{low}\n").as_bytes()).map_err(refuse)?;
    }
    read(&path)
}

/// The tokens of such a text, or the line that is none and why.
fn parse(text: &str) -> Result<Vec<SecretToken>, (usize, String)> {
    let mut tokens: Vec<SecretToken> = Vec::new();
    let mut secrets = BTreeSet::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let token = token(line).map_err(|what| (at + 1, what))?;
        if tokens.iter().any(|known| known.name == token.name) {
            return Err((at + 1, format!("there is a token `{}` already", token.name)));
        }
        if !secrets.insert(token.secret.clone()) {
            return Err((at + 1, "another line has the same token".to_owned()));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// What one line says. What is wrong is told without showing it, since it may be a token.
fn token(line: &str) -> Result<SecretToken, String> {
    let mut words = line.split_ascii_whitespace();
    let (Some(name), Some(secret)) = (words.next(), words.next()) else {
        return Err("it has one word".to_owned());
    };
    check_node_name(name).map_err(|_| "its first word is no name".to_owned())?;
    // As RFC 6750 has it, so that it can stand in a header.
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !TOKEN_CHARS.contains(&secret.len()) || !secret.bytes().all(fits) {
        let (min, max) = (TOKEN_CHARS.start(), TOKEN_CHARS.end());
        return Err(format!("a token has {min} to {max} letters, digits and `-._~+/=`"));
    }
    let scopes: Vec<&str> = words.collect();
    let unknown = || {
        let known: Vec<&str> = Scope::ALL.into_iter().map(Scope::word).collect();
        format!("behind the token stand scopes, of {}", known.join(", "))
    };
    let held: Option<Scopes> = scopes.iter().map(|word| Scope::from_word(word)).collect();
    let (held, own_node) = match scopes.is_empty() {
        true => (of_door(), Scopes::all()),
        false => held.map(|held| (held, held)).ok_or_else(unknown)?,
    };
    Ok(SecretToken { name: name.to_owned(), secret: secret.to_owned(), scopes: held, own_node })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_line_names_a_token_and_its_scopes() {
        let text = format!("# who may what\n\nops {SECRET}\nwatcher {SECRET}2 mesh.read mesh.connect\n");
        let tokens = read(file(&text, 0o600).path()).unwrap();
        let held: Vec<_> = tokens
            .iter()
            .map(|token| (token.name.as_str(), token.scopes.to_string(), token.own_node))
            .collect();
        let both: Scopes = [Scope::MeshConnect, Scope::MeshRead].into_iter().collect();
        let door = of_door().to_string();
        assert_eq!(held, [("ops", door, Scopes::all()), ("watcher", both.to_string(), both)]);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_token() {
        let doubled = format!("a {SECRET}\nb {SECRET}\n");
        let cases = [
            ("a token alone", SECRET.to_owned(), "line 1"),
            ("short", "ops 0123456789abcdef".to_owned(), "32 to 512"),
            ("not for a header", format!("ops {SECRET}\u{fc}"), "32 to 512"),
            ("no such scope", format!("\nops {SECRET} mesh.fly"), "line 2"),
            ("the same name", format!("ops {SECRET}\nops {SECRET}2"), "`ops` already"),
            ("the same token", doubled, "the same token"),
            ("a name that is none", format!("{SECRET}= ops"), "no name"),
            ("nothing", "# later\n".to_owned(), "holds no token"),
        ];
        for (what, text, expected) in cases {
            let error = read(file(&text, 0o600).path()).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains(SECRET), "{what}: {error}");
        }
    }

    #[test]
    fn a_file_that_others_may_read_or_write_is_refused() {
        let text = format!("ops {SECRET}\n");
        for mode in [0o640, 0o604, 0o620, 0o602] {
            let error = read(file(&text, mode).path()).unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:04o}")) && error.contains("chmod 600"), "{error}");
        }
        read(file(&text, 0o400).path()).unwrap();
    }

    #[test]
    fn a_directory_gets_one_token_and_keeps_it() {
        let place = tempfile::tempdir().unwrap();
        let first = read_or_make(place.path()).unwrap();
        assert_eq!((first.len(), first[0].name.as_str(), first[0].secret.len()), (1, NAME, 64));
        assert_eq!(read_or_make(place.path()).unwrap()[0].secret, first[0].secret);
        let metadata = std::fs::metadata(place.path().join(FILE)).unwrap();
        assert_eq!(omnirelay_host::permissions::mode(&metadata), 0o600);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(read_or_make(other.path()).unwrap()[0].secret, first[0].secret);
    }
}
