//! The nodes that can issue, as they say themselves.

use std::collections::BTreeSet;

use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::PeerMetadata;
use omnirelay_wire::pb::omnirelay::store::v1::CertificateValue;
use omnirelay_wire::reasons;

use super::{CERTIFICATE, HasAuthority, Other, has_authority};
use crate::daemon::objects::peers;
use crate::daemon::registry::Registry;

/// How many of them a refusal names.
const NAMED_MAX: usize = 3;
/// The detail of a refusal that names them, with commas between: `HOST:PORT` each.
pub const ISSUERS: &str = "issuers";

/// The ids of the nodes that are alive and can issue, this one among them.
pub fn live(registry: &Registry) -> BTreeSet<String> {
    let by_themselves = issued_by_themselves(registry);
    let can_issue = |node: &str, says: &PeerMetadata| match says.knows_signed_records {
        true => says.issues,
        // One of an older version does not say so.
        false => by_themselves.contains(node),
    };
    peers::live_with(registry, can_issue).into_iter().collect()
}

/// The nodes whose newest certificate is one that they issued themselves.
fn issued_by_themselves(registry: &Registry) -> BTreeSet<String> {
    let records = registry.view().list(&CERTIFICATE).records;
    let issuing = records.iter().filter_map(|record| {
        let node = record.record.id.key.strip_prefix("node/")?.split_once('/')?.1;
        let issued = record.value::<CertificateValue>()?;
        (!issued.barred && issued.issued.first()?.issued_by == node).then(|| node.to_owned())
    });
    issuing.collect()
}

/// Other nodes that are alive, at most so many, those that can issue first.
pub fn others(registry: &Registry, max: usize) -> Vec<Other> {
    let (issuers, mut found) = (live(registry), peers::all_controls(registry));
    found.sort_by_key(|(node, _)| !issuers.contains(node));
    found.into_iter().map(|(node, control)| Other { node, control }).take(max).collect()
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

/// That no node which lives can issue. `None`: one can, or the mesh has no authority.
pub fn nobody(registry: &Registry) -> Option<String> {
    let is_bad = has_authority(registry) == HasAuthority::Yes && live(registry).is_empty();
    is_bad.then(|| {
        "no node that lives has the secret of the issuers: nobody gets or renews a certificate, joins, or changes who may do what"
            .to_owned()
    })
}

/// That one node alone can issue, in a mesh of several. `None`: more can, or none.
pub fn one_alone(registry: &Registry) -> Option<String> {
    if has_authority(registry) != HasAuthority::Yes {
        return None;
    }
    let (issuers, all) = (live(registry), peers::live_with(registry, |_, _| true));
    let only = issuers.first().filter(|_| issuers.len() == 1 && all.len() > 1)?;
    Some(format!("{only} alone can issue: while it is away nobody joins, and nobody changes who may do what"))
}
