//! Manifest of a support bundle: what is in it, of which node, and what is not.

use serde::{Deserialize, Serialize};

/// The name of its file, which is the first of a bundle.
pub(crate) const MANIFEST: &str = "manifest.json";

/// Manifest of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BundleManifest {
    pub schema_version: String,
    /// When it was begun, by the clock of the machine that made it.
    pub made_at: String,
    /// The version of the program that made it.
    pub version: String,
    /// The nodes whose daemons answered, the one that was asked first.
    pub nodes: Vec<BundledNode>,
    pub files: Vec<BundledFile>,
    /// What was asked for in vain.
    pub missing: Vec<MissingAnswer>,
    /// Of what there was more than is in it, in words.
    pub cut: Vec<String>,
    /// What no bundle holds, in words.
    pub never: Vec<String>,
    /// Fields of answers that are not in it, as `MESSAGE.FIELD`.
    pub fields_left_out: Vec<String>,
}

/// A node of which a bundle tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BundledNode {
    pub node_id: String,
    /// Where its daemon was asked.
    pub address: String,
}

/// A file of a bundle: what a daemon answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BundledFile {
    /// Its path in the archive.
    pub file: String,
    pub what: String,
    /// Whose daemon answered.
    pub node_id: String,
    /// What it was asked: `GET /control/peers`.
    pub request: String,
    pub bytes: u64,
    /// When the answer came, by the clock of the machine that made the bundle.
    pub answered_at: String,
    pub took_ms: u64,
    /// There was more than is in it.
    pub cut: bool,
}

/// An answer that is not in a bundle though it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct MissingAnswer {
    /// Whose daemon was asked, or was to be.
    pub node_id: String,
    pub what: String,
    /// Empty: it was not asked anything.
    pub request: String,
    pub why: String,
}

impl BundleManifest {
    /// The node whose daemon was asked at this address.
    pub(crate) fn node_at(&self, address: &str) -> Option<&BundledNode> {
        self.nodes.iter().find(|node| node.address == address)
    }
}
