//! The signer: opens the issuer's key where this node has the secret for it, and seals new ones.

use std::sync::Arc;

use omnirelay_certificate_records::revoked::{REVOCATIONS, believed, encoded};
use omnirelay_certificate_records::{authority_id, revocation_id};
use omnirelay_core::spiffe::TrustDomain;
use omnirelay_identity::files::FilesStamp;
use omnirelay_identity::node_identity::{IdentityError, IdentityFiles, sealing_key_of};
use omnirelay_identity::trust::{MeshTrust, unix_now};
use omnirelay_pki::authority::{AuthorityError, CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::TlsNames;
use omnirelay_pki::issuer_cluster::names_clusters;
use omnirelay_pki::jwt::signing::SigningKey;
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest;
use omnirelay_pki::revocation::Revocations;
use omnirelay_pki::sealed::{SealError, SealingKey};
use omnirelay_registry::view::ViewRecord;
use omnirelay_store::RecordId;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{
    AuthorityValue, PendingIssuerValue, RevocationValue, SigningValue, TokenKeyValue,
};
use omnirelay_wire::reasons;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tracing::error;
use zeroize::Zeroizing;

use super::authority::bundle_of;
use super::{token_keys, trust_domain, unreadable};

/// As what the keys of authorities are sealed.
const ROOT: &str = "root key";
const ISSUER: &str = "issuer key";
/// As what an issuer proves the request of the next one.
pub const NEXT_ISSUER: &str = "next issuer 1";

/// Secret with which the key of the next issuer is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextIssuerSealSecret {
    /// That of the issuer of now.
    Same,
    /// Whichever this node has: that of before is lost, or is to be another.
    New,
}

/// The next issuer, before somebody has certified it.
pub struct UncertifiedIssuer {
    pub value: PendingIssuerValue,
    /// What the issuer of now has signed, and its certificate; `None`: this node is none.
    pub proven: Option<(Vec<u8>, Vec<u8>)>,
}

/// Opened issuer or key, after what names it and the state of the secret's file by then.
type OpenedSecret<T> = (Vec<u8>, FilesStamp, Arc<T>);

/// Signs for the mesh, if this node may.
pub struct Signer {
    files: IdentityFiles,
    /// The cluster of the daemon, for whose nodes alone its issuers vouch.
    cluster: String,
    /// What is revoked, and stays so whatever becomes of the registry.
    trust: Arc<MeshTrust>,
    /// Of the issuer with this certificate, by the secret's file as it was then.
    opened: Mutex<Option<OpenedSecret<CertificateAuthority>>>,
    /// The key of tokens with this public key, by the same.
    tokens: Mutex<Option<OpenedSecret<SigningKey>>>,
    /// Adds to a refusal who else can do what this node cannot.
    name: Box<dyn Fn(Fault) -> Fault + Send + Sync>,
}

impl Signer {
    /// One of a daemon of `cluster`, that finds the secret in these files.
    pub fn new(files: IdentityFiles, trust: Arc<MeshTrust>, cluster: impl Into<String>) -> Self {
        let (opened, tokens, cluster) = (Mutex::default(), Mutex::default(), cluster.into());
        Self { files, cluster, trust, opened, tokens, name: Box::new(|refused| refused) }
    }

    /// The cluster of the daemon.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Sets the function that adds to a refusal who else can do what this node cannot.
    #[must_use]
    pub fn naming(self, name: impl Fn(Fault) -> Fault + Send + Sync + 'static) -> Self {
        Self { name: Box::new(name), ..self }
    }

    /// Whether this node can issue for the authority.
    pub fn can_issue(&self, authority: &AuthorityValue) -> bool {
        self.opened(authority).is_ok()
    }

    /// Whether a secret opens the key of the issuer of now.
    pub fn is_secret_of(authority: &AuthorityValue, secret: &[u8]) -> bool {
        let (issuer, key) = (authority.issuers.first(), sealing_key_of(secret));
        issuer.zip(key.ok()).is_some_and(|(issuer, key)| key.open(ISSUER, &issuer.sealed_key).is_ok())
    }

    /// Certificate authority that issues.
    ///
    /// # Errors
    /// `NOT_AN_ISSUER` where this node has not the secret, or another.
    pub fn issuer(&self, authority: &AuthorityValue) -> Result<Arc<CertificateAuthority>, Fault> {
        self.opened(authority).map_err(&self.name)
    }

    fn opened(&self, authority: &AuthorityValue) -> Result<Arc<CertificateAuthority>, Fault> {
        let issuer = authority.issuers.first().ok_or_else(unreadable)?;
        // Whoever takes the file away takes the right to sign.
        let stamp = self.files.secret_stamp();
        let mut opened = self.opened.lock();
        if let Some((certificate, of, issuer_of)) = &*opened
            && *certificate == issuer.certificate
            && *of == stamp
        {
            return Ok(Arc::clone(issuer_of));
        }
        let made = Arc::new(self.open(authority, ISSUER, issuer)?.1);
        *opened = Some((issuer.certificate.clone(), stamp, Arc::clone(&made)));
        Ok(made)
    }

    /// Key that signs tokens.
    ///
    /// # Errors
    /// `NOT_AN_ISSUER` where this node has not the secret, or another; `TOKEN_KEY_MISSING`.
    pub fn token_key(&self, authority: &AuthorityValue) -> Result<Arc<SigningKey>, Fault> {
        let kept = authority.token_keys.first().ok_or_else(no_token_key)?;
        let stamp = self.files.secret_stamp();
        let mut opened = self.tokens.lock();
        if let Some((public, of, key)) = &*opened
            && *public == kept.public_key
            && *of == stamp
        {
            return Ok(Arc::clone(key));
        }
        let pkcs8 = self.sealing_key().map_err(&self.name)?.open(token_keys::TOKEN_KEY, &kept.sealed_key);
        let pkcs8 = pkcs8
            .map_err(|_| (self.name)(self.no_issuer("has a secret, but its key was sealed with another")))?;
        let key = SigningKey::kept(&pkcs8).ok().filter(|key| key.public() == kept.public_key);
        let key = Arc::new(key.ok_or_else(unreadable)?);
        *opened = Some((kept.public_key.clone(), stamp, Arc::clone(&key)));
        Ok(key)
    }

    /// A key of tokens for an authority that is there.
    ///
    /// # Errors
    /// As of [`Self::issuer`].
    pub fn make_token_key(&self, authority: &AuthorityValue) -> Result<TokenKeyValue, Fault> {
        token_keys::make(&self.sealing_key()?, &*self.issuer(authority)?)
    }

    /// The secret of this node.
    ///
    /// # Errors
    /// `NOT_AN_ISSUER` where it has none.
    pub fn secret(&self) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let secret = self.files.secret().map_err(|error| not_usable(&error))?;
        secret.ok_or_else(|| (self.name)(self.no_issuer("has not the secret that its key is sealed with")))
    }

    fn sealing_key(&self) -> Result<SealingKey, Fault> {
        let key = self.files.sealing_key().map_err(|error| not_usable(&error))?;
        key.ok_or_else(|| self.no_issuer("has not the secret that its key is sealed with"))
    }

    /// A new authority: a root, and an issuer that it signed.
    ///
    /// # Errors
    /// When its keys cannot be made or sealed.
    pub fn make(
        &self,
        domain: TrustDomain,
        root: ValidityPeriod,
        issuer: ValidityPeriod,
        now: i64,
    ) -> Result<AuthorityValue, Fault> {
        let sealing = self.files.make_sealing_key().map_err(|error| not_usable(&error))?;
        let trust_domain = domain.to_string();
        let root = CertificateAuthority::root(domain, root).map_err(|error| not_made(&error))?;
        let issuer = root.intermediate(&self.cluster, issuer).map_err(|error| not_made(&error))?;
        let roots = vec![sealed(&sealing, ROOT, &root, now)?];
        let issuers = vec![sealed(&sealing, ISSUER, &issuer, now)?];
        let token_keys = vec![token_keys::make(&sealing, &issuer)?];
        Ok(AuthorityValue { trust_domain, roots, issuers, token_keys, ..AuthorityValue::default() })
    }

    /// The key of an issuer that somebody else is to certify, sealed, and the request for it; a daemon without a secret makes
    /// one. What it is proven by is the issuer of now, where this node is one and the secret stays.
    ///
    /// # Errors
    /// `NOT_AN_ISSUER` where this node has not the secret of `authority`, unless it is to be another: then
    /// `ISSUER_SECRET_IN_USE` where it has.
    pub fn prepare(
        &self,
        authority: Option<&AuthorityValue>,
        secret: NextIssuerSealSecret,
    ) -> Result<UncertifiedIssuer, Fault> {
        let issuer = match (authority, secret) {
            (None, _) => None,
            (Some(authority), NextIssuerSealSecret::Same) => Some(self.issuer(authority)?),
            (Some(authority), NextIssuerSealSecret::New) => {
                // As the file is now, whatever was opened by it before.
                let present = authority.issuers.first().ok_or_else(unreadable)?;
                if self.open(authority, ISSUER, present).is_ok() {
                    return Err(self.in_use());
                }
                None
            }
        };
        let sealing = self.files.make_sealing_key().map_err(|error| not_usable(&error))?;
        let key = PrivateKey::make().map_err(|error| not_made(&error.into()))?;
        let csr = CertificateRequest::make(&key, None, &TlsNames::default())
            .map_err(|error| not_made(&error.into()))?;
        let sealed_key = sealing.seal(ISSUER, key.to_pem().as_bytes()).map_err(|error| not_sealed(&error))?;
        let proven = issuer.map(|issuer| {
            let signature = issuer.sign(NEXT_ISSUER, &csr).map_err(|error| not_made(&error))?;
            Ok::<_, Fault>((signature, issuer.certificate().to_vec()))
        });
        Ok(UncertifiedIssuer {
            proven: proven.transpose()?,
            value: PendingIssuerValue { sealed_key, csr, ..Default::default() },
        })
    }

    /// Another issuer of the newest root.
    ///
    /// # Errors
    /// `ROOT_KEY_ELSEWHERE`, or as of [`Self::issuer`].
    pub fn next_issuer(
        &self,
        authority: &AuthorityValue,
        validity: ValidityPeriod,
        now: i64,
    ) -> Result<SigningValue, Fault> {
        let (sealing, root) = self.root(authority)?;
        let issuer = root.intermediate(&self.cluster, validity).map_err(|error| not_made(&error))?;
        sealed(&sealing, ISSUER, &issuer, now)
    }

    /// Another root, which the one before certifies, and its issuer.
    ///
    /// # Errors
    /// As of [`Self::next_issuer`].
    pub fn next_root(
        &self,
        authority: &AuthorityValue,
        [root, issuer]: [ValidityPeriod; 2],
        now: i64,
    ) -> Result<[SigningValue; 2], Fault> {
        let (sealing, before) = self.root(authority)?;
        let root =
            CertificateAuthority::root(trust_domain(authority)?, root).map_err(|error| not_made(&error))?;
        let across = before.certify_root(&root).map_err(|error| not_made(&error))?;
        let issuer = root.intermediate(&self.cluster, issuer).map_err(|error| not_made(&error))?;
        let root = SigningValue { across: across.to_vec(), ..sealed(&sealing, ROOT, &root, now)? };
        Ok([root, sealed(&sealing, ISSUER, &issuer, now)?])
    }

    /// The key of a root that is kept elsewhere, certified by the newest root of the authority.
    ///
    /// # Errors
    /// As of [`Self::next_issuer`].
    pub fn across(&self, authority: &AuthorityValue, root: &[u8]) -> Result<Vec<u8>, Fault> {
        let (_, before) = self.root(authority)?;
        let across = before.certify_root_of(&CertificateDer::from(root)).map_err(|error| not_made(&error))?;
        Ok(across.to_vec())
    }

    /// A certificate of the issuer of another cluster, by the newest root.
    ///
    /// # Errors
    /// As of [`Self::next_issuer`]; `ROOT_NAMES_NO_CLUSTERS`.
    pub fn certify_sibling(
        &self,
        authority: &AuthorityValue,
        request: &CertificateRequest,
        (cluster, validity): (&str, ValidityPeriod),
    ) -> Result<Vec<u8>, Fault> {
        let (_, root) = self.root(authority)?;
        if !names_clusters(root.certificate()) {
            return Err(Fault::new(
                reasons::ROOT_NAMES_NO_CLUSTERS,
                "the newest root was made before issuers named their cluster, and certifies none of another one",
            )
            .hint("have another root follow it: omnirelay cert ca rotate --root"));
        }
        let issuer = root.certify_issuer(request, cluster, validity).map_err(|error| not_made(&error))?;
        Ok(issuer.to_vec())
    }

    /// The newest root, and what its key was sealed with.
    fn root(&self, authority: &AuthorityValue) -> Result<(SealingKey, CertificateAuthority), Fault> {
        let root = authority.roots.first().ok_or_else(unreadable)?;
        if root.sealed_key.is_empty() {
            return Err(Fault::new(
                reasons::ROOT_KEY_ELSEWHERE,
                "the key of the root is not in the registry",
            )
            .hint("say where it is: omnirelay cert ca rotate --offline-root DIR"));
        }
        self.open(authority, ROOT, root).map_err(&self.name)
    }

    /// What signs by a key that was sealed as `what`.
    fn open(
        &self,
        authority: &AuthorityValue,
        what: &str,
        kept: &SigningValue,
    ) -> Result<(SealingKey, CertificateAuthority), Fault> {
        let key = self.sealing_key()?;
        let pem = key.open(what, &kept.sealed_key);
        let pem = pem.map_err(|_| self.no_issuer("has a secret, but its key was sealed with another"))?;
        let opened = opened_as(trust_domain(authority)?, kept, &pem).map_err(|error| not_made(&error))?;
        Ok((key, opened))
    }

    /// Revocations by the records that `get` finds: whatever is signed goes by them.
    pub fn revoked(&self, get: impl Fn(&RecordId) -> Option<Arc<ViewRecord>>) -> Revocations {
        revoked_by(&self.trust, &self.cluster, get)
    }

    /// A list of revocations, signed.
    ///
    /// # Errors
    /// As of [`Self::issuer`]; `AUTHORITY_ENDED`: nobody would believe it.
    pub fn signed(
        &self,
        authority: &AuthorityValue,
        list: &Revocations,
        now: i64,
    ) -> Result<RevocationValue, Fault> {
        let issuer = self.issuer(authority)?;
        if issuer.validity().not_after < now {
            return Err(not_made(&AuthorityError::Ended));
        }
        let body = encoded(issuer.trust_domain(), list);
        let signature = issuer.sign(REVOCATIONS, &body).map_err(|error| not_made(&error))?;
        Ok(RevocationValue {
            body,
            signature,
            signer: issuer.certificate().to_vec(),
            unknown_fields: Default::default(),
        })
    }

    fn in_use(&self) -> Fault {
        let path = self.files.issuer_secret();
        let path = path.display();
        let message = "this daemon has the secret of now still, and would seal the next issuer with it";
        Fault::new(reasons::ISSUER_SECRET_IN_USE, message)
            .hint(format!("on its host: mv {path} {path}.before, then repeat the command: it makes another"))
    }

    fn no_issuer(&self, why: &str) -> Fault {
        let path = self.files.issuer_secret();
        let path = path.display();
        Fault::new(reasons::NOT_AN_ISSUER, format!("this daemon cannot issue certificates: it {why}"))
            .hint(format!("ask a daemon that can, or give this one its secret ({path}, mode 0600)"))
    }
}

/// The authority whose key was kept.
fn opened_as(
    domain: TrustDomain,
    kept: &SigningValue,
    pem: &[u8],
) -> Result<CertificateAuthority, AuthorityError> {
    let pem = Zeroizing::new(String::from_utf8_lossy(pem).into_owned());
    CertificateAuthority::kept(
        domain,
        CertificateDer::from(kept.certificate.clone()),
        PrivateKey::from_pem(&pem)?,
    )
}

fn sealed(
    key: &SealingKey,
    what: &str,
    authority: &CertificateAuthority,
    now: i64,
) -> Result<SigningValue, Fault> {
    let sealed_key = key.seal(what, authority.key_pem().as_bytes()).map_err(|error| not_sealed(&error))?;
    let certificate = authority.certificate().to_vec();
    Ok(SigningValue {
        certificate,
        sealed_key,
        across: Vec::new(),
        since: now,
        unknown_fields: Default::default(),
    })
}

/// Revocations by the records that `get` finds and by what this node enforces already.
pub fn revoked_by(
    trust: &MeshTrust,
    cluster: &str,
    get: impl Fn(&RecordId) -> Option<Arc<ViewRecord>>,
) -> Revocations {
    let value = get(&revocation_id()).and_then(|found| found.value::<RevocationValue>());
    // Reading the roots takes longer than most decisions, and is seldom needed.
    let bundle = || bundle_of(&get(&authority_id())?.value::<AuthorityValue>()?.roots).ok();
    believed(cluster, bundle, value.as_deref(), &trust.current().revocations, unix_now())
}

pub fn not_sealed(error: &SealError) -> Fault {
    error!(%error, "key not sealed");
    Fault::new(reasons::INTERNAL, "the key of the authority could not be sealed")
}

fn no_token_key() -> Fault {
    Fault::new(reasons::TOKEN_KEY_MISSING, "the mesh has no key yet by which it signs tokens")
        .hint("try again in a moment: a daemon that can issue certificates makes it")
}

/// What is wrong with a file is for the log of this host.
fn not_usable(error: &IdentityError) -> Fault {
    error!(error = error as &dyn std::error::Error, "secret of the issuer not usable");
    Fault::new(reasons::NOT_AN_ISSUER, "this daemon cannot issue certificates: its secret cannot be used")
        .hint("its log says why")
}

/// Fault for what the authority did not make. What was asked for was checked before.
pub fn not_made(error: &AuthorityError) -> Fault {
    match error {
        AuthorityError::Ended => Fault::new(reasons::AUTHORITY_ENDED, "the authority has ended")
            .hint("omnirelay cert ca show, then omnirelay cert ca rotate"),
        AuthorityError::OtherCluster { .. } => Fault::invalid(format!("the holder of the certificate: {error}"))
            .hint("have it issued by a daemon of that cluster: an issuer vouches for nodes of its own cluster alone"),
        AuthorityError::DnsName(_) | AuthorityError::TooManyNames(_) => {
            Fault::invalid(format!("the names of the certificate: {error}"))
        }
        AuthorityError::Key(_)
        | AuthorityError::Make(_)
        | AuthorityError::Chance
        | AuthorityError::Time
        | AuthorityError::Cluster(_)
        | AuthorityError::TrustDomain { .. }
        | AuthorityError::Mismatch => {
            error!(%error, "certificate not made");
            Fault::new(reasons::INTERNAL, "the certificate could not be made")
        }
    }
}
