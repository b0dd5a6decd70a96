//! Request of an issuer for a root whose key is elsewhere, and how the keeper of that root knows it to be of the mesh.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use omnirelay_certificates::signer::NEXT_ISSUER;
use omnirelay_core::text::chain;
use omnirelay_pki::certificate::validity_of;
use omnirelay_pki::key::Fingerprint;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::trust::TrustBundle;
use omnirelay_wire::rpc::certificate_service;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::offline::OfflineRoot;
use crate::frame::prelude::*;

pub(super) const PREPARE: RpcMethod = certificate_service::PREPARE_ISSUER;

/// Certificate request that a daemon has prepared for a root whose key is elsewhere.
pub(super) struct IssuerCsr {
    /// In PEM.
    pub csr: String,
    /// The cluster of the daemon, as it says.
    pub cluster: String,
    /// SHA-256 of the key that is to be certified, as the request has it.
    pub key: Fingerprint,
    /// What the daemon has answered.
    pub document: Value,
    /// By the issuer of now, with its certificate.
    proof: Option<(Vec<u8>, CertificateDer<'static>)>,
}

/// Has the daemon make the key of the next issuer.
pub(super) async fn prepared(
    write: &WriteArgs,
    new_secret: bool,
    session: &mut CommandSession,
) -> Result<IssuerCsr, CliError> {
    let request = json!({"reason": write.reason_text(), "newSecret": new_secret});
    let prepared = session.call(&Call::of(&PREPARE, &request)?.keyed(&write.key()?, "/issuer")).await?;
    let csr = text(&prepared, "csrPem").to_owned();
    let request = CertificateRequest::from_pem(&csr).map_err(|error| {
        CliError::new(reasons::CLIENT, "the daemon has answered with no request").cause(chain(&error))
    })?;
    let signer = CertificateDer::from_pem_slice(text(&prepared, "signerPem").as_bytes()).ok();
    let proof = BASE64_STANDARD.decode(text(&prepared, "signature")).ok().zip(signer);
    let cluster = text(&prepared, "cluster").to_owned();
    if cluster.is_empty() {
        return Err(CliError::new(
            reasons::CLIENT,
            "the daemon does not say of which cluster its issuer is to be",
        )
        .hint("it is of an earlier version; use the omnirelay of that version with it"));
    }
    Ok(IssuerCsr { csr, cluster, key: request.key, document: prepared, proof })
}

impl IssuerCsr {
    /// Checks that the key is an issuer's of the mesh before the root certifies it: whoever has the root certify theirs
    /// issues for whomever they like. The issuer that `vouching` has certified last vouches for it; else whoever runs
    /// this says so. `--yes` says it where the daemon itself is asked, at its socket, and nobody can stand between.
    ///
    /// # Errors
    /// When nobody says so.
    pub(super) fn check(
        &self,
        vouching: Option<&OfflineRoot>,
        write: &WriteArgs,
        session: &CommandSession,
    ) -> Result<(), CliError> {
        if vouching.is_some_and(|root| self.is_proven(root)) {
            return Ok(());
        }
        session.notes().say(&format!("The key of the issuer of cluster {} is {}.", self.cluster, self.key));
        session
            .notes()
            .say("Compare it with the log of the daemon, on its own host: `next issuer prepared`.");
        let at_socket = session.target()?.addresses.iter().all(|address| address.socket().is_some());
        if write.yes && !at_socket {
            let message =
                "--yes does not say whose key the root is to certify, and nobody else vouches for it";
            return Err(CliError::usage(message)
                .hint("run it at the control socket of the daemon (--addr unix:PATH), or without --yes"));
        }
        write.confirm(session, "Have the root certify this key?")
    }

    /// Whether the issuer that `root` has certified last has signed the request. One before it may be out: its key was stolen.
    fn is_proven(&self, root: &OfflineRoot) -> bool {
        let (Some((signature, signer)), Some(csr)) = (&self.proof, csr_der(&self.csr)) else { return false };
        if root.issuer(&self.cluster).as_ref() != Some(signer) {
            return false;
        }
        let bundle = CertificateDer::from_pem_slice(root.pem().as_bytes()).ok();
        let bundle = bundle.and_then(|root| TrustBundle::of(vec![root]).ok());
        let signer = std::slice::from_ref(signer);
        // Whether it has ended does not matter to who it was.
        let Ok((begun, _)) = validity_of(&signer[0]) else { return false };
        bundle.is_some_and(|bundle| {
            let issuers = bundle.issuers_of(&self.cluster);
            issuers.verify_signed(NEXT_ISSUER, &csr, signature, signer, begun).is_ok()
        })
    }
}

fn csr_der(pem: &str) -> Option<CertificateSigningRequestDer<'static>> {
    CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
    use omnirelay_pki::certificate::TlsNames;
    use omnirelay_pki::key::PrivateKey;

    use super::*;
    use omnirelay_identity::trust::unix_now;

    #[test]
    fn an_issuer_of_the_root_vouches_for_the_next_one_and_nobody_else_does() {
        let place = tempfile::tempdir().unwrap();
        let [root, other] = ["a", "b"]
            .map(|name| OfflineRoot::open_or_make(&place.path().join(name), "mesh.example", None).unwrap());
        let issuer = PrivateKey::make().unwrap();
        let csr = omnirelay_pki::request::to_pem(
            &CertificateRequest::make(&issuer, None, &TlsNames::default()).unwrap(),
        );
        let certificate = root.certify(&csr, "default", None).unwrap();
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        let issuer =
            CertificateAuthority::kept("mesh.example".parse().unwrap(), certificate.clone(), issuer).unwrap();
        let next = PrivateKey::make().unwrap();
        let next = CertificateRequest::make(&next, None, &TlsNames::default()).unwrap();
        let prepared = |signed: &[u8], what: &str| IssuerCsr {
            csr: omnirelay_pki::request::to_pem(&next),
            cluster: "default".to_owned(),
            document: Value::Null,
            key: CertificateRequest::read(&next).unwrap().key,
            proof: Some((issuer.sign(what, signed).unwrap(), certificate.clone())),
        };
        assert!(!prepared(&next, NEXT_ISSUER).is_proven(&root), "the mesh has not taken it");
        let pem = omnirelay_pki::certificate::to_pem(&certificate);
        root.note_issuer("default", &pem).unwrap();
        other.note_issuer("default", &pem).unwrap();
        assert!(prepared(&next, NEXT_ISSUER).is_proven(&root));
        assert!(!prepared(&next, NEXT_ISSUER).is_proven(&other), "it is of another root");
        assert!(!prepared(b"another", NEXT_ISSUER).is_proven(&root));
        assert!(!prepared(&next, "revocations 1").is_proven(&root));
        assert!(!IssuerCsr { proof: None, ..prepared(&next, NEXT_ISSUER) }.is_proven(&root));
        let leaf = CertificateAuthority::root("mesh.example".parse().unwrap(), life()).unwrap();
        let signature = leaf.sign(NEXT_ISSUER, &next).unwrap();
        let proof = Some((signature, leaf.certificate().clone()));
        assert!(
            !IssuerCsr { proof, ..prepared(&next, NEXT_ISSUER) }.is_proven(&root),
            "anybody makes a root"
        );
    }

    #[test]
    fn an_issuer_that_another_has_followed_vouches_for_nobody() {
        let place = tempfile::tempdir().unwrap();
        let root = OfflineRoot::open_or_make(&place.path().join("a"), "mesh.example", None).unwrap();
        let certified = || {
            let key = PrivateKey::make().unwrap();
            let csr = CertificateRequest::make(&key, None, &TlsNames::default()).unwrap();
            let pem = root.certify(&omnirelay_pki::request::to_pem(&csr), "default", None).unwrap();
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let issuer =
                CertificateAuthority::kept("mesh.example".parse().unwrap(), certificate, key).unwrap();
            root.note_issuer("default", &pem).unwrap();
            issuer
        };
        let [stolen, present] = [certified(), certified()];
        let csr = CertificateRequest::make(&PrivateKey::make().unwrap(), None, &TlsNames::default()).unwrap();
        let by = |issuer: &CertificateAuthority| IssuerCsr {
            csr: omnirelay_pki::request::to_pem(&csr),
            cluster: "default".to_owned(),
            document: Value::Null,
            key: CertificateRequest::read(&csr).unwrap().key,
            proof: Some((issuer.sign(NEXT_ISSUER, &csr).unwrap(), issuer.certificate().clone())),
        };
        assert!(by(&present).is_proven(&root));
        assert!(!by(&stolen).is_proven(&root));
    }

    fn life() -> ValidityPeriod {
        ValidityPeriod { not_before: unix_now() - 60, not_after: unix_now() + 3600 }
    }
}
