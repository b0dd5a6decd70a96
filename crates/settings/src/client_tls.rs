//! TLS of the clients that a daemon is itself.

use std::path::PathBuf;
use std::sync::Arc;

use omnirelay_identity::client::{ClientCertificate, ExpectedServers, LiveTlsClient, ServerTrust};
use omnirelay_identity::trust::MeshTrust;
use serde::{Deserialize, Serialize};

use super::check::InvalidSetting;

/// TLS settings of such a client: whom it believes, and what it shows. All of it is looked at anew for each connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClientTlsConfig {
    /// Whoever may have signed the server's certificate; default the authorities of `ca`, else the public ones.
    pub trust: Option<ClientTrust>,
    /// Those authorities, in PEM.
    pub ca: Option<PathBuf>,
    /// What is shown to a server that asks; default `cert` where it is given, else nothing.
    pub identity: Option<ClientIdentity>,
    /// A certificate with its chain, in PEM.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientTrust {
    /// The authorities that browsers believe.
    Public,
    /// The authority of the mesh, with its revocations, and the roots of `security.identity.bundle`.
    Mesh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientIdentity {
    None,
    /// Who the node is.
    Mesh,
}

/// Names of the TLS settings of a client in one place of the configuration.
pub(super) struct ClientTlsKeys {
    pub trust: &'static str,
    pub ca: &'static str,
    pub identity: &'static str,
    pub cert: &'static str,
    pub key: &'static str,
    /// The setting whose address must be one of TLS, where any of these is given.
    pub address: &'static str,
}

impl ClientTlsConfig {
    /// `is_tls`: whether there is a server that speaks TLS.
    pub(super) fn check(&self, keys: &ClientTlsKeys, is_tls: bool) -> Result<(), InvalidSetting> {
        let given = [
            (keys.trust, self.trust.is_some()),
            (keys.ca, self.ca.is_some()),
            (keys.identity, self.identity.is_some()),
            (keys.cert, self.cert.is_some()),
            (keys.key, self.key.is_some()),
        ];
        if let Some((key, _)) = given.into_iter().find(|(_, given)| *given && !is_tls) {
            return Err((key, format!("it means nothing here: `{}` is no https:// address", keys.address)));
        }
        if self.ca.is_some() && self.trust.is_some() {
            let what = format!("the file is believed and nobody else; leave it or `{}` out", keys.trust);
            return Err((keys.ca, what));
        }
        match (&self.cert, &self.key, self.identity) {
            (Some(_), None, _) => Err((keys.cert, format!("its key is missing: `{}`", keys.key))),
            (None, Some(_), _) => Err((keys.key, format!("its certificate is missing: `{}`", keys.cert))),
            (Some(_), Some(_), Some(_)) => {
                let what = format!("the certificate of the files is shown; leave it or `{}` out", keys.cert);
                Err((keys.identity, what))
            }
            (Some(_), Some(_), None) | (None, None, _) => Ok(()),
        }
    }

    /// The client of a node that judges by `trust`; where it believes the mesh, these servers of it.
    pub fn client(&self, servers: ExpectedServers, trust: &Arc<MeshTrust>) -> Arc<LiveTlsClient> {
        let believes = match (&self.ca, self.trust) {
            (Some(ca), _) => ServerTrust::File(ca.clone()),
            (None, Some(ClientTrust::Mesh)) => ServerTrust::Mesh(servers),
            (None, Some(ClientTrust::Public) | None) => ServerTrust::Public,
        };
        let shows = match (&self.cert, &self.key, self.identity) {
            (Some(cert), Some(key), _) => ClientCertificate::Files { cert: cert.clone(), key: key.clone() },
            (_, _, Some(ClientIdentity::Mesh)) => ClientCertificate::Node,
            (_, _, Some(ClientIdentity::None) | None) => ClientCertificate::Nothing,
        };
        LiveTlsClient::new(believes, shows, trust.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: ClientTlsKeys =
        ClientTlsKeys { trust: "t", ca: "a", identity: "i", cert: "c", key: "k", address: "url" };

    #[test]
    fn what_contradicts_itself_is_refused() {
        type Case = (&'static str, fn(&mut ClientTlsConfig), bool, Option<&'static str>);
        let cases: [Case; 10] = [
            ("nothing", |_| {}, false, None),
            ("a file", |c| c.ca = Some("x".into()), true, None),
            ("a file without TLS", |c| c.ca = Some("x".into()), false, Some("a")),
            ("the mesh", |c| c.trust = Some(ClientTrust::Mesh), true, None),
            ("the mesh without TLS", |c| c.trust = Some(ClientTrust::Mesh), false, Some("t")),
            (
                "a file and the mesh",
                |c| (c.ca, c.trust) = (Some("x".into()), Some(ClientTrust::Mesh)),
                true,
                Some("a"),
            ),
            ("a certificate alone", |c| c.cert = Some("x".into()), true, Some("c")),
            ("a key alone", |c| c.key = Some("x".into()), true, Some("k")),
            ("both", |c| (c.cert, c.key) = (Some("x".into()), Some("y".into())), true, None),
            (
                "both and the node's",
                |c| {
                    (c.cert, c.key) = (Some("x".into()), Some("y".into()));
                    c.identity = Some(ClientIdentity::Mesh);
                },
                true,
                Some("i"),
            ),
        ];
        for (what, change, is_tls, key) in cases {
            let mut config = ClientTlsConfig::default();
            change(&mut config);
            assert_eq!(config.check(&KEYS, is_tls).err().map(|(key, _)| key), key, "{what}");
        }
    }
}
