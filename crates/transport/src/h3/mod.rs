//! HTTP/3 over a QUIC connection, both ends; all that the rest sees of the library for it.

mod client;
mod frames;
mod receiving;
mod server;
mod streams;

pub use client::Http3Client;
pub use frames::{CONTROL_FRAME_BYTES_MAX, UNDECODED_BYTES_MAX};
pub use server::{Http3Limits, serve};

/// What is agreed on in the TLS handshake.
pub const ALPN: &[u8] = b"h3";

/// What a connection is closed with that ends as it should.
pub const NO_ERROR: quinn::VarInt = quinn::VarInt::from_u32(0x100);
