//! The lock of the view's state. It is not taken twice by one thread: a writer that comes between waits for the first
//! and lets the second wait, for ever. Builds with debug assertions, tests among them, find whoever does.
//!
//! A lock whose holder panicked is as good as any: every change is made whole or not at all.

use std::ops::{Deref, DerefMut};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Locks that a thread holds; as much as nothing without debug assertions.
#[cfg(not(debug_assertions))]
struct HeldLocks;

#[cfg(not(debug_assertions))]
impl HeldLocks {
    fn enter<T>(_: &RwLock<T>) -> Self {
        Self
    }
}

#[cfg(debug_assertions)]
struct HeldLocks(usize);

#[cfg(debug_assertions)]
thread_local! {
    static HELD: std::cell::RefCell<Vec<usize>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[cfg(debug_assertions)]
impl HeldLocks {
    fn enter<T>(lock: &RwLock<T>) -> Self {
        let at = std::ptr::from_ref(lock).addr();
        HELD.with_borrow_mut(|held| {
            assert!(!held.contains(&at), "the view is asked by whoever holds it");
            held.push(at);
        });
        Self(at)
    }
}

#[cfg(debug_assertions)]
impl Drop for HeldLocks {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| held.retain(|at| *at != self.0));
    }
}

/// Guard of the state, of which a thread has one at a time.
pub(super) struct StateGuard<G> {
    guard: G,
    _held: HeldLocks,
}

pub(super) type ReadGuard<'a, T> = StateGuard<RwLockReadGuard<'a, T>>;

pub(super) fn read<T>(lock: &RwLock<T>) -> ReadGuard<'_, T> {
    let _held = HeldLocks::enter(lock);
    StateGuard { guard: lock.read(), _held }
}

pub(super) fn write<T>(lock: &RwLock<T>) -> StateGuard<RwLockWriteGuard<'_, T>> {
    let _held = HeldLocks::enter(lock);
    StateGuard { guard: lock.write(), _held }
}

impl<G: Deref> Deref for StateGuard<G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for StateGuard<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "by whoever holds it")]
    fn whoever_holds_it_may_not_ask_again() {
        let lock = RwLock::new(0);
        let held = read(&lock);
        assert_eq!(*held, *read(&lock));
    }

    #[test]
    fn others_and_those_who_let_go_may() {
        let (one, other) = (RwLock::new(1), RwLock::new(2));
        assert_eq!(*read(&one) + *read(&other), 3);
        *write(&one) += 1;
        assert_eq!(*read(&one), 2);
    }
}
