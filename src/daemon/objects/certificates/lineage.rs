//! Lineages: what a certificate was renewed from, so that what puts one out puts out all that came of it.

use omnirelay_core::spiffe::Holder;
use omnirelay_pki::certificate::{Certificate, Serial};
use omnirelay_pki::revocation::{BACKDATED, Revocations, Revoked};
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::store::v1::{CertificateValue, IssuedValue};
use omnirelay_wire::reasons;

use super::holder::certificate_of;
use super::revoke::GRACE;

/// For how long the certificate of an operator can be renewed from one that was issued anew, in seconds: a key that was stolen
/// unnoticed is of use until then at most, and as long as a certificate lives.
pub const OPERATOR_LINEAGE_MAX: i64 = 30 * 24 * 3600;
/// How many serials of a lineage are remembered with a certificate: the first and the newest.
const ANCESTORS_MAX: usize = 32;

/// What a certificate was renewed from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The serials, the first of them first; empty: it is issued anew.
    pub renewed_from: Vec<Vec<u8>>,
    /// When the first of them was issued, in seconds of the Unix time; 0: it is issued anew.
    pub since: i64,
}

impl Lineage {
    /// That of what is renewed from `before`, of a holder of whom this is remembered.
    pub fn behind(held: Option<&CertificateValue>, before: &Certificate) -> Self {
        let issued = held.into_iter().flat_map(|held| &held.issued);
        let known = issued.into_iter().find(|issued| Serial::of(&issued.serial) == before.serial);
        let mut renewed_from = known.map(|known| known.renewed_from.clone()).unwrap_or_default();
        renewed_from.push(before.serial.as_bytes().to_vec());
        if renewed_from.len() > ANCESTORS_MAX {
            renewed_from.remove(1);
        }
        let known_since = known.map_or(0, |known| known.renewed_since);
        let since = if known_since == 0 { before.not_before + BACKDATED } else { known_since };
        Self { renewed_from, since }
    }

    /// That what is renewed at the second `now` may be.
    ///
    /// # Errors
    /// `RENEWALS_ENDED`, for an operator whose first certificate was issued too long ago.
    pub fn check(&self, holder: &Holder, now: i64) -> Result<(), Fault> {
        let is_over = self.since != 0 && now > self.since.saturating_add(OPERATOR_LINEAGE_MAX);
        match holder {
            Holder::Operator(name) if is_over => {
                let days = OPERATOR_LINEAGE_MAX / (24 * 3600);
                let message = format!(
                    "the certificate of operator `{name}` was renewed for {days} days, and no longer can be"
                );
                Err(Fault::new(reasons::RENEWALS_ENDED, message).hint(format!(
                    "have an administrator issue another: omnirelay cert issue --operator {name} --replace"
                )))
            }
            Holder::Operator(_) | Holder::Node { .. } | Holder::Service(_) => Ok(()),
        }
    }
}

/// Puts out, with its key, what was renewed from the certificate with this number, as far as it is remembered of its holder.
pub fn revoke_renewed(
    held: &[CertificateValue],
    serial: &Serial,
    list: &mut Revocations,
    now: i64,
    reason: &str,
) {
    let came_of = |issued: &&IssuedValue| issued.renewed_from.iter().any(|from| Serial::of(from) == *serial);
    let renewed = held.iter().flat_map(|held| &held.issued).filter(came_of);
    for Certificate { serial, key, not_after, .. } in renewed.filter_map(certificate_of) {
        let until = not_after.max(now) + GRACE;
        list.revoke(Revoked::Key(key), now, until, reason);
        list.revoke(Revoked::Serial(serial), now, until, reason);
    }
}
