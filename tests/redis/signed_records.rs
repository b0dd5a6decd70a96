//! Records of who may do what, forged by somebody who has the store's credentials of a worker: they count on no daemon, and what
//! counts comes back, also from a store that was emptied.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use omnirelay_core::spiffe::{CertificateHolder, SpiffeId, TrustDomain};
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::{TlsNames, to_pem};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::{Commit, Pulse, Record, RecordId, RecordKind, RedisStore, Scan, Store, Write};
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, BindingValue, SigningValue};
use prost::Message as _;

use crate::process::secured::{Ended, Joined, Secured, command, ended};
use crate::process::until;
use crate::servers::RedisServer;

const TLS: [&str; 2] = ["--set", "control.tls.source=mesh"];
const AUTHORITY: RecordKind = RecordKind::of("authority");
const BINDING: RecordKind = RecordKind::of("binding");
/// As what whoever forges says to have written.
const WORKER: &str = "b";

/// A mesh of an issuer and a worker that has joined, over one Redis.
pub(crate) struct Mesh {
    pub server: RedisServer,
    pub mesh: Secured,
    /// Where the worker is, which has its control socket at `b.sock`.
    pub worker: String,
    _b: Joined,
}

impl Mesh {
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same, with these words for the worker's daemon.
    pub(crate) fn start_with(words: &[&str]) -> Result<Self> {
        let server = RedisServer::start(&[])?;
        let mesh = Secured::start("a", "127.0.0.2:0", &[&TLS[..], &["--store", &server.url()]].concat())?;
        let socket = mesh.path("b.sock");
        let socket = ["--control-socket", socket.to_str().context("no UTF-8")?];
        let (worker, b) = joined(&mesh, WORKER, "127.0.0.3", &[&socket, words].concat())?;
        Ok(Self { server, mesh, worker, _b: b })
    }

    /// Has another node join, at an address of its own; `words` are for its daemon.
    pub(crate) fn join(&self, node: &str, host: &str, words: &[&str]) -> Result<Joined> {
        joined(&self.mesh, node, host, words).map(|(_, joined)| joined)
    }

    /// Waits until the issuer and the worker know each other.
    pub(crate) async fn until_both_live(&self) -> Result<()> {
        until("both know each other", async || {
            Ok(self.at_worker("mesh peers list -o name")?.output == "peer/a\npeer/b\n")
        })
        .await
    }

    fn store(&self) -> Result<RedisStore> {
        Ok(RedisStore::new(self.server.url().parse()?, RedisOptions::default(), "default", Duration::ZERO))
    }

    /// A command of the administrator at the worker.
    pub(crate) fn at_worker(&self, line: &str) -> Result<Ended> {
        self.by("admin", &format!("https://{}", self.worker), line)
    }

    /// A command of somebody at an address.
    pub(crate) fn by(&self, who: &str, address: &str, line: &str) -> Result<Ended> {
        let mut command = command(line, self.mesh.folder.path());
        command.args(["--addr", address]).arg("--tls-ca").arg(self.mesh.path("admin").join("bundle.pem"));
        command.arg("--tls-cert").arg(self.mesh.path(who).join("chain.pem"));
        command.arg("--tls-key").arg(self.mesh.path(who).join("key.pem"));
        if address.contains(&self.worker) {
            command.args(["--tls-server-name", WORKER]);
        }
        ended(&mut command)
    }

    /// The addresses of both.
    pub(crate) fn addresses(&self) -> [String; 2] {
        [self.mesh.url(), format!("https://{}", self.worker)]
    }
}

/// Has a host join by a token of its own, and starts its daemon; where that is.
fn joined(mesh: &Secured, node: &str, host: &str, words: &[&str]) -> Result<(String, Joined)> {
    let made = mesh.by("admin", &format!("token create --out token-{node} --node {node}"))?;
    ensure!(made.code == Some(0), "{}", made.complaint);
    let server = &mesh.daemon.control;
    let line =
        format!("mesh join --server {server} --token-file token-{node} --node-id {node} --data-dir {node}");
    let joined = ended(&mut command(&line, mesh.folder.path()))?;
    ensure!(joined.code == Some(0), "{}", joined.complaint);
    let port = server.rsplit_once(':').context("no port")?.1;
    let at = format!("{host}:{port}");
    let joined = Joined::start(mesh, node, &at, words)?;
    Ok((at, joined))
}

async fn forge(store: &RedisStore, write: Write) -> Result<()> {
    let epoch = store.pulse(Pulse::default()).await?.epoch;
    let commit = Commit { epoch, writes: vec![write], writer: WORKER.into(), ..Commit::default() };
    store.commit(commit).await?;
    Ok(())
}

async fn stored(store: &RedisStore, kind: RecordKind, key: &str) -> Result<Option<Record>> {
    let page = store.scan(Scan { kind, after: None, backwards: false, limit: 100 }).await?;
    Ok(page.records.into_iter().find(|record| record.id.key == key && !record.deleted))
}

/// An authority of a stranger, and a certificate of `operator/ann` under it, in a folder.
fn strangers_certificate(folder: &Path) -> Result<CertificateAuthority> {
    let now = i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs())?;
    let validity = ValidityPeriod { not_before: now - 300, not_after: now + 3600 };
    let domain: TrustDomain = "mesh.local".parse()?;
    let root = CertificateAuthority::root(domain.clone(), validity)?;
    let issuer = root.intermediate("default", validity)?;
    let key = PrivateKey::make()?;
    let request = CertificateRequest::read(&CertificateRequest::make(&key, None, &TlsNames::default())?)?;
    let id = SpiffeId::new(domain, CertificateHolder::Operator("ann".to_owned()))?;
    let issued = issuer.issue(&request, &id, &TlsNames::default(), validity)?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("chain.pem"), to_pem(&issued.der) + &to_pem(issuer.certificate()))?;
    std::fs::write(folder.join("key.pem"), key.to_pem().as_bytes())?;
    Ok(root)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_a_workers_store_credentials_takes_over_nothing_and_is_noticed() -> Result<()> {
    let mesh = Mesh::start()?;
    let store = mesh.store()?;
    mesh.until_both_live().await?;
    let check = mesh.mesh.by("admin", "mesh check --category identity")?;
    ensure!(!check.output.contains("FAIL"), "{}", check.output);

    // A binding of somebody who has a certificate and no more.
    let issued = mesh.mesh.by("admin", "cert issue --operator eve --out eve")?;
    ensure!(issued.code == Some(0), "{}", issued.complaint);
    let scopes = ["mesh.read", "mesh.operate", "mesh.admin"].map(str::to_owned).to_vec();
    let binding = BindingValue { scopes, unknown_fields: Default::default() };
    let id = RecordId::new(BINDING, "operator:eve");
    let value = Bytes::from(binding.encode_to_vec());
    forge(&store, Write::Put { id: id.clone(), value, group: None }).await?;
    for address in mesh.addresses() {
        let tried = mesh.by("eve", &address, "bindings set operator:eve mesh.admin --yes")?;
        ensure!(tried.code == Some(4) || tried.complaint.contains("mesh.admin"), "{}", tried.complaint);
        ensure!(tried.code != Some(0), "{address}: {}", tried.output);
    }
    until("it is taken away", async || Ok(stored(&store, BINDING, "operator:eve").await?.is_none())).await?;

    // A second root, and a certificate under it.
    let root = strangers_certificate(&mesh.mesh.path("ann"))?;
    let record = stored(&store, AUTHORITY, "mesh").await?.context("no authority")?;
    let mut authority = AuthorityValue::decode(record.value.clone())?;
    let root = SigningValue { certificate: root.certificate().to_vec(), ..SigningValue::default() };
    authority.roots.push(root);
    let value = Bytes::from(authority.encode_to_vec());
    forge(&store, Write::Put { id: record.id.clone(), value, group: None }).await?;
    for _ in 0..20 {
        for address in mesh.addresses() {
            let tried = mesh.by("ann", &address, "whoami")?;
            ensure!(tried.code != Some(0), "{address}: {}", tried.output);
        }
    }
    until("the authority is as it was", async || {
        let now = stored(&store, AUTHORITY, "mesh").await?.context("no authority")?;
        Ok(now.value == record.value)
    })
    .await?;

    // What the administrator was given is deleted.
    forge(&store, Write::Delete { id: RecordId::new(BINDING, "operator:admin") }).await?;
    let done = mesh.at_worker("bindings set operator:eve mesh.operate --yes")?;
    ensure!(done.code == Some(0), "the worker names the issuer, which does it: {}", done.complaint);
    until("it is there again", async || Ok(stored(&store, BINDING, "operator:admin").await?.is_some()))
        .await?;

    let told = mesh.mesh.by("admin", "audit list --action signed-records.restore -o json")?.output;
    for record in ["binding/operator:eve", "authority/mesh", "binding/operator:admin"] {
        ensure!(told.contains(&format!("{record}: ")), "{record}: {told}");
    }
    ensure!(told.contains(&format!("written by {WORKER}")), "{told}");
    let check = mesh.mesh.by("admin", "mesh check --category identity")?;
    ensure!(check.code != Some(0), "{}", check.output);
    ensure!(check.output.contains("FAIL a, b: somebody wrote to the store"), "{}", check.output);
    let verified = mesh.mesh.by("admin", "audit verify")?;
    ensure!(verified.code == Some(0), "{}{}", verified.output, verified.complaint);
    ensure!(verified.output.contains("as the trail says\n"), "none is older: {}", verified.output);
    let check = mesh.mesh.by("admin", "mesh check --category audit")?;
    ensure!(check.code == Some(0) && !check.output.contains("no audit record tells of"), "{}", check.output);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_store_gets_back_the_authority_and_what_it_has_given() -> Result<()> {
    let mesh = Mesh::start()?;
    let store = mesh.store()?;
    for number in 0..10 {
        let set = mesh.mesh.by("admin", &format!("bindings set operator:o{number} mesh.read --yes"))?;
        ensure!(set.code == Some(0), "{}", set.complaint);
    }
    let before = mesh.at_worker("bindings list -o name")?.output;
    let authority = stored(&store, AUTHORITY, "mesh").await?.context("no authority")?.value;
    mesh.server.cli::<()>(&["FLUSHALL"])?;
    until("the authority is back", async || {
        Ok(stored(&store, AUTHORITY, "mesh").await?.is_some_and(|found| found.value == authority))
    })
    .await?;
    until("the bindings are back", async || {
        let page = store.scan(Scan { kind: BINDING, after: None, backwards: false, limit: 100 }).await?;
        Ok(page.records.len() == 11)
    })
    .await?;
    for address in mesh.addresses() {
        let listed = mesh.by("admin", &address, "bindings list -o name")?;
        ensure!(listed.output == before, "{address}: {}{}", listed.output, listed.complaint);
    }
    let set = mesh.mesh.by("admin", "bindings set operator:o1 mesh.operate --yes")?;
    ensure!(set.code == Some(0), "{}", set.complaint);
    let check = mesh.mesh.by("admin", "mesh check --category identity --category audit")?;
    ensure!(!check.output.contains("FAIL"), "{}", check.output);
    ensure!(!check.output.contains("no audit record tells of"), "{}", check.output);
    let verified = mesh.mesh.by("admin", "audit verify")?.output;
    ensure!(!verified.contains("not what was written"), "{verified}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_redis_loses_while_the_issuer_is_away_counts_and_comes_back_with_it() -> Result<()> {
    let mut mesh = Mesh::start()?;
    let store = mesh.store()?;
    mesh.until_both_live().await?;
    for line in
        ["mesh namespaces create orders --shards 8 --yes", "bindings set operator:ann mesh.read --yes"]
    {
        let made = mesh.mesh.by("admin", line)?;
        ensure!(made.code == Some(0), "{line}: {}", made.complaint);
    }
    let bindings = mesh.at_worker("bindings list -o name")?.output;
    until("the worker has seen the namespace", async || {
        Ok(mesh.at_worker("mesh namespaces list -o name")?.output == "namespace/orders\n")
    })
    .await?;
    mesh.mesh.daemon.signal("KILL")?;
    mesh.server.cli::<()>(&["FLUSHALL"])?;
    until("what the worker may write is back", async || {
        let check = mesh.at_worker("mesh check --category registry")?.output;
        let namespaces = mesh.at_worker("mesh namespaces list -o name")?.output;
        Ok(check.contains("nothing is missing") && namespaces == "namespace/orders\n")
    })
    .await?;
    // What issuers have signed counts for those who know it, and stands in no store until one is back.
    ensure!(mesh.at_worker("bindings list -o name")?.output == bindings);
    let cordoned = mesh.at_worker("mesh peers cordon b --yes")?;
    ensure!(cordoned.code == Some(0), "{}", cordoned.complaint);
    ensure!(stored(&store, BINDING, "operator:ann").await?.is_none(), "nobody else writes it");
    until("the check says what is so", async || {
        let check = mesh.at_worker("mesh check --category identity")?.output;
        Ok(check.contains("no node that lives has the secret of the issuers")
            && check.contains("no issuer has put them back yet"))
    })
    .await?;
    let refused = mesh.at_worker("bindings set operator:ann mesh.operate --yes")?;
    ensure!(refused.code != Some(0) && refused.complaint.contains("has not the secret"), "{refused:?}");

    mesh.mesh.daemon = mesh.mesh.place.start()?;
    until("an issuer has put it back", async || Ok(stored(&store, BINDING, "operator:ann").await?.is_some()))
        .await?;
    until("nothing is red", async || {
        let check = mesh.at_worker("mesh check --category identity --category registry")?.output;
        Ok(!check.contains("FAIL"))
    })
    .await?;
    ensure!(mesh.at_worker("bindings list -o name")?.output == bindings);
    let set = mesh.at_worker("bindings set operator:ann mesh.operate --yes")?;
    ensure!(set.code == Some(0), "{}", set.complaint);
    Ok(())
}
