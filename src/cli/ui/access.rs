//! Access to the page: whoever has the address that was printed last has it, once, and the tabs of that browser.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Method, Uri};
use parking_lot::Mutex;

use crate::frame::client::fresh_key;
use crate::frame::prelude::*;

/// Header in which a page shows the code of its address.
const CODE: HeaderName = HeaderName::from_static("omnirelay-ui-code");
/// How long an address may be used that was printed.
const OPEN_FOR: Duration = Duration::from_secs(600);
/// How many tokens count at most; the oldest is forgotten.
const TOKENS_MAX: usize = 16;

/// The code that was printed last and not used, and tokens that were given for codes.
pub(super) struct PageAccess {
    at: OnceLock<SocketAddr>,
    code: Mutex<Option<(String, Instant)>>,
    tokens: Mutex<VecDeque<String>>,
}

/// Reason why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnedAway {
    /// It is called by another name, or another page has caused it.
    Stranger,
    /// It would change something.
    Method,
    /// It has no token.
    Unproven,
}

impl PageAccess {
    pub(super) fn new() -> Self {
        Self { at: OnceLock::new(), code: Mutex::default(), tokens: Mutex::default() }
    }

    /// Notes where it is.
    pub(super) fn serve_at(&self, address: SocketAddr) {
        // Once.
        let _ = self.at.set(address);
    }

    /// Makes an address that opens the page once, in the next ten minutes; the one before does not any more.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(super) fn new_address(&self) -> Result<String, CliError> {
        let code = fresh_key()?;
        *self.code.lock() = Some((code.clone(), Instant::now()));
        let at = self.at.get().map(ToString::to_string).unwrap_or_default();
        Ok(format!("http://{at}/ui/#code={code}"))
    }

    /// Exchanges a code for a token; `None`: it was used, has ended, or was never one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(super) fn exchange_code(&self, headers: &HeaderMap) -> Result<Option<String>, CliError> {
        let shown = text(headers, &CODE);
        let is_it = |(code, since): &mut (String, Instant)| {
            shown == Some(code.as_str()) && since.elapsed() < OPEN_FOR
        };
        if self.code.lock().take_if(is_it).is_none() {
            return Ok(None);
        }
        let token = fresh_key()?;
        let mut tokens = self.tokens.lock();
        tokens.push_back(token.clone());
        let more = tokens.len().saturating_sub(TOKENS_MAX);
        tokens.drain(..more);
        Ok(Some(token))
    }

    /// Checks by which name and from where a request comes. A link of another page opens the page, and does nothing else.
    ///
    /// # Errors
    /// Why it is turned away.
    pub(super) fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), TurnedAway> {
        let port = self.at.get().map(SocketAddr::port).unwrap_or_default();
        let own = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        let mut named = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
        let (host, more) = (named.next().unwrap_or_default(), named.next());
        if more.is_some()
            || uri.authority().is_some()
            || !own.iter().any(|own| own.eq_ignore_ascii_case(host))
        {
            return Err(TurnedAway::Stranger);
        }
        if let Some(origin) = text(headers, &ORIGIN)
            && origin != format!("http://{host}")
        {
            return Err(TurnedAway::Stranger);
        }
        let said = |name| text(headers, &HeaderName::from_static(name));
        let is_link =
            said("sec-fetch-mode") == Some("navigate") && said("sec-fetch-dest") == Some("document");
        let opens = is_link && uri.path().starts_with("/ui/");
        if matches!(said("sec-fetch-site"), Some("cross-site" | "same-site")) && !opens {
            return Err(TurnedAway::Stranger);
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Err(TurnedAway::Method);
        }
        Ok(())
    }

    /// Checks that a request has a token that was given.
    ///
    /// # Errors
    /// [`TurnedAway::Unproven`].
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), TurnedAway> {
        let shown = text(headers, &AUTHORIZATION).and_then(|said| said.strip_prefix("Bearer "));
        let known = shown.is_some_and(|shown| self.tokens.lock().iter().any(|token| token == shown));
        if known { Ok(()) } else { Err(TurnedAway::Unproven) }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PORT: &str = "127.0.0.1:8080";

    fn access() -> PageAccess {
        let access = PageAccess::new();
        access.serve_at(PORT.parse().unwrap());
        access
    }

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        of.iter().map(pair).collect()
    }

    fn turned_away(method: Method, path: &str, of: &[(&'static str, &'static str)]) -> Option<TurnedAway> {
        access().check(&method, &path.parse().unwrap(), &headers(of)).err()
    }

    #[test]
    fn nobody_comes_in_by_another_name_or_from_another_page() {
        let own = ("host", PORT);
        for sound in [
            vec![own],
            vec![("host", "localhost:8080")],
            vec![own, ("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")],
            vec![own, ("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")],
        ] {
            assert_eq!(turned_away(Method::GET, "/control/peers", &sound), None, "{sound:?}");
        }
        for stranger in [
            vec![],
            vec![("host", "127.0.0.1")],
            vec![("host", "evil.example:8080")],
            vec![("host", "127.0.0.1:8081")],
            vec![own, ("origin", "http://localhost:8081")],
            vec![own, ("origin", "http://localhost:8080")],
            vec![own, ("origin", "null")],
            vec![own, ("sec-fetch-site", "cross-site")],
            vec![own, ("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")],
        ] {
            let away = turned_away(Method::GET, "/ui/", &stranger);
            assert_eq!(away, Some(TurnedAway::Stranger), "{stranger:?}");
        }
        assert_eq!(turned_away(Method::GET, "http://127.0.0.1:8080/ui/", &[own]), Some(TurnedAway::Stranger));
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(turned_away(method, "/control/peers", &[own]), Some(TurnedAway::Method));
        }
    }

    #[test]
    fn a_link_opens_the_page_and_nothing_else() {
        let link = [
            ("host", PORT),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert_eq!(turned_away(Method::GET, "/ui/", &link), None);
        assert_eq!(turned_away(Method::GET, "/control/peers", &link), Some(TurnedAway::Stranger));
        let framed = [link[0], link[1], link[2], ("sec-fetch-dest", "iframe")];
        assert_eq!(turned_away(Method::GET, "/ui/", &framed), Some(TurnedAway::Stranger));
    }

    #[test]
    fn a_code_is_traded_once_and_only_what_was_given_counts() {
        let access = access();
        let address = access.new_address().unwrap();
        let code = address.strip_prefix("http://127.0.0.1:8080/ui/#code=").unwrap().to_owned();
        let shown = |code: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CODE, code.parse().unwrap());
            headers
        };
        assert_eq!(access.exchange_code(&shown("wrong")).unwrap(), None);
        let token = access.exchange_code(&shown(&code)).unwrap().unwrap();
        assert_eq!(access.exchange_code(&shown(&code)).unwrap(), None, "it was used");
        let proof = |token: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
            headers
        };
        assert_eq!(access.check_token(&proof(&token)), Ok(()));
        for wrong in ["", "wrong", &code] {
            assert_eq!(access.check_token(&proof(wrong)), Err(TurnedAway::Unproven));
        }
        assert_eq!(access.check_token(&HeaderMap::new()), Err(TurnedAway::Unproven));
        let older = access.new_address().unwrap();
        access.new_address().unwrap();
        let older = older.split("code=").nth(1).unwrap();
        assert_eq!(access.exchange_code(&shown(older)).unwrap(), None, "another one was printed since");
        *access.code.lock() = Some((code.clone(), Instant::now().checked_sub(OPEN_FOR).unwrap()));
        assert_eq!(access.exchange_code(&shown(&code)).unwrap(), None, "it has ended");
    }
}
