//! Changing the file of contexts: whole, under a lock, or not at all.

use omnirelay_wire::reasons;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::frame::context_file::ContextFile;
use crate::frame::error::CliError;

/// Changes the file at `path` under its lock: read, `change`, write to a new file, rename.
///
/// # Errors
/// Those of reading and of `change`; or exit code 1 when the file cannot be written. Nothing changes then.
pub fn edit<T>(
    path: &Path,
    change: impl FnOnce(&mut ContextFile) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    let _lock = lock(&path)?;
    let mut file = ContextFile::load(&path)?;
    let result = change(&mut file)?;
    replace(&path, &file.to_yaml()?).map_err(|error| unwritable(&path, &error))?;
    Ok(result)
}

/// Takes the lock of the file; it ends when the value is dropped.
fn lock(path: &Path) -> Result<File, CliError> {
    const WAIT_MAX: Duration = Duration::from_secs(5);
    let lock_path = path.with_extension("yaml.lock");
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|error| unwritable(&lock_path, &error))?;
    let since = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(error)) => return Err(unwritable(&lock_path, &error)),
            Err(TryLockError::WouldBlock) if since.elapsed() < WAIT_MAX => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(CliError::new(
                    reasons::CONFIG_LOCKED,
                    format!("cannot change {}: another process keeps it locked", path.display()),
                ));
            }
        }
    }
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let temporary = path.with_extension(format!("yaml.{}.tmp", std::process::id()));
    let written = (|| {
        let mut file =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::local(
        reasons::CONFIG_UNWRITABLE,
        format!("cannot write {}; no context was changed", path.display()),
        error,
    )
    .hint("name a file that can be written with OMNIRELAY_CONFIG, or do without: --addr URL")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::context_file::Context;

    #[test]
    fn edit_writes_a_private_file_and_keeps_the_old_one_on_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/config.yaml");
        edit(&path, |file| {
            file.put(Context {
                name: "dev".into(),
                addresses: vec!["http://127.0.0.1:1".parse().unwrap()],
                ..Context::default()
            });
            Ok(())
        })
        .unwrap();
        let file = ContextFile::load(&path).unwrap();
        assert_eq!(file.mode, Some(0o600));
        assert_eq!(file.contexts.len(), 1);
        let before = std::fs::read_to_string(&path).unwrap();
        edit(&path, |file| -> Result<(), CliError> {
            file.remove("dev");
            Err(CliError::usage("no"))
        })
        .unwrap_err();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
    }

    #[test]
    fn parallel_edits_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::thread::scope(|scope| {
            for index in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    edit(path, |file| {
                        file.put(Context {
                            name: format!("c{index}"),
                            addresses: vec!["http://127.0.0.1:1".parse().unwrap()],
                            ..Context::default()
                        });
                        Ok(())
                    })
                    .unwrap();
                });
            }
        });
        assert_eq!(ContextFile::load(&path).unwrap().contexts.len(), 8);
    }
}
