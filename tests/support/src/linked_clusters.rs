//! Two clusters in networks of their own, a Redis server each, of which the second follows the first over a link.

use anyhow::Result;

use crate::link::{ADDRESSES, Link};
use crate::process::siblings::{Siblings, run};
use crate::servers::RedisServer;

/// Two clusters, east and west, and the link between them; west follows east in the domain of everything.
pub struct LinkedClusters {
    pub clusters: Siblings,
    /// Of east and of west.
    pub servers: [RedisServer; 2],
    pub link: Link,
}

impl LinkedClusters {
    /// Each daemon gets further arguments.
    ///
    /// # Errors
    /// What could not be started; as for [`Link::new`].
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let link = Link::new(1)?;
        let [first, second] = link.ends();
        let servers = [first.run(|| RedisServer::start(&[]))?, second.run(|| RedisServer::start(&[]))?];
        let listen = ADDRESSES.map(|address| format!("{address}:0"));
        let stores = [servers[0].url(), servers[1].url()];
        let own = ["--set", "control.tls.source=mesh", "--store"];
        let [of_east, of_west] = [0, 1].map(|place| [&own[..], &[&stores[place]], arguments].concat());
        let east = first.run(|| Siblings::first(&listen[0], &of_east))?;
        let west = second.run(|| Siblings::second(&east, &listen[1], &of_west))?;
        let clusters = Siblings { east, west };
        first.run(|| Siblings::tell(&clusters.east, "west", &clusters.west))?;
        second.run(|| Siblings::tell(&clusters.west, "east", &clusters.east))?;
        let linked = Self { clusters, servers, link };
        linked.at_east("mesh domains set mesh --active east")?;
        linked.at_west("mesh domains set mesh --active east")?;
        Ok(linked)
    }

    /// Runs a command as the administrator of east; what it prints.
    ///
    /// # Errors
    /// What it complains of.
    pub fn at_east(&self, line: &str) -> Result<String> {
        self.link.ends()[0].run(|| run(&self.clusters.east, line))
    }

    /// The same at west.
    ///
    /// # Errors
    /// What it complains of.
    pub fn at_west(&self, line: &str) -> Result<String> {
        self.link.ends()[1].run(|| run(&self.clusters.west, line))
    }
}
