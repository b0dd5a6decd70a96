//! A call over HTTP/3 to the address that a daemon offers it at.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use omnirelay_core::text::chain;
use omnirelay_transport::body::{BoxError, boxed};
use omnirelay_transport::carrier::{CallTarget, Carrier as _, ClientTls, TlsStart};
use omnirelay_transport::quic::{self, QuicCarrier, QuicLimits};
use omnirelay_wire::rpc::peer_control_service;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::checks::CheckEnd;
use crate::frame::address::Address;
use crate::frame::client::Client;
use crate::frame::prelude::*;

/// TLS of one command.
struct CommandTls(ClientConfig);

impl ClientTls for CommandTls {
    fn begin(&self) -> Result<TlsStart, BoxError> {
        // Nothing ends it but the probe.
        Ok(TlsStart { config: self.0.clone(), ends: Box::new(|_| std::future::pending().boxed()) })
    }
}

/// Asks for what answers whoever comes, over HTTP/3.
///
/// # Errors
/// Skipped where it is not offered; why nobody answered.
pub(super) async fn call(session: &CommandSession, client: &Client) -> Result<String, CheckEnd> {
    let asked = client.ask(&Call::of(&peer_control_service::LIST, &json!({ "pageSize": 1 }))?).await?;
    // Whoever answered says at which port of its own.
    let answered = |address: &&Address| address.is_tls() && address.as_str() == asked.1.address;
    let Some(address) = client.target().addresses.iter().find(answered) else {
        return Err(CheckEnd::Skipped("it is asked without TLS, and so without HTTP/3".to_owned()));
    };
    let Some(port) = asked.1.header("alt-svc").and_then(offered_port) else {
        return Err(CheckEnd::Skipped("it is not offered (control.http3)".to_owned()));
    };
    let place = place(address, port)?;
    let tls = client.target().tls.config(session.settings.believes_anybody)?;
    let failed = |error: &(dyn std::error::Error + 'static)| {
        CheckEnd::Failed(format!("{}: {}", place.address, chain(error)))
    };
    let any: SocketAddr = match place.address.starts_with('[') {
        true => (Ipv6Addr::UNSPECIFIED, 0).into(),
        false => (Ipv4Addr::UNSPECIFIED, 0).into(),
    };
    let socket = quic::bind(any).and_then(quic::endpoint).map_err(|error| failed(&error))?;
    let carrier = QuicCarrier::new(socket.clone(), QuicLimits::default());
    let connection = carrier.connect(&place, &CommandTls(tls)).await.map_err(|error| failed(&error))?;
    let request = Request::get(format!("https://{}/healthz", place.address));
    let request = request.body(boxed(Full::new(Bytes::new()).map_err(|never| match never {})));
    let answer = connection.call(request.map_err(|error| failed(&error))?).await;
    let status = answer.map_err(|error| failed(&error))?.status();
    connection.cut("the probe is done");
    quic::close(&socket).await;
    match status.is_success() {
        true => Ok(format!("{} answered", place.address)),
        false => Err(CheckEnd::Failed(format!("{} answered with {status}", place.address))),
    }
}

/// The UDP port of `h3=":PORT"`.
fn offered_port(alt_svc: &str) -> Option<u16> {
    let (_, rest) = alt_svc.split_once("h3=\":")?;
    rest.split_once('"')?.0.parse().ok()
}

/// The host of an address, at another port.
fn place(address: &Address, port: u16) -> Result<CallTarget, CheckEnd> {
    let rest = address.authority();
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = match authority.rsplit_once(':') {
        Some((host, last)) if last.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(bare).map_err(|error| CheckEnd::Failed(format!("{host}: {error}")))?;
    Ok(CallTarget { address: format!("{host}:{port}"), name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_that_is_offered_is_found() {
        assert_eq!(offered_port("h3=\":17421\"; ma=86400"), Some(17421));
        for other in ["clear", "h2=\":1\"", "h3=\"host:1\"", "h3=\":x\"", "h3=\":1", "h3=\":70000\""] {
            assert_eq!(offered_port(other), None, "{other}");
        }
    }

    #[test]
    fn the_host_stays_whatever_it_is() {
        for (address, expected) in [
            ("https://eu-1.example:17420", "eu-1.example:9"),
            ("https://127.0.0.1:17420", "127.0.0.1:9"),
            ("https://[::1]:17420", "[::1]:9"),
        ] {
            let found = place(&address.parse().unwrap(), 9).unwrap();
            assert_eq!(found.address, expected);
        }
    }
}
