//! Settings of transports: what is listened at, and what may be spoken there.

use omnirelay_core::text::shown;
use omnirelay_core::time::Millis;
use omnirelay_decisions::transport_policy::{
    self, CONTROL_PLANE, EDGE, MESH_INTERNAL, ProtocolPairing, WireEncoding, WireTransport,
};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, Section};
use super::{Config, ConfigError, LoadedConfig};

const POLICY: &str = "transport.policy";
const ENDPOINTS: &str = "transport.endpoints";
/// How many endpoints a file may declare.
const DECLARED_MAX: usize = 200;
const NAME_CHARS_SHOWN: usize = 64;

const GRPC3: (WireTransport, WireEncoding) = (WireTransport::Http3, WireEncoding::Protobuf);
const GRPC: (WireTransport, WireEncoding) = (WireTransport::Http2, WireEncoding::Protobuf);
const JSON3: (WireTransport, WireEncoding) = (WireTransport::Http3, WireEncoding::Json);
const JSON: (WireTransport, WireEncoding) = (WireTransport::Http2, WireEncoding::Json);
const JSON1: (WireTransport, WireEncoding) = (WireTransport::Http1, WireEncoding::Json);

/// Settings of transports: what endpoints speak, and by which policy they are judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TransportConfig {
    /// What endpoints may speak, as far as it differs from the default. Once the mesh has a certificate authority it is a
    /// record of the registry, which is begun with this (`omnirelay mesh config set`).
    pub policy: Option<pb::TransportPolicy>,
    /// What services on this host are listening at, beside the daemon; at most 200, default none.
    pub endpoints: Vec<pb::TransportEndpoint>,
}

impl Config {
    /// Endpoints that the daemon listens at, and those that are declared besides.
    pub fn transport_endpoints(&self) -> Vec<pb::TransportEndpoint> {
        let own = self.own_endpoints();
        own.into_iter().chain(self.transport.endpoints.iter().cloned()).collect()
    }

    fn own_endpoints(&self) -> Vec<pb::TransportEndpoint> {
        let own = |name: &str, category: &str, profiles: &[(WireTransport, WireEncoding)]| {
            let message =
                |(transport, encoding): &(_, _)| ProtocolPairing::new(*transport, *encoding).message();
            pb::TransportEndpoint {
                name: name.to_owned(),
                category: category.to_owned(),
                profiles: profiles.iter().map(message).collect(),
                ..Default::default()
            }
        };
        // What it speaks where UDP comes through; that it does not is no matter of policy.
        let mut all = vec![own("mesh", MESH_INTERNAL, &[GRPC3, GRPC])];
        match self.control.http3 {
            true => all.push(own("control", CONTROL_PLANE, &[GRPC3, JSON3, GRPC, JSON, JSON1])),
            false => all.push(own("control", CONTROL_PLANE, &[GRPC, JSON, JSON1])),
        }
        if self.serves("relay") || self.serves("registry") {
            all.push(own("relay", EDGE, &[GRPC]));
            all.push(own("relay-http", EDGE, &[JSON1]));
        }
        all
    }

    /// The first thing that breaks the transport policy with what this configuration listens at, and its setting.
    pub fn transport_violation(&self, now: Millis) -> Option<(&'static str, String)> {
        let judged = match self.judge_transport(now) {
            Ok(judged) => judged,
            Err(what) => return Some((POLICY, what)),
        };
        let first = transport_policy::violations(&judged).next()?;
        let key = if first.endpoint.is_empty() { POLICY } else { ENDPOINTS };
        Some((key, format!("the transport policy is broken: {}", transport_policy::line(first))))
    }

    /// Judges what endpoints speak, by the policy of this configuration, or by the default.
    ///
    /// # Errors
    /// What of it means nothing; a configuration that was checked has nothing of the kind.
    pub fn judge_transport(&self, now: Millis) -> Result<pb::TransportReport, String> {
        self.transport.check_declared().map_err(|(_, what)| what)?;
        let policy = self.transport.policy.clone().unwrap_or_default();
        transport_policy::evaluate(&policy, &self.transport_endpoints(), now)
    }
}

impl TransportConfig {
    fn check_declared(&self) -> Result<(), InvalidSetting> {
        if self.endpoints.len() > DECLARED_MAX {
            return Err((ENDPOINTS, format!("there are more than {DECLARED_MAX}")));
        }
        match self.endpoints.iter().find(|endpoint| endpoint.namespace.is_empty()) {
            Some(nobodys) => {
                let name = shown(&nobodys.name, NAME_CHARS_SHOWN);
                Err((ENDPOINTS, format!("endpoint `{name}` has no `namespace`: say whose it is")))
            }
            None => Ok(()),
        }
    }
}

impl Section for TransportConfig {
    fn check(&self, all: &Config) -> Result<(), InvalidSetting> {
        self.check_declared()?;
        transport_policy::read_endpoints(&all.transport_endpoints()).map_err(|what| (ENDPOINTS, what))?;
        let policy = self.policy.clone().unwrap_or_default();
        transport_policy::evaluate(&policy, &[], Millis(0)).map(drop).map_err(|what| (POLICY, what))
    }
}

impl LoadedConfig {
    /// Refuses a configuration whose endpoints or whose policy break the policy; what is only to be looked at is among the
    /// warnings.
    ///
    /// # Errors
    /// [`ConfigError::Value`], with all that was found.
    pub fn check_transport(&mut self, now: Millis) -> Result<(), ConfigError> {
        let judged = self.config.judge_transport(now).map_err(|what| self.refuse(POLICY, what))?;
        let lines: Vec<String> = transport_policy::violations(&judged).map(transport_policy::line).collect();
        let Some(first) = transport_policy::violations(&judged).next() else {
            let told = judged
                .findings
                .iter()
                .map(|finding| format!("transport: {}", transport_policy::line(finding)));
            self.warnings.extend(told);
            return Ok(());
        };
        let key = if first.endpoint.is_empty() { POLICY } else { ENDPOINTS };
        Err(self.refuse(key, format!("the transport policy is broken:\n  {}", lines.join("\n  "))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;

    fn of(text: &str) -> Result<LoadedConfig, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path()), std::iter::empty(), &[], &[])
    }

    #[test]
    fn what_a_daemon_listens_at_by_itself_is_fit() {
        let mut config = Config::default();
        config.node.services = vec!["relay".to_owned(), "registry".to_owned()];
        let judged = config.judge_transport(Millis(0)).unwrap();
        assert_eq!((judged.findings.len(), judged.legacy_pairings), (0, 2));
        assert_eq!(Config::default().transport_endpoints().len(), 2);
    }

    #[test]
    fn what_breaks_the_policy_is_refused_where_it_stands() {
        let text = "transport:\n  endpoints:\n    - name: ingest\n      namespace: orders\n      category: edge\n      \
                    profiles: [{transport: http3, encoding: raw}]\n";
        let error = of(text).unwrap().check_transport(Millis(0)).unwrap_err().to_string();
        assert!(error.contains("`transport.endpoints`") && error.contains(":2)"), "{error}");
        assert!(error.contains("raw-acl: `orders/ingest` takes raw from anybody; name in `acl`"), "{error}");
        let mut fit = of(&text.replace("raw}]", "raw}]\n      acl: ['service:shop']")).unwrap();
        fit.check_transport(Millis(0)).unwrap();
        assert!(fit.warnings.iter().any(|warning| warning.contains("raw-budget")), "{:?}", fit.warnings);
        let text = "transport:\n  policy:\n    categories: [{name: mesh-internal}]\n";
        let error = of(text).unwrap().check_transport(Millis(0)).unwrap_err().to_string();
        assert!(error.contains("`transport.policy`") && error.contains("mesh-internal-profile"), "{error}");
    }

    #[test]
    fn the_sample_configurations_are_fit() {
        for name in ["dev", "prod", "redis"] {
            let path = format!("{}/../../deploy/config/omnirelayd.{name}.yaml", env!("CARGO_MANIFEST_DIR"));
            let mut loaded = load(Some(path.as_ref()), std::iter::empty(), &[], &[]).unwrap();
            assert!(loaded.check_transport(Millis(0)).is_ok() && loaded.warnings.is_empty(), "{name}");
        }
    }

    #[test]
    fn what_means_nothing_is_no_configuration() {
        let cases = [
            ("an unknown word", "{policy: {legacy: [{transport: tcp}]}}", "no transport `tcp`"),
            ("an unknown field", "{policy: {colour: red}}", "colour"),
            (
                "nobody's",
                "{endpoints: [{name: a, category: edge, profiles: [{transport: http2, encoding: json}]}]}",
                "`a` has no `namespace`",
            ),
            ("nothing spoken", "{endpoints: [{name: a, namespace: b, category: edge}]}", "no `profiles`"),
        ];
        for (what, text, expected) in cases {
            let error = of(&format!("transport: {text}\n")).unwrap_err().to_string();
            assert!(error.contains(expected), "{what}: {error}");
        }
    }
}
