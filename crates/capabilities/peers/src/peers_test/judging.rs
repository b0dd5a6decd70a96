//! Judging of a silent peer: whose turn it is, and with what right.

use omnirelay_decisions::lease::place_of;
use omnirelay_peer_records::own_session;
use omnirelay_scripted::{Ill, Method};
use omnirelay_wire::timestamp::millis;

use super::outages::{self, MS, mesh};
use super::*;
use omnirelay_peer_records::PeerRoster;

/// How often a beat comes, and how much later than the one before it each daemon records a verdict.
const TURN: Duration = Duration::from_millis(500);

/// How long after the end of its session a peer became suspect, once `by` knows it.
async fn lateness(by: &Daemon, victim: &str) -> Duration {
    while status_of(by, victim) == Some(PeerStatus::Alive) {
        sleep(MS).await;
    }
    let deadline = by.registry.view().group(&session_id(victim)).unwrap().deadline;
    let since = shown(by, victim).unwrap().status_since.as_ref().map(millis).unwrap();
    since.since(deadline)
}

/// The nodes in the order in which they judge this one.
fn judges(by: &Daemon, victim: &str) -> Vec<String> {
    let roster = PeerRoster::of(by.registry.view());
    let mut nodes = roster.nodes();
    nodes.retain(|node| node.id != victim && node.peer.status() == PeerStatus::Alive);
    let mut ids: Vec<String> = nodes.iter().map(|node| node.id.to_owned()).collect();
    ids.sort_by_cached_key(|id| place_of(victim, &nodes, id));
    ids
}

#[tokio::test(start_paused = true)]
async fn a_verdict_comes_with_the_next_beat_whoever_it_is_about_and_however_many_are_gone() {
    for victim in ["node-1", "node-2", "node-3"] {
        let mut mesh = mesh(&["node-1", "node-2", "node-3", "old-1", "old-2", "old-3", "old-4"]).await;
        for _ in 0..4 {
            mesh.daemons.pop().unwrap().presence.leave().await;
        }
        sleep(TTL * 2).await;
        // As after a day: nothing is known of their sessions any more.
        mesh.daemons.iter().for_each(|daemon| daemon.registry.view().forget_groups(Duration::ZERO));
        let at = mesh.daemons.iter().position(|daemon| daemon.registry.node_id() == victim).unwrap();
        drop(mesh.daemons.remove(at));
        let late = lateness(&mesh.daemons[0], victim).await;
        assert!(late <= TURN, "{victim}: {late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_verdict_of_a_judge_that_dies_comes_one_turn_later() {
    for victim in ["node-1", "node-2", "node-3", "node-4"] {
        let mut mesh = mesh(&["node-1", "node-2", "node-3", "node-4"]).await;
        let order = judges(&mesh.daemons[0], victim);
        mesh.daemons.retain(|daemon| daemon.registry.node_id() != victim);
        // Its own session is not over yet when that of the other one is.
        sleep(TURN * 2).await;
        mesh.daemons.retain(|daemon| *daemon.registry.node_id() != order[0]);
        let late = lateness(&mesh.daemons[0], victim).await;
        assert!(late >= TURN && late <= TURN * 2, "{victim}: {late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_judge_whose_session_is_over_is_not_heard() {
    let mut mesh = mesh(&["a", "b", "c"]).await;
    let at = |mesh: &outages::Mesh, id: &str| {
        mesh.daemons.iter().position(|daemon| daemon.registry.node_id() == id).unwrap()
    };
    drop(mesh.daemons.remove(at(&mesh, "b")));
    let (path, judge, witness) = (&mesh.paths[0], &mesh.daemons[0], &mesh.daemons[1]);
    // The other one lives, and judges nobody.
    mesh.paths[2].fall_ill([Method::Commit], Ill::Fails);
    path.fall_ill([Method::Commit], Ill::Waits);
    let calls = path.count(Method::Commit);
    while path.count(Method::Commit) == calls {
        sleep(MS).await;
    }
    // It has sent its verdict, and stands still; its session ends meanwhile.
    path.fall_ill([Method::Pulse, Method::Log, Method::Open], Ill::Waits);
    let session = own_session(&judge.registry).unwrap();
    mesh.paths[2].close_group(judge.registry.view().head().epoch, session).await.unwrap();
    sleep(TURN).await;
    let back = witness.registry.view().now();
    path.recover();
    while status_of(judge, "b") == Some(PeerStatus::Alive) {
        sleep(MS).await;
    }
    let since = shown(judge, "b").unwrap().status_since.as_ref().map(millis).unwrap();
    assert!(since >= back, "judged at {since:?}, before it was back at {back:?}");
}
