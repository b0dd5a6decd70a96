//! Daemons that share a store.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::vitals::Vitals;
use super::watcher::Watcher;
use crate::process::api::Api;
use crate::process::until;
use crate::process::{Daemon, Place};

/// A daemon with its directory.
pub(crate) struct Node {
    pub place: Place,
    pub daemon: Daemon,
    pub api: Api,
}

/// Daemons `n1`, `n2`, ...
pub(crate) struct Mesh {
    pub nodes: Vec<Node>,
}

impl Node {
    /// Starts a daemon whose store is away, and waits until it listens.
    pub(crate) fn start_unready(id: &str, store: &str) -> Result<Self> {
        let place = Place::new(&["--node-id", id, "--store", store])?;
        let daemon = place.start_unready()?;
        Self::of(place, daemon)
    }

    /// Starts a daemon, and waits until it is ready.
    pub(crate) fn start(id: &str, store: &str, settings: &[&str]) -> Result<Self> {
        Self::start_in(Place::new(&[&["--node-id", id, "--store", store], settings].concat())?)
    }

    /// As [`Node::start`], in a place of its own.
    pub(crate) fn start_in(place: Place) -> Result<Self> {
        let daemon = place.start()?;
        Self::of(place, daemon)
    }

    /// A daemon that is ready.
    pub(crate) fn of(place: Place, daemon: Daemon) -> Result<Self> {
        let api = Api::new(&daemon.control)?;
        Ok(Self { place, daemon, api })
    }

    pub(crate) fn id(&self) -> &str {
        &self.daemon.node_id
    }
}

impl Mesh {
    /// Starts daemons, and waits until each is ready and lists all as alive.
    pub(crate) async fn start(store: &str, count: usize) -> Result<Self> {
        let mut nodes = Vec::new();
        for number in 1..=count {
            nodes.push(Node::start(&format!("n{number}"), store, &[])?);
        }
        let mesh = Self { nodes };
        mesh.until_whole().await?;
        Ok(mesh)
    }

    pub(crate) fn first(&self) -> &Api {
        &self.nodes[0].api
    }

    /// Waits until each daemon is ready, hears its store and lists all as alive.
    pub(crate) async fn until_whole(&self) -> Result<()> {
        for node in &self.nodes {
            until(&format!("{} is ready and lists all as alive", node.id()), async || {
                let peers = node.api.peers().await?;
                let alive = peers.iter().filter(|peer| peer["status"] == "alive").count();
                let (heard, _) = node.api.item("store").await?;
                Ok(node.api.is_ready().await? && heard && alive == self.nodes.len())
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until each daemon says that its store is away.
    pub(crate) async fn until_away(&self) -> Result<()> {
        for node in &self.nodes {
            until("the store is away", async || Ok(!node.api.item("store").await?.0)).await?;
        }
        Ok(())
    }

    /// Refuses peers that anybody takes for gone: nobody dies of an outage.
    pub(crate) async fn expect_all_alive(&self) -> Result<()> {
        for node in &self.nodes {
            for peer in node.api.peers().await? {
                ensure!(peer["status"] == "alive", "{}: {peer}", node.id());
            }
        }
        Ok(())
    }

    /// Waits until a watch has what the first daemon reads.
    pub(crate) async fn until_shown(&self, watcher: &Watcher) -> Result<()> {
        until("the watch has what is read", async || {
            let read = self.first().peers().await?;
            let seen = watcher.seen();
            let versions = read.iter().map(|peer| (text(&peer["nodeId"]), text(&peer["version"])));
            Ok(!seen.in_snapshot && versions.collect::<BTreeMap<_, _>>() == seen.peers)
        })
        .await
    }

    pub(crate) fn vitals(&self) -> Result<Vec<Vitals>> {
        self.nodes.iter().map(Vitals::of).collect()
    }

    /// Refuses daemons that were anything but calm since `before`.
    pub(crate) fn expect_calm(&self, before: &[Vitals]) -> Result<()> {
        self.nodes.iter().zip(before).try_for_each(|(node, before)| before.expect_calm(node))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
