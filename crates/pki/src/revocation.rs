//! Revocations: which certificates, keys and holders are out before their time.
//!
//! The list only grows until an entry has outlived what it is about, and its number only rises: of two lists with one
//! past the union is as far as both, so that a store that was restored takes back what the nodes remember.

use std::collections::BTreeMap;

use omnirelay_core::spiffe::SpiffeId;

use crate::certificate::{Certificate, Serial};
use crate::key::Fingerprint;

/// What is out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revoked {
    /// One certificate.
    Serial(Serial),
    /// Every certificate of a key, a renewal that is under way included.
    Key(Fingerprint),
    /// Every certificate of a holder, until an administrator lets it back in.
    Holder(SpiffeId),
}

/// Since when and why, and how long it has to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// In seconds of the Unix time.
    pub since: i64,
    /// The end of the last certificate that it is about, and grace; nothing is trusted by then anyhow.
    pub until: i64,
    pub reason: String,
}

/// All revocations of a trust domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations {
    number: u64,
    entries: BTreeMap<Revoked, Revocation>,
}

impl Revocations {
    /// The list that has this number and these entries.
    pub fn new(number: u64, entries: impl IntoIterator<Item = (Revoked, Revocation)>) -> Self {
        Self { number, entries: entries.into_iter().collect() }
    }

    /// Rises with every change.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Revoked, &Revocation)> {
        self.entries.iter()
    }

    /// Why this certificate is out; `None` if it is not.
    pub fn of(&self, certificate: &Certificate) -> Option<&Revocation> {
        let ways = [
            Revoked::Serial(certificate.serial.clone()),
            Revoked::Key(certificate.key),
            Revoked::Holder(certificate.id.clone()),
        ];
        ways.iter().find_map(|way| self.entries.get(way))
    }

    /// Notes a revocation. One that is there already stays as old as it is, and lasts as long as either.
    pub fn revoke(&mut self, what: Revoked, revocation: Revocation) {
        let before = self.entries.get(&what).cloned();
        let merged = before.clone().map_or_else(|| revocation.clone(), |known| later(known, &revocation));
        if before.as_ref() != Some(&merged) {
            self.entries.insert(what, merged);
            self.number += 1;
        }
    }

    /// Lets a holder or a key back in; whether it was out. The number of a certificate stays out.
    pub fn reinstate(&mut self, what: &Revoked) -> bool {
        let found = !matches!(what, Revoked::Serial(_)) && self.entries.remove(what).is_some();
        self.number += u64::from(found);
        found
    }

    /// Takes over what `other` has of the same trust domain, as after a store was restored; whether that was news.
    pub fn unite(&mut self, other: &Self) -> bool {
        let before = self.entries.clone();
        for (what, revocation) in &other.entries {
            let known = self.entries.entry(what.clone()).or_insert_with(|| revocation.clone());
            *known = later(known.clone(), revocation);
        }
        let news = self.entries != before;
        let number = self.number.max(other.number);
        // What neither of the two was has a number of its own.
        self.number = if self.entries == other.entries || !news { number } else { number + 1 };
        news
    }

    /// Forgets what has outlived what it is about at the second `now`.
    pub fn prune(&mut self, now: i64) {
        let before = self.entries.len();
        self.entries.retain(|_, revocation| revocation.until >= now);
        self.number += u64::from(self.entries.len() != before);
    }
}

fn later(known: Revocation, other: &Revocation) -> Revocation {
    let first = if other.since < known.since { other.reason.clone() } else { known.reason };
    Revocation { since: known.since.min(other.since), until: known.until.max(other.until), reason: first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Names;

    fn certificate(serial: u8) -> Certificate {
        Certificate {
            serial: Serial::of(&[serial]),
            id: "spiffe://m/mesh/default/worker/node-1".parse().unwrap(),
            names: Names::default(),
            not_before: 0,
            not_after: 100,
            key: Fingerprint::of(b"key"),
        }
    }

    fn at(since: i64, until: i64) -> Revocation {
        Revocation { since, until, reason: format!("at {since}") }
    }

    fn serial(number: u8) -> Revoked {
        Revoked::Serial(Serial::of(&[number]))
    }

    #[test]
    fn a_certificate_is_out_by_its_number_its_key_or_its_holder() {
        let of = |what: Revoked| Revocations::new(1, [(what, at(5, 100))]).of(&certificate(1)).is_some();
        assert!(of(serial(1)) && of(Revoked::Key(Fingerprint::of(b"key"))));
        assert!(of(Revoked::Holder(certificate(1).id)));
        assert!(!of(serial(2)) && !of(Revoked::Key(Fingerprint::of(b"another"))));
        assert!(!of(Revoked::Holder("spiffe://m/mesh/default/worker/node-2".parse().unwrap())));
    }

    #[test]
    fn the_number_rises_with_each_change_and_with_no_other() {
        let mut list = Revocations::default();
        list.revoke(serial(1), at(5, 100));
        list.revoke(serial(1), at(5, 100));
        assert_eq!(list.number(), 1);
        list.revoke(serial(1), at(7, 120));
        assert_eq!((list.number(), list.of(&certificate(1))), (2, Some(&at(5, 120))));
        list.prune(120);
        assert_eq!(list.number(), 2);
        list.prune(121);
        assert_eq!((list.number(), list.iter().count()), (3, 0));
    }

    #[test]
    fn a_holder_is_let_back_in_and_a_number_never() {
        let holder = Revoked::Holder(certificate(1).id);
        let mut list = Revocations::new(4, [(holder.clone(), at(5, 100)), (serial(1), at(5, 100))]);
        assert!(list.reinstate(&holder) && !list.reinstate(&holder));
        assert!(!list.reinstate(&serial(1)) && list.of(&certificate(1)).is_some());
        assert_eq!(list.number(), 5);
    }

    #[test]
    fn whoever_unites_lists_in_whatever_order_has_the_same() {
        let lists = [
            Revocations::new(7, [(serial(1), at(5, 100)), (serial(2), at(9, 100))]),
            Revocations::new(3, [(serial(2), at(4, 90))]),
            Revocations::new(9, [(serial(3), at(1, 50))]),
        ];
        let united = |order: [usize; 3]| {
            let mut all = Revocations::default();
            for one in order {
                all.unite(&lists[one]);
            }
            all.entries
        };
        let all = united([0, 1, 2]);
        assert_eq!(all[&serial(2)], Revocation { since: 4, until: 100, reason: "at 4".into() });
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert_eq!(united(order), all);
        }
        let mut known = lists[0].clone();
        assert!(!known.unite(&Revocations::new(7, [(serial(1), at(5, 100))])));
        assert_eq!(known, lists[0]);
        assert!(known.unite(&lists[2]) && known.number() > 9, "what neither was has a number of its own");
    }
}
