//! The store of every registry in the tests of this library: a later version has written to it as well.
//!
//! Whatever is put into it gets a field that no version knows, in each message of the value; and a commit that loses one of
//! them ends the tests. So each test of a change is also a test that what a later version wrote outlives that change.

use std::io::Write as _;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use omnirelay_decisions::signed_record::split;
use omnirelay_store::{
    AcceptedLoss, ClockReset, Commit, CommitError, CommitOutcome, Confirmation, Epoch, ExpelOutcome,
    GroupRef, HousekeepingOutcome, IdempotencyKey, Leases, LogPage, OpenGroup, OpenedGroup, Pulse,
    PulseAnswer, ReadmitOutcome, RecordKind, ResetClock, ResetClockError, Retention, Revision, RightsSet,
    Scan, ScanPage, Store, StoreCredentials, StoreError, SwitchError, SwitchOrder, SwitchOutcome,
    WritableKinds, Write,
};
use omnirelay_wire::descriptors;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, MessageDescriptor, ReflectMessage as _, Value};

/// What the value of each kind is.
const VALUES: [(&str, &str); 20] = [
    ("agent", "AgentValue"),
    ("authority", "AuthorityValue"),
    ("binding", "BindingValue"),
    ("binding-seed", "BindingSeedValue"),
    ("certificate", "CertificateValue"),
    ("cluster", "ClusterValue"),
    ("domain", "DomainValue"),
    ("join-policy", "JoinPolicyValue"),
    ("join-token", "JoinTokenValue"),
    ("leadership", "LeadershipValue"),
    ("namespace", "NamespaceValue"),
    ("peer", "PeerValue"),
    ("rebalance-plan", "RebalancePlanValue"),
    ("register", "RegisterValue"),
    ("relay", "RelayValue"),
    ("revocation", "RevocationValue"),
    ("shard", "ShardValue"),
    ("shard-change", "ShardChangeValue"),
    ("shard-webhook", "ShardWebhookValue"),
    ("transport-policy", "TransportPolicyValue"),
];

/// Kinds whose values are not changed, but written once or stated anew by the one node that knows them.
const STATED: [(&str, &str); 9] = [
    ("advertisement", "its node holds it in memory, and goes on from what it read when it started"),
    ("audit", "its bytes are sealed"),
    ("cluster-trust", "it is what another cluster has signed, and is replaced by what that signs next"),
    ("domain-follower", "whoever follows the domain says it anew every few seconds"),
    ("domain-replica", "whoever follows the domain says it anew with each batch"),
    ("restoration", "its daemon counts it anew in each epoch"),
    ("audit-seal", "its bytes are signed"),
    ("shard-load", "its node counts it anew"),
    ("shard-release", "its node says anew what it has released in this session"),
];

/// Messages that are made anew as a whole within a value, so that what the one before held is not theirs.
const MADE_ANEW: [(&str, &str); 9] = [
    ("omnirelay.mesh.control.v1.PeerMetadata", "a node says it of itself whenever it registers"),
    ("omnirelay.mesh.control.v1.PeerEndpoints", "as the metadata that it is in"),
    ("omnirelay.mesh.control.v1.PendingRules", "what is asked for next takes its place, or nothing does"),
    ("omnirelay.store.v1.RivalDaemon", "the daemon with the same id says it of itself each time"),
    ("omnirelay.mesh.control.v1.ShardHistory", "it tells of the last change alone"),
    ("omnirelay.mesh.control.v1.Tenure", "two tenures of one leader are two things"),
    ("omnirelay.store.v1.LeadershipTenure", "a leader that follows has its own"),
    ("omnirelay.store.v1.PendingIssuerValue", "it is another key"),
    (
        "omnirelay.store.v1.RevocationValue",
        "it is signed as a whole; what is kept is in the list that is its body",
    ),
];

/// A field that no version has.
const UNKNOWN: u32 = 100_000;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(descriptors::ENCODED).unwrap());

/// `store`, with what a later version wrote.
pub fn written_by_later_version(store: Arc<dyn Store>) -> Arc<dyn Store> {
    Arc::new(LaterVersion(store))
}

struct LaterVersion(Arc<dyn Store>);

fn message_of(kind: &RecordKind, key: &str) -> Option<MessageDescriptor> {
    let value = match (&*kind.0, key) {
        ("authority", "next") => "PendingIssuerValue",
        (kind, _) => VALUES.iter().find(|(of, _)| *of == kind)?.1,
    };
    POOL.get_message_by_name(&format!("omnirelay.store.v1.{value}"))
}

fn is_ours(message: &DynamicMessage) -> bool {
    !message.descriptor().package_name().starts_with("google.")
}

/// Adds the unknown field to each message in `message` that lacks it.
fn add_unknown(message: &mut DynamicMessage) {
    if is_ours(message) && message.unknown_fields().next().is_none() {
        let mut field = Vec::new();
        encode_key(UNKNOWN, WireType::Varint, &mut field);
        encode_varint(1, &mut field);
        message.merge(field.as_slice()).unwrap();
    }
    for (_, value) in message.fields_mut() {
        match value {
            Value::Message(inner) => add_unknown(inner),
            Value::List(list) => list.iter_mut().filter_map(Value::as_message_mut).for_each(add_unknown),
            Value::Map(map) => map.values_mut().filter_map(Value::as_message_mut).for_each(add_unknown),
            _ => {}
        }
    }
}

/// Where `after` lacks an unknown field of `before`.
fn lost(before: &DynamicMessage, after: &DynamicMessage, at: &str, found: &mut Vec<String>) {
    let name = before.descriptor().full_name().to_owned();
    if is_ours(before) && MADE_ANEW.iter().any(|(message, _)| *message == name) {
        return;
    }
    if before.unknown_fields().next().is_some() && after.unknown_fields().next().is_none() {
        found.push(format!("{at} ({name})"));
    }
    for (field, value) in before.fields() {
        let at = format!("{at}.{}", field.name());
        match (value, &*after.get_field(&field)) {
            (Value::Message(before), Value::Message(now)) if after.has_field(&field) => {
                lost(before, now, &at, found);
            }
            (Value::List(before), Value::List(after)) => {
                let after: Vec<_> = after.iter().filter_map(Value::as_message).collect();
                for item in before.iter().filter_map(Value::as_message) {
                    if let Some(after) = after.iter().find(|after| same_item(item, after)) {
                        lost(item, after, &at, found);
                    }
                }
            }
            (Value::Map(before), Value::Map(after)) => {
                let of = |key: &MapKey| after.get(key).and_then(Value::as_message);
                for (key, item) in before {
                    if let (Some(before), Some(after)) = (item.as_message(), of(key)) {
                        lost(before, after, &at, found);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether two items of a list are of one thing: what the first field says is the same.
fn same_item(one: &DynamicMessage, other: &DynamicMessage) -> bool {
    let first = one.descriptor().fields().min_by_key(prost_reflect::FieldDescriptor::number);
    first.is_some_and(|first| match (&*one.get_field(&first), &*other.get_field(&first)) {
        (Value::Message(one), Value::Message(other)) => same_item(one, other),
        (one, other) => one == other,
    })
}

impl LaterVersion {
    fn add(write: &mut Write) {
        let Write::Put { id, value, .. } = write else { return };
        let Some(descriptor) = message_of(&id.kind, &id.key) else { return };
        // Of a kind of this name that a test has for itself.
        let Ok(mut message) = DynamicMessage::decode(descriptor, value.clone()) else { return };
        // What is signed cannot be added to; a later version signs what it has added.
        if split(value).signature.is_some() {
            return;
        }
        add_unknown(&mut message);
        *value = Bytes::from(message.encode_to_vec());
    }

    /// What this commit puts has what stood there.
    fn judge(put: &[(omnirelay_store::RecordId, Bytes)], committed: &CommitOutcome) {
        let CommitOutcome::Done(entry) = committed else { return };
        for change in &entry.changes {
            let (Some(before), after) = (&change.before, &change.after) else { continue };
            let Some(descriptor) = message_of(&after.id.kind, &after.id.key) else { continue };
            let Some((_, value)) = put.iter().find(|(id, _)| *id == after.id) else { continue };
            if before.deleted || before.group != after.group {
                continue;
            }
            let decode = |value: &Bytes| DynamicMessage::decode(descriptor.clone(), value.clone());
            let (Ok(before), Ok(after_as_put)) = (decode(&before.value), decode(value)) else { continue };
            let mut found = Vec::new();
            lost(&before, &after_as_put, &after.id.kind.0, &mut found);
            if !found.is_empty() {
                let test = std::thread::current().name().unwrap_or_default().to_owned();
                let told =
                    format!("{test}: what a later version wrote into {} is lost: {found:?}\n", after.id);
                // A panic might be in a task that nobody waits for, and its text kept for a test that goes on.
                let _ = std::io::stderr().write_all(told.as_bytes());
                std::process::abort();
            }
        }
    }
}

#[async_trait]
impl Store for LaterVersion {
    fn name(&self) -> &str {
        self.0.name()
    }

    async fn pulse(&self, pulse: Pulse) -> Result<PulseAnswer, StoreError> {
        self.0.pulse(pulse).await
    }

    async fn open_group(&self, open: OpenGroup) -> Result<OpenedGroup, StoreError> {
        self.0.open_group(open).await
    }

    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError> {
        self.0.close_group(epoch, group).await
    }

    async fn commit(&self, mut commit: Commit) -> Result<CommitOutcome, CommitError> {
        let put = commit.writes.iter().filter_map(|write| match write {
            Write::Put { id, value, .. } => Some((id.clone(), value.clone())),
            Write::Delete { .. } | Write::Import { .. } => None,
        });
        let put: Vec<_> = put.collect();
        commit.writes.iter_mut().for_each(Self::add);
        let committed = self.0.commit(commit).await?;
        Self::judge(&put, &committed);
        Ok(committed)
    }

    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, CommitOutcome)>, StoreError> {
        self.0.recall(key).await
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        self.0.scan(scan).await
    }

    async fn leases(&self) -> Result<Leases, StoreError> {
        self.0.leases().await
    }

    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        self.0.log(after, limit, wait).await
    }

    fn log_in_memory(&self, after: Revision) -> Option<LogPage> {
        self.0.log_in_memory(after)
    }

    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<HousekeepingOutcome, StoreError> {
        self.0.housekeep(epoch, keep).await
    }

    fn is_in_process(&self) -> bool {
        self.0.is_in_process()
    }

    fn accepted_loss(&self) -> Option<AcceptedLoss> {
        self.0.accepted_loss()
    }

    fn confirms(&self) -> bool {
        self.0.confirms()
    }

    async fn confirm(&self, epoch: Epoch) -> Result<Confirmation, StoreError> {
        self.0.confirm(epoch).await
    }

    async fn switch(&self, order: &SwitchOrder) -> Result<SwitchOutcome, SwitchError> {
        self.0.switch(order).await
    }

    async fn admit(
        &self,
        who: &str,
        writable: &WritableKinds,
    ) -> Result<Option<StoreCredentials>, StoreError> {
        self.0.admit(who, writable).await
    }

    async fn set_rights(&self, who: &str, writable: &WritableKinds) -> Result<RightsSet, StoreError> {
        self.0.set_rights(who, writable).await
    }

    async fn expel(&self, who: &str) -> Result<ExpelOutcome, StoreError> {
        self.0.expel(who).await
    }

    async fn reset_clock(&self, order: ResetClock) -> Result<ClockReset, ResetClockError> {
        self.0.reset_clock(order).await
    }

    async fn readmit(
        &self,
        who: &str,
        password_hash: &[u8; 32],
        writable: &WritableKinds,
    ) -> Result<ReadmitOutcome, StoreError> {
        self.0.readmit(who, password_hash, writable).await
    }

    async fn password_hash(&self, who: &str) -> Result<Option<[u8; 32]>, StoreError> {
        self.0.password_hash(who).await
    }

    async fn may_admit(&self) -> Result<bool, StoreError> {
        self.0.may_admit().await
    }

    async fn forgets_credentials(&self) -> Result<Option<String>, StoreError> {
        self.0.forgets_credentials().await
    }

    fn advice(&self) -> Vec<String> {
        self.0.advice()
    }

    fn disagreement(&self) -> Option<String> {
        self.0.disagreement()
    }
}

/// Number of the two tables that a kind is in: one is right.
pub fn tables_with(kind: &RecordKind) -> usize {
    let has = |rows: &[(&str, &str)]| rows.iter().filter(|(name, _)| *name == kind.0).count();
    has(&VALUES) + has(&STATED)
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::pb::omnirelay::security::v1::JoinRule;
    use omnirelay_wire::pb::omnirelay::store::v1::JoinPolicyValue;

    use super::*;

    #[test]
    fn the_tables_name_messages_that_there_are() {
        for (kind, _) in VALUES {
            assert!(message_of(&RecordKind::of(kind), "").is_some(), "{kind}");
        }
        assert!(MADE_ANEW.iter().all(|(name, _)| POOL.get_message_by_name(name).is_some()));
    }

    #[test]
    fn what_is_lost_is_noticed_at_each_level() {
        let described = POOL.get_message_by_name("omnirelay.store.v1.JoinPolicyValue").unwrap();
        let with_rules = |names: &[&str]| {
            let rule = |name: &&str| JoinRule { name: (*name).to_owned(), ..JoinRule::default() };
            let rules = names.iter().map(rule).collect();
            let value = JoinPolicyValue { rules, ..JoinPolicyValue::default() }.encode_to_vec();
            DynamicMessage::decode(described.clone(), value.as_slice()).unwrap()
        };
        let plain = with_rules(&["a", "b"]);
        let mut later = plain.clone();
        add_unknown(&mut later);
        let lost_of = |after: &DynamicMessage| {
            let mut found = Vec::new();
            lost(&later, after, "policy", &mut found);
            found.len()
        };
        assert_eq!(lost_of(&later), 0);
        assert_eq!(lost_of(&plain), 3, "the value and its two rules");
        assert_eq!(lost_of(&with_rules(&["b"])), 2, "a rule that is gone takes its own with it");
    }
}
