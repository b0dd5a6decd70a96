//! Tests of proofs: who is who by what they send, show, and come by.

use std::sync::atomic::{AtomicBool, Ordering};

use omnirelay_wire::fault::Code;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn tokens() -> Arc<SecretTokens> {
    let tokens = Arc::new(SecretTokens::default());
    let (name, scopes) = ("watcher".to_owned(), [Scope::MeshRead].into_iter().collect());
    tokens.replace(&[SecretToken { name, secret: SECRET.to_owned(), scopes, own_node: scopes }]);
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
        ProofAuthenticator::new(tokens(), Arc::default(), LoopbackAuthenticator::default()),
        ProofAuthenticator::new(tokens(), Arc::default(), RefusingAuthenticator),
    );
    let cases = [
        // who, what is sent, the principal where loopback is open, and where it needs proof
        (near(), None, Ok("local"), Err("PROOF_NEEDED")),
        (near(), Some(held.as_str()), Ok("token:watcher"), Ok("token:watcher")),
        (near(), Some(small.as_str()), Ok("token:watcher"), Ok("token:watcher")),
        (near(), Some(other.as_str()), Err("TOKEN_UNKNOWN"), Err("TOKEN_UNKNOWN")),
        (near(), Some("Bearer "), Err("TOKEN_UNKNOWN"), Err("TOKEN_UNKNOWN")),
        (near(), Some("Bearer"), Err("TOKEN_UNKNOWN"), Err("TOKEN_UNKNOWN")),
        (near(), Some(SECRET), Err("TOKEN_UNKNOWN"), Err("TOKEN_UNKNOWN")),
        (near(), Some("Basic "), Err("TOKEN_UNKNOWN"), Err("TOKEN_UNKNOWN")),
        (near(), Some("Basic YTpi"), Err("PROOF_NEEDED"), Err("PROOF_NEEDED")),
        (PeerInfo::of_user("root"), Some("Basic YTpi"), Err("PROOF_NEEDED"), Err("PROOF_NEEDED")),
        (PeerInfo::unknown(), Some("Basic YTpi"), Err("PROOF_NEEDED"), Err("PROOF_NEEDED")),
        (PeerInfo::of_user("ann"), None, Ok("uid:ann"), Ok("uid:ann")),
        (PeerInfo::of_user("ann"), Some(other.as_str()), Err("TOKEN_UNKNOWN"), Err("TOKEN_UNKNOWN")),
        (PeerInfo::of_user("ann"), Some(""), Err("TOKEN_UNKNOWN"), Err("TOKEN_UNKNOWN")),
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
    use parking_lot::Mutex;
    let said = Arc::new(Mutex::new(HasAuthority::Unknown));
    let asked = said.clone();
    let trust = MeshTrust::default().asking(move || *asked.lock());
    let until = UntilAuthorityAuthenticator::new(Arc::new(trust));
    let scopes = |remote: &str| {
        let peer = PeerInfo::at(remote.parse().unwrap(), None);
        until.authenticate(&peer, &HeaderMap::new()).map(|who| who.scopes.to_string())
    };
    assert_eq!(scopes("127.0.0.1:5").unwrap(), Scopes::all().to_string());
    let who = |name: &str| Principal::unproven(name, Scopes::all());
    let provisional = until.provisional(&who("local")).expect("it is not known");
    provisional.check().unwrap();
    *said.lock() = HasAuthority::No;
    assert_eq!(scopes("127.0.0.1:5").unwrap(), Scopes::all().to_string());
    assert!(scopes("10.0.0.7:5").is_err() && until.provisional(&who("local")).is_none());
    *said.lock() = HasAuthority::Yes;
    assert_eq!(scopes("127.0.0.1:5").unwrap_err().reason, "PROOF_NEEDED");
    assert_eq!(provisional.check().unwrap_err().reason, "PROOF_NEEDED", "it was asked before that was known");
    *said.lock() = HasAuthority::Unknown;
    let proven = ProofAuthenticator::new(tokens(), Arc::default(), until);
    assert!(proven.provisional(&who("local")).is_some() && proven.provisional(&of_ann_alone()).is_none());
}

#[test]
fn a_certificate_is_who_it_says_and_a_node_no_more() {
    let grants = Arc::new(BindingGrants::new(Arc::default(), |_| Scopes::all()));
    let proven = ProofAuthenticator::new(tokens(), grants, RefusingAuthenticator);
    let shown = |id: &str| {
        let certificate = omnirelay_pki::certificate::Certificate {
            serial: omnirelay_pki::certificate::CertificateSerial::of(&[1]),
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
    let grants = Arc::new(BindingGrants::new(Arc::default(), |_| Scopes::all()));
    let proven = ProofAuthenticator::new(tokens(), grants, LoopbackAuthenticator::default());
    let certificate = omnirelay_pki::certificate::Certificate {
        serial: omnirelay_pki::certificate::CertificateSerial::of(&[1]),
        id: "spiffe://west.example/mesh/west/worker/a".parse().unwrap(),
        names: Default::default(),
        not_before: 0,
        not_after: 1,
        key: omnirelay_pki::key::Fingerprint::of(b"key"),
    };
    let near = PeerInfo::at("127.0.0.1:5".parse().unwrap(), None);
    let certificate = Some(Arc::new(certificate));
    let peer = PeerInfo { certificate, standing: HolderStanding::Federated, ..near };
    let held = format!("Bearer {SECRET}");
    for value in [None, Some(held.as_str()), Some("Bearer other")] {
        let who = proven.authenticate(&peer, &sent(value)).unwrap();
        assert_eq!((who.name.as_ref(), who.scopes), ("node:west/a", Scopes::NONE), "{value:?}");
        assert_eq!((who.proof.federated(), who.proof.word()), (Some("west"), "certificate"));
    }
}

/// The plant: the issuer of another cluster names an operator that this one has as well.
#[test]
fn whom_another_cluster_vouches_for_has_what_a_binding_of_that_name_gives() {
    let bound = |name: &str| match name {
        "operator:ann" | "node:n1" => Scopes::all(),
        "operator:west/ann" => [Scope::MeshOperate].into_iter().collect(),
        "node:west/n1" => Scopes::all(),
        _ => Scopes::NONE,
    };
    let grants = Arc::new(BindingGrants::new(Arc::default(), bound));
    let proven = ProofAuthenticator::new(tokens(), grants, LoopbackAuthenticator::default());
    let shows = |path: &str, standing: HolderStanding| {
        let certificate = omnirelay_pki::certificate::Certificate {
            serial: omnirelay_pki::certificate::CertificateSerial::of(&[1]),
            id: format!("spiffe://mesh.example/{path}").parse().unwrap(),
            names: Default::default(),
            not_before: 0,
            not_after: 1,
            key: omnirelay_pki::key::Fingerprint::of(b"key"),
        };
        let near = PeerInfo::at("127.0.0.1:5".parse().unwrap(), None);
        let peer = PeerInfo { certificate: Some(Arc::new(certificate)), standing, ..near };
        proven.authenticate(&peer, &sent(None)).unwrap()
    };
    let west = || HolderStanding::Sibling("west".into());
    let node = HolderStanding::SiblingNode("west".into());
    for (path, standing, name, scopes) in [
        ("operator/ann", HolderStanding::Member, "operator:ann", Scopes::all()),
        ("operator/ann", west(), "operator:west/ann", [Scope::MeshOperate].into_iter().collect()),
        ("operator/bob", west(), "operator:west/bob", Scopes::NONE),
        ("service/ads", west(), "service:west/ads", Scopes::NONE),
        ("mesh/west/worker/n1", node, "node:west/n1", Scopes::NONE),
    ] {
        let who = shows(path, standing.clone());
        assert_eq!((who.name.as_ref(), who.scopes, who.own_node), (name, scopes, scopes));
        let vouching = (standing != HolderStanding::Member).then_some("west");
        assert_eq!((who.proof.sibling(), who.proof.word()), (vouching, "certificate"));
    }
}

#[test]
fn a_token_has_its_own_scopes_even_at_the_socket() {
    let proven = ProofAuthenticator::new(tokens(), Arc::default(), RefusingAuthenticator);
    let scopes = |value: Option<&str>| {
        proven.authenticate(&PeerInfo::of_user("root"), &sent(value)).unwrap().scopes.to_string()
    };
    assert_eq!(scopes(Some(&format!("Bearer {SECRET}"))), "mesh.read");
    assert_eq!(scopes(None), Scopes::all().to_string());
}

#[test]
fn what_was_granted_is_added_to_what_a_token_has_and_to_nobody_else() {
    let is_bound = Arc::new(AtomicBool::new(false));
    let asked = is_bound.clone();
    let granted = move |name: &str| match name {
        _ if !asked.load(Ordering::Relaxed) => Scopes::NONE,
        "token:watcher" => [Scope::MeshOperate].into_iter().collect(),
        _ => panic!("nobody proved to be {name}"),
    };
    let grants = Arc::new(BindingGrants::new(Arc::default(), granted));
    let proven = ProofAuthenticator::new(tokens(), grants, LoopbackAuthenticator::default());
    let near = PeerInfo::at("127.0.0.1:5".parse().unwrap(), None);
    let held = format!("Bearer {SECRET}");
    let scopes = |value: Option<&str>| proven.authenticate(&near, &sent(value)).unwrap().scopes.to_string();
    assert_eq!(scopes(Some(&held)), "mesh.read");
    is_bound.store(true, Ordering::Relaxed);
    assert_eq!(scopes(Some(&held)), "mesh.read, mesh.operate");
    assert_eq!(scopes(None), Scopes::all().to_string(), "whoever is on this host");
}

/// Who shows a certificate of the mesh.
fn of_ann_alone() -> Principal {
    of_holder(&CertificateHolder::Operator("ann".to_owned()))
}

/// A certificate of `ann`, who may do everything by her binding.
fn of_ann() -> PeerInfo {
    let certificate = omnirelay_pki::certificate::Certificate {
        serial: omnirelay_pki::certificate::CertificateSerial::of(&[1]),
        id: "spiffe://m/operator/ann".parse().unwrap(),
        names: Default::default(),
        not_before: 0,
        not_after: 1,
        key: omnirelay_pki::key::Fingerprint::of(b"key"),
    };
    PeerInfo { certificate: Some(Arc::new(certificate)), ..PeerInfo::unknown() }
}

#[test]
fn a_token_that_was_taken_away_is_a_refusal_whatever_else_is_proven() {
    let tokens = tokens();
    let near = PeerInfo::at("127.0.0.1:5".parse().unwrap(), None);
    let headers = sent(Some(&format!("Bearer {SECRET}")));
    let mut twice = headers.clone();
    twice.append(AUTHORIZATION, "Bearer other".parse().unwrap());
    let of = || (tokens.clone(), Arc::<BindingGrants>::default());
    let everybody: [(&str, Box<dyn Authenticator>); 3] = [
        ("open", Box::new(ProofAuthenticator::new(of().0, of().1, LoopbackAuthenticator::default()))),
        (
            "insecure",
            Box::new(ProofAuthenticator::new(
                of().0,
                of().1,
                super::super::authenticate::InsecureAuthenticator::default(),
            )),
        ),
        ("proof", Box::new(ProofAuthenticator::new(of().0, of().1, RefusingAuthenticator))),
    ];
    let peers = [near, PeerInfo::of_user("root"), of_ann(), PeerInfo::unknown()];
    let each =
        || everybody.iter().flat_map(|(port, judge)| peers.iter().map(move |peer| (port, judge, peer)));
    for (port, judge, peer) in each() {
        let who = judge.authenticate(peer, &headers).unwrap();
        assert_eq!(&*who.name, "token:watcher", "{port}: {peer:?}");
    }
    let refused = |headers: &HeaderMap| {
        for (port, judge, peer) in each() {
            let fault = judge.authenticate(peer, headers).expect_err(port);
            let (code, reason) = (fault.code, fault.reason.as_ref());
            assert_eq!((code, reason), (Code::Unauthenticated, "TOKEN_UNKNOWN"), "{port}: {peer:?}");
        }
    };
    refused(&twice);
    tokens.replace(&[]);
    refused(&headers);
}

/// As a proxy passes on what it has looked at itself.
#[test]
fn another_scheme_than_that_of_tokens_leaves_a_certificate_and_makes_nobody_more_than_anybody_is() {
    use super::super::authenticate::{HostAuthenticator, InsecureAuthenticator};
    let tokens = tokens();
    let of = || (tokens.clone(), Arc::<BindingGrants>::default());
    let near = || PeerInfo::at("127.0.0.1:5".parse().unwrap(), None);
    let ports: [(&str, Box<dyn Authenticator>, Option<&str>); 4] = [
        // who may call, and who anybody is there
        ("open", Box::new(ProofAuthenticator::new(of().0, of().1, LoopbackAuthenticator::default())), None),
        (
            "insecure",
            Box::new(ProofAuthenticator::new(of().0, of().1, InsecureAuthenticator::default())),
            Some("anonymous"),
        ),
        ("proof", Box::new(ProofAuthenticator::new(of().0, of().1, RefusingAuthenticator)), None),
        (
            "agents",
            Box::new(ProofAuthenticator::new(of().0, of().1, HostAuthenticator::new(|| true))),
            Some("agent"),
        ),
    ];
    for value in ["Basic YTpi", "basic YTpi", "Negotiate YII=", "Digest username=\"ann\""] {
        for (port, judge, anybody) in &ports {
            let who = |peer: &PeerInfo| judge.authenticate(peer, &sent(Some(value)));
            assert_eq!(&*who(&of_ann()).unwrap().name, "operator:ann", "{port}: {value}");
            for peer in [near(), PeerInfo::of_user("root"), PeerInfo::unknown()] {
                let told =
                    who(&peer).map(|who| who.name.to_string()).map_err(|fault| fault.reason.to_string());
                let expected = anybody.map(str::to_owned).ok_or("PROOF_NEEDED".to_owned());
                assert_eq!(told, expected, "{port}: {value} of {peer:?}");
            }
        }
    }
    let mut twice = sent(Some("Basic YTpi"));
    twice.append(AUTHORIZATION, format!("Bearer {SECRET}").parse().unwrap());
    for (port, judge, _) in &ports {
        assert_eq!(judge.authenticate(&of_ann(), &twice).unwrap_err().reason, "TOKEN_UNKNOWN", "{port}");
    }
}

#[test]
fn where_tokens_are_no_proof_they_are_not_looked_at_and_make_nobody_more() {
    use super::super::authenticate::HostAuthenticator;
    let port = ProofAuthenticator::by_certificate(Arc::default(), HostAuthenticator::new(|| true));
    let near = PeerInfo::at("127.0.0.1:5".parse().unwrap(), None);
    let who = |peer: &PeerInfo, value: Option<&str>| {
        port.authenticate(peer, &sent(value)).unwrap().name.to_string()
    };
    assert_eq!((who(&near, None), who(&near, Some("Bearer of-an-agent"))), ("local".into(), "agent".into()));
    assert_eq!(who(&of_ann(), Some("Bearer of-an-agent")), "operator:ann");
}

#[tokio::test]
async fn what_is_under_way_ends_with_the_scope_that_it_needs_or_with_the_proof() {
    use parking_lot::Mutex;
    let bound = Arc::new(Mutex::new(Scopes::all()));
    let (asked, tokens) = (bound.clone(), tokens());
    let grants = Arc::new(BindingGrants::new(Arc::default(), move |_| *asked.lock()));
    let proven = ProofAuthenticator::new(tokens.clone(), grants.clone(), RefusingAuthenticator);
    let watcher =
        proven.authenticate(&PeerInfo::unknown(), &sent(Some(&format!("Bearer {SECRET}")))).unwrap();
    let ann = of_holder(&CertificateHolder::Operator("ann".to_owned()));
    let begun = |who: &Principal, needed| tokio::spawn(proven.ends(who, Some(needed)).unwrap());
    let ended = async |call: tokio::task::JoinHandle<EndedPrincipal>| {
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
    *bound.lock() = Scopes::NONE;
    grants.tell();
    assert_eq!(ended(of_watcher).await, Ok("mesh.read".to_owned()));
    assert_eq!(ended(of_ann).await, Ok("mesh.read".to_owned()));
    let waited = tokio::time::timeout(std::time::Duration::from_millis(50), &mut reading).await;
    waited.expect_err("its line gives that scope");
    tokens.replace(&[]);
    assert_eq!(ended(reading).await, Err("TOKEN_ENDED".to_owned()));
    assert!(proven.ends(&ann, Some(Scope::MeshRead)).is_none(), "its connection ends with the certificate");
}

/// Scopes here, and where a call concerns this node alone.
fn both(who: &Principal) -> String {
    format!("{} | {}", who.scopes, who.own_node)
}

#[test]
fn who_is_on_a_host_that_is_no_issuer_may_read_and_do_what_concerns_it() {
    use super::super::authenticate::InsecureAuthenticator;
    let (all, read) = (Scopes::all(), [Scope::MeshRead].into_iter().collect());
    let tokens = Arc::new(SecretTokens::default());
    let secrets = ["a", "b", "c"].map(|letter| letter.repeat(32));
    let line = |name: &str, scopes, own_node| SecretToken {
        name: name.to_owned(),
        secret: name.repeat(32),
        scopes,
        own_node,
    };
    tokens.replace(&[
        line("a", super::super::host_door::of_door(), all),
        line("b", all, all),
        line("c", read, read),
    ]);
    // A binding of the mesh that names a line of each host.
    let granted = |name: &str| match name {
        "token:c" | "operator:ann" => Scopes::all(),
        _ => Scopes::NONE,
    };
    let grants = Arc::new(BindingGrants::new(Arc::default(), granted));
    let proven = ProofAuthenticator::new(tokens, grants.clone(), InsecureAuthenticator::default());
    let user = PeerInfo::of_user("root");
    let [own, named, bound] = secrets.map(|secret| sent(Some(&format!("Bearer {secret}"))));
    let (nothing, basic, all) = (HeaderMap::new(), sent(Some("Basic eA==")), all.to_string());
    let (door, most) = ("mesh.read", "mesh.connect, mesh.read, mesh.operate");
    let foreign = || PeerInfo { by_own_roots: true, ..of_ann() };
    let cases = [
        // who, what is sent, the scopes where this host administers, and where it does not
        ("the socket", user.clone(), &nothing, all.as_str(), door),
        ("a line without scopes", user.clone(), &own, all.as_str(), door),
        ("a line with all scopes", user.clone(), &named, all.as_str(), most),
        ("a line with a binding", user, &bound, all.as_str(), most),
        ("an operator", of_ann(), &nothing, all.as_str(), all.as_str()),
        ("an operator under roots of this host", foreign(), &nothing, all.as_str(), most),
        ("anybody", PeerInfo::unknown(), &nothing, all.as_str(), most),
        ("anybody with another scheme", PeerInfo::unknown(), &basic, all.as_str(), most),
    ];
    for administers in [true, false, true] {
        grants.door.administers(administers);
        for (what, peer, headers, everywhere, narrow) in &cases {
            let who = proven.authenticate(peer, headers).unwrap();
            let expected = if administers { everywhere } else { narrow };
            assert_eq!(both(&who), format!("{expected} | {all}"), "{what}, {administers}");
        }
    }
}

#[tokio::test]
async fn what_is_under_way_at_the_door_ends_once_others_administer() {
    let grants = Arc::new(BindingGrants::default());
    let proven = ProofAuthenticator::new(tokens(), grants.clone(), RefusingAuthenticator);
    let who = proven.authenticate(&PeerInfo::of_user("root"), &HeaderMap::new()).unwrap();
    let begun = |needed| proven.ends(&who, Some(needed)).map(tokio::spawn);
    let administering = begun(Scope::MeshAdmin).unwrap();
    assert!(begun(Scope::MeshRead).is_none(), "nobody takes that away");
    tokio::task::yield_now().await;
    assert!(grants.door.administers(false) && !grants.door.administers(false), "it is new once");
    grants.tell();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(5), administering).await;
    let who = ended.expect("at once").unwrap().unwrap();
    assert_eq!(who.scopes.to_string(), "mesh.read");
}

#[test]
fn who_came_before_it_was_known_who_administers_is_asked_again() {
    let administers = Arc::new(AtomicBool::new(true));
    let asked = administers.clone();
    let door = Arc::new(HostDoor::new(move || asked.load(Ordering::Relaxed)));
    let grants = Arc::new(BindingGrants::new(door, |_| Scopes::all()));
    let proven = ProofAuthenticator::new(tokens(), grants, RefusingAuthenticator);
    let who = |peer: &PeerInfo| proven.authenticate(peer, &HeaderMap::new()).unwrap();
    let foreign = PeerInfo { by_own_roots: true, ..of_ann() };
    let early = [PeerInfo::of_user("root"), foreign].map(|peer| proven.provisional(&who(&peer)).unwrap());
    assert!(proven.provisional(&who(&of_ann())).is_none(), "the mesh says who that is");
    assert!(early.iter().all(|early| early.check().is_ok()));
    administers.store(false, Ordering::Relaxed);
    for early in early {
        assert_eq!(early.check().unwrap_err().reason, "MISSING_SCOPE");
    }
}

#[test]
fn secrets_are_not_shown() {
    let token = SecretToken {
        name: "ops".into(),
        secret: SECRET.into(),
        scopes: Scopes::all(),
        own_node: Scopes::all(),
    };
    let shown = format!("{token:?} {:?}", tokens());
    assert!(shown.contains("ops") && !shown.contains(SECRET), "{shown}");
}
