//! Caller of the daemon, and what it asked of the pipeline beside the request itself.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use omnirelay_core::trace_context::TraceContext;
use omnirelay_pki::certificate::Certificate;
use omnirelay_pki::key::Fingerprint;
use omnirelay_wire::fault::Fault;
use tokio::time::Instant;

use super::bearer::BearerToken;
use super::caller_trace::caller_trace;
use super::tls::ShownCertificate;
use super::trust::HolderStanding;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id or idempotency key taken from a caller, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 128;

/// The version of HTTP that a call came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallTransport {
    /// HTTP/1.1, or an older version.
    Http1,
    Http2,
    Http3,
}

impl CallTransport {
    pub const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Http3];

    pub fn of(version: http::Version) -> Self {
        match version {
            http::Version::HTTP_3 => Self::Http3,
            http::Version::HTTP_2 => Self::Http2,
            _ => Self::Http1,
        }
    }

    /// As answers, metrics and the log have it: `http1`, `http2` or `http3`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Http3 => "http3",
        }
    }
}

/// Encoding of the messages of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallEncoding {
    /// As gRPC has them.
    Protobuf,
    /// As a whole, or as server-sent events.
    Json,
}

impl CallEncoding {
    pub const ALL: [Self; 2] = [Self::Protobuf, Self::Json];

    /// Kind of the protocol that has it, as metrics have it: `grpc` or `http`.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Protobuf => "grpc",
            Self::Json => "http",
        }
    }

    /// As answers, metrics and the log have it: `protobuf` or `json`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Protobuf => "protobuf",
            Self::Json => "json",
        }
    }
}

/// Protocol by which a call came in: transport and encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallProtocol {
    pub transport: CallTransport,
    pub encoding: CallEncoding,
}

impl CallProtocol {
    /// Protocol of a call by gRPC.
    pub fn of_grpc(version: http::Version) -> Self {
        Self { transport: CallTransport::of(version), encoding: CallEncoding::Protobuf }
    }

    /// Protocol of a call over HTTP that is no gRPC.
    pub fn of_http(version: http::Version) -> Self {
        Self { transport: CallTransport::of(version), encoding: CallEncoding::Json }
    }

    /// The kind of the protocol, as metrics have it: `grpc` or `http`.
    pub fn word(self) -> &'static str {
        self.encoding.protocol()
    }

    /// Name of what client and daemon agreed on: `grpc`, `http/1.1`, `http/2` or `http/3`.
    pub fn negotiated(self) -> &'static str {
        match (self.encoding, self.transport) {
            (CallEncoding::Protobuf, _) => "grpc",
            (CallEncoding::Json, CallTransport::Http1) => "http/1.1",
            (CallEncoding::Json, CallTransport::Http2) => "http/2",
            (CallEncoding::Json, CallTransport::Http3) => "http/3",
        }
    }
}

/// Scope of what a caller may do. Each stands for itself: holding `mesh.admin` alone grants no `mesh.read`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// What relays and agents need to do their work, and nobody else.
    MeshConnect,
    MeshRead,
    MeshOperate,
    MeshAdmin,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::MeshConnect, Self::MeshRead, Self::MeshOperate, Self::MeshAdmin];

    /// As in the proto: `mesh.read`.
    pub fn word(self) -> &'static str {
        match self {
            Self::MeshConnect => "mesh.connect",
            Self::MeshRead => "mesh.read",
            Self::MeshOperate => "mesh.operate",
            Self::MeshAdmin => "mesh.admin",
        }
    }

    /// The scope with this word, if there is one.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.word() == word)
    }

    fn bit(self) -> u8 {
        match self {
            Self::MeshRead => 1,
            Self::MeshOperate => 2,
            Self::MeshAdmin => 4,
            Self::MeshConnect => 8,
        }
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    pub const NONE: Self = Self(0);

    /// Every scope there is.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Those that are in both.
    #[must_use]
    pub fn intersection(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// Those of either.
    #[must_use]
    pub fn union(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// The scopes held, from the weakest up.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

/// `mesh.read, mesh.operate`; `none` for the empty set.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("none");
        }
        for (index, scope) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}", scope.word())?;
        }
        Ok(())
    }
}

/// Identity that the daemon has proved the caller to have, and what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub name: Arc<str>,
    pub scopes: Scopes,
    /// What it may do where a call concerns the node that is asked, and no other; not less than `scopes`.
    pub own_node: Scopes,
    /// What proves it.
    pub proof: CallerProof,
}

impl Principal {
    /// Somebody who has proved nothing, and is taken for this.
    pub fn unproven(name: impl Into<Arc<str>>, scopes: Scopes) -> Self {
        Self::proven(name, scopes, CallerProof::Nothing)
    }

    /// Somebody who may do the same whatever node a call concerns.
    pub fn proven(name: impl Into<Arc<str>>, scopes: Scopes, proof: CallerProof) -> Self {
        Self { name: name.into(), scopes, own_node: scopes, proof }
    }
}

/// Prefix of the names of all nodes, operators or services of one other cluster, such as `node:west/`; `None`: the name is of
/// this mesh.
///
/// Their authority names as many as it likes, so that what is bounded for each caller is bounded for all of them.
pub fn cluster_kin(principal: &str) -> Option<&str> {
    let (kind, name) = principal.split_once(':')?;
    let end = name.find('/').filter(|_| ["node", "operator", "service"].contains(&kind))?;
    principal.get(..=kind.len() + 1 + end)
}

/// Proof of who somebody is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CallerProof {
    /// Where they call from is taken for it.
    #[default]
    Nothing,
    /// Nothing does, and this is why: they call what anybody may call.
    Refused(Box<Fault>),
    /// A line of the token file, by what tells its secret from others.
    TokenFile(Fingerprint),
    /// A token that the mesh or another issuer has signed.
    Bearer(Arc<BearerToken>),
    Certificate,
    /// A certificate that nothing but roots which this host's configuration names vouches for.
    CertificateOfHost,
    /// A certificate of a node of this federated cluster.
    Federated(Arc<str>),
    /// A certificate of another cluster of the trust domain.
    Sibling(SiblingProof),
    /// The system says which user has opened the control socket.
    Socket,
}

impl CallerProof {
    /// As answers have it: `none`, `token-file`, `token`, `certificate` or `socket`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nothing | Self::Refused(_) => "none",
            Self::TokenFile(_) => "token-file",
            Self::Bearer(_) => "token",
            Self::Certificate | Self::CertificateOfHost | Self::Federated(_) | Self::Sibling(_) => {
                "certificate"
            }
            Self::Socket => "socket",
        }
    }

    /// The token that was sent, if that is what proves it.
    pub fn bearer(&self) -> Option<&Arc<BearerToken>> {
        match self {
            Self::Bearer(bearer) => Some(bearer),
            Self::Nothing
            | Self::Refused(_)
            | Self::TokenFile(_)
            | Self::Certificate
            | Self::CertificateOfHost
            | Self::Federated(_)
            | Self::Sibling(_)
            | Self::Socket => None,
        }
    }

    /// The federated cluster that it is of; `None`: it is of this mesh.
    pub fn federated(&self) -> Option<&str> {
        match self {
            Self::Federated(cluster) => Some(cluster),
            Self::Nothing
            | Self::Refused(_)
            | Self::TokenFile(_)
            | Self::Bearer(_)
            | Self::Certificate
            | Self::CertificateOfHost
            | Self::Sibling(_)
            | Self::Socket => None,
        }
    }

    /// The other cluster of the trust domain that vouches for whom it proves; `None`: it is of this mesh, or federated.
    pub fn sibling(&self) -> Option<&str> {
        match self {
            Self::Sibling(proof) => Some(&proof.cluster),
            Self::Bearer(bearer) => bearer.sibling(),
            Self::Nothing
            | Self::Refused(_)
            | Self::TokenFile(_)
            | Self::Certificate
            | Self::CertificateOfHost
            | Self::Federated(_)
            | Self::Socket => None,
        }
    }
}

/// Certificate of somebody whom another cluster of the trust domain vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiblingProof {
    pub cluster: Arc<str>,
    /// Its last second, in Unix time.
    pub not_after: i64,
}

/// Asks again whether somebody is who they were taken for.
#[derive(Clone)]
pub struct PrincipalRecheck(Arc<dyn Fn() -> Result<(), Fault> + Send + Sync>);

impl PrincipalRecheck {
    pub fn new(holds: impl Fn() -> Result<(), Fault> + Send + Sync + 'static) -> Self {
        Self(Arc::new(holds))
    }

    /// # Errors
    /// When they are not.
    pub fn check(&self) -> Result<(), Fault> {
        (self.0)()
    }
}

impl fmt::Debug for PrincipalRecheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provisional").finish_non_exhaustive()
    }
}

/// Facts about the other end of a connection before it says anything: what an authenticator judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// `0.0.0.0:0` where it has no address, as behind a unix socket.
    pub remote: SocketAddr,
    /// Where it has reached this daemon; `None` where that is not known.
    pub local: Option<SocketAddr>,
    /// The user that has connected to a unix socket, as the kernel says: by name, else by number.
    pub user: Option<Arc<str>>,
    /// What it has shown under TLS, judged.
    pub certificate: Option<Arc<Certificate>>,
    /// What that makes of it.
    pub standing: HolderStanding,
    /// Whether nothing but roots that this host's configuration names vouches for that.
    pub by_own_roots: bool,
}

impl PeerInfo {
    /// A peer at an address.
    pub fn at(remote: SocketAddr, local: Option<SocketAddr>) -> Self {
        Self {
            remote,
            local,
            user: None,
            certificate: None,
            standing: HolderStanding::Member,
            by_own_roots: false,
        }
    }

    /// Adds the certificate that the other end has shown in the TLS handshake.
    #[must_use]
    pub fn showing(self, shown: Option<&ShownCertificate>) -> Self {
        let Some(ShownCertificate { certificate, standing, by_own_roots, .. }) = shown else { return self };
        let (certificate, standing) = (Some(Arc::clone(certificate)), standing.clone());
        Self { certificate, standing, by_own_roots: *by_own_roots, ..self }
    }

    /// A peer behind a unix socket.
    pub fn of_user(name: impl Into<Arc<str>>) -> Self {
        Self { user: Some(name.into()), ..Self::unknown() }
    }

    /// A peer that nothing is known of; no authenticator trusts it for where it is.
    pub fn unknown() -> Self {
        Self::at(SocketAddr::from(([0, 0, 0, 0], 0)), None)
    }

    /// Whether it is on this host: it came over the loopback interface, or from the address that it called.
    pub(crate) fn is_of_this_host(&self) -> bool {
        let remote = self.remote.ip().to_canonical();
        let same = |local: SocketAddr| local.ip().to_canonical() == remote && !remote.is_unspecified();
        remote.is_loopback() || self.local.is_some_and(same)
    }
}

/// The name of one request in answers, faults and logs: visible ASCII, 1 to 128 characters. The trace that its caller says goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {
    id: HeaderValue,
    trace: Option<TraceContext>,
}

impl RequestId {
    /// The id of work that no request asked for.
    pub fn of_static(text: &'static str) -> Self {
        Self { id: HeaderValue::from_static(text), trace: None }
    }

    /// Empty never: every value was checked or made here.
    pub fn as_str(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    pub fn header(&self) -> HeaderValue {
        self.id.clone()
    }

    /// The trace that the request is of, and the span that it comes from; `None`: its caller says none.
    pub fn trace(&self) -> Option<TraceContext> {
        self.trace
    }

    /// The caller's own id, when it is fit to stand in a log line.
    fn from_caller(headers: &HeaderMap) -> Option<HeaderValue> {
        let value = headers.get(REQUEST_ID)?;
        let bytes = value.as_bytes();
        let sane = (1..=KEY_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
        sane.then(|| value.clone())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes the ids of requests that bring none: unique, not secret.
#[derive(Debug)]
pub struct RequestIds {
    prefix: u64,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        let mut prefix = [0; 8];
        // Without randomness ids are only unique within this process, which is what the log needs.
        let _ = getrandom::fill(&mut prefix);
        Self { prefix: u64::from_le_bytes(prefix), next: AtomicU64::new(1) }
    }
}

impl RequestIds {
    pub fn of(&self, headers: &HeaderMap) -> RequestId {
        let id = RequestId::from_caller(headers).unwrap_or_else(|| {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let id = format!("{:012x}-{number:x}", self.prefix >> 16);
            HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("unnamed"))
        });
        RequestId { id, trace: caller_trace(headers) }
    }
}

/// Condition of `If-Match` on the object that is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// It must have exactly this version; 0: it must not exist.
    Version(u64),
    /// It must exist, whatever its version (`*`).
    Exists,
}

/// Caller of an operation, and how it calls: found in the extensions of every request that passed the pipeline.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The proven identity, such as `local`.
    pub principal: Arc<str>,
    pub scopes: Scopes,
    /// What the principal may do where a call concerns the node that is asked, and no other; not less than `scopes`.
    pub own_node: Scopes,
    /// What proves the principal.
    pub proof: CallerProof,
    /// What the caller has shown under TLS, whether or not it is what proves the principal.
    pub certificate: Option<Arc<Certificate>>,
    /// What is asked again before anything is committed for it.
    pub provisional: Option<PrincipalRecheck>,
    /// Where it calls from; `0.0.0.0:0` where that is no address, as behind a unix socket.
    pub remote: SocketAddr,
    pub request_id: RequestId,
    /// What the call came by; of a stream, for as long as it lasts.
    pub protocol: CallProtocol,
    /// 1 to 128 visible ASCII characters.
    pub idempotency_key: Option<String>,
    /// Stands in for the key that the caller of a mutation did not give, where the store's answer can be lost on its
    /// way: nobody has used it before.
    pub generated_key: Option<String>,
    pub if_match: Option<IfMatch>,
    /// As it came; ask [`Caller::has_seen`].
    pub if_none_match: Option<String>,
    /// When the pipeline gives the call up; `None` for a watch without one.
    pub deadline: Option<Instant>,
}

impl Caller {
    /// Whether `If-None-Match` names this entity tag, so that the answer may be 304 without a body.
    ///
    /// `etag` is as in the header, with its quotes; weak and strong tags count as equal.
    pub fn has_seen(&self, etag: &str) -> bool {
        let Some(tags) = &self.if_none_match else { return false };
        let wanted = etag.trim_start_matches("W/");
        tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == wanted)
    }

    /// The same call, of somebody who is known by what the request itself proves. No answer of before is given again: whether
    /// that still holds is asked anew.
    pub fn proven_by_request(&self, principal: String) -> Self {
        Self { principal: principal.into(), idempotency_key: None, generated_key: None, ..self.clone() }
    }

    /// The key under which a mutation may be repeated: the caller's, or the one made for it.
    pub fn repeat_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref().or(self.generated_key.as_deref())
    }

    /// Time that the call may still take; `None` for a watch without a deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

#[cfg(any(test, feature = "testing"))]
impl Caller {
    /// One who may do everything, and says nothing beside the request.
    pub fn of_tests(principal: &str) -> Self {
        Self {
            principal: principal.into(),
            scopes: Scopes::all(),
            own_node: Scopes::all(),
            proof: CallerProof::Nothing,
            certificate: None,
            provisional: None,
            remote: SocketAddr::from(([127, 0, 0, 1], 5)),
            request_id: RequestId::of_static("test"),
            protocol: CallProtocol::of_http(http::Version::HTTP_11),
            idempotency_key: None,
            generated_key: None,
            if_match: None,
            if_none_match: None,
            deadline: None,
        }
    }
}

#[cfg(test)]
#[path = "caller_test.rs"]
pub(crate) mod tests;
