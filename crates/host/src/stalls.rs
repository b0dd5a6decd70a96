//! Stalls: what the event loop is doing, told by a thread beside it when something holds it up.
//!
//! Whatever runs on the loop must come back soon: nothing else is done by that thread meanwhile, no call answered and no
//! session renewed. What does not is named here, with where the kernel has its thread.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use omnirelay_core::time::whole_ms;
use parking_lot::Mutex;
use rustix::thread::{Pid, gettid};
use tracing::{info, warn};

/// What holds a thread longer than this is told, and a loop that does nothing for so long is stalled.
const HELD_MAX: Duration = Duration::from_secs(1);
/// How often the loop shows that it runs, and how often that is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

thread_local! {
    /// What this thread is doing; `None`: it is none of a loop that is looked at.
    static DOING: RefCell<Option<Arc<LoopThread>>> = const { RefCell::new(None) };
}

/// A thread of the loop.
struct LoopThread {
    name: String,
    id: Pid,
    doing: Mutex<Option<RunningWork>>,
}

/// Work that a thread has begun and not ended.
#[derive(Clone, Copy, PartialEq, Eq)]
struct RunningWork {
    what: &'static str,
    since: Instant,
}

impl LoopThread {}

/// The threads of one loop, and whether it runs.
#[derive(Default)]
pub struct LoopStalls {
    threads: Mutex<Vec<Arc<LoopThread>>>,
    ticks: AtomicU64,
    loop_stalls: AtomicU64,
    process_stalls: AtomicU64,
}

/// Counts of stalls since the process began: nothing was done for a second and longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StallCounts {
    /// The event loop was held up, while the rest of the process ran.
    pub of_loop: u64,
    /// The whole process was: it was stopped, or the machine gave it no processor.
    pub of_process: u64,
}

impl LoopStalls {
    /// Has the threads of a runtime looked at, and the one that is calling.
    pub fn look_at(self: &Arc<Self>, runtime: &mut tokio::runtime::Builder) {
        let (begun, ended) = (self.clone(), self.clone());
        runtime.on_thread_start(move || begun.enter()).on_thread_stop(move || ended.leave());
        self.enter();
    }

    /// Begins to look, from a thread of its own, for the rest of the process.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn watch(self: &Arc<Self>) -> std::io::Result<()> {
        let looking = self.clone();
        std::thread::Builder::new().name("stalls".to_owned()).spawn(move || looking.look())?;
        Ok(())
    }

    /// Shows that the loop runs.
    pub fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// Longest time that a thread has been held by what it is doing.
    pub fn longest(&self) -> Duration {
        let held = self.held(Duration::ZERO);
        held.iter().map(|(_, doing)| doing.since.elapsed()).max().unwrap_or_default()
    }

    /// Counts of the stalls so far.
    pub fn counts(&self) -> StallCounts {
        StallCounts {
            of_loop: self.loop_stalls.load(Ordering::Relaxed),
            of_process: self.process_stalls.load(Ordering::Relaxed),
        }
    }

    fn enter(&self) {
        let current = std::thread::current();
        let name = current.name().unwrap_or("unnamed").to_owned();
        let thread = Arc::new(LoopThread { name, id: gettid(), doing: Mutex::default() });
        DOING.with(|doing| *doing.borrow_mut() = Some(thread.clone()));
        self.threads.lock().push(thread);
    }

    fn leave(&self) {
        let id = gettid();
        self.threads.lock().retain(|thread| thread.id != id);
    }

    /// The threads that have been held at least so long.
    fn held(&self, at_least: Duration) -> Vec<(Arc<LoopThread>, RunningWork)> {
        let threads = self.threads.lock();
        let held = threads.iter().filter_map(|thread| Some((thread.clone(), (*thread.doing.lock())?)));
        held.filter(|(_, doing)| doing.since.elapsed() >= at_least).collect()
    }

    fn look(&self) {
        let mut seen = StallWatch::default();
        loop {
            let asleep = Instant::now();
            std::thread::sleep(LOOK_EVERY);
            // This thread was held up as well: the whole process was, and nothing in it is to blame.
            if asleep.elapsed() > LOOK_EVERY + HELD_MAX / 2 {
                seen.ticked = Instant::now();
                if asleep.elapsed() >= LOOK_EVERY + HELD_MAX {
                    self.process_stalls.fetch_add(1, Ordering::Relaxed);
                }
                continue;
            }
            self.tell_of_loop(&mut seen);
            self.tell_of_threads(&mut seen);
        }
    }

    /// Says that the loop does nothing at all, and that it does again.
    fn tell_of_loop(&self, seen: &mut StallWatch) {
        let ticks = self.ticks.load(Ordering::Relaxed);
        if ticks != seen.ticks {
            if std::mem::take(&mut seen.is_stalled) {
                let stalled_ms = whole_ms(seen.ticked.elapsed());
                info!(stalled_ms, "event loop goes on");
            }
            (seen.ticks, seen.ticked) = (ticks, Instant::now());
        } else if seen.ticked.elapsed() >= HELD_MAX && ticks > 0 && !seen.is_stalled {
            seen.is_stalled = true;
            self.loop_stalls.fetch_add(1, Ordering::Relaxed);
            let threads =
                self.threads.lock().iter().map(|thread| state_of(thread)).collect::<Vec<_>>().join("; ");
            warn!(stalled_ms = whole_ms(seen.ticked.elapsed()), %threads, "event loop stalled");
        }
    }

    /// Says once of whatever holds a thread that it does, and once that it does no more.
    fn tell_of_threads(&self, seen: &mut StallWatch) {
        let held = self.held(HELD_MAX);
        seen.told.retain(|(thread, told)| {
            let goes_on = *thread.doing.lock() == Some(*told);
            if !goes_on {
                let held_ms = whole_ms(told.since.elapsed());
                info!(thread = %thread.name, doing = told.what, held_ms, "thread of the event loop goes on");
            }
            goes_on
        });
        for (thread, doing) in held {
            if seen.told.iter().any(|(_, told)| *told == doing) {
                continue;
            }
            let held_ms = whole_ms(doing.since.elapsed());
            let state = kernel_state(thread.id);
            warn!(
                thread = %thread.name, doing = doing.what, held_ms, %state, "thread of the event loop held up"
            );
            seen.told.push((thread, doing));
        }
    }
}

/// State of the thread that looks for stalls: what it has seen so far.
struct StallWatch {
    ticks: u64,
    ticked: Instant,
    is_stalled: bool,
    told: Vec<(Arc<LoopThread>, RunningWork)>,
}

impl Default for StallWatch {
    fn default() -> Self {
        Self { ticks: 0, ticked: Instant::now(), is_stalled: false, told: Vec::new() }
    }
}

/// `tokio-rt-worker: /omnirelay.../List (running)`
fn state_of(thread: &LoopThread) -> String {
    let doing = thread.doing.lock().map_or("nothing", |doing| doing.what);
    format!("{}: {doing} ({})", thread.name, kernel_state(thread.id))
}

/// Where the kernel has a thread: `running`, or what it waits for, such as `asleep in wait_for_partner`.
fn kernel_state(id: Pid) -> String {
    let folder = format!("/proc/self/task/{}", id.as_raw_nonzero());
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default();
    let stat = read("stat");
    let letter = stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?');
    let waits = read("wchan");
    let state = match letter {
        'R' => "running".to_owned(),
        'S' => "asleep".to_owned(),
        'D' => "waiting for a device".to_owned(),
        letter => format!("state {letter}"),
    };
    if waits.is_empty() || waits == "0" { state } else { format!("{state} in {waits}") }
}

/// Carries a future out, and says of each thread that does what it is doing.
pub async fn doing<F: Future>(what: &'static str, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        let _begun = WorkMark::new(what);
        future.as_mut().poll(context)
    })
    .await
}

/// Mark that this thread does something, until it is dropped, by a panic as well.
struct WorkMark {
    before: Option<RunningWork>,
}

impl WorkMark {
    fn new(what: &'static str) -> Self {
        Self { before: exchange(|| Some(RunningWork { what, since: Instant::now() })) }
    }
}

impl Drop for WorkMark {
    fn drop(&mut self) {
        let before = self.before;
        exchange(|| before);
    }
}

/// What this thread was doing.
fn exchange(now: impl FnOnce() -> Option<RunningWork>) -> Option<RunningWork> {
    DOING.with_borrow(|thread| std::mem::replace(&mut *thread.as_ref()?.doing.lock(), now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(stalls: &Arc<LoopStalls>) -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        stalls.look_at(builder.worker_threads(1).enable_all());
        builder.build().unwrap()
    }

    #[test]
    fn what_holds_a_thread_is_known_while_it_does_and_no_longer() {
        let stalls = Arc::new(LoopStalls::default());
        let runtime = runtime(&stalls);
        let (enter, entered) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let held = runtime.spawn(doing("outer", async move {
            doing("inner", async move {
                enter.send(()).unwrap();
                // As somebody does who knows no better.
                ended.recv().unwrap();
            })
            .await;
            tokio::task::yield_now().await;
        }));
        entered.recv().unwrap();
        let found: Vec<&str> = stalls.held(Duration::ZERO).iter().map(|(_, doing)| doing.what).collect();
        assert_eq!(found, ["inner"]);
        end.send(()).unwrap();
        runtime.block_on(held).unwrap();
        assert!(stalls.held(Duration::ZERO).is_empty());
        assert_eq!(stalls.longest(), Duration::ZERO);
    }
}
