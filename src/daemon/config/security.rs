//! Who is let in, and by what proof.

use std::path::PathBuf;

use omnirelay_wire::pb::omnirelay::security::v1::JoinPolicy;
use serde::{Deserialize, Serialize};

use super::Config;
use super::check::{Invalid, Section};
use crate::core::join_policy;

/// What callers must prove.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SecurityConfig {
    /// Whether being on this host is proof enough; default: as long as the mesh has no certificate authority and the
    /// control port listens on a loopback address.
    pub loopback: Option<LoopbackTrust>,
    /// The tokens that prove somebody, a line `NAME TOKEN [SCOPE...]` each; default `control-token` in the data
    /// directory, which is made with one token in it. Read again on SIGHUP.
    pub token_file: Option<PathBuf>,
    /// The secret that the key of the certificate authority is sealed with, at least 32 bytes; only nodes that have it
    /// issue certificates. Default `identity/issuer-secret` in the data directory, which making an authority makes.
    pub issuer_secret_file: Option<PathBuf>,
    /// Who may join, as of an authority that is made on this daemon: `rules` and `attesters`. From then on it is a record
    /// of the registry (`omnirelay join-policy set`). Default: whoever has a token.
    pub join_policy: Option<JoinPolicy>,
}

/// What a caller on this host is without proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoopbackTrust {
    /// `local`, with every scope: any user and any program of this host.
    Open,
    /// Nobody.
    Proof,
}

/// Who comes in at the control port without proof, as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutProof {
    Anyone,
    /// Callers on this host.
    Host,
    /// They, as long as the mesh has no certificate authority.
    HostUntilAuthority,
    Nobody,
}

impl Config {
    /// Who comes in at the control port without proof.
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
    fn check(&self, all: &Config) -> Result<(), Invalid> {
        if all.control.insecure && self.loopback == Some(LoopbackTrust::Proof) {
            let what =
                "`proof` contradicts `control.insecure`, which lets everybody in; leave one of them out";
            return Err(("security.loopback", what.to_owned()));
        }
        if let Some(policy) = &self.join_policy {
            join_policy::check(&policy.rules, &policy.attesters)
                .map_err(|what| ("security.joinPolicy", what))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_and_no_proof_contradict_each_other() {
        let mut config = Config::default();
        config.security.loopback = Some(LoopbackTrust::Proof);
        assert_eq!(config.check(), Ok(()));
        config.control.insecure = true;
        assert_eq!(config.check().unwrap_err().0, "security.loopback");
    }
}
