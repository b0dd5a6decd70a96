//! Times as tables show them.

use std::time::{Duration, SystemTime};

pub(crate) use omnirelay_core::time::short;
use serde_json::Value;

use super::document::field;
use super::table::CellContext;

/// Milliseconds since the epoch of an RFC 3339 time; `None` when it is none.
pub(crate) fn millis(value: &Value) -> Option<i64> {
    let time = humantime::parse_rfc3339(value.as_str()?).ok()?;
    since_epoch(time)
}

/// Milliseconds since the epoch by this machine's clock.
pub(crate) fn now_ms() -> Option<i64> {
    since_epoch(SystemTime::now())
}

fn since_epoch(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// The moment of a document, for ages: by the clock of the daemon that answered.
pub(crate) fn moment(document: &Value, absolute: bool) -> CellContext {
    let now_ms = millis(field(document, "generatedAt")).or_else(now_ms);
    CellContext { now_ms, absolute }
}

/// An age as text says it: `3s ago`; a time and nothing stay what they are.
pub(crate) fn back(age: String, moment: CellContext) -> String {
    if age.is_empty() || moment.absolute { age } else { format!("{age} ago") }
}

/// Age of `value`: `3s`, `4m`, `19h`, `6d`; or the time itself in UTC to the second.
pub(crate) fn ago(value: &Value, moment: CellContext) -> String {
    millis(value).map(|then| ago_of(then, moment)).unwrap_or_default()
}

/// As [`ago`] of a time in milliseconds since the epoch.
pub(crate) fn ago_of(then: i64, moment: CellContext) -> String {
    match moment.now_ms.filter(|_| !moment.absolute) {
        Some(now) => short(Duration::from_millis(u64::try_from(now - then).unwrap_or(0))),
        None => clock(then),
    }
}

/// Time left until `value`: `44s`, `4m`; or the time itself in UTC to the second.
pub(crate) fn left(value: &Value, moment: CellContext) -> String {
    millis(value).map(|then| left_of(then, moment)).unwrap_or_default()
}

/// As [`left`] of a time in milliseconds since the epoch.
pub(crate) fn left_of(then: i64, moment: CellContext) -> String {
    match moment.now_ms.filter(|_| !moment.absolute) {
        Some(now) => short(Duration::from_millis(u64::try_from(then - now).unwrap_or(0))),
        None => clock(then),
    }
}

/// A time in UTC to the second: `2026-11-20T06:01:09Z`.
pub(crate) fn clock(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since).to_string()
}

/// A time in UTC to the millisecond: `2026-11-20T06:01:09.020Z`.
pub(crate) fn exact_clock(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string()
}

/// The time of day in UTC: `06:01:09`.
pub(crate) fn of_day(ms: i64) -> String {
    clock(ms).get(11..19).unwrap_or_default().to_owned()
}

/// Time that something took: `340ms`, `1.9s`, then as [`short`].
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..10_000 => format!("{:.1}s", ms as f64 / 1000.0),
        _ => short(Duration::from_millis(ms)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let moment = CellContext { now_ms: millis(&json!("2026-11-20T06:00:00Z")), absolute: false };
        let cases = [
            ("2026-11-20T05:59:59.600Z", "0.4s"),
            ("2026-11-20T05:58:05Z", "115s"),
            ("2026-11-20T05:56:00Z", "4m"),
            ("2026-11-19T11:00:00Z", "19h"),
            ("2026-11-14T00:00:00Z", "6d"),
            ("2026-11-20T06:00:05Z", "0.0s"),
        ];
        for (then, expected) in cases {
            assert_eq!(ago(&json!(then), moment), expected, "{then}");
        }
        assert_eq!(ago(&Value::Null, moment), "");
    }

    #[test]
    fn what_is_left_is_counted_towards_the_time() {
        let moment = |absolute| CellContext { now_ms: millis(&json!("2026-11-20T06:00:00Z")), absolute };
        let then = json!("2026-11-20T06:01:30Z");
        assert_eq!(left(&then, moment(false)), "90s");
        assert_eq!(left(&json!("2026-11-20T05:59:00Z"), moment(false)), "0.0s", "it has run out");
        assert_eq!(left(&then, moment(true)), "2026-11-20T06:01:30Z");
        assert_eq!(left(&Value::Null, moment(false)), "");
    }

    #[test]
    fn spans_are_as_exact_as_they_are_short() {
        let cases =
            [(0, "0ms"), (999, "999ms"), (1900, "1.9s"), (9999, "10.0s"), (10_000, "10s"), (300_000, "5m")];
        for (ms, expected) in cases {
            assert_eq!(span(ms), expected, "{ms}");
        }
    }

    #[test]
    fn absolute_times_are_utc_to_the_second() {
        let moment = CellContext { now_ms: Some(0), absolute: true };
        let time = "2026-11-20T06:01:09.020Z";
        assert_eq!(ago(&json!(time), moment), "2026-11-20T06:01:09Z");
        let ms = millis(&json!(time)).unwrap();
        assert_eq!((exact_clock(ms).as_str(), of_day(ms).as_str()), (time, "06:01:09"));
    }
}
