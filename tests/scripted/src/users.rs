//! Credentials that nodes have of their own, as a store knows them that is no server.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use omnirelay_store::{ExpelOutcome, ReadmitOutcome, RightsSet, StoreCredentials, WritableKinds};

/// The SHA-256 of passwords by node.
pub type Passwords = BTreeMap<String, [u8; 32]>;
/// What somebody else does to them.
type Deed = Box<dyn FnOnce(&mut Passwords) + Send>;

/// The nodes that have credentials of their own.
pub struct Users {
    passwords: Mutex<Passwords>,
    rights: Mutex<BTreeMap<String, WritableKinds>>,
    hash: fn(&[u8]) -> [u8; 32],
    given: AtomicUsize,
    asked: AtomicUsize,
    meanwhile: Mutex<VecDeque<(Moment, Deed)>>,
}

/// When somebody else is faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Once a node was given credentials.
    Admitted,
    /// Once it was seen that a node has none that are to be given back.
    Missed,
}

impl Users {
    /// None yet; passwords are known by what `hash` makes of them.
    pub fn hashed_by(hash: fn(&[u8]) -> [u8; 32]) -> Self {
        let (given, asked) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self {
            passwords: Mutex::default(),
            rights: Mutex::default(),
            hash,
            given,
            asked,
            meanwhile: Mutex::default(),
        }
    }

    /// Has something happen at the next such moment that has nothing else to happen.
    pub fn at(&self, moment: Moment, deed: impl FnOnce(&mut Passwords) + Send + 'static) {
        self.meanwhile.lock().unwrap().push_back((moment, Box::new(deed)));
    }

    /// What the passwords are by now.
    pub fn passwords(&self) -> Passwords {
        self.passwords.lock().unwrap().clone()
    }

    /// The password of a node that has one.
    pub fn password_of(&self, who: &str) -> [u8; 32] {
        self.passwords()[who]
    }

    /// What a node may write.
    pub fn rights_of(&self, who: &str) -> Option<WritableKinds> {
        self.rights.lock().unwrap().get(who).cloned()
    }

    /// Has a node write what an earlier version has let it write.
    pub fn let_write(&self, who: &str, writable: WritableKinds) {
        self.rights.lock().unwrap().insert(who.to_owned(), writable);
    }

    /// As the server after a restart, which has kept none.
    pub fn forget_all(&self) {
        self.passwords.lock().unwrap().clear();
    }

    /// How often it was asked whether credentials can be given.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn may_admit(&self) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        true
    }

    pub(crate) fn set_rights(&self, who: &str, writable: &WritableKinds) -> RightsSet {
        if !self.passwords.lock().unwrap().contains_key(who) {
            return RightsSet::Absent;
        }
        let before = self.rights.lock().unwrap().insert(who.to_owned(), writable.clone());
        if before.as_ref() == Some(writable) { RightsSet::Same } else { RightsSet::Changed }
    }

    pub(crate) fn admit(&self, who: &str, writable: &WritableKinds) -> StoreCredentials {
        self.let_write(who, writable.clone());
        let password = format!("password {}", self.given.fetch_add(1, Ordering::SeqCst));
        let hash = (self.hash)(password.as_bytes());
        self.passwords.lock().unwrap().insert(who.to_owned(), hash);
        self.pass(Moment::Admitted);
        StoreCredentials { username: who.to_owned(), password }
    }

    pub(crate) fn readmit(&self, who: &str, hash: &[u8; 32], writable: &WritableKinds) -> ReadmitOutcome {
        if self.passwords.lock().unwrap().contains_key(who) {
            return ReadmitOutcome::Known;
        }
        self.pass(Moment::Missed);
        self.passwords.lock().unwrap().insert(who.to_owned(), *hash);
        self.let_write(who, writable.clone());
        ReadmitOutcome::Made
    }

    pub(crate) fn expel(&self, who: &str) -> ExpelOutcome {
        match self.passwords.lock().unwrap().remove(who) {
            Some(_) => ExpelOutcome::Deleted,
            None => ExpelOutcome::Absent,
        }
    }

    pub(crate) fn password_hash(&self, who: &str) -> Option<[u8; 32]> {
        self.passwords.lock().unwrap().get(who).copied()
    }

    fn pass(&self, moment: Moment) {
        let mut meanwhile = self.meanwhile.lock().unwrap();
        let is_next = meanwhile.front().is_some_and(|(at, _)| *at == moment);
        let next = if is_next { meanwhile.pop_front() } else { None };
        drop(meanwhile);
        if let Some((_, deed)) = next {
            deed(&mut self.passwords.lock().unwrap());
        }
    }
}
