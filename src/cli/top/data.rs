//! Data from the daemon: one stream of events, and answers to what the model asks.

use omnirelay_wire::rpc::{certificate_service, event_service};
use tokio::sync::{Notify, mpsc};

use super::model::Ask;
use super::model::listing::AskFailure;
use super::views::ListKind;
use crate::check::checked_mesh::CHECK;
use crate::frame::client::pause;
use crate::frame::prelude::*;
use crate::frame::watch::SILENCE_MAX;
use crate::frame::watch::stream::{self, OpenEventStream, StreamEnd};

/// How far back what happened is told when it begins.
const BEFORE: &str = "5m";
/// The most certificates that are asked for at once.
const CERTIFICATES_MAX: u32 = 1000;

/// Reasons for which a request is refused that would be refused again: of a time that was, and of its form.
const JUDGED: [&str; 3] =
    [reasons::HISTORY_NOT_KEPT.name, reasons::INVALID_ARGUMENT.name, reasons::UNKNOWN_FIELD.name];

/// News of the stream.
#[derive(Debug)]
pub(super) enum StreamNews {
    Event(Value),
    /// It is open, and something was heard on it.
    Live,
    /// It is lost, and why; it is being opened again.
    Lost(String),
    /// The daemon refuses it.
    Refused(CliError),
}

/// Follows the one stream over as many connections as it takes, each from where the one before ended, until nobody
/// listens or the daemon refuses. `again` has it opened anew at once.
pub(super) async fn follow(session: &CommandSession, told: mpsc::Sender<StreamNews>, again: &Notify) {
    let mut cursor = BEFORE.to_owned();
    let mut tries = 0;
    loop {
        let ended = tokio::select! {
            ended = connect(session, &mut cursor, &mut tries, &told) => ended,
            () = again.notified() => continue,
        };
        let news = match ended {
            None => return,
            Some(StreamEnd::Refused(error)) => StreamNews::Refused(error),
            Some(StreamEnd::Failed(failure)) => StreamNews::Lost(failure.cause),
            Some(StreamEnd::Later(error)) => StreamNews::Lost(error.body().message.clone()),
        };
        let is_refused = matches!(news, StreamNews::Refused(_));
        if told.send(news).await.is_err() || is_refused {
            return;
        }
        if let Ok(client) = session.client() {
            client.turn_away();
        }
        tries += 1;
        tokio::select! {
            () = tokio::time::sleep(pause(tries)) => {}
            () = again.notified() => {}
        }
    }
}

/// One connection, from its beginning to its end; `None`: nobody listens.
async fn connect(
    session: &CommandSession,
    cursor: &mut String,
    tries: &mut u32,
    told: &mpsc::Sender<StreamNews>,
) -> Option<StreamEnd> {
    let is_place = cursor.contains(':');
    // A time to begin from is a field of the request; a place goes where the stream is resumed.
    let since = if is_place { "" } else { cursor.as_str() };
    let opened = async {
        let call = Call::of(&event_service::WATCH, &json!({"since": since})).map_err(StreamEnd::Refused)?;
        let client = session.client().map_err(StreamEnd::Refused)?;
        stream::open(client, &call, if is_place { cursor } else { "" }).await
    };
    match opened.await {
        Ok(stream) => listen(stream, cursor, tries, told).await,
        Err(ended) => Some(ended),
    }
}

async fn listen(
    mut stream: OpenEventStream,
    cursor: &mut String,
    tries: &mut u32,
    told: &mpsc::Sender<StreamNews>,
) -> Option<StreamEnd> {
    told.send(StreamNews::Live).await.ok()?;
    loop {
        let event = match tokio::time::timeout(SILENCE_MAX, stream.next()).await {
            Ok(Ok(event)) => event,
            Ok(Err(ended)) => return Some(ended),
            Err(_) => {
                let silent = crate::frame::failure::CallFailure::silent(SILENCE_MAX.as_secs());
                return Some(StreamEnd::Failed(silent));
            }
        };
        *tries = 0;
        let Some(event) = event else { continue };
        let event = event.document;
        match text(&event, "cursor") {
            "" => {}
            place => place.clone_into(cursor),
        }
        if text(&event, "type") == "omnirelay.events.reset" {
            // With the old place there is a reset again.
            cursor.clear();
        }
        told.send(StreamNews::Event(event)).await.ok()?;
    }
}

/// Asks one question, and gives what came of it in words that fit a line.
pub(super) async fn answer(session: &CommandSession, ask: Ask) -> (Ask, Result<Value, AskFailure>) {
    let call = match &ask {
        Ask::Page { page, request, .. } => Call::of(&page.kind.spec().rpc, request),
        Ask::Count { status, at } => {
            let mut request = json!({"status": [status], "pageSize": 1});
            if !at.is_empty() {
                request["at"] = json!(at);
            }
            Call::of(&ListKind::Peers.spec().rpc, &request)
        }
        Ask::Check => Call::of(&CHECK, &json!({})),
        Ask::Certificates => {
            let request = json!({"kinds": ["node"], "pageSize": CERTIFICATES_MAX});
            Call::of(&certificate_service::LIST, &request)
        }
        Ask::Facts { method, request, .. } => Call::of(method, request),
    };
    let answered = match call {
        Ok(call) => session.call(&call).await,
        Err(error) => Err(error),
    };
    let answered = answered.map_err(|error| AskFailure {
        said: in_a_line(&error),
        is_refused: JUDGED.contains(&error.reason()),
    });
    (ask, answered)
}

/// Error in one line: what failed, and why.
pub(super) fn in_a_line(error: &CliError) -> String {
    let body = error.body();
    let cause = body.cause.as_deref().and_then(|cause| cause.lines().next());
    match cause {
        Some(cause) if !cause.is_empty() => format!("{}: {cause}", body.message),
        Some(_) | None => body.message.clone(),
    }
}
