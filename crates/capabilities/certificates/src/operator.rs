//! The operator of a mesh that runs for one user alone, as that of `omnirelay up`: a node that can issue keeps a certificate
//! for them in a folder, and renews it in time.

use std::sync::Arc;

use omnirelay_certificate_records::authority_id;
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_decisions::identity_keeper::{ENTERED_WITHIN, RETRY_AFTER, two_thirds};
use omnirelay_host::wall_clock;
use omnirelay_identity::operator_files::OperatorFiles;
use omnirelay_pki::certificate::{TlsNames, validity_of};
use omnirelay_pki::request::CertificateRequest;
use omnirelay_registry::Registry;
use omnirelay_registry::view::View;
use omnirelay_store::Version;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::Instant;
use tracing::{info, warn};

use super::issue::LIFETIME_MAX;
use super::signer::Signer;
use crate::identity_keeper::{KeepError, issue_by_itself};

/// What the operator is called.
pub const OPERATOR: &str = "admin";

/// Keeps the certificate of the operator.
pub struct OperatorKeeper {
    pub registry: Arc<Registry>,
    pub signer: Arc<Signer>,
    pub files: OperatorFiles,
    /// Whether this node is entered in the registry, and what the operator may do: whoever finds the certificate uses it.
    pub may_begin: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Issued certificate: by which version of the authority, and when it is to be renewed, by the second of the Unix time.
#[derive(Clone, Copy, Debug, Default)]
struct IssuedOperatorCertificate {
    by: Version,
    due: i64,
}

impl OperatorKeeper {
    /// Does so for ever; whatever was there is replaced first. After each change of the authority it issues anew.
    pub async fn run(self) {
        self.registry
            .react_with(IssuedOperatorCertificate::default(), authority, |issued| self.look(issued))
            .await;
    }

    async fn look(&self, issued: IssuedOperatorCertificate) -> (IssuedOperatorCertificate, Option<Instant>) {
        let by = authority(self.registry.view());
        if by == Version(0) || !(self.may_begin)() {
            return (IssuedOperatorCertificate::default(), Some(Instant::now() + ENTERED_WITHIN));
        }
        let left = wall_clock::look_again(issued.due);
        if issued.by == by && !left.is_zero() {
            return (issued, Some(Instant::now() + left));
        }
        match self.issue().await {
            Ok(due) => (IssuedOperatorCertificate { by, due }, Some(Instant::now() + RETRY_AFTER)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                warn!(error, "no certificate for the operator; it is tried again");
                (issued, Some(Instant::now() + RETRY_AFTER))
            }
        }
    }

    /// Issues it; answers when it is to be renewed.
    async fn issue(&self) -> Result<i64, KeepError> {
        let key = self.files.key_or_new()?;
        let request = CertificateRequest::make(&key, None, &TlsNames::default()).ok();
        let request = request.and_then(|der| CertificateRequest::read(&der).ok()).ok_or(KeepError::Pair)?;
        let order = (CertificateHolder::Operator(OPERATOR.to_owned()), TlsNames::default(), LIFETIME_MAX);
        let issued = issue_by_itself(&self.registry, &self.signer, &request, order).await?;
        let Some(issued) = issued else { return Ok(0) };
        let leaf = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes());
        let (begin, end) = leaf.ok().and_then(|leaf| validity_of(&leaf).ok()).ok_or(KeepError::Pair)?;
        self.files.keep(&issued.chain_pem, &issued.bundle_pem)?;
        info!(operator = OPERATOR, folder = %self.files.folder().display(), "certificate of the operator issued");
        Ok(two_thirds(begin, end))
    }
}

/// The version of the authority; 0: there is none.
fn authority(view: &View) -> Version {
    view.get(&authority_id()).map_or(Version(0), |found| found.record.version)
}
