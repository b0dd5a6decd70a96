//! Settings of the pool, changed while it is kept.

use omnirelay_node::operations::Operations;
use omnirelay_scripted::{Answered, Call, Script, Scripted};
use omnirelay_settings::LiveConfig;

use super::*;
use crate::advertisements::offer_service::{AdvertisementExchange, RecentOffers};
use crate::metrics::{PoolCounts, RegistersMetrics};
use crate::resync::{Resync, ResyncParts, ResyncSettings};
use pb::advertisement_exchange_service_server::AdvertisementExchangeService as _;

async fn of(settings: &LiveConfig, store: Arc<dyn Store>, node_id: &str) -> Daemon {
    let lab = Lab::on(store, node_id).kinds(&[omnirelay_peers::KINDS, OWN_KINDS]);
    let secret = node_id.to_owned();
    let daemon = of_settings(lab, settings.live(move |config| PoolSettings::of(config, &secret)));
    daemon.node.registered().await;
    daemon
}

#[tokio::test(start_paused = true)]
async fn advertisements_live_for_as_long_as_is_set_by_then_and_none_blinks() {
    let (store, settings) = (memory(), LiveConfig::from(Config::default()));
    let (a, b) = (of(&settings, store.clone(), "a").await, daemon(store.clone(), "b").await);
    a.push(&catalogue(), &["r1", "r2"], UnpushedEntries::WithdrawAll).await;
    a.push(&outside(), &["x"], UnpushedEntries::WithdrawAll).await;
    sleep(SESSION).await;
    settings.set("registers.advertisementTtl", "20s");
    for _ in 0..190 {
        sleep(MS * 100).await;
        assert_eq!((a.available().len(), b.available().len()), (3, 3));
    }
    // Nobody pushes the one any more, and the other is kept for as long as the process runs.
    sleep(Duration::from_secs(30)).await;
    assert_eq!((a.available().len(), b.available().len()), (2, 2));
    drop(a);
    sleep(Duration::from_secs(8)).await;
    assert_eq!(b.available().len(), 2);
    sleep(Duration::from_secs(14)).await;
    assert!(b.available().is_empty(), "it would have lived for five minutes");
}

#[tokio::test(start_paused = true)]
async fn what_lives_for_longer_than_before_is_there_after_the_time_of_before() {
    let (store, settings) = (memory(), LiveConfig::from(Config::default()));
    settings.set("registers.advertisementTtl", "10s");
    let (a, b) = (of(&settings, store.clone(), "a").await, daemon(store.clone(), "b").await);
    a.push(&catalogue(), &["r"], UnpushedEntries::WithdrawAll).await;
    sleep(SESSION).await;
    settings.set("registers.advertisementTtl", "10m");
    sleep(SESSION).await;
    drop(a);
    for _ in 0..9 {
        sleep(Duration::from_secs(60)).await;
        assert_eq!(b.available(), ["r"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_pushed_since_a_restart_is_not_confirmed_by_another_ttl() {
    let (store, settings) = (memory(), LiveConfig::from(Config::default()));
    let (a, b) = (of(&settings, store.clone(), "a").await, daemon(store.clone(), "b").await);
    a.push(&catalogue(), &["r"], UnpushedEntries::WithdrawAll).await;
    sleep(SESSION).await;
    drop(a);
    settings.set("registers.advertisementTtl", "20s");
    let a = of(&settings, store.clone(), "a").await;
    sleep(SESSION).await;
    for shown in [a.shown(), b.shown()] {
        assert_eq!(shown, ["a/r/catalogue unverified"]);
    }
    a.push(&catalogue(), &["r"], UnpushedEntries::WithdrawAll).await;
    sleep(SESSION).await;
    assert_eq!(b.shown(), ["a/r/catalogue active"]);
    drop(a);
    sleep(Duration::from_secs(22)).await;
    assert!(b.available().is_empty());
}

/// A store that notes by which grace advertisements are refreshed.
struct Graces {
    store: Arc<MemoryStore>,
    heard: Mutex<Vec<Duration>>,
}

#[tonic::async_trait]
impl Script for Graces {
    async fn pass(&self, call: Call) -> Answered {
        if let Call::Pulse(pulse) = &call
            && pulse.renew.iter().any(|group| group.id.0.starts_with("advertisements/"))
        {
            self.heard.lock().push(pulse.grace);
        }
        call.on(&*self.store).await
    }
}

#[tokio::test(start_paused = true)]
async fn others_get_as_long_to_be_heard_as_a_session_lives_by_then() {
    let settings = LiveConfig::from(Config::default());
    settings.set("registers.advertisementTtl", "4s");
    let store = Arc::new(Scripted(Graces { store: memory(), heard: Mutex::default() }));
    let a = of(&settings, store.clone(), "a").await;
    a.push(&catalogue(), &["r"], UnpushedEntries::WithdrawAll).await;
    sleep(Duration::from_secs(10)).await;
    let heard = std::mem::take(&mut *store.0.heard.lock());
    assert!(!heard.is_empty() && heard.iter().all(|grace| *grace == SESSION), "{heard:?}");
    settings.set("session.ttl", "7s");
    sleep(Duration::from_secs(10)).await;
    let heard = store.0.heard.lock().clone();
    assert!(!heard.is_empty() && heard.iter().all(|grace| *grace == Duration::from_secs(7)), "{heard:?}");
}

#[tokio::test]
async fn nodes_of_others_are_told_the_address_that_is_set_by_then() {
    let node = Lab::on(memory(), "a").kinds(&[omnirelay_peers::KINDS, OWN_KINDS]).prepared();
    let (registry, settings) = (node.builder.registry.clone(), node.builder.settings.clone());
    let secret = PoolSettings::of(&settings.now(), "a");
    let pool = Arc::new(Pool::new(registry.clone(), secret, || false));
    let parts = ResyncParts {
        registry: registry.clone(),
        pool: pool.clone(),
        operations: Arc::new(Operations::new(registry)),
        metrics: Arc::new(RegistersMetrics::new(&prometheus::Registry::new()).unwrap()),
        trust: Arc::default(),
        reach: omnirelay_identity::reach::AddressReach::Anywhere,
        session: Arc::new(|| None),
        count_pool: Arc::new(PoolCounts::default),
    };
    let exchange = AdvertisementExchange {
        pool,
        resync: Arc::new(Resync::new(parts, settings.live(ResyncSettings::of))),
        control: crate::mount::control(&node.builder),
        http3: false,
        recent: RecentOffers::default(),
    };
    let port = node.builder.addresses.control.port();
    let _node = node.start();
    let told = async || {
        let mut asked =
            tonic::Request::new(pb::CompareAdvertisedRequest { list_nodes: true, ..Default::default() });
        asked.extensions_mut().insert(caller());
        exchange.compare(asked).await.unwrap().into_inner().nodes[0].control.clone()
    };
    assert_eq!(told().await, format!("127.0.0.1:{port}"));
    settings.set("mesh.advertise", "eu-1.example:17421");
    assert_eq!(told().await, format!("eu-1.example:{port}"));
}
