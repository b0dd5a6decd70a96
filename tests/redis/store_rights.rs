//! What a host that has joined may write to the Redis of a mesh whose records are signed, by the user that it was given.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::signed_records::Mesh;
use crate::process::secured::Joined;
use crate::process::until;
use crate::servers::RedisServer;

const USER: &str = "omnirelay_default_b";
const SIGNED: [&str; 6] =
    ["authority", "binding", "binding-seed", "join-policy", "join-token", "transport-policy"];
/// How soon a daemon has kept what counts on its disk, and a little more.
const KEPT_WITHIN: Duration = Duration::from_secs(2);
/// How often a daemon housekeeps, and a little more.
const HOUSEKEEPING: Duration = Duration::from_secs(6);

fn key(name: &str) -> String {
    format!("{{omnirelay:default}}:{name}")
}

/// The patterns of keys of the worker's user.
fn patterns(server: &RedisServer) -> Result<Vec<String>> {
    let users: Vec<String> = server.cli(&["ACL", "LIST"])?;
    let user = users.into_iter().find(|line| line.split(' ').nth(1) == Some(USER)).context("no user")?;
    let is_key = |word: &&str| word.starts_with('~') || word.starts_with('%');
    Ok(user.split(' ').filter(is_key).map(str::to_owned).collect())
}

fn is_narrow(server: &RedisServer) -> Result<bool> {
    let patterns = patterns(server)?;
    let has = |key: &str| patterns.contains(&format!("~{{omnirelay:default}}:{key}"));
    let has_signed =
        SIGNED.iter().any(|kind| has(&format!("records:{kind}")) || has(&format!("order:{kind}")));
    Ok(!has("*") && !has_signed && has("log") && has("records:peer") && has("order:shard-change"))
}

/// By what the worker's daemon uses the store, as a URL has it.
fn credentials(mesh: &Mesh) -> Result<String> {
    let config = std::fs::read_to_string(mesh.mesh.path("b/omnirelayd.yaml"))?;
    let found = config.split("redis://").nth(1).and_then(|rest| rest.split_once('@'));
    Ok(found.context("no credentials in its configuration")?.0.to_owned())
}

async fn until_narrow(mesh: &Mesh) -> Result<()> {
    until("its user is narrow", async || is_narrow(&mesh.server)).await
}

/// What the server has refused the worker's user, but for what it asks of every server.
fn refused(server: &RedisServer) -> Result<Vec<String>> {
    let log: Vec<std::collections::HashMap<String, redis::Value>> = server.cli(&["ACL", "LOG", "100"])?;
    let text = |entry: &std::collections::HashMap<String, redis::Value>, field: &str| {
        let value = entry.get(field).cloned().unwrap_or(redis::Value::Nil);
        redis::from_redis_value::<String>(value).unwrap_or_default()
    };
    let of_user = log.iter().filter(|entry| text(entry, "username") == USER);
    let told = of_user.map(|entry| format!("{} {}", text(entry, "reason"), text(entry, "object")));
    Ok(told.filter(|told| told.starts_with("key ")).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workers_user_writes_nothing_that_issuers_sign() -> Result<()> {
    let mesh = Mesh::start_with(&["--set", "mesh.leadership.enabled=true"])?;
    mesh.until_both_live().await?;
    until_narrow(&mesh).await?;
    let server = &mesh.server;
    ensure!(refused(server)?.is_empty(), "its daemon tries what it may not: {:?}", refused(server)?);
    let user = credentials(&mesh)?;
    let as_worker = |words: &[&str]| server.cli_as::<redis::Value>(&user, words);
    let is_denied = |tried: &Result<redis::Value>| {
        let text = tried.as_ref().map_or_else(|error| format!("{error:#}").to_lowercase(), |_| String::new());
        text.contains("noperm") || text.contains("access at least one of the keys")
    };
    for kind in SIGNED {
        let (records, order) = (key(&format!("records:{kind}")), key(&format!("order:{kind}")));
        let script = format!("return redis.call('HSET', '{records}', 'x', 'y')");
        for words in [
            &["HSET", &records, "x", "y"][..],
            &["HDEL", &records, "mesh"],
            &["APPEND", &records, "x"],
            &["ZADD", &order, "0", "x"],
            &["ZREM", &order, "mesh"],
            &["EVAL", "return redis.call('HSET', KEYS[1], 'x', 'y')", "1", &records],
            &["EVAL", &script, "1", &key("meta")],
            &["EVAL", &script, "0"],
        ] {
            let tried = as_worker(words);
            ensure!(is_denied(&tried), "{words:?}: {tried:?}");
        }
        as_worker(&["HGETALL", &records])?;
    }
    as_worker(&["HDEL", &key("records:relay"), "nothing"])?;
    // It goes on doing all that is its own, also as the only one.
    server.cli::<()>(&["ACL", "LOG", "RESET"])?;
    mesh.mesh.daemon.signal("KILL")?;
    until("the worker leads", async || {
        let told = mesh.at_worker("mesh leaders status global-control -o json")?.output;
        let told: serde_json::Value = serde_json::from_str(&told).unwrap_or_default();
        Ok(told.to_string().contains("\"b\""))
    })
    .await?;
    let labelled = mesh.at_worker("mesh peers label b rack=4 --yes")?;
    ensure!(labelled.code == Some(0), "{}", labelled.complaint);
    let bound = mesh.at_worker("bindings set operator:eve mesh.read --yes")?;
    ensure!(
        bound.complaint.contains("NOT_AN_ISSUER") || bound.complaint.contains("secret"),
        "{}",
        bound.complaint
    );
    tokio::time::sleep(HOUSEKEEPING).await;
    ensure!(refused(&mesh.server)?.is_empty(), "{:?}", refused(&mesh.server)?);
    let log = std::fs::read_to_string(mesh.mesh.path("b/log"))?;
    ensure!(!log.contains("housekeeping failed"), "{log}");
    Ok(())
}

/// As a host has joined by an issuer of an earlier release, which is then upgraded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_an_earlier_release_is_brought_right_when_an_issuer_is_upgraded() -> Result<()> {
    let mut mesh = Mesh::start()?;
    mesh.until_both_live().await?;
    until_narrow(&mesh).await?;
    let narrow = patterns(&mesh.server)?;
    let without = |lost: &str| -> Vec<String> {
        narrow.iter().filter(|pattern| !pattern.contains(lost)).cloned().collect()
    };
    for (what, is) in [
        ("all kinds, signed ones as well", vec!["~{omnirelay:default}:*".to_owned()]),
        ("a kind less", without(":shard-webhook")),
    ] {
        let user = ["ACL", "SETUSER", USER, "resetkeys", "-zscore"];
        let is: Vec<&str> = is.iter().map(String::as_str).collect();
        // A daemon of an earlier release needs no more commands than it has.
        mesh.mesh.daemon.signal("KILL")?;
        mesh.server.cli::<()>(&[&user[..], &is].concat())?;
        ensure!(patterns(&mesh.server)? != narrow);
        mesh.mesh.daemon = mesh.mesh.place.start()?;
        until(what, async || {
            let users: Vec<String> = mesh.server.cli(&["ACL", "LIST"])?;
            let has_commands = users.iter().any(|line| line.contains(USER) && line.contains("+zscore"));
            let is_told = mesh.mesh.place.log().contains("rights of a user of the store changed");
            Ok(patterns(&mesh.server)? == narrow && has_commands && is_told)
        })
        .await?;
    }
    until("the trail has it", async || {
        let trail = mesh.mesh.at_socket("audit list --action certificates.set-store-rights -o json")?.output;
        Ok(trail.contains("b: writes all records but those that issuers sign"))
    })
    .await?;
    mesh.until_both_live().await
}

/// It signs what nobody else signs then, by a user that others have let do so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_given_the_secret_becomes_an_issuer_also_to_the_store() -> Result<()> {
    let mesh = Mesh::start()?;
    mesh.until_both_live().await?;
    until_narrow(&mesh).await?;
    let secret = mesh.mesh.place.data_dir().join("identity/issuer-secret");
    std::fs::copy(secret, mesh.mesh.path("b/identity/issuer-secret"))?;
    until("it may write all", async || Ok(patterns(&mesh.server)? == ["~{omnirelay:default}:*"])).await?;
    mesh.mesh.daemon.signal("KILL")?;
    until("it signs", async || {
        let bound = mesh.at_worker("bindings set operator:ann mesh.read --yes")?;
        Ok(bound.code == Some(0))
    })
    .await
}

/// What a certificate's record says of who issued it can be written by anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_says_that_it_issues_is_not_believed() -> Result<()> {
    use omnirelay_store::redis::link::RedisOptions;
    use omnirelay_store::{Commit, Pulse, RecordId, RecordKind, RedisStore, Scan, Store as _, Write};
    use omnirelay_wire::pb::omnirelay::store::v1::{CertificateValue, IssuerProofValue};
    use prost::Message as _;

    let mut mesh = Mesh::start()?;
    mesh.until_both_live().await?;
    until_narrow(&mesh).await?;
    let url = format!("redis://{}@{}", credentials(&mesh)?, mesh.server.address());
    let store = RedisStore::new(url.parse()?, RedisOptions::default(), "default", Duration::ZERO);
    let (kind, id) =
        (RecordKind::of("certificate"), RecordId::new(RecordKind::of("certificate"), "node/default/b"));
    let page = store.scan(Scan { kind, after: None, backwards: false, limit: 100 }).await?;
    let record = page.records.into_iter().find(|record| record.id == id).context("no record of b")?;
    let mut value = CertificateValue::decode(record.value)?;
    value.issued.iter_mut().for_each(|issued| issued.issued_by = "b".to_owned());
    let signer = RecordId::new(RecordKind::of("authority"), "mesh");
    let authority = store.scan(Scan { kind: signer.kind, after: None, backwards: false, limit: 100 }).await?;
    let authority = authority.records.into_iter().next().context("no authority")?;
    let authority = omnirelay_wire::pb::omnirelay::store::v1::AuthorityValue::decode(authority.value)?;
    value.issuer_proof = Some(IssuerProofValue {
        signature: vec![1; 64],
        signer: authority.issuers[0].certificate.clone(),
        unknown_fields: Default::default(),
    });
    let put = Write::Put { id, value: value.encode_to_vec().into(), group: None };
    let epoch = store.pulse(Pulse::default()).await?.epoch;
    store.commit(Commit { epoch, writes: vec![put], writer: "b".into(), ..Commit::default() }).await?;
    mesh.mesh.daemon.signal("KILL")?;
    mesh.mesh.daemon = mesh.mesh.place.start()?;
    until("it is looked at", async || {
        Ok(mesh.mesh.at_socket("cert list --kind node -o name")?.code == Some(0))
    })
    .await?;
    for _ in 0..20 {
        ensure!(is_narrow(&mesh.server)?, "it was believed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Nobody is there who may write what issuers sign.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_gets_from_workers_what_they_may_write_and_the_rest_from_an_issuer() -> Result<()> {
    let mut mesh = Mesh::start()?;
    mesh.until_both_live().await?;
    until_narrow(&mesh).await?;
    let bound = mesh.mesh.by("admin", "bindings set operator:ann mesh.read --yes")?;
    ensure!(bound.code == Some(0), "{}", bound.complaint);
    until("the worker knows it", async || {
        Ok(mesh.at_worker("bindings list -o name")?.output.contains("ann"))
    })
    .await?;
    // What counts is kept on disks once a second.
    tokio::time::sleep(KEPT_WITHIN).await;
    let rows =
        |mesh: &Mesh, kind: &str| mesh.server.cli::<usize>(&["HLEN", &key(&format!("records:{kind}"))]);
    let certificates = rows(&mesh, "certificate")?;
    mesh.mesh.daemon.signal("KILL")?;
    mesh.server.cli::<()>(&["FLUSHALL"])?;
    until("the certificates are back", async || Ok(rows(&mesh, "certificate")? == certificates)).await?;
    until("so is the worker", async || Ok(rows(&mesh, "peer")? > 0)).await?;
    for kind in SIGNED {
        ensure!(rows(&mesh, kind)? == 0, "{kind} was written by a worker");
    }
    ensure!(refused(&mesh.server)?.is_empty(), "{:?}", refused(&mesh.server)?);
    mesh.mesh.daemon = mesh.mesh.place.start()?;
    until("the issuer puts back what it has signed", async || {
        Ok(rows(&mesh, "authority")? > 0 && rows(&mesh, "binding")? > 0 && is_narrow(&mesh.server)?)
    })
    .await?;
    until("nothing is missing", async || {
        let check = mesh.mesh.at_socket("mesh check --category registry")?.output;
        Ok(check.contains("nothing is missing"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_joins_a_protected_mesh_never_may_write_what_issuers_sign() -> Result<()> {
    let mesh = Mesh::start()?;
    until_narrow(&mesh).await?;
    let _c: Joined = mesh.join("c", "127.0.0.4", &[])?;
    let users: Vec<String> = mesh.server.cli(&["ACL", "LIST"])?;
    let user = users.iter().find(|line| line.contains("omnirelay_default_c ")).context("no user")?;
    ensure!(
        user.contains("%R~{omnirelay:default}:*") && !user.contains(" ~{omnirelay:default}:* "),
        "{user}"
    );
    ensure!(!mesh.mesh.place.log().contains("peer=c rights"), "it was made so");
    until("it lives", async || Ok(mesh.at_worker("mesh peers list -o name")?.output.contains("peer/c"))).await
}
