//! Telling: one line in the log for each change, and what follows for the connections to whoever has changed.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use omnirelay_host::log::{KeyedLogLimiter, LogLimiter, LogTurn};
use omnirelay_membership::{GossipMemberRecord, MembershipEvent, NodeId};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::Gossip;
use super::story::{MemberEvent, MemberEventKind};

/// How soon after a conflict another one says that both live.
const CONFLICT_AGAIN: Duration = Duration::from_secs(60);
/// How often it is looked whether there is another daemon where somebody says so, and how long that may take.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LOOK_WITHIN: Duration = Duration::from_secs(3);

/// Limiters of the log lines that others cause.
struct GossipLogLimiters {
    /// Of changes of members, each verdict of each member by itself.
    changed: KeyedLogLimiter<(NodeId, MemberEventKind)>,
    /// Of how this node stands with all others.
    accused: LogLimiter,
}

impl GossipLogLimiters {
    fn new() -> Self {
        Self { changed: KeyedLogLimiter::of_members(), accused: LogLimiter::new(20, Duration::from_secs(10)) }
    }
}

/// Search for another daemon that may have the id of this node, as far as it has come.
#[derive(Default)]
struct NamesakeSearch<'a> {
    last: Option<Instant>,
    told: Option<Instant>,
    looked: Option<Instant>,
    /// Whether there is one, being looked at.
    looking: Option<BoxFuture<'a, Option<Namesake>>>,
}

/// Another daemon that has shown a certificate of this node.
struct Namesake {
    instance: u64,
    endpoint: String,
}

impl NamesakeSearch<'_> {
    /// What has come of looking; for ever where nobody looks.
    async fn looked(&mut self) -> Option<Namesake> {
        let Some(looking) = &mut self.looking else { return std::future::pending().await };
        let found = looking.await;
        self.looking = None;
        found
    }
}

impl Gossip {
    /// Tells of all that changes, until it is dropped; `leads` says which scopes a node leads. For the first who asks.
    pub async fn tell_all(&self, leads: impl Fn(&str) -> Vec<String>) {
        let told = self.told.lock().take();
        let Some(mut told) = told else { return };
        let (mut conflicts, lines) = (NamesakeSearch::default(), GossipLogLimiters::new());
        loop {
            let told = tokio::select! {
                told = told.recv() => told,
                found = conflicts.looked() => {
                    found.into_iter().for_each(|found| self.note_namesake(found, &mut conflicts));
                    continue;
                }
            };
            let Some((event, chapter)) = told else { return };
            match (&event, chapter) {
                (MembershipEvent::Conflict { record, from, .. }, _) => {
                    self.note_conflict(record, from, &mut conflicts);
                }
                (MembershipEvent::Accused { by, incarnation }, chapter) => {
                    let correlation_id = chapter.map(|chapter| chapter.correlation_id).unwrap_or_default();
                    let by = names(by);
                    if let Some(LogTurn { left_out }) = lines.accused.turn() {
                        info!(
                            by,
                            incarnation,
                            correlation_id,
                            left_out,
                            "this node was taken for gone, and has answered"
                        );
                    }
                }
                (MembershipEvent::CutOff, _) => {
                    if let Some(LogTurn { left_out }) = lines.accused.turn() {
                        warn!(left_out, "this node hears nobody: all others are suspects here until it does");
                    }
                }
                (MembershipEvent::InTouch, _) => {
                    if let Some(LogTurn { left_out }) = lines.accused.turn() {
                        info!(left_out, "this node hears others again");
                    }
                }
                (_, Some(chapter)) => {
                    let key = (chapter.node.clone(), chapter.verdict);
                    let Some(turn) = lines.changed.turn(&key) else { continue };
                    self.log(&chapter, turn);
                    if chapter.verdict == MemberEventKind::Suspected {
                        self.log_led(&chapter, &leads(chapter.node.as_str()));
                    }
                }
                (_, None) => {}
            }
        }
    }

    /// That somebody says that another start is known by the id of this node. Once may be this node as it was before a clock was set back;
    /// again and again it is another daemon, which answers, or a lie: so it is looked.
    fn note_conflict<'a>(
        &'a self,
        record: &GossipMemberRecord,
        from: &NodeId,
        conflicts: &mut NamesakeSearch<'a>,
    ) {
        let (peer, instance, from) = (self.node.as_str(), record.instance, from.as_str());
        let endpoint = super::record::read(&record.body).map(|said| said.endpoint).unwrap_or_default();
        if !recently(conflicts.last.replace(Instant::now()), CONFLICT_AGAIN) {
            return info!(
                peer,
                instance,
                endpoint,
                from,
                "another start is known by the id of this node; this one is known from now on"
            );
        }
        if conflicts.looking.is_none() && !recently(conflicts.looked, LOOK_EVERY) {
            conflicts.looked = Some(Instant::now());
            conflicts.looking = Some(Box::pin(self.look_for_namesake(endpoint)));
        }
    }

    /// Looks whether there is a daemon that shows a certificate of this node, and is not this one.
    async fn look_for_namesake(&self, endpoint: String) -> Option<Namesake> {
        let greeted = async {
            let found = tokio::net::lookup_host(&endpoint).await.ok()?.collect();
            let greet =
                |at: SocketAddr| async move { self.transport.greet_namesake_at(&at.to_string()).await };
            omnirelay_dial::first_of(found, greet).await.ok()
        };
        let greeted = tokio::time::timeout(LOOK_WITHIN, greeted).await.ok()??;
        // One that does not say which start it is, is of before: this one says so.
        let is_another = greeted.node_id == self.node.as_str() && greeted.instance != self.instance();
        is_another.then_some(Namesake { instance: greeted.instance, endpoint })
    }

    fn note_namesake(&self, found: Namesake, conflicts: &mut NamesakeSearch<'_>) {
        let Namesake { instance, endpoint } = found;
        // There is one each few seconds.
        if !recently(conflicts.told, CONFLICT_AGAIN) {
            conflicts.told = Some(Instant::now());
            let peer = self.node.as_str();
            error!(
                peer,
                instance,
                endpoint,
                "another daemon has the id of this node; give one of them another id (--node-id)"
            );
        }
        *self.rival.lock() = Some((endpoint, Instant::now()));
    }

    /// Location of another daemon that has the id of this node, and has shown so a moment ago.
    pub fn rival(&self) -> Option<String> {
        let rival = self.rival.lock();
        rival
            .as_ref()
            .filter(|(_, at)| at.elapsed() < CONFLICT_AGAIN * 2)
            .map(|(endpoint, _)| endpoint.clone())
    }

    /// Whether something follows for connections.
    pub(super) fn has_to_be_followed(event: &MembershipEvent) -> bool {
        matches!(
            event,
            MembershipEvent::Restarted { .. }
                | MembershipEvent::Returned { .. }
                | MembershipEvent::Left { .. }
                | MembershipEvent::Forgotten { .. }
                | MembershipEvent::StreamsAlone { .. }
        )
    }

    /// Does what follows for connections.
    pub(super) fn follow(&self, event: &MembershipEvent) {
        match event {
            // What there was to whoever was there before reaches nobody. On the word of others it is looked first.
            MembershipEvent::Restarted { node, from, .. } | MembershipEvent::Returned { node, from, .. }
                if from != node =>
            {
                self.restarted.lock().insert(node.clone());
            }
            MembershipEvent::Restarted { node, .. }
            | MembershipEvent::Returned { node, .. }
            | MembershipEvent::Left { node, .. } => {
                self.transport.reconnect(node.as_str());
            }
            MembershipEvent::Forgotten { node } => {
                self.restarted.lock().remove(node);
                self.transport.forget(node.as_str());
                self.metrics.forget(node.as_str());
            }
            MembershipEvent::StreamsAlone { node } => self.transport.give_up_http3(node.as_str()),
            _ => {}
        }
    }

    /// That a leader is suspected: nothing moves for that, and whoever waits for it is to know why.
    fn log_led(&self, chapter: &MemberEvent, scopes: &[String]) {
        const NAMED_MAX: usize = 8;
        if scopes.is_empty() {
            return;
        }
        let (peer, correlation_id) = (chapter.node.as_str(), &*chapter.correlation_id);
        let named = scopes[..scopes.len().min(NAMED_MAX)].join(" ");
        warn!(
            peer,
            scopes = scopes.len(),
            named,
            correlation_id,
            "a leader is suspected; it leads until its session ends"
        );
    }

    fn log(&self, chapter: &MemberEvent, LogTurn { left_out }: LogTurn) {
        let MemberEvent { node, verdict, incarnation, by, evidence, correlation_id, .. } = chapter;
        let said = self.health(node.as_str()).and_then(|health| health.record()).unwrap_or_default();
        let by = by.as_ref().map_or("", NodeId::as_str);
        let why = evidence.as_ref().map(super::story::in_words).unwrap_or_default();
        let peer = node.as_str();
        let verdict_word = verdict.word();
        let (role, cluster, region, version) =
            (&said.role, &said.cluster_id, &said.region, &said.mesh_version);
        let http3 = said.http3_support;
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    peer,
                    verdict = verdict_word,
                    by,
                    why,
                    role,
                    cluster,
                    region,
                    version,
                    http3,
                    incarnation,
                    correlation_id,
                    left_out,
                    "member changed"
                )
            };
        }
        match verdict {
            MemberEventKind::Suspected
            | MemberEventKind::Died
            | MemberEventKind::StreamsAlone
            | MemberEventKind::ThroughOthers => {
                line!(warn);
            }
            MemberEventKind::Joined
            | MemberEventKind::Confirmed
            | MemberEventKind::Refuted
            | MemberEventKind::Left
            | MemberEventKind::Returned
            | MemberEventKind::Restarted
            | MemberEventKind::Reached
            | MemberEventKind::Answered => line!(info),
        }
    }
}

fn recently(at: Option<Instant>, within: Duration) -> bool {
    at.is_some_and(|at| at.elapsed() < within)
}

fn names(of: &[NodeId]) -> String {
    of.iter().map(NodeId::as_str).collect::<Vec<_>>().join(" ")
}
