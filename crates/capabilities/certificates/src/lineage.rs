//! Lineages: what a certificate was renewed from, so that what puts one out puts out all that came of it. For that no certificate
//! is forgotten before it has ended: who has as many as can be remembered gets no other.

use std::collections::BTreeSet;

use omnirelay_certificate_records::certificate_of;
use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::time::{Millis, rfc3339};
use omnirelay_pki::certificate::{Certificate, CertificateSerial};
use omnirelay_pki::revocation::{BACKDATED, Revocations, RevokedSubject};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{CertificateValue, IssuedValue};
use omnirelay_wire::reasons;

use super::revoke::GRACE;

/// For how long the certificate of an operator can be renewed from one that was issued anew, in seconds: a key that was stolen
/// unnoticed is of use until then at most, and as long as a certificate lives.
pub(crate) const OPERATOR_LINEAGE_MAX: i64 = 30 * 24 * 3600;
/// With how many certificates that have not ended a holder can still renew one before half of its life is over.
pub(crate) const EARLY_MAX: usize = 64;
/// The same for what is issued anew.
pub(crate) const LIVING_MAX: usize = 128;
/// The same for renewals in time, which whoever renews early again and again takes from nobody. There are fewer as a rule: each
/// certificate is renewed in time a few times, and lives for as long again.
pub(crate) const IN_TIME_LIVING_MAX: usize = 256;
/// How often one certificate can be renewed in time.
pub(crate) const IN_TIME_MAX: usize = 4;
/// How many serials of a lineage are remembered that have ended, besides the first.
const ENDED_MAX: usize = 32;

/// Lineage of a certificate: those that it was renewed from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RenewalLineage {
    /// The serials, the first of them first; empty: it is issued anew.
    pub renewed_from: Vec<Vec<u8>>,
    /// When the first of them was issued, in seconds of the Unix time; 0: it is issued anew.
    pub since: i64,
}

impl RenewalLineage {
    /// Lineage of what is renewed from `before` at the second `now`, of a holder of whom this is remembered. Of the
    /// certificates in it those that have ended longest ago are forgotten, and none that has not.
    pub(crate) fn behind(held: Option<&CertificateValue>, before: &Certificate, now: i64) -> Self {
        let issued = || held.into_iter().flat_map(|held| &held.issued);
        let known = issued().find(|issued| CertificateSerial::of(&issued.serial) == before.serial);
        let mut renewed_from = known.map(|known| known.renewed_from.clone()).unwrap_or_default();
        let living: BTreeSet<&[u8]> =
            issued().filter(|one| one.not_after >= now).map(|one| one.serial.as_slice()).collect();
        let has_ended = |serial: &Vec<u8>| !living.contains(serial.as_slice());
        let ended = renewed_from.iter().skip(1).filter(|serial| has_ended(serial)).count();
        let (mut too_many, first) = (ended.saturating_sub(ENDED_MAX), renewed_from.first().cloned());
        renewed_from.retain(|serial| {
            let is_forgotten = too_many > 0 && first.as_ref() != Some(serial) && has_ended(serial);
            too_many -= usize::from(is_forgotten);
            !is_forgotten
        });
        renewed_from.push(before.serial.as_bytes().to_vec());
        let known_since = known.map_or(0, |known| known.renewed_since);
        let since = if known_since == 0 { before.not_before + BACKDATED } else { known_since };
        Self { renewed_from, since }
    }

    /// Checks that what is renewed at the second `now` may be renewed.
    ///
    /// # Errors
    /// `RENEWALS_ENDED`, for an operator whose first certificate was issued too long ago.
    pub(crate) fn check(&self, holder: &CertificateHolder, now: i64) -> Result<(), Fault> {
        let is_over = self.since != 0 && now > self.since.saturating_add(OPERATOR_LINEAGE_MAX);
        match holder {
            CertificateHolder::Operator(name) if is_over => {
                let days = OPERATOR_LINEAGE_MAX / (24 * 3600);
                let message = format!(
                    "the certificate of operator `{name}` was renewed for {days} days, and no longer can be"
                );
                Err(Fault::new(reasons::RENEWALS_ENDED, message).hint(format!(
                    "have an administrator issue another: omnirelay cert issue --operator {name} --replace"
                )))
            }
            CertificateHolder::Operator(_)
            | CertificateHolder::Node { .. }
            | CertificateHolder::Service(_) => Ok(()),
        }
    }
}

/// Whether half of the life of a certificate is over at the second `now`: from then on it is renewed in time.
pub(crate) fn has_lived_half(certificate: &Certificate, now: i64) -> bool {
    let life = certificate.not_after.saturating_sub(certificate.not_before);
    now >= certificate.not_before.saturating_add(life / 2)
}

/// Value that is remembered of a holder once it is issued one certificate more, which was renewed from `before`, or
/// anew, at the second `now`. What has ended is forgotten; where there is no room, so is what `is_out` says to be
/// revoked, and what repeats the same answer.
///
/// # Errors
/// `TOO_MANY_CERTIFICATES`, where one would have to be forgotten that has not ended.
pub(crate) fn remember_issued(
    known: Option<&CertificateValue>,
    issued: IssuedValue,
    before: Option<&Certificate>,
    is_out: impl Fn(&Certificate) -> bool,
    now: i64,
) -> Result<CertificateValue, Fault> {
    let known = known.cloned().unwrap_or_default();
    let mut living: Vec<IssuedValue> =
        known.issued.iter().filter(|one| one.not_after >= now).cloned().collect();
    let room = room(&living, before, now);
    make_room(&mut living, room, |one| certificate_of(one).is_none_or(|one| is_out(&one)));
    // Whoever renews what lives is told, and may be another than the one whose certificate it would be.
    if before.is_none_or(|before| before.not_after < now) {
        let ancestors: BTreeSet<Vec<u8>> = living.iter().flat_map(|one| one.renewed_from.clone()).collect();
        make_room(&mut living, room, |one| is_covered(one, &issued) && !ancestors.contains(&one.serial));
    }
    if living.len() >= room {
        return Err(too_many(&issued.id, &living));
    }
    living.insert(0, issued);
    Ok(CertificateValue { issued: living, ..known })
}

/// How many certificates a holder may have that have not ended, before it gets one more.
fn room(living: &[IssuedValue], before: Option<&Certificate>, now: i64) -> usize {
    let Some(before) = before else { return LIVING_MAX };
    if !has_lived_half(before, now) {
        return EARLY_MAX;
    }
    let serial = before.serial.as_bytes();
    let in_time = living.iter().filter(|one| {
        one.renewed_from.last().is_some_and(|from| from == serial)
            && has_lived_half(before, one.not_before.saturating_add(BACKDATED))
    });
    if in_time.count() < IN_TIME_MAX { IN_TIME_LIVING_MAX } else { EARLY_MAX }
}

/// Forgets the oldest of those that may be forgotten, until there is room for one more.
fn make_room(living: &mut Vec<IssuedValue>, room: usize, may_go: impl Fn(&IssuedValue) -> bool) {
    let mut at = living.len();
    while living.len() >= room && at > 0 {
        at -= 1;
        if living.get(at).is_some_and(&may_go) {
            living.remove(at);
        }
    }
}

/// Whether what puts out the second puts out the first, of which nothing came: it is of the same key and the same lineage, and
/// ends no later.
fn is_covered(one: &IssuedValue, by: &IssuedValue) -> bool {
    one.key == by.key && one.renewed_from == by.renewed_from && one.not_after <= by.not_after
}

fn too_many(id: &str, living: &[IssuedValue]) -> Fault {
    let first = living.iter().map(|one| one.not_after).min().unwrap_or_default();
    let message = format!(
        "`{id}` has {} certificates, each of which is remembered until it ends, the first of them until {}",
        living.len(),
        rfc3339(Millis::of_unix(first))
    );
    Fault::new(reasons::TOO_MANY_CERTIFICATES, message).hint(
        "renew the newest one once half of its life is over; omnirelay cert list --all shows them: put out those that nobody \
         should have (omnirelay cert revoke --serial NUMBER), or have an administrator issue another with --replace",
    )
}

/// Whether this is the record of what came of the certificate with this number, or of that certificate.
pub(crate) fn has_in_lineage(held: &CertificateValue, serial: &CertificateSerial) -> bool {
    let is_it = |number: &Vec<u8>| CertificateSerial::of(number) == *serial;
    held.issued.iter().any(|one| is_it(&one.serial) || one.renewed_from.iter().any(is_it))
}

/// Puts out, with its key, what was renewed from the certificate with this number, as far as it is remembered of its holder.
pub(crate) fn revoke_renewed<'a>(
    held: impl IntoIterator<Item = &'a CertificateValue>,
    serial: &CertificateSerial,
    list: &mut Revocations,
    now: i64,
    reason: &str,
) {
    let came_of =
        |issued: &&IssuedValue| issued.renewed_from.iter().any(|from| CertificateSerial::of(from) == *serial);
    let renewed = held.into_iter().flat_map(|held| &held.issued).filter(came_of);
    for Certificate { serial, key, not_after, .. } in renewed.filter_map(certificate_of) {
        let until = not_after.max(now) + GRACE;
        list.revoke(RevokedSubject::Key(key), now, until, reason);
        list.revoke(RevokedSubject::Serial(serial), now, until, reason);
    }
}
