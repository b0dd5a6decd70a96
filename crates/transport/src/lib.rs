//! Calls between nodes: gRPC over HTTP/3 on QUIC, and over HTTP/2 on TCP for whoever cannot do UDP.
//!
//! A [`carrier::Carrier`] opens connections, a [`peer::Peer`] is one other node and the connections to it: it
//! prefers HTTP/3, falls back within a bounded time, and says why. Who is believed and what is shown is the caller's to say,
//! in a configuration of rustls; nothing here knows a message or an identity.

pub mod body;
pub mod carrier;
pub mod datagrams;
pub mod h3;
pub mod handshake_bytes;
pub mod negotiate;
pub mod outbound;
mod path;
pub mod peer;
pub mod quic;
pub mod tcp;

pub use body::{Body, BoxError};
