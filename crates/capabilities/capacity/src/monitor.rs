//! Monitor of capacity: looks each second how much is used, and tells when a limit is near, reached, or neither any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use omnirelay_core::time::whole_ms;
use omnirelay_decisions::capacity::{
    LimitKind, LimitLevel, LimitMeasure, LimitMode, LimitRow, LimitScope, SetLimit, UseTrack,
};
use omnirelay_gossip::Gossip;
use omnirelay_host::live::Live;
use omnirelay_node::readiness::item;
use omnirelay_nouns::notice::{NoticeTopic, Notices};
use omnirelay_registry::Registry;
use omnirelay_settings::LimitsConfig;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use parking_lot::Mutex;
use pb::capacity_limit::{Level, Mode, Scope};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::shown_use::ShownUse;
use crate::use_counts::UseCounts;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The longest time that what it tells is of.
const WATCHED_MAX: Duration = Duration::from_secs(3600);

/// What is told of limits.
pub(crate) const TOPIC: NoticeTopic = NoticeTopic { name: "limits", what: &["near", "reached", "eased"] };
/// The items of readiness: what is refused, and what somebody should look at.
const REACHED: &str = "limits-reached";
const NEAR: &str = "limits-near";
const CAPACITY_RUNBOOK: &str = "docs/runbooks/capacity.md";

/// Parts that a monitor reads.
pub(crate) struct MonitoredUse {
    pub registry: Arc<Registry>,
    pub limits: Live<LimitsConfig>,
    pub counts: Arc<UseCounts>,
    pub shown: Arc<ShownUse>,
    pub gossip: Option<Arc<Gossip>>,
}

/// Monitor of one daemon.
pub(crate) struct CapacityMonitor {
    pub of: MonitoredUse,
    notices: Arc<Notices>,
    began: Instant,
    tracks: Mutex<Tracks>,
}

struct Tracks {
    looked: Instant,
    /// In the order of [`LimitKind::ALL`].
    all: Vec<TrackedLimit>,
}

struct TrackedLimit {
    kind: LimitKind,
    /// Of a rate: how many there were at the last look.
    total: u64,
    track: UseTrack,
}

impl CapacityMonitor {
    pub(crate) fn new(of: MonitoredUse, notices: Arc<Notices>) -> Self {
        notices.add(TOPIC);
        let tracked =
            |kind: LimitKind| TrackedLimit { kind, total: 0, track: UseTrack::new(kind.row().measure) };
        let began = Instant::now();
        let tracks = Tracks { looked: began, all: LimitKind::ALL.map(tracked).into() };
        Self { of, notices, began, tracks: Mutex::new(tracks) }
    }

    /// Looks for ever.
    pub(crate) async fn run(&self) {
        loop {
            self.look();
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Takes the uses as they are now, and tells what has changed.
    pub(crate) fn look(&self) {
        let (now, limits) = (Instant::now(), self.of.limits.get());
        let mut changed = Vec::new();
        let mut tracks = self.tracks.lock();
        let since = now.saturating_duration_since(std::mem::replace(&mut tracks.looked, now));
        for tracked in &mut tracks.all {
            let seen = self.of.seen(tracked.kind);
            let noted = match tracked.kind.row().measure {
                LimitMeasure::Count => seen,
                LimitMeasure::Rate(_) => seen.saturating_sub(std::mem::replace(&mut tracked.total, seen)),
            };
            tracked.track.note(now.saturating_duration_since(self.began), since, noted);
            let limit = limits.of(tracked.kind);
            if let Some(before) = tracked.track.judge(limit.map(|limit| limit.max)) {
                changed.push((before, self.of.shown_limit(tracked, limit)));
            }
        }
        drop(tracks);
        changed.into_iter().for_each(|(before, limit)| self.tell(before, limit));
    }

    fn tell(&self, before: LimitLevel, limit: pb::CapacityLimit) {
        let (name, used, max) = (limit.name.as_str(), limit.judged, limit.max);
        let what = match limit.level() {
            Level::Reached => {
                warn!(limit = name, used, max, runbook = CAPACITY_RUNBOOK, "a limit was reached");
                "reached"
            }
            Level::Near if before == LimitLevel::Clear => {
                warn!(limit = name, used, max, runbook = CAPACITY_RUNBOOK, "a limit came near");
                "near"
            }
            Level::Near | Level::Clear => {
                info!(limit = name, used, max, "a limit is further away again");
                "eased"
            }
        };
        let now = self.of.registry.view().connectivity().now();
        let data = pb::EventData { limit: Some(limit), ..pb::EventData::default() };
        self.notices.tell(now, TOPIC.name, what, data);
    }

    /// All limits, as answers show them.
    pub(crate) fn shown(&self) -> Vec<pb::CapacityLimit> {
        let (limits, tracks) = (self.of.limits.get(), self.tracks.lock());
        tracks.all.iter().map(|tracked| self.of.shown_limit(tracked, limits.of(tracked.kind))).collect()
    }

    /// Time for which the uses were watched, in milliseconds, an hour at most.
    pub(crate) fn watched_ms(&self) -> u64 {
        whole_ms(self.began.elapsed().min(WATCHED_MAX))
    }

    /// Items of readiness: what is refused, and what somebody should look at.
    pub(crate) fn needs(&self) -> Vec<pb::ReadinessItem> {
        let shown = self.shown();
        let refuses =
            |limit: &pb::CapacityLimit| limit.level() == Level::Reached && limit.mode() == Mode::Enforce;
        let words = |is_one: &dyn Fn(&pb::CapacityLimit) -> bool| {
            let words: Vec<String> = shown.iter().filter(|limit| is_one(limit)).map(in_words).collect();
            (!words.is_empty()).then(|| words.join("; "))
        };
        let near = |limit: &pb::CapacityLimit| limit.level() != Level::Clear && !refuses(limit);
        vec![item(REACHED, false, words(&refuses)), item(NEAR, false, words(&near))]
    }
}

fn in_words(limit: &pb::CapacityLimit) -> String {
    let max = limit.max.unwrap_or_default();
    format!("{} of {max} {} are used", limit.judged, limit.unit)
}

impl MonitoredUse {
    /// How many there are of a count, or came of a rate since the start.
    fn seen(&self, kind: LimitKind) -> u64 {
        let counted = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        match kind {
            LimitKind::Peers | LimitKind::Shards | LimitKind::Records | LimitKind::Bytes => {
                self.shown.of(self.registry.view(), kind).unwrap_or(0)
            }
            LimitKind::Joins => counted(&self.counts.joins),
            LimitKind::Commits => counted(&self.counts.commits),
            LimitKind::Calls => counted(&self.counts.calls),
            LimitKind::Watchers => counted(&self.counts.watchers),
            LimitKind::GossipFanout => self.gossip.as_ref().map_or(0, |gossip| gossip.fanout()),
            LimitKind::GossipMessages => self.gossip.as_ref().map_or(0, |gossip| gossip.messages()),
        }
    }

    fn shown_limit(&self, tracked: &TrackedLimit, limit: Option<SetLimit>) -> pb::CapacityLimit {
        let TrackedLimit { kind, track, .. } = tracked;
        let LimitRow { name, max_key, scope, measure, unit, counts, .. } = kind.row();
        let used = match measure {
            LimitMeasure::Count => self.seen(*kind),
            LimitMeasure::Rate(_) => track.used(),
        };
        let judged = used.max(track.judged());
        let percent = |limit: SetLimit| {
            let percent = u128::from(judged) * 100 / u128::from(limit.max.max(1));
            u32::try_from(percent).unwrap_or(u32::MAX)
        };
        let mut shown = pb::CapacityLimit {
            name: (*name).to_owned(),
            unit: (*unit).to_owned(),
            counts: (*counts).to_owned(),
            used,
            judged,
            max: limit.map(|limit| limit.max),
            percent: limit.map(percent),
            peak: track.peak().max(used),
            added: track.last_hour(),
            refused: self.counts.refused(*kind),
            setting: (*max_key).to_owned(),
            ..pb::CapacityLimit::default()
        };
        shown.set_scope(match scope {
            LimitScope::Mesh => Scope::Mesh,
            LimitScope::Node => Scope::Node,
        });
        shown.set_mode(match limit.map(|limit| limit.mode) {
            None => Mode::Off,
            Some(LimitMode::Observe) => Mode::Observe,
            Some(LimitMode::Enforce) => Mode::Enforce,
        });
        shown.set_level(match track.level() {
            LimitLevel::Clear => Level::Clear,
            LimitLevel::Near => Level::Near,
            LimitLevel::Reached => Level::Reached,
        });
        shown
    }
}
