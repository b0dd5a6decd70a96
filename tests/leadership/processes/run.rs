//! A recorded run: daemons, their services, and what is done to them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use super::gates::Gates;
use super::service::{Duty, Service};
use super::watcher::Watcher;
use super::zombie::Zombie;
use crate::checker::{AtLeast, Bounds, check, in_words};
use crate::history::{Event, Fault};
use crate::process::{Daemon, Place, until};
use crate::recorder::Recorder;
use crate::replay::kept;

/// How long a scope may be without a leader. The promise is the time to live of a session and a little;
/// the machine of a test is busy.
const LEADERLESS_MAX: Duration = Duration::from_secs(10);
/// How long whoever gave a scope away may take to hear of it: it asks a few times a second.
const HANDOVER_MAX: Duration = Duration::from_secs(2);
const ASK_EVERY: Duration = Duration::from_millis(120);

/// What is run.
pub(super) struct Setup {
    pub what: &'static str,
    /// The store, as the test reaches it.
    pub store: String,
    /// How each daemon reaches it.
    pub nodes: Vec<String>,
    /// Besides `global-control`.
    pub shards: usize,
    /// The clocks of the daemons, such as `+3600s`; empty: as they are.
    pub clocks: Vec<&'static str>,
    pub ask_every: Duration,
    /// How many replicas leaders need; `None`: as many as it is without being said.
    pub leaders_need: Option<u32>,
    /// The programs that daemons are, in turn; none: this release's.
    pub programs: Vec<PathBuf>,
}

impl Setup {
    /// Three daemons and 21 scopes on one server.
    pub(super) fn of(what: &'static str, store: &str) -> Self {
        let (store, nodes) = (store.to_owned(), vec![store.to_owned(); 3]);
        Self {
            what,
            store,
            nodes,
            shards: 20,
            clocks: Vec::new(),
            ask_every: ASK_EVERY,
            leaders_need: None,
            programs: Vec::new(),
        }
    }
}

/// A daemon, or the place of one.
pub(super) struct Member {
    pub id: String,
    pub place: Place,
    daemon: Option<Daemon>,
    service: Option<Service>,
}

pub(super) struct Run {
    setup: Setup,
    pub recorder: Arc<Recorder>,
    pub gates: Arc<Gates>,
    watcher: Watcher,
    pub members: Vec<Member>,
    pub scopes: Vec<String>,
    began_us: u64,
    _settings: tempfile::TempDir,
}

/// How often each fault is repeated.
pub(super) fn rounds() -> Result<usize> {
    match std::env::var("OMNIRELAY_LEADERSHIP_ROUNDS") {
        Ok(rounds) => rounds.parse().with_context(|| format!("OMNIRELAY_LEADERSHIP_ROUNDS: {rounds}")),
        Err(_) => Ok(2),
    }
}

/// Runs `body` on daemons that lead all scopes, and puts what was recorded through the checker. The
/// history of a run that fails is kept.
pub(super) async fn recorded(
    setup: Setup,
    at_least: AtLeast,
    body: impl AsyncFnOnce(&mut Run) -> Result<()>,
) -> Result<()> {
    let what = setup.what;
    let mut run = Run::start(setup).await?;
    let outcome = match run.until_led().await {
        Ok(()) => body(&mut run).await,
        Err(error) => Err(error),
    };
    let logs: Vec<_> = run.members.iter().map(|member| (member.id.clone(), member.place.log())).collect();
    let recorder = run.recorder.clone();
    let ended = match outcome {
        Ok(()) => run.end().await,
        Err(error) => Err(error),
    };
    let history = recorder.history();
    let bounds = Bounds { leaderless_max: LEADERLESS_MAX, handover_max: HANDOVER_MAX, at_least };
    let judged = match (ended, check(&history, &bounds)) {
        (Ok(()), Ok(summary)) => {
            println!("{what}: {summary}");
            return Ok(());
        }
        (Err(error), Ok(_)) => error,
        (Ok(()), Err(violations)) => anyhow!("{}", in_words(&violations)),
        (Err(error), Err(violations)) => error.context(in_words(&violations)),
    };
    for (id, log) in logs {
        println!("{id} said:\n{log}");
    }
    Err(judged.context(format!("{what}: {}", kept(what, &history))))
}

impl Run {
    async fn start(setup: Setup) -> Result<Self> {
        let recorder = Arc::new(Recorder::new());
        let leaderless_max_us = u64::try_from(LEADERLESS_MAX.as_micros())?;
        recorder.push(Event::Run { what: setup.what.to_owned(), leaderless_max_us });
        let gates = Arc::new(Gates::new(recorder.clone(), &setup.store)?);
        let watcher = Watcher::start(recorder.clone(), gates.clone(), &setup.store)?;
        let settings = tempfile::tempdir()?;
        let file = settings.path().join("omnirelayd.yaml");
        let shards: Vec<String> = (0..setup.shards).map(|shard| format!("{shard:03}")).collect();
        let mut configuration = serde_json::json!({"mesh": {"leadership": {
            "scopes": [{"scopeId": "global-control"}],
            "shards": [{"namespace": "orders", "shards": shards}],
        }}});
        // Only where it matters: earlier releases do not know it.
        if let Some(need) = setup.leaders_need {
            configuration["store"] = serde_json::json!({"redis": {"leadersNeedReplicas": need}});
        }
        // JSON is YAML.
        std::fs::write(&file, configuration.to_string())?;
        let shards = shards.iter().map(|shard| format!("shard/orders/{shard}"));
        let scopes = std::iter::once("global-control".to_owned()).chain(shards).collect();
        let file = file.to_str().context("no UTF-8")?;
        let members = setup.nodes.iter().enumerate().map(|(at, store)| {
            let id = format!("n{}", at + 1);
            let place = Place::new(&["--node-id", &id, "--store", store, "--config", file])?;
            let clock = setup.clocks.get(at).filter(|clock| !clock.is_empty());
            let mut place = if let Some(clock) = clock { place.with_clock(clock)? } else { place };
            if let Some(program) = setup.programs.iter().cycle().nth(at) {
                place.program.clone_from(program);
            }
            Ok(Member { id, place, daemon: None, service: None })
        });
        let members = members.collect::<Result<_>>()?;
        let began_us = recorder.now_us();
        let mut run =
            Self { setup, recorder, gates, watcher, members, scopes, began_us, _settings: settings };
        for at in 0..run.members.len() {
            run.launch(at)?;
        }
        run.began_us = run.recorder.now_us();
        Ok(run)
    }

    /// Starts a daemon and its service.
    pub(super) fn launch(&mut self, at: usize) -> Result<()> {
        let member = &mut self.members[at];
        let daemon = member.place.start()?;
        member.service = Some(Service::start(Duty {
            node: member.id.clone(),
            control: daemon.control.clone(),
            recorder: self.recorder.clone(),
            gates: self.gates.clone(),
            every: self.setup.ask_every,
        })?);
        member.daemon = Some(daemon);
        Ok(())
    }

    pub(super) fn daemon(&self, at: usize) -> Result<&Daemon> {
        self.members[at].daemon.as_ref().context("it does not run")
    }

    pub(super) fn is_up(&self, at: usize) -> bool {
        self.members[at].daemon.is_some()
    }

    /// What the service of a member takes itself for the leader of.
    pub(super) fn led_by(&self, at: usize) -> BTreeMap<String, u64> {
        let service = self.members[at].service.as_ref();
        service.map(|service| service.led(self.recorder.now_us())).unwrap_or_default()
    }

    /// Who leads most scopes.
    pub(super) fn leader(&self) -> usize {
        (0..self.members.len()).max_by_key(|at| self.led_by(*at).len()).unwrap_or(0)
    }

    /// Waits until each scope has somebody who takes himself for its leader.
    pub(super) async fn until_led(&self) -> Result<()> {
        until("all scopes are led", async || {
            let led: Vec<_> = (0..self.members.len()).map(|at| self.led_by(at)).collect();
            let missing = self.scopes.iter().find(|scope| !led.iter().any(|led| led.contains_key(*scope)));
            match missing {
                Some(scope) => bail!("nobody leads {scope}"),
                None => Ok(true),
            }
        })
        .await
    }

    /// Has one member lead everything: all others are drained until it does.
    pub(super) async fn give_all_to(&self, at: usize) -> Result<()> {
        let others: Vec<_> = (0..self.members.len()).filter(|other| *other != at).collect();
        for other in &others {
            self.order(at, *other, "drain").await?;
        }
        until("one leads all", async || Ok(self.led_by(at).len() == self.scopes.len())).await?;
        for other in &others {
            self.order(at, *other, "undrain").await?;
        }
        Ok(())
    }

    /// Orders something of a node, such as `cordon`, by the API of a member.
    pub(super) async fn order(&self, by: usize, of: usize, verb: &str) -> Result<()> {
        let path = format!("/control/peers/{}:{verb}", self.members[of].id);
        let (status, answer) = self.daemon(by)?.post(&path, &serde_json::json!({"reason": "run"})).await?;
        ensure!(status == 200, "{path}: {status} {answer}");
        Ok(())
    }

    /// Waits until each of these has a greater token at the gate outside.
    pub(super) async fn until_succeeded(&self, tokens: &BTreeMap<String, u64>) -> Result<()> {
        until("all have successors", async || {
            Ok(tokens.iter().all(|(scope, token)| self.gates.mark(scope) > *token))
        })
        .await
    }

    pub(super) fn fault(&self, what: Fault, node: Option<usize>) -> u64 {
        let node = node.map(|at| self.members[at].id.clone());
        self.recorder.push(Event::Fault { what, node })
    }

    /// Nobody could be granted anything from `from_us` to now.
    pub(super) fn no_grants_since(&self, why: &str, from_us: u64) {
        let until_us = self.recorder.now_us();
        self.recorder.push(Event::NoGrants { why: why.to_owned(), from_us, until_us });
    }

    /// Goes on writing in the name of a member.
    pub(super) fn zombie(&self, at: usize, tokens: BTreeMap<String, u64>) -> Zombie {
        Zombie::rise(self.gates.clone(), &self.members[at].id, tokens)
    }

    /// `kill -9`; returns what it led.
    pub(super) async fn kill(&mut self, at: usize) -> Result<BTreeMap<String, u64>> {
        let member = &mut self.members[at];
        let service = member.service.take().context("it does not run")?;
        service.pause().await?;
        member.daemon.take().context("it does not run")?.kill()?;
        let now_us = self.fault(Fault::Kill, Some(at));
        Ok(service.led(now_us))
    }

    /// Stops it as an operator does: its service first, then `SIGTERM`.
    pub(super) async fn terminate(&mut self, at: usize) -> Result<()> {
        let member = &mut self.members[at];
        member.service.take().context("it does not run")?.pause().await?;
        self.fault(Fault::Kill, Some(at));
        let daemon = self.members[at].daemon.take().context("it does not run")?;
        daemon.signal("TERM")?;
        tokio::task::block_in_place(|| daemon.wait())?;
        Ok(())
    }

    /// Stops the process where it is, and its service with it; returns what it leads.
    pub(super) async fn pause(&self, at: usize) -> Result<BTreeMap<String, u64>> {
        let service = self.members[at].service.as_ref().context("it does not run")?;
        service.pause().await?;
        let led = service.led(self.recorder.now_us());
        self.daemon(at)?.signal("STOP")?;
        self.fault(Fault::Pause, Some(at));
        Ok(led)
    }

    /// Lets the process go on; its service still rests, see [`Run::wake_service`].
    pub(super) fn wake(&self, at: usize) -> Result<()> {
        self.fault(Fault::Resume, Some(at));
        self.daemon(at)?.signal("CONT")
    }

    /// Has the service of a member do nothing; see [`Run::wake_service`].
    pub(super) async fn rest_service(&self, at: usize) -> Result<()> {
        self.members[at].service.as_ref().context("it does not run")?.pause().await
    }

    pub(super) fn wake_service(&self, at: usize) -> Result<()> {
        self.members[at].service.as_ref().context("it does not run")?.resume();
        Ok(())
    }

    /// What a daemon answers of all scopes.
    pub(super) async fn asked(&self, at: usize) -> Result<Value> {
        self.daemon(at)?.get("/control/leaders").await
    }

    async fn end(mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(service) = member.service.take() {
                service.pause().await?;
            }
        }
        let Self { watcher, recorder, scopes, began_us, .. } = self;
        tokio::task::block_in_place(|| watcher.finish())?;
        let (from_us, until_us) = (began_us, recorder.now_us());
        for scope in scopes {
            recorder.push(Event::CandidateLives { scope, from_us, until_us });
        }
        Ok(())
    }
}
