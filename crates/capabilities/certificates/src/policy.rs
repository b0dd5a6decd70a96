//! The join policy: who may become a node, as a record by which every daemon judges alike.

use omnirelay_certificate_records::{JOIN_POLICY, ONLY};
use omnirelay_core::join::{JoinCandidate, JoinDecision as Judged, JoinPolicy, VerifiedEvidence};
use omnirelay_core::text::printable;
use omnirelay_decisions::field_changes::field_changes;
use omnirelay_decisions::join_policy;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, envelope, head_cursor, timestamp};
use omnirelay_pki::public_key::{PublicKey, signed};
use omnirelay_registry::act::{DecisionReader, put};
use omnirelay_registry::mutate::{MutationDecision, request_hash};
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::{RecordId, Write};
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::EffectiveJoinPolicy;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::effective_join_policy::Source;
use omnirelay_wire::pb::omnirelay::store::v1::{JoinPolicyValue, JoinTokenValue};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::enrollment_service::SET_JOIN_POLICY;
use prost::Message as _;
use tonic::Response;

use super::issue::{LIFETIME, LIFETIME_MAX};
use super::{Certificates, pb};
use pb::join_rule::Effect;

fn policy_id() -> RecordId {
    RecordId::new(JOIN_POLICY, ONLY)
}

/// Where nobody has set a policy: a token is an administrator's word already.
fn by_token_alone() -> JoinPolicyValue {
    let rule = pb::JoinRule { name: "token".to_owned(), effect: Effect::Allow as i32, ..Default::default() };
    JoinPolicyValue { rules: vec![rule], attesters: Vec::new(), unknown_fields: Default::default() }
}

/// The join policy that holds, and where it is from.
pub fn effective_join_policy(view: &View) -> EffectiveJoinPolicy {
    let (source, policy) = match view.get(&policy_id()) {
        Some(record) => (Source::Registry, show(&record)),
        None => (Source::Default, shown(by_token_alone())),
    };
    EffectiveJoinPolicy { source: source as i32, policy: Some(policy) }
}

impl Certificates {
    pub(super) async fn show_policy(
        &self,
        asked: pb::GetJoinPolicyRequest,
    ) -> Result<Response<pb::GetJoinPolicyResponse>, Fault> {
        self.registry.ready_for(&asked.min_revision).await?;
        let record = self.registry.look(|view| view.get(&policy_id())).await;
        let cursor = head_cursor(self.registry.view());
        let shown = pb::GetJoinPolicyResponse {
            cursor: cursor.clone(),
            policy: Some(record.map_or_else(|| shown(by_token_alone()), |record| show(&record))),
            ..Default::default()
        };
        Ok(at_cursor(shown.within(envelope(&self.registry)), &cursor))
    }

    pub(super) async fn set_policy(
        &self,
        caller: &Caller,
        asked: pb::SetJoinPolicyRequest,
    ) -> Result<pb::JoinPolicyChange, Fault> {
        let hash = request_hash(&asked);
        let pb::SetJoinPolicyRequest { rules, attesters, reason, expected_version, dry_run } = asked;
        let wanted = JoinPolicyValue { rules, attesters, unknown_fields: Default::default() };
        check(&wanted)?;
        let (rpc, id) = (SET_JOIN_POLICY, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version, dry_run, hash };
        asked
            .of_record(&self.registry, policy_id(), |found| {
                let before = found.and_then(|found| found.value::<JoinPolicyValue>());
                let is_so = before.as_deref().is_some_and(|before| before.known() == wanted.known());
                let writes = match is_so {
                    true => Vec::new(),
                    false => vec![put(policy_id(), &with_unknown_fields(wanted.clone(), before.as_deref()))],
                };
                let before = before.as_deref().cloned().unwrap_or_else(by_token_alone);
                let changes = field_changes("", &shown(before), &shown(wanted.clone()));
                let policy = found.map_or_else(|| shown(wanted.clone()), |found| show(found));
                let policy = pb::JoinPolicy {
                    rules: wanted.rules.clone(),
                    attesters: wanted.attesters.clone(),
                    ..policy
                };
                let answer = pb::JoinPolicyChange {
                    schema_version: SCHEMA_VERSION.to_owned(),
                    policy: Some(policy),
                    ..Default::default()
                };
                Ok(MutationDecision { writes, changes, answer })
            })
            .await
    }

    /// The write by which what is configured becomes the policy of a mesh that has none; `None`: nothing is configured.
    pub(super) fn seed(&self, reader: &DecisionReader<'_>) -> Result<Option<Write>, Fault> {
        let Some(policy) = self.policy.clone().filter(|_| reader.get(&policy_id()).is_none()) else {
            return Ok(None);
        };
        let value = JoinPolicyValue {
            rules: policy.rules,
            attesters: policy.attesters,
            unknown_fields: Default::default(),
        };
        check(&value)?;
        Ok(Some(put(policy_id(), &value)))
    }
}

/// A policy, with what a later version has written into the one before, and into its rules and attesters of these names.
fn with_unknown_fields(mut policy: JoinPolicyValue, before: Option<&JoinPolicyValue>) -> JoinPolicyValue {
    let Some(before) = before else { return policy };
    let rules = std::mem::take(&mut policy.rules).into_iter();
    let rules = rules.map(|rule| match before.rules.iter().find(|before| before.name == rule.name) {
        Some(before) => rule.in_place_of(before),
        None => rule,
    });
    policy.rules = rules.collect();
    let attesters = std::mem::take(&mut policy.attesters).into_iter();
    let attesters =
        attesters.map(|one| match before.attesters.iter().find(|before| before.name == one.name) {
            Some(before) => one.in_place_of(before),
            None => one,
        });
    policy.attesters = attesters.collect();
    policy.in_place_of(before)
}

/// Rule by which a host is let in that has a token, and the time for which it is.
///
/// # Errors
/// `JOIN_DENIED`, with the rule.
pub fn admitted(
    reader: &DecisionReader<'_>,
    token: &JoinTokenValue,
    body: &pb::JoinBody,
    key: &[u8],
    now: i64,
) -> Result<(String, u32), Fault> {
    let value = reader.get(&policy_id()).and_then(|found| found.value::<JoinPolicyValue>());
    let value = value.as_deref().cloned().unwrap_or_else(by_token_alone);
    let candidate = JoinCandidate {
        cluster: token.cluster.clone(),
        role: token.role.clone(),
        environment: body.environment.clone(),
        namespaces: body.namespaces.clone(),
        labels: body.labels.clone().into_iter().collect(),
        attested: body.evidence.as_ref().map(|evidence| verified(&value, evidence, key, now)).transpose()?,
    };
    let denied = |why: String| {
        let hint = "omnirelay join-policy show   # by an administrator of the mesh";
        Err(Fault::new(reasons::JOIN_DENIED, why).hint(hint))
    };
    match rules(&value)?.decide(&candidate) {
        Judged::Allowed(rule) => {
            let lifetime = rule
                .lifetime
                .map_or(LIFETIME, |lifetime| u32::try_from(lifetime.as_secs()).unwrap_or(LIFETIME_MAX));
            Ok((rule.name.clone(), lifetime))
        }
        Judged::Denied(rule) => denied(format!("the join policy denies it: rule `{}`", rule.name)),
        Judged::NotAttested(rule) => {
            denied(format!("rule `{}` of the join policy asks for evidence, and none was sent", rule.name))
        }
        Judged::Unmatched => denied("no rule of the join policy lets it in".to_owned()),
    }
}

/// What was attested, if it was, and of this host.
fn verified(
    policy: &JoinPolicyValue,
    evidence: &pb::Evidence,
    key: &[u8],
    now: i64,
) -> Result<VerifiedEvidence, Fault> {
    let wrong = |what: &str| {
        let who = printable(&evidence.attester);
        Err(Fault::new(reasons::JOIN_DENIED, format!("the evidence of `{who}` proves nothing: {what}"))
            .hint("have the host attested again, for the key that it joins with"))
    };
    let Some(attester) = policy.attesters.iter().find(|known| known.name == evidence.attester) else {
        return wrong("the join policy knows no such attester");
    };
    let known = PublicKey::from_pem(&attester.public_key_pem);
    if !known.is_ok_and(|known| known.has_signed(&signed(&evidence.body), &evidence.signature)) {
        return wrong("the signature is not of its key");
    }
    match pb::EvidenceBody::decode(&*evidence.body) {
        Err(_) => wrong("what was signed is no EvidenceBody"),
        Ok(body) if body.key != key => wrong("it is of another key than that of the request"),
        Ok(body) if body.not_after < now => wrong("it has ended"),
        Ok(body) => Ok(VerifiedEvidence {
            attester: attester.name.clone(),
            claims: body.claims.into_iter().collect(),
        }),
    }
}

/// Of a record that a daemon wrote, and checked before.
fn rules(value: &JoinPolicyValue) -> Result<JoinPolicy, Fault> {
    join_policy::policy(&value.rules).map_err(|what| {
        let message = format!("the join policy in the registry cannot be read: {what}");
        Fault::new(reasons::AUTHORITY_UNREADABLE, message)
    })
}

fn check(value: &JoinPolicyValue) -> Result<(), Fault> {
    join_policy::check(&value.rules, &value.attesters)
        .map_err(|what| Fault::invalid(format!("the policy: {what}")))
}

fn shown(value: JoinPolicyValue) -> pb::JoinPolicy {
    pb::JoinPolicy { rules: value.rules, attesters: value.attesters, ..Default::default() }
}

fn show(record: &ViewRecord) -> pb::JoinPolicy {
    pb::JoinPolicy {
        version: record.record.version.0,
        last_writer_id: record.record.writer.to_string(),
        created_at: Some(timestamp(record.record.created_at)),
        updated_at: Some(timestamp(record.record.updated_at)),
        ..shown(record.value::<JoinPolicyValue>().as_deref().cloned().unwrap_or_default())
    }
}
