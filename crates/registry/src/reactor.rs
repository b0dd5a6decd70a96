//! The reactor: wakes what a daemon does by itself when there may be something to do, and lets it sleep otherwise.

use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use omnirelay_store::Revision;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Registry;
use super::follow::wait_for;
use super::view::View;

/// The shortest time between two looks.
pub const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Of how many parts of the time looks that only pace asks for work in one.
const PARTS: u32 = 20;
/// The longest time between two of them because they are much work.
const BETWEEN_MAX: Duration = Duration::from_millis(250);

/// Pace of looks at a scene that may change so often that a look at each change is too many.
pub struct LookPace<S> {
    pub sense: S,
    /// From the beginning of a look to that of the next one, if nothing else asks for it; longer where a look is much work.
    pub between: Duration,
}

impl Registry {
    /// Looks until it finds something: now, whenever the head of the view moves or more is confirmed, with each beat that is
    /// answered, and when the store falls silent or is heard again. What it reads elsewhere, such as a session, is found with the
    /// next beat.
    pub async fn look_until_found<T>(&self, mut look: impl FnMut(&View) -> Option<T>) -> T {
        let view = self.view();
        let (mut heads, mut beats) = (view.follow_head(), view.connectivity().follow_beats());
        let mut confirmed = view.follow_confirmed();
        loop {
            // Not under the head's lock, which the view takes under its own.
            if let Some(found) = look(view) {
                return found;
            }
            // The view lives as long as its registry, so neither sender is gone.
            tokio::select!(biased; _ = heads.changed() => {}, _ = beats.changed() => {}, _ = confirmed.changed() => {});
        }
    }

    /// Looks once the view has loaded, and again whenever `sense` says something else than before the last look, or the
    /// instant has come that the look named; for ever. `sense` is asked whenever the head of the view moves, with each
    /// beat that is answered, and when the store falls silent or is heard again: what it reads of the view wakes at once,
    /// such as the changes of some kinds, and what it reads elsewhere with the next beat, such as a session.
    pub async fn react<S: PartialEq, F: Future<Output = Option<Instant>>>(
        &self,
        sense: impl Fn(&View) -> S,
        mut look: impl FnMut() -> F,
    ) {
        let look = |()| {
            let again = look();
            async { ((), again.await) }
        };
        self.react_with((), sense, look).await;
    }

    /// As [`Registry::react`]; each look is given what the one before has left, the first one `known`.
    pub async fn react_with<K, S: PartialEq, F: Future<Output = (K, Option<Instant>)>>(
        &self,
        known: K,
        sense: impl Fn(&View) -> S,
        look: impl FnMut(K) -> F,
    ) {
        let pace = LookPace { sense: |_: &View| (), between: Duration::ZERO };
        self.react_and_pace(known, sense, pace, look).await;
    }

    /// As [`Registry::react`], and looks when `pace` senses a change too, but not as often as there are any.
    pub async fn react_paced<S: PartialEq, P: PartialEq, F: Future<Output = Option<Instant>>>(
        &self,
        sense: impl Fn(&View) -> S,
        pace: LookPace<impl Fn(&View) -> P>,
        mut look: impl FnMut() -> F,
    ) {
        let look = |()| {
            let again = look();
            async { ((), again.await) }
        };
        self.react_and_pace((), sense, pace, look).await;
    }

    async fn react_and_pace<K, S: PartialEq, P: PartialEq, F: Future<Output = (K, Option<Instant>)>>(
        &self,
        mut known: K,
        sense: impl Fn(&View) -> S,
        pace: LookPace<impl Fn(&View) -> P>,
        mut look: impl FnMut(K) -> F,
    ) {
        let view = self.view();
        wait_for(view, Revision(0)).await;
        loop {
            let (sensed, paced) = (sense(view), (pace.sense)(view));
            let begun = Instant::now();
            let ((left, until), work) = measured(look(known)).await;
            known = left;
            let earliest = begun + pace.between.max((work * PARTS).min(BETWEEN_MAX));
            let moved = async {
                let at_once = self.look_until_found(|view| (sense(view) != sensed).then_some(()));
                let in_time = async {
                    self.look_until_found(|view| ((pace.sense)(view) != paced).then_some(())).await;
                    sleep_until(earliest).await;
                };
                tokio::select!(biased; () = at_once => {}, () = in_time => {});
            };
            match until {
                Some(until) => drop(timeout_at(until.max(Instant::now() + LOOK_AGAIN), moved).await),
                None => moved.await,
            }
        }
    }
}

/// What comes of a future, and how long it has worked for it, without the time that it waited.
async fn measured<F: Future>(future: F) -> (F::Output, Duration) {
    let (mut future, mut work) = (pin!(future), Duration::ZERO);
    let output = poll_fn(|context| {
        let begun = Instant::now();
        let polled = future.as_mut().poll(context);
        work += begun.elapsed();
        polled
    });
    (output.await, work)
}
