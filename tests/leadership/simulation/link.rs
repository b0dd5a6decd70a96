//! What lies between a node and the store: delays, lost calls and lost replies, by a seed.
//!
//! A call that was sent goes on by itself, as it does in a network: whoever sent it may be stopped or dead
//! when it arrives.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_scripted::{Answered, Call, Script};
use omnirelay_store::StoreError;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::server::Server;
use crate::chance::Chance;

const MS: Duration = Duration::from_millis(1);
/// How long a store waits for its server before it says that it does not know.
const GIVES_UP: Duration = Duration::from_millis(400);

/// How a node is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cut {
    /// Refused at once: nothing was sent.
    Refuses,
    /// Nothing arrives; the store gives up after a while.
    TimesOut,
    /// Nothing arrives, and nobody gives up.
    Hangs,
    /// Calls arrive, replies do not, and nobody gives up.
    Deaf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Read,
    /// It changes something.
    Change,
    Renewal,
    Log,
}

impl Sort {
    fn of(call: &Call) -> Self {
        match call {
            Call::Pulse(pulse) if !pulse.renew.is_empty() => Self::Renewal,
            Call::Pulse(_) | Call::Recall(_) | Call::Scan(_) | Call::Leases | Call::Confirm(_) => Self::Read,
            Call::Open(_) | Call::Close(..) | Call::Commit(_) | Call::Housekeep(..) => Self::Change,
            Call::Log { .. } => Self::Log,
        }
    }
}

/// What is wrong now.
#[derive(Clone, Debug, Default)]
pub(super) struct Weather {
    pub cut: Option<Cut>,
    /// Of 1000 calls, so many are lost on either way.
    pub losses: u64,
    /// Of 1000 calls, so many take 400 ms on either way.
    pub slow: u64,
    /// Nothing of the log arrives.
    pub log_stalls: bool,
    /// So many renewals are lost, and the one after them is late by [`LATE`].
    pub renewals: Option<u32>,
    /// True: the late renewal is on its way.
    pub late: bool,
}

/// Later than the store gives a session that missed two renewals.
const LATE: Duration = Duration::from_millis(650);

pub(super) struct Link {
    server: Arc<Server>,
    shared: Arc<Shared>,
}

struct Shared {
    weather: Mutex<Weather>,
    chance: Mutex<Chance>,
}

/// What becomes of one call.
struct Fate {
    cut: Option<Cut>,
    there: Duration,
    back: Duration,
    lost_there: bool,
    lost_back: bool,
    /// Nobody gives up waiting for what was lost.
    hangs: bool,
}

/// A call without an answer.
struct Lost {
    may_have_arrived: bool,
    hangs: bool,
}

impl Link {
    pub(super) fn new(server: Arc<Server>, seed: u64) -> Self {
        let chance = Mutex::new(Chance::of(seed));
        Self { server, shared: Arc::new(Shared { weather: Mutex::default(), chance }) }
    }

    pub(super) fn weather(&self) -> MutexGuard<'_, Weather> {
        self.shared.weather.lock().unwrap()
    }
}

async fn carry(call: Call, fate: Fate, server: &Server, shared: &Shared) -> Result<Answered, Lost> {
    let sort = Sort::of(&call);
    let hangs = |cut: Option<Cut>| fate.hangs || matches!(cut, Some(Cut::Hangs | Cut::Deaf));
    sleep(fate.there).await;
    let cut = shared.cut();
    if fate.lost_there || matches!(cut, Some(Cut::Refuses | Cut::TimesOut | Cut::Hangs)) {
        return Err(Lost { may_have_arrived: false, hangs: hangs(cut) });
    }
    server.running().await;
    let generation = server.generation();
    let reply = server.pass(call).await;
    sleep(fate.back).await;
    while sort == Sort::Log && shared.weather().log_stalls {
        sleep(MS * 10).await;
    }
    server.running().await;
    let cut = shared.cut();
    if fate.lost_back || cut.is_some() || server.generation() != generation {
        return Err(Lost { may_have_arrived: true, hangs: hangs(cut) });
    }
    Ok(reply)
}

impl Shared {
    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap()
    }

    fn cut(&self) -> Option<Cut> {
        self.weather().cut
    }

    fn fate(&self, sort: Sort) -> Fate {
        let mut chance = self.chance.lock().unwrap();
        let mut weather = self.weather.lock().unwrap();
        let slow = weather.slow;
        let mut way = || {
            if chance.below(1000) < slow { GIVES_UP } else { MS / 5 * (1 + chance.below(15) as u32) }
        };
        let (mut there, back) = (way(), way());
        let mut lost_there = chance.below(1000) < weather.losses;
        let lost_back = chance.below(1000) < weather.losses;
        let hangs = chance.below(2) == 0;
        if sort == Sort::Renewal
            && let Some(left) = weather.renewals
        {
            match left.checked_sub(1) {
                Some(left) => {
                    weather.renewals = Some(left);
                    lost_there = true;
                }
                None => {
                    weather.renewals = None;
                    weather.late = true;
                    there = LATE;
                }
            }
        }
        Fate { cut: weather.cut, there, back, lost_there, lost_back, hangs }
    }
}

#[async_trait]
impl Script for Link {
    async fn pass(&self, call: Call) -> Answered {
        let sort = Sort::of(&call);
        let fate = self.shared.fate(sort);
        let unavailable = |why: &str| Err(StoreError::Unavailable(why.into()).into());
        if fate.cut == Some(Cut::Refuses) {
            sleep(fate.there).await;
            return unavailable("connection refused");
        }
        let (mut answer, answered) = oneshot::channel();
        let (server, shared) = (Arc::clone(&self.server), Arc::clone(&self.shared));
        tokio::spawn(async move {
            let reply = tokio::select! {
                biased;
                reply = carry(call, fate, &server, &shared) => reply,
                // Otherwise readers of the log that nobody waits for any more pile up.
                () = answer.closed(), if sort == Sort::Log => return,
            };
            drop(answer.send(reply));
        });
        let lost = match answered.await {
            Ok(Ok(reply)) => return reply,
            Ok(Err(lost)) => lost,
            Err(_) => Lost { may_have_arrived: true, hangs: true },
        };
        if lost.hangs {
            std::future::pending::<()>().await;
        }
        sleep(GIVES_UP).await;
        match sort {
            Sort::Change if lost.may_have_arrived => {
                Err(StoreError::OutcomeUnknown("no reply".into()).into())
            }
            Sort::Read | Sort::Change | Sort::Renewal | Sort::Log => unavailable("no reply"),
        }
    }
}
