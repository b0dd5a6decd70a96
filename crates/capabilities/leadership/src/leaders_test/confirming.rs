//! Confirmation by a replica: what leaders rely on where one must have it first.

use super::*;

async fn pair(path: &Arc<Faulty>) -> [Daemon; 2] {
    let daemons = [daemon(path.clone(), "a", &[SCOPE]).await, daemon(path.clone(), "b", &[SCOPE]).await];
    acquainted(&daemons).await;
    agreed(&daemons, SCOPE).await;
    daemons
}

/// Has the one lead that does not, and gives its place.
async fn hand_over(daemons: &[Daemon; 2]) -> usize {
    let place = usize::from(daemons[0].leader(SCOPE) == "a");
    let to = daemons[place].id().to_owned();
    let request = pb::TransferLeaderRequest { scope: SCOPE.to_owned(), to, ..Default::default() };
    daemons[0].leaders.transfer(called(request, |_| {})).await.unwrap();
    place
}

/// How many elections a node has measured.
fn elections(daemon: &Daemon) -> u64 {
    let gathered = daemon.measured.gather();
    let families = gathered.iter().filter(|family| family.name() == "mesh_leadership_election_duration_ms");
    let metrics = families.flat_map(|family| family.get_metric());
    metrics.map(|metric| metric.get_histogram().get_sample_count()).sum()
}

#[tokio::test(start_paused = true)]
async fn a_lease_counts_soon_that_was_granted_in_the_millisecond_of_its_confirmation() {
    let daemons = pair(&Faulty::confirming(memory())).await;
    for round in 0..8 {
        // Whenever the next beat would come.
        sleep(TTL + MS * 61 * round).await;
        let asked = Instant::now();
        let place = hand_over(&daemons).await;
        until("it leads", || daemons[place].fence(SCOPE).is_some()).await;
        assert!(asked.elapsed() <= MS * 30, "round {round}: after {:?}", asked.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_not_confirmed_for_a_while_was_elected_once() {
    let path = Faulty::confirming(memory());
    let daemons = pair(&path).await;
    let place = hand_over(&daemons).await;
    until("it leads", || daemons[place].fence(SCOPE).is_some()).await;
    let (leader, fence) = (&daemons[place], daemons[place].fence(SCOPE));
    sleep(TTL).await;
    let measured = elections(leader);
    assert!(measured > 0);
    for _ in 0..3 {
        path.lack_replica(true);
        sleep(TTL * 30).await;
        assert_eq!(leader.fence(SCOPE), None);
        path.lack_replica(false);
        until("it leads again", || leader.fence(SCOPE).is_some()).await;
        sleep(TTL).await;
        assert_eq!((leader.fence(SCOPE), elections(leader)), (fence.clone(), measured));
    }
}
