//! Which states are one: those that differ in nothing that could ever matter.

use super::{Act, Commit, NODES, Node, State, World};
use crate::settle::{PRESENT, in_order};

/// An instant that is longer ago matters no more: by then it is everybody's turn.
const LONG_AGO: u8 = PRESENT - 1;

impl State {
    pub(super) fn settle(&mut self) {
        self.rebase();
        self.forget();
        for node in 0..NODES {
            in_order(self.lives(node).into_iter(), |rank| rank);
        }
        in_order(self.versions().into_iter(), |rank| rank);
        in_order(self.tokens().into_iter(), |rank| PRESENT / 2 + rank);
    }

    /// Moves the present to where it always stands.
    fn rebase(&mut self) {
        let now = self.now;
        let moved = |at: &mut u8| *at = (*at + PRESENT).saturating_sub(now).max(LONG_AGO);
        for world in self.worlds() {
            let store = &mut world.store;
            store.now = PRESENT;
            store.sessions.iter_mut().flat_map(|of| [&mut of.deadline, &mut of.barrier]).for_each(moved);
            [&mut store.quarantine_until, &mut world.record.changed_at].into_iter().for_each(moved);
        }
        self.nodes
            .iter_mut()
            .filter_map(|node| node.trust.as_mut())
            .for_each(|trust| moved(&mut trust.until));
        self.now = PRESENT;
    }

    fn forget(&mut self) {
        let world = self.world;
        for node in &mut self.nodes {
            node.trust = node.trust.filter(|trust| PRESENT < trust.until);
            // Without a session it can do nothing, and it hears all when it has the next.
            if node.trust.is_none() {
                (node.seen, node.yielding) = (world, None);
            }
            // It will be refused, which is as if it had been lost.
            let is_vain =
                |commit: &Commit| commit.epoch != world.store.epoch || commit.version != world.record.version;
            node.commit = node.commit.filter(|commit| node.yielding.is_some() || !is_vain(commit));
            for session in &mut node.seen.store.sessions {
                session.barrier = LONG_AGO;
            }
        }
        let store = &mut self.world.store;
        for (at, session) in store.sessions.iter_mut().enumerate() {
            // A barrier is for the lease of a life that was replaced.
            let stands = store.lease.holder.is_some_and(|(node, life)| node == at && life < session.instance);
            session.barrier = if stands { session.barrier } else { LONG_AGO };
        }
    }

    fn worlds(&mut self) -> impl Iterator<Item = &mut World> {
        let seen = self.nodes.iter_mut().map(|node| &mut node.seen);
        std::iter::once(&mut self.world).chain(seen)
    }

    /// All that name a life of this node's session.
    fn lives(&mut self, of: usize) -> Vec<&mut u8> {
        let mut lives = Vec::new();
        let mut named = Vec::new();
        lives.push(&mut self.world.store.sessions[of].instance);
        named.extend([self.world.store.lease.holder.as_mut(), self.world.record.current.as_mut()]);
        for (at, Node { seen, trust, commit, .. }) in self.nodes.iter_mut().enumerate() {
            lives.push(&mut seen.store.sessions[of].instance);
            named.extend([seen.store.lease.holder.as_mut(), seen.record.current.as_mut()]);
            lives.extend(trust.as_mut().filter(|_| at == of).map(|trust| &mut trust.instance));
            match commit.as_mut().map(|commit| &mut commit.act) {
                Some(Act::Campaign { life }) if at == of => lives.push(life),
                Some(Act::HandOver { to, .. }) => named.push(Some(to)),
                Some(Act::Remove { over, .. } | Act::Vacate { over }) => named.push(over.as_mut()),
                Some(Act::Campaign { .. } | Act::StepDown { .. } | Act::DropOrder { .. }) | None => {}
            }
        }
        let named = named.into_iter().flatten().filter(|(node, _)| *node == of);
        lives.extend(named.map(|(_, life)| life));
        lives
    }

    fn versions(&mut self) -> Vec<&mut u8> {
        let mut versions = vec![&mut self.world.record.version];
        for Node { seen, commit, yielding, .. } in &mut self.nodes {
            versions.push(&mut seen.record.version);
            versions.extend(commit.as_mut().map(|commit| &mut commit.version));
            versions.extend(yielding.as_mut().map(|yielding| &mut yielding.version));
        }
        versions
    }

    fn tokens(&mut self) -> Vec<&mut u8> {
        let mut tokens = vec![&mut self.world.store.lease.token];
        for Node { seen, commit, .. } in &mut self.nodes {
            tokens.push(&mut seen.store.lease.token);
            tokens.extend(commit.as_mut().and_then(|Commit { act, .. }| act.token()));
        }
        tokens
    }
}

impl Act {
    fn token(&mut self) -> Option<&mut u8> {
        match self {
            Self::HandOver { token, .. } | Self::StepDown { token, .. } | Self::DropOrder { token } => {
                Some(token)
            }
            Self::Remove { token, .. } => token.as_mut(),
            Self::Campaign { .. } | Self::Vacate { .. } => None,
        }
    }
}
