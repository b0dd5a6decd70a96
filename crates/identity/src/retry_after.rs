//! The header `Retry-After`: how long a server asks to be left alone.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// The longest that a server may ask for.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Reads how long an answer asks to be left alone, 60 s at most; only whole seconds are understood.
pub fn asked_to_wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_left_alone_as_long_as_it_asks_but_not_for_ever() {
        let cases = [
            ("5", Some(5)),
            (" 0 ", Some(0)),
            ("60", Some(60)),
            ("86400", Some(60)),
            ("-1", None),
            ("soon", None),
            ("Wed, 21 Oct 2065 07:28:00 GMT", None),
        ];
        for (said, seconds) in cases {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, said.parse().unwrap())]);
            assert_eq!(asked_to_wait(&headers), seconds.map(Duration::from_secs), "{said}");
        }
        assert_eq!(asked_to_wait(&HeaderMap::new()), None);
    }
}
