//! The control port as the settings have it by then: its limits, whom it answers, and its TLS.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use omnirelay_identity::authenticate::AllowedHosts;
use omnirelay_identity::proof::RefusingAuthenticator;
use omnirelay_identity::socket::ControlSocket;
use omnirelay_identity::tls::{ClientCertificateRule, ListenerTls, TlsError};
use omnirelay_identity::trust::MeshTrust;
use omnirelay_identity::without_proof::WithoutProof;
use omnirelay_settings::{Config, ControlTlsConfig, TlsSource};
use omnirelay_surface::{ListenerLimits, OMNIRELAY, Surface, SurfaceBuilder};
use omnirelay_transport::quic;

use super::port_tls::PortTls;
use super::ports::{PortName, PortState, ServedPort};
use super::probes::probes;
use super::serving::per_address_max;
use super::{NodeBuilder, NodeError};

impl NodeBuilder {
    /// Opens the control port, with the probes and nothing else served yet, and nobody let in.
    pub(super) fn open_control(
        &mut self,
        listener: TcpListener,
        socket: Option<ControlSocket>,
    ) -> Result<(), NodeError> {
        let (config, at) = (self.settings.now(), self.addresses.control);
        let trust = self.trust.clone();
        let tls = self.follow_tls(PortTls {
            of: |config| config.control.tls.clone(),
            open: Box::new(move |tls| control_tls(tls, &trust)),
            wrong: wrong_tls,
        })?;
        let udp = config.control.http3.then(|| quic::bind(at)).transpose().map_err(NodeError::Listen)?;
        let surface = self.control_surface();
        let surface = match udp {
            Some(_) => {
                let port =
                    self.settings.live(move |config| config.control.http3_advertise.unwrap_or(at.port()));
                surface.beside_http3(port)
            }
            None => surface,
        };
        let (listens, limits) = (PortState::Taken(listener), self.settings.live(limits));
        self.open(PortName::Control, ServedPort { listens, socket, udp, tls, limits, surface });
        self.routes(PortName::Control, probes(self.probed()));
        Ok(())
    }

    fn control_surface(&self) -> SurfaceBuilder {
        let hosts = self.settings.live(hosts());
        // What it is at the start counts, before anybody has called.
        hosts.get();
        Surface::builder([OMNIRELAY])
            .authenticator(RefusingAuthenticator)
            .of_node(self.registry.node_id())
            .call_rates(self.settings.live(|config| config.control.rate_limit.rates()))
            .hosts(hosts)
    }
}

/// Limits of the ports of the daemon, but for those of the relay.
pub fn limits(config: &Config) -> ListenerLimits {
    let control = &config.control;
    ListenerLimits {
        connections_max: control.connections_max,
        per_address_max: per_address_max(control.connections_max, control.connections_per_address_max),
        grace: control.drain_grace.0,
        ..ListenerLimits::default()
    }
}

/// Names by which the control port may be called.
fn hosts() -> impl Fn(&Config) -> AllowedHosts + Send + Sync {
    // Under TLS a page that calls the daemon by a name of its own finds no certificate of that name. Where TLS was not demanded
    // before, connections of that time may still be open.
    let was_demanded = AtomicBool::new(true);
    move |config| {
        let is_demanded = config.control.tls.source.is_demanded();
        let was_demanded = was_demanded.fetch_and(is_demanded, Ordering::Relaxed);
        let is_any = is_demanded && was_demanded || config.without_proof() == WithoutProof::Anyone;
        let named = AllowedHosts::loopback_and(config.control.hosts.clone());
        if is_any { named.or_any() } else { named }
    }
}

/// TLS of the control port; `None`: there is none.
fn control_tls(tls: &ControlTlsConfig, trust: &Arc<MeshTrust>) -> Result<Option<ListenerTls>, TlsError> {
    let judging = |shown: ListenerTls| shown.judging(trust.clone(), ClientCertificateRule::May).exchanging();
    let of_node = || judging(ListenerTls::of_node(trust.clone()));
    Ok(match (tls.source, &tls.cert, &tls.key) {
        (TlsSource::Off, ..) => None,
        (TlsSource::Files, Some(cert), Some(key)) => Some(judging(ListenerTls::open(cert, key)?)),
        (TlsSource::Mesh | TlsSource::Files, ..) => Some(of_node()),
        (TlsSource::Auto, ..) => Some(of_node().beside_plaintext()),
    })
}

/// The setting that is wrong where its files cannot be used.
fn wrong_tls(tls: &ControlTlsConfig, error: &TlsError) -> &'static str {
    match error {
        TlsError::Read { path, .. } | TlsError::Content { path, .. } if tls.key.as_ref() == Some(path) => {
            "control.tls.key"
        }
        TlsError::Read { .. } | TlsError::Content { .. } | TlsError::Pair { .. } => "control.tls.cert",
    }
}
