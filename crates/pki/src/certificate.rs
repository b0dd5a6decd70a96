//! Contents of a certificate: its number, whose it is, from when to when, and for which key.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use omnirelay_core::spiffe::{SpiffeId, SpiffeIdError};
use pem::{EncodeConfig, LineEnding, Pem};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::key::Fingerprint;

/// How large a certificate may be, in bytes. One with all names that a mesh issues, for a key of RSA of 8192 bits, has less.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// How long after its end a certificate still proves who joins again, in seconds.
pub const GRACE: i64 = 72 * 3600;
/// The longest serial number in bytes (RFC 5280, 4.1.2.2).
pub const SERIAL_BYTES_MAX: usize = 20;

/// Reason why a certificate is none of a mesh.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("it is no X.509 certificate")]
    Malformed,
    #[error("it has {0} bytes, and {CERTIFICATE_BYTES_MAX} are the most that are read")]
    TooLarge(usize),
    #[error("it has {0} names that are URIs, and one of a mesh has one, its SPIFFE ID")]
    Ids(usize),
    #[error("its SPIFFE ID: {0}")]
    Id(#[from] SpiffeIdError),
    #[error("it has a name that is neither a URI nor a DNS name nor an address")]
    Name,
    #[error("it is no root: an authority that signed itself")]
    NoRoot,
}

/// The number of a certificate, which no other of its issuer has.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateSerial(Vec<u8>);

impl CertificateSerial {
    /// The one with these bytes, leading zeros apart.
    pub fn of(bytes: &[u8]) -> Self {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Self(bytes[zeros..].to_vec())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for CertificateSerial {
    type Err = SerialError;

    /// Of hex digits, as it is printed; colons between them are passed over.
    fn from_str(text: &str) -> Result<Self, SerialError> {
        let digits: Option<Vec<u8>> =
            text.chars().filter(|c| *c != ':').map(|c| Some(c.to_digit(16)? as u8)).collect();
        let digits = digits.filter(|digits| (1..=2 * SERIAL_BYTES_MAX).contains(&digits.len()));
        let digits = digits.ok_or(SerialError)?;
        let (odd, pairs) = digits.split_at(digits.len() % 2);
        let bytes: Vec<u8> =
            odd.iter().copied().chain(pairs.chunks(2).map(|pair| pair[0] << 4 | pair[1])).collect();
        Ok(Self::of(&bytes))
    }
}

/// A text that is no serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a serial number is 1 to 40 hex digits")]
pub struct SerialError;

impl fmt::Display for CertificateSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("00");
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CertificateSerial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Use that a certificate lets its key be put to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyMay {
    /// Sign, as whoever shakes hands by TLS 1.3 has to. Where nothing is said everything is allowed.
    Sign,
    /// Something else alone, as to have keys encrypted for it.
    NotSign,
}

/// A leaf of a mesh. Reading one proves nothing; [`crate::trust::TrustBundle::verify`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub serial: CertificateSerial,
    pub id: SpiffeId,
    pub names: TlsNames,
    /// The first second of its life, of the Unix time.
    pub not_before: i64,
    /// The last second of its life.
    pub not_after: i64,
    /// Of its public key.
    pub key: Fingerprint,
}

/// Names by which a TLS client may find the holder, besides the SPIFFE ID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsNames {
    pub dns: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

impl TlsNames {
    /// Those by which every host is its own.
    pub fn of_this_host() -> Self {
        let addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        Self { dns: vec!["localhost".to_owned()], addresses }
    }

    /// Adds an address, or a DNS name in small letters, which is not looked at; once.
    pub fn add(&mut self, name: &str) {
        match name.parse() {
            Ok(address) if !self.addresses.contains(&address) => self.addresses.push(address),
            Err(_) if !self.dns.iter().any(|known| known.eq_ignore_ascii_case(name)) => {
                self.dns.push(name.to_ascii_lowercase());
            }
            Ok(_) | Err(_) => {}
        }
    }
}

impl Certificate {
    /// The leaf with this DER.
    ///
    /// # Errors
    /// What makes it none of a mesh.
    pub fn read(der: &[u8]) -> Result<Self, CertificateError> {
        Self::read_with_usage(der).map(|(read, _)| read)
    }

    /// The same, and what its key may do.
    pub(crate) fn read_with_usage(der: &[u8]) -> Result<(Self, KeyMay), CertificateError> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::TooLarge(der.len()));
        }
        let (rest, found) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        let usage = found.key_usage().map_err(|_| CertificateError::Malformed)?;
        let may = match usage.is_none_or(|usage| usage.value.digital_signature()) {
            true => KeyMay::Sign,
            false => KeyMay::NotSign,
        };
        let named = found.subject_alternative_name().map_err(|_| CertificateError::Malformed)?;
        let (id, names) = names_of(named.map_or(&[], |named| named.value.general_names.as_slice()))?;
        let read = Self {
            serial: CertificateSerial::of(found.raw_serial()),
            id: id.ok_or(CertificateError::Ids(0))?,
            names,
            not_before: found.validity().not_before.timestamp(),
            not_after: found.validity().not_after.timestamp(),
            key: Fingerprint::of(found.public_key().raw),
        };
        Ok((read, may))
    }
}

/// Contents of any certificate, whoever it is of: of a mesh or not, of an authority or not. They prove nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnyCertificate {
    pub serial: CertificateSerial,
    pub subject: String,
    pub issuer: String,
    /// The first SPIFFE ID among its names.
    pub id: Option<SpiffeId>,
    /// Its DNS names and addresses; other names are passed over.
    pub names: TlsNames,
    /// The first second of its life, of the Unix time.
    pub not_before: i64,
    /// The last second of its life.
    pub not_after: i64,
    /// Of its public key.
    pub key: Fingerprint,
    /// Whether it may sign others.
    pub is_authority: bool,
}

impl AnyCertificate {
    /// The certificate with this DER.
    ///
    /// # Errors
    /// [`CertificateError::Malformed`].
    pub fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let (rest, found) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::Malformed);
        }
        let named = found.subject_alternative_name().ok().flatten();
        let (mut id, mut names) = (None, TlsNames::default());
        for name in named.map_or(&[][..], |named| named.value.general_names.as_slice()) {
            match name {
                GeneralName::URI(uri) => id = id.or_else(|| uri.parse().ok()),
                GeneralName::DNSName(dns) => names.dns.push((*dns).to_owned()),
                GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Ok(Self {
            serial: CertificateSerial::of(found.raw_serial()),
            subject: found.subject().to_string(),
            issuer: found.issuer().to_string(),
            id,
            names,
            not_before: found.validity().not_before.timestamp(),
            not_after: found.validity().not_after.timestamp(),
            key: Fingerprint::of(found.public_key().raw),
            is_authority: found.is_ca(),
        })
    }
}

/// Whether the holder of one certificate has signed another, whenever that was.
pub fn is_signed_by(signed: &[u8], signer: &[u8]) -> bool {
    let (Ok((_, signed)), Ok((_, signer))) =
        (X509Certificate::from_der(signed), X509Certificate::from_der(signer))
    else {
        return false;
    };
    signer.is_ca()
        && signed.issuer() == signer.subject()
        && signed.verify_signature(Some(signer.public_key())).is_ok()
}

/// The fingerprint of the key of any certificate, an authority's too.
///
/// # Errors
/// When it is no certificate.
pub fn key_of(der: &[u8]) -> Result<Fingerprint, CertificateError> {
    let (_, found) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    Ok(Fingerprint::of(found.public_key().raw))
}

/// Validity of any certificate, an authority's too: its first and its last second of the Unix time.
///
/// # Errors
/// When it is no certificate.
pub fn validity_of(der: &[u8]) -> Result<(i64, i64), CertificateError> {
    let (_, found) = X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    let validity = found.validity();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// A certificate as PEM.
pub fn to_pem(der: &[u8]) -> String {
    pem::encode_config(&Pem::new("CERTIFICATE", der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// The SPIFFE ID, where there is one, and the other names.
///
/// # Errors
/// A second SPIFFE ID, or a name of another kind.
pub(crate) fn names_of(all: &[GeneralName]) -> Result<(Option<SpiffeId>, TlsNames), CertificateError> {
    let mut names = TlsNames::default();
    let mut ids = Vec::new();
    for name in all {
        match name {
            GeneralName::URI(uri) => ids.push(*uri),
            GeneralName::DNSName(dns) => names.dns.push((*dns).to_owned()),
            GeneralName::IPAddress(bytes) => {
                names.addresses.push(address(bytes).ok_or(CertificateError::Name)?);
            }
            _ => return Err(CertificateError::Name),
        }
    }
    match ids[..] {
        [] => Ok((None, names)),
        [id] => Ok((Some(id.parse()?), names)),
        _ => Err(CertificateError::Ids(ids.len())),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let sixteen = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    four.or(sixteen).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_is_read_as_it_is_printed() {
        for (text, printed) in [("0a", "0a"), ("A", "0a"), ("00:01:fF", "01ff"), ("123", "0123"), ("0", "00")]
        {
            assert_eq!(text.parse::<CertificateSerial>().unwrap().to_string(), printed, "{text}");
        }
        for text in ["", ":", "0x10", "g", &"1".repeat(41)] {
            assert_eq!(text.parse::<CertificateSerial>(), Err(SerialError), "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for der in [&b""[..], b"x", &[0x30, 0x80], &[0x30; 64]] {
            assert_eq!(Certificate::read(der), Err(CertificateError::Malformed));
        }
    }
}
