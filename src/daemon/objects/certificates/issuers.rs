//! The nodes that can issue, as far as the registry shows them: their newest certificate is one that they issued themselves.

use std::collections::BTreeSet;

use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::CertificateValue;
use omnirelay_wire::reasons;

use super::{CERTIFICATE, Other};
use crate::daemon::objects::peers;
use crate::daemon::registry::Registry;

/// How many of them a refusal names.
const NAMED_MAX: usize = 3;
/// The detail of a refusal that names them, with commas between: `HOST:PORT` each.
pub const ISSUERS: &str = "issuers";

/// Their ids.
fn ids(registry: &Registry) -> BTreeSet<String> {
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
    let (issuers, mut found) = (ids(registry), peers::all_controls(registry));
    found.sort_by_key(|(node, _)| !issuers.contains(node));
    found.into_iter().map(|(node, control)| Other { node, control }).take(max).collect()
}

/// A refusal for want of the issuer's secret, with the daemons that have it; another one as it is.
pub fn named(registry: &Registry, refused: Fault) -> Fault {
    if !refused.is(reasons::NOT_AN_ISSUER) {
        return refused;
    }
    let issuers = ids(registry);
    let found = peers::all_controls(registry).into_iter().filter(|(node, _)| issuers.contains(node));
    let controls: Vec<String> = found.map(|(_, control)| control).take(NAMED_MAX).collect();
    let Some(first) = controls.first() else { return refused };
    let hint = match &refused.hint {
        Some(hint) => format!("ask one that can: --addr https://{first}\n{hint}"),
        None => format!("ask one that can: --addr https://{first}"),
    };
    refused.hint(hint).detail(ISSUERS, controls.join(","))
}
