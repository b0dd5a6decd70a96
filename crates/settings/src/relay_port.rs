//! Settings of a relay's port: who comes in there, and what it shows.

use std::path::PathBuf;

use omnirelay_core::spiffe_pattern::SpiffePattern;
use serde::{Deserialize, Serialize};

use super::check::InvalidSetting;

/// TLS of the relay's port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RelayTlsConfig {
    /// What the port shows; default `files` where `cert` is given, else `off`.
    pub source: Option<RelayTlsSource>,
    /// The certificate with its chain, in PEM, of `files`.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
    /// Whether clients are asked for a certificate.
    pub clients: RelayClients,
}

/// Source of the certificate of the relay's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayTlsSource {
    /// The port is plaintext.
    Off,
    /// The files `cert` and `key`, read again when they change.
    Files,
    /// The identity of the node. Before the node has one nobody is served.
    Mesh,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayClients {
    /// They are not asked for one.
    #[default]
    None,
    /// Those who show one are who it says, the others are let in as without it.
    Optional,
    /// Nobody is let in without one.
    Required,
}

/// Patterns of the SPIFFE IDs whose certificates each service of the relay's port takes; where a list is empty, whoever
/// has the scope.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RelayAllowConfig {
    /// Who may bring telemetry (`AgentGateway`).
    pub agents: Vec<String>,
    /// Who may tell and ask the registry (`AeroRegistry`).
    pub relays: Vec<String>,
    /// Who may ask the relay and command agents (`RelayControl`).
    pub operators: Vec<String>,
}

/// The most patterns of a list.
const PATTERNS_MAX: usize = 64;

impl RelayTlsConfig {
    /// Source of the certificate that the port shows.
    pub fn source(&self) -> RelayTlsSource {
        let default = if self.cert.is_some() { RelayTlsSource::Files } else { RelayTlsSource::Off };
        self.source.unwrap_or(default)
    }

    pub(super) fn check(&self) -> Result<(), InvalidSetting> {
        match (&self.cert, &self.key) {
            (Some(_), None) => return Err(("relay.tls.cert", "is given without `relay.tls.key`".to_owned())),
            (None, Some(_)) => return Err(("relay.tls.key", "is given without `relay.tls.cert`".to_owned())),
            (Some(_), Some(_)) if self.source() != RelayTlsSource::Files => {
                let what = "only `files` has a certificate and a key of its own; leave it or them out";
                return Err(("relay.tls.source", what.to_owned()));
            }
            (None, None) if self.source() == RelayTlsSource::Files => {
                let what = "`files` needs the certificate and its chain, in PEM".to_owned();
                return Err(("relay.tls.cert", what));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        if self.source() == RelayTlsSource::Off && self.clients != RelayClients::None {
            let what = "nobody shows a certificate without TLS; set relay.tls.source to mesh or files";
            return Err(("relay.tls.clients", what.to_owned()));
        }
        Ok(())
    }
}

impl RelayAllowConfig {
    pub(super) fn check(&self, tls: &RelayTlsConfig) -> Result<(), InvalidSetting> {
        let lists = [
            ("relay.allow.agents", &self.agents),
            ("relay.allow.relays", &self.relays),
            ("relay.allow.operators", &self.operators),
        ];
        for (key, list) in lists {
            if !list.is_empty() && tls.clients == RelayClients::None {
                let what = "nobody is asked for a certificate, so that nobody would be let in; set relay.tls.clients \
                            to optional or required";
                return Err((key, what.to_owned()));
            }
            if list.len() > PATTERNS_MAX {
                return Err((key, format!("{} are more than {PATTERNS_MAX}", list.len())));
            }
            if let Some((text, error)) = list.iter().find_map(|text| Some((text, parsed(text).err()?))) {
                return Err((key, format!("`{text}` is no pattern of SPIFFE IDs: {error}")));
            }
        }
        Ok(())
    }
}

fn parsed(text: &str) -> Result<SpiffePattern, omnirelay_core::spiffe_pattern::PatternError> {
    text.parse()
}

#[cfg(test)]
mod tests {
    use super::super::layers::load;

    fn said(set: &[&str]) -> Result<(), String> {
        let set: Vec<String> = set.iter().map(|set| format!("relay.{set}")).collect();
        load(None, std::iter::empty(), &set, &[]).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let mtls = "tls.source=mesh";
        let cases: [(&[&str], Option<&str>); 12] = [
            (&["tls.cert=c", "tls.key=k"], None),
            (&["tls.cert=c", "tls.key=k", "tls.source=files", "tls.clients=required"], None),
            (&[mtls], None),
            (&[mtls, "tls.clients=optional", "allow.agents=[spiffe://m/service/drone-*]"], None),
            (&["tls.source=files"], Some("relay.tls.cert")),
            (&["tls.source=off", "tls.cert=c", "tls.key=k"], Some("relay.tls.source")),
            (&[mtls, "tls.cert=c", "tls.key=k"], Some("relay.tls.source")),
            (&["tls.clients=required"], Some("relay.tls.clients")),
            (&["tls.source=spire"], Some("relay.tls.source")),
            (&[mtls, "allow.relays=[spiffe://m/service/a]"], Some("set relay.tls.clients")),
            (&[mtls, "tls.clients=optional", "allow.relays=[ann]"], Some("does not begin with `spiffe://`")),
            (
                &[mtls, "tls.clients=optional", "allow.operators=[spiffe://m/*/a]"],
                Some("relay.allow.operators"),
            ),
        ];
        for (set, expected) in cases {
            match (said(set), expected) {
                (Ok(()), None) => {}
                (Err(error), Some(words)) => assert!(error.contains(words), "{set:?}: {error}"),
                (said, expected) => panic!("{set:?}: {said:?}, not {expected:?}"),
            }
        }
    }
}
