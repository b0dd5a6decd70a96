//! A second issuer: an administrator has the secret handed to a node, and what needs an issuer goes on while the first is away.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};

use super::host_door::on_host;
use super::signed_records::Mesh;
use crate::process::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_given_the_secret_issues_while_the_first_is_dead() -> Result<()> {
    let mesh = Mesh::start()?;
    mesh.until_both_live().await?;
    let check = "mesh check --category identity";
    let alone = mesh.at_worker(check)?.output;
    ensure!(alone.contains("a alone can issue") && !alone.contains("FAIL"), "{alone}");
    let secret = mesh.mesh.path("b").join("identity/issuer-secret");

    // Whoever is on the worker's host asks for it in vain, and so does the worker itself.
    let on_host = on_host(&mesh, "cert ca share b --yes")?;
    ensure!(
        on_host.complaint.contains("MISSING_SCOPE") || on_host.complaint.contains("needs scope"),
        "{on_host:?}"
    );
    for (line, why) in [
        ("cert ca share nobody --yes", "there is no peer `nobody`"),
        ("cert ca share B! --yes", "error: NODE"),
    ] {
        let refused = mesh.mesh.by("admin", line)?;
        ensure!(refused.code != Some(0) && refused.complaint.contains(why), "{line}: {}", refused.complaint);
    }
    let planned = mesh.mesh.by("admin", "cert ca share b --dry-run")?;
    ensure!(planned.output.contains("secret of the issuers: given to b"), "{planned:?}");
    ensure!(!secret.exists(), "a dry run hands nothing over");

    // At the worker, which has it done by the issuer.
    let shared = mesh.at_worker("cert ca share b --yes --reason second-issuer")?;
    ensure!(shared.code == Some(0) && shared.complaint.contains("b issues from now on"), "{shared:?}");
    ensure!(std::fs::metadata(&secret)?.permissions().mode() & 0o777 == 0o600, "nobody else reads it");
    let again = mesh.mesh.by("admin", "cert ca share b --yes")?;
    ensure!(again.code == Some(0) && again.output.contains("unchanged: b issues already"), "{again:?}");
    let told = mesh.mesh.by("admin", "audit list --action authority.share-issuer -o json")?.output;
    ensure!(told.contains("second-issuer") && told.contains("given to b"), "{told}");
    let shown = mesh.mesh.by("admin", "cert ca show")?.output;
    ensure!(shown.contains("a, b") && shown.contains("secret given to"), "{shown}");
    let check = mesh.at_worker(check)?.output;
    ensure!(!check.contains("can issue:") && !check.contains("FAIL"), "{check}");

    mesh.mesh.daemon.signal("KILL")?;
    for line in ["bindings set operator:ann mesh.operate --yes", "token create --node c --out token-c --yes"]
    {
        let done = mesh.at_worker(line)?;
        ensure!(done.code == Some(0), "{line}: {}", done.complaint);
    }
    let sound = mesh.at_worker("audit verify")?;
    ensure!(sound.code == Some(0), "{sound:?}");

    // The secret goes, and with it the right to sign.
    std::fs::rename(&secret, secret.with_extension("before"))?;
    until("nobody issues any more", async || {
        let check = mesh.at_worker("mesh check --category identity")?.output;
        Ok(check.contains("no node that lives has the secret of the issuers"))
    })
    .await?;
    let refused = mesh.at_worker("bindings set operator:ann mesh.read --yes")?;
    ensure!(
        refused.complaint.contains("NOT_AN_ISSUER") || refused.complaint.contains("has not the secret"),
        "{refused:?}"
    );
    Ok(())
}
