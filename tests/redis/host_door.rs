//! Who is on a host that has joined a mesh, and is no issuer: by its own door they read, and do what concerns that host.

use anyhow::{Result, ensure};

use super::signed_records::Mesh;
use crate::process::secured::{Ended, command, ended};
use crate::process::until;

/// A command of whoever is on the worker's host, at its control socket or with the token of its file.
pub(crate) fn on_host(mesh: &Mesh, line: &str) -> Result<Ended> {
    let mut command = command(line, mesh.mesh.folder.path());
    command.arg("--addr").arg(format!("unix:{}", mesh.mesh.path("b.sock").display()));
    ended(&mut command)
}

fn by_token(mesh: &Mesh, file: &str, line: &str) -> Result<Ended> {
    let mut command = command(line, mesh.mesh.folder.path());
    command.args(["--addr", &format!("https://{}", mesh.worker), "--tls-server-name", "b"]);
    command.arg("--tls-ca").arg(mesh.mesh.path("admin").join("bundle.pem"));
    ended(command.arg("--token-file").arg(mesh.mesh.path(file)))
}

/// What nobody may who is on the worker's host.
const OF_THE_MESH: [&str; 11] = [
    "bindings set operator:eve mesh.admin --yes",
    "bindings delete operator:admin --yes",
    "token create --role control --out more --yes",
    "cert issue --operator eve --out eve",
    "cert revoke --node a --yes",
    "mesh peers cordon a --yes",
    "mesh peers drain a --yes",
    "mesh peers forget a --yes",
    "mesh leaders step-down global-control --yes",
    "mesh namespaces create orders --shards 8 --yes",
    "audit list",
];

/// What they may.
const OF_THE_HOST: [&str; 7] = [
    "mesh peers list",
    "mesh peers cordon b --yes",
    "mesh peers uncordon b --yes",
    "mesh peers drain b --yes",
    "mesh peers undrain b --yes",
    "mesh peers label b rack=4 --yes",
    "registers create r-1 --name one --yes",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_on_the_host_of_a_worker_administers_nothing() -> Result<()> {
    let mesh = Mesh::start()?;
    mesh.until_both_live().await?;
    for (what, calls) in [
        ("socket", &on_host as &dyn Fn(&Mesh, &str) -> Result<Ended>),
        ("token", &|mesh, line| by_token(mesh, "b/control-token", line)),
    ] {
        for line in OF_THE_MESH {
            let tried = calls(&mesh, line)?;
            let is_refused =
                tried.complaint.contains("MISSING_SCOPE") || tried.complaint.contains("needs scope");
            ensure!(
                tried.code != Some(0) && is_refused,
                "{what}: {line}: {}{}",
                tried.output,
                tried.complaint
            );
        }
        let rotated = calls(&mesh, "cert ca rotate --yes")?;
        let is_refused = rotated.complaint.contains("it has not the secret");
        ensure!(rotated.code != Some(0) && is_refused, "{what}: {}{}", rotated.output, rotated.complaint);
        for line in OF_THE_HOST {
            let done = calls(&mesh, &line.replace("r-1", what))?;
            ensure!(done.code == Some(0), "{what}: {line}: {}", done.complaint);
        }
    }
    let who = on_host(&mesh, "whoami")?.output;
    ensure!(who.contains("besides: mesh.connect, mesh.operate, mesh.admin, for b alone"), "{who}");
    let told = mesh.mesh.by("admin", "audit list --action peers.cordon")?.output;
    ensure!(told.contains("uid:") && told.contains("  b  "), "the trail names the user and the node: {told}");
    // What was refused is in the trail as soon as its minute is over, and on the disk before.
    let spool = mesh.mesh.path("b").join("audit/b/refusals.json");
    until("what was refused is noted", async || {
        let spooled = std::fs::read_to_string(&spool).unwrap_or_default();
        // The minute may be over by now.
        let told = mesh.mesh.by("admin", "audit list --action bindings.set -o json")?.output;
        let is_noted =
            |text: &str| ["bindings.set", "uid:", "MISSING_SCOPE"].iter().all(|word| text.contains(word));
        Ok(is_noted(&spooled) || is_noted(&told))
    })
    .await?;
    // Whoever shows who they are is who they are, there as everywhere.
    let done = mesh.at_worker("mesh peers cordon a --yes")?;
    ensure!(done.code == Some(0), "{}", done.complaint);
    let done = mesh.mesh.at_socket("bindings set operator:ann mesh.operate --yes")?;
    ensure!(done.code == Some(0), "the host of an issuer administers: {}", done.complaint);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_workers_configuration_gives_is_believed_there_and_operates_at_most() -> Result<()> {
    let scopes = "scopes: [mesh.read, mesh.operate, mesh.admin]";
    let eve = format!("security.bindings=[{{principal: 'operator:eve', {scopes}}}]");
    let lines = tempfile::tempdir()?;
    let file = lines.path().join("lines");
    std::fs::write(&file, format!("ci {} mesh.read mesh.operate mesh.admin\n", "c".repeat(32)))?;
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let given = format!("security.tokenFile={}", file.display());
    let mesh = Mesh::start_with(&["--set", &eve, "--set", &given])?;
    std::fs::write(mesh.mesh.path("ci"), "c".repeat(32))?;
    std::fs::set_permissions(mesh.mesh.path("ci"), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let issued = mesh.mesh.by("admin", "cert issue --operator eve --out eve")?;
    ensure!(issued.code == Some(0), "{}", issued.complaint);
    mesh.until_both_live().await?;
    let [issuer, worker] = mesh.addresses();
    let eve = |address: &str, line: &str| mesh.by("eve", address, line);
    let ci = |line: &str| by_token(&mesh, "ci", line);
    for (what, operated) in [
        ("the seed", eve(&worker, "mesh peers cordon a --yes")?),
        ("the line", ci("mesh peers uncordon a --yes")?),
    ] {
        ensure!(operated.code == Some(0), "{what}: {}", operated.complaint);
    }
    for (what, refused) in [
        ("the seed, at the issuer", eve(&issuer, "mesh peers cordon a --yes")?),
        ("the seed", eve(&worker, "mesh peers forget a --yes")?),
        ("the line", ci("bindings set operator:eve mesh.admin --yes")?),
    ] {
        ensure!(refused.complaint.contains("needs scope"), "{what}: {}{}", refused.output, refused.complaint);
    }
    let bound = mesh.mesh.by("admin", "bindings list -o name")?.output;
    ensure!(bound == "binding/operator:admin\n", "an issuer alone enters what a file names: {bound}");
    let told = mesh.mesh.by("admin", "audit list --action peers.uncordon")?.output;
    ensure!(told.contains("token:ci  b  "), "{told}");
    Ok(())
}
