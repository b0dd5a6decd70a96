use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio::time::{advance, sleep};

use super::*;
use crate::daemon::config::Span;

const INTERVAL: Duration = Duration::from_secs(10);
const ANSWER_TIME: Duration = Duration::from_millis(5);

/// A registry that does what it is told to, and remembers what it heard.
#[derive(Default)]
struct Fake {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    calls: Vec<(Instant, String)>,
    relay: bool,
    agents: BTreeMap<String, String>,
    /// What every call is answered with.
    fails: Option<Code>,
    /// What calls about agents are answered with.
    fails_agents: Option<Code>,
    hangs: bool,
    under_way: usize,
    under_way_most: usize,
}

impl Fake {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    async fn hear(&self, call: String, agents: bool) -> Result<(), Status> {
        let (fails, hangs) = {
            let mut inner = self.inner();
            inner.calls.push((Instant::now(), call));
            inner.under_way += 1;
            inner.under_way_most = inner.under_way_most.max(inner.under_way);
            (inner.fails.or(inner.fails_agents.filter(|_| agents)), inner.hangs)
        };
        let _ended = Ended(self);
        if hangs {
            std::future::pending::<()>().await;
        }
        sleep(ANSWER_TIME).await;
        fails.map_or(Ok(()), |code| Err(Status::new(code, "as told")))
    }

    /// What was called since the last time, in order.
    fn called(&self) -> Vec<String> {
        self.timed().into_iter().map(|(_, call)| call).collect()
    }

    fn timed(&self) -> Vec<(Instant, String)> {
        std::mem::take(&mut self.inner().calls)
    }
}

struct Ended<'a>(&'a Fake);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.inner().under_way -= 1;
    }
}

#[async_trait]
impl RelayRegistry for Fake {
    async fn register_relay(&self, relay: &Relay) -> Result<(), Status> {
        self.hear(format!("register {}", relay.relay_id), false).await?;
        self.inner().relay = true;
        Ok(())
    }

    async fn heartbeat_relay(&self, relay_id: &str) -> Result<(), Status> {
        self.hear(format!("heartbeat {relay_id}"), false).await?;
        if self.inner().relay { Ok(()) } else { Err(Status::not_found("relay")) }
    }

    async fn register_agent(&self, agent_id: &str, relay_id: &str) -> Result<(), Status> {
        self.hear(format!("agent {agent_id}"), true).await?;
        let mut inner = self.inner();
        if !inner.relay {
            return Err(Status::not_found("relay"));
        }
        inner.agents.insert(agent_id.to_owned(), relay_id.to_owned());
        Ok(())
    }

    async fn heartbeat_agent(&self, agent_id: &str, relay_id: &str) -> Result<(), Status> {
        self.hear(format!("lives {agent_id}"), true).await?;
        match self.inner().agents.get(agent_id) {
            Some(holder) if holder == relay_id => Ok(()),
            Some(_) => Err(Status::failed_precondition("elsewhere")),
            None => Err(Status::not_found("agent")),
        }
    }
}

struct World {
    fake: Arc<Fake>,
    reports: Arc<Reports>,
    running: JoinSet<()>,
}

fn world() -> World {
    let fake = Arc::<Fake>::default();
    let relay = Relay { relay_id: "r".to_owned(), address: "a".to_owned(), grpc_port: 1, ..Relay::default() };
    let config = RelayRegistryConfig {
        ca: None,
        address: None,
        heartbeat_interval: Span(INTERVAL),
        request_timeout: Span(Duration::from_secs(1)),
    };
    let reports = Arc::new(Reports::new(relay, &config, fake.clone(), 20_000));
    World { fake, reports, running: JoinSet::new() }
}

impl World {
    fn run(&mut self) {
        let reports = self.reports.clone();
        self.running.spawn(async move { reports.run().await });
    }
}

/// Running, with the relay registered and these agents held.
async fn running(agents: &[&str]) -> World {
    let mut world = world();
    world.run();
    for agent in agents {
        world.reports.hold(agent);
    }
    sleep(Duration::from_millis(50)).await;
    assert_eq!(world.reports.health().agents_known, agents.len());
    world.fake.called();
    world
}

#[tokio::test(start_paused = true)]
async fn the_relay_is_told_of_before_its_agents_and_both_live_on() {
    let mut world = world();
    world.reports.hold("x");
    world.run();
    sleep(Duration::from_millis(50)).await;
    assert_eq!(world.fake.called(), ["register r", "agent x"]);
    let health = world.reports.health();
    assert_eq!(
        (health.is_registered, health.agents, health.agents_known, health.failing_for),
        (true, 1, 1, None)
    );
    sleep(INTERVAL * 20).await;
    let calls = world.fake.called();
    let count = |what: &str| calls.iter().filter(|call| *call == what).count();
    assert_eq!(count("lives x"), 20);
    assert!((20..=23).contains(&count("heartbeat r")), "{}", count("heartbeat r"));
    assert_eq!(calls.len(), count("lives x") + count("heartbeat r"), "nothing else: {calls:?}");
}

#[tokio::test(start_paused = true)]
async fn of_an_agent_that_was_let_go_nothing_is_said() {
    let world = running(&["x", "y"]).await;
    world.reports.let_go("x");
    sleep(INTERVAL * 2).await;
    let calls = world.fake.called();
    assert!(calls.iter().all(|call| !call.ends_with(" x")), "{calls:?}");
    assert!(calls.iter().any(|call| call == "lives y"));
    world.reports.let_go("never held");
    assert_eq!(world.reports.health().agents, 1);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_agents_come_in_no_burst() {
    let mut world = world();
    let agents: Vec<String> = (0..10_000).map(|n| format!("agent-{n}")).collect();
    for agent in &agents {
        world.reports.hold(agent);
    }
    world.run();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.reports.health().agents_known, agents.len());
    let most = world.fake.inner().under_way_most;
    assert!(most <= 64 + 1, "{most} together");
    world.fake.called();
    sleep(INTERVAL).await;
    let begun = Instant::now();
    world.fake.timed();
    sleep(INTERVAL).await;
    let mut seconds = BTreeMap::new();
    let mut heard = BTreeSet::new();
    for (at, call) in world.fake.timed() {
        if call.starts_with("lives") {
            *seconds.entry((at - begun).as_secs()).or_insert(0) += 1;
            assert!(heard.insert(call));
        }
    }
    assert_eq!(heard.len(), agents.len(), "each once in an interval");
    assert!(seconds.values().all(|count| (800..1200).contains(count)), "{seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_has_forgotten_everything_is_told_again() {
    let world = running(&["x", "y", "z"]).await;
    for by_agent in [false, true] {
        {
            let mut inner = world.fake.inner();
            inner.agents.clear();
            inner.relay = false;
        }
        if by_agent {
            world.reports.hold("x");
        }
        sleep(INTERVAL + Duration::from_secs(1)).await;
        let inner = world.fake.inner();
        assert!(inner.relay, "by an agent: {by_agent}");
        assert_eq!(inner.agents.len(), 3, "by an agent: {by_agent}");
        let calls: Vec<&str> = inner.calls.iter().map(|(_, call)| call.as_str()).collect();
        let registered = calls.iter().filter(|call| **call == "register r").count();
        assert_eq!(registered, 1 + usize::from(by_agent), "{calls:?}");
        let again = inner.calls.iter().rev().find(|(_, call)| call == "register r").unwrap().0;
        let soon = inner.calls.iter().filter(|(at, call)| {
            *at >= again && *at < again + Duration::from_millis(50) && call.starts_with("agent ")
        });
        assert_eq!(soon.count(), 3, "at once, by an agent: {by_agent}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_was_forgotten_is_registered_again_while_it_is_held() {
    let world = running(&["x", "y"]).await;
    world.fake.inner().agents.clear();
    world.reports.let_go("y");
    sleep(INTERVAL + Duration::from_secs(1)).await;
    let calls = world.fake.called();
    assert_eq!(world.fake.inner().agents.len(), 1, "{calls:?}");
    assert!(!calls.iter().any(|call| call == "register r"), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn of_an_agent_that_moved_nothing_is_said_until_it_is_held_again() {
    let world = running(&["x"]).await;
    world.fake.inner().agents.insert("x".to_owned(), "another".to_owned());
    sleep(INTERVAL * 3).await;
    let calls = world.fake.called();
    assert_eq!(calls.iter().filter(|call| call.ends_with(" x")).count(), 1, "{calls:?}");
    assert_eq!(world.fake.inner().agents["x"], "another");
    world.reports.hold("x");
    sleep(Duration::from_millis(50)).await;
    assert_eq!(world.fake.called(), ["agent x"]);
    assert_eq!(world.fake.inner().agents["x"], "r");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_away_at_the_start_is_told_when_it_comes() {
    let mut world = world();
    world.fake.inner().fails = Some(Code::Unavailable);
    world.reports.hold("x");
    world.run();
    sleep(Duration::from_secs(3600)).await;
    let calls = world.fake.called();
    assert!(calls.iter().all(|call| call == "register r"), "nobody speaks of agents");
    assert!((360..600).contains(&calls.len()), "{} attempts in an hour", calls.len());
    let health = world.reports.health();
    assert!(health.failing_for.is_some_and(|lasts| lasts > Duration::from_secs(3590)), "{health:?}");
    assert!(!health.is_registered);
    world.fake.inner().fails = None;
    sleep(PAUSE_MAX + Duration::from_secs(1)).await;
    assert_eq!(world.fake.called(), ["register r", "agent x"]);
    assert_eq!(world.reports.health().failing_for, None);
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_was_away_meanwhile_is_not_run_over() {
    let agents: Vec<String> = (0..1000).map(|n| format!("agent-{n}")).collect();
    let names: Vec<&str> = agents.iter().map(String::as_str).collect();
    let mut world = world();
    world.run();
    names.iter().for_each(|agent| world.reports.hold(agent));
    sleep(INTERVAL * 2).await;
    world.fake.called();
    world.fake.inner().hangs = true;
    sleep(INTERVAL * 30).await;
    let calls = world.fake.called();
    assert!(calls.len() < 64 + 30 * 3 * 2, "{} calls in an outage", calls.len());
    assert!(world.reports.health().failing_for.is_some());
    world.fake.inner().hangs = false;
    sleep(INTERVAL * 2 + Duration::from_secs(1)).await;
    let timed = world.fake.timed();
    let heard: BTreeSet<&str> =
        timed.iter().map(|(_, call)| call.as_str()).filter(|call| call.starts_with("lives")).collect();
    assert_eq!(heard.len(), agents.len());
    let mut tenths = BTreeMap::new();
    for (at, _) in &timed {
        *tenths.entry((*at - timed[0].0).as_millis() / 100).or_insert(0) += 1;
    }
    assert!(tenths.values().all(|count| *count < 80), "{tenths:?}");
    assert_eq!(world.reports.health().failing_for, None);
}

#[tokio::test(start_paused = true)]
async fn where_only_agents_fail_one_goes_ahead() {
    let mut world = world();
    world.fake.inner().fails_agents = Some(Code::Unavailable);
    world.run();
    (0..1000).for_each(|n| world.reports.hold(&format!("agent-{n}")));
    sleep(Duration::from_secs(600)).await;
    let calls = world.fake.called();
    let agents = calls.iter().filter(|call| call.starts_with("agent")).count();
    assert!((60..200).contains(&agents), "{agents} in ten minutes");
    assert!(world.reports.health().failing_for.is_some());
    world.fake.inner().fails_agents = None;
    sleep(INTERVAL * 2).await;
    assert_eq!(world.reports.health().agents_known, 1000);
    assert_eq!(world.reports.health().failing_for, None);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_refused_disturbs_no_other() {
    let world = running(&["x"]).await;
    world.fake.inner().fails_agents = Some(Code::InvalidArgument);
    world.reports.hold("bad");
    sleep(INTERVAL * 10).await;
    world.fake.inner().fails_agents = None;
    let calls = world.fake.called();
    let count = |what: &str| calls.iter().filter(|call| *call == what).count();
    assert!((10..=15).contains(&count("agent bad")), "{calls:?}");
    assert_eq!(count("lives x"), 10);
    assert_eq!(world.reports.health().failing_for, None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_out_of_date_counts_for_nothing() {
    let world = running(&["x"]).await;
    for _ in 0..2 {
        world.reports.hold("x");
        sleep(ANSWER_TIME * 3 / 5).await;
    }
    // The first word is answered, the second is not.
    assert_eq!(world.reports.health().agents_known, 0);
    sleep(ANSWER_TIME).await;
    assert_eq!(world.reports.health().agents_known, 1);
    world.fake.called();
    world.reports.let_go("x");
    world.reports.hold("x");
    // The word is on its way.
    advance(Duration::from_millis(1)).await;
    sleep(Duration::from_millis(1)).await;
    assert_eq!(world.fake.called(), ["agent x"]);
    world.reports.let_go("x");
    sleep(INTERVAL * 2).await;
    assert_eq!(world.reports.health().agents_known, 0);
    let calls = world.fake.called();
    assert!(calls.iter().all(|call| call == "heartbeat r"), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn there_is_a_limit_and_the_default_tells_nobody() {
    let relay = Relay::default();
    let reports = Reports::new(relay, &RelayRegistryConfig::default(), Arc::<Fake>::default(), 2);
    ["a", "b", "c", "a"].into_iter().for_each(|agent| reports.hold(agent));
    assert_eq!(reports.health().agents, 2);
    let nobody = Reports::default();
    nobody.hold("a");
    nobody.run().await;
    assert_eq!(nobody.health(), ReportsHealth::default());
}
