//! Dissemination: the updates that are still passed on, each so many times, those that were passed on least first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::record::{MemberUpdate, NodeId};

/// How many updates that do not fit are passed over until what is left of a packet is left empty.
const TOO_LARGE_MAX: usize = 4;

/// Place of an update in the queue: whether it is of a stranger, how often it was sent, how new it is, and its node.
type QueuePlace = (bool, u32, Reverse<u64>, NodeId);

/// The newest update of each member that is passed on.
#[derive(Default)]
pub(crate) struct UpdateQueue {
    updates: BTreeMap<NodeId, QueuedUpdate>,
    /// What goes first: of whoever is more than a name, then sent least, then newest.
    order: BTreeSet<QueuePlace>,
    /// How many were queued so far.
    queued: u64,
}

/// Update that waits to be passed on.
struct QueuedUpdate {
    update: MemberUpdate,
    is_of_stranger: bool,
    bytes: usize,
    sent: u32,
    number: u64,
}

impl QueuedUpdate {
    fn place(&self) -> QueuePlace {
        (self.is_of_stranger, self.sent, Reverse(self.number), self.update.node.clone())
    }
}

impl UpdateQueue {
    pub(crate) fn len(&self) -> usize {
        self.updates.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }

    /// Passes an update on, in place of any other of the same member.
    pub(crate) fn put(&mut self, update: MemberUpdate, is_of_stranger: bool) {
        self.remove(&update.node);
        self.queued += 1;
        let bytes = update.encoded_len();
        let queued = QueuedUpdate { update, is_of_stranger, bytes, sent: 0, number: self.queued };
        self.order.insert(queued.place());
        self.updates.insert(queued.update.node.clone(), queued);
    }

    /// Passes nothing on of a member.
    pub(crate) fn remove(&mut self, node: &NodeId) {
        if let Some(queued) = self.updates.remove(node) {
            self.order.remove(&queued.place());
        }
    }

    /// Takes as many as fit into `bytes`, and at most `count`; each counts as passed on once, and is dropped after `limit` times.
    /// Where it does not count, what is of a stranger does all the same. What is of `without` is left for other packets.
    pub(crate) fn take(
        &mut self,
        bytes: usize,
        count: usize,
        limit: u32,
        counts: bool,
        without: Option<&NodeId>,
    ) -> Vec<MemberUpdate> {
        let (mut left, mut too_large) = (bytes, 0);
        let mut chosen = Vec::new();
        for (_, _, _, node) in &self.order {
            if chosen.len() == count || too_large == TOO_LARGE_MAX {
                break;
            }
            let Some(queued) = self.updates.get(node).filter(|_| without != Some(node)) else { continue };
            if queued.bytes <= left {
                left -= queued.bytes;
                chosen.push(node.clone());
            } else {
                too_large += 1;
            }
        }
        chosen.into_iter().filter_map(|node| self.sent(node, limit, counts)).collect()
    }

    fn sent(&mut self, node: NodeId, limit: u32, counts: bool) -> Option<MemberUpdate> {
        let queued = self.updates.get_mut(&node)?;
        self.order.remove(&queued.place());
        queued.sent += u32::from(counts || queued.is_of_stranger);
        if queued.sent >= limit {
            return self.updates.remove(&node).map(|queued| queued.update);
        }
        self.order.insert(queued.place());
        Some(queued.update.clone())
    }
}
