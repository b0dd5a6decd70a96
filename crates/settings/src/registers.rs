//! Settings of the advertisement of registers.

use std::time::Duration;

use omnirelay_core::text::chain;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, Section, within};
use super::client_tls::ClientTlsKeys;
use super::{ClientTlsConfig, Config, FederatedClusterConfig, HumanDuration};

/// The most pools of others.
pub const PEER_SERVICES_MAX: usize = 16;

/// Settings by which a node advertises the registers that it hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RegistersConfig {
    /// How long an advertisement lives without a refresh, 2 s to 24 h; default 5 min. Too low: a short outage of
    /// the store hides registers; too high: those of a node that is gone for good are shown for as long.
    pub advertisement_ttl: HumanDuration,
    /// How often what is advertised is compared with what should be, 1 s to 24 h; default 5 min. Changes do not
    /// wait for it. Too low: needless work; too high: what somebody else removed from a pool stays away for as
    /// long.
    pub resync_interval: HumanDuration,
    /// How often nodes of federated clusters are asked what they advertise, 1 s to 1 h, and at least four times within
    /// `advertisementTtl`; default 5 s. Too low: needless calls; too high: what was withdrawn there is shown for as long.
    pub exchange_interval: HumanDuration,
    /// Pools of others that are kept up to date as well, each the address of a peer service such as
    /// `https://peer-service:8080` or `http://`, or `{url: https://HOST:PORT, cluster: NAME}` where it is a node of a
    /// federated cluster; at most 16, default none. They are pushed to at least every half `advertisementTtl`.
    pub peer_services: Vec<PeerServiceConfig>,
    /// Further pools of others that a resync may name (`registers resync --peer`), each as in `peerServices`; at most 16, default
    /// none. Any other address is pushed to for whoever has `mesh.admin` alone, and none on this host.
    pub resync_peers: Vec<String>,
    /// TLS with those of them that are `https://` addresses, and with those that a resync names.
    pub peer_services_tls: ClientTlsConfig,
}

/// A pool of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "write an address, or `{url: https://HOST:PORT, cluster: NAME}`")]
pub enum PeerServiceConfig {
    Address(String),
    Node(FederatedNodeConfig),
}

/// A node of a federated cluster: it is believed by the roots of that cluster and by no others, and shown who this node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FederatedNodeConfig {
    /// The address of its control port, `https://HOST:PORT`.
    pub url: String,
    /// Of `security.federatedClusters`; while it is not among them nothing is pushed there.
    pub cluster: String,
}

impl PeerServiceConfig {
    /// Its address.
    pub fn url(&self) -> &str {
        match self {
            Self::Address(url) => url,
            Self::Node(node) => &node.url,
        }
    }

    /// The federated cluster that it is a node of; `None`: it is none.
    pub fn cluster(&self) -> Option<&str> {
        match self {
            Self::Address(_) => None,
            Self::Node(node) => Some(&node.cluster),
        }
    }

    fn read(&self) -> Result<Url, String> {
        let url = peer_service(self.url()).map_err(|error| chain(&error))?;
        match self.cluster() {
            Some(cluster) if url.scheme() != "https" => {
                Err(format!("`{url}`: a node of cluster `{cluster}` proves who it is by https:// only"))
            }
            _ => Ok(url),
        }
    }
}

const PEER_SERVICES_TLS: ClientTlsKeys = ClientTlsKeys {
    trust: "registers.peerServicesTls.trust",
    ca: "registers.peerServicesTls.ca",
    identity: "registers.peerServicesTls.identity",
    cert: "registers.peerServicesTls.cert",
    key: "registers.peerServicesTls.key",
    address: "registers.peerServices",
};

impl Default for RegistersConfig {
    fn default() -> Self {
        let five_minutes = HumanDuration(Duration::from_secs(300));
        Self {
            advertisement_ttl: five_minutes,
            resync_interval: five_minutes,
            exchange_interval: HumanDuration(Duration::from_secs(5)),
            peer_services: Vec::new(),
            resync_peers: Vec::new(),
            peer_services_tls: ClientTlsConfig::default(),
        }
    }
}

impl RegistersConfig {
    /// Interval at which a pool of others is pushed to, so that nothing runs out there.
    pub fn push_every(&self) -> Duration {
        self.resync_interval.0.min(self.advertisement_ttl.0 / 2)
    }

    /// Interval at which others are asked what they advertise, so that nothing runs out meanwhile.
    pub fn exchange_every(&self) -> Duration {
        self.exchange_interval.0.min(self.advertisement_ttl.0 / 4)
    }

    /// Warnings of peer services of clusters that are not federated: they may be, once the configuration is read anew.
    pub fn strangers(&self, federated: &[FederatedClusterConfig]) -> Vec<String> {
        let is_federated = |cluster: &str| federated.iter().any(|known| known.cluster == cluster);
        let clusters = self.peer_services.iter().filter_map(PeerServiceConfig::cluster);
        clusters
            .filter(|cluster| !is_federated(cluster))
            .map(|cluster| {
                format!(
                    "registers.peerServices: `{cluster}` is none of security.federatedClusters, so nothing is pushed to it until it is"
                )
            })
            .collect()
    }

    fn check_peer_services(&self) -> Result<(), InvalidSetting> {
        const KEY: &str = "registers.peerServices";
        if self.peer_services.len() > PEER_SERVICES_MAX {
            let what = format!("{} are more than {PEER_SERVICES_MAX}", self.peer_services.len());
            return Err((KEY, what));
        }
        let mut seen: Vec<Url> = Vec::new();
        for service in &self.peer_services {
            let url = service.read().map_err(|what| (KEY, what))?;
            if seen.contains(&url) {
                return Err((KEY, format!("`{url}` stands there twice")));
            }
            seen.push(url);
        }
        Ok(())
    }

    fn check_resync_peers(&self) -> Result<(), InvalidSetting> {
        const KEY: &str = "registers.resyncPeers";
        if self.resync_peers.len() > PEER_SERVICES_MAX {
            return Err((KEY, format!("{} are more than {PEER_SERVICES_MAX}", self.resync_peers.len())));
        }
        let first = self.resync_peers.iter().find_map(|peer| peer_service(peer).err());
        first.map_or(Ok(()), |error| Err((KEY, chain(&error))))
    }
}

impl Section for RegistersConfig {
    fn check(&self, _: &Config) -> Result<(), InvalidSetting> {
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
        within("registers.advertisementTtl", self.advertisement_ttl, second * 2, day)?;
        within("registers.resyncInterval", self.resync_interval, second, day)?;
        within("registers.exchangeInterval", self.exchange_interval, second, second * 3600)?;
        self.check_peer_services()?;
        self.check_resync_peers()?;
        // A resync may name any other pool.
        self.peer_services_tls.check(&PEER_SERVICES_TLS, true)
    }
}

/// Reason why a text is not the address of a peer service. The text is repeated only where it can hold no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerServiceError {
    #[error("it is no address of a peer service: write https://HOST:PORT or http://HOST:PORT")]
    Syntax,
    #[error("an address of a peer service must not hold a user or a password")]
    UserInfo,
    #[error("`{0}`: an address of a peer service has neither `?` nor `#`")]
    Query(String),
    #[error("`{0}://` is not spoken to peer services: write https://HOST:PORT or http://HOST:PORT")]
    Scheme(String),
}

/// Reads the address of a peer service; its path ends with a slash.
///
/// # Errors
/// [`PeerServiceError`].
pub fn peer_service(text: &str) -> Result<Url, PeerServiceError> {
    let mut url = Url::parse(text).map_err(|_| PeerServiceError::Syntax)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(PeerServiceError::UserInfo);
    }
    match url.scheme() {
        "http" | "https" => {}
        other => return Err(PeerServiceError::Scheme(other.to_owned())),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(PeerServiceError::Syntax);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(PeerServiceError::Query(url.to_string()));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::super::layers::load;
    use super::*;

    fn with(set: &[&str]) -> Result<RegistersConfig, String> {
        let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
        let loaded = load(None, std::iter::empty(), &set, &[]).map_err(|error| error.to_string())?;
        Ok(loaded.config.registers)
    }

    #[test]
    fn a_peer_service_of_a_cluster_that_is_not_federated_is_warned_of() {
        let warnings = |cluster: &str| {
            let set = [
                "security.federatedClusters=[{cluster: west, trustDomain: west.example, bundle: west.pem}]"
                    .to_owned(),
                format!(
                    "registers.peerServices=[{{url: 'https://peer:8443', cluster: {cluster}}}, http://127.0.0.1:1]"
                ),
            ];
            load(None, std::iter::empty(), &set, &[]).unwrap().warnings
        };
        assert_eq!(warnings("west"), [""; 0]);
        assert!(warnings("esat")[0].contains("`esat` is none of security.federatedClusters"));
    }

    #[test]
    fn others_are_pushed_to_before_anything_runs_out_there() {
        let cases: [(&str, &[&str], u64); 3] = [
            ("by default", &[], 150),
            ("the interval is shorter", &["registers.resyncInterval=20s"], 20),
            ("a short life", &["registers.advertisementTtl=4s"], 2),
        ];
        for (what, set, seconds) in cases {
            assert_eq!(with(set).unwrap().push_every(), Duration::from_secs(seconds), "{what}");
        }
    }

    #[test]
    fn values_out_of_range_name_their_key_and_range() {
        let cases = [
            ("advertisementTtl=1999ms", "2s to 1day"),
            ("advertisementTtl=86401s", "2s to 1day"),
            ("resyncInterval=999ms", "1s to 1day"),
            ("resyncInterval=86401s", "1s to 1day"),
        ];
        for (set, range) in cases {
            let error = with(&[&format!("registers.{set}")]).unwrap_err();
            let key = set.split('=').next().unwrap();
            assert!(error.contains(&format!("registers.{key}")) && error.contains(range), "{set}: {error}");
        }
        for edge in ["advertisementTtl=2s", "advertisementTtl=24h", "resyncInterval=1s"] {
            assert!(with(&[&format!("registers.{edge}")]).is_ok(), "{edge}");
        }
    }

    #[test]
    fn addresses_of_peer_services_are_checked_before_anything_starts() {
        let many: Vec<String> = (0..17).map(|at| format!("http://p{at}:80")).collect();
        let many = format!("[{}]", many.join(", "));
        let cases = [
            ("one", "[http://peer-service:8080]", Ok(1)),
            ("with a path", "[http://gateway/api/peer]", Ok(1)),
            ("IPv6", "['http://[::1]:8080/']", Ok(1)),
            ("TLS", "[https://peer:8443]", Ok(1)),
            ("a federated node", "[{url: 'https://peer:8443', cluster: west}]", Ok(1)),
            ("one in plaintext", "[{url: 'http://peer:8443', cluster: west}]", Err("by https:// only")),
            ("one of no cluster", "[{url: 'https://peer:8443'}]", Err("{url: https://HOST:PORT")),
            ("another scheme", "[ftp://peer]", Err("`ftp://` is not spoken")),
            ("no scheme", "['peer-service']", Err("write https://HOST:PORT")),
            ("a host and a port", "['peer:80']", Err("`peer://` is not spoken")),
            ("a password", "['http://me:secret@peer']", Err("must not hold a user or a password")),
            ("a query", "['http://peer?a=b']", Err("neither `?` nor `#`")),
            ("twice", "[http://peer, http://peer/]", Err("stands there twice")),
            ("too many", &many, Err("17 are more than 16")),
        ];
        for (what, set, expected) in cases {
            match (with(&[&format!("registers.peerServices={set}")]), expected) {
                (Ok(config), Ok(expected)) => assert_eq!(config.peer_services.len(), expected, "{what}"),
                (Err(error), Err(expected)) => {
                    assert!(error.contains(expected), "{what}: {error}");
                    assert!(what != "a password" || !peer_error_of(set).contains("secret"), "{what}");
                }
                (config, expected) => panic!("{what}: {config:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn pools_that_a_resync_may_name_are_checked_as_well() {
        let with = |list: &str| with(&[&format!("registers.resyncPeers={list}")]);
        assert_eq!(with("[http://127.0.0.1:8080, https://peer]").unwrap().resync_peers.len(), 2);
        assert!(with("[ftp://peer]").unwrap_err().contains("registers.resyncPeers"));
        let many: Vec<String> = (0..17).map(|at| format!("http://p{at}:80")).collect();
        assert!(with(&format!("[{}]", many.join(", "))).unwrap_err().contains("17 are more than 16"));
    }

    fn peer_error_of(list: &str) -> String {
        peer_service(list.trim_matches(['[', ']', '\''])).unwrap_err().to_string()
    }
}
