//! Settings of security: who is let in, and by what proof.

use std::collections::BTreeSet;
use std::path::PathBuf;

use omnirelay_core::spiffe::TrustDomain;
use omnirelay_decisions::join_policy;
use omnirelay_identity::bound::{GrantedRoles, PRINCIPAL_BYTES_MAX, is_bound};
use omnirelay_identity::caller::{Scope, Scopes};
use omnirelay_identity::federation::NamedCluster;
use omnirelay_identity::without_proof::WithoutProof;
use omnirelay_wire::pb::omnirelay::security::v1::JoinPolicy;
use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, Section};
use super::federated::named;
use super::{Config, FederatedClusterConfig, OidcConfig};

/// How many bindings a file may name.
const BINDINGS_MAX: usize = 256;
use omnirelay_identity::provided::{IdentityFileFormat, ProvidedIdentity, ProviderSource};

/// Settings of security: what callers must prove.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SecurityConfig {
    /// Whether being on this host is proof enough; default: as long as the mesh has no certificate authority and the
    /// control port listens on a loopback address.
    pub loopback: Option<LoopbackTrust>,
    /// The tokens that prove somebody, a line `NAME TOKEN [SCOPE...]` each; default `control-token` in the data
    /// directory, which is made with one token in it.
    pub token_file: Option<PathBuf>,
    /// The secret that the key of the certificate authority is sealed with, at least 32 bytes; only nodes that have it
    /// issue certificates. Default `identity/issuer-secret` in the data directory, which making an authority makes.
    pub issuer_secret_file: Option<PathBuf>,
    /// Whether this daemon makes the certificate authority of a mesh that has none, for trust domain `mesh.local`, as
    /// `omnirelay up` does. Default: no; an operator makes it (`omnirelay cert ca init`). For development: whoever begins
    /// first is the issuer.
    pub make_authority: bool,
    /// Who may join, as of an authority that is made on this daemon: `rules` and `attesters`. From then on it is a record
    /// of the registry (`omnirelay join-policy set`). Default: whoever has a token.
    pub join_policy: Option<JoinPolicy>,
    /// An issuer outside whose tokens are taken; nobody may do anything by one without a binding of its name or its roles.
    pub oidc: Option<OidcConfig>,
    /// What principals and roles may do besides what their proof says. Until the mesh has a certificate authority they hold
    /// on this daemon; then they are entered into the registry, each once, and what is there holds from then on.
    pub bindings: Vec<BindingConfig>,
    pub identity: IdentityConfig,
    /// Clusters of other meshes that advertisements are exchanged with; at most 64, default none.
    pub federated_clusters: Vec<FederatedClusterConfig>,
}

/// Binding of scopes to somebody, besides those of their proof.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BindingConfig {
    /// Who: `operator:NAME`, `service:NAME`, `token:NAME` or `oidc:NAME`.
    pub principal: Option<String>,
    /// Or whoever has this role by the token of an issuer outside.
    pub role: Option<String>,
    /// Of `mesh.connect`, `mesh.read`, `mesh.operate` and `mesh.admin`; each stands for itself.
    pub scopes: Vec<String>,
}

impl BindingConfig {
    /// As bindings have it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn seed(&self) -> Result<GrantedRoles, String> {
        let principal = match (&self.principal, &self.role) {
            (Some(principal), None) => principal.clone(),
            (None, Some(role)) => format!("role:{role}"),
            _ => return Err("each names either a principal or a role".to_owned()),
        };
        if !is_bound(&principal) {
            let principal = omnirelay_core::text::shown(&principal, 64);
            return Err(format!(
                "`{principal}` is nobody who can be given scopes: write operator:NAME, service:NAME, token:NAME or oidc:NAME, \
                 at most {PRINCIPAL_BYTES_MAX} visible characters; only oidc:NAME and a role may have `/` or blanks in it"
            ));
        }
        let scopes: Option<Scopes> = self.scopes.iter().map(|word| Scope::from_word(word)).collect();
        let scopes = scopes.filter(|scopes| *scopes != Scopes::NONE).ok_or_else(|| {
            let all = Scope::ALL.map(Scope::word).join(", ");
            format!("the scopes of `{principal}` are none, or one is unknown: choose from {all}")
        })?;
        Ok(GrantedRoles { principal, scopes })
    }
}

/// Source of the node's own identity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IdentityConfig {
    pub source: IdentitySource,
    /// The certificate with its chain, in PEM, of `files`. Its SPIFFE ID must be that of this node.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
    /// The roots that such certificates lead to, in PEM. Whoever they certify is believed, beside those that the mesh's
    /// own authority does; with `mesh` too, for as long as others still have theirs from files.
    pub bundle: Option<PathBuf>,
    /// Of which trust domain these roots are, where they do not say so themselves; default that of the certificate of
    /// `files`.
    pub trust_domain: Option<String>,
    /// Key, certificate and chain in one file, in place of `cert` and `key`; the roots in it count where there is no
    /// `bundle`.
    pub pkcs12: Option<PathBuf>,
    /// A file whose first line is the password of `pkcs12`.
    pub password_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdentitySource {
    /// The mesh's certificate authority.
    #[default]
    Mesh,
    /// Files that somebody else keeps; looked at every few seconds.
    Files,
}

impl IdentityConfig {
    /// Identity provider that is chosen; what contradicts itself was refused with the configuration.
    pub fn provided(&self) -> ProvidedIdentity {
        let pem =
            self.cert.clone().zip(self.key.clone()).map(|(cert, key)| IdentityFileFormat::Pem { cert, key });
        let pkcs12 = self.pkcs12.clone().zip(self.password_file.clone());
        let form = pkcs12.map(|(file, password)| IdentityFileFormat::Pkcs12 { file, password }).or(pem);
        let source = match (self.source, form) {
            (IdentitySource::Files, Some(form)) => ProviderSource::Files(form),
            (IdentitySource::Files, None) | (IdentitySource::Mesh, _) => ProviderSource::Mesh,
        };
        let trust_domain = self.trust_domain.as_deref().and_then(|domain| domain.parse().ok());
        ProvidedIdentity { source, bundle: self.bundle.clone(), trust_domain }
    }

    fn check(&self) -> Result<(), InvalidSetting> {
        const SOURCE: &str = "security.identity.source";
        if let Some(Err(error)) = self.trust_domain.as_deref().map(str::parse::<TrustDomain>) {
            let what = format!("it is no trust domain: {error}; write a name such as corp.example");
            return Err(("security.identity.trustDomain", what));
        }
        let given = |one: &Option<PathBuf>| one.is_some();
        let (pem, pkcs12) =
            ([&self.cert, &self.key].map(given), [&self.pkcs12, &self.password_file].map(given));
        let without = |key, what: &str| Err((key, what.to_owned()));
        match (self.source, pem, pkcs12) {
            (IdentitySource::Mesh, [false, false], [false, false]) => Ok(()),
            (IdentitySource::Mesh, ..) => {
                without(SOURCE, "`mesh` has no files but `bundle`; set it to files, or leave them out")
            }
            (IdentitySource::Files, [true, true], [false, false]) if self.bundle.is_none() => {
                without("security.identity.bundle", "the roots that the certificate leads to are missing")
            }
            (IdentitySource::Files, [true, true], [false, false])
            | (IdentitySource::Files, [false, false], [true, true]) => Ok(()),
            (IdentitySource::Files, [false, false], [true, false]) => without(
                "security.identity.passwordFile",
                "the file with the password of security.identity.pkcs12 is missing",
            ),
            (IdentitySource::Files, [true, false], [false, false]) => {
                without("security.identity.key", "the private key of security.identity.cert is missing")
            }
            (IdentitySource::Files, ..) => without(
                SOURCE,
                "`files` needs cert, key and bundle, or pkcs12 and passwordFile, and not both",
            ),
        }
    }
}

/// Trust in a caller on this host who gives no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoopbackTrust {
    /// `local`, with every scope: any user and any program of this host.
    Open,
    /// Nobody.
    Proof,
}

impl Config {
    /// The clusters that are federated; what is wrong with them was refused with the configuration, and federates nobody.
    pub fn federated(&self) -> Vec<NamedCluster> {
        named(&self.security.federated_clusters, &self.node.cluster).unwrap_or_default()
    }

    /// Callers that come in at the control port without proof.
    pub fn without_proof(&self) -> WithoutProof {
        match self.security.loopback {
            _ if self.control.insecure => WithoutProof::Anyone,
            Some(LoopbackTrust::Open) => WithoutProof::Host,
            None if self.control.listen.ip().is_loopback() => WithoutProof::HostUntilAuthority,
            None | Some(LoopbackTrust::Proof) => WithoutProof::Nobody,
        }
    }
}

impl Section for SecurityConfig {
    fn check(&self, all: &Config) -> Result<(), InvalidSetting> {
        if all.control.insecure && self.loopback == Some(LoopbackTrust::Proof) {
            let what =
                "`proof` contradicts `control.insecure`, which lets everybody in; leave one of them out";
            return Err(("security.loopback", what.to_owned()));
        }
        if let Some(policy) = &self.join_policy {
            join_policy::check(&policy.rules, &policy.attesters)
                .map_err(|what| ("security.joinPolicy", what))?;
        }
        if let Some(oidc) = &self.oidc {
            oidc.settings()?;
        }
        if self.bindings.len() > BINDINGS_MAX {
            return Err(("security.bindings", format!("there are more than {BINDINGS_MAX}")));
        }
        let mut seen = BTreeSet::new();
        for binding in &self.bindings {
            let seed = binding.seed().map_err(|what| ("security.bindings", what))?;
            if !seen.insert(seed.principal.clone()) {
                return Err(("security.bindings", format!("`{}` stands there twice", seed.principal)));
            }
        }
        named(&self.federated_clusters, &all.node.cluster)?;
        self.identity.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bindings_that_could_not_be_are_refused() {
        let of = |principal: Option<&str>, role: Option<&str>, scopes: &[&str]| BindingConfig {
            principal: principal.map(str::to_owned),
            role: role.map(str::to_owned),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        };
        let ann = || of(Some("operator:ann"), None, &["mesh.read"]);
        let cases = [
            ("nobody", vec![of(None, None, &["mesh.read"])], "either"),
            ("two", vec![of(Some("operator:ann"), Some("admins"), &["mesh.read"])], "either"),
            ("who has proved nothing", vec![of(Some("local"), None, &["mesh.read"])], "`local`"),
            ("a role of no name", vec![of(None, Some(""), &["mesh.read"])], "nobody"),
            ("no scope", vec![of(Some("oidc:ann"), None, &[])], "none"),
            ("an unknown scope", vec![of(Some("oidc:ann"), None, &["mesh.fly"])], "unknown"),
            ("twice", vec![ann(), ann()], "twice"),
        ];
        for (what, bindings, expected) in cases {
            let mut config = Config::default();
            config.security.bindings = bindings;
            let (key, text) = config.check().unwrap_err();
            assert!(key == "security.bindings" && text.contains(expected), "{what}: {text}");
        }
        let mut config = Config::default();
        config.security.bindings = vec![ann(), of(None, Some("admins"), &["mesh.operate", "mesh.admin"])];
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn an_identity_comes_from_one_place() {
        let fits: [&[&str]; 5] = [
            &[],
            &["bundle=b"],
            &["source=files", "cert=c", "key=k", "bundle=b"],
            &["source=files", "pkcs12=p", "passwordFile=w"],
            &["source=files", "pkcs12=p", "passwordFile=w", "bundle=b"],
        ];
        let fits = fits.map(|set| (set, None));
        let refused: [(&[&str], _); 8] = [
            (&["bundle=b", "trustDomain=Corp Example"], Some("identity.trustDomain")),
            (&["cert=c", "key=k", "bundle=b"], Some("identity.source")),
            (&["source=files"], Some("needs cert, key and bundle")),
            (&["source=files", "cert=c", "key=k"], Some("identity.bundle")),
            (&["source=files", "cert=c", "bundle=b"], Some("identity.key")),
            (&["source=files", "pkcs12=p"], Some("identity.passwordFile")),
            (&["source=files", "pkcs12=p", "passwordFile=w", "cert=c"], Some("and not both")),
            (&["source=spire"], Some("identity.source")),
        ];
        for (set, expected) in fits.into_iter().chain(refused) {
            let set: Vec<String> = set.iter().map(|set| format!("security.identity.{set}")).collect();
            let said = super::super::layers::load(None, std::iter::empty(), &set, &[]);
            match (said.map(drop).map_err(|error| error.to_string()), expected) {
                (Ok(()), None) => {}
                (Err(error), Some(words)) => assert!(error.contains(words), "{set:?}: {error}"),
                (said, expected) => panic!("{set:?}: {said:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn proof_and_no_proof_contradict_each_other() {
        let mut config = Config::default();
        config.security.loopback = Some(LoopbackTrust::Proof);
        assert_eq!(config.check(), Ok(()));
        config.control.insecure = true;
        assert_eq!(config.check().unwrap_err().0, "security.loopback");
    }
}
