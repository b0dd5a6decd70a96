//! Negotiation: HTTP/3 first, HTTP/2 when it does not come up in time, and for how long that is remembered.

use std::time::Duration;

use tokio::time::Instant;

/// How long HTTP/3 is waited for before HTTP/2 is tried beside it.
pub const HEAD_START: Duration = Duration::from_millis(300);
/// How long HTTP/3 is waited for once HTTP/2 has failed: a host without a daemon refuses TCP, and says nothing over UDP.
/// What QUIC has sent first it sends again after a second, if that was lost.
const GRACE: Duration = Duration::from_secs(2);
/// For how long it is remembered that HTTP/3 did not come up; twice as long each time, up to [`BLOCKED_MAX`].
const BLOCKED: Duration = Duration::from_secs(5);
const BLOCKED_MAX: Duration = Duration::from_secs(300);

/// Reason why a call did not go over HTTP/3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Downgrade {
    /// The other node does not serve it, or this one does not use it.
    NotOffered,
    /// Nothing was heard in time: UDP may be blocked.
    NoAnswer,
    /// The other side, or something between, answered that it does not.
    Refused,
    /// Nothing was heard any more on a connection that was open.
    Lost,
    /// Large transfers are faster over TCP.
    Bulk,
}

impl Downgrade {
    pub const ALL: [Self; 5] = [Self::NotOffered, Self::NoAnswer, Self::Refused, Self::Lost, Self::Bulk];

    /// As metrics and answers have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotOffered => "not_offered",
            Self::NoAnswer => "no_answer",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Bulk => "bulk",
        }
    }
}

/// Memory of HTTP/3 with one other node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http3Reachability {
    blocked: Option<Http3Block>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Http3Block {
    why: Downgrade,
    wait: Duration,
    /// When it is tried again.
    until: Instant,
}

impl Http3Reachability {
    /// Reason why HTTP/3 is not tried now; `None`: it is.
    pub fn blocked_by(&self, now: Instant) -> Option<Downgrade> {
        self.blocked.filter(|blocked| now < blocked.until).map(|blocked| blocked.why)
    }

    /// Reason why HTTP/3 did not come up the last time; `None`: it did, or was not tried.
    pub fn why(&self) -> Option<Downgrade> {
        self.blocked.map(|blocked| blocked.why)
    }

    /// Whether it did not come up several times in a row: once may be a moment in which a host was busy.
    pub fn is_repeated(&self) -> bool {
        self.blocked.is_some_and(|blocked| blocked.wait > BLOCKED)
    }

    /// Notes that it did not come up.
    pub fn note_failure(&mut self, why: Downgrade, now: Instant) {
        let wait = self.blocked.map_or(BLOCKED, |blocked| (blocked.wait * 2).min(BLOCKED_MAX));
        self.blocked = Some(Http3Block { why, wait, until: now + wait });
    }

    /// Has it tried at once the next time, as where it did, or where the other node has another address.
    pub fn forget(&mut self) {
        self.blocked = None;
    }
}

/// Outcome of a race.
#[derive(Debug, PartialEq, Eq)]
pub enum RaceOutcome<A, B, E, F> {
    First(A),
    /// With why the first one failed; `None`: it has not answered.
    Second(B, Option<E>),
    /// With why each of them failed; `None`: the first has not answered.
    Neither(Option<E>, F),
}

/// Waits for the first for so long, then for either; whoever comes up wins. The second begins at once when the first fails, and
/// once it has failed, the first has [`GRACE`] left.
pub async fn race<A, B, E, F>(
    first: impl Future<Output = Result<A, E>>,
    second: impl Future<Output = Result<B, F>>,
    head_start: Duration,
) -> RaceOutcome<A, B, E, F> {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    let begun = tokio::time::timeout(head_start, &mut first).await;
    let answered = match begun {
        Ok(answered) => answered,
        Err(_elapsed) => tokio::select! {
            biased;
            answered = &mut first => answered,
            other = &mut second => return match other {
                Ok(won) => RaceOutcome::Second(won, None),
                Err(other) => match tokio::time::timeout(GRACE, first).await {
                    Ok(Ok(won)) => RaceOutcome::First(won),
                    Ok(Err(error)) => RaceOutcome::Neither(Some(error), other),
                    Err(_elapsed) => RaceOutcome::Neither(None, other),
                },
            },
        },
    };
    match answered {
        Ok(won) => RaceOutcome::First(won),
        Err(error) => match second.await {
            Ok(won) => RaceOutcome::Second(won, Some(error)),
            Err(other) => RaceOutcome::Neither(Some(error), other),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn after<T>(millis: u64, outcome: T) -> T {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        outcome
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_wins_unless_it_is_late_or_fails() {
        type Outcome = RaceOutcome<u8, u8, &'static str, &'static str>;
        type Side = (u64, Result<u8, &'static str>);
        #[rustfmt::skip]
        let cases: [(&str, Side, Side, u64, Outcome); 8] = [
            ("it comes up", (5, Ok(1)), (0, Ok(2)), 5, RaceOutcome::First(1)),
            ("it fails at once", (5, Err("no")), (2, Ok(2)), 7, RaceOutcome::Second(2, Some("no"))),
            ("it says nothing", (9_000, Ok(1)), (2, Ok(2)), 302, RaceOutcome::Second(2, None)),
            ("it is late, and the second later", (310, Ok(1)), (50, Ok(2)), 310, RaceOutcome::First(1)),
            ("it fails late", (310, Err("no")), (50, Ok(2)), 350, RaceOutcome::Second(2, Some("no"))),
            ("the second fails", (900, Ok(1)), (5, Err("shut")), 900, RaceOutcome::First(1)),
            ("neither", (900, Err("no")), (5, Err("shut")), 900, RaceOutcome::Neither(Some("no"), "shut")),
            ("the second fails, and the first says nothing", (9_000, Ok(1)), (5, Err("shut")), 2_305, RaceOutcome::Neither(None, "shut")),
        ];
        for (what, (late, first), (delay, second), took, expected) in cases {
            let begun = Instant::now();
            let raced = race(after(late, first), after(delay, second), HEAD_START).await;
            assert_eq!(raced, expected, "{what}");
            assert_eq!(begun.elapsed(), Duration::from_millis(took), "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_did_not_come_up_is_tried_again_and_ever_more_seldom() {
        let (mut memory, begun) = (Http3Reachability::default(), Instant::now());
        let mut waits = Vec::new();
        for times in 0..8 {
            assert_eq!(memory.is_repeated(), times > 1);
            memory.note_failure(Downgrade::NoAnswer, Instant::now());
            assert_eq!(memory.blocked_by(Instant::now()), Some(Downgrade::NoAnswer));
            let asked = Instant::now();
            while memory.blocked_by(Instant::now()).is_some() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            waits.push(asked.elapsed().as_secs());
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(memory.why(), Some(Downgrade::NoAnswer));
        memory.forget();
        assert_eq!((memory.why(), memory.blocked_by(begun)), (None, None));
        memory.note_failure(Downgrade::Lost, Instant::now());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(memory.blocked_by(Instant::now()), None, "it begins anew");
    }
}
