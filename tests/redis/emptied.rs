//! A Redis that is emptied under a mesh: what its daemons know comes back by itself, and is served again.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::signed_records::Mesh;
use crate::process::secured::{command, ended};
use crate::process::until;

const SHARDS: usize = 64;
const OPERATORS: usize = 16;

/// What the mesh has that is nobody's own, as an operator sees it.
#[derive(Debug, PartialEq, Eq)]
struct Had {
    bindings: String,
    certificates: String,
    namespaces: String,
}

fn had(mesh: &Mesh) -> Result<Had> {
    let listed = |line: &str| Ok::<_, anyhow::Error>(mesh.mesh.by("admin", line)?.output);
    Ok(Had {
        bindings: listed("bindings list -o name")?,
        certificates: listed("cert list -o name")?,
        namespaces: listed("mesh namespaces list -o name")?,
    })
}

/// The owner and the fence token of each shard that has an owner.
fn owners(mesh: &Mesh) -> Result<BTreeMap<String, (String, u64)>> {
    let listed = mesh.mesh.by("admin", "mesh shards list -n orders -o json")?;
    let Ok(document) = serde_json::from_str::<Value>(&listed.output) else { return Ok(BTreeMap::new()) };
    let shards = document["items"].as_array().cloned().unwrap_or_default();
    let each = shards.iter().filter_map(|shard| {
        let owner = shard["ownerNodeId"].as_str().filter(|owner| !owner.is_empty())?;
        let token = shard["fenceToken"].as_str()?.parse().ok()?;
        Some((shard["shardId"].as_str()?.to_owned(), (owner.to_owned(), token)))
    });
    Ok(each.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_gets_all_back_with_greater_fences() -> Result<()> {
    let mesh = Mesh::start()?;
    let _c = mesh.join("c", "127.0.0.4", &[])?;
    until("all know each other", async || {
        Ok(mesh.at_worker("mesh peers list -o name")?.output == "peer/a\npeer/b\npeer/c\n")
    })
    .await?;
    let made = mesh.mesh.by("admin", &format!("mesh namespaces create orders --shards {SHARDS} --yes"))?;
    ensure!(made.code == Some(0), "{}", made.complaint);
    for number in 0..OPERATORS {
        let issued = mesh.mesh.by("admin", &format!("cert issue --operator o{number} --out o{number}"))?;
        ensure!(issued.code == Some(0), "{}", issued.complaint);
        if number < 9 {
            let set =
                mesh.mesh.by("admin", &format!("bindings set operator:o{number} mesh.operate --yes"))?;
            ensure!(set.code == Some(0), "{}", set.complaint);
        }
    }
    until("all shards are owned", async || Ok(owners(&mesh)?.len() == SHARDS)).await?;
    let (before, of_before) = (owners(&mesh)?, had(&mesh)?);
    let token = mesh.mesh.by("admin", "token create --out late --node d")?;
    ensure!(token.code == Some(0), "{}", token.complaint);

    mesh.server.cli::<()>(&["FLUSHALL"])?;
    let begun = Instant::now();
    // Before the daemons know it, while it is missing, or when it is back already: that one is as quick as the check.
    let taken = mesh.mesh.by("admin", "mesh namespaces create orders --shards 8 --yes")?;
    ensure!(taken.code != Some(0), "nothing is made in the place of what is missing: {}", taken.output);
    until("all shards are owned again, by greater fences", async || {
        let now = owners(&mesh)?;
        let fell =
            now.iter().find(|(shard, (_, token))| before.get(*shard).is_some_and(|(_, was)| token < was));
        ensure!(fell.is_none(), "a token fell: {fell:?}, {before:?}");
        let risen =
            now.iter().filter(|(shard, (_, token))| before.get(*shard).is_some_and(|(_, was)| token > was));
        Ok(risen.count() == SHARDS)
    })
    .await?;
    let shards_after = begun.elapsed();
    until("all is there", async || Ok(had(&mesh)? == of_before)).await?;
    println!("shards: {shards_after:?}; all that is nobody's own: {:?}", begun.elapsed());
    until("nothing is red", async || {
        let check = mesh.mesh.by("admin", "mesh check --category registry")?.output;
        Ok(!check.contains("FAIL") && check.contains("nothing is missing"))
    })
    .await?;
    let trail = mesh.mesh.by("admin", "audit list --action registry.restore -o json")?.output;
    ensure!(trail.contains("namespace/orders") && trail.contains("certificate/"), "{trail}");
    // Nobody has used the token since, as the issuer knows.
    until("a token of before lets its node in", async || {
        let line = format!(
            "mesh join --server {} --token-file late --node-id d --data-dir d",
            mesh.mesh.daemon.control
        );
        let joined = ended(&mut command(&line, mesh.mesh.folder.path()))?;
        if joined.code != Some(0) {
            ensure!(
                joined.complaint.contains("was made before the registry was restored"),
                "{}",
                joined.complaint
            );
        }
        Ok(joined.code == Some(0))
    })
    .await?;
    // Whoever was given something can use it.
    let cordoned = mesh.mesh.by("o1", "mesh peers cordon c --yes")?;
    ensure!(cordoned.code == Some(0), "{}", cordoned.complaint);
    Ok(())
}
