//! The number of watches, changed while some are served.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_settings::{Config, LiveConfig};
use omnirelay_store::{MemoryStore, RecordId, Write};
use tokio::time::timeout;

use super::*;

const THING: RecordKind = RecordKind::of("thing");

/// Tells of each record that is new or was changed.
struct Things;

impl WatchedNoun for Things {
    type Event = Timestamp;

    fn event(&mut self, _: EventFrame, shown: ShownChange<'_>) -> Option<Timestamp> {
        shown.step().map(|step| timestamp(step.at))
    }
}

#[tokio::test]
async fn as_many_watch_as_may_by_then_and_none_is_ended() {
    let settings = LiveConfig::from(Config::default());
    settings.set("control.watchesMax", 1);
    let registry = lab::registry("node-1", Arc::new(MemoryStore::system()), &[THING]);
    let lab = LabRegistry::new(registry).await;
    let max = settings.live(|config| config.control.watches_max);
    let watches = NounWatches::<Timestamp>::new(lab.registry.clone(), max);
    let begin = async || watches.begin([THING], |_| true, "").await.map(|begun| begun.of(Things).events());
    let reason = |begun: Result<_, Fault>| begun.err().map(|fault: Fault| fault.reason.into_owned());
    let refused = Some("TOO_MANY_WATCHES".to_owned());

    let mut first = begin().await.unwrap();
    assert_eq!(reason(begin().await), refused);
    settings.set("control.watchesMax", 2);
    let mut second = begin().await.unwrap();
    assert_eq!(reason(begin().await), refused);

    // Of fewer than there are each goes on, and no other is let in until there is room.
    settings.set("control.watchesMax", 1);
    let id = RecordId::new(THING, "a");
    let put = Write::Put { id, value: Bytes::from_static(b"a"), group: None };
    let act = DaemonAct::new("tests.write", [THING], WriteAuthority::Unfenced);
    lab.registry.attempt(&act, CommitPlan::default().write([put])).await.unwrap();
    for watch in [&mut first, &mut second] {
        let told = timeout(Duration::from_secs(5), watch.next()).await;
        assert!(matches!(told, Ok(Some(Ok(_)))), "a watch ended");
    }
    drop(first);
    assert_eq!(reason(begin().await), refused);
    drop(second);
    assert_eq!(reason(begin().await), None);
}
