//! Role bindings on daemons that share a store: what is set on one holds on the other, and not a call longer than it stands.

use omnirelay_wire::tls::nobody;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Result, ensure};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::process::{Daemon, Place, until};
use crate::servers::RedisServer;

const DEPLOY: &str = "0123456789abcdef0123456789abcdef";
const ADMIN: &str = "fedcba9876543210fedcba9876543210";

/// A call with a token, and how it was answered.
async fn call(method: Method, url: &str, token: &str, body: Option<Value>) -> Result<StatusCode> {
    let mut request = Client::builder()
        .tls_backend_preconfigured(nobody())
        .build()?
        .request(method, url)
        .bearer_auth(token);
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    Ok(request.send().await?.status())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_bound_on_one_daemon_holds_on_the_other_until_it_is_deleted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, format!("deploy {DEPLOY} mesh.read\nadmin {ADMIN}\n"))?;
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600))?;
    let server = RedisServer::start(&[])?;
    let (url, tokens) = (server.url(), tokens.to_string_lossy().into_owned());
    let start = |id: &str| -> Result<_> {
        let place = Place::new(&[
            "--node-id",
            id,
            "--store",
            &url,
            "--token-file",
            &tokens,
            "--set",
            "security.loopback=proof",
        ])?;
        let daemon = place.start()?;
        Ok((place, daemon))
    };
    let ((_a, one), (_b, other)) = (start("a")?, start("b")?);
    let label = async |daemon: &Daemon| {
        let body = json!({"set": {"by": "deploy"}, "overwrite": true});
        call(Method::PATCH, &daemon.url("/control/peers/a/labels"), DEPLOY, Some(body)).await
    };
    let binding = one.url("/control/bindings/token:deploy");
    ensure!(label(&other).await? == StatusCode::FORBIDDEN, "its line has mesh.read alone");
    let refused = call(Method::PUT, &binding, DEPLOY, Some(json!({"scopes": ["mesh.admin"]}))).await?;
    ensure!(refused == StatusCode::FORBIDDEN, "nobody binds himself: {refused}");
    for round in 0..3 {
        let set = call(Method::PUT, &binding, ADMIN, Some(json!({"scopes": ["mesh.operate"]}))).await?;
        ensure!(set == StatusCode::OK, "round {round}: {set}");
        ensure!(label(&one).await? == StatusCode::OK, "round {round}: where it was set, at once");
        until("the other daemon hears of it", async || Ok(label(&other).await? == StatusCode::OK)).await?;
        let deleted = call(Method::DELETE, &binding, ADMIN, None).await?;
        ensure!(deleted == StatusCode::OK, "round {round}: {deleted}");
        ensure!(label(&one).await? == StatusCode::FORBIDDEN, "round {round}: where it was deleted, at once");
        until(
            "the other daemon hears of the end",
            async || Ok(label(&other).await? == StatusCode::FORBIDDEN),
        )
        .await?;
    }
    Ok(())
}
