//! The descriptors of every service, as the compiler wrote them.

/// The encoded `FileDescriptorSet`, options included.
pub static ENCODED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/omnirelay.bin"));
