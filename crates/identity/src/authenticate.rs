//! Authentication of the caller, and the hosts that a browser may call us by.

use std::net::IpAddr;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Uri};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons::{self, Reason};

use super::caller::{PeerInfo, Principal, PrincipalRecheck, Scope, Scopes};
use super::request_conditions;

/// By which a browser says, in each request, whether the page that caused it is of the address that is called.
const SEC_FETCH_SITE: http::HeaderName = http::HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: http::HeaderName = http::HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: http::HeaderName = http::HeaderName::from_static("sec-fetch-dest");
/// Where the page of a mesh is.
const PAGE: &str = "/ui/";

/// Outcome for a principal whose calls end: why they are nobody, or who they are with fewer scopes.
pub type EndedPrincipal = Result<Principal, Fault>;

/// Proves who calls. Nothing a caller can simply set in a header may grant anything.
pub trait Authenticator: Send + Sync + 'static {
    /// Names the principal behind a request, with its scopes.
    ///
    /// # Errors
    /// A fault of code `Unauthenticated` when no identity is proven.
    fn authenticate(&self, peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Fault>;

    /// What has to be asked again before this principal changes anything that others depend on: it is taken for what it is
    /// only as long as nothing else is known. `None` for those who are proven.
    fn provisional(&self, _: &Principal) -> Option<PrincipalRecheck> {
        None
    }

    /// As [`Self::authenticate`], of a request that takes no more than a look. `None`: it takes a signature, or a question to
    /// somebody else.
    fn recognize(&self, peer: &PeerInfo, headers: &HeaderMap) -> Option<Result<Principal, Fault>> {
        Some(self.authenticate(peer, headers))
    }

    /// What has to be waited for before a request can be judged that is not recognized, such as keys that are read anew; `None`:
    /// nothing.
    fn awaits(&self, _: &HeaderMap) -> Option<BoxFuture<'static, ()>> {
        None
    }

    /// What ends what this principal has under way that needs a scope: why they are nobody any more, or who they are by then,
    /// without that scope. `None`: it ends by itself, or with its connection.
    fn ends(&self, _: &Principal, _needed: Option<Scope>) -> Option<BoxFuture<'static, EndedPrincipal>> {
        None
    }
}

/// Name of whoever is taken for being on this host.
pub(super) const LOCAL: &str = "local";

/// Takes everyone who comes over the loopback interface for `local`, with all scopes.
#[derive(Debug)]
pub struct LoopbackAuthenticator(Principal);

impl Default for LoopbackAuthenticator {
    fn default() -> Self {
        Self(Principal::unproven(LOCAL, Scopes::all()))
    }
}

impl Authenticator for LoopbackAuthenticator {
    fn authenticate(&self, peer: &PeerInfo, _headers: &HeaderMap) -> Result<Principal, Fault> {
        if peer.remote.ip().to_canonical().is_loopback() {
            return Ok(self.0.clone());
        }
        Err(Fault::new(
            reasons::NOT_LOOPBACK,
            "only callers on this host are taken without proof of identity",
        ))
    }
}

/// Takes everyone for `anonymous`, with all scopes: what `--insecure` asks for.
#[derive(Debug)]
pub struct InsecureAuthenticator(Principal);

impl Default for InsecureAuthenticator {
    fn default() -> Self {
        Self(Principal::unproven("anonymous", Scopes::all()))
    }
}

impl Authenticator for InsecureAuthenticator {
    fn authenticate(&self, _peer: &PeerInfo, _headers: &HeaderMap) -> Result<Principal, Fault> {
        Ok(self.0.clone())
    }
}

/// Takes everyone on this host for `local`, with all scopes, and everyone else for `agent`, which may connect and
/// read: what a relay's port is open for.
pub struct HostAuthenticator {
    /// Whether anybody is `local`: whoever is on this host may be a proxy that speaks for anybody.
    trusts_host: Box<dyn Fn() -> bool + Send + Sync>,
    local: Principal,
    agent: Principal,
}

impl HostAuthenticator {
    /// `trusts_host`: whether anybody is `local` at all, asked for each call.
    pub fn new(trusts_host: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let agent = [Scope::MeshConnect, Scope::MeshRead].into_iter().collect();
        Self {
            trusts_host: Box::new(trusts_host),
            local: Principal::unproven(LOCAL, Scopes::all()),
            agent: Principal::unproven("agent", agent),
        }
    }
}

impl Authenticator for HostAuthenticator {
    fn authenticate(&self, peer: &PeerInfo, headers: &HeaderMap) -> Result<Principal, Fault> {
        // A web page is on this host too, but nobody of it: any name may lead it to this port.
        let page = is_of_page(headers);
        // Nor is whoever sends what should prove who they are, and does not here.
        let sent = headers.contains_key(http::header::AUTHORIZATION);
        let own = peer.is_of_this_host() && !page && !sent && (self.trusts_host)();
        Ok(if own { &self.local } else { &self.agent }.clone())
    }
}

/// The names a request may call this daemon by.
///
/// Where being on the host is proof enough, a web page could speak for the operator: by a name of its own
/// that resolves to this host, or across origins. Both show in headers a page cannot set.
///
/// A browser names the origin of a page in every request that changes something. It must be the one that
/// is called, to the port: a page of another port of this host is another's. Of a request for an image or a frame it
/// names none, but says whether the page is another's.
#[derive(Clone, Debug)]
pub struct AllowedHosts {
    /// Without port, in lower case.
    named: Vec<String>,
    /// Whether any other will do.
    any: bool,
}

impl AllowedHosts {
    /// Any name, for listeners that do not trust a caller for where it is. Origins are checked still.
    pub fn any() -> Self {
        Self::default().or_any()
    }

    /// `localhost`, loopback addresses, and these names (without port, in any case).
    ///
    /// Pages that stand at these names, at the port of their scheme, may call as well.
    pub fn loopback_and(names: impl IntoIterator<Item = String>) -> Self {
        Self { named: names.into_iter().map(|name| name.to_ascii_lowercase()).collect(), any: false }
    }

    /// As [`Self::any`], but these where a page may have come to a unix socket: see [`Self::check_at_socket`].
    #[must_use]
    pub fn or_any(self) -> Self {
        Self { any: true, ..self }
    }

    /// As [`Self::check`], of a request at a unix socket, which clients name as they like: no page can have been led there by a
    /// name. Where a TCP port leads to the socket, as by `ssh -L`, one can: what shows that it is a page's, or names a port, is
    /// held to the names, as neither is shown by whoever is at the socket itself.
    ///
    /// # Errors
    /// As of [`Self::check`].
    pub fn check_at_socket(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
        let names_port = called(uri, headers).is_some_and(|host| without_port(host) != host);
        let any = !names_port && !is_of_page(headers);
        Self { any, ..self.clone() }.check(uri, headers)
    }

    /// # Errors
    /// A fault that says by which name or from which page the daemon may not be called.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Fault> {
        if headers.get_all(http::header::HOST).iter().nth(1).is_some() {
            return Err(request_conditions::refused("host", "is given more than once"));
        }
        let host = called(uri, headers);
        if let Some(host) = host
            && !self.any
            && !known(&self.named, host)
        {
            return Err(refused(reasons::HOST_NOT_ALLOWED, "host", host)
                .hint("call it as localhost, or add the name to the daemon's allowed hosts"));
        }
        match text(headers, http::header::ORIGIN) {
            Some(origin) if !self.is_own(origin, host) => {
                Err(refused(reasons::ORIGIN_NOT_ALLOWED, "origin", origin)
                    .hint("a web page may call only the daemon it came from, or one that names its host"))
            }
            Some(_) => Ok(()),
            // Nor does a browser name the page that an image or a link is on, but it says whether it is another's.
            None => match text(headers, SEC_FETCH_SITE) {
                Some("cross-site" | "same-site") if opens_page(uri, headers) => Ok(()),
                Some(site @ ("cross-site" | "same-site")) => {
                    Err(refused(reasons::ORIGIN_NOT_ALLOWED, "a page that is", site).hint(
                        "a web page may call only the daemon it came from; open the address itself instead",
                    ))
                }
                _ => Ok(()),
            },
        }
    }

    /// Whether a page of this origin may call the daemon as `host`.
    fn is_own(&self, origin: &str, host: Option<&str>) -> bool {
        let Some((_, authority)) = origin.split_once("://").filter(|(_, authority)| !authority.is_empty())
        else {
            return false;
        };
        let named = self.named.iter().filter(|_| !self.any).map(String::as_str);
        named.chain(host).any(|own| own.eq_ignore_ascii_case(authority))
    }
}

impl Default for AllowedHosts {
    fn default() -> Self {
        Self::loopback_and([])
    }
}

/// Whether a browser shows that a page has caused this request.
fn is_of_page(headers: &HeaderMap) -> bool {
    headers.contains_key(http::header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE)
}

/// Whether a link leads a browser to the page, whose frame has nothing of the mesh in it. A form that is sent shows its origin besides.
fn opens_page(uri: &Uri, headers: &HeaderMap) -> bool {
    uri.path().starts_with(PAGE)
        && text(headers, SEC_FETCH_MODE) == Some("navigate")
        && text(headers, SEC_FETCH_DEST) == Some("document")
}

/// By what a request calls this daemon.
fn called<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    uri.authority().map(http::uri::Authority::as_str).or_else(|| text(headers, http::header::HOST))
}

/// What a header says; `?` where that is no text.
fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

fn refused(reason: Reason, what: &str, value: &str) -> Fault {
    let shown: String = value.chars().take(64).collect();
    Fault::new(reason, format!("{what} `{shown}` is not one this listener answers to"))
}

fn known(named: &[String], authority: &str) -> bool {
    let host = without_port(authority);
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback() || named.iter().any(|name| name == host),
        Err(_) => named.iter().any(|name| name.eq_ignore_ascii_case(host)),
    }
}

/// `[::1]:80` is `[::1]`, `localhost:80` is `localhost`.
fn without_port(authority: &str) -> &str {
    let end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[end..].find(':') {
        Some(colon) => &authority[..end + colon],
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::fault::Code;

    use super::*;

    fn check(hosts: &AllowedHosts, host: &str, origin: Option<&str>) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert("origin", origin.parse().unwrap());
        }
        hosts.check(&Uri::from_static("/"), &headers).map_err(|fault| fault.reason.into_owned())
    }

    #[test]
    fn only_names_of_this_host_pass() {
        let hosts = AllowedHosts::loopback_and(["Mesh.Internal".to_owned()]);
        for host in
            ["localhost", "LOCALHOST:17420", "127.0.0.1:1", "127.8.0.1", "[::1]:17420", "mesh.internal:80"]
        {
            assert_eq!(check(&hosts, host, None), Ok(()), "{host}");
        }
        for host in
            ["evil.example", "evil.example:17420", "10.0.0.1", "localhost.evil.example", "", "[::2]:1"]
        {
            assert_eq!(check(&hosts, host, None), Err("HOST_NOT_ALLOWED".to_owned()), "{host}");
        }
        assert_eq!(check(&AllowedHosts::any(), "mesh.example", None), Ok(()));
    }

    #[test]
    fn another_origin_is_refused() {
        let named = AllowedHosts::loopback_and(["Mesh.Internal".to_owned()]);
        let cases = [
            // hosts, host, origin, passes
            (&named, "localhost:17420", "http://localhost:17420", true),
            (&named, "LOCALHOST:17420", "http://localhost:17420", true),
            (&named, "[::1]:17420", "http://[::1]:17420", true),
            (&named, "localhost:17420", "https://mesh.internal", true),
            (&named, "localhost:17420", "https://mesh.internal:8443", false),
            (&named, "localhost:17420", "http://localhost:3000", false),
            (&named, "localhost:17420", "http://localhost", false),
            (&named, "localhost:17420", "http://127.0.0.1:17420", false),
            (&named, "localhost", "https://evil.example", false),
            (&named, "localhost", "null", false),
            (&named, "localhost", "file://", false),
            (&AllowedHosts::any(), "mesh.example:17420", "http://mesh.example:17420", true),
            (&AllowedHosts::any(), "mesh.example:17420", "http://mesh.example:3000", false),
            (&AllowedHosts::any(), "mesh.example", "https://evil.example", false),
        ];
        for (hosts, host, origin, passes) in cases {
            let expected = if passes { Ok(()) } else { Err("ORIGIN_NOT_ALLOWED".to_owned()) };
            assert_eq!(check(hosts, host, Some(origin)), expected, "{origin} calls {host}");
        }
        for (site, passes) in
            [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)]
        {
            let mut headers = HeaderMap::new();
            headers.insert("host", "localhost:17420".parse().unwrap());
            headers.insert("sec-fetch-site", site.parse().unwrap());
            for hosts in [&named, &AllowedHosts::any()] {
                assert_eq!(hosts.check(&Uri::from_static("/"), &headers).is_ok(), passes, "{site}");
            }
        }
        for (path, mode, dest, passes) in [
            ("/ui/", "navigate", "document", true),
            ("/ui/main.js", "navigate", "document", true),
            ("/ui/", "navigate", "iframe", false),
            ("/ui/main.js", "no-cors", "script", false),
            ("/uix", "navigate", "document", false),
            ("/control/peers", "navigate", "document", false),
        ] {
            let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
            let mut headers = HeaderMap::new();
            for (name, value) in link {
                headers.insert(name, value.parse().unwrap());
            }
            headers.insert("host", "localhost:17420".parse().unwrap());
            assert_eq!(
                named.check(&Uri::from_static(path), &headers).is_ok(),
                passes,
                "{path} {mode} {dest}"
            );
            headers.insert("origin", "https://evil.example".parse().unwrap());
            assert!(
                named.check(&Uri::from_static(path), &headers).is_err(),
                "a form that is sent says where from"
            );
        }
        let mut headers = HeaderMap::new();
        headers.insert("origin", "http://localhost".parse().unwrap());
        assert!(AllowedHosts::any().check(&Uri::from_static("/"), &headers).is_err(), "without a host");
        let absolute = Uri::from_static("http://localhost/");
        assert!(AllowedHosts::any().check(&absolute, &headers).is_ok(), "the host stands in the address");
    }

    #[test]
    fn a_page_that_came_to_a_socket_is_held_to_the_names() {
        let named = AllowedHosts::loopback_and(["Mesh.Internal".to_owned()]);
        let cases = [
            // host, origin, passes
            ("x", None, true),
            ("", None, true),
            ("-run-control.sock", None, true),
            ("[::2]", None, true),
            ("x:17420", None, false),
            ("[::2]:17420", None, false),
            ("mesh.internal:17420", None, true),
            ("localhost:17420", Some("http://localhost:17420"), true),
            ("localhost:17420", Some("https://mesh.internal"), true),
            ("localhost:17420", Some("http://localhost:3000"), false),
            ("evil.example:17420", Some("http://evil.example:17420"), false),
            ("evil.example", Some("http://evil.example"), false),
        ];
        for hosts in [&named, &named.clone().or_any()] {
            for (host, origin, passes) in cases {
                let mut headers = HeaderMap::new();
                headers.insert("host", host.parse().unwrap());
                if let Some(origin) = origin {
                    headers.insert("origin", origin.parse().unwrap());
                }
                let checked = hosts.check_at_socket(&Uri::from_static("/"), &headers);
                assert_eq!(checked.is_ok(), passes, "{host} from {origin:?} by {hosts:?}");
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert("sec-fetch-site", "same-origin".parse().unwrap());
        let by = Uri::from_static;
        assert!(named.check_at_socket(&by("http://evil.example/"), &headers).is_err(), "a page shows itself");
        assert!(named.check_at_socket(&by("http://evil.example:1/"), &HeaderMap::new()).is_err());
        assert!(named.check_at_socket(&by("http://x/"), &HeaderMap::new()).is_ok());
    }

    #[test]
    fn loopback_grants_nothing_to_another_host() {
        let near = PeerInfo::at("[::ffff:127.0.0.1]:5".parse().unwrap(), None);
        let far = PeerInfo::at("10.0.0.7:5".parse().unwrap(), None);
        let loopback = LoopbackAuthenticator::default();
        assert_eq!(loopback.authenticate(&near, &HeaderMap::new()).unwrap().name.as_ref(), "local");
        assert_eq!(loopback.authenticate(&far, &HeaderMap::new()).unwrap_err().code, Code::Unauthenticated);
    }

    #[test]
    fn whoever_is_on_this_host_may_do_more_on_a_relays_port() {
        let cases = [
            // remote, local, a web page, who it is
            ("127.0.0.1:5", Some("127.0.0.1:50051"), false, "local"),
            ("[::ffff:127.0.0.1]:5", None, false, "local"),
            ("10.0.0.7:5", Some("10.0.0.7:50051"), false, "local"),
            ("[::ffff:10.0.0.7]:5", Some("10.0.0.7:50051"), false, "local"),
            ("10.0.0.8:5", Some("10.0.0.7:50051"), false, "agent"),
            ("10.0.0.8:5", None, false, "agent"),
            ("0.0.0.0:0", Some("0.0.0.0:50051"), false, "agent"),
            ("127.0.0.1:5", Some("127.0.0.1:50051"), true, "agent"),
        ];
        for (remote, local, page, expected) in cases {
            let local = local.map(|local| local.parse().unwrap());
            let peer = PeerInfo::at(remote.parse().unwrap(), local);
            let mut headers = HeaderMap::new();
            if page {
                headers.insert("origin", "http://evil.example:50051".parse().unwrap());
            }
            let who = HostAuthenticator::new(|| true).authenticate(&peer, &headers).unwrap();
            assert_eq!(who.name.as_ref(), expected, "{remote} calls {local:?}");
            assert!(who.scopes.contains(Scope::MeshConnect) && who.scopes.contains(Scope::MeshRead));
            assert_eq!(who.scopes.contains(Scope::MeshOperate), expected == "local", "{remote}");
            let who = HostAuthenticator::new(|| false).authenticate(&peer, &headers).unwrap();
            assert_eq!(who.name.as_ref(), "agent", "{remote}, where this host is not trusted");
            assert!(!who.scopes.contains(Scope::MeshOperate) && !who.scopes.contains(Scope::MeshAdmin));
        }
        assert_eq!(
            HostAuthenticator::new(|| true)
                .authenticate(&PeerInfo::unknown(), &HeaderMap::new())
                .unwrap()
                .name
                .as_ref(),
            "agent"
        );
    }
}
