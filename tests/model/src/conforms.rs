//! The store of the model and the memory store, step by step beside each other on random calls.

use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::time::Millis;
use omnirelay_store::{
    Commit, CommitError, CommitOutcome, Epoch, GroupId, GroupRef, LeaseFence, LeaseOp, ManualClock,
    MemoryStore, OpenGroup, OpenedGroup, Pulse, REPLACED_MAX, RecordId, RecordKind, Store as _, StoreError,
    Write,
};

use super::store::{Forgets, QUARANTINE, Store, TTL};
use crate::chance::Chance;

const NODES: usize = 2;
const SCOPE: &str = "x";
const FORGETS: Forgets =
    Forgets { quarantine: false, fence: false, deadlines: false, barrier: false, time_in_tokens: false };

/// An instant of the model is a millisecond.
struct Pair {
    model: Store<NODES>,
    clock: ManualClock,
    real: MemoryStore,
    /// The epoch of the memory store that stands for each of the model's, from 1.
    epochs: Vec<Epoch>,
    /// The deadlines of each session's lives that were replaced. The model leaves out that there
    /// is a limit to these.
    replaced: [Vec<u8>; NODES],
    /// How often an opening was refused for it.
    refused: usize,
}

impl Pair {
    async fn new() -> Self {
        let clock = ManualClock::at(Millis(1));
        let real = MemoryStore::new(clock.clone());
        let epochs = vec![Epoch(0), Epoch(1)];
        Self { model: Store::new(1), clock, real, epochs, replaced: Default::default(), refused: 0 }
    }

    fn pass(&mut self) {
        self.model.now += 1;
        self.clock.advance(Duration::from_millis(1));
    }

    fn flush(&mut self) {
        // Another epoch is another time.
        self.pass();
        self.model.flush(FORGETS);
        self.real = MemoryStore::new(self.clock.clone());
        self.real.quarantine(ms(QUARANTINE));
        self.epochs.push(Epoch(u64::from(self.model.now)));
        self.replaced = Default::default();
    }

    async fn open(&mut self, node: usize) {
        let (epoch, id) = (self.epochs[usize::from(self.model.epoch)], id(node));
        let open = OpenGroup { epoch, id, ttl: ms(TTL), secret: "secret".into() };
        let (now, deadline) = (self.model.now, self.model.sessions[node].deadline);
        self.replaced[node].retain(|deadline| now < *deadline);
        let is_full = self.replaced[node].len() == REPLACED_MAX && now < deadline;
        let first = self.replaced[node].iter().min().filter(|_| is_full);
        let group = match (self.real.open_group(open).await.unwrap(), first) {
            (OpenedGroup::Open(group), None) => group,
            (OpenedGroup::Held { until }, Some(first)) if until.0 == u64::from(*first) => {
                self.refused += 1;
                return;
            }
            (opened, first) => panic!("{opened:?} until {first:?}"),
        };
        if now < deadline {
            self.replaced[node].push(deadline);
        }
        let instance = self.model.open(node, FORGETS);
        let deadline = u64::from(self.model.sessions[node].deadline);
        assert_eq!((group.of.instance, group.deadline.0), (u64::from(instance), deadline));
    }

    async fn renew(&mut self, node: usize, epoch: u8, instance: u8) {
        let renew = vec![GroupRef { id: id(node), instance: u64::from(instance) }];
        let pulse = Pulse { epoch: Some(self.epochs[usize::from(epoch)]), renew, ..Pulse::default() };
        let renewed = match self.real.pulse(pulse).await {
            Ok(beat) => beat.renewed[0].map(|deadline| deadline.0),
            Err(StoreError::EpochChanged { .. }) => None,
            Err(other) => panic!("{other}"),
        };
        let lives = self.model.renew(node, epoch, instance, FORGETS);
        assert_eq!(renewed, lives.then(|| u64::from(self.model.sessions[node].deadline)));
    }

    async fn acquire(&mut self, node: usize, epoch: u8, instance: u8) {
        let holder = GroupRef { id: id(node), instance: u64::from(instance) };
        let leases = vec![LeaseOp::Acquire { scope: SCOPE.into(), holder, token_floor: 0 }];
        let granted = match self.commit(epoch, Commit { leases, ..Commit::default() }).await {
            Ok(_) => Some(self.token().await),
            Err(CommitError::LeaseHeld { .. } | CommitError::GroupOver(_)) => None,
            Err(CommitError::Store(StoreError::EpochChanged { .. })) => None,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(granted, self.model.acquire(node, epoch, instance, FORGETS).map(u64::from));
    }

    async fn release(&mut self, epoch: u8, token: u8) {
        let leases = vec![LeaseOp::Release { scope: SCOPE.into(), token: u64::from(token) }];
        match self.commit(epoch, Commit { leases, ..Commit::default() }).await {
            Ok(_) | Err(CommitError::Store(StoreError::EpochChanged { .. })) => {}
            Err(other) => panic!("{other}"),
        }
        self.model.release(epoch, token);
    }

    async fn write(&mut self, epoch: u8, token: u8) {
        let id = RecordId::new(RecordKind::of("led"), "x");
        let writes = vec![Write::Put { id, value: Bytes::from_static(b"v"), group: None }];
        let fence = Some(LeaseFence { scope: SCOPE.into(), token: u64::from(token) });
        let accepted = match self.commit(epoch, Commit { writes, fence, ..Commit::default() }).await {
            Ok(_) => true,
            Err(CommitError::Fenced { .. } | CommitError::Store(StoreError::EpochChanged { .. })) => false,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(accepted, self.model.passes_fence(epoch, token, FORGETS));
    }

    async fn commit(&self, epoch: u8, commit: Commit) -> Result<CommitOutcome, CommitError> {
        self.real.commit(Commit { epoch: self.epochs[usize::from(epoch)], ..commit }).await
    }

    async fn token(&self) -> u64 {
        self.real.leases().await.unwrap().leases.first().map_or(0, |lease| lease.token)
    }
}

fn ms(instants: u8) -> Duration {
    Duration::from_millis(u64::from(instants))
}

fn id(node: usize) -> GroupId {
    GroupId(format!("session:{node}"))
}

/// A number at or a little below `newest`, at least 1.
fn recent(chance: &mut Chance, newest: u8) -> u8 {
    newest.saturating_sub(chance.below(2) as u8).max(1)
}

async fn walk(seed: u64, settles: bool) -> usize {
    let (mut pair, mut chance) = (Pair::new().await, Chance::of(seed));
    for _ in 0..120 {
        let node = chance.below(NODES as u64) as usize;
        let (instance, epoch) = (pair.model.sessions[node].instance, pair.model.epoch);
        let (instance, epoch) = (recent(&mut chance, instance), recent(&mut chance, epoch));
        let token = recent(&mut chance, pair.model.lease.token);
        match chance.below(24) {
            0..6 => pair.pass(),
            6 => pair.open(node).await,
            7 => {
                for _ in 0..[1, 1, REPLACED_MAX + 2][chance.below(3) as usize] {
                    pair.open(node).await;
                }
            }
            8..12 => pair.renew(node, epoch, instance).await,
            12..18 => pair.acquire(node, epoch, instance).await,
            18 => pair.release(epoch, token).await,
            19..23 => pair.write(epoch, token).await,
            _ => pair.flush(),
        }
        if settles {
            pair.model.settle();
        }
        assert_eq!(pair.token().await, u64::from(pair.model.lease.token));
    }
    pair.refused
}

#[tokio::test]
async fn the_model_answers_as_the_memory_store() {
    let mut refused = 0;
    for seed in 0..300 {
        refused += walk(seed, seed % 2 == 0).await;
    }
    assert!(refused > 0, "the walks come to the limit");
}
