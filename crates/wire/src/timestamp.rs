//! `google.protobuf.Timestamp`, in JSON as the canonical mapping has it: in UTC, ending in `Z`.

use chrono::{DateTime, SecondsFormat, Utc};
use omnirelay_core::time::Millis;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant: seconds since the Unix epoch and nanoseconds after that, 0 to 999,999,999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nanos = u32::try_from(self.nanos).ok();
        let instant = nanos.and_then(|nanos| DateTime::from_timestamp(self.seconds, nanos));
        let Some(instant) = instant else {
            return Err(serde::ser::Error::custom("a time beyond what RFC 3339 can say"));
        };
        serializer.serialize_str(&instant.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a time as RFC 3339 has it, such as 2026-01-31T12:00:00Z")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
        let instant = DateTime::parse_from_rfc3339(text)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))?
            .with_timezone(&Utc);
        // Nanoseconds are below two thousand million even in a leap second.
        let nanos = instant.timestamp_subsec_nanos().min(999_999_999).cast_signed();
        Ok(Timestamp { seconds: instant.timestamp(), nanos })
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

/// An instant as messages hold it.
pub fn timestamp(at: Millis) -> Timestamp {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    Timestamp { seconds, nanos: (at.0 % 1000) as i32 * 1_000_000 }
}

/// The instant that a message holds; what is before the Unix epoch is that.
pub fn millis(at: &Timestamp) -> Millis {
    let seconds = u64::try_from(at.seconds).unwrap_or(0);
    Millis(seconds.saturating_mul(1000).saturating_add(u64::try_from(at.nanos).unwrap_or(0) / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_as_many_digits_as_they_need() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1_700_000_000, 500_000_000, "2023-11-14T22:13:20.500Z"),
            (-1, 1, "1969-12-31T23:59:59.000000001Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
        ];
        for (seconds, nanos, text) in cases {
            let timestamp = Timestamp { seconds, nanos };
            let json = serde_json::to_string(&timestamp).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), timestamp);
        }
        assert!(serde_json::to_string(&Timestamp { seconds: 0, nanos: -1 }).is_err());
    }

    #[test]
    fn other_zones_are_taken_and_other_words_are_not() {
        let parsed: Timestamp = serde_json::from_str("\"1970-01-01T01:00:00+01:00\"").unwrap();
        assert_eq!(parsed, Timestamp::default());
        for text in ["\"yesterday\"", "\"1970-01-01\"", "12"] {
            let error = serde_json::from_str::<Timestamp>(text).unwrap_err().to_string();
            assert!(error.contains("RFC 3339"), "{error}");
        }
    }
}
