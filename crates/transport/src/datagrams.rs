//! Datagrams on a connection over QUIC: each arrives whole, or not at all, and none waits for another (RFC 9221).

use bytes::Bytes;
use quinn::{Connection, SendDatagramError};

/// How much that has come waits to be read on one connection, and how much to be sent, in bytes; older ones are dropped.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// Reason why a datagram was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsentDatagram {
    #[error("no connection is open that carries datagrams")]
    NoConnection,
    #[error("it is larger than the path takes")]
    TooLarge,
}

/// Sends one; it may be lost.
///
/// # Errors
/// [`UnsentDatagram`]; it is known not to arrive then.
pub fn send(connection: &Connection, datagram: Bytes) -> Result<(), UnsentDatagram> {
    connection.send_datagram(datagram).map_err(|error| match error {
        SendDatagramError::TooLarge => UnsentDatagram::TooLarge,
        SendDatagramError::UnsupportedByPeer
        | SendDatagramError::Disabled
        | SendDatagramError::ConnectionLost(_) => UnsentDatagram::NoConnection,
    })
}

/// Hands over all that come, until the connection ends. Empty ones only keep it open.
pub async fn hear(connection: Connection, heard: impl Fn(Bytes)) {
    while let Ok(datagram) = connection.read_datagram().await {
        if !datagram.is_empty() {
            heard(datagram);
        }
    }
}
