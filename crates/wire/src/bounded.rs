//! The limit of a generated service's messages.

/// A generated service that can be told how large its messages may be.
pub trait BoundedService: Sized {
    /// Refuses a message of more bytes, compressed or decompressed, before there is room made for it.
    #[must_use]
    fn with_message_bytes_max(self, bytes: usize) -> Self;
}

include!(concat!(env!("OUT_DIR"), "/bounded.rs"));
