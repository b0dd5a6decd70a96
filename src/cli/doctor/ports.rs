//! Ports of a daemon: whether they can be taken, or a daemon has them.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_doctor::machine::{PortAvailability, PortToListenOn};
use omnirelay_pki::certificate::AnyCertificate;
use omnirelay_settings::Config;
use tokio::time::timeout;

use crate::cert::presented::{self, HostPort};
use crate::frame::client::Client;
use crate::frame::error::chain;
use crate::frame::prelude::*;
use crate::frame::settings::{CommandTarget, ValueSource};
use crate::frame::tls_files::TlsFiles;
use crate::node::NODE;

/// How long a port may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The ports of a daemon. Where one answers at its control port, the others that are taken are likely to be its own.
pub(super) async fn ports(session: &CommandSession, config: &Config) -> Vec<PortToListenOn> {
    let port = |key, address, taken| PortToListenOn { address, key, taken };
    let control = match taken(session, config.control.listen).await {
        // One that waits for its certificate speaks to nobody at its port.
        PortAvailability::ByAnother if answers_at_socket(session, config).await => PortAvailability::ByDaemon,
        taken => taken,
    };
    let runs = control == PortAvailability::ByDaemon;
    let mut ports = vec![port("control.listen", config.control.listen, control)];
    if config.serves("relay") {
        let relay = &config.relay;
        for (key, address) in [("relay.listen", relay.listen), ("relay.httpListen", relay.http_listen)] {
            let taken = match free(address) {
                PortAvailability::ByAnother if runs => PortAvailability::ByDaemon,
                taken => taken,
            };
            ports.push(port(key, address, taken));
        }
    }
    ports
}

async fn taken(session: &CommandSession, address: SocketAddr) -> PortAvailability {
    match free(address) {
        PortAvailability::ByAnother if is_daemon(session, address).await => PortAvailability::ByDaemon,
        taken => taken,
    }
}

fn free(address: SocketAddr) -> PortAvailability {
    match TcpListener::bind(address) {
        Ok(_) => PortAvailability::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => PortAvailability::ByAnother,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => PortAvailability::Reserved,
        Err(error) => PortAvailability::Refused(chain(&error)),
    }
}

/// Whether a daemon answers there, be it that it refuses the caller, or shows the certificate of a node where TLS is spoken.
async fn is_daemon(session: &CommandSession, address: SocketAddr) -> bool {
    answers_in_plaintext(session, address).await || shows_a_node(address).await
}

async fn shows_a_node(address: SocketAddr) -> bool {
    let Ok(endpoint) = address.to_string().parse::<HostPort>() else { return false };
    let Ok(shown) = presented::ask(&endpoint, &TlsFiles::default(), PATIENCE).await else { return false };
    let leaf = shown.chain.first().and_then(|leaf| AnyCertificate::read(leaf).ok());
    leaf.and_then(|leaf| leaf.id).is_some_and(|id| matches!(id.holder(), CertificateHolder::Node { .. }))
}

async fn answers_in_plaintext(session: &CommandSession, address: SocketAddr) -> bool {
    answers(session, &format!("http://{address}")).await
}

async fn answers_at_socket(session: &CommandSession, config: &Config) -> bool {
    let Some(socket) = &config.control.socket else { return false };
    answers(session, &format!("unix:{}", socket.display())).await
}

async fn answers(session: &CommandSession, address: &str) -> bool {
    let Ok(address) = address.parse() else { return false };
    let target = CommandTarget::bare(vec![address], ValueSource::BuiltIn);
    let Ok(client) = Client::new(&session.settings, target) else { return false };
    let Ok(call) = Call::of(&NODE, &json!({})) else { return false };
    match timeout(PATIENCE, client.call(&call)).await {
        Ok(Ok(node)) => !text(&node, "localNodeId").is_empty(),
        Ok(Err(error)) => matches!(error.exit(), Exit::Denied | Exit::Unauthenticated),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_or_taken_or_of_another_host() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(free(address), PortAvailability::ByAnother);
        drop(listener);
        assert_eq!(free(address), PortAvailability::Free);
        assert!(matches!(free(([192, 0, 2, 1], 17420).into()), PortAvailability::Refused(_)));
    }
}
