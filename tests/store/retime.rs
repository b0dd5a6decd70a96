//! What becomes of a store whose time jumps: forward with the wall clock, and back by an operator's word.

use std::time::Duration;

use omnirelay_core::time::Millis;
use omnirelay_store::embedded::EmbeddedOptions;
use omnirelay_store::{
    ClockReset, Commit, CommitError, CommitOutcome, EmbeddedStore, Epoch, Group, GroupId, LeaseOp,
    ManualClock, MemoryStore, OpenGroup, OpenedGroup, Precondition, Pulse, RenewalGrace, ResetClock,
    ResetClockError, Store, StoreError,
};

use crate::harness::{BEGIN, Harness as _, epoch, now};
use crate::redis::Redis;

const HOURS_30: Duration = Duration::from_secs(30 * 3600);
const TTL: Duration = Duration::from_secs(8);

async fn open(store: &dyn Store, id: &str) -> Group {
    let open = OpenGroup {
        epoch: epoch(store).await,
        id: GroupId(id.to_owned()),
        ttl: TTL,
        secret: format!("of {id}"),
    };
    match store.open_group(open).await.unwrap() {
        OpenedGroup::Open(group) => group,
        OpenedGroup::Held { until } => panic!("held until {until:?}"),
    }
}

async fn acquire(store: &dyn Store, holder: &Group) -> Result<u64, CommitError> {
    acquire_scope(store, holder, "s").await
}

async fn acquire_scope(store: &dyn Store, holder: &Group, scope: &str) -> Result<u64, CommitError> {
    let lease = LeaseOp::Acquire { scope: scope.to_owned(), holder: holder.of.clone(), token_floor: 0 };
    let commit =
        Commit { epoch: epoch(store).await, leases: vec![lease], writer: "n".into(), ..Commit::default() };
    match store.commit(commit).await? {
        CommitOutcome::Done(_) | CommitOutcome::Replayed { .. } => {
            let leases = store.leases().await.unwrap().leases;
            Ok(leases.iter().find(|lease| lease.scope == scope).unwrap().token)
        }
    }
}

async fn renew(store: &dyn Store, group: &Group) -> Option<Millis> {
    let epoch = Some(epoch(store).await);
    let pulse = Pulse { epoch, renew: vec![group.of.clone()], grace: TTL, ..Pulse::default() };
    store.pulse(pulse).await.unwrap().renewed[0]
}

/// Time follows the wall clock forward, and what slept with it is there for one TTL from waking.
async fn what_slept_has_time_again(store: &dyn Store, clock: &ManualClock) {
    let (led, other) = (open(store, "a").await, open(store, "b").await);
    let token = acquire(store, &led).await.unwrap();
    renew(store, &led).await.unwrap();
    let asleep_at = now(store).await;
    clock.set_wall_ahead(HOURS_30.as_millis() as i64);
    assert_eq!(now(store).await, asleep_at.after(HOURS_30), "the wall clock is followed");
    assert!(acquire(store, &other).await.is_err(), "its leader has had no time to renew");
    let over = Precondition::GroupOver(led.of.clone());
    let judged = Commit { epoch: epoch(store).await, preconditions: vec![over], ..Commit::default() };
    assert!(matches!(store.commit(judged).await, Err(CommitError::GroupLive { .. })));
    clock.advance(TTL - Duration::from_millis(1));
    let until = renew(store, &led).await.expect("it lives for one TTL from waking");
    assert_eq!(until, now(store).await.after(TTL));
    assert_eq!(acquire(store, &led).await.unwrap(), token, "what it led is its own");
    // Who does not come back is gone then.
    clock.advance(Duration::from_millis(1));
    assert_eq!(renew(store, &other).await, None);
}

#[tokio::test]
async fn a_memory_store_follows_the_wall_clock() {
    let clock = ManualClock::at(BEGIN);
    what_slept_has_time_again(&MemoryStore::new(clock.clone()), &clock).await;
}

#[tokio::test]
async fn an_embedded_store_follows_the_wall_clock() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(BEGIN));
    let store = EmbeddedStore::open_with(dir.path(), clock.clone(), EmbeddedOptions::default()).unwrap();
    what_slept_has_time_again(&store, &clock).await;
}

#[tokio::test]
async fn a_small_step_of_the_wall_clock_is_not_followed_nor_one_back() {
    let clock = ManualClock::at(BEGIN);
    let store = MemoryStore::new(clock.clone());
    let group = open(&store, "a").await;
    for ahead in [999, -5_000_000] {
        clock.set_wall_ahead(ahead);
        assert_eq!(now(&store).await, BEGIN, "{ahead}");
    }
    clock.advance(TTL);
    assert_eq!(renew(&store, &group).await, None, "nobody is spared");
}

async fn reset(store: &dyn Store, epoch: Epoch, wall: Millis) -> Result<ClockReset, ResetClockError> {
    store.reset_clock(ResetClock { epoch, wall, dry_run: false }).await
}

/// Time that is ahead for good comes back in a new epoch, in which nothing is lost and no token falls. `wall` is what the
/// clocks show, and `quarantine` how long nobody is granted anything.
async fn time_is_brought_back(store: &dyn Store, wall: Millis, quarantine: Duration) {
    let near = |one: Millis, other: Millis| one.since(other).max(other.since(one)) < Duration::from_secs(20);
    let (led, other) = (open(store, "a").await, open(store, "b").await);
    let token = acquire(store, &led).await.unwrap();
    renew(store, &led).await.unwrap();
    let (before, ahead) = (epoch(store).await, now(store).await);
    assert!(near(ahead, wall.after(HOURS_30)), "{ahead:?} and {wall:?}");
    let refused = reset(store, Epoch(before.0 + 1), wall).await;
    assert!(matches!(refused, Err(ResetClockError::Store(StoreError::EpochChanged { .. }))), "{refused:?}");
    let refused = reset(store, before, wall.after(HOURS_30)).await;
    assert!(
        matches!(refused, Err(ResetClockError::ClocksDiffer { store }) if near(store, wall)),
        "{refused:?}"
    );
    let dry = store.reset_clock(ResetClock { epoch: before, wall, dry_run: true }).await.unwrap();
    assert!(dry.epoch == before && near(dry.now, wall) && near(now(store).await, ahead), "{dry:?}");

    let done = reset(store, before, wall).await.unwrap();
    assert!(done.epoch > before && near(done.before, ahead) && near(done.now, wall), "{done:?}");
    assert!(near(now(store).await, wall) && epoch(store).await == done.epoch);
    let beat = store.pulse(Pulse::default()).await.unwrap();
    assert!(near(beat.quarantine_until, wall.after(quarantine)), "{beat:?}");
    assert!(beat.grace.is_none_or(|RenewalGrace { until, .. }| near(until, wall.after(TTL))), "{beat:?}");
    let of_led = beat.moved.iter().find(|group| group.of == led.of).expect("all are reported");
    assert!(near(of_led.deadline, wall.after(TTL)) && near(of_led.renewed_at, wall), "{of_led:?}");
    // An answer of before is void, and repeating the order does nothing.
    assert!(matches!(
        reset(store, before, wall).await,
        Err(ResetClockError::Store(StoreError::EpochChanged { current })) if current == done.epoch
    ));
    let again = reset(store, done.epoch, wall).await;
    assert!(matches!(again, Err(ResetClockError::NotAhead)), "{again:?}");
    // Its owner goes on, and whoever follows it gets a greater token, although it is earlier.
    assert!(renew(store, &led).await.is_some());
    store.close_group(done.epoch, led.of.clone()).await.unwrap();
    let granted = acquire(store, &other).await;
    assert_eq!(granted.is_ok(), quarantine.is_zero(), "{granted:?} in the quarantine");
    assert!(granted.is_err() || granted.is_ok_and(|next| next > token), "tokens do not fall");
    if quarantine.is_zero() {
        let first = acquire_scope(store, &other, "first").await.unwrap();
        assert!(first > ahead.0, "{first}: nor do they where a lease was forgotten by {ahead:?}");
    }
}

#[tokio::test]
async fn the_time_of_a_memory_store_is_brought_back() {
    let clock = ManualClock::at(BEGIN);
    let store = MemoryStore::new(clock.clone());
    clock.set_wall_ahead(HOURS_30.as_millis() as i64);
    now(&store).await;
    clock.set_wall_ahead(0);
    time_is_brought_back(&store, BEGIN, TTL).await;
    clock.advance(TTL);
    let next = open(&store, "c").await;
    let token = acquire(&store, &next).await.unwrap();
    assert!(token > BEGIN.after(HOURS_30).0, "tokens do not fall: {token}");
    let first = acquire_scope(&store, &next, "first").await.unwrap();
    assert!(first > BEGIN.after(HOURS_30).0, "nor where a lease was forgotten: {first}");
}

#[tokio::test]
async fn the_time_of_an_embedded_store_is_brought_back_for_good() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), ManualClock::at(BEGIN.after(HOURS_30)));
    let open_at =
        |clock: &ManualClock| EmbeddedStore::open_with(dir.path(), clock.clone(), EmbeddedOptions::default());
    // It was started once with its clock ahead, and goes on from there when that is right again.
    let store = open_at(&clock).unwrap();
    open(&store, "a").await;
    clock.set_wall_ahead(-(HOURS_30.as_millis() as i64));
    time_is_brought_back(&store, BEGIN, TTL).await;
    let (before, epoch_before) = (now(&store).await, epoch(&store).await);
    drop(store);
    let store = open_at(&ManualClock::at(BEGIN)).unwrap();
    assert!(
        now(&store).await.since(before) < TTL && before.since(now(&store).await) < TTL,
        "after a restart"
    );
    assert_eq!(epoch(&store).await, epoch_before);
    drop(store);
    let store = open_at(&ManualClock::at(BEGIN.after(TTL * 3))).unwrap();
    let group = open(&store, "c").await;
    let first = acquire_scope(&store, &group, "first").await.unwrap();
    assert!(first > BEGIN.after(HOURS_30).0, "no token is below one of a lease that was forgotten: {first}");
}

#[tokio::test]
async fn the_time_of_a_redis_store_is_brought_back_for_all_its_users() {
    let mut mesh = Redis::standalone_mesh();
    let store = mesh.store();
    let other = mesh.another();
    let wall = now(store.as_ref()).await;
    mesh.advance(HOURS_30).await;
    now(other.as_ref()).await;
    // Its quarantine is that of the configuration, which is none here.
    time_is_brought_back(store.as_ref(), wall, Duration::ZERO).await;
    let found = loop {
        match other.pulse(Pulse::default()).await {
            Ok(beat) => break beat,
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(found.epoch, epoch(store.as_ref()).await);
}
