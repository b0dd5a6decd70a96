//! Proofs of callers: a token that they send, a certificate that they show, or the user that a unix socket names.
//!
//! Each proof makes a principal with scopes, the most exact one first; the rest of the daemon knows only that.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::text::shown;
use omnirelay_pki::certificate::Certificate;
use omnirelay_pki::key::Fingerprint;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use parking_lot::RwLock;
use ring::hmac;
use tokio::sync::watch;

use super::authenticate::{Authenticator, EndedPrincipal, LoopbackAuthenticator};
use super::bearer::{BearerToken, Bearers};
use super::caller::{CallerProof, PeerInfo, Principal, PrincipalRecheck, Scope, Scopes, SiblingProof};
use super::host_door::{HostDoor, of_door};
use super::tokens::TOKEN_CHARS;
use super::trust::{HasAuthority, HolderStanding, MeshTrust};

/// How much of a scheme an error shows, in characters.
const SCHEME_CHARS_SHOWN: usize = 20;

/// A secret that proves who sends it.
#[derive(Clone)]
pub struct SecretToken {
    /// Who that is: the principal `token:NAME`.
    pub name: String,
    pub secret: String,
    pub scopes: Scopes,
    /// What it may do where a call concerns this node and no other; not less than `scopes`.
    pub own_node: Scopes,
}

impl fmt::Debug for SecretToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// The tokens that hold by now. Their secrets are not kept, only what tells whether one is sent.
pub struct SecretTokens {
    /// Random, so that nobody can choose what is compared.
    key: hmac::Key,
    known: RwLock<Vec<(hmac::Tag, Principal)>>,
    changes: watch::Sender<()>,
}

impl fmt::Debug for SecretTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Default for SecretTokens {
    /// None at all: nobody is proven.
    fn default() -> Self {
        let mut key = [0; 32];
        // Without chance the key can be known, and what is compared still does not tell a token.
        let _ = getrandom::fill(&mut key);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Self { key, known: RwLock::default(), changes: watch::Sender::default() }
    }
}

impl SecretTokens {
    /// Takes these from now on, and no others; what others have under way ends.
    pub fn replace(&self, tokens: &[SecretToken]) {
        let known = tokens.iter().map(|token| {
            let name = format!("token:{}", token.name);
            let tag = hmac::sign(&self.key, token.secret.as_bytes());
            let proof = CallerProof::TokenFile(Fingerprint::of(tag.as_ref()));
            (tag, Principal { name: name.into(), scopes: token.scopes, own_node: token.own_node, proof })
        });
        *self.known.write() = known.collect();
        self.changes.send_replace(());
    }

    /// Somebody whom a token has proven, as they are by now; `None`: it is of nobody any more.
    fn again(&self, principal: &Principal) -> Option<Principal> {
        let known = self.known.read();
        let mut known = known.iter().map(|(_, known)| known);
        known.find(|known| known.proof == principal.proof && known.name == principal.name).cloned()
    }

    /// Whose token this is. How long it takes does not tell how much of it is right.
    fn holder(&self, secret: &[u8]) -> Option<Principal> {
        if !TOKEN_CHARS.contains(&secret.len()) {
            return None;
        }
        let known = self.known.read();
        let mut found = None;
        for (tag, principal) in &*known {
            if hmac::verify(&self.key, secret, tag.as_ref()).is_ok() {
                found = Some(principal.clone());
            }
        }
        found
    }
}

/// Grants by role bindings to those who have sent a token, besides what its line says; and what the door of this host
/// gives.
pub struct BindingGrants {
    granted: Box<dyn Fn(&str) -> Scopes + Send + Sync>,
    pub door: Arc<HostDoor>,
    changes: watch::Sender<()>,
}

impl fmt::Debug for BindingGrants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants").finish_non_exhaustive()
    }
}

#[cfg(any(test, feature = "testing"))]
impl Default for BindingGrants {
    /// None at all.
    fn default() -> Self {
        Self::new(Arc::default(), |_| Scopes::NONE)
    }
}

impl BindingGrants {
    /// `granted` says what a principal or a role may do.
    pub fn new(door: Arc<HostDoor>, granted: impl Fn(&str) -> Scopes + Send + Sync + 'static) -> Self {
        Self { granted: Box::new(granted), door, changes: watch::Sender::default() }
    }

    /// Has what is under way looked at again: what somebody may do may be something else by now.
    pub fn tell(&self) {
        self.changes.send_replace(());
    }

    fn added_to(&self, principal: Principal) -> Principal {
        let granted = (self.granted)(&principal.name);
        let (scopes, own_node) = (principal.scopes.union(granted), principal.own_node.union(granted));
        self.door.limited(Principal { scopes, own_node, ..principal })
    }

    /// Who has sent a token, with what its holder may do by now, and no more than it was narrowed to.
    fn of_bearer(&self, bearer: Arc<BearerToken>) -> Principal {
        // Whoever another cluster vouches for has what a binding gives, and nothing else.
        let issued = bearer.issued.as_ref().filter(|issued| issued.by.is_none());
        let own = issued.map_or(Scopes::NONE, |issued| of_holder(issued.id.holder()).scopes);
        let names = bearer.roles.iter().chain([&*bearer.name]);
        let held = names.fold(own, |scopes, name| scopes.union((self.granted)(name)));
        let scopes = bearer.narrowed.map_or(held, |narrowed| held.intersection(narrowed));
        self.door.limited(Principal::proven(Arc::clone(&bearer.name), scopes, CallerProof::Bearer(bearer)))
    }
}

/// Asks for proof, and leaves whoever has none to another authenticator.
///
/// A token counts more than a certificate or a user, since it is sent on purpose and may be of fewer scopes. So whoever sends
/// one that does not hold is refused, whatever else is proven: what it was narrowed to must not end with it. What is sent in another
/// scheme than that of tokens is for somebody else, as a proxy on the way: a certificate counts beside it, and whoever shows none is
/// as one of whom nothing is known, wherever they come from.
pub struct ProofAuthenticator<A> {
    /// `None`: a port where tokens are no proof, and not looked at.
    tokens: Option<Arc<SecretTokens>>,
    /// `None`: no token is taken that somebody has signed.
    bearers: Option<Arc<Bearers>>,
    grants: Arc<BindingGrants>,
    otherwise: A,
}

impl<A> ProofAuthenticator<A> {
    pub fn new(tokens: Arc<SecretTokens>, grants: Arc<BindingGrants>, otherwise: A) -> Self {
        Self { tokens: Some(tokens), bearers: None, grants, otherwise }
    }

    /// Takes no tokens, but what callers show under TLS alone.
    pub fn by_certificate(grants: Arc<BindingGrants>, otherwise: A) -> Self {
        Self { tokens: None, bearers: None, grants, otherwise }
    }

    /// Takes signed tokens as well.
    #[must_use]
    pub fn with_bearers(self, bearers: Arc<Bearers>) -> Self {
        Self { bearers: Some(bearers), ..self }
    }
}

impl<A: Authenticator> ProofAuthenticator<A> {
    /// Who has sent a token, or anything else that is to prove who they are.
    fn sent(&self, headers: &HeaderMap, effort: ProofEffort) -> SentProof {
        let Some(tokens) = self.tokens.as_ref().filter(|_| headers.contains_key(AUTHORIZATION)) else {
            return SentProof::Nothing;
        };
        let Some(secret) = bearer(headers).filter(|_| headers.get_all(AUTHORIZATION).iter().count() == 1)
        else {
            return SentProof::Proof(Err(token_unknown()));
        };
        if let Some(holder) = tokens.holder(secret) {
            return SentProof::Proof(Ok(self.grants.added_to(holder)));
        }
        let Some(bearers) = self.bearers.as_ref().filter(|bearers| bearers.takes(secret)) else {
            return SentProof::Proof(Err(token_unknown()));
        };
        let judged = match effort {
            ProofEffort::Look => bearers.judged_before(secret),
            ProofEffort::Judge => bearers.judge(secret),
        };
        match judged {
            Some(judged) => SentProof::Proof(judged.map(|bearer| self.grants.of_bearer(bearer))),
            None => SentProof::Unjudged,
        }
    }

    /// Who calls. `None`: with no more effort that cannot be said.
    fn who(
        &self,
        peer: &PeerInfo,
        headers: &HeaderMap,
        effort: ProofEffort,
    ) -> Option<Result<Principal, Fault>> {
        // Before any token: a node of another mesh or cluster is nobody of this one, whatever it sends.
        if let Some(node) = node_of_another(peer) {
            return Some(Ok(node));
        }
        let foreign = self.tokens.as_ref().and_then(|_| foreign_scheme(headers));
        if foreign.is_none() {
            match self.sent(headers, effort) {
                SentProof::Nothing => {}
                SentProof::Proof(proof) => return Some(proof),
                SentProof::Unjudged => return None,
            }
        }
        Some(self.without_token(peer, headers, foreign))
    }

    /// Whoever has proved nothing.
    fn otherwise(&self, peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Fault> {
        self.otherwise.authenticate(peer, headers).map(|who| self.grants.door.limited(who))
    }

    /// Whoever has sent no token, but may have sent something in a `foreign` scheme.
    fn without_token(
        &self,
        peer: &PeerInfo,
        headers: &HeaderMap,
        foreign: Option<&str>,
    ) -> Result<Principal, Fault> {
        if let (Some(certificate), HolderStanding::Sibling(cluster)) = (&peer.certificate, &peer.standing) {
            return Ok(self.grants.added_to(of_sibling(certificate, cluster)));
        }
        if let Some(certificate) = &peer.certificate {
            let holder = certificate.id.holder();
            let principal = of_holder(holder);
            // What a node may do is said here and nowhere else.
            return Ok(match holder {
                CertificateHolder::Node { .. } => principal,
                CertificateHolder::Operator(_) | CertificateHolder::Service(_) if peer.by_own_roots => {
                    self.grants.added_to(Principal { proof: CallerProof::CertificateOfHost, ..principal })
                }
                CertificateHolder::Operator(_) | CertificateHolder::Service(_) => {
                    self.grants.added_to(principal)
                }
            });
        }
        if let Some(scheme) = foreign {
            // Where somebody comes from is no proof beside what was to prove who they are: a proxy may speak for anybody.
            return self.otherwise(&PeerInfo::unknown(), headers).map_err(|_| scheme_unknown(scheme));
        }
        match &peer.user {
            // Whoever could open the socket was let in by its mode; the name is for the audit trail.
            Some(user) => {
                let name = format!("uid:{user}").into();
                let user = Principal {
                    name,
                    scopes: of_door(),
                    own_node: Scopes::all(),
                    proof: CallerProof::Socket,
                };
                Ok(self.grants.door.limited(user))
            }
            None => self.otherwise(peer, headers),
        }
    }
}

/// Effort that may be spent on a request.
#[derive(Clone, Copy, Debug)]
enum ProofEffort {
    /// A look at what is remembered.
    Look,
    /// A signature.
    Judge,
}

/// Proof of who somebody is, as it was sent.
enum SentProof {
    Nothing,
    /// `TOKEN_UNKNOWN`, or one of the errors of [`Bearers::judge`]: it proves nothing.
    Proof(Result<Principal, Fault>),
    /// A token that takes a signature to judge.
    Unjudged,
}

impl<A: Authenticator> Authenticator for ProofAuthenticator<A> {
    fn authenticate(&self, peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Fault> {
        // With all effort something can be said.
        self.who(peer, headers, ProofEffort::Judge).unwrap_or_else(|| Err(token_unknown()))
    }

    fn recognize(&self, peer: &PeerInfo, headers: &HeaderMap) -> Option<Result<Principal, Fault>> {
        self.who(peer, headers, ProofEffort::Look)
    }

    fn provisional(&self, principal: &Principal) -> Option<PrincipalRecheck> {
        // Whoever has proved something is `token:NAME`, `operator:NAME` and the like.
        let is_proven = principal.name.contains(':');
        let of_door = self.grants.door.provisional(principal);
        if is_proven { of_door } else { self.otherwise.provisional(principal).or(of_door) }
    }

    fn awaits(&self, headers: &HeaderMap) -> Option<BoxFuture<'static, ()>> {
        self.bearers.as_ref()?.awaits(bearer(headers)?)
    }

    fn ends(
        &self,
        principal: &Principal,
        needed: Option<Scope>,
    ) -> Option<BoxFuture<'static, EndedPrincipal>> {
        let tokens = self.tokens.clone().unwrap_or_default();
        let needed = needed.filter(|needed| !own_scopes(principal).contains(*needed));
        let is_unproven = matches!(principal.proof, CallerProof::Nothing);
        let of_otherwise = is_unproven.then(|| self.otherwise.ends(principal, needed)).flatten();
        let ended: BoxFuture<'static, EndedPrincipal> = match (&principal.proof, of_otherwise) {
            (_, Some(ended)) => ended,
            (CallerProof::Bearer(bearer), None) => {
                let ends = Arc::clone(self.bearers.as_ref()?).ends(Arc::clone(bearer));
                Box::pin(async move { Err(ends.await) })
            }
            (CallerProof::TokenFile(_), None) => {
                let taken = taken_away(Arc::clone(&tokens), principal.clone());
                Box::pin(async move { Err(taken.await) })
            }
            // Its connection ends with it.
            (
                CallerProof::Certificate
                | CallerProof::CertificateOfHost
                | CallerProof::Nothing
                | CallerProof::Sibling(_)
                | CallerProof::Socket,
                None,
            ) if needed.is_some() => Box::pin(std::future::pending()),
            (
                CallerProof::Certificate
                | CallerProof::CertificateOfHost
                | CallerProof::Federated(_)
                | CallerProof::Nothing
                | CallerProof::Refused(_)
                | CallerProof::Sibling(_)
                | CallerProof::Socket,
                None,
            ) => return None,
        };
        let fewer = fewer(Arc::clone(&self.grants), tokens, principal.clone(), needed);
        Some(Box::pin(async move {
            tokio::select! {
                ended = ended => ended,
                principal = fewer => Ok(principal),
            }
        }))
    }
}

/// Returns once a line of the token file is gone, with what whoever has sent its token is told.
async fn taken_away(tokens: Arc<SecretTokens>, principal: Principal) -> Fault {
    let mut changes = tokens.changes.subscribe();
    while tokens.again(&principal).is_some() {
        // The sender is in what is held here.
        let _ = changes.changed().await;
    }
    Fault::new(reasons::TOKEN_ENDED, "the token that was sent is not one of this daemon any more")
        .hint("send one that its token file holds now (omnirelay --token-file FILE)")
}

/// Returns once somebody does not have a scope any more, with those that they have; never without one.
async fn fewer(
    grants: Arc<BindingGrants>,
    tokens: Arc<SecretTokens>,
    principal: Principal,
    needed: Option<Scope>,
) -> Principal {
    let Some(needed) = needed else { return std::future::pending().await };
    let mut changes = grants.changes.subscribe();
    let mut lines = tokens.changes.subscribe();
    loop {
        let now = match &principal.proof {
            CallerProof::Bearer(bearer) => grants.of_bearer(Arc::clone(bearer)),
            CallerProof::TokenFile(_) => {
                grants.added_to(tokens.again(&principal).unwrap_or_else(|| principal.clone()))
            }
            CallerProof::Socket => grants.door.limited(Principal { scopes: of_door(), ..principal.clone() }),
            CallerProof::Nothing => grants.door.limited(principal.clone()),
            CallerProof::Certificate
            | CallerProof::CertificateOfHost
            | CallerProof::Federated(_)
            | CallerProof::Sibling(_)
            | CallerProof::Refused(_) => {
                grants.added_to(Principal { scopes: own_scopes(&principal), ..principal.clone() })
            }
        };
        if !now.scopes.contains(needed) {
            return now;
        }
        tokio::select! {
            _ = changes.changed() => {}
            _ = lines.changed() => {}
        }
    }
}

/// What somebody may do by what proves them alone, which no binding takes away.
fn own_scopes(principal: &Principal) -> Scopes {
    match &principal.proof {
        CallerProof::Certificate | CallerProof::CertificateOfHost
            if principal.name.starts_with("operator:") =>
        {
            OPERATORS.iter().copied().collect()
        }
        CallerProof::Certificate | CallerProof::CertificateOfHost => CONNECTED.iter().copied().collect(),
        CallerProof::Bearer(_)
        | CallerProof::TokenFile(_)
        | CallerProof::Federated(_)
        | CallerProof::Sibling(_) => Scopes::NONE,
        CallerProof::Nothing | CallerProof::Socket => principal.scopes.intersection(of_door()),
        CallerProof::Refused(_) => principal.scopes,
    }
}

/// What operators may do by their certificate alone.
const OPERATORS: &[Scope] = &[Scope::MeshRead];
/// What nodes and services may.
const CONNECTED: &[Scope] = &[Scope::MeshConnect, Scope::MeshRead];

/// Principal that shows a certificate of this holder, and what may be done with it alone.
pub fn of_holder(holder: &CertificateHolder) -> Principal {
    let scopes = match holder {
        CertificateHolder::Operator(_) => OPERATORS,
        CertificateHolder::Node { .. } | CertificateHolder::Service(_) => CONNECTED,
    };
    Principal::proven(name_at(holder, None), scopes.iter().copied().collect(), CallerProof::Certificate)
}

/// Node of a federated cluster, or of another one of the trust domain, that shows its certificate; `None`: it is of neither. No
/// scope comes of it.
fn node_of_another(peer: &PeerInfo) -> Option<Principal> {
    let certificate = peer.certificate.as_ref()?;
    match &peer.standing {
        HolderStanding::Member | HolderStanding::Sibling(_) => None,
        HolderStanding::SiblingNode(cluster) => Some(of_sibling(certificate, cluster)),
        HolderStanding::Federated => {
            let CertificateHolder::Node { cluster, node, .. } = certificate.id.holder() else { return None };
            let name = format!("node:{cluster}/{node}");
            Some(Principal::proven(name, Scopes::NONE, CallerProof::Federated(cluster.as_str().into())))
        }
    }
}

/// Principal whom another cluster of the trust domain vouches for. No scope comes of that.
fn of_sibling(certificate: &Certificate, cluster: &Arc<str>) -> Principal {
    let proof = SiblingProof { cluster: Arc::clone(cluster), not_after: certificate.not_after };
    let name = name_at(certificate.id.holder(), Some(cluster));
    Principal::proven(name, Scopes::NONE, CallerProof::Sibling(proof))
}

/// Name of a principal: `operator:NAME`, or `operator:CLUSTER/NAME` where another cluster vouches for it.
pub fn name_at(holder: &CertificateHolder, sibling: Option<&str>) -> String {
    match sibling {
        Some(cluster) => format!("{}:{cluster}/{}", holder.kind(), holder.name()),
        None => format!("{}:{}", holder.kind(), holder.name()),
    }
}

/// Takes whoever is on this host until the mesh has an authority, and nobody from then on. Before that is known they are
/// taken provisionally: by the time anything is committed the registry was read.
#[derive(Debug)]
pub struct UntilAuthorityAuthenticator {
    trust: Arc<MeshTrust>,
    loopback: LoopbackAuthenticator,
}

impl UntilAuthorityAuthenticator {
    pub fn new(trust: Arc<MeshTrust>) -> Self {
        Self { trust, loopback: LoopbackAuthenticator::default() }
    }
}

impl Authenticator for UntilAuthorityAuthenticator {
    fn authenticate(&self, peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Fault> {
        match self.trust.has_authority() {
            HasAuthority::Yes => RefusingAuthenticator.authenticate(peer, headers),
            HasAuthority::No | HasAuthority::Unknown => self.loopback.authenticate(peer, headers),
        }
    }

    fn provisional(&self, _: &Principal) -> Option<PrincipalRecheck> {
        let trust = self.trust.clone();
        let holds = move || match trust.has_authority() {
            HasAuthority::Yes => Err(proof_needed()),
            HasAuthority::No | HasAuthority::Unknown => Ok(()),
        };
        (self.trust.has_authority() == HasAuthority::Unknown).then(|| PrincipalRecheck::new(holds))
    }
}

/// Takes nobody: where callers are is no proof of who they are.
#[derive(Clone, Copy, Debug)]
pub struct RefusingAuthenticator;

impl Authenticator for RefusingAuthenticator {
    fn authenticate(&self, _peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Fault> {
        Err(if headers.contains_key(AUTHORIZATION) { token_unknown() } else { proof_needed() })
    }
}

fn token_unknown() -> Fault {
    Fault::new(reasons::TOKEN_UNKNOWN, "the token that was sent is not one of this daemon")
        .hint(
            "send one that its token file holds now (omnirelay --token-file FILE), or none where you prove who you are by the \
             control socket or a certificate",
        )
        .because("it is in no line of the token file, and is no signed token of an issuer that is known here")
}

pub(super) fn proof_needed() -> Fault {
    let message = "this daemon takes nobody without proof, callers on its own host neither";
    Fault::new(reasons::PROOF_NEEDED, message).hint(
        "call its control socket (omnirelay --addr unix:PATH), show a certificate (omnirelay --tls-cert FILE \
         --tls-key FILE), or send the token of its token file (omnirelay --token-file FILE)",
    )
}

fn scheme_unknown(scheme: &str) -> Fault {
    let scheme = shown(scheme, SCHEME_CHARS_SHOWN);
    let message =
        format!("what was sent in `authorization` is of the scheme `{scheme}`, which proves nobody here");
    Fault::new(reasons::PROOF_NEEDED, message).hint(
        "show a certificate, send a token (Bearer), or leave it out; a proxy that has looked at it takes it out \
         (nginx: proxy_set_header Authorization \"\")",
    )
}

/// The scheme of what a caller sends in `authorization`, where that is not the one of tokens; `None` as well where it has none,
/// or is there more than once.
fn foreign_scheme(headers: &HeaderMap) -> Option<&str> {
    let mut sent = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (sent.next(), sent.next()) else { return None };
    let (scheme, said) = only.to_str().ok()?.trim().split_once(' ')?;
    (!said.trim().is_empty() && !scheme.eq_ignore_ascii_case("bearer")).then_some(scheme)
}

/// What a caller sends as its token, if it sends one.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, secret) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(secret.trim_ascii())
}

#[cfg(test)]
#[path = "proof_test.rs"]
mod tests;
