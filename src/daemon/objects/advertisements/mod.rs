//! Advertisements: which registers the nodes of a mesh offer.

pub mod pool;
mod reading;

use crate::daemon::store::{Kind, RecordId};
pub use reading::of_register;

/// Records of advertisements; the key is `<source>/<register>/<producer>`.
pub const ADVERTISEMENT: Kind = Kind::of("advertisement");

/// The record of an advertisement.
pub fn advertisement_id(source: &str, register_id: &str, producer: &str) -> RecordId {
    RecordId::new(ADVERTISEMENT, format!("{source}/{register_id}/{producer}"))
}

/// The source, the register and the producer of a record.
pub fn parts(id: &RecordId) -> Option<(&str, &str, &str)> {
    let mut parts = id.key.splitn(3, '/');
    Some((parts.next()?, parts.next()?, parts.next()?))
}
