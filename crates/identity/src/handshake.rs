//! Handshakes that came to nothing: why, and what the client had shown.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use omnirelay_core::spiffe::SpiffeId;
use omnirelay_pki::certificate::{self as pki, Certificate};
use omnirelay_pki::trust::ChainTrustError;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error, PeerIncompatible};

use super::trust::CertificateRefusal;

/// Reason why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HandshakeFailure {
    /// The client has shown no certificate where one is needed.
    NoCertificate,
    Expired,
    NotYetValid,
    /// No authority that is trusted has signed it.
    UnknownAuthority,
    OtherTrustDomain,
    /// Of a node of another cluster.
    OtherCluster,
    /// Of an operator or a service, where nodes call each other.
    NotANode,
    /// Of a node, whose chain leads through nothing that is pinned.
    NotPinned,
    Revoked,
    /// It cannot be read, or says of nobody who it is of.
    NoIdentity,
    /// A signature on it is wrong, or it is not for clients.
    Invalid,
    /// Its chain has more certificates, or larger ones, than are read of a stranger, or its handshake more bytes.
    ChainTooLong,
    /// The client does not have its key.
    NotItsKey,
    /// An older version of TLS than is served.
    ProtocolVersion,
    /// No cipher, group or protocol that both know.
    NoAgreement,
    /// What came is no handshake.
    Malformed,
    /// The client speaks no TLS, where nothing else is served.
    Plaintext,
    /// The client does not take what the node has shown.
    ClientRefused,
    TooSlow,
    /// Too many handshakes of its address came to nothing before: nothing of this one was read.
    TooMany,
    /// The node has nothing to show yet.
    NotReady,
    Other,
}

impl HandshakeFailure {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::NoCertificate,
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownAuthority,
        Self::OtherTrustDomain,
        Self::OtherCluster,
        Self::NotANode,
        Self::NotPinned,
        Self::Revoked,
        Self::NoIdentity,
        Self::Invalid,
        Self::ChainTooLong,
        Self::NotItsKey,
        Self::ProtocolVersion,
        Self::NoAgreement,
        Self::Malformed,
        Self::Plaintext,
        Self::ClientRefused,
        Self::TooSlow,
        Self::TooMany,
        Self::NotReady,
        Self::Other,
    ];

    /// As metrics and the log have it; the audit trail has it in capitals.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownAuthority => "unknown_authority",
            Self::OtherTrustDomain => "other_trust_domain",
            Self::OtherCluster => "other_cluster",
            Self::NotANode => "not_a_node",
            Self::NotPinned => "not_pinned",
            Self::Revoked => "revoked",
            Self::NoIdentity => "no_identity",
            Self::Invalid => "invalid",
            Self::ChainTooLong => "chain_too_long",
            Self::NotItsKey => "not_its_key",
            Self::ProtocolVersion => "protocol_version",
            Self::NoAgreement => "no_agreement",
            Self::Malformed => "malformed",
            Self::Plaintext => "plaintext",
            Self::ClientRefused => "client_refused",
            Self::TooSlow => "too_slow",
            Self::TooMany => "too_many",
            Self::NotReady => "not_ready",
            Self::Other => "other",
        }
    }

    /// Whether the node has turned the client away for what it has sent: the trail tells of these.
    pub fn is_refusal(self) -> bool {
        !matches!(self, Self::ClientRefused | Self::TooSlow | Self::TooMany | Self::NotReady)
    }

    /// Why a failure of a handshake is one of ours; `None`: the client went away.
    fn of(error: &io::Error) -> Option<Self> {
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return match error.kind() {
                io::ErrorKind::TimedOut => Some(Self::TooSlow),
                io::ErrorKind::NotConnected => Some(Self::NotReady),
                io::ErrorKind::InvalidData | io::ErrorKind::Other => Some(Self::Other),
                _ => None,
            };
        };
        Some(match tls {
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(CertificateError::BadSignature) => Self::NotItsKey,
            Error::InvalidCertificate(_) => Self::Invalid,
            Error::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::ProtocolVersion,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::NoAgreement,
            Error::AlertReceived(_) => Self::ClientRefused,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Self::Malformed,
            _ => Self::Other,
        })
    }
}

impl From<&CertificateRefusal> for HandshakeFailure {
    fn from(refused: &CertificateRefusal) -> Self {
        match refused {
            CertificateRefusal::Revoked => Self::Revoked,
            CertificateRefusal::Cluster
            | CertificateRefusal::OtherIssuer(_)
            | CertificateRefusal::UnheardSibling(_)
            | CertificateRefusal::Untrusted(
                ChainTrustError::UnnamedCluster | ChainTrustError::OtherCluster { .. },
            ) => Self::OtherCluster,
            CertificateRefusal::NotANode => Self::NotANode,
            CertificateRefusal::NotPinned => Self::NotPinned,
            CertificateRefusal::NoAuthority
            | CertificateRefusal::Untrusted(ChainTrustError::UnknownIssuer | ChainTrustError::NoAuthority) => {
                Self::UnknownAuthority
            }
            CertificateRefusal::Untrusted(ChainTrustError::Empty) => Self::NoCertificate,
            CertificateRefusal::Untrusted(
                ChainTrustError::TooLong { .. }
                | ChainTrustError::TooLarge { .. }
                | ChainTrustError::SameName
                | ChainTrustError::Certificate(pki::CertificateError::TooLarge(_)),
            ) => Self::ChainTooLong,
            CertificateRefusal::Untrusted(ChainTrustError::Certificate(_)) => Self::NoIdentity,
            CertificateRefusal::Untrusted(ChainTrustError::TrustDomain { .. }) => Self::OtherTrustDomain,
            CertificateRefusal::Untrusted(ChainTrustError::Expired) => Self::Expired,
            CertificateRefusal::Untrusted(ChainTrustError::NotYet) => Self::NotYetValid,
            CertificateRefusal::Untrusted(
                ChainTrustError::Invalid(_) | ChainTrustError::Signature | ChainTrustError::KeyUsage,
            ) => Self::Invalid,
        }
    }
}

/// A handshake that came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("the handshake came to nothing")]
pub struct HandshakeError {
    /// `None`: the client went away.
    pub cause: Option<HandshakeFailure>,
    /// Whom the certificate names that was judged. Nobody has proven to have its key.
    pub shown: Option<SpiffeId>,
    /// Whether an authority that is believed has signed that certificate; if not, whoever made it has made up the name.
    pub is_signed: bool,
    source: io::Error,
}

impl HandshakeError {
    /// One that took too long.
    pub fn too_slow() -> Self {
        io::Error::from(io::ErrorKind::TimedOut).into()
    }

    /// One of which more bytes came than are read.
    pub fn too_large(source: io::Error) -> Self {
        Self { cause: Some(HandshakeFailure::ChainTooLong), ..source.into() }
    }

    fn judged(self, judged: Option<CertificateJudgement>) -> Self {
        match judged {
            Some(CertificateJudgement { refused, shown, is_signed }) => {
                let cause = Some((&refused).into());
                // TLS keeps no word of it.
                let source = io::Error::new(io::ErrorKind::InvalidData, refused);
                Self { cause, shown, is_signed, source }
            }
            None => self,
        }
    }
}

/// Note of what a certificate's judge says beyond what the client is told, in a handshake on its own task as over QUIC.
#[derive(Clone, Debug, Default)]
pub struct HandshakeRefusalNote(Arc<Mutex<Option<CertificateJudgement>>>);

impl HandshakeRefusalNote {
    pub(super) fn note(&self, refused: &CertificateRefusal, leaf: &CertificateDer<'_>, is_signed: bool) {
        *self.0.lock() = Some(CertificateJudgement::of(refused, leaf, is_signed));
    }

    /// The handshake that has failed so, with what was noted of it.
    pub fn unshaken(&self, error: io::Error) -> HandshakeError {
        let judged = self.0.lock().take();
        HandshakeError::from(error).judged(judged)
    }
}

impl From<io::Error> for HandshakeError {
    fn from(source: io::Error) -> Self {
        Self { cause: HandshakeFailure::of(&source), shown: None, is_signed: false, source }
    }
}

/// Judgement on a certificate that is not believed.
#[derive(Debug)]
struct CertificateJudgement {
    refused: CertificateRefusal,
    shown: Option<SpiffeId>,
    is_signed: bool,
}

impl CertificateJudgement {
    fn of(refused: &CertificateRefusal, leaf: &CertificateDer<'_>, is_signed: bool) -> Self {
        let shown = Certificate::read(leaf).ok().map(|read| read.id);
        Self { refused: refused.clone(), shown, is_signed }
    }
}

tokio::task_local! {
    /// Of the handshake that is under way: what judges within it has no other way to say more than the client is told.
    static JUDGED: RefCell<Option<CertificateJudgement>>;
}

/// Notes why the certificate of the handshake under way is not believed, and whether it is signed although.
pub(super) fn note(refused: &CertificateRefusal, leaf: &CertificateDer<'_>, is_signed: bool) {
    let judged = CertificateJudgement::of(refused, leaf, is_signed);
    // Outside of a handshake nobody asks.
    let _ = JUDGED.try_with(|of| of.replace(Some(judged)));
}

/// Shakes hands, and says why not.
///
/// # Errors
/// With what was noted of the client's certificate meanwhile.
pub(super) async fn shake<T>(hands: impl Future<Output = io::Result<T>>) -> Result<T, HandshakeError> {
    let shaken = async {
        let error = match hands.await {
            Ok(shaken) => return Ok(shaken),
            Err(error) => error,
        };
        Err(HandshakeError::from(error).judged(JUDGED.with(RefCell::take)))
    };
    JUDGED.scope(RefCell::default(), shaken).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cause_has_a_word_of_its_own() {
        let words: BTreeSet<&str> = HandshakeFailure::ALL.iter().map(|cause| cause.word()).collect();
        assert_eq!(words.len(), HandshakeFailure::ALL.len());
        let distinct: BTreeSet<HandshakeFailure> = HandshakeFailure::ALL.into();
        assert_eq!(distinct.len(), HandshakeFailure::ALL.len());
    }

    #[test]
    fn whoever_goes_away_is_refused_nothing() {
        let cases = [
            ("a closed connection", io::ErrorKind::UnexpectedEof.into(), None),
            ("a reset", io::ErrorKind::ConnectionReset.into(), None),
            ("too slow", io::ErrorKind::TimedOut.into(), Some(HandshakeFailure::TooSlow)),
            ("no certificate yet", io::ErrorKind::NotConnected.into(), Some(HandshakeFailure::NotReady)),
            (
                "an old version",
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    Error::PeerIncompatible(PeerIncompatible::SupportedVersionsExtensionRequired),
                ),
                Some(HandshakeFailure::ProtocolVersion),
            ),
            (
                "a stolen certificate",
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    Error::InvalidCertificate(CertificateError::BadSignature),
                ),
                Some(HandshakeFailure::NotItsKey),
            ),
        ];
        for (what, error, cause) in cases {
            assert_eq!(HandshakeError::from(error).cause, cause, "{what}");
        }
    }

    #[tokio::test]
    async fn what_is_noted_belongs_to_its_own_handshake() {
        let leaf = CertificateDer::from(vec![0]);
        let refused = shake(async {
            note(&CertificateRefusal::Revoked, &leaf, true);
            Err::<(), _>(io::ErrorKind::InvalidData.into())
        });
        assert_eq!(refused.await.unwrap_err().cause, Some(HandshakeFailure::Revoked));
        let other = shake(async { Err::<(), _>(io::ErrorKind::UnexpectedEof.into()) });
        assert_eq!(other.await.unwrap_err().cause, None);
        note(&CertificateRefusal::Revoked, &leaf, true);
    }
}
