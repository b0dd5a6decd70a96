//! Waits of a watch: before a try, and on a stream that is silent.

use eventsource_client::{Error as SseError, SSE};
use futures_util::StreamExt as _;
use futures_util::stream::{self as streams, BoxStream};

use super::*;
use crate::frame::env::EnvironmentVariables;
use crate::frame::global::GlobalArgs;
use crate::frame::rpc::{HttpVerb, RpcMethod};
use crate::frame::settings::CommandSettings;

const LIST: RpcMethod = RpcMethod {
    method: "a.B/L",
    verb: HttpVerb::Get,
    path: "/control/things",
    scope: "mesh.read",
    audit_action: "",
    awaits_work: false,
};

#[test]
fn pauses_grow_to_two_seconds_and_no_further() {
    for tries in (1..40).chain([u32::MAX]) {
        let pause = pause(tries);
        let bounds = Duration::from_millis(50)..=Duration::from_secs(2);
        assert!(bounds.contains(&pause), "try {tries}: {pause:?}");
    }
    assert!(pause(1) <= Duration::from_millis(100));
    assert!(pause(30) >= Duration::from_secs(1));
}

fn session() -> CommandSession {
    CommandSession::new(
        CommandSettings::resolve(
            &GlobalArgs { quiet: true, ..GlobalArgs::default() },
            EnvironmentVariables::default(),
        )
        .unwrap(),
    )
}

fn watch<'a>(session: &CommandSession, args: &'a WatchArgs) -> RunningWatch<'a> {
    RunningWatch {
        feed: WatchFeed {
            rpc: &LIST,
            call: super::super::rpc::Call::of(&LIST, &serde_json::json!({})).unwrap(),
            kind: "thing",
            named: &[],
            news: None,
            present: None,
            keep: KeptObjects::Latest,
            object: "thing",
            id: |item| text(item, "id").to_owned(),
            columns: &[],
            summary: |_| String::new(),
            line: None,
        },
        args,
        cursor: WatchPosition::default(),
        printer: EventPrinter::of(session, true, TableArgs::default().layout(), false),
        known: LastSeenObjects::new(),
        synced: true,
        in_snapshot: false,
        changes: 0,
        show_progress: false,
        dirty: false,
        settled: Instant::now(),
        disturbed: ScreenWatcher::listen(),
        asking: StatePoller::default(),
        link: WatchConnection::default(),
    }
}

/// Item that comes on a stream, behind the seconds since what came before.
type Timed = (u64, Result<SSE, SseError>);

/// How a watch on `events` ends, and after what time.
async fn listened(watch: &mut RunningWatch<'_>, events: Vec<Timed>) -> (Option<StreamEnd>, Duration) {
    let mut session = session();
    let started = Instant::now();
    let spaced = streams::iter(events).then(|(after, item)| async move {
        tokio::time::sleep(Duration::from_secs(after)).await;
        item
    });
    let endless: BoxStream<_> = Box::pin(spaced.chain(streams::pending()));
    let stream = OpenEventStream::of(Box::pin(sync_wrapper::SyncStream::new(endless)));
    let ended = watch.listen(&mut session, stream, "http://h:1").await.unwrap();
    (ended, started.elapsed())
}

fn silent() -> Option<StreamEnd> {
    Some(StreamEnd::Failed(CallFailure::silent(45)))
}

#[tokio::test(start_paused = true)]
async fn stream_that_never_says_a_word_is_given_up_after_three_intervals() {
    let (args, session) = (WatchArgs::default(), session());
    let (ended, after) = listened(&mut watch(&session, &args), Vec::new()).await;
    assert_eq!(ended, silent());
    assert!((45..47).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_stream_and_their_end_ends_it() {
    let (args, session) = (WatchArgs::default(), session());
    let beat = || (44, Ok(SSE::Comment("alive".to_owned())));
    let (ended, after) = listened(&mut watch(&session, &args), (0..20).map(|_| beat()).collect()).await;
    assert_eq!(ended, silent());
    let expected = 20 * 44 + 45;
    assert!((expected..expected + 2).contains(&after.as_secs()), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn connection_is_back_when_something_is_heard_or_it_stands_for_a_while() {
    let (args, session) = (WatchArgs::default(), session());
    let lost = |events: Vec<Timed>| {
        let mut watch = watch(&session, &args);
        watch.link =
            WatchConnection { connected_once: true, away: true, tries: 7, ..WatchConnection::default() };
        async move {
            let (ended, _) = listened(&mut watch, events).await;
            (ended, watch.link.away, watch.link.tries)
        }
    };
    let closed = || Err(SseError::Eof);
    let ended = Some(StreamEnd::Failed(CallFailure::closed()));
    let beat = || Ok(SSE::Comment("alive".to_owned()));
    assert_eq!(lost(vec![(1, closed())]).await, (ended.clone(), true, 7), "closed at once");
    assert_eq!(lost(vec![(0, beat()), (1, closed())]).await, (ended.clone(), false, 0), "heard");
    assert_eq!(lost(vec![(5, closed())]).await, (ended, false, 7), "it stood for a while");
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_record_that_was_told_before_is_told_too() {
    let (args, session) = (WatchArgs::default(), session());
    let event = |kind: &str, id: &str| {
        let data = serde_json::json!({ "type": kind, "cursor": "", "thing": { "id": id } }).to_string();
        let (event_type, id, retry) = (kind.to_owned(), None, None);
        (0, Ok(SSE::Event(eventsource_client::Event { event_type, data, id, retry })))
    };
    let cases = [("added", "old", 0), ("modified", "old", 1), ("removed", "old", 1), ("added", "new", 1)];
    for (kind, id, changes) in cases {
        let mut watch = watch(&session, &args);
        watch.feed.keep = KeptObjects::Nothing(["old".to_owned()].into());
        listened(&mut watch, vec![event(kind, id)]).await;
        assert_eq!(watch.changes, changes, "{kind} {id}");
    }
}
