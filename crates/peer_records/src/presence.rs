//! Presence of a node in the registry: it enters its own record, and keeps it true.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use omnirelay_core::labels::Labels;
use omnirelay_core::text::chain;
use omnirelay_decisions::peer::SilencePatience;
use omnirelay_host::live::Live;
use omnirelay_host::log::LogLimiter;
use omnirelay_nouns::timestamp;
use omnirelay_registry::act::{DaemonAct, DecisionReader, WriteAuthority, put};
use omnirelay_registry::epoch_loss::ToRestore;
use omnirelay_registry::follow::in_time;
use omnirelay_registry::{Registry, audit_record};
use omnirelay_store::{CommitError, GroupRef, OpenedGroup, RecordId, StoreError};
use omnirelay_wire::pb::omnirelay::store::v1::{AuditValue, PeerValue, RivalDaemon};
use omnirelay_wire::timestamp::millis;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::configured_labels::reconfigured;
use crate::merge::restored;
use crate::pb;
use crate::{PEER, own_session, peer_id, session_id};
use pb::peer::Status;

/// How often the own record is written again when somebody else was faster.
const ENTER_TRIES: usize = 5;
/// How long one call of the store may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is mentioned in the log what keeps this node from being registered.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// How often a daemon that has the id of another one says so, and how long that is believed.
const RIVAL_SAYS_EVERY: Duration = Duration::from_secs(10);
const RIVAL_COUNTS_FOR: Duration = Duration::from_secs(30);

/// Settings by which presence is kept.
#[derive(Clone, Debug)]
pub struct PresenceSettings {
    /// How long a session lives without a renewal.
    pub session_ttl: Duration,
    /// How long a peer is silent before it is dead.
    pub dead_after: Duration,
    /// How long the record of a dead or departed peer is kept; a cordoned one stays.
    pub forget_after: Duration,
    /// Replaces a session of this node that a crash left behind.
    pub session_secret: String,
    /// Whether the audit trail tells who comes, goes and is found dead.
    pub audited: bool,
}

/// Keeps this node's record in the registry.
pub struct Presence {
    registry: Arc<Registry>,
    settings: Live<PresenceSettings>,
    /// What the node says about itself; the labels are those of its configuration.
    profile: Mutex<pb::PeerMetadata>,
    /// Those of its configuration by which its record was written last.
    entered_labels: Mutex<Labels>,
    /// What it says is another thing than its record has.
    untold: AtomicBool,
    registered: AtomicBool,
    /// When the session ended in which it was registered; later while the store is silent.
    ended: Mutex<Option<Instant>>,
    /// It is about to stop, so nobody is to hand anything to it.
    withdrawn: AtomicBool,
    /// Another daemon with this node's id and secret has taken its session.
    replaced: AtomicBool,
    /// Since when somebody else has had the session whenever it asked for one.
    refused_since: Mutex<Option<Instant>>,
    complaints: LogLimiter,
    /// How often it says in the record that it is another daemon with this id.
    rivalries: LogLimiter,
}

impl Presence {
    pub fn new(
        registry: Arc<Registry>,
        settings: impl Into<Live<PresenceSettings>>,
        profile: pb::PeerMetadata,
    ) -> Self {
        Self {
            registry,
            settings: settings.into(),
            entered_labels: Mutex::new(profile.labels.clone()),
            profile: Mutex::new(profile),
            untold: AtomicBool::new(false),
            registered: AtomicBool::new(false),
            ended: Mutex::default(),
            withdrawn: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            refused_since: Mutex::default(),
            complaints: LogLimiter::new(1, COMPLAIN_EVERY),
            rivalries: LogLimiter::new(1, RIVAL_SAYS_EVERY),
        }
    }

    /// Whether its record has what the node says of itself.
    pub fn is_told(&self) -> bool {
        !self.untold.load(Ordering::Relaxed)
    }

    /// Has the node say something else of itself, as soon as it is there; what it says already is not written again.
    pub fn say(&self, change: impl FnOnce(&mut pb::PeerMetadata)) {
        let mut profile = self.profile.lock();
        let before = profile.clone();
        change(&mut profile);
        if *profile != before {
            self.untold.store(true, Ordering::Relaxed);
        }
    }

    /// Notes which groups of this node the store says are over.
    pub fn note_over(&self, over: &[GroupRef]) {
        for group in over {
            let now = self.registry.view().group(&group.id);
            if now.is_some_and(|now| now.of.instance > group.instance) {
                let peer = self.registry.node_id();
                warn!(peer, group = %group, "another daemon with this node id and secret has replaced the session");
                self.replaced.store(true, Ordering::Relaxed);
            } else {
                warn!(group = %group, "session had ended before it was renewed");
            }
            if self.registered.swap(false, Ordering::Relaxed) {
                *self.ended.lock() = Some(Instant::now());
            }
            self.registry.held_groups().drop(group);
        }
    }

    /// Notes that the store is silent: nobody can be registered meanwhile.
    pub fn note_silence(&self) {
        let ttl = self.session_ttl();
        if let Some(ended) = self.ended.lock().as_mut().filter(|ended| ended.elapsed() < ttl) {
            *ended = Instant::now();
        }
    }

    /// Time for which a session lives without a renewal.
    pub fn session_ttl(&self) -> Duration {
        self.settings.get().session_ttl
    }

    /// Times of silence after which a peer is judged.
    pub fn patience(&self) -> SilencePatience {
        let PresenceSettings { dead_after, forget_after, .. } = self.settings.get();
        SilencePatience { dead_after, forget_after }
    }

    /// Whether this node has a session that the store has not called over.
    pub fn has_session(&self) -> bool {
        self.session().is_some()
    }

    /// Whether the record says that this node is alive, in the session it has.
    pub fn is_registered(&self) -> bool {
        self.registered.load(Ordering::Relaxed)
    }

    /// Whether it is registered, or was until less than a session ago and is about to be again: with a new epoch the
    /// sessions of all nodes end at once, and nobody is to take that for the end of all nodes.
    pub fn stands(&self) -> bool {
        let is_brief = |ended: Instant| ended.elapsed() < self.session_ttl();
        self.is_registered() || !self.has_rival() && self.ended.lock().is_some_and(is_brief)
    }

    /// Whether another daemon is known to have this node's id.
    pub fn has_rival(&self) -> bool {
        !self.has_session() && (self.refused_since.lock().is_some() || self.replaced.load(Ordering::Relaxed))
    }

    /// Says in the record that this node leads nothing from now on. Best effort.
    pub async fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Relaxed);
        let Some(session) = self.session().filter(|_| self.registry.view().silence().is_none()) else {
            return;
        };
        if let Err(error) = in_time(CALL_TIMEOUT, self.enter(Status::Alive, "registered", &session)).await {
            warn!(error = %chain(&error), "could not record that this node is about to stop");
        }
    }

    /// Leaves on purpose: says so in the record and ends the session. Best effort.
    pub async fn leave(&self) {
        let Some(session) = self.session() else { return };
        let entered = in_time(CALL_TIMEOUT, self.enter(Status::Left, "stopped", &session)).await;
        if let Err(error) = entered {
            warn!(error = %chain(&error), "could not record the departure; the session will run out");
        }
        let epoch = self.registry.view().head().epoch;
        if let Err(error) = self.registry.end_group(epoch, session).await {
            warn!(error = %chain(&error), "could not end the session; it will run out");
        }
    }

    /// This node's record as it was, if a new epoch has lost it.
    fn lost(&self) -> Option<ToRestore> {
        self.registry.losses().of(self.registry.view(), &peer_id(self.registry.node_id()))
    }

    fn session(&self) -> Option<GroupRef> {
        own_session(&self.registry)
    }

    /// Opens a session and enters the record as alive, unless it is so already. False: it was not
    /// possible now; try again after the next beat.
    pub async fn join(&self, reason: &str) -> bool {
        let is_told = self.is_told();
        let is_entered = self.has_session() && self.is_registered() && self.lost().is_none();
        if is_entered && is_told && !self.has_outdated_rival() {
            return true;
        }
        let session = match self.session() {
            Some(session) => session,
            None => match self.open_session().await {
                Some(session) => session,
                None => return false,
            },
        };
        // Before it is read: what is said meanwhile is told the next time.
        self.untold.store(false, Ordering::Relaxed);
        match in_time(CALL_TIMEOUT, self.enter(Status::Alive, reason, &session)).await {
            Ok(()) => {
                if !self.registered.swap(true, Ordering::Relaxed) || is_told {
                    let peer = self.registry.node_id();
                    info!(peer, session = session.instance, reason, "peer registered");
                }
                true
            }
            Err(error) => {
                self.untold.store(true, Ordering::Relaxed);
                if let CommitError::GroupOver(over) = &error {
                    self.registry.held_groups().drop(over);
                }
                self.complain(|| warn!(error = %chain(&error), "could not register; trying again"));
                false
            }
        }
    }

    /// Writes this node's record once more, as it is: a store that was full may have room again, and at rest nobody else finds
    /// that out.
    pub async fn try_for_room(&self) {
        let Some(session) = self.session() else { return };
        match in_time(CALL_TIMEOUT, self.enter(Status::Alive, "resumed", &session)).await {
            Ok(()) => info!("the store has room again"),
            Err(error) => debug!(error = %chain(&error), "the store still takes nothing"),
        }
    }

    /// Whether another daemon with this node's id and secret took its session and still holds it.
    /// The newer one keeps it: taking it back would only go on for ever.
    fn is_replaced(&self) -> bool {
        let lives = self.registry.view().live_group(&session_id(self.registry.node_id())).is_some();
        self.replaced.fetch_and(lives, Ordering::Relaxed) && lives
    }

    async fn open_session(&self) -> Option<GroupRef> {
        if self.is_replaced() {
            let peer = self.registry.node_id();
            self.complain(|| warn!(peer, "another daemon has this node id; waiting for its session to end"));
            self.say_rival().await;
            return None;
        }
        let PresenceSettings { session_ttl, session_secret, .. } = self.settings.get();
        let (id, ttl) = (session_id(self.registry.node_id()), self.settings.map(|set| set.session_ttl));
        match self.registry.open_session(id, ttl, &session_secret).await {
            Ok(OpenedGroup::Open(group)) => {
                *self.refused_since.lock() = None;
                return Some(group.of);
            }
            Ok(OpenedGroup::Held { until }) => {
                let since = *self.refused_since.lock().get_or_insert_with(Instant::now);
                self.complain(|| {
                    let peer = self.registry.node_id();
                    warn!(
                        peer,
                        until = until.0,
                        "another daemon has this node id, or this one restarted too often; waiting for a session to end"
                    );
                });
                // What a crash has left behind is over by then, and this session is not.
                if since.elapsed() > session_ttl * 2 {
                    self.say_rival().await;
                }
            }
            // The view is about to be loaded in it.
            Err(StoreError::EpochChanged { .. }) => *self.refused_since.lock() = None,
            Err(error) => {
                *self.refused_since.lock() = None;
                self.complain(|| warn!(error = %chain(&error), "could not open a session; trying again"));
            }
        }
        None
    }

    /// Says now and then, in the record that another daemon keeps, that there are two with this id: the other one is well, and
    /// nobody asks this one.
    async fn say_rival(&self) {
        if self.rivalries.turn().is_none() {
            return;
        }
        let id = peer_id(self.registry.node_id());
        let control = self.profile.lock().endpoints.clone().unwrap_or_default().control.unwrap_or_default();
        let seen_at = Some(timestamp(self.registry.view().now()));
        let rival = RivalDaemon { control, seen_at, unknown_fields: Default::default() };
        let act = DaemonAct {
            tries: ENTER_TRIES,
            ..DaemonAct::new("peers.rival", [PEER], WriteAuthority::Unfenced)
        };
        let decide = async |reader: DecisionReader<'_>| {
            let held = reader.get(&id).and_then(|held| held.value());
            let value = held.map(|held| PeerValue { rival: Some(rival.clone()), ..PeerValue::clone(&held) });
            Ok::<_, CommitError>(value.map(|value| (reader.plan().write([put(id.clone(), &value)]), ())))
        };
        if let Err(error) = in_time(CALL_TIMEOUT, self.registry.act(&act, decide)).await {
            debug!(error = %chain(&error), "could not say that another daemon has this node id");
        }
    }

    /// Whether its record says that another daemon has this id, which has not said so for a while.
    fn has_outdated_rival(&self) -> bool {
        let view = self.registry.view();
        let value =
            view.get(&peer_id(self.registry.node_id())).and_then(|record| record.value::<PeerValue>());
        value.is_some_and(|value| self.is_outdated(value.rival.as_ref()))
    }

    fn is_outdated(&self, rival: Option<&RivalDaemon>) -> bool {
        let now = self.registry.view().now();
        let seen = |rival: &RivalDaemon| rival.seen_at.as_ref().map(millis).unwrap_or_default();
        rival.is_some_and(|rival| now.since(seen(rival)) > RIVAL_COUNTS_FOR)
    }

    /// Says what keeps this node from being registered, now and then.
    fn complain(&self, say: impl FnOnce()) {
        if self.complaints.turn().is_some() {
            say();
        }
    }

    /// Writes this node's record; what operators said about it stays, through a new epoch as well.
    async fn enter(&self, status: Status, reason: &str, session: &GroupRef) -> Result<(), CommitError> {
        let id = peer_id(self.registry.node_id());
        let authority = WriteAuthority::Session(session.clone());
        let act = DaemonAct { tries: ENTER_TRIES, ..DaemonAct::new("peers.enter", [PEER], authority) };
        let decide = async |reader: DecisionReader<'_>| {
            let (held, lost) = (reader.get(&id), self.lost());
            let whole = match &lost {
                Some(lost) => restored(&self.registry, lost, held.as_deref()).await?,
                None => None,
            };
            let is_poorer = lost.is_some() && whole.is_none();
            let as_held = || held.and_then(|held| held.value()).map(|held| PeerValue::clone(&held));
            let before = whole.or_else(as_held);
            let was = before.as_ref().map_or(Status::Unspecified, PeerValue::status);
            let says = self.profile.lock().clone();
            let configured = says.labels.clone();
            let value = self.own_value((before, says), status, reason, session);
            let told = self.membership_audit(&id, (was, status), reason);
            let plan = reader.plan().write([put(id.clone(), &value)]).audit(told);
            Ok::<_, CommitError>(Some((plan, (is_poorer, configured))))
        };
        let Some((_, (is_poorer, configured))) = self.registry.act(&act, decide).await? else {
            return Ok(());
        };
        *self.entered_labels.lock() = configured;
        if is_poorer {
            // Nobody can tell any more what was lost of it.
            self.registry.losses().note_superseded(&id);
        } else {
            self.registry.losses().note_restored(&id);
        }
        Ok(())
    }

    /// Record of the audit trail about a node that comes, goes, or is found dead, written by whoever commits that: one
    /// for the mesh. `None` of all else that becomes of the node.
    pub fn membership_audit(
        &self,
        id: &RecordId,
        (was, becomes): (Status, Status),
        reason: &str,
    ) -> Option<AuditValue> {
        let action = match becomes {
            // A suspect that is back was never away.
            Status::Alive if !matches!(was, Status::Alive | Status::Suspect) => "peers.join",
            Status::Left => "peers.leave",
            Status::Dead => "peers.die",
            Status::Alive | Status::Suspect | Status::Unspecified => return None,
        };
        let changes = vec![format!("status: {} -> {}", was.as_str_name(), becomes.as_str_name())];
        let body = audit_record::own_body(self.registry.node_id(), action, id.to_string(), changes);
        self.settings.get().audited.then(|| AuditValue { reason: reason.to_owned(), ..body })
    }

    fn own_value(
        &self,
        (held, mut says): (Option<PeerValue>, pb::PeerMetadata),
        status: Status,
        reason: &str,
        session: &GroupRef,
    ) -> PeerValue {
        let known = held.is_some();
        let mut value = held.unwrap_or_default();
        if value.status() != status || value.session != session.instance {
            value.set_status(status);
            reason.clone_into(&mut value.status_reason);
            value.status_since = Some(timestamp(self.registry.view().now()));
        }
        // Of whoever is another daemon than the one with this session that is known anew.
        let goes_on = value.session == session.instance;
        value.rival = value.rival.filter(|rival| goes_on && !self.is_outdated(Some(rival)));
        value.session = session.instance;
        let was = value.metadata.take().unwrap_or_default();
        says.campaigns &= !self.withdrawn.load(Ordering::Relaxed);
        // Configured labels are a beginning; what an operator set or removed since wins.
        if known {
            says.labels = reconfigured(&was.labels, &self.entered_labels.lock(), &says.labels);
        }
        says.metadata_version = was.metadata_version;
        if says != was {
            says.metadata_version += 1;
        }
        value.metadata = Some(says);
        value
    }
}
