//! Flag that there was a connection to an address: before that nothing was sent there, whatever has taken too long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower::{Layer, Service};

/// Flag that there was a connection, noted by what opens connections.
#[derive(Clone, Debug, Default)]
pub struct ReachedFlag(Arc<AtomicBool>);

impl ReachedFlag {
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// There is one.
    pub fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<S> Layer<S> for ReachedFlag {
    type Service = ReachConnector<S>;

    fn layer(&self, opens: S) -> ReachConnector<S> {
        ReachConnector { opens, reached: self.clone() }
    }
}

/// Opens connections, and notes that there was one.
#[derive(Clone, Debug)]
pub struct ReachConnector<S> {
    opens: S,
    reached: ReachedFlag,
}

impl<S, R> Service<R> for ReachConnector<S>
where
    S: Service<R, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.opens.poll_ready(cx)
    }

    fn call(&mut self, place: R) -> Self::Future {
        let (opening, reached) = (self.opens.call(place), self.reached.clone());
        Box::pin(async move {
            let opened = opening.await?;
            reached.note();
            Ok(opened)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_is_reached_once_there_was_a_connection() {
        let reached = ReachedFlag::default();
        let opens = reached.layer(tower::service_fn(|outcome: Option<Result<(), ()>>| async move {
            match outcome {
                Some(outcome) => outcome,
                None => std::future::pending().await,
            }
        }));
        let open = |outcome| tokio::time::timeout(Duration::from_secs(2), opens.clone().oneshot(outcome));
        assert!(open(None).await.is_err() && !reached.is_so(), "nobody answers");
        assert!(open(Some(Err(()))).await.is_ok() && !reached.is_so(), "it is refused");
        assert!(open(Some(Ok(()))).await.is_ok() && reached.is_so());
        // From then on nobody knows what was sent there.
        assert!(open(None).await.is_err() && reached.is_so());
    }
}
