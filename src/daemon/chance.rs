//! Random numbers of the operating system.

use std::io;

use xxhash_rust::xxh64::xxh64;

/// A number that nobody can guess.
///
/// # Errors
/// When the operating system has none.
pub fn random_u64() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u64::from_be_bytes(bytes))
}

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
    let (high, low) = (half(1), half(2));
    // Version 4 and variant 1, as RFC 9562 has it.
    let (high, low) = (high & !0xf000 | 0x4000, low & !(3 << 62) | 2 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}
