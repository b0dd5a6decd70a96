//! The token that is kept for a context: a file of its own beside the file of contexts, that nobody else can read.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use omnirelay_pki::jwt::signing::KID_BEGINS;
use omnirelay_pki::jwt::{Jwt, is_jwt};
use omnirelay_store::whole_file::write_whole;

use crate::context::edit::edit;
use crate::frame::prelude::*;

/// The folder of tokens beside the file of contexts.
const FOLDER: &str = "tokens";

/// The token of one context.
pub(crate) struct KeptToken {
    config: PathBuf,
    context: String,
    path: PathBuf,
}

impl KeptToken {
    /// Of the context of this command.
    ///
    /// # Errors
    /// Usage, where it has none, or one that proves its caller by another file already.
    pub(crate) fn of(session: &CommandSession) -> Result<Self, CliError> {
        let (target, config) = (session.target()?, session.settings.config_path.clone());
        if target.context.is_empty() {
            return Err(CliError::usage("a token is kept for a context, and none is named").hint(
                "name one with --context NAME, or make one: omnirelay context add NAME --address URL",
            ));
        }
        let config = std::path::absolute(&config).unwrap_or(config);
        let folder = config.parent().unwrap_or(Path::new(".")).join(FOLDER);
        let path = folder.join(file_name(&target.context));
        let kept = Self { config, context: target.context.clone(), path };
        match kept.named(session)? {
            Some(other) if other != kept.path => {
                let message =
                    format!("context `{}` has a token file of its own, {}", kept.context, other.display());
                Err(CliError::usage(message).hint("take `tokenFile` out of the context first"))
            }
            _ => Ok(kept),
        }
    }

    /// The token file that the context names.
    fn named(&self, session: &CommandSession) -> Result<Option<PathBuf>, CliError> {
        let file = session.settings.config.as_ref().map_err(Clone::clone)?;
        Ok(file.context(&self.context)?.token_file.clone())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn context(&self) -> &str {
        &self.context
    }

    /// Keeps a token, in place of the one before.
    ///
    /// # Errors
    /// When it cannot be written; the one before is then kept.
    pub(crate) fn keep(&self, token: &str) -> Result<(), CliError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| unwritten(folder, &error))?;
        write_whole(&self.path, format!("{token}\n").as_bytes())
            .map_err(|error| unwritten(&self.path, &error))?;
        self.name(Some(self.path.clone()))
    }

    /// The token; `None` when none is kept.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn token(&self) -> Result<Option<String>, CliError> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|token| !token.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CliError::local(
                reasons::TOKEN_FILE,
                format!("cannot read {}", self.path.display()),
                &error,
            )),
        }
    }

    /// Forgets the token, and that the context had one.
    ///
    /// # Errors
    /// When a file cannot be changed.
    pub(crate) fn forget(&self) -> Result<(), CliError> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unwritten(&self.path, &error));
            }
            Ok(()) | Err(_) => {}
        }
        self.name(None)
    }

    fn name(&self, path: Option<PathBuf>) -> Result<(), CliError> {
        edit(&self.config, |file| {
            let mut context = file.context(&self.context)?.clone();
            if context.token_file != path {
                context.token_file = path;
                file.put(context);
            }
            Ok(())
        })
    }
}

/// Whether a mesh has signed it, by what it says itself.
pub(crate) fn is_of_mesh(token: &str) -> bool {
    is_jwt(token.as_bytes()) && Jwt::read(token).is_ok_and(|jwt| jwt.kid().starts_with(KID_BEGINS))
}

/// What is no letter or digit stands as its number, so that no two contexts share a file.
fn file_name(context: &str) -> String {
    let mut name = String::new();
    for byte in context.bytes() {
        match byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            true => name.push(char::from(byte)),
            false => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

fn unwritten(path: &Path, error: &io::Error) -> CliError {
    CliError::local(reasons::FILE, format!("cannot write {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_context_has_a_file_of_its_own() {
        for (context, expected) in [
            ("prod-eu", "prod-eu"),
            ("../../x", "%2e%2e%2f%2e%2e%2fx"),
            ("a b", "a%20b"),
            ("a%20b", "a%2520b"),
        ] {
            assert_eq!(file_name(context), expected);
        }
    }
}
