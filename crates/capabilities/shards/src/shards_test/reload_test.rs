//! Settings that change while shards are served.

use std::path::Path;

use omnirelay_settings::Config;
use ring::hmac;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::planning::propose;
use super::*;
use crate::mount::{limits, posts, self_approval, thresholds};
use crate::webhook::{WebhookDeliveries, WebhookFact};

/// A node that leads, whose services go by its settings.
async fn node(lab: Lab) -> Daemon {
    let mut daemon = Daemon::of(lab).await;
    let (registry, settings) = (daemon.node.registry.clone(), &daemon.settings);
    let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()).unwrap());
    let approves = settings.live(self_approval);
    daemon.plans = RebalancePlans::new(registry.clone(), None, approves.clone(), 100);
    daemon.namespaces = Namespaces {
        registry: registry.clone(),
        gossip: None,
        limits: settings.live(limits),
        self_approval: approves,
    };
    let ttl = settings.live(Config::session_ttl);
    let releases = Arc::new(ShardReleases::new(registry.clone(), ttl, metrics));
    let workers = releases.holdings.workers.clone();
    let loads = Arc::new(WorkerLoads::new(registry.clone(), settings.live(thresholds), workers));
    daemon.shards = Shards::new(registry, None, releases, loads, 100);
    until("it leads", || leader(std::slice::from_ref(&daemon)).is_some()).await;
    daemon
}

async fn approve(daemon: &Daemon, plan: &pb::RebalancePlan, by: &str) -> Result<(), String> {
    let asked = pb::ApprovePlanRequest { plan_id: plan.plan_id.clone(), ..Default::default() };
    let approved = daemon.plans.approve(called(asked, by)).await;
    approved.map(drop).map_err(|status| Fault::from(&status).reason.into_owned())
}

#[tokio::test(start_paused = true)]
async fn who_proposes_may_approve_as_is_set_by_then() {
    let store = memory();
    let daemon = node(Lab::on(store.clone(), "a")).await;
    let _other = Daemon::on(store, "b").await;
    daemon.create("orders", 12, quick()).await;
    until("both own some", || daemon.owned("orders", "b") > 0).await;
    daemon.at_rest("orders").await;
    let remove = |asked: &mut pb::ProposePlanRequest| asked.remove = vec!["b".to_owned()];
    let plan = propose(&daemon, "alice", remove).await.unwrap();
    assert_eq!(approve(&daemon, &plan, "alice").await, Err("SELF_APPROVAL".to_owned()));
    daemon.settings.set("mesh.shards.selfApproval", true);
    assert_eq!(approve(&daemon, &plan, "alice").await, Ok(()));
    // So is the rule of it, which asks for no other then.
    let policy = pb::RebalancePolicy { self_approval: Some(true), ..quick() };
    let spec = Some(pb::NamespaceSpec { policy: Some(policy), ..Default::default() });
    let asked = pb::SetNamespaceRequest { namespace: "orders".to_owned(), spec, ..Default::default() };
    let set = daemon.namespaces.set(called(asked, "alice")).await.unwrap().into_inner();
    assert_eq!(set.detail.unwrap().pending, None);
}

#[tokio::test(start_paused = true)]
async fn as_many_shards_are_made_as_may_be_by_then() {
    let daemon = node(Lab::on(memory(), "a")).await;
    let create = async |namespace: &str, shards| {
        let spec = Some(pb::NamespaceSpec { policy: Some(quick()), ..Default::default() });
        let namespace = namespace.to_owned();
        let asked = pb::CreateNamespaceRequest { namespace, spec, shards, ..Default::default() };
        let made = daemon.namespaces.create(called(asked, "alice")).await;
        made.map(drop).map_err(|status| Fault::from(&status).reason.into_owned())
    };
    daemon.settings.set("mesh.shards.perNamespaceMax", 5);
    assert_eq!(create("first", 6).await, Err("INVALID_ARGUMENT".to_owned()));
    daemon.settings.set("mesh.shards.perNamespaceMax", 6);
    assert_eq!(create("first", 6).await, Ok(()));
    daemon.settings.set("mesh.shards.perMeshMax", 7);
    assert_eq!(create("second", 2).await, Err("TOO_MANY_SHARDS".to_owned()));
    daemon.settings.set("mesh.shards.perMeshMax", 8);
    assert_eq!(create("second", 2).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_worker_has_too_much_to_do_by_what_is_set_by_then() {
    let daemon = node(Lab::on(memory(), "a")).await;
    daemon.create("orders", 4, quick()).await;
    let over = async || {
        let load = pb::ReportedLoad {
            pending: 10,
            queue_depth: 10,
            latency_ms: 10.0,
            error_rate: 0.5,
            ..Default::default()
        };
        let (namespace, worker_id) = ("orders".to_owned(), "w".to_owned());
        let asked = pb::ReportLoadRequest { namespace, worker_id, load: Some(load) };
        let heard = ShardControlService::report_load(&daemon.shards, called(asked, "alice")).await;
        heard.unwrap().into_inner().over
    };
    assert_eq!(over().await, Vec::<String>::new());
    daemon.settings.set("mesh.shards.load.pendingMax", 5);
    assert_eq!(over().await, ["pending"]);
    daemon.settings.set("mesh.shards.load.queueDepthMax", 5);
    assert_eq!(over().await, ["pending", "queue_depth"]);
    daemon.settings.set("mesh.shards.load.latencyMaxMs", 5.0);
    assert_eq!(over().await, ["pending", "queue_depth", "latency"]);
    daemon.settings.set("mesh.shards.load.errorRateMax", 0.1);
    assert_eq!(over().await, ["pending", "queue_depth", "latency", "errors"]);
    daemon.settings.set("mesh.shards.load.pendingMax", 20);
    assert_eq!(over().await, ["queue_depth", "latency", "errors"]);
}

/// How long a worker waits that has nothing to hear.
async fn wait(daemon: &Daemon, sequence: u64) -> Duration {
    let hold = async |waits, sequence| {
        let (namespace, worker_id) = ("orders".to_owned(), "w".to_owned());
        let asked = pb::HoldShardsRequest { namespace, worker_id, sequence, waits, ..Default::default() };
        daemon.shards.hold(called(asked, "alice")).await.unwrap();
    };
    hold(false, sequence).await;
    let begun = Instant::now();
    hold(true, sequence + 1).await;
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_worker_waits_no_longer_than_a_session_lets_it_by_then() {
    let daemon = node(Lab::on(memory(), "a")).await;
    daemon.create("orders", 4, quick()).await;
    daemon.at_rest("orders").await;
    let took = wait(&daemon, 1).await;
    assert!(took >= WAITS, "{took:?}");
    daemon.settings.set("session.renewEvery", "200ms");
    daemon.settings.set("session.ttl", "500ms");
    let took = wait(&daemon, 11).await;
    assert!(took < MS * 100, "{took:?}");
    daemon.settings.set("session.ttl", "2s");
    daemon.settings.set("mesh.leadership.leaseDuration", "800ms");
    let took = wait(&daemon, 21).await;
    assert!(took < MS * 150, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_became_of_shards_is_kept_as_long_as_is_set_by_then() {
    let lab = Lab::on(memory(), "a").config(|config| {
        // It is awake for hours.
        config.session.ttl = HumanDuration(Duration::from_secs(600));
        config.session.renew_every = HumanDuration(Duration::from_secs(200));
        config.mesh.leadership.evaluation_interval = HumanDuration(Duration::from_secs(10));
    });
    let daemon = node(lab).await;
    daemon.create("orders", 4, quick()).await;
    daemon.pause("0").await;
    let kept = async || {
        let records = daemon.node.registry.read_under(&SHARD_CHANGE, "").await.unwrap();
        records.iter().filter(|record| !record.deleted).count()
    };
    sleep(Duration::from_secs(3 * 3600)).await;
    let all = kept().await;
    assert!(all >= 2, "{all}");
    daemon.settings.set("mesh.shards.historyKept", "2h");
    sleep(MS * 1000).await;
    assert_eq!(kept().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_whose_files_cannot_be_read_is_not_taken_over() {
    let daemon = Daemon::on(memory(), "a").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let with = |secret: &Path, ca: Option<&Path>| {
        let mut config = Config::clone(&daemon.settings.now());
        let webhook = &mut config.mesh.shards.webhook;
        webhook.url = Some("https://127.0.0.1:1/hook".to_owned());
        (webhook.secret_file, webhook.ca) = (Some(secret.to_owned()), ca.map(Path::to_owned));
        daemon.settings.replace(config).map_err(|refused| refused.key)
    };
    let missing = Path::new("/nowhere/of/all");
    assert_eq!(with(missing, None).unwrap_err(), "mesh.shards.webhook.secretFile");
    assert_eq!(with(file.path(), Some(missing)).unwrap_err(), "mesh.shards.webhook.ca");
    assert_eq!(daemon.settings.now().mesh.shards.webhook.url, None, "nothing was changed");
    assert_eq!(with(file.path(), None).unwrap().changed.len(), 2);
}

/// A server that answers whatever it is sent in one way.
struct Hook {
    address: String,
    /// What was sent, each a connection.
    heard: Arc<parking_lot::Mutex<Vec<String>>>,
    task: AbortHandle,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hook {
    async fn answering(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::<parking_lot::Mutex<Vec<String>>>::default();
        let into = heard.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                // The end of JSON, or what begins no request.
                while !bytes.ends_with(b"}") && bytes.first().is_none_or(|first| *first == b'P') {
                    match stream.read_buf(&mut bytes).await {
                        Ok(1..) => {}
                        _ => break,
                    }
                }
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = stream.write_all(answer.as_bytes()).await;
                into.lock().push(String::from_utf8_lossy(&bytes).into_owned());
            }
        });
        Self { address, heard, task: task.abort_handle() }
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn count(&self) -> usize {
        self.heard.lock().len()
    }

    /// Whether what was sent last was signed by this secret.
    fn is_signed_by(&self, secret: &[u8]) -> bool {
        let last = self.heard.lock().last().cloned().unwrap();
        let (head, body) = last.split_once("\r\n\r\n").unwrap();
        let signature = head.lines().find_map(|line| line.strip_prefix("omnirelay-signature: ")).unwrap();
        let (seconds, digits) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let tag =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), format!("{seconds}.{body}").as_bytes());
        omnirelay_core::text::hex(tag.as_ref()) == digits
    }
}

fn secret(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// The settings of a node that tells this server.
fn telling(url: &str, secret: &Path) -> LiveConfig {
    let settings = LiveConfig::from(Config::default());
    settings.set("mesh.shards.webhook", json!({"url": url, "secretFile": secret}));
    settings
}

#[tokio::test]
async fn the_server_is_told_that_is_set_by_then_and_nobody_where_none_is() {
    let (deaf, hook) =
        (Hook::answering("503 Service Unavailable").await, Hook::answering("204 No Content").await);
    let (first, second) = (secret("first"), secret("second"));
    let settings = telling(&deaf.url(), first.path());
    let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()).unwrap());
    let deliveries = Arc::new(WebhookDeliveries { posts: settings.live(posts), metrics });
    let fact = || WebhookFact::new("1".to_owned(), "plan", &json!({}));
    let told = {
        let deliveries = deliveries.clone();
        tokio::spawn(async move { deliveries.deliver(&fact(), || true).await })
    };
    until("it was tried twice", || deaf.count() >= 2).await;
    let begun = Instant::now();
    settings.set("mesh.shards.webhook.url", hook.url());
    assert!(told.await.unwrap());
    assert!(begun.elapsed() < MS * 1000, "{:?}", begun.elapsed());
    assert!(hook.is_signed_by(b"first"));

    settings.set("mesh.shards.webhook.secretFile", json!(second.path()));
    assert!(deliveries.deliver(&fact(), || true).await);
    assert_eq!((hook.count(), hook.is_signed_by(b"second")), (2, true));

    settings.set("mesh.shards.webhook", json!({}));
    assert!(!deliveries.tells() && !deliveries.deliver(&fact(), || true).await);
    assert_eq!(hook.count(), 2);
}

#[tokio::test]
async fn the_server_is_judged_by_the_authorities_that_are_set_by_then() {
    let (hook, key) = (Hook::answering("204 No Content").await, secret("key"));
    let settings = telling(&hook.url().replace("http:", "https:"), key.path());
    settings.set("mesh.shards.webhook.ca", json!(key.path()));
    let metrics = Arc::new(ShardMetrics::new(&prometheus::Registry::new()).unwrap());
    let deliveries = WebhookDeliveries { posts: settings.live(posts), metrics };
    let fact = WebhookFact::new("1".to_owned(), "plan", &json!({}));
    let tell = tokio::spawn(async move { deliveries.deliver(&fact, || true).await });
    // With those of a file that has none, nobody is called.
    sleep(MS * 1300).await;
    assert_eq!(hook.count(), 0);
    settings.set("mesh.shards.webhook.ca", Value::Null);
    let begun = Instant::now();
    until("it was called", || hook.count() > 0).await;
    assert!(begun.elapsed() < MS * 1000, "{:?}", begun.elapsed());
    tell.abort();
}

#[tokio::test]
async fn who_leads_begins_to_tell_plans_and_ceases_to() {
    let (hook, key) = (Hook::answering("204 No Content").await, secret("key"));
    let store = memory();
    let daemons = mesh(&store, 2).await;
    let daemon = &daemons[0];
    daemon.create("orders", 12, quick()).await;
    until("both own some", || daemon.owned("orders", "b") > 0).await;
    daemon.at_rest("orders").await;
    let remove = |asked: &mut pb::ProposePlanRequest| asked.remove = vec!["b".to_owned()];
    let webhook = json!({"url": hook.url(), "secretFile": key.path()});
    daemons.iter().for_each(|daemon| daemon.settings.set("mesh.shards.webhook", webhook.clone()));
    propose(daemon, "alice", remove).await.unwrap();
    let is_told = || hook.heard.lock().iter().filter(|heard| heard.contains("\"what\":\"plan\"")).count();
    until("it is told", || is_told() == 1).await;
    daemons.iter().for_each(|daemon| daemon.settings.set("mesh.shards.webhook", json!({})));
    propose(daemon, "alice", remove).await.unwrap();
    sleep(MS * 1500).await;
    assert_eq!(is_told(), 1);
}
