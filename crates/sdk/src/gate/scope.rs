//! One scope of a gate: its mark, who holds it, and which refusals were logged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tracing::warn;

use super::{Refused, SCOPE_BYTES_MAX};

/// The name of a scope.
pub(super) type Name = Arc<str>;

/// How many stale tokens a scope remembers having logged.
const WARNED_MAX: usize = 8;
/// How much of a name that was not checked a message repeats, in characters.
const SHOWN_CHARS: usize = 64;

#[derive(Debug)]
pub(super) struct Scope {
    name: Name,
    /// The greatest token admitted, which is durable; 0 before the first. It changes only while
    /// `writing` is held exclusively.
    mark: AtomicU64,
    /// Shared by the writes under the mark, exclusive for who raises it.
    writing: RwLock<()>,
    warned: Mutex<Warned>,
}

/// The greatest tokens whose refusal was logged. A token is logged at most once, and at least once unless
/// so many greater ones were logged before it.
#[derive(Debug, Default)]
struct Warned(Vec<u64>);

impl Scope {
    pub(super) fn new(name: Name, mark: u64) -> Self {
        Self { name, mark: AtomicU64::new(mark), writing: RwLock::default(), warned: Mutex::default() }
    }

    pub(super) fn name(&self) -> &Name {
        &self.name
    }

    pub(super) fn mark(&self) -> u64 {
        self.mark.load(Ordering::Acquire)
    }

    /// Sets the mark; the caller holds the scope and has recorded `token`.
    pub(super) fn raise(&self, token: u64) {
        self.mark.store(token, Ordering::Release);
    }

    pub(super) fn share(&self) -> RwLockReadGuard<'_, ()> {
        self.writing.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.writing.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The refusal of a stale token, logged if it is the first.
    pub(super) fn stale(&self, token: u64) -> Refused {
        let mark = self.mark();
        if self.warned.lock().unwrap_or_else(PoisonError::into_inner).is_news(token) {
            warn!(scope = &*self.name, token, mark, "stale write refused");
        }
        Refused::Stale { scope: self.name.to_string(), token, mark }
    }
}

impl Warned {
    fn is_news(&mut self, token: u64) -> bool {
        let Err(at) = self.0.binary_search(&token) else { return false };
        if self.0.len() == WARNED_MAX {
            // The lowest goes; what is lower still may have been logged before it went.
            if at == 0 {
                return false;
            }
            self.0.remove(0);
            self.0.insert(at - 1, token);
        } else {
            self.0.insert(at, token);
        }
        true
    }
}

/// Checks the name of a scope; an error says what is wrong with it.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("is empty")
    } else if name.len() > SCOPE_BYTES_MAX {
        Err("is longer than 256 bytes")
    } else if name.chars().any(char::is_control) {
        Err("has control characters")
    } else {
        Ok(())
    }
}

/// The beginning of a name that may be anything.
pub(super) fn shortened(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However stale tokens come, none is logged twice, and the greatest of all is logged.
        #[test]
        fn a_stale_token_is_news_at_most_once(tokens in proptest::collection::vec(1..40u64, 1..400)) {
            let mut warned = Warned::default();
            let mut logged: Vec<u64> = tokens.iter().copied().filter(|token| warned.is_news(*token)).collect();
            prop_assert!(warned.0.len() <= WARNED_MAX);
            prop_assert_eq!(logged.iter().max(), tokens.iter().max());
            let news = logged.len();
            logged.sort_unstable();
            logged.dedup();
            prop_assert_eq!(logged.len(), news);
        }
    }

    #[test]
    fn a_few_stale_leaders_are_each_logged() {
        let mut warned = Warned::default();
        let logged = [3, 1, 2, 1, 3, 7, 2].map(|token| warned.is_news(token));
        assert_eq!(logged, [true, true, true, false, false, true, false]);
    }
}
