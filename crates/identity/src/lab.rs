//! Nodes of the tests: an authority, and who it has certified.

use std::sync::Arc;

use omnirelay_pki::authority::{Authority, Validity};
use omnirelay_pki::certificate::Names;
use omnirelay_pki::key::Key;
use omnirelay_pki::request::Request;
use omnirelay_pki::trust::Bundle;

use crate::node_identity::OwnIdentity;
use crate::trust::{Trust, unix_now};

/// An hour in seconds: for how long, before and after now, the authority is valid.
const HOUR: i64 = 3600;

/// The root of `mesh.test`.
pub fn authority() -> Authority {
    let validity = Validity { not_before: unix_now() - HOUR, not_after: unix_now() + HOUR };
    Authority::root("mesh.test".parse().unwrap(), validity).unwrap()
}

/// A node at `localhost` that this authority has certified, and believes it.
pub fn node(root: &Authority, id: &str) -> Arc<Trust> {
    let key = Key::make().unwrap();
    let mut names = Names::default();
    names.add("localhost");
    let id = format!("spiffe://mesh.test/mesh/default/worker/{id}").parse().unwrap();
    let request = Request::read(&Request::make(&key, Some(&id), &names).unwrap()).unwrap();
    let issued = root.issue(&request, &id, &names, root.validity()).unwrap();
    let own = OwnIdentity::of(&key, vec![issued.der, root.certificate().clone()]).unwrap();
    let trust = Arc::new(Trust::default());
    trust.update(|trusted| {
        trusted.bundle = Some(Bundle::of(vec![root.certificate().clone()]).unwrap());
        trusted.cluster = "default".to_owned();
        trusted.own = Some(Arc::new(own));
    });
    trust
}
