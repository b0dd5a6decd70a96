//! Nodes of the tests: an authority, and who it has certified.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::{TlsNames, to_pem};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::trust::TrustBundle;

use crate::node_identity::NodeIdentity;
use crate::trust::{MeshTrust, unix_now};

/// An hour in seconds: for how long, before and after now, the authority is valid.
const HOUR: i64 = 3600;

/// The root of `mesh.test`.
pub fn authority() -> CertificateAuthority {
    let validity = ValidityPeriod { not_before: unix_now() - HOUR, not_after: unix_now() + HOUR };
    CertificateAuthority::root("mesh.test".parse().unwrap(), validity).unwrap()
}

/// A node at `localhost` that this authority has certified, and believes it.
pub fn node(root: &CertificateAuthority, id: &str) -> Arc<MeshTrust> {
    let key = PrivateKey::make().unwrap();
    let mut names = TlsNames::default();
    names.add("localhost");
    let id = format!("spiffe://mesh.test/mesh/default/worker/{id}").parse().unwrap();
    let request =
        CertificateRequest::read(&CertificateRequest::make(&key, Some(&id), &names).unwrap()).unwrap();
    let issued = root.issue(&request, &id, &names, root.validity()).unwrap();
    let own = NodeIdentity::of(&key, vec![issued.der, root.certificate().clone()]).unwrap();
    let trust = Arc::new(MeshTrust::default());
    trust.update(|trusted| {
        trusted.bundle = Some(TrustBundle::of(vec![root.certificate().clone()]).unwrap());
        trusted.cluster = "default".to_owned();
        trusted.own = Some(Arc::new(own));
    });
    trust
}

/// Files of a certificate that this authority has issued to a node, and of its key.
pub fn certificate_files(root: &CertificateAuthority, folder: &Path, id: &str) -> [PathBuf; 2] {
    let [cert, private] = ["crt", "key"].map(|end| folder.join(format!("{id}.{end}")));
    let key = PrivateKey::make().unwrap();
    let names = TlsNames::default();
    let id = format!("spiffe://mesh.test/mesh/default/worker/{id}").parse().unwrap();
    let request = CertificateRequest::make(&key, Some(&id), &names).unwrap();
    let request = CertificateRequest::read(&request).unwrap();
    let issued = root.issue(&request, &id, &names, root.validity()).unwrap();
    std::fs::write(&cert, to_pem(&issued.der)).unwrap();
    std::fs::write(&private, key.to_pem().as_bytes()).unwrap();
    [cert, private]
}
