//! Limits, changed while a daemon serves.

use std::time::Duration;

use omnirelay_decisions::capacity::{LimitEffect, LimitKind};
use omnirelay_store::RecordKind;
use omnirelay_surface::{BeginningCall, CallJudge as _};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::capacity_limit::Mode;
use tokio::time::sleep;

use crate::capacity_test::{CREATE, JOIN, LimitedDaemon, PASS, SPACE, THING, declined};

/// The settings that this changes.
const SETTINGS: [(&str, Option<&str>); 10] = [
    ("limits.peers.max", Some("limits.peers.mode")),
    ("limits.shards.max", Some("limits.shards.mode")),
    ("limits.records.max", Some("limits.records.mode")),
    ("limits.bytes.max", Some("limits.bytes.mode")),
    ("limits.joins.max", Some("limits.joins.mode")),
    ("limits.commits.max", Some("limits.commits.mode")),
    ("limits.calls.max", Some("limits.calls.mode")),
    ("limits.watchers.max", Some("limits.watchers.mode")),
    ("limits.gossipFanout.max", None),
    ("limits.gossipMessages.max", None),
];

fn settings(kind: LimitKind) -> (&'static str, Option<&'static str>) {
    let settings = SETTINGS.into_iter().find(|(max, _)| *max == kind.row().max_key).unwrap();
    let mode = match kind.row().effect {
        LimitEffect::ByMode(mode) => Some(mode),
        LimitEffect::Observed => None,
    };
    assert_eq!(settings.1, mode);
    settings
}

/// Does once more what a limit counts; whether that was refused.
async fn is_refused(daemon: &LimitedDaemon, kind: LimitKind, at: usize) -> bool {
    let key = format!("{at:02}");
    let write = async |action, of: RecordKind, bytes| {
        let made = daemon.write(action, of, &key, bytes).await;
        made.map(drop).map_err(|refused| drop(declined::<()>(Err(refused)))).is_err()
    };
    let call = |method, is_watch| {
        let begun = daemon.calls.begin(&BeginningCall { method, port: "control", is_watch });
        let is_refused = begun.is_err();
        // What is served stays so.
        std::mem::forget(begun);
        is_refused
    };
    match kind {
        LimitKind::Peers | LimitKind::Joins => write(JOIN, PASS, 1).await,
        LimitKind::Shards => write(CREATE, SPACE, 1).await,
        LimitKind::Records | LimitKind::Commits => write(CREATE, THING, 1).await,
        // With its key.
        LimitKind::Bytes => write(CREATE, THING, 8).await,
        LimitKind::Calls => call("/omnirelay.mesh.control.v1.PeerControlService/List", false),
        LimitKind::Watchers => call("/omnirelay.mesh.control.v1.PeerControlService/Watch", true),
        LimitKind::GossipFanout | LimitKind::GossipMessages => false,
    }
}

/// Each limit is set, enforced, raised and taken away while a daemon does what it counts.
#[tokio::test(start_paused = true)]
async fn a_limit_is_what_the_configuration_says_by_then() {
    for kind in LimitKind::ALL {
        let (max, mode) = settings(kind);
        let daemon = LimitedDaemon::new().await;
        let shown = || {
            let limit = daemon.monitor.shown().into_iter().find(|limit| limit.setting == max).unwrap();
            (limit.max, limit.mode())
        };
        let each = if kind == LimitKind::Bytes { 10 } else { 1 };
        assert_eq!(shown(), (None, Mode::Off), "{max}");
        daemon.settings.set(max, 2 * each);
        assert_eq!(shown(), (Some(2 * each), Mode::Observe), "{max}");
        let Some(mode) = mode else { continue };
        for at in 0..3 {
            assert!(!is_refused(&daemon, kind, at).await, "{max} is observed");
        }
        daemon.settings.set(mode, "enforce");
        assert_eq!(shown(), (Some(2 * each), Mode::Enforce), "{max}");
        let refused = async |from: usize| {
            let mut refused = Vec::new();
            for at in from..from + 4 {
                refused.push(is_refused(&daemon, kind, at).await);
            }
            refused
        };
        // Of rates as many as may be come at once, of the others there are too many already.
        let is_rate = matches!(kind, LimitKind::Joins | LimitKind::Commits | LimitKind::Calls);
        let expected = if is_rate { [false, false, true, true] } else { [true; 4] };
        assert_eq!(refused(10).await, expected, "{max}");
        daemon.settings.set(max, 5 * each);
        sleep(Duration::from_secs(60)).await;
        let expected = if is_rate { [false; 4] } else { [false, false, true, true] };
        assert_eq!(refused(20).await, expected, "{max} is higher");
        daemon.settings.set(mode, "observe");
        assert_eq!(refused(30).await, [false; 4], "{max} is observed again");
    }
}
