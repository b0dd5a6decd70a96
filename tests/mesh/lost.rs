//! What is lost: a registry whose file is gone, which is refused, and accepted in so many words; the secret of the issuer.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::process::api::Api;
use crate::process::secured::Secured;
use crate::process::{Place, clean, until};

const FILE: &str = "registry.redb";

/// What `omnirelay mesh check` says of the daemon, as JSON.
fn checked(api: &Api) -> Result<String> {
    let mut check = clean(env!("CARGO_BIN_EXE_omnirelay"));
    check.args(["--addr", &format!("http://{}", api.control), "mesh", "check", "-o", "json"]);
    Ok(String::from_utf8(check.stdout(std::process::Stdio::piped()).output()?.stdout)?)
}

#[tokio::test]
async fn a_lost_registry_is_refused_and_its_loss_accepted_in_so_many_words() -> Result<()> {
    for lost in ["missing", "empty"] {
        let mut place = Place::new(&["--node-id", "a"])?;
        let daemon = place.start()?;
        Api::new(&daemon.control)?.cordon("a", "disk").await?.ok()?;
        daemon.signal("TERM")?;
        ensure!(daemon.wait()?.success());
        let file = place.data_dir().join(FILE);
        match lost {
            "missing" => std::fs::remove_file(&file)?,
            _ => std::fs::write(&file, b"")?,
        }

        let refused = place.begin()?.wait()?;
        let said = place.log();
        ensure!(refused.code() == Some(1), "{lost}: {refused}");
        ensure!(
            said.contains(&format!("is {lost}")) && said.contains("--accept-data-loss"),
            "{lost}: {said}"
        );

        place.arguments.push("--accept-data-loss".to_owned());
        let daemon = place.start()?;
        let api = Api::new(&daemon.control)?;
        until("the daemon is of its mesh", async || Ok(api.peer("a").await?["cordoned"] == false)).await?;
        let (ok, message) = api.item("history").await?;
        ensure!(!ok && message.contains("everything before it was lost"), "{lost}: {message}");
        until("the loss is recorded", async || {
            let audit = api.audit().await?;
            Ok(audit.iter().any(|record| record["action"] == "registry.epoch-changed"))
        })
        .await?;
        let found = checked(&api)?;
        ensure!(found.contains("everything before it was lost"), "{lost}: {found}");

        // It was accepted once: what is there now is a registry as any other.
        api.cordon("a", "again").await?.ok()?;
        daemon.signal("TERM")?;
        ensure!(daemon.wait()?.success());
        let daemon = place.start()?;
        let peer = Api::new(&daemon.control)?.peer("a").await?;
        ensure!(peer["cordonReason"] == json!("again"), "{lost}: {peer}");
    }
    Ok(())
}

/// As docs/security/lost-root.md says.
#[test]
fn a_mesh_whose_issuer_secret_is_lost_gets_another_from_its_root() -> Result<()> {
    let init = "cert ca init --yes --out admin --offline-root root";
    let mesh = Secured::made_by(init, "a", "127.0.0.1:0", &["--set", "control.tls.source=mesh"])?;
    let vouched = mesh.at_socket("cert ca rotate --offline-root root")?;
    ensure!(vouched.code == Some(0), "the issuer before vouches for the next one: {}", vouched.complaint);
    ensure!(mesh.by("admin", "cert issue --operator bob --out bob")?.code == Some(0));
    let kept = mesh.at_socket("cert ca rotate --offline-root root --new-secret --yes")?;
    ensure!(kept.code == Some(4) && kept.complaint.contains("secret of now"), "{}", kept.complaint);
    // Whose key it is nobody says who is not there: the issuer that is to be out does not vouch for it.
    let revoking = mesh.by("admin", "cert ca rotate --offline-root root --revoke-before --yes")?;
    ensure!(revoking.code == Some(2) && revoking.complaint.contains("whose key"), "{}", revoking.complaint);
    let Secured { place, daemon, folder } = mesh;
    daemon.signal("TERM")?;
    ensure!(daemon.wait()?.success());
    std::fs::remove_file(place.data_dir().join("identity/issuer-secret"))?;
    let daemon = place.start()?;
    let mesh = Secured { place, daemon, folder };
    let cases = [
        ("cert issue --operator eve --out eve", "is no issuer"),
        ("cert ca rotate --offline-root root", "has not the secret"),
        ("cert ca rotate --offline-root root --new-secret", "add --yes"),
    ];
    for (line, expected) in cases {
        let refused = mesh.at_socket(line)?;
        ensure!(
            refused.code != Some(0) && refused.complaint.contains(expected),
            "{line}: {}",
            refused.complaint
        );
    }
    let rotated = mesh.at_socket("cert ca rotate --offline-root root --new-secret --yes")?;
    ensure!(rotated.code == Some(0), "{}", rotated.complaint);
    let shown = rotated
        .complaint
        .lines()
        .find_map(|line| line.strip_prefix("The key of the issuer of cluster default is "));
    let key = shown.unwrap_or_default().trim_end_matches('.');
    let log = mesh.place.log();
    let prepared = log.lines().rfind(|line| line.contains("next issuer prepared"));
    ensure!(!key.is_empty() && prepared.is_some_and(|line| line.contains(key)), "{key}: {log}");
    let issued = mesh.by("bob", "cert ca show")?;
    ensure!(
        issued.code == Some(0) && issued.output.contains("yes, a"),
        "what was issued is believed: {}",
        issued.complaint
    );
    let issued = mesh.by("admin", "cert issue --operator eve --out eve")?;
    ensure!(issued.code == Some(0), "{}", issued.complaint);
    ensure!(mesh.by("eve", "whoami")?.code == Some(0));
    Ok(())
}
