//! Difference in a scope after a change.

use omnirelay_decisions::peer::difference;
use omnirelay_wire::pb::omnirelay::store::v1::LeadershipValue;

use super::pb;

/// One line per field that differs, such as `eligible.roles: (all) -> control`; `created` for a scope that
/// was not there.
pub(super) fn differences(before: Option<&LeadershipValue>, after: &LeadershipValue) -> Vec<String> {
    let Some(before) = before else { return vec!["created".to_owned()] };
    let lines = fields(before).into_iter().zip(fields(after));
    lines.filter_map(|((name, old), (_, new))| difference(name, old, new)).collect()
}

/// What an operator sets of a scope, in words.
fn fields(value: &LeadershipValue) -> [(&'static str, String); 7] {
    let policy = value.policy.clone().unwrap_or_default();
    let eligible = policy.eligible.unwrap_or_default();
    let labels: Vec<String> = value.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let prefer: Vec<String> = policy.prefer.iter().map(preference).collect();
    [
        ("labels", or("(none)", labels.join(","))),
        ("eligible.nodes", or("(all)", eligible.nodes.join(","))),
        ("eligible.roles", or("(all)", eligible.roles.join(","))),
        ("eligible.regions", or("(all)", eligible.regions.join(","))),
        ("eligible.zones", or("(all)", eligible.zones.join(","))),
        ("eligible.selector", or("(all)", eligible.selector)),
        ("prefer", or("(none)", prefer.join("; "))),
    ]
}

fn or(none: &str, words: String) -> String {
    if words.is_empty() { none.to_owned() } else { words }
}

/// `10 region=eu zone=a,b`
fn preference(preference: &pb::LeadershipPreference) -> String {
    let nodes = preference.nodes.clone().unwrap_or_default();
    let lists =
        [("node", nodes.nodes), ("role", nodes.roles), ("region", nodes.regions), ("zone", nodes.zones)];
    let lists = lists.into_iter().map(|(name, values)| (name, values.join(",")));
    let parts = lists.chain([("selector", nodes.selector)]).filter(|(_, values)| !values.is_empty());
    parts.fold(preference.priority.to_string(), |line, (name, values)| format!("{line} {name}={values}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    fn value(
        labels: &[(&str, &str)],
        eligible: pb::NodeFilter,
        prefer: &[(i32, pb::NodeFilter)],
    ) -> LeadershipValue {
        let prefer = prefer.iter().cloned();
        let prefer = prefer
            .map(|(priority, nodes)| pb::LeadershipPreference {
                nodes: Some(nodes),
                priority,
                unknown_fields: Default::default(),
            })
            .collect();
        LeadershipValue {
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            policy: Some(pb::LeadershipPolicy {
                eligible: Some(eligible),
                prefer,
                unknown_fields: Default::default(),
            }),
            ..LeadershipValue::default()
        }
    }

    #[test]
    fn each_field_that_differs_has_a_line() {
        let all = pb::NodeFilter::default;
        let control = || pb::NodeFilter { roles: words(&["control"]), ..all() };
        let eu = || pb::NodeFilter { regions: words(&["eu"]), zones: words(&["a", "b"]), ..all() };
        let ssd = || pb::NodeFilter { selector: "disk in (ssd,nvme)".to_owned(), ..all() };
        let bare = LeadershipValue::default;
        let cases: [(&str, LeadershipValue, LeadershipValue, &[&str]); 6] = [
            ("nothing", value(&[("a", "1")], eu(), &[]), value(&[("a", "1")], eu(), &[]), &[]),
            ("an empty policy is none", bare(), value(&[], all(), &[]), &[]),
            ("a role", bare(), value(&[], control(), &[]), &["eligible.roles: (all) -> control"]),
            (
                "preferences",
                value(&[], all(), &[(10, eu())]),
                value(&[], all(), &[(10, eu()), (-5, ssd())]),
                &["prefer: 10 region=eu zone=a,b -> 10 region=eu zone=a,b; -5 selector=disk in (ssd,nvme)"],
            ),
            (
                "several, of one filter in place of another",
                value(&[], eu(), &[(1, pb::NodeFilter { nodes: words(&["n"]), ..control() })]),
                value(&[], pb::NodeFilter { nodes: words(&["m"]), ..ssd() }, &[]),
                &[
                    "eligible.nodes: (all) -> m",
                    "eligible.regions: eu -> (all)",
                    "eligible.zones: a,b -> (all)",
                    "eligible.selector: (all) -> disk in (ssd,nvme)",
                    "prefer: 1 node=n role=control -> (none)",
                ],
            ),
            ("labels", bare(), value(&[("a", "1"), ("b", "")], all(), &[]), &["labels: (none) -> a=1,b="]),
        ];
        for (what, before, after, expected) in cases {
            assert_eq!(differences(Some(&before), &after), expected, "{what}");
        }
        assert_eq!(differences(None, &bare()), ["created"]);
    }
}
