//! Rules of the audit of a transport policy, a row each.

use super::Level;

/// Makes a rule of each row: its word, the levels of its findings, and what to do about them.
macro_rules! rules {
    ($($rule:ident: $word:literal, [$($level:ident),*], $remedy:literal;)*) => {
        /// Rule of the audit of a transport policy; its word is stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum AuditRule { $($rule),* }

        impl AuditRule {
            /// Every rule, in the order in which they are told.
            pub const ALL: &[Self] = &[$(Self::$rule),*];

            /// Word by which it is named in findings and metrics.
            pub fn word(self) -> &'static str {
                match self { $(Self::$rule => $word),* }
            }

            /// Remedy of its findings, where nothing more is known.
            pub(super) fn remedy(self) -> &'static str {
                match self { $(Self::$rule => $remedy),* }
            }

            /// Levels that its findings can have; the first is the one that they have unless there is an exception.
            pub fn levels(self) -> &'static [Level] {
                match self { $(Self::$rule => &[$(Level::$level),*]),* }
            }
        }
    };
}

rules! {
    // No policy loosens these, and there is no exception to them.
    MeshInternalHttp1: "mesh-internal-http1", [Violation],
        "take http1 out; what is outside of the mesh belongs into another category";
    MeshInternalEncoding: "mesh-internal-encoding", [Violation], "speak protobuf, or put it into another category";
    MeshInternalProfile: "mesh-internal-profile", [Violation], "have both http3+protobuf and http2+protobuf";
    RawAcl: "raw-acl", [Violation], "name in `acl` who may call it, such as service:orders";
    UnsupportedPairing: "unsupported-pairing", [Violation], "speak protobuf over http3 or http2, or json over http1";
    // These are what the policy says.
    UnknownCategory: "unknown-category", [Violation], "take one that there is, or add it to `categories` of the policy";
    PairingNotAllowed: "pairing-not-allowed", [Violation, Excepted],
        "take one that is allowed, or have an exception approved for a time";
    PreferredMissing: "preferred-missing", [Violation, Excepted], "offer it as well, or have an exception approved for a time";
    // These are about the policy itself.
    PreferredNotAllowed: "preferred-not-allowed", [Violation], "add it to `allowed`, or prefer another";
    ExceptionIncomplete: "exception-incomplete", [Violation], "say `reason`, `approvedBy` and `expiresAt`";
    ExceptionOfFixedRule: "exception-of-fixed-rule", [Violation], "take it out: what is inside of the mesh has no exceptions";
    ExceptionExpired: "exception-expired", [Warning], "take it out, or have it approved anew";
    // Another version wrote it, perhaps; nothing is judged then.
    UnreadablePolicy: "unreadable-policy", [Violation], "update this daemon, or bring an older policy back";
    RawBudget: "raw-budget", [Warning], "encode what these carry, or raise `budgets.rawEndpointsMax`";
    LegacyBudget: "legacy-budget", [Warning], "move callers to what is preferred, or raise `budgets.legacyPairingsMax`";
}
