//! Keeps one target as the catalogue says.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::inbox::{Inbox, Patience, Work};
use super::standing::Standing;
use super::target::{Catalogue, Target};
use crate::daemon::chance::random_u64;
use crate::daemon::metrics::RegistersMetrics;
use crate::daemon::registry::Registry;
use crate::daemon::registry::view::Head;

/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long changes gather after a run: the first is pushed at once, and the rest of a burst together.
const GATHER: Duration = Duration::from_millis(50);

/// One target and what is known of it.
pub struct Line {
    pub target: Arc<dyn Target>,
    pub inbox: Inbox,
    pub standing: Standing,
    /// One run at a time.
    pub turn: Mutex<()>,
}

/// What a run has brought to the target: the changes up to there.
pub struct Brought {
    pub head: Head,
    pub work: Work,
}

impl Line {
    pub fn new(target: Arc<dyn Target>, metrics: Arc<RegistersMetrics>) -> Self {
        let standing = Standing::new(target.name(), metrics);
        Self { target, inbox: Inbox::default(), standing, turn: Mutex::default() }
    }

    /// Runs whenever there is work or a run is due, for ever; `brought` is told of each that succeeded.
    pub async fn drive(&self, registry: &Registry, brought: impl Fn(&Brought)) {
        let (mut failures, mut next) = (0, Instant::now());
        loop {
            self.standing.set_next(registry.view().now(), next.saturating_duration_since(Instant::now()));
            let patience = if failures == 0 { Patience::None } else { Patience::UntilUrgent };
            self.inbox.wait(next, patience).await;
            let turn = self.turn.lock().await;
            let mut work = self.inbox.take();
            work.all |= failures > 0 || Instant::now() >= next;
            let head = self.run(registry, &work).await;
            let all = work.all;
            match head {
                Some(head) => {
                    brought(&Brought { head, work });
                    failures = 0;
                    if all {
                        next = Instant::now() + self.target.every();
                    }
                }
                None => {
                    failures += 1;
                    next = Instant::now() + pause(failures, fraction());
                }
            }
            drop(turn);
            sleep(GATHER).await;
        }
    }

    /// One run; `None`: it has failed.
    async fn run(&self, registry: &Registry, work: &Work) -> Option<Head> {
        self.standing.begin(registry.view().now());
        let catalogue = Catalogue::read(registry);
        let run = if work.all {
            self.target.all(&catalogue).await
        } else {
            let drifted = self.standing.shown().drifted as usize;
            let run = self.target.some(&catalogue, &work.ids).await;
            run.map(|outcome| super::target::Outcome { drifted, ..outcome })
        };
        self.standing.end(registry.view().now(), &run);
        run.ok().filter(|outcome| outcome.failed.is_empty()).map(|_| catalogue.head)
    }
}

/// 1, 2, 4 ... 60 s, of which a part between half and all is waited.
fn pause(failures: u32, fraction: f64) -> Duration {
    let whole = Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(PAUSE_MAX);
    whole.mul_f64(0.5 + fraction / 2.0)
}

/// From 0 to 1 by chance; without chance all is waited.
fn fraction() -> f64 {
    random_u64().map_or(1.0, |number| (number >> 11) as f64 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_are_spread() {
        let whole: Vec<u64> = (1..=9).map(|failures| pause(failures, 1.0).as_secs()).collect();
        assert_eq!(whole, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(pause(u32::MAX, 0.0), Duration::from_secs(30));
        assert_eq!(pause(1, 0.0), Duration::from_millis(500));
        assert!((0..100).map(|_| fraction()).all(|part| (0.0..=1.0).contains(&part)));
    }
}
