//! The heartbeat: renews the node's groups and learns which deadlines moved.

use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_host::live::Live;
use omnirelay_host::log::FaultLimiter;
use omnirelay_store::{Epoch, GroupRef, Pulse, PulseAnswer, StoreError};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until, timeout};
use tracing::{debug, warn};

use super::Registry;
use super::held_groups::{GroupRenewal, GroupsByValidity};

/// How long a pulse may go unanswered before the store counts as silent. A little more than a store
/// waits for its server (400 ms): a pulse that is dropped before that leaves the store in the belief
/// that its connection is alive.
const PULSE_TIMEOUT: Duration = Duration::from_millis(450);
/// How often deadlines are asked for, however seldom groups are renewed.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// How soon behind its predecessor a beat comes that was asked for.
const ASKED_AFTER: Duration = Duration::from_millis(50);
/// How far back a pulse asks what moved, beyond its predecessor: answers may overtake each other.
const MOVED_SLACK: Duration = Duration::from_millis(250);

/// Pace of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatPace {
    /// How often groups are renewed.
    pub renew_every: Duration,
    /// How long others get to be heard after a silence of all.
    pub grace: Duration,
}

/// Outcome of one heartbeat.
pub enum BeatOutcome {
    /// The store answered; these groups of this node are over.
    Over(Vec<GroupRef>),
    /// It did not answer in time.
    Nothing,
}

/// State of the heartbeat: what one beat knows of those before it.
struct HeartbeatState<'a> {
    registry: &'a Registry,
    /// The pace that is set.
    set: Live<HeartbeatPace>,
    /// The same, when it was looked at last.
    known_pace: HeartbeatPace,
    /// The pace that it beats at.
    pace: HeartbeatPace,
    /// The epoch of the view when it beat last.
    known: Epoch,
    /// The epoch of the last answer, and where to ask on from in it.
    epoch: Epoch,
    asked_last: Millis,
    renewed: Option<Instant>,
    /// The store refused a beat that gave groups another time to live: one that only renews may pass, as on a full disk.
    ttl_refused: bool,
    faults_told: FaultLimiter<StoreError>,
}

/// Renews the node's groups and learns which deadlines moved at least twice a second, for ever.
/// `after_beat` is called with what became of each beat. At another pace it beats at once; while the store has the groups live for
/// another time than they are to, they are renewed as often as they were, or more often.
pub async fn beat_heart(
    registry: &Registry,
    pace: impl Into<Live<HeartbeatPace>>,
    after_beat: impl Fn(BeatOutcome),
) {
    let mut set = pace.into();
    let mut heart = HeartbeatState::new(registry, set.clone());
    let mut ticks = heart.ticks(Instant::now());
    let mut beaten = Instant::now();
    loop {
        let now = tokio::select! {
            biased;
            now = ticks.tick() => now,
            // A silence of all is noticed from the first renewal on, so that comes at once.
            () = registry.held_groups().kept() => heart.begin_anew(),
            () = another_pace(&mut set, heart.known_pace) => heart.begin_anew(),
            () = asked_for(registry, beaten) => Instant::now(),
            // All that this node holds is void, and nothing may take its place before that is said.
            () = another_epoch(registry, heart.known) => Instant::now(),
        };
        if heart.take_up_pace() {
            ticks = heart.ticks(Instant::now() + heart.period());
        }
        beaten = now;
        let heard = heart.beat(now).await;
        let answered = matches!(heard, BeatOutcome::Over(_));
        after_beat(heard);
        if answered {
            registry.view().connectivity().count_beat();
        }
    }
}

/// Waits until the pace is to be another one than this.
async fn another_pace(set: &mut Live<HeartbeatPace>, known: HeartbeatPace) {
    while set.get() == known {
        set.replaced().await;
    }
}

/// Waits until the view is of another epoch than this one.
async fn another_epoch(registry: &Registry, known: Epoch) {
    let mut head = registry.view().follow_head();
    // The view lives as long as its registry, so the sender is never gone while we wait.
    let _ = head.wait_for(|head| head.epoch != known).await;
}

/// Waits until somebody wants to know how the store stands now, and some time behind the beat at `beaten`: however
/// many ask, it costs the store little.
async fn asked_for(registry: &Registry, beaten: Instant) {
    sleep_until(beaten + ASKED_AFTER).await;
    registry.view().beat_asked().await;
}

impl<'a> HeartbeatState<'a> {
    fn new(registry: &'a Registry, set: Live<HeartbeatPace>) -> Self {
        let pace = set.get();
        Self {
            registry,
            set,
            known_pace: pace,
            pace,
            known: Epoch(0),
            epoch: Epoch(0),
            asked_last: Millis(0),
            renewed: None,
            ttl_refused: false,
            faults_told: FaultLimiter::default(),
        }
    }

    fn period(&self) -> Duration {
        self.pace.renew_every.min(POLL_EVERY)
    }

    fn ticks(&self, first: Instant) -> Interval {
        let mut ticks = interval_at(first, self.period());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    /// Goes on at the pace that is set, but renews no less often before the store has the groups live for as long as they are to.
    /// Whether it beats otherwise than before.
    fn take_up_pace(&mut self) -> bool {
        let (set, before) = (self.set.get(), self.period());
        let often = if self.registry.held_groups().has_all_told() {
            set.renew_every
        } else {
            set.renew_every.min(self.pace.renew_every)
        };
        (self.known_pace, self.pace) = (set, HeartbeatPace { renew_every: often, ..set });
        self.period() != before
    }

    /// Makes all groups due.
    fn begin_anew(&mut self) -> Instant {
        self.renewed = None;
        Instant::now()
    }

    async fn beat(&mut self, now: Instant) -> BeatOutcome {
        let known = self.registry.view().head().epoch;
        self.known = known;
        let held = self.registry.held_groups();
        let GroupsByValidity { valid, mut run_out, ttl } = held.by_validity(known);
        let ttl = ttl.filter(|_| !std::mem::take(&mut self.ttl_refused));
        // A tick may come a little early; half a step is nothing to a deadline.
        let is_due = self.renewed.is_none_or(|last| now + POLL_EVERY / 2 >= last + self.pace.renew_every);
        let due = is_due || ttl.is_some();
        let renew = if due { valid } else { Vec::new() };
        if ttl.is_some() {
            held.note_asked(&renew);
        }
        let asked = Instant::now();
        let pulse = self.registry.store().pulse(self.pulse(known, renew.clone(), ttl));
        let failed = match timeout(PULSE_TIMEOUT, pulse).await {
            Ok(Ok(beat)) => {
                self.note(&beat, asked);
                self.renewed = if due { Some(now) } else { self.renewed };
                run_out.extend(self.not_renewed((renew, ttl), &beat, asked));
                self.registry.view().ask_confirmation();
                return BeatOutcome::Over(run_out);
            }
            Ok(Err(StoreError::EpochChanged { current })) => {
                // The store answers, but what this node held is void. The view learns the epoch;
                // with no group left, the next pulse names none and is answered.
                self.registry.view().connectivity().note_epoch(current);
                return BeatOutcome::Over(self.registry.held_groups().all());
            }
            Ok(Err(error)) => {
                self.ttl_refused = ttl.is_some();
                // That the store is away is told by whoever connects to it.
                if error.lasts() && self.faults_told.is_due(&error) {
                    warn!(error = %chain(&error), "session could not be renewed; trying again");
                }
                chain(&error)
            }
            Err(_) => "no answer in time".to_owned(),
        };
        debug!(error = %failed, "pulse failed");
        self.registry.view().connectivity().note_trouble(&failed);
        self.registry.view().connectivity().note_silence();
        BeatOutcome::Nothing
    }

    fn pulse(&self, known: Epoch, renew: Vec<GroupRef>, ttl: Option<Duration>) -> Pulse {
        let epoch = (!renew.is_empty()).then_some(known);
        Pulse { epoch, renew, moved_since: self.asked_last, grace: self.pace.grace, ttl }
    }

    fn note(&mut self, beat: &PulseAnswer, asked: Instant) {
        self.registry.view().note_beat(beat, asked);
        // In another epoch everything is new.
        let on = if beat.epoch == self.epoch { beat.now.0 } else { 0 };
        self.epoch = beat.epoch;
        self.asked_last = Millis(on.saturating_sub(whole_ms(MOVED_SLACK)));
    }

    /// Notes which groups were renewed and returns the others.
    fn not_renewed(
        &self,
        (asked_for, ttl): (Vec<GroupRef>, Option<Duration>),
        beat: &PulseAnswer,
        asked: Instant,
    ) -> Vec<GroupRef> {
        let mut over = Vec::new();
        for (group, deadline) in asked_for.into_iter().zip(&beat.renewed) {
            match deadline {
                Some(deadline) => {
                    let renewal = GroupRenewal { asked, lives_for: deadline.since(beat.now), ttl };
                    self.registry.held_groups().note_renewed(&group, renewal);
                }
                None => over.push(group),
            }
        }
        over
    }
}
