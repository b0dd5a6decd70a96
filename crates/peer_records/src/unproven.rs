//! The nodes that are none of the mesh by their certificates: what they say and hold does not count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_certificate_records::standing::{self, NodeIdentities, UnprovenNodeReason};
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_wire::pb::omnirelay::mesh::control::v1::peer::Status;
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::PEER;
use crate::roster::PeerStanding;

/// How long a judgement counts in which no record was changed: certificates end, and so does the time for being enrolled.
const JUDGED_FOR: Duration = Duration::from_secs(1);

/// Reasons why nodes are none of the mesh, by the ids of the nodes.
pub type UnprovenReasons = BTreeMap<String, UnprovenNodeReason>;

/// Nodes that are none of the mesh, live or not. None is before there is an authority, unless it says so itself.
pub fn unproven(view: &View) -> UnprovenReasons {
    let identities = NodeIdentities::of(view);
    let records = view.list(&PEER).records;
    let found = records.iter().filter_map(|record| {
        // There may be many that have left, of which nothing is kept.
        let value = match PeerStanding::of(record)?.status() {
            Status::Left => record.read::<PeerValue>().map(Arc::new)?,
            Status::Unspecified | Status::Alive | Status::Suspect | Status::Dead => record.value()?,
        };
        Some((record.record.id.key.clone(), unproven_reason(identities.as_ref(), record, &value)?))
    });
    found.collect()
}

/// Reason why the node of a record is none of the mesh; `None`: it is of the mesh.
pub(crate) fn unproven_reason(
    identities: Option<&NodeIdentities<'_>>,
    record: &ViewRecord,
    value: &PeerValue,
) -> Option<UnprovenNodeReason> {
    let judged = identities.and_then(|known| known.unproven_reason(&record.record, value));
    let says_so = value.metadata.as_ref().is_some_and(|says| says.without_identity);
    judged.or(says_so.then_some(UnprovenNodeReason::NoCertificate))
}

/// Those of them that the registry says live, in order: as peers are listed, so also while a session has just ended.
pub fn unproven_and_listed(view: &View) -> Vec<String> {
    let is_listed = |node: &String| {
        let record = view.get(&crate::peer_id(node));
        let status = record.and_then(|record| Some(PeerStanding::of(&record)?.status()));
        matches!(status, Some(Status::Alive | Status::Suspect))
    };
    unproven(view).into_keys().filter(is_listed).collect()
}

/// Those of them that have a session, in order.
pub fn unproven_and_live(view: &View) -> Vec<String> {
    let found = unproven(view);
    if found.is_empty() {
        return Vec::new();
    }
    let sessions = found.into_keys().filter_map(|node| {
        let record = view.get(&crate::peer_id(&node))?;
        Some((PeerStanding::of(&record)?.session_of(&record), record.record.updated_at, node))
    });
    // All of it before the sessions are looked at: that holds the view.
    let sessions: Vec<_> = sessions.collect();
    let tenancy = view.tenancy();
    let live = sessions.into_iter().filter(|(session, named_at, _)| tenancy.is_live(session, *named_at));
    live.map(|(_, _, node)| node).collect()
}

/// The same for those who ask all the time: they are judged anew once what they are judged by has changed, and every second.
#[derive(Default)]
pub struct UnprovenNodes(Mutex<Option<CachedVerdict>>);

struct CachedVerdict {
    at: Instant,
    /// What was changed last of peers, and of what they are judged by.
    changed: (Cursor, Cursor),
    found: Arc<UnprovenReasons>,
}

impl UnprovenNodes {
    /// Nodes that are none of the mesh, with the reasons.
    pub fn of(&self, view: &View) -> Arc<UnprovenReasons> {
        let mut judged = self.0.lock();
        let changed = (view.changed(&PEER), standing::changed(view));
        let is_new = |judged: &&CachedVerdict| judged.changed == changed && judged.at.elapsed() < JUDGED_FOR;
        if let Some(judged) = judged.as_ref().filter(is_new) {
            return judged.found.clone();
        }
        let found = Arc::new(unproven(view));
        *judged = Some(CachedVerdict { at: Instant::now(), changed, found: found.clone() });
        found
    }

    /// Reason why this node is none of the mesh; empty: it is of the mesh, or there is no such node.
    pub fn reason(&self, view: &View, node_id: &str) -> String {
        self.of(view).get(node_id).map(|why| why.word().to_owned()).unwrap_or_default()
    }
}
