//! State that the users of a link share: the present connection, or the attempt to make one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::super::advice::advise;
use super::blocking::ConnectionLane;
use super::dial::FreshConnection;
use super::error::StoreFailure;
use super::master_announcement::{MasterAnnouncement, listen};
use super::options::RedisOptions;
use super::resolve::ConnectionMaker;
use super::retry_pause::{RetryPause, SETTLED};
use super::{RedisConnection, ReplicaQuorum};
use crate::url::ServerAddress;

/// How old advice is before it is asked for again: settings of a server can be changed while it runs. A few short commands.
const ADVICE_AGE: Duration = Duration::from_secs(5);
/// How long asking for it may take.
const ADVICE_LIMIT: Duration = Duration::from_secs(2);

/// How often the Sentinels are asked whether the master is still the one that is connected. A master
/// that was replaced while it lives, or that only they and its replicas have lost sight of, goes on
/// taking writes that are lost when it comes back.
const NAMED_AGE: Duration = Duration::from_secs(1);
/// How long asking them may take.
const NAMED_LIMIT: Duration = Duration::from_secs(2);

/// How long a failover that was announced may take. Too low: the master that is replaced is found once more, and
/// acknowledges what is lost; too high: one that comes to nothing keeps the store away for as long.
const REPLACED_WITHIN: Duration = Duration::from_secs(5);

/// Attempt to connect: its result; `None` while it goes on.
pub(super) type ConnectionAttempt = watch::Receiver<Option<Result<RedisConnection, StoreFailure>>>;

/// Result of looking for a connection of the link: the one that there is right now, or what there is in place of one.
pub(super) enum ConnectionLookup {
    Connection(RedisConnection),
    Attempt(ConnectionAttempt),
    /// The pause after a failure is on.
    Failed(StoreFailure),
}

/// State of a link to the master that all its clones share.
pub(super) struct SharedLink {
    pub maker: Arc<ConnectionMaker>,
    state: Mutex<State>,
    /// The Sentinels have announced another master; whoever looks for it begins anew.
    announced: watch::Sender<()>,
    /// The generation that was given up last; those who wait long listen to it.
    given_up: watch::Sender<u64>,
    /// For whoever waits for the log, and for whoever waits for replicas.
    pub blocking: ConnectionLane,
    pub confirming: ConnectionLane,
    /// One planned switch at a time.
    pub switching: Semaphore,
    this: Weak<SharedLink>,
}

struct State {
    /// Of the connection that was made last.
    generation: u64,
    present: Option<RedisConnection>,
    attempt: Option<ConnectionAttempt>,
    attempting: Option<AbortHandle>,
    retry_pause: RetryPause,
    /// Why there is no connection.
    last: StoreFailure,
    /// Since when the store is out of reach.
    away_since: Option<Instant>,
    /// Where the master was last.
    at: Option<ServerAddress>,
    advice: Arc<[String]>,
    advised: Option<Instant>,
    advising: Option<AbortHandle>,
    named: Option<Instant>,
    asking: Option<AbortHandle>,
    listening: Option<AbortHandle>,
    /// By when a failover that was announced is over.
    replaced_by: Option<Instant>,
}

impl SharedLink {
    pub(super) fn new(maker: ConnectionMaker) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            maker: Arc::new(maker),
            state: Mutex::new(State::new()),
            announced: watch::Sender::new(()),
            given_up: watch::Sender::new(0),
            blocking: ConnectionLane::default(),
            confirming: ConnectionLane::default(),
            switching: Semaphore::new(1),
            this: this.clone(),
        })
    }

    pub(super) fn name(&self) -> &str {
        self.maker.name()
    }

    pub(super) fn options(&self) -> &RedisOptions {
        &self.maker.options
    }

    /// Need of replicas that must have a lease, where that is configured or Sentinels decide who is the master; `None`:
    /// none need.
    pub(super) fn leaders_need(&self) -> Option<ReplicaQuorum> {
        match self.options().leaders_need {
            Some(0) => None,
            Some(count) => Some(ReplicaQuorum::Count(count)),
            None => self.maker.sentinels().map(|_| ReplicaQuorum::Enough),
        }
    }

    pub(super) fn advice(&self) -> Arc<[String]> {
        Arc::clone(&self.state.lock().advice)
    }

    /// Tells of the generations that are given up from now on.
    pub(super) fn given_up(&self) -> watch::Receiver<u64> {
        self.given_up.subscribe()
    }

    /// The present connection, the running attempt, the pause, or else a new attempt.
    pub(super) fn find(&self) -> ConnectionLookup {
        let mut state = self.state.lock();
        if let Some(present) = state.present.clone() {
            if !present.driver.is_over() {
                self.advise_if_due(&mut state, &present);
                self.ask_sentinels_if_due(&mut state, &present);
                return ConnectionLookup::Connection(present);
            }
            let failure = StoreFailure::new(format!("{} has closed the connection", present.at));
            state.drop_present(failure);
            self.given_up.send_replace(state.generation);
        }
        // An attempt whose runtime has ended comes to nothing.
        if let Some(attempt) = state.attempt.as_ref().filter(|attempt| attempt.has_changed().is_ok()) {
            return ConnectionLookup::Attempt(attempt.clone());
        }
        if state.retry_pause.is_on() {
            return ConnectionLookup::Failed(state.last.clone());
        }
        ConnectionLookup::Attempt(self.begin(&mut state))
    }

    /// Drops the connection of this generation, unless that has been done.
    pub(super) fn give_up(&self, generation: u64, why: &str) {
        let mut state = self.state.lock();
        if state.generation == generation && state.present.is_some() {
            debug!(store = self.name(), generation, reason = why, "store connection given up");
            state.drop_present(StoreFailure::new(format!("the last connection failed: {why}")));
            self.given_up.send_replace(generation);
        }
    }

    /// Begins an attempt. It goes on when its callers have left, so that it comes to an end
    /// however little time each of them has.
    fn begin(&self, state: &mut State) -> ConnectionAttempt {
        let (outcome, attempt) = watch::channel(None);
        let (maker, this) = (Arc::clone(&self.maker), self.this.clone());
        let mut announced = self.announced.subscribe();
        let replaced_by = state.replaced_by.take();
        let task = tokio::spawn(async move {
            if let Some(by) = replaced_by {
                let _ = timeout_at(by, announced.changed()).await;
            }
            let made = loop {
                tokio::select! {
                    made = maker.make() => break made,
                    // The server that was being asked may be the one that was replaced, and answer nothing.
                    Ok(()) = announced.changed() => {}
                }
            };
            let Some(shared) = this.upgrade() else { return };
            outcome.send_replace(Some(shared.ended(made)));
        });
        state.attempting = Some(task.abort_handle());
        state.attempt = Some(attempt.clone());
        attempt
    }

    fn ended(&self, made: Result<FreshConnection, StoreFailure>) -> Result<RedisConnection, StoreFailure> {
        let mut state = self.state.lock();
        state.attempt = None;
        match made {
            // It was found before, and what it acknowledges now is lost.
            Ok(dialed) if state.replaced_by.is_some_and(|by| Instant::now() < by) => {
                let failure = StoreFailure::new(format!("{} is about to be replaced", dialed.at));
                state.failed(&failure, self.name());
                Err(failure)
            }
            Ok(dialed) => {
                let connection = state.took(dialed, self.name());
                self.listen_if_needed(&mut state);
                self.advise_if_due(&mut state, &connection);
                Ok(connection)
            }
            Err(failure) => {
                state.failed(&failure, self.name());
                Err(failure)
            }
        }
    }

    /// Asks what is risky, on the side: nobody waits for it.
    fn advise_if_due(&self, state: &mut State, connection: &RedisConnection) {
        if state.advised.is_some_and(|at| at.elapsed() < ADVICE_AGE) {
            return;
        }
        state.advised = Some(Instant::now());
        let (this, mut connection) = (self.this.clone(), connection.clone());
        let leaders_wait = self.leaders_need().is_some();
        let task = tokio::spawn(async move {
            let advice = timeout(ADVICE_LIMIT, advise(&mut connection.multiplexed, leaders_wait)).await;
            if let (Ok(advice), Some(shared)) = (advice, this.upgrade()) {
                shared.take_advice(advice);
            }
        });
        // One that is older than its limit has ended.
        state.advising = Some(task.abort_handle());
    }

    /// Asks the Sentinels, on the side, whether this is still the master. Without an answer it is.
    fn ask_sentinels_if_due(&self, state: &mut State, connection: &RedisConnection) {
        let asked = state.named.unwrap_or(connection.made).max(connection.made);
        let asking = state.asking.as_ref().is_some_and(|task| !task.is_finished());
        if asking || self.maker.sentinels().is_none() || asked.elapsed() < NAMED_AGE {
            return;
        }
        state.named = Some(Instant::now());
        let (this, maker) = (self.this.clone(), Arc::clone(&self.maker));
        let (generation, at) = (connection.generation, connection.at.clone());
        let task = tokio::spawn(async move {
            let named = timeout(NAMED_LIMIT, maker.named()).await.ok().flatten();
            let Some(other) = named.filter(|named| *named != at) else { return };
            if let Some(shared) = this.upgrade() {
                shared.give_up(generation, &format!("the Sentinels name {other} in place of {at}"));
            }
        });
        state.asking = Some(task.abort_handle());
    }

    /// Listens to the Sentinels, on the side, from the first connection on.
    fn listen_if_needed(&self, state: &mut State) {
        let listens = state.listening.as_ref().is_some_and(|task| !task.is_finished());
        if !listens && self.maker.sentinels().is_some() {
            let task = tokio::spawn(listen(self.this.clone(), Arc::clone(&self.maker)));
            state.listening = Some(task.abort_handle());
        }
    }

    /// Leaves a master that was replaced, or is about to be: until it is, nobody is given a connection.
    pub(super) fn heed_announcement(&self, announced: &MasterAnnouncement) {
        if let (MasterAnnouncement::Switched { from, to }, Some(sentinels)) =
            (announced, self.maker.sentinels())
        {
            sentinels.replaced(from, to);
        }
        let mut state = self.state.lock();
        let present = state.present.clone();
        match announced {
            MasterAnnouncement::Begins => state.replaced_by = Some(Instant::now() + REPLACED_WITHIN),
            MasterAnnouncement::Aborted | MasterAnnouncement::Switched { .. } => state.replaced_by = None,
        }
        drop(state);
        match (announced, present) {
            (MasterAnnouncement::Begins, Some(RedisConnection { generation, at, .. })) => {
                self.give_up(
                    generation,
                    &format!("the Sentinels announce that {at} is about to be replaced"),
                );
            }
            (MasterAnnouncement::Switched { to, .. }, Some(RedisConnection { generation, at, .. }))
                if at != *to =>
            {
                self.give_up(generation, &format!("the Sentinels announce {to} in place of {at}"));
            }
            _ => {}
        }
        if *announced != MasterAnnouncement::Begins {
            self.announced.send_replace(());
        }
    }

    fn take_advice(&self, advice: Vec<String>) {
        let mut state = self.state.lock();
        for line in advice.iter().filter(|line| !state.advice.contains(line)) {
            warn!(store = self.name(), advice = %line, "store is at risk");
        }
        state.advice = advice.into();
    }
}

impl Drop for SharedLink {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        let State { attempting, advising, asking, listening, .. } = &mut *state;
        let tasks = [attempting.take(), advising.take(), asking.take(), listening.take()];
        tasks.into_iter().flatten().for_each(|task| task.abort());
    }
}

impl State {
    fn new() -> Self {
        Self {
            generation: 0,
            present: None,
            attempt: None,
            attempting: None,
            retry_pause: RetryPause::default(),
            last: StoreFailure::new("no connection was made yet"),
            away_since: None,
            at: None,
            advice: Arc::new([]),
            advised: None,
            advising: None,
            named: None,
            asking: None,
            listening: None,
            replaced_by: None,
        }
    }

    /// A connection that did not last counts as a failure: a server that takes connections and
    /// then refuses each command is left in peace as well.
    fn drop_present(&mut self, why: StoreFailure) {
        if let Some(connection) = self.present.take() {
            if connection.made.elapsed() < SETTLED {
                self.retry_pause.failed();
            } else {
                self.retry_pause.succeeded();
            }
            self.last = why;
        }
    }

    fn took(&mut self, dialed: FreshConnection, store: &str) -> RedisConnection {
        self.generation += 1;
        let connection = RedisConnection::new(dialed, self.generation);
        let at = &connection.at;
        match self.away_since.take() {
            Some(since) => {
                let duration_ms = since.elapsed().as_millis();
                info!(store, %at, duration_ms, "store is back in reach");
            }
            None if self.at.as_ref() != Some(at) => info!(store, %at, "store reached"),
            None => debug!(store, %at, generation = self.generation, "store connection made anew"),
        }
        self.at = Some(at.clone());
        self.present = Some(connection.clone());
        connection
    }

    fn failed(&mut self, failure: &StoreFailure, store: &str) {
        self.retry_pause.failed();
        self.last = failure.clone();
        let error = failure.chain();
        if self.away_since.is_none() {
            self.away_since = Some(Instant::now());
            warn!(store, %error, "store out of reach");
        } else {
            debug!(store, %error, "store still out of reach");
        }
    }
}
