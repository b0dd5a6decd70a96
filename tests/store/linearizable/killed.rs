//! Rounds on a Redis server that is killed and started again meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::{RedisStore, Store};

use super::holds;
use crate::servers::RedisServer;

/// How long the server lives each time.
const LIFE: Duration = Duration::from_millis(80);

/// A thread that kills a server over and over, and leaves it running in the end.
struct Killer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Killer {
    fn of(mut server: RedisServer) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(LIFE);
                server.kill().expect("the server is killed");
                server.restart().expect("the server starts again");
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Clients with a store each on one server, which lives as long as what gives them out.
fn stores(arguments: &[&str]) -> impl Fn(usize) -> Arc<dyn Store> + use<> {
    let server = RedisServer::start(arguments).expect("a server");
    let url = server.url();
    let killer = Killer::of(server);
    move |_| {
        let _lives = &killer;
        let url = url.parse().expect("the URL of a server");
        Arc::new(RedisStore::new(url, RedisOptions::default(), "mesh", Duration::ZERO))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn server_that_syncs_each_commit_loses_none() {
    let name = "killed::server_that_syncs_each_commit_loses_none";
    holds(name, 3, async || stores(&["--appendonly", "yes", "--appendfsync", "always"])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn server_that_keeps_nothing_is_noticed() {
    let ended = tokio::spawn(async { holds("killed", 30, async || stores(&[])).await }).await;
    let panic = ended.expect_err("a server that keeps nothing").into_panic();
    let said = panic.downcast_ref::<String>().expect("a message");
    assert!(said.contains("is not linearizable"), "{said}");
}
