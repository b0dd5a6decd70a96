//! Callers without a certificate: tokens of the mesh and of an issuer outside, and who calls too often.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use omnirelay_pki::jwt::signing::SigningKey;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::security::v1::WhoAmIRequest;
use omnirelay_wire::pb::omnirelay::security::v1::token_service_client::TokenServiceClient;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};

use crate::process::PATIENCE;
use crate::process::channel::channel;
use crate::process::secured::{Ended, Secured, command, ended};
use crate::servers::{RedisServer, eventually};

/// How long what a token has under way may go on when it is out.
const OUT_WITHIN: Duration = Duration::from_secs(5);
/// Where the command line keeps the token of the context `prod`.
const KEPT: &str = ".config/omnirelay/tokens/prod";

fn start(arguments: &[&str]) -> Result<Secured> {
    let mesh = Secured::start(
        "a",
        "127.0.0.1:0",
        &[&["--set", "mesh.leadership.enabled=false"], arguments].concat(),
    )?;
    add_context(&mesh)?;
    Ok(mesh)
}

/// The context `prod`, with the certificate of `admin`.
fn add_context(mesh: &Secured) -> Result<()> {
    let line = format!(
        "context add prod --address {} --tls-ca admin/bundle.pem --tls-cert admin/chain.pem --tls-key admin/key.pem",
        mesh.url()
    );
    run(mesh, &line).map(drop)
}

/// A command with nothing but the contexts.
fn ask(mesh: &Secured, line: &str) -> Result<Ended> {
    ended(&mut command(line, mesh.folder.path()))
}

/// The same, which must do.
fn run(mesh: &Secured, line: &str) -> Result<String> {
    let ended = ask(mesh, line)?;
    ensure!(ended.code == Some(0), "{line}: {}", ended.complaint);
    Ok(ended.output)
}

fn kept(mesh: &Secured) -> Result<String> {
    Ok(std::fs::read_to_string(mesh.path(KEPT))?.trim().to_owned())
}

/// What `curl` is answered, headers first, with this token.
fn curl(mesh: &Secured, token: Option<&str>, arguments: &[&str], path: &str) -> Result<String> {
    let mut curl = curl_of(mesh, token);
    let output = curl
        .args(["-sSi", "--max-time", "20"])
        .args(arguments)
        .arg(format!("{}{path}", mesh.url()))
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn curl_of(mesh: &Secured, token: Option<&str>) -> Command {
    let mut curl = Command::new("curl");
    curl.arg("--cacert").arg(mesh.path("admin/bundle.pem"));
    if let Some(token) = token {
        curl.arg("-H").arg(format!("authorization: Bearer {token}"));
    }
    curl
}

fn expect(answer: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(answer.contains(part), "`{part}` is not in {answer}");
    }
    Ok(())
}

fn wait(child: &mut Child, since: Instant) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        ensure!(since.elapsed() < PATIENCE, "it goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_login_lasts_until_the_logout_and_what_it_has_under_way_ends_with_it() -> Result<()> {
    let mesh = start(&[])?;
    let line = "login --context prod --scope mesh.read --scope mesh.operate --ttl 5m -o json -vvv";
    let Ended { output: said, complaint: traced, .. } = ask(&mesh, line)?;
    let token = kept(&mesh)?;
    ensure!(traced.contains("(redacted)") && !traced.contains(&token), "{traced}");
    ensure!(!said.contains(&token) && said.contains("\"principal\":\"operator:admin\""), "{said}");
    let mode = std::fs::metadata(mesh.path(KEPT))?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "{mode:o}");
    let who = run(&mesh, "whoami --context prod")?;
    expect(&who, &["operator:admin\n", "proof: token\n", "scopes: mesh.read, mesh.operate\n", "until: "])?;
    for (scope, code) in [("mesh.read", 0), ("mesh.admin", 10)] {
        let can = ask(&mesh, &format!("whoami --context prod --can {scope}"))?;
        ensure!(can.code == Some(code), "{scope}: {} {}", can.output, can.complaint);
    }
    // Who is named acts, and not whose token is kept.
    let issued = mesh.by("admin", "cert issue --operator bob --out bob")?;
    ensure!(issued.code == Some(0), "{}", issued.complaint);
    let bob = "--context prod --tls-cert bob/chain.pem --tls-key bob/key.pem";
    expect(&run(&mesh, &format!("whoami {bob}"))?, &["operator:bob\n", "proof: certificate\n"])?;
    let denied = ask(&mesh, &format!("mesh peers cordon a {bob}"))?;
    ensure!(denied.code == Some(5) && denied.complaint.contains("operator:bob"), "{}", denied.complaint);

    let denied = ask(&mesh, "bindings list --context prod")?;
    ensure!(denied.code == Some(0), "{}", denied.complaint);
    let denied = ask(&mesh, "bindings set operator:admin mesh.read --context prod")?;
    ensure!(denied.code == Some(5), "{}", denied.complaint);
    expect(
        &denied.complaint,
        &["operator:admin has mesh.read, mesh.operate", "needs scope mesh.admin", "narrowed"],
    )?;

    let again = curl(&mesh, Some(&token), &["-X", "POST", "--json", "{}"], "/control/tokens:issue")?;
    expect(&again, &["TOKEN_NEEDS_A_CERTIFICATE"])?;
    let served = curl(&mesh, Some(&token), &[], "/control/whoami")?;
    expect(&served, &["HTTP/2 200", "\"principal\":\"operator:admin\"", "\"proof\":\"token\""])?;
    let nobody = curl(&mesh, None, &[], "/control/whoami")?;
    expect(&nobody, &["HTTP/2 401", "www-authenticate: Bearer", "PROOF_NEEDED"])?;
    over_grpc(&mesh, &token, "operator:admin")?;

    let mut watch = curl_of(&mesh, Some(&token))
        .args(["-sS", "-N", "--max-time", "15", "-H", "accept: text/event-stream"])
        .arg(format!("{}/control/peers", mesh.url()))
        .stdout(Stdio::piped())
        .spawn()?;
    let mut events = BufReader::new(watch.stdout.take().context("no output")?);
    let mut line = String::new();
    ensure!(events.read_line(&mut line)? > 0, "the watch says nothing");
    expect(&run(&mesh, "logout --context prod")?, &["logged out", "revoked"])?;
    let out = Instant::now();
    let mut rest = String::new();
    events.read_to_string(&mut rest)?;
    wait(&mut watch, out)?;
    ensure!(out.elapsed() < OUT_WITHIN, "after {:?}", out.elapsed());
    expect(&rest, &["TOKEN_ENDED", "was revoked"])?;

    expect(&curl(&mesh, Some(&token), &[], "/control/whoami")?, &["HTTP/2 401", "TOKEN_ENDED"])?;
    ensure!(!mesh.path(KEPT).exists(), "the token is kept");
    expect(&run(&mesh, "whoami --context prod")?, &["proof: certificate", "mesh.admin"])?;
    expect(&run(&mesh, "logout --context prod")?, &["has no token"])?;
    let trail = mesh.by("admin", "audit list -o json")?.output;
    expect(
        &trail,
        &["\"action\":\"tokens.issue\"", "\"action\":\"tokens.revoke\"", "\"actor\":\"operator:admin\""],
    )?;
    ensure!(!trail.contains(&token), "the token is in the trail");
    Ok(())
}

/// A call that waits for a revision nobody will write.
fn waiting(mesh: &Secured, token: &str) -> Result<Child> {
    let listed = curl(mesh, Some(token), &[], "/control/peers")?;
    let cursor = listed.split("\"cursor\":\"").nth(1).and_then(|rest| rest.split('"').next());
    let (epoch, revision) = cursor.and_then(|cursor| cursor.split_once(':')).context("no cursor")?;
    let later = revision.parse::<u64>()? + 1000;
    Ok(curl_of(mesh, Some(token))
        .args(["-sS", "--max-time", "20", "-H", "omnirelay-timeout: 60s"])
        .arg(format!("{}/control/peers?minRevision={epoch}:{later}", mesh.url()))
        .stdout(Stdio::piped())
        .spawn()?)
}

/// A mesh that takes the tokens of this issuer, whose role `sre` may read.
fn believing(issuer: &Issuer) -> Result<Secured> {
    let keys = format!("security.oidc.jwksUrl=http://127.0.0.1:{}/keys", issuer.port);
    let settings = [
        "security.oidc.issuer=https://issuer.test",
        "security.oidc.audience=mesh",
        "security.oidc.rolesClaim=groups",
        &keys,
        "security.bindings=[{role: sre, scopes: [mesh.read]}]",
    ];
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    start(&arguments)
}

/// A call and a watch that a token has under way, and what each says when it ends, in time.
#[test]
fn what_is_under_way_ends_with_the_binding_that_it_needs_and_with_the_token() -> Result<()> {
    let (issuer, key) = (Issuer::start()?, SigningKey::make()?.0);
    issuer.publish(&[published(&key)]);
    let mesh = believing(&issuer)?;
    let outside = key.sign(&claims()?).to_string();
    eventually("the role has its binding", || {
        Ok(curl(&mesh, Some(&outside), &[], "/control/whoami")?.contains("mesh.read"))
    })?;
    run(&mesh, "login --context prod")?;
    let own = kept(&mesh)?;
    let cases = [
        (&outside, "bindings delete role:sre --yes --context prod", "MISSING_SCOPE"),
        (&own, "logout --context prod", "TOKEN_ENDED"),
    ];
    for (token, ends, reason) in cases {
        let mut watch = curl_of(&mesh, Some(token))
            .args(["-sS", "-N", "--max-time", "20", "-H", "accept: text/event-stream"])
            .arg(format!("{}/control/peers", mesh.url()))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut events = BufReader::new(watch.stdout.take().context("no output")?);
        ensure!(events.read_line(&mut String::new())? > 0, "the watch says nothing");
        let mut call = waiting(&mesh, token)?;
        std::thread::sleep(Duration::from_millis(300));
        ensure!(call.try_wait()?.is_none(), "it does not wait");
        run(&mesh, ends)?;
        let (out, mut said, mut told) = (Instant::now(), String::new(), String::new());
        events.read_to_string(&mut said)?;
        wait(&mut watch, out)?;
        call.stdout.take().context("no output")?.read_to_string(&mut told)?;
        wait(&mut call, out)?;
        ensure!(out.elapsed() < OUT_WITHIN, "{ends}: after {:?}", out.elapsed());
        expect(&said, &[reason])?;
        expect(&told, &[reason])?;
    }
    Ok(())
}

/// Who a gRPC client is that sends this token.
fn over_grpc(mesh: &Secured, token: &str, expected: &str) -> Result<()> {
    let told = called(mesh, token)?.map_err(|status| anyhow::anyhow!("{status}"))?;
    ensure!(told == expected, "{told}");
    Ok(())
}

fn called(mesh: &Secured, token: &str) -> Result<Result<String, tonic::Status>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = channel(mesh.url(), mesh.path("admin/bundle.pem"), None).await?;
        let mut request = tonic::Request::new(WhoAmIRequest {});
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
        let answer = TokenServiceClient::new(channel).who_am_i(request).await;
        Ok(answer.map(|answer| answer.into_inner().principal))
    })
}

#[test]
fn a_token_falls_with_its_holder_and_is_known_to_a_daemon_that_has_no_store() -> Result<()> {
    let mut redis = RedisServer::start(&[])?;
    let mesh = start(&["--store", &redis.url()])?;
    let socket = format!("unix:{}", mesh.path("control.sock").display());
    run(&mesh, &format!("login --addr {socket} --context prod --operator carol"))?;
    let carols = kept(&mesh)?;
    run(&mesh, "logout --context prod --keep")?;
    run(&mesh, "login --context prod")?;
    let admins = kept(&mesh)?;
    let who = |mesh: &Secured, token: &str| curl(mesh, Some(token), &[], "/control/whoami");
    expect(&who(&mesh, &carols)?, &["operator:carol", "\"scopes\":[\"mesh.read\"]"])?;
    let revoked = mesh.by("admin", "cert revoke --operator carol --yes --reason left")?;
    ensure!(revoked.code == Some(0), "{}", revoked.complaint);
    eventually("her token is out", || Ok(who(&mesh, &carols)?.contains("TOKEN_ENDED")))?;
    expect(&who(&mesh, &admins)?, &["operator:admin"])?;
    // By what is kept on disk alone.
    let Secured { place, daemon, folder } = mesh;
    daemon.kill()?;
    redis.kill()?;
    let mesh = Secured { daemon: place.start_unready()?, place, folder };
    expect(&who(&mesh, &admins)?, &["operator:admin", "\"proof\":\"token\""])?;
    expect(&who(&mesh, &carols)?, &["HTTP/2 401", "TOKEN_ENDED"])?;
    Ok(())
}

/// An issuer outside, which serves its keys.
struct Issuer {
    keys: Arc<Mutex<Vec<Value>>>,
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (keys, asked): (Arc<Mutex<Vec<Value>>>, Arc<AtomicUsize>) = Default::default();
        let (served, counted) = (keys.clone(), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::Relaxed);
                let mut reader = BufReader::new(&stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                    line.clear();
                }
                let body =
                    json!({ "keys": *served.lock().unwrap_or_else(PoisonError::into_inner) }).to_string();
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                let _ = (&stream).write_all([head, body].concat().as_bytes());
            }
        });
        Ok(Self { keys, port, asked })
    }

    /// Publishes these keys and no others.
    fn publish(&self, keys: &[Value]) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys.to_vec();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

fn claims() -> Result<Value> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    Ok(
        json!({"iss": "https://issuer.test", "aud": "mesh", "sub": "ann@example", "groups": ["sre"], "iat": now, "exp": now + 600}),
    )
}

/// A key of Ed25519 as it is published.
fn published(key: &SigningKey) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": key.kid(), "x": BASE64.encode(key.public()), "use": "sig"})
}

fn openssl(folder: &Path, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().context("no input")?.write_all(input)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "openssl {arguments:?}");
    Ok(output.stdout)
}

/// A key of RSA that the system's `openssl` has made, as it is published, and a token that it has signed.
fn of_rsa(folder: &Path, bits: &str) -> Result<(Value, String)> {
    let file = format!("rsa-{bits}.pem");
    openssl(folder, &["genrsa", "-out", &file, bits], b"")?;
    let modulus = String::from_utf8(openssl(folder, &["rsa", "-in", &file, "-noout", "-modulus"], b"")?)?;
    let hex = modulus.trim().trim_start_matches("Modulus=").as_bytes();
    let byte = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    let modulus = hex.chunks(2).map(byte).collect::<Result<Vec<u8>>>()?;
    let kid = format!("rsa-{bits}");
    let key = json!({"kty": "RSA", "kid": kid, "n": BASE64.encode(modulus), "e": "AQAB", "alg": "RS256"});
    let header = json!({"alg": "RS256", "kid": kid, "typ": "JWT"}).to_string();
    let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims()?.to_string()));
    let signature = openssl(folder, &["dgst", "-sha256", "-sign", &file], signed.as_bytes())?;
    Ok((key, format!("{signed}.{}", BASE64.encode(signature))))
}

#[test]
fn an_issuer_outside_rotates_its_keys_and_its_old_tokens_go_with_them() -> Result<()> {
    let (issuer, [old, new]) = (Issuer::start()?, [SigningKey::make()?.0, SigningKey::make()?.0]);
    issuer.publish(&[published(&old)]);
    let mesh = believing(&issuer)?;
    let who = |token: &str| curl(&mesh, Some(token), &[], "/control/whoami");
    let first = old.sign(&claims()?);
    eventually("the role has its binding", || Ok(who(&first)?.contains("\"scopes\":[\"mesh.read\"]")))?;
    expect(&who(&first)?, &["\"principal\":\"oidc:ann@example\"", "\"roles\":[\"role:sre\"]"])?;
    let denied = curl(&mesh, Some(&first), &["-X", "POST", "--json", "{}"], "/control/peers/a:cordon")?;
    expect(
        &denied,
        &["HTTP/2 403", "oidc:ann@example has mesh.read", "\"missingScope\":\"mesh.operate\"", "\"rule\""],
    )?;
    over_grpc(&mesh, &first, "oidc:ann@example")?;
    // Somebody has taken it away, and the configuration does not give it back.
    ensure!(mesh.by("admin", "bindings delete role:sre --yes")?.code == Some(0));
    let Secured { place, daemon, folder } = mesh;
    daemon.kill()?;
    let mesh = Secured { daemon: place.start()?, place, folder };
    run(&mesh, &format!("context set prod --address {}", mesh.url()))?;
    let who = |token: &str| curl(&mesh, Some(token), &[], "/control/whoami");
    expect(&who(&first)?, &["\"principal\":\"oidc:ann@example\"", "\"scopes\":[]"])?;
    let listed = mesh.by("admin", "bindings list -o name")?.output;
    ensure!(!listed.contains("role:sre"), "{listed}");

    issuer.publish(&[published(&new)]);
    let second = new.sign(&claims()?);
    // The first call with it has the keys read anew.
    expect(&who(&second)?, &["HTTP/2 200", "oidc:ann@example"])?;
    expect(&who(&first)?, &["HTTP/2 401", "TOKEN_ENDED"])?;
    let before = issuer.asked();
    for _ in 0..20 {
        let stranger = SigningKey::make()?.0.sign(&claims()?);
        expect(&who(&stranger)?, &["HTTP/2 401", "TOKEN_REFUSED"])?;
    }
    ensure!(issuer.asked() <= before + 2, "{} times for nothing", issuer.asked() - before);

    let given = mesh.path("given");
    std::fs::write(&given, &*second)?;
    let login = format!("login --context prod --token-file {}", given.display());
    expect(&run(&mesh, &login)?, &["oidc:ann@example", "proof: token"])?;
    let unread = ask(&mesh, "mesh peers list --context prod")?;
    ensure!(unread.code == Some(5) && unread.complaint.contains("bindings"), "{}", unread.complaint);
    Ok(())
}

#[test]
fn what_openssl_signs_by_rsa_is_taken_and_a_short_key_is_not() -> Result<()> {
    let (issuer, folder) = (Issuer::start()?, tempfile::tempdir()?);
    let (long, by_long) = of_rsa(folder.path(), "2048")?;
    let (short, by_short) = of_rsa(folder.path(), "1024")?;
    issuer.publish(&[long, short]);
    let keys = format!("security.oidc.jwksUrl=http://127.0.0.1:{}/keys", issuer.port);
    let settings = ["security.oidc.issuer=https://issuer.test", "security.oidc.audience=mesh", &keys];
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let mesh = start(&arguments)?;
    let who = |token: &str| curl(&mesh, Some(token), &[], "/control/whoami");
    expect(&who(&by_long)?, &["HTTP/2 200", "oidc:ann@example", "\"scopes\":[]"])?;
    expect(&who(&by_short)?, &["HTTP/2 401", "TOKEN_REFUSED"])?;
    let given = mesh.path("given");
    std::fs::write(&given, &by_long)?;
    expect(
        &run(&mesh, &format!("login --context prod --token-file {}", given.display()))?,
        &["oidc:ann@example"],
    )?;
    expect(&run(&mesh, "logout --context prod")?, &["forgotten here, and not revoked"])?;
    let unbound = curl(&mesh, Some(&by_long), &[], "/control/peers")?;
    expect(&unbound, &["HTTP/2 403", "needs scope mesh.read", "oidc:ann@example has none"])?;
    Ok(())
}

/// A server of the keys under TLS, as `openssl` is one; killed when it is dropped.
struct UnderTls {
    server: Child,
    url: String,
    /// What it says: it ends when nobody hears it.
    _said: BufReader<ChildStdout>,
}

impl UnderTls {
    fn start(folder: &Path) -> Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()])?;
        std::fs::write(folder.join("tls.pem"), cert.pem())?;
        std::fs::write(folder.join("tls.key"), signing_key.serialize_pem())?;
        let mut server = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert", "tls.pem", "-key", "tls.key", "-WWW"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut said = BufReader::new(server.stdout.take().context("no output")?);
        let mut line = String::new();
        while said.read_line(&mut line)? > 0 {
            if let Some(port) = line.trim().strip_prefix("ACCEPT ").and_then(|at| at.rsplit(':').next()) {
                let url = format!("https://localhost:{port}/keys.json");
                return Ok(Self { server, url, _said: said });
            }
            line.clear();
        }
        anyhow::bail!("openssl does not listen")
    }
}

impl Drop for UnderTls {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn keys_are_read_under_tls_from_a_server_that_is_known_and_from_no_other() -> Result<()> {
    let (folder, key) = (tempfile::tempdir()?, SigningKey::make()?.0);
    std::fs::write(folder.path().join("keys.json"), json!({ "keys": [published(&key)] }).to_string())?;
    let server = UnderTls::start(folder.path())?;
    let keys = format!("security.oidc.jwksUrl={}", server.url);
    let ca = format!("security.oidc.caFile={}", folder.path().join("tls.pem").display());
    for (settings, expected) in [(vec![&keys, &ca], "HTTP/2 200"), (vec![&keys], "ISSUER_KEYS_UNKNOWN")] {
        let mut arguments = vec!["--set", "security.oidc.issuer=https://issuer.test"];
        arguments.extend(["--set", "security.oidc.audience=mesh"]);
        arguments.extend(settings.into_iter().flat_map(|setting| ["--set", setting.as_str()]));
        let mesh = start(&arguments)?;
        expect(&curl(&mesh, Some(&key.sign(&claims()?)), &[], "/control/whoami")?, &[expected])?;
    }
    Ok(())
}

#[test]
fn a_token_has_no_scope_that_its_holder_lacks_and_ends_whatever_it_has() -> Result<()> {
    let mesh = start(&[])?;
    let issued = mesh.by("admin", "cert issue --operator bob --out bob")?;
    ensure!(issued.code == Some(0), "{}", issued.complaint);
    let bob = "--context prod --tls-cert bob/chain.pem --tls-key bob/key.pem";
    let denied = ask(&mesh, &format!("login --scope mesh.admin {bob}"))?;
    ensure!(denied.code == Some(5), "{} {}", denied.output, denied.complaint);
    expect(&denied.complaint, &["operator:bob has mesh.read and not mesh.admin"])?;
    // One that may not even read is put out all the same.
    run(&mesh, "login --context prod --scope mesh.operate")?;
    let token = kept(&mesh)?;
    expect(&curl(&mesh, Some(&token), &[], "/control/peers")?, &["HTTP/2 403"])?;
    run(&mesh, "logout --context prod")?;
    expect(&curl(&mesh, Some(&token), &[], "/control/peers")?, &["HTTP/2 401"])
}

#[test]
fn whoever_calls_too_often_is_told_when_to_try_again() -> Result<()> {
    let settings = [
        "control.rateLimit.callsPerSecond=1",
        "control.rateLimit.burst=8",
        "control.rateLimit.unprovenPerSecond=1",
        "control.rateLimit.unprovenBurst=8",
    ];
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let mesh = start(&arguments)?;
    run(&mesh, "login --context prod")?;
    let token = kept(&mesh)?;
    let mut refused = None;
    for _ in 0..20 {
        let answer = curl(&mesh, Some(&token), &[], "/control/peers")?;
        if answer.starts_with("HTTP/2 429") {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.context("nobody was refused")?;
    expect(&refused, &["retry-after: 1\r\n", "TOO_MANY_CALLS", "operator:admin"])?;
    // Another principal, and one who proves nothing, are others.
    expect(&curl(&mesh, None, &[], "/control/peers")?, &["HTTP/2 401"])?;
    ensure!(mesh.at_socket("mesh peers list")?.code == Some(0));
    let mut told = None;
    for _ in 0..20 {
        if let Err(status) = called(&mesh, &token)? {
            told = Some(status);
            break;
        }
    }
    let told = told.context("nobody was refused over gRPC")?;
    ensure!(told.code() == tonic::Code::ResourceExhausted, "{told}");
    ensure!(told.metadata().get("retry-after").is_some_and(|value| value == "1"), "{told:?}");
    ensure!(Fault::from(&told).retried_after().is_some(), "{told:?}");
    // What has to be judged is counted before it is, also where anybody may call.
    let stranger = SigningKey::make()?.0.sign(&claims()?);
    let answers = (0..20).map(|_| curl(&mesh, Some(&stranger), &[], "/control/whoami"));
    let answers = answers.collect::<Result<Vec<_>>>()?;
    let counted = |status: &str| answers.iter().filter(|answer| answer.starts_with(status)).count();
    ensure!(counted("HTTP/2 401") > 0 && counted("HTTP/2 429") > 0, "{answers:?}");
    Ok(())
}
