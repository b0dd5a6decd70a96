//! Lines of a file on which its settings stand.

use std::collections::BTreeMap;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// The line of each key of a document, from 1; sections are keys too.
pub(super) fn lines_of(text: &str) -> BTreeMap<String, u64> {
    let mut lines = BTreeMap::new();
    if let Ok(place) = serde_saphyr::from_str::<KeyLines>(text) {
        place.note(&mut String::new(), &mut lines);
    }
    lines
}

/// The line of a key, or of the nearest one above it.
pub(super) fn line_of(lines: &BTreeMap<String, u64>, key: &str) -> Option<u64> {
    let above = || line_of(lines, key.rsplit_once(['.', '['])?.0);
    lines.get(key).copied().or_else(above)
}

/// The keys of a section with their lines, and what is below them; of other values nothing.
#[derive(Default)]
struct KeyLines(Vec<(String, u64, KeyLines)>);

impl KeyLines {
    fn note(&self, above: &mut String, lines: &mut BTreeMap<String, u64>) {
        let length = above.len();
        for (name, line, below) in &self.0 {
            if length > 0 {
                above.push('.');
            }
            above.push_str(name);
            lines.insert(above.clone(), *line);
            below.note(above, lines);
            above.truncate(length);
        }
    }
}

impl<'de> Deserialize<'de> for KeyLines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyPlace)
    }
}

struct AnyPlace;

impl<'de> Visitor<'de> for AnyPlace {
    type Value = KeyLines;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KeyLines, A::Error> {
        let mut keys = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            keys.push((key.value, key.referenced.line(), map.next_value()?));
        }
        Ok(KeyLines(keys))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<KeyLines, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(KeyLines::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<KeyLines, E> {
        Ok(KeyLines::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<KeyLines, E> {
        Ok(KeyLines::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<KeyLines, E> {
        Ok(KeyLines::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<KeyLines, E> {
        Ok(KeyLines::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<KeyLines, E> {
        Ok(KeyLines::default())
    }

    fn visit_unit<E>(self) -> Result<KeyLines, E> {
        Ok(KeyLines::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_line_however_deep() {
        let text = "# all of it\nnode:\n  role: x\n  services: [a,\n    b]\nrelay:\n  sinks:\n\n    file: {path: /p}\n    \
                    redis:\n      queue:\n        size: 3\nempty:\nnumber: 1.5\n";
        let lines = lines_of(text);
        let cases = [
            ("node", 2),
            ("node.role", 3),
            ("node.services", 4),
            ("node.services[1]", 4),
            ("relay.sinks.file.path", 9),
            ("relay.sinks.redis", 10),
            ("relay.sinks.redis.queue.size", 12),
            ("relay.sinks.redis.queue.bytesMax", 11),
            ("empty", 13),
            ("number", 14),
        ];
        for (key, line) in cases {
            assert_eq!(line_of(&lines, key), Some(line), "{key}");
        }
        assert_eq!(line_of(&lines, "session.ttl"), None);
        for other in ["- a\n- b\n", "7", "", "a: [", "{"] {
            assert!(lines_of(other).is_empty(), "{other}");
        }
    }
}
