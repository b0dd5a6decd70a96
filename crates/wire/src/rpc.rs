//! Declarations of the daemon's methods in the protos: how each is called, what it takes, its name in the audit trail.
//!
//! One module for each service, one constant for each method, generated: `peer_control_service::CORDON`.

/// Declaration of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpcMethod {
    /// `package.Service/Method`.
    pub method: &'static str,
    pub verb: HttpVerb,
    /// With `{field_name}` where a field of the request stands, `{field_name=**}` where it may hold slashes; empty for
    /// a method that has no route. Of several routes the first.
    pub path: &'static str,
    /// The scope a caller must hold.
    pub scope: &'static str,
    /// What the audit trail calls it; empty: it changes nothing.
    pub audit_action: &'static str,
    /// It is answered once its work is done, so that silence is no sign of a daemon that hangs.
    pub awaits_work: bool,
}

/// The HTTP method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVerb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
    /// There is no route: it is called over gRPC.
    Grpc,
}

impl RpcMethod {
    /// Whether it changes something.
    pub const fn mutates(&self) -> bool {
        !self.audit_action.is_empty()
    }
}

impl HttpVerb {
    pub const fn method(self) -> http::Method {
        match self {
            Self::Get => http::Method::GET,
            Self::Post | Self::Grpc => http::Method::POST,
            Self::Put => http::Method::PUT,
            Self::Patch => http::Method::PATCH,
            Self::Delete => http::Method::DELETE,
        }
    }
}

include!(concat!(env!("OUT_DIR"), "/rpcs.rs"));
