//! Judges of a simulation: what a cluster has and says of a domain, against what its active cluster has had.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_registry::parse_cursor;
use omnirelay_store::{Epoch, Revision};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::domain_replica::State as ShownState;
use omnirelay_wire::pb::omnirelay::store::v1::DomainReplicaValue;
use omnirelay_wire::pb::omnirelay::store::v1::domain_replica_value::State;

use super::store::is_refused;
use super::world::{LostLead, SimulatedCluster, Things, replica_of};
use crate::domains::show::DomainReader;

/// How many records of a domain a comparison deletes by itself, of so few as there are here.
const DELETED_FREELY: usize = 10;
/// How long a follower may say that it has all while it has not: until a silence is said, and what is kept now and then is kept.
const UNSAID_MAX: Duration = Duration::from_secs(10);

/// Domain that one cluster follows of another one, and what its active cluster has had.
pub(super) struct JudgedDomain {
    pub name: &'static str,
    pub active: &'static str,
    pub follower: &'static str,
    /// Namespaces of the keys that it has.
    pub namespaces: &'static [&'static str],
    /// Keys that somebody has deleted, and when that was last.
    pub deleted: BTreeMap<String, Millis>,
    /// Whether an operator has let pass what was braked, and it is not followed on yet.
    pub is_approved: bool,
    pub seen: Arc<Things>,
    /// What was met so far.
    pub met: BTreeSet<&'static str>,
}

impl JudgedDomain {
    pub(super) fn new(
        name: &'static str,
        [active, follower]: [&'static str; 2],
        namespaces: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            active,
            follower,
            namespaces,
            deleted: BTreeMap::new(),
            is_approved: false,
            seen: Arc::default(),
            met: BTreeSet::new(),
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.namespaces.iter().any(|namespace| key.split('/').next() == Some(namespace))
    }

    /// Judges what is in the store of the follower now; whether it says that it follows, and has what the active cluster has.
    pub(super) async fn judge(
        &mut self,
        [source, follower]: [&SimulatedCluster; 2],
        lost: Option<&LostLead>,
    ) -> Result<bool, String> {
        let ((_, here), (epoch, there)) = (follower.now(), source.now());
        let replica = replica_of(&follower.store, self.name).await;
        let lost = lost.filter(|_| follower.name == "west");
        self.judge_lead(&here, replica.as_ref(), lost)?;
        let Some(replica) = replica else { return Ok(false) };
        self.meet(&replica, lost.is_some());
        self.judge_deleted(&here)?;
        self.is_approved &= replica.state() != State::Following;
        self.judge_said([source, follower])?;
        if replica.state() != State::Following {
            return Ok(false);
        }
        let applied = (Epoch(replica.epoch), Revision(replica.applied));
        let history = source.history.lock();
        let before = history.range(..=applied).next_back().filter(|((epoch, _), _)| *epoch == applied.0);
        let Some((_, (_, had))) = before else {
            return Err(self.told(&format!("it follows at {applied:?}, which is no commit of its source")));
        };
        let aside = set_aside(&replica);
        if let Some(differ) = self.difference(had, &here, &aside) {
            return Err(self.told(&format!("it follows at {applied:?}, and differs: {differ}")));
        }
        let is_same = self.difference(&there, &here, &aside).is_none();
        Ok(is_same && applied.0 == epoch && lost.is_none())
    }

    /// Notes what is met, so that no run is sound because nothing has happened.
    fn meet(&mut self, replica: &DomainReplicaValue, is_lost: bool) {
        let state = match replica.state() {
            State::Braked => "braked",
            State::Following => "following",
            State::Loading => "loading",
            State::Unspecified => "unspecified",
        };
        let met = [
            Some(state),
            (!replica.set_aside.is_empty()).then_some("set aside"),
            is_lost.then_some("lead lost"),
            self.is_approved.then_some("approved"),
            (self.active == "west").then_some("both follow"),
            (self.follower == "north").then_some("two follow"),
        ];
        self.met.extend(met.into_iter().flatten());
    }

    /// That whoever has lost the lead writes nothing.
    fn judge_lead(
        &self,
        here: &Things,
        replica: Option<&DomainReplicaValue>,
        lost: Option<&LostLead>,
    ) -> Result<(), String> {
        let Some(lost) = lost else { return Ok(()) };
        let applied = replica.map(|replica| (replica.epoch, replica.applied));
        let before = lost.applied.get(self.name).copied();
        let is_same = lost
            .things
            .iter()
            .filter(|(key, _)| self.has(key))
            .eq(here.iter().filter(|(key, _)| self.has(key)));
        match is_same && before == applied {
            true => Ok(()),
            false => {
                Err(self.told(&format!("{before:?} has become {applied:?} by a node that does not lead")))
            }
        }
    }

    /// That nothing is gone that nobody has deleted, beyond what a comparison may delete.
    fn judge_deleted(&mut self, here: &Arc<Things>) -> Result<(), String> {
        let is_deleted =
            |key: &str, written_ms: u64| self.deleted.get(key).is_some_and(|deleted| deleted.0 >= written_ms);
        let gone = self.seen.iter().filter(|(key, (_, written_ms, _))| {
            self.has(key) && !here.contains_key(*key) && !is_deleted(key, *written_ms)
        });
        let gone = gone.count();
        if !self.is_approved && gone > DELETED_FREELY {
            return Err(self.told(&format!("{gone} records are gone that nobody has deleted")));
        }
        self.seen.clone_from(here);
        Ok(())
    }

    /// That a follower which does not get on says so before long.
    fn judge_said(&self, [source, follower]: [&SimulatedCluster; 2]) -> Result<(), String> {
        let reader = DomainReader { view: follower.registry.view(), cluster: follower.name };
        let Some(shown) = reader.replica(self.name, self.active) else { return Ok(()) };
        if shown.state() != ShownState::Following || shown.lag_revisions > 0 {
            return Ok(());
        }
        let applied = parse_cursor(&shown.applied).ok().flatten().unwrap_or_default();
        let behind = (Excluded((applied.epoch, applied.revision)), Unbounded);
        match source.history.lock().range(behind).next() {
            Some((missing, (at, _))) if at.elapsed() > UNSAID_MAX => {
                let since = at.elapsed().as_millis();
                let why = format!("it says that it has all at {applied}, and {missing:?} is {since} ms old");
                Err(self.told(&why))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Difference of what was there and what is here, but for what is set aside because it is refused; `None`: there is none.
    fn difference(&self, there: &Things, here: &Things, aside: &BTreeSet<&str>) -> Option<String> {
        let differs = |key: &&String| {
            let there = there.get(*key);
            let may_differ = aside.contains(key.as_str()) && there.is_some_and(|there| is_refused(&there.2));
            self.has(key) && there != here.get(*key) && !may_differ
        };
        let keys = there.keys().chain(here.keys().filter(|key| !there.contains_key(*key)));
        let differ: Vec<_> = keys.filter(differs).map(|key| (key, there.get(key), here.get(key))).collect();
        (!differ.is_empty()).then(|| format!("{differ:?}"))
    }

    fn told(&self, why: &str) -> String {
        format!("{} of {} at {}: {why}", self.name, self.active, self.follower)
    }
}

/// Keys of the records that are set aside.
fn set_aside(replica: &DomainReplicaValue) -> BTreeSet<&str> {
    replica.set_aside.iter().map(|aside| aside.key.as_str()).collect()
}
