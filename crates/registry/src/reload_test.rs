//! Sessions whose time to live, and whose pace, change while they are held; in paused time.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_host::live::LiveSource;
use omnirelay_scripted::{Faulty, Ill, Method, memory};
use omnirelay_store::{Group, GroupId, OpenedGroup, Pulse};
use tokio::time::sleep;

use super::heartbeat::{HeartbeatPace, beat_heart};
use super::lab::{self, LabRegistry};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Time to live of a session, and how often it is renewed.
const SHORT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(500));
const LONG: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(20));

/// A daemon with a session.
struct Holder {
    set: Arc<LiveSource<(Duration, Duration)>>,
    path: Arc<Faulty>,
    followed: LabRegistry,
    opened: Group,
}

impl Holder {
    async fn begin(set: (Duration, Duration)) -> Self {
        let (set, path) = (LiveSource::new(set), Faulty::over(memory()));
        let mut followed = LabRegistry::new(lab::registry("a", path.clone(), &[])).await;
        let heart = followed.registry.clone();
        let pace =
            set.live(|(grace, renew_every)| HeartbeatPace { renew_every: *renew_every, grace: *grace });
        followed.tasks.spawn(async move { beat_heart(&heart, pace, |_| {}).await });
        let id = GroupId("session/a".to_owned());
        let opened = followed.registry.open_session(id, set.live(|(ttl, _)| *ttl), "a").await.unwrap();
        let OpenedGroup::Open(opened) = opened else { panic!("it is held") };
        Self { set, path, followed, opened }
    }

    /// The session as the store has it, with what is left of it there.
    async fn stored(&self) -> (Group, Duration) {
        let store = self.followed.registry.store();
        let beat = store.pulse(Pulse { moved_since: Millis(0), ..Pulse::default() }).await.unwrap();
        let group = beat.moved.into_iter().find(|group| group.of.id == self.opened.of.id).unwrap();
        let left = group.deadline.since(beat.now);
        (group, left)
    }

    /// Whether the session that was opened at first is one that this daemon may rely on, as it looks all the time.
    fn is_held(&self) -> bool {
        let epoch = self.followed.registry.view().head().epoch;
        let held = self.followed.registry.held_groups().valid(&self.opened.of.id, epoch);
        held.is_some_and(|(of, _)| of == self.opened.of)
    }

    async fn hold_for(&self, time: Duration) {
        for _ in 0..time.as_millis() / 10 {
            sleep(MS * 10).await;
            assert!(self.is_held());
        }
    }

    fn renewals(&self) -> u64 {
        self.followed.registry.held_groups().renewals()
    }
}

#[tokio::test(start_paused = true)]
async fn a_longer_time_to_live_is_told_first_and_then_relied_on() {
    let holder = Holder::begin(SHORT).await;
    holder.hold_for(SECOND).await;
    // Whatever becomes of the next calls.
    for ill in [Ill::Fails, Ill::Hangs, Ill::LosesReplies] {
        holder.set.replace(LONG);
        holder.path.fall_ill([Method::Pulse], ill);
        holder.hold_for(MS * 600).await;
        holder.path.recover();
        holder.hold_for(SECOND).await;
        let (group, left) = holder.stored().await;
        assert_eq!((group.of, group.ttl), (holder.opened.of.clone(), LONG.0), "{ill:?}");
        assert!(left > SECOND * 55, "{ill:?}");
        let before = holder.renewals();
        holder.hold_for(SECOND * 100).await;
        assert!((4..=6).contains(&(holder.renewals() - before)), "{ill:?}");
        holder.set.replace(SHORT);
        holder.hold_for(SECOND * 70).await;
        assert!(holder.stored().await.1 <= SHORT.0, "{ill:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_shorter_time_to_live_renewals_come_sooner_and_what_was_promised_is_kept() {
    let holder = Holder::begin(LONG).await;
    holder.hold_for(SECOND).await;
    let promised = holder.stored().await.0.deadline;
    let before = holder.renewals();
    holder.set.replace(SHORT);
    holder.hold_for(SECOND * 10).await;
    assert!((19..=22).contains(&(holder.renewals() - before)));
    let (group, _) = holder.stored().await;
    assert_eq!((group.of, group.ttl, group.deadline), (holder.opened.of.clone(), SHORT.0, promised));
    holder.hold_for(SECOND * 60).await;
    assert!(holder.stored().await.1 <= SHORT.0);
    // It is as short for its holder as for the store.
    holder.path.fall_ill([Method::Pulse], Ill::Hangs);
    sleep(SHORT.0).await;
    assert!(!holder.is_held());
}

/// A time that the store has taken over and nobody was told of is not forgotten.
#[tokio::test(start_paused = true)]
async fn a_time_that_was_set_and_taken_back_at_once_is_told_again() {
    let holder = Holder::begin(LONG).await;
    holder.hold_for(SECOND).await;
    holder.path.fall_ill([Method::Pulse], Ill::LosesReplies);
    holder.set.replace(SHORT);
    holder.hold_for(SECOND).await;
    holder.set.replace(LONG);
    holder.path.recover();
    holder.hold_for(SECOND * 2).await;
    assert_eq!(holder.stored().await.0.ttl, LONG.0);
    holder.hold_for(SECOND * 90).await;
}

/// Nobody needs time to be heard after a silence that is short beside the time to live.
#[tokio::test(start_paused = true)]
async fn a_grace_is_judged_by_what_is_set_by_then() {
    let holder = Holder::begin(SHORT).await;
    for (ttl, spares) in [(SHORT.0 * 10, false), (SHORT.0 * 2, true)] {
        holder.set.replace((ttl, SHORT.1));
        holder.hold_for(SHORT.0 * 12).await;
        holder.path.fall_ill([Method::Pulse], Ill::Fails);
        holder.hold_for(SECOND * 3).await;
        holder.path.recover();
        holder.hold_for(SECOND).await;
        assert_eq!(holder.followed.registry.view().spares_all(), spares, "{ttl:?}");
    }
}
