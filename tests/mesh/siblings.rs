//! Two clusters of one trust domain: whom each vouches for at the other, and what a hostile one comes by.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use omnirelay_core::spiffe::SpiffeId;
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::{TlsNames, to_pem};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::{CertificateRequest, to_pem as request_pem};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::federation::{BESIDE_METHODS, these_alone_are_reached};
use crate::process::channel::{ShownCertificate, channel};
use crate::process::secured::{Secured, command, ended};
use crate::process::siblings::{Siblings, run};
use crate::process::{until, within};

/// How long a change at one cluster may take to hold at the other.
const HEARD_WITHIN: Duration = Duration::from_secs(15);

/// What a node of another cluster may call.
const OF_SIBLINGS: [&str; 7] = [
    "/omnirelay.mesh.control.v1.ReplicationService/Follow",
    "/omnirelay.mesh.control.v1.ReplicationService/Acknowledge",
    "/omnirelay.mesh.control.v1.ReplicationService/Reconcile",
    "/omnirelay.security.v1.ClusterTrustService/GetTrust",
    "/omnirelay.security.v1.TokenService/WhoAmI",
    "/omnirelay.registers.v1.AdvertisementExchangeService/Compare",
    "/omnirelay.registers.v1.AdvertisementExchangeService/Fetch",
];

const UNLED: [&str; 2] = ["--set", "mesh.leadership.enabled=false"];

fn start() -> Result<Siblings> {
    Siblings::start(&UNLED, &UNLED)
}

/// An issuer that the root has certified, whose key is here: one of a cluster, or one of before, which names none.
fn issuer(of: &Siblings, cluster: Option<&str>) -> Result<CertificateAuthority> {
    let folder = of.east.path("root");
    let root = CertificateDer::from_pem_file(folder.join("root.pem"))?;
    let key = std::fs::read_to_string(folder.join("root-key.pem"))?;
    let root = CertificateAuthority::kept("mesh.example".parse()?, root, PrivateKey::from_pem(&key)?)?;
    let Some(cluster) = cluster else {
        let own = PrivateKey::make()?;
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI("spiffe://mesh.example".try_into()?)];
        params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let by = Issuer::from_ca_cert_der(root.certificate(), KeyPair::from_pem(&key)?)?;
        let made = params.signed_by(&KeyPair::from_pem(&own.to_pem())?, &by)?.der().clone();
        return Ok(CertificateAuthority::kept("mesh.example".parse()?, made, own)?);
    };
    Ok(root.intermediate(cluster, root.validity())?)
}

/// What somebody shows whom this issuer certifies, be it that it should not; the folder has what commands want.
fn shown(issuer: &CertificateAuthority, id: &str, of: &Secured, name: &str) -> Result<()> {
    let id: SpiffeId = format!("spiffe://mesh.example/{id}").parse()?;
    let key = PrivateKey::make()?;
    let mut names = TlsNames::default();
    names.addresses.push("127.0.0.1".parse()?);
    let request = CertificateRequest::read(&CertificateRequest::make(&key, None, &names)?)?;
    let life = ValidityPeriod { not_after: issuer.validity().not_before + 7200, ..issuer.validity() };
    let leaf = match issuer.issue(&request, &id, &names, life) {
        Ok(issued) => issued.der,
        // One that asks nothing.
        Err(_) => {
            let by = Issuer::from_ca_cert_der(issuer.certificate(), KeyPair::from_pem(&issuer.key_pem())?)?;
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
            params.signed_by(&KeyPair::from_pem(&key.to_pem())?, &by)?.der().clone()
        }
    };
    let folder = of.path(name);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("chain.pem"), to_pem(&leaf) + &to_pem(issuer.certificate()))?;
    std::fs::write(folder.join("key.pem"), key.to_pem().as_bytes())?;
    std::fs::copy(of.path("admin").join("bundle.pem"), folder.join("bundle.pem"))?;
    Ok(())
}

async fn is_heard(of: &Secured, other: &str) -> Result<bool> {
    let told = run(of, &format!("mesh clusters get {other} -o json"))?;
    Ok(told.contains("\"revocationsNumber\""))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_sibling_vouches_for_is_of_that_cluster_and_nobody_here() -> Result<()> {
    let siblings = start()?;
    let Siblings { east, west } = &siblings;
    let hostile = issuer(&siblings, Some("west"))?;
    shown(&hostile, "operator/admin", east, "hostile-admin")?;
    let early = east.by("hostile-admin", "whoami")?;
    ensure!(early.code == Some(9), "what west has revoked was never heard: {early:?}");
    let log = east.place.log();
    ensure!(
        log.contains("cluster `west` vouches for it, and what that has revoked was never heard here"),
        "{log}"
    );
    siblings.introduce()?;
    until("both have heard of each other", async || {
        Ok(is_heard(east, "west").await? && is_heard(west, "east").await?)
    })
    .await?;

    // The plant: the issuer of west names an operator that east has as well, and who administers east.
    let who = run(east, "whoami")?;
    ensure!(who.starts_with("operator:admin\n") && who.contains("mesh.admin"), "{who}");
    let who = east.by("hostile-admin", "whoami")?.output;
    ensure!(who.starts_with("operator:west/admin\n") && who.contains("scopes: none"), "{who}");
    for line in [
        "mesh peers list",
        "bindings set operator:west/admin mesh.admin",
        "cert issue --operator eve --out eve",
        "cert renew hostile-admin",
        "cert ca certify csr --cluster north --out north --yes",
        "mesh clusters delete west --yes",
    ] {
        std::fs::write(
            east.path("csr"),
            request_pem(&CertificateRequest::make(&PrivateKey::make()?, None, &TlsNames::default())?),
        )?;
        let refused = east.by("hostile-admin", line)?;
        ensure!(refused.code != Some(0) && refused.output.is_empty(), "{line}: {refused:?}");
    }
    run(east, "bindings set operator:west/admin mesh.read")?;
    until("the binding of that name counts", async || {
        Ok(east.by("hostile-admin", "mesh peers list")?.code == Some(0))
    })
    .await?;

    // A token is put out by the cluster that has issued it: its number might be that of a certificate of ours.
    run(west, "cert issue --operator mallory --out mallory")?;
    let issued = west.by("mallory", "api POST /control/tokens:issue")?;
    let issued: serde_json::Value = serde_json::from_str(&issued.output).context(issued.complaint)?;
    std::fs::write(east.path("token"), issued["token"].as_str().context("no token")?)?;
    let sent = |line: &str| {
        let mut sent = command(line, east.folder.path());
        sent.args(["--addr", &east.url()]).arg("--tls-ca").arg(east.path("admin").join("bundle.pem"));
        ended(sent.arg("--token-file").arg(east.path("token")))
    };
    let who = sent("whoami")?.output;
    ensure!(who.starts_with("operator:west/mallory\n") && who.contains("proof: token"), "{who}");
    let refused = sent("api POST /control/tokens:revoke")?;
    ensure!(refused.complaint.contains("is put out there, and not here"), "{refused:?}");

    // Nodes: theirs reach what clusters ask of each other, and of ours they name none; without a cluster nobody is named.
    shown(&hostile, "mesh/west/worker/n1", east, "their-node")?;
    let who = east.by("their-node", "whoami")?.output;
    ensure!(who.starts_with("node:west/n1\n") && who.contains("scopes: none"), "{who}");
    nodes_reach_what_is_for_siblings(east, "their-node").await?;
    let nameless = issuer(&siblings, None)?;
    for (what, issuer, id) in [
        ("a node of east by west", &hostile, "mesh/east/worker/e1"),
        ("an operator by an issuer without a cluster", &nameless, "operator/admin"),
        ("a node by an issuer without a cluster", &nameless, "mesh/east/worker/e1"),
        ("an operator of a cluster that is not known", &issuer(&siblings, Some("north"))?, "operator/admin"),
        ("a node of a cluster that is not known", &issuer(&siblings, Some("north"))?, "mesh/north/worker/n1"),
    ] {
        shown(issuer, id, east, "refused")?;
        let refused = east.by("refused", "whoami")?;
        ensure!(refused.code == Some(9), "{what}: {refused:?}");
    }
    Ok(())
}

async fn nodes_reach_what_is_for_siblings(of: &Secured, name: &str) -> Result<()> {
    let folder = of.path(name);
    let shown = ShownCertificate::in_folder(&folder);
    let channel = channel(of.url(), folder.join("bundle.pem"), Some(shown)).await?;
    these_alone_are_reached(&channel, &OF_SIBLINGS, "SIBLING_CALLER").await?;
    for path in BESIDE_METHODS {
        let told = of.by(name, &format!("api GET {path}"))?;
        ensure!(told.complaint.contains("SIBLING_CALLER") || told.code == Some(5), "{path}: {told:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_cluster_puts_out_whom_it_vouches_for_also_at_the_other() -> Result<()> {
    let siblings = start()?;
    let Siblings { east, west } = &siblings;
    siblings.introduce()?;
    until("both have heard of each other", async || {
        Ok(is_heard(east, "west").await? && is_heard(west, "east").await?)
    })
    .await?;
    run(east, "bindings set operator:west/ann mesh.read")?;
    run(west, "cert issue --operator ann --out ann")?;
    run(east, "cert issue --operator ann --out ann")?;
    // As what west has given her is shown at east.
    let theirs = |line: &str| west.shown_at(&east.url(), "ann", line);
    let who = ended(&mut theirs("whoami"))?.output;
    ensure!(who.starts_with("operator:west/ann\n") && who.contains("mesh.read"), "{who}");
    let mut watch = theirs("mesh peers watch").spawn()?;
    // Ours of that name is put out, and theirs is not.
    run(east, "cert revoke --operator ann --yes")?;
    within(HEARD_WITHIN, "ours is out", async || Ok(east.by("ann", "whoami")?.code == Some(9))).await?;
    ensure!(ended(&mut theirs("whoami"))?.code == Some(0), "theirs is another");
    run(west, "cert revoke --operator ann --yes")?;
    within(HEARD_WITHIN, "theirs is out at east", async || Ok(ended(&mut theirs("whoami"))?.code == Some(9)))
        .await?;
    within(HEARD_WITHIN, "what was open has ended", async || Ok(watch.try_wait()?.is_some())).await?;
    // Forgotten, west vouches for nobody here, and its issuer is out for good once its key is.
    shown(&issuer(&siblings, Some("west"))?, "operator/bob", east, "bob")?;
    ensure!(east.by("bob", "whoami")?.code == Some(0));
    run(east, "mesh clusters delete west --yes")?;
    within(HEARD_WITHIN, "nobody of west is let in", async || Ok(east.by("bob", "whoami")?.code == Some(9)))
        .await?;
    run(east, &format!("mesh clusters set west --endpoint {}", west.daemon.control))?;
    until("west is heard again", async || is_heard(east, "west").await).await?;
    run(west, "cert issue --operator carl --out carl")?;
    run(east, "cert revoke --issuer-of west --yes")?;
    within(HEARD_WITHIN, "whom its issuer vouches for is out", async || {
        Ok(ended(&mut west.shown_at(&east.url(), "carl", "whoami"))?.code == Some(9))
    })
    .await
}

/// Each cluster proves the addresses of its own daemons, and could prove those of others: a client says which it calls.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_two_clusters_calls_whichever_is_there_and_no_third_one() -> Result<()> {
    let mut siblings = start()?;
    siblings.introduce()?;
    let Siblings { east, west } = &mut siblings;
    run(west, "cert issue --operator ann --out ann")?;
    run(west, "bindings set operator:ann mesh.read mesh.operate")?;
    until("east has heard of west", async || is_heard(east, "west").await).await?;
    let home = west.folder.path().to_owned();
    let (first, second) = (east.url(), west.url());
    let by = |context: &str, line: &str| ended(&mut command(&format!("--context {context} {line}"), &home));
    for (context, clusters) in [("both", "east,west"), ("theirs", "west"), ("third", "north")] {
        let line = format!(
            "context add {context} --address {first} --address {second} --tls-ca ann/bundle.pem --tls-cert ann/chain.pem \
             --tls-key ann/key.pem --tls-cluster {clusters}"
        );
        let added = ended(&mut command(&line, &home))?;
        ensure!(added.code == Some(0), "{added:?}");
    }
    let who = by("both", "whoami")?;
    ensure!(who.output.starts_with("operator:west/ann\n"), "the first that answers is asked: {who:?}");
    let who = by("theirs", "whoami")?;
    ensure!(who.output.starts_with("operator:ann\n"), "east is no cluster of that context: {who:?}");
    let refused = by("third", "whoami")?;
    ensure!(refused.code == Some(6) && refused.output.is_empty(), "{refused:?}");
    for words in [
        "it is of cluster `east`, and `north` was expected",
        "it is of cluster `west`, and `north` was expected",
        "--tls-cluster CLUSTER",
    ] {
        ensure!(refused.complaint.contains(words), "{}", refused.complaint);
    }
    ensure!(!refused.complaint.contains("Error("), "{}", refused.complaint);

    // A host that joins leaves what it has made where it is, and joins the cluster that it means.
    run(west, "token create --role worker --out token")?;
    let join = |cluster: &str| {
        let at = &west.daemon.control;
        let line = format!(
            "mesh join --server {at} --token-file token --node-id w2 --data-dir w2 --tls-cluster {cluster}"
        );
        ended(&mut command(&line, &home))
    };
    let refused = join("east")?;
    ensure!(refused.code == Some(6) && !home.join("w2/omnirelayd.yaml").exists(), "{refused:?}");
    ensure!(refused.complaint.contains("it is of cluster `west`, and `east` was expected"), "{refused:?}");
    let joined = join("west")?;
    ensure!(joined.code == Some(0) && joined.output.contains("/mesh/west/worker/w2"), "{joined:?}");

    // East ends: the next address is called, by reads and by changes.
    east.daemon.signal("KILL")?;
    within(HEARD_WITHIN, "east is gone", async || {
        Ok(by("both", "whoami")?.output.starts_with("operator:ann\n"))
    })
    .await?;
    let listed = by("both", "mesh peers list -o name")?;
    ensure!(listed.code == Some(0) && listed.output.contains("peer/w1"), "{listed:?}");
    Ok(())
}
