//! Tokens of an issuer outside: its keys, as it publishes them, and whom they prove.
//!
//! The keys are read at the start, every few minutes, and when a token names one that is not known. What the issuer has
//! taken out of its set is gone with the next reading, and what it has signed with it: all of it where the set is empty, or
//! the file of the keys is not there any more. When the issuer does not answer, or with something else, the keys that are
//! known go on for a day.

mod source;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use omnirelay_core::text::{count, shown};
use omnirelay_host::log::LogLimiter;
use omnirelay_host::wall_clock::{self, WallClockStamp};
use omnirelay_pki::jwt::claims::{ExpectedClaims, LEEWAY, TokenClaims};
use omnirelay_pki::jwt::keys::{KeySet, VerifyingKey};
use omnirelay_pki::jwt::{Jwt, JwtError, TokenAlgorithm};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use parking_lot::Mutex;
use reqwest::Url;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{BearerToken, KID_CHARS_SHOWN, TokenRoles, refused, unproven};
use crate::bound::{NAME_BYTES_MAX, unbound_name};
use source::KeySource;
pub use source::SourceError;

/// How often the keys are read anew.
const READ_EVERY: Duration = Duration::from_secs(300);
/// How soon again after a failure.
const AGAIN: Duration = Duration::from_secs(15);
/// How often they are read because a token names a key that is not known, at most: anybody can name one.
const ASKED_EVERY: Duration = Duration::from_secs(10);
/// How long a call waits for that.
const WAIT: Duration = Duration::from_secs(3);
/// How long the keys are believed of an issuer that does not answer.
pub const BELIEVED_FOR: Duration = Duration::from_secs(24 * 3600);
/// How often is told, at most, that the keys cannot be read.
const TOLD_EVERY: Duration = Duration::from_secs(600);
/// The same of roles that cannot be bound.
const ROLES_TOLD_EVERY: Duration = Duration::from_secs(60);
/// How much of a claim the log shows, in characters.
const CLAIM_CHARS_SHOWN: usize = 200;

/// Settings of an OIDC issuer: whose tokens are taken, and what in them says who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcSettings {
    /// What `iss` must be, to the letter.
    pub issuer: String,
    /// What `aud` must be, or hold.
    pub audience: String,
    pub keys: JwksLocation,
    /// The claim that names the principal.
    pub principal_claim: String,
    /// The claim that names its roles; `None`: nobody has any.
    pub roles_claim: Option<String>,
    pub algorithms: Vec<TokenAlgorithm>,
    /// How long a token may live, from when it was issued to its end: the mesh can revoke none.
    pub max_lifetime: Duration,
}

/// Location of the published keys of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksLocation {
    /// An address, and the authorities of its server in PEM; `None`: the public ones.
    Url(Url, Option<PathBuf>),
    File(PathBuf),
}

/// Keys of the issuer as they were read last.
#[derive(Clone, Debug, Default)]
struct KnownKeys {
    set: Arc<KeySet>,
    /// When they were read; `None`: never.
    since: Option<WallClockStamp>,
}

impl KnownKeys {
    fn are_believed(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() < BELIEVED_FOR)
    }
}

/// Knows an issuer and its keys.
pub struct OidcIssuer {
    settings: Arc<OidcSettings>,
    known: watch::Sender<KnownKeys>,
    /// How many readings have begun.
    begun: AtomicU64,
    /// How many of them are over: the keys were read, or could not be.
    readings: watch::Sender<u64>,
    /// Somebody wants them read.
    asked: Notify,
    /// When that was last, and which reading answers it: one that began later.
    asked_last: Mutex<Option<(Instant, u64)>>,
    roles_told: LogLimiter,
}

impl fmt::Debug for OidcIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc").field("issuer", &self.settings.issuer).finish_non_exhaustive()
    }
}

impl OidcIssuer {
    /// One whose keys are not known yet: [`Self::keep`] reads them.
    pub fn new(settings: OidcSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            known: watch::Sender::default(),
            begun: AtomicU64::new(0),
            readings: watch::Sender::default(),
            asked: Notify::new(),
            asked_last: Mutex::default(),
            roles_told: LogLimiter::new(5, ROLES_TOLD_EVERY),
        }
    }

    /// The one that comes after this one, by other settings. It knows the same keys, where they come from the same place.
    #[must_use]
    pub fn followed_by(&self, settings: OidcSettings) -> Self {
        let next = Self::new(settings);
        let is_same_place = next.settings.keys == self.settings.keys;
        if is_same_place && next.settings.algorithms == self.settings.algorithms {
            next.known.send_replace(self.known.borrow().clone());
        }
        next
    }

    pub fn settings(&self) -> &OidcSettings {
        &self.settings
    }

    /// Whether a token that was judged by these settings would be judged so by those of this one: where its keys come from may be
    /// another place.
    pub(super) fn judges_as(&self, settings: &OidcSettings) -> bool {
        *self.settings == *settings
            || *self.settings == OidcSettings { keys: self.settings.keys.clone(), ..settings.clone() }
    }

    /// Reads the keys once, where none are known; with [`Self::keep`] they are read again.
    pub async fn begin(&self) {
        if self.known.borrow().since.is_none()
            && let Ok(set) = self.read_keys(&mut None).await
        {
            self.take(set);
        }
    }

    /// Reads the keys, and reads them again, for ever.
    pub async fn keep(self: Arc<Self>) {
        let told = LogLimiter::new(1, TOLD_EVERY);
        let mut source = None;
        loop {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let again = match self.read_keys(&mut source).await {
                Ok(set) => {
                    self.take(set);
                    READ_EVERY
                }
                Err(error) if error.is_gone() && self.known.borrow().since.is_some() => {
                    self.forget("their file is gone");
                    AGAIN
                }
                Err(error) => {
                    if told.turn().is_some() {
                        let (issuer, error) = (&self.settings.issuer, &error as &dyn std::error::Error);
                        warn!(
                            issuer,
                            error,
                            "keys of the issuer of tokens not read; those that are known go on for a day"
                        );
                    }
                    self.forget_old();
                    AGAIN
                }
            };
            self.readings.send_modify(|readings| *readings += 1);
            tokio::select! {
                () = wall_clock::sleep(again) => {}
                () = self.asked.notified() => {}
            }
        }
    }

    async fn read_keys(&self, kept: &mut Option<KeySource>) -> Result<KeySet, SourceError> {
        let source = match kept {
            Some(source) => source,
            // Made here, since the file of its authorities may be put in place later.
            None => kept.insert(KeySource::of(&self.settings.keys).await?),
        };
        let json = source.read().await?;
        Ok(KeySet::read(&json, &self.settings.algorithms)?)
    }

    fn take(&self, set: KeySet) {
        let is_new = *self.known.borrow().set != set;
        if is_new {
            let (issuer, keys, passed_over) = (&self.settings.issuer, set.len(), set.passed_over.join("; "));
            info!(issuer, keys, passed_over, "keys of the issuer of tokens taken over");
            if keys == 0 {
                warn!(
                    issuer,
                    "issuer of tokens publishes no key that can be used; none of its tokens is taken"
                );
            }
        }
        let known = KnownKeys { set: Arc::new(set), since: Some(WallClockStamp::now()) };
        // Whoever watches has nothing to look at when they are the same.
        self.known.send_if_modified(|current| {
            *current = known;
            is_new
        });
    }

    fn forget_old(&self) {
        let is_over = self.known.borrow().since.is_some_and(|since| since.elapsed() >= BELIEVED_FOR);
        if is_over {
            self.forget("they could not be read for a day");
        }
    }

    /// Believes no key any more; what they have signed ends.
    fn forget(&self, why: &str) {
        warn!(issuer = self.settings.issuer, why, "keys of the issuer of tokens not believed any more");
        self.known.send_replace(KnownKeys::default());
    }

    /// Age of the keys since they were read; `None`: they never were, or were forgotten since.
    pub fn keys_age(&self) -> Option<Duration> {
        self.known.borrow().since.map(|since| since.elapsed())
    }

    /// Number of keys that are known.
    pub fn keys(&self) -> usize {
        self.known.borrow().set.len()
    }

    /// Hears when the keys change.
    pub(super) fn changes(&self) -> watch::Receiver<impl Sized + use<>> {
        self.known.subscribe()
    }

    /// Whether this is a key of the issuer, under this id.
    pub(super) fn has(&self, kid: &str, key: &VerifyingKey) -> bool {
        let known = self.known.borrow();
        known.are_believed() && known.set.get(kid).contains(key)
    }

    /// Future to be waited for before it is certain that there is no such key; `None`: there is, or it was asked a
    /// moment ago.
    pub(super) fn awaits(self: &Arc<Self>, kid: &str) -> Option<BoxFuture<'static, ()>> {
        if !self.known.borrow().set.get(kid).is_empty() {
            return None;
        }
        let (now, over) = (Instant::now(), *self.readings.borrow());
        let mut last = self.asked_last.lock();
        let under_way = last.filter(|(at, answer)| over < *answer && now - *at < WAIT);
        let answer = match under_way {
            Some((_, answer)) => answer,
            None if last.is_some_and(|(at, _)| now - at < ASKED_EVERY) => return None,
            None => {
                // One that is under way may have asked the issuer before it had the key.
                let answer = self.begun.load(Ordering::SeqCst) + 1;
                *last = Some((now, answer));
                self.asked.notify_one();
                answer
            }
        };
        let mut heard = self.readings.subscribe();
        Some(Box::pin(async move {
            // When it takes too long, the call goes on with what is known.
            let _ = tokio::time::timeout(WAIT, heard.wait_for(|over| *over >= answer)).await;
        }))
    }

    /// Reads a token; returns the bearer that it proves.
    pub(super) fn read(&self, jwt: &Jwt<'_>, now: i64) -> Result<BearerToken, Fault> {
        let OidcSettings { issuer, audience, principal_claim, .. } = &*self.settings;
        let known = self.known.borrow().clone();
        if !known.are_believed() {
            return Err(keys_unknown());
        }
        let keys = known.set.get(jwt.kid());
        if keys.is_empty() {
            return Err(unproven(self.no_key(jwt.kid(), &known.set)));
        }
        let (claims, key) = jwt.verify_by(keys).map_err(|error| refused(&error))?;
        let expected = ExpectedClaims { issuer, audience, now };
        let until = claims.check(&expected).map_err(|error| self.unexpected(&claims, &error))?;
        self.check_lifetime(&claims, until)?;
        let named = claims.texts(principal_claim);
        let name = match named.as_slice() {
            [name] => match unbound_name(name) {
                None => format!("oidc:{name}"),
                Some(why) => return Err(nameless(principal_claim, why)),
            },
            [] => return Err(nameless(principal_claim, "it is not there, or is no text")),
            _ => return Err(nameless(principal_claim, "it is several names")),
        };
        Ok(BearerToken {
            roles: self.roles(&claims, &name),
            name: name.into(),
            narrowed: None,
            until,
            issued: None,
            judged_by: Some(Arc::clone(&self.settings)),
            kid: jwt.kid().to_owned(),
            key: key.clone(),
        })
    }

    fn check_lifetime(&self, claims: &TokenClaims, until: i64) -> Result<(), Fault> {
        let issued = claims.second("iat").and_then(|issued| issued.ok_or(JwtError::Claim("iat")));
        let lives = until.saturating_sub(LEEWAY).saturating_sub(issued.map_err(|error| refused(&error))?);
        let longest = self.settings.max_lifetime;
        match u64::try_from(lives).is_ok_and(|lives| lives > longest.as_secs()) {
            true => Err(lives_too_long(lives, longest)),
            false => Ok(()),
        }
    }

    /// Those that could have a binding. Of others the log says why they cannot.
    fn roles(&self, claims: &TokenClaims, principal: &str) -> TokenRoles {
        let Some(claim) = self.settings.roles_claim.as_deref() else { return TokenRoles::default() };
        let (named, no_text) = claims.texts_and_others(claim);
        let why = match named.iter().find_map(|name| unbound_name(name)) {
            Some(why) => why,
            None if no_text => "it is no text",
            None if claims.is_kept_elsewhere(claim) => {
                "the issuer has left the claim out, as it does where somebody is in too many groups (_claim_names)"
            }
            None => "",
        };
        if !why.is_empty()
            && let Some(turn) = self.roles_told.turn()
        {
            let (issuer, left_out) = (&self.settings.issuer, turn.left_out);
            let passed_over = named.iter().filter(|name| unbound_name(name).is_some()).count();
            warn!(
                issuer,
                principal,
                claim,
                passed_over,
                why,
                left_out,
                "roles of a token cannot be bound, and give nothing"
            );
        }
        TokenRoles::of(named.into_iter().filter(|name| unbound_name(name).is_none()))
    }

    /// Why no key that is known is one that a token names.
    fn no_key(&self, kid: &str, set: &KeySet) -> String {
        let (issuer, kid) = (&self.settings.issuer, shown(kid, KID_CHARS_SHOWN));
        let passed_over = match set.passed_over.len() {
            0 => String::new(),
            some => format!(", and {some} that cannot be used: {}", set.passed_over.join("; ")),
        };
        let keys = count(set.len() as u64, "key");
        format!("it names the key `{kid}`, and `{issuer}` publishes {keys} of other names{passed_over}")
    }

    /// What is told of a token of the issuer that is not meant for this mesh, or not for now. The log says what it claims instead.
    fn unexpected(&self, claims: &TokenClaims, error: &JwtError) -> Fault {
        let OidcSettings { issuer, audience, .. } = &*self.settings;
        let claimed = |name: &str| match claims.texts(name) {
            none if none.is_empty() => "nothing".to_owned(),
            some => shown(&some.join(", "), CLAIM_CHARS_SHOWN),
        };
        let why = match error {
            JwtError::Issuer => {
                format!("its `iss` is `{}`, and security.oidc.issuer is `{issuer}`", claimed("iss"))
            }
            JwtError::Audience => {
                format!("its `aud` is `{}`, and security.oidc.audience is `{audience}`", claimed("aud"))
            }
            other => other.to_string(),
        };
        refused(error).because(why)
    }
}

fn nameless(claim: &str, why: &str) -> Fault {
    let message = format!(
        "the token that was sent names nobody: its claim `{claim}` is not one name of at most {NAME_BYTES_MAX} bytes that can be \
         seen: {why}"
    );
    Fault::new(reasons::TOKEN_REFUSED, message).hint("name another claim: security.oidc.principalClaim")
}

fn lives_too_long(seconds: i64, longest: Duration) -> Fault {
    let message = format!(
        "the token that was sent lives for {seconds} s, and nobody here could revoke it: those of its issuer may live for \
         {} s",
        longest.as_secs()
    );
    Fault::new(reasons::TOKEN_REFUSED, message)
        .hint("have the issuer give tokens that end sooner, or raise security.oidc.maxLifetime")
}

fn keys_unknown() -> Fault {
    Fault::new(reasons::ISSUER_KEYS_UNKNOWN, "the keys of the issuer of the token are not known here")
        .hint("try again in a moment; if that does not help, the daemon's log says why they cannot be read")
}

#[cfg(test)]
impl OidcIssuer {
    /// Has it know these keys.
    pub(super) fn taught(self, json: &[u8]) -> Self {
        self.take(KeySet::read(json, &self.settings.algorithms).unwrap());
        self
    }

    /// The same of one that is used already.
    pub(super) fn teach(&self, json: &[u8]) {
        self.take(KeySet::read(json, &self.settings.algorithms).unwrap());
    }
}
