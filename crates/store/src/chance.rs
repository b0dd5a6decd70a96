//! Random numbers of the operating system.

use std::io;

/// A number that nobody can guess.
///
/// # Errors
/// When the operating system has none.
pub fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(format!("no randomness: {error}")))?;
    Ok(u64::from_be_bytes(bytes))
}

/// A part of a whole, from 0 up to 1: what spreads events in time, and is no secret. Without chance it is 0.
pub fn random_part() -> f64 {
    random_u64().map_or(0.0, part_of)
}

/// The part that a random number stands for.
pub fn part_of(number: u64) -> f64 {
    (number >> 11) as f64 / (1_u64 << 53) as f64
}
