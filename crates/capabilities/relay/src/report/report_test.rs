use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use parking_lot::MutexGuard;
use tokio::task::JoinSet;
use tokio::time::{advance, sleep};

use super::*;

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
    /// What registrations of agents are answered with.
    fails_registrations: Option<Code>,
    hangs: bool,
    hangs_registrations: bool,
    /// How long what it has heard of lives; `None`: for ever.
    ttl: Option<Duration>,
    heard: BTreeMap<String, Instant>,
    under_way: usize,
    under_way_most: usize,
}

impl Fake {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    async fn hear(&self, call: String) -> Result<(), Status> {
        let (fails, hangs) = {
            let mut inner = self.inner();
            let registers = call.starts_with("agent ");
            let agents = registers || call.starts_with("lives ");
            inner.calls.push((Instant::now(), call));
            inner.under_way += 1;
            inner.under_way_most = inner.under_way_most.max(inner.under_way);
            let fails = inner.fails.or(inner.fails_agents.filter(|_| agents));
            let fails = fails.or(inner.fails_registrations.filter(|_| registers));
            (fails, inner.hangs || inner.hangs_registrations && registers)
        };
        let _ended = Ended(self);
        if hangs {
            std::future::pending::<()>().await;
        }
        sleep(ANSWER_TIME).await;
        self.inner().expire();
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

impl Inner {
    fn expire(&mut self) {
        let Some(ttl) = self.ttl else { return };
        let lives = |name: &str| self.heard.get(name).is_none_or(|at| at.elapsed() < ttl);
        self.relay = self.relay && lives("");
        self.agents.retain(|agent, _| lives(agent));
    }

    fn heard_of(&mut self, name: &str) {
        self.heard.insert(name.to_owned(), Instant::now());
    }
}

struct Ended<'a>(&'a Fake);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.inner().under_way -= 1;
    }
}

#[async_trait]
impl RegistryClient for Fake {
    async fn register_relay(&self, relay: &Relay) -> Result<(), Status> {
        self.hear(format!("register {}", relay.relay_id)).await?;
        let mut inner = self.inner();
        inner.relay = true;
        inner.heard_of("");
        Ok(())
    }

    async fn heartbeat_relay(&self, relay_id: &str) -> Result<(), Status> {
        self.hear(format!("heartbeat {relay_id}")).await?;
        let mut inner = self.inner();
        if !inner.relay {
            return Err(Status::not_found("relay"));
        }
        inner.heard_of("");
        Ok(())
    }

    async fn register_agent(&self, agent_id: &str, relay_id: &str) -> Result<(), Status> {
        self.hear(format!("agent {agent_id}")).await?;
        let mut inner = self.inner();
        if !inner.relay {
            return Err(Status::not_found("relay"));
        }
        inner.agents.insert(agent_id.to_owned(), relay_id.to_owned());
        inner.heard_of(agent_id);
        Ok(())
    }

    async fn heartbeat_agent(&self, agent_id: &str, relay_id: &str) -> Result<(), Status> {
        self.hear(format!("lives {agent_id}")).await?;
        let mut inner = self.inner();
        match inner.agents.get(agent_id) {
            Some(holder) if holder == relay_id => {
                inner.heard_of(agent_id);
                Ok(())
            }
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

fn settings(agents_max: usize) -> ReportSettings {
    ReportSettings {
        relay: Relay::default(),
        heartbeat_interval: INTERVAL,
        request_timeout: Duration::from_secs(1),
        agents_max,
    }
}

fn told(fake: &Arc<Fake>) -> ToldRegistry {
    ToldRegistry { address: None, client: fake.clone() }
}

fn world() -> World {
    told_by("r", Arc::default())
}

fn told_by(relay_id: &str, fake: Arc<Fake>) -> World {
    omnirelay_host::chance::seed_thread();
    let relay =
        Relay { relay_id: relay_id.to_owned(), address: "a".to_owned(), grpc_port: 1, ..Relay::default() };
    let settings = ReportSettings { relay, ..settings(20_000) };
    let reports = Arc::new(Reports::new(settings, told(&fake)));
    World { fake, reports, running: JoinSet::new() }
}

impl World {
    /// Waits for what must come true within an interval.
    async fn until(&self, what: &str, is_true: impl Fn(ReportsHealth) -> bool) {
        let begun = Instant::now();
        while !is_true(self.reports.health()) {
            assert!(begun.elapsed() < INTERVAL, "waited in vain: {what}");
            sleep(Duration::from_millis(1)).await;
        }
    }

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
    sleep(Duration::from_secs(3)).await;
    assert_eq!(world.reports.health().agents_known, agents.len());
    let most = world.fake.inner().under_way_most;
    assert!(most <= 64 + 1, "{most} together");
    world.fake.called();
    sleep(INTERVAL).await;
    let begun = Instant::now();
    world.fake.timed();
    sleep(INTERVAL).await;
    let mut seconds = BTreeMap::new();
    let (mut heard, mut messages) = (BTreeSet::new(), BTreeSet::new());
    for (at, call) in world.fake.timed() {
        if call.starts_with("lives") {
            *seconds.entry((at - begun).as_secs()).or_insert(0) += 1;
            messages.insert(at);
            assert!(heard.insert(call));
        }
    }
    assert_eq!(heard.len(), agents.len(), "each once in an interval");
    assert!(seconds.values().all(|count| (800..1200).contains(count)), "{seconds:?}");
    // Some 250 agents share a place of the interval, and are eight messages or a few more.
    assert!(messages.len() <= 400, "{} messages", messages.len());
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
async fn an_agent_that_another_relay_holds_is_taken_back_when_that_one_is_gone() {
    let world = running(&["x"]).await;
    world.fake.inner().agents.insert("x".to_owned(), "another".to_owned());
    sleep(INTERVAL * 5).await;
    let calls = world.fake.called();
    let count = |what: &str| calls.iter().filter(|call| *call == what).count();
    assert_eq!((count("lives x"), count("agent x")), (5, 0), "{calls:?}");
    assert_eq!(world.fake.inner().agents["x"], "another");
    let health = world.reports.health();
    assert_eq!((health.agents, health.agents_known, health.failing_for), (1, 0, None));
    world.fake.inner().agents.clear();
    sleep(INTERVAL + Duration::from_secs(1)).await;
    assert_eq!(world.fake.inner().agents["x"], "r");
    assert_eq!(world.reports.health().agents_known, 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_comes_back_is_registered_at_once() {
    let world = running(&["x"]).await;
    world.fake.inner().agents.insert("x".to_owned(), "another".to_owned());
    sleep(INTERVAL * 3).await;
    world.fake.called();
    world.reports.hold("x");
    sleep(Duration::from_millis(50)).await;
    assert_eq!(world.fake.called(), ["agent x"]);
    assert_eq!(world.fake.inner().agents["x"], "r");
}

#[tokio::test(start_paused = true)]
async fn of_two_relays_with_a_stream_the_newest_holds_the_agent_without_a_fight() {
    let first = running(&["x"]).await;
    let mut second = told_by("s", first.fake.clone());
    first.fake.inner().ttl = Some(INTERVAL * 3);
    second.run();
    second.reports.hold("x");
    sleep(INTERVAL * 20).await;
    let calls = first.fake.called();
    assert_eq!(calls.iter().filter(|call| *call == "agent x").count(), 1, "{calls:?}");
    assert_eq!(first.fake.inner().agents["x"], "s");
    second.reports.let_go("x");
    sleep(INTERVAL * 5).await;
    assert_eq!(first.fake.inner().agents["x"], "r", "its stream is the only one");
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_came_late_is_put_right_when_its_relay_lets_go() {
    let world = running(&["x"]).await;
    world.fake.inner().ttl = Some(INTERVAL * 3);
    // Of a relay that has let go of it before it came, and says nothing of it.
    world.fake.register_agent("x", "former").await.unwrap();
    sleep(INTERVAL * 2).await;
    assert_eq!(world.fake.inner().agents["x"], "former");
    sleep(INTERVAL * 2 + Duration::from_secs(1)).await;
    assert_eq!(world.fake.inner().agents["x"], "r");
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_was_forgotten_takes_nothing_from_one_that_lives() {
    let world = running(&["x", "y", "z"]).await;
    {
        let mut inner = world.fake.inner();
        inner.relay = false;
        inner.agents.remove("y");
        inner.agents.insert("x".to_owned(), "another".to_owned());
    }
    sleep(INTERVAL + Duration::from_secs(1)).await;
    let inner = world.fake.inner();
    let held: Vec<&str> = ["x", "y", "z"].into_iter().map(|agent| inner.agents[agent].as_str()).collect();
    assert_eq!((inner.relay, held), (true, vec!["another", "r", "r"]));
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
    assert!((1400..2000).contains(&calls.len()), "{} attempts in an hour", calls.len());
    let health = world.reports.health();
    assert!(health.failing_for.is_some_and(|lasts| lasts > Duration::from_secs(3590)), "{health:?}");
    assert!(!health.is_registered);
    world.fake.inner().fails = None;
    world.until("all is told", |health| health.agents_known == 1).await;
    // An attempt that was under way when it came back has failed.
    let calls = world.fake.called();
    let told = calls.iter().position(|call| call == "agent x").unwrap();
    assert!((1..=2).contains(&told) && calls[..told].iter().all(|call| call == "register r"), "{calls:?}");
    assert_eq!(world.reports.health().failing_for, None);
}

/// A thousand agents that a registry knows, which forgets them after three intervals.
async fn thousand() -> World {
    let agents: Vec<String> = (0..1000).map(|n| format!("agent-{n}")).collect();
    let mut world = world();
    world.fake.inner().ttl = Some(INTERVAL * 3);
    world.run();
    agents.iter().for_each(|agent| world.reports.hold(agent));
    sleep(INTERVAL * 2).await;
    assert_eq!(world.reports.health().agents_known, agents.len());
    world.fake.called();
    world.fake.inner().under_way_most = 0;
    world
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_was_away_meanwhile_is_not_run_over() {
    let world = thousand().await;
    world.fake.inner().hangs = true;
    sleep(INTERVAL * 30).await;
    let calls = world.fake.called();
    assert!(calls.len() < 64 + 30 * 4 * 2, "{} calls in an outage", calls.len());
    assert!(world.reports.health().failing_for.is_some());
    world.fake.inner().hangs = false;
    sleep(INTERVAL / 2).await;
    let health = world.reports.health();
    assert_eq!((health.agents_known, health.failing_for), (1000, None), "all are told of soon");
    assert_eq!(world.fake.inner().agents.len(), 1000);
    let most = world.fake.inner().under_way_most;
    assert!((32..=64 + 1).contains(&most), "{most} together");
}

#[tokio::test(start_paused = true)]
async fn a_cut_that_is_shorter_than_the_time_to_live_costs_no_agent() {
    for (hangs, cut) in [(false, 17), (true, 16)] {
        let world = thousand().await;
        {
            let mut inner = world.fake.inner();
            (inner.hangs, inner.fails) = (hangs, (!hangs).then_some(Code::Unavailable));
        }
        sleep(Duration::from_secs(cut)).await;
        {
            let mut inner = world.fake.inner();
            (inner.hangs, inner.fails) = (false, None);
        }
        world.fake.called();
        sleep(INTERVAL * 3).await;
        let calls = world.fake.called();
        let anew: Vec<&String> =
            calls.iter().filter(|call| call.starts_with("agent ") || call.starts_with("register ")).collect();
        assert!(anew.is_empty(), "{} were forgotten, hangs: {hangs}", anew.len());
        assert_eq!(world.reports.health().agents_known, 1000);
        let most = world.fake.inner().under_way_most;
        assert!(most <= 64 + 1, "{most} together");
    }
}

#[tokio::test(start_paused = true)]
async fn registrations_that_fail_delay_no_heartbeats() {
    for hangs in [false, true] {
        let world = running(&["x", "y", "z"]).await;
        {
            let mut inner = world.fake.inner();
            inner.hangs_registrations = hangs;
            inner.fails_registrations = Some(Code::Unavailable);
        }
        (0..100).for_each(|n| world.reports.hold(&format!("new-{n}")));
        sleep(INTERVAL * 30).await;
        let timed = world.fake.timed();
        for agent in ["x", "y", "z"] {
            let call = format!("lives {agent}");
            let at: Vec<Instant> =
                timed.iter().filter(|(_, what)| *what == call).map(|(at, _)| *at).collect();
            assert!((29..=30).contains(&at.len()), "{} of {agent}, hangs: {hangs}", at.len());
            let late = Duration::from_millis(10);
            assert!(at.windows(2).all(|two| two[1] - two[0] <= INTERVAL + late), "{at:?}");
        }
        let tries = timed.iter().filter(|(_, what)| what.starts_with("agent ")).count();
        assert!((30..32 + 60).contains(&tries), "{tries} in five minutes");
        assert!(world.reports.health().failing_for.is_some());
        {
            let mut inner = world.fake.inner();
            (inner.hangs_registrations, inner.fails_registrations) = (false, None);
        }
        sleep(INTERVAL + Duration::from_secs(2)).await;
        let health = world.reports.health();
        assert_eq!((health.agents_known, health.failing_for), (103, None));
    }
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
    let reports = Reports::new(settings(2), told(&Arc::default()));
    ["a", "b", "c", "a"].into_iter().for_each(|agent| reports.hold(agent));
    assert_eq!(reports.health().agents, 2);
    let nobody = Reports::default();
    nobody.hold("a");
    nobody.run().await;
    assert_eq!(nobody.health(), ReportsHealth::default());
}
