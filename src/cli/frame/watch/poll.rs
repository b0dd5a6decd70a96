//! Watching what nobody streams: asked again and again, and told as a watch tells it.

use std::collections::BTreeSet;
use std::time::Duration;

use omnirelay_wire::fault::Exit;
use serde_json::{Value, json};

use super::cursor::WatchPosition;
use super::stream::StreamEvent;
use super::{RunningWatch, WatchFeed};
use crate::frame::args::{TableArgs, WatchArgs};
use crate::frame::error::CliError;
use crate::frame::session::CommandSession;
use crate::frame::time;

/// Pace of polling: how often is asked, and which differences are none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollPace {
    pub interval: Duration,
    /// Fields that differ all the time.
    pub counters: &'static [&'static str],
}

/// Round of polling: what was answered once.
pub(crate) struct PollRound {
    /// All objects that somebody told of.
    pub objects: Vec<Value>,
    /// Whether an object that is not among them may only not have been told.
    pub is_missing: Box<dyn Fn(&Value) -> bool>,
}

/// Watches until a condition is met, the time is over or a signal comes.
///
/// # Errors
/// The failure of the first question, and any later one that another question would meet as well; the time was over
/// before the condition was met.
pub(crate) async fn run(
    session: &mut CommandSession,
    feed: WatchFeed<'_>,
    args: &WatchArgs,
    table: &TableArgs,
    pace: PollPace,
    ask: impl AsyncFn(&CommandSession) -> Result<PollRound, CliError>,
) -> Result<Exit, CliError> {
    // Nothing that is asked again and again has a cursor, nor progress of one to tell.
    let mut watch = RunningWatch::new(session, feed, args, table, WatchPosition::default())?;
    watch.show_progress = false;
    let end = watch.told_to_end()?;
    tokio::select! {
        ended = watch.poll(session, pace, ask) => ended.map(|()| Exit::Ok),
        ended = end => ended,
    }
}

impl RunningWatch<'_> {
    async fn poll(
        &mut self,
        session: &mut CommandSession,
        pace: PollPace,
        ask: impl AsyncFn(&CommandSession) -> Result<PollRound, CliError>,
    ) -> Result<(), CliError> {
        loop {
            match ask(session).await {
                Ok(round) => {
                    let address = session.client()?.address().to_string();
                    self.say_back(session, &address)?;
                    self.link.connected_once = true;
                    for event in self.differences(round, pace.counters) {
                        self.take(session, StreamEvent { document: event })?;
                        if self.is_over() {
                            return self.settle(session);
                        }
                    }
                    self.settle(session)?;
                }
                Err(error) if !self.link.connected_once || !may_pass(&error) => return Err(error),
                Err(error) => self.say_lost(session, &error.body().message.clone())?,
            }
            self.idle(session, pace.interval).await?;
        }
    }

    /// The events that lead from what is known to `round`. What differs in counters only is noted, and no event.
    fn differences(&mut self, round: PollRound, counters: &[&str]) -> Vec<Value> {
        let time = time::now_ms().map(time::exact_clock).unwrap_or_default();
        let object = self.feed.object;
        let event = |kind: &str, one: &Value| json!({"type": kind, "cursor": "", "prevCursor": "", "time": time, (object): one});
        let first = !self.synced;
        let (mut events, mut seen) = (Vec::new(), BTreeSet::new());
        for one in round.objects {
            let id = (self.feed.id)(&one);
            seen.insert(id.clone());
            match self.known.get_mut(&id) {
                _ if first => events.push(event("snapshot", &one)),
                None => events.push(event("added", &one)),
                Some(before) if without(before, counters) != without(&one, counters) => {
                    events.push(event("modified", &one));
                }
                Some(before) => *before = one,
            }
        }
        let gone = self.known.iter().filter(|(id, one)| !seen.contains(*id) && !(round.is_missing)(one));
        events.extend(gone.map(|(_, one)| event("removed", one)));
        if first {
            events.push(json!({"type": "synced", "cursor": "", "prevCursor": "", "time": time}));
        }
        events
    }
}

/// Whether another question may be answered.
fn may_pass(error: &CliError) -> bool {
    error.body().retryable || matches!(error.exit(), Exit::Error | Exit::Timeout | Exit::NotFound)
}

fn without(one: &Value, counters: &[&str]) -> Value {
    let mut one = one.clone();
    if let Some(fields) = one.as_object_mut() {
        fields.retain(|name, _| !counters.contains(&name.as_str()));
    }
    one
}
