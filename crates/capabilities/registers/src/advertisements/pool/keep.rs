//! Upkeep of the pool, without being asked: what should live is refreshed, and what waits for the store is written.

use std::collections::VecDeque;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_core::time::whole_ms;
use omnirelay_store::{GroupRef, StoreError};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::memory::PushAudit;
use super::shelf::ProducerEntries;
use super::write::WriteOutcome;
use super::{ADVERTISEMENT, BATCH_MAX, Pool, PoolSettings, Producer};

/// How soon a refresh is tried again that failed: a store that answers no beat in time may answer it.
const REFRESH_AGAIN: Duration = Duration::from_millis(250);
/// How long after a refusal the store is not asked again.
const REFUSED_WAIT: Duration = Duration::from_secs(5);

impl Pool {
    /// Keeps the store as memory wants it, and what should live from running out; for ever.
    pub async fn run(&self) {
        let mut settings = self.settings.clone();
        loop {
            let look = async |mut rest_until| {
                let again = self.look(&mut rest_until).await;
                (rest_until, again)
            };
            tokio::select! {
                () = self.registry.react_with(Instant::now(), |view| view.connectivity().beats(), look) => {}
                () = settings.replaced() => {}
            }
        }
    }

    /// Answers when to look again before the next beat: what is pushed sees to itself. What the store refuses has until
    /// `rest_until`.
    async fn look(&self, rest_until: &mut Instant) -> Option<Instant> {
        let session = self.session().filter(|_| self.take_in_epoch())?;
        self.drop_expired();
        self.leave_other_ttls();
        // Even where the log cannot be read: what is true must not run out over it.
        let refreshed = self.refresh_due(&session).await;
        let is_heard = self.registry.view().silence().is_none();
        if is_heard && *rest_until <= Instant::now() && !self.flush().await {
            *rest_until = Instant::now() + REFUSED_WAIT;
        }
        let (memory, now) = (self.memory.lock(), Instant::now());
        let refreshes = memory.shelves.values().filter_map(|shelf| shelf.refresh.refresh_at);
        let due = refreshes.chain(memory.leave_until).filter(|at| *at > now);
        due.chain((!refreshed).then(|| now + REFRESH_AGAIN)).min()
    }

    /// Gives up the groups that have run out.
    fn drop_expired(&self) {
        let (ttl, mut memory, now) = (self.ttl(), self.memory.lock(), Instant::now());
        let over = memory.shelves.iter().filter_map(|(producer, shelf)| {
            let group = shelf.group.as_ref().filter(|group| !self.registry.view().is_live(group))?;
            Some((producer.clone(), group.clone()))
        });
        for (producer, group) in over.collect::<Vec<_>>() {
            memory.lose_group(&producer, &group, ttl, now);
        }
        // Nothing is left to be known of a producer that pushes no more.
        memory.shelves.retain(|_, shelf| {
            shelf.group.is_some() || !shelf.entries.is_empty() || !shelf.withdrawn.is_empty()
        });
    }

    /// Has all written anew, under another group, that is bound to one which lives for another time than is set by now. The store
    /// has it meanwhile.
    fn leave_other_ttls(&self) {
        let (ttl, mut memory) = (self.ttl(), self.memory.lock());
        for shelf in memory.shelves.values_mut() {
            if self.is_outdated(shelf, ttl) {
                shelf.all_to_be_written();
            }
        }
    }

    /// Whether the group of a producer lives for another time than this. What nobody has pushed since this process started stays
    /// where it is: to be written anew would confirm it. Of a group that was opened a moment ago the view has not heard.
    pub(super) fn is_outdated(&self, shelf: &ProducerEntries, ttl: Duration) -> bool {
        let known =
            |group: &GroupRef| self.registry.view().live_group(&group.id).filter(|known| known.of == *group);
        let lives_for = shelf.group.as_ref().and_then(known).map(|known| whole_ms(known.ttl));
        lives_for.is_some_and(|lives_for| lives_for != whole_ms(ttl)) && shelf.was_pushed()
    }

    /// Refreshes what is due, in one call: what has been confirmed, and everything of that at once in a new session,
    /// so that others see it confirmed. False: it was not possible.
    async fn refresh_due(&self, session: &GroupRef) -> bool {
        let due = {
            let (ttl, mut memory) = (self.ttl(), self.memory.lock());
            let anew = memory.session.as_ref() != Some(session);
            let now = Instant::now();
            let shelves = memory.shelves.iter();
            let due: Vec<(Producer, GroupRef)> = shelves
                .filter(|(producer, shelf)| {
                    let keeping = producer.keeping();
                    let is_confirmed = || shelf.is_confirmed(keeping, ttl, now);
                    shelf.refresh.is_due(keeping, now, anew, is_confirmed)
                })
                .filter_map(|(producer, shelf)| Some((producer.clone(), shelf.group.clone()?)))
                .collect();
            if due.is_empty() {
                memory.session = Some(session.clone());
            }
            due
        };
        if due.is_empty() {
            return true;
        }
        if let Err(error) = self.refresh(&due).await {
            debug!(error = %chain(&error), "advertisements could not be refreshed; trying again");
            return false;
        }
        self.memory.lock().session = Some(session.clone());
        true
    }

    /// Refreshes the group of a producer that has just pushed, or has it done later if the store could not be reached.
    pub(super) async fn refresh_pushed(&self, producer: &Producer, reachable: bool) {
        let now = Instant::now();
        let group = {
            let (ttl, mut memory) = (self.ttl(), self.memory.lock());
            let Some(shelf) = memory.shelves.get_mut(producer) else { return };
            let keeping = producer.keeping();
            // A push that confirms nothing, such as an empty one, keeps nothing alive.
            if !shelf.is_confirmed(keeping, ttl, now) {
                return;
            }
            if !reachable {
                shelf.refresh.refresh_at = Some(now);
                return;
            }
            let is_due = shelf.refresh.push(keeping, now, ttl);
            shelf.group.clone().filter(|_| is_due)
        };
        let Some(group) = group else { return };
        if let Err(error) = self.refresh(&[(producer.clone(), group)]).await {
            debug!(error = %chain(&error), "advertisements could not be refreshed; trying again");
            if let Some(shelf) = self.memory.lock().shelves.get_mut(producer) {
                shelf.refresh.refresh_at = Some(now);
            }
        }
    }

    async fn refresh(&self, due: &[(Producer, GroupRef)]) -> Result<(), StoreError> {
        let (groups, asked) = (due.iter().map(|(_, group)| group.clone()).collect(), Instant::now());
        let PoolSettings { ttl, grace, .. } = self.settings.get();
        let renewed = self.registry.renew_groups(groups, grace).await?;
        let mut memory = self.memory.lock();
        for ((producer, group), deadline) in due.iter().zip(&renewed) {
            if deadline.is_none() {
                memory.lose_group(producer, group, ttl, Instant::now());
            }
            let shelf = memory.shelves.get_mut(producer);
            let Some(shelf) = shelf.filter(|shelf| shelf.group.as_ref() == Some(group)) else { continue };
            shelf.refresh.answer(producer.keeping(), asked, ttl);
            shelf.deadline = *deadline;
        }
        Ok(())
    }

    /// Writes what waits for the store. False: the store refuses some of it.
    async fn flush(&self) -> bool {
        let (unaudited, waiting) = {
            let mut memory = self.memory.lock();
            if memory.leave_until.is_some_and(|until| Instant::now() < until) {
                return true;
            }
            memory.leave_until = None;
            (memory.unaudited.clone(), memory.waiting())
        };
        let mut flush = Flush { pool: self, unaudited: unaudited.into(), written: 0, refused: None };
        for (producer, ids) in &waiting {
            for chunk in ids.chunks(BATCH_MAX) {
                if !flush.write(producer, chunk).await {
                    return true;
                }
            }
        }
        // More pushes than pieces: their records go alone.
        while !flush.unaudited.is_empty() {
            if !flush.write(&Producer::catalogue(), &[]).await {
                return true;
            }
        }
        if flush.written > 0 {
            info!(written = flush.written, "advertisements written that had waited for the store");
        }
        self.note_restored();
        let Some((producer, error)) = flush.refused else { return true };
        if self.refused.is_due(&StoreError::Invalid { what: String::new() }) {
            warn!(producer, error, "advertisements were refused by the store; trying again");
        }
        false
    }

    /// Says of the records that a new epoch has lost which of them are there again.
    fn note_restored(&self) {
        let losses = self.registry.losses();
        for id in losses.own_of(&ADVERTISEMENT) {
            match self.registry.view().get(&id) {
                Some(_) => losses.note_restored(&id),
                // Nobody wants it any more.
                None => losses.note_superseded(&id),
            }
        }
    }
}

/// Flush to the store of the entries that wait for it.
struct Flush<'a> {
    pool: &'a Pool,
    unaudited: VecDeque<PushAudit>,
    written: usize,
    /// Of whom the store refused something, and why.
    refused: Option<(String, String)>,
}

impl Flush<'_> {
    /// Writes some entries, with an audit record that waits. False: the store cannot be reached.
    async fn write(&mut self, producer: &Producer, ids: &[String]) -> bool {
        let trail = self.unaudited.front().cloned();
        match self.pool.write(producer, ids, trail.as_ref()).await {
            WriteOutcome::Written => {
                self.written += ids.len();
                self.note_audited(trail);
                true
            }
            WriteOutcome::Unreachable | WriteOutcome::SessionOver(_) => false,
            // One of them may be what the store stumbles over.
            WriteOutcome::Refused(refused) if ids.len() > 1 && !refused.concerns_all => {
                for id in ids {
                    if !Box::pin(self.write(producer, std::slice::from_ref(id))).await {
                        return false;
                    }
                }
                true
            }
            WriteOutcome::Refused(refused) => {
                self.refused = Some((producer.as_str().to_owned(), refused.message));
                // Alone, it would be refused for ever.
                if ids.is_empty() {
                    self.unaudited.clear();
                }
                true
            }
        }
    }

    fn note_audited(&mut self, trail: Option<PushAudit>) {
        let Some(trail) = trail else { return };
        self.unaudited.pop_front();
        self.pool.memory.lock().unaudited.retain(|kept| kept.key != trail.key);
    }
}
