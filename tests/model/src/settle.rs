//! Which states are one: those that differ in nothing that could ever matter.
//!
//! Time is told from the present, lives of sessions and old tokens by their order, and nodes have
//! no names. So time can pass for ever, and there still is an end of the states.

use super::State;
use super::node::{Message, Node};
use super::store::{Forgets, Session};

/// Where the present stands. High enough for what lies behind it to have an order.
pub(crate) const PRESENT: u8 = 64;

impl<const N: usize> State<N> {
    /// Makes of this state the one that stands for all that are like it.
    pub fn settle(&mut self, margin: i8, forgets: Forgets) {
        self.store.settle();
        for at in 0..N {
            self.nodes[at].settle(self.now, margin);
            self.drop_vain_message(at, forgets);
            self.renumber(at);
        }
        self.rebase();
        self.sort();
    }

    /// One that can only be told that its session is over. Not hearing of it is another's case, and
    /// who wants to hear of it can ask again.
    fn drop_vain_message(&mut self, at: usize, forgets: Forgets) {
        let of = match self.nodes[at].message {
            Some(Message::Renew { epoch, instance, .. }) if !forgets.deadlines => (epoch, instance),
            Some(Message::Acquire { epoch, instance }) => (epoch, instance),
            Some(Message::Open { .. } | Message::Renew { .. } | Message::Release { .. }) | None => return,
        };
        if of.0 != self.store.epoch || !self.store.is_live(at, of.1) {
            self.nodes[at].message = None;
            self.nodes[at].settle(self.now, 0);
        }
    }

    /// Only which life of a session is newer matters, not how many there were.
    fn renumber(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let lease = self.store.lease.holder.as_mut().filter(|(holder, _)| *holder == at);
        let named = [
            Some(&mut self.store.sessions[at].instance),
            lease.map(|(_, instance)| instance),
            node.trust.as_mut().map(|trust| &mut trust.instance),
            node.message.as_mut().and_then(Message::instance),
        ];
        in_order(named.into_iter().flatten(), |rank| rank);
    }

    /// Moves the present to where it always stands. A token below it is only compared with others.
    fn rebase(&mut self) {
        let now = self.now;
        let moved = |at: &mut u8| *at = if *at == 0 { 0 } else { *at + PRESENT - now };
        self.now = PRESENT;
        let store = &mut self.store;
        [&mut store.now, &mut store.quarantine_until].into_iter().for_each(moved);
        let sessions = store.sessions.iter_mut();
        sessions.flat_map(|session| [&mut session.deadline, &mut session.barrier]).for_each(moved);
        let mut tokens = vec![&mut store.lease.token, &mut self.accepted];
        for node in &mut self.nodes {
            node.trust.iter_mut().for_each(|trust| moved(&mut trust.until));
            node.message.iter_mut().filter_map(Message::asked).for_each(moved);
            tokens.extend(node.token.as_mut());
            tokens.extend(node.writing.as_mut().map(|(_, token)| token));
            tokens.extend(node.message.as_mut().and_then(Message::token));
        }
        let (old, new): (Vec<_>, Vec<_>) =
            tokens.into_iter().filter(|token| **token > 0).partition(|token| **token < now);
        new.into_iter().for_each(moved);
        // There are at most 3 for each node, and two more.
        in_order(old.into_iter(), |rank| PRESENT / 2 + rank);
    }

    fn sort(&mut self) {
        let holder = self.store.lease.holder;
        let mut order: [usize; N] = std::array::from_fn(|at| at);
        let key = |at: usize| -> (Node, Session, bool) {
            (self.nodes[at], self.store.sessions[at], holder.is_some_and(|(node, _)| node == at))
        };
        order.sort_by_key(|at| key(*at));
        let (nodes, sessions) = (self.nodes, self.store.sessions);
        self.nodes = order.map(|at| nodes[at]);
        self.store.sessions = order.map(|at| sessions[at]);
        let place = |node: usize| order.iter().position(|at| *at == node);
        self.store.lease.holder = holder.and_then(|(node, instance)| Some((place(node)?, instance)));
    }
}

/// Gives each number what `of` makes of its rank, from 0.
pub(crate) fn in_order<'a>(numbers: impl Iterator<Item = &'a mut u8>, of: impl Fn(u8) -> u8) {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_unstable();
    let (mut last, mut rank) = (None, 0);
    for number in numbers {
        rank += u8::from(last.is_some_and(|last| last < *number));
        last = Some(*number);
        *number = of(rank);
    }
}
