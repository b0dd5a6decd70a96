//! Claims of nodes to records without a seal: which are those of the node that they name, as far as that can be told.

use std::collections::BTreeSet;
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_decisions::audit_seal::check::{SealFinding, Wrong};
use omnirelay_decisions::audit_seal::trail::NodeSealTally;
use omnirelay_peer_records::{peer_id, session_id};
use omnirelay_registry::view::View;
use omnirelay_store::Record;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::peer::Status;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;

/// Within this time a node that is alive has sealed its records, by store time.
const SEALED_WITHIN: Duration = Duration::from_secs(30);

/// Knowledge of the nodes when a check begins, by which their claims to records are judged.
pub(crate) struct NodeClaims<'a> {
    view: &'a View,
    /// Records from here on may not be sealed yet.
    young: Millis,
    /// Nothing is made later than this.
    latest: Millis,
    /// The nodes of which there are chains.
    chained: BTreeSet<String>,
    /// Those of them that no trusted key signs for.
    untrusted: BTreeSet<String>,
}

impl<'a> NodeClaims<'a> {
    /// As the view shows it now.
    pub(crate) fn new(view: &'a View) -> Self {
        let now = view.now();
        let young = Millis(now.0.saturating_sub(SEALED_WITHIN.as_millis() as u64));
        let latest = now.after(SEALED_WITHIN);
        Self { view, young, latest, chained: BTreeSet::new(), untrusted: BTreeSet::new() }
    }

    /// Takes note of a chain.
    pub(crate) fn chain(&mut self, node_id: &str, trusted: bool) {
        self.chained.insert(node_id.to_owned());
        if !trusted {
            self.untrusted.insert(node_id.to_owned());
        }
    }

    /// Finding against a record that no seal covers, if any; `head` is where the store stood when it was read.
    ///
    /// A node that is away cannot seal what it left, and what its untrusted chain says is not known.
    pub(crate) fn objection(
        &self,
        record: &Record,
        node_id: &str,
        head: u64,
        count: &NodeSealTally,
    ) -> Option<SealFinding> {
        let finding = |wrong: Wrong, what: String| {
            let (node_id, record_id) = (node_id.to_owned(), record.id.key.clone());
            Some(SealFinding { wrong: wrong.into(), node_id, record_id, what, ..SealFinding::default() })
        };
        let revision = record.revision.0;
        if revision > head {
            let what = format!("its revision {revision} is behind the newest of the store, {head}");
            return finding(Wrong::Added, what);
        }
        let may_be_new = self.young < record.created_at && record.created_at <= self.latest_made();
        if revision <= count.through || may_be_new || self.untrusted.contains(node_id) {
            return None;
        }
        if !self.chained.contains(node_id) && self.view.get(&peer_id(node_id)).is_none() {
            let what = format!("it claims to be of `{node_id}`, which has no audit chain and is no peer");
            return finding(Wrong::Unclaimed, what);
        }
        if self.is_sealing(node_id) {
            let what = format!("it claims to be of `{node_id}`, which is alive and did not seal it");
            return finding(Wrong::Unclaimed, what);
        }
        None
    }

    /// A check takes its time, and what is made meanwhile is new.
    fn latest_made(&self) -> Millis {
        self.latest.max(self.view.now().after(SEALED_WITHIN))
    }

    /// Whether a node has been alive for so long that it has sealed what it had.
    fn is_sealing(&self, node_id: &str) -> bool {
        let Some(value) = self.view.get(&peer_id(node_id)).and_then(|peer| peer.value::<PeerValue>()) else {
            return false;
        };
        let since = value.status_since.as_ref().map(|at| at.seconds.saturating_mul(1000));
        let since = since.and_then(|ms| u64::try_from(ms).ok());
        let renewed = self.view.tenancy().renewed_at(&session_id(node_id));
        value.status == i32::from(Status::Alive)
            && since.is_some_and(|since| since < self.young.0)
            && renewed.is_some_and(|at| at > self.young)
    }
}
