//! Seals of the audit trail as records.

use omnirelay_store::Kind;

/// Records of seals; the key is `<node>/<fingerprint>/<sequence>`. Not mirrored, as the trail is not.
pub const AUDIT_SEAL: Kind = Kind::of("audit-seal");
