//! Revocations: which certificates, keys and holders are out before their time.
//!
//! The list only grows until an entry has outlived what it is about, and its number only rises: of two lists with one
//! past the union is as far as both, so that a store that was restored takes back what the nodes remember.

use std::collections::BTreeMap;

use omnirelay_core::spiffe::{CertificateHolder, SpiffeId};

use crate::certificate::{Certificate, CertificateSerial};
use crate::key::Fingerprint;

/// Subject of a revocation: a certificate, a key, or a holder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RevokedSubject {
    /// One certificate.
    Serial(CertificateSerial),
    /// Every certificate of a key, a renewal that is under way included.
    Key(Fingerprint),
    /// Every certificate of a holder, until an administrator lets it back in.
    Holder(SpiffeId),
    /// The same of a node, in whatever role and of whatever trust domain.
    Node { cluster: String, node: String },
    /// What a later version revokes in a way of its own, as that has written it. It is kept, and nothing here is out by it.
    Later(Vec<u8>),
}

impl RevokedSubject {
    /// The node that this is, whatever its role; `None` for somebody else.
    pub fn node(holder: &CertificateHolder) -> Option<Self> {
        match holder {
            CertificateHolder::Node { cluster, node, .. } => {
                Some(Self::Node { cluster: cluster.clone(), node: node.clone() })
            }
            CertificateHolder::Operator(_) | CertificateHolder::Service(_) => None,
        }
    }
}

/// For how long it is remembered that somebody was let back in, in seconds: a list that was kept somewhere since before
/// says nothing of it.
const REINSTATED_FOR: i64 = 90 * 86_400;

/// For how long after its end a key is remembered that nobody let back in, in seconds.
const KEYS_FOR: i64 = 180 * 86_400;

/// How much earlier than it is issued a certificate begins, in seconds: clocks differ.
pub const BACKDATED: i64 = 300;

/// Revocation of one subject: since when it is out and why, and how long that has to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// In seconds of the Unix time.
    pub since: i64,
    /// The end of the last certificate that it is about, and grace; the number of a certificate is forgotten then.
    pub until: i64,
    pub reason: String,
    /// When it was taken back; one that was made later holds.
    pub reinstated: Option<i64>,
    /// What a later version has written of it besides.
    pub unknown_fields: Vec<u8>,
}

impl Revocation {
    /// Whether what it is about is out.
    pub fn holds(&self) -> bool {
        self.reinstated.is_none_or(|reinstated| self.since > reinstated)
    }
}

/// All revocations of a trust domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    number: u64,
    entries: BTreeMap<RevokedSubject, Revocation>,
    unknown_fields: Vec<u8>,
}

impl Revocations {
    /// The list that has this number and these entries.
    pub fn new(number: u64, entries: impl IntoIterator<Item = (RevokedSubject, Revocation)>) -> Self {
        let mut list = Self { number, ..Self::default() };
        entries.into_iter().for_each(|(what, revocation)| list.merge(what, revocation));
        list
    }

    /// The same list, with what a later version has written of it besides.
    #[must_use]
    pub fn with_unknown_fields(self, unknown_fields: Vec<u8>) -> Self {
        Self { unknown_fields, ..self }
    }

    /// Fields of the list that a later version has written.
    pub fn unknown_fields(&self) -> &[u8] {
        &self.unknown_fields
    }

    /// Rises with every change.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Those that hold, and those that were taken back.
    pub fn iter(&self) -> impl Iterator<Item = (&RevokedSubject, &Revocation)> {
        self.entries.iter()
    }

    /// Revocation that puts this certificate out; `None` if none does.
    pub fn of(&self, certificate: &Certificate) -> Option<&Revocation> {
        self.of_number_or_key(certificate).or_else(|| self.of_holder(certificate))
    }

    /// The same by what no other certificate has, whoever is called like its holder: of a list of another cluster than that
    /// whose issuer vouches for it.
    pub fn of_number_or_key(&self, certificate: &Certificate) -> Option<&Revocation> {
        if self.entries.is_empty() {
            return None;
        }
        let ways = [RevokedSubject::Serial(certificate.serial.clone()), RevokedSubject::Key(certificate.key)];
        ways.iter().find_map(|way| self.about(way))
    }

    fn of_holder(&self, certificate: &Certificate) -> Option<&Revocation> {
        let holders = [
            Some(RevokedSubject::Holder(certificate.id.clone())),
            RevokedSubject::node(certificate.id.holder()),
        ];
        let known = holders.iter().flatten().filter_map(|holder| self.entries.get(holder));
        let is_out = |known: &&Revocation| match known.reinstated {
            _ if known.holds() => true,
            // A holder that was let back in is so with what it gets from then on: nobody remembers all that it had.
            Some(reinstated) => certificate.not_before < reinstated - BACKDATED,
            None => false,
        };
        known.into_iter().find(is_out)
    }

    /// Whether all of `other` that matters at the second `now` is in this list.
    pub fn has_all_of(&self, other: &Self, now: i64) -> bool {
        !self.clone().unite(other, now)
    }

    /// Revocation of this subject; `None` if there is none.
    pub fn about(&self, what: &RevokedSubject) -> Option<&Revocation> {
        self.entries.get(what).filter(|revocation| revocation.holds())
    }

    /// Notes a revocation. One that holds already stays as old as it is, and lasts as long as either.
    pub fn revoke(&mut self, what: RevokedSubject, since: i64, until: i64, reason: &str) {
        let known = self.entries.get(&what).cloned();
        let until = known.as_ref().map_or(until, |known| known.until.max(until));
        let noted = match known.clone() {
            Some(known) if known.holds() => Revocation { until, ..known },
            taken_back => {
                let reinstated = taken_back.and_then(|known| known.reinstated);
                let since = reinstated.map_or(since, |at| since.max(at.saturating_add(1)));
                let unknown_fields =
                    known.as_ref().map_or_else(Vec::new, |known| known.unknown_fields.clone());
                Revocation { since, until, reason: reason.to_owned(), reinstated, unknown_fields }
            }
        };
        if known.as_ref() != Some(&noted) {
            self.entries.insert(what, noted);
            self.rise();
        }
    }

    /// Lets a holder or a key back in at the second `now`; whether it was out. The number of a certificate stays out.
    pub fn reinstate(&mut self, what: &RevokedSubject, now: i64) -> bool {
        let is_serial = matches!(what, RevokedSubject::Serial(_));
        let found = self.entries.get_mut(what).filter(|known| !is_serial && known.holds());
        let Some(known) = found else { return false };
        known.reinstated = Some(now.max(known.since));
        self.rise();
        true
    }

    /// Takes over what `other` has of the same trust domain, as after a store was restored; whether that was news. In
    /// whatever order lists are united, the same comes of it.
    pub fn unite(&mut self, other: &Self, now: i64) -> bool {
        let before = self.clone();
        for (what, revocation) in &other.entries {
            if !is_over(what, revocation, now) || self.entries.contains_key(what) {
                self.merge(what.clone(), revocation.clone());
            }
        }
        if self.unknown_fields.is_empty() {
            self.unknown_fields.clone_from(&other.unknown_fields);
        }
        // Two lists that differ have two numbers.
        let number = before.number.max(other.number);
        let is_own = |list: &Self| list.number < number || list.entries == self.entries;
        let alike = is_own(&before) && is_own(other);
        self.number = if alike { number } else { number.saturating_add(1) };
        self.entries != before.entries
    }

    /// Forgets what has outlived what it is about at the second `now`. Holders are out until somebody lets them back in.
    pub fn prune(&mut self, now: i64) {
        let before = self.entries.len();
        self.entries.retain(|what, revocation| !is_over(what, revocation, now));
        if self.entries.len() != before {
            self.rise();
        }
    }

    fn merge(&mut self, what: RevokedSubject, other: Revocation) {
        let known = self.entries.entry(what).or_insert_with(|| other.clone());
        known.until = known.until.max(other.until);
        known.reinstated = known.reinstated.max(other.reinstated);
        if (other.since, &other.reason) > (known.since, &known.reason) {
            (known.since, known.reason) = (other.since, other.reason);
        }
        // Of two the same one in whatever order.
        known.unknown_fields = std::mem::take(&mut known.unknown_fields).max(other.unknown_fields);
    }

    fn rise(&mut self) {
        self.number = self.number.saturating_add(1);
    }
}

/// Whether nothing depends on a revocation any more.
fn is_over(what: &RevokedSubject, revocation: &Revocation, now: i64) -> bool {
    match (what, revocation.reinstated) {
        (RevokedSubject::Serial(_), _) => revocation.until < now,
        (_, Some(at)) => !revocation.holds() && at.saturating_add(REINSTATED_FOR) < now,
        (RevokedSubject::Key(_) | RevokedSubject::Later(_), None) => {
            revocation.until.saturating_add(KEYS_FOR) < now
        }
        (RevokedSubject::Holder(_) | RevokedSubject::Node { .. }, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::TlsNames;

    fn certificate(serial: u8) -> Certificate {
        Certificate {
            serial: CertificateSerial::of(&[serial]),
            id: "spiffe://m/mesh/default/worker/node-1".parse().unwrap(),
            names: TlsNames::default(),
            not_before: 0,
            not_after: 100,
            key: Fingerprint::of(b"key"),
        }
    }

    #[test]
    fn a_node_is_out_in_whatever_role_until_it_is_let_back_in() {
        let of = |id: &str| Certificate { id: id.parse().unwrap(), ..certificate(1) };
        let mut list = Revocations::default();
        let node = RevokedSubject::node(certificate(1).id.holder()).unwrap();
        list.revoke(node.clone(), 0, 100, "stolen");
        for (id, is_out) in [
            ("spiffe://m/mesh/default/worker/node-1", true),
            ("spiffe://corp.example/mesh/default/gateway/node-1", true),
            ("spiffe://m/mesh/other/worker/node-1", false),
            ("spiffe://m/mesh/default/worker/node-2", false),
            ("spiffe://m/operator/node-1", false),
        ] {
            assert_eq!(list.of(&of(id)).is_some(), is_out, "{id}");
        }
        list.reinstate(&node, 1000);
        assert!(list.of(&certificate(1)).is_some(), "it was issued before");
        assert!(list.of(&Certificate { not_before: 1000, ..certificate(1) }).is_none());
    }

    fn at(since: i64, until: i64) -> Revocation {
        Revocation {
            since,
            until,
            reason: format!("at {since}"),
            reinstated: None,
            unknown_fields: Vec::new(),
        }
    }

    fn serial(number: u8) -> RevokedSubject {
        RevokedSubject::Serial(CertificateSerial::of(&[number]))
    }

    fn holder() -> RevokedSubject {
        RevokedSubject::Holder(certificate(1).id)
    }

    #[test]
    fn a_certificate_is_out_by_its_number_its_key_or_its_holder() {
        let of =
            |what: RevokedSubject| Revocations::new(1, [(what, at(5, 100))]).of(&certificate(1)).is_some();
        assert!(of(serial(1)) && of(RevokedSubject::Key(Fingerprint::of(b"key"))) && of(holder()));
        assert!(!of(serial(2)) && !of(RevokedSubject::Key(Fingerprint::of(b"another"))));
        assert!(!of(RevokedSubject::Holder("spiffe://m/mesh/default/worker/node-2".parse().unwrap())));
    }

    #[test]
    fn the_number_rises_with_each_change_and_with_no_other() {
        let mut list = Revocations::default();
        list.revoke(serial(1), 5, 100, "at 5");
        list.revoke(serial(1), 7, 100, "at 7");
        assert_eq!(list.number(), 1);
        list.revoke(serial(1), 7, 120, "at 7");
        assert_eq!((list.number(), list.of(&certificate(1))), (2, Some(&at(5, 120))));
        list.prune(120);
        assert_eq!(list.number(), 2);
        list.prune(121);
        assert_eq!((list.number(), list.iter().count()), (3, 0));
        let mut last = Revocations::new(u64::MAX, []);
        last.revoke(serial(1), 5, 100, "the number cannot rise");
        assert_eq!(last.number(), u64::MAX);
    }

    #[test]
    fn a_holder_is_out_until_it_is_let_back_in_and_a_number_for_ever() {
        let mut list = Revocations::new(4, [(holder(), at(5, 100)), (serial(1), at(5, 100))]);
        list.prune(1_000_000);
        assert!(list.of(&certificate(2)).is_some(), "its certificates have ended, and it gets no other");
        assert!(list.reinstate(&holder(), 1_000_000) && !list.reinstate(&holder(), 1_000_000));
        assert!(list.of(&certificate(2)).is_some(), "it was issued before");
        let fresh = Certificate { not_before: 1_000_000 - BACKDATED, ..certificate(2) };
        assert!(list.of(&fresh).is_none());
        list.revoke(holder(), 1_000_000, 1_000_100, "again, in the same second");
        assert!(list.of(&fresh).is_some());
        let mut list = Revocations::new(4, [(serial(1), at(5, 100))]);
        assert!(!list.reinstate(&serial(1), 6) && list.of(&certificate(1)).is_some());
    }

    #[test]
    fn whoever_comes_late_does_not_undo_what_was_taken_back() {
        let old = Revocations::new(7, [(holder(), at(5, 100))]);
        let mut list = old.clone();
        assert!(list.reinstate(&holder(), 20));
        assert!(!list.unite(&old, 30) && list.about(&holder()).is_none() && list.number() == 8);
        let mut late = old;
        assert!(late.unite(&list, 30) && late.about(&holder()).is_none() && late.number() == 8);
        list.prune(20 + REINSTATED_FOR + 1);
        assert_eq!(list.iter().count(), 0);
        let mut list = Revocations::default();
        assert!(!list.unite(&Revocations::new(3, [(serial(1), at(5, 100))]), 101), "that is over");
    }

    #[test]
    fn whoever_unites_lists_in_whatever_order_has_the_same() {
        let lists = [
            Revocations::new(7, [(serial(1), at(5, 100)), (serial(2), at(9, 100))]),
            Revocations::new(3, [(serial(2), at(4, 90)), (holder(), at(4, 90))]),
            Revocations::new(9, [(serial(3), at(1, 50)), (holder(), at(5, 50))]),
        ];
        let united = |order: [usize; 3]| {
            let mut all = Revocations::default();
            for one in order {
                all.unite(&lists[one], 0);
            }
            all.entries
        };
        let all = united([0, 1, 2]);
        assert_eq!(
            (&all[&serial(2)], &all[&holder()]),
            (&at(9, 100), &Revocation { until: 90, ..at(5, 90) })
        );
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert_eq!(united(order), all);
        }
    }

    /// What the mesh has forgotten is no news to it: otherwise whoever remembers it would write for ever.
    #[test]
    fn what_is_over_is_not_missed() {
        let own = Revocations::new(1, [(serial(1), at(5, 100))]);
        let mut theirs = Revocations::new(3, [(serial(2), at(90, 300))]);
        assert!(!theirs.has_all_of(&own, 100) && theirs.has_all_of(&own, 101));
        assert!(!theirs.unite(&own, 101), "there is nothing to write");
        assert!(!own.has_all_of(&theirs, 101));
    }

    #[test]
    fn two_lists_that_differ_have_two_numbers() {
        let (x, y) = ((serial(1), at(5, 100)), (serial(2), at(5, 100)));
        let list = |number, entries: &[&(RevokedSubject, Revocation)]| {
            Revocations::new(number, entries.iter().map(|entry| (*entry).clone()))
        };
        let cases = [
            // own, other, what comes of both
            (list(7, &[&x]), list(6, &[&x, &y]), 8),
            (list(6, &[&x, &y]), list(9, &[&x]), 10),
            (list(7, &[&x]), list(7, &[&y]), 8),
            (list(7, &[&x]), list(7, &[&x]), 7),
            (list(7, &[&x, &y]), list(6, &[&x]), 7),
            (list(6, &[&x]), list(7, &[&x, &y]), 7),
        ];
        for (own, other, number) in cases {
            for (mut one, two) in [(own.clone(), &other), (other.clone(), &own)] {
                one.unite(two, 0);
                assert_eq!(one.number(), number, "{own:?} and {other:?}");
            }
        }
    }
}
