//! What a daemon takes of its machine.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::mesh::Node;

/// The unit of the times in `/proc/PID/stat`; 100 a second on every Linux.
const TICK: Duration = Duration::from_millis(10);
/// Generous for a few seconds of an outage, and far below what a loop without a pause takes.
const CPU_MAX: Duration = Duration::from_millis(1000);
const GROWTH_MAX: u64 = 48 << 20;
/// Generous for an outage and its end.
const LINES_MAX: usize = 24;
/// How often one thing may be said: less than once per try.
const SAME_MAX: usize = 4;

/// A daemon's figures at one instant.
pub(crate) struct Vitals {
    cpu: Duration,
    resident: u64,
    lines: usize,
}

impl Vitals {
    pub(crate) fn of(node: &Node) -> Result<Self> {
        let pid = node.daemon.pid();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name of the process, in parentheses, may hold anything.
        let behind = stat.rsplit_once(')').context("no stat")?.1;
        let ticks =
            |at: usize| -> Result<u32> { Ok(behind.split_whitespace().nth(at).context("no time")?.parse()?) };
        let cpu = TICK * (ticks(11)? + ticks(12)?);
        Ok(Self { cpu, resident: node.daemon.resident()?, lines: node.place.log().lines().count() })
    }

    /// Refuses a daemon that has ended, was busy, grew or flooded its log since `self`.
    pub(crate) fn expect_calm(&self, node: &Node) -> Result<()> {
        let cpu = Self::of(node)?.cpu.saturating_sub(self.cpu);
        ensure!(cpu < CPU_MAX, "{}: {cpu:?} of processor time", node.id());
        self.expect_small(node)
    }

    /// As [`Vitals::expect_calm`], of a daemon that had work to do.
    pub(crate) fn expect_small(&self, node: &Node) -> Result<()> {
        let now = Self::of(node).context("the daemon has ended")?;
        let grown = now.resident.saturating_sub(self.resident);
        ensure!(grown < GROWTH_MAX, "{}: grown by {grown} bytes", node.id());
        let log = node.place.log();
        let said: Vec<&str> = log.lines().skip(self.lines).collect();
        ensure!(said.len() <= LINES_MAX, "{}: {} lines:\n{}", node.id(), said.len(), said.join("\n"));
        let mut counts = BTreeMap::<String, usize>::new();
        // How many calls are slow is a matter of the machine.
        for line in said.iter().filter(|line| !line.contains(" call slow ")) {
            *counts.entry(message(line)).or_default() += 1;
        }
        let most = counts.values().max().copied().unwrap_or(0);
        ensure!(most <= SAME_MAX, "{}: said {most} times:\n{}", node.id(), said.join("\n"));
        ensure!(!log.contains("panicked"), "{}: {log}", node.id());
        Ok(())
    }
}

/// What a line of the log says, without its time and its fields.
fn message(line: &str) -> String {
    let words = line.split_whitespace().skip(1).take_while(|word| !word.contains('='));
    words.collect::<Vec<_>>().join(" ")
}
