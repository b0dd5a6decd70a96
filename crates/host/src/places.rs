//! Places: so many of something at once, as a setting says by then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::live::Live;

/// Places of which so many may be taken at once.
#[derive(Clone, Debug)]
pub struct Places {
    taken: Arc<AtomicUsize>,
    max: Live<usize>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct TakenPlace(Arc<AtomicUsize>);

impl Drop for TakenPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Places {
    pub fn new(max: impl Into<Live<usize>>) -> Self {
        Self { taken: Arc::default(), max: max.into() }
    }

    /// Takes one; `None` when there is none. Where fewer may be taken than before, those that are stay until they are given back.
    pub fn take(&self) -> Option<TakenPlace> {
        let max = self.max.get();
        let one_more = |taken| (taken < max).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(TakenPlace(self.taken.clone()))
    }

    /// Count of those that are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::LiveSource;

    #[test]
    fn as_many_are_taken_as_there_may_be_by_then() {
        let max = LiveSource::new(1_usize);
        let places = Places::new(max.live(|max| *max));
        let first = places.take().unwrap();
        assert!(places.take().is_none());
        max.replace(2);
        let second = places.take().unwrap();
        max.replace(1);
        drop(first);
        assert!(places.take().is_none());
        drop(second);
        assert!(places.take().is_some());
        assert_eq!(places.taken(), 0);
    }
}
