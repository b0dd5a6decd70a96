//! Join policies: who may become a node of the mesh. The first rule that matches decides; where none does, nobody joins.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::labels::Labels;
use crate::selector::Selector;

/// Rules in the order in which they are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinPolicy {
    pub rules: Vec<JoinRule>,
}

/// Rule of the join policy: whom it matches, and what becomes of them. An empty field matches everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinRule {
    /// As refusals and audit records call it.
    pub name: String,
    pub allow: bool,
    pub clusters: Vec<String>,
    pub roles: Vec<String>,
    pub environments: Vec<String>,
    /// Of a rule that allows: all that it asks for, and it asks for one at least. Of one that denies: any of them.
    pub namespaces: Vec<String>,
    pub labels: Selector,
    /// Who attested it, one of these.
    pub attesters: Vec<String>,
    /// What was attested, all of it.
    pub claims: BTreeMap<String, String>,
    /// Nobody is let in by this rule without evidence that was verified.
    pub needs_attestation: bool,
    /// How long a certificate lives; `None`: as long as others do.
    pub lifetime: Option<Duration>,
}

/// Candidate that wants to join, as far as it is proven or of no weight: cluster and role are those of its token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinCandidate {
    pub cluster: String,
    pub role: String,
    pub environment: String,
    pub namespaces: Vec<String>,
    pub labels: Labels,
    /// What was attested and verified; nothing that was only said.
    pub attested: Option<VerifiedEvidence>,
}

/// Evidence that was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifiedEvidence {
    pub attester: String,
    pub claims: BTreeMap<String, String>,
}

/// Decision of the join policy about a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinDecision<'a> {
    Allowed(&'a JoinRule),
    Denied(&'a JoinRule),
    /// The rule that matches asks for evidence, and none was verified.
    NotAttested(&'a JoinRule),
    /// No rule matches.
    Unmatched,
}

impl JoinPolicy {
    /// Decides by the first rule that matches what becomes of `candidate`.
    pub fn decide(&self, candidate: &JoinCandidate) -> JoinDecision<'_> {
        match self.rules.iter().find(|rule| rule.matches(candidate)) {
            None => JoinDecision::Unmatched,
            Some(rule) if !rule.allow => JoinDecision::Denied(rule),
            Some(rule) if rule.needs_attestation && candidate.attested.is_none() => {
                JoinDecision::NotAttested(rule)
            }
            Some(rule) => JoinDecision::Allowed(rule),
        }
    }
}

impl JoinRule {
    fn matches(&self, candidate: &JoinCandidate) -> bool {
        let among = |all: &[String], one: &str| all.is_empty() || all.iter().any(|known| known == one);
        among(&self.clusters, &candidate.cluster)
            && among(&self.roles, &candidate.role)
            && among(&self.environments, &candidate.environment)
            && self.is_of(&candidate.namespaces)
            && self.labels.matches(&candidate.labels)
            && self.is_attested_by(candidate.attested.as_ref())
    }

    /// Whoever asks for one namespace more is not let through by that.
    fn is_of(&self, namespaces: &[String]) -> bool {
        let mut named = namespaces.iter().map(|namespace| self.namespaces.contains(namespace));
        match (self.namespaces.is_empty(), self.allow) {
            (true, _) => true,
            (false, true) => !namespaces.is_empty() && named.all(|named| named),
            (false, false) => namespaces.is_empty() || named.any(|named| named),
        }
    }

    /// Whoever shows no evidence is not let through by that: it matches what denies by evidence.
    fn is_attested_by(&self, attested: Option<&VerifiedEvidence>) -> bool {
        if self.attesters.is_empty() && self.claims.is_empty() {
            return true;
        }
        let Some(attested) = attested else { return !self.allow };
        let by = self.attesters.is_empty() || self.attesters.contains(&attested.attester);
        by && self.claims.iter().all(|(name, value)| attested.claims.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, allow: bool) -> JoinRule {
        JoinRule { name: name.to_owned(), allow, ..JoinRule::default() }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn worker() -> JoinCandidate {
        JoinCandidate {
            cluster: "default".into(),
            role: "worker".into(),
            environment: "prod".into(),
            namespaces: words(&["orders"]),
            labels: [("tier".to_owned(), "std".to_owned())].into(),
            attested: None,
        }
    }

    fn decided(rules: &[&JoinRule], candidate: &JoinCandidate) -> String {
        let policy = JoinPolicy { rules: rules.iter().copied().cloned().collect() };
        match policy.decide(candidate) {
            JoinDecision::Allowed(rule) => format!("allowed by {}", rule.name),
            JoinDecision::Denied(rule) => format!("denied by {}", rule.name),
            JoinDecision::NotAttested(rule) => format!("not attested for {}", rule.name),
            JoinDecision::Unmatched => "unmatched".to_owned(),
        }
    }

    #[test]
    fn nobody_joins_where_no_rule_is() {
        assert_eq!(decided(&[], &worker()), "unmatched");
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let gateways = JoinRule { roles: words(&["gateway"]), ..rule("gateways", true) };
        let (nobody, all) = (rule("nobody", false), rule("all", true));
        assert_eq!(decided(&[&gateways, &nobody, &all], &worker()), "denied by nobody");
        assert_eq!(decided(&[&gateways, &all, &nobody], &worker()), "allowed by all");
    }

    #[test]
    fn every_part_of_a_rule_must_match() {
        let fits = JoinRule {
            clusters: words(&["default"]),
            roles: words(&["gateway", "worker"]),
            environments: words(&["prod"]),
            namespaces: words(&["orders", "billing"]),
            labels: Selector::parse("tier=std").unwrap(),
            ..rule("fits", true)
        };
        assert_eq!(decided(&[&fits], &worker()), "allowed by fits");
        let changes: [fn(&mut JoinCandidate); 5] = [
            |one| one.cluster = "other".into(),
            |one| one.role = "control".into(),
            |one| one.environment = String::new(),
            |one| one.namespaces.push("secrets".into()),
            |one| one.labels.clear(),
        ];
        for change in changes {
            let mut other = worker();
            change(&mut other);
            assert_eq!(decided(&[&fits], &other), "unmatched", "{other:?}");
        }
    }

    #[test]
    fn evidence_counts_only_where_it_was_verified() {
        let needs = JoinRule { needs_attestation: true, ..rule("needs", true) };
        let claims: BTreeMap<_, _> = [("image".to_owned(), "sha256:1".to_owned())].into();
        let claimed = JoinRule { claims: claims.clone(), attesters: words(&["ci"]), ..rule("claimed", true) };
        assert_eq!(decided(&[&needs], &worker()), "not attested for needs");
        assert_eq!(decided(&[&claimed], &worker()), "unmatched");
        let by = |attester: &str, claims: &BTreeMap<String, String>| JoinCandidate {
            attested: Some(VerifiedEvidence { attester: attester.to_owned(), claims: claims.clone() }),
            ..worker()
        };
        assert_eq!(decided(&[&needs], &by("anybody", &BTreeMap::new())), "allowed by needs");
        assert_eq!(decided(&[&claimed], &by("ci", &claims)), "allowed by claimed");
        assert_eq!(decided(&[&claimed], &by("other", &claims)), "unmatched");
        assert_eq!(decided(&[&claimed], &by("ci", &BTreeMap::new())), "unmatched");
    }

    #[test]
    fn nobody_passes_a_rule_that_denies_by_asking_for_more_or_showing_less() {
        let all = rule("all", true);
        let secrets = JoinRule { namespaces: words(&["secrets"]), ..rule("secrets", false) };
        for (asked, expected) in [
            (&["secrets"][..], "denied by secrets"),
            (&["secrets", "orders"], "denied by secrets"),
            (&[], "denied by secrets"),
            (&["orders"], "allowed by all"),
        ] {
            let candidate = JoinCandidate { namespaces: words(asked), ..worker() };
            assert_eq!(decided(&[&secrets, &all], &candidate), expected, "{asked:?}");
        }
        let orders = JoinRule { namespaces: words(&["orders"]), ..rule("orders", true) };
        let asks_nothing = JoinCandidate { namespaces: Vec::new(), ..worker() };
        assert_eq!(decided(&[&orders], &asks_nothing), "unmatched");
        let bad = JoinRule { claims: [("image".to_owned(), "bad".to_owned())].into(), ..rule("bad", false) };
        assert_eq!(decided(&[&bad, &all], &worker()), "denied by bad", "it shows nothing");
        let unset = JoinRule { attesters: words(&[""]), ..rule("unset", true) };
        assert_eq!(decided(&[&unset], &worker()), "unmatched");
    }
}
