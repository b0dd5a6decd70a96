//! Rounds of work whose outcome those share who ask for it at one time.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use parking_lot::Mutex;

/// Does the same work again and again, once at a time.
pub(crate) struct SharedRounds<T> {
    work: Box<dyn Fn() -> BoxFuture<'static, T> + Send + Sync>,
    /// The round that was begun last.
    last: Mutex<Option<SharedRound<T>>>,
}

/// Round of the work, shared by all who wait for it.
struct SharedRound<T> {
    began: Instant,
    /// What it has found; `None`: it came to nothing.
    found: Shared<BoxFuture<'static, Option<Arc<T>>>>,
}

impl<T> Clone for SharedRound<T> {
    fn clone(&self) -> Self {
        Self { began: self.began, found: self.found.clone() }
    }
}

impl<T: Send + Sync + 'static> SharedRounds<T> {
    /// Of this work.
    pub(crate) fn of<F: Future<Output = T> + Send + 'static>(
        work: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        Self { work: Box::new(move || work().boxed()), last: Mutex::default() }
    }

    /// Finding of a round that began after this was called.
    ///
    /// # Errors
    /// `INTERNAL`: it has panicked.
    pub(crate) async fn found(&self) -> Result<Arc<T>, Fault> {
        let came = Instant::now();
        loop {
            let round = self.current();
            let is_of_now = round.began >= came;
            let Some(found) = round.found.await else {
                return Err(Fault::new(reasons::INTERNAL, "the check came to nothing"));
            };
            if is_of_now {
                return Ok(found);
            }
        }
    }

    /// The round that is under way, or a new one. It goes on whoever goes away: however many ask, the work is done once at a
    /// time.
    fn current(&self) -> SharedRound<T> {
        let mut last = self.last.lock();
        // One that nobody waits for any more is under way until somebody sees that it has ended.
        if let Some(round) = last.as_ref().filter(|round| round.found.peek().is_none()) {
            return round.clone();
        }
        let began = Instant::now();
        let running = tokio::spawn((self.work)().map(Arc::new));
        let round = SharedRound { began, found: running.map(Result::ok).boxed().shared() };
        *last = Some(round.clone());
        round
    }
}
