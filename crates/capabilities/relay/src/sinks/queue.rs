//! Queue of the batches that wait for a sink.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};

use super::envelope::SinkBatch;
use crate::metrics::sinks::SinkCounts;

/// Bounds of one write: the most that a sink is given to write at once, unless a single batch is more.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteBounds {
    pub frames: usize,
    /// Of frames, not of lines.
    pub bytes: usize,
}

/// Reason why a batch is not in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueRefusal {
    Full,
    /// There is no room, and there will be none soon: the sink writes nothing.
    Stuck,
    /// The sink ends.
    Closed,
}

/// Wish of the sender to know when a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticket {
    Wanted,
    No,
}

/// Signal that a batch is as durable as it should be; closed when it will not be.
pub(super) type DurableSignal = oneshot::Receiver<()>;

/// Batch in a queue. Its room is free once it is dropped.
pub(super) struct QueueEntry {
    pub item: Arc<SinkBatch>,
    ticket: Option<oneshot::Sender<()>>,
    _room: QueueRoom,
}

/// Batches in the order in which they came, bounded by their frames and the memory they take. A batch that is larger than the whole
/// queue is taken when nothing else is in it.
pub(super) struct Queue {
    waiting: Mutex<WaitingEntries>,
    arrived: Notify,
    frames: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    frames_max: u32,
    bytes_max: u32,
    counts: SinkCounts,
}

/// Entries that wait in the queue.
#[derive(Default)]
struct WaitingEntries {
    entries: VecDeque<QueueEntry>,
    closed: bool,
}

/// Room that an entry takes in the queue, free once it is dropped.
struct QueueRoom {
    frames: usize,
    counts: SinkCounts,
    _permits: [OwnedSemaphorePermit; 2],
}

impl QueueEntry {
    /// Whether nobody waits any more for whom it was to be written: it was refused, and comes again.
    pub(super) fn is_given_up(&self) -> bool {
        self.ticket.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    /// Tells whoever waits that the batch is safe.
    pub(super) fn taken(self) {
        if let Some(ticket) = self.ticket {
            // Nobody waits any more: the stream has ended.
            let _ = ticket.send(());
        }
    }
}

impl Drop for QueueRoom {
    fn drop(&mut self) {
        self.counts.queue_length.sub(gauge(self.frames));
    }
}

impl Queue {
    pub(super) fn new(frames_max: usize, bytes_max: usize, counts: SinkCounts) -> Self {
        let (frames_max, bytes_max) = (permits(frames_max), permits(bytes_max));
        let room = |max: u32| Arc::new(Semaphore::new(max as usize));
        Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            frames: room(frames_max),
            bytes: room(bytes_max),
            frames_max,
            bytes_max,
            counts,
        }
    }

    /// Takes a batch if there is room.
    pub(super) fn offer(
        &self,
        item: &Arc<SinkBatch>,
        ticket: Ticket,
    ) -> Result<Option<DurableSignal>, QueueRefusal> {
        let (frames, bytes) = self.needs(item);
        let frames = Arc::clone(&self.frames).try_acquire_many_owned(frames).map_err(refusal)?;
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(refusal)?;
        self.put(item, ticket, [frames, bytes])
    }

    /// Takes a batch once there is room; those that wait are taken in their order.
    pub(super) async fn wait(
        &self,
        item: &Arc<SinkBatch>,
        ticket: Ticket,
    ) -> Result<Option<DurableSignal>, QueueRefusal> {
        let (frames, bytes) = self.needs(item);
        let closed = |_| QueueRefusal::Closed;
        let frames = Arc::clone(&self.frames).acquire_many_owned(frames).await.map_err(closed)?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.map_err(closed)?;
        self.put(item, ticket, [frames, bytes])
    }

    fn needs(&self, item: &SinkBatch) -> (u32, u32) {
        (permits(item.frames()).min(self.frames_max), permits(item.held_bytes).min(self.bytes_max))
    }

    fn put(
        &self,
        item: &Arc<SinkBatch>,
        ticket: Ticket,
        permits: [OwnedSemaphorePermit; 2],
    ) -> Result<Option<DurableSignal>, QueueRefusal> {
        let frames = item.frames();
        let (ticket, taken) = match ticket {
            Ticket::Wanted => {
                let (sender, receiver) = oneshot::channel();
                (Some(sender), Some(receiver))
            }
            Ticket::No => (None, None),
        };
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(QueueRefusal::Closed);
        }
        self.counts.queue_length.add(gauge(frames));
        let room = QueueRoom { frames, counts: self.counts.clone(), _permits: permits };
        waiting.entries.push_back(QueueEntry { item: Arc::clone(item), ticket, _room: room });
        drop(waiting);
        self.counts.enqueued.inc_by(frames as u64);
        self.arrived.notify_one();
        Ok(taken)
    }

    /// Next batches that wait, up to the bounds but at least one; waits for one. A batch that its sender has given up
    /// is dropped: it comes again. `None`: the queue is closed, and nothing waits. One caller at a time; nothing is
    /// lost when it stops waiting.
    pub(super) async fn next(&self, bounds: WriteBounds) -> Option<Vec<QueueEntry>> {
        loop {
            {
                let mut waiting = self.waiting.lock();
                let group = waiting.pop(bounds, &self.counts);
                if !group.is_empty() {
                    return Some(group);
                }
                if waiting.closed {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }

    /// Takes nothing any more; what waits is still given out.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.frames.close();
        self.bytes.close();
        self.arrived.notify_one();
    }

    /// Whether it takes nothing any more.
    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    /// Number of frames in the queue, those that are being written included.
    pub(super) fn frames(&self) -> usize {
        (self.frames_max as usize).saturating_sub(self.frames.available_permits())
    }
}

impl WaitingEntries {
    fn pop(&mut self, bounds: WriteBounds, counts: &SinkCounts) -> Vec<QueueEntry> {
        let mut group: Vec<QueueEntry> = Vec::new();
        let (mut frames, mut bytes) = (0, 0);
        while let Some(entry) = self.entries.pop_front() {
            if entry.is_given_up() {
                counts.dropped.inc_by(entry.item.frames() as u64);
                continue;
            }
            frames += entry.item.frames();
            bytes += entry.item.bytes;
            if !group.is_empty() && (frames > bounds.frames || bytes > bounds.bytes) {
                self.entries.push_front(entry);
                break;
            }
            group.push(entry);
        }
        group
    }
}

fn refusal(error: TryAcquireError) -> QueueRefusal {
    match error {
        TryAcquireError::Closed => QueueRefusal::Closed,
        TryAcquireError::NoPermits => QueueRefusal::Full,
    }
}

fn permits(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX >> 3).min(u32::MAX >> 3)
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
