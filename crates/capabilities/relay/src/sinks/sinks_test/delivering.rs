//! Delivering: what a worker does with what fails, hangs, panics or is refused.

use futures_util::poll;

use super::super::NotTaken;
use super::*;

const FAILED: Result<(), NotTaken> = Err(NotTaken::Failed { sink: "file" });

fn drop_queue() -> QueueConfig {
    queue_of(1000, Backpressure::Drop)
}

#[tokio::test(start_paused = true)]
async fn what_fails_comes_again_and_nobody_waits_for_ever() {
    let (sink, script) = stub_sink("file", true, &drop_queue());
    let (other, others) = stub_sink("http", false, &drop_queue());
    let sinks = sinks_of(vec![sink, other]);
    script.failing.store(true, Ordering::SeqCst);
    let begun = tokio::time::Instant::now();
    assert_eq!(sinks.take(batch("a", 0..2)).await.done().await, FAILED);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(others.written().len(), 2, "no other sink is held up");
    let health = sinks.health().remove(0);
    assert!(!health.healthy && health.failing_since.is_some());
    assert_eq!(health.what.as_deref(), Some("as planned"));
    assert!(sinks.current()[0].counts.worker_errors.get() > 3);

    script.failing.store(false, Ordering::SeqCst);
    assert_eq!(sinks.take(batch("a", 2..4)).await.done().await, Ok(()));
    let seqs: Vec<u64> = script.written().into_iter().map(|(_, seq)| seq).collect();
    assert_eq!(seqs, [0, 2, 3], "one frame of those that were refused, and what came later");
    assert!(sinks.health().iter().all(|health| health.healthy));
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_hangs_stops_no_other_sink_and_no_stream() {
    let (sink, _script) = stub_sink_with("file", true, &drop_queue(), Script::new(0));
    let (other, others) = stub_sink("http", false, &drop_queue());
    let sinks = sinks_of(vec![sink, other]);
    for at in 0..3 {
        assert_eq!(sinks.take(batch("a", [at])).await.done().await, FAILED);
    }
    assert_eq!(others.written().len(), 3);
    assert_eq!(sinks.health()[0].what.as_deref(), Some("a write does not end"));
    assert!(sinks.health()[1].healthy);
    sinks.close(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn those_behind_a_slow_sink_wait_while_it_goes_on() {
    let (sink, script) = stub_sink_with("file", true, &drop_queue(), Script::new(0));
    let sinks = sinks_of(vec![sink]);
    let first = sinks.take(batch("a", [0])).await;
    tokio::task::yield_now().await;
    let mut second = Box::pin(sinks.take(batch("a", [1])).await.done());
    assert!(poll!(&mut second).is_pending());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    script.go.add_permits(1);
    assert_eq!(first.done().await, Ok(()));
    // Later than two seconds after it was handed over, and sooner than two after the first was written.
    let late = tokio::time::timeout(Duration::from_millis(1500), &mut second).await;
    assert!(late.is_err(), "{late:?}");
    script.go.add_permits(1);
    assert_eq!(second.await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure() {
    let (sink, script) = stub_sink("file", true, &drop_queue());
    let sinks = sinks_of(vec![sink]);
    script.panicking.store(true, Ordering::SeqCst);
    assert_eq!(sinks.take(batch("a", 0..2)).await.done().await, Ok(()));
    assert_eq!(sinks.current()[0].counts.worker_errors.get(), 1);
    assert_eq!(script.written().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refused_batch_goes_alone() {
    let (sink, script) = stub_sink_with("file", true, &drop_queue(), Script::new(0));
    let sinks = sinks_of(vec![sink]);
    script.refusing.store(2, Ordering::SeqCst);
    let mut handed = Vec::new();
    for at in 0..4 {
        handed.push(sinks.take(batch("a", [at, at + 10])).await);
    }
    script.go.add_permits(100);
    let mut outcomes = Vec::new();
    for handed in handed {
        outcomes.push(handed.done().await);
    }
    assert_eq!(outcomes, [Ok(()), Ok(()), FAILED, Ok(())]);
    assert_eq!(sinks.current()[0].counts.dropped.get(), 2);
    assert!(sinks.health()[0].healthy, "later ones were taken");
}

#[tokio::test]
async fn many_batches_are_written_at_once_and_each_agent_in_order() {
    let (sink, script) = stub_sink_with("file", true, &QueueConfig::default(), Script::new(1));
    let sinks = Arc::new(sinks_of(vec![sink]));
    let first = sinks.take(batch("first", [0])).await;
    assert_eq!(first.done().await, Ok(()));
    let agents: Vec<_> = (0..4)
        .map(|agent| {
            let sinks = Arc::clone(&sinks);
            tokio::spawn(async move {
                let mut handed = Vec::new();
                for seq in 0..250 {
                    handed.push(sinks.take(batch(&format!("agent-{agent}"), [seq])).await);
                }
                for handed in handed {
                    assert_eq!(handed.done().await, Ok(()));
                }
            })
        })
        .collect();
    eventually("all are in the queue", || sinks.current()[0].queue.frames() == 1000).await;
    script.go.add_permits(100);
    for agent in agents {
        agent.await.unwrap();
    }
    assert!(script.groups.lock().len() < 10, "{:?}", script.groups);
    for agent in 0..4 {
        let of: Vec<u64> = script
            .written()
            .into_iter()
            .filter_map(|(id, seq)| (id == format!("agent-{agent}")).then_some(seq))
            .collect();
        assert_eq!(of, (0..250).collect::<Vec<u64>>());
    }
}

#[tokio::test(start_paused = true)]
async fn close_writes_what_waits_and_takes_nothing_more() {
    let (sink, script) = stub_sink("file", true, &drop_queue());
    let (broken, failing) = stub_sink("http", false, &drop_queue());
    failing.failing.store(true, Ordering::SeqCst);
    let sinks = sinks_of(vec![sink, broken]);
    let handed = sinks.take(batch("a", 0..100)).await;
    let begun = tokio::time::Instant::now();
    sinks.close(Duration::from_secs(3)).await;
    assert_eq!(begun.elapsed().as_secs(), 3, "the broken one has its time, and not more");
    assert_eq!(handed.done().await, Ok(()));
    assert_eq!(script.written().len(), 100);
    assert!(script.closed.load(Ordering::SeqCst) && !failing.closed.load(Ordering::SeqCst));
    assert_eq!(sinks.take(batch("a", [1])).await.done().await, FAILED);
}
