//! Verdicts on peers that have fallen silent: whose turn it is to record one, and when.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_decisions::lease::place_of;
use omnirelay_decisions::peer::{PeerSilence, PeerVerdict, SilencePatience, next_verdict};
use omnirelay_host::live::Live;
use omnirelay_nouns::timestamp;
use omnirelay_peer_records::presence::Presence;
use omnirelay_peer_records::roster::{PeerRoster, PeerStanding};
use omnirelay_peer_records::{PEER, own_session};
use omnirelay_registry::Registry;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority, put};
use omnirelay_registry::reactor::LookPace;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::{CommitError, GroupRef, Precondition, Write};
use omnirelay_wire::pb::omnirelay::store::v1::PeerValue;
use omnirelay_wire::timestamp::millis;
use tokio::time::Instant;
use tracing::{debug, info};

use super::{PEERS_RUNBOOK, pb};
use pb::peer::Status;

/// The shortest time between two looks that only changes of peers ask for: a look goes through all peers, and what a
/// change brings is mostly due much later.
const PACE: Duration = Duration::from_millis(25);

/// Judges the silence of others.
pub struct SilenceVerdicts {
    registry: Arc<Registry>,
    presence: Arc<Presence>,
    /// How much later than the one before it each daemon records a verdict: the first does it at once.
    turn: Live<Duration>,
}

/// Verdict that is due from an instant on.
struct DueVerdict {
    record: Arc<ViewRecord>,
    verdict: PeerVerdict,
    at: Millis,
    standing: PeerStanding,
}

impl DueVerdict {
    /// The session that must be over.
    fn session(&self) -> GroupRef {
        self.standing.session_of(&self.record)
    }
}

impl SilenceVerdicts {
    /// Verdicts of a node that is present, `turn` behind those of each daemon whose turn comes before.
    pub fn new(registry: Arc<Registry>, presence: Arc<Presence>, turn: impl Into<Live<Duration>>) -> Self {
        Self { registry, presence, turn: turn.into() }
    }

    /// Judges for ever.
    pub async fn run(&self) {
        let sense = |view: &View| {
            let session = own_session(&self.registry).filter(|_| self.presence.is_registered());
            // Whoever is spared now is looked at again with each beat.
            let spared = view.spares_all().then(|| view.connectivity().beats());
            (session, spared, self.presence.patience(), self.turn.get())
        };
        let pace = LookPace { sense: |view: &View| view.changed(&PEER), between: PACE };
        self.registry.react_paced(sense, pace, || self.look()).await;
    }

    /// Records what has become of peers that have fallen silent, where it is this node's turn, and answers when to look
    /// again if nothing changes.
    async fn look(&self) -> Option<Instant> {
        let (mut due, mut again) = self.mine();
        if !due.is_empty() {
            // Whoever the store has heard since the last beat is not judged: it would refuse that.
            self.registry.see_all().await;
            (due, again) = self.mine();
        }
        let view = self.registry.view();
        let act =
            DaemonAct::new("peers.judge", [PEER], WriteAuthority::Session(own_session(&self.registry)?));
        for due in due {
            let (now, record) = (view.now(), &due.record);
            match self.registry.attempt(&act, plan(&self.presence, &due, now)).await {
                Ok(_) => tell(record, due.verdict),
                Err(error) => {
                    debug!(peer = record.record.id.key, error = %chain(&error), "verdict was not recorded");
                    // Somebody else was faster, or it has come back: the view is about to show it.
                    let next = now.after(self.turn.get());
                    again = Some(again.map_or(next, |again| again.min(next)));
                    if !matches!(error, CommitError::Conflict { .. } | CommitError::GroupLive { .. }) {
                        break;
                    }
                }
            }
        }
        again.map(|at| Instant::now() + at.since(view.now()))
    }

    /// The verdicts that are for this node to record now, and when the next one is.
    fn mine(&self) -> (Vec<DueVerdict>, Option<Millis>) {
        let view = self.registry.view();
        if view.spares_all() || !self.presence.is_registered() {
            return (Vec::new(), None);
        }
        let (now, me, patience) = (view.now(), self.registry.node_id(), self.presence.patience());
        let others = view.list(&PEER).records;
        let others = others.iter().filter(|record| record.record.id.key != me);
        let (mut due, mut later) = (Vec::new(), None::<Millis>);
        for one in others.filter_map(|record| self.due(record, now, patience)) {
            match one.at <= now {
                // What cannot be read stays as it is.
                true => due.extend(one.record.value::<PeerValue>().is_some().then_some(one)),
                false => later = Some(later.map_or(one.at, |later| later.min(one.at))),
            }
        }
        let (mine, theirs): (Vec<DueVerdict>, Vec<DueVerdict>) =
            self.in_turn(due).into_iter().partition(|due| due.at <= now);
        (mine, theirs.iter().map(|due| due.at).chain(later).min())
    }

    /// Puts verdicts off for as many turns as there are nodes before this one. Those have turns that are alive: who is
    /// judged is not among them by then, nor is anybody who is long gone.
    fn in_turn(&self, due: Vec<DueVerdict>) -> Vec<DueVerdict> {
        if due.is_empty() {
            return due;
        }
        let roster = PeerRoster::of_candidates(self.registry.view(), self.registry.node_id());
        let mut judges = roster.nodes();
        judges.retain(|node| node.peer.status() == Status::Alive);
        let (me, turn) = (self.registry.node_id(), self.turn.get());
        let mut due = due;
        for one in &mut due {
            let place = place_of(&one.record.record.id.key, &judges, me);
            one.at = one.at.after(turn.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX)));
        }
        due
    }

    /// What is next to become of a peer if it stays as silent as it is, and no earlier than that; `None`: nothing.
    fn due(&self, record: &Arc<ViewRecord>, now: Millis, patience: SilencePatience) -> Option<DueVerdict> {
        let standing = PeerStanding::of(record)?;
        let since = standing.status_since.as_ref().map(millis).unwrap_or_default().as_of(now);
        let of = |silent_since, last_seen| {
            let (status, kept) = (standing.status(), standing.cordoned);
            let silence = PeerSilence { status, since, silent_since, last_seen, kept };
            let (verdict, at) = next_verdict(&silence, patience)?;
            Some(DueVerdict { record: record.clone(), verdict, at, standing })
        };
        // What was heard of it puts that off at most: of those that are long gone nobody asks.
        let unheard = of(Millis(0), Millis(0))?;
        if unheard.at > now {
            return Some(unheard);
        }
        match self.registry.view().group(&unheard.session().id) {
            // Also that of a newer session: while it lives, its node is about to say so itself.
            Some(group) => of(group.deadline, group.renewed_at),
            None => of(since, since),
        }
    }
}

fn plan(by: &Presence, due: &DueVerdict, now: Millis) -> CommitPlan {
    let (record, over) = (&due.record, Precondition::GroupOver(due.session()));
    let id = &record.record.id;
    let plan =
        CommitPlan::read_in(record.epoch).expect([(id.clone(), record.record.version)]).require([over]);
    let (status, reason) = match due.verdict {
        PeerVerdict::Suspect => (Status::Suspect, "session_expired"),
        PeerVerdict::Dead => (Status::Dead, "silent"),
        PeerVerdict::Forgotten => return plan.write([Write::Delete { id: id.clone() }]),
    };
    let told = by.membership_audit(id, (due.standing.status(), status), reason);
    let mut judged = record.value::<PeerValue>().map(|value| PeerValue::clone(&value)).unwrap_or_default();
    judged.set_status(status);
    reason.clone_into(&mut judged.status_reason);
    judged.status_since = Some(timestamp(now));
    plan.write([put(id.clone(), &judged)]).audit(told)
}

/// Says what has become of a peer.
fn tell(record: &ViewRecord, verdict: PeerVerdict) {
    let Some(value) = record.value::<PeerValue>() else { return };
    let profile = value.metadata.clone().unwrap_or_default();
    let (peer, role, cluster) = (record.record.id.key.as_str(), profile.role, profile.cluster_id);
    let version = profile.mesh_version;
    let status = match verdict {
        PeerVerdict::Suspect => Status::Suspect,
        PeerVerdict::Dead => Status::Dead,
        PeerVerdict::Forgotten => return info!(peer, role, cluster, version, "peer forgotten"),
    };
    let verdict = status.as_str_name();
    info!(peer, verdict, role, cluster, version, runbook = PEERS_RUNBOOK, "peer judged");
}
