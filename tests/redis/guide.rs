//! The server that the guide of storage shows keeps what it has confirmed.

use anyhow::{Context, Result, ensure};

use crate::daemons::mesh::Node;
use crate::process::until;
use crate::servers::RedisServer;
use crate::servers::guide::{block_behind, user_of};

/// The server's arguments, and its file of users, `default` being what the default user is.
fn server_of_the_guide(default: &str) -> Result<RedisServer> {
    let settings = block_behind("A server of which it has nothing to say")?.lines();
    // It has no replicas here, and users of its own.
    let settings = settings.filter(|line| !line.starts_with("min-replicas") && !line.starts_with("aclfile"));
    let mut arguments: Vec<String> = settings
        .flat_map(|line| line.split_once(' '))
        .flat_map(|(name, value)| [format!("--{name}"), value.to_owned()])
        .collect();
    arguments.extend(["--aclfile", "{dir}/users.acl"].map(str::to_owned));
    // As in a file of users; the password stands there as it is.
    let user = user_of("servers")?.join(" ").replace("ACL SETUSER omnirelay reset", "user omnirelay");
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("users.acl"), format!("{default}\n{user} +acl|getuser\n"))?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    RedisServer::start_in(folder, &arguments)
}

fn url(server: &RedisServer) -> String {
    format!("redis://omnirelay:PASSWORD@{}", server.address())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_of_the_guide_keeps_the_registry_over_a_restart() -> Result<()> {
    let mut server = server_of_the_guide(block_behind("and in that file")?)?;
    let node = Node::start("a", &url(&server), &[])?;
    node.api.cordon("a", "before the restart").await?.ok()?;
    let mut said = String::new();
    until("the node says what is risky", async || {
        said = node.api.item("store-settings").await?.1;
        Ok(said.contains("no replica"))
    })
    .await?;
    ensure!(!said.contains("default user"), "{said}");
    server.kill()?;
    server.restart()?;
    // Nobody restores what is in the trail.
    let mut trail = Vec::new();
    until("the node has its store again", async || {
        trail = node.api.audit().await?;
        Ok(true)
    })
    .await?;
    ensure!(trail.iter().any(|record| record["reason"] == "before the restart"), "{trail:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_user_that_a_restart_loses_the_registry_by_is_warned_of() -> Result<()> {
    let server = server_of_the_guide("user default off")?;
    let node = Node::start("a", &url(&server), &[])?;
    let mut said = String::new();
    until("the node warns", async || {
        said = node.api.item("store-settings").await?.1;
        Ok(said.contains("may not run every command on every key"))
    })
    .await
    .with_context(|| said.clone())
}
