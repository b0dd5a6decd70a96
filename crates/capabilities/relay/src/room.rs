//! Room for unacknowledged frames: so many bytes for all streams, as a setting says by then.

use std::sync::Arc;

use omnirelay_host::live::Live;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Room of which each batch takes some. One that is larger than all of it has it alone.
pub(crate) struct FrameRoom {
    max: Live<usize>,
    free: Arc<Semaphore>,
    /// How large it is, or is about to be once enough was given back.
    bytes: watch::Sender<usize>,
}

impl FrameRoom {
    pub(crate) fn new(max: Live<usize>) -> Self {
        let bytes = bounded(max.get());
        Self { max, free: Arc::new(Semaphore::new(bytes)), bytes: watch::Sender::new(bytes) }
    }

    /// Takes room once there is some; those that wait are served in their order.
    pub(crate) async fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let mut size = self.bytes.subscribe();
        loop {
            let part = u32::try_from(bytes.min(*size.borrow_and_update())).unwrap_or(u32::MAX);
            tokio::select! {
                biased;
                // It is never closed.
                taken = self.free.clone().acquire_many_owned(part) => return taken.ok(),
                // More may be asked for than there will ever be.
                Ok(()) = size.changed() => {}
            }
        }
    }

    /// Makes it as large as it is to be, for ever. Where it is to be smaller, nobody takes any before enough was given back.
    pub(crate) async fn resize(&self) {
        let mut max = self.max.clone();
        let mut size = *self.bytes.borrow();
        loop {
            let wanted = bounded(max.get());
            self.bytes.send_if_modified(|bytes| std::mem::replace(bytes, wanted) != wanted);
            if wanted > size {
                self.free.add_permits(wanted - size);
                size = wanted;
            } else if wanted < size {
                let excess = u32::try_from(size - wanted).unwrap_or(u32::MAX);
                tokio::select! {
                    taken = self.free.acquire_many(excess) => {
                        taken.into_iter().for_each(|taken| taken.forget());
                        size -= excess as usize;
                    }
                    () = max.replaced() => {}
                }
                continue;
            }
            max.replaced().await;
        }
    }

    /// Part of it that nobody has taken, in bytes.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.free.available_permits()
    }
}

fn bounded(bytes: usize) -> usize {
    bytes.min(u32::MAX as usize)
}
