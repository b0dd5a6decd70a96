//! Serving of readers: what they are told of the end of what they see.

use omnirelay_identity::reach::AddressReach;
use omnirelay_node::operations::Operations;
use omnirelay_settings::ClientTlsConfig;
use omnirelay_wire::timestamp::Timestamp;
use omnirelay_wire::timestamp::millis;
use tonic::Request;

use super::*;
use crate::advertisements::Advertisements;
use crate::metrics::{PoolCounts, RegistersMetrics};
use crate::resync::{Resync, ResyncParts, ResyncSettings};
use pb::advertisement_service_server::AdvertisementService as _;

/// The reads that show when what they show ends.
const READS: [&str; 2] = ["available", "list"];

/// Service for the reads of a daemon. It pushes nothing by itself.
pub(super) fn service(of: &Daemon) -> Advertisements {
    let parts = ResyncParts {
        trust: Arc::default(),
        reach: AddressReach::Anywhere,
        registry: of.registry.clone(),
        pool: of.pool.clone(),
        operations: Arc::new(Operations::new(of.registry.clone())),
        metrics: Arc::new(RegistersMetrics::new(&prometheus::Registry::new()).unwrap()),
        session: Arc::new(|| None),
        count_pool: Arc::new(PoolCounts::default),
    };
    let settings = ResyncSettings {
        resync_interval: TTL,
        push_every: TTL,
        peer_services: Vec::new(),
        resync_peers: Vec::new(),
        peer_services_tls: ClientTlsConfig::default(),
    };
    Advertisements::new(of.pool.clone(), Arc::new(Resync::new(parts, settings)), None, 1)
}

/// How many milliseconds are left of each entry that is shown; `None`: that is not known.
async fn left(of: &Daemon, read: &str) -> Vec<Option<i64>> {
    let service = service(of);
    let ends: Vec<Option<Timestamp>> = match read {
        "available" => {
            let mut request = Request::new(pb::ListAvailableRequest::default());
            request.extensions_mut().insert(caller());
            let listed = service.list_available(request).await.unwrap().into_inner();
            listed.registers.into_iter().map(|shown| shown.expires_at).collect()
        }
        "list" => {
            let mut request = Request::new(pb::ListAdvertisementsRequest::default());
            request.extensions_mut().insert(caller());
            let listed = service.list(request).await.unwrap().into_inner();
            listed.advertisements.into_iter().map(|shown| shown.expires_at).collect()
        }
        other => panic!("{other}"),
    };
    let now = i64::try_from(of.registry.view().now().0).unwrap();
    let left = |end: Timestamp| i64::try_from(millis(&end).0).unwrap() - now;
    ends.into_iter().map(|end| end.map(left)).collect()
}

#[tokio::test(start_paused = true)]
async fn no_first_read_shows_what_has_ended() {
    for read in READS {
        for offset in [1, 50, 137, 250, 449, 499] {
            for reader in ["a", "b"] {
                let store = memory();
                let (a, b) = (daemon(store.clone(), "a").await, daemon(store.clone(), "b").await);
                sleep(MS * offset).await;
                a.push(&Producer::file(), &["r"], UnpushedEntries::Stays).await;
                let reads = if reader == "a" { &a } else { &b };
                sleep(TTL - MS).await;
                assert_eq!(left(reads, read).await, [Some(1)], "{read} at {reader}, {offset} ms");
                sleep(MS).await;
                assert_eq!(left(reads, read).await, [], "{read} at {reader}, {offset} ms");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_spared_after_a_restart_is_shown_with_the_end_of_that() {
    for read in READS {
        for away in [TTL / 4, TTL * 3] {
            let store = memory();
            let a = daemon(store.clone(), "a").await;
            a.push(&Producer::file(), &["r"], UnpushedEntries::Stays).await;
            sleep(TTL - MS * 500).await;
            drop(a);
            sleep(away).await;
            let a = daemon(store.clone(), "a").await;
            let spared = left(&a, read).await[0].unwrap();
            assert!((1..=2000).contains(&spared), "{read} after {away:?}: {spared} ms");
            sleep(MS * u32::try_from(spared - 1).unwrap()).await;
            assert_eq!(left(&a, read).await, [Some(1)], "{read} after {away:?}");
            sleep(MS).await;
            assert_eq!(left(&a, read).await, [], "{read} after {away:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_nobody_is_told_of_an_end() {
    let store = memory();
    for read in READS {
        let path = Faulty::over(store.clone());
        let (a, b) = (daemon(store.clone(), "a").await, daemon(path.clone(), "b").await);
        a.push(&Producer::file(), &["r"], UnpushedEntries::Stays).await;
        sleep(TTL - MS * 100).await;
        path.fall_ill(EVERY_CALL, Ill::Hangs);
        sleep(MS * 101).await;
        assert_eq!(left(&b, read).await, [None], "{read}, while it is not known to be away");
        sleep(TTL).await;
        assert_eq!(left(&b, read).await, [None], "{read}");
        assert_eq!(left(&a, read).await, [], "{read}: it is over for those who know");
    }
}
