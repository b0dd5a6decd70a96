//! What callers prove: a token that they send, a certificate that they show, or the user that a unix socket says they are.
//!
//! Each proof makes a principal with scopes, the most exact one first; the rest of the daemon knows only that.

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use omnirelay_core::spiffe::Holder;
use omnirelay_pki::key::Fingerprint;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use ring::hmac;
use tokio::sync::watch;

use super::authenticate::{Authenticator, Ended, Loopback};
use super::bearer::{Bearer, Bearers};
use super::caller::{PeerInfo, Principal, Proof, Provisional, Scope, Scopes};
use super::trust::{HasAuthority, Standing, Trust};

/// A secret that proves who sends it.
#[derive(Clone)]
pub struct Token {
    /// Who that is: the principal `token:NAME`.
    pub name: String,
    pub secret: String,
    pub scopes: Scopes,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// The tokens that hold by now. Their secrets are not kept, only what tells whether one is sent.
pub struct Tokens {
    /// Random, so that nobody can choose what is compared.
    key: hmac::Key,
    known: RwLock<Vec<(hmac::Tag, Principal)>>,
    changes: watch::Sender<()>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Default for Tokens {
    /// None at all: nobody is proven.
    fn default() -> Self {
        let mut key = [0; 32];
        // Without chance the key can be known, and what is compared still does not tell a token.
        let _ = getrandom::fill(&mut key);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Self { key, known: RwLock::default(), changes: watch::Sender::default() }
    }
}

impl Tokens {
    /// Takes these from now on, and no others; what others have under way ends.
    pub fn replace(&self, tokens: &[Token]) {
        let known = tokens.iter().map(|token| {
            let name = format!("token:{}", token.name);
            let tag = hmac::sign(&self.key, token.secret.as_bytes());
            let proof = Proof::TokenFile(Fingerprint::of(tag.as_ref()));
            (tag, Principal { name: name.into(), scopes: token.scopes, proof })
        });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known.collect();
        self.changes.send_replace(());
    }

    /// Somebody whom a token has proven, as they are by now; `None`: it is of nobody any more.
    fn again(&self, principal: &Principal) -> Option<Principal> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut known = known.iter().map(|(_, known)| known);
        known.find(|known| known.proof == principal.proof && known.name == principal.name).cloned()
    }

    /// Whose token this is. How long it takes does not tell how much of it is right.
    fn holder(&self, secret: &[u8]) -> Option<Principal> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        for (tag, principal) in &*known {
            if hmac::verify(&self.key, secret, tag.as_ref()).is_ok() {
                found = Some(principal.clone());
            }
        }
        found
    }
}

type Granted = Box<dyn Fn(&str) -> Scopes + Send + Sync>;

/// What those who have sent a token may do besides what its line says, by their role bindings: nothing until somebody knows.
#[derive(Default)]
pub struct Grants {
    asked: OnceLock<Granted>,
    changes: watch::Sender<()>,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants").finish_non_exhaustive()
    }
}

impl Grants {
    /// Asks there from now on; the first is kept.
    pub fn ask(&self, granted: impl Fn(&str) -> Scopes + Send + Sync + 'static) {
        self.asked.get_or_init(|| Box::new(granted));
    }

    /// Has what is under way looked at again: what somebody may do may be something else by now.
    pub fn tell(&self) {
        self.changes.send_replace(());
    }

    fn added_to(&self, principal: Principal) -> Principal {
        let granted = self.of(&principal.name);
        Principal { scopes: principal.scopes.union(granted), ..principal }
    }

    /// Those of a principal or a role.
    fn of(&self, name: &str) -> Scopes {
        self.asked.get().map_or(Scopes::NONE, |granted| granted(name))
    }

    /// Who has sent a token, with what its holder may do by now, and no more than it was narrowed to.
    fn of_bearer(&self, bearer: Arc<Bearer>) -> Principal {
        let own = bearer.issued.as_ref().map_or(Scopes::NONE, |issued| of_holder(issued.id.holder()).scopes);
        let names = bearer.roles.iter().chain([&bearer.name]);
        let held = names.fold(own, |scopes, name| scopes.union(self.of(name)));
        let scopes = bearer.narrowed.map_or(held, |narrowed| held.intersection(narrowed));
        Principal { name: Arc::clone(&bearer.name), scopes, proof: Proof::Bearer(bearer) }
    }
}

/// Asks for proof, and leaves whoever has none to another authenticator.
///
/// A token counts more than a certificate or a user, since it is sent on purpose and may be of fewer scopes. One that is
/// not known proves nothing, and what else is proven counts; but whoever sends a signed one that does not hold, where
/// signed ones are taken, is refused: it may have been of fewer scopes than what else is proven.
pub struct Proven<A> {
    tokens: Arc<Tokens>,
    /// `None`: no token is taken that somebody has signed.
    bearers: Option<Arc<Bearers>>,
    grants: Arc<Grants>,
    otherwise: A,
}

impl<A> Proven<A> {
    pub fn new(tokens: Arc<Tokens>, grants: Arc<Grants>, otherwise: A) -> Self {
        Self { tokens, bearers: None, grants, otherwise }
    }

    /// Takes signed tokens as well.
    #[must_use]
    pub fn with_bearers(self, bearers: Arc<Bearers>) -> Self {
        Self { bearers: Some(bearers), ..self }
    }
}

impl<A: Authenticator> Authenticator for Proven<A> {
    fn authenticate(&self, peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Fault> {
        // Before any token: whoever calls from another mesh is nobody of this one, whatever they send.
        if let Some(federated) = federated(peer) {
            return Ok(federated);
        }
        if let Some(secret) = bearer(headers) {
            if let Some(holder) = self.tokens.holder(secret) {
                return Ok(self.grants.added_to(holder));
            }
            if let Some(judged) = self.bearers.as_ref().and_then(|bearers| bearers.judge(secret)) {
                return judged.map(|bearer| self.grants.of_bearer(bearer));
            }
        }
        if let Some(certificate) = &peer.certificate {
            let holder = certificate.id.holder();
            let principal = of_holder(holder);
            // What a node may do is said here and nowhere else.
            return Ok(match holder {
                Holder::Node { .. } => principal,
                Holder::Operator(_) | Holder::Service(_) => self.grants.added_to(principal),
            });
        }
        match &peer.user {
            // Whoever could open the socket was let in by its mode; the name is for the audit trail.
            Some(user) => {
                let name = format!("uid:{user}").into();
                Ok(Principal { name, scopes: Scopes::all(), proof: Proof::Socket })
            }
            None => self.otherwise.authenticate(peer, headers),
        }
    }

    fn provisional(&self, principal: &Principal) -> Option<Provisional> {
        // Whoever has proved something is `token:NAME`, `operator:NAME` and the like.
        let is_proven = principal.name.contains(':');
        if is_proven { None } else { self.otherwise.provisional(principal) }
    }

    fn costs(&self, headers: &HeaderMap) -> bool {
        self.bearers.as_ref().zip(bearer(headers)).is_some_and(|(bearers, secret)| bearers.costs(secret))
    }

    fn awaits(&self, headers: &HeaderMap) -> Option<BoxFuture<'static, ()>> {
        self.bearers.as_ref()?.awaits(bearer(headers)?)
    }

    fn ends(&self, principal: &Principal, needed: Option<Scope>) -> Option<BoxFuture<'static, Ended>> {
        let needed = needed.filter(|needed| !own_scopes(principal).contains(*needed));
        let nobody: BoxFuture<'static, Fault> = match &principal.proof {
            Proof::Bearer(bearer) => Box::pin(Arc::clone(self.bearers.as_ref()?).ends(Arc::clone(bearer))),
            Proof::TokenFile(_) => Box::pin(taken_away(Arc::clone(&self.tokens), principal.clone())),
            // Its connection ends with it.
            Proof::Certificate if needed.is_some() => Box::pin(std::future::pending()),
            Proof::Certificate | Proof::Federated(_) | Proof::Nothing | Proof::Refused(_) | Proof::Socket => {
                return None;
            }
        };
        let fewer = fewer(Arc::clone(&self.grants), Arc::clone(&self.tokens), principal.clone(), needed);
        Some(Box::pin(async move {
            tokio::select! {
                fault = nobody => Err(fault),
                principal = fewer => Ok(principal),
            }
        }))
    }
}

/// Returns once a line of the token file is gone, with what whoever has sent its token is told.
async fn taken_away(tokens: Arc<Tokens>, principal: Principal) -> Fault {
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
    grants: Arc<Grants>,
    tokens: Arc<Tokens>,
    principal: Principal,
    needed: Option<Scope>,
) -> Principal {
    let Some(needed) = needed else { return std::future::pending().await };
    let mut changes = grants.changes.subscribe();
    let mut lines = tokens.changes.subscribe();
    loop {
        let now = match &principal.proof {
            Proof::Bearer(bearer) => grants.of_bearer(Arc::clone(bearer)),
            Proof::TokenFile(_) => {
                grants.added_to(tokens.again(&principal).unwrap_or_else(|| principal.clone()))
            }
            Proof::Certificate | Proof::Federated(_) | Proof::Nothing | Proof::Refused(_) | Proof::Socket => {
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
        Proof::Certificate if principal.name.starts_with("operator:") => OPERATORS.iter().copied().collect(),
        Proof::Certificate => CONNECTED.iter().copied().collect(),
        Proof::Bearer(_) | Proof::TokenFile(_) | Proof::Federated(_) => Scopes::NONE,
        Proof::Nothing | Proof::Refused(_) | Proof::Socket => principal.scopes,
    }
}

/// What operators may do by their certificate alone.
const OPERATORS: &[Scope] = &[Scope::MeshRead];
/// What nodes and services may.
const CONNECTED: &[Scope] = &[Scope::MeshConnect, Scope::MeshRead];

/// Who shows a certificate of this holder, and what may be done with it alone.
pub fn of_holder(holder: &Holder) -> Principal {
    let scopes = match holder {
        Holder::Operator(_) => OPERATORS,
        Holder::Node { .. } | Holder::Service(_) => CONNECTED,
    };
    let name = format!("{}:{}", holder.kind(), holder.name());
    let scopes = scopes.iter().copied().collect();
    Principal { name: name.into(), scopes, proof: Proof::Certificate }
}

/// Who shows a certificate of a federated cluster; `None`: another certificate is shown, or none. No scope comes of it.
fn federated(peer: &PeerInfo) -> Option<Principal> {
    let certificate = peer.certificate.as_ref().filter(|_| peer.standing == Standing::Federated)?;
    let Holder::Node { cluster, node, .. } = certificate.id.holder() else { return None };
    let name = format!("node:{cluster}/{node}").into();
    Some(Principal { name, scopes: Scopes::NONE, proof: Proof::Federated(cluster.as_str().into()) })
}

/// Takes whoever is on this host until the mesh has an authority, and nobody from then on. Before that is known they are
/// taken provisionally: by the time anything is committed the registry was read.
#[derive(Debug)]
pub struct UntilAuthority {
    trust: Arc<Trust>,
    loopback: Loopback,
}

impl UntilAuthority {
    pub fn new(trust: Arc<Trust>) -> Self {
        Self { trust, loopback: Loopback::default() }
    }
}

impl Authenticator for UntilAuthority {
    fn authenticate(&self, peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Fault> {
        match self.trust.has_authority() {
            HasAuthority::Yes => ProofNeeded.authenticate(peer, headers),
            HasAuthority::No | HasAuthority::Unknown => self.loopback.authenticate(peer, headers),
        }
    }

    fn provisional(&self, _: &Principal) -> Option<Provisional> {
        let trust = self.trust.clone();
        let holds = move || match trust.has_authority() {
            HasAuthority::Yes => Err(proof_needed()),
            HasAuthority::No | HasAuthority::Unknown => Ok(()),
        };
        (self.trust.has_authority() == HasAuthority::Unknown).then(|| Provisional::new(holds))
    }
}

/// Takes nobody: where callers are is no proof of who they are.
#[derive(Clone, Copy, Debug)]
pub struct ProofNeeded;

impl Authenticator for ProofNeeded {
    fn authenticate(&self, _peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Fault> {
        if bearer(headers).is_some() {
            return Err(Fault::new(
                reasons::TOKEN_UNKNOWN,
                "the token that was sent is not one of this daemon",
            )
            .hint("send one that its token file holds now (omnirelay --token-file FILE)"));
        }
        Err(proof_needed())
    }
}

fn proof_needed() -> Fault {
    let message = "this daemon takes nobody without proof, callers on its own host neither";
    Fault::new(reasons::PROOF_NEEDED, message).hint(
        "call its control socket (omnirelay --addr unix:PATH), show a certificate (omnirelay --tls-cert FILE \
         --tls-key FILE), or send the token of its token file (omnirelay --token-file FILE)",
    )
}

/// What a caller sends as its token, if it sends one.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, secret) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(secret.trim_ascii())
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::fault::Code;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn tokens() -> Arc<Tokens> {
        let tokens = Arc::new(Tokens::default());
        let (name, scopes) = ("watcher".to_owned(), [Scope::MeshRead].into_iter().collect());
        tokens.replace(&[Token { name, secret: SECRET.to_owned(), scopes }]);
        tokens
    }

    fn sent(value: Option<&str>) -> HeaderMap {
        value.map(|value| (AUTHORIZATION, value.parse().unwrap())).into_iter().collect()
    }

    #[test]
    fn each_proof_makes_its_principal() {
        let near = || PeerInfo::at("127.0.0.1:5".parse().unwrap(), None);
        let held = format!("Bearer {SECRET}");
        let (small, other) = (format!("bearer  {SECRET} "), format!("Bearer {SECRET}x"));
        let (open, proof) = (
            Proven::new(tokens(), Arc::default(), Loopback::default()),
            Proven::new(tokens(), Arc::default(), ProofNeeded),
        );
        let cases = [
            // who, what is sent, the principal where loopback is open, and where it needs proof
            (near(), None, Ok("local"), Err("PROOF_NEEDED")),
            (near(), Some(held.as_str()), Ok("token:watcher"), Ok("token:watcher")),
            (near(), Some(small.as_str()), Ok("token:watcher"), Ok("token:watcher")),
            (near(), Some(other.as_str()), Ok("local"), Err("TOKEN_UNKNOWN")),
            (near(), Some("Bearer "), Ok("local"), Err("TOKEN_UNKNOWN")),
            (near(), Some("Basic YTpi"), Ok("local"), Err("PROOF_NEEDED")),
            (PeerInfo::of_user("ann"), None, Ok("uid:ann"), Ok("uid:ann")),
            (PeerInfo::of_user("ann"), Some(other.as_str()), Ok("uid:ann"), Ok("uid:ann")),
            (PeerInfo::of_user("ann"), Some(held.as_str()), Ok("token:watcher"), Ok("token:watcher")),
            (PeerInfo::unknown(), None, Err("NOT_LOOPBACK"), Err("PROOF_NEEDED")),
        ];
        for (peer, value, where_open, where_proof) in cases {
            let who = |given: Result<Principal, Fault>| {
                given.map(|one| one.name.to_string()).map_err(|fault| fault.reason.into_owned())
            };
            let expected = |case: Result<&str, &str>| case.map(str::to_owned).map_err(str::to_owned);
            let headers = sent(value);
            let case = format!("{peer:?} sends {value:?}");
            assert_eq!(who(open.authenticate(&peer, &headers)), expected(where_open), "{case}");
            assert_eq!(who(proof.authenticate(&peer, &headers)), expected(where_proof), "{case}");
        }
    }

    #[test]
    fn whoever_is_on_this_host_is_somebody_only_where_it_is_certain_that_there_is_no_authority() {
        use std::sync::Mutex;
        let trust = Arc::new(Trust::default());
        let said = Arc::new(Mutex::new(HasAuthority::Unknown));
        let asked = said.clone();
        trust.ask(move || *asked.lock().unwrap());
        let until = UntilAuthority::new(trust);
        let scopes = |remote: &str| {
            let peer = PeerInfo::at(remote.parse().unwrap(), None);
            until.authenticate(&peer, &HeaderMap::new()).map(|who| who.scopes.to_string())
        };
        assert_eq!(scopes("127.0.0.1:5").unwrap(), Scopes::all().to_string());
        let who = |name: &str| Principal::unproven(name, Scopes::all());
        let provisional = until.provisional(&who("local")).expect("it is not known");
        provisional.check().unwrap();
        *said.lock().unwrap() = HasAuthority::No;
        assert_eq!(scopes("127.0.0.1:5").unwrap(), Scopes::all().to_string());
        assert!(scopes("10.0.0.7:5").is_err() && until.provisional(&who("local")).is_none());
        *said.lock().unwrap() = HasAuthority::Yes;
        assert_eq!(scopes("127.0.0.1:5").unwrap_err().reason, "PROOF_NEEDED");
        assert_eq!(
            provisional.check().unwrap_err().reason,
            "PROOF_NEEDED",
            "it was asked before that was known"
        );
        *said.lock().unwrap() = HasAuthority::Unknown;
        let proven = Proven::new(tokens(), Arc::default(), until);
        assert!(proven.provisional(&who("local")).is_some() && proven.provisional(&who("uid:ann")).is_none());
    }

    #[test]
    fn a_certificate_is_who_it_says_and_a_node_no_more() {
        let grants = Arc::new(Grants::default());
        grants.ask(|_| Scopes::all());
        let proven = Proven::new(tokens(), grants, ProofNeeded);
        let shown = |id: &str| {
            let certificate = omnirelay_pki::certificate::Certificate {
                serial: omnirelay_pki::certificate::Serial::of(&[1]),
                id: id.parse().unwrap(),
                names: Default::default(),
                not_before: 0,
                not_after: 1,
                key: omnirelay_pki::key::Fingerprint::of(b"key"),
            };
            let peer = PeerInfo { certificate: Some(Arc::new(certificate)), ..PeerInfo::unknown() };
            let who = proven.authenticate(&peer, &HeaderMap::new()).unwrap();
            format!("{} {}", who.name, who.scopes)
        };
        let all = Scopes::all();
        assert_eq!(shown("spiffe://m/operator/ann"), format!("operator:ann {all}"));
        assert_eq!(shown("spiffe://m/service/billing"), format!("service:billing {all}"));
        assert_eq!(shown("spiffe://m/mesh/default/worker/a"), "node:a mesh.connect, mesh.read");
    }

    #[test]
    fn whoever_is_of_a_federated_cluster_is_nobody_else_whatever_they_send() {
        let grants = Arc::new(Grants::default());
        grants.ask(|_| Scopes::all());
        let proven = Proven::new(tokens(), grants, Loopback::default());
        let certificate = omnirelay_pki::certificate::Certificate {
            serial: omnirelay_pki::certificate::Serial::of(&[1]),
            id: "spiffe://west.example/mesh/west/worker/a".parse().unwrap(),
            names: Default::default(),
            not_before: 0,
            not_after: 1,
            key: omnirelay_pki::key::Fingerprint::of(b"key"),
        };
        let near = PeerInfo::at("127.0.0.1:5".parse().unwrap(), None);
        let certificate = Some(Arc::new(certificate));
        let peer = PeerInfo { certificate, standing: Standing::Federated, ..near };
        let held = format!("Bearer {SECRET}");
        for value in [None, Some(held.as_str()), Some("Bearer other")] {
            let who = proven.authenticate(&peer, &sent(value)).unwrap();
            assert_eq!((who.name.as_ref(), who.scopes), ("node:west/a", Scopes::NONE), "{value:?}");
            assert_eq!((who.proof.federated(), who.proof.word()), (Some("west"), "certificate"));
        }
    }

    #[test]
    fn a_token_has_its_own_scopes_even_at_the_socket() {
        let proven = Proven::new(tokens(), Arc::default(), ProofNeeded);
        let scopes = |value: Option<&str>| {
            proven.authenticate(&PeerInfo::of_user("root"), &sent(value)).unwrap().scopes.to_string()
        };
        assert_eq!(scopes(Some(&format!("Bearer {SECRET}"))), "mesh.read");
        assert_eq!(scopes(None), Scopes::all().to_string());
    }

    #[test]
    fn what_was_granted_is_added_to_what_a_token_has_and_to_nobody_else() {
        let grants = Arc::new(Grants::default());
        let proven = Proven::new(tokens(), grants.clone(), Loopback::default());
        let near = PeerInfo::at("127.0.0.1:5".parse().unwrap(), None);
        let held = format!("Bearer {SECRET}");
        let scopes =
            |value: Option<&str>| proven.authenticate(&near, &sent(value)).unwrap().scopes.to_string();
        assert_eq!(scopes(Some(&held)), "mesh.read");
        grants.ask(|name| match name {
            "token:watcher" => [Scope::MeshOperate].into_iter().collect(),
            _ => panic!("nobody proved to be {name}"),
        });
        assert_eq!(scopes(Some(&held)), "mesh.read, mesh.operate");
        assert_eq!(scopes(Some("Bearer other")), Scopes::all().to_string(), "whoever is on this host");
    }

    #[test]
    fn a_token_that_was_taken_away_proves_nothing() {
        let tokens = tokens();
        let proven = Proven::new(tokens.clone(), Arc::default(), ProofNeeded);
        let headers = sent(Some(&format!("Bearer {SECRET}")));
        assert!(proven.authenticate(&PeerInfo::unknown(), &headers).is_ok());
        tokens.replace(&[]);
        let fault = proven.authenticate(&PeerInfo::unknown(), &headers).unwrap_err();
        assert_eq!((fault.code, fault.reason.as_ref()), (Code::Unauthenticated, "TOKEN_UNKNOWN"));
    }

    #[tokio::test]
    async fn what_is_under_way_ends_with_the_scope_that_it_needs_or_with_the_proof() {
        use std::sync::Mutex;
        let bound = Arc::new(Mutex::new(Scopes::all()));
        let (grants, asked, tokens) = (Arc::new(Grants::default()), bound.clone(), tokens());
        grants.ask(move |_| *asked.lock().unwrap());
        let proven = Proven::new(tokens.clone(), grants.clone(), ProofNeeded);
        let watcher =
            proven.authenticate(&PeerInfo::unknown(), &sent(Some(&format!("Bearer {SECRET}")))).unwrap();
        let ann = of_holder(&Holder::Operator("ann".to_owned()));
        let begun = |who: &Principal, needed| tokio::spawn(proven.ends(who, Some(needed)).unwrap());
        let ended = async |call: tokio::task::JoinHandle<Ended>| {
            let ended = tokio::time::timeout(std::time::Duration::from_secs(5), call).await.expect("at once");
            ended.unwrap().map(|who| who.scopes.to_string()).map_err(|fault| fault.reason.into_owned())
        };
        let (mut reading, of_watcher, of_ann) = (
            begun(&watcher, Scope::MeshRead),
            begun(&watcher, Scope::MeshOperate),
            begun(&ann, Scope::MeshOperate),
        );
        grants.tell();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(!of_watcher.is_finished() && !of_ann.is_finished(), "nothing was taken away");
        *bound.lock().unwrap() = Scopes::NONE;
        grants.tell();
        assert_eq!(ended(of_watcher).await, Ok("mesh.read".to_owned()));
        assert_eq!(ended(of_ann).await, Ok("mesh.read".to_owned()));
        let waited = tokio::time::timeout(std::time::Duration::from_millis(50), &mut reading).await;
        waited.expect_err("its line gives that scope");
        tokens.replace(&[]);
        assert_eq!(ended(reading).await, Err("TOKEN_ENDED".to_owned()));
        assert!(
            proven.ends(&ann, Some(Scope::MeshRead)).is_none(),
            "its connection ends with the certificate"
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let token = Token { name: "ops".into(), secret: SECRET.into(), scopes: Scopes::all() };
        let shown = format!("{token:?} {:?}", tokens());
        assert!(shown.contains("ops") && !shown.contains(SECRET), "{shown}");
    }
}
