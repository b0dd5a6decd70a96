//! Watching: one stream of events over any number of connections, without loss and without end.

pub(crate) mod cursor;
mod feed;
pub(crate) mod live;
pub(crate) mod poll;
pub(crate) mod present;
pub(crate) mod printer;
pub(crate) mod stream;
pub(crate) mod until;

use std::io::IsTerminal as _;
use std::time::Duration;

use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;
use serde_json::Value;
use tokio::time::Instant;

use self::cursor::WatchPosition;
pub(crate) use self::feed::{KeptObjects, WatchFeed};
use self::live::LastSeenObjects;
use self::present::StatePoller;
use self::printer::EventPrinter;
use self::stream::{OpenEventStream, StreamEnd, StreamEvent};
use super::args::{TableArgs, WatchArgs};
use super::client::pause;
use super::document::text;
use super::error::CliError;
use super::failure::CallFailure;
use super::keys::KeyboardInput;
use super::screen::printable;
use super::session::CommandSession;
use super::signals::{ScreenDisturbance, ScreenWatcher, StopSignals};

/// The daemon says something at least every 15 s; three times that without a word is a dead peer.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(45);
/// A connection that stands this long is back, although nothing was heard on it yet.
const BACK_AFTER: Duration = Duration::from_secs(2);
/// How often the first connection is tried at every address; once it was there, for ever.
const FIRST_TRIES: u32 = 3;
/// Events that come together are saved together: a pause this long means that they are complete.
const BATCH_PAUSE: Duration = Duration::from_millis(20);
/// A live table is drawn at most ten times a second.
const DRAW_PAUSE: Duration = Duration::from_millis(100);
/// It is drawn at least this often, for ages and leases go on.
const REDRAW: Duration = Duration::from_secs(1);

/// Word for an event: `added`, or `synced` where it is about the stream, in the stream of all events as well.
pub(crate) fn word(event: &Value) -> &str {
    let named = text(event, "type");
    named.strip_prefix("omnirelay.events.").unwrap_or(named)
}

/// A running watch.
struct RunningWatch<'a> {
    feed: WatchFeed<'a>,
    args: &'a WatchArgs,
    cursor: WatchPosition,
    printer: EventPrinter,
    known: LastSeenObjects,
    /// The snapshot is complete, or none was asked for.
    synced: bool,
    /// Inside a snapshot of which rows were printed.
    in_snapshot: bool,
    changes: u64,
    show_progress: bool,
    /// Something was not drawn yet.
    dirty: bool,
    /// When everything was drawn last.
    settled: Instant,
    disturbed: ScreenWatcher,
    asking: StatePoller,
    /// Where the watch is with its connections.
    link: WatchConnection,
}

/// A watch's connections, one after the other.
#[derive(Debug, Default)]
struct WatchConnection {
    /// There was one, so that there will be one again: it is tried for ever.
    connected_once: bool,
    /// It was said that the connection was lost, and not yet that it is back.
    away: bool,
    /// Tries since something was last heard.
    tries: u32,
    /// The last failure of each address.
    failures: Vec<(String, CallFailure)>,
    /// What a daemon stated at the last try.
    stated: Option<CliError>,
}

/// Watches until a condition is met, the time is over, a signal comes or the daemon refuses.
///
/// # Errors
/// The daemon's refusal; no connection at the start; the time was over before the condition was met.
pub(crate) async fn run(
    session: &mut CommandSession,
    feed: WatchFeed<'_>,
    args: &WatchArgs,
    table: &TableArgs,
) -> Result<Exit, CliError> {
    let cursor = WatchPosition::begin(args.since.as_deref(), args.cursor_file.as_deref())?;
    let mut watch = RunningWatch::new(session, feed, args, table, cursor)?;
    let end = watch.told_to_end()?;
    let ended = tokio::select! {
        ended = watch.follow(session) => ended.map(|()| Exit::Ok),
        ended = end => ended,
    };
    watch.cursor.save()?;
    ended
}

/// Waits for `time`; for ever when there is none.
pub(crate) async fn pass(time: Option<Duration>) {
    match time.filter(|time| !time.is_zero()) {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

fn watch_timeout(args: &WatchArgs) -> CliError {
    let span = args.timeout.map(|span| humantime::format_duration(span.0).to_string()).unwrap_or_default();
    let waited_for = match (&args.until, args.max_events) {
        (Some(until), _) => until.to_string(),
        (None, Some(events)) => format!("{events} changes"),
        (None, None) => "an end of the watch".to_owned(),
    };
    CliError::new(reasons::WATCH_TIMEOUT, format!("waited {span} for {waited_for} in vain"))
        .hint("wait longer with --timeout")
}

impl<'a> RunningWatch<'a> {
    /// A watch that has seen nothing yet.
    ///
    /// # Errors
    /// Usage, when it would wait for what cannot be.
    fn new(
        session: &CommandSession,
        feed: WatchFeed<'a>,
        args: &'a WatchArgs,
        table: &TableArgs,
        cursor: WatchPosition,
    ) -> Result<Self, CliError> {
        if let Some(until) = &args.until {
            until.check(feed.rpc, feed.object)?;
        }
        Ok(Self {
            synced: !cursor.at().is_empty(),
            cursor,
            printer: EventPrinter::of(session, args.append, table.layout(), table.absolute),
            feed,
            args,
            known: LastSeenObjects::new(),
            in_snapshot: false,
            changes: 0,
            show_progress: session.notes().verbose > 0,
            dirty: false,
            settled: Instant::now(),
            disturbed: ScreenWatcher::listen(),
            asking: StatePoller::default(),
            link: WatchConnection::default(),
        })
    }
}

impl<'a> RunningWatch<'a> {
    /// Waits for what ends a watch from outside: a signal, a key, its time.
    ///
    /// # Errors
    /// When this process cannot have signals; as it ends, that the time was over before the condition was met.
    fn told_to_end(&mut self) -> Result<impl Future<Output = Result<Exit, CliError>> + use<'a>, CliError> {
        let args = self.args;
        let mut stops = StopSignals::listen()?;
        let mut keys = self.keys()?;
        Ok(async move {
            tokio::select! {
                stopped = stops.wait() => Ok(stopped),
                // Whoever waits for something must not go on as if it had come.
                () = KeyboardInput::quit(&mut keys) => Ok(if args.has_aim() { Exit::Interrupted } else { Exit::Ok }),
                () = pass(args.for_duration.map(|span| span.0)) => Ok(Exit::Ok),
                () = pass(args.timeout.map(|span| span.0)) => Err(watch_timeout(args)),
            }
        })
    }
}

impl RunningWatch<'_> {
    /// Follows the stream over as many connections as it takes.
    async fn follow(&mut self, session: &mut CommandSession) -> Result<(), CliError> {
        let started = Instant::now();
        loop {
            let client = session.client()?;
            let address = client.address().to_string();
            let ended = match stream::open(client, &self.feed.call, self.cursor.at()).await {
                Ok(stream) => {
                    self.link.connected_once = true;
                    match self.listen(session, stream, &address).await? {
                        Some(ended) => ended,
                        None => return Ok(()),
                    }
                }
                Err(ended) => ended,
            };
            let cause = match ended {
                StreamEnd::Refused(error) => return Err(refused(session, error, &address)),
                ended => self.link.failed(&address, ended),
            };
            session.client()?.turn_away();
            self.interrupt_snapshot(session)?;
            self.give_up_at_the_start(session, &address, started)?;
            self.say_lost(session, &cause)?;
            self.idle(session, pause(self.link.tries)).await?;
        }
    }

    /// Ends a watch that never was connected, once every address was tried often enough.
    fn give_up_at_the_start(
        &mut self,
        session: &CommandSession,
        address: &str,
        started: Instant,
    ) -> Result<(), CliError> {
        let client = session.client()?;
        let rounds = self.link.tries.div_ceil(client.target().addresses.len().max(1) as u32);
        if self.link.connected_once || rounds < FIRST_TRIES {
            return Ok(());
        }
        match self.link.stated.take() {
            Some(error) => Err(refused(session, error, address)),
            None => {
                let failures = std::mem::take(&mut self.link.failures);
                Err(client.unreachable(&self.feed.call, failures, rounds, started.elapsed()))
            }
        }
    }

    /// Takes events until the stream ends; `None` when the watch has seen enough.
    async fn listen(
        &mut self,
        session: &mut CommandSession,
        mut stream: OpenEventStream,
        address: &str,
    ) -> Result<Option<StreamEnd>, CliError> {
        let opened = Instant::now();
        let mut heard = opened;
        loop {
            let wait = self.next_pause(heard);
            let every = self.ask_present(session)?;
            let next = tokio::select! {
                biased;
                // Neither of the first two comes as often as events may.
                disturbance = self.disturbed.wait() => {
                    self.draw_again(session, disturbance)?;
                    continue;
                }
                answer = self.asking.answered(every) => {
                    self.take_present(session, answer)?;
                    continue;
                }
                next = tokio::time::timeout(wait, stream.next()) => next,
            };
            match next {
                Ok(Ok(event)) => {
                    heard = Instant::now();
                    self.link.tries = 0;
                    self.say_back(session, address)?;
                    if let Some(event) = event {
                        self.take(session, event)?;
                        if self.is_over() {
                            self.settle(session)?;
                            return Ok(None);
                        }
                    }
                    // Where there is no pause between events there is none to draw in.
                    if self.printer.is_live() && self.settled.elapsed() >= DRAW_PAUSE {
                        self.settle(session)?;
                    }
                }
                Ok(Err(ended)) => {
                    self.settle(session)?;
                    return Ok(Some(ended));
                }
                Err(_) if heard.elapsed() >= SILENCE_MAX => {
                    self.settle(session)?;
                    return Ok(Some(StreamEnd::Failed(CallFailure::silent(SILENCE_MAX.as_secs()))));
                }
                Err(_) => {
                    if opened.elapsed() >= BACK_AFTER {
                        self.say_back(session, address)?;
                    }
                    self.settle(session)?;
                }
            }
        }
    }

    /// Waits without a stream; a live table goes on being drawn.
    async fn idle(&mut self, session: &mut CommandSession, time: Duration) -> Result<(), CliError> {
        let until = Instant::now() + time;
        while self.printer.is_live() && Instant::now() + REDRAW < until {
            self.settle(session)?;
            tokio::select! {
                biased;
                disturbance = self.disturbed.wait() => self.draw_again(session, disturbance)?,
                () = tokio::time::sleep(REDRAW) => {}
            }
        }
        tokio::time::sleep_until(until).await;
        Ok(())
    }

    /// The keyboard, where a live table is looked at.
    fn keys(&mut self) -> Result<Option<KeyboardInput>, CliError> {
        let Some(live) = self.printer.live() else { return Ok(None) };
        let keys = KeyboardInput::take(self.disturbed.stopped())?;
        if keys.is_some() {
            live.ends_by_key();
        }
        Ok(keys)
    }

    /// Draws what may not stand on the screen as it was drawn.
    fn draw_again(
        &mut self,
        session: &mut CommandSession,
        disturbance: ScreenDisturbance,
    ) -> Result<(), CliError> {
        match (self.printer.live(), disturbance) {
            (Some(live), ScreenDisturbance::Continued) => live.begin_below(),
            (Some(live), ScreenDisturbance::Resized) => live.draw_again(),
            (None, _) => return Ok(()),
        }
        self.settle(session)
    }

    /// How long to wait for the next event before something else is due.
    fn next_pause(&self, heard: Instant) -> Duration {
        let until_dead = SILENCE_MAX.saturating_sub(heard.elapsed());
        let due =
            match (self.dirty && self.printer.is_live(), self.cursor.is_unsaved(), self.printer.is_live()) {
                (true, _, _) => DRAW_PAUSE,
                (false, true, _) => BATCH_PAUSE,
                (false, false, true) => REDRAW,
                (false, false, false) => until_dead,
            };
        let due = if self.link.away { due.min(BACK_AFTER) } else { due };
        due.min(until_dead).max(Duration::from_millis(1))
    }

    /// Begins below what others have written since the process has stopped itself.
    fn leave_what_others_wrote(&mut self) {
        if self.disturbed.goes_on()
            && let Some(live) = self.printer.live()
        {
            live.begin_below();
        }
    }

    /// Draws and saves what is due once a batch is complete.
    fn settle(&mut self, session: &mut CommandSession) -> Result<(), CliError> {
        self.leave_what_others_wrote();
        if self.printer.is_live() {
            // What is asked again and again has no cursor.
            let at = self.cursor.at();
            let status = if at.is_empty() { String::new() } else { format!("rev {at}") };
            self.printer.settle(&mut session.out, &self.feed, &self.known, &status)?;
            self.settled = Instant::now();
        }
        self.dirty = false;
        self.cursor.save()
    }

    fn take(&mut self, session: &mut CommandSession, event: StreamEvent) -> Result<(), CliError> {
        let event = event.document;
        let kind = word(&event).to_owned();
        let object = self.feed.object_of(&event);
        let id = (self.feed.id)(object);
        let object = object.clone();
        let mut before = None;
        let mut told = false;
        match kind.as_str() {
            "snapshot" => {
                self.in_snapshot = true;
                self.known.insert(id, object);
            }
            "synced" => {
                self.say_absent(session)?;
                self.synced = true;
                self.in_snapshot = false;
            }
            "reset" => {
                self.known.clear();
                // Without a cursor events begin with what comes next; with the old one there is a reset again.
                if !self.feed.object.is_empty() {
                    self.synced = false;
                    self.cursor.forget();
                }
            }
            "progress" => {}
            _ if object.is_null() => {}
            change if !self.keeps() => {
                // That it is there was told; that it was changed or removed since was not.
                told = change == "added" && self.was_told(&id);
                self.changes += u64::from(!told);
            }
            "removed" => {
                self.changes += 1;
                before = self.known.remove(&id);
            }
            // Whatever else has happened to it, this is how it is now.
            _ => {
                self.changes += 1;
                before = self.known.insert(id, object);
            }
        }
        // Every cursor stands for exactly what was printed, in the middle of a revision too.
        let cursor = text(&event, "cursor");
        if cursor != self.cursor.at() {
            self.cursor.save()?;
        }
        if !told && (kind != "progress" || self.show_progress) {
            self.printer.event(&mut session.out, &self.feed, &event, before.as_ref())?;
        }
        self.dirty = true;
        if self.synced {
            self.cursor.advance(cursor);
        }
        Ok(())
    }

    /// Says which of the objects that were named are not there, once a snapshot is complete.
    fn say_absent(&mut self, session: &mut CommandSession) -> Result<(), CliError> {
        self.leave_what_others_wrote();
        let is_known = |id: &String| self.known.keys().any(|known| known.eq_ignore_ascii_case(id));
        let absent: Vec<&String> =
            self.feed.named.iter().filter(|id| !self.synced && !is_known(id)).collect();
        if !absent.is_empty() {
            self.printer.step_aside(&mut session.out)?;
        }
        for id in absent {
            session.notes().say(&format!("There is no {}/{} yet.", self.feed.kind, printable(id)));
        }
        Ok(())
    }

    fn keeps(&self) -> bool {
        matches!(self.feed.keep, KeptObjects::Latest)
    }

    /// Whether an object was told before the watch began.
    fn was_told(&self, id: &str) -> bool {
        match &self.feed.keep {
            KeptObjects::Latest => false,
            KeptObjects::Nothing(told) => told.contains(id),
        }
    }

    /// Whether a condition for the end is met.
    fn is_over(&self) -> bool {
        let enough = self.args.max_events.is_some_and(|most| self.changes >= most);
        let until = self.args.until.as_ref().is_some_and(|until| {
            self.synced && !self.known.is_empty() && self.known.values().all(|object| until.holds(object))
        });
        enough || until
    }

    /// Voids a snapshot that was cut off: the next connection begins it again.
    fn interrupt_snapshot(&mut self, session: &mut CommandSession) -> Result<(), CliError> {
        if !self.in_snapshot {
            return Ok(());
        }
        self.in_snapshot = false;
        self.known.clear();
        let event = printer::interrupted_snapshot();
        self.printer.event(&mut session.out, &self.feed, &event, None)
    }

    /// Says once that the connection is lost, however many tries it takes; a live table says so as long as it is.
    fn say_lost(&mut self, session: &mut CommandSession, cause: &str) -> Result<(), CliError> {
        let tries = self.link.tries;
        if !self.link.connected_once {
            session.notes().step(1, || format!("trying again (after {tries}): {cause}"));
            return Ok(());
        }
        let first = !std::mem::replace(&mut self.link.away, true);
        if let Some(live) = self.printer.live() {
            live.lost(Some(cause));
            self.settle(session)?;
        }
        if first && !self.shares_terminal() {
            let from = if self.cursor.at().is_empty() { "the beginning" } else { self.cursor.at() };
            session.notes().progress(&format!("connection lost, reconnecting from {from}: {cause}"));
        } else if !self.shares_terminal() {
            session.notes().step(1, || format!("trying again (after {tries}): {cause}"));
        }
        Ok(())
    }

    /// Says that the connection is back, if it was said to be lost.
    fn say_back(&mut self, session: &mut CommandSession, address: &str) -> Result<(), CliError> {
        if !std::mem::take(&mut self.link.away) {
            return Ok(());
        }
        if let Some(live) = self.printer.live() {
            live.lost(None);
            self.dirty = true;
        }
        if !self.shares_terminal() {
            session.notes().progress(&format!("connected again, to {address}"));
        }
        Ok(())
    }

    /// Whether a note would stand in the middle of what is drawn again.
    fn shares_terminal(&self) -> bool {
        self.printer.is_live() && std::io::stderr().is_terminal()
    }
}

impl WatchConnection {
    /// Notes that a try at `address` has ended and why; gives the cause in words.
    fn failed(&mut self, address: &str, ended: StreamEnd) -> String {
        self.tries = self.tries.saturating_add(1);
        let failure = match ended {
            StreamEnd::Failed(failure) => {
                self.stated = None;
                failure
            }
            StreamEnd::Later(error) | StreamEnd::Refused(error) => {
                let failure = CallFailure::garbled(error.body().message.clone());
                self.stated = Some(error);
                failure
            }
        };
        let cause = failure.cause.clone();
        self.failures.retain(|(known, _)| known != address);
        self.failures.push((address.to_owned(), failure));
        cause
    }
}

fn refused(session: &CommandSession, error: CliError, address: &str) -> CliError {
    match session.client() {
        Ok(client) => error.target(client.target().to_json(address)),
        Err(_) => error,
    }
}

#[cfg(test)]
mod tests;
