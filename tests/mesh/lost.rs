//! A registry whose file is gone: refused, and accepted in so many words.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::process::api::Api;
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
