//! The join policy: who may become a node, as a record by which every daemon judges alike.

use omnirelay_certificate_records::{JOIN_POLICY, ONLY};
use omnirelay_core::join::{JoinCandidate, JoinDecision as Judged, JoinPolicy, VerifiedEvidence};
use omnirelay_core::text::printable;
use omnirelay_core::time::Millis;
use omnirelay_decisions::document::DocumentVersion;
use omnirelay_decisions::field_changes::field_changes;
use omnirelay_decisions::join_policy;
use omnirelay_identity::caller::Caller;
use omnirelay_nouns::document::{
    Document, DocumentChange, DocumentSchema, DocumentSeed, DocumentSource, DocumentState,
};
use omnirelay_nouns::request::MutationRequest;
use omnirelay_nouns::{SCHEMA_VERSION, at_cursor, envelope};
use omnirelay_pki::public_key::{PublicKey, signed};
use omnirelay_registry::act::DecisionReader;
use omnirelay_registry::mutate::request_hash;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::RecordId;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::effective_join_policy::Source;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::{EffectiveJoinPolicy, EventData};
use omnirelay_wire::pb::omnirelay::store::v1::{JoinPolicyValue, JoinTokenValue};
use omnirelay_wire::reasons;
use omnirelay_wire::rpc::enrollment_service::SET_JOIN_POLICY;
use prost::Message as _;
use tonic::Response;

use super::issue::{LIFETIME, LIFETIME_MAX};
use super::{Certificates, pb};
use pb::join_rule::Effect;

/// Join policy as a document. Its record keeps no former versions: what it was, the audit trail says.
pub struct JoinPolicySchema;

/// Policy with which the authority of a mesh begins.
pub type JoinPolicySeed = DocumentSeed<JoinPolicySchema>;

/// Seed by what a configuration says.
pub(crate) fn seed(policy: pb::JoinPolicy) -> JoinPolicySeed {
    let pb::JoinPolicy { rules, attesters, .. } = policy;
    DocumentSeed(JoinPolicyValue { rules, attesters, unknown_fields: Default::default() })
}

impl DocumentSchema for JoinPolicySchema {
    type Section = JoinPolicyValue;
    type Value = JoinPolicyValue;
    type Verdict = ();

    const NAME: &'static str = "the join policy";
    const TOPIC: &'static str = "join-policy";

    fn id() -> RecordId {
        RecordId::new(JOIN_POLICY, ONLY)
    }

    /// A token is an administrator's word already.
    fn built_in() -> JoinPolicyValue {
        let rule =
            pb::JoinRule { name: "token".to_owned(), effect: Effect::Allow as i32, ..Default::default() };
        JoinPolicyValue { rules: vec![rule], attesters: Vec::new(), unknown_fields: Default::default() }
    }

    fn holding(value: &JoinPolicyValue) -> Option<&JoinPolicyValue> {
        Some(value)
    }

    fn value(before: Option<&JoinPolicyValue>, newest: DocumentVersion<JoinPolicyValue>) -> JoinPolicyValue {
        with_unknown_fields(newest.section, before)
    }

    fn check(&self, policy: &JoinPolicyValue, _: Millis) -> Result<(), Fault> {
        join_policy::check(&policy.rules, &policy.attesters)
            .map_err(|what| Fault::invalid(format!("the policy: {what}")))
    }

    fn is_same(one: &JoinPolicyValue, other: &JoinPolicyValue) -> bool {
        one.known() == other.known()
    }

    fn differences(before: &JoinPolicyValue, after: &JoinPolicyValue) -> Vec<String> {
        let [before, after] = [before, after].map(|policy| said(policy.clone()));
        field_changes("", &before, &after)
    }

    fn event(state: DocumentState<JoinPolicyValue>) -> EventData {
        EventData { join_policy: Some(shown(state)), ..Default::default() }
    }
}

/// The join policy that holds, and where it is from.
pub fn effective_join_policy(view: &View) -> EffectiveJoinPolicy {
    let state = DocumentState::of(&JoinPolicySchema, view.get(&JoinPolicySchema::id()).as_deref());
    let source = match state.source {
        DocumentSource::BuiltIn | DocumentSource::Configuration => Source::Default,
        DocumentSource::Registry => Source::Registry,
    };
    EffectiveJoinPolicy { source: source as i32, policy: Some(shown(state)) }
}

impl Certificates {
    fn join_policy(&self) -> Document<JoinPolicySchema> {
        Document { registry: self.registry.clone(), schema: JoinPolicySchema }
    }

    pub(super) async fn show_policy(
        &self,
        asked: pb::GetJoinPolicyRequest,
    ) -> Result<Response<pb::GetJoinPolicyResponse>, Fault> {
        let read = self.join_policy().read(&asked.min_revision).await?;
        let shown = pb::GetJoinPolicyResponse {
            cursor: read.cursor.clone(),
            policy: Some(shown(read.state)),
            ..Default::default()
        };
        Ok(at_cursor(shown.within(envelope(&self.registry)), &read.cursor))
    }

    pub(super) async fn set_policy(
        &self,
        caller: &Caller,
        asked: pb::SetJoinPolicyRequest,
    ) -> Result<pb::JoinPolicyChange, Fault> {
        let hash = request_hash(&asked);
        let pb::SetJoinPolicyRequest { rules, attesters, reason, expected_version, dry_run } = asked;
        let wanted = JoinPolicyValue { rules, attesters, unknown_fields: Default::default() };
        let policy = self.join_policy();
        // What means nothing is refused whatever the registry says.
        policy.validate(&wanted)?;
        let (rpc, id) = (SET_JOIN_POLICY, ONLY.to_owned());
        let asked = MutationRequest { caller, rpc, id, reason, expected_version, dry_run, hash };
        let answer = |change: DocumentChange<JoinPolicySchema>| pb::JoinPolicyChange {
            schema_version: SCHEMA_VERSION.to_owned(),
            policy: Some(shown(change.state)),
            ..Default::default()
        };
        policy.set(&asked, &wanted, answer).await
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
    let value = holding(reader.get(&JoinPolicySchema::id()).as_deref())?;
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

/// Policy by which hosts are let in. A record that cannot be read lets nobody in: it is not known whom it would.
fn holding(found: Option<&ViewRecord>) -> Result<JoinPolicyValue, Fault> {
    if found.is_some_and(|record| record.value::<JoinPolicyValue>().is_none()) {
        return Err(unreadable("it is none"));
    }
    Ok(DocumentState::of(&JoinPolicySchema, found).section)
}

/// Of a record that a daemon wrote, and checked before.
fn rules(value: &JoinPolicyValue) -> Result<JoinPolicy, Fault> {
    join_policy::policy(&value.rules).map_err(|what| unreadable(&what.to_string()))
}

fn unreadable(what: &str) -> Fault {
    let message = format!("the join policy in the registry cannot be read: {what}");
    Fault::new(reasons::AUTHORITY_UNREADABLE, message)
        .hint("omnirelay join-policy set   # by an administrator of the mesh")
}

/// What a policy says.
fn said(value: JoinPolicyValue) -> pb::JoinPolicy {
    pb::JoinPolicy { rules: value.rules, attesters: value.attesters, ..Default::default() }
}

fn shown(state: DocumentState<JoinPolicyValue>) -> pb::JoinPolicy {
    pb::JoinPolicy {
        version: state.version,
        last_writer_id: state.last_writer_id,
        created_at: state.created_at,
        updated_at: state.updated_at,
        ..said(state.section)
    }
}

#[cfg(test)]
#[path = "policy_test.rs"]
mod tests;
