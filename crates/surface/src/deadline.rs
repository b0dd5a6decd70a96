//! Deadline of a call: what the caller asked for, within what the daemon allows.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use omnirelay_identity::caller::Caller;
use omnirelay_identity::request_conditions::refused;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::reasons;
use tokio::time::Instant;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const OMNIRELAY_TIMEOUT: HeaderName = HeaderName::from_static("omnirelay-timeout");

/// Deadlines of calls: the default one, and the latest that is allowed.
#[derive(Clone, Copy, Debug)]
pub struct CallDeadlines {
    /// For a unary call that names none, and for a stream to begin. Too low: waiting reads fail.
    pub default: Duration,
    /// The most a unary call may ask for; more is cut to this.
    pub max: Duration,
}

impl Default for CallDeadlines {
    fn default() -> Self {
        Self { default: Duration::from_secs(10), max: Duration::from_secs(300) }
    }
}

impl CallDeadlines {
    /// Deadline of a call that starts now; `None` for a stream that asks for no end.
    ///
    /// # Errors
    /// A fault naming the header that is no duration.
    pub(super) fn of(&self, headers: &HeaderMap, streams: bool) -> Result<Option<Instant>, Fault> {
        let asked = asked(headers)?;
        let allowed = match asked {
            Some(asked) if streams => Some(asked),
            Some(asked) => Some(asked.min(self.max)),
            None if streams => None,
            None => Some(self.default),
        };
        // A duration beyond what the clock can hold is no deadline at all.
        Ok(allowed.and_then(|allowed| Instant::now().checked_add(allowed)))
    }
}

fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Fault> {
    if let Some(value) = headers.get(GRPC_TIMEOUT) {
        return match value.to_str().ok().and_then(grpc_timeout) {
            Some(timeout) => Ok(Some(timeout)),
            None => Err(refused("grpc-timeout", "must be up to eight digits and a unit: H, M, S, m, u or n")),
        };
    }
    let Some(value) = headers.get(OMNIRELAY_TIMEOUT) else { return Ok(None) };
    match value.to_str().ok().and_then(|text| humantime::parse_duration(text.trim()).ok()) {
        Some(timeout) => Ok(Some(timeout)),
        None => Err(refused("omnirelay-timeout", "must be a duration such as 250ms, 10s or 2m")),
    }
}

fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Fault for a caller whose deadline has passed before the answer was there.
pub(super) fn elapsed(method: &str, mutates: bool, caller: Option<&Caller>) -> Fault {
    if !mutates {
        return Fault::new(
            reasons::DEADLINE_EXCEEDED,
            format!("{method} did not answer before its deadline"),
        );
    }
    let fault = Fault::new(
        reasons::OUTCOME_UNKNOWN,
        format!("{method} did not answer before its deadline; whether it was applied is not known"),
    );
    match caller.and_then(Caller::repeat_key) {
        Some(key) => fault
            .hint(format!("repeat it with the same idempotency key, {key}: it is applied at most once"))
            .detail("idempotencyKey", key),
        None => fault.hint(
            "it may still be applied: read the object in a moment, or the audit trail, before you repeat it; with an \
             idempotency key it can be repeated at once",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[tokio::test(start_paused = true)]
    async fn deadlines_are_defaulted_and_bounded() {
        let cases = [
            ("grpc-timeout", "250m", false, Some(250)),
            ("grpc-timeout", "9H", false, Some(300_000)),
            ("grpc-timeout", "9H", true, Some(32_400_000)),
            ("omnirelay-timeout", "2m", false, Some(120_000)),
            ("omnirelay-timeout", "0s", false, Some(0)),
            ("x-other", "1", false, Some(10_000)),
            ("x-other", "1", true, None),
        ];
        let now = Instant::now();
        for (name, value, streams, expected_ms) in cases {
            let deadline = CallDeadlines::default().of(&headers(name, value), streams).unwrap();
            assert_eq!(deadline.map(|at| (at - now).as_millis()), expected_ms, "{name}: {value} {streams}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for (name, value) in [
            ("grpc-timeout", ""),
            ("grpc-timeout", "S"),
            ("grpc-timeout", "10"),
            ("grpc-timeout", "123456789S"),
            ("grpc-timeout", "-1S"),
            ("omnirelay-timeout", "10"),
            ("omnirelay-timeout", "soon"),
        ] {
            let fault = asked(&headers(name, value)).err();
            if value == "S" {
                assert!(fault.is_some(), "a unit alone");
                continue;
            }
            assert_eq!(
                fault.map(|fault| fault.reason.into_owned()).as_deref(),
                Some("INVALID_HEADER"),
                "{name}: {value}"
            );
        }
    }
}
