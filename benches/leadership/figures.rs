//! What was measured, and how it is printed.
#![allow(dead_code, reason = "each benchmark uses its own part")]

use std::time::Duration;

/// Durations of one kind.
#[derive(Default)]
pub(crate) struct Figures(Vec<Duration>);

impl Figures {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// The duration that so many hundredths do not exceed.
    fn percentile(&self, hundredths: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * hundredths).div_ceil(100).saturating_sub(1);
        sorted.get(place).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
    }

    /// What 99 of 100 stay below, in ms.
    pub(crate) fn p99(&self) -> f64 {
        self.percentile(99)
    }

    /// Adds all that another has.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    pub(crate) fn print(&self, what: &str) {
        println!(
            "{what}: rounds={} median_ms={:.1} p99_ms={:.1} worst_ms={:.1}",
            self.0.len(),
            self.percentile(50),
            self.percentile(99),
            self.percentile(100)
        );
    }

    /// A line for `benches/peers/compare`.
    pub(crate) fn csv(&self, case: &str) -> String {
        format!(
            "omnirelay,{case},{},{:.1},{:.1},{:.1}",
            self.0.len(),
            self.percentile(50),
            self.percentile(99),
            self.percentile(100)
        )
    }
}
