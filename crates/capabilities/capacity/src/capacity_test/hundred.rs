//! A hundred at once at a limit that has room for fifty: exactly fifty pass.

use futures_util::future::join_all;
use omnirelay_decisions::capacity::LimitKind;
use omnirelay_scripted::{Ill, Method};
use omnirelay_store::RecordKind;
use omnirelay_surface::{BeginningCall, CallJudge as _};

use super::{CREATE, ENTER, JOIN, LimitedDaemon, MEMBER, PASS, SPACE, THING, declined};

/// A limit, what is done a hundred times, and what is there before.
struct Crowd {
    section: &'static str,
    kind: LimitKind,
    action: &'static str,
    writes: RecordKind,
    /// Of each value.
    bytes: usize,
    /// Use of the limit by each.
    each: u64,
}

/// All limits that commits reach; keys have two bytes.
const CROWDS: [Crowd; 6] = [
    Crowd { section: "records", kind: LimitKind::Records, action: CREATE, writes: THING, bytes: 8, each: 1 },
    Crowd { section: "bytes", kind: LimitKind::Bytes, action: CREATE, writes: THING, bytes: 8, each: 10 },
    Crowd { section: "shards", kind: LimitKind::Shards, action: CREATE, writes: SPACE, bytes: 3, each: 3 },
    Crowd { section: "peers", kind: LimitKind::Peers, action: JOIN, writes: PASS, bytes: 8, each: 1 },
    Crowd { section: "commits", kind: LimitKind::Commits, action: CREATE, writes: THING, bytes: 8, each: 1 },
    Crowd { section: "joins", kind: LimitKind::Joins, action: JOIN, writes: PASS, bytes: 8, each: 1 },
];

/// How many are there before.
const BEFORE: u64 = 20;

async fn fifty_of_a_hundred_pass(crowd: &Crowd, ill: Option<Ill>) {
    let daemon = LimitedDaemon::new().await;
    let is_rate = matches!(crowd.kind, LimitKind::Commits | LimitKind::Joins);
    let there = if is_rate { 0 } else { BEFORE };
    for at in 0..there {
        let kind = if crowd.kind == LimitKind::Peers { MEMBER } else { crowd.writes.clone() };
        daemon.write(ENTER, kind, &format!("b{}", char::from(b'a' + at as u8)), crowd.bytes).await.unwrap();
    }
    daemon.enforce(crowd.section, (there + 50) * crowd.each);
    if let Some(ill) = ill {
        daemon.store.fall_ill([Method::Commit], ill);
    }
    let write = async |at: u64| {
        let key = format!("{at:02}");
        daemon.write(crowd.action, crowd.writes.clone(), &key, crowd.bytes).await
    };
    let (made, refused): (Vec<_>, Vec<_>) =
        join_all((0..100).map(write)).await.into_iter().partition(Result::is_ok);
    let what = format!("{} {ill:?}", crowd.section);
    assert_eq!((made.len(), refused.len()), (50, 50), "{what}");
    assert_eq!(daemon.refused(crowd.kind), 50, "{what}");
    for refusal in refused {
        let fault = declined(refusal);
        assert_eq!(fault.details["setting"], format!("limits.{}.max", crowd.section), "{what}");
        assert_eq!(fault.retried_after().is_some(), is_rate, "{what}");
    }
    if !is_rate {
        ten_more_pass(&daemon, crowd, there + 60, &what).await;
    }
}

/// What was shown is not counted twice: where the limit is higher by ten, ten pass, one after the other.
async fn ten_more_pass(daemon: &LimitedDaemon, crowd: &Crowd, max: u64, what: &str) {
    daemon.enforce(crowd.section, max * crowd.each);
    let mut made = 0;
    for at in 0..20_u8 {
        let key = format!("m{}", char::from(b'a' + at));
        let outcome = daemon.write(crowd.action, crowd.writes.clone(), &key, crowd.bytes).await;
        made += u32::from(outcome.is_ok());
    }
    assert_eq!(made, 10, "{what}");
}

#[tokio::test(start_paused = true)]
async fn as_many_pass_as_there_is_room_for() {
    for crowd in &CROWDS {
        fifty_of_a_hundred_pass(crowd, None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_pass_where_the_store_answers_late() {
    for crowd in &CROWDS {
        fifty_of_a_hundred_pass(crowd, Some(Ill::AnswersLate)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_watches_at_once_are_as_many_as_may_be() {
    let daemon = LimitedDaemon::new().await;
    daemon.enforce("watchers", 50);
    let watch = BeginningCall {
        method: "/omnirelay.mesh.control.v1.PeerControlService/Watch",
        port: "control",
        is_watch: true,
    };
    let (calls, judge) = (std::sync::Mutex::new(Vec::new()), &daemon.calls);
    std::thread::scope(|threads| {
        for _ in 0..10 {
            threads.spawn(|| {
                (0..10).for_each(|_| {
                    let begun = judge.begin(&watch);
                    calls.lock().unwrap().push(begun);
                });
            });
        }
    });
    let (served, refused): (Vec<_>, Vec<_>) =
        calls.into_inner().unwrap().into_iter().partition(Result::is_ok);
    assert_eq!((served.len(), refused.len()), (50, 50));
    assert_eq!((daemon.watchers(), daemon.refused(LimitKind::Watchers)), (50, 50));
    drop(served);
    assert_eq!(daemon.watchers(), 0);
}
