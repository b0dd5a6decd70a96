//! Who may do what, proven: certificates of operators on the control port, as other software sees it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::secured::{Secured, ended};
use crate::process::{PATIENCE, pause, until};

/// How long a revoked caller may go on.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

fn start() -> Result<Secured> {
    Secured::start("a", "127.0.0.1:0", &["--set", "mesh.leadership.enabled=false"])
}

/// What the system's `openssl` says, with this on its standard input.
fn openssl(arguments: &[&str], input: &str) -> Result<(bool, String)> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("openssl")?;
    // It may have ended before it has read.
    let _ = child.stdin.take().context("no input")?.write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
fn only_the_proven_come_in_and_do_what_they_may() -> Result<()> {
    let mesh = start()?;
    let listed = mesh.by("admin", "mesh peers list -o name")?;
    ensure!((listed.code, listed.output.as_str()) == (Some(0), "peer/a\n"), "{}", listed.complaint);
    let nobody = mesh.by_nobody("mesh peers list")?;
    ensure!(nobody.code == Some(9) && nobody.complaint.contains("without proof"), "{}", nobody.complaint);
    for (name, scope) in [("reader", None), ("changer", Some("mesh.operate"))] {
        let issued = mesh.by("admin", &format!("cert issue --operator {name} --out {name}"))?;
        ensure!(issued.code == Some(0), "{}", issued.complaint);
        if let Some(scope) = scope {
            let bound = mesh.by("admin", &format!("bindings set operator:{name} {scope}"))?;
            ensure!(bound.code == Some(0), "{}", bound.complaint);
        }
    }
    let denied = mesh.by("reader", "mesh peers cordon a")?;
    ensure!(
        denied.code == Some(5) && denied.complaint.contains("operator:reader has mesh.read"),
        "{}",
        denied.complaint
    );
    let done = mesh.by("changer", "mesh peers cordon a")?;
    ensure!(done.code == Some(0), "{}", done.complaint);
    let denied = mesh.by("changer", "cert issue --operator changer --replace --out again")?;
    ensure!(denied.code == Some(5), "{}", denied.complaint);
    let trail = mesh.by("admin", "audit list -o json")?.output;
    for actor in ["operator:changer", "operator:admin"] {
        ensure!(trail.contains(&format!("\"actor\":\"{actor}\"")), "{actor} is not in {trail}");
    }
    Ok(())
}

/// Plaintext of this host proves nothing, but is answered; a certificate of elsewhere is not taken.
#[test]
fn what_proves_nothing_is_refused_before_anything_is_done() -> Result<()> {
    let mesh = start()?;
    let (control, folder) = (mesh.daemon.control.clone(), mesh.folder.path());
    let plain =
        crate::process::secured::command("mesh peers list", folder).args(["--addr", &control]).output()?;
    ensure!(plain.status.code() == Some(9), "{}", String::from_utf8_lossy(&plain.stderr));
    let other = Secured::start("b", "127.0.0.1:0", &[])?;
    let foreign = other.path("admin");
    let files = ["chain.pem", "key.pem"].map(|name| foreign.join(name).display().to_string());
    let bundle = mesh.path("admin").join("bundle.pem").display().to_string();
    let line = format!("mesh peers list --tls-cert {} --tls-key {} --tls-ca {bundle}", files[0], files[1]);
    let refused = ended(crate::process::secured::command(&line, folder).args(["--addr", &mesh.url()]))?;
    ensure!(refused.code == Some(9) && refused.complaint.contains("no authority"), "{}", refused.complaint);
    let unknown =
        ended(crate::process::secured::command("mesh peers list", folder).args(["--addr", &mesh.url()]))?;
    ensure!(unknown.complaint.contains("--tls-ca"), "{}", unknown.complaint);
    Ok(())
}

#[test]
fn openssl_believes_what_is_issued_and_is_not_served_below_1_3() -> Result<()> {
    let mesh = start()?;
    let folder = mesh.path("admin");
    let [chain, key, bundle] =
        ["chain.pem", "key.pem", "bundle.pem"].map(|name| folder.join(name).display().to_string());
    let control = mesh.daemon.control.as_str();
    let verified = openssl(&["verify", "-CAfile", &bundle, "-untrusted", &chain, &chain], "")?;
    ensure!(verified.0, "{}", verified.1);
    let connect = [
        "s_client",
        "-connect",
        control,
        "-CAfile",
        &bundle,
        "-cert",
        &chain,
        "-cert_chain",
        &chain,
        "-key",
        &key,
    ];
    let asked = "GET /control/node HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let secure =
        [&connect[..], &["-verify_return_error", "-verify_hostname", "localhost", "-ign_eof", "-quiet"]]
            .concat();
    let served = openssl(&secure, asked)?.1;
    ensure!(served.contains("\"principal\":\"operator:admin\""), "{served}");
    let (done, told) = openssl(&[&connect[..], &["-tls1_2"]].concat(), "")?;
    ensure!(!done && told.contains("protocol version"), "{told}");
    Ok(())
}

#[test]
fn whoever_is_revoked_is_out_with_what_is_under_way() -> Result<()> {
    let mesh = start()?;
    ensure!(mesh.by("admin", "cert issue --operator bob --out bob")?.code == Some(0));
    let mut watch = mesh.begin("bob", "mesh peers watch -o jsonl")?;
    let mut lines = BufReader::new(watch.stdout.take().context("no output")?).lines();
    let first = lines.next().context("the watch says nothing")??;
    ensure!(first.contains("\"snapshot\""), "{first}");
    ensure!(mesh.by("admin", "cert revoke --operator bob --yes --reason stolen")?.code == Some(0));
    let revoked = Instant::now();
    let status = loop {
        if let Some(status) = watch.try_wait()? {
            break status;
        }
        ensure!(revoked.elapsed() < PATIENCE, "the watch goes on");
        std::thread::sleep(Duration::from_millis(5));
    };
    ensure!(
        revoked.elapsed() < REVOKED_WITHIN && !status.success(),
        "{status} after {:?}",
        revoked.elapsed()
    );
    let refused = mesh.by("bob", "mesh peers list")?;
    ensure!(refused.code == Some(9) && refused.complaint.contains("revoked"), "{}", refused.complaint);
    let again = mesh.by("admin", "cert issue --operator bob --out bob2")?;
    ensure!(again.code == Some(5), "{}", again.complaint);
    // A daemon that begins anew judges as it did.
    let Secured { place, daemon, folder } = mesh;
    daemon.kill()?;
    let mesh = Secured { daemon: place.start()?, place, folder };
    let refused = mesh.by("bob", "mesh peers list")?;
    ensure!(refused.code == Some(9) && refused.complaint.contains("revoked"), "{}", refused.complaint);
    ensure!(mesh.by("admin", "mesh peers list")?.code == Some(0));
    Ok(())
}

/// How many handshakes the control port has refused, by why.
fn refused(metrics: &str) -> BTreeMap<String, u32> {
    let of_control = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("mesh_tls_handshakes_refused_total{port=\"control\",reason=\""));
    let rows = of_control.filter_map(|line| line.split_once("\"} "));
    let rows = rows.filter_map(|(reason, count)| Some((reason.to_owned(), count.parse().ok()?)));
    rows.filter(|(_, count)| *count > 0).collect()
}

/// Who is not let in leaves a count, a line and what goes into the trail, by name where there is one.
#[tokio::test]
async fn refused_handshakes_are_counted_and_told() -> Result<()> {
    let mesh = start()?;
    ensure!(mesh.by("admin", "cert issue --operator bob --out bob")?.code == Some(0));
    ensure!(mesh.by("admin", "cert revoke --operator bob --yes --reason stolen")?.code == Some(0));
    for _ in 0..3 {
        ensure!(mesh.by("bob", "mesh peers list")?.code == Some(9));
    }
    let other = Secured::start("b", "127.0.0.1:0", &[])?;
    std::fs::create_dir(mesh.path("foreign"))?;
    for name in ["chain.pem", "key.pem"] {
        std::fs::copy(other.path("admin").join(name), mesh.path("foreign").join(name))?;
    }
    std::fs::copy(mesh.path("admin").join("bundle.pem"), mesh.path("foreign").join("bundle.pem"))?;
    ensure!(mesh.by("foreign", "mesh peers list")?.code == Some(9));
    let control = mesh.daemon.control.as_str();
    let (done, told) = openssl(&["s_client", "-connect", control, "-tls1_2"], "")?;
    ensure!(!done, "{told}");
    // What looks like a handshake and is none; and somebody who goes away, who is refused nothing.
    for begun in [&b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"[..], b"\x16\x03\x01"] {
        std::net::TcpStream::connect(control)?.write_all(begun)?;
    }
    // Whoever is refused may have tried more than once.
    let expected = [("malformed", 1), ("protocol_version", 1), ("revoked", 3), ("unknown_authority", 1)];
    until("all are counted, and nothing else", async || {
        let counted = refused(&mesh.daemon.text("/metrics").await?);
        let enough = |(reason, least): (&str, u32)| counted.get(reason).is_some_and(|count| *count >= least);
        ensure!(
            counted.keys().all(|known| expected.iter().any(|(reason, _)| reason == known)),
            "{counted:?}"
        );
        Ok(expected.into_iter().all(enough))
    })
    .await
    .with_context(|| mesh.place.log())?;
    let log = mesh.place.log();
    let line = log.lines().find(|line| line.contains("TLS handshake refused") && line.contains("revoked"));
    ensure!(line.is_some_and(|line| line.contains("/operator/bob")), "{log}");
    // What is spooled is in the trail once the minute is over; it may be by now.
    until("the trail will tell", async || {
        let spooled = std::fs::read_to_string(mesh.place.data_dir().join("audit/a/refusals.json"))?;
        let told =
            format!("{spooled}{}", mesh.by("admin", "audit list --action tls.handshake -o json")?.output);
        let all = ["certificate/operator/bob", "REVOKED", "UNKNOWN_AUTHORITY", "address:127.0.0.1"];
        Ok(all.iter().all(|word| told.contains(word)))
    })
    .await
}

#[test]
fn what_a_server_shows_is_read_whether_or_not_it_is_believed() -> Result<()> {
    let mesh = start()?;
    let line = format!("cert inspect {} -o json", mesh.daemon.control);
    let read = |ended: crate::process::secured::Ended| -> Result<serde_json::Value> {
        ensure!(ended.code == Some(0), "{}", ended.complaint);
        Ok(serde_json::from_str(&ended.output)?)
    };
    let believed = read(mesh.by_nobody(&line)?)?;
    let presented = &believed["presented"];
    ensure!(presented["believed"] == true && presented["protocol"] == "TLSv1.3", "{believed}");
    ensure!(believed["certificate"]["id"].as_str().is_some_and(|id| id.ends_with("/a")), "{believed}");
    ensure!(presented["chain"][0]["isAuthority"] == true, "{believed}");
    let unknown = read(ended(&mut crate::process::secured::command(&line, mesh.folder.path()))?)?;
    let why = unknown["presented"]["why"].as_str().unwrap_or_default();
    ensure!(unknown["presented"]["believed"] == false && why.contains("no authority"), "{unknown}");
    // Of a node: the same, and what the registry remembers.
    let node = read(mesh.by("admin", "cert inspect a -o json")?)?;
    ensure!(node["node"] == "a" && node["presented"]["believed"] == true, "{node}");
    ensure!(node["remembered"][0]["serial"] == node["certificate"]["serial"], "{node}");
    let nowhere = mesh.by("admin", "cert inspect 127.0.0.1:1")?;
    ensure!(
        nowhere.code == Some(6) && nowhere.complaint.contains("shows no certificate"),
        "{}",
        nowhere.complaint
    );
    Ok(())
}

/// The files of an operator and those of a node, fit and with something done to them.
#[test]
fn the_doctor_reads_what_was_issued() -> Result<()> {
    let mesh = start()?;
    let doctor = |folder: &std::path::Path| {
        let line = format!("cert doctor {} -o json", folder.display());
        ended(&mut crate::process::secured::command(&line, mesh.folder.path()))
    };
    for folder in [mesh.path("admin"), mesh.place.data_dir().join("identity")] {
        let fit = doctor(&folder)?;
        ensure!(fit.code == Some(0), "{}: {}{}", folder.display(), fit.output, fit.complaint);
    }
    let key = mesh.path("admin").join("key.pem");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let open = doctor(&mesh.path("admin"))?;
    ensure!(open.code == Some(10), "{}", open.output);
    let report: serde_json::Value = serde_json::from_str(&open.output)?;
    let checks = report["categories"][0]["checks"].as_array().context("no checks")?;
    let failed: Vec<_> =
        checks.iter().filter(|check| check["result"] == "fail").map(|check| &check["id"]).collect();
    ensure!(failed == ["cert-private"], "{failed:?}");
    // A copy that has ended is explained, by a clock that is a week ahead.
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let line = format!("cert doctor {}", mesh.path("admin").display());
    let later = crate::process::faketime("+7d")?;
    let mut command = crate::process::secured::command(&line, mesh.folder.path());
    let over = ended(command.envs(later))?;
    ensure!(over.code == Some(10) && over.output.contains("the certificate ended at"), "{}", over.output);
    ensure!(over.output.contains("try: omnirelay cert issue --operator admin"), "{}", over.output);
    Ok(())
}

#[test]
fn that_nobody_administers_the_mesh_is_told_and_mended_on_the_host() -> Result<()> {
    let mesh = start()?;
    let finding = || -> Result<serde_json::Value> {
        let ended = mesh.at_socket("mesh check -o json")?;
        let report: serde_json::Value = serde_json::from_str(&ended.output)?;
        let categories = report["categories"].as_array().context("no categories")?;
        let checks = categories.iter().filter_map(|one| one["checks"].as_array()).flatten();
        let found = checks.into_iter().find(|check| check["id"] == "identity-administrators");
        Ok(found.context("no finding")?.clone())
    };
    ensure!(finding()?["result"] == "pass", "{}", finding()?);
    let kept = mesh.at_socket("bindings delete operator:admin --yes")?;
    ensure!(kept.code == Some(4) && finding()?["result"] == "pass", "{}", kept.complaint);
    let gone = mesh.at_socket("bindings delete operator:admin --yes --last-administrator")?;
    ensure!(gone.code == Some(0), "{}", gone.complaint);
    ensure!(finding()?["result"] == "warn", "{}", finding()?);
    ensure!(mesh.at_socket("bindings set operator:ann mesh.admin")?.code == Some(0));
    ensure!(finding()?["result"] == "pass", "{}", finding()?);
    Ok(())
}

/// By a clock that is so far ahead that little is left of an hour, for the daemon's is right.
#[test]
fn the_certificate_of_a_context_is_renewed_while_it_is_used() -> Result<()> {
    let mesh = start()?;
    let issued = mesh.by("admin", "cert issue --operator admin --lifetime 1h --out short --replace --yes")?;
    ensure!(issued.code == Some(0), "{}", issued.complaint);
    let run = |line: &str, shift: Option<&str>| -> Result<crate::process::secured::Ended> {
        let mut command = crate::process::secured::command(line, mesh.folder.path());
        if let Some(shift) = shift {
            command.envs(crate::process::faketime(shift)?);
        }
        ended(&mut command)
    };
    let files = "--tls-ca short/bundle.pem --tls-cert short/chain.pem --tls-key short/key.pem";
    let added = run(&format!("context add prod --address {} {files}", mesh.url()), None)?;
    ensure!(added.code == Some(0), "{}", added.complaint);
    let chain = || std::fs::read(mesh.path("short").join("chain.pem"));
    let before = chain()?;
    let early = run("mesh peers list --context prod -o name", None)?;
    ensure!(early.code == Some(0) && chain()? == before, "{}", early.complaint);
    let due = run("mesh peers list --context prod -o name", Some("+45m"))?;
    ensure!((due.code, due.output.as_str()) == (Some(0), "peer/a\n"), "{}", due.complaint);
    ensure!(due.complaint.contains("was renewed") && chain()? != before, "{}", due.complaint);
    let later = run("whoami --context prod", None)?;
    ensure!(later.code == Some(0) && later.output.contains("operator:admin"), "{}", later.complaint);
    Ok(())
}

/// The steps of docs/security/lost-root.md, on one host.
#[test]
fn a_lost_issuer_secret_is_put_back_or_the_mesh_begins_anew() -> Result<()> {
    let mesh = start()?;
    let identity = mesh.place.data_dir().join("identity");
    let (secret, kept) = (identity.join("issuer-secret"), mesh.path("kept"));
    std::fs::rename(&secret, &kept)?;
    let Secured { place, daemon, folder } = mesh;
    daemon.kill()?;
    let mesh = Secured { daemon: place.start()?, place, folder };
    ensure!(mesh.by("admin", "mesh peers list")?.code == Some(0), "what was issued lives on");
    let refused = mesh.at_socket("cert issue --operator bob --out bob")?;
    ensure!(refused.code == Some(5) && refused.complaint.contains("issuer-secret"), "{}", refused.complaint);
    let another = mesh.at_socket("cert ca init --yes --out other")?;
    ensure!(
        another.code == Some(4) && another.complaint.contains("has a certificate authority"),
        "{}",
        another.complaint
    );
    std::fs::copy(&kept, &secret)?;
    let begun = std::time::Instant::now();
    loop {
        let issued = mesh.at_socket("cert issue --operator bob --out bob")?;
        if issued.code == Some(0) {
            break;
        }
        ensure!(begun.elapsed() < crate::process::PATIENCE, "{}", issued.complaint);
        std::thread::sleep(pause(begun));
    }

    let Secured { place, daemon, folder } = mesh;
    daemon.kill()?;
    let lost = place.directory.path().join("lost");
    std::fs::create_dir(&lost)?;
    for entry in std::fs::read_dir(place.data_dir())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("no UTF-8")?;
        if name == "identity" || name.starts_with("registry.") {
            std::fs::rename(&path, lost.join(name))?;
        }
    }
    let mesh = Secured { daemon: place.start()?, place, folder };
    let made = mesh.at_socket("cert ca init --yes --trust-domain mesh2.example --operator ann --out ann2")?;
    ensure!(made.code == Some(0), "{}", made.complaint);
    mesh.await_identity()?;
    let listed = mesh.by("ann2", "mesh peers list -o name")?;
    ensure!((listed.code, listed.output.as_str()) == (Some(0), "peer/a\n"), "{}", listed.complaint);
    // Who believes the new roots and shows the old certificate.
    std::fs::copy(mesh.path("ann2").join("bundle.pem"), mesh.path("admin").join("bundle.pem"))?;
    ensure!(mesh.by("admin", "mesh peers list")?.code == Some(9), "what the old authority has issued");
    let line = format!("cert doctor {}", identity.display());
    let fit = ended(&mut crate::process::secured::command(&line, mesh.folder.path()))?;
    ensure!(fit.code == Some(0) && fit.output.contains("the root of mesh2.example"), "{}", fit.output);
    Ok(())
}
