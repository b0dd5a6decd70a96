//! The signer: opens the issuer's key where this node has the secret for it, and seals new ones.

use std::sync::{Arc, Mutex, PoisonError};

use omnirelay_core::spiffe::TrustDomain;
use omnirelay_pki::authority::{Authority, AuthorityError, Validity};
use omnirelay_pki::jwt::signing::SigningKey;
use omnirelay_pki::key::Key;
use omnirelay_pki::revocation::Revocations;
use omnirelay_pki::sealed::{SealError, SealingKey};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{
    AuthorityValue, RevocationValue, SigningValue, TokenKeyValue,
};
use omnirelay_wire::reasons;
use rustls::pki_types::CertificateDer;
use tracing::error;
use zeroize::Zeroizing;

use super::revoke::encoded;
use super::{token_keys, trust_domain, unreadable};
use crate::daemon::identity::own::{IdentityError, IdentityFiles};

/// As what the keys of authorities are sealed.
const ROOT: &str = "root key";
const ISSUER: &str = "issuer key";
/// As what lists of revocations are signed.
pub const REVOCATIONS: &str = "revocations 1";

/// Signs for the mesh, if this node may.
pub struct Signer {
    files: IdentityFiles,
    /// Of the issuer with this certificate.
    opened: Mutex<Option<(Vec<u8>, Arc<Authority>)>>,
    /// The key of tokens with this public key.
    tokens: Mutex<Option<(Vec<u8>, Arc<SigningKey>)>>,
}

impl Signer {
    /// One that finds the secret in these files.
    pub fn new(files: IdentityFiles) -> Self {
        Self { files, opened: Mutex::default(), tokens: Mutex::default() }
    }

    /// Whether this node can issue for the authority.
    pub fn can_issue(&self, authority: &AuthorityValue) -> bool {
        self.issuer(authority).is_ok()
    }

    /// What issues.
    ///
    /// # Errors
    /// `NOT_AN_ISSUER` where this node has not the secret, or another.
    pub fn issuer(&self, authority: &AuthorityValue) -> Result<Arc<Authority>, Fault> {
        let issuer = authority.issuers.first().ok_or_else(unreadable)?;
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((certificate, issuer_of)) = &*opened
            && *certificate == issuer.certificate
        {
            return Ok(Arc::clone(issuer_of));
        }
        let pem = self.sealing_key()?.open(ISSUER, &issuer.sealed_key);
        let pem = pem.map_err(|_| self.no_issuer("has a secret, but its key was sealed with another"))?;
        let made = opened_as(trust_domain(authority)?, issuer, &pem).map_err(|error| not_made(&error))?;
        let made = Arc::new(made);
        *opened = Some((issuer.certificate.clone(), Arc::clone(&made)));
        Ok(made)
    }

    /// What signs tokens.
    ///
    /// # Errors
    /// `NOT_AN_ISSUER` where this node has not the secret, or another; `TOKEN_KEY_MISSING`.
    pub fn token_key(&self, authority: &AuthorityValue) -> Result<Arc<SigningKey>, Fault> {
        let kept = authority.token_keys.first().ok_or_else(no_token_key)?;
        let mut opened = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((public, key)) = &*opened
            && *public == kept.public_key
        {
            return Ok(Arc::clone(key));
        }
        let pkcs8 = self.sealing_key()?.open(token_keys::TOKEN_KEY, &kept.sealed_key);
        let pkcs8 = pkcs8.map_err(|_| self.no_issuer("has a secret, but its key was sealed with another"))?;
        let key = SigningKey::kept(&pkcs8).ok().filter(|key| key.public() == kept.public_key);
        let key = Arc::new(key.ok_or_else(unreadable)?);
        *opened = Some((kept.public_key.clone(), Arc::clone(&key)));
        Ok(key)
    }

    /// A key of tokens for an authority that is there.
    ///
    /// # Errors
    /// As of [`Self::issuer`].
    pub fn make_token_key(&self, authority: &AuthorityValue) -> Result<TokenKeyValue, Fault> {
        token_keys::make(&self.sealing_key()?, &*self.issuer(authority)?)
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
        root: Validity,
        issuer: Validity,
    ) -> Result<AuthorityValue, Fault> {
        let sealing = self.files.make_sealing_key().map_err(|error| not_usable(&error))?;
        let trust_domain = domain.to_string();
        let root = Authority::root(domain, root).map_err(|error| not_made(&error))?;
        let issuer = root.intermediate(issuer).map_err(|error| not_made(&error))?;
        let roots = vec![sealed(&sealing, ROOT, &root)?];
        let issuers = vec![sealed(&sealing, ISSUER, &issuer)?];
        let token_keys = vec![token_keys::make(&sealing, &issuer)?];
        Ok(AuthorityValue { trust_domain, roots, issuers, token_keys })
    }

    /// A list of revocations, signed.
    ///
    /// # Errors
    /// As of [`Self::issuer`].
    pub fn signed(&self, authority: &AuthorityValue, list: &Revocations) -> Result<RevocationValue, Fault> {
        let issuer = self.issuer(authority)?;
        let body = encoded(issuer.trust_domain(), list);
        let signature = issuer.sign(REVOCATIONS, &body).map_err(|error| not_made(&error))?;
        Ok(RevocationValue { body, signature, signer: issuer.certificate().to_vec() })
    }

    fn no_issuer(&self, why: &str) -> Fault {
        let path = self.files.issuer_secret().display();
        Fault::new(reasons::NOT_AN_ISSUER, format!("this daemon cannot issue certificates: it {why}"))
            .hint(format!("ask a daemon that can, or give this one its secret ({path}, mode 0600)"))
    }
}

/// The authority whose key was kept.
fn opened_as(domain: TrustDomain, kept: &SigningValue, pem: &[u8]) -> Result<Authority, AuthorityError> {
    let pem = Zeroizing::new(String::from_utf8_lossy(pem).into_owned());
    Authority::kept(domain, CertificateDer::from(kept.certificate.clone()), Key::from_pem(&pem)?)
}

fn sealed(key: &SealingKey, what: &str, authority: &Authority) -> Result<SigningValue, Fault> {
    let sealed_key = key.seal(what, authority.key_pem().as_bytes()).map_err(|error| not_sealed(&error))?;
    Ok(SigningValue { certificate: authority.certificate().to_vec(), sealed_key })
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

/// What was asked for was checked before.
pub fn not_made(error: &AuthorityError) -> Fault {
    match error {
        AuthorityError::Ended => {
            Fault::new(reasons::AUTHORITY_ENDED, "the authority has ended").hint("omnirelay cert ca show")
        }
        AuthorityError::DnsName(_) | AuthorityError::TooManyNames(_) => {
            Fault::invalid(format!("the names of the certificate: {error}"))
        }
        AuthorityError::Key(_)
        | AuthorityError::Make(_)
        | AuthorityError::Chance
        | AuthorityError::Time
        | AuthorityError::TrustDomain { .. }
        | AuthorityError::Mismatch => {
            error!(%error, "certificate not made");
            Fault::new(reasons::INTERNAL, "the certificate could not be made")
        }
    }
}
