//! Standing of the nodes of a mesh by their certificates, for those who judge them: once there is an authority, a node
//! that the mesh has given none is nobody, whatever it says of itself.

use std::sync::Arc;

use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_host::wall_clock::CLOCKS_APART;
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::revocation::Revocations;
use omnirelay_registry::cursor::Cursor;
use omnirelay_registry::view::{View, ViewRecord};
use omnirelay_store::Record;
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, CertificateValue, PeerValue};

use crate::GRACE;
use crate::{AUTHORITY, CERTIFICATE, REVOCATION, authority_id, revocation_id, revoked};
use crate::{certificate_of, record_of_node};

/// How long nodes that were there before the authority have to be enrolled.
const ENROLLED_WITHIN: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Reason why a node is none of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnprovenNodeReason {
    /// The mesh has given it none.
    NoCertificate,
    /// What it was given was revoked, or it was put out.
    Revoked,
    /// It has ended too long ago to be renewed.
    Ended,
}

impl UnprovenNodeReason {
    /// As answers say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Revoked => "certificate_revoked",
            Self::Ended => "certificate_ended",
        }
    }
}

/// Facts by which nodes are judged, as the registry had them when this was made.
pub struct NodeIdentities<'a> {
    view: &'a View,
    authority_since: Millis,
    revocations: Arc<Revocations>,
    /// By the store's clock, as the records are dated.
    now: Millis,
    /// By the clock of this host, in seconds of the Unix time, as certificates are dated.
    wall: i64,
}

/// Differs after every change of a record that nodes are judged by, but for those of peers.
pub fn changed(view: &View) -> Cursor {
    view.changed_any(&[AUTHORITY, CERTIFICATE, REVOCATION])
}

/// Since when there is an authority: what its record says itself is signed, and is not younger once a new epoch has lost it. It
/// is said in whole seconds, by the clock of the issuer and before the commit; the store's own date is exact, and of this epoch.
fn since(record: &ViewRecord) -> Millis {
    let value = record.value::<AuthorityValue>();
    let all = value.iter().flat_map(|value| value.roots.iter().chain(&value.issuers));
    let said = all.map(|one| one.since).filter(|since| *since > 0).min();
    let said = said.map(|since| Millis::of_unix(since).after(CLOCKS_APART));
    said.map_or(record.record.created_at, |said| said.min(record.record.created_at))
}

impl<'a> NodeIdentities<'a> {
    /// `None`: the mesh has no authority, and nobody proves anything.
    pub fn of(view: &'a View) -> Option<Self> {
        let authority = view.get(&authority_id())?;
        // What cannot be read puts nobody out.
        let revocations = revoked::list_of(view.get(&revocation_id()).as_deref());
        let authority_since = since(&authority);
        Some(Self { view, authority_since, revocations, now: view.now(), wall: unix_now() })
    }

    /// Reason why the node of a peer's record is none of the mesh. `None`: it is, by a certificate that is not revoked
    /// and has not ended too long ago to be renewed; where this daemon believes files as well, which tell nothing to
    /// the registry, unless it says itself that it has none; or because it has a while left to be enrolled.
    pub fn unproven_reason(&self, record: &Record, peer: &PeerValue) -> Option<UnprovenNodeReason> {
        let nobody = Default::default();
        let says = peer.metadata.as_ref().unwrap_or(&nobody);
        let id = record_of_node(&says.cluster_id, &record.id.key);
        // What a new epoch has lost of it is about to be there again, and counts as it was.
        let held = self.view.get(&id).or_else(|| self.view.awaited(&id));
        let held = held.and_then(|held| held.value::<CertificateValue>());
        let why = match held {
            Some(held) if held.barred => return Some(UnprovenNodeReason::Revoked),
            Some(held) => self.fault_of(&held)?,
            None => UnprovenNodeReason::NoCertificate,
        };
        let is_let_through = self.view.believes_files() && !says.without_identity
            || record.created_at <= self.authority_since && self.is_enrolling();
        (!is_let_through).then_some(why)
    }

    /// Not where the authority was made in a time that was ahead: that may be long.
    fn is_enrolling(&self) -> bool {
        self.now.0 < self.authority_since.as_of(self.now).0.saturating_add(whole_ms(ENROLLED_WITHIN))
    }

    /// What is wrong with what a node was given; `None`: nothing.
    fn fault_of(&self, held: &CertificateValue) -> Option<UnprovenNodeReason> {
        let Some(newest) = held.issued.first().and_then(certificate_of) else {
            return Some(UnprovenNodeReason::NoCertificate);
        };
        if self.revocations.of(&newest).is_some() {
            return Some(UnprovenNodeReason::Revoked);
        }
        (newest.not_after.saturating_add(GRACE) < self.wall).then_some(UnprovenNodeReason::Ended)
    }
}

#[cfg(test)]
mod tests {

    use omnirelay_store::{Epoch, RecordId, Revision, Version};
    use omnirelay_wire::pb::omnirelay::mesh::control::v1::PeerMetadata;
    use omnirelay_wire::pb::omnirelay::store::v1::{
        AuthorityValue, IssuedValue, RevocationList, RevocationValue, RevokedValue, SigningValue,
        revoked_value,
    };
    use prost::Message as _;

    use super::UnprovenNodeReason as Why;
    use super::*;
    use omnirelay_registry::view::LoadedRecords;

    const DAY_MS: u64 = 24 * 3600 * 1000;
    /// When the authority was made.
    const SINCE: u64 = 1_000 * DAY_MS;

    fn record(id: RecordId, value: Vec<u8>, created_at: u64) -> Record {
        Record {
            id,
            value: value.into(),
            version: Version(1),
            revision: Revision(1),
            group: None,
            created_at: Millis(created_at),
            updated_at: Millis(created_at),
            writer: "a".into(),
            deleted: false,
        }
    }

    fn view(records: &[Record]) -> View {
        let view = View::new(&[AUTHORITY, CERTIFICATE, REVOCATION]);
        let mut loaded = LoadedRecords::default();
        for record in records {
            let record = Arc::new(ViewRecord::new(Epoch(1), record.clone()));
            loaded.records.entry(record.record.id.kind.clone()).or_insert_with(|| vec![Vec::new()])[0]
                .push(record);
        }
        view.replace(Epoch(1), Revision(1), loaded.ordered(&[]), &[], |_| {});
        view
    }

    /// A certificate of `n` that ends so many days after the authority was made.
    fn certificate(ends_after: u64, barred: bool) -> Record {
        let issued = IssuedValue {
            serial: vec![1],
            id: "spiffe://mesh.local/mesh/default/worker/n".to_owned(),
            key: vec![7; 32],
            not_after: i64::try_from((SINCE + ends_after * DAY_MS) / 1000).unwrap(),
            ..IssuedValue::default()
        };
        let value = CertificateValue { issued: vec![issued], barred, ..CertificateValue::default() };
        record(RecordId::new(CERTIFICATE, "node/default/n"), value.encode_to_vec(), SINCE)
    }

    #[test]
    fn a_node_is_one_of_the_mesh_by_what_the_mesh_has_given_it() {
        let authority = || record(authority_id(), AuthorityValue::default().encode_to_vec(), SINCE);
        let (newcomer, before) = (SINCE + 1, SINCE - 1);
        let cases = [
            // what                              entered   certificate                   days  files  believed
            ("a certificate", newcomer, Some(certificate(1, false)), 0, false, false, None),
            ("one that may be renewed still", newcomer, Some(certificate(1, false)), 4, false, false, None),
            (
                "one that has ended long ago",
                newcomer,
                Some(certificate(1, false)),
                5,
                false,
                false,
                Some(Why::Ended),
            ),
            ("none", newcomer, None, 0, false, false, Some(Why::NoCertificate)),
            ("there before the authority", before, None, 0, false, false, None),
            ("there before it, for long", before, None, 2, false, false, Some(Why::NoCertificate)),
            ("it was put out", before, Some(certificate(1, true)), 0, true, true, Some(Why::Revoked)),
            ("by files that are believed", newcomer, None, 5, true, true, None),
            ("of a version that says nothing of files", newcomer, None, 5, false, true, None),
            ("by files that nobody believes", newcomer, None, 0, true, false, Some(Why::NoCertificate)),
        ];
        for (what, entered, certificate, days, of_files, believes, expected) in cases {
            let records: Vec<Record> = [authority()].into_iter().chain(certificate).collect();
            let view = view(&records).believing_files(move || believes);
            let metadata = PeerMetadata {
                cluster_id: "default".to_owned(),
                identity_of_files: of_files,
                ..PeerMetadata::default()
            };
            let peer = PeerValue { metadata: Some(metadata), ..PeerValue::default() };
            let now = Millis(SINCE + days * DAY_MS);
            let wall = i64::try_from(now.0 / 1000).unwrap();
            let known = NodeIdentities { now, wall, ..NodeIdentities::of(&view).unwrap() };
            let entered =
                record(RecordId::new(omnirelay_store::RecordKind::of("peer"), "n"), Vec::new(), entered);
            assert_eq!(known.unproven_reason(&entered, &peer), expected, "{what}");
        }
        // Store time that is ahead ends no certificate: those are dated by the clocks of hosts.
        let view = view(&[authority(), certificate(1, false)]);
        let wall = i64::try_from(SINCE / 1000).unwrap();
        let ahead =
            NodeIdentities { now: Millis(SINCE + 90 * DAY_MS), wall, ..NodeIdentities::of(&view).unwrap() };
        let metadata = PeerMetadata { cluster_id: "default".to_owned(), ..PeerMetadata::default() };
        let peer = PeerValue { metadata: Some(metadata), ..PeerValue::default() };
        let entered =
            record(RecordId::new(omnirelay_store::RecordKind::of("peer"), "n"), Vec::new(), newcomer);
        assert_eq!(ahead.unproven_reason(&entered, &peer), None);
    }

    /// Everybody who looks at the nodes asks for it, again and again.
    #[test]
    fn a_list_of_revocations_is_read_once_for_each_version_of_it() {
        let authority = || record(authority_id(), AuthorityValue::default().encode_to_vec(), SINCE);
        let list = |number: u64| {
            let what = Some(revoked_value::What::Node(format!("default/n{number}")));
            let entries = vec![RevokedValue { what, until: 1 << 40, ..RevokedValue::default() }];
            let body = RevocationList { number, entries, ..RevocationList::default() }.encode_to_vec();
            let value = RevocationValue { body, ..RevocationValue::default() };
            record(revocation_id(), value.encode_to_vec(), SINCE)
        };
        let of = |view: &View| NodeIdentities::of(view).unwrap().revocations;
        let first = view(&[authority(), list(1)]);
        assert_eq!(of(&first).number(), 1);
        assert!(Arc::ptr_eq(&of(&first), &of(&first)));
        let second = view(&[authority(), list(2)]);
        assert_eq!(of(&second).number(), 2);
        let unreadable = record(revocation_id(), vec![255; 9], SINCE);
        assert_eq!(of(&view(&[authority(), unreadable])).number(), 0);
    }

    /// A node that was entered in the second in which the authority was made, and before it, was there before it.
    #[test]
    fn an_authority_is_as_old_as_its_record_and_in_a_later_epoch_as_it_says() {
        let second = i64::try_from(SINCE / 1000).unwrap();
        let issuer = SigningValue { since: second, ..SigningValue::default() };
        let value = AuthorityValue { issuers: vec![issuer], ..AuthorityValue::default() };
        let since_of = |created_at: u64| {
            let record = record(authority_id(), value.encode_to_vec(), created_at);
            since(&ViewRecord::new(Epoch(1), record)).0
        };
        assert_eq!(since_of(SINCE + 900), SINCE + 900);
        assert_eq!(since_of(SINCE + 59_000), SINCE + 59_000);
        assert_eq!(since_of(SINCE - 5_000), SINCE - 5_000, "the issuer's clock was ahead");
        assert_eq!(since_of(SINCE + DAY_MS), SINCE + 60_000, "it was put back");
    }

    #[test]
    fn without_an_authority_nobody_proves_anything() {
        assert!(NodeIdentities::of(&view(&[])).is_none(), "no authority, and nobody proves anything");
    }
}
