//! The transport policy: whether what endpoints speak is fit, and what to do where it is not.

mod pairing;
mod policy;
mod rule;

use omnirelay_core::time::{Millis, rfc3339};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

pub use pairing::{ProtocolPairing, WireEncoding, WireTransport};
use pb::transport_finding::Level;

/// How many findings are told in one line.
const TOLD_MAX: usize = 8;
pub use policy::{
    CONTROL_PLANE, DIAGNOSTICS, EDGE, MESH_INTERNAL, defaults, differences, effective, read_endpoints, words,
};
use policy::{CheckedEndpoint, CheckedTransportPolicy, OF_THE_MESH};
pub use rule::AuditRule;

/// Findings of a level.
pub fn of_level(report: &pb::TransportReport, level: Level) -> impl Iterator<Item = &pb::TransportFinding> {
    report.findings.iter().filter(move |finding| finding.level() == level)
}

/// Violations in a report: the findings for which what it judges is refused.
pub fn violations(report: &pb::TransportReport) -> impl Iterator<Item = &pb::TransportFinding> {
    of_level(report, Level::Violation)
}

/// A finding in one line, such as `raw-acl: orders/ingest takes raw ...: name ...`.
pub fn line(finding: &pb::TransportFinding) -> String {
    format!("{}: {}; {}", finding.rule, finding.what, finding.remedy)
}

/// Summary of the findings of a level, as one line; `None`: there are none.
pub fn summary(report: &pb::TransportReport, level: Level) -> Option<String> {
    let lines: Vec<String> = of_level(report, level).map(line).collect();
    let more = lines.len().saturating_sub(TOLD_MAX);
    let more = (more > 0).then(|| format!("and {more} more"));
    let told = lines.into_iter().take(TOLD_MAX).chain(more).collect::<Vec<_>>().join(" | ");
    (!told.is_empty()).then_some(told)
}

/// Judges a policy, and endpoints by it; what the policy does not say is as by default.
///
/// # Errors
/// What of them means nothing.
pub fn evaluate(
    policy: &pb::TransportPolicy,
    endpoints: &[pb::TransportEndpoint],
    now: Millis,
) -> Result<pb::TransportReport, String> {
    let (policy, endpoints) = (policy::read(policy)?, read_endpoints(endpoints)?);
    let mut found = FindingCollector { policy: &policy, now, findings: Vec::new() };
    found.of_policy();
    endpoints.iter().for_each(|endpoint| found.of_endpoint(endpoint));
    let raw_endpoints = count(endpoints.iter().filter(|one| one.takes_raw()));
    let legacy_pairings =
        count(endpoints.iter().flat_map(|one| &one.profiles).filter(|one| policy.is_legacy(**one)));
    found.of_budgets(raw_endpoints, legacy_pairings);
    Ok(pb::TransportReport {
        fit: found.findings.iter().all(|finding| finding.level() != Level::Violation),
        findings: found.findings,
        endpoints: count(endpoints.iter()),
        raw_endpoints,
        raw_endpoints_max: policy.raw_endpoints_max,
        legacy_pairings,
        legacy_pairings_max: policy.legacy_pairings_max,
    })
}

/// Report on a policy that means nothing to this version.
pub fn unreadable(what: &str) -> pb::TransportReport {
    let rule = AuditRule::UnreadablePolicy;
    let finding = pb::TransportFinding {
        level: rule.levels()[0] as i32,
        rule: rule.word().to_owned(),
        what: format!("the policy cannot be read: {what}"),
        remedy: rule.remedy().to_owned(),
        ..Default::default()
    };
    pb::TransportReport { findings: vec![finding], ..Default::default() }
}

fn count<T>(all: impl Iterator<Item = T>) -> u32 {
    u32::try_from(all.count()).unwrap_or(u32::MAX)
}

/// Findings so far, in the order in which they are made.
struct FindingCollector<'a> {
    policy: &'a CheckedTransportPolicy,
    now: Millis,
    findings: Vec<pb::TransportFinding>,
}

impl FindingCollector<'_> {
    fn add(
        &mut self,
        rule: AuditRule,
        level: Level,
        of: Option<&CheckedEndpoint>,
        what: String,
        remedy: String,
    ) {
        let (endpoint, namespace) =
            of.map_or_else(Default::default, |of| (of.name.clone(), of.namespace.clone()));
        let (level, rule) = (level as i32, rule.word().to_owned());
        self.findings.push(pb::TransportFinding { level, rule, endpoint, namespace, what, remedy });
    }

    /// One about the policy.
    fn policy(&mut self, rule: AuditRule, what: String) {
        self.add(rule, rule.levels()[0], None, what, rule.remedy().to_owned());
    }

    /// One about an endpoint, to which there is no exception.
    fn fixed(&mut self, rule: AuditRule, of: &CheckedEndpoint, what: String) {
        self.add(rule, Level::Violation, Some(of), what, rule.remedy().to_owned());
    }

    /// One about an endpoint, unless an exception allows it.
    fn unless_excepted(
        &mut self,
        rule: AuditRule,
        of: &CheckedEndpoint,
        spoken: &[ProtocolPairing],
        what: String,
    ) {
        let concerns = |one: &&policy::PolicyException| {
            one.category == of.category
                && (one.endpoints.is_empty() || one.endpoints.contains(&of.id()))
                && spoken.iter().any(|pairing| one.pairings.contains(pairing))
        };
        let policy = self.policy;
        let mut concerning =
            policy.exceptions.iter().filter(concerns).filter(|one| one.is_complete).peekable();
        let ended =
            concerning.peek().map(|one| format!("exception `{}` has ended: have it approved anew", one.name));
        match concerning.find(|one| one.expires_at > self.now) {
            Some(by) => {
                let remedy = format!("exception `{}` allows it until {}", by.name, rfc3339(by.expires_at));
                self.add(rule, Level::Excepted, Some(of), what, remedy);
            }
            None => {
                let remedy = ended.unwrap_or_else(|| rule.remedy().to_owned());
                self.add(rule, Level::Violation, Some(of), what, remedy);
            }
        }
    }

    fn of_policy(&mut self) {
        let policy = self.policy;
        for (name, category) in &policy.categories {
            for pairing in &category.allowed {
                let told = format!("category `{name}` allows {pairing}");
                if !pairing.is_spoken() {
                    self.policy(AuditRule::UnsupportedPairing, format!("{told}, which nobody can speak"));
                } else if let Some(rule) = inside(*pairing).filter(|_| name == MESH_INTERNAL) {
                    self.policy(rule, told);
                }
            }
            if let Some(preferred) = category.preferred.filter(|one| !category.allowed.contains(one)) {
                let what = format!("category `{name}` prefers {preferred}, and does not allow it");
                self.policy(AuditRule::PreferredNotAllowed, what);
            }
            let keeps = OF_THE_MESH.iter().all(|one| category.allowed.contains(one))
                && category.preferred == Some(OF_THE_MESH[0])
                && category.requires_preferred;
            if name == MESH_INTERNAL && !keeps {
                let what =
                    "category `mesh-internal` does not require http3+protobuf with http2+protobuf behind it";
                self.policy(AuditRule::MeshInternalProfile, what.to_owned());
            }
        }
        for exception in &policy.exceptions {
            self.of_exception(exception);
        }
    }

    fn of_exception(&mut self, exception: &policy::PolicyException) {
        let name = &exception.name;
        if !exception.is_complete {
            let what = format!("exception `{name}` does not say why, who has agreed, or until when");
            self.policy(AuditRule::ExceptionIncomplete, what);
        }
        if exception.category == MESH_INTERNAL {
            let what = format!("exception `{name}` is of `{MESH_INTERNAL}`");
            self.policy(AuditRule::ExceptionOfFixedRule, what);
        }
        for pairing in exception.pairings.iter().filter(|pairing| !pairing.is_spoken()) {
            let what = format!("exception `{name}` allows {pairing}, which nobody can speak");
            self.policy(AuditRule::UnsupportedPairing, what);
        }
        if !self.policy.categories.contains_key(&exception.category) {
            let what =
                format!("exception `{name}` is of category `{}`, which there is not", exception.category);
            self.policy(AuditRule::UnknownCategory, what);
        }
        if exception.expires_at <= self.now {
            let what = format!("exception `{name}` ended at {}", rfc3339(exception.expires_at));
            self.policy(AuditRule::ExceptionExpired, what);
        }
    }

    fn of_endpoint(&mut self, endpoint: &CheckedEndpoint) {
        let id = endpoint.id();
        let is_inside = endpoint.category == MESH_INTERNAL;
        let policy = self.policy;
        let category = policy.categories.get(&endpoint.category);
        for pairing in &endpoint.profiles {
            let told = format!("`{id}` speaks {pairing}");
            if let Some(rule) = inside(*pairing).filter(|_| is_inside) {
                self.fixed(rule, endpoint, format!("{told} inside of the mesh"));
            } else if !pairing.is_spoken() {
                self.fixed(AuditRule::UnsupportedPairing, endpoint, format!("{told}, which nobody can"));
            } else if let Some(category) = category.filter(|category| !category.allowed.contains(pairing)) {
                let allowed: Vec<String> = category.allowed.iter().map(ToString::to_string).collect();
                let allowed = allowed.join(", ");
                let what = format!("{told}, and `{}` allows {allowed}", endpoint.category);
                self.unless_excepted(AuditRule::PairingNotAllowed, endpoint, &[*pairing], what);
            }
        }
        if endpoint.takes_raw() && !endpoint.has_acl && !is_inside {
            self.fixed(AuditRule::RawAcl, endpoint, format!("`{id}` takes raw from anybody"));
        }
        if is_inside {
            if OF_THE_MESH.iter().any(|one| !endpoint.profiles.contains(one)) {
                let what = format!("`{id}` does not offer both http3+protobuf and http2+protobuf");
                self.fixed(AuditRule::MeshInternalProfile, endpoint, what);
            }
            return;
        }
        let Some(category) = category else {
            let known: Vec<&str> = policy.categories.keys().map(String::as_str).collect();
            let what =
                format!("`{id}` is of category `{}`; there are {}", endpoint.category, known.join(", "));
            return self.fixed(AuditRule::UnknownCategory, endpoint, what);
        };
        let required = category.preferred.filter(|_| category.requires_preferred);
        if let Some(preferred) = required.filter(|one| !endpoint.profiles.contains(one)) {
            let what = format!("`{id}` does not offer {preferred}, which `{}` requires", endpoint.category);
            self.unless_excepted(AuditRule::PreferredMissing, endpoint, &endpoint.profiles, what);
        }
    }

    fn of_budgets(&mut self, raw_endpoints: u32, legacy_pairings: u32) {
        let (raw_max, legacy_max) = (self.policy.raw_endpoints_max, self.policy.legacy_pairings_max);
        if raw_endpoints > raw_max {
            let what = format!("endpoints that take raw: {raw_endpoints}, and {raw_max} may");
            self.policy(AuditRule::RawBudget, what);
        }
        if legacy_pairings > legacy_max {
            let what = format!("legacy pairings: {legacy_pairings}, and {legacy_max} may be");
            self.policy(AuditRule::LegacyBudget, what);
        }
    }
}

/// Why a pairing may not be spoken inside of the mesh.
fn inside(pairing: ProtocolPairing) -> Option<AuditRule> {
    match (pairing.transport, pairing.encoding) {
        (WireTransport::Http1, _) => Some(AuditRule::MeshInternalHttp1),
        (WireTransport::Http3 | WireTransport::Http2, WireEncoding::Json | WireEncoding::Raw) => {
            Some(AuditRule::MeshInternalEncoding)
        }
        (WireTransport::Http3 | WireTransport::Http2, WireEncoding::Protobuf) => None,
    }
}

impl CheckedTransportPolicy {
    fn is_legacy(&self, pairing: ProtocolPairing) -> bool {
        let fits =
            |encoding: Option<WireEncoding>| encoding.is_none_or(|encoding| encoding == pairing.encoding);
        self.legacy.iter().any(|(transport, encoding)| *transport == pairing.transport && fits(*encoding))
    }
}

impl CheckedEndpoint {
    fn takes_raw(&self) -> bool {
        self.profiles.iter().any(|pairing| pairing.encoding == WireEncoding::Raw)
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
