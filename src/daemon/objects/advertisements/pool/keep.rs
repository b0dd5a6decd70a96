//! What is done without being asked: what should live is refreshed, and what waits for the store is written.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::write::{Outcome, in_time};
use super::{BATCH_MAX, Keeping, Pool, Producer};
use crate::core::time::Millis;
use crate::daemon::registry::follow::chain;
use crate::daemon::store::{GroupRef, Pulse, StoreError};

/// How often it is looked whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long after a refusal the store is not asked again.
const REFUSED_WAIT: Duration = Duration::from_secs(5);
/// A push refreshes a group again once this part of its time to live is over: not for every one of a thousand.
const REFRESH_PART: u32 = 8;

/// A refresh that is due.
struct Due {
    producer: Producer,
    group: GroupRef,
}

impl Pool {
    /// Keeps the store as memory wants it, and what should live from running out; for ever.
    pub async fn run(&self) {
        let mut rest_until = Instant::now();
        loop {
            let is_there = self.take_in_epoch() && self.registry.view().silence().is_none();
            if let Some(session) = self.session().filter(|_| is_there) {
                self.drop_expired();
                self.refresh_due(&session).await;
                if rest_until <= Instant::now() && !self.flush().await {
                    rest_until = Instant::now() + REFUSED_WAIT;
                }
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Gives up the groups that have run out.
    fn drop_expired(&self) {
        let mut memory = self.lock();
        let over = memory.shelves.iter().filter_map(|(producer, shelf)| {
            let group = shelf.group.as_ref().filter(|group| !self.registry.view().is_live(group))?;
            Some((producer.clone(), group.clone()))
        });
        for (producer, group) in over.collect::<Vec<_>>() {
            memory.lose_group(&producer, &group, self.settings.ttl);
        }
        // Nothing is left to be known of a producer that pushes no more.
        memory.shelves.retain(|_, shelf| {
            shelf.group.is_some() || !shelf.entries.is_empty() || !shelf.withdrawn.is_empty()
        });
    }

    /// Refreshes what is due, in one call: what has been confirmed, and everything of that at once in a new session,
    /// so that others see it confirmed.
    async fn refresh_due(&self, session: &GroupRef) {
        let due = {
            let mut memory = self.lock();
            let anew = memory.session.as_ref() != Some(session);
            let now = Instant::now();
            let shelves = memory.shelves.iter();
            let due: Vec<Due> = shelves
                .filter(|(_, shelf)| {
                    let confirmed = || shelf.entries.values().any(|entry| entry.pushed.is_some());
                    let asked = shelf.refresh_at.is_some_and(|at| at <= now);
                    asked || anew && shelf.refreshed.is_some() && confirmed()
                })
                .filter_map(|(producer, shelf)| {
                    Some(Due { producer: producer.clone(), group: shelf.group.clone()? })
                })
                .collect();
            if due.is_empty() {
                memory.session = Some(session.clone());
            }
            due
        };
        if due.is_empty() {
            return;
        }
        if let Err(error) = self.refresh(&due).await {
            debug!(error = %chain(&error), "advertisements could not be refreshed; trying again");
        } else {
            self.lock().session = Some(session.clone());
        }
    }

    /// Refreshes the group of a producer that has just pushed.
    pub(super) async fn refresh_pushed(&self, producer: &Producer) {
        let now = Instant::now();
        let group = {
            let mut memory = self.lock();
            let Some(shelf) = memory.shelves.get_mut(producer) else { return };
            let (keeping, ttl) = (producer.keeping(), self.settings.ttl);
            // A push that confirms nothing, such as an empty one, keeps nothing alive.
            if !shelf.entries.values().any(|entry| entry.is_wanted(keeping, ttl)) {
                return;
            }
            let again = self.settings.ttl / 2;
            // Only a push puts off the end of what is refreshed once more.
            shelf.refresh_at = (producer.keeping() != Keeping::NotAtAll).then(|| now + again);
            let fresh = self.settings.ttl / REFRESH_PART;
            if shelf.refreshed.is_some_and(|at| now < at + fresh) {
                return;
            }
            shelf.group.clone()
        };
        let Some(group) = group else { return };
        let due = [Due { producer: producer.clone(), group }];
        if let Err(error) = self.refresh(&due).await {
            debug!(error = %chain(&error), "advertisements could not be refreshed; trying again");
            if let Some(shelf) = self.lock().shelves.get_mut(producer) {
                shelf.refresh_at = Some(now);
            }
        }
    }

    async fn refresh(&self, due: &[Due]) -> Result<(), StoreError> {
        let view = self.registry.view();
        let pulse = Pulse {
            epoch: Some(view.head().epoch),
            renew: due.iter().map(|due| due.group.clone()).collect(),
            // What moves is told by the heartbeat.
            moved_since: Millis(u64::MAX),
            grace: self.settings.grace,
        };
        let asked = Instant::now();
        let beat = in_time(self.registry.store().pulse(pulse)).await?;
        let mut memory = self.lock();
        for (due, deadline) in due.iter().zip(&beat.renewed) {
            if deadline.is_none() {
                memory.lose_group(&due.producer, &due.group, self.settings.ttl);
            }
            let Some(shelf) = memory.shelves.get_mut(&due.producer) else { continue };
            shelf.refreshed = deadline.is_some().then_some(asked);
            shelf.deadline = *deadline;
            // A push has set when to do it once more; what was done without one is the last time, but for what lives
            // as long as this process.
            shelf.refresh_at = match due.producer.keeping() {
                Keeping::WhileRunning => Some(asked + self.settings.ttl / 2),
                Keeping::OnceMore | Keeping::NotAtAll => shelf.refresh_at.filter(|at| *at > asked),
            };
        }
        Ok(())
    }

    /// Writes what waits for the store. False: the store refuses some of it.
    async fn flush(&self) -> bool {
        let unaudited = {
            let mut memory = self.lock();
            if memory.leave_until.is_some_and(|until| Instant::now() < until) {
                return true;
            }
            memory.leave_until = None;
            std::mem::take(&mut memory.unaudited)
        };
        let mut unaudited = unaudited.into_iter();
        let (mut all, mut written) = (true, 0);
        let waiting = self.lock().waiting();
        for (producer, ids) in waiting {
            for chunk in ids.chunks(BATCH_MAX) {
                let audit = unaudited.next();
                match self.write(&producer, chunk, audit.as_ref()).await {
                    Outcome::Written => written += chunk.len(),
                    Outcome::Unreachable => {
                        self.lock().unaudited.extend(audit.into_iter().chain(unaudited));
                        return true;
                    }
                    Outcome::Refused(refused) => {
                        all = false;
                        self.lock().unaudited.extend(audit);
                        let (producer, error) = (producer.as_str(), refused.message);
                        if self.refused.is_due(&StoreError::Invalid { what: String::new() }) {
                            warn!(producer, error, "advertisements were refused by the store; trying again");
                        }
                    }
                }
            }
        }
        if written > 0 {
            info!(written, "advertisements written that had waited for the store");
        }
        // More pushes than chunks: their records go alone.
        for body in unaudited {
            if !matches!(self.write(&Producer::catalogue(), &[], Some(&body)).await, Outcome::Written) {
                self.lock().unaudited.push(body);
            }
        }
        all
    }
}
