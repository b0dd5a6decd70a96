//! Puts the events of a run into one order, from any thread.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::history::{Event, Gate, History, Outcome, Place, Recorded, Write};

/// Records a run. Each instant it gives is later than all before it, so that two that were taken
/// one after the other never look like one.
pub(crate) struct Recorder {
    time: Time,
    kept: Mutex<Kept>,
}

/// Where the time comes from.
enum Time {
    Real(Instant),
    /// Of the runtime: it jumps from one deadline to the next where it is paused.
    Runtime(tokio::time::Instant),
    /// It stands still until it is moved.
    Moved,
}

#[derive(Default)]
struct Kept {
    /// Where time stands when it is moved by hand.
    moved_us: u64,
    last_us: u64,
    events: Vec<Recorded>,
}

/// A write that is on its way.
#[must_use = "say what became of it"]
pub(crate) struct Sent(Write);

impl Recorder {
    /// Records a run in real time.
    pub(crate) fn new() -> Self {
        Self { time: Time::Real(Instant::now()), kept: Mutex::default() }
    }

    /// Records a simulation; its time begins at 0 and is moved with [`Recorder::advance`].
    pub(crate) fn simulated() -> Self {
        Self { time: Time::Moved, kept: Mutex::default() }
    }

    /// Records a simulation on the time of the runtime, which begins now.
    pub(crate) fn of_runtime() -> Self {
        Self { time: Time::Runtime(tokio::time::Instant::now()), kept: Mutex::default() }
    }

    /// An instant of the runtime as the record has it.
    pub(crate) fn us_at(&self, instant: tokio::time::Instant) -> u64 {
        match self.time {
            Time::Runtime(began) => us(instant.saturating_duration_since(began)),
            Time::Real(_) | Time::Moved => 0,
        }
    }

    /// Moves the time of a simulation forward.
    pub(crate) fn advance(&self, by: Duration) {
        let mut kept = self.kept();
        kept.moved_us += us(by);
    }

    /// A new instant, later than all before it.
    pub(crate) fn now_us(&self) -> u64 {
        self.next_us(&mut self.kept())
    }

    /// Records that `event` has happened, and says at which instant.
    pub(crate) fn push(&self, event: Event) -> u64 {
        let mut kept = self.kept();
        let (at_us, seq) = (self.next_us(&mut kept), kept.events.len() as u64);
        kept.events.push(Recorded { at_us, seq, event });
        at_us
    }

    /// Notes the instant before a write is sent.
    pub(crate) fn sending(&self, gate: Gate, node: &str, scope: &str, token: u64) -> Sent {
        Sent(Write {
            gate,
            node: node.to_owned(),
            scope: scope.to_owned(),
            token,
            invoked_us: self.now_us(),
            returned_us: 0,
            outcome: Outcome::Unknown,
            place: None,
        })
    }

    /// What was recorded up to now.
    pub(crate) fn history(&self) -> History {
        History { events: self.kept().events.clone() }
    }

    fn next_us(&self, kept: &mut Kept) -> u64 {
        let clock = match self.time {
            Time::Real(began) => us(began.elapsed()),
            Time::Runtime(began) => us(began.elapsed()),
            Time::Moved => kept.moved_us,
        };
        kept.last_us = clock.max(kept.last_us + 1);
        kept.last_us
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sent {
    /// Records that the store accepted the write, as this commit.
    pub(crate) fn committed(mut self, recorder: &Recorder, place: Place) {
        self.0.place = Some(place);
        self.returned(recorder, Outcome::Accepted);
    }

    /// Records the write with what became of it.
    pub(crate) fn returned(mut self, recorder: &Recorder, outcome: Outcome) {
        self.0.returned_us = recorder.now_us();
        self.0.outcome = outcome;
        recorder.push(Event::Wrote(self.0));
    }
}

fn us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
