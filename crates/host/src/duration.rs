//! Durations as people write them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration as people write it: `1s`, `250ms`, `1h 5m` or `00:00:05`; never a bare number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

impl std::fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", humantime::format_duration(self.0))
    }
}

impl std::str::FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.contains(':') {
            return clock_span(text).ok_or_else(|| format!("`{text}` is no duration: expected hh:mm:ss"));
        }
        if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(format!("`{text}` has no unit: write `{text}s` or `{text}ms`"));
        }
        humantime::parse_duration(text)
            .map(HumanDuration)
            .map_err(|_| format!("`{text}` is no duration: write `1s`, `250ms`, `1h 5m` or `00:00:05`"))
    }
}

/// `[d.]hh:mm:ss[.fff]`
fn clock_span(text: &str) -> Option<HumanDuration> {
    let (days, clock) = match text.split_once('.') {
        Some((days, clock)) if clock.contains(':') => (days.parse::<u64>().ok()?, clock),
        Some(_) | None => (0, text),
    };
    let mut parts = clock.split(':');
    let hours: u64 = parts.next()?.parse().ok()?;
    let minutes: u64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next()?.parse().ok()?;
    if parts.next().is_some()
        || hours > 23
        || minutes > 59
        || !(0.0..60.0).contains(&seconds)
        || days > 36_500
    {
        return None;
    }
    let whole = Duration::from_secs(((days * 24 + hours) * 60 + minutes) * 60);
    Some(HumanDuration(whole + Duration::from_millis((seconds * 1000.0).round() as u64)))
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DurationVisitor;
        impl serde::de::Visitor<'_> for DurationVisitor {
            type Value = HumanDuration;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration with its unit, such as `1s`, `250ms` or `00:00:05`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<HumanDuration, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<HumanDuration, E> {
                number.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<HumanDuration, E> {
                Err(E::custom(format!("`{number}` has no unit")))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<HumanDuration, E> {
                Err(E::custom(format!("`{number}` has no unit: write `{number}s`")))
            }
        }
        deserializer.deserialize_any(DurationVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit_only() {
        let cases = [
            ("seconds", "1s", Some(1_000)),
            ("milliseconds", "250ms", Some(250)),
            ("several units", "1h 5m", Some(3_900_000)),
            ("clock", "00:00:05", Some(5_000)),
            ("clock with days", "1.00:00:00", Some(86_400_000)),
            ("clock with a fraction", "00:00:00.250", Some(250)),
            ("a bare number", "10", None),
            ("a bare fraction", "1.5", None),
            ("99 seconds on a clock", "00:00:99", None),
            ("a word", "soon", None),
            ("nothing", "", None),
        ];
        for (what, text, expected) in cases {
            let read = text.parse::<HumanDuration>().ok().map(|span| span.0.as_millis());
            assert_eq!(read, expected, "{what}");
        }
    }
}
