//! Calls one after another, and many at a time; and what they cost the process that answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;

/// How many calls are under way where calls are many.
pub const IN_FLIGHT: usize = 64;

/// The median of some figures; NaN of none.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median of the ratios or differences of two subjects, round by round.
pub fn paired(of: &[f64], beside: &[f64], by: impl Fn(f64, f64) -> f64) -> f64 {
    median(of.iter().zip(beside).map(|(of, beside)| by(*of, *beside)).collect())
}

/// The median time of a call, in microseconds, when one is sent after another.
pub async fn alone<F, Fut>(turn: Duration, call: F) -> Result<f64>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let (mut times, end) = (Vec::new(), Instant::now() + turn);
    loop {
        let begun = Instant::now();
        if begun >= end {
            return Ok(median(times));
        }
        call().await?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
}

/// What came of many calls.
#[derive(Clone, Copy, Debug)]
pub struct Together {
    pub per_second: f64,
    /// How much of the answering process's time each took, in microseconds.
    pub cost_us: f64,
}

/// Calls a second when 64 are under way, and what they cost the process that answers. A call hears which of the 64 it is.
pub async fn together<F, Fut>(turn: Duration, answering: u32, call: F) -> Result<Together>
where
    F: Fn(usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let (call, mut running) = (Arc::new(call), JoinSet::new());
    let (begun, before) = (Instant::now(), used(answering)?);
    for number in 0..IN_FLIGHT {
        let call = Arc::clone(&call);
        running.spawn(async move {
            let mut count = 0_u64;
            while begun.elapsed() < turn {
                call(number).await?;
                count += 1;
            }
            Ok::<_, anyhow::Error>(count)
        });
    }
    let mut all = 0;
    while let Some(count) = running.join_next().await {
        all += count??;
    }
    let (per_second, cost) = (all as f64 / begun.elapsed().as_secs_f64(), used(answering)? - before);
    Ok(Together { per_second, cost_us: cost * 1e6 / all as f64 })
}

/// How much processor time a process has used, in seconds.
pub fn used(process: u32) -> Result<f64> {
    /// Clock ticks in a second, as Linux tells them to processes.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let behind_name = stat.rsplit_once(") ").context("no stat")?.1;
    let ticks = behind_name.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().unwrap_or(0.0));
    Ok(ticks.sum::<f64>() / TICKS)
}
