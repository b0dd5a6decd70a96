//! Exchange of all that is known, over a stream: two that know the same find that out by a number each.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Buf as _;

use crate::Time;
use crate::budget::{WorkKind, exchange_cost};
use crate::membership::Membership;
use crate::packet::{MalformedPacket, VERSION, byte, name, number, put_name, put_number};
use crate::record::{MemberClaim, MemberStatus, MemberUpdate, NodeId};
use crate::strangers::UpdateChannel;

/// How many entries a message may have: twice as many as there are members, as of a suspect there are two.
const ENTRIES_MAX: usize = 20_002;
/// How large a message may be, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// How many bytes of updates are sent at a time; who is told more asks again.
const UPDATES_BYTES_MAX: usize = 640 * 1024;
/// How many updates are taken in one step.
const STEP_UPDATES_MAX: usize = 256;

/// A message of an exchange. It begins with [`Membership::begin_exchange`] and goes to and fro until one has nothing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExchangeMessage {
    /// A number of what the sender knows, and the sender itself.
    Digest { digest: u64, own: MemberUpdate },
    /// Both know the same.
    Same,
    /// How the sender has each member it knows, itself among them.
    Listing(Vec<ListedMember>),
    /// What the other has not, and whom it is asked for.
    Updates { updates: Vec<MemberUpdate>, wanted: Vec<NodeId> },
}

/// Status of one member, as it is listed in an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedMember {
    pub node: NodeId,
    pub incarnation: u64,
    pub version: u64,
    pub status: MemberStatus,
}

impl ListedMember {
    /// What is compared: the greater wins.
    fn rank(&self) -> (u64, u8, u64) {
        (self.incarnation, status_byte(self.status), self.version)
    }
}

fn status_byte(status: MemberStatus) -> u8 {
    match status {
        MemberStatus::Alive => 0,
        MemberStatus::Suspect => 1,
        MemberStatus::Dead => 2,
        MemberStatus::Left => 3,
    }
}

impl Membership {
    /// The first message of an exchange.
    pub fn begin_exchange(&self) -> ExchangeMessage {
        ExchangeMessage::Digest { digest: self.digest(), own: self.own_update() }
    }

    /// Whether somebody may say so many bytes more in exchanges now; that is counted then. Before they are looked at.
    pub fn may_exchange(&mut self, now: Time, from: &NodeId, bytes: usize) -> bool {
        let may = bytes <= MESSAGE_BYTES_MAX
            && self.budgets.take(now, from, WorkKind::Exchanges, exchange_cost(bytes));
        self.stats.throttled += u64::from(!may);
        may
    }

    /// Takes a message of somebody who has proven to be that, and answers it; `None`: there is nothing more to say. What is large is
    /// taken in parts, see [`ExchangeMessage::part`].
    pub fn take_exchange(
        &mut self,
        now: Time,
        from: &NodeId,
        message: ExchangeMessage,
    ) -> Option<ExchangeMessage> {
        self.notice(now);
        self.note_heard(now, from);
        match message {
            ExchangeMessage::Digest { digest, own } => {
                if own.node != *from {
                    return None;
                }
                self.apply(now, from, own, UpdateChannel::Exchange);
                let is_same = self.digest() == digest;
                Some(if is_same { ExchangeMessage::Same } else { ExchangeMessage::Listing(self.listing()) })
            }
            ExchangeMessage::Same => None,
            ExchangeMessage::Listing(listing) => {
                let answer = self.compare(&listing);
                let is_something = !matches!(&answer, ExchangeMessage::Updates { updates, wanted } if updates.is_empty() && wanted.is_empty());
                is_something.then_some(answer)
            }
            ExchangeMessage::Updates { updates, wanted } => {
                self.take_updates(now, from, updates, UpdateChannel::Exchange);
                // Each once, however often it is asked for.
                let mut seen = BTreeSet::new();
                let wanted = wanted.iter().filter(|node| self.is_handed_on(node) && seen.insert(*node));
                let updates = self.updates_of_all(wanted);
                (!updates.is_empty()).then_some(ExchangeMessage::Updates { updates, wanted: Vec::new() })
            }
        }
    }

    fn digest(&self) -> u64 {
        self.members.digest((&self.own.node, self.own.incarnation, self.own.record.version))
    }

    fn listing(&self) -> Vec<ListedMember> {
        let own = ListedMember {
            node: self.own.node.clone(),
            incarnation: self.own.incarnation,
            version: self.own.record.version,
            status: if self.has_left { MemberStatus::Left } else { MemberStatus::Alive },
        };
        // Whoever is more than a name comes first: of the rest there may be more than the other takes.
        let (strangers, known): (Vec<_>, Vec<_>) =
            self.members.iter().partition(|(_, member)| member.is_stranger());
        let others = known.into_iter().chain(strangers).map(|(node, member)| ListedMember {
            node: node.clone(),
            incarnation: member.incarnation,
            version: member.record.version,
            status: member.status,
        });
        std::iter::once(own).chain(others).collect()
    }

    /// What the other has not, and what it has that this member has not.
    fn compare(&self, theirs: &[ListedMember]) -> ExchangeMessage {
        let mine = self.listing();
        let known: BTreeSet<_> = theirs.iter().map(|listed| &listed.node).collect();
        let news_of_mine = news(&mine, theirs).map(|listed| &listed.node);
        let updates =
            self.updates_of_all(news_of_mine.filter(|node| known.contains(node) || self.is_handed_on(node)));
        let wanted = news(theirs, &mine).map(|listed| listed.node.clone()).collect();
        ExchangeMessage::Updates { updates, wanted }
    }

    /// Whether somebody is told of in exchanges to whoever does not know them. Not a stranger of whom an exchange told: they would
    /// come back without end, each time as if they were new, from those who have not forgotten them yet.
    fn is_handed_on(&self, node: &NodeId) -> bool {
        self.members.get(node.as_str()).is_none_or(|member| member.told_by() != Some(UpdateChannel::Exchange))
    }

    /// What is said of each of those, as many as may be sent at a time.
    fn updates_of_all<'a>(&self, nodes: impl Iterator<Item = &'a NodeId>) -> Vec<MemberUpdate> {
        let mut left = UPDATES_BYTES_MAX;
        let fits = move |update: &MemberUpdate| {
            left = left.saturating_sub(update.encoded_len());
            left > 0
        };
        nodes.flat_map(|node| self.updates_of(node)).take_while(fits).collect()
    }

    /// What is said of somebody, so that whoever does not know them can take it.
    fn updates_of(&self, node: &NodeId) -> Vec<MemberUpdate> {
        if *node == self.own.node {
            return vec![self.own_update()];
        }
        let Some(member) = self.members.get(node.as_str()) else { return Vec::new() };
        let mut updates = vec![member.update(node)];
        if member.status == MemberStatus::Suspect {
            // Nobody suspects whom they do not know.
            let claim = MemberClaim::Alive(member.record.clone());
            updates.insert(0, MemberUpdate { node: node.clone(), incarnation: member.incarnation, claim });
        }
        updates
    }
}

/// Of what some have, that which others have not as well. Nobody wants to know of somebody who has gone and was not known.
fn news<'a>(of: &'a [ListedMember], others: &'a [ListedMember]) -> impl Iterator<Item = &'a ListedMember> {
    let others: BTreeMap<_, _> = others.iter().map(|listed| (&listed.node, listed.rank())).collect();
    of.iter().filter(move |listed| match others.get(&listed.node) {
        Some(other) => listed.rank() > *other,
        None => listed.status.is_live(),
    })
}

impl ExchangeMessage {
    /// Takes a part out of it that is to be given to [`Membership::take_exchange`] first, in a step of its own; `None`: what is left
    /// is small enough.
    pub fn part(&mut self) -> Option<Self> {
        let Self::Updates { updates, .. } = self else { return None };
        if updates.len() <= STEP_UPDATES_MAX {
            return None;
        }
        let rest = updates.split_off(STEP_UPDATES_MAX);
        Some(Self::Updates { updates: std::mem::replace(updates, rest), wanted: Vec::new() })
    }

    /// Whether it is one of those of which more is to come with another exchange.
    pub fn is_cut(&self) -> bool {
        match self {
            Self::Updates { updates, .. } => {
                updates.iter().map(MemberUpdate::encoded_len).sum::<usize>() >= UPDATES_BYTES_MAX / 2
            }
            Self::Digest { .. } | Self::Same | Self::Listing(_) => false,
        }
    }

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
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedPacket> {
        let mut bytes = bytes;
        let version = byte(&mut bytes)?;
        if version != VERSION {
            return Err(MalformedPacket::Version(version));
        }
        match byte(&mut bytes)? {
            0 => {
                let digest = bytes.try_get_u64_le().map_err(|_| MalformedPacket::Truncated)?;
                let own = MemberUpdate::decode(&mut bytes)?.ok_or(MalformedPacket::Truncated)?;
                Ok(Self::Digest { digest, own })
            }
            1 => Ok(Self::Same),
            2 => Ok(Self::Listing(until_end(&mut bytes, |bytes| listed(bytes).map(Some))?)),
            3 => {
                let count = usize::try_from(number(&mut bytes)?).unwrap_or(usize::MAX);
                if count > ENTRIES_MAX {
                    return Err(MalformedPacket::Updates);
                }
                let wanted = (0..count).map(|_| name(&mut bytes)).collect::<Result<_, _>>()?;
                Ok(Self::Updates { wanted, updates: until_end(&mut bytes, MemberUpdate::decode)? })
            }
            other => Err(MalformedPacket::Kind(other)),
        }
    }
}

/// All that there is of something; what says of itself that it is nothing is left out.
fn until_end<T>(
    bytes: &mut &[u8],
    read: impl Fn(&mut &[u8]) -> Result<Option<T>, MalformedPacket>,
) -> Result<Vec<T>, MalformedPacket> {
    let mut all = Vec::new();
    while bytes.has_remaining() {
        if all.len() == ENTRIES_MAX {
            return Err(MalformedPacket::Updates);
        }
        all.extend(read(bytes)?);
    }
    Ok(all)
}

fn listed(bytes: &mut &[u8]) -> Result<ListedMember, MalformedPacket> {
    let (node, incarnation, version) = (name(bytes)?, number(bytes)?, number(bytes)?);
    let status = match byte(bytes)? {
        0 => MemberStatus::Alive,
        1 => MemberStatus::Suspect,
        2 => MemberStatus::Dead,
        3 => MemberStatus::Left,
        other => return Err(MalformedPacket::Kind(other)),
    };
    Ok(ListedMember { node, incarnation, version, status })
}
