//! Random numbers of the operating system.

use std::io;

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
