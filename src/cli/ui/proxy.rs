//! Proxy between a browser of this machine and the mesh: the files of the page, and reads as whoever the context says.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};

use super::access::{PageAccess, TurnedAway};
use crate::frame::client::Client;
use crate::frame::prelude::*;

type PageBody = UnsyncBoxBody<Bytes, reqwest::Error>;

/// Headers of a request that are passed on.
const ASKED: [&str; 4] = ["accept", "if-none-match", "last-event-id", "omnirelay-timeout"];
/// Headers of an answer that are passed back.
const ANSWERED: [HeaderName; 5] = [
    CONTENT_TYPE,
    ETAG,
    RETRY_AFTER,
    HeaderName::from_static("omnirelay-cursor"),
    HeaderName::from_static("x-request-id"),
];

/// Proxy of one page.
pub(super) struct PageProxy {
    pub client: Client,
    pub access: Arc<PageAccess>,
    /// A bundle answers, and no daemon.
    pub has_bundle: bool,
}

impl PageProxy {
    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<PageBody> {
        let (parts, _) = request.into_parts();
        if let Err(why) = self.access.check(&parts.method, &parts.uri, &parts.headers) {
            return turned_away(why);
        }
        let path = parts.uri.path();
        let mut response = match path {
            // What is resolved on the way would lead to somewhere else.
            _ if climbs(path) => plain(StatusCode::NOT_FOUND, "The page is at /ui/.\n"),
            "/" | "/ui" => redirect(),
            "/ui/session" => self.session(&parts.headers),
            _ => match (path.strip_prefix("/ui/"), path.starts_with("/control/")) {
                (Some(name), _) => page_file(name, &parts.headers),
                (None, true) => match self.access.check_token(&parts.headers) {
                    Ok(()) => self.pass_on(&parts.uri, &parts.headers).await,
                    Err(why) => turned_away(why),
                },
                (None, false) => plain(StatusCode::NOT_FOUND, "The page is at /ui/.\n"),
            },
        };
        if parts.method == Method::HEAD {
            *response.body_mut() = whole(Bytes::new());
        }
        response
    }

    fn session(&self, headers: &HeaderMap) -> Response<PageBody> {
        match self.access.exchange_code(headers) {
            // The context goes into the commands that the page tells.
            Ok(Some(token)) => {
                let context = &self.client.target().context;
                json_answer(StatusCode::OK, &json!({ "token": token, "context": context }))
            }
            Ok(None) => turned_away(TurnedAway::Unproven),
            Err(error) => failed(&error),
        }
    }

    /// Asks the mesh, the next address where one does not answer.
    async fn pass_on(&self, uri: &http::Uri, headers: &HeaderMap) -> Response<PageBody> {
        let given = ASKED.iter().filter_map(|name| Some((*name, headers.get(*name)?.to_str().ok()?)));
        let call = Call {
            method: Method::GET,
            path: uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            body: None,
            grpc: None,
            idempotency_key: None,
            repeat_with: None,
            headers: given.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            awaits_work: false,
        };
        if self.has_bundle {
            return match self.client.send(&call).await {
                Ok(answer) => passed_back(answer.status, &answer.headers, whole(answer.body)),
                Err(error) => failed(&error),
            };
        }
        let mut refused = None;
        for _ in 0..self.client.target().addresses.len() {
            match self.client.open(&call).await {
                Ok(answer) => {
                    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
                    let body = StreamBody::new(answer.bytes_stream().map_ok(Frame::data));
                    return passed_back(status, &headers, body.boxed_unsync());
                }
                Err(error) => {
                    self.client.turn_away();
                    refused = Some(error);
                }
            }
        }
        refused.map_or_else(
            || plain(StatusCode::BAD_GATEWAY, "The context has no address.\n"),
            |error| failed(&error),
        )
    }
}

/// Whether a part of a path is `.` or `..`, however it is written.
fn climbs(path: &str) -> bool {
    let dots = |part: &str| part.to_ascii_lowercase().replace("%2e", ".");
    path.split(['/', '\\']).any(|part| matches!(dots(part).as_str(), "." | ".."))
        || path.to_ascii_lowercase().contains("%2f")
        || path.to_ascii_lowercase().contains("%5c")
}

fn passed_back(status: u16, headers: &HeaderMap, body: PageBody) -> Response<PageBody> {
    let mut response = guarded(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), body);
    for name in ANSWERED {
        if let Some(value) = headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn page_file(name: &str, headers: &HeaderMap) -> Response<PageBody> {
    let name = if name.is_empty() { omnirelay_page::INDEX } else { name };
    match omnirelay_page::file(name) {
        Some(file) => file.answer(headers).map(whole),
        None => plain(StatusCode::NOT_FOUND, "The page has no such file.\n"),
    }
}

fn redirect() -> Response<PageBody> {
    let mut response = plain(StatusCode::TEMPORARY_REDIRECT, "The page is at /ui/.\n");
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/ui/"));
    response
}

fn turned_away(why: TurnedAway) -> Response<PageBody> {
    let (status, reason, message) = match why {
        TurnedAway::Stranger => {
            (StatusCode::FORBIDDEN, reasons::ORIGIN_NOT_ALLOWED, "this address is for the page alone")
        }
        TurnedAway::Method => (StatusCode::METHOD_NOT_ALLOWED, reasons::VERB_UNKNOWN, "the page only reads"),
        TurnedAway::Unproven => (
            StatusCode::UNAUTHORIZED,
            reasons::PROOF_NEEDED,
            "the page was not opened by an address that omnirelay ui has printed, or by one that was used",
        ),
    };
    let error = CliError::new(reason, message).hint("press Enter where omnirelay ui runs, or start it again");
    json_answer(status, &error.to_json())
}

/// What kept a read from being answered, as the API says it.
fn failed(error: &CliError) -> Response<PageBody> {
    let status = match error.exit() {
        Exit::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Exit::NotFound => StatusCode::NOT_FOUND,
        Exit::Usage => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::BAD_GATEWAY,
    };
    json_answer(status, &error.to_json())
}

fn json_answer(status: StatusCode, document: &Value) -> Response<PageBody> {
    let mut response = guarded(status, whole(document.to_string().into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<PageBody> {
    let mut response = guarded(status, whole(Bytes::from_static(text.as_bytes())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// An answer that no browser runs, frames or keeps.
fn guarded(status: StatusCode, body: PageBody) -> Response<PageBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn whole(bytes: Bytes) -> PageBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
