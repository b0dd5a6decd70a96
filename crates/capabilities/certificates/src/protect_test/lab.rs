//! Daemons as far as they keep signed records, and whoever can write to their store.

use omnirelay_registry::lab;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_certificate_records::{CERTIFICATE, JOIN_POLICY, JOIN_TOKEN, ONLY, REVOCATION};
use omnirelay_decisions::signed_record::{RECORD, RecordName, join, message};
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::key_of;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_registry::follow::{follow_log, wait_for};
use omnirelay_store::{Commit, CommitOutcome, MemoryStore, Pulse, Record, RecordKind, Scan, Store, Write};
use omnirelay_wire::pb::omnirelay::store::v1::{
    AuditValue, JoinPolicyValue, JoinTokenValue, RecordSignature,
};
use prost::Message as _;

use super::super::record_issuers::MeshIssuers;
use super::super::record_keeper::{RecordKeeper, SeenRefusals};
use super::super::tests::called;
use super::super::*;

pub(crate) const LAB_KINDS: [RecordKind; 5] = [AUTHORITY, CERTIFICATE, REVOCATION, JOIN_TOKEN, JOIN_POLICY];
pub(crate) const SIGNED: [RecordKind; 3] = [AUTHORITY, JOIN_TOKEN, JOIN_POLICY];

/// A daemon as far as it keeps signed records.
pub(crate) struct Daemon {
    pub(crate) served: Arc<Certificates>,
    pub(crate) keeper: Arc<RecordKeeper>,
    _tasks: tokio::task::JoinSet<()>,
}

impl Daemon {
    pub(crate) async fn start(node_id: &str, store: Arc<dyn Store>, place: &std::path::Path) -> Self {
        let registry = Arc::new(lab::registry(node_id, store, &LAB_KINDS).signing(&SIGNED));
        let files = IdentityFiles::of(&place.join(node_id), None);
        let trust = Arc::new(MeshTrust::default());
        let signer = Arc::new(Signer::new(files.clone(), trust.clone(), "default"));
        let issuers = MeshIssuers { cluster: "default".into(), trust: trust.clone(), signer: signer.clone() };
        registry.view().sign_by(issuers.signing());
        let keeper = Arc::new(RecordKeeper {
            registry: registry.clone(),
            signer: signer.clone(),
            files,
            seen: parking_lot::Mutex::new(SeenRefusals::default()),
        });
        keeper.load();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(follow_log(registry.clone()));
        wait_for(registry.view(), omnirelay_store::Revision(0)).await;
        let kept = keeper.clone();
        tasks.spawn(async move { kept.run().await });
        let kept = keeper.clone();
        tasks.spawn(async move { kept.keep().await });
        let served = Certificates {
            registry,
            signer,
            trust,
            transport: None,
            cluster: "default".into(),
            store: Arc::new(StoreAccess::of_this_host()),
            end_session: Box::new(|_| Box::pin(std::future::ready(false))),
            policy: None,
            gate: EnrollmentGate::default(),
            issuing: IssuingGate::default(),
            joining: tokio::sync::Mutex::default(),
        };
        Self { served: Arc::new(served), keeper, _tasks: tasks }
    }

    pub(crate) fn view(&self) -> &omnirelay_registry::view::View {
        self.served.registry.view()
    }

    pub(crate) async fn protect(&self) -> pb::RecordProtection {
        let asked = |digest: &str, dry_run| {
            called(pb::ProtectRecordsRequest { digest: digest.to_owned(), dry_run, ..Default::default() })
        };
        let shown = self.served.protect_records(asked("", true)).await.unwrap().into_inner();
        self.served.protect_records(asked(&shown.digest, false)).await.unwrap().into_inner()
    }

    /// Waits until this is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let so = self.served.registry.look_until_found(|_| is_so(self).then_some(()));
        tokio::time::timeout(Duration::from_secs(20), so).await.unwrap_or_else(|_| panic!("not so: {what}"));
    }

    /// Waits until it has seen all that the store has.
    pub(crate) async fn sees_all(&self, store: &dyn Store) {
        let head = store.pulse(Pulse::default()).await.unwrap().head;
        wait_for(self.view(), head).await;
    }
}

/// Whoever can write to the store, and has nothing else.
pub(crate) struct Attacker(pub(crate) Arc<dyn Store>);

impl Attacker {
    pub(crate) async fn write(&self, writes: Vec<Write>) {
        let epoch = self.0.pulse(Pulse::default()).await.unwrap().epoch;
        let commit = Commit { epoch, writes, writer: "worker-7".into(), ..Commit::default() };
        assert!(matches!(self.0.commit(commit).await, Ok(CommitOutcome::Done(_))));
    }

    pub(crate) async fn put(&self, id: &RecordId, value: impl Into<Bytes>) {
        self.write(vec![Write::Put { id: id.clone(), value: value.into(), group: None }]).await;
    }

    pub(crate) async fn stored(&self, id: &RecordId) -> Option<Record> {
        let scan = Scan { kind: id.kind.clone(), after: None, backwards: false, limit: 100 };
        let page = self.0.scan(scan).await.unwrap();
        page.records.into_iter().find(|record| record.id == *id && !record.deleted)
    }

    /// The audit records that say this of what was done.
    pub(crate) async fn told(&self, action: &str) -> Vec<AuditValue> {
        let scan = Scan { kind: AUDIT, after: None, backwards: false, limit: 1000 };
        let page = self.0.scan(scan).await.unwrap();
        let values = page.records.iter().map(|record| AuditValue::decode(record.value.clone()).unwrap());
        values.filter(|value| value.action == action).collect()
    }
}

pub(crate) fn token() -> RecordId {
    RecordId::new(JOIN_TOKEN, "00112233aabbccdd")
}

pub(crate) fn token_of(role: &str) -> JoinTokenValue {
    JoinTokenValue { role: role.to_owned(), uses_max: 1, not_after: i64::MAX, ..Default::default() }
}

pub(crate) fn policy() -> RecordId {
    RecordId::new(JOIN_POLICY, ONLY)
}

/// An authority that nobody trusts.
pub(crate) fn foreign() -> CertificateAuthority {
    let now = unix_now();
    let validity = ValidityPeriod { not_before: now - 100, not_after: now + 100_000 };
    CertificateAuthority::root("mesh.local".parse().unwrap(), validity)
        .unwrap()
        .intermediate("default", validity)
        .unwrap()
}

/// A value as an issuer would sign it.
pub(crate) fn signed_by(issuer: &CertificateAuthority, id: &RecordId, payload: &[u8], number: u64) -> Bytes {
    let key = key_of(issuer.certificate()).unwrap().as_bytes().to_vec();
    let mut signature = RecordSignature { number, key, ..Default::default() };
    let message = message("default", RecordName { kind: &id.kind.0, key: &id.key }, payload, &signature);
    signature.signature = issuer.sign(RECORD, &message).unwrap();
    join(payload, &signature)
}

/// Makes the authority as a version before has made it.
pub(crate) async fn make_unprotected(of: &Daemon) {
    let now = unix_now();
    let [root, issuer] = authority::lives(0, 0, now).unwrap();
    let value = of.served.signer.make("mesh.local".parse().unwrap(), root, issuer, now).unwrap();
    super::super::tests::remember(&of.served.registry, authority_id(), value.encode_to_vec()).await;
}

/// A mesh whose records are protected: one daemon can issue, the other cannot.
pub(crate) async fn mesh(place: &std::path::Path) -> (Attacker, Daemon, Daemon) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::system());
    let a = Daemon::start("a", store.clone(), place).await;
    make_unprotected(&a).await;
    super::super::tests::remember(&a.served.registry, token(), token_of("worker").encode_to_vec()).await;
    super::super::tests::remember(&a.served.registry, policy(), JoinPolicyValue::default().encode_to_vec())
        .await;
    let b = Daemon::start("b", store.clone(), place).await;
    let protection = a.protect().await;
    assert!(protection.records_protected && protection.changed, "{protection:?}");
    let named: Vec<&str> = protection.records.iter().map(|record| record.record.as_str()).collect();
    assert_eq!(named, ["join-policy/mesh", "join-token/00112233aabbccdd"]);
    b.until("b demands signatures", |b| b.view().demands_signatures()).await;
    assert!(!b.served.signer.can_issue(&authority_of(&b)));
    (Attacker(store), a, b)
}

pub(crate) fn authority_of(of: &Daemon) -> Arc<AuthorityValue> {
    of.view().get(&authority_id()).unwrap().value().unwrap()
}
