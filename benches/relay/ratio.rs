//! Rates of several subjects, measured in turns.

/// The rates of one subject, one for each round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rates(pub Vec<f64>);

impl Rates {
    pub(crate) fn median(&self) -> f64 {
        median(&self.0)
    }

    /// As parts of those of another subject, round by round: the median and the worst.
    pub(crate) fn beside(&self, other: &Self) -> (f64, f64) {
        let ratios: Vec<f64> = self.0.iter().zip(&other.0).map(|(own, other)| own / other).collect();
        (median(&ratios), ratios.iter().copied().fold(f64::INFINITY, f64::min))
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How busy the machine was on the whole, as `/proc/loadavg` has it.
pub(crate) fn busy() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("unknown").to_owned()
}
