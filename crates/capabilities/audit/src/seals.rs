//! Seals of the audit trail as records.

use omnirelay_store::RecordKind;

/// Records of seals; the key is `<node>/<fingerprint>/<sequence>`. Not mirrored, as the trail is not.
pub const AUDIT_SEAL: RecordKind = RecordKind::of("audit-seal");
