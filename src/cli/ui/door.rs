//! Door of the page: it opens to whoever has an address that was printed, once, and the tabs of that browser.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::OnceLock;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Method, Uri};
use parking_lot::Mutex;

use crate::frame::client::fresh_key;
use crate::frame::prelude::*;

/// Header in which a page shows the code of its address.
const CODE: HeaderName = HeaderName::from_static("omnirelay-ui-code");
/// How many codes are open, and how many tokens count, at most; the oldest are forgotten.
const KEPT_MAX: usize = 16;

/// Codes that were printed and not used, and tokens that were given for them.
pub(super) struct PageDoor {
    at: OnceLock<SocketAddr>,
    codes: Mutex<VecDeque<String>>,
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

impl PageDoor {
    /// # Errors
    /// When there is no chance to be had.
    pub(super) fn new() -> Result<Self, CliError> {
        Ok(Self { at: OnceLock::new(), codes: Mutex::default(), tokens: Mutex::default() })
    }

    /// Notes where it is.
    pub(super) fn serve_at(&self, address: SocketAddr) {
        // Once.
        let _ = self.at.set(address);
    }

    /// Address that opens the page once.
    ///
    /// # Errors
    /// When there is no chance to be had.
    pub(super) fn open(&self) -> Result<String, CliError> {
        let code = fresh_key()?;
        keep(&mut self.codes.lock(), code.clone());
        let at = self.at.get().map(ToString::to_string).unwrap_or_default();
        Ok(format!("http://{at}/ui/#code={code}"))
    }

    /// Trades a code for a token; `None`: it was used, or was never one.
    ///
    /// # Errors
    /// When there is no chance to be had.
    pub(super) fn trade(&self, headers: &HeaderMap) -> Result<Option<String>, CliError> {
        let Some(code) = text(headers, &CODE) else { return Ok(None) };
        let mut codes = self.codes.lock();
        let Some(place) = codes.iter().position(|known| known == code) else { return Ok(None) };
        codes.remove(place);
        drop(codes);
        let token = fresh_key()?;
        keep(&mut self.tokens.lock(), token.clone());
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

fn keep(kept: &mut VecDeque<String>, one: String) {
    kept.push_back(one);
    let more = kept.len().saturating_sub(KEPT_MAX);
    kept.drain(..more);
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PORT: &str = "127.0.0.1:8080";

    fn door() -> PageDoor {
        let door = PageDoor::new().unwrap();
        door.serve_at(PORT.parse().unwrap());
        door
    }

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        of.iter().map(pair).collect()
    }

    fn turned_away(method: Method, path: &str, of: &[(&'static str, &'static str)]) -> Option<TurnedAway> {
        door().check(&method, &path.parse().unwrap(), &headers(of)).err()
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
        let door = door();
        let address = door.open().unwrap();
        let code = address.strip_prefix("http://127.0.0.1:8080/ui/#code=").unwrap().to_owned();
        let shown = |code: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CODE, code.parse().unwrap());
            headers
        };
        assert_eq!(door.trade(&shown("wrong")).unwrap(), None);
        let token = door.trade(&shown(&code)).unwrap().unwrap();
        assert_eq!(door.trade(&shown(&code)).unwrap(), None, "it was used");
        let proof = |token: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
            headers
        };
        assert_eq!(door.check_token(&proof(&token)), Ok(()));
        for wrong in ["", "wrong", &code] {
            assert_eq!(door.check_token(&proof(wrong)), Err(TurnedAway::Unproven));
        }
        assert_eq!(door.check_token(&HeaderMap::new()), Err(TurnedAway::Unproven));
        for _ in 0..=KEPT_MAX {
            door.open().unwrap();
        }
        assert_eq!(door.codes.lock().len(), KEPT_MAX);
    }
}
