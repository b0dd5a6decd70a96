//! The nodes that can issue, as they say themselves.

use std::collections::BTreeSet;

use omnirelay_certificate_records::has_authority;
use omnirelay_certificate_records::record_of_node;
use omnirelay_peer_records as peers;
use omnirelay_registry::Registry;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::PeerMetadata;
use omnirelay_wire::pb::omnirelay::store::v1::CertificateValue;
use omnirelay_wire::reasons;

use super::{HasAuthority, OtherDaemon};

/// How many of them a refusal names.
const NAMED_MAX: usize = 3;
/// The detail of a refusal that names them, with commas between: `HOST:PORT` each.
pub const ISSUERS: &str = "issuers";

/// The ids of the nodes that are alive and can issue, this one among them.
pub fn live(registry: &Registry) -> BTreeSet<String> {
    let can_issue = |node: &str, says: &PeerMetadata| match says.knows_signed_records {
        true => says.issues,
        // One of an older version does not say so.
        false => has_issued_itself(registry, &says.cluster_id, node),
    };
    peers::live_with(registry, can_issue).into_iter().collect()
}

/// Whether the newest certificate of a node is one that it issued itself.
fn has_issued_itself(registry: &Registry, cluster: &str, node: &str) -> bool {
    let held = registry.view().get(&record_of_node(cluster, node));
    let held = held.and_then(|held| held.value::<CertificateValue>()).filter(|held| !held.barred);
    held.is_some_and(|held| held.issued.first().is_some_and(|newest| newest.issued_by == node))
}

/// Other nodes that are alive, at most so many, those that can issue first.
pub fn others(registry: &Registry, max: usize) -> Vec<OtherDaemon> {
    let (issuers, mut found) = (live(registry), peers::all_controls(registry));
    found.sort_by_key(|(node, _)| !issuers.contains(node));
    found.into_iter().map(|(node, control)| OtherDaemon { node, control }).take(max).collect()
}

/// A refusal for want of the issuer's secret, with the daemons that have it; another one as it is.
pub fn named(registry: &Registry, refused: Fault) -> Fault {
    if !refused.is(reasons::NOT_AN_ISSUER) {
        return refused;
    }
    let issuers = live(registry);
    let found = peers::all_controls(registry).into_iter().filter(|(node, _)| issuers.contains(node));
    let controls: Vec<String> = found.map(|(_, control)| control).take(NAMED_MAX).collect();
    let Some(first) = controls.first() else { return refused };
    let hint = match &refused.hint {
        Some(hint) => format!("ask one that can: --addr https://{first}\n{hint}"),
        None => format!("ask one that can: --addr https://{first}"),
    };
    refused.hint(hint).detail(ISSUERS, controls.join(","))
}

/// Troubles with the nodes that can issue, in a mesh that has an authority.
#[derive(Default)]
pub struct IssuerTroubles {
    /// No node that lives can.
    pub nobody: Option<String>,
    /// One node alone can, of several that live.
    pub one_alone: Option<String>,
}

impl IssuerTroubles {
    /// As the registry shows it now.
    pub fn of(registry: &Registry) -> Self {
        if has_authority(registry) != HasAuthority::Yes {
            return Self::default();
        }
        let issuers = live(registry);
        let nobody = issuers.is_empty().then(|| {
            "no node that lives has the secret of the issuers: nobody gets or renews a certificate, joins, or changes who may do what"
                .to_owned()
        });
        let only = issuers.first().filter(|_| issuers.len() == 1);
        let only = only.filter(|_| peers::live_with(registry, |_, _| true).len() > 1);
        let one_alone = only.map(|only| {
            format!(
                "{only} alone can issue: while it is away nobody joins, and nobody changes who may do what"
            )
        });
        Self { nobody, one_alone }
    }
}
