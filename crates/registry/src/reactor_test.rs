//! Wakes of a driver by the reactor: what wakes it, and that nothing else does.

use crate::lab;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use omnirelay_scripted::{Faulty, Ill, Method, memory};
use omnirelay_store::{RecordId, RecordKind, Write};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Registry;
use super::act::{CommitPlan, DaemonAct, WriteAuthority};
use super::heartbeat::HeartbeatPace;
use super::lab::LabRegistry;
use super::reactor::LookPace;
use super::view::View;

const THING: RecordKind = RecordKind::of("thing");
const OTHER: RecordKind = RecordKind::of("other");
static MIRRORED: [RecordKind; 2] = [THING, OTHER];
const BEAT: Duration = Duration::from_millis(500);
const MS: Duration = Duration::from_millis(1);

struct Daemon {
    registry: Arc<Registry>,
    path: Arc<Faulty>,
    looks: Arc<AtomicUsize>,
    tasks: JoinSet<()>,
}

async fn daemon() -> Daemon {
    let path = Faulty::over(memory());
    let pace = HeartbeatPace { renew_every: BEAT, grace: BEAT * 4 };
    let registry = lab::registry("a", path.clone(), &MIRRORED);
    let LabRegistry { registry, tasks } = LabRegistry::beating(registry, pace).await;
    Daemon { registry, path, looks: Arc::default(), tasks }
}

impl Daemon {
    /// Looks at things, each time for so long, and names an instant that far ahead.
    fn look_at_things(&mut self, takes: Duration, again: Option<Duration>) {
        let (registry, looks) = (self.registry.clone(), self.looks.clone());
        self.tasks.spawn(async move {
            let look = async || {
                looks.fetch_add(1, Ordering::SeqCst);
                sleep(takes).await;
                again.map(|again| Instant::now() + again)
            };
            registry.react(|view| view.changed(&THING), look).await;
        });
    }

    /// Only counts that it looks.
    fn counting(&self) -> impl FnMut() -> Ready<Option<Instant>> + Send + 'static {
        let looks = self.looks.clone();
        move || {
            looks.fetch_add(1, Ordering::SeqCst);
            ready(None)
        }
    }

    async fn put(&self, kind: RecordKind) {
        let act = DaemonAct::new("tests.put", [kind.clone()], WriteAuthority::Unfenced);
        let write = Write::Put { id: RecordId::new(kind, "x"), value: Bytes::new(), group: None };
        self.registry.attempt(&act, CommitPlan::default().write([write])).await.unwrap();
    }

    /// How often it has looked since this was asked last.
    fn looked(&self) -> usize {
        self.looks.swap(0, Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_looked_at_wakes_and_nothing_else_does() {
    let mut d = daemon().await;
    d.look_at_things(Duration::ZERO, None);
    sleep(BEAT * 100).await;
    assert_eq!(d.looked(), 1, "beats change nothing");
    d.put(OTHER).await;
    sleep(MS).await;
    assert_eq!(d.looked(), 0, "nor does another kind");
    d.put(THING).await;
    sleep(MS).await;
    assert_eq!(d.looked(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_changes_during_a_look_is_looked_at_again() {
    let mut d = daemon().await;
    d.look_at_things(MS * 100, None);
    sleep(MS * 10).await;
    d.put(THING).await;
    sleep(MS * 50).await;
    assert_eq!(d.looked(), 1);
    sleep(MS * 50).await;
    assert_eq!(d.looked(), 1);
    sleep(BEAT).await;
    assert_eq!(d.looked(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_instant_wakes_however_much_else_moves() {
    let mut d = daemon().await;
    d.look_at_things(Duration::ZERO, Some(MS * 40));
    sleep(MS).await;
    assert_eq!(d.looked(), 1);
    for _ in 0..100 {
        d.put(OTHER).await;
        sleep(MS * 4).await;
    }
    let looked = d.looked();
    assert!((9..=11).contains(&looked), "{looked}");
}

#[tokio::test(start_paused = true)]
async fn beats_silence_and_return_wake_whoever_looks_at_them() {
    let mut d = daemon().await;
    let (registry, look) = (d.registry.clone(), d.counting());
    d.tasks.spawn(async move {
        registry.react(|view| (view.connectivity().beats(), view.silence().is_some()), look).await;
    });
    sleep(MS).await;
    d.looked();
    sleep(BEAT * 10).await;
    assert_eq!(d.looked(), 10);
    d.path.fall_ill([Method::Pulse], Ill::Fails);
    sleep(BEAT * 10).await;
    assert_eq!(d.looked(), 1, "it has fallen silent");
    d.path.recover();
    sleep(BEAT * 2).await;
    let looked = d.looked();
    assert!((2..=3).contains(&looked), "{looked}");
}

#[tokio::test(start_paused = true)]
async fn what_is_paced_is_looked_at_now_and_then_and_what_is_not_at_once() {
    let mut d = daemon().await;
    let (registry, look) = (d.registry.clone(), d.counting());
    d.tasks.spawn(async move {
        let pace = LookPace { sense: |view: &View| view.changed(&THING), between: MS * 100 };
        registry.react_paced(|view| view.changed(&OTHER), pace, look).await;
    });
    sleep(MS * 200).await;
    d.looked();
    d.put(THING).await;
    sleep(MS).await;
    assert_eq!(d.looked(), 1, "the first change is looked at at once");
    for _ in 0..50 {
        d.put(THING).await;
        sleep(MS * 10).await;
    }
    let looked = d.looked();
    assert!((4..=6).contains(&looked), "{looked}");
    d.put(OTHER).await;
    sleep(MS).await;
    assert_eq!(d.looked(), 1, "what is not paced does not wait");
}

#[tokio::test(start_paused = true)]
async fn looks_that_are_much_work_are_further_apart() {
    for (work, expected) in [(MS, 25), (MS * 5, 10), (MS * 100, 3)] {
        let mut d = daemon().await;
        let (registry, mut look) = (d.registry.clone(), d.counting());
        d.tasks.spawn(async move {
            let pace = LookPace { sense: |view: &View| view.changed(&THING), between: MS * 40 };
            let look = || {
                let looked = look();
                async move {
                    tokio::time::advance(work).await;
                    looked.await
                }
            };
            registry.react_paced(|view| view.changed(&OTHER), pace, look).await;
        });
        sleep(MS * 500).await;
        d.looked();
        let until = Instant::now() + MS * 1000;
        while Instant::now() < until {
            d.put(THING).await;
            sleep(MS).await;
        }
        let looked = d.looked();
        assert!(looked.abs_diff(expected) <= 1 + expected / 5, "{work:?}: {looked}");
    }
}
