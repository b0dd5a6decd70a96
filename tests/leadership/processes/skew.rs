//! Candidates of two releases, each killed or stopped and replaced by one of the other release.

use std::time::Instant;

use anyhow::Result;

use super::run::{Run, Setup, recorded};
use crate::checker::AtLeast;
use crate::process::skew::{Programs, time};
use crate::servers::RedisServer;

/// How many stale writes of somebody who was killed are refused at each gate.
const STALE: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_of_two_releases_succeed_each_other() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let (programs, until_over) = (Programs::daemon(), time()?);
    let mut setup = Setup::of("skew", &server.url());
    setup.programs = programs.both().map(ToOwned::to_owned).to_vec();
    let at_least = AtLeast {
        grants: 23,
        audited: 23,
        accepted: 100,
        refused: 4 * STALE,
        beliefs: 23,
        ..AtLeast::default()
    };
    recorded(setup, at_least, async |run: &mut Run| {
        let (began, mut replaced) = (Instant::now(), 0);
        while began.elapsed() < until_over || replaced < 3 {
            // Whoever leads, and whoever comes back.
            let at = if replaced % 3 == 1 { (run.leader() + 1) % run.members.len() } else { run.leader() };
            if replaced % 2 == 0 {
                let led = run.kill(at).await?;
                let zombie = run.zombie(at, led.clone());
                run.until_succeeded(&led).await?;
                if !led.is_empty() {
                    zombie.fall(STALE).await?;
                }
            } else {
                run.terminate(at).await?;
            }
            let place = &mut run.members[at].place;
            place.program = programs.other_than(&place.program).to_owned();
            run.launch(at)?;
            run.until_led().await?;
            replaced += 1;
        }
        println!("skew: {replaced} candidates were replaced");
        Ok(())
    })
    .await
}
