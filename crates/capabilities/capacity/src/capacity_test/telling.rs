//! Events, answers, readiness and metrics of limits.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_decisions::capacity::LimitKind;
use omnirelay_node::metrics::Metrics;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::capacity_limit::{Level, Mode, Scope};
use tokio::time::sleep;

use super::{CREATE, ENTER, LimitedDaemon, MEMBER, THING, declined};
use crate::metrics::CapacityMetrics;

const SECOND: Duration = Duration::from_secs(1);

/// What was told since the beginning: what, of which limit, and how much was used.
fn told(daemon: &LimitedDaemon) -> Vec<(&'static str, String, u64)> {
    let (mut after, mut all) = (omnirelay_core::time::Millis(0), Vec::new());
    while after < daemon.notices.newest() {
        let next = futures_util::FutureExt::now_or_never(daemon.notices.next(after)).unwrap();
        let limit = next.data.limit.clone().unwrap();
        assert_eq!(next.topic, "limits");
        all.push((next.what, limit.name, limit.used));
        after = next.at;
    }
    all
}

fn limit(daemon: &LimitedDaemon, name: &str) -> pb::CapacityLimit {
    daemon.monitor.shown().into_iter().find(|limit| limit.name == name).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_comes_near_is_reached_and_left_is_told_of_each_time_once() {
    let daemon = LimitedDaemon::new().await;
    daemon.settings.set("limits.peers.max", 10);
    let mut said = Vec::new();
    for at in 0..10_u8 {
        daemon.write(ENTER, MEMBER, &at.to_string(), 1).await.unwrap();
        daemon.monitor.look();
        daemon.monitor.look();
        said.push(told(&daemon).len());
        sleep(SECOND).await;
    }
    assert_eq!(said, [0, 0, 0, 0, 0, 0, 0, 1, 1, 2]);
    // At the edge it is told of once, and told of again only once it has been further away.
    daemon.settings.set("limits.peers.max", 13);
    daemon.monitor.look();
    daemon.settings.set("limits.peers.max", 12);
    daemon.monitor.look();
    daemon.settings.set("limits.peers.max", 100);
    daemon.monitor.look();
    let expected = [("near", 8), ("reached", 10), ("eased", 10), ("eased", 10)];
    assert_eq!(told(&daemon), expected.map(|(what, used)| (what, "peers".to_owned(), used)));
}

#[tokio::test(start_paused = true)]
async fn all_limits_are_shown_with_what_is_used_of_each() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("records", 4);
    for key in ["a", "b", "c", "d"] {
        daemon.write(CREATE, THING, key, 9).await.unwrap();
    }
    declined(daemon.write(CREATE, THING, "e", 9).await);
    sleep(SECOND).await;
    daemon.monitor.look();
    let names: Vec<String> = daemon.monitor.shown().into_iter().map(|limit| limit.name).collect();
    assert_eq!(names, LimitKind::ALL.map(|kind| kind.row().name));
    let records = limit(&daemon, "records");
    assert_eq!((records.used, records.max, records.percent, records.peak), (4, Some(4), Some(100), 4));
    assert_eq!(
        (records.mode(), records.level(), records.scope()),
        (Mode::Enforce, Level::Reached, Scope::Mesh)
    );
    assert_eq!((records.refused, records.setting.as_str()), (1, "limits.records.max"));
    let bytes = limit(&daemon, "bytes");
    assert_eq!((bytes.used, bytes.max, bytes.percent), (40, None, None));
    assert_eq!((bytes.mode(), bytes.level()), (Mode::Off, Level::Clear));
    let commits = limit(&daemon, "commits");
    assert_eq!((commits.used, commits.added, commits.scope()), (4, 4, Scope::Node), "those that were made");
    assert_eq!(daemon.monitor.watched_ms(), 1000);

    let needs = daemon.monitor.needs();
    let trouble: Vec<(&str, &str)> = needs
        .iter()
        .filter(|item| !item.ok)
        .map(|item| (item.name.as_str(), item.message.as_str()))
        .collect();
    assert_eq!(trouble, [("limits-reached", "4 of 4 records are used")]);
    daemon.settings.set("limits.records.mode", "observe");
    let needs = daemon.monitor.needs();
    assert_eq!(needs.iter().map(|item| item.ok).collect::<Vec<_>>(), [true, false], "nothing is refused");
}

#[tokio::test(start_paused = true)]
async fn every_series_is_there_from_the_beginning() {
    let daemon = LimitedDaemon::new().await;
    let all = Arc::new(Metrics::new().unwrap());
    let metrics = CapacityMetrics::new(all.all()).unwrap();
    let text = async || all.text(&daemon.lab.registry, true).await.unwrap();
    for name in LimitKind::ALL.map(|kind| kind.row().name) {
        for metric in ["mesh_limit_used", "mesh_limit_max", "mesh_limit_refused_total"] {
            let series = format!("{metric}{{limit=\"{name}\"}} 0\n");
            assert!(text().await.contains(&series), "{series}");
        }
    }
    daemon.enforce("records", 1);
    daemon.write(CREATE, THING, "a", 9).await.unwrap();
    for _ in 0..2 {
        declined(daemon.write(CREATE, THING, "b", 9).await);
        daemon.monitor.look();
        metrics.read(&daemon.monitor.shown());
    }
    for series in
        ["used{limit=\"records\"} 1", "max{limit=\"records\"} 1", "refused_total{limit=\"records\"} 2"]
    {
        assert!(text().await.contains(&format!("mesh_limit_{series}\n")), "{series}");
    }
}
