//! Policy of who may lead a scope, and who should: as flags, as the API has it, and in words.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde_json::Map;

use crate::complete;
use crate::frame::prelude::*;
use crate::peers;

/// The priorities a preference may have.
const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;

/// Lists of a node filter: as a flag or a key names one, and as the API does.
const LISTS: &[(&str, &str)] =
    &[("node", "nodes"), ("role", "roles"), ("region", "regions"), ("zone", "zones")];
const SELECTOR: &str = "selector";

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Policy options")]
pub(super) struct LeadersPolicyArgs {
    /// Only these nodes may lead it
    #[arg(long, value_name = "NODE,...", value_delimiter = ',', add = complete::ids(&peers::OBJECTS))]
    node: Vec<String>,

    /// Only nodes of these roles
    #[arg(long, value_name = "ROLE,...", value_delimiter = ',')]
    role: Vec<String>,

    /// Only nodes of these regions
    #[arg(long, value_name = "REGION,...", value_delimiter = ',')]
    region: Vec<String>,

    /// Only nodes of these zones
    #[arg(long, value_name = "ZONE,...", value_delimiter = ',')]
    zone: Vec<String>,

    /// Only nodes with these labels, such as tier=std,zone in (a,b),!canary
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,

    /// A priority, -1000 to 1000, and the nodes that have it, such as 10:region=eu,zone=a
    ///
    /// Keys are node, role, region, zone and, last, selector. A node has the highest priority of those it
    /// matches, 0 if none. May be repeated.
    #[arg(long, value_name = "PRIORITY:KEY=VALUE,...", allow_hyphen_values = true)]
    prefer: Vec<Preference>,

    /// Label of the scope; with `set` KEY- removes one
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, Option<String>)>,
}

/// One `--prefer`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Preference {
    priority: i32,
    /// By the API's names.
    lists: BTreeMap<&'static str, Vec<String>>,
    selector: String,
}

impl FromStr for Preference {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let (priority, pairs) = given
            .split_once(':')
            .ok_or_else(|| format!("`{given}` is no PRIORITY:KEY=VALUE, such as 10:region=eu"))?;
        let priority = priority.trim().parse().ok().filter(|priority| PRIORITIES.contains(priority));
        let priority = priority.ok_or("a priority is a number from -1000 to 1000")?;
        let mut preference = Self { priority, lists: BTreeMap::new(), selector: String::new() };
        let mut rest = pairs;
        while !rest.is_empty() {
            rest = preference.take(rest)?;
        }
        if preference.lists.is_empty() && preference.selector.is_empty() {
            return Err(format!("`{given}` says no nodes: add KEY=VALUE, such as region=eu"));
        }
        Ok(preference)
    }
}

impl Preference {
    /// Takes the first `KEY=VALUE` of `pairs`; what follows it is left.
    fn take<'a>(&mut self, pairs: &'a str) -> Result<&'a str, String> {
        if let Some(selector) = pairs.strip_prefix("selector=") {
            // A selector has commas of its own, so it is all of the rest.
            selector.clone_into(&mut self.selector);
            return Ok("");
        }
        let (pair, rest) = pairs.split_once(',').unwrap_or((pairs, ""));
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some((_, list)) = LISTS.iter().find(|(name, _)| *name == key.trim()) else {
            return Err(format!(
                "`{}` is no key: choose from node, role, region, zone, selector",
                key.trim()
            ));
        };
        if value.trim().is_empty() {
            return Err(format!("`{}` has no value", key.trim()));
        }
        self.lists.entry(list).or_default().push(value.trim().to_owned());
        Ok(rest)
    }

    fn to_json(&self) -> Value {
        let mut nodes: Map<String, Value> =
            self.lists.iter().map(|(list, values)| ((*list).to_owned(), json!(values))).collect();
        if !self.selector.is_empty() {
            nodes.insert(SELECTOR.to_owned(), json!(self.selector));
        }
        json!({"nodes": nodes, "priority": self.priority})
    }
}

fn label(given: &str) -> Result<(String, Option<String>), String> {
    let wrong = || format!("`{given}` is neither KEY=VALUE nor KEY-");
    let (key, value) = match given.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (given.strip_suffix('-').ok_or_else(wrong)?, None),
    };
    if key.is_empty() { Err(wrong()) } else { Ok((key.to_owned(), value)) }
}

impl LeadersPolicyArgs {
    /// Whether no flag was given.
    pub(super) fn is_empty(&self) -> bool {
        let lists = self.lists().iter().all(|(_, values)| values.is_empty());
        lists && self.selector.is_none() && self.prefer.is_empty() && self.label.is_empty()
    }

    /// The lists of the flags, by the API's names.
    fn lists(&self) -> [(&'static str, &[String]); 4] {
        [("nodes", &self.node), ("roles", &self.role), ("regions", &self.region), ("zones", &self.zone)]
    }

    /// The policy and the labels of `scope` with what the flags name changed.
    ///
    /// # Errors
    /// Usage, when a label is named twice, or one is removed that is not there.
    pub(super) fn applied_to(&self, scope: &Value) -> Result<(Value, Value), CliError> {
        let mut policy = field(scope, "policy").as_object().cloned().unwrap_or_default();
        let mut eligible = field(scope, "policy.eligible").as_object().cloned().unwrap_or_default();
        for (list, values) in self.lists().into_iter().filter(|(_, values)| !values.is_empty()) {
            let values: Vec<&String> = values.iter().filter(|value| !value.is_empty()).collect();
            eligible.insert(list.to_owned(), json!(values));
        }
        if let Some(selector) = &self.selector {
            eligible.insert(SELECTOR.to_owned(), json!(selector));
        }
        policy.insert("eligible".to_owned(), Value::Object(eligible));
        if !self.prefer.is_empty() {
            let prefer: Vec<Value> = self.prefer.iter().map(Preference::to_json).collect();
            policy.insert("prefer".to_owned(), json!(prefer));
        }
        Ok((Value::Object(policy), Value::Object(self.labels(scope)?)))
    }

    fn labels(&self, scope: &Value) -> Result<Map<String, Value>, CliError> {
        let mut labels = field(scope, "labels").as_object().cloned().unwrap_or_default();
        for (at, (key, value)) in self.label.iter().enumerate() {
            if self.label[..at].iter().any(|(known, _)| known == key) {
                return Err(CliError::usage(format!("label `{key}` is named twice")));
            }
            match value {
                Some(value) => {
                    labels.insert(key.clone(), json!(value));
                }
                None if labels.shift_remove(key).is_some() => {}
                None => return Err(CliError::usage(format!("there is no label `{key}` to remove"))),
            }
        }
        Ok(labels)
    }
}

/// Nodes that may lead a scope: `role=worker region=eu,us`, or `every node`.
pub(super) fn eligible(scope: &Value) -> String {
    Some(nodes(field(scope, "policy.eligible")))
        .filter(|words| !words.is_empty())
        .unwrap_or("every node".into())
}

/// The preferences of a scope, one line each: `10 for region=eu`.
pub(super) fn preferences(scope: &Value) -> Vec<String> {
    let line = |preference: &Value| {
        format!("{} for {}", plain(field(preference, "priority")), nodes(field(preference, "nodes")))
    };
    items(scope, "policy.prefer").iter().map(line).collect()
}

/// A node filter in words; empty when it matches all.
fn nodes(filter: &Value) -> String {
    let mut parts = Vec::new();
    for (name, list) in LISTS {
        let values: Vec<&str> = items(filter, list).iter().filter_map(Value::as_str).collect();
        if !values.is_empty() {
            parts.push(format!("{name}={}", values.join(",")));
        }
    }
    let selector = text(filter, SELECTOR);
    if !selector.is_empty() {
        parts.push(format!("selector={selector}"));
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preference_is_a_priority_and_the_nodes_that_have_it() {
        let cases = [
            ("10:region=eu", Some(json!({"nodes": {"regions": ["eu"]}, "priority": 10}))),
            ("-5:zone=a,zone=b", Some(json!({"nodes": {"zones": ["a", "b"]}, "priority": -5}))),
            (
                "7:node=n.1,selector=tier in (a,b),!x",
                Some(json!({"nodes": {"nodes": ["n.1"], "selector": "tier in (a,b),!x"}, "priority": 7})),
            ),
            ("0:role=a:b", Some(json!({"nodes": {"roles": ["a:b"]}, "priority": 0}))),
            ("region=eu", None),
            ("10", None),
            ("10:", None),
            ("ten:region=eu", None),
            ("1001:region=eu", None),
            ("-1001:region=eu", None),
            ("10:colour=red", None),
            ("10:region=", None),
            ("10:selector=", None),
        ];
        for (given, expected) in cases {
            let preference = given.parse::<Preference>().ok();
            assert_eq!(preference.map(|preference| preference.to_json()), expected, "{given}");
        }
    }

    fn scope() -> Value {
        json!({
            "policy": {
                "eligible": {"nodes": [], "roles": ["worker"], "regions": [], "zones": ["a"], "selector": "x"},
                "prefer": [{"nodes": {"regions": ["eu"]}, "priority": 10}],
            },
            "labels": {"team": "a", "draft": "1"},
        })
    }

    #[test]
    fn flags_change_what_they_name_and_nothing_else() {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let args = LeadersPolicyArgs {
            zone: words(&["b", "c"]),
            label: vec![("team".into(), Some("b".into())), ("draft".into(), None)],
            ..LeadersPolicyArgs::default()
        };
        let (policy, labels) = args.applied_to(&scope()).unwrap();
        assert_eq!(eligible(&json!({ "policy": policy })), "role=worker zone=b,c selector=x");
        assert_eq!(preferences(&json!({ "policy": policy })), ["10 for region=eu"]);
        assert_eq!(labels, json!({"team": "b"}));

        let args = LeadersPolicyArgs {
            role: words(&[""]),
            zone: words(&[""]),
            selector: Some(String::new()),
            prefer: vec!["-1:node=n".parse().unwrap()],
            ..LeadersPolicyArgs::default()
        };
        let (policy, labels) = args.applied_to(&scope()).unwrap();
        assert_eq!(eligible(&json!({ "policy": policy })), "every node", "an empty value takes it away");
        assert_eq!(preferences(&json!({ "policy": policy })), ["-1 for node=n"]);
        assert_eq!(labels, json!({"team": "a", "draft": "1"}));
    }

    #[test]
    fn contradictory_and_missing_labels_are_refused() {
        let refused = |label: &[(&str, Option<&str>)]| {
            let label =
                label.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect();
            LeadersPolicyArgs { label, ..LeadersPolicyArgs::default() }.applied_to(&scope()).is_err()
        };
        assert!(refused(&[("team", Some("a")), ("team", None)]));
        assert!(refused(&[("gone", None)]));
        assert!(!refused(&[("new", Some(""))]));
        assert!(label("=x").is_err() && label("-").is_err() && label("key").is_err());
    }
}
