//! Keeping the authority: what a daemon does for it by itself, making it where that is configured, and another issuer in time.

use omnirelay_certificate_records::{AUTHORITY, REVOCATION, authority_id};
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::authority::ValidityPeriod;
use omnirelay_pki::certificate::validity_of;
use omnirelay_pki::revocation::BACKDATED;
use omnirelay_registry::act::{OwnChange, put};
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, SigningValue};
use tokio::time::Instant;
use tracing::{info, warn};

use super::authority::{DOMAIN, lives, store_unix};
use super::protect::protect_from_the_beginning;
use super::rotate::{AuthorityRotation, NextIssuer, OldIssuers, rotated};
use super::{authority_in, seal_keys};
use crate::identity_keeper::{AGAIN, IdentityKeeper, KeepError};

impl IdentityKeeper {
    /// Makes the authority of a mesh that has none, where that is this daemon's to do; when to try again.
    pub(super) async fn make_authority(&self) -> Option<Instant> {
        // Before the registry was read nobody knows that there is none.
        if !self.makes_authority || !self.registry.view().head().caught_up {
            return None;
        }
        let made = self.registry.change_own::<_, KeepError>("authority.init", [AUTHORITY], |reader| {
            if reader.get(&authority_id()).is_some() {
                return Ok(None);
            }
            let now = unix_now();
            let [root, issuer] = lives(0, 0, now)?;
            let domain = DOMAIN.parse().map_err(|_| KeepError::Pair)?;
            let mut value = self.signer.make(domain, root, issuer, now)?;
            let protected = protect_from_the_beginning(&self.registry, reader, &mut value);
            let mut changes = vec![format!("trustDomain: none -> {DOMAIN}")];
            changes.extend(protected);
            Ok(Some(OwnChange::of(put(authority_id(), &value), changes)))
        });
        match made.await {
            Ok(_) => None,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "no authority made; it is tried again");
                Some(Instant::now() + AGAIN)
            }
        }
    }

    /// Has the issuer followed by another in time, where this node can and the root's key is in the registry.
    pub(super) async fn rotate_issuer(&self, authority: &AuthorityValue) -> Result<(), KeepError> {
        let (Some(issuer), Some(root)) = (authority.issuers.first(), authority.roots.first()) else {
            return Ok(());
        };
        // A clock that jumps makes no issuer that nobody believes once it is right again.
        let clocks = || [store_unix(&self.registry), unix_now()];
        let due = |issuer: &SigningValue| clocks().iter().all(|now| is_due(issuer, *now));
        if root.sealed_key.is_empty() || !due(issuer) || !self.signer.can_issue(authority) {
            return Ok(());
        }
        seal_keys::vouch_before_another(&self.registry, &self.signer).await;
        let kinds = [AUTHORITY, REVOCATION];
        let written = self.registry.change_own::<_, KeepError>("authority.rotate", kinds, |reader| {
            let now = unix_now();
            if !authority_in(reader)?.issuers.first().is_some_and(due) {
                return Ok(None);
            }
            // As long as the one before, as somebody has chosen it.
            let (begin, end) = validity_of(&issuer.certificate).unwrap_or((now, now));
            let validity =
                ValidityPeriod { not_before: now - BACKDATED, not_after: now + (end - begin - BACKDATED) };
            let AuthorityRotation { writes, changes, .. } =
                rotated(&self.signer, reader, &NextIssuer::Issuer(validity), OldIssuers::Kept, now)?;
            Ok(Some(OwnChange { object: authority_id().to_string(), writes, changes, answer: () }))
        });
        if written.await?.is_some() {
            info!("issuer of the mesh followed by another");
        }
        Ok(())
    }
}

/// Whether an issuer has lived two thirds of its time.
fn is_due(issuer: &SigningValue, now: i64) -> bool {
    validity_of(&issuer.certificate).is_ok_and(|(begin, end)| now >= begin + (end - begin) * 2 / 3)
}
