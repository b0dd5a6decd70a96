//! Certificates of a mesh: keys, requests, the authority that issues, and the chains that are trusted.
//!
//! A root signs intermediates, an intermediate signs leaves, and a leaf says by its SPIFFE ID who holds it. Time is an
//! argument; chance is the operating system's. Nothing here is async or does I/O.

pub mod authority;
pub mod certificate;
pub mod issuer_cluster;
pub mod issuer_key;
pub mod join_token;
pub mod jwt;
pub mod key;
pub mod pkcs12;
pub mod public_key;
pub mod recipient;
pub mod request;
pub mod revocation;
pub mod sealed;
pub mod trust;
pub mod verifying;
