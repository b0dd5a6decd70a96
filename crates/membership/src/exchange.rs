//! Exchange of all that is known, over a stream: two that know the same find that out by a number each.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Buf as _;

use crate::Time;
use crate::membership::Membership;
use crate::packet::{Malformed, VERSION, byte, name, number, put_name, put_number};
use crate::record::{Claim, NodeId, Status, Update};

/// How many entries a message may have: more than there are members, as of a suspect there are two.
const ENTRIES_MAX: usize = 100_000;

/// A message of an exchange. It begins with [`Membership::begin_exchange`] and goes to and fro until one has nothing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// A number of what the sender knows, and the sender itself.
    Digest { digest: u64, own: Update },
    /// Both know the same.
    Same,
    /// How the sender has each member it knows, itself among them.
    Listing(Vec<Listed>),
    /// What the other has not, and whom it is asked for.
    Updates { updates: Vec<Update>, wanted: Vec<NodeId> },
}

/// How somebody is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub node: NodeId,
    pub incarnation: u64,
    pub version: u64,
    pub status: Status,
}

impl Listed {
    /// What is compared: the greater wins.
    fn rank(&self) -> (u64, u8, u64) {
        (self.incarnation, status_byte(self.status), self.version)
    }
}

fn status_byte(status: Status) -> u8 {
    match status {
        Status::Alive => 0,
        Status::Suspect => 1,
        Status::Dead => 2,
        Status::Left => 3,
    }
}

impl Membership {
    /// The first message of an exchange.
    pub fn begin_exchange(&self) -> Exchange {
        Exchange::Digest { digest: self.digest(), own: self.own_update() }
    }

    /// Takes a message of somebody who has proven to be that, and answers it; `None`: there is nothing more to say.
    pub fn take_exchange(&mut self, now: Time, from: &NodeId, message: Exchange) -> Option<Exchange> {
        self.notice(now);
        if let Some(member) = self.members.get_mut(from) {
            member.heard = Some(now);
        }
        match message {
            Exchange::Digest { digest, own } => {
                if own.node != *from {
                    return None;
                }
                self.apply(now, from, own);
                let is_same = self.digest() == digest;
                Some(if is_same { Exchange::Same } else { Exchange::Listing(self.listing()) })
            }
            Exchange::Same => None,
            Exchange::Listing(listing) => {
                let answer = self.compare(&listing);
                let is_something = !matches!(&answer, Exchange::Updates { updates, wanted } if updates.is_empty() && wanted.is_empty());
                is_something.then_some(answer)
            }
            Exchange::Updates { updates, wanted } => {
                for update in updates {
                    self.apply(now, from, update);
                }
                // Each once, however often it is asked for.
                let wanted: BTreeSet<_> = wanted.into_iter().collect();
                let updates: Vec<_> = wanted.iter().flat_map(|node| self.updates_of(node)).collect();
                (!updates.is_empty()).then_some(Exchange::Updates { updates, wanted: Vec::new() })
            }
        }
    }

    fn digest(&self) -> u64 {
        self.members.digest((&self.own.node, self.own.incarnation, self.own.record.version))
    }

    fn listing(&self) -> Vec<Listed> {
        let own = Listed {
            node: self.own.node.clone(),
            incarnation: self.own.incarnation,
            version: self.own.record.version,
            status: if self.has_left { Status::Left } else { Status::Alive },
        };
        let others = self.members.iter().map(|(node, member)| Listed {
            node: node.clone(),
            incarnation: member.incarnation,
            version: member.record.version,
            status: member.status,
        });
        std::iter::once(own).chain(others).collect()
    }

    /// What the other has not, and what it has that this member has not.
    fn compare(&self, theirs: &[Listed]) -> Exchange {
        let mine = self.listing();
        let (mut updates, mut wanted) = (Vec::new(), Vec::new());
        for listed in news(&mine, theirs) {
            updates.extend(self.updates_of(&listed.node));
        }
        wanted.extend(news(theirs, &mine).map(|listed| listed.node.clone()));
        Exchange::Updates { updates, wanted }
    }

    /// What is said of somebody, so that whoever does not know them can take it.
    fn updates_of(&self, node: &NodeId) -> Vec<Update> {
        if *node == self.own.node {
            return vec![self.own_update()];
        }
        let Some(member) = self.members.get(node.as_str()) else { return Vec::new() };
        let mut updates = vec![member.update(node)];
        if member.status == Status::Suspect {
            // Nobody suspects whom they do not know.
            let claim = Claim::Alive(member.record.clone());
            updates.insert(0, Update { node: node.clone(), incarnation: member.incarnation, claim });
        }
        updates
    }
}

/// Of what some have, that which others have not as well. Nobody wants to know of somebody who has gone and was not known.
fn news<'a>(of: &'a [Listed], others: &'a [Listed]) -> impl Iterator<Item = &'a Listed> {
    let others: BTreeMap<_, _> = others.iter().map(|listed| (&listed.node, listed.rank())).collect();
    of.iter().filter(move |listed| match others.get(&listed.node) {
        Some(other) => listed.rank() > *other,
        None => listed.status.is_live(),
    })
}

impl Exchange {
    /// As it is on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match self {
            Self::Digest { digest, own } => {
                out.push(0);
                out.extend(digest.to_le_bytes());
                own.encode(&mut out);
            }
            Self::Same => out.push(1),
            Self::Listing(listing) => {
                out.push(2);
                for listed in listing {
                    put_name(&mut out, &listed.node);
                    put_number(&mut out, listed.incarnation);
                    put_number(&mut out, listed.version);
                    out.push(status_byte(listed.status));
                }
            }
            Self::Updates { updates, wanted } => {
                out.push(3);
                put_number(&mut out, wanted.len() as u64);
                wanted.iter().for_each(|node| put_name(&mut out, node));
                updates.iter().for_each(|update| update.encode(&mut out));
            }
        }
        out
    }

    /// # Errors
    /// Why it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut bytes = bytes;
        let version = byte(&mut bytes)?;
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        match byte(&mut bytes)? {
            0 => {
                let digest = bytes.try_get_u64_le().map_err(|_| Malformed::Truncated)?;
                let own = Update::decode(&mut bytes)?.ok_or(Malformed::Truncated)?;
                Ok(Self::Digest { digest, own })
            }
            1 => Ok(Self::Same),
            2 => Ok(Self::Listing(until_end(&mut bytes, |bytes| listed(bytes).map(Some))?)),
            3 => {
                let count = usize::try_from(number(&mut bytes)?).unwrap_or(usize::MAX);
                if count > ENTRIES_MAX {
                    return Err(Malformed::Updates);
                }
                let wanted = (0..count).map(|_| name(&mut bytes)).collect::<Result<_, _>>()?;
                Ok(Self::Updates { wanted, updates: until_end(&mut bytes, Update::decode)? })
            }
            other => Err(Malformed::Kind(other)),
        }
    }
}

/// All that there is of something; what says of itself that it is nothing is left out.
fn until_end<T>(
    bytes: &mut &[u8],
    read: impl Fn(&mut &[u8]) -> Result<Option<T>, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let mut all = Vec::new();
    while bytes.has_remaining() {
        if all.len() == ENTRIES_MAX {
            return Err(Malformed::Updates);
        }
        all.extend(read(bytes)?);
    }
    Ok(all)
}

fn listed(bytes: &mut &[u8]) -> Result<Listed, Malformed> {
    let (node, incarnation, version) = (name(bytes)?, number(bytes)?, number(bytes)?);
    let status = match byte(bytes)? {
        0 => Status::Alive,
        1 => Status::Suspect,
        2 => Status::Dead,
        3 => Status::Left,
        other => return Err(Malformed::Kind(other)),
    };
    Ok(Listed { node, incarnation, version, status })
}
