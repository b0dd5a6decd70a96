//! The nodes of the model, and what is on its way between them and the store.

use super::store::TTL;

/// What a candidate may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    Open,
    Renew,
    Acquire,
    Release,
}

/// What a candidate knows of itself when it decides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// It trusts its session.
    pub trusts: bool,
    /// It was granted the scope in this session.
    pub holds: bool,
}

/// What a candidate may do, what it would rather do first. It is no decision of the core's, which is
/// not called here: the model tries each of these at each instant, so that a candidate is covered
/// which makes any choice among them. That the core chooses among them is for `deciding` to show.
pub(crate) fn decide(view: View) -> &'static [Act] {
    match (view.trusts, view.holds) {
        (false, _) => &[Act::Open],
        (true, false) => &[Act::Acquire, Act::Renew],
        (true, true) => &[Act::Renew, Act::Release],
    }
}

/// A session as its node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Trust {
    pub epoch: u8,
    pub instance: u8,
    /// By the clock of the nodes. The first instant at which it is trusted no more.
    pub until: u8,
}

/// What is on its way to the store. One at a time for each node: a delay is time that passes
/// meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Message {
    Open { asked: u8 },
    Renew { asked: u8, epoch: u8, instance: u8 },
    Acquire { epoch: u8, instance: u8 },
    Release { epoch: u8, token: u8 },
}

/// What the store says to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Opened {
        asked: u8,
        epoch: u8,
        instance: u8,
    },
    Renewed {
        asked: u8,
        instance: u8,
    },
    Granted {
        instance: u8,
        token: u8,
    },
    /// The session is over, or of another epoch.
    Over {
        instance: u8,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Node {
    pub trust: Option<Trust>,
    pub token: Option<u8>,
    pub message: Option<Message>,
    /// Looked whether it leads, and writes next, however long that takes: epoch and token.
    pub writing: Option<(u8, u8)>,
    pub paused: bool,
    /// It asked for a session and waits no more; the store has not heard of it yet.
    pub stray: bool,
}

impl Message {
    /// The life of a session that it is about.
    pub(crate) fn instance(&mut self) -> Option<&mut u8> {
        match self {
            Self::Renew { instance, .. } | Self::Acquire { instance, .. } => Some(instance),
            Self::Open { .. } | Self::Release { .. } => None,
        }
    }

    pub(crate) fn token(&mut self) -> Option<&mut u8> {
        match self {
            Self::Release { token, .. } => Some(token),
            Self::Open { .. } | Self::Renew { .. } | Self::Acquire { .. } => None,
        }
    }

    /// The instant before it was sent, if the answer is counted from there.
    pub(crate) fn asked(&mut self) -> Option<&mut u8> {
        match self {
            Self::Open { asked } | Self::Renew { asked, .. } => Some(asked),
            Self::Acquire { .. } | Self::Release { .. } => None,
        }
    }
}

impl Node {
    pub(crate) fn view(&self, now: u8) -> View {
        View { trusts: self.trust.is_some_and(|trust| now < trust.until), holds: self.token.is_some() }
    }

    /// The epoch and the token that it would write with.
    pub(crate) fn leads(&self, now: u8) -> Option<(u8, u8)> {
        let trust = self.trust.filter(|trust| now < trust.until)?;
        Some((trust.epoch, self.token?))
    }

    /// Does what it decided on; nothing is sent when it has nothing to do it with.
    pub(crate) fn send(&mut self, act: Act, now: u8) -> Option<()> {
        let message = match act {
            Act::Open => Message::Open { asked: now },
            Act::Renew => {
                let Trust { epoch, instance, .. } = self.trust?;
                Message::Renew { asked: now, epoch, instance }
            }
            Act::Acquire => {
                let Trust { epoch, instance, .. } = self.trust?;
                Message::Acquire { epoch, instance }
            }
            // It leads no more before it says so.
            Act::Release => Message::Release { epoch: self.trust?.epoch, token: self.token.take()? },
        };
        self.message = Some(message);
        Some(())
    }

    pub(crate) fn hear(&mut self, answer: Answer, margin: i8) {
        let until = |asked: u8| (asked + TTL).saturating_add_signed(-margin);
        match answer {
            Answer::Opened { asked, epoch, instance } => {
                self.trust = Some(Trust { epoch, instance, until: until(asked) });
                self.token = None;
            }
            Answer::Renewed { asked, instance } => {
                if let Some(trust) = self.trust.as_mut().filter(|trust| trust.instance == instance) {
                    trust.until = trust.until.max(until(asked));
                }
            }
            Answer::Granted { instance, token } => {
                let same = self.trust.is_some_and(|trust| trust.instance == instance);
                self.token = if same { Some(token) } else { self.token };
            }
            Answer::Over { instance } => {
                if self.trust.is_some_and(|trust| trust.instance == instance) {
                    (self.trust, self.token) = (None, None);
                }
            }
        }
    }

    /// Forgets a session that it trusts no more, unless a renewal is under way that would be heard in
    /// time, and how long ago it asked for what it could not trust any more.
    pub(crate) fn settle(&mut self, now: u8, margin: i8) {
        let oldest = now.saturating_add_signed(margin) - TTL;
        if !self.view(now).trusts {
            let renews = matches!(self.message, Some(Message::Renew { asked, .. }) if asked > oldest);
            self.trust = self.trust.filter(|_| renews).map(|trust| Trust { until: 0, ..trust });
            self.token = self.token.filter(|_| renews);
        }
        if let Some(asked) = self.message.as_mut().and_then(Message::asked) {
            *asked = (*asked).max(oldest);
        }
    }
}
