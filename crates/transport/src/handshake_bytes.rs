//! A bound on what TLS reads of a QUIC client's handshake: what comes beyond ends the connection.
//!
//! TLS itself takes messages of 64 KiB. Over TCP that costs little to receive; over QUIC it is some fifty datagrams, each
//! decrypted and acknowledged by itself, from somebody who has proven nothing but an address.

use std::any::Any;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};

/// How much a client may send until the handshake is over, in bytes: its greeting, the longest chain that is read, and a
/// signature. Higher: a stranger costs more; lower: a chain that is taken over TCP is not over QUIC.
pub const HANDSHAKE_BYTES_MAX: usize = 24 * 1024;

/// Server sessions of TLS that read so much of a handshake, and no more.
pub(crate) struct BoundedServer(Arc<QuicServerConfig>);

impl BoundedServer {
    pub(crate) fn new(tls: QuicServerConfig) -> Self {
        Self(Arc::new(tls))
    }
}

impl ServerConfig for BoundedServer {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.0.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        let session = Arc::clone(&self.0).start_session(version, params);
        Box::new(BoundedSession { session, left: HANDSHAKE_BYTES_MAX })
    }
}

struct BoundedSession {
    session: Box<dyn Session>,
    /// How much more may be read, in bytes.
    left: usize,
}

impl Session for BoundedSession {
    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        let Some(left) = self.left.checked_sub(buf.len()) else {
            return Err(TransportError {
                code: TransportErrorCode::CRYPTO_BUFFER_EXCEEDED,
                frame: None,
                reason: format!("the handshake has more than {HANDSHAKE_BYTES_MAX} bytes"),
            });
        };
        self.left = left;
        self.session.read_handshake(buf)
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.session.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.session.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.session.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.session.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.session.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.session.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.session.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.session.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.session.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.session.export_keying_material(output, label, context)
    }
}
