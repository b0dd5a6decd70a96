//! The programs of another release, for tests of daemons of two releases side by side (`scripts/skew`).
//!
//! `OMNIRELAY_SKEW_PROGRAMS` is the folder that they are in. Without it both releases are this one: the tests are
//! short then, and show that what they do to daemons is survived among equals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::program;

/// What is run for so long without being told.
const SHORT: Duration = Duration::from_secs(5);

/// One program in both releases.
#[derive(Clone, Debug)]
pub struct Programs {
    pub this: PathBuf,
    pub other: PathBuf,
}

impl Programs {
    /// The daemon.
    pub fn daemon() -> Self {
        Self::of("omnirelayd")
    }

    /// The command line.
    pub fn command_line() -> Self {
        Self::of("omnirelay")
    }

    fn of(name: &str) -> Self {
        let this = program(name);
        let folder = std::env::var_os("OMNIRELAY_SKEW_PROGRAMS").map(PathBuf::from);
        let other = folder.map_or_else(|| this.clone(), |folder| folder.join(name));
        Self { this, other }
    }

    /// The release that is not the one given.
    pub fn other_than(&self, program: &Path) -> &Path {
        if program == self.this { &self.other } else { &self.this }
    }

    /// Whether the other release is before this version, such as `0.3`; by what its program says of itself.
    ///
    /// # Errors
    /// When that cannot be understood.
    pub fn other_is_before(&self, (major, minor): (u32, u32)) -> Result<bool> {
        let said = std::process::Command::new(&self.other).arg("--version").output()?;
        let said = String::from_utf8(said.stdout)?;
        let version = said.split_whitespace().nth(1).with_context(|| said.clone())?;
        let mut numbers = version.split('.').map(str::parse::<u32>);
        let (Some(Ok(first)), Some(Ok(second))) = (numbers.next(), numbers.next()) else {
            anyhow::bail!("no version: {said}");
        };
        Ok((first, second) < (major, minor))
    }

    pub fn both(&self) -> [&Path; 2] {
        [&self.this, &self.other]
    }
}

/// How long daemons are replaced by those of the other release: `OMNIRELAY_SKEW_SECONDS`.
///
/// # Errors
/// Of a variable that is no number.
pub fn time() -> Result<Duration> {
    match std::env::var("OMNIRELAY_SKEW_SECONDS") {
        Ok(text) => {
            let seconds = text.parse().with_context(|| format!("OMNIRELAY_SKEW_SECONDS: {text}"))?;
            Ok(Duration::from_secs(seconds))
        }
        Err(_) => Ok(SHORT),
    }
}
