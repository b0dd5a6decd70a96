//! Limit on the bytes of requests and answers that are held at a time, over all connections.
//!
//! Each call is bounded by itself, but a client may have a thousand open on one connection and read none of
//! their answers. What a call holds beyond a little is therefore taken from one allowance.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tokio::sync::Semaphore;

/// What is not larger is not counted, in bytes: keeping count of it would cost more than it takes.
const UNCOUNTED_BYTES: usize = 4096;

/// The allowance of all calls together.
#[derive(Clone)]
pub(super) struct InFlight {
    free: Arc<Semaphore>,
    bytes_max: usize,
}

impl InFlight {
    pub(super) fn new(bytes_max: usize) -> Self {
        let bytes_max = bytes_max.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(bytes_max)), bytes_max }
    }

    /// Share of one call in the allowance: it holds nothing yet.
    pub(super) fn share(&self) -> InFlightShare {
        InFlightShare { of: self.clone(), held: AtomicUsize::new(0) }
    }

    /// Counts the bytes of an answer until the last of them is sent or dropped.
    ///
    /// # Errors
    /// `ResourceExhausted` when there is no room for them.
    pub(super) fn hold(&self, bytes: Bytes) -> Result<Bytes, Fault> {
        if bytes.len() <= UNCOUNTED_BYTES {
            return Ok(bytes);
        }
        let share = self.share();
        share.cover(bytes.len())?;
        Ok(Bytes::from_owner(AccountedBytes { bytes, _share: share }))
    }
}

/// Share of the allowance that one call holds. Given back when it is dropped.
pub(super) struct InFlightShare {
    of: InFlight,
    held: AtomicUsize,
}

impl InFlightShare {
    /// Sees to it that at least so many bytes are accounted for; one caller at a time.
    ///
    /// # Errors
    /// `ResourceExhausted` when there is no room for them; what was held is held still.
    pub(super) fn cover(&self, bytes: usize) -> Result<(), Fault> {
        let held = self.held.load(Ordering::Relaxed);
        if bytes <= held.max(UNCOUNTED_BYTES) {
            return Ok(());
        }
        let more = u32::try_from(bytes - held).ok().and_then(|more| self.of.free.try_acquire_many(more).ok());
        let Some(permit) = more else { return Err(exhausted(self.of.bytes_max)) };
        permit.forget();
        self.held.store(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl InFlightShare {
    /// Sees to it that this many bytes are accounted for, and no more; one caller at a time.
    ///
    /// # Errors
    /// As [`Self::cover`].
    pub(super) fn settle(&self, bytes: usize) -> Result<(), Fault> {
        let bytes = if bytes <= UNCOUNTED_BYTES { 0 } else { bytes };
        let held = self.held.load(Ordering::Relaxed);
        if bytes > held {
            return self.cover(bytes);
        }
        self.held.store(bytes, Ordering::Relaxed);
        self.of.free.add_permits(held - bytes);
        Ok(())
    }
}

impl Drop for InFlightShare {
    fn drop(&mut self) {
        self.of.free.add_permits(self.held.load(Ordering::Relaxed));
    }
}

/// Bytes with their share, which goes when they go, wherever they wait to be sent.
struct AccountedBytes {
    bytes: Bytes,
    _share: InFlightShare,
}

impl AsRef<[u8]> for AccountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn exhausted(bytes_max: usize) -> Fault {
    Fault::new(
        reasons::TOO_MUCH_IN_FLIGHT,
        format!("requests and unread answers already hold the {bytes_max} bytes they may"),
    )
    .hint("try again in a moment; read answers as they come, and ask for smaller pages")
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::fault::Code;

    use super::*;

    #[test]
    fn answers_count_until_their_last_byte_is_gone() {
        let in_flight = InFlight::new(10_000);
        let first = in_flight.hold(Bytes::from(vec![1; 8000])).unwrap();
        let refused = in_flight.hold(Bytes::from(vec![2; 5000])).unwrap_err();
        assert_eq!((refused.code, refused.reason.as_ref()), (Code::ResourceExhausted, "TOO_MUCH_IN_FLIGHT"));
        assert!(in_flight.hold(Bytes::from(vec![3; UNCOUNTED_BYTES])).is_ok(), "small ones always pass");
        let rest = first.slice(7999..);
        drop(first);
        assert!(in_flight.hold(Bytes::from(vec![2; 5000])).is_err(), "a byte of it is kept");
        drop(rest);
        assert!(in_flight.hold(Bytes::from(vec![2; 5000])).is_ok());
        assert_eq!(in_flight.free.available_permits(), 10_000);
    }

    #[test]
    fn a_share_grows_with_what_is_received() {
        let in_flight = InFlight::new(10_000);
        let share = in_flight.share();
        for (bytes, free) in [(4096, 10_000), (6000, 4000), (5000, 4000), (10_000, 0)] {
            share.cover(bytes).unwrap();
            assert_eq!(in_flight.free.available_permits(), free, "{bytes}");
        }
        assert!(share.cover(10_001).is_err());
        for (bytes, free) in [(8000, 2000), (9000, 1000), (4096, 10_000), (0, 10_000), (10_000, 0)] {
            share.settle(bytes).unwrap();
            assert_eq!(in_flight.free.available_permits(), free, "{bytes} and no more");
        }
        drop(share);
        assert_eq!(in_flight.free.available_permits(), 10_000);
    }
}
