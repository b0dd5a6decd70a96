//! The reasons, what they mean and what to do about them.

mod a_to_m;
mod n_to_z;

use omnirelay_wire::fault::Code;

/// What a reason means.
pub struct Explanation {
    pub reason: &'static str,
    pub code: Code,
    pub means: &'static str,
    pub next: &'static str,
}

const fn explain(reason: &'static str, code: Code, means: &'static str, next: &'static str) -> Explanation {
    Explanation { reason, code, means, next }
}

/// Every reason, in alphabetical order.
pub fn all() -> impl Iterator<Item = &'static Explanation> {
    a_to_m::REASONS.iter().chain(n_to_z::REASONS)
}
