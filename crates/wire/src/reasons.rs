//! The reasons of all refusals: what each means and what to do about it, in one table for the daemon, which says them, and
//! the command line, which explains them.

use crate::code::Code;

/// Reason why something is refused or has failed: a stable word that a program can match, and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Such as `PEER_NOT_FOUND`.
    pub name: &'static str,
    pub code: Code,
    /// What has happened.
    pub means: &'static str,
    /// What to do next.
    pub next: &'static str,
}

/// Makes a constant of each row, and the list of all.
macro_rules! reasons {
    ($($name:ident: $code:ident, $means:literal, $next:literal;)*) => {
        $(
            #[doc = $means]
            pub const $name: Reason =
                Reason { name: stringify!($name), code: Code::$code, means: $means, next: $next };
        )*

        /// The reasons of this part, in alphabetical order.
        pub(super) const PART: &[Reason] = &[$($name),*];
    };
}

mod from_m;
mod until_l;

pub use from_m::*;
pub use until_l::*;

/// Every reason, in alphabetical order.
pub fn all() -> impl Iterator<Item = &'static Reason> {
    until_l::PART.iter().chain(from_m::PART)
}

#[cfg(test)]
#[path = "reasons_test.rs"]
mod tests;
