//! Bearer tokens: who has signed one that was sent, whom it proves, and whether it still does.
//!
//! A token is judged in full once, and by what may have changed with each call: its end, its revocation, its key.

pub mod mesh;
pub mod oidc;
#[cfg(test)]
#[path = "../bearer_test.rs"]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use omnirelay_core::text::{chain, shown};
use omnirelay_host::live::Live;
use omnirelay_host::wall_clock;
use omnirelay_pki::jwt::keys::VerifyingKey;
use omnirelay_pki::jwt::{Jwt, JwtError, is_jwt};
use omnirelay_pki::key::Fingerprint;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use parking_lot::Mutex;

use self::mesh::RevocableToken;
use self::oidc::{OidcIssuer, OidcSettings};
use super::caller::Scopes;
use super::trust::{MeshTokenKey, MeshTrust, TrustSnapshot, unix_now};

/// How many tokens are remembered that were judged. Beyond that each is judged anew, which costs a signature.
const REMEMBERED: usize = 4096;
/// How much of the id of a key the log shows, in characters.
const KID_CHARS_SHOWN: usize = 80;

/// A token that proves somebody, as far as what it says does not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerToken {
    /// Whom: the principal.
    pub name: Arc<str>,
    /// What an issuer outside says that they are.
    pub roles: TokenRoles,
    /// The scopes that it was narrowed to; `None`: all that its holder has.
    pub narrowed: Option<Scopes>,
    /// The last second in which it holds, with what clocks may differ.
    pub until: i64,
    /// What the mesh has issued; `None`: another issuer did.
    pub issued: Option<RevocableToken>,
    /// By what it was judged, where another issuer has issued it.
    judged_by: Option<Arc<OidcSettings>>,
    kid: String,
    key: VerifyingKey,
}

impl BearerToken {
    /// The other cluster of the trust domain that has signed it; `None`: this one has, or an issuer outside.
    pub fn sibling(&self) -> Option<&str> {
        self.issued.as_ref()?.by.as_deref()
    }
}

/// Roles of a token, as bindings name them. As many as a token has room for, in little room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRoles(Box<str>);

impl TokenRoles {
    /// Of names that can be bound: there is no end of a line in any.
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut lines = String::new();
        for name in names {
            lines.push_str("role:");
            lines.push_str(name);
            lines.push('\n');
        }
        Self(lines.into())
    }

    /// `role:NAME` of each.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.lines()
    }
}

/// Judges the tokens that are sent.
pub struct Bearers {
    trust: Arc<MeshTrust>,
    /// The issuer outside; `None`: there is none.
    oidc: Live<Option<Arc<OidcIssuer>>>,
    /// By their digest: a token is not kept.
    judged: Mutex<HashMap<Fingerprint, Arc<BearerToken>>>,
}

impl fmt::Debug for Bearers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bearers").field("oidc", &self.oidc).finish_non_exhaustive()
    }
}

impl Bearers {
    /// Takes tokens of the mesh, and those of an issuer outside where there is one.
    pub fn new(trust: Arc<MeshTrust>, oidc: impl Into<Live<Option<Arc<OidcIssuer>>>>) -> Self {
        Self { trust, oidc: oidc.into(), judged: Mutex::default() }
    }

    /// Whether it is of this kind, and somebody could have issued it.
    pub fn takes(&self, secret: &[u8]) -> bool {
        is_jwt(secret) && (self.oidc.get().is_some() || self.trust.current().bundle.is_some())
    }

    /// As [`Self::judge`], of a token that was judged before: without its signature. `None`: it was not.
    pub fn judged_before(&self, secret: &[u8]) -> Option<Result<Arc<BearerToken>, Fault>> {
        self.remembered(&Fingerprint::of(secret))
    }

    /// Judges a token; returns the bearer that it proves. `None`: it is of another kind, or nobody could have issued
    /// it.
    ///
    /// # Errors
    /// `TOKEN_REFUSED`, which tells nobody more who has not signed it; `TOKEN_ENDED`; `ISSUER_KEYS_UNKNOWN`.
    pub fn judge(&self, secret: &[u8]) -> Option<Result<Arc<BearerToken>, Fault>> {
        self.takes(secret).then(|| {
            let digest = Fingerprint::of(secret);
            self.remembered(&digest).unwrap_or_else(|| self.judged_anew(secret, digest))
        })
    }

    fn remembered(&self, digest: &Fingerprint) -> Option<Result<Arc<BearerToken>, Fault>> {
        let known = self.judged.lock().get(digest).cloned()?;
        if !self.would_judge_so(&known) {
            self.judged.lock().remove(digest);
            return None;
        }
        Some(match self.over(&self.trust.current(), &known, unix_now()) {
            None => Ok(known),
            Some(why) => {
                self.judged.lock().remove(digest);
                Err(ended(why))
            }
        })
    }

    fn judged_anew(&self, secret: &[u8], digest: Fingerprint) -> Result<Arc<BearerToken>, Fault> {
        let (trusted, now) = (self.trust.current(), unix_now());
        let bearer = Arc::new(self.read(&trusted, secret, now)?);
        if let Some(why) = self.over(&trusted, &bearer, now) {
            return Err(ended(why));
        }
        let mut judged = self.judged.lock();
        if judged.len() >= REMEMBERED && !judged.contains_key(&digest) {
            judged.retain(|_, known| known.until >= now);
            if judged.len() >= REMEMBERED {
                judged.clear();
            }
        }
        Ok(Arc::clone(judged.entry(digest).or_insert(bearer)))
    }

    fn read(&self, trusted: &TrustSnapshot, secret: &[u8], now: i64) -> Result<BearerToken, Fault> {
        let text = std::str::from_utf8(secret).map_err(|_| unproven("it is no text"))?;
        let jwt = Jwt::read(text).map_err(|error| refused(&error))?;
        // Of several clusters that list one key, the one that the token names.
        let mut read = trusted.token_keys(jwt.kid()).map(|key| mesh::read(&jwt, key, trusted, now));
        let first = read.next();
        let read = first.map(|first| match first {
            Ok(bearer) => Ok(bearer),
            Err(refused) => read.find_map(Result::ok).ok_or(refused),
        });
        match (read, self.oidc.get()) {
            (Some(read), _) => read,
            (None, Some(oidc)) => oidc.read(&jwt, now),
            (None, None) => Err(unproven(format!(
                "it names the key `{}`, which is none of this mesh, and no issuer outside is configured (security.oidc)",
                shown(jwt.kid(), KID_CHARS_SHOWN)
            ))),
        }
    }

    /// Whether what a token was judged by is what is set now, where another issuer than the mesh has issued it.
    fn would_judge_so(&self, bearer: &BearerToken) -> bool {
        let Some((settings, oidc)) = bearer.judged_by.as_ref().zip(self.oidc.get()) else { return true };
        oidc.judges_as(settings)
    }

    /// Why a token that was judged before proves nobody any more; `None`: it does.
    fn over(&self, trusted: &TrustSnapshot, bearer: &BearerToken, now: i64) -> Option<&'static str> {
        if bearer.until < now {
            return Some("has ended");
        }
        let key = match &bearer.issued {
            Some(issued) if trusted.has_revoked(issued) => return Some("was revoked"),
            Some(issued) => {
                let key = MeshTokenKey { key: &bearer.key, by: issued.by.as_deref() };
                trusted.token_keys(&bearer.kid).any(|known| known == key)
            }
            None => match self.oidc.get() {
                Some(_) if !self.would_judge_so(bearer) => {
                    return Some("has to be judged anew, as other settings say");
                }
                Some(oidc) => oidc.has(&bearer.kid, &bearer.key),
                None => false,
            },
        };
        (!key).then_some("is of a key that is not trusted any more")
    }

    /// Future to wait for before a token can be judged anew: the keys of its issuer, if they may have changed.
    pub fn awaits(&self, secret: &[u8]) -> Option<BoxFuture<'static, ()>> {
        let oidc = self.oidc.get().filter(|_| is_jwt(secret))?;
        let jwt = std::str::from_utf8(secret).ok().and_then(|text| Jwt::read(text).ok())?;
        let is_own = self.trust.current().token_keys(jwt.kid()).next().is_some();
        if is_own { None } else { oidc.awaits(jwt.kid()) }
    }

    /// Returns once a token proves nobody any more, with what its bearer is told.
    pub async fn ends(self: Arc<Self>, bearer: Arc<BearerToken>) -> Fault {
        let mut trust = self.trust.changes();
        let mut oidc = self.oidc.clone();
        loop {
            let trusted = trust.borrow_and_update().clone();
            let mut keys = oidc.get().map(|oidc| oidc.changes());
            let now = unix_now();
            if let Some(why) = self.over(&trusted, &bearer, now) {
                return ended(why);
            }
            // What ends is over a second later.
            let look = wall_clock::look_again(bearer.until.saturating_add(1));
            let keys = async {
                let Some(keys) = &mut keys else { return std::future::pending().await };
                if keys.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                _ = trust.changed() => {}
                () = keys => {}
                () = oidc.replaced() => {}
                () = tokio::time::sleep(look) => {}
            }
        }
    }
}

/// What a bearer is told whose token held once.
fn ended(why: &str) -> Fault {
    Fault::new(reasons::TOKEN_ENDED, format!("the token that was sent {why}"))
        .hint("ask for another: omnirelay login; or leave it out: omnirelay logout")
}

/// What is told of a token that nobody has signed who is known: which part of it is wrong helps only who made it up. The log
/// says `why`.
fn unproven(why: impl Into<String>) -> Fault {
    Fault::new(reasons::TOKEN_REFUSED, "the token that was sent proves nobody here")
        .hint("ask for another: omnirelay login; or leave it out: omnirelay logout")
        .because(why)
}

/// What is told of a token: more where its signature was right, as whoever sends it was given it.
fn refused(error: &JwtError) -> Fault {
    let hint = match error {
        JwtError::Malformed(_) | JwtError::Algorithm | JwtError::Signature => return unproven(chain(&error)),
        JwtError::Expired => return ended("has ended"),
        JwtError::NotYet => "see whether the clocks of its issuer and of this daemon agree",
        JwtError::Issuer | JwtError::Audience | JwtError::Claim(_) => {
            "have the issuer make one that is meant for this mesh, as its configuration names it"
        }
    };
    Fault::new(reasons::TOKEN_REFUSED, format!("the token that was sent proves nobody here: {error}"))
        .hint(hint)
}
