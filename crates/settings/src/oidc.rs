//! The issuer outside whose tokens are taken.

use std::path::PathBuf;
use std::time::Duration;

use omnirelay_identity::bearer::oidc::{JwksLocation, OidcSettings};
use omnirelay_pki::jwt::TokenAlgorithm;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::check::InvalidSetting;
use omnirelay_host::duration::HumanDuration;

const LIFETIME_MIN: Duration = Duration::from_secs(60);
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// An issuer of tokens, such as a provider of OpenID Connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OidcConfig {
    /// What `iss` of its tokens is, to the letter.
    pub issuer: String,
    /// What `aud` of its tokens is, or holds: the name that this mesh has there. One that others have as well lets in
    /// whoever has a token for them.
    pub audience: String,
    /// Where it publishes its keys (JWKS): `https://`, or `http://` on this host.
    pub jwks_url: Option<String>,
    /// The same as a file, in place of the address; read again every few minutes.
    pub jwks_file: Option<PathBuf>,
    /// The claim that names the principal `oidc:NAME`; default `sub`. It must be one that nobody can choose for themselves.
    pub principal_claim: String,
    /// The claim that holds roles, `role:NAME` each; default: nobody has any. Dots lead into objects.
    pub roles_claim: Option<String>,
    /// Of `RS256`, `ES256` and `EdDSA`; default all three.
    pub algorithms: Vec<String>,
    /// How long its tokens may live, by `iat` and `exp`; 1 minute to 30 days, default 1 day. Too low: none is taken; too high:
    /// whoever has got hold of one has it for as long, since the mesh cannot revoke it.
    pub max_lifetime: HumanDuration,
    /// The authorities of the server of the keys, in PEM; default the public ones.
    pub ca_file: Option<PathBuf>,
}

impl Default for OidcConfig {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: String::new(),
            jwks_url: None,
            jwks_file: None,
            principal_claim: "sub".to_owned(),
            roles_claim: None,
            algorithms: TokenAlgorithm::ALL.map(|algorithm| algorithm.word().to_owned()).to_vec(),
            max_lifetime: HumanDuration(Duration::from_secs(24 * 3600)),
            ca_file: None,
        }
    }
}

impl OidcConfig {
    /// As identity has it.
    ///
    /// # Errors
    /// The first key that cannot be so, and why.
    pub fn settings(&self) -> Result<OidcSettings, InvalidSetting> {
        let named = [
            ("security.oidc.issuer", &self.issuer, "what `iss` of its tokens is"),
            ("security.oidc.audience", &self.audience, "what `aud` of tokens for this mesh is"),
            (
                "security.oidc.principalClaim",
                &self.principal_claim,
                "the claim that names the principal, such as sub",
            ),
        ];
        if let Some((key, _, what)) = named.into_iter().find(|(_, text, _)| text.is_empty()) {
            return Err((key, format!("it is empty: write {what}")));
        }
        let algorithms: Option<Vec<_>> =
            self.algorithms.iter().map(|word| TokenAlgorithm::from_word(word)).collect();
        let algorithms = algorithms.filter(|some| !some.is_empty()).ok_or_else(|| {
            let all = TokenAlgorithm::ALL.map(TokenAlgorithm::word).join(", ");
            (
                "security.oidc.algorithms",
                format!("there is one that is not taken, or none: choose from {all}"),
            )
        })?;
        if !(LIFETIME_MIN..=LIFETIME_MAX).contains(&self.max_lifetime.0) {
            let what = format!("{} is not from 1 minute to 30 days", self.max_lifetime);
            return Err(("security.oidc.maxLifetime", what));
        }
        Ok(OidcSettings {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            keys: self.keys()?,
            principal_claim: self.principal_claim.clone(),
            roles_claim: self.roles_claim.clone().filter(|claim| !claim.is_empty()),
            algorithms,
            max_lifetime: self.max_lifetime.0,
        })
    }

    fn keys(&self) -> Result<JwksLocation, InvalidSetting> {
        const KEY: &str = "security.oidc.jwksUrl";
        let text = match (&self.jwks_url, &self.jwks_file) {
            (Some(url), None) => url,
            (None, Some(path)) => return Ok(JwksLocation::File(path.clone())),
            (None, None) => {
                return Err((
                    KEY,
                    "where its keys are is not said: set it, or security.oidc.jwksFile".to_owned(),
                ));
            }
            (Some(_), Some(_)) => {
                return Err((KEY, "it contradicts security.oidc.jwksFile; leave one of them out".to_owned()));
            }
        };
        // What is no address may hold anything, and is not repeated.
        let url: Url =
            text.parse().map_err(|_| (KEY, "it is no address: write https://HOST/PATH".to_owned()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err((KEY, "an address of keys must not hold a user or a password".to_owned()));
        }
        let is_near = url.host_str().is_some_and(|host| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        });
        match url.scheme() {
            "https" => Ok(JwksLocation::Url(url, self.ca_file.clone())),
            "http" if is_near => Ok(JwksLocation::Url(url, None)),
            _ => {
                let what = "whoever stands between could put keys of their own in its place: write https://, or http:// on this host";
                Err((KEY, what.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn an_issuer_that_could_not_be_believed_is_refused() {
        type Change = fn(&mut OidcConfig);
        let cases: [(&str, &str, Change); 12] = [
            ("no life at all", "security.oidc.maxLifetime", |oidc| {
                oidc.max_lifetime = HumanDuration(Duration::ZERO);
            }),
            ("a life of a year", "security.oidc.maxLifetime", |oidc| {
                oidc.max_lifetime = HumanDuration(365 * Duration::from_secs(24 * 3600));
            }),
            ("no issuer", "security.oidc.issuer", |oidc| oidc.issuer.clear()),
            ("no audience", "security.oidc.audience", |oidc| oidc.audience.clear()),
            ("no claim", "security.oidc.principalClaim", |oidc| oidc.principal_claim.clear()),
            ("no keys", "security.oidc.jwksUrl", |oidc| oidc.jwks_url = None),
            ("two places of keys", "security.oidc.jwksUrl", |oidc| oidc.jwks_file = Some("keys".into())),
            ("keys in plaintext", "security.oidc.jwksUrl", |oidc| {
                oidc.jwks_url = Some("http://issuer/k".into());
            }),
            ("keys nowhere", "security.oidc.jwksUrl", |oidc| oidc.jwks_url = Some("issuer".into())),
            ("a password", "security.oidc.jwksUrl", |oidc| {
                oidc.jwks_url = Some("https://a:b@issuer/k".into());
            }),
            ("a shared secret", "security.oidc.algorithms", |oidc| oidc.algorithms = vec!["HS256".into()]),
            ("no algorithm", "security.oidc.algorithms", |oidc| oidc.algorithms.clear()),
        ];
        let good = OidcConfig {
            issuer: "https://issuer".into(),
            audience: "mesh".into(),
            jwks_url: Some("https://issuer/keys".into()),
            ..OidcConfig::default()
        };
        let checked = |oidc: &OidcConfig| {
            let mut config = Config::default();
            config.security.oidc = Some(oidc.clone());
            config.check().map_err(|(key, _)| key)
        };
        assert_eq!(checked(&good), Ok(()));
        for (what, key, change) in cases {
            let mut oidc = good.clone();
            change(&mut oidc);
            assert_eq!(checked(&oidc), Err(key), "{what}");
        }
        for near in ["http://127.0.0.1:1/k", "http://[::1]:1/k", "http://localhost/k"] {
            assert_eq!(
                checked(&OidcConfig { jwks_url: Some(near.into()), ..good.clone() }),
                Ok(()),
                "{near}"
            );
        }
    }
}
