//! Queueing: what a queue takes, and what a full one does.

use std::task::Poll;

use futures_util::{FutureExt as _, poll};

use super::super::NotTaken;
use super::super::queue::{Queue, QueueRefusal, Ticket};
use super::*;

#[tokio::test]
async fn a_queue_is_bounded_by_frames_and_by_bytes() {
    let held = item("a", [1]).held_bytes;
    assert!(held > item("a", [1]).bytes);
    let cases = [
        // what                          frames, bytes           first, second, taken
        ("room for both", 4, 10_000, 2, 2, true),
        ("one frame too many", 3, 10_000, 2, 2, false),
        ("one byte too many", 10, 4 * held - 1, 2, 2, false),
        ("just enough bytes", 10, 4 * held, 2, 2, true),
        ("nothing beside one that is too large", 2, 10_000, 5, 1, false),
    ];
    for (what, frames, bytes, first, second, taken) in cases {
        let queue = Queue::new(frames, bytes, counts("file"));
        assert!(queue.offer(&item("a", 1..first + 1), Ticket::No).is_ok(), "{what}");
        let outcome = queue.offer(&item("a", 1..second + 1), Ticket::No);
        assert_eq!(outcome.is_ok(), taken, "{what}");
    }
}

#[tokio::test]
async fn room_is_free_only_when_a_batch_is_done_with() {
    let counts = counts("file");
    let queue = Queue::new(2, 10_000, counts.clone());
    queue.offer(&item("a", 0..2), Ticket::No).unwrap();
    let bounds = WriteBounds { frames: 10, bytes: 1000 };
    let group = queue.next(bounds).await.unwrap();
    assert_eq!(
        queue.offer(&item("a", [2]), Ticket::No).err(),
        Some(QueueRefusal::Full),
        "it is being written"
    );
    assert_eq!((counts.queue_length.get(), queue.frames()), (2, 2));
    drop(group);
    assert!(queue.offer(&item("a", [2]), Ticket::No).is_ok());
    assert_eq!((counts.queue_length.get(), counts.enqueued.get()), (1, 3));
}

#[tokio::test]
async fn groups_are_bounded_and_in_order() {
    let queue = Queue::new(100, 100_000, counts("file"));
    for at in 0..4 {
        queue.offer(&item("a", [at * 2, at * 2 + 1]), Ticket::No).unwrap();
    }
    queue.offer(&item("a", 8..20), Ticket::No).unwrap();
    queue.close();
    let mut groups = Vec::new();
    while let Some(group) = queue.next(WriteBounds { frames: 5, bytes: 100_000 }).await {
        groups.push(group.iter().map(|entry| entry.item.batch.frames[0].message.seq).collect::<Vec<_>>());
    }
    assert_eq!(groups, [vec![0, 2], vec![4, 6], vec![8]]);
    assert_eq!(queue.offer(&item("a", [1]), Ticket::No).err(), Some(QueueRefusal::Closed));
}

#[tokio::test]
async fn a_full_sink_drops_whole_batches_and_counts_their_frames() {
    let script = Script::new(0);
    let (sink, script) = stub_sink_with("http", false, &queue_of(5, Backpressure::Drop), script);
    let (files, written) = stub_sink("file", true, &queue_of(100, Backpressure::Drop));
    let sinks = sinks_of(vec![sink, files]);
    for at in 0..3 {
        let handed = sinks.take(batch("a", at * 3..at * 3 + 3)).await;
        assert_eq!(handed.done().await, Ok(()), "the one that acknowledges has it");
    }
    let counts = sinks.current()[0].counts.clone();
    assert_eq!((counts.enqueued.get(), counts.dropped.get(), counts.relay_errors.get()), (3, 6, 6));
    assert_eq!(counts.lost.get(), 6, "nobody sends them again");
    script.go.add_permits(10);
    eventually("the first batch is written", || script.written().len() == 3).await;
    assert_eq!(written.written().len(), 9);
}

#[tokio::test]
async fn an_acknowledging_sink_that_is_full_says_so() {
    let (sink, _script) = stub_sink_with("file", true, &queue_of(3, Backpressure::Drop), Script::new(0));
    let sinks = sinks_of(vec![sink]);
    let first = sinks.take(batch("a", 0..3)).await;
    let second = sinks.take(batch("a", 3..6)).await;
    assert_eq!(second.done().await, Err(NotTaken::Full { sink: "file" }));
    drop(first);
}

#[tokio::test]
async fn a_blocking_sink_makes_the_stream_wait_when_all_others_have_the_batch() {
    let (slow, script) = stub_sink_with("redis", true, &queue_of(2, Backpressure::Block), Script::new(0));
    let (other, others) = stub_sink("http", false, &queue_of(100, Backpressure::Drop));
    let sinks = sinks_of(vec![slow, other]);
    let first = sinks.take(batch("a", 0..2)).await;
    let mut second = Box::pin(sinks.take(batch("a", 2..4)));
    assert!(poll!(&mut second).is_pending());
    eventually("the other sink has both", || others.written().len() == 4).await;
    assert!(poll!(&mut second).is_pending());
    script.go.add_permits(1);
    assert_eq!(first.done().await, Ok(()));
    let Poll::Ready(second) = poll!(&mut second) else { panic!("there is room") };
    script.go.add_permits(1);
    assert_eq!(second.done().await, Ok(()));
    assert_eq!(script.written().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_acknowledges_is_waited_for_while_it_writes() {
    let (file, script) = stub_sink_with("file", true, &queue_of(2, None), Script::new(0));
    let (other, others) = stub_sink("http", false, &queue_of(100, None));
    let sinks = sinks_of(vec![file, other]);
    let first = sinks.take(batch("a", 0..2)).await;
    let mut second = Box::pin(sinks.take(batch("a", 2..4)));
    assert!(poll!(&mut second).is_pending());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(poll!(&mut second).is_pending(), "it is not slow yet");
    script.go.add_permits(1);
    assert_eq!(first.done().await, Ok(()));
    let second = second.await;
    // From here on it hangs: others are not to wait for it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let third = sinks.take(batch("a", 4..6)).now_or_never().unwrap();
    assert_eq!(third.done().await, Err(NotTaken::Failed { sink: "file" }));
    assert_eq!(second.done().await, Err(NotTaken::Failed { sink: "file" }));
    eventually("the other sink has all of them", || others.written().len() == 6).await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_does_not_acknowledge_may_block_beside_a_file() {
    let (file, files) = stub_sink("file", true, &queue_of(100, None));
    let (slow, script) = stub_sink_with("http", false, &queue_of(2, Backpressure::Block), Script::new(0));
    let sinks = sinks_of(vec![file, slow]);
    assert_eq!(sinks.take(batch("a", 0..2)).await.done().await, Ok(()), "the file has it");
    let mut second = Box::pin(sinks.take(batch("a", 2..4)));
    assert!(poll!(&mut second).is_pending());
    // However long, though it writes nothing: that is what was asked for.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(poll!(&mut second).is_pending());
    assert_eq!(files.written().len(), 4, "the file does not wait for it");
    script.go.add_permits(2);
    assert_eq!(second.await.done().await, Ok(()));
    eventually("nothing was dropped", || script.written().len() == 4).await;
    assert_eq!(sinks.current()[1].counts.dropped.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_not_written_when_the_sink_is_back() {
    let (file, script) = stub_sink("file", true, &queue_of(100, None));
    let sinks = sinks_of(vec![file]);
    script.failing.store(true, Ordering::SeqCst);
    let first = sinks.take(batch("a", 0..2)).await;
    let second = sinks.take(batch("b", 2..4)).await;
    assert_eq!(first.done().await, Err(NotTaken::Failed { sink: "file" }));
    assert_eq!(second.done().await, Err(NotTaken::Failed { sink: "file" }));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!sinks.health()[0].healthy, "nothing says that it could write");
    script.failing.store(false, Ordering::SeqCst);
    eventually("it is known to write by what it writes", || sinks.health()[0].healthy).await;
    assert_eq!(sinks.take(batch("a", 0..2)).await.done().await, Ok(()));
    let (a, b) = ("a".to_owned(), "b".to_owned());
    // One frame of all that were refused was written to see whether it can be, and came again.
    assert_eq!(script.written(), [(a.clone(), 0), (a.clone(), 0), (a, 1)]);
    assert_eq!((sinks.current()[0].counts.dropped.get(), sinks.current()[0].counts.lost.get()), (4, 0));
    assert_eq!(sinks.take(batch("b", 2..4)).await.done().await, Ok(()));
    assert_eq!(script.written()[3..], [(b.clone(), 2), (b, 3)]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_is_written_all_the_same() {
    let (http, script) = stub_sink("http", false, &queue_of(100, None));
    let sinks = sinks_of(vec![http]);
    script.failing.store(true, Ordering::SeqCst);
    assert_eq!(sinks.take(batch("a", 0..2)).await.done().await, Ok(()), "it does not acknowledge");
    tokio::time::sleep(Duration::from_secs(60)).await;
    script.failing.store(false, Ordering::SeqCst);
    eventually("it is written", || script.written().len() == 2).await;
}
