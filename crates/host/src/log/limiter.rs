//! Rate limits of the log: neither callers without pause nor a fault that lasts may fill the disk.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem::{Discriminant, discriminant};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lets so many lines of one sort through at once, and after that one in each interval.
#[derive(Debug)]
pub struct LogLimiter {
    at_once: u32,
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When all turns are there again; `None` before the first.
    rested_at: Option<Instant>,
    left_out: u64,
}

/// A line may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogTurn {
    /// How many lines were not, since the last that was; `None` for none. The line says so.
    pub left_out: Option<u64>,
}

impl LogLimiter {
    /// At least one at once.
    pub fn new(at_once: u32, every: Duration) -> Self {
        Self { at_once: at_once.max(1), every, state: Mutex::default() }
    }

    /// For lines of requests that each open something, or fail: 50 at once, then two a second.
    pub fn of_requests() -> Self {
        Self::new(50, Duration::from_millis(500))
    }

    /// Whether all turns are there again, and nothing was left out.
    fn is_rested(&self) -> bool {
        let state = self.state.lock();
        state.left_out == 0 && state.rested_at.is_none_or(|at| at <= Instant::now())
    }

    /// A turn, if one is left; else the line is counted and not written.
    pub fn turn(&self) -> Option<LogTurn> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let rested_at = state.rested_at.filter(|at| *at > now).unwrap_or(now) + self.every;
        if rested_at > now + self.every.saturating_mul(self.at_once) {
            state.left_out = state.left_out.saturating_add(1);
            return None;
        }
        state.rested_at = Some(rested_at);
        let left_out = std::mem::take(&mut state.left_out);
        Some(LogTurn { left_out: (left_out > 0).then_some(left_out) })
    }
}

/// Of how many keys is remembered how many lines they had.
const KEYS_MAX: usize = 1024;

/// Lets so many lines through of each key, as of each node that causes them, and so many of all of them.
#[derive(Debug)]
pub struct KeyedLogLimiter<K> {
    each: (u32, Duration),
    all: LogLimiter,
    of: Mutex<HashMap<K, LogLimiter>>,
}

impl<K: Hash + Eq + Clone> KeyedLogLimiter<K> {
    /// Of each key so many at once and after that one in each interval, and of all what `all` lets through.
    pub fn new(each: (u32, Duration), all: LogLimiter) -> Self {
        Self { each, all, of: Mutex::default() }
    }

    /// For lines that other nodes cause: of each 6 at once, then one in 20 seconds; of all 200 at once, then five a second.
    pub fn of_members() -> Self {
        Self::new((6, Duration::from_secs(20)), LogLimiter::new(200, Duration::from_millis(200)))
    }

    /// A turn, if one is left for this key and for all. How many lines of the key were left out is told with its next one, and how
    /// many there were of others with the next of anybody.
    pub fn turn(&self, key: &K) -> Option<LogTurn> {
        let own = {
            let mut of = self.of.lock();
            if of.len() >= KEYS_MAX && !of.contains_key(key) {
                of.retain(|_, limiter| !limiter.is_rested());
            }
            // Whoever cannot be told apart from all others has what is left of all.
            if of.len() >= KEYS_MAX && !of.contains_key(key) {
                LogTurn { left_out: None }
            } else {
                let limiter =
                    of.entry(key.clone()).or_insert_with(|| LogLimiter::new(self.each.0, self.each.1));
                limiter.turn()?
            }
        };
        let all = self.all.turn()?;
        let left_out = own.left_out.unwrap_or(0).saturating_add(all.left_out.unwrap_or(0));
        Some(LogTurn { left_out: (left_out > 0).then_some(left_out) })
    }
}

/// How long a fault of one sort is not told again.
const EVERY: Duration = Duration::from_secs(60);

/// Lets a fault that lasts through when it begins, and once a minute after that; each sort by itself. A sort is a
/// variant of `E`, so there are few.
#[derive(Debug)]
pub struct FaultLimiter<E>(Mutex<Vec<(Discriminant<E>, LogLimiter)>>);

impl<E> FaultLimiter<E> {
    /// Whether this one is to be told: none of its sort was, or the last is long ago.
    pub fn is_due(&self, fault: &E) -> bool {
        let sort = discriminant(fault);
        let mut sorts = self.0.lock();
        if let Some((_, limiter)) = sorts.iter().find(|(of, _)| *of == sort) {
            return limiter.turn().is_some();
        }
        let limiter = LogLimiter::new(1, EVERY);
        let turn = limiter.turn();
        sorts.push((sort, limiter));
        turn.is_some()
    }
}

impl<E> Default for FaultLimiter<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

#[cfg(test)]
mod tests {
    use omnirelay_store::StoreError;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_counted_and_told_with_the_next() {
        let limiter = LogLimiter::new(3, Duration::from_secs(1));
        let free = Some(LogTurn { left_out: None });
        assert_eq!([limiter.turn(), limiter.turn(), limiter.turn()], [free; 3]);
        assert_eq!((0..100).filter_map(|_| limiter.turn()).count(), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(limiter.turn(), Some(LogTurn { left_out: Some(100) }));
        assert_eq!(limiter.turn(), None);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(limiter.turn(), Some(LogTurn { left_out: Some(1) }));
        assert_eq!(
            [limiter.turn(), limiter.turn(), limiter.turn()],
            [free, free, None],
            "no more than at once"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn one_key_takes_no_line_from_another_and_all_are_bounded() {
        let limiter =
            KeyedLogLimiter::new((2, Duration::from_secs(10)), LogLimiter::new(5, Duration::from_secs(1)));
        let lines =
            |key: &str, count: usize| (0..count).filter(|_| limiter.turn(&key.to_owned()).is_some()).count();
        assert_eq!((lines("liar", 1000), lines("honest", 1)), (2, 1));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(limiter.turn(&"liar".to_owned()), Some(LogTurn { left_out: Some(998) }));
        // A name for each line.
        let all: usize = (0..10_000).map(|number| lines(&format!("n{number}"), 1)).sum();
        assert_eq!(all, 4);
        assert!(limiter.of.lock().len() <= KEYS_MAX);
        tokio::time::advance(Duration::from_secs(1)).await;
        let left_out = limiter.turn(&"another".to_owned()).unwrap().left_out;
        assert!(left_out.is_some_and(|count| count > 9000), "{left_out:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_told_once_a_minute_and_another_at_once() {
        let limiter = FaultLimiter::default();
        let away = StoreError::Unavailable("x".into());
        let full = StoreError::Full("x".into());
        assert!(limiter.is_due(&away));
        tokio::time::advance(EVERY - Duration::from_millis(1)).await;
        assert!(!limiter.is_due(&StoreError::Unavailable("y".into())), "another text, the same sort");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(limiter.is_due(&away));
        assert!(limiter.is_due(&full));
        assert!(!limiter.is_due(&full));
    }

    #[tokio::test(start_paused = true)]
    async fn faults_of_two_sorts_that_alternate_are_each_told_once_a_minute() {
        let limiter = FaultLimiter::default();
        let away = StoreError::Unavailable("x".into());
        let unknown = StoreError::OutcomeUnknown("x".into());
        let told = |times: usize| (0..times).filter(|_| limiter.is_due(&away) | limiter.is_due(&unknown));
        assert!(limiter.is_due(&away) && limiter.is_due(&unknown));
        assert_eq!(told(100).count(), 0);
        tokio::time::advance(EVERY).await;
        assert_eq!(told(100).count(), 1);
    }
}
