//! The issuer that somebody prepares: what who is on a host may do with it who does not administer the mesh.

use std::time::Duration;

use omnirelay_identity::caller::{Caller, Scope};
use omnirelay_registry::act::DecisionReader;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::PendingIssuerValue;
use omnirelay_wire::reasons;

use super::{Certificates, pending_id};

/// How long an issuer that another host prepares is waited for.
const PENDING_FOR: Duration = Duration::from_secs(3600);

pub(super) fn only_administrators(what: &str) -> Fault {
    Fault::new(reasons::MISSING_SCOPE, format!("only who has mesh.admin in all of the mesh may {what}"))
        .hint("show the certificate of an operator (--tls-cert FILE --tls-key FILE), or call an issuer on its own host")
}

impl Certificates {
    /// Checks that a caller who may do what concerns this host alone replaces nothing that another host prepares.
    pub(super) fn check_own_pending(
        &self,
        caller: &Caller,
        reader: &DecisionReader<'_>,
    ) -> Result<(), Fault> {
        let found = reader.get(&pending_id()).filter(|found| {
            let age = self.registry.view().now().since(found.record.updated_at);
            age < PENDING_FOR && !caller.scopes.contains(Scope::MeshAdmin)
        });
        let node =
            found.and_then(|found| found.value::<PendingIssuerValue>()).map(|value| value.node_id.clone());
        match node {
            Some(node) if node != self.registry.node_id() => Err(only_administrators(&format!(
                "put another in the place of the issuer that {node} prepares"
            ))),
            Some(_) | None => Ok(()),
        }
    }
}
