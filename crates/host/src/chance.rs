//! Random numbers of the operating system.

use std::io;

use xxhash_rust::xxh64::xxh64;

#[cfg(not(any(test, feature = "testing")))]
pub use omnirelay_store::chance::random_part;
pub use omnirelay_store::chance::random_u64;
#[cfg(any(test, feature = "testing"))]
pub use seeded::{random_part, seed_thread, seed_thread_by};

/// A secret of 128 bits as 32 hex digits.
///
/// # Errors
/// As of [`random_u64`].
pub fn random_secret() -> io::Result<String> {
    Ok(format!("{:016x}{:016x}", random_u64()?, random_u64()?))
}

/// A new id for what belongs together, in the form of a UUID; without chance it is made of `else_of`.
pub fn correlation_id(else_of: &str) -> String {
    let half = |seed| random_u64().unwrap_or_else(|_| xxh64(else_of.as_bytes(), seed));
    // Of chance.
    uuid(4, half(1), half(2))
}

/// These 128 bits as a UUID of a version and of variant 1, as RFC 9562 has it.
pub fn uuid(version: u64, high: u64, low: u64) -> String {
    let (high, low) = (high & !0xf000 | version << 12, low & !(3 << 62) | 2 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// Chance of the tests: a test that fails by chance says by which seed, and can be repeated.
#[cfg(any(test, feature = "testing"))]
mod seeded {
    use std::cell::Cell;

    use omnirelay_core::split_mix::{STEP, split_mix};

    use super::random_u64;

    /// The seed of the tests' chance, where it is not to be another one each time.
    const SEED: &str = "OMNIRELAY_TEST_SEED";

    thread_local! {
        /// Each test has a thread of its own, and so numbers of its own.
        static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Has the chance of this thread come from a seed from now on, which is said in the output of its test.
    #[expect(clippy::print_stdout, clippy::unwrap_used, reason = "of tests")]
    pub fn seed_thread() {
        if STATE.get().is_some() {
            return;
        }
        let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| random_u64().unwrap() >> 32);
        println!("chance: {SEED}={seed}");
        STATE.set(Some(seed));
    }

    /// Has the chance of this thread begin anew with a seed that the test says itself.
    pub fn seed_thread_by(seed: u64) {
        STATE.set(Some(seed));
    }

    /// A part of a whole, from the seed of this thread, if it has one.
    pub fn random_part() -> f64 {
        STATE.get().map_or_else(omnirelay_store::chance::random_part, |state| {
            omnirelay_store::chance::part_of(next(state))
        })
    }

    fn next(state: u64) -> u64 {
        let state = state.wrapping_add(STEP);
        STATE.set(Some(state));
        split_mix(state)
    }
}
