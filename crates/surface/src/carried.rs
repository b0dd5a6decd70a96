//! Calls that change something: once begun, they are carried to their end, whoever still hears of it (decision 0036).

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// A call that goes on by itself when nobody waits for it any more: its caller has gone, or proves nothing any more. What
/// belongs to one order, but is done in several steps, is then not left in the middle.
///
/// The future ends it: it has a deadline of its own.
pub(super) struct CarriedCall<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> CarriedCall<F> {
    pub(super) fn new(call: F) -> Self {
        Self(Some(Box::pin(call)))
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for CarriedCall<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(call) = &mut self.0 else { return Poll::Pending };
        let polled = call.as_mut().poll(cx);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for CarriedCall<F> {
    fn drop(&mut self) {
        // Without a runtime the process is at its end.
        if let (Some(call), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_goes_on() {
        let (say, heard) = oneshot::channel();
        let steps = async move {
            tokio::time::sleep(Duration::from_secs(2)).await;
            say.send("done")
        };
        tokio::time::timeout(Duration::from_secs(1), CarriedCall::new(steps)).await.unwrap_err();
        assert_eq!(heard.await, Ok("done"));
    }

    #[tokio::test]
    async fn what_has_ended_is_over() {
        assert_eq!(CarriedCall::new(async { 7 }).await, 7);
    }
}
