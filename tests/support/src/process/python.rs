//! Python with packages of its own, for clients and agents that share no code with what they test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::built;

/// Python in an environment with the packages that `requirements` names: made once for each state of that file, and kept with
/// what cargo builds.
pub fn with_packages(requirements: &Path) -> Result<PathBuf> {
    let environment = built().join(format!("python-{}", digest([&std::fs::read(requirements)?[..]])));
    if !environment.exists() {
        // A script in it names its folder, but none is used.
        made_whole(&environment, |unfinished| {
            run(Command::new("python3").args(["-m", "venv"]).arg(unfinished))?;
            let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
            run(Command::new(unfinished.join("bin/python")).args(install).arg(requirements))
        })?;
    }
    Ok(environment.join("bin/python"))
}

/// Makes a folder whole or not at all, also when two make it at a time.
pub fn made_whole(place: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let unfinished = tempfile::Builder::new().prefix("python-unfinished-").tempdir_in(built())?;
    make(unfinished.path())?;
    match std::fs::rename(unfinished.path(), place) {
        Err(_) if place.exists() => {}
        renamed => {
            renamed?;
            let _ = unfinished.keep();
        }
    }
    Ok(())
}

/// Runs a program to its end, and answers what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {} {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// A name for what something is made of.
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    parts.into_iter().for_each(|part| hash.update(part));
    hex(&hash.finalize()[..8])
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
