//! Advertisements: which registers the nodes of a mesh offer.

pub mod pool;

use crate::daemon::store::Kind;
use crate::wire::pb::omnirelay::registers::v1 as pb;

/// Records of advertisements; the key is `<source>/<register>/<producer>`.
pub const ADVERTISEMENT: Kind = Kind::of("advertisement");

/// Who advertises a register, in the order of the sources: what anybody may see, and what this node hides.
pub fn of_register(_pool: &pool::Pool, _register_id: &str) -> Vec<pb::Advertisement> {
    Vec::new()
}
