//! A root whose key is kept outside of the mesh, in a folder: `root.pem` and `root-key.pem`, and `issuer-CLUSTER.pem`, the issuer
//! of that cluster that it has certified last.

use std::path::{Path, PathBuf};

use omnirelay_core::spiffe::TrustDomain;
use omnirelay_core::text::chain;
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::authority::{AuthorityError, CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::to_pem;
use omnirelay_pki::issuer_cluster::{IssuerCluster, named_cluster, names_clusters};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::revocation::BACKDATED;
use omnirelay_pki::trust::TrustBundle;
use omnirelay_wire::reasons;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::files::{make_folder, put, read_key};
use crate::frame::error::CliError;

const CERTIFICATE: &str = "root.pem";
const KEY: &str = "root-key.pem";
/// The issuer of the only cluster, as it was called before issuers named theirs.
const ISSUER_OF_BEFORE: &str = "issuer.pem";
const DAY: i64 = 86_400;
const ROOT_DAYS: u32 = 3650;
const ISSUER_DAYS: u32 = 365;

/// The root of a folder.
pub(super) struct OfflineRoot {
    root: CertificateAuthority,
    key: PathBuf,
}

impl OfflineRoot {
    /// The one that is there.
    ///
    /// # Errors
    /// When there is none, or its files are not of each other.
    pub(super) fn open(folder: &Path) -> Result<Self, CliError> {
        let (path, key_path) = (folder.join(CERTIFICATE), folder.join(KEY));
        let unusable = |path: &Path, cause: String| {
            CliError::new(reasons::FILE, format!("cannot use {}", path.display())).cause(cause)
        };
        let pem = std::fs::read(&path).map_err(|error| unusable(&path, chain(&error)))?;
        let certificate = CertificateDer::from_pem_slice(&pem);
        let certificate = certificate.map_err(|error| unusable(&path, chain(&error)))?;
        let bundle = TrustBundle::of(vec![certificate.clone()]);
        let bundle = bundle.map_err(|error| unusable(&path, chain(&error)))?;
        let key = PrivateKey::from_pem(&read_key(&key_path)?);
        let key = key.map_err(|error| unusable(&key_path, chain(&error)))?;
        let root = CertificateAuthority::kept(bundle.trust_domain().clone(), certificate, key);
        Ok(Self { root: root.map_err(|error| unusable(&key_path, chain(&error)))?, key: key_path })
    }

    /// The one that is there, as after a try that did not come to its end, or a new one.
    ///
    /// # Errors
    /// As of [`Self::open`]; when it is of another trust domain, or cannot be written.
    pub(super) fn open_or_make(folder: &Path, domain: &str, days: Option<u32>) -> Result<Self, CliError> {
        let domain: TrustDomain =
            domain.parse().map_err(|error| CliError::usage(format!("the trust domain: {error}")))?;
        if !folder.join(CERTIFICATE).exists() && !folder.join(KEY).exists() {
            return Self::make(folder, domain, days.unwrap_or(ROOT_DAYS));
        }
        let found = Self::open(folder)?;
        if *found.root.trust_domain() == domain {
            return Ok(found);
        }
        let message = format!(
            "the root in {} is of `{}`, and not of `{domain}`",
            folder.display(),
            found.root.trust_domain()
        );
        Err(CliError::usage(message).hint("choose another folder with --offline-root"))
    }

    fn make(folder: &Path, domain: TrustDomain, days: u32) -> Result<Self, CliError> {
        make_folder(folder)?;
        let root = CertificateAuthority::root(domain, for_days(days)).map_err(not_made)?;
        let key = folder.join(KEY);
        put(&[
            (folder.join(CERTIFICATE), to_pem(root.certificate()).as_bytes(), 0o644),
            (key.clone(), root.key_pem().as_bytes(), 0o600),
        ])?;
        Ok(Self { root, key })
    }

    /// Path of its key.
    pub(super) fn key(&self) -> &Path {
        &self.key
    }

    /// Its certificate in PEM.
    pub(super) fn pem(&self) -> String {
        to_pem(self.root.certificate())
    }

    /// A certificate for the issuer of `cluster` whose request this is, in PEM.
    ///
    /// # Errors
    /// When it is no request, the root has ended, or no cluster can have that name.
    pub(super) fn certify(&self, csr: &str, cluster: &str, days: Option<u32>) -> Result<String, CliError> {
        let request = CertificateRequest::from_pem(csr).map_err(|error| {
            CliError::new(reasons::CLIENT, "the daemon has answered with no request").cause(chain(&error))
        })?;
        let issuer = self.root.certify_issuer(&request, cluster, for_days(days.unwrap_or(ISSUER_DAYS)));
        Ok(to_pem(&issuer.map_err(not_made)?))
    }

    /// A certificate for the issuer of a mesh that has none of this root yet, or of another cluster.
    ///
    /// # Errors
    /// As of [`Self::certify`]; `ROOT_NAMES_NO_CLUSTERS`: what the root has certified before would be believed there as well.
    pub(super) fn certify_first(
        &self,
        csr: &str,
        cluster: &str,
        days: Option<u32>,
    ) -> Result<String, CliError> {
        if names_clusters(self.root.certificate()) {
            return self.certify(csr, cluster, days);
        }
        Err(CliError::new(
            reasons::ROOT_NAMES_NO_CLUSTERS,
            "the root was made before issuers named their cluster, and what it has certified would be believed there as well",
        )
        .hint("have another root follow it where it is trusted: omnirelay cert ca rotate --root --offline-root DIR --root-before DIR"))
    }

    /// The issuer that the mesh of `cluster` took last of those that this root has certified; `None`: that is not known.
    pub(super) fn issuer(&self, cluster: &str) -> Option<CertificateDer<'static>> {
        let of_before = || {
            // Under a root that has certified issuers of clusters it vouches for none of them.
            let kept = CertificateDer::from_pem_file(self.key.with_file_name(ISSUER_OF_BEFORE)).ok();
            kept.filter(|issuer| {
                named_cluster(issuer) == IssuerCluster::Unnamed && !names_clusters(self.root.certificate())
            })
        };
        CertificateDer::from_pem_file(self.issuer_file(cluster)).ok().or_else(of_before)
    }

    /// Notes that the mesh of `cluster` has taken this issuer, in PEM: it alone vouches for the next one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn note_issuer(&self, cluster: &str, pem: &str) -> Result<(), CliError> {
        put(&[(self.issuer_file(cluster), pem.as_bytes(), 0o644)])
    }

    fn issuer_file(&self, cluster: &str) -> PathBuf {
        self.key.with_file_name(format!("issuer-{cluster}.pem"))
    }

    /// The key of the root that follows this one, certified by this one, in PEM.
    ///
    /// # Errors
    /// When this root has ended.
    pub(super) fn across(&self, next: &Self) -> Result<String, CliError> {
        Ok(to_pem(&self.root.certify_root(&next.root).map_err(not_made)?))
    }
}

/// From now on for so many days.
fn for_days(days: u32) -> ValidityPeriod {
    let now = unix_now();
    ValidityPeriod { not_before: now - BACKDATED, not_after: now + i64::from(days) * DAY }
}

fn not_made(error: AuthorityError) -> CliError {
    CliError::new(reasons::CLIENT, "the certificate could not be made").cause(chain(&error))
}
