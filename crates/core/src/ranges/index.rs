//! Index of ranges: the sum of each, kept while records come and go.

use super::sum::{DigestSum, RecordDigest};
use super::{DEPTH_MAX, FAN_OUT, RangePrefix, digit};

/// How many items a range may have that is not split.
const LEAF_MAX: usize = 32;
/// A range that has become so small is not split any longer.
const LEAF_AGAIN: u64 = 16;

/// Item of an index.
pub trait RangeItem {
    /// Hash of its key, by which it has its place.
    fn place(&self) -> u64;

    /// Digest of all of it.
    fn digest(&self) -> RecordDigest;

    /// Whether another one has its key.
    fn has_key_of(&self, other: &Self) -> bool;
}

/// Index of items. It keeps what it is given, a sum for each range of at most [`LEAF_MAX`], and no digest: what goes is hashed again.
#[derive(Debug)]
pub struct RangeIndex<T> {
    root: RangeNode<T>,
}

#[derive(Debug)]
struct RangeNode<T> {
    sum: DigestSum,
    content: RangeContent<T>,
}

#[derive(Debug)]
enum RangeContent<T> {
    Items(Vec<T>),
    Split(Box<[RangeNode<T>; FAN_OUT]>),
}

impl<T> Default for RangeIndex<T> {
    fn default() -> Self {
        Self { root: RangeNode::default() }
    }
}

impl<T> Default for RangeNode<T> {
    fn default() -> Self {
        Self { sum: DigestSum::default(), content: RangeContent::Items(Vec::new()) }
    }
}

impl<T: RangeItem> RangeIndex<T> {
    /// Puts an item in the place of the one with its key, which is given back.
    pub fn put(&mut self, item: T) -> Option<T> {
        let (place, digest) = (item.place(), item.digest());
        // Taken away first, so that all sums on the way are right whatever was there.
        let before = self.root.take(&item, place, 0);
        self.root.put(item, place, &digest, 0);
        before.map(|(before, _)| before)
    }

    /// Takes away the item that has the key of another one.
    pub fn take(&mut self, like: &T) -> Option<T> {
        self.root.take(like, like.place(), 0).map(|(item, _)| item)
    }

    /// Sum of a range.
    pub fn sum(&self, range: RangePrefix) -> DigestSum {
        let (node, depth) = self.node(range);
        match &node.content {
            RangeContent::Items(items) if depth < range.depth() => {
                let mut sum = DigestSum::default();
                let within = items.iter().filter(|item| range.has(item.place()));
                within.for_each(|item| sum.add(&item.digest()));
                sum
            }
            RangeContent::Items(_) | RangeContent::Split(_) => node.sum,
        }
    }

    /// Sums of the sixteen ranges that a range splits into; `None`: it is of a single hash.
    pub fn sums_within(&self, range: RangePrefix) -> Option<[DigestSum; FAN_OUT]> {
        if range.depth() == DEPTH_MAX {
            return None;
        }
        let (node, depth) = self.node(range);
        let mut sums = [DigestSum::default(); FAN_OUT];
        match &node.content {
            RangeContent::Split(nodes) if depth == range.depth() => {
                sums.iter_mut().zip(nodes.iter()).for_each(|(sum, node)| *sum = node.sum);
            }
            RangeContent::Split(_) => {}
            RangeContent::Items(items) => {
                let places = items.iter().map(|item| (item, item.place()));
                for (item, place) in places.filter(|(_, place)| range.has(*place)) {
                    sums[digit(place, range.depth())].add(&item.digest());
                }
            }
        }
        Some(sums)
    }

    /// Items of a range, in no order.
    pub fn items(&self, range: RangePrefix) -> Vec<&T> {
        let (mut found, mut nodes) = (Vec::new(), vec![self.node(range).0]);
        while let Some(node) = nodes.pop() {
            match &node.content {
                RangeContent::Items(items) => {
                    found.extend(items.iter().filter(|item| range.has(item.place())));
                }
                RangeContent::Split(within) => nodes.extend(within.iter()),
            }
        }
        found
    }

    /// Node that has all of a range, and how deep it is: at the range, or above it where that is not split so far.
    fn node(&self, range: RangePrefix) -> (&RangeNode<T>, u8) {
        let (mut node, mut depth) = (&self.root, 0);
        while depth < range.depth() {
            let RangeContent::Split(nodes) = &node.content else { break };
            node = &nodes[digit(range.bits(), depth)];
            depth += 1;
        }
        (node, depth)
    }
}

impl<T: RangeItem> FromIterator<T> for RangeIndex<T> {
    /// Of items with different keys.
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut all = Self::default();
        for item in items {
            let (place, digest) = (item.place(), item.digest());
            all.root.put(item, place, &digest, 0);
        }
        all
    }
}

impl<T: RangeItem> RangeNode<T> {
    /// Adds an item whose key is new.
    fn put(&mut self, item: T, place: u64, digest: &RecordDigest, depth: u8) {
        self.sum.add(digest);
        match &mut self.content {
            RangeContent::Split(nodes) => nodes[digit(place, depth)].put(item, place, digest, depth + 1),
            RangeContent::Items(items) => {
                // No room for what may never come.
                items.reserve_exact(1);
                items.push(item);
                if items.len() > LEAF_MAX && depth < DEPTH_MAX {
                    let items = std::mem::take(items);
                    self.split(items, depth);
                }
            }
        }
    }

    fn split(&mut self, items: Vec<T>, depth: u8) {
        let mut nodes: Box<[Self; FAN_OUT]> = Box::default();
        for item in items {
            let (place, digest) = (item.place(), item.digest());
            nodes[digit(place, depth)].put(item, place, &digest, depth + 1);
        }
        self.content = RangeContent::Split(nodes);
    }

    fn take(&mut self, like: &T, place: u64, depth: u8) -> Option<(T, RecordDigest)> {
        let taken = match &mut self.content {
            RangeContent::Split(nodes) => nodes[digit(place, depth)].take(like, place, depth + 1),
            RangeContent::Items(items) => {
                let at = items.iter().position(|item| item.has_key_of(like))?;
                let item = items.swap_remove(at);
                let digest = item.digest();
                Some((item, digest))
            }
        }?;
        self.sum.take(&taken.1);
        if self.sum.count() <= LEAF_AGAIN && matches!(self.content, RangeContent::Split(_)) {
            let mut items = Vec::with_capacity(self.sum.count() as usize);
            std::mem::take(&mut self.content).drain_into(&mut items);
            self.content = RangeContent::Items(items);
        }
        Some(taken)
    }
}

impl<T> Default for RangeContent<T> {
    fn default() -> Self {
        Self::Items(Vec::new())
    }
}

impl<T> RangeContent<T> {
    fn drain_into(self, all: &mut Vec<T>) {
        match self {
            Self::Items(items) => all.extend(items),
            Self::Split(nodes) => nodes.into_iter().for_each(|node| node.content.drain_into(all)),
        }
    }
}
