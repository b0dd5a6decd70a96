//! The join policy as a message: whether all daemons can judge by it, and its rules as they decide.

use std::time::Duration;

use omnirelay_core::join::{JoinPolicy, JoinRule};
use omnirelay_core::names::check_node_name;
use omnirelay_core::selector::Selector;
use omnirelay_core::text::printable;
use omnirelay_pki::public_key::PublicKey;
use omnirelay_wire::pb::omnirelay::security::v1 as pb;
use pb::join_rule::Effect;

const RULES_MAX: usize = 100;
const ATTESTERS_MAX: usize = 32;
/// The most words of each kind that a rule names.
const WORDS_MAX: usize = 100;
/// How long a certificate may live, in seconds.
const LIFETIMES: std::ops::RangeInclusive<u32> = 3600..=7 * 24 * 3600;

/// The rules as they are decided by.
///
/// # Errors
/// What is wrong with one.
pub fn policy(rules: &[pb::JoinRule]) -> Result<JoinPolicy, String> {
    let rules: Result<_, _> = rules.iter().map(rule).collect();
    Ok(JoinPolicy { rules: rules? })
}

fn rule(rule: &pb::JoinRule) -> Result<JoinRule, String> {
    let of = |what: String| format!("rule `{}`: {what}", printable(&rule.name));
    let labels = match rule.label_selector.as_str() {
        "" => Selector::default(),
        text => Selector::parse(text).map_err(|error| of(format!("`labelSelector`: {error}")))?,
    };
    let allow = match rule.effect() {
        Effect::Allow => true,
        Effect::Deny => false,
        Effect::Unspecified => return Err(of("`effect` is neither allow nor deny".to_owned())),
    };
    let lifetime = match rule.lifetime_seconds {
        0 => None,
        seconds if LIFETIMES.contains(&seconds) => Some(Duration::from_secs(seconds.into())),
        seconds => {
            let (min, max) = (LIFETIMES.start(), LIFETIMES.end());
            return Err(of(format!("`lifetimeSeconds` is {seconds}: {min} to {max} are allowed")));
        }
    };
    Ok(JoinRule {
        name: rule.name.clone(),
        allow,
        clusters: rule.clusters.clone(),
        roles: rule.roles.clone(),
        environments: rule.environments.clone(),
        namespaces: rule.namespaces.clone(),
        labels,
        attesters: rule.attesters.clone(),
        claims: rule.claims.clone().into_iter().collect(),
        needs_attestation: rule.needs_attestation,
        lifetime,
    })
}

/// Checks that all daemons can judge by these rules and attesters of a join policy.
///
/// # Errors
/// What is wrong, with the rule or the attester.
pub fn check(rules: &[pb::JoinRule], attesters: &[pb::Attester]) -> Result<(), String> {
    if rules.len() > RULES_MAX || attesters.len() > ATTESTERS_MAX {
        return Err(format!("at most {RULES_MAX} rules and {ATTESTERS_MAX} attesters are allowed"));
    }
    for (at, attester) in attesters.iter().enumerate() {
        let of = |what: String| format!("attester {}: {what}", at + 1);
        check_node_name(&attester.name).map_err(|error| of(format!("`name`: {error}")))?;
        PublicKey::from_pem(&attester.public_key_pem)
            .map_err(|error| of(format!("`publicKeyPem`: {error}")))?;
        if attesters[..at].iter().any(|known| known.name == attester.name) {
            return Err(of(format!("there is an attester `{}` already", attester.name)));
        }
    }
    for (at, asked) in rules.iter().enumerate() {
        let of = |what: String| format!("rule {}: {what}", at + 1);
        check_node_name(&asked.name).map_err(|error| of(format!("`name`: {error}")))?;
        if rules[..at].iter().any(|known| known.name == asked.name) {
            return Err(of(format!("there is a rule `{}` already", asked.name)));
        }
        rule(asked)?;
        let lists = [&asked.clusters, &asked.roles, &asked.environments, &asked.namespaces, &asked.attesters];
        if lists.iter().any(|list| list.len() > WORDS_MAX) || asked.claims.len() > WORDS_MAX {
            return Err(of(format!("it names more than {WORDS_MAX} of one kind")));
        }
        let unknown = |name: &&String| !attesters.iter().any(|known| known.name == **name);
        if let Some(unknown) = asked.attesters.iter().find(unknown) {
            return Err(of(format!("there is no attester `{}`", printable(unknown))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(change: impl FnOnce(&mut pb::JoinRule)) -> Vec<pb::JoinRule> {
        let mut rule =
            pb::JoinRule { name: "edge".to_owned(), effect: Effect::Allow as i32, ..Default::default() };
        change(&mut rule);
        vec![rule]
    }

    #[test]
    fn what_no_daemon_could_judge_by_is_refused() {
        let key = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n";
        let ci = |key: &str| {
            vec![pb::Attester {
                name: "ci".to_owned(),
                public_key_pem: key.to_owned(),
                unknown_fields: Default::default(),
            }]
        };
        let cases = [
            ("nothing", Vec::new(), Vec::new(), None),
            ("a rule", rule(|_| {}), Vec::new(), None),
            ("no name", rule(|rule| rule.name.clear()), Vec::new(), Some("`name`")),
            ("two of one name", [rule(|_| {}), rule(|_| {})].concat(), Vec::new(), Some("`edge` already")),
            ("no effect", rule(|rule| rule.effect = 0), Vec::new(), Some("`effect`")),
            (
                "no selector",
                rule(|rule| rule.label_selector = "a==b==c".into()),
                Vec::new(),
                Some("labelSelector"),
            ),
            ("too short a life", rule(|rule| rule.lifetime_seconds = 60), Vec::new(), Some("3600 to 604800")),
            (
                "an unknown attester",
                rule(|rule| rule.attesters = vec!["ci".into()]),
                Vec::new(),
                Some("no attester `ci`"),
            ),
            ("a key that is none", Vec::new(), ci("key"), Some("publicKeyPem")),
            ("a broken key", Vec::new(), ci(key), Some("publicKeyPem")),
        ];
        for (what, rules, attesters, expected) in cases {
            match (check(&rules, &attesters), expected) {
                (Ok(()), None) => {}
                (Err(error), Some(expected)) => assert!(error.contains(expected), "{what}: {error}"),
                (outcome, _) => panic!("{what}: {outcome:?}"),
            }
        }
    }
}
