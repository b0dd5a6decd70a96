//! Packets, as they are on the wire.
//!
//! A packet is a version, a kind, a head with its length, and updates with theirs. What a newer version adds at the end of a head or an
//! update is skipped, and so are updates of a kind that is unknown.

use std::sync::Arc;

use bytes::{Buf as _, BufMut, Bytes};

use crate::record::{ACCUSERS_MAX, GossipMemberRecord, MemberClaim, MemberUpdate, NodeId, RECORD_BYTES_MAX};

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u8 = 1;
/// How many updates one packet may have.
pub const UPDATES_MAX: usize = 64;

/// Message of a packet: a ping, for oneself or another, an answer to one, or gossip alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketMessage {
    /// Asks for an [`Ack`](Self::Ack) of the same number.
    Ping {
        number: u32,
    },
    /// Asks to ping somebody else, and to pass on whether they have answered.
    PingFor {
        number: u32,
        target: NodeId,
    },
    Ack {
        number: u32,
    },
    /// Whoever was to be pinged has not answered so far; but I have.
    Nack {
        number: u32,
    },
    /// Carries updates alone.
    Gossip,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub message: PacketMessage,
    /// The incarnation of the sender, and the version of its record.
    pub incarnation: u64,
    pub version: u64,
    /// The sender's local health score; 0 is well.
    pub health: u8,
    pub updates: Vec<MemberUpdate>,
}

/// Reason why bytes are no packet. Nothing of it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedPacket {
    #[error("it is of version {0}, and this is {VERSION}")]
    Version(u8),
    #[error("it is of an unknown kind: {0}")]
    Kind(u8),
    #[error("it ends too early")]
    Truncated,
    #[error("a number has more than 64 bits")]
    Number,
    #[error("a name in it is none")]
    Name,
    #[error("a record has more than {RECORD_BYTES_MAX} bytes")]
    RecordBytes,
    #[error("a suspect has no accuser, or more than {ACCUSERS_MAX}")]
    Accusers,
    #[error("it has more than {UPDATES_MAX} updates")]
    Updates,
}

impl Packet {
    /// Writes it to the end of `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, number, target) = match &self.message {
            PacketMessage::Ping { number } => (0, *number, None),
            PacketMessage::PingFor { number, target } => (1, *number, Some(target)),
            PacketMessage::Ack { number } => (2, *number, None),
            PacketMessage::Nack { number } => (3, *number, None),
            PacketMessage::Gossip => (4, 0, None),
        };
        out.put_slice(&[VERSION, kind]);
        let mut head = Vec::with_capacity(32);
        put_number(&mut head, number.into());
        put_number(&mut head, self.incarnation);
        put_number(&mut head, self.version);
        head.push(self.health);
        if let Some(target) = target {
            put_name(&mut head, target);
        }
        put_number(out, head.len() as u64);
        out.put_slice(&head);
        for update in &self.updates {
            update.encode(out);
        }
    }

    /// # Errors
    /// Why it is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedPacket> {
        let mut bytes = bytes;
        let version = byte(&mut bytes)?;
        if version != VERSION {
            return Err(MalformedPacket::Version(version));
        }
        let kind = byte(&mut bytes)?;
        let mut head = part(&mut bytes)?;
        // The upper half of a longer number means nothing.
        let number = u32::try_from(number(&mut head)?).map_err(|_| MalformedPacket::Number)?;
        let (incarnation, version) = (self::number(&mut head)?, self::number(&mut head)?);
        let health = byte(&mut head)?;
        let message = match kind {
            0 => PacketMessage::Ping { number },
            1 => PacketMessage::PingFor { number, target: name(&mut head)? },
            2 => PacketMessage::Ack { number },
            3 => PacketMessage::Nack { number },
            4 => PacketMessage::Gossip,
            other => return Err(MalformedPacket::Kind(other)),
        };
        Ok(Self { message, incarnation, version, health, updates: decode_updates(&mut bytes)? })
    }
}

/// Updates up to the end.
fn decode_updates(bytes: &mut &[u8]) -> Result<Vec<MemberUpdate>, MalformedPacket> {
    let mut updates = Vec::new();
    while bytes.has_remaining() {
        if updates.len() == UPDATES_MAX {
            return Err(MalformedPacket::Updates);
        }
        updates.extend(MemberUpdate::decode(bytes)?);
    }
    Ok(updates)
}

impl MemberUpdate {
    /// Writes it with its length to the end of `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(64);
        let kind = match &self.claim {
            MemberClaim::Alive(_) => 0,
            MemberClaim::Suspect { .. } => 1,
            MemberClaim::Dead { .. } => 2,
            MemberClaim::Left => 3,
        };
        body.push(kind);
        put_name(&mut body, &self.node);
        put_number(&mut body, self.incarnation);
        match &self.claim {
            MemberClaim::Alive(record) => {
                put_number(&mut body, record.instance);
                put_number(&mut body, record.version);
                put_number(&mut body, record.body.len() as u64);
                body.put_slice(&record.body);
            }
            MemberClaim::Suspect { by } => {
                body.push(u8::try_from(by.len()).unwrap_or(u8::MAX));
                by.iter().for_each(|accuser| put_name(&mut body, accuser));
            }
            MemberClaim::Dead { by } => put_name(&mut body, by),
            MemberClaim::Left => {}
        }
        put_number(out, body.len() as u64);
        out.put_slice(&body);
    }

    /// Number of bytes that [`Self::encode`] writes.
    pub fn encoded_len(&self) -> usize {
        let name = |name: &NodeId| 1 + name.as_str().len();
        let claim = match &self.claim {
            MemberClaim::Alive(record) => {
                let numbers = [record.instance, record.version, record.body.len() as u64];
                numbers.into_iter().map(number_len).sum::<usize>() + record.body.len()
            }
            MemberClaim::Suspect { by } => 1 + by.iter().map(name).sum::<usize>(),
            MemberClaim::Dead { by } => name(by),
            MemberClaim::Left => 0,
        };
        let body = 1 + name(&self.node) + number_len(self.incarnation) + claim;
        number_len(body as u64) + body
    }

    /// Takes one from the front; `None`: it is of a kind that is unknown.
    ///
    /// # Errors
    /// Why there is none.
    pub fn decode(bytes: &mut &[u8]) -> Result<Option<Self>, MalformedPacket> {
        let mut body = part(bytes)?;
        let kind = byte(&mut body)?;
        if kind > 3 {
            return Ok(None);
        }
        let (node, incarnation) = (name(&mut body)?, number(&mut body)?);
        let claim = match kind {
            0 => {
                let (instance, version) = (number(&mut body)?, number(&mut body)?);
                let body = part(&mut body)?;
                if body.len() > RECORD_BYTES_MAX {
                    return Err(MalformedPacket::RecordBytes);
                }
                MemberClaim::Alive(Arc::new(GossipMemberRecord {
                    instance,
                    version,
                    body: Bytes::copy_from_slice(body),
                }))
            }
            1 => {
                let count = usize::from(byte(&mut body)?);
                if !(1..=ACCUSERS_MAX).contains(&count) {
                    return Err(MalformedPacket::Accusers);
                }
                MemberClaim::Suspect { by: (0..count).map(|_| name(&mut body)).collect::<Result<_, _>>()? }
            }
            2 => MemberClaim::Dead { by: name(&mut body)? },
            _ => MemberClaim::Left,
        };
        Ok(Some(Self { node, incarnation, claim }))
    }
}

/// Writes a number of 1 to 10 bytes: seven bits in each, the lowest first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn number_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

pub(crate) fn put_name(out: &mut Vec<u8>, name: &NodeId) {
    out.push(u8::try_from(name.as_str().len()).unwrap_or(u8::MAX));
    out.put_slice(name.as_str().as_bytes());
}

pub(crate) fn byte(bytes: &mut &[u8]) -> Result<u8, MalformedPacket> {
    bytes.try_get_u8().map_err(|_| MalformedPacket::Truncated)
}

pub(crate) fn number(bytes: &mut &[u8]) -> Result<u64, MalformedPacket> {
    let mut read = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = byte(bytes)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(MalformedPacket::Number);
        }
        read |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(read);
        }
    }
    Err(MalformedPacket::Number)
}

/// Takes the part that stands behind its own length.
pub(crate) fn part<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], MalformedPacket> {
    let length = usize::try_from(number(bytes)?).map_err(|_| MalformedPacket::Truncated)?;
    let (part, rest) = bytes.split_at_checked(length).ok_or(MalformedPacket::Truncated)?;
    *bytes = rest;
    Ok(part)
}

pub(crate) fn name(bytes: &mut &[u8]) -> Result<NodeId, MalformedPacket> {
    let length = usize::from(byte(bytes)?);
    let (name, rest) = bytes.split_at_checked(length).ok_or(MalformedPacket::Truncated)?;
    *bytes = rest;
    let name = std::str::from_utf8(name).map_err(|_| MalformedPacket::Name)?;
    NodeId::new(name).map_err(|_| MalformedPacket::Name)
}
