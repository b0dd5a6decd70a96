//! The order of what is told from two sources: by time, as far back as a watch begins.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{BoxStream, iter, unfold};
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use omnirelay_core::time::Millis;
use tokio::time::sleep;

use super::places::PlacedEvent;

/// How long the log is waited for that may still tell of what was before: it is read page after page.
const LOG_PAUSE: Duration = Duration::from_millis(250);

/// Stream of what is in the log and what was noticed, one after the other by time: what was noticed up to `began` waits
/// for all that the log tells of before it. What comes later is told as it comes.
pub(crate) fn by_time(
    log: BoxStream<'static, PlacedEvent>,
    mut noticed: BoxStream<'static, PlacedEvent>,
    began: Millis,
) -> impl Stream<Item = PlacedEvent> + Send + 'static {
    let mut past = VecDeque::new();
    let mut now = None;
    // What was noticed before is in memory, in its order.
    while let Some(Some(next)) = noticed.next().now_or_never() {
        match next {
            PlacedEvent::Noticed(at, _) if at <= began => past.push_back(next),
            later => {
                now = Some(later);
                break;
            }
        }
    }
    let coming = iter(now).chain(noticed).boxed();
    unfold(EventMerge { log, past, held: None, is_silent: false, coming }, |mut merging| async move {
        let next = merging.next().await?;
        Some((next, merging))
    })
}

/// Merge of the events of the log with those that are noticed beside it, in the order of their times.
struct EventMerge {
    log: BoxStream<'static, PlacedEvent>,
    /// What was noticed before the watch began and is not told yet.
    past: VecDeque<PlacedEvent>,
    /// Of the log, while something that was noticed comes before it.
    held: Option<PlacedEvent>,
    /// The log was waited for once and had no more to tell: what is left of the past is told without it.
    is_silent: bool,
    /// What is noticed from then on.
    coming: BoxStream<'static, PlacedEvent>,
}

impl EventMerge {
    async fn next(&mut self) -> Option<PlacedEvent> {
        if self.past.is_empty() {
            return match self.held.take() {
                Some(held) => Some(held),
                None => tokio::select! {
                    next = self.log.next() => next,
                    next = self.coming.next() => next,
                },
            };
        }
        if self.is_silent {
            return self.past.pop_front();
        }
        let of_log = match self.held.take() {
            Some(held) => Some(held),
            None => tokio::select! {
                biased;
                next = self.log.next() => next,
                () = sleep(LOG_PAUSE) => None,
            },
        };
        self.is_silent = of_log.is_none();
        match (of_log, self.past.pop_front()) {
            (Some(of_log), Some(noticed)) if is_before(&of_log, &noticed) => {
                self.past.push_front(noticed);
                Some(of_log)
            }
            (of_log, Some(noticed)) => {
                self.held = of_log;
                Some(noticed)
            }
            (of_log, None) => of_log,
        }
    }
}

/// Whether what the log tells happened before something that was noticed; what says no time is told as it comes.
fn is_before(of_log: &PlacedEvent, noticed: &PlacedEvent) -> bool {
    match (time(of_log), time(noticed)) {
        (Some(of_log), Some(noticed)) => of_log <= noticed,
        (Some(_) | None, Some(_) | None) => true,
    }
}

fn time(happened: &PlacedEvent) -> Option<u64> {
    match happened {
        PlacedEvent::Noticed(at, _) => Some(at.0),
        PlacedEvent::InLog(event) => {
            let time = event.time.as_ref()?;
            let seconds = u64::try_from(time.seconds).ok()?;
            Some(seconds * 1000 + u64::try_from(time.nanos).ok()? / 1_000_000)
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::pending;
    use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

    use super::*;
    use omnirelay_nouns::timestamp;

    fn in_log(at: Option<u64>) -> PlacedEvent {
        PlacedEvent::InLog(pb::Event { time: at.map(|at| timestamp(Millis(at))), ..pb::Event::default() })
    }

    fn noticed(at: u64) -> PlacedEvent {
        PlacedEvent::Noticed(Millis(at), pb::Event::default())
    }

    async fn told(
        log: BoxStream<'static, PlacedEvent>,
        seen: Vec<PlacedEvent>,
        began: u64,
        many: usize,
    ) -> Vec<String> {
        let seen = iter(seen).chain(pending()).boxed();
        let all = by_time(log, seen, Millis(began)).take(many).collect::<Vec<_>>().await;
        let show = |happened: &PlacedEvent| match happened {
            PlacedEvent::InLog(_) => {
                format!("log {}", time(happened).map_or("-".to_owned(), |at| at.to_string()))
            }
            PlacedEvent::Noticed(at, _) => format!("node {}", at.0),
        };
        all.iter().map(show).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_before_is_told_in_the_order_in_which_it_happened() {
        let log = || iter([Some(10), None, Some(30), Some(50)].map(in_log)).chain(pending()).boxed();
        let seen = || vec![noticed(5), noticed(20), noticed(30), noticed(60)];
        assert_eq!(
            told(log(), seen(), 100, 8).await,
            ["node 5", "log 10", "log -", "node 20", "log 30", "node 30", "log 50", "node 60"]
        );
        // A log that is read in pages is waited for.
        let pages = unfold(0_u64, |at| async move {
            sleep(Duration::from_millis(100)).await;
            Some((in_log(Some(at * 10)), at + 1))
        });
        assert_eq!(
            told(pages.take(4).chain(pending()).boxed(), vec![noticed(15)], 100, 5).await,
            ["log 0", "log 10", "node 15", "log 20", "log 30"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_is_told_as_it_comes() {
        let silent = || pending().boxed();
        assert_eq!(told(silent(), vec![noticed(200)], 100, 1).await, ["node 200"]);
        assert_eq!(
            told(silent(), vec![noticed(50), noticed(200)], 100, 2).await.len(),
            2,
            "a silent log holds nothing back"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_log_is_waited_for_once() {
        let began = tokio::time::Instant::now();
        assert_eq!(told(pending().boxed(), (1..=20).map(noticed).collect(), 100, 20).await.len(), 20);
        let waited = began.elapsed();
        assert!((LOG_PAUSE..LOG_PAUSE * 2).contains(&waited), "{waited:?}");
    }
}
