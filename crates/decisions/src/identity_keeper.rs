//! Identity keeper: what a node does about its own certificate, and about the authority that issues it.
//!
//! Seconds are of the Unix time, by the clock of the node's host unless something else is said.

use std::time::Duration;

use omnirelay_pki::certificate::{Certificate, GRACE};

/// How long after a failure it is tried again.
pub const RETRY_AFTER: Duration = Duration::from_secs(15);
/// How long after nobody has issued one that is valid now: what is issued in vain is remembered of the node until it ends, and it
/// has no more than so many.
pub const UNUSABLE_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// How soon it is looked again whether the node is entered in the registry.
pub const ENTERED_WITHIN: Duration = Duration::from_millis(100);
/// How long a new certificate is used at least, whatever the host's clock says of it.
const USED_AT_LEAST: Duration = Duration::from_secs(600);

/// All that a decision rests on.
#[derive(Clone, Debug)]
pub struct IdentityScene {
    pub now: i64,
    /// By the clock of the store.
    pub store_now: i64,
    /// The node is entered in the registry: before, nobody knows by what its audit records are sealed.
    pub is_entered: bool,
    /// The registry was read to its end: before, nobody knows that there is no authority.
    pub is_caught_up: bool,
    /// The node makes the authority of a mesh that has none.
    pub makes_authority: bool,
    /// The authority says who the node is, and not files.
    pub is_of_mesh: bool,
    /// `None`: the mesh has none.
    pub authority: Option<AuthorityState>,
    /// `None`: the node has none of its own, is not entered, or the mesh does not say who it is.
    pub own: Option<OwnCertificate>,
    /// Within how many seconds of a new root the node has a certificate that leads to it.
    pub move_within: i64,
    /// How long ago its certificate was renewed; `None`: not in this life.
    pub renewed_ago: Option<Duration>,
}

/// The authority of the mesh, as the node sees it.
#[derive(Clone, Debug)]
pub struct AuthorityState {
    /// The node is entered and has the secret of the issuer.
    pub can_issue: bool,
    /// First and last second of the issuer; `None`: the key of its root is elsewhere, and nobody here can have it followed.
    pub issuer: Option<(i64, i64)>,
    pub has_token_key: bool,
    /// The registry does not have all that the node knows to be revoked.
    pub has_lost_revocations: bool,
    /// Since when the newest root is trusted.
    pub root_since: i64,
}

/// The certificate that the node has.
#[derive(Clone, Debug)]
pub struct OwnCertificate {
    pub life: CertificateLife,
    pub verdict: CertificateVerdict,
    /// It is in the list of revocations.
    pub is_revoked: bool,
    /// It leads to the root that was made last.
    pub is_of_newest_root: bool,
    /// It is of the issuer that issues now: another one would be like it.
    pub is_by_newest_issuer: bool,
    /// The registry remembers no newer one that another node has issued.
    pub is_by_itself: bool,
    /// There are names by which the node is to be called that it does not have.
    pub lacks_names: bool,
}

/// Verdict on the node's certificate, judged as others do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateVerdict {
    Believed,
    /// It was revoked itself, and nothing else is wrong with it.
    Revoked,
    /// It is not believed, or does not lead to the authority of the mesh: files gave it.
    Refused,
}

/// Lifetime of a certificate: when it begins, ends, and is to be renewed.
#[derive(Clone, Copy, Debug)]
pub struct CertificateLife {
    pub not_before: i64,
    pub not_after: i64,
    /// A number that is the same for one certificate and another for the next.
    pub drawn: u8,
}

/// One thing to be done. What fails is tried again after [`RETRY_AFTER`]; after [`UNUSABLE_RETRY_AFTER`] where what was issued is not
/// valid now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityStep {
    MakeAuthority,
    /// Give back to the registry what it has lost.
    RestoreRevocations,
    RotateIssuer,
    /// Give the authority a key of tokens: it was made by a version that had none.
    MakeTokenKey,
    /// Say which names the certificate lacks, as renewals keep those that it has.
    SayLackingNames,
    /// Issue itself another certificate.
    Issue,
    /// Have another daemon renew the one that it shows.
    Renew,
    /// Have another daemon issue one, on the strength of one that has ended.
    Rejoin,
}

/// Decision about a node's identity: the steps in their order, and when to decide again although nothing has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityDecision {
    pub steps: Vec<IdentityStep>,
    /// `None`: never, or what comes of the last step says when.
    pub again: Option<Duration>,
}

impl CertificateLife {
    pub fn of(leaf: &Certificate) -> Self {
        let drawn = leaf.serial.as_bytes().last().copied().unwrap_or(0);
        Self { not_before: leaf.not_before, not_after: leaf.not_after, drawn }
    }

    /// Time when the certificate is to be renewed: at two thirds of its life, and up to a tenth of it later, so that
    /// nodes that began together do not all come at once.
    pub fn renewal(&self) -> i64 {
        let tenth = (self.not_after - self.not_before) / 10;
        two_thirds(self.not_before, self.not_after) + tenth * i64::from(self.drawn) / 255
    }

    /// Whether it should have been renewed long ago: a tenth of its life, when it was tried many times.
    pub fn is_behind(&self, now: i64) -> bool {
        now > self.renewal() + (self.not_after - self.not_before) / 10
    }
}

/// The second by which two thirds of a life are over, when whatever issued it is asked for another.
pub fn two_thirds(begin: i64, end: i64) -> i64 {
    begin + (end - begin) * 2 / 3
}

/// Whether an issuer with this first and last second is to be followed by another, by both of these clocks: one that jumps makes no
/// issuer that nobody believes once it is right again.
pub fn is_issuer_due((begin, end): (i64, i64), clocks: [i64; 2]) -> bool {
    clocks.into_iter().all(|now| now >= two_thirds(begin, end))
}

/// Decides what the node does next.
pub fn decide(scene: &IdentityScene) -> IdentityDecision {
    let Some(authority) = &scene.authority else {
        let is_due = scene.makes_authority && scene.is_entered && scene.is_caught_up;
        let steps = is_due.then_some(IdentityStep::MakeAuthority).into_iter().collect();
        let waits = scene.makes_authority && !scene.is_entered;
        return IdentityDecision { steps, again: waits.then_some(ENTERED_WITHIN) };
    };
    if !scene.is_entered {
        return IdentityDecision { again: Some(ENTERED_WITHIN), ..Default::default() };
    }
    let mut steps = for_authority(scene, authority);
    if !scene.is_of_mesh {
        return IdentityDecision { steps, again: Some(RETRY_AFTER) };
    }
    if scene.own.is_some() && !authority.can_issue {
        steps.push(IdentityStep::SayLackingNames);
    }
    let again = rests(scene, authority);
    steps.extend(renewal(scene, authority).filter(|_| again.is_none()));
    IdentityDecision { steps, again }
}

/// What whoever can issue does for the authority.
fn for_authority(scene: &IdentityScene, authority: &AuthorityState) -> Vec<IdentityStep> {
    let is_due = |life| is_issuer_due(life, [scene.store_now, scene.now]);
    let steps = [
        (authority.has_lost_revocations, IdentityStep::RestoreRevocations),
        (authority.issuer.is_some_and(is_due), IdentityStep::RotateIssuer),
        (!authority.has_token_key, IdentityStep::MakeTokenKey),
    ];
    steps.into_iter().filter_map(|(is_due, step)| (is_due && authority.can_issue).then_some(step)).collect()
}

/// How long nothing is to be done about the node's certificate; `None`: it is to be renewed now.
fn rests(scene: &IdentityScene, authority: &AuthorityState) -> Option<Duration> {
    let own = scene.own.as_ref()?;
    let left = u64::try_from(due(scene, authority, own).saturating_sub(scene.now)).unwrap_or(0);
    if left > 0 {
        return Some(Duration::from_secs(left));
    }
    // The clock may be so wrong that whatever is issued has ended.
    let is_like_it = own.is_by_newest_issuer && own.life.not_before <= scene.now;
    let early = scene.renewed_ago.and_then(|ago| USED_AT_LEAST.checked_sub(ago));
    early.filter(|left| !left.is_zero() && is_like_it)
}

/// When the node's certificate is to be renewed; 0: at once.
fn due(scene: &IdentityScene, authority: &AuthorityState, own: &OwnCertificate) -> i64 {
    match own.verdict {
        CertificateVerdict::Refused => 0,
        // It gets no other, until somebody says so.
        CertificateVerdict::Revoked => i64::MAX,
        // It gives itself the names that it is to have by now, and others know by its certificate that it issues.
        CertificateVerdict::Believed if authority.can_issue && (own.lacks_names || !own.is_by_itself) => 0,
        CertificateVerdict::Believed if own.is_of_newest_root => own.life.renewal(),
        // The root before can be retired once nobody has a certificate that leads to it alone; not all go over to it at once.
        CertificateVerdict::Believed => {
            let moved = authority.root_since + scene.move_within * i64::from(own.life.drawn) / 255;
            own.life.renewal().min(moved)
        }
    }
}

/// How the node gets another certificate; `None`: somebody has to enrol it.
fn renewal(scene: &IdentityScene, authority: &AuthorityState) -> Option<IdentityStep> {
    if authority.can_issue {
        return Some(IdentityStep::Issue);
    }
    let end = scene.own.as_ref().filter(|own| !own.is_revoked)?.life.not_after;
    if scene.now <= end {
        return Some(IdentityStep::Renew);
    }
    // Its key still proves who the node was.
    (scene.now <= end.saturating_add(GRACE)).then_some(IdentityStep::Rejoin)
}

#[cfg(test)]
#[path = "identity_keeper_test.rs"]
mod tests;
