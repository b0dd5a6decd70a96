//! The store of the model: one scope, and time in small numbers. A test runs it beside the memory
//! store, so that its arithmetic is the real one.

/// How long a session lives after its renewal arrived.
pub(crate) const TTL: u8 = 3;
/// How long after a loss of everything nobody is granted anything.
pub(crate) const QUARANTINE: u8 = TTL;

/// What a store may forget, to show that the model would find it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Forgets {
    pub quarantine: bool,
    /// Commits are made whatever token they show.
    pub fence: bool,
    /// A session is renewed although it is over.
    pub deadlines: bool,
    /// A lease passes on at once when its session is replaced.
    pub barrier: bool,
    /// Tokens count from 1 again after a loss, whatever the time.
    pub time_in_tokens: bool,
}

/// A life of a node's session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Session {
    pub instance: u8,
    /// The first instant at which it is over.
    pub deadline: u8,
    /// Until then the life keeps its lease that held the scope when it was replaced. Only one can:
    /// of the others' deadlines nothing follows, so they are not kept.
    pub barrier: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    /// Which life of which node's session, over or not; `None`: released.
    pub holder: Option<(usize, u8)>,
    pub token: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Store<const N: usize> {
    pub now: u8,
    pub epoch: u8,
    pub quarantine_until: u8,
    pub sessions: [Session; N],
    pub lease: Lease,
}

impl<const N: usize> Store<N> {
    pub(crate) fn new(now: u8) -> Self {
        let (sessions, lease) = ([Session::default(); N], Lease::default());
        Self { now, epoch: 1, quarantine_until: 0, sessions, lease }
    }

    pub(crate) fn is_live(&self, node: usize, instance: u8) -> bool {
        let session = self.sessions[node];
        session.instance == instance && self.now < session.deadline
    }

    /// Whether the session, in whatever life of it, lives at `now`.
    pub(crate) fn is_live_at(&self, node: usize, now: u8) -> bool {
        now < self.sessions[node].deadline
    }

    /// Begins a new life of the session, in place of one that may live. How often that can be done
    /// is not limited here.
    pub(crate) fn open(&mut self, node: usize, forgets: Forgets) -> u8 {
        let old = self.sessions[node];
        let holds = self.lease.holder == Some((node, old.instance)) && self.now < old.deadline;
        let barrier = if holds && !forgets.barrier { old.deadline } else { old.barrier };
        let instance = old.instance + 1;
        self.sessions[node] = Session { instance, deadline: self.now + TTL, barrier };
        instance
    }

    /// False: it is over.
    pub(crate) fn renew(&mut self, node: usize, epoch: u8, instance: u8, forgets: Forgets) -> bool {
        if forgets.deadlines && epoch == self.epoch && self.sessions[node].instance == instance {
            self.sessions[node].deadline = self.now + TTL;
            return true;
        }
        let lives = epoch == self.epoch && self.is_live(node, instance);
        if lives {
            self.sessions[node].deadline = self.now + TTL;
        }
        lives
    }

    /// The token, if the scope is granted or was held already.
    pub(crate) fn acquire(&mut self, node: usize, epoch: u8, instance: u8, forgets: Forgets) -> Option<u8> {
        if epoch != self.epoch || !self.is_live(node, instance) {
            return None;
        }
        // It lives, so its lease does.
        if self.lease.holder == Some((node, instance)) {
            return Some(self.lease.token);
        }
        if self.is_held() || self.now < self.quarantine_until {
            return None;
        }
        let least = if forgets.time_in_tokens { 0 } else { self.now };
        let token = (self.lease.token + 1).max(least);
        self.lease = Lease { holder: Some((node, instance)), token };
        Some(token)
    }

    pub(crate) fn release(&mut self, epoch: u8, token: u8) {
        if epoch == self.epoch && token == self.lease.token {
            self.lease.holder = None;
        }
    }

    /// Whether a commit with this token is made.
    pub(crate) fn passes_fence(&self, epoch: u8, token: u8, forgets: Forgets) -> bool {
        let live = self.lease.holder.is_some_and(|(node, instance)| self.is_live(node, instance));
        forgets.fence || (epoch == self.epoch && token == self.lease.token && live)
    }

    /// Everything is lost but the time.
    pub(crate) fn flush(&mut self, forgets: Forgets) {
        let until = if forgets.quarantine { 0 } else { self.now + QUARANTINE };
        let (now, epoch) = (self.now, self.epoch + 1);
        *self = Self { epoch, quarantine_until: until, ..Self::new(now) };
    }

    fn is_held(&self) -> bool {
        let Some((node, instance)) = self.lease.holder else { return false };
        let behind = instance < self.sessions[node].instance && self.now < self.sessions[node].barrier;
        self.is_live(node, instance) || behind
    }

    /// Forgets what has no consequence any more, so that states which differ in nothing else are one.
    pub(crate) fn settle(&mut self) {
        if self.quarantine_until <= self.now {
            self.quarantine_until = 0;
        }
        for (at, session) in self.sessions.iter_mut().enumerate() {
            // A barrier is for the lease of a life that was replaced.
            let stands = self.lease.holder.is_some_and(|(node, life)| node == at && life < session.instance);
            session.deadline = if session.deadline <= self.now { 0 } else { session.deadline };
            session.barrier = if stands && self.now < session.barrier { session.barrier } else { 0 };
        }
    }
}
