//! Candidates that come, go, rest and die, in an order that a seed gives.

use anyhow::Result;

use super::run::{Run, Setup, recorded, rounds};
use crate::checker::AtLeast;
use crate::servers::RedisServer;

/// How many things happen in a round.
const STEPS: usize = 16;
const NODES: usize = 4;

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

/// Something happens to one of all but the first, who stays, so that somebody may always lead.
async fn step(run: &mut Run, chance: &mut Chance) -> Result<()> {
    let at = 1 + chance.below(run.members.len() - 1);
    match (run.is_up(at), chance.below(7)) {
        (false, _) => run.launch(at),
        (true, 0) => run.terminate(at).await,
        (true, 1 | 2) => {
            let led = run.kill(at).await?;
            let zombie = run.zombie(at, led.clone());
            run.until_succeeded(&led).await?;
            if led.is_empty() { Ok(()) } else { zombie.fall(20).await }
        }
        (true, 3) => run.order(0, at, "cordon").await,
        (true, 4) => run.order(0, at, "uncordon").await,
        (true, 5) => run.order(0, at, "drain").await,
        (true, _) => run.order(0, at, "undrain").await,
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
    let mut chance = Chance(seed);
    let mut setup = Setup::of("churn", &server.url());
    setup.nodes = vec![server.url(); NODES];
    let at_least = AtLeast { grants: 21, accepted: 100, beliefs: 21, ..AtLeast::default() };
    recorded(setup, at_least, async |run: &mut Run| {
        for _ in 0..rounds * STEPS {
            step(run, &mut chance).await?;
            run.until_led().await?;
        }
        Ok(())
    })
    .await
}
