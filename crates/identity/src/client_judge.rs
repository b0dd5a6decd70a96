//! Judges what clients show in a TLS handshake.

use std::fmt;
use std::sync::Arc;

use omnirelay_pki::trust::ChainUsage;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use super::handshake::{self, HandshakeRefusalNote};
use super::trust::{CertificateRefusal, TrustSnapshot};

/// Rule of a listener on certificates of clients: they may show one, or must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificateRule {
    /// Those who show none are served as well.
    May,
    Must,
}

/// Reach of a listener: whom it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListenerAudience {
    /// Those of this mesh, and operators and services of other clusters of its trust domain.
    #[default]
    Mesh,
    /// Nodes of federated clusters and of other clusters of the trust domain as well: what they exchange is served there.
    Exchange,
    /// Nodes of this mesh alone: they call each other there.
    Nodes,
}

/// Takes those clients whose certificate the node believes, and perhaps those that show none.
pub(crate) struct ClientJudge {
    trusted: Arc<TrustSnapshot>,
    clients: ClientCertificateRule,
    reach: ListenerAudience,
    algorithms: WebPkiSupportedAlgorithms,
    /// `None`: the task that shakes hands has it.
    noted: Option<HandshakeRefusalNote>,
}

impl ClientJudge {
    pub(crate) fn of(
        trusted: &Arc<TrustSnapshot>,
        (clients, reach): (ClientCertificateRule, ListenerAudience),
        provider: &CryptoProvider,
    ) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { trusted: Arc::clone(trusted), clients, reach, algorithms, noted: None }
    }

    /// Says there why somebody is refused.
    #[must_use]
    pub(crate) fn noting(self, noted: HandshakeRefusalNote) -> Self {
        Self { noted: Some(noted), ..self }
    }
}

impl fmt::Debug for ClientJudge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientJudge").finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ClientJudge {
    fn client_auth_mandatory(&self) -> bool {
        self.clients == ClientCertificateRule::Must
    }

    /// None: clients have one identity, and send it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(leaf).chain(between).cloned().collect();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let judged = match self.reach {
            ListenerAudience::Mesh => self.trusted.judge_caller(&chain, now, ChainUsage::Client).map(drop),
            ListenerAudience::Exchange => {
                self.trusted.judge_exchange(&chain, now, ChainUsage::Client).map(drop)
            }
            ListenerAudience::Nodes => self.trusted.judge_node(&chain, now, ChainUsage::Client).map(drop),
        };
        match judged {
            Ok(()) => Ok(ClientCertVerified::assertion()),
            Err(refused) => {
                let is_signed = self.trusted.has_signed(&chain, &refused, now);
                match &self.noted {
                    Some(noted) => noted.note(&refused, leaf, is_signed),
                    None => handshake::note(&refused, leaf, is_signed),
                }
                Err(Error::InvalidCertificate(alert(refused)))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Alert by which the client is told: what helps the honest and tells an attacker nothing.
pub(super) fn alert(refused: CertificateRefusal) -> CertificateError {
    use omnirelay_pki::trust::ChainTrustError;
    match refused {
        CertificateRefusal::Revoked => CertificateError::Revoked,
        CertificateRefusal::Untrusted(ChainTrustError::Expired) => CertificateError::Expired,
        CertificateRefusal::Untrusted(ChainTrustError::NotYet) => CertificateError::NotValidYet,
        CertificateRefusal::Untrusted(ChainTrustError::UnknownIssuer) | CertificateRefusal::NoAuthority => {
            CertificateError::UnknownIssuer
        }
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
}
