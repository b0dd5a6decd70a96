//! The page: what a browser shows of a mesh, as files that are built in.

mod mount;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

pub use mount::mount;

/// The file that a browser opens.
pub const INDEX: &str = "index.html";

/// What a page may do: run and show what came with it, and ask where it came from.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      worker-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; \
                      require-trusted-types-for 'script'; trusted-types omnirelay";

/// Headers of every file.
const HEADERS: [(HeaderName, &str); 8] = [
    (CACHE_CONTROL, "no-cache"),
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, "no-referrer"),
    (VARY, "accept-encoding"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// File of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFile {
    /// Its name, without a folder.
    pub name: &'static str,
    pub bytes: &'static [u8],
    /// The same, packed by gzip.
    packed: &'static [u8],
    /// Differs whenever the file does.
    tag: &'static str,
}

static FILES: &[PageFile] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// All files, by name.
pub fn files() -> &'static [PageFile] {
    FILES
}

/// The file of this name; `None`: there is none.
pub fn file(name: &str) -> Option<&'static PageFile> {
    FILES.iter().find(|file| file.name == name)
}

impl PageFile {
    fn media(&self) -> &'static str {
        match self.name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("html") => "text/html; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            Some("json") => "application/json",
            _ => "application/octet-stream",
        }
    }

    /// Answer to a request with these headers: packed where the browser takes that, and 304 where it has the file.
    pub fn answer(&self, asked: &HeaderMap) -> Response<Bytes> {
        let has = |name: HeaderName, word: &str| {
            let values = asked.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values
                .flat_map(|value| value.split(','))
                .any(|value| value.split(';').next().unwrap_or_default().trim() == word)
        };
        let is_known = has(IF_NONE_MATCH, self.tag);
        let is_packed = has(ACCEPT_ENCODING, "gzip");
        let body = match (is_known, is_packed) {
            (true, _) => &[],
            (false, true) => self.packed,
            (false, false) => self.bytes,
        };
        let mut response = Response::new(Bytes::from_static(body));
        let headers = response.headers_mut();
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media()));
        headers.insert(ETAG, HeaderValue::from_static(self.tag));
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else if is_packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn asked(of: &[(HeaderName, &'static str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    /// The goal is 100 kB, packed 35 kB; it may not grow from what it is.
    #[test]
    fn the_page_is_no_larger_than_it_was() {
        let (bytes, packed) = files()
            .iter()
            .fold((0, 0), |(bytes, packed), file| (bytes + file.bytes.len(), packed + file.packed.len()));
        println!("{} files, {bytes} bytes of 100000, packed {packed} of 35000", files().len());
        assert!(bytes <= 138_200 && packed <= 53_000, "{bytes} bytes, packed {packed}");
    }

    #[test]
    fn a_file_is_told_once_and_packed_for_whoever_takes_that() {
        let index = file(INDEX).unwrap();
        let plain = index.answer(&HeaderMap::new());
        assert_eq!(plain.body().as_ref(), index.bytes);
        assert_eq!(plain.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
        assert!(plain.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'"));
        let packed = index.answer(&asked(&[(ACCEPT_ENCODING, "br;q=1.0, gzip;q=0.8")]));
        assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(packed.body().as_ref()).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, index.bytes);
        let again = index.answer(&asked(&[(IF_NONE_MATCH, index.tag)]));
        assert_eq!((again.status(), again.body().len()), (StatusCode::NOT_MODIFIED, 0));
        assert_eq!(file("../lib.rs"), None);
    }

    #[test]
    fn each_file_has_a_type_that_browsers_run_or_show() {
        for file in files() {
            assert_ne!(file.media(), "application/octet-stream", "{}", file.name);
        }
    }
}
