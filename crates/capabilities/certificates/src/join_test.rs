//! `EnrollmentService` on the memory store.

use std::sync::Arc;

use futures_util::future::join_all;
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_decisions::audit_seal::fingerprint;
use omnirelay_identity::caller::{Caller, Scopes};
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::join_token::JoinToken;
use omnirelay_pki::key::{Fingerprint, PrivateKey};
use omnirelay_pki::request::CertificateRequest as Csr;
use omnirelay_store::{JoinedSetting, JoinedStore, MemoryStore, Store};
use omnirelay_wire::pb::omnirelay::store::v1::{CertificateValue, JoinTokenValue, SealKeyValue};
use prost::Message as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tonic::{Request, Response, Status};

use super::grant_of_030_tests::GrantOf030;
use super::join::GRANT;
use super::tests::{Node, called, csr, initialised, judged, node, reason, until};
use super::{EnrollmentCalls, pb};
use pb::certificate_service_server::CertificateService as _;
use pb::enrollment_service_server::EnrollmentService as _;

pub(super) struct Mesh {
    pub(super) node: Node,
    pub(super) enrollment: EnrollmentCalls,
    pub(super) token: JoinToken,
    _place: tempfile::TempDir,
}

pub(super) async fn mesh(change: impl FnOnce(&mut pb::CreateJoinTokenRequest)) -> Mesh {
    mesh_on(Arc::new(MemoryStore::system()), |_| {}, change).await
}

/// One whose registry is in `store`, which its daemon has access to as `access` leaves it.
pub(super) async fn mesh_on(
    store: Arc<dyn Store>,
    access: impl FnOnce(&mut super::StoreAccess),
    change: impl FnOnce(&mut pb::CreateJoinTokenRequest),
) -> Mesh {
    let place = tempfile::tempdir().unwrap();
    let mut node = node("node-1", store, place.path()).await;
    let served = Arc::get_mut(&mut node.served).unwrap();
    access(Arc::get_mut(&mut served.store).unwrap());
    initialised(&node).await;
    let enrollment = EnrollmentCalls(node.served.clone());
    let root = node.trust.current().bundle.clone().unwrap().roots()[0].clone();
    let token = JoinToken::make(Fingerprint::of(&root)).unwrap();
    let mut asked = pb::CreateJoinTokenRequest {
        token_id: token.id().to_string(),
        verifier: token.verifier().unwrap().as_bytes().to_vec(),
        ..Default::default()
    };
    change(&mut asked);
    enrollment.create_token(called(asked)).await.unwrap();
    Mesh { node, enrollment, token, _place: place }
}

pub(super) fn body(token: &JoinToken, node_id: &str, key: &PrivateKey) -> pb::JoinBody {
    with_names(token, node_id, key, &TlsNames::default())
}

fn with_names(token: &JoinToken, node_id: &str, key: &PrivateKey, names: &TlsNames) -> pb::JoinBody {
    let csr = Csr::make(key, None, names).unwrap();
    let (token_id, node_id) = (token.id().to_string(), node_id.to_owned());
    pb::JoinBody { token_id, node_id, csr, ..Default::default() }
}

pub(super) fn signed(token: &JoinToken, body: &pb::JoinBody) -> pb::JoinRequest {
    let body = body.encode_to_vec();
    pb::JoinRequest { signature: token.sign(&body).unwrap(), body }
}

/// A call of somebody who has proven nothing, from another host.
fn from_afar(message: pb::JoinRequest) -> Request<pb::JoinRequest> {
    let mut request = Request::new(message);
    let remote = ([10, 0, 0, 7], 5).into();
    let nobody = Caller { scopes: Scopes::NONE, remote, ..Caller::of_tests("-") };
    request.extensions_mut().insert(nobody);
    request
}

impl Mesh {
    pub(super) async fn join(&self, request: pb::JoinRequest) -> Result<Response<pb::JoinResponse>, Status> {
        self.enrollment.join(from_afar(request)).await
    }

    async fn uses(&self) -> Vec<String> {
        let asked = pb::ListJoinTokensRequest { all: true, ..Default::default() };
        let listed = self.enrollment.list_tokens(called(asked)).await.unwrap().into_inner();
        listed.tokens[0].used_by.clone()
    }
}

/// The store of these daemons.
const STORE: &str = "redis://10.0.0.1:1";

/// The URL in what a host was handed.
fn url_of(handed: &[u8]) -> String {
    let joined = JoinedStore::read(handed).expect("a store that this version knows");
    match &joined.settings[..] {
        [("store.url", JoinedSetting::Text(url))] => url.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_host_with_a_token_becomes_a_node_once() {
    let mesh = mesh(|asked| asked.role = "gateway".into()).await;
    let key = PrivateKey::make().unwrap();
    let request = signed(&mesh.token, &body(&mesh.token, "b", &key));
    let joined = mesh.join(request.clone()).await.unwrap().into_inner();
    let grant = pb::JoinGrant::decode(&*joined.grant).unwrap();
    assert_eq!(
        (grant.node_id.as_str(), grant.role.as_str(), grant.cluster.as_str()),
        ("b", "gateway", "default")
    );
    assert_eq!(
        (grant.key.as_slice(), url_of(&grant.store).as_str()),
        (&key.fingerprint().as_bytes()[..], STORE)
    );
    let of_030 = GrantOf030::decode(&*joined.grant).unwrap();
    assert_eq!((of_030.node_id.as_str(), of_030.store.unwrap().url.as_str()), ("b", STORE));
    let chain: Vec<CertificateDer> =
        CertificateDer::pem_slice_iter(joined.chain_pem.as_bytes()).map(Result::unwrap).collect();
    let bundle = mesh.node.trust.current().bundle.clone().unwrap();
    bundle
        .issuers_of("default")
        .verify_signed(GRANT, &joined.grant, &joined.grant_signature, &chain[1..], unix_now())
        .unwrap();
    let issued = pb::IssuedCertificate { chain_pem: joined.chain_pem.clone(), ..Default::default() };
    let leaf = judged(&mesh.node, &issued).unwrap();
    assert_eq!(leaf.id.to_string(), "spiffe://mesh.local/mesh/default/gateway/b");
    assert_eq!(
        (leaf.names.dns.join(","), leaf.names.addresses),
        ("b,b.mesh".into(), vec!["10.0.0.7".parse().unwrap()])
    );
    // Its answer may have been lost: the same key is let in again, and counted once.
    mesh.join(request).await.unwrap();
    assert_eq!(mesh.uses().await, ["b"]);
    let other = signed(&mesh.token, &body(&mesh.token, "c", &PrivateKey::make().unwrap()));
    assert_eq!(reason(mesh.join(other).await), "JOIN_DENIED");
}

#[tokio::test]
async fn whoever_has_no_token_learns_nothing() {
    let mesh = mesh(|asked| asked.nodes = vec!["b".into()]).await;
    let key = PrivateKey::make().unwrap();
    let sound = body(&mesh.token, "b", &key);
    let stranger = JoinToken::make(mesh.token.authority()).unwrap();
    let unknown = signed(&stranger, &body(&stranger, "b", &key));
    let forged = signed(&stranger, &sound);
    let mut tampered = signed(&mesh.token, &sound);
    tampered.body = body(&mesh.token, "c", &key).encode_to_vec();
    let mut unsigned = signed(&mesh.token, &sound);
    unsigned.signature.clear();
    for (what, request) in
        [("unknown", unknown), ("forged", forged), ("tampered", tampered), ("unsigned", unsigned)]
    {
        let refused = mesh.join(request).await;
        let message = refused.as_ref().unwrap_err().message().to_owned();
        assert_eq!(
            (reason(refused).as_str(), message.as_str()),
            ("JOIN_REFUSED", "the join token is not one of this mesh"),
            "{what}"
        );
    }
    assert!(mesh.uses().await.is_empty(), "nothing was counted");
    mesh.join(signed(&mesh.token, &sound)).await.unwrap();
}

#[tokio::test]
async fn a_token_lets_in_whom_it_names_as_what_it_names() {
    let mesh = mesh(|asked| {
        asked.nodes = vec!["b".into(), "c".into()];
        asked.names = vec!["*.eu.example".into(), "192.0.2.1".into()];
        asked.uses_max = 2;
    })
    .await;
    let key = PrivateKey::make().unwrap();
    let of = |node: &str, dns: &[&str], addresses: &[&str]| {
        let names = TlsNames {
            dns: dns.iter().map(|name| (*name).to_owned()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        with_names(&mesh.token, node, &key, &names)
    };
    let denied = [
        of("d", &[], &[]),
        of("b", &["api.mesh"], &[]),
        of("b", &["eu.example"], &[]),
        of("b", &["c"], &[]),
        of("b", &[], &["192.0.2.2"]),
        pb::JoinBody { role: "control".into(), ..of("b", &[], &[]) },
    ];
    for body in denied {
        assert_eq!(reason(mesh.join(signed(&mesh.token, &body)).await), "JOIN_DENIED", "{body:?}");
    }
    assert!(mesh.uses().await.is_empty());
    let body = of("b", &["b.eu.example", "b", "localhost"], &["192.0.2.1", "10.0.0.7"]);
    mesh.join(signed(&mesh.token, &body)).await.unwrap();
    // A node that lives with another key is another host that believes to be the same.
    let other = signed(&mesh.token, &super::join_tests::body(&mesh.token, "b", &PrivateKey::make().unwrap()));
    assert_eq!(reason(mesh.join(other).await), "HOLDER_HAS_A_CERTIFICATE");
    assert_eq!(mesh.uses().await, ["b"]);
}

/// Whoever recorded a join, its idempotency key included, has nothing from it once the token is revoked.
#[tokio::test]
async fn an_answer_of_before_is_not_given_again() {
    let mesh = mesh(|_| {}).await;
    let request = signed(&mesh.token, &body(&mesh.token, "b", &PrivateKey::make().unwrap()));
    let keyed = |message: pb::JoinRequest| {
        let mut request = from_afar(message);
        let caller: &mut Caller = request.extensions_mut().get_mut().unwrap();
        caller.idempotency_key = Some("recorded".to_owned());
        request
    };
    mesh.enrollment.join(keyed(request.clone())).await.unwrap();
    let token_id = mesh.token.id().to_string();
    let revoked = pb::RevokeJoinTokenRequest { token_id, ..Default::default() };
    mesh.enrollment.revoke_token(called(revoked)).await.unwrap();
    assert_eq!(reason(mesh.enrollment.join(keyed(request)).await), "JOIN_DENIED");
}

#[tokio::test]
async fn an_id_that_is_the_name_of_another_is_none_in_the_certificate() {
    let mesh = mesh(|asked| asked.uses_max = 3).await;
    for id in ["eu-1.example", "a.mesh"] {
        let key = PrivateKey::make().unwrap();
        let joined = mesh.join(signed(&mesh.token, &body(&mesh.token, id, &key))).await.unwrap().into_inner();
        assert_eq!(joined.certificate.unwrap().dns_names, Vec::<String>::new(), "{id}");
        let names = TlsNames { dns: vec![id.to_owned()], addresses: Vec::new() };
        let asked = signed(&mesh.token, &with_names(&mesh.token, id, &key, &names));
        assert_eq!(reason(mesh.join(asked).await), "JOIN_DENIED", "{id}");
    }
}

#[tokio::test]
async fn a_node_is_not_called_as_another_holder_is() {
    let mesh = mesh(|asked| asked.uses_max = 4).await;
    let called_so = TlsNames { dns: vec!["vault".to_owned(), "db.mesh".to_owned()], addresses: Vec::new() };
    let service = pb::IssueCertificateRequest {
        service: "vault".into(),
        csr: csr(&PrivateKey::make().unwrap(), &called_so),
        ..Default::default()
    };
    mesh.node.served.issue(called(service)).await.unwrap();
    let named = async |id: &str| {
        let joined =
            mesh.join(signed(&mesh.token, &body(&mesh.token, id, &PrivateKey::make().unwrap()))).await;
        joined.unwrap().into_inner().certificate.unwrap().dns_names
    };
    assert_eq!(named("vault").await, ["vault.mesh"]);
    assert_eq!(named("db").await, ["db"]);
    assert_eq!(named("b").await, ["b", "b.mesh"]);
    let names = TlsNames { dns: vec!["vault".to_owned()], addresses: Vec::new() };
    let asked = with_names(&mesh.token, "vault", &PrivateKey::make().unwrap(), &names);
    assert_eq!(reason(mesh.join(signed(&mesh.token, &asked)).await), "JOIN_DENIED");
}

#[tokio::test]
async fn of_a_hundred_with_one_token_one_is_let_in() {
    let mesh = mesh(|_| {}).await;
    let joins = (0..100).map(|number| {
        let key = PrivateKey::make().unwrap();
        mesh.join(signed(&mesh.token, &body(&mesh.token, &format!("n{number}"), &key)))
    });
    let outcomes = join_all(joins).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for refused in outcomes.into_iter().filter(Result::is_err) {
        assert_eq!(reason(refused), "JOIN_DENIED");
    }
    assert_eq!(mesh.uses().await.len(), 1);
}

#[tokio::test]
async fn a_token_that_is_revoked_or_of_another_epoch_lets_nobody_in() {
    let mesh = mesh(|_| {}).await;
    let token_id = mesh.token.id().to_string();
    let revoked = pb::RevokeJoinTokenRequest { token_id, ..Default::default() };
    let change = mesh.enrollment.revoke_token(called(revoked)).await.unwrap().into_inner();
    assert_eq!(change.changes, ["revoked: false -> true"]);
    let all = pb::ListJoinTokensRequest { all: true, ..Default::default() };
    let listed = mesh.enrollment.list_tokens(called(all)).await.unwrap().into_inner().tokens.remove(0);
    assert_eq!((listed.version, listed.last_writer_id.as_str()), (2, "node-1"));
    assert_eq!(change.token, Some(listed), "the answer of a change says what a read says");
    let request = signed(&mesh.token, &body(&mesh.token, "b", &PrivateKey::make().unwrap()));
    assert_eq!(reason(mesh.join(request).await), "JOIN_DENIED");
    let value = omnirelay_wire::pb::omnirelay::store::v1::JoinTokenValue {
        epoch: 3,
        uses_max: 1,
        not_after: 100,
        ..Default::default()
    };
    let status = |epoch, now| super::tokens::status(&value, epoch, now);
    use pb::join_token::Status;
    assert_eq!(
        [status(3, 100), status(3, 101), status(4, 100)],
        [Status::Valid, Status::Expired, Status::Stale]
    );
}

#[tokio::test]
async fn what_is_asked_of_a_token_is_checked() {
    let mesh = mesh(|_| {}).await;
    let fresh = || JoinToken::make(mesh.token.authority()).unwrap();
    let token = fresh();
    let sound = pb::CreateJoinTokenRequest {
        token_id: token.id().to_string(),
        verifier: token.verifier().unwrap().as_bytes().to_vec(),
        ..Default::default()
    };
    let cases = [
        pb::CreateJoinTokenRequest { token_id: "x".into(), ..sound.clone() },
        pb::CreateJoinTokenRequest { verifier: vec![1; 31], ..sound.clone() },
        pb::CreateJoinTokenRequest { role: "a/b".into(), ..sound.clone() },
        pb::CreateJoinTokenRequest { nodes: vec!["B".into()], ..sound.clone() },
        pb::CreateJoinTokenRequest { names: vec!["*".into()], ..sound.clone() },
        pb::CreateJoinTokenRequest { uses_max: 1001, ..sound.clone() },
        pb::CreateJoinTokenRequest { lifetime_seconds: 59, ..sound.clone() },
        pb::CreateJoinTokenRequest { lifetime_seconds: 604_801, ..sound.clone() },
    ];
    for asked in cases {
        let outcome = mesh.enrollment.create_token(called(asked.clone())).await;
        assert_eq!(reason(outcome), "INVALID_ARGUMENT", "{asked:?}");
    }
    mesh.enrollment.create_token(called(sound.clone())).await.unwrap();
    assert_eq!(reason(mesh.enrollment.create_token(called(sound)).await), "TOKEN_EXISTS");
    let gone = pb::RevokeJoinTokenRequest { token_id: fresh().id().to_string(), ..Default::default() };
    assert_eq!(reason(mesh.enrollment.revoke_token(called(gone)).await), "JOIN_TOKEN_NOT_FOUND");
}

fn rules(rules: Vec<pb::JoinRule>, attesters: Vec<pb::Attester>) -> Request<pb::SetJoinPolicyRequest> {
    called(pb::SetJoinPolicyRequest { rules, attesters, ..Default::default() })
}

fn rule(name: &str, change: impl FnOnce(&mut pb::JoinRule)) -> pb::JoinRule {
    let effect = pb::join_rule::Effect::Allow as i32;
    let mut rule = pb::JoinRule { name: name.to_owned(), effect, ..Default::default() };
    change(&mut rule);
    rule
}

#[tokio::test]
async fn the_policy_decides_who_joins_of_those_that_have_a_token() {
    let mesh = mesh(|asked| asked.uses_max = 9).await;
    let shown = mesh.enrollment.get_join_policy(called(pb::GetJoinPolicyRequest::default())).await;
    assert_eq!(shown.unwrap().into_inner().policy.unwrap().rules[0].name, "token");
    let prod = rule("prod", |rule| {
        rule.environments = vec!["prod".into()];
        rule.label_selector = "tier=edge".into();
        rule.lifetime_seconds = 3600;
    });
    let set = mesh.enrollment.set_join_policy(rules(vec![prod.clone()], Vec::new())).await.unwrap();
    let set = set.into_inner();
    let expected = [
        "rules: token -> prod",
        "rules.prod.effect: - -> allow",
        "rules.prod.environments: - -> prod",
        "rules.prod.labelSelector: - -> tier=edge",
        "rules.prod.lifetimeSeconds: - -> 3600",
        "rules.token.effect: allow -> -",
    ];
    assert_eq!(set.changes, expected);
    assert_eq!(set.policy.unwrap().version, 1);
    let again = mesh.enrollment.set_join_policy(rules(vec![prod], Vec::new())).await.unwrap().into_inner();
    assert!(!again.changed && again.policy.unwrap().version == 1);
    let asked = |node: &str, environment: &str, tier: &str| {
        let (key, labels) = (PrivateKey::make().unwrap(), [("tier".to_owned(), tier.to_owned())].into());
        let environment = environment.to_owned();
        signed(&mesh.token, &pb::JoinBody { environment, labels, ..body(&mesh.token, node, &key) })
    };
    for (environment, tier) in [("test", "edge"), ("prod", "core"), ("", "edge")] {
        let refused = mesh.join(asked("b", environment, tier)).await.unwrap_err();
        assert!(refused.message().contains("no rule"), "{}", refused.message());
    }
    assert!(mesh.uses().await.is_empty(), "a use is counted once the policy has allowed it");
    let joined = mesh.join(asked("b", "prod", "edge")).await.unwrap().into_inner().certificate.unwrap();
    let [begin, end] = [joined.not_before, joined.not_after].map(|at| at.unwrap().seconds);
    assert_eq!(end - begin, 3600 + 300);
    assert_eq!(mesh.uses().await, ["b"]);
    let nobody = mesh.enrollment.set_join_policy(rules(Vec::new(), Vec::new())).await.unwrap();
    assert!(nobody.into_inner().changed);
    assert_eq!(reason(mesh.join(asked("c", "prod", "edge")).await), "JOIN_DENIED");
    let wrong = rule("x", |rule| rule.attesters = vec!["ci".into()]);
    assert_eq!(
        reason(mesh.enrollment.set_join_policy(rules(vec![wrong], Vec::new())).await),
        "INVALID_ARGUMENT"
    );
}

#[tokio::test]
async fn evidence_is_verified_and_of_the_key_that_joins() {
    use omnirelay_pki::public_key;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};
    let mesh = mesh(|asked| asked.uses_max = 9).await;
    let pair = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap();
    let spki = [
        &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00],
        pair.public_key().as_ref(),
    ];
    let pem = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, spki.concat());
    let public_key_pem = format!("-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n");
    let ci = pb::Attester { name: "ci".into(), public_key_pem, unknown_fields: Default::default() };
    let image = rule("image", |rule| {
        rule.attesters = vec!["ci".into()];
        rule.claims = [("image".to_owned(), "sha256:1".to_owned())].into();
        rule.needs_attestation = true;
    });
    mesh.enrollment.set_join_policy(rules(vec![image], vec![ci])).await.unwrap();
    let key = PrivateKey::make().unwrap();
    let evidence = |of: &PrivateKey, image: &str, until: i64| {
        let claims = [("image".to_owned(), image.to_owned())].into();
        let body = pb::EvidenceBody { key: of.fingerprint().as_bytes().to_vec(), claims, not_after: until };
        let body = body.encode_to_vec();
        let signature = pair.sign(&public_key::signed(&body)).as_ref().to_vec();
        pb::Evidence { attester: "ci".into(), body, signature }
    };
    let later = unix_now() + 60;
    let good = evidence(&key, "sha256:1", later);
    let mut forged = good.clone();
    forged.body = evidence(&key, "sha256:2", later).body;
    let cases = [
        ("none", None, "no rule"),
        ("of another image", Some(evidence(&key, "sha256:2", later)), "no rule"),
        ("of another key", Some(evidence(&PrivateKey::make().unwrap(), "sha256:1", later)), "another key"),
        ("ended", Some(evidence(&key, "sha256:1", unix_now() - 1)), "has ended"),
        ("forged", Some(forged), "signature"),
        ("of nobody", Some(pb::Evidence { attester: "x".into(), ..good.clone() }), "no such attester"),
    ];
    let ask = |evidence| signed(&mesh.token, &pb::JoinBody { evidence, ..body(&mesh.token, "b", &key) });
    for (what, evidence, expected) in cases {
        let refused = mesh.join(ask(evidence)).await.unwrap_err();
        assert!(refused.message().contains(expected), "{what}: {}", refused.message());
    }
    mesh.join(ask(Some(good))).await.unwrap();
}

/// A revocation may come between the commit of a join and the user of the store that is made for it.
#[tokio::test]
async fn who_was_put_out_meanwhile_is_told_of_no_store() {
    let mesh = mesh(|_| {}).await;
    let key = PrivateKey::make().unwrap();
    mesh.join(signed(&mesh.token, &body(&mesh.token, "b", &key))).await.unwrap();
    let of = |cluster: &'static str, key: &PrivateKey| {
        let (served, key) = (mesh.node.served.clone(), key.fingerprint());
        async move {
            let handed = served.admitted("b", cluster, key).await?;
            Ok::<_, omnirelay_wire::fault::Fault>(handed.map(|handed| url_of(&handed)).unwrap_or_default())
        }
    };
    assert_eq!(of("default", &key).await.unwrap(), STORE);
    assert_eq!(of("other", &key).await.unwrap(), "", "b of another cluster is another node");
    // It leaves: it may come back with another key.
    let leave = pb::RevokeNodeRequest { node: "b".into(), leaves: true, ..Default::default() };
    mesh.enrollment.revoke_node(called(leave)).await.unwrap();
    assert!(of("default", &key).await.unwrap_err().is(omnirelay_wire::reasons::JOIN_DENIED));
    let another = PrivateKey::make().unwrap();
    assert!(of("default", &another).await.is_ok());
    let revoke = pb::RevokeNodeRequest { node: "b".into(), ..Default::default() };
    mesh.enrollment.revoke_node(called(revoke)).await.unwrap();
    assert!(of("default", &another).await.is_err());
}

/// Whoever has a token that replaces any node puts out any node.
#[tokio::test]
async fn a_token_that_replaces_a_node_names_it() {
    let mesh = mesh(|asked| (asked.uses_max, asked.role) = (9, "worker".into())).await;
    mesh.join(signed(&mesh.token, &body(&mesh.token, "b", &PrivateKey::make().unwrap()))).await.unwrap();
    let root = mesh.node.trust.current().bundle.clone().unwrap().roots()[0].clone();
    let made = async |nodes: &[&str]| {
        let token = JoinToken::make(Fingerprint::of(&root)).unwrap();
        let asked = pb::CreateJoinTokenRequest {
            token_id: token.id().to_string(),
            verifier: token.verifier().unwrap().as_bytes().to_vec(),
            replace: true,
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            ..Default::default()
        };
        mesh.enrollment.create_token(called(asked)).await.map(|_| token)
    };
    let refused = made(&[]).await.map(|_| Response::new(()));
    assert_eq!(reason(refused), "INVALID_ARGUMENT");
    // One that was made before such a token had to name a node.
    let token = made(&["b"]).await.unwrap();
    let id = super::RecordId::new(omnirelay_certificate_records::JOIN_TOKEN, token.id().to_string());
    let view = mesh.node.served.registry.view();
    let mut value: JoinTokenValue = (*view.get(&id).unwrap().value::<JoinTokenValue>().unwrap()).clone();
    value.nodes.clear();
    super::tests::remember(&mesh.node.served.registry, id, value.encode_to_vec()).await;
    let asked = signed(&token, &body(&token, "b", &PrivateKey::make().unwrap()));
    assert_eq!(reason(mesh.join(asked).await), "HOLDER_HAS_A_CERTIFICATE");
    let token = made(&["b"]).await.unwrap();
    mesh.join(signed(&token, &body(&token, "b", &PrivateKey::make().unwrap()))).await.unwrap();
}

/// What it says by the proof of its token counts for its key from then on; nobody else's word does.
#[tokio::test]
async fn a_host_that_was_set_up_anew_says_by_what_key_it_seals() {
    let mesh = mesh(|asked| (asked.replace, asked.uses_max, asked.nodes) = (true, 2, vec!["b".into()])).await;
    let seals = |key: Vec<u8>| {
        let body = pb::JoinBody { audit_key: key, ..body(&mesh.token, "b", &PrivateKey::make().unwrap()) };
        signed(&mesh.token, &body)
    };
    assert_eq!(reason(mesh.join(seals(vec![1; 31])).await), "INVALID_ARGUMENT");
    mesh.join(seals(vec![1; 32])).await.unwrap();
    mesh.join(seals(vec![2; 32])).await.unwrap();
    let view = mesh.node.served.registry.view();
    let keys = || {
        let trusted = mesh.node.trust.current();
        super::seal_keys::of_node(view, trusted.bundle.as_ref(), &trusted.revocations, "default", "b")
    };
    let [first, second] = [1, 2].map(|byte| fingerprint(&[byte; 32]));
    assert_eq!(keys(), [second.clone(), first.clone()]);
    // Whoever can write to the store alone makes nothing a key of the node.
    let record = omnirelay_certificate_records::record_of(&CertificateHolder::Node {
        cluster: "default".into(),
        role: String::new(),
        node: "b".into(),
    });
    let held = || view.get(&record).and_then(|held| held.value::<CertificateValue>()).unwrap();
    let mut forged = (*held()).clone();
    forged.seal_keys.insert(0, SealKeyValue { key: vec![3; 32], ..forged.seal_keys[0].clone() });
    super::tests::remember(&mesh.node.served.registry, record.clone(), forged.encode_to_vec()).await;
    until("the forged key is there", || held().seal_keys.len() == 3).await;
    assert_eq!(keys(), [second.clone(), first.clone()]);
    let nobody = super::seal_keys::of_node(view, None, &Default::default(), "default", "b");
    assert!(nobody.is_empty(), "nobody is trusted");
    // Nor does another root, once the one is retired that led to who has vouched for them.
    let before = held().seal_keys[1].signer.clone();
    let another_root = || pb::RotateAuthorityRequest { root: true, ..Default::default() };
    let retire = |root: &pb::AuthorityCertificate| {
        let fingerprint = root.fingerprint.clone();
        called(pb::RetireRootRequest { fingerprint, force: true, ..Default::default() })
    };
    let roots = || mesh.node.trust.current().bundle.as_ref().map_or(0, |bundle| bundle.roots().len());
    for _ in 0..2 {
        let rotated = mesh.node.served.rotate_authority(called(another_root())).await.unwrap().into_inner();
        until("both roots are trusted", || roots() == 2).await;
        mesh.node.served.retire_root(retire(&rotated.authority.unwrap().roots[1])).await.unwrap();
        until("the root before is trusted no more", || roots() == 1).await;
        assert_eq!(keys(), [second.clone(), first.clone()]);
    }
    assert!(held().seal_keys[1..].iter().all(|key| key.signer != before), "another issuer vouches");
    // What an issuer has said whose key was stolen counts for nothing.
    let stolen = pb::RotateAuthorityRequest { revoke_before: true, ..another_root() };
    let rotated = mesh.node.served.rotate_authority(called(stolen)).await.unwrap().into_inner();
    until("what its issuer has said counts for nothing", || keys().is_empty()).await;
    mesh.node.served.retire_root(retire(&rotated.authority.unwrap().roots[1])).await.unwrap();
    until("it is trusted no more", || roots() == 1).await;
    assert!(keys().is_empty(), "{:?}", keys());
}
