//! Streams in both directions: what the client says is neither read nor kept by the surface.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use omnirelay_identity::authenticate::HostAuthenticator;
use omnirelay_surface::ListenerLimits;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::raw::RawMessage;
use tokio::sync::mpsc;
use tonic::{Code, Request, Status, Streaming};

use crate::fixture::Served;

/// The most that a message of the method has, in bytes.
const MESSAGE_BYTES_MAX: usize = 8192;

/// Both ends of a stream.
struct Talk {
    say: mpsc::Sender<RawMessage>,
    hear: Streaming<RawMessage>,
}

impl Talk {
    async fn with(served: &Served) -> Self {
        Self::of(served, false).await
    }

    async fn of(served: &Served, stubborn: bool) -> Self {
        let (say, mut said) = mpsc::channel(16);
        let messages = futures_util::stream::poll_fn(move |cx| said.poll_recv(cx));
        let mut request = Request::new(messages);
        if stubborn {
            request.metadata_mut().insert("stubborn", "1".parse().unwrap());
        }
        let hear = served.grpc().await.talk(request).await.unwrap().into_inner();
        Self { say, hear }
    }

    async fn echo(&mut self, bytes: usize) {
        let message = RawMessage(Bytes::from(vec![7; bytes]));
        self.say.send(message.clone()).await.unwrap();
        assert_eq!(self.hear.message().await.unwrap(), Some(message), "{bytes}");
    }

    /// What is heard until the end, and the fault at the end.
    async fn end(mut self) -> (Vec<RawMessage>, Result<(), (Code, String)>) {
        let mut heard = Vec::new();
        loop {
            match self.hear.message().await {
                Ok(Some(message)) => heard.push(message),
                Ok(None) => return (heard, Ok(())),
                Err(status) => return (heard, Err(reason(&status))),
            }
        }
    }
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), Fault::from(status).reason.into_owned())
}

fn bye() -> Vec<RawMessage> {
    vec![RawMessage("bye".into())]
}

#[tokio::test]
async fn messages_go_and_come_as_they_are() {
    let served = Served::start_as(HostAuthenticator::new(|| true)).await;
    let mut talk = Talk::with(&served).await;
    for bytes in [0, 1, 300, MESSAGE_BYTES_MAX, 5] {
        talk.echo(bytes).await;
    }
    let Talk { say, mut hear } = talk;
    drop(say);
    assert_eq!(hear.message().await.unwrap(), None, "the client's end is the stream's");
}

#[tokio::test]
async fn a_stream_without_a_message_ends_well() {
    let served = Served::start().await;
    let Talk { say, mut hear } = Talk::with(&served).await;
    drop(say);
    assert_eq!(hear.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_message_that_is_too_large_ends_its_own_stream_only() {
    let served = Served::start().await;
    let (mut talk, mut other) = (Talk::with(&served).await, Talk::with(&served).await);
    talk.echo(3).await;
    talk.say.send(RawMessage(Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1]))).await.unwrap();
    let expected = Err((Code::InvalidArgument, "BODY_TOO_LARGE".to_owned()));
    assert_eq!(talk.end().await, (bye(), expected));
    other.echo(MESSAGE_BYTES_MAX).await;
}

#[tokio::test]
async fn what_a_stream_has_said_is_not_counted_for_as_long_as_it_lasts() {
    // Room for one message, and not for what all of them say.
    let room = |builder: omnirelay_surface::SurfaceBuilder| builder.in_flight_bytes_max(10_000);
    let served = Served::start_with(room, ListenerLimits::default()).await;
    let mut talks = Vec::new();
    for _ in 0..5 {
        talks.push(Talk::with(&served).await);
    }
    for talk in &mut talks {
        for _ in 0..3 {
            talk.echo(MESSAGE_BYTES_MAX).await;
        }
    }
}

#[tokio::test]
async fn draining_ends_a_stream_once_it_has_said_what_is_due() {
    let mut served = Served::start().await;
    let (mut talk, mut stubborn) = (Talk::with(&served).await, Talk::of(&served, true).await);
    talk.echo(3).await;
    stubborn.echo(3).await;
    let begun = Instant::now();
    served.stop();
    let draining = || Err((Code::Unavailable, "DRAINING".to_owned()));
    assert_eq!(talk.end().await, (bye(), draining()));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // One that does not care is not waited for without end.
    assert_eq!(stubborn.end().await, (vec![], draining()));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(served.stopped().await.cut, 0);
}

#[tokio::test]
async fn a_stream_that_never_pauses_is_ended_too() {
    let mut served = Served::start().await;
    let (say, mut hear) = {
        let talk = Talk::with(&served).await;
        (talk.say, talk.hear)
    };
    let saying = tokio::spawn(async move { while say.send(RawMessage("x".into())).await.is_ok() {} });
    let mut heard = 0;
    let status = loop {
        match hear.next().await.unwrap() {
            Ok(_) => heard += 1,
            Err(status) => break status,
        }
        if heard == 1000 {
            served.stop();
        }
    };
    assert_eq!(reason(&status), (Code::Unavailable, "DRAINING".to_owned()));
    drop(hear);
    saying.await.unwrap();
    assert_eq!(served.stopped().await.cut, 0);
}
