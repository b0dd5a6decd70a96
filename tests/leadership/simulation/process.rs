//! A process: all that runs in it is one future, which can be stopped, go on, and end at any await.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;

/// Polled so often within one instant, it never ends.
const POLLS_MAX: usize = 200_000;

type Life = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Process {
    name: String,
    state: Mutex<State>,
    /// Called after each step, when something in the process may have changed.
    observe: Box<dyn Fn() + Send + Sync>,
}

struct State {
    /// `None`: it has ended.
    life: Option<Life>,
    paused: bool,
    waker: Option<Waker>,
    /// How often it was polled in the present instant.
    polls: (Instant, usize),
}

impl Process {
    /// Runs `life` until it ends or is killed.
    pub(super) fn start(
        name: &str,
        life: impl Future<Output = ()> + Send + 'static,
        observe: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        let polls = (Instant::now(), 0);
        let state = State { life: Some(Box::pin(life)), paused: false, waker: None, polls };
        let (name, state) = (name.to_owned(), Mutex::new(state));
        let process = Arc::new(Self { name, state, observe: Box::new(observe) });
        let polled = Arc::clone(&process);
        tokio::spawn(poll_fn(move |cx| polled.poll(cx)));
        process
    }

    /// Stops it: no call returns to it and no timer fires in it. What it has sent goes its way.
    pub(super) fn pause(&self) {
        self.state().paused = true;
    }

    pub(super) fn resume(&self) {
        let waker = {
            let mut state = self.state();
            state.paused = false;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends it where it stands.
    pub(super) fn kill(&self) {
        let life = self.state().life.take();
        drop(life);
        self.resume();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().life.is_none()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let life = {
            let mut state = self.state();
            state.waker = Some(cx.waker().clone());
            state.count(&self.name);
            if state.paused {
                return Poll::Pending;
            }
            state.life.take()
        };
        let Some(mut life) = life else { return Poll::Ready(()) };
        let polled = life.as_mut().poll(cx);
        if polled.is_pending() {
            self.state().life = Some(life);
        }
        (self.observe)();
        polled
    }
}

impl State {
    fn count(&mut self, name: &str) {
        let now = Instant::now();
        let (at, polls) = self.polls;
        self.polls = if at == now { (at, polls + 1) } else { (now, 0) };
        assert!(polls < POLLS_MAX, "node `{name}` goes round in a circle");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_of_a_stopped_process_runs() {
        let steps = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&steps);
        let step = move || {
            let counted = Arc::clone(&counted);
            async move {
                loop {
                    sleep(Duration::from_millis(10)).await;
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            }
        };
        let life = {
            let (one, other) = (step(), step());
            async move {
                tokio::join!(one, other);
            }
        };
        let process = Process::start("a", life, || {});
        let after = async |ms| {
            sleep(Duration::from_millis(ms)).await;
            steps.swap(0, Ordering::SeqCst)
        };
        assert_eq!(after(105).await, 20, "it runs");
        process.pause();
        assert_eq!(after(100).await, 0, "while it is stopped");
        process.resume();
        assert_eq!(after(100).await, 20, "it goes on");
        process.kill();
        assert!(process.has_ended());
        assert_eq!(after(100).await, 0, "after its end");
    }
}
