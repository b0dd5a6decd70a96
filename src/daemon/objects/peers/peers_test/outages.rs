//! What an outage of the store does to peers: nothing, except to those who do not come back.

use prost::Message;

use super::*;
use crate::daemon::registry::faulty::{Call, EVERY_CALL, Faulty, Ill};

/// Nodes whose paths to one store fall ill each on its own.
struct Mesh {
    paths: Vec<Arc<Faulty>>,
    daemons: Vec<Daemon>,
}

const MS: Duration = Duration::from_millis(1);

async fn mesh(node_ids: &[&str]) -> Mesh {
    let shared = Arc::new(MemoryStore::new(PausedClock(Instant::now())));
    let mut mesh = Mesh { paths: Vec::new(), daemons: Vec::new() };
    for node_id in node_ids {
        let path = Faulty::over(shared.clone());
        mesh.daemons.push(joined(&path, node_id).await);
        mesh.paths.push(path);
    }
    sleep(TTL * 3 + MS * 130).await;
    mesh
}

/// Every status that a record of a peer has had, from the log.
async fn verdicts(store: &Faulty) -> Vec<(String, PeerStatus)> {
    let page = store.log(Revision(0), PAGE_MAX, Duration::ZERO).await.unwrap();
    let changes = page.entries.iter().flat_map(|entry| entry.changes.iter());
    let of_peers = changes.filter(|change| change.after.id.kind == PEER && !change.after.deleted);
    let shown = of_peers.map(|change| {
        let value = PeerValue::decode(change.after.value.clone()).unwrap();
        (change.after.id.key.clone(), value.status())
    });
    shown.filter(|(_, status)| *status != PeerStatus::Alive).collect()
}

#[tokio::test(start_paused = true)]
async fn nobody_is_judged_for_an_outage_however_long_and_of_whatever_kind() {
    for ill in [Ill::Fails, Ill::Hangs, Ill::LosesReplies] {
        let mesh = mesh(&["a", "b", "c"]).await;
        for outage in [700, 1200, 1990, 2600, 9000, 61_000] {
            mesh.paths.iter().for_each(|path| path.fall_ill(EVERY_CALL, ill));
            sleep(MS * outage).await;
            mesh.paths.iter().for_each(|path| path.recover());
            let back = Instant::now();
            while !mesh.daemons.iter().all(|daemon| daemon.presence.is_registered()) {
                sleep(MS * 5).await;
            }
            assert!(back.elapsed() < TTL / 2, "{ill:?}: back after {:?}", back.elapsed());
            sleep(TTL * 4).await;
            let all_there = mesh.daemons.iter().all(|daemon| daemon.presence.is_registered());
            assert!(all_there, "{ill:?} for {outage} ms");
        }
        assert_eq!(verdicts(&mesh.paths[0]).await, [], "{ill:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_come_back_after_an_outage_is_judged_after_the_grace() {
    let mut mesh = mesh(&["a", "b", "c"]).await;
    mesh.paths.iter().for_each(|path| path.fall_ill(EVERY_CALL, Ill::Hangs));
    sleep(TTL * 10).await;
    drop(mesh.daemons.pop());
    mesh.paths.iter().for_each(|path| path.recover());
    sleep(TTL).await;
    assert_eq!(verdicts(&mesh.paths[0]).await, []);
    sleep(TTL).await;
    assert_eq!(verdicts(&mesh.paths[0]).await[0], ("c".to_owned(), PeerStatus::Suspect));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_cut_off_alone_judges_nobody_when_it_is_back() {
    let mesh = mesh(&["a", "b", "c"]).await;
    mesh.paths[0].fall_ill(EVERY_CALL, Ill::Hangs);
    sleep(TTL * 3).await;
    assert_eq!(verdicts(&mesh.paths[1]).await, [("a".to_owned(), PeerStatus::Suspect)]);
    mesh.paths[0].recover();
    sleep(TTL * 3).await;
    assert_eq!(verdicts(&mesh.paths[1]).await.len(), 1, "b and c were heard by the store all the time");
    assert_eq!(status_of(&mesh.daemons[1], "a"), Some(PeerStatus::Alive));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_judges_who_is_gone_and_nobody_else() {
    let mut mesh = mesh(&["a", "b"]).await;
    drop(mesh.daemons.pop());
    sleep(TTL * 2).await;
    let path = mesh.paths[1].clone();
    mesh.daemons.push(joined(&path, "c").await);
    sleep(TTL * 2).await;
    assert_eq!(verdicts(&path).await, [("b".to_owned(), PeerStatus::Suspect)]);
}

#[tokio::test(start_paused = true)]
async fn a_hanging_store_costs_a_node_few_calls() {
    let mesh = mesh(&["a", "b"]).await;
    mesh.paths[0].fall_ill(EVERY_CALL, Ill::Hangs);
    sleep(MS * 10_000).await;
    let calls = || EVERY_CALL.map(|call| mesh.paths[0].count(call)).iter().sum::<usize>();
    let before = calls();
    sleep(MS * 600_000).await;
    assert!(calls() - before <= 3 * 600, "{} calls in ten minutes", calls() - before);
    assert!(mesh.paths[0].most_at_once() <= 4);
    mesh.paths[0].recover();
    mesh.paths[0].fall_ill([Call::Open, Call::Commit], Ill::Fails);
    sleep(MS * 10_000).await;
    let before = calls();
    sleep(MS * 60_000).await;
    assert!(calls() - before <= 5 * 60, "{} calls in a minute", calls() - before);
}
