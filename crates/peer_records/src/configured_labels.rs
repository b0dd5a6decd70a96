//! Labels of a node's configuration, beside those that operators set in its record.

use omnirelay_core::labels::{self, Labels};
use omnirelay_core::text::chain;
use tracing::warn;

/// Labels of a node's record that has `held`, when the node is configured with `now` in place of `before`: what is configured
/// otherwise becomes so, but what an operator has set or removed stays as it is. When they would be too many, all do.
pub(crate) fn reconfigured(held: &Labels, before: &Labels, now: &Labels) -> Labels {
    let is_configured = |key: &String| held.get(key) == before.get(key);
    let differs = now.iter().filter(|(key, value)| before.get(*key) != Some(*value));
    let set = differs.filter(|(key, _)| is_configured(key));
    let set: Labels = set.map(|(key, value)| (key.clone(), value.clone())).collect();
    let gone = before.keys().filter(|key| !now.contains_key(*key) && is_configured(key));
    let gone: Vec<String> = gone.cloned().collect();
    labels::update(held, &set, &gone, true).unwrap_or_else(|error| {
        warn!(error = %chain(&error), "the labels of this node stay as they are: those that are configured do not fit");
        held.clone()
    })
}

#[cfg(test)]
mod tests {
    use omnirelay_core::labels::LABELS_MAX;

    use super::*;

    fn labels(text: &str) -> Labels {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn what_is_configured_otherwise_becomes_so_and_what_operators_said_stays() {
        let cases = [
            // what               held         before     now          becomes
            ("nothing new", "a=1 b=2", "a=1", "a=1", "a=1 b=2"),
            ("another value", "a=1 b=2", "a=1", "a=3", "a=3 b=2"),
            ("one more", "a=1", "a=1", "a=1 c=3", "a=1 c=3"),
            ("one less", "a=1 b=2", "a=1", "", "b=2"),
            ("of an operator", "a=9", "a=1", "a=3", "a=9"),
            ("of an operator, and less", "a=9", "a=1", "", "a=9"),
            ("set by both", "c=9", "", "c=3", "c=9"),
            ("removed by an operator", "", "a=1", "a=3", ""),
        ];
        for (what, held, before, now, becomes) in cases {
            let [held, before, now, becomes] = [held, before, now, becomes].map(labels);
            assert_eq!(reconfigured(&held, &before, &now), becomes, "{what}");
        }
        let many: Labels = (0..LABELS_MAX).map(|number| (format!("l{number}"), "x".to_owned())).collect();
        assert_eq!(reconfigured(&many, &labels(""), &labels("a=1")), many);
    }
}
