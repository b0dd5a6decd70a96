//! The relay's port under TLS, and the clients that a daemon is itself: certificates of the mesh, of files, and of nobody.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tonic::Code;
use tonic::transport::Channel;

use crate::agent::{Agent, Shape, refused};
use crate::process::channel::{ShownCertificate, channel};
use crate::process::secured::Secured;
use crate::process::{Place, until, within};
use crate::python_agent::PythonAgent;
use crate::servers::Authority;
use crate::world::{BRISK, Sunk};

/// How long a revoked caller may go on.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);
/// A daemon with both services at ports that are free.
const SERVICES: [&str; 8] = [
    "--service",
    "relay",
    "--service",
    "registry",
    "--relay-listen",
    "127.0.0.1:0",
    "--relay-http-listen",
    "127.0.0.1:0",
];

/// Arguments with these settings.
fn arguments(settings: &[&str]) -> Vec<String> {
    let set = BRISK.iter().chain(settings).flat_map(|setting| ["--set", setting]);
    SERVICES.iter().copied().chain(set).map(str::to_owned).collect()
}

/// A daemon with an authority, and `relay.tls.source=mesh`.
pub(crate) fn mesh(settings: &[&str]) -> Result<Secured> {
    let arguments = arguments(&[&["relay.tls.source=mesh"], settings].concat());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Secured::start("a", "127.0.0.1:0", &arguments)
}

/// Where agents connect, by what a daemon said when it was ready.
fn relay_of(place: &Place) -> Result<String> {
    let ready: Value = serde_json::from_slice(&std::fs::read(place.ready_file())?)?;
    Ok(ready["nodes"][0]["relay"].as_str().context("no relay")?.to_owned())
}

/// What the system's `openssl` says.
fn openssl(folder: &Path, arguments: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new("openssl");
    let done =
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).output().context("openssl")?;
    let text = [done.stdout, done.stderr].concat();
    Ok((done.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// A connection of somebody who believes this file, and shows what is in a folder.
async fn reach(address: &str, ca: &Path, shows: Option<&Path>) -> Result<Channel> {
    channel(format!("https://{address}"), ca.to_owned(), shows.map(ShownCertificate::in_folder)).await
}

/// The one of a mesh.
pub(crate) async fn reach_mesh(mesh: &Secured, who: Option<&str>) -> Result<Channel> {
    let (bundle, shown) = (mesh.path("admin").join("bundle.pem"), who.map(|who| mesh.path(who)));
    reach(&relay_of(&mesh.place)?, &bundle, shown.as_deref()).await
}

pub(crate) fn issue(mesh: &Secured, line: &str) -> Result<()> {
    let issued = mesh.by("admin", &format!("cert issue {line}"))?;
    ensure!(issued.code == Some(0), "{}", issued.complaint);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_is_served_as_it_is_configured() -> Result<()> {
    for (clients, without) in [("none", true), ("optional", true), ("required", false)] {
        let mesh = mesh(&[&format!("relay.tls.clients={clients}")])?;
        let (relay, folder) = (relay_of(&mesh.place)?, mesh.folder.path());
        let connect = ["s_client", "-connect", &relay, "-CAfile", "admin/bundle.pem", "-verify_return_error"];
        let connect = [&connect[..], &["-verify_hostname", "localhost", "-servername", "localhost"]].concat();
        let ask = |more: &[&str]| -> Result<String> {
            let mut command = Command::new("openssl");
            let mut child = command
                .args(&connect)
                .args(["-quiet", "-ign_eof"])
                .args(more)
                .current_dir(folder)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let asked = b"GET /control/node HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            // It may have ended before it has read.
            let _ = std::io::Write::write_all(&mut child.stdin.take().context("no input")?, asked);
            let done = child.wait_with_output()?;
            Ok(String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
        };
        let said = ask(&[])?;
        ensure!(said.contains("HTTP/1.1 404") == without, "{clients}: {said}");
        ensure!(without || said.contains("certificate required"), "{clients}: {said}");
        let own = ["-cert", "admin/chain.pem", "-cert_chain", "admin/chain.pem", "-key", "admin/key.pem"];
        let said = ask(&own)?;
        ensure!(said.contains("HTTP/1.1 404"), "{clients}: {said}");
        let (done, said) = openssl(folder, &[&connect[..], &["-tls1_2"]].concat())?;
        ensure!(!done && said.contains("protocol version"), "{clients}: {said}");
    }
    Ok(())
}

/// As released agents do, which check the certificate of the relay and show none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_show_nothing_are_served() -> Result<()> {
    for clients in ["none", "optional"] {
        let mesh = mesh(&[&format!("relay.tls.clients={clients}")])?;
        let bundle = mesh.path("admin").join("bundle.pem").display().to_string();
        let port = relay_of(&mesh.place)?.rsplit_once(':').context("no port")?.1.to_owned();
        let (servers, more) = ([format!("localhost:{port}")], ["--seconds", "1", "--ca", &bundle]);
        let agent = PythonAgent::start(Shape::Legacy, 7, &servers, mesh.folder.path(), &more)?;
        let report = agent.report()?;
        crate::foreign::check(&report, &Sunk::read(&mesh.place.data_dir().join("telemetry"))?)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_take_whom_they_are_told_to() -> Result<()> {
    let mesh = mesh(&[
        "relay.tls.clients=optional",
        "relay.allow.agents=[spiffe://mesh.local/service/drone-*]",
        "relay.allow.operators=[spiffe://mesh.local/operator/admin]",
    ])?;
    issue(&mesh, "--service drone-7 --out drone-7")?;
    issue(&mesh, "--service billing --out billing")?;
    let mut agent = Agent::on(reach_mesh(&mesh, Some("drone-7")).await?, "drone-7");
    agent.register().await?;
    agent.stream(Shape::Envelope).delivers(1..=3).await?;
    for (who, words) in [
        (Some("billing"), "service:billing (spiffe://mesh.local/service/billing)"),
        (None, "agent, who has shown no certificate"),
    ] {
        let mut agent = Agent::on(reach_mesh(&mesh, who).await?, "drone-8");
        let answer = agent.register().await;
        refused(answer.as_ref().map_err(Clone::clone), Code::PermissionDenied, words)?;
        refused(answer, Code::PermissionDenied, "relay.allow.agents")?;
    }
    use omnirelay_wire::pb::aeroarc::relay::v1::ListActiveDronesRequest;
    use omnirelay_wire::pb::aeroarc::relay::v1::relay_control_client::RelayControlClient;
    for (who, fits) in [("admin", true), ("drone-7", false)] {
        let mut control = RelayControlClient::new(reach_mesh(&mesh, Some(who)).await?);
        let answer = control.list_active_drones(ListActiveDronesRequest::default()).await;
        ensure!(answer.is_ok() == fits, "{who}: {answer:?}");
    }
    // The command line shows to relays what it shows to daemons.
    let ca = mesh.path("admin").join("bundle.pem").display().to_string();
    for (who, code) in [("admin", 0), ("drone-7", 5)] {
        let listed = mesh.by(
            who,
            &format!("drones list --relay-addr https://{} --relay-ca {ca} -o name", relay_of(&mesh.place)?),
        )?;
        ensure!(listed.code == Some(code), "{who}: {:?} {}", listed.code, listed.complaint);
    }
    let log = mesh.place.log();
    ensure!(log.contains("IDENTITY_NOT_ALLOWED") && log.contains("service:billing"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_agents_stream_ends() -> Result<()> {
    let mesh = mesh(&["relay.tls.clients=required"])?;
    issue(&mesh, "--service drone-7 --out drone-7")?;
    issue(&mesh, "--service drone-8 --out drone-8")?;
    let (mut agents, mut streams) = (Vec::new(), Vec::new());
    for name in ["drone-7", "drone-8"] {
        let mut agent = Agent::on(reach_mesh(&mesh, Some(name)).await?, name);
        agent.register().await?;
        let mut stream = agent.stream(Shape::Envelope);
        stream.delivers(1..=1).await?;
        agents.push(agent);
        streams.push(stream);
    }
    let revoked = mesh.by("admin", "cert revoke --service drone-7 --yes --reason stolen")?;
    ensure!(revoked.code == Some(0), "{}", revoked.complaint);
    let at = Instant::now();
    let end = streams[0].end().await?;
    ensure!(at.elapsed() < REVOKED_WITHIN && end.code() != Code::Ok, "{end:?} after {:?}", at.elapsed());
    // It does not come in again, and nobody else is touched.
    ensure!(agents[0].register().await.is_err(), "it is let in again");
    streams[1].delivers(2..=2).await
}

/// Of files, whoever keeps them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_under_an_open_stream() -> Result<()> {
    let (before, after) = (Authority::new()?, Authority::new()?);
    let folder = tempfile::tempdir()?;
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let put = |authority: &Authority| -> Result<()> {
        let (of_cert, of_key) = authority.of_server();
        std::fs::copy(of_key, &key)?;
        std::fs::copy(of_cert, &cert)?;
        Ok(())
    };
    put(&before)?;
    let files = [format!("relay.tls.cert={}", cert.display()), format!("relay.tls.key={}", key.display())];
    let place = Place::new(
        &arguments(&files.each_ref().map(String::as_str)).iter().map(String::as_str).collect::<Vec<_>>(),
    )?;
    let _daemon = place.start()?;
    let relay = relay_of(&place)?;
    let mut agent = Agent::on(reach(&relay, &before.ca(), None).await?, "drone-1");
    agent.register().await?;
    let mut stream = agent.stream(Shape::Legacy);
    stream.delivers(1..=1).await?;
    put(&after)?;
    until("the new one is shown", async || Ok(reach(&relay, &after.ca(), None).await.is_ok())).await?;
    ensure!(reach(&relay, &before.ca(), None).await.is_err(), "the old one is still shown");
    stream.delivers(2..=20).await
}

/// The two daemons share nothing but the authority: the relay has its identity from files that were issued to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_tells_another_daemons_registry_under_mutual_tls() -> Result<()> {
    let mesh =
        mesh(&["relay.tls.clients=required", "relay.allow.relays=[spiffe://mesh.local/mesh/default/*/b]"])?;
    issue(&mesh, "--node b --out b")?;
    issue(&mesh, "--node c --out c")?;
    let registry = format!("relay.registry.address=https://{}", relay_of(&mesh.place)?);
    let start = |node: &str| -> Result<(Place, crate::process::Daemon)> {
        let folder = mesh.path(node);
        let file = |key: &str, name: &str| format!("security.identity.{key}={}", folder.join(name).display());
        let id = format!("relay.id={node}");
        let settings = [
            "security.identity.source=files".to_owned(),
            file("cert", "chain.pem"),
            file("key", "key.pem"),
            file("bundle", "bundle.pem"),
            registry.clone(),
            "relay.registry.tls.trust=mesh".to_owned(),
            "relay.registry.tls.identity=mesh".to_owned(),
            id,
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let arguments =
            [&["--node-id", node, "--store", "memory:"].map(str::to_owned)[..], &arguments(&settings)]
                .concat();
        let place = Place::new(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        let daemon = place.start()?;
        Ok((place, daemon))
    };
    let (b, c) = (start("b")?, start("c")?);
    let known = || anyhow::Ok(mesh.by("admin", "relays list -o name")?.output);
    until("the registry knows b", async || Ok(known()?.contains("relay/b\n"))).await?;
    let failing = async || {
        let items = c.1.get("/readyz").await?["items"].clone();
        let item =
            items.as_array().context("no items")?.iter().find(|item| item["name"] == "registry").cloned();
        Ok(item.context("no item")?["ok"] == false)
    };
    until("c is told that nobody hears it", failing).await?;
    ensure!(!known()?.contains("relay/c"), "c was not to be taken");
    // Its certificate and its key are replaced, and the next connection shows the new one.
    issue(&mesh, "--node b --replace --force --out b")?;
    until("b has its new one", async || Ok(b.0.log().contains("identity of this node taken over"))).await?;
    let revoked = mesh.by("admin", "cert revoke --node b --yes --reason stolen")?;
    ensure!(revoked.code == Some(0), "{}", revoked.complaint);
    let gone = async || Ok(!known()?.contains("relay/b\n"));
    within(REVOKED_WITHIN * 2, "b is out, and ends with its time to live", gone).await
}

/// Files of an authority that has nothing to do with meshes, made by `openssl`.
struct Corporate {
    folder: tempfile::TempDir,
}

impl Corporate {
    fn new() -> Result<Self> {
        let own = Self { folder: tempfile::tempdir()? };
        own.run("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=corporate -days 30")?;
        std::fs::write(own.path("password"), "correct horse\n")?;
        std::fs::set_permissions(own.path("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(own)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, line: &str) -> Result<()> {
        let (done, said) = openssl(self.folder.path(), &line.split(' ').collect::<Vec<_>>())?;
        ensure!(done, "openssl {line}: {said}");
        Ok(())
    }

    /// A certificate of a node in `NAME.pem`, its key in `NAME.key`, and both with the root in `node.p12`.
    fn issue(&self, name: &str, id: &str) -> Result<()> {
        let names = format!("subjectAltName=URI:{id},DNS:localhost,IP:127.0.0.1\n");
        std::fs::write(self.path("names"), names)?;
        self.run(&format!(
            "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ))?;
        let signed = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 20 -extfile names";
        self.run(&format!("x509 -req -in {name}.csr {signed} -out {name}.pem"))?;
        let out = "-passout file:password -out new.p12";
        self.run(&format!("pkcs12 -export -inkey {name}.key -in {name}.pem -certfile ca.pem {out}"))?;
        std::fs::set_permissions(self.path("new.p12"), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        std::fs::rename(self.path("new.p12"), self.path("node.p12"))?;
        Ok(())
    }

    fn set(&self, key: &str, name: &str) -> String {
        format!("security.identity.{key}={}", self.path(name).display())
    }
}

/// The serial number of what a port shows.
fn serial(folder: &Path, address: &str) -> Result<String> {
    let said = openssl(folder, &["s_client", "-connect", address, "-showcerts"])?.1;
    std::fs::write(folder.join("shown.pem"), said)?;
    Ok(openssl(folder, &["x509", "-in", "shown.pem", "-noout", "-serial"])?.1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_in_pkcs12_is_served_and_replaced() -> Result<()> {
    let corporate = Corporate::new()?;
    corporate.issue("first", "spiffe://corp.example/mesh/default/worker/a")?;
    let settings = [
        "security.identity.source=files".to_owned(),
        corporate.set("pkcs12", "node.p12"),
        corporate.set("passwordFile", "password"),
        "relay.tls.source=mesh".to_owned(),
        "relay.tls.clients=optional".to_owned(),
        "control.tls.source=mesh".to_owned(),
    ];
    let arguments = arguments(&settings.each_ref().map(String::as_str));
    let arguments: Vec<&str> =
        ["--node-id", "a"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    let place = Place::new(&arguments)?;
    let daemon = place.start()?;
    let (relay, ca, folder) = (relay_of(&place)?, corporate.path("ca.pem"), corporate.folder.path());
    let mut agent = Agent::on(reach(&relay, &ca, None).await?, "drone-1");
    agent.register().await?;
    let mut stream = agent.stream(Shape::Legacy);
    stream.delivers(1..=1).await?;
    // Both ports show it.
    let first = serial(folder, &relay)?;
    ensure!(first.contains("serial=") && serial(folder, &daemon.control)? == first, "{first}");
    // What cannot be used is told, and what was before goes on.
    std::fs::write(corporate.path("password"), "wrong\n")?;
    until("it is told", async || Ok(place.log().contains("identity not taken from its files"))).await?;
    ensure!(place.log().contains("node.p12") && !place.log().contains("wrong"), "{}", place.log());
    ensure!(serial(folder, &relay)? == first, "it went on");
    std::fs::write(corporate.path("password"), "correct horse\n")?;
    corporate.issue("second", "spiffe://corp.example/mesh/default/worker/a")?;
    until("the new one is shown", async || Ok(serial(folder, &relay)? != first)).await?;
    stream.delivers(2..=20).await?;
    drop(daemon);
    // Whether the files can be used is known before the daemon is started.
    let validated = |password: &str| -> Result<(Option<i32>, String)> {
        std::fs::write(corporate.path("password"), password)?;
        let set = settings.iter().flat_map(|setting| ["--set", setting]);
        let line: Vec<&str> = ["config", "validate"].into_iter().chain(set).collect();
        crate::process::run(&line).map(|(code, _, complaint)| (code, complaint))
    };
    let (code, complaint) = validated("wrong\n")?;
    ensure!(code == Some(10) && complaint.contains("node.p12"), "{code:?} {complaint}");
    let (code, complaint) = validated("correct horse\n")?;
    ensure!(code == Some(0), "{code:?} {complaint}");
    // Of another node it is none.
    corporate.issue("other", "spiffe://corp.example/mesh/default/worker/other")?;
    let error = place.start().err().context("it has started")?.to_string();
    ensure!(
        error.contains("other") && error.contains("node.p12") && error.contains("/mesh/default/ROLE/a"),
        "{error}"
    );
    Ok(())
}

/// From files to the authority of the mesh and back, as `docs/security/identity-providers.md` has it. Nothing that is under
/// way ends, and nobody who comes is turned away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "the steps of one move, in their order")]
async fn an_identity_moves_to_the_mesh_and_back() -> Result<()> {
    let corporate = Corporate::new()?;
    corporate.issue("node", "spiffe://corp.example/mesh/default/worker/a")?;
    let own = tempfile::tempdir()?;
    let file = own.path().join("omnirelayd.yaml");
    let socket = own.path().join("control.sock");
    let shown = |name: &str| corporate.path(name).display().to_string();
    let files = format!(
        "    source: files\n    cert: {}\n    key: {}\n    bundle: {}\n",
        shown("node.pem"),
        shown("node.key"),
        shown("ca.pem")
    );
    let of_mesh =
        format!("    source: mesh\n    bundle: {}\n    trustDomain: corp.example\n", shown("ca.pem"));
    let choose = |identity: &str| std::fs::write(&file, format!("security:\n  identity:\n{identity}"));
    choose(&files)?;
    std::fs::set_permissions(
        corporate.path("node.key"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )?;
    let (config, socket) = (file.display().to_string(), socket.display().to_string());
    let settings = arguments(&["relay.tls.source=mesh", "relay.tls.clients=optional"]);
    let arguments = ["--node-id", "a", "--config", &config, "--control-socket", &socket].into_iter();
    let place = Place::new(&arguments.chain(settings.iter().map(String::as_str)).collect::<Vec<_>>())?;
    let secured = Secured { daemon: place.start()?, place, folder: own };
    let relay = relay_of(&secured.place)?;
    let ca = corporate.path("ca.pem");
    let mut agent = Agent::on(reach(&relay, &ca, None).await?, "drone-1");
    agent.register().await?;
    let mut stream = agent.stream(Shape::Legacy);
    stream.delivers(1..=1).await?;

    // 1. An authority: the node goes on to show its files.
    let made = secured.at_socket("cert ca init --yes --out admin")?;
    ensure!(made.code == Some(0), "{}", made.complaint);
    let bundle = secured.path("admin").join("bundle.pem");
    let both = secured.path("both.pem");
    std::fs::write(&both, [std::fs::read(&ca)?, std::fs::read(&bundle)?].concat())?;
    // Whoever believes both is served all the time.
    let (calling, at, believed) =
        (Arc::new(std::sync::atomic::AtomicBool::new(true)), relay.clone(), both.clone());
    let goes_on = calling.clone();
    let callers = tokio::spawn(async move {
        let mut calls = 0_u32;
        while goes_on.load(std::sync::atomic::Ordering::Relaxed) {
            let mut agent = Agent::on(reach(&at, &believed, None).await?, "drone-2");
            agent.register().await?;
            calls += 1;
        }
        anyhow::Ok(calls)
    });
    let shows = async |ca: &Path| Ok(reach(&relay, ca, None).await.is_ok());
    ensure!(shows(&ca).await? && !shows(&bundle).await?, "the identity of the files goes on");
    // An operator of the mesh's authority is believed beside it.
    let operator = reach(&relay, &ca, Some(&secured.path("admin"))).await?;
    Agent::on(operator, "drone-3").register().await.map(drop).or_else(|status| {
        // Operators bring no telemetry: they are known, and lack the scope.
        let is_known = status.code() == Code::PermissionDenied && status.message().contains("operator:admin");
        ensure!(is_known, "{status:?}");
        anyhow::Ok(())
    })?;

    for (step, identity, now, before) in [
        ("forward", &of_mesh, &bundle, &ca),
        ("back", &files, &ca, &bundle),
        ("forward again", &of_mesh, &bundle, &ca),
    ] {
        choose(identity)?;
        secured.daemon.signal("HUP")?;
        until(step, async || shows(now).await).await.with_context(|| secured.place.log())?;
        ensure!(!shows(before).await?, "{step}: what was before is shown");
        stream.delivers([2]).await.with_context(|| step.to_owned())?;
    }
    // The roots of the files are not believed any more, once nobody needs them.
    choose("    source: mesh\n")?;
    secured.daemon.signal("HUP")?;
    until("they are gone", async || {
        Ok(secured.place.log().matches("identity of this node taken over").count() >= 4)
    })
    .await?;
    stream.delivers(3..=9).await?;
    calling.store(false, std::sync::atomic::Ordering::Relaxed);
    let calls = callers.await??;
    ensure!(calls > 20, "{calls} calls");
    let checked = secured.at_socket("mesh check -o json --category identity")?;
    ensure!(checked.output.contains("\"identity-plaintext\""), "{}", checked.output);
    Ok(())
}

#[test]
fn a_daemon_whose_identity_cannot_be_read_starts_and_is_ready_once_it_can() -> Result<()> {
    let corporate = Corporate::new()?;
    corporate.issue("first", "spiffe://corp.example/mesh/default/worker/a")?;
    let settings = [
        "security.identity.source=files".to_owned(),
        corporate.set("pkcs12", "node.p12"),
        corporate.set("passwordFile", "password"),
        "control.tls.source=mesh".to_owned(),
    ];
    let arguments = arguments(&settings.each_ref().map(String::as_str));
    let arguments: Vec<&str> =
        ["--node-id", "a"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    std::fs::write(corporate.path("password"), "wrong\n")?;
    let place = Place::new(&arguments)?;
    let daemon = place.start_unready()?;
    let log = place.log();
    ensure!(log.contains("identity not taken from its files") && log.contains("node.p12"), "{log}");
    std::thread::sleep(std::time::Duration::from_millis(500));
    ensure!(!place.ready_file().exists(), "a node that is nobody is ready");
    std::fs::write(corporate.path("password"), "correct horse\n")?;
    let daemon = place.ready(daemon)?;
    ensure!(serial(corporate.folder.path(), &daemon.control)?.contains("serial="), "it shows no certificate");
    Ok(())
}
