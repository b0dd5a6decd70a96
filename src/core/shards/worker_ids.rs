//! Whose the ids of workers are: nobody speaks for the worker of another principal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::Millis;

/// The most workers of one principal that live at once.
pub const WORKERS_MAX: usize = 256;
/// The most ids of one principal that live at once: a worker has one in each namespace.
pub const IDS_OF_ONE_MAX: usize = 4 * WORKERS_MAX;
/// The most principals that have workers which live.
pub const PRINCIPALS_MAX: usize = 16;
/// How long an id is of whoever had it first without a word of its worker.
pub const SILENT_AFTER: Duration = Duration::from_secs(600);
/// The most ids that are remembered. Beyond them whoever has most loses the one that was silent for longest.
const IDS_MAX: usize = IDS_OF_ONE_MAX * PRINCIPALS_MAX;

/// Why a worker is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error("this id is of the worker of another principal")]
    OfAnother,
    #[error("{WORKERS_MAX} workers of this principal are served, and no more may be")]
    TooManyWorkers,
    #[error("workers of {PRINCIPALS_MAX} principals are served, and no others may be")]
    TooManyPrincipals,
}

/// What the id of a worker that was taken was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Of nobody, or of this principal.
    Own,
    /// Of another principal, whose worker has left or is silent.
    Over,
}

/// The ids of workers, each of the principal that had it first.
#[derive(Debug)]
pub struct WorkerIds {
    /// By namespace and worker.
    of: BTreeMap<(String, String), Owner>,
    /// How long a worker lives after it was heard.
    lives: Duration,
}

#[derive(Debug)]
struct Owner {
    principal: Arc<str>,
    heard: Millis,
    left: bool,
}

impl WorkerIds {
    /// Of workers that may go on for `lives` after they were heard, and count for as long, also those that have left.
    pub fn new(lives: Duration) -> Self {
        Self { of: BTreeMap::new(), lives }
    }

    /// Takes a worker that is heard of `now`, by any clock that does not go back.
    ///
    /// # Errors
    /// [`NotTaken`]: nothing was changed.
    pub fn take(
        &mut self,
        namespace: &str,
        worker: &str,
        principal: &Arc<str>,
        now: Millis,
    ) -> Result<Taken, NotTaken> {
        let key = (namespace.to_owned(), worker.to_owned());
        let found = self.of.get(&key);
        let is_own = found.is_none_or(|owner| owner.principal == *principal);
        if !is_own && found.is_some_and(|owner| !self.is_over(owner, now)) {
            return Err(NotTaken::OfAnother);
        }
        if !(is_own && found.is_some_and(|owner| self.lives(owner, now))) {
            self.check_room(worker, principal, now)?;
        }
        if found.is_none() && self.of.len() >= IDS_MAX {
            self.forget(now);
        }
        self.of.insert(key, Owner { principal: principal.clone(), heard: now, left: false });
        Ok(if is_own { Taken::Own } else { Taken::Over })
    }

    /// Notes that a worker has left: its id is of whoever takes it next.
    pub fn leave(&mut self, namespace: &str, worker: &str) {
        if let Some(owner) = self.of.get_mut(&(namespace.to_owned(), worker.to_owned())) {
            owner.left = true;
        }
    }

    fn lives(&self, owner: &Owner, now: Millis) -> bool {
        now.since(owner.heard) < self.lives
    }

    /// Whether an id is of nobody any more.
    fn is_over(&self, owner: &Owner, now: Millis) -> bool {
        owner.left || now.since(owner.heard) >= SILENT_AFTER.max(self.lives)
    }

    /// Whether one more worker of a principal may live.
    fn check_room(&self, worker: &str, principal: &Arc<str>, now: Millis) -> Result<(), NotTaken> {
        let live = || self.of.iter().filter(|(_, owner)| self.lives(owner, now));
        let of_principal = live().filter(|(_, owner)| owner.principal == *principal);
        let own: Vec<&str> = of_principal.map(|((_, worker), _)| worker.as_str()).collect();
        let workers: BTreeSet<&str> = own.iter().copied().collect();
        if own.len() >= IDS_OF_ONE_MAX || workers.len() >= WORKERS_MAX && !workers.contains(worker) {
            return Err(NotTaken::TooManyWorkers);
        }
        let principals: BTreeSet<&str> = live().map(|(_, owner)| &*owner.principal).collect();
        if principals.len() >= PRINCIPALS_MAX && !principals.contains(&**principal) {
            return Err(NotTaken::TooManyPrincipals);
        }
        Ok(())
    }

    /// Makes room for one more id: what is over goes, else one of whoever has most.
    fn forget(&mut self, now: Millis) {
        let over: Vec<_> = self
            .of
            .iter()
            .filter(|(_, owner)| self.is_over(owner, now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in &over {
            self.of.remove(key);
        }
        if self.of.len() < IDS_MAX {
            return;
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        self.of.values().for_each(|owner| *counts.entry(&owner.principal).or_default() += 1);
        let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(principal, _)| principal);
        let of_most = self.of.iter().filter(|(_, owner)| Some(&*owner.principal) == most);
        let oldest = of_most.min_by_key(|(_, owner)| owner.heard).map(|(key, _)| key.clone());
        oldest.and_then(|key| self.of.remove(&key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVES: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Millis {
        Millis(seconds * 1000)
    }

    fn who(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn an_id_is_of_its_first_principal_until_it_left_or_was_silent() {
        let (ann, bob) = (who("service:a"), who("service:b"));
        let mut ids = WorkerIds::new(LIVES);
        assert_eq!(ids.take("orders", "w", &ann, at(0)), Ok(Taken::Own));
        assert_eq!(ids.take("orders", "w", &bob, at(1)), Err(NotTaken::OfAnother));
        assert_eq!(ids.take("users", "w", &bob, at(1)), Ok(Taken::Own), "of another namespace");
        assert_eq!(ids.take("orders", "w", &ann, at(2)), Ok(Taken::Own));
        assert_eq!(ids.take("orders", "w", &bob, at(601)), Err(NotTaken::OfAnother), "from the last word on");
        assert_eq!(ids.take("orders", "w", &bob, at(602)), Ok(Taken::Over));
        assert_eq!(ids.take("orders", "w", &ann, at(603)), Err(NotTaken::OfAnother));
        ids.leave("orders", "w");
        assert_eq!(ids.take("orders", "w", &ann, at(603)), Ok(Taken::Over));
        let mut long = WorkerIds::new(2 * SILENT_AFTER);
        assert_eq!(long.take("orders", "w", &ann, at(0)), Ok(Taken::Own));
        assert_eq!(long.take("orders", "w", &bob, at(601)), Err(NotTaken::OfAnother), "it may serve still");
    }

    #[test]
    fn nobody_keeps_out_the_workers_of_others() {
        let mut ids = WorkerIds::new(LIVES);
        let greedy = who("service:greedy");
        for number in 0..WORKERS_MAX {
            assert_eq!(ids.take("orders", &number.to_string(), &greedy, at(0)), Ok(Taken::Own));
        }
        assert_eq!(ids.take("orders", "more", &greedy, at(1)), Err(NotTaken::TooManyWorkers));
        assert_eq!(ids.take("users", "0", &greedy, at(1)), Ok(Taken::Own), "it is the same worker");
        assert_eq!(ids.take("orders", "w", &who("service:a"), at(1)), Ok(Taken::Own));
        for number in 0..PRINCIPALS_MAX - 2 {
            assert_eq!(
                ids.take("orders", &format!("of-{number}"), &who(&number.to_string()), at(1)),
                Ok(Taken::Own)
            );
        }
        assert_eq!(ids.take("orders", "v", &who("service:v"), at(1)), Err(NotTaken::TooManyPrincipals));
        assert_eq!(ids.take("orders", "v", &who("service:v"), at(11)), Ok(Taken::Own), "they are silent");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_whoever_has_most_pays() {
        let mut ids = WorkerIds::new(LIVES);
        let (greedy, honest) = (who("service:greedy"), who("service:a"));
        assert_eq!(ids.take("orders", "w", &honest, at(0)), Ok(Taken::Own));
        let entry = |number: usize| {
            let owner = Owner { principal: greedy.clone(), heard: Millis(number as u64), left: false };
            (("orders".to_owned(), format!("x{number}")), owner)
        };
        ids.of.extend((1..IDS_MAX).map(entry));
        let second = 60;
        for number in 0..10 {
            assert_eq!(ids.take("orders", &format!("y{number}"), &greedy, at(second)), Ok(Taken::Own));
        }
        assert!(ids.of.len() <= IDS_MAX, "{}", ids.of.len());
        assert_eq!(ids.take("orders", "w", &greedy, at(second)), Err(NotTaken::OfAnother));
    }
}
