//! What a service does that leads because its daemon says so.

use omnirelay_wire::tls::nobody;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::gates::Gates;
use crate::history::Event;
use crate::recorder::Recorder;

/// What it takes off a lease, so that it gives up before the store does.
const MARGIN_US: i64 = 250_000;
/// A daemon that answers later is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How many scopes it writes for after each look at the gate of the store: there may be a thousand.
const WRITES: usize = 4;

/// Which scopes it leads: the token, and until when by its own clock.
pub(super) type Led = BTreeMap<String, (u64, u64)>;

/// The service of one daemon.
pub(super) struct Service {
    led: Arc<Mutex<Led>>,
    works: watch::Sender<bool>,
    rests: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// What is known of whoever it is the service of.
#[derive(Clone)]
pub(super) struct Duty {
    pub node: String,
    pub control: String,
    pub recorder: Arc<Recorder>,
    pub gates: Arc<Gates>,
    /// How often it asks its daemon.
    pub every: Duration,
}

impl Service {
    pub(super) fn start(duty: Duty) -> Result<Self> {
        let led = Arc::<Mutex<Led>>::default();
        let client =
            reqwest::Client::builder().tls_backend_preconfigured(nobody()).timeout(ANSWER_WITHIN).build()?;
        let ((works, order), (resting, rests)) = (watch::channel(true), watch::channel(false));
        let leader = Leader { duty, client, led: led.clone(), turn: 0 };
        let task = tokio::spawn(leader.run(order, resting));
        Ok(Self { led, works, rests, task })
    }

    /// What it leads by its own check.
    pub(super) fn led(&self, now_us: u64) -> BTreeMap<String, u64> {
        let led = lock(&self.led);
        let still = led.iter().filter(|(_, (_, until_us))| now_us < *until_us);
        still.map(|(scope, (token, _))| (scope.clone(), *token)).collect()
    }

    /// Stops it where it is, as a signal does that stops its whole process. It was not in the middle of a
    /// write: that is what the test itself does afterwards.
    pub(super) async fn pause(&self) -> Result<()> {
        self.works.send_replace(false);
        let mut rests = self.rests.clone();
        rests.wait_for(|rests| *rests).await.context("the service has ended")?;
        Ok(())
    }

    pub(super) fn resume(&self) {
        self.works.send_replace(true);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Leader {
    duty: Duty,
    client: reqwest::Client,
    led: Arc<Mutex<Led>>,
    turn: usize,
}

impl Leader {
    async fn run(mut self, mut works: watch::Receiver<bool>, resting: watch::Sender<bool>) {
        loop {
            if !*works.borrow_and_update() {
                resting.send_replace(true);
                if works.wait_for(|works| *works).await.is_err() {
                    return;
                }
                resting.send_replace(false);
            }
            // A daemon that does not answer, or nonsense, says nothing: what is believed runs out.
            if let Ok(said) = self.ask().await {
                self.believe(said);
            }
            self.write().await;
            let _ = tokio::time::timeout(self.duty.every, works.changed()).await;
        }
    }

    /// What the daemon says its node leads.
    async fn ask(&self) -> Result<Led> {
        let asked_us = self.duty.recorder.now_us();
        let url = format!("http://{}/control/leaders?leader={}", self.duty.control, self.duty.node);
        let response = self.client.get(url).send().await?.error_for_status()?;
        let answer: Value = serde_json::from_slice(&response.bytes().await?)?;
        own_tokens(&answer, &self.duty.node, asked_us)
    }

    fn believe(&self, said: Led) {
        let Duty { node, recorder, .. } = &self.duty;
        let mut led = lock(&self.led);
        for (scope, (token, _)) in led.iter().filter(|(scope, _)| !said.contains_key(*scope)) {
            recorder.push(Event::EndLead { node: node.clone(), scope: scope.clone(), token: *token });
        }
        for (scope, (token, until_us)) in &said {
            if recorder.now_us() >= *until_us {
                continue;
            }
            let (token, until_us) = (*token, *until_us);
            let is_new = led.get(scope).is_none_or(|(before, _)| *before != token);
            let (node, scope) = (node.clone(), scope.clone());
            recorder.push(if is_new {
                Event::BeginLead { node, scope, token, until_us }
            } else {
                Event::KeepLead { node, scope, token, until_us }
            });
        }
        *led = said;
    }

    /// Writes at both gates for what it leads, each time after a look at its clock.
    async fn write(&mut self) {
        let Duty { node, recorder, gates, .. } = self.duty.clone();
        let led: Vec<_> = lock(&self.led).clone().into_iter().collect();
        let leads = |until_us: u64| recorder.now_us() < until_us;
        for (scope, (token, _)) in led.iter().filter(|(_, (_, until_us))| leads(*until_us)) {
            gates.write_resource(&node, scope, *token);
        }
        for _ in 0..WRITES.min(led.len()) {
            self.turn = (self.turn + 1) % led.len();
            let (scope, (token, until_us)) = &led[self.turn];
            if leads(*until_us) {
                gates.write_store(&node, scope, *token).await;
            }
        }
    }
}

/// The tokens in an answer that are those of `node`, each with the instant until which it may be relied on
/// by whoever asked at `asked_us`.
pub(super) fn own_tokens(answer: &Value, node: &str, asked_us: u64) -> Result<Led> {
    let tokens = answer["tokens"].as_array().context("no tokens")?;
    let generated_us = time_us(&answer["generatedAt"])?;
    let own = tokens.iter().filter(|token| token["leaderId"] == node);
    own.map(|token| {
        let scope = token["scope"].as_str().context("no scope")?.to_owned();
        let number: u64 = token["fenceToken"].as_str().context("no token")?.parse()?;
        let left_us = time_us(&token["expiresAt"])? - generated_us - MARGIN_US;
        Ok((scope, (number, asked_us.saturating_add_signed(left_us))))
    })
    .collect()
}

fn time_us(time: &Value) -> Result<i64> {
    let text = time.as_str().context("no time")?;
    let time =
        chrono::DateTime::parse_from_rfc3339(text).map_err(|error| anyhow::anyhow!("{text}: {error}"))?;
    Ok(time.timestamp_micros())
}

fn lock(led: &Mutex<Led>) -> MutexGuard<'_, Led> {
    led.lock().unwrap_or_else(PoisonError::into_inner)
}
