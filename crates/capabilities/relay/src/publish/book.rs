//! Book of what should stand in the Redis, and of what is to be done so that it does. Knows no Redis and no clock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh64::xxh64;

/// How long a key waits that the Redis has refused.
const REFUSED_WAITS: Duration = Duration::from_secs(5);
/// The shortest time to live that the Redis knows.
const TTL_MIN: Duration = Duration::from_millis(1);
/// How many values may be under way for one key before the oldest is left to its time to live.
const OLDER_MAX: usize = 4;
/// How many keys that are of no use any more are forgotten in one go.
const FORGOTTEN_AT_ONCE: usize = 1024;

/// One thing to do to one key, in one atomic command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyStep {
    pub key: Arc<str>,
    pub action: KeyAction,
    /// Which wish it is for.
    wish: u64,
}

/// Action on a published key.
///
/// `older` is what this process had put there before: it may still stand or come late, and is no other's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyAction {
    /// Writes the value in place of whatever stands there.
    Put { value: Arc<str>, ttl: Duration },
    /// Lets the value live on, and writes it where nothing or one of `older` stands.
    Refresh { value: Arc<str>, older: Vec<Arc<str>>, ttl: Duration },
    /// Deletes the key if the value or one of `older` stands there.
    Remove { value: Arc<str>, older: Vec<Arc<str>> },
}

/// Outcome of a step on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyOutcome {
    Done,
    /// A value of somebody else stands there; it was left alone.
    Others,
    /// The Redis would not have it; nothing was done.
    Refused,
}

impl KeyAction {
    /// As metrics call it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Put { .. } => "put",
            Self::Refresh { .. } => "refresh",
            Self::Remove { .. } => "remove",
        }
    }
}

impl KeyOutcome {
    /// As metrics call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Others => "others",
            Self::Refused => "refused",
        }
    }
}

/// There is no room for another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BookFull;

/// The newest wish for each key.
pub(super) struct WishedKeys {
    ttl: Duration,
    keys_max: usize,
    keys: HashMap<Arc<str>, WishedKey>,
    /// Counts wishes, and the places in `urgent`.
    last: u64,
    /// Keys whose wish the Redis has not heard of, in the order of the wishes.
    urgent: BTreeMap<u64, Arc<str>>,
    /// Keys that are looked after again because the Redis was away.
    again: Vec<Arc<str>>,
    /// Keys whose turn comes later, and when.
    later: BTreeSet<(Instant, Arc<str>)>,
    /// Keys that are not kept, and when they are forgotten.
    leaving: BTreeSet<(Instant, Arc<str>)>,
    standing: usize,
    closed: bool,
}

/// Key that should stand in the Redis, or be gone from it.
struct WishedKey {
    wish: u64,
    value: Arc<str>,
    /// What may stand in its place, the newest last.
    older: Vec<Arc<str>>,
    /// Whether the value may stand in the Redis.
    sent: bool,
    /// Else it should be gone.
    stands: bool,
    kept: bool,
    /// The Redis has heard of the wish.
    settled: bool,
    /// Another's value was found in its place.
    others: bool,
    /// It was let go before it was written: what somebody else has put there meanwhile is newer.
    yields: bool,
    /// A step is on its way.
    under_way: bool,
    /// Until when a key that is not kept may stand.
    until: Instant,
    urgent: Option<u64>,
    later: Option<Instant>,
    leaves: Option<Instant>,
}

impl WishedKeys {
    /// At most `keys_max` keys, each of which the Redis forgets `ttl` after the last word of it.
    pub(super) fn new(ttl: Duration, keys_max: usize) -> Self {
        Self {
            ttl,
            keys_max,
            keys: HashMap::new(),
            last: 0,
            urgent: BTreeMap::new(),
            again: Vec::new(),
            later: BTreeSet::new(),
            leaving: BTreeSet::new(),
            standing: 0,
            closed: false,
        }
    }

    /// Wishes for a value, kept or not: kept it is only if this very value was kept before.
    pub(super) fn put(&mut self, key: &str, value: &str, now: Instant) -> Result<(), BookFull> {
        self.wish(key, value, true, now)
    }

    /// Wishes for a value where nothing stands, or what this relay has put there: another's is newer.
    pub(super) fn offer(&mut self, key: &str, value: &str, now: Instant) -> Result<(), BookFull> {
        self.put(key, value, now)?;
        let Some((name, _)) = self.keys.get_key_value(key) else { return Ok(()) };
        let name = name.clone();
        self.edit(&name, |key| key.yields = true);
        Ok(())
    }

    /// Wishes that a value lives on until [`WishedKeys::let_go`]; of no effect on a key that is not known.
    pub(super) fn keep(&mut self, key: &str, now: Instant) {
        let Some((name, key)) = self.keys.get_key_value(key).filter(|(_, key)| key.stands && !key.kept)
        else {
            return;
        };
        let name = name.clone();
        // Of what was put long ago little time is left.
        let due = if key.settled {
            Some(self.due(&name, now).min((key.until - self.ttl / 2).max(now)))
        } else {
            None
        };
        self.edit(&name, |key| key.kept = true);
        self.leave(&name, None);
        if due.is_some() {
            self.postpone(&name, due);
        }
    }

    /// Wishes that a value ends when its time has come.
    pub(super) fn let_go(&mut self, key: &str, now: Instant) {
        let Some((name, key)) = self.keys.get_key_value(key).filter(|(_, key)| key.kept) else { return };
        let (name, settled) = (name.clone(), key.settled);
        let until = now + self.ttl;
        self.edit(&name, |key| (key.kept, key.yields, key.until) = (false, !settled, until));
        self.leave(&name, Some(until + self.ttl));
        if settled {
            self.postpone(&name, None);
        }
    }

    /// Wishes that a value is gone, unless there is a newer wish for its key.
    pub(super) fn remove(&mut self, key: &str, value: &str, now: Instant) -> Result<(), BookFull> {
        if self.keys.get(key).is_some_and(|key| key.stands && *key.value != *value) {
            return Ok(());
        }
        self.wish(key, value, false, now)
    }

    fn wish(&mut self, name: &str, value: &str, stands: bool, now: Instant) -> Result<(), BookFull> {
        if self.closed {
            return Ok(());
        }
        self.forget(now);
        let name = match self.keys.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => {
                self.make_room()?;
                Arc::from(name)
            }
        };
        self.last += 1;
        let (wish, until) = (self.last, now + self.ttl);
        let key = self.keys.entry(name.clone()).or_insert_with(|| WishedKey::new(value, until));
        let was_standing = key.is_there();
        let is_other = *key.value != *value;
        if is_other {
            key.replace(value);
        }
        // Who wishes it gone knows of one that stands.
        key.sent |= !stands;
        key.kept = key.kept && stands && !is_other;
        (key.wish, key.stands, key.settled, key.until) = (wish, stands, false, until);
        (key.others, key.yields) = (false, false);
        let kept = key.kept;
        self.standing -= usize::from(was_standing);
        // What is gone by itself needs no word any more.
        let leaves = if stands { until + self.ttl } else { until };
        self.leave(&name, (!kept).then_some(leaves));
        self.postpone(&name, None);
        self.hurry(&name);
        Ok(())
    }

    /// Takes up to `max` steps that may be sent now, none for a key that one is under way for.
    pub(super) fn take(&mut self, now: Instant, max: usize) -> Vec<KeyStep> {
        self.forget(now);
        let mut steps = Vec::new();
        while steps.len() < max {
            let Some(name) = self.next(now) else { break };
            steps.extend(self.step(&name, now));
        }
        steps
    }

    fn next(&mut self, now: Instant) -> Option<Arc<str>> {
        if let Some((_, name)) = self.urgent.pop_first() {
            self.edit(&name, |key| key.urgent = None);
            return Some(name);
        }
        if let Some(name) = self.again.pop() {
            return Some(name);
        }
        let (_, name) = self.later.first().filter(|(at, _)| *at <= now)?.clone();
        self.postpone(&name, None);
        Some(name)
    }

    fn step(&mut self, name: &Arc<str>, now: Instant) -> Option<KeyStep> {
        let key = self.keys.get_mut(name)?;
        let ttl = if key.kept { self.ttl } else { key.until.saturating_duration_since(now) };
        if key.under_way || (key.stands && ttl < TTL_MIN) {
            return None;
        }
        key.under_way = true;
        key.sent = true;
        let (value, older) = (key.value.clone(), key.older.clone());
        let action = match (key.stands, key.settled || key.yields) {
            (true, false) => KeyAction::Put { value, ttl },
            (true, true) => KeyAction::Refresh { value, older, ttl },
            (false, _) => KeyAction::Remove { value, older },
        };
        Some(KeyStep { key: name.clone(), action, wish: key.wish })
    }

    /// Has keys live as long as this from now on, those that stand already as well. There may be `keys_max`, or as many as before if
    /// that was more: those who have sessions keep them.
    pub(super) fn live_by(&mut self, ttl: Duration, keys_max: usize, now: Instant) {
        self.keys_max = self.keys_max.max(keys_max);
        let before = std::mem::replace(&mut self.ttl, ttl);
        if before == ttl {
            return;
        }
        let ending: Vec<Arc<str>> = self.leaving.iter().map(|(_, name)| name.clone()).collect();
        for name in ending {
            let Some(key) = self.keys.get_mut(&name) else { continue };
            key.until = (key.until + ttl).checked_sub(before).unwrap_or(now);
            let leaves = if key.stands { key.until + ttl } else { key.until };
            self.leave(&name, Some(leaves));
        }
        self.look_again();
    }

    /// Forgets all keys, without a word to anybody.
    pub(super) fn clear(&mut self) {
        *self = Self { last: self.last, closed: self.closed, ..Self::new(self.ttl, self.keys_max) };
    }

    /// Notes how a step ended.
    pub(super) fn done(&mut self, step: &KeyStep, outcome: KeyOutcome, now: Instant) {
        let Some(key) = self.landed(step) else { return };
        let (stands, kept) = (key.stands, key.kept);
        match outcome {
            KeyOutcome::Done | KeyOutcome::Others if !stands => self.drop_key(&step.key),
            // Another's value may go before ours has come to its end.
            KeyOutcome::Done | KeyOutcome::Others => {
                self.settle(&step.key, outcome == KeyOutcome::Others);
                let due = kept.then(|| self.due(&step.key, now));
                self.postpone(&step.key, due);
            }
            KeyOutcome::Refused => self.postpone(&step.key, Some(now + REFUSED_WAITS)),
        }
    }

    /// Notes that nobody knows whether steps were taken.
    pub(super) fn lost(&mut self, steps: &[KeyStep]) {
        for step in steps {
            if self.landed(step).is_some() {
                self.hurry(&step.key);
            }
        }
    }

    /// Has everything looked at again that should stand: the Redis may have come back without it.
    pub(super) fn look_again(&mut self) {
        self.again = self.keys.keys().cloned().collect();
    }

    /// Wishes that nothing stands any more, and takes no further wishes.
    pub(super) fn close(&mut self, now: Instant) {
        let all: Vec<(Arc<str>, Arc<str>)> =
            self.keys.iter().map(|(name, key)| (name.clone(), key.value.clone())).collect();
        for (name, value) in all {
            // Nothing is refused: every key has its room.
            let _ = self.remove(&name, &value, now);
        }
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Time at which there is something to do again; `None`: not before the next wish.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let first = |set: &BTreeSet<(Instant, Arc<str>)>| set.first().map(|(at, _)| *at);
        first(&self.later).into_iter().chain(first(&self.leaving)).min()
    }

    /// Number of keys that stand in the Redis, as far as is known.
    pub(super) fn standing(&self) -> usize {
        self.standing
    }

    /// Number of wishes that the Redis has not heard of.
    pub(super) fn waiting(&self) -> usize {
        self.urgent.len()
    }

    /// The key of a step that has come to its end, unless there is a newer wish, whose turn is next.
    fn landed(&mut self, step: &KeyStep) -> Option<&mut WishedKey> {
        let key = self.keys.get_mut(&step.key)?;
        key.under_way = false;
        if key.wish != step.wish {
            self.hurry(&step.key);
            return None;
        }
        self.keys.get_mut(&step.key)
    }

    fn settle(&mut self, name: &Arc<str>, others: bool) {
        let Some(key) = self.keys.get_mut(name) else { return };
        let was_standing = key.is_there();
        if !key.settled {
            // Of those before it at most one can come again: from a backup.
            key.older.drain(..key.older.len().saturating_sub(1));
        }
        (key.settled, key.others) = (true, others);
        self.standing = self.standing + usize::from(key.is_there()) - usize::from(was_standing);
    }

    /// When a key that was looked after now is looked after again: within the half of its time to live, and not
    /// all at the same time.
    fn due(&self, name: &str, now: Instant) -> Instant {
        let chance = xxh64(name.as_bytes(), 0) % 1024;
        now + self.ttl / 2 - (self.ttl / 8).mul_f64(chance as f64 / 1024.0)
    }

    fn make_room(&mut self) -> Result<(), BookFull> {
        if self.keys.len() >= self.keys_max {
            let (_, name) = self.leaving.first().ok_or(BookFull)?.clone();
            self.drop_key(&name);
        }
        Ok(())
    }

    fn forget(&mut self, now: Instant) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some((_, name)) = self.leaving.first().filter(|(at, _)| *at <= now).cloned() else { return };
            self.drop_key(&name);
        }
    }

    fn drop_key(&mut self, name: &Arc<str>) {
        let Some(key) = self.keys.remove(name) else { return };
        self.standing -= usize::from(key.is_there());
        if let Some(place) = key.urgent {
            self.urgent.remove(&place);
        }
        for (set, at) in [(&mut self.later, key.later), (&mut self.leaving, key.leaves)] {
            if let Some(at) = at {
                set.remove(&(at, name.clone()));
            }
        }
    }

    fn hurry(&mut self, name: &Arc<str>) {
        let Some(key) = self.keys.get_mut(name).filter(|key| key.urgent.is_none()) else { return };
        self.last += 1;
        key.urgent = Some(self.last);
        self.urgent.insert(self.last, name.clone());
    }

    fn postpone(&mut self, name: &Arc<str>, at: Option<Instant>) {
        if let Some(key) = self.keys.get_mut(name) {
            move_to(&mut self.later, &mut key.later, name, at);
        }
    }

    fn leave(&mut self, name: &Arc<str>, at: Option<Instant>) {
        if let Some(key) = self.keys.get_mut(name) {
            move_to(&mut self.leaving, &mut key.leaves, name, at);
        }
    }

    fn edit(&mut self, name: &str, change: impl FnOnce(&mut WishedKey)) {
        if let Some(key) = self.keys.get_mut(name) {
            change(key);
        }
    }
}

impl WishedKey {
    fn new(value: &str, until: Instant) -> Self {
        Self {
            wish: 0,
            value: Arc::from(value),
            older: Vec::new(),
            sent: false,
            stands: false,
            kept: false,
            settled: false,
            others: false,
            yields: false,
            under_way: false,
            until,
            urgent: None,
            later: None,
            leaves: None,
        }
    }

    /// Whether the value stands in the Redis, as far as is known.
    fn is_there(&self) -> bool {
        self.stands && self.settled && !self.others
    }

    fn replace(&mut self, value: &str) {
        let before = std::mem::replace(&mut self.value, Arc::from(value));
        if self.sent {
            self.older.push(before);
        }
        self.sent = self.older.iter().any(|older| **older == *value);
        self.older.retain(|older| **older != *value);
        self.older.drain(..self.older.len().saturating_sub(OLDER_MAX));
    }
}

fn move_to(
    set: &mut BTreeSet<(Instant, Arc<str>)>,
    place: &mut Option<Instant>,
    name: &Arc<str>,
    to: Option<Instant>,
) {
    if let Some(at) = place.take() {
        set.remove(&(at, name.clone()));
    }
    if let Some(at) = to {
        set.insert((at, name.clone()));
    }
    *place = to;
}
