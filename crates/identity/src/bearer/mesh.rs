//! Tokens that the mesh has signed: what stands in them.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use omnirelay_core::spiffe::{CertificateHolder, SpiffeId, TrustDomain};
use omnirelay_pki::certificate::{Certificate, CertificateSerial, TlsNames};
use omnirelay_pki::jwt::claims::{ExpectedClaims, TokenClaims};
use omnirelay_pki::jwt::{Jwt, JwtError};
use omnirelay_pki::key::Fingerprint;
use omnirelay_pki::revocation::{BACKDATED, Revocations, RevokedSubject};
use omnirelay_wire::fault::Fault;
use serde_json::{Value, json};

use super::{BearerToken, TokenRoles, refused, unproven};
use crate::caller::{Scope, Scopes};
use crate::proof::name_at;
use crate::trust::{MeshTokenKey, TrustSnapshot};

/// The claims that only our tokens have: the number and the key of the certificate that asked for it, and whom it names
/// where that is another id than the token's, of roots that are believed besides the mesh's.
const CERTIFICATE: &str = "crt";
const CERTIFICATE_KEY: &str = "crk";
const CERTIFICATE_ID: &str = "cri";
/// The claim that names the cluster which has issued it: another one may list the same key as its own.
const CLUSTER: &str = "clu";

/// Grant of a token: what the token is issued for.
#[derive(Clone, Debug)]
pub struct TokenGrant<'a> {
    pub id: &'a SpiffeId,
    pub number: &'a CertificateSerial,
    /// What its holder has shown for it; `None`: the user of the control socket has asked.
    pub shown: Option<&'a Certificate>,
    /// Empty: all that its holder has.
    pub scopes: &'a [String],
    /// In seconds of the Unix time.
    pub issued_at: i64,
    pub expires_at: i64,
    /// The cluster that issues it.
    pub cluster: &'a str,
}

impl TokenGrant<'_> {
    /// Claims of the token.
    pub fn claims(&self) -> Value {
        let domain = self.id.trust_domain();
        let mut claims = json!({
            "iss": issuer(domain), "aud": domain.as_str(), "sub": self.id.to_string(),
            "jti": self.number.to_string(), "iat": self.issued_at, "nbf": self.issued_at, "exp": self.expires_at,
            CLUSTER: self.cluster,
        });
        if !self.scopes.is_empty() {
            claims["scope"] = json!(self.scopes.join(" "));
        }
        if let Some(shown) = self.shown {
            claims[CERTIFICATE] = json!(shown.serial.to_string());
            claims[CERTIFICATE_KEY] = json!(BASE64_URL_SAFE_NO_PAD.encode(shown.key.as_bytes()));
            if shown.id != *self.id {
                claims[CERTIFICATE_ID] = json!(shown.id.to_string());
            }
        }
        claims
    }
}

fn issuer(domain: &TrustDomain) -> String {
    format!("spiffe://{domain}")
}

/// Token that the mesh has issued, as far as it is known: by what it can be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocableToken {
    pub number: CertificateSerial,
    pub id: SpiffeId,
    /// The other cluster of the trust domain that has issued it; `None`: this one has.
    pub by: Option<Arc<str>>,
    /// What it stands and falls with: the certificate that asked for it, with the life of the token.
    certificate: Certificate,
}

impl TrustSnapshot {
    /// Whether a token was revoked by its number, or with its holder, or with the certificate that asked for it.
    pub fn has_revoked(&self, token: &RevocableToken) -> bool {
        let number = RevokedSubject::Serial(token.number.clone());
        let has = |list: &Revocations| {
            let own = Certificate { id: token.id.clone(), ..token.certificate.clone() };
            list.about(&number).is_some() || list.of(&token.certificate).is_some() || list.of(&own).is_some()
        };
        match &token.by {
            None => has(&self.revocations),
            // Names are the other cluster's. What is not known of any more vouches for nobody.
            Some(by) => {
                self.revocations.about(&number).is_some()
                    || self.revocations.of_number_or_key(&token.certificate).is_some()
                    || self
                        .siblings
                        .get(&**by)
                        .and_then(|sibling| sibling.heard.as_ref())
                        .is_none_or(|heard| has(&heard.revocations))
            }
        }
    }
}

/// Reads a token that names one of the keys of the trust domain; returns the bearer that it proves.
pub(super) fn read(
    jwt: &Jwt<'_>,
    MeshTokenKey { key, by }: MeshTokenKey<'_>,
    trusted: &TrustSnapshot,
    now: i64,
) -> Result<BearerToken, Fault> {
    let domain = trusted
        .bundle
        .as_ref()
        .ok_or_else(|| unproven("the authority of the mesh is not known"))?
        .trust_domain();
    let claims = jwt.verify(key).map_err(|error| refused(&error))?;
    if by.is_some() && claims.text(CLUSTER) != by {
        return Err(refused(&JwtError::Claim(CLUSTER)));
    }
    let expected = ExpectedClaims { issuer: &issuer(domain), audience: domain.as_str(), now };
    let until = claims.check(&expected).map_err(|error| refused(&error))?;
    let issued = issued(&claims, until, by).map_err(|claim| refused(&JwtError::Claim(claim)))?;
    if issued.id.trust_domain() != domain {
        return Err(refused(&JwtError::Claim("sub")));
    }
    let narrowed = claims.text("scope").map(|words| {
        // Words that this version does not know give nothing.
        words.split(' ').filter_map(Scope::from_word).collect::<Scopes>()
    });
    Ok(BearerToken {
        name: name_at(issued.id.holder(), by).into(),
        roles: TokenRoles::default(),
        narrowed,
        until,
        issued: Some(issued),
        judged_by: None,
        kid: jwt.kid().to_owned(),
        key: key.clone(),
    })
}

fn issued(claims: &TokenClaims, until: i64, by: Option<&str>) -> Result<RevocableToken, &'static str> {
    let id: SpiffeId = claims.text("sub").and_then(|id| id.parse().ok()).ok_or("sub")?;
    if matches!(id.holder(), CertificateHolder::Node { .. }) {
        return Err("sub");
    }
    let number: CertificateSerial = claims.text("jti").and_then(|number| number.parse().ok()).ok_or("jti")?;
    let issued_at = claims.second("iat").ok().flatten().ok_or("iat")?;
    let (serial, key) = match (claims.text(CERTIFICATE), claims.text(CERTIFICATE_KEY)) {
        (Some(serial), Some(key)) => {
            let key = BASE64_URL_SAFE_NO_PAD.decode(key).ok().and_then(|key| Fingerprint::from_bytes(&key));
            (serial.parse().map_err(|_| CERTIFICATE)?, key.ok_or(CERTIFICATE_KEY)?)
        }
        // No key has this fingerprint.
        (None, None) => (number.clone(), Fingerprint::of(b"")),
        _ => return Err(CERTIFICATE),
    };
    let shown =
        claims.text(CERTIFICATE_ID).map(|shown| shown.parse().map_err(|_| CERTIFICATE_ID)).transpose()?;
    let certificate = Certificate {
        serial,
        id: shown.unwrap_or_else(|| id.clone()),
        names: TlsNames::default(),
        // As certificates begin, so that one that was issued after its holder was let back in holds.
        not_before: issued_at - BACKDATED,
        not_after: until,
        key,
    };
    Ok(RevocableToken { number, id, by: by.map(Arc::from), certificate })
}
