//! A Redis Cluster of three masters.

use anyhow::{Context, Result};

use super::server::{RedisServer, eventually};

/// The slots of each master.
const RANGES: [(u16, u16); 3] = [(0, 5460), (5461, 10_922), (10_923, 16_383)];

/// Three masters; behind them the replica, if there is one.
pub struct Cluster {
    pub nodes: Vec<RedisServer>,
    masters: usize,
}

impl Cluster {
    /// Starts three masters and waits until each says that all slots are served.
    pub fn start() -> Result<Self> {
        let nodes = (0..RANGES.len()).map(|_| node()).collect::<Result<Vec<_>>>()?;
        for (at, (node, (first, last))) in nodes.iter().zip(RANGES).enumerate() {
            // Without it two nodes could believe that they have one slot.
            node.cli::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()])?;
            node.cli::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
        }
        let cluster = Self { masters: nodes.len(), nodes };
        for node in &cluster.nodes[1..] {
            cluster.introduce(node)?;
        }
        cluster.wait_until_whole()?;
        Ok(cluster)
    }

    /// As [`Cluster::start`], with a replica of the node that has the keys of a hash tag.
    pub fn start_with_replica(tag: &str) -> Result<Self> {
        let mut cluster = Self::start()?;
        let replica = node()?;
        cluster.introduce(&replica)?;
        cluster.nodes.push(replica);
        cluster.wait_until_whole()?;
        let owner = cluster.owner(tag)?;
        let id: String = cluster.nodes[owner].cli(&["CLUSTER", "MYID"])?;
        let replica = &cluster.nodes[cluster.masters];
        replica.cli::<()>(&["CLUSTER", "REPLICATE", &id])?;
        eventually("the replica follows", || Ok(replica.info("master_link_status")? == "up"))?;
        eventually("the owner knows its replica", || {
            Ok(cluster.nodes[owner].info("connected_slaves")? == "1")
        })?;
        Ok(cluster)
    }

    fn introduce(&self, node: &RedisServer) -> Result<()> {
        self.nodes[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &node.port().to_string()])
    }

    fn wait_until_whole(&self) -> Result<()> {
        let nodes = format!("cluster_known_nodes:{}\r", self.nodes.len());
        for node in &self.nodes {
            eventually("the cluster is whole", || {
                let info: String = node.cli(&["CLUSTER", "INFO"])?;
                Ok(info.contains("cluster_state:ok") && info.contains(&nodes))
            })?;
        }
        Ok(())
    }

    /// `redis://...`, with the nodes given, in their order.
    pub fn url(&self, of: &[usize]) -> String {
        let all: Vec<String> = of.iter().map(|at| self.nodes[*at].address()).collect();
        format!("redis://{}", all.join(","))
    }

    /// Which node has the keys of a hash tag, as the first node that answers knows it.
    pub fn owner(&self, tag: &str) -> Result<usize> {
        let asked = self.nodes.iter().find_map(|node| Some((node, slots(node).ok()?)));
        let (node, rows) = asked.context("no node answers")?;
        let slot: u16 = node.cli(&["CLUSTER", "KEYSLOT", &format!("{{{tag}}}")])?;
        let port = rows.into_iter().find(|row| (row.0..=row.1).contains(&slot)).map(|row| row.2);
        let port = port.with_context(|| format!("nobody has slot {slot}"))?;
        self.nodes.iter().position(|node| node.port() == port).context("the owner is unknown")
    }
}

/// First slot, last slot and port of the master of each range.
fn slots(node: &RedisServer) -> Result<Vec<(u16, u16, u16)>> {
    let rows: Vec<Vec<redis::Value>> = node.cli(&["CLUSTER", "SLOTS"])?;
    rows.into_iter()
        .map(|row| {
            let [first, last, master, ..] = row.as_slice() else { anyhow::bail!("no row: {row:?}") };
            let number = |value: &redis::Value| redis::from_redis_value::<u16>(value.clone());
            let redis::Value::Array(master) = master else { anyhow::bail!("no node: {master:?}") };
            Ok((number(first)?, number(last)?, number(master.get(1).context("no port")?)?))
        })
        .collect()
}

fn node() -> Result<RedisServer> {
    RedisServer::start(&[
        "--cluster-enabled",
        "yes",
        "--cluster-node-timeout",
        "1000",
        "--cluster-replica-validity-factor",
        "0",
        "--repl-diskless-sync-delay",
        "0",
    ])
}
