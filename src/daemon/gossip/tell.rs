//! Telling: one line in the log for each change, and what follows for the connections to whoever has changed.

use std::collections::BTreeSet;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use omnirelay_membership::{Event, NodeId, Record};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::Gossip;
use super::story::{Chapter, Verdict};
use crate::daemon::log::{KeyedLogLimiter, LogLimiter, Turn};

/// How soon after a conflict another one says that both live.
const CONFLICT_AGAIN: Duration = Duration::from_secs(60);

/// How many lines there are of what others cause.
struct Lines {
    /// Of changes of members, each verdict of each member by itself.
    changed: KeyedLogLimiter<(NodeId, Verdict)>,
    /// Of how this node stands with all others.
    accused: LogLimiter,
}

impl Lines {
    fn new() -> Self {
        Self { changed: KeyedLogLimiter::of_members(), accused: LogLimiter::new(20, Duration::from_secs(10)) }
    }
}

/// What is known of conflicts so far.
#[derive(Default)]
struct Conflicts {
    last: Option<Instant>,
    told: Option<Instant>,
}

impl Gossip {
    /// Tells of all that changes, until it is dropped; `leads` says which scopes a node leads. For the first who asks.
    pub async fn tell_all(&self, leads: impl Fn(&str) -> Vec<String>) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut told) = told else { return };
        let (mut conflicts, lines) = (Conflicts::default(), Lines::new());
        while let Some((event, chapter)) = told.recv().await {
            match (&event, chapter) {
                (Event::Conflict { record, .. }, _) => self.note_conflict(record, &mut conflicts),
                (Event::Accused { by, incarnation }, chapter) => {
                    let correlation_id = chapter.map(|chapter| chapter.correlation_id).unwrap_or_default();
                    let by = names(by);
                    if let Some(Turn { left_out }) = lines.accused.turn() {
                        info!(
                            by,
                            incarnation,
                            correlation_id,
                            left_out,
                            "this node was taken for gone, and has answered"
                        );
                    }
                }
                (Event::CutOff, _) => {
                    if let Some(Turn { left_out }) = lines.accused.turn() {
                        warn!(left_out, "this node hears nobody: all others are suspects here until it does");
                    }
                }
                (Event::InTouch, _) => {
                    if let Some(Turn { left_out }) = lines.accused.turn() {
                        info!(left_out, "this node hears others again");
                    }
                }
                (_, Some(chapter)) => {
                    let key = (chapter.node.clone(), chapter.verdict);
                    let Some(turn) = lines.changed.turn(&key) else { continue };
                    self.log(&chapter, turn);
                    if chapter.verdict == Verdict::Suspected {
                        self.log_led(&chapter, &leads(chapter.node.as_str()));
                    }
                }
                (_, None) => {}
            }
        }
    }

    /// That somebody else is known by the id of this node. Once may be this node as it was before a clock was set back; again and
    /// again it is another daemon, which answers.
    fn note_conflict(&self, record: &Record, conflicts: &mut Conflicts) {
        let (peer, instance) = (self.node.as_str(), record.instance);
        let endpoint = super::record::read(&record.body).map(|said| said.endpoint).unwrap_or_default();
        let recently = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < CONFLICT_AGAIN);
        if !recently(conflicts.last.replace(Instant::now())) {
            return info!(
                peer,
                instance,
                endpoint,
                "another start is known by the id of this node; this one is known from now on"
            );
        }
        // There is one each second.
        if !recently(conflicts.told) {
            conflicts.told = Some(Instant::now());
            error!(
                peer,
                instance,
                endpoint,
                "another daemon has the id of this node; give one of them another id (--node-id)"
            );
        }
        *self.rival.lock().unwrap_or_else(PoisonError::into_inner) = Some((endpoint, Instant::now()));
    }

    /// Where another daemon says that it is that has the id of this node, and was heard of a moment ago.
    pub fn rival(&self) -> Option<String> {
        let rival = self.rival.lock().unwrap_or_else(PoisonError::into_inner);
        rival
            .as_ref()
            .filter(|(_, at)| at.elapsed() < CONFLICT_AGAIN * 2)
            .map(|(endpoint, _)| endpoint.clone())
    }

    /// Whether something follows for connections.
    pub(super) fn has_to_be_followed(event: &Event) -> bool {
        matches!(
            event,
            Event::Restarted { .. }
                | Event::Returned { .. }
                | Event::Left { .. }
                | Event::Forgotten { .. }
                | Event::StreamsAlone { .. }
        )
    }

    /// Does what follows for connections.
    pub(super) fn follow(&self, event: &Event) {
        match event {
            // What there was to whoever was there before reaches nobody. On the word of others it is looked first.
            Event::Restarted { node, from, .. } | Event::Returned { node, from, .. } if from != node => {
                self.restarted().insert(node.clone());
            }
            Event::Restarted { node, .. } | Event::Returned { node, .. } | Event::Left { node, .. } => {
                self.transport.reconnect(node.as_str());
            }
            Event::Forgotten { node } => {
                self.restarted().remove(node);
                self.transport.forget(node.as_str());
                self.metrics.forget(node.as_str());
            }
            Event::StreamsAlone { node } => self.transport.give_up_http3(node.as_str()),
            _ => {}
        }
    }

    /// Who is said to have started again by others alone.
    pub(super) fn restarted(&self) -> MutexGuard<'_, BTreeSet<NodeId>> {
        self.restarted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That a leader is suspected: nothing moves for that, and whoever waits for it is to know why.
    fn log_led(&self, chapter: &Chapter, scopes: &[String]) {
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

    fn log(&self, chapter: &Chapter, Turn { left_out }: Turn) {
        let Chapter { node, verdict, incarnation, by, evidence, correlation_id, .. } = chapter;
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
            Verdict::Suspected | Verdict::Died | Verdict::StreamsAlone | Verdict::ThroughOthers => {
                line!(warn);
            }
            Verdict::Joined
            | Verdict::Confirmed
            | Verdict::Refuted
            | Verdict::Left
            | Verdict::Returned
            | Verdict::Restarted
            | Verdict::Reached
            | Verdict::Answered => line!(info),
        }
    }
}

fn names(of: &[NodeId]) -> String {
    of.iter().map(NodeId::as_str).collect::<Vec<_>>().join(" ")
}
