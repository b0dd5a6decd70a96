//! The log of one test, in a process that runs many at once.

use std::sync::OnceLock;

use tracing::subscriber::{DefaultGuard, NoSubscriber, set_default};
use tracing::{Dispatch, Subscriber};

/// Sends what this thread logs to `subscriber`, until the guard is dropped.
///
/// Whether a line is wanted is found out once, when any thread first comes to it. While there is one subscriber in the
/// process, `tracing` asks that thread's alone, and keeps the answer for all; with a second one it asks both.
pub fn captured(subscriber: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    static SECOND: OnceLock<Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| Dispatch::new(NoSubscriber::new()));
    set_default(subscriber)
}

#[test]
fn a_line_that_another_thread_came_to_first_is_captured() {
    let told = tempfile::NamedTempFile::new().unwrap();
    let writer = std::sync::Arc::new(told.reopen().unwrap());
    let _guard = captured(tracing_subscriber::fmt().with_writer(writer).finish());
    let log = || tracing::info!("said in two threads");
    std::thread::spawn(log).join().unwrap();
    log();
    let text = std::fs::read_to_string(told.path()).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("said in two threads")).count(), 1, "{text}");
}
