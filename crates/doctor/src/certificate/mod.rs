//! The files of a certificate: are they fit, when do they end, and what is to be rotated first.

pub mod checks;
mod life;
pub mod papers;
#[cfg(test)]
mod tests;
