//! Judges of a simulation: what west has and says, against what east has had.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use omnirelay_store::{Epoch, Revision};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::domain_replica::State as ShownState;
use omnirelay_wire::pb::omnirelay::store::v1::DomainReplicaValue;
use omnirelay_wire::pb::omnirelay::store::v1::domain_replica_value::State;

use super::store::is_refused;
use super::world::{Things, World, things};
use crate::domains::show::DomainReader;

/// How many records of a domain a comparison deletes by itself, of so few as there are here.
const DELETED_FREELY: usize = 10;
/// How long a follower may say that it has all while it has not: until a silence is said, and what is kept now and then is kept.
const UNSAID_MAX: Duration = Duration::from_secs(10);

impl World {
    /// Judges what is in west's store now; whether it says that it follows, and has what east has.
    pub(super) async fn judge(&mut self) -> Result<bool, String> {
        let (_, here, replica) = things(&self.west.store).await;
        let (head, there, _) = things(&self.east.store).await;
        if let Some(broken) = &self.acknowledged.lock().broken {
            return Err(broken.clone());
        }
        self.judge_lead(&here, replica.as_ref())?;
        let Some(replica) = replica else { return Ok(false) };
        self.meet(&replica);
        self.judge_deleted(&here)?;
        self.is_approved &= replica.state() != State::Following;
        self.judge_said()?;
        if replica.state() != State::Following {
            return Ok(false);
        }
        let applied = (Epoch(replica.epoch), Revision(replica.applied));
        let before = self.had.range(..=applied).next_back().filter(|((epoch, _), _)| *epoch == applied.0);
        let Some((_, (_, had))) = before else {
            return Err(format!("it follows at {applied:?}, which is no commit of east"));
        };
        let aside = set_aside(&replica);
        if let Some(differ) = difference(had, &here, &aside) {
            return Err(format!("it follows at {applied:?}, and differs: {differ}"));
        }
        let is_same = difference(&there, &here, &aside).is_none();
        Ok(is_same && applied.0 == head.epoch && self.lost_lead.is_none())
    }

    /// Notes what is met, so that no run is sound because nothing has happened.
    fn meet(&mut self, replica: &DomainReplicaValue) {
        let state = match replica.state() {
            State::Braked => "braked",
            State::Following => "following",
            State::Loading => "loading",
            State::Unspecified => "unspecified",
        };
        let met = [
            Some(state),
            (!replica.set_aside.is_empty()).then_some("set aside"),
            self.lost_lead.is_some().then_some("lead lost"),
            self.is_approved.then_some("approved"),
        ];
        self.met.extend(met.into_iter().flatten());
    }

    /// That whoever has lost the lead writes nothing.
    fn judge_lead(&self, here: &Things, replica: Option<&DomainReplicaValue>) -> Result<(), String> {
        let Some(lost) = &self.lost_lead else { return Ok(()) };
        let applied = replica.map(|replica| (replica.epoch, replica.applied));
        match lost.things == *here && lost.applied == applied {
            true => Ok(()),
            false => Err(format!("{:?} has become {applied:?} by a node that does not lead", lost.applied)),
        }
    }

    /// That nothing is gone that nobody has deleted, beyond what a comparison may delete.
    fn judge_deleted(&mut self, here: &Things) -> Result<(), String> {
        let is_deleted =
            |key: &str, written_ms: u64| self.deleted.get(key).is_some_and(|deleted| deleted.0 >= written_ms);
        let gone = self
            .seen
            .iter()
            .filter(|(key, (_, written_ms, _))| !here.contains_key(*key) && !is_deleted(key, *written_ms));
        let gone = gone.count();
        if !self.is_approved && gone > DELETED_FREELY {
            return Err(format!("{gone} records are gone that nobody has deleted"));
        }
        self.seen.clone_from(here);
        Ok(())
    }

    /// That a follower which does not get on says so before long.
    fn judge_said(&self) -> Result<(), String> {
        let reader = DomainReader { view: self.west.registry.view(), cluster: "west" };
        let Some(shown) = reader.replica("mesh", "east") else { return Ok(()) };
        if shown.state() != ShownState::Following || shown.lag_revisions > 0 {
            return Ok(());
        }
        let applied = omnirelay_registry::parse_cursor(&shown.applied).ok().flatten().unwrap_or_default();
        let behind = (Excluded((applied.epoch, applied.revision)), Unbounded);
        match self.had.range(behind).next() {
            Some((missing, (at, _))) if at.elapsed() > UNSAID_MAX => {
                let since = at.elapsed().as_millis();
                Err(format!("it says that it has all at {applied}, and {missing:?} is {since} ms old"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Keys of the records that are set aside.
fn set_aside(replica: &DomainReplicaValue) -> BTreeSet<&str> {
    replica.set_aside.iter().map(|aside| aside.key.as_str()).collect()
}

/// Difference of what was there and what is here, but for what is set aside because it is refused; `None`: there is none.
fn difference(there: &Things, here: &Things, aside: &BTreeSet<&str>) -> Option<String> {
    let keys: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
    let differs = |key: &&&String| {
        let there = there.get(**key);
        let may_differ = aside.contains(key.as_str()) && there.is_some_and(|there| is_refused(&there.2));
        there != here.get(**key) && !may_differ
    };
    let differ: Vec<_> =
        keys.iter().filter(differs).map(|key| (key, there.get(*key), here.get(*key))).collect();
    (!differ.is_empty()).then(|| format!("{differ:?}"))
}
