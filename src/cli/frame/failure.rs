//! Failure of a request that got no answer, in words: refused, unknown name, too slow, not HTTP, cut off.

use omnirelay_wire::reasons::{self, Reason};
use std::error::Error;
use std::io;

use omnirelay_wire::tls::UnwantedServer;
use rustls::{AlertDescription, OtherError};

use super::error::chain;

/// Kind of the failure that kept the answer away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    Refused,
    UnknownName,
    ConnectTimeout,
    /// The connection could not be made for another reason.
    Unreachable,
    /// What answered does not speak HTTP, or no TLS where it should.
    NotHttp,
    /// What answered has shown a certificate that proves nothing.
    Untrusted,
    /// What answered has shown a certificate that does not have the name by which it was called.
    OtherName,
    /// What answered is a node of another cluster than the command calls.
    OtherCluster,
    /// What answered does not take the certificate that this command has shown, or wants one.
    Rejected,
    /// Connected and sent, but no answer in time.
    Timeout,
    /// The connection was cut before the answer was complete.
    Lost,
}

/// A request that got no answer from one address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct CallFailure {
    pub kind: FailureKind,
    /// One line, without the address.
    pub cause: String,
}

impl FailureKind {
    /// As in `error.reason`.
    pub fn reason(self) -> Reason {
        match self {
            Self::Refused => reasons::CONNECTION_REFUSED,
            Self::UnknownName => reasons::NAME_NOT_RESOLVED,
            Self::ConnectTimeout => reasons::CONNECT_TIMEOUT,
            Self::Unreachable => reasons::CONNECT_FAILED,
            Self::NotHttp => reasons::NOT_HTTP,
            Self::Untrusted | Self::OtherName | Self::OtherCluster => reasons::CERTIFICATE_NOT_TRUSTED,
            Self::Rejected => reasons::CERTIFICATE_REJECTED,
            Self::Timeout => reasons::REQUEST_TIMEOUT,
            Self::Lost => reasons::CONNECTION_LOST,
        }
    }

    /// Rank by how much a failure says of what to do next: of several addresses, one that has judged says more than one
    /// that is silent.
    pub fn tells(self) -> u8 {
        match self {
            Self::Rejected => 4,
            Self::Untrusted | Self::OtherName | Self::OtherCluster => 3,
            Self::NotHttp => 2,
            Self::Timeout | Self::Lost => 1,
            Self::Refused | Self::UnknownName | Self::ConnectTimeout | Self::Unreachable => 0,
        }
    }

    /// Whether another try would end as this one.
    pub fn lasts(self) -> bool {
        matches!(
            self,
            Self::NotHttp | Self::Untrusted | Self::OtherName | Self::OtherCluster | Self::Rejected
        )
    }

    /// Whether the request may have reached a daemon that carried it out.
    pub fn may_have_arrived(self) -> bool {
        match self {
            Self::Refused | Self::UnknownName | Self::ConnectTimeout => false,
            Self::Unreachable | Self::NotHttp | Self::Untrusted | Self::OtherName => false,
            Self::OtherCluster | Self::Rejected => false,
            Self::Timeout | Self::Lost => true,
        }
    }
}

impl CallFailure {
    fn new(kind: FailureKind, cause: impl Into<String>) -> Self {
        Self { kind, cause: cause.into() }
    }

    /// The same, said to have gone through a proxy.
    #[must_use]
    pub fn through(self, proxy: Option<&str>) -> Self {
        match proxy {
            Some(proxy) => Self { cause: format!("{} (through the proxy {proxy})", self.cause), ..self },
            None => self,
        }
    }

    /// A request to which nothing was answered in time.
    pub fn timeout() -> Self {
        Self::new(FailureKind::Timeout, "connected, but there was no answer in time")
    }

    /// A stream on which nothing, not even a heartbeat, was seen for too long.
    pub fn silent(seconds: u64) -> Self {
        Self::new(FailureKind::Lost, format!("nothing was heard for {seconds}s"))
    }

    /// A stream that ended.
    pub fn closed() -> Self {
        Self::new(FailureKind::Lost, "the daemon closed the stream")
    }

    /// A stream that carries something else than events.
    pub fn garbled(what: impl Into<String>) -> Self {
        Self::new(FailureKind::Lost, what)
    }

    /// Failure that `error` means.
    pub fn of(error: &reqwest::Error) -> Self {
        let io_kind = find::<io::Error>(error).map(io::Error::kind);
        if let Some(failure) = find_tls(error).and_then(Self::of_handshake) {
            return failure;
        }
        // HTTP/2 keeps no more of a failure than its words.
        if let Some(why) = told_rejection(error) {
            return Self::rejected(why);
        }
        if error.is_connect() {
            return Self::of_connect(error, io_kind);
        }
        if error.is_timeout() {
            return Self::timeout();
        }
        match find::<hyper::Error>(error) {
            Some(error) if error.is_parse() => {
                Self::new(FailureKind::NotHttp, "what answers there does not speak HTTP")
            }
            Some(error) if error.is_incomplete_message() || error.is_closed() => {
                Self::new(FailureKind::Lost, "the connection was closed before the answer was complete")
            }
            Some(error) if error.is_canceled() => {
                Self::new(FailureKind::Unreachable, "the connection was closed before the request was sent")
            }
            Some(_) | None if error.is_body() || error.is_decode() => {
                Self::new(FailureKind::Lost, "the connection was cut off in the middle of an answer")
            }
            Some(_) | None => Self::new(FailureKind::Lost, describe_io(io_kind, error)),
        }
    }

    /// Failure that `error` of a connection under TLS means.
    pub fn of_tls(error: &tonic::transport::Error) -> Self {
        if find::<tonic::ConnectError>(error).is_none() {
            // Of a connection that was made: the request was on its way.
            return Self::new(FailureKind::Lost, "the connection was closed before the answer was complete");
        }
        let io = find::<io::Error>(error);
        let tls = io.and_then(|error| error.get_ref()?.downcast_ref::<rustls::Error>());
        match (tls, io.map(io::Error::kind)) {
            (Some(rustls::Error::InvalidCertificate(why)), _) => Self::new(kind_of(why), distrust(why)),
            (Some(rustls::Error::InvalidMessage(_)), _) => {
                Self::new(FailureKind::NotHttp, "what answers there does not speak TLS")
            }
            (Some(other), _) => Self::new(FailureKind::Unreachable, format!("no TLS: {other}")),
            (None, Some(io::ErrorKind::TimedOut)) => Self::connect_timeout(),
            (None, Some(io::ErrorKind::ConnectionRefused)) => Self::refused(),
            // The resolver's failures have no type of their own to look for.
            (None, _) if chain(error).contains("failed to lookup") => Self::unknown_name(),
            (None, Some(kind)) => Self::new(FailureKind::Unreachable, describe_io(Some(kind), error)),
            (None, None) => Self::new(FailureKind::Lost, describe_io(None, error)),
        }
    }

    /// What a failure of TLS means; `None`: nothing that has a word of its own.
    fn of_handshake(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(why) => Some(Self::new(kind_of(why), distrust(why))),
            rustls::Error::InvalidMessage(_) => {
                Some(Self::new(FailureKind::NotHttp, "what answers there does not speak TLS"))
            }
            rustls::Error::AlertReceived(alert) => Some(Self::rejected(rejection(*alert)?)),
            _ => None,
        }
    }

    fn rejected(why: &str) -> Self {
        let cause = format!("it does not take the certificate of this command: {why}");
        Self::new(FailureKind::Rejected, cause)
    }

    fn refused() -> Self {
        Self::new(FailureKind::Refused, "connection refused")
    }

    fn unknown_name() -> Self {
        Self::new(FailureKind::UnknownName, "the host name is not known")
    }

    /// A connection that was not there in time.
    pub fn connect_timeout() -> Self {
        Self::new(FailureKind::ConnectTimeout, "no connection in time; is a firewall in between?")
    }

    fn of_connect(error: &reqwest::Error, io_kind: Option<io::ErrorKind>) -> Self {
        if error.is_timeout() || io_kind == Some(io::ErrorKind::TimedOut) {
            return Self::connect_timeout();
        }
        if io_kind == Some(io::ErrorKind::ConnectionRefused) {
            return Self::refused();
        }
        // The resolver's failures have no type of their own to look for.
        if chain(error).contains("dns error") {
            return Self::unknown_name();
        }
        let cause = match io_kind {
            Some(io::ErrorKind::NotFound) => "there is no such socket".to_owned(),
            Some(io::ErrorKind::PermissionDenied) => "this user may not open it".to_owned(),
            kind => describe_io(kind, error),
        };
        Self::new(FailureKind::Unreachable, cause)
    }
}

/// Why a certificate is not taken that counts at another time.
const ENDED_OR_NOT_BEGUN: &str = "it has ended, or not begun";
const ENDED: &str = "it has ended";
const NOT_BEGUN: &str = "it has not begun";

/// What kind of failure it is that a certificate is not believed.
fn kind_of(why: &rustls::CertificateError) -> FailureKind {
    match why {
        rustls::CertificateError::NotValidForName
        | rustls::CertificateError::NotValidForNameContext { .. } => FailureKind::OtherName,
        why if unwanted(why).is_some() => FailureKind::OtherCluster,
        _ => FailureKind::Untrusted,
    }
}

/// Why a certificate that is believed is not taken; `None`: it is not believed.
fn unwanted(why: &rustls::CertificateError) -> Option<&UnwantedServer> {
    let rustls::CertificateError::Other(OtherError(source)) = why else { return None };
    source.downcast_ref()
}

/// Why a certificate proves nothing, or not that the server is one that is wanted.
fn distrust(why: &rustls::CertificateError) -> String {
    match unwanted(why) {
        Some(unwanted) => format!("what answers there is another daemon than is called: {unwanted}"),
        None => format!("its certificate proves nothing: {}", untrusted(why)),
    }
}

/// Reason why a certificate is not believed.
pub(crate) fn untrusted(why: &rustls::CertificateError) -> String {
    match why {
        rustls::CertificateError::UnknownIssuer => "no authority that is trusted has signed it".to_owned(),
        rustls::CertificateError::Expired => ENDED.to_owned(),
        rustls::CertificateError::NotValidYet => NOT_BEGUN.to_owned(),
        rustls::CertificateError::Other(OtherError(source)) => chain(source),
        why => why.to_string(),
    }
}

fn describe_io(kind: Option<io::ErrorKind>, error: &(dyn Error + 'static)) -> String {
    match kind {
        Some(io::ErrorKind::ConnectionReset) => "the connection was reset".to_owned(),
        Some(io::ErrorKind::NetworkUnreachable) => "the network cannot be reached from here".to_owned(),
        Some(io::ErrorKind::HostUnreachable) => "the host cannot be reached from here".to_owned(),
        Some(_) | None => {
            // The innermost message says what happened; the outer ones only where in the client.
            let mut source: &dyn Error = error;
            while let Some(next) = source.source() {
                source = next;
            }
            let text = chain(&source);
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
    }
}

/// Why a certificate that was shown is not taken; `None`: the alert is about something else.
fn rejection(alert: AlertDescription) -> Option<&'static str> {
    match alert {
        AlertDescription::CertificateRevoked => Some("it was revoked"),
        AlertDescription::CertificateExpired => Some(ENDED_OR_NOT_BEGUN),
        AlertDescription::UnknownCA => Some("no authority that the daemon trusts has signed it"),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => Some("it proves nobody there"),
        AlertDescription::CertificateRequired => Some("there is none, and one is needed"),
        _ => None,
    }
}

/// The alerts that are about a certificate.
const ALERTS: [AlertDescription; 8] = [
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::UnknownCA,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateUnknown,
    AlertDescription::AccessDenied,
    AlertDescription::CertificateRequired,
];

/// The same of a failure of which only the words are left: those of TLS itself, since [`chain`] writes them otherwise.
fn told_rejection(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut layer = Some(error);
    while let Some(current) = layer {
        let words = current.to_string();
        let named =
            |alert: &&AlertDescription| words.contains(&rustls::Error::AlertReceived(**alert).to_string());
        if let Some(alert) = ALERTS.iter().find(named) {
            return rejection(*alert);
        }
        layer = current.source();
    }
    None
}

/// The failure of TLS in the chain of `error`, which may be inside one of a connection.
fn find_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // What is inside an error of a connection is not what it names as its cause.
        let inside = error.downcast_ref::<io::Error>().and_then(|error| error.get_ref());
        current = inside.map(|error| error as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

/// The first error of type `T` in the chain of `error`.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        current = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("error sending request")]
    struct Outer(#[source] io::Error);

    /// An alert of which HTTP/2 has kept the words.
    fn told(alert: AlertDescription) -> Outer {
        Outer(io::Error::other(rustls::Error::AlertReceived(alert).to_string()))
    }

    #[test]
    fn an_alert_about_a_certificate_is_known_by_its_words() {
        for alert in ALERTS {
            let why = told_rejection(&told(alert));
            assert!(why.is_some(), "{alert:?}");
            assert_eq!(why, rejection(alert), "{alert:?}");
        }
        for alert in [AlertDescription::HandshakeFailure, AlertDescription::InternalError] {
            assert_eq!(told_rejection(&told(alert)), None, "{alert:?}");
        }
    }
}
