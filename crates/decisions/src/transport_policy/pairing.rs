//! Pairings: a transport and an encoding, read from their words.

use std::fmt;

use omnirelay_core::text::shown;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

/// How much of a word that means nothing an error shows, in characters.
const WORD_CHARS_SHOWN: usize = 40;

/// Transport by which bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WireTransport {
    Http3,
    Http2,
    Http1,
}

/// Encoding of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WireEncoding {
    Protobuf,
    Json,
    /// Whatever both ends have agreed on: nobody between them can tell.
    Raw,
}

/// Pairing of transport and encoding that is spoken at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtocolPairing {
    pub transport: WireTransport,
    pub encoding: WireEncoding,
}

impl WireTransport {
    const ALL: [Self; 3] = [Self::Http3, Self::Http2, Self::Http1];

    pub fn word(self) -> &'static str {
        match self {
            Self::Http3 => "http3",
            Self::Http2 => "http2",
            Self::Http1 => "http1",
        }
    }

    pub(super) fn parse(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|one| one.word() == word)
            .ok_or_else(|| unknown("transport", word, &Self::ALL.map(Self::word)))
    }
}

impl WireEncoding {
    const ALL: [Self; 3] = [Self::Protobuf, Self::Json, Self::Raw];

    pub fn word(self) -> &'static str {
        match self {
            Self::Protobuf => "protobuf",
            Self::Json => "json",
            Self::Raw => "raw",
        }
    }

    pub(super) fn parse(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|one| one.word() == word)
            .ok_or_else(|| unknown("encoding", word, &Self::ALL.map(Self::word)))
    }
}

impl ProtocolPairing {
    pub const fn new(transport: WireTransport, encoding: WireEncoding) -> Self {
        Self { transport, encoding }
    }

    /// As messages have it.
    ///
    /// # Errors
    /// The word that means nothing.
    pub fn parse(pairing: &pb::TransportPairing) -> Result<Self, String> {
        let (transport, encoding) =
            (WireTransport::parse(&pairing.transport)?, WireEncoding::parse(&pairing.encoding)?);
        Ok(Self { transport, encoding })
    }

    /// Whether anybody can speak it: gRPC needs the streams and trailers of HTTP/2.
    pub fn is_spoken(self) -> bool {
        (self.transport, self.encoding) != (WireTransport::Http1, WireEncoding::Protobuf)
    }

    pub fn message(self) -> pb::TransportPairing {
        pb::TransportPairing {
            transport: self.transport.word().to_owned(),
            encoding: self.encoding.word().to_owned(),
            unknown_fields: Default::default(),
        }
    }
}

impl fmt::Display for ProtocolPairing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.transport.word(), self.encoding.word())
    }
}

fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let word = shown(word, WORD_CHARS_SHOWN);
    format!("there is no {what} `{word}`; choose from {}", known.join(", "))
}
