//! Tokens of the mesh and of an issuer outside, and what puts them out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use omnirelay_core::spiffe::SpiffeId;
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::{Certificate, CertificateSerial, TlsNames};
use omnirelay_pki::jwt::TokenAlgorithm;
use omnirelay_pki::jwt::signing::{SigningKey, verifier};
use omnirelay_pki::revocation::RevokedSubject;
use omnirelay_pki::trust::TrustBundle;
use omnirelay_wire::fault::Code;
use serde_json::{Value, json};

use super::mesh::TokenGrant;
use super::oidc::{BELIEVED_FOR, JwksLocation, OidcSettings};
use super::*;
use crate::authenticate::Authenticator as _;
use crate::caller::{PeerInfo, Scope};
use crate::proof::{BindingGrants, ProofAuthenticator, RefusingAuthenticator, SecretTokens};
use crate::trust::{HeardTrust, SiblingTrust};

const DOMAIN: &str = "mesh.test";
const HOUR: i64 = 3600;

/// A mesh that has an authority and a key for tokens.
struct Mesh {
    key: SigningKey,
    trust: Arc<MeshTrust>,
    bearers: Arc<Bearers>,
}

fn mesh(oidc: Option<Arc<OidcIssuer>>) -> Mesh {
    let (now, (key, _)) = (unix_now(), SigningKey::make().unwrap());
    let validity = ValidityPeriod { not_before: now - HOUR, not_after: now + HOUR };
    let root = CertificateAuthority::root(DOMAIN.parse().unwrap(), validity).unwrap();
    let trust = Arc::new(MeshTrust::default());
    trust.update(|trusted| {
        trusted.bundle = Some(TrustBundle::of(vec![root.certificate().clone()]).unwrap());
        trusted.token_keys = verifier(key.public()).into_iter().collect();
    });
    let bearers = Arc::new(Bearers::new(trust.clone(), oidc));
    Mesh { key, trust, bearers }
}

fn certificate(serial: u8, key: &[u8]) -> Certificate {
    Certificate {
        serial: CertificateSerial::of(&[serial]),
        id: ann(),
        names: TlsNames::default(),
        not_before: 0,
        not_after: i64::MAX,
        key: Fingerprint::of(key),
    }
}

fn ann() -> SpiffeId {
    format!("spiffe://{DOMAIN}/operator/ann").parse().unwrap()
}

/// What a token of Ann claims, with something in place of what it should.
fn claims(changes: Value) -> Value {
    let (now, shown) = (unix_now(), certificate(7, b"shown"));
    let (id, number) = (ann(), CertificateSerial::of(&[9; 16]));
    let (issued_at, expires_at) = (now, now + HOUR);
    let grant = TokenGrant {
        id: &id,
        number: &number,
        shown: Some(&shown),
        scopes: &[],
        issued_at,
        expires_at,
        cluster: "default",
    };
    let mut claims = grant.claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn reason(judged: Option<Result<Arc<BearerToken>, Fault>>) -> Result<String, String> {
    judged.unwrap().map(|bearer| bearer.name.to_string()).map_err(|fault| fault.reason.into_owned())
}

impl Mesh {
    fn judged(&self, claims: &Value) -> Result<String, String> {
        reason(self.bearers.judge(self.key.sign(claims).as_bytes()))
    }
}

#[test]
fn a_token_of_the_mesh_is_its_holder_s() {
    let mesh = mesh(None);
    assert_eq!(mesh.judged(&claims(json!({}))), Ok("operator:ann".to_owned()));
    let billing = format!("spiffe://{DOMAIN}/service/billing");
    assert_eq!(mesh.judged(&claims(json!({ "sub": billing }))), Ok("service:billing".to_owned()));
    let now = unix_now();
    let refused = [
        ("of a node", json!({"sub": format!("spiffe://{DOMAIN}/mesh/default/worker/a")}), "TOKEN_REFUSED"),
        ("of another mesh", json!({"sub": "spiffe://other/operator/ann"}), "TOKEN_REFUSED"),
        ("of nobody", json!({"sub": "ann"}), "TOKEN_REFUSED"),
        ("without a number", json!({"jti": ""}), "TOKEN_REFUSED"),
        ("of another issuer", json!({"iss": "spiffe://other"}), "TOKEN_REFUSED"),
        ("for others", json!({"aud": "other"}), "TOKEN_REFUSED"),
        ("half of a certificate", json!({"crk": null}), "TOKEN_REFUSED"),
        ("not yet", json!({"nbf": now + HOUR}), "TOKEN_REFUSED"),
        ("ended", json!({"exp": now - HOUR}), "TOKEN_ENDED"),
    ];
    for (what, changes, expected) in refused {
        assert_eq!(mesh.judged(&claims(changes)), Err(expected.to_owned()), "{what}");
    }
    let (other, _) = SigningKey::make().unwrap();
    assert_eq!(
        reason(mesh.bearers.judge(other.sign(&claims(json!({}))).as_bytes())),
        Err("TOKEN_REFUSED".into())
    );
    assert!(mesh.bearers.judge(b"0123456789abcdef0123456789abcdef").is_none(), "something else");
}

/// The plant: another cluster of the trust domain signs a token of an operator that this one has as well.
#[test]
fn a_token_of_another_cluster_proves_one_of_that_cluster() {
    let (own, (west, _)) = (mesh(None), SigningKey::make().unwrap());
    let by_west = |mut changes: Value| {
        changes["clu"] = json!("west");
        reason(own.bearers.judge(west.sign(&claims(changes)).as_bytes()))
    };
    assert_eq!(by_west(json!({})), Err("TOKEN_REFUSED".to_owned()), "nothing is known of west");
    let heard = |change: &dyn Fn(&mut HeardTrust)| {
        let mut heard =
            HeardTrust { token_keys: verifier(west.public()).into_iter().collect(), ..Default::default() };
        // A third one lists the key of west as its own.
        let claimed = SiblingTrust { heard: Some(heard.clone()) };
        change(&mut heard);
        let west = SiblingTrust { heard: Some(heard) };
        let siblings =
            Arc::new([("north".to_owned(), claimed), ("west".to_owned(), west)].into_iter().collect());
        own.trust.update(|trusted| trusted.siblings = siblings);
    };
    heard(&|_| {});
    assert_eq!(by_west(json!({})), Ok("operator:west/ann".to_owned()));
    assert_eq!(own.judged(&claims(json!({}))), Ok("operator:ann".to_owned()), "ours is ours still");
    let (now, holder) = (unix_now(), RevokedSubject::Holder(ann()));
    own.trust.update(|trusted| trusted.revocations.revoke(holder.clone(), now, now + HOUR, ""));
    assert_eq!(by_west(json!({})), Ok("operator:west/ann".to_owned()), "that is our Ann who is out");
    heard(&|west| west.revocations.revoke(holder.clone(), now, now + HOUR, ""));
    assert_eq!(by_west(json!({})), Err("TOKEN_ENDED".to_owned()), "and this is theirs");
    heard(&|_| {});
    let number = RevokedSubject::Serial(CertificateSerial::of(&[9; 16]));
    own.trust.update(|trusted| trusted.revocations.revoke(number, now, now + HOUR, ""));
    assert_eq!(by_west(json!({})), Err("TOKEN_ENDED".to_owned()), "a number is out whoever says so");
    // What a binding of that name gives, and not what a certificate of an operator gives by itself.
    let granted = |name: &str| match name {
        "operator:ann" => Scopes::all(),
        "operator:west/bob" => [Scope::MeshOperate].into_iter().collect(),
        _ => Scopes::NONE,
    };
    let bob = format!("spiffe://{DOMAIN}/operator/bob");
    let other = CertificateSerial::of(&[8; 16]).to_string();
    let token = west.sign(&claims(json!({"sub": bob, "jti": other, "clu": "west"})));
    let bearer = own.bearers.judge(token.as_bytes()).unwrap().unwrap();
    let grants = BindingGrants::new(Arc::default(), granted);
    let proven = ProofAuthenticator::new(Arc::default(), Arc::new(grants), RefusingAuthenticator)
        .with_bearers(own.bearers.clone());
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {}", *token)).unwrap());
    let who = proven.authenticate(&PeerInfo::unknown(), &headers).unwrap();
    assert_eq!((who.scopes.to_string().as_str(), bearer.sibling()), ("mesh.operate", Some("west")));
    own.trust.update(|trusted| trusted.siblings = Arc::default());
    assert!(proven.authenticate(&PeerInfo::unknown(), &headers).is_err(), "west is no sibling any more");
}

#[test]
fn whatever_revokes_a_token_puts_it_out_although_it_was_judged_before() {
    let now = unix_now();
    for what in [
        RevokedSubject::Serial(CertificateSerial::of(&[9; 16])),
        RevokedSubject::Serial(CertificateSerial::of(&[7])),
        RevokedSubject::Key(Fingerprint::of(b"shown")),
        RevokedSubject::Holder(ann()),
    ] {
        let (mesh, claims) = (mesh(None), claims(json!({})));
        assert!(mesh.judged(&claims).is_ok());
        mesh.trust.update(|trusted| trusted.revocations.revoke(what.clone(), now, now + HOUR, ""));
        assert_eq!(mesh.judged(&claims), Err("TOKEN_ENDED".to_owned()), "{what:?}");
    }
    // Asked for with a certificate of roots that are believed besides: it falls with either name.
    let foreign: SpiffeId = "spiffe://corp.test/operator/ann".parse().unwrap();
    for (what, is_out) in
        [(foreign.clone(), true), (ann(), true), ("spiffe://other.test/operator/ann".parse().unwrap(), false)]
    {
        let shown = Certificate { id: foreign.clone(), ..certificate(7, b"shown") };
        let (mesh, id, number) = (mesh(None), ann(), CertificateSerial::of(&[9; 16]));
        let (issued_at, expires_at) = (now, now + HOUR);
        let claims = TokenGrant {
            id: &id,
            number: &number,
            shown: Some(&shown),
            scopes: &[],
            issued_at,
            expires_at,
            cluster: "default",
        }
        .claims();
        assert_eq!(mesh.judged(&claims), Ok("operator:ann".to_owned()));
        mesh.trust.update(|trusted| {
            trusted.revocations.revoke(RevokedSubject::Holder(what.clone()), now, now + HOUR, "");
        });
        assert_eq!(mesh.judged(&claims).is_err(), is_out, "{what}");
    }
    let mesh = mesh(None);
    mesh.trust.update(|trusted| {
        trusted.revocations.revoke(RevokedSubject::Holder(ann()), now - 10, now + HOUR, "");
        trusted.revocations.reinstate(&RevokedSubject::Holder(ann()), now - 5);
    });
    let before = claims(json!({"iat": now - 60, "nbf": now - 60}));
    assert_eq!(mesh.judged(&before), Err("TOKEN_ENDED".to_owned()), "of before it was let back in");
    assert!(mesh.judged(&claims(json!({}))).is_ok());
    mesh.trust.update(|trusted| trusted.token_keys.clear());
    // One that was judged before, and one that was not.
    assert_eq!(mesh.judged(&claims(json!({}))), Err("TOKEN_ENDED".to_owned()));
    assert_eq!(mesh.judged(&claims(json!({"jti": "aa"}))), Err("TOKEN_REFUSED".to_owned()));
}

#[tokio::test]
async fn what_is_under_way_ends_with_the_token() {
    let mesh = mesh(None);
    let token = mesh.key.sign(&claims(json!({})));
    let bearer = mesh.bearers.judge(token.as_bytes()).unwrap().unwrap();
    let mut ends = tokio::spawn(mesh.bearers.clone().ends(bearer));
    mesh.trust.update(|trusted| {
        trusted.revocations.revoke(
            RevokedSubject::Serial(CertificateSerial::of(&[8])),
            0,
            i64::MAX,
            "another",
        );
    });
    tokio::time::timeout(Duration::from_millis(50), &mut ends).await.expect_err("it is not revoked");
    mesh.trust.update(|trusted| {
        trusted.revocations.revoke(RevokedSubject::Serial(CertificateSerial::of(&[9; 16])), 0, i64::MAX, "");
    });
    let told = tokio::time::timeout(Duration::from_secs(5), ends).await.expect("at once").unwrap();
    assert_eq!((told.code, told.reason.as_ref()), (Code::Unauthenticated, "TOKEN_ENDED"));
}

#[test]
fn a_token_gives_what_its_holder_has_and_no_more_than_it_was_narrowed_to() {
    let granted = |name: &str| match name {
        "operator:ann" => [Scope::MeshOperate].into_iter().collect(),
        _ => Scopes::NONE,
    };
    let (mesh, grants) = (mesh(None), Arc::new(BindingGrants::new(Arc::default(), granted)));
    let proven = ProofAuthenticator::new(Arc::<SecretTokens>::default(), grants, RefusingAuthenticator)
        .with_bearers(mesh.bearers.clone());
    let scopes = |claims: Value, peer: &PeerInfo| {
        let value = format!("Bearer {}", *mesh.key.sign(&claims));
        let headers: HeaderMap =
            [(AUTHORIZATION, HeaderValue::try_from(value).unwrap())].into_iter().collect();
        let who = proven.authenticate(peer, &headers);
        who.map(|who| format!("{} {}", who.name, who.scopes)).map_err(|fault| fault.reason.into_owned())
    };
    let far = PeerInfo::unknown();
    let narrowed = |scopes: &str| claims(json!({ "scope": scopes }));
    assert_eq!(scopes(claims(json!({})), &far).unwrap(), "operator:ann mesh.read, mesh.operate");
    assert_eq!(scopes(narrowed("mesh.read"), &far).unwrap(), "operator:ann mesh.read");
    assert_eq!(scopes(narrowed("mesh.read mesh.admin"), &far).unwrap(), "operator:ann mesh.read");
    assert_eq!(scopes(narrowed("mesh.fly"), &far).unwrap(), "operator:ann none");
    assert_eq!(scopes(narrowed(""), &far).unwrap(), "operator:ann none");
    // The user of the socket has every scope, and whoever sends less means it.
    let ended = claims(json!({"exp": 1}));
    assert_eq!(scopes(ended, &PeerInfo::of_user("root")), Err("TOKEN_ENDED".to_owned()));
}

#[test]
fn where_nobody_could_have_signed_one_it_is_a_token_like_any_other() {
    let bearers = Bearers::new(Arc::default(), None);
    let (key, _) = SigningKey::make().unwrap();
    assert!(bearers.judge(key.sign(&claims(json!({}))).as_bytes()).is_none());
}

/// What a stranger sends takes a signature, which is counted before: nothing of it is verified by a look.
#[test]
fn a_token_is_recognized_once_it_was_judged_and_no_longer_than_it_holds() {
    let mesh = mesh(None);
    let known = mesh.key.sign(&claims(json!({})));
    let forged = SigningKey::make().unwrap().0.sign(&claims(json!({})));
    let proven = ProofAuthenticator::new(Arc::default(), Arc::default(), RefusingAuthenticator)
        .with_bearers(mesh.bearers.clone());
    let sending = |token: &str| {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap())])
    };
    let far = PeerInfo::at(([10, 0, 0, 7], 5).into(), None);
    let look = |token: &str| {
        let known = proven.recognize(&far, &sending(token))?;
        Some(known.map(|who| who.name.to_string()).map_err(|fault| fault.reason.into_owned()))
    };
    for token in [&known, &forged] {
        assert_eq!(look(token), None);
    }
    assert_eq!(look("0123456789abcdef0123456789abcdef"), Some(Err("TOKEN_UNKNOWN".to_owned())));
    proven.authenticate(&far, &sending(&known)).unwrap();
    proven.authenticate(&far, &sending(&forged)).unwrap_err();
    assert_eq!((look(&known), look(&forged)), (Some(Ok("operator:ann".to_owned())), None));
    let (now, what) = (unix_now(), RevokedSubject::Holder(ann()));
    mesh.trust.update(|trusted| trusted.revocations.revoke(what, now, now + HOUR, ""));
    assert_eq!(look(&known), Some(Err("TOKEN_ENDED".to_owned())));
    assert_eq!(look(&known), None, "it is forgotten");
}

/// An issuer outside.
struct Issuer(SigningKey);

impl Issuer {
    fn new() -> Self {
        Self(SigningKey::make().unwrap().0)
    }

    fn token(&self, changes: Value) -> String {
        let mut claims = json!({"iss": "https://issuer", "aud": ["mesh"], "sub": "ann", "iat": unix_now(), "exp": unix_now() + HOUR});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.0.sign(&claims).to_string()
    }
}

fn keys(of: &[&Issuer]) -> Vec<u8> {
    let jwk = |issuer: &&Issuer| {
        let x = BASE64_URL_SAFE_NO_PAD.encode(issuer.0.public());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": issuer.0.kid(), "x": x})
    };
    json!({"keys": of.iter().map(jwk).collect::<Vec<_>>()}).to_string().into_bytes()
}

fn settings() -> OidcSettings {
    OidcSettings {
        issuer: "https://issuer".to_owned(),
        audience: "mesh".to_owned(),
        keys: JwksLocation::File("/nowhere/keys.json".into()),
        principal_claim: "sub".to_owned(),
        roles_claim: Some("realm.roles".to_owned()),
        algorithms: TokenAlgorithm::ALL.to_vec(),
        max_lifetime: Duration::from_secs(24 * 3600),
    }
}

#[test]
fn whom_an_issuer_outside_names_has_a_name_and_roles_and_no_scope_by_that() {
    let issuer = Issuer::new();
    let oidc = Arc::new(OidcIssuer::new(settings()).taught(&keys(&[&issuer])));
    let mesh = mesh(Some(oidc));
    let judged = |changes: Value| mesh.bearers.judge(issuer.token(changes).as_bytes()).unwrap();
    let roles = ["sre", "Mesh Readers", "/platform/sre", " padded", "a\u{202e}b", "on-call"];
    let bearer = judged(json!({"realm": {"roles": roles}})).unwrap();
    assert_eq!(bearer.name.as_ref(), "oidc:ann");
    let bound: Vec<_> = bearer.roles.iter().collect();
    assert_eq!(bound, ["role:sre", "role:Mesh Readers", "role:/platform/sre", "role:on-call"]);
    let many: Vec<String> = (0..500).map(|number| format!("r{number}")).collect();
    assert_eq!(judged(json!({"realm": {"roles": many}})).unwrap().roles.iter().count(), 500);
    for of_ci in ["repo:org/x:ref:refs/heads/main", "project_path:a/b:ref_type:branch:ref:main"] {
        assert_eq!(judged(json!({"sub": of_ci})).unwrap().name.as_ref(), format!("oidc:{of_ci}"));
    }
    judged(json!({"iat": unix_now() - HOUR, "exp": unix_now() + 23 * HOUR})).expect("a day is not too long");
    let long = judged(json!({"exp": unix_now() + 30 * HOUR})).unwrap_err();
    assert!(long.message.contains("lives for 108000 s") && long.hint.unwrap().contains("maxLifetime"));
    let own = claims(json!({}));
    assert_eq!(mesh.judged(&own), Ok("operator:ann".to_owned()), "those of the mesh beside them");
    for (what, changes) in [
        ("no name", json!({"sub": null})),
        ("an empty one", json!({"sub": ""})),
        ("with a blank behind it", json!({"sub": "ann "})),
        ("with what nobody sees", json!({"sub": "a\u{200b}nn"})),
        ("that is too long", json!({"sub": "x".repeat(191)})),
        ("two of them", json!({"sub": ["ann", "bob"]})),
        ("another issuer", json!({"iss": "https://issuer/"})),
        ("another audience", json!({"aud": ["other"]})),
        ("no audience", json!({"aud": null})),
        ("it does not say since when", json!({"iat": null})),
        ("for longer than a day", json!({"iat": unix_now() - HOUR, "exp": unix_now() + 23 * HOUR + 1})),
        (
            "the issuer of the mesh",
            json!({"iss": format!("spiffe://{DOMAIN}"), "aud": DOMAIN, "sub": ann().to_string()}),
        ),
    ] {
        assert_eq!(judged(changes).unwrap_err().reason, "TOKEN_REFUSED", "{what}");
    }
    let is_bound = Arc::new(AtomicBool::new(false));
    let asked = is_bound.clone();
    let granted = move |name: &str| match name {
        "role:sre" if asked.load(Ordering::Relaxed) => [Scope::MeshOperate].into_iter().collect(),
        "oidc:ann" if asked.load(Ordering::Relaxed) => [Scope::MeshRead].into_iter().collect(),
        _ => Scopes::NONE,
    };
    let grants = Arc::new(BindingGrants::new(Arc::default(), granted));
    let proven = ProofAuthenticator::new(Arc::<SecretTokens>::default(), grants, RefusingAuthenticator)
        .with_bearers(mesh.bearers.clone());
    let scopes = || {
        let value = format!("Bearer {}", issuer.token(json!({"realm": {"roles": ["sre"]}})));
        let headers: HeaderMap =
            [(AUTHORIZATION, HeaderValue::try_from(value).unwrap())].into_iter().collect();
        proven.authenticate(&PeerInfo::unknown(), &headers).unwrap().scopes.to_string()
    };
    assert_eq!(scopes(), "none");
    is_bound.store(true, Ordering::Relaxed);
    assert_eq!(scopes(), "mesh.read, mesh.operate");
}

/// A stranger is told nothing; the log has the reason, and nothing of what came in place of a secret.
#[test]
fn the_log_says_why_a_token_was_refused() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let oidc = Arc::new(OidcIssuer::new(settings()).taught(&keys(&[&issuer])));
    let mesh = mesh(Some(oidc));
    let good = issuer.token(json!({}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let header = |header: Value| format!("{}.e30.AAAA", BASE64_URL_SAFE_NO_PAD.encode(header.to_string()));
    let unproven = "the token that was sent proves nobody here";
    let cases = [
        ("of a stranger", stranger.token(json!({})), unproven, "publishes 1 key of other names"),
        ("changed", format!("{signed}.{}", "A".repeat(signature.len())), unproven, "signature"),
        ("HMAC", header(json!({"alg": "HS256", "kid": "k"})), unproven, "an algorithm that is not taken"),
        ("another type", header(json!({"alg": "ES256", "kid": "k", "typ": "dpop+jwt"})), unproven, "`typ`"),
        ("no key named", header(json!({"alg": "ES256"})), unproven, "names no key"),
        ("another audience", issuer.token(json!({"aud": "else"})), "another audience", "`aud` is `else`"),
        (
            "another issuer",
            issuer.token(json!({"iss": "https://x"})),
            "another issuer",
            "`iss` is `https://x`",
        ),
    ];
    for (what, token, told, why) in cases {
        let fault = mesh.bearers.judge(token.as_bytes()).unwrap().unwrap_err();
        assert!(fault.message.contains(told), "{what}: {fault}");
        let said = fault.why.as_deref().map(ToString::to_string).unwrap_or_default();
        assert!(said.contains(why), "{what}: {said}");
        let parts: Vec<&str> = token.split('.').collect();
        assert!(parts.iter().all(|part| !said.contains(part)), "{what}: {said}");
        let sent = Fault::from(&tonic::Status::from(fault));
        assert!(sent.why.is_none() && !sent.message.contains("publishes"), "{what}: {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_rotated_out_proves_nobody_and_ends_what_is_under_way() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let oidc = Arc::new(OidcIssuer::new(settings()).taught(&keys(&[&old])));
    let mesh = mesh(Some(oidc.clone()));
    let judged = |issuer: &Issuer| reason(mesh.bearers.judge(issuer.token(json!({})).as_bytes()));
    assert_eq!(judged(&old), Ok("oidc:ann".to_owned()));
    assert_eq!(judged(&new), Err("TOKEN_REFUSED".to_owned()));
    let bearer = mesh.bearers.judge(old.token(json!({})).as_bytes()).unwrap().unwrap();
    let ends = tokio::spawn(mesh.bearers.clone().ends(bearer));
    oidc.teach(&keys(&[&old, &new]));
    assert_eq!((judged(&old), judged(&new)), (Ok("oidc:ann".to_owned()), Ok("oidc:ann".to_owned())));
    oidc.teach(&keys(&[&new]));
    assert_eq!(judged(&old), Err("TOKEN_ENDED".to_owned()));
    assert_eq!(
        tokio::time::timeout(Duration::from_secs(5), ends).await.unwrap().unwrap().reason,
        "TOKEN_ENDED"
    );
    assert_eq!(judged(&new), Ok("oidc:ann".to_owned()));
    tokio::time::advance(BELIEVED_FOR).await;
    assert_eq!(judged(&new), Err("TOKEN_ENDED".to_owned()), "the issuer has not answered for a day");
    let unknown = Bearers::new(Arc::default(), Some(Arc::new(OidcIssuer::new(settings()))));
    assert_eq!(reason(unknown.judge(new.token(json!({})).as_bytes())), Err("ISSUER_KEYS_UNKNOWN".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn keys_that_nobody_has_make_nobody_ask_the_issuer_without_pause() {
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("keys.json");
    std::fs::write(&path, keys(&[&issuer])).unwrap();
    let oidc =
        Arc::new(OidcIssuer::new(OidcSettings { keys: JwksLocation::File(path.clone()), ..settings() }));
    let bearers = Bearers::new(Arc::default(), Some(oidc.clone()));
    let keeping = tokio::spawn(oidc.keep());
    let known = issuer.token(json!({}));
    bearers.awaits(known.as_bytes()).expect("they are not read yet").await;
    assert_eq!(reason(bearers.judge(known.as_bytes())), Ok("oidc:ann".to_owned()));
    assert!(bearers.awaits(known.as_bytes()).is_none());
    tokio::time::advance(Duration::from_secs(11)).await;
    std::fs::write(&path, keys(&[&other])).unwrap();
    let news = other.token(json!({}));
    bearers.awaits(news.as_bytes()).expect("a key that is not known").await;
    assert_eq!(reason(bearers.judge(news.as_bytes())), Ok("oidc:ann".to_owned()));
    assert_eq!(reason(bearers.judge(known.as_bytes())), Err("TOKEN_ENDED".to_owned()));
    let garbage = Issuer::new().token(json!({}));
    for _ in 0..100 {
        assert!(bearers.awaits(garbage.as_bytes()).is_none(), "it was asked a moment ago");
    }
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(bearers.awaits(garbage.as_bytes()).is_some());
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_takes_all_keys_back_proves_nobody_from_then_on() {
    let issuer = Issuer::new();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("keys.json");
    std::fs::write(&path, keys(&[&issuer])).unwrap();
    let oidc =
        Arc::new(OidcIssuer::new(OidcSettings { keys: JwksLocation::File(path.clone()), ..settings() }));
    let bearers = Bearers::new(Arc::default(), Some(oidc.clone()));
    let keeping = tokio::spawn(oidc.clone().keep());
    let token = issuer.token(json!({}));
    let judged = || reason(bearers.judge(token.as_bytes()));
    let until = async |expected: Result<&str, &str>, what: &str| {
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        for _ in 0..40 {
            if judged() == expected {
                return;
            }
            tokio::time::sleep(Duration::from_secs(15)).await;
        }
        panic!("{what}: {:?}", judged());
    };
    until(Ok("oidc:ann"), "read at the start").await;
    for malformed in ["", "{}", "<html>"] {
        std::fs::write(&path, malformed).unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(judged(), Ok("oidc:ann".to_owned()), "{malformed:?} is no answer");
    }
    for emptied in [keys(&[]), json!({"keys": [{"kty": "oct", "kid": "k", "k": "AAAA"}]}).to_string().into()]
    {
        std::fs::write(&path, emptied).unwrap();
        until(Err("TOKEN_REFUSED"), "no key of use").await;
        std::fs::write(&path, keys(&[&issuer])).unwrap();
        until(Ok("oidc:ann"), "given back").await;
    }
    std::fs::remove_file(&path).unwrap();
    until(Err("ISSUER_KEYS_UNKNOWN"), "the file is gone").await;
    assert!(oidc.keys_age().is_none());
    keeping.abort();
}

/// A pipe that keys are read of. At the end whoever waits for it goes on, so that the test does.
struct Pipe(std::path::PathBuf);

impl Drop for Pipe {
    fn drop(&mut self) {
        drop(std::fs::File::options().read(true).write(true).open(&self.0));
    }
}

/// A reading that is under way may have asked the issuer before it had the key that a token names.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_keys_waits_for_a_reading_that_began_later() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let place = tempfile::tempdir().unwrap();
    // What is read of a pipe is there when somebody writes it.
    let path = place.path().join("keys");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let _pipe = Pipe(path.clone());
    let oidc =
        Arc::new(OidcIssuer::new(OidcSettings { keys: JwksLocation::File(path.clone()), ..settings() }));
    let bearers = Bearers::new(Arc::default(), Some(oidc.clone()));
    let keeping = tokio::spawn(oidc.clone().keep());
    let written = |by: &Issuer| {
        let (path, keys) = (path.clone(), keys(&[by]));
        tokio::task::spawn_blocking(move || std::fs::write(path, keys).unwrap())
    };
    // Until the first reading is under way nobody else has the pipe open.
    let pipe = path.clone();
    let opened =
        tokio::task::spawn_blocking(move || std::fs::File::options().write(true).open(pipe).unwrap());
    let first = opened.await.unwrap();
    let token = new.token(json!({}));
    let mut awaited = bearers.awaits(token.as_bytes()).expect("a key that is not known");
    std::io::Write::write_all(&mut &first, &keys(&[&old])).unwrap();
    drop(first);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut awaited).await;
    assert!(early.is_err() && oidc.keys() == 1, "the reading before");
    written(&new).await.unwrap();
    awaited.await;
    assert_eq!(reason(bearers.judge(token.as_bytes())), Ok("oidc:ann".to_owned()));
    keeping.abort();
}

#[test]
fn what_is_remembered_is_bounded_and_garbage_is_not_remembered() {
    let mesh = mesh(None);
    for number in 0..REMEMBERED + 10 {
        mesh.judged(&claims(json!({"jti": format!("{:x}", number + 1)}))).unwrap();
    }
    assert!(mesh.bearers.judged.lock().len() <= REMEMBERED);
    let (other, _) = SigningKey::make().unwrap();
    let before = mesh.bearers.judged.lock().len();
    mesh.bearers.judge(other.sign(&claims(json!({}))).as_bytes()).unwrap().unwrap_err();
    assert_eq!(mesh.bearers.judged.lock().len(), before);
}
