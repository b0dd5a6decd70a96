//! The nodes of a mesh, as those see them who elect and judge: all of them are looked at, again and again.

use std::sync::Arc;

use omnirelay_certificate_records::standing::NodeIdentities;
use omnirelay_decisions::lease::ElectionCandidate;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::{GroupRef, Precondition};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::peer::Status;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use omnirelay_wire::timestamp::Timestamp;
use prost::Message as _;

use crate::{PEER, peer_id, session_id};

/// Standing of a peer: the part of its `PeerValue` that matters however many have left, read without keeping the value.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct PeerStanding {
    #[prost(enumeration = "Status", tag = "1")]
    pub status: i32,
    #[prost(message, optional, tag = "3")]
    pub status_since: Option<Timestamp>,
    #[prost(bool, tag = "4")]
    pub cordoned: bool,
    #[prost(uint64, tag = "8")]
    pub session: u64,
}

impl PeerStanding {
    /// `None`: the value is no peer's.
    pub fn of(record: &ViewRecord) -> Option<Self> {
        Self::decode(&*record.record.value).ok()
    }

    /// The session that its record names.
    pub fn session_of(&self, record: &ViewRecord) -> GroupRef {
        GroupRef { id: session_id(&record.record.id.key), instance: self.session }
    }
}

/// Status of each peer.
pub fn statuses(view: &View) -> Vec<Status> {
    let status =
        |record: &Arc<ViewRecord>| PeerStanding::of(record).map(|it| it.status()).unwrap_or_default();
    view.list(&PEER).records.iter().map(status).collect()
}

/// Nodes in the order of their ids.
pub struct PeerRoster {
    peers: Vec<(Arc<ViewRecord>, Arc<PeerValue>, bool)>,
}

impl PeerRoster {
    /// All nodes.
    pub fn of(view: &View) -> Self {
        Self::read(view, &view.list(&PEER).records, |_, _| true)
    }

    /// Those that may lead or judge, and `me`: others that have left are not read.
    pub fn of_candidates(view: &View, me: &str) -> Self {
        let is_in = |standing: &PeerStanding, node: &str| standing.status() != Status::Left || node == me;
        Self::read(view, &view.list(&PEER).records, is_in)
    }

    /// One node alone, if it has a record.
    pub fn of_one(view: &View, node_id: &str) -> Self {
        Self::read(view, view.get(&peer_id(node_id)).as_slice(), |_, _| true)
    }

    fn read(view: &View, records: &[Arc<ViewRecord>], is_in: impl Fn(&PeerStanding, &str) -> bool) -> Self {
        let identities = NodeIdentities::of(view);
        let read = records.iter().filter_map(|record| {
            let standing = PeerStanding::of(record).filter(|it| is_in(it, &record.record.id.key))?;
            // There may be many that have left, of which nobody asks anything else.
            let value = match standing.status() {
                Status::Left => record.read::<PeerValue>().map(Arc::new)?,
                _ => record.value::<PeerValue>()?,
            };
            let unproven =
                identities.as_ref().and_then(|known| known.unproven_reason(&record.record, &value));
            let value = if unproven.is_some() { without_identity(&value) } else { value };
            Some((record, standing, value))
        });
        // All of it before the sessions are looked at: that holds the view.
        let read: Vec<_> = read.collect();
        let tenancy = view.tenancy();
        let peers = read.into_iter().map(|(record, standing, value)| {
            let live = tenancy.is_live(&standing.session_of(record), record.record.updated_at);
            (record.clone(), value, live)
        });
        Self { peers: peers.collect() }
    }

    /// Precondition that a node's record is still the one that was read.
    pub fn record_of(&self, node_id: &str) -> Option<Precondition> {
        let (record, ..) = self.find(node_id)?;
        Some(Precondition::Version { id: record.record.id.clone(), version: record.record.version })
    }

    /// The session that a node's record names.
    pub fn session_of(&self, node_id: &str) -> Option<GroupRef> {
        let (_, peer, _) = self.find(node_id)?;
        Some(GroupRef { id: session_id(node_id), instance: peer.session })
    }

    fn find(&self, node_id: &str) -> Option<&(Arc<ViewRecord>, Arc<PeerValue>, bool)> {
        let place =
            self.peers.binary_search_by(|(record, ..)| record.record.id.key.as_str().cmp(node_id)).ok()?;
        self.peers.get(place)
    }

    /// The nodes in the order of their ids.
    pub fn nodes(&self) -> Vec<ElectionCandidate<'_>> {
        self.peers
            .iter()
            .map(|(record, peer, session_live)| ElectionCandidate {
                id: &record.record.id.key,
                peer,
                session_live: *session_live,
            })
            .collect()
    }
}

/// A peer that the mesh does not know by a certificate, whatever it says of itself.
fn without_identity(peer: &PeerValue) -> Arc<PeerValue> {
    let mut peer = peer.clone();
    peer.metadata.get_or_insert_default().without_identity = true;
    Arc::new(peer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use omnirelay_core::time::Millis;
    use omnirelay_store::{Epoch, Group, PulseAnswer, Record, RecordId, Revision, Version};
    use tokio::time::Instant;

    use super::*;
    use omnirelay_registry::view::LoadedRecords;

    fn record(node: &str, value: &PeerValue) -> ViewRecord {
        let record = Record {
            id: RecordId::new(PEER, node),
            value: value.encode_to_vec().into(),
            version: Version(1),
            revision: Revision(1),
            group: None,
            created_at: Millis(0),
            updated_at: Millis(0),
            writer: "a".into(),
            deleted: false,
        };
        ViewRecord::new(Epoch(1), record)
    }

    #[test]
    fn a_standing_is_what_the_value_says() {
        let mut value = PeerValue {
            status_reason: "stopped".to_owned(),
            status_since: Some(Timestamp { seconds: 7, nanos: 8 }),
            cordoned: true,
            cordon_reason: "disk".to_owned(),
            draining: true,
            session: 9,
            restored_epoch: 10,
            ..PeerValue::default()
        };
        value.set_status(Status::Left);
        let record = record("n", &value);
        let standing = PeerStanding::of(&record).unwrap();
        assert_eq!(standing.status(), value.status());
        assert_eq!(standing.status_since, value.status_since);
        assert_eq!((standing.cordoned, standing.session), (value.cordoned, value.session));
        assert_eq!(standing.session_of(&record), GroupRef { id: session_id("n"), instance: 9 });
    }

    #[test]
    fn of_those_that_have_left_only_oneself_is_a_candidate() {
        let peers = [("a", Status::Left), ("b", Status::Alive), ("c", Status::Left), ("d", Status::Dead)];
        let records = peers.map(|(node, status)| {
            Arc::new(record(node, &PeerValue { status: status.into(), ..PeerValue::default() }))
        });
        let view = View::new(&[PEER]);
        let records = [(PEER, vec![records.to_vec()])].into();
        view.replace(
            Epoch(1),
            Revision(1),
            LoadedRecords { records, ..LoadedRecords::default() }.ordered(&[]),
            &[],
            |_| {},
        );
        let names = |roster: PeerRoster| {
            roster.nodes().iter().map(|node| node.id.to_owned()).collect::<Vec<_>>().concat()
        };
        assert_eq!(names(PeerRoster::of_candidates(&view, "a")), "abd");
        assert_eq!(names(PeerRoster::of_candidates(&view, "b")), "bd");
        assert_eq!(names(PeerRoster::of(&view)), "abcd");
        assert_eq!(names(PeerRoster::of_one(&view, "c")), "c");
        assert_eq!(names(PeerRoster::of_one(&view, "x")), "");
        assert_eq!(statuses(&view), peers.map(|(_, status)| status));
    }

    /// A record that others have put back names a session of the epoch before, of which nobody will ever hear.
    #[test]
    fn a_session_that_no_beat_tells_of_is_over_once_some_have_come() {
        let view = View::new(&[PEER]);
        let peer = PeerValue { session: 7, ..PeerValue::default() };
        let records = [(PEER, vec![vec![Arc::new(record("a", &peer)), Arc::new(record("b", &peer))]])].into();
        let loaded = LoadedRecords { records, ..LoadedRecords::default() };
        view.replace(Epoch(1), Revision(1), loaded.ordered(&[]), &[], |_| {});
        let beat = |now: u64, moved: Vec<Group>| PulseAnswer {
            now: Millis(now),
            epoch: Epoch(1),
            head: Revision(1),
            renewed: Vec::new(),
            moved,
            quarantine_until: Millis(0),
            grace: None,
        };
        let live = |view: &View| {
            let roster = PeerRoster::of(view);
            roster.nodes().iter().map(|node| node.session_live).collect::<Vec<_>>()
        };
        assert_eq!(live(&view), [true, true], "before any beat nobody knows");
        let of = GroupRef { id: session_id("a"), instance: 7 };
        let (deadline, ttl) = (Millis(60_000), Duration::from_secs(60));
        let group = Group { of, ttl, deadline, renewed_at: Millis(0), closed: false };
        view.note_beat(&beat(1_999, vec![group]), Instant::now());
        assert_eq!(live(&view), [true, true]);
        view.note_beat(&beat(2_000, Vec::new()), Instant::now());
        assert_eq!(live(&view), [true, false]);
    }
}
