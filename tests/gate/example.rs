use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use omnirelay_sdk::FencingGate;

/// A file that only the current leader may write to.
pub struct Ledger {
    gate: FencingGate,
    file: File,
}

impl Ledger {
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(folder.join("ledger.txt"))?;
        Ok(Self { gate: FencingGate::open(folder.join("fences"))?, file })
    }

    /// Appends a line for the leader of `scope` whose fence token is `token`.
    pub fn append(&self, scope: &str, token: u64, line: &str) -> anyhow::Result<()> {
        // The whole write is inside: no successor gets in between the check and its end.
        self.gate.run(scope, token, || writeln!(&self.file, "{line}"))??;
        Ok(())
    }
}
