//! Record in which a node describes itself by gossip.

use std::time::Duration;

use bytes::Bytes;
use omnirelay_core::labels::Labels;
use omnirelay_membership::{Config, NodeId, RECORD_BYTES_MAX};
use omnirelay_wire::pb::omnirelay::mesh::membership::v1::{MemberRecord, MemberSecurity};
use omnirelay_wire::timestamp::Timestamp;
use prost::Message as _;
use xxhash_rust::xxh64::Xxh64;

const SCHEMA_VERSION: &str = "v1";
/// Up to how many members a suspicion is as short as it gets.
const FEW: f64 = 10.0;

/// Record in which a node describes itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GossipRecord {
    pub role: String,
    pub cluster: String,
    pub region: String,
    pub zone: String,
    /// The versions of what nodes say to each other that it speaks.
    pub wire_versions: [u32; 2],
    pub http3: bool,
    /// Where its mesh port is.
    pub endpoint: String,
    /// When its certificate ends, in seconds of the Unix time; `None`: it has none.
    pub certificate_not_after: Option<i64>,
    pub pinned: bool,
    pub labels: Labels,
}

/// Error of a record in which a node says more of itself than the bytes that a record may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "what this node says of itself by gossip has {0} bytes, and {RECORD_BYTES_MAX} fit: shorten `node.role`, `node.cluster`, `node.region`, `node.zone` or `mesh.advertise`"
)]
pub struct RecordTooLarge(pub usize);

impl GossipRecord {
    pub(super) fn body(&self, node: &NodeId, version: u64, config: &Config) -> Result<Bytes, RecordTooLarge> {
        let not_after = self.certificate_not_after.map(|seconds| Timestamp { seconds, nanos: 0 });
        let record = MemberRecord {
            schema_version: SCHEMA_VERSION.to_owned(),
            node_id: node.as_str().to_owned(),
            role: self.role.clone(),
            cluster_id: self.cluster.clone(),
            region: self.region.clone(),
            zone: self.zone.clone(),
            mesh_version: env!("CARGO_PKG_VERSION").to_owned(),
            wire_version_min: self.wire_versions[0],
            wire_version_max: self.wire_versions[1],
            http3_support: self.http3,
            endpoint: self.endpoint.clone(),
            metadata_version: version,
            ttl_ms: u32::try_from(ttl(config).as_millis()).unwrap_or(u32::MAX),
            security: Some(MemberSecurity {
                certificate_not_after: not_after,
                pinned: self.pinned,
                attested: false,
            }),
            labels_digest: labels_digest(&self.labels),
        };
        let body = record.encode_to_vec();
        if body.len() > RECORD_BYTES_MAX { Err(RecordTooLarge(body.len())) } else { Ok(body.into()) }
    }
}

/// How long a member is silent at most until it is found dead, among few.
fn ttl(config: &Config) -> Duration {
    // Each of few is probed once in as many rounds.
    config.interval.mul_f64(FEW - 1.0) + config.probe_time() + config.suspicion * config.suspicion_max
}

/// The digest of labels that records carry; 0: there are none.
fn labels_digest(labels: &Labels) -> u64 {
    if labels.is_empty() {
        return 0;
    }
    let mut hash = Xxh64::new(0);
    for (key, value) in labels {
        for text in [key, value] {
            hash.update(text.as_bytes());
            hash.update(&[0]);
        }
    }
    hash.digest()
}

/// Reads what a member says of itself.
pub(crate) fn read(body: &[u8]) -> Option<MemberRecord> {
    MemberRecord::decode(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use omnirelay_settings::SAID_BYTES_MAX;

    #[test]
    fn the_largest_that_is_usual_fits() {
        let name = "n".repeat(63);
        let says = GossipRecord {
            role: "gateway".to_owned(),
            cluster: name.clone(),
            region: name.clone(),
            zone: name.clone(),
            wire_versions: [1, 1],
            http3: true,
            endpoint: "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535".to_owned(),
            certificate_not_after: Some(i64::MAX),
            pinned: true,
            labels: Labels::from([("tier".to_owned(), "std".to_owned())]),
        };
        let node = NodeId::new(&name).unwrap();
        let body = says.body(&node, u64::MAX, &Config::default()).unwrap();
        assert_eq!(read(&body).unwrap().node_id, name);
        // The most that a configuration may have.
        let most = GossipRecord { endpoint: "h".repeat(SAID_BYTES_MAX - 3 * 63 - 7), ..says.clone() };
        most.body(&node, u64::MAX, &Config::default()).unwrap();
        let too_much = GossipRecord { endpoint: "h".repeat(300), ..says };
        let error = too_much.body(&node, 1, &Config::default()).unwrap_err();
        assert!(error.to_string().contains("512 fit"), "{error}");
    }

    #[test]
    fn other_labels_have_another_digest() {
        let labels = |pairs: &[(&str, &str)]| -> u64 {
            labels_digest(
                &pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            )
        };
        assert_eq!(labels(&[]), 0);
        assert_ne!(labels(&[("a", "bc")]), labels(&[("ab", "c")]));
    }
}
