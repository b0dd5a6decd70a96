//! Candidates that come, go, rest and die, in an order that a seed gives.

use anyhow::Result;

use super::run::{Run, Setup, recorded, rounds};
use crate::checker::AtLeast;
use crate::process::until;
use crate::servers::RedisServer;

/// How many things happen in a round.
const STEPS: usize = 16;
const NODES: usize = 4;
/// How many stale writes of somebody who was killed are refused at each gate.
const STALE: usize = 50;

/// Marsaglia's xorshift: the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % limit
    }
}

/// What candidates were ordered: who is cordoned or draining is granted nothing new.
#[derive(Default)]
struct Orders {
    cordoned: [bool; NODES],
    draining: [bool; NODES],
}

impl Orders {
    fn may_lead(&self, run: &Run, at: usize) -> bool {
        run.is_up(at) && !self.cordoned[at] && !self.draining[at]
    }

    /// Something happens to somebody, so that somebody else may lead all the time.
    async fn step(&mut self, run: &mut Run, chance: &mut Chance) -> Result<()> {
        let at = chance.below(NODES);
        let Some(other) = (0..NODES).find(|other| *other != at && self.may_lead(run, *other)) else {
            return Ok(());
        };
        match (run.is_up(at), chance.below(6)) {
            (false, _) => run.launch(at),
            (true, 0) => run.terminate(at).await,
            (true, 1) => {
                let led = run.kill(at).await?;
                let zombie = run.zombie(at, led.clone());
                run.until_succeeded(&led).await?;
                if led.is_empty() { Ok(()) } else { zombie.fall(STALE).await }
            }
            (true, 2 | 3) => {
                let verb = if self.cordoned[at] { "uncordon" } else { "cordon" };
                self.cordoned[at] = !self.cordoned[at];
                run.order(other, at, verb).await
            }
            (true, _) => {
                let verb = if self.draining[at] { "undrain" } else { "drain" };
                self.draining[at] = !self.draining[at];
                run.order(other, at, verb).await?;
                let drained = self.draining[at];
                let what = "who is drained has handed over";
                until(what, async || Ok(!drained || run.led_by(at).is_empty())).await
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_come_and_go() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let rounds = rounds()?;
    let seed = match std::env::var("OMNIRELAY_LEADERSHIP_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => u64::from(std::process::id()) << 20 | 1,
    };
    println!("churn: OMNIRELAY_LEADERSHIP_SEED={seed}");
    let (mut chance, mut orders) = (Chance(seed), Orders::default());
    let mut setup = Setup::of("churn", &server.url());
    setup.nodes = vec![server.url(); NODES];
    let at_least = AtLeast { grants: 21, audited: 21, accepted: 100, beliefs: 21, ..AtLeast::default() };
    recorded(setup, at_least, async |run: &mut Run| {
        for _ in 0..rounds * STEPS {
            orders.step(run, &mut chance).await?;
            run.until_led().await?;
        }
        Ok(())
    })
    .await
}
