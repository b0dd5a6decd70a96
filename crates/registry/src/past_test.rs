//! Moments that are over, on the memory store.

use std::time::Duration;

use super::cursor::Cursor;
use super::lab::LabRegistry;
use super::past::WAITING_MAX;
use super::registry_test::{THING, commit, daemon, memory, put};
use omnirelay_store::{RecordId, Revision};

async fn set(daemon: &LabRegistry, value: &str) -> Cursor {
    let revision = commit(&daemon.registry, vec![put(THING, "x", value)]).await;
    Cursor::at(daemon.registry.view().head().epoch, revision)
}

#[tokio::test]
async fn a_moment_is_read_back_while_others_wait_for_commits_yet_to_come() {
    let daemon = daemon(&memory(), "a").await;
    let first = set(&daemon, "1").await;
    let second = set(&daemon, "2").await;
    let ahead = Cursor::at(second.epoch, Revision(second.revision.0 + 1)).to_string();
    let waiting: Vec<_> = (0..=WAITING_MAX)
        .map(|_| {
            let (registry, ahead) = (daemon.registry.clone(), ahead.clone());
            tokio::spawn(async move { registry.past(&ahead).await })
        })
        .collect();
    tokio::task::yield_now().await;

    let first = first.to_string();
    let past = tokio::time::timeout(Duration::from_secs(20), daemon.registry.past(&first)).await;
    let past = past.expect("those who wait hold it up").unwrap();
    assert_eq!(past.view.get(&RecordId::new(THING, "x")).unwrap().record.value, "1");
    assert!(waiting.iter().all(|caller| !caller.is_finished()));

    set(&daemon, "3").await;
    let mut given = 0;
    for caller in waiting {
        match caller.await.unwrap() {
            Ok(past) => {
                assert_eq!(past.view.get(&RecordId::new(THING, "x")).unwrap().record.value, "3");
                given += 1;
            }
            Err(fault) => assert_eq!(fault.reason, "LIMIT_EXHAUSTED"),
        }
    }
    assert!(given >= WAITING_MAX, "{given}");
}
