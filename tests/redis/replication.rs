//! Replication: one cluster follows another, each with a Redis server of its own, through whatever happens to either.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::namespace_control_service_client::NamespaceControlServiceClient;
use pb::shard_control_service_client::ShardControlServiceClient;
use serde_json::Value;
use tonic::transport::Channel;

use crate::process::channel::{ShownCertificate, channel};
use crate::process::secured::Secured;
use crate::process::siblings::{Siblings, run};
use crate::process::within;
use crate::servers::RedisServer;

/// How long a change may take to be at the other cluster once nothing is wrong any more.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(20);

/// East is active for the domain `mesh`, and west follows it.
struct Followed {
    clusters: Siblings,
    /// Of east and of west.
    servers: [RedisServer; 2],
}

impl Followed {
    async fn start() -> Result<Self> {
        let servers = [RedisServer::start(&[])?, RedisServer::start(&[])?];
        let urls = [servers[0].url(), servers[1].url()];
        let [east, west] = [0, 1].map(|place| ["--store", urls[place].as_str()]);
        let clusters = Siblings::start(&east, &west)?;
        clusters.introduce()?;
        run(&clusters.east, "mesh domains set mesh --active east")?;
        run(&clusters.west, "mesh domains set mesh --active east")?;
        let followed = Self { clusters, servers };
        followed.is_followed().await?;
        Ok(followed)
    }

    /// West has what east has, and says so.
    async fn is_followed(&self) -> Result<()> {
        let is_so = within(FOLLOWED_WITHIN, "west follows, and has what east has", async || {
            let (state, _) = replica(&self.clusters.west)?;
            let [here, there] = [kept(&self.servers[0])?, kept(&self.servers[1])?];
            Ok(state == "following" && differing(&here, &there).is_empty())
        });
        let Err(late) = is_so.await else { return Ok(()) };
        let (_, told) = replica(&self.clusters.west)?;
        let [here, there] = [kept(&self.servers[0])?, kept(&self.servers[1])?];
        let row = |of: &Rows, key: &str| of.get(key).map(|row| row.escape_ascii().to_string());
        let differ: Vec<String> = differing(&here, &there)
            .into_iter()
            .map(|key| format!("{key}: {:?} and {:?}", row(&here, key), row(&there, key)))
            .collect();
        Err(late.context(format!("{told}; {}", differ.join("; "))))
    }

    /// Nothing that either has sent made no sense to the other one.
    fn made_sense(&self) -> Result<()> {
        for of in [&self.clusters.east, &self.clusters.west] {
            let log = of.place.log();
            let wrong: Vec<&str> = log.lines().filter(|line| line.contains("makes no sense")).collect();
            ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        }
        Ok(())
    }

    fn create(&self, namespace: &str, shards: u32) -> Result<()> {
        run(&self.clusters.east, &format!("mesh namespaces create {namespace} --shards {shards}")).map(drop)
    }
}

async fn connect(to: &Secured) -> Result<Channel> {
    let admin = to.path("admin");
    channel(to.url(), admin.join("bundle.pem"), Some(ShownCertificate::in_folder(&admin))).await
}

/// State of the domain `mesh` where it is followed, and all that is said of it.
fn replica(of: &Secured) -> Result<(String, Value)> {
    let told: Value = serde_json::from_str(&run(of, "mesh domains get mesh -o json")?)?;
    let domain = told["domain"].clone();
    Ok((domain["replica"]["state"].as_str().unwrap_or_default().to_owned(), domain))
}

/// Rows of records as a server keeps them, by kind and key.
type Rows = BTreeMap<String, Vec<u8>>;

/// Keys of the rows that are not the same in the source and where it is followed. Of histories, what is there alone stays.
fn differing<'r>(here: &'r Rows, there: &'r Rows) -> Vec<&'r str> {
    let history = |key: &str| key.starts_with("shard-change/");
    let keys = here.keys().chain(there.keys().filter(|key| !history(key)));
    keys.filter(|key| here.get(*key) != there.get(*key)).map(String::as_str).collect()
}

/// The rows of what is followed; traces of what is deleted are none.
fn kept(server: &RedisServer) -> Result<Rows> {
    let mut kept = BTreeMap::new();
    for kind in ["namespace", "shard", "shard-change", "rebalance-plan"] {
        let hashes: Vec<String> = server.cli(&["KEYS", &format!("*:records:{kind}")])?;
        for hash in hashes {
            let rows: Vec<(String, Vec<u8>)> = server.cli(&["HGETALL", &hash])?;
            let is_trace = |row: &[u8]| row.first() == Some(&1);
            let rows = rows.into_iter().filter(|(_, row)| !is_trace(row));
            kept.extend(rows.map(|(key, row)| (format!("{kind}/{key}"), row)));
        }
    }
    Ok(kept)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_follows_another_and_refuses_what_that_one_decides() -> Result<()> {
    let followed = Followed::start().await?;
    let Siblings { east, west } = &followed.clusters;
    followed.create("orders", 8)?;
    followed.is_followed().await?;
    ensure!(kept(&followed.servers[1])?.len() > 9, "a namespace, its shards, and their history");
    let [here, there] = [west, east].map(|of| run(of, "mesh shards list -o json"));
    let of = |text: &str| -> Result<Value> {
        let told: Value = serde_json::from_str(text)?;
        ensure!(told["items"].as_array().is_some_and(|shards| shards.len() == 8), "{told}");
        Ok(told["items"].clone())
    };
    ensure!(of(&here?)? == of(&there?)?, "the same shards, with their versions and fences");

    // Who has changed something in one reads it in the other, by the cursor of the change.
    let mut namespaces = NamespaceControlServiceClient::new(connect(west).await?);
    for number in 0..10 {
        let made = run(east, &format!("mesh namespaces create read-{number} --shards 1 -o json"))?;
        let cursor =
            serde_json::from_str::<Value>(&made)?["cursor"].as_str().context("no cursor")?.to_owned();
        let asked = pb::GetNamespaceRequest { namespace: format!("read-{number}"), min_revision: cursor };
        namespaces.get(asked).await?;
    }

    // Changes that many make at once hold up nothing.
    followed.create("busy", 64)?;
    let changes = (0..64).map(async |number| {
        let mut shards = ShardControlServiceClient::new(connect(east).await?);
        for _ in 0..5 {
            let (namespace, shard_id) = ("busy".to_owned(), format!("{number:02}"));
            let pause = pb::PauseShardRequest { namespace, shard_id, ..Default::default() };
            let pb::PauseShardRequest { namespace, shard_id, .. } = pause.clone();
            // One that comes too often in between is told to try again; it need not.
            let _ = shards.pause(pause).await;
            let _ = shards.resume(pb::ResumeShardRequest { namespace, shard_id, ..Default::default() }).await;
        }
        anyhow::Ok(())
    });
    try_join_all(changes).await?;
    followed.is_followed().await?;
    followed.made_sense()?;

    // Whoever would change it there is told where to go.
    for line in [
        "mesh namespaces create other --shards 2",
        "mesh namespaces delete orders --yes",
        "mesh shards pause orders/1 --yes",
    ] {
        let refused = west.by("admin", line)?;
        ensure!(refused.complaint.contains("is active in cluster `east`"), "{line}: {refused:?}");
        ensure!(refused.complaint.contains(&east.daemon.control), "{line}: {refused:?}");
    }
    // What is its own it changes.
    run(west, "mesh peers cordon w1")?;
    run(west, "mesh peers uncordon w1")?;

    run(east, "mesh namespaces delete orders --yes")?;
    within(FOLLOWED_WITHIN, "what is deleted is gone there", async || {
        Ok(!run(west, "mesh namespaces list -o name")?.contains("orders"))
    })
    .await?;
    followed.is_followed().await?;

    // A domain of a namespace may be active in the other one.
    for of in [east, west] {
        let refused = of.by("admin", "mesh domains set payments --active west --namespace ledger")?;
        ensure!(refused.complaint.contains("may be changed in both"), "{refused:?}");
        run(of, "mesh domains set payments --active west --namespace ledger --give-up")?;
    }
    let refused = east.by("admin", "mesh namespaces create ledger --shards 2")?;
    ensure!(refused.complaint.contains("is active in cluster `west`"), "{refused:?}");
    run(west, "mesh namespaces create ledger --shards 2")?;
    within(FOLLOWED_WITHIN, "east follows what west is active for", async || {
        Ok(run(east, "mesh namespaces list -o name")?.contains("ledger"))
    })
    .await?;
    let clusters = run(east, "mesh clusters list -o json")?;
    ensure!(clusters.matches("\"active\"").count() == 2, "each is active for something: {clusters}");
    followed.is_followed().await?;
    followed.made_sense()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_restored_source_has_lost_stays_until_somebody_says_what_is_to_be() -> Result<()> {
    let mut followed = Followed::start().await?;
    followed.create("orders", 4)?;
    followed.is_followed().await?;
    let _: String = followed.servers[0].cli(&["SAVE"])?;
    let dump = followed.servers[0].directory().join("dump.rdb");
    let old = std::fs::read(&dump)?;
    for (name, is_healed) in [("billing", true), ("users", false)] {
        followed.create(name, 20)?;
        followed.is_followed().await?;
        // East's daemon and its store come back from before: nobody there knows what was lost.
        followed.clusters.east.daemon.signal("KILL")?;
        followed.servers[0].kill()?;
        std::fs::write(&dump, &old)?;
        followed.servers[0].restart()?;
        followed.clusters.east.daemon = followed.clusters.east.place.start()?;
        let Siblings { east, west } = &followed.clusters;
        within(FOLLOWED_WITHIN, "west does not follow it into that", async || {
            Ok(replica(west)?.0 == "braked")
        })
        .await?;
        let checked = west.by("admin", "mesh check -o json")?;
        ensure!(checked.output.contains("domain `mesh` of cluster `east` is braked"), "{checked:?}");
        let (_, domain) = replica(west)?;
        let deletions = domain["replica"]["brakedDeletions"].as_u64().context("no count")?;
        ensure!(deletions >= 21, "a namespace and its shards are counted: {domain}");
        ensure!(run(west, "mesh namespaces list -o name")?.contains(name), "it is still there");
        ensure!(!run(east, "mesh namespaces list -o name")?.contains(name));
        let told = west.by("admin", "mesh state-diff --with east --exit-code -o json")?;
        ensure!(told.code == Some(10), "{told:?}");
        let told: Value = serde_json::from_str(&told.output)?;
        ensure!(told["differing"] != "0" && told["comparedWith"] == "cluster/east", "{told}");
        let all = told["differences"].as_array().context("no list")?;
        let lost = all.iter().find(|one| one["kind"] == "namespace" && one["key"] == name);
        let lost = lost.with_context(|| told.to_string())?;
        ensure!(lost["state"] == "only_here" && lost["there"].is_null(), "{lost}");
        match is_healed {
            true => {
                let dry = run(east, "mesh domains heal mesh --from west --dry-run -o json")?;
                let dry: Value = serde_json::from_str(&dry)?;
                ensure!(dry["added"].as_u64() >= Some(21), "{dry}");
                ensure!(!run(east, "mesh namespaces list -o name")?.contains(name), "that was a dry run");
                run(east, "mesh domains heal mesh --from west --yes --reason restored")?;
                ensure!(run(east, "mesh namespaces list -o name")?.contains(name));
                let trail = run(east, "audit list --action domains.heal -o json")?;
                ensure!(trail.contains(&format!("namespace/{name}: healed")), "{trail}");
            }
            false => {
                let refused = east.by("admin", "mesh domains approve mesh --yes")?;
                ensure!(refused.code != Some(0), "nothing is stopped there: {refused:?}");
                run(west, "mesh domains approve mesh --yes --reason given-up")?;
            }
        }
        within(FOLLOWED_WITHIN, "both are the same", async || {
            Ok(run(west, "mesh namespaces list -o name")?.contains(name) == is_healed)
        })
        .await?;
        followed.is_followed().await?;
        let same = run(&followed.clusters.west, "mesh state-diff --with east --exit-code -o json")?;
        ensure!(same.contains("\"differing\":\"0\""), "{same}");
    }
    Ok(())
}

/// The daemon that follows, its store, and that of the source end in all ways, while changes are made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_ends_both_are_the_same_afterwards() -> Result<()> {
    let mut followed = Followed::start().await?;
    followed.create("orders", 4)?;
    for round in 0..3 {
        followed.create(&format!("n{round}"), 6)?;
        match round {
            // While a batch is on its way, as it may be.
            0 => {
                followed.clusters.west.daemon.signal("KILL")?;
                followed.clusters.west.daemon = followed.clusters.west.place.start()?;
            }
            1 => {
                followed.servers[0].cli::<String>(&["FLUSHALL"])?;
            }
            _ => {
                followed.servers[1].cli::<String>(&["FLUSHALL"])?;
            }
        }
        within(FOLLOWED_WITHIN, "changes are made again", async || {
            let line = format!("mesh namespaces create m{round} --shards 3");
            let created = followed.clusters.east.by("admin", &line)?;
            Ok(created.code == Some(0) || created.complaint.contains("exists"))
        })
        .await?;
        followed.is_followed().await?;
    }
    let all = run(&followed.clusters.west, "mesh namespaces list -o name")?;
    for name in ["orders", "n0", "n1", "n2", "m0", "m1", "m2"] {
        ensure!(all.contains(&format!("namespace/{name}\n")), "{name} is lost: {all}");
    }
    followed.made_sense()
}
