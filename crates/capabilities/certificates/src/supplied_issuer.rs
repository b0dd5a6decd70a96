//! Issuers that a root whose key is kept elsewhere has certified: what is given of them, and whether it is what it has to be.

use std::fmt::Display;

use omnirelay_core::spiffe::TrustDomain;
use omnirelay_core::text::chain;
use omnirelay_pki::authority::is_across;
use omnirelay_pki::certificate::key_of;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::trust::{ChainTrustError, TrustBundle};
use omnirelay_registry::act::DecisionReader;
use omnirelay_store::Write;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, PendingIssuerValue, SigningValue};
use omnirelay_wire::reasons;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{pending_id, unreadable};

/// Certificates of an authority whose root has its key elsewhere.
pub(crate) struct SuppliedIssuer {
    pub(crate) root: Option<CertificateDer<'static>>,
    issuer: CertificateDer<'static>,
    /// The root's key, certified by the root before.
    across: Option<CertificateDer<'static>>,
}

impl SuppliedIssuer {
    /// Issuer that is given in PEM; `None`: none is.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what is no certificate, or is missing beside another.
    pub(crate) fn of(root: &str, issuer: &str, across: &str) -> Result<Option<Self>, Fault> {
        let root = certificate("rootPem", root)?;
        let across = certificate("acrossPem", across)?;
        match certificate("issuerPem", issuer)? {
            Some(issuer) => Ok(Some(Self { root, issuer, across })),
            None if root.is_some() || across.is_some() => Err(Fault::invalid(
                "field `issuerPem` is empty: a root whose key is elsewhere certifies the issuer that was prepared",
            )),
            None => Ok(None),
        }
    }

    /// Trust domain of the root.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it is of none, or is not given.
    pub(crate) fn trust_domain(&self) -> Result<TrustDomain, Fault> {
        let root = self.root.clone().ok_or_else(|| Fault::invalid("field `rootPem` is empty"))?;
        let bundle = TrustBundle::of(vec![root]);
        let bundle = bundle.map_err(|error| Fault::invalid(format!("field `rootPem`: {error}")))?;
        Ok(bundle.trust_domain().clone())
    }

    /// The first authority of a mesh of this trust domain and cluster, and the writes that go with it.
    pub(crate) fn installed(
        &self,
        reader: &DecisionReader<'_>,
        (domain, cluster): (&TrustDomain, &str),
        now: i64,
    ) -> Result<(AuthorityValue, Vec<Write>), Fault> {
        let (root, issuer) = self.checked((domain, cluster), Vec::new(), reader, now)?;
        let root = root.ok_or_else(|| Fault::invalid("field `rootPem` is empty"))?;
        let value = AuthorityValue {
            trust_domain: domain.to_string(),
            roots: vec![root],
            issuers: vec![issuer],
            ..Default::default()
        };
        Ok((value, vec![Write::Delete { id: pending_id() }]))
    }

    /// Root and issuer, if they are what they have to be: the issuer is the one that was prepared, names the cluster, and leads
    /// to the root that is given, else to one of `roots`.
    pub(crate) fn checked(
        &self,
        (domain, cluster): (&TrustDomain, &str),
        roots: Vec<CertificateDer<'static>>,
        reader: &DecisionReader<'_>,
        now: i64,
    ) -> Result<(Option<SigningValue>, SigningValue), Fault> {
        let pending = reader.get(&pending_id()).and_then(|found| found.value::<PendingIssuerValue>());
        let pending = pending.ok_or_else(not_prepared)?;
        let key = CertificateRequest::read(&pending.csr).map_err(|_| unreadable())?.key;
        if key_of(&self.issuer).ok() != Some(key) {
            return Err(not_prepared());
        }
        let bundle_of = |field: &str, roots| {
            let bundle = TrustBundle::of(roots).map_err(|error| wrong(field, error))?;
            let named = bundle.trust_domain();
            if named != domain {
                let why = format!("field `{field}` is of the trust domain `{named}`, and not of `{domain}`");
                return Err(Fault::invalid(why));
            }
            Ok(bundle)
        };
        let trusted = match &self.root {
            Some(root) if roots.iter().any(|known| key_of(known).ok() == key_of(root).ok()) => {
                return Err(Fault::invalid("field `rootPem` is of a root that is trusted already"));
            }
            Some(root) => bundle_of("rootPem", vec![root.clone()])?,
            // Under another one than the newest it would be where the mesh comes from.
            None => bundle_of("issuerPem", roots.iter().take(1).cloned().collect())?,
        };
        let issuer = trusted.issuers_of(cluster).verify(std::slice::from_ref(&self.issuer), now);
        issuer.map_err(|error| match error {
            ChainTrustError::NoAuthority => {
                wrong("issuerPem", format!("it is of no authority of `{domain}` that issues leaves alone"))
            }
            ChainTrustError::UnnamedCluster | ChainTrustError::OtherCluster { .. } => {
                wrong("issuerPem", format!("{error}; this daemon is of cluster `{cluster}`"))
            }
            error => wrong("issuerPem", chain(&error)),
        })?;
        if let Some(across) = &self.across {
            let before = bundle_of("acrossPem", roots)?;
            let verified = before.verify_authority(std::slice::from_ref(across), now);
            verified.map_err(|error| wrong("acrossPem", chain(&error)))?;
            let own = self.root.as_ref().and_then(|root| key_of(root).ok());
            if own.is_none() || key_of(across).ok() != own || !is_across(across) {
                return Err(wrong("acrossPem", "it is not of the key of the root that is given"));
            }
        }
        let signing = |certificate: &CertificateDer, sealed_key: &[u8], across: &[u8]| SigningValue {
            certificate: certificate.to_vec(),
            sealed_key: sealed_key.to_vec(),
            across: across.to_vec(),
            since: now,
            unknown_fields: Default::default(),
        };
        let across = self.across.as_deref().unwrap_or_default();
        let root = self.root.as_ref().map(|root| signing(root, &[], across));
        Ok((root, signing(&self.issuer, &pending.sealed_key, &[])))
    }
}

fn wrong(field: &str, why: impl Display) -> Fault {
    Fault::invalid(format!("field `{field}`: {why}"))
}

/// One certificate in PEM; `None`: the field is empty.
fn certificate(field: &str, pem: &str) -> Result<Option<CertificateDer<'static>>, Fault> {
    if pem.is_empty() {
        return Ok(None);
    }
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match <[_; 1]>::try_from(all.unwrap_or_default()) {
        Ok([one]) => Ok(Some(one)),
        Err(all) => Err(Fault::invalid(format!(
            "field `{field}` holds {} certificates in PEM, and takes one",
            all.len()
        ))),
    }
}

fn not_prepared() -> Fault {
    Fault::new(
        reasons::ISSUER_NOT_PREPARED,
        "the certificate is for no key that was prepared as that of an issuer",
    )
    .hint("begin again: omnirelay cert ca rotate --offline-root DIR")
}
