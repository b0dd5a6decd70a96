//! Clusters of other meshes that advertisements are exchanged with.

use std::collections::BTreeSet;
use std::path::PathBuf;

use omnirelay_core::names::check_node_name;
use omnirelay_core::spiffe::TrustDomain;
use omnirelay_core::text::shown;
use omnirelay_identity::federation::NamedCluster;
use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, is_host_and_port};

const KEY: &str = "security.federatedClusters";
/// The most clusters that are named.
pub const FEDERATED_CLUSTERS_MAX: usize = 64;
/// The most seeds of one.
const SEEDS_MAX: usize = 16;
/// How much of a wrong name an error shows, in characters.
const NAME_CHARS_SHOWN: usize = 64;

/// A cluster of another mesh. Its nodes reach the exchange of advertisements here and nothing else; its operators and services
/// are nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FederatedClusterConfig {
    /// As its nodes have it (`node.cluster`); not that of this node.
    pub cluster: String,
    /// That of its certificate authority.
    pub trust_domain: String,
    /// The roots of that authority, in PEM; looked at every few seconds. Of the trust domain of this mesh its own roots count.
    pub bundle: PathBuf,
    /// Control ports of some of its nodes, each HOST:PORT, at most 16; default none. They are asked which nodes there are, and
    /// what all of these advertise is fetched every `registers.exchangeInterval`. Names are looked up each time.
    pub seeds: Vec<String>,
}

impl FederatedClusterConfig {
    /// As it is used.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn named(&self) -> Result<NamedCluster, String> {
        let cluster = shown(&self.cluster, NAME_CHARS_SHOWN);
        check_node_name(&self.cluster)
            .map_err(|error| format!("`{cluster}` is no name of a cluster: {error}"))?;
        let trust_domain: TrustDomain = self.trust_domain.parse().map_err(|error| {
            format!("the trustDomain of `{cluster}` is none: {error}; write a name such as corp.example")
        })?;
        if self.bundle.as_os_str().is_empty() {
            return Err(format!("the bundle of `{cluster}` is missing: a file with its roots, in PEM"));
        }
        if self.seeds.len() > SEEDS_MAX {
            return Err(format!("{} seeds of `{cluster}` are more than {SEEDS_MAX}", self.seeds.len()));
        }
        if let Some(seed) = self.seeds.iter().find(|seed| !is_host_and_port(seed)) {
            let seed = shown(seed, NAME_CHARS_SHOWN);
            return Err(format!(
                "the seed `{seed}` of `{cluster}` is no address; write HOST:PORT or [IPV6]:PORT"
            ));
        }
        let (cluster, seeds) = (self.cluster.clone(), self.seeds.clone());
        Ok(NamedCluster { cluster, trust_domain, bundle: self.bundle.clone(), seeds })
    }
}

/// Those that are named; `own` is the cluster of this node.
///
/// # Errors
/// What is wrong with one of them.
pub(super) fn named(
    clusters: &[FederatedClusterConfig],
    own: &str,
) -> Result<Vec<NamedCluster>, InvalidSetting> {
    let refuse = |what: String| (KEY, what);
    if clusters.len() > FEDERATED_CLUSTERS_MAX {
        return Err(refuse(format!("{} are more than {FEDERATED_CLUSTERS_MAX}", clusters.len())));
    }
    let named: Result<Vec<NamedCluster>, String> =
        clusters.iter().map(FederatedClusterConfig::named).collect();
    let named = named.map_err(refuse)?;
    let mut seen = BTreeSet::new();
    for NamedCluster { cluster, .. } in &named {
        if cluster == own {
            return Err(refuse(format!("`{cluster}` is the cluster of this node (node.cluster)")));
        }
        if !seen.insert(cluster) {
            return Err(refuse(format!(
                "`{cluster}` stands there twice; by its name it is told from others"
            )));
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn clusters_that_could_not_be_told_from_others_are_refused() {
        let of = |cluster: &str, domain: &str, bundle: &str| FederatedClusterConfig {
            cluster: cluster.to_owned(),
            trust_domain: domain.to_owned(),
            bundle: bundle.into(),
            seeds: Vec::new(),
        };
        let west = || of("west", "west.example", "west.pem");
        let with_seeds = |seeds: &[&str]| FederatedClusterConfig {
            seeds: seeds.iter().map(|seed| (*seed).to_owned()).collect(),
            ..west()
        };
        let many = (0..=FEDERATED_CLUSTERS_MAX)
            .map(|at| of(&format!("c{at}"), "west.example", "west.pem"))
            .collect();
        let cases = [
            ("none", vec![], None),
            ("one", vec![west()], None),
            ("two of one domain", vec![west(), of("north", "west.example", "west.pem")], None),
            ("no name", vec![of("", "west.example", "west.pem")], Some("name of a cluster")),
            ("no name that there is", vec![of("West/1", "west.example", "west.pem")], Some("`West/1`")),
            ("no domain", vec![of("west", "", "west.pem")], Some("trustDomain of `west`")),
            ("no such domain", vec![of("west", "West Example", "west.pem")], Some("corp.example")),
            ("no roots", vec![of("west", "west.example", "")], Some("bundle of `west`")),
            ("the own one", vec![of("default", "west.example", "west.pem")], Some("of this node")),
            ("twice", vec![west(), of("west", "other.example", "o.pem")], Some("twice")),
            ("a seed", vec![with_seeds(&["east.example:17420"])], None),
            ("no seed", vec![with_seeds(&["east.example"])], Some("the seed `east.example` of `west`")),
            ("many seeds", vec![with_seeds(&["a:1"; 17])], Some("17 seeds of `west`")),
            ("too many", many, Some("more than 64")),
        ];
        for (what, clusters, expected) in cases {
            let mut config = Config::default();
            config.security.federated_clusters = clusters;
            match (config.check(), expected) {
                (Ok(()), None) => {}
                (Err((key, text)), Some(words)) => {
                    assert!(key == KEY && text.contains(words), "{what}: {text}");
                }
                (said, expected) => panic!("{what}: {said:?}, not {expected:?}"),
            }
        }
    }
}
