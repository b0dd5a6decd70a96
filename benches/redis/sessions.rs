//! What the heartbeats of many daemons cost the server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use omnirelay_core::time::Millis;
use omnirelay_store::{GroupId, GroupRef, OpenGroup, OpenedGroup, Pulse, RedisStore, Store};

use crate::servers::RedisServer;
use crate::{ROUNDS, epoch, median, store};

const DAEMONS: usize = 200;
const TTL: Duration = Duration::from_secs(2);
const RENEW_EVERY: Duration = Duration::from_millis(500);
/// As far back as a daemon asks, beyond its last beat.
const SLACK_MS: u64 = 250;
const MEASURED: Duration = Duration::from_secs(5);

/// One daemon's heart; each has a connection of its own, as it would in a process of its own.
struct Heart {
    store: Arc<RedisStore>,
    session: GroupRef,
    asked_last: Millis,
}

pub(crate) async fn of_200_daemons() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mut hearts = Vec::new();
    for number in 0..DAEMONS {
        hearts.push(Heart::begin(&server.url(), number).await?);
    }
    let begun = tokio::time::Instant::now();
    let length = MEASURED * (ROUNDS as u32 + 1);
    let beating: Vec<_> = hearts
        .into_iter()
        .enumerate()
        .map(|(number, heart)| {
            let first = begun + RENEW_EVERY * number as u32 / DAEMONS as u32;
            tokio::spawn(heart.beat(first, begun + length))
        })
        .collect();
    let mut shares = Vec::new();
    for _ in 0..ROUNDS {
        let (before, at) = (server.cpu_seconds()?, Instant::now());
        tokio::time::sleep(MEASURED).await;
        shares.push((server.cpu_seconds()? - before) / at.elapsed().as_secs_f64() * 100.0);
    }
    let worst = shares.iter().copied().fold(0.0, f64::max);
    for heart in beating {
        heart.await??;
    }
    println!("sessions  daemons={DAEMONS} core={:.2}% worst={worst:.2}%", median(shares));
    Ok(())
}

impl Heart {
    async fn begin(url: &str, number: usize) -> Result<Self> {
        let store = store(url)?;
        let open = OpenGroup {
            epoch: epoch(&store).await?,
            id: GroupId(format!("session/node-{number}")),
            ttl: Duration::from_secs(60),
            secret: "secret".to_owned(),
        };
        let OpenedGroup::Open(group) = store.open_group(open).await? else { bail!("the session is held") };
        Ok(Self { store, session: group.of, asked_last: Millis(0) })
    }

    async fn beat(mut self, first: tokio::time::Instant, until: tokio::time::Instant) -> Result<()> {
        let epoch = epoch(&self.store).await?;
        let mut ticks = tokio::time::interval_at(first, RENEW_EVERY);
        while tokio::time::Instant::now() < until {
            ticks.tick().await;
            let pulse = Pulse {
                epoch: Some(epoch),
                renew: vec![self.session.clone()],
                moved_since: self.asked_last,
                grace: TTL,
                ttl: None,
            };
            let beat = self.store.pulse(pulse).await?;
            anyhow::ensure!(beat.renewed == [Some(beat.now.after(Duration::from_secs(60)))], "not renewed");
            self.asked_last = Millis(beat.now.0.saturating_sub(SLACK_MS));
        }
        Ok(())
    }
}
