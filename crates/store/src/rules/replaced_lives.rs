//! The lives of a group that were replaced while they lived: each may still trust its leases.

use omnirelay_core::time::Millis;

use super::super::REPLACED_MAX;

/// A life that was replaced while it lived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplacedLife {
    pub instance: u64,
    /// The deadline that it had then. Its leases pass to nobody before.
    pub until: Millis,
}

/// The replaced lives of one group, the oldest first. Each stands for itself alone: a life that is
/// not here was closed, ran out by itself, or was replaced and has come to its deadline since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplacedLives(Vec<ReplacedLife>);

impl ReplacedLives {
    pub(crate) fn of(lives: impl IntoIterator<Item = ReplacedLife>) -> Self {
        Self(lives.into_iter().collect())
    }

    pub(crate) fn lives(&self) -> &[ReplacedLife] {
        &self.0
    }

    /// Time until which the leases of `instance` pass to nobody; `None` when nothing is in their way.
    pub(crate) fn until(&self, instance: u64, now: Millis) -> Option<Millis> {
        self.standing(now).find(|life| life.instance == instance).map(|life| life.until)
    }

    /// True when the leases of some replaced life pass to nobody yet.
    pub(crate) fn any(&self, now: Millis) -> bool {
        self.standing(now).next().is_some()
    }

    /// These without the lives whose deadline has passed.
    pub(crate) fn at(&self, now: Millis) -> Self {
        Self::of(self.standing(now))
    }

    /// Adds `life`, which was replaced later than all others.
    ///
    /// # Errors
    /// The first instant at which there is room, when there is none; nothing changes.
    pub(crate) fn add(&mut self, life: ReplacedLife) -> Result<(), Millis> {
        let first = self.0.iter().map(|life| life.until).min();
        if let Some(until) = first.filter(|_| self.0.len() >= REPLACED_MAX) {
            return Err(until);
        }
        self.0.push(life);
        Ok(())
    }

    /// Moves the deadlines that have not passed at `now`.
    pub(crate) fn shift(&mut self, now: Millis, to: impl Fn(Millis) -> Millis) {
        self.0.iter_mut().filter(|life| now < life.until).for_each(|life| life.until = to(life.until));
    }

    fn standing(&self, now: Millis) -> impl Iterator<Item = ReplacedLife> {
        self.0.iter().copied().filter(move |life| now < life.until)
    }
}
