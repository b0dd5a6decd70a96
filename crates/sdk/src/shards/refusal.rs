//! Work that an owner does not take, and the version of the map by which it says so.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// The headers of a refusal: the version of the map that the owner knows, and the shard that it does not serve, as `namespace/shard`.
pub const MAP_VERSION: &str = "x-omnirelay-shards-version";
pub const SHARD: &str = "x-omnirelay-shard";

/// Reason why work on a shard may not be begun here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoLeave {
    /// The node does not own it.
    NotOwned,
    /// It goes to another node, or this process ends.
    Draining,
    /// What the daemon says, or that it does not answer.
    Trouble(String),
}

/// Work that an owner does not take.
///
/// A worker that is called over gRPC answers with it as a [`Status`]: `ABORTED`, as nothing was done, with the version in the header
/// [`MAP_VERSION`], by which whoever called knows what to wait for, and the shard in [`SHARD`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shard {namespace}/{shard} is not served here by version {version} of the map: {}", why.text())]
pub struct NotServed {
    pub why: NoLeave,
    pub namespace: String,
    pub shard: String,
    /// Of the map, as the daemon of this node knows it; 0: it has not answered yet.
    pub version: i64,
}

impl NoLeave {
    fn text(&self) -> &str {
        match self {
            Self::NotOwned => "this node does not own it",
            Self::Draining => "it is given up",
            Self::Trouble(said) if said.is_empty() => "the daemon has not answered in time",
            Self::Trouble(said) => said,
        }
    }
}

impl From<NotServed> for Status {
    fn from(refused: NotServed) -> Self {
        let mut status = Self::aborted(refused.to_string());
        status.metadata_mut().insert(MAP_VERSION, MetadataValue::from(refused.version));
        // Both are visible ASCII.
        if let Ok(shard) = MetadataValue::try_from(format!("{}/{}", refused.namespace, refused.shard)) {
            status.metadata_mut().insert(SHARD, shard);
        }
        status
    }
}

/// The version that an owner has named that did not take a piece of work on a shard; `None`: it is another answer, such as one that the
/// owner has got itself for a shard of its own work.
pub fn refused_at(status: &Status, namespace: &str, shard: &str) -> Option<i64> {
    let said = |name: &str| status.metadata().get(name)?.to_str().ok();
    let is_of_shard = |said: &str| said.split_once('/') == Some((namespace, shard));
    let is_refusal = status.code() == Code::Aborted && said(SHARD).is_some_and(is_of_shard);
    said(MAP_VERSION)?.parse().ok().filter(|_| is_refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_its_version_and_other_answers_have_none() {
        let refused = NotServed {
            why: NoLeave::NotOwned,
            namespace: "orders".to_owned(),
            shard: "07".to_owned(),
            version: 41,
        };
        let status = Status::from(refused);
        let at = |namespace: &str, shard: &str| refused_at(&status, namespace, shard);
        assert_eq!((at("orders", "07"), at("orders", "08"), at("users", "07")), (Some(41), None, None));
        assert_eq!(
            status.message(),
            "shard orders/07 is not served here by version 41 of the map: this node does not own it"
        );
        assert_eq!(refused_at(&Status::aborted("another conflict"), "orders", "07"), None);
        let mut handed_on = Status::internal("what it asked itself did not go");
        *handed_on.metadata_mut() = status.metadata().clone();
        assert_eq!(refused_at(&handed_on, "orders", "07"), None);
    }
}
