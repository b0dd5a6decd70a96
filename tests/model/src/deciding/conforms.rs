//! Commits of the search and the same ones of the memory store, beside each other on random calls.
//!
//! How the store answers one request at a time is compared elsewhere; here it is what a fence, a
//! condition, a release and a grant come to when they are of one commit.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::{
    Commit as RealCommit, CommitError, Epoch, GroupId, GroupRef, LeaseFence, LeaseOp, ManualClock,
    MemoryStore, OpenGroup, OpenedGroup, Precondition, RecordId, RecordKind, Store as _, Version, Write,
};

use super::world::{Act, Commit, Refused, World};
use super::{FORGETS, NODES};
use crate::chance::Chance;
use crate::settle::PRESENT;
use crate::store::{QUARANTINE, TTL};

const SCOPE: &str = "x";
/// That of a store which began then.
const EPOCH: Epoch = Epoch(PRESENT as u64);

/// An instant of the search is a millisecond.
struct Pair {
    model: World,
    clock: ManualClock,
    real: MemoryStore,
}

impl Pair {
    fn new() -> Self {
        let clock = ManualClock::at(Millis(u64::from(PRESENT)));
        Self { model: World::new(), real: MemoryStore::new(clock.clone()), clock }
    }

    fn quarantine(&mut self) {
        self.model.store.quarantine_until = PRESENT + QUARANTINE;
        self.real.quarantine(Duration::from_millis(u64::from(QUARANTINE)));
    }

    fn pass(&mut self) {
        self.model.store.now += 1;
        self.clock.advance(Duration::from_millis(1));
    }

    async fn open(&mut self, node: usize) {
        let ttl = Duration::from_millis(u64::from(TTL));
        let id = group(node, 0).id;
        let open = OpenGroup { epoch: EPOCH, id, ttl, secret: "secret".into() };
        // There is a limit to the lives that were replaced, which the search leaves out.
        if let OpenedGroup::Open(opened) = self.real.open_group(open).await.unwrap() {
            assert_eq!(opened.of.instance, u64::from(self.model.store.open(node, FORGETS)));
        }
    }

    /// An operator writes the record.
    async fn order(&mut self) {
        let version = self.model.record.version;
        self.model.change(|_| {});
        self.real.commit(real_commit(version, put())).await.unwrap();
    }

    async fn commit(&mut self, from: usize, version: u8, act: Act) -> Result<(), Refused> {
        let real = match self.real.commit(real_of(from, version, act)).await {
            Ok(_) => Ok(()),
            Err(CommitError::Fenced { .. }) => Err(Refused::Fenced),
            Err(CommitError::Conflict { .. }) => Err(Refused::Conflict),
            Err(
                CommitError::LeaseHeld { .. } | CommitError::GroupOver(_) | CommitError::GroupLive { .. },
            ) => Err(Refused::Otherwise),
            Err(other) => panic!("{other}"),
        };
        let before = self.model;
        let made = self.model.commit(from, Commit { epoch: 1, version, act });
        assert_eq!(made, real, "{act:?} of {from} at {version} in {before:?}");
        let lease = self.real.leases().await.unwrap().leases.first().cloned();
        let (token, holder) =
            lease.map_or((0, None), |lease| (lease.token, Some(lease.holder).filter(|_| !lease.released)));
        assert_eq!(token, u64::from(self.model.store.lease.token));
        let holds = self.model.store.lease.holder.map(|(node, life)| group(node, life));
        assert_eq!(holder, holds, "{act:?}");
        made
    }
}

fn group(node: usize, life: u8) -> GroupRef {
    GroupRef { id: GroupId(format!("session:{node}")), instance: u64::from(life) }
}

fn put() -> Write {
    Write::Put {
        id: RecordId::new(RecordKind::of("led"), SCOPE),
        value: Bytes::from_static(b"v"),
        group: None,
    }
}

fn real_commit(version: u8, write: Write) -> RealCommit {
    let id = RecordId::new(RecordKind::of("led"), SCOPE);
    let same = Precondition::Version { id, version: Version(u64::from(version)) };
    RealCommit { epoch: EPOCH, preconditions: vec![same], writes: vec![write], ..RealCommit::default() }
}

/// What the daemon makes of a move.
fn real_of(from: usize, version: u8, act: Act) -> RealCommit {
    let fence = |token: u8| Some(LeaseFence { scope: SCOPE.into(), token: u64::from(token) });
    let release = |token: u8| LeaseOp::Release { scope: SCOPE.into(), token: u64::from(token) };
    let acquire = |holder| LeaseOp::Acquire { scope: SCOPE.into(), holder, token_floor: 0 };
    let over = |(node, life)| Precondition::GroupOver(group(node, life));
    let mut commit = real_commit(version, put());
    match act {
        Act::Campaign { life } => commit.leases = vec![acquire(group(from, life))],
        Act::HandOver { token, to: (node, life) } => {
            commit.fence = fence(token);
            commit.leases = vec![release(token), acquire(group(node, life))];
            commit.preconditions.push(Precondition::GroupLive(group(node, life)));
        }
        Act::StepDown { token, .. } => {
            (commit.fence, commit.leases) = (fence(token), vec![release(token)]);
        }
        Act::DropOrder { token } => commit.fence = fence(token),
        Act::Vacate { over: of } => commit.preconditions.extend(of.map(over)),
        Act::Remove { token, over: of } => {
            commit.writes = vec![Write::Delete { id: RecordId::new(RecordKind::of("led"), SCOPE) }];
            commit.preconditions.extend(of.map(over));
            commit.fence = token.and_then(fence);
            commit.leases = token.map(release).into_iter().collect();
        }
    }
    commit
}

/// A number at or a little below `newest`.
fn recent(chance: &mut Chance, newest: u8) -> u8 {
    newest.saturating_sub((chance.below(4) / 3) as u8)
}

fn any_act(chance: &mut Chance, world: &World, from: usize) -> Act {
    let token = recent(chance, world.store.lease.token);
    let other = chance.below(NODES as u64) as usize;
    let [life, others] = [from, other].map(|node| recent(chance, world.store.sessions[node].instance));
    let over = Some((other, others)).filter(|_| chance.below(2) == 0);
    match chance.below(16) {
        0..7 => Act::Campaign { life },
        7..11 => Act::HandOver { token, to: (other, others) },
        11 => Act::StepDown { token, ordered: true },
        12..14 => Act::DropOrder { token },
        14 => Act::Vacate { over },
        _ => Act::Remove { token: Some(token).filter(|_| over.is_none()), over },
    }
}

#[tokio::test]
async fn a_commit_is_made_when_the_memory_store_makes_it() {
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let (mut pair, mut chance) = (Pair::new(), Chance::of(seed));
        if seed % 2 == 0 {
            pair.quarantine();
        }
        for _ in 0..60 {
            let node = chance.below(NODES as u64) as usize;
            match chance.below(8) {
                0..2 => pair.pass(),
                2..4 => pair.open(node).await,
                4 => pair.order().await,
                _ => {
                    let version = recent(&mut chance, pair.model.record.version);
                    let act = any_act(&mut chance, &pair.model, node);
                    let made = pair.commit(node, version, act).await;
                    let name = format!("{act:?}");
                    let name = name.split(' ').next().unwrap().to_owned();
                    seen.insert((name, format!("{made:?}")));
                }
            }
            if pair.model.record.removed {
                break;
            }
        }
    }
    for name in ["Campaign", "HandOver", "StepDown", "DropOrder", "Vacate", "Remove"] {
        let outcomes = seen.iter().filter(|(of, _)| of == name).count();
        assert!(outcomes > 2, "{name}: {seen:?}");
    }
}
