//! Frames through a relay into files, beside frames through an echo.

use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::load;
use crate::ratio::{Rates, busy};
use crate::subjects::Subject;

/// How many frames of all streams are on their way together, and of one at the most. The queue of the relay's sink has
/// room for all of them, so that none is refused.
const INFLIGHT_ALL: u64 = 6400;
const INFLIGHT_ONE: u64 = 1000;
/// How long streams run before they are measured.
const WARM_UP: Duration = Duration::from_secs(1);

async fn relay() -> Result<Subject> {
    // Files that are followed by others are removed, lest the disk fill up.
    let settings = ["relay.sinks.file.rotateEvery=1s", "relay.sinks.file.filesMax=3"];
    Subject::ours("embedded:", &["relay", "registry"], &settings).await
}

/// Frames acknowledged a second, with full windows on so many streams; prints the ratio and returns the median.
pub(crate) async fn throughput(streams: usize, rounds: usize, seconds: Duration) -> Result<f64> {
    let subjects = [
        relay().await?,
        Subject::echo("echo of messages", "messages").await?,
        Subject::echo("echo of bytes", "bytes").await?,
    ];
    let mut rates = [Rates::default(), Rates::default(), Rates::default()];
    for _ in 0..rounds {
        for (subject, rates) in subjects.iter().zip(&mut rates) {
            rates.0.push(saturate(subject, streams, seconds).await?);
        }
    }
    println!("{streams} streams, full windows, {rounds} rounds, load {}:", busy());
    for (subject, rates) in subjects.iter().zip(&rates) {
        println!("  {}: median {:.0} frames/s of {:.0?}", subject.name, rates.median(), rates.0);
    }
    for (subject, other) in subjects.iter().zip(&rates).skip(1) {
        let (median, worst) = rates[0].beside(other);
        println!("  beside the {}: median {:.2}, worst {:.2} (asked: 0.50)", subject.name, median, worst);
    }
    Ok(rates[0].median())
}

async fn saturate(subject: &Subject, streams: usize, seconds: Duration) -> Result<f64> {
    let window = (INFLIGHT_ALL / streams as u64).min(INFLIGHT_ONE);
    let agents = connect(subject, streams).await?;
    let begin = Instant::now() + WARM_UP;
    let end = begin + seconds;
    let mut running = JoinSet::new();
    for agent in agents {
        running.spawn(load::full(agent, window, begin, end));
    }
    let mut frames = 0;
    while let Some(counted) = running.join_next().await {
        frames += counted??;
    }
    Ok(frames as f64 / seconds.as_secs_f64())
}

async fn connect(subject: &Subject, streams: usize) -> Result<Vec<load::Agent>> {
    let mut agents = Vec::new();
    for number in 0..streams {
        let (channel, id) = (subject.connect().await?, format!("drone-{number:05}"));
        subject.register(&channel, &id).await?;
        agents.push(load::Agent::new(channel, id));
    }
    Ok(agents)
}

/// How long acknowledgements take when so many frames come a second; prints percentiles.
pub(crate) async fn latency(streams: usize, frames_s: f64, rounds: usize, seconds: Duration) -> Result<()> {
    let subjects = [relay().await?, Subject::echo("echo of messages", "messages").await?];
    let mut all = [Vec::new(), Vec::new()];
    let mut p99 = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (place, subject) in subjects.iter().enumerate() {
            let took = measure(subject, streams, frames_s, seconds).await?;
            p99[place].push(percentile(&took, 99.0));
            all[place].extend(took);
        }
    }
    let asked = if streams > 10 { 20 } else { 5 };
    println!("{streams} streams, {frames_s:.0} frames/s, {rounds} rounds, load {}:", busy());
    for ((subject, took), p99) in subjects.iter().zip(&all).zip(&p99) {
        let worst = p99.iter().copied().fold(0.0, f64::max);
        println!(
            "  {}: p50 {:.2} ms, p99 {:.2} ms, p99 of the worst round {worst:.2} ms, {} frames \
             (asked of half load: p99 {asked} ms)",
            subject.name,
            percentile(took, 50.0),
            percentile(took, 99.0),
            took.len()
        );
    }
    Ok(())
}

async fn measure(
    subject: &Subject,
    streams: usize,
    frames_s: f64,
    seconds: Duration,
) -> Result<Vec<Duration>> {
    let agents = connect(subject, streams).await?;
    let begin = Instant::now() + WARM_UP;
    let end = begin + seconds;
    let mut running = JoinSet::new();
    for agent in agents {
        running.spawn(load::paced(agent, frames_s / streams as f64, begin, end));
    }
    let mut took = Vec::new();
    while let Some(one) = running.join_next().await {
        took.extend(one??);
    }
    Ok(took)
}

/// In ms.
fn percentile(took: &[Duration], hundredths: f64) -> f64 {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() as f64 * hundredths / 100.0).ceil() as usize;
    sorted.get(place.saturating_sub(1)).map_or(f64::NAN, |took| took.as_secs_f64() * 1e3)
}
