//! A register service and a peer service: two daemons, each with a store of its own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process::{Daemon, Place};
use crate::servers::RedisServer;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether something is there.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the daemons keep their state in.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Embedded,
    Redis,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Redis => "redis",
        }
    }
}

/// A daemon and its store.
pub(crate) struct Service {
    place: Place,
    store: Option<RedisServer>,
    daemon: Option<Daemon>,
}

impl Service {
    /// Starts one with these settings.
    pub(crate) fn start(kind: Kind, settings: &[&str]) -> Result<Self> {
        let store = match kind {
            Kind::Embedded => None,
            Kind::Redis => {
                Some(RedisServer::start(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"])?)
            }
        };
        let url = store.as_ref().map_or_else(|| "embedded:".to_owned(), RedisServer::url);
        let mut arguments = vec!["--store", url.as_str()];
        for setting in settings {
            arguments.extend(["--set", *setting]);
        }
        let place = Place::new(&arguments)?;
        let daemon = Some(place.start()?);
        Ok(Self { place, store, daemon })
    }

    /// Has the daemon listen at the same address whenever it is started again.
    pub(crate) fn keep_address(&mut self, address: &str) {
        address.clone_into(&mut self.place.listen);
    }

    pub(crate) fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("it does not run")
    }

    /// Kills the daemon, and its store's server.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.kill_daemon()?;
        self.store.as_mut().map_or(Ok(()), RedisServer::kill)
    }

    pub(crate) fn kill_daemon(&mut self) -> Result<()> {
        self.daemon.take().map_or(Ok(()), Daemon::kill)
    }

    pub(crate) fn start_store(&mut self) -> Result<()> {
        self.store.as_mut().map_or(Ok(()), RedisServer::restart)
    }

    /// Starts the daemon; returns once it says that it is ready.
    pub(crate) fn start_daemon(&mut self) -> Result<()> {
        self.daemon = Some(self.place.start()?);
        Ok(())
    }

    /// Enters so many registers, all to be advertised.
    pub(crate) async fn import(&self, count: usize) -> Result<()> {
        let registers: Vec<Value> = (0..count).map(register).collect();
        let (status, answer) =
            self.daemon()?.post("/control/registers:import", &json!({"registers": registers})).await?;
        ensure!(status == 200 && answer["added"] == count, "{status} {answer}");
        Ok(())
    }

    /// How many registers anybody sees here: all, and those that were confirmed since the daemon started.
    pub(crate) async fn visible(&self) -> Result<(usize, usize)> {
        let seen = self.daemon()?.get("/api/registers/available").await?;
        let seen = seen.as_array().context("no array")?;
        Ok((seen.len(), seen.iter().filter(|register| register["syncState"] == "active").count()))
    }

    /// Waits until so many are visible.
    pub(crate) async fn until_visible(&self, count: usize) -> Result<()> {
        self.until(count, |(all, _)| all).await
    }

    /// Waits until so many are visible and confirmed.
    pub(crate) async fn until_confirmed(&self, count: usize) -> Result<()> {
        self.until(count, |(_, confirmed)| confirmed).await
    }

    async fn until(&self, count: usize, pick: fn((usize, usize)) -> usize) -> Result<()> {
        let begun = Instant::now();
        while pick(self.visible().await.unwrap_or_default()) != count {
            ensure!(begun.elapsed() < PATIENCE, "{:?} of {count} are visible", self.visible().await);
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Runs a full resync to its end; returns its operation.
    pub(crate) async fn resync(&self) -> Result<Value> {
        let daemon = self.daemon()?;
        let (status, answer) =
            daemon.post("/control/registers:resync", &json!({"full": true, "overrideBrake": true})).await?;
        ensure!(status == 200, "{status} {answer}");
        let id = answer["operation"]["operationId"].as_str().context("no operation")?.to_owned();
        let begun = Instant::now();
        loop {
            let operation = daemon.get(&format!("/control/operations/{id}")).await?["operation"].clone();
            if !matches!(operation["state"].as_str(), Some("pending" | "running")) {
                return Ok(operation);
            }
            ensure!(begun.elapsed() < PATIENCE, "{operation}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// A register as it is imported.
pub(crate) fn register(number: usize) -> Value {
    json!({
        "registerId": format!("{number:032x}"),
        "name": format!("Register {number}"),
        "description": "what a register of average length says of itself, in one line",
        "advertise": true,
        "latestVersion": number,
    })
}
