//! An issuer of tokens that is another while the node runs.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::FutureExt as _;
use omnirelay_identity::bearer::{BearerToken, Bearers};
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::jwt::signing::SigningKey;
use omnirelay_settings::OidcConfig;
use omnirelay_store::MemoryStore;
use omnirelay_store::whole_file::write_whole;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{Lab, LabNode};
use crate::metrics::Metrics;

/// An issuer, as it publishes its key.
struct Issuer(SigningKey);

impl Issuer {
    fn new() -> Self {
        Self(SigningKey::make().unwrap().0)
    }

    fn keys(&self) -> Vec<u8> {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.0.public());
        let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": self.0.kid(), "x": x});
        json!({ "keys": [key] }).to_string().into_bytes()
    }

    /// A token that claims this, and lives for an hour.
    fn token(&self, claims: &Value) -> String {
        let mut claims = claims.clone();
        (claims["iat"], claims["exp"]) = (json!(unix_now()), json!(unix_now() + 3600));
        self.0.sign(&claims).to_string()
    }
}

/// A node that takes tokens.
struct Taker {
    node: LabNode,
    bearers: Arc<Bearers>,
    metrics: Arc<Metrics>,
    place: TempDir,
}

impl Taker {
    fn of(place: TempDir, oidc: OidcConfig) -> Self {
        let lab = Lab::on(Arc::new(MemoryStore::system()), "node-1");
        let node = lab.config(|config| config.security.oidc = Some(oidc)).prepared();
        let (bearers, metrics) = (node.builder.bearers.clone(), node.builder.metrics.clone());
        Self { node: node.start(), bearers, metrics, place }
    }

    fn put(place: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        write_whole(&place.join(name), bytes).unwrap();
        place.join(name)
    }

    fn bearer(&self, token: &str) -> Option<Arc<BearerToken>> {
        self.bearers.judge(token.as_bytes())?.ok()
    }

    /// Whom a token proves, and the roles that it names; empty: nobody.
    fn proven(&self, token: &str) -> String {
        let bearer = self.bearer(token);
        bearer.map_or_else(String::new, |bearer| {
            let roles: Vec<&str> = bearer.roles.iter().collect();
            format!("{} {}", bearer.name, roles.join(" ")).trim_end().to_owned()
        })
    }

    /// Returns once a token proves this: within a second.
    async fn soon(&self, what: &str, token: &str, expected: &str) {
        let begun = Instant::now();
        while self.proven(token) != expected {
            assert!(begun.elapsed() < Duration::from_secs(1), "{what}: {}", self.proven(token));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn of_file(keys: PathBuf) -> OidcConfig {
    OidcConfig {
        issuer: "https://issuer".to_owned(),
        audience: "mesh".to_owned(),
        jwks_file: Some(keys),
        ..OidcConfig::default()
    }
}

#[tokio::test]
async fn a_token_is_judged_by_what_its_issuer_is_set_to_be_by_then() {
    let (place, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let keys = Taker::put(place.path(), "keys.json", &issuer.keys());
    let taker = Taker::of(place, of_file(keys));
    let settings = &taker.node.settings;
    let claims = |issuer: &str, audience: &str| json!({"iss": issuer, "aud": audience, "sub": "ann", "email": "ann@example", "groups": ["sre"]});
    let token = issuer.token(&claims("https://issuer", "mesh"));
    taker.soon("the keys are read", &token, "oidc:ann").await;

    let other = issuer.token(&claims("https://other", "mesh"));
    assert_eq!(taker.proven(&other), "");
    settings.set("security.oidc.issuer", "https://other");
    taker.soon("the issuer is another", &other, "oidc:ann").await;
    assert_eq!(taker.proven(&token), "");

    let other = issuer.token(&claims("https://other", "mesh-2"));
    settings.set("security.oidc.audience", "mesh-2");
    taker.soon("the audience is another", &other, "oidc:ann").await;
    settings.set("security.oidc.principalClaim", "email");
    taker.soon("the claim is another", &other, "oidc:ann@example").await;
    settings.set("security.oidc.rolesClaim", "groups");
    taker.soon("it has roles", &other, "oidc:ann@example role:sre").await;
    settings.set("security.oidc.maxLifetime", "10m");
    taker.soon("it lives too long", &other, "").await;
    settings.set("security.oidc.maxLifetime", "1h");
    taker.soon("it may live so long", &other, "oidc:ann@example role:sre").await;
    settings.set("security.oidc.algorithms", json!(["RS256"]));
    taker.soon("its algorithm is not taken", &other, "").await;
    settings.set("security.oidc.algorithms", json!(["EdDSA"]));
    taker.soon("its algorithm is taken", &other, "oidc:ann@example role:sre").await;
}

#[tokio::test]
async fn what_a_token_has_under_way_goes_on_as_long_as_it_would_be_judged_so() {
    let (place, issuer, stranger) = (tempfile::tempdir().unwrap(), Issuer::new(), Issuer::new());
    let [keys, moved, others] = [("keys", &issuer), ("moved", &issuer), ("others", &stranger)]
        .map(|(name, issuer)| Taker::put(place.path(), name, &issuer.keys()));
    let taker = Taker::of(place, of_file(keys));
    let settings = &taker.node.settings;
    let claims = json!({"iss": "https://issuer", "aud": ["mesh", "mesh-2"], "sub": "ann"});
    let token = issuer.token(&claims);
    taker.soon("the keys are read", &token, "oidc:ann").await;
    let under_way = || Box::pin(taker.bearers.clone().ends(taker.bearer(&token).unwrap()));
    let mut call = under_way();

    settings.set("security.oidc.jwksFile", json!(moved));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!((&mut call).now_or_never().is_none(), "its key is in the other file as well");
    settings.set("security.oidc.audience", "mesh-2");
    let ended = tokio::time::timeout(Duration::from_secs(1), call).await.expect("it is judged otherwise");
    assert_eq!(ended.reason, "TOKEN_ENDED");
    taker.soon("it is good for that, too", &token, "oidc:ann").await;

    let call = under_way();
    settings.set("security.oidc.jwksFile", json!(others));
    tokio::time::timeout(Duration::from_secs(1), call).await.expect("its key is in no file any more");
    taker.soon("the key of the other one is", &stranger.token(&claims), "oidc:ann").await;
}

#[tokio::test]
async fn there_is_an_issuer_outside_for_as_long_as_it_is_set() {
    let (place, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let keys = Taker::put(place.path(), "keys.json", &issuer.keys());
    let (taker, wanted) = (Taker::of(place, of_file(keys.clone())), json!(of_file(keys)));
    let settings = &taker.node.settings;
    let token = issuer.token(&json!({"iss": "https://issuer", "aud": "mesh", "sub": "ann"}));
    let is_told = async || {
        let text = taker.metrics.text(&taker.node.registry, true).await.unwrap();
        text.contains("mesh_token_issuer_keys 1")
    };
    taker.soon("the keys are read", &token, "oidc:ann").await;
    assert!(is_told().await);
    let call = taker.bearers.clone().ends(taker.bearer(&token).unwrap());
    settings.set("security.oidc", Value::Null);
    tokio::time::timeout(Duration::from_secs(1), call).await.expect("nobody has issued it");
    assert!(taker.proven(&token).is_empty() && !is_told().await);
    settings.set("security.oidc", wanted);
    taker.soon("there is one again", &token, "oidc:ann").await;
    assert!(is_told().await && taker.place.path().exists());
}

/// Serves the keys of an issuer under TLS, for as long as the process lives; its address.
fn serve(issuer: &Issuer, shown: &CertifiedKey<rcgen::KeyPair>) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(shown.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![shown.cert.der().clone()], key);
    let (config, keys) = (Arc::new(config.unwrap()), issuer.keys());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/keys", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
            let mut asked = [0; 4096];
            if stream.read(&mut asked).is_ok() {
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", keys.len());
                // Whoever does not believe it reads nothing.
                let _ = stream.write_all(&[head.as_bytes(), &keys].concat()).and_then(|()| stream.flush());
            }
        }
    });
    url
}

#[tokio::test]
async fn keys_are_read_where_and_by_whose_roots_is_set_by_then() {
    let (place, [one, other]) = (tempfile::tempdir().unwrap(), [Issuer::new(), Issuer::new()]);
    let [shown, stranger] =
        [(); 2].map(|()| generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap());
    let [right, wrong] = [("right.pem", &shown), ("wrong.pem", &stranger)]
        .map(|(name, shown)| Taker::put(place.path(), name, shown.cert.pem().as_bytes()));
    let taker = Taker::of(
        place,
        OidcConfig {
            jwks_file: None,
            jwks_url: Some(serve(&one, &shown)),
            ca_file: Some(wrong),
            ..of_file(PathBuf::new())
        },
    );
    let settings = &taker.node.settings;
    let [of_one, of_other] = [&one, &other]
        .map(|issuer| issuer.token(&json!({"iss": "https://issuer", "aud": "mesh", "sub": "ann"})));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(taker.proven(&of_one), "", "its server is not believed");
    settings.set("security.oidc.caFile", json!(right));
    taker.soon("its server is believed", &of_one, "oidc:ann").await;
    settings.set("security.oidc.jwksUrl", serve(&other, &shown));
    taker.soon("the keys are those of another server", &of_other, "oidc:ann").await;
    assert_eq!(taker.proven(&of_one), "");
}
