//! Keeping the authority: what a daemon does for it by itself, making it where that is configured, and another issuer in time.

use omnirelay_certificate_records::{AUTHORITY, JOIN_POLICY, REVOCATION, authority_id};
use omnirelay_decisions::identity_keeper::is_issuer_due;
use omnirelay_identity::trust::unix_now;
use omnirelay_pki::authority::ValidityPeriod;
use omnirelay_pki::revocation::BACKDATED;
use omnirelay_registry::act::{OwnChange, put};
use omnirelay_wire::pb::omnirelay::store::v1::AuthorityValue;
use tracing::info;

use super::authority::{DOMAIN, begun_with, lives, store_unix};
use super::protect::protect_from_the_beginning;
use super::rotate::{AuthorityRotation, NextIssuer, OldIssuers, rotated};
use super::{authority_in, seal_keys};
use crate::identity_keeper::{IdentityKeeper, KeepError, issuer_to_follow};

impl IdentityKeeper {
    /// Makes the authority of a mesh that has none.
    pub(super) async fn make_authority(&self) -> Result<(), KeepError> {
        let kinds = [AUTHORITY, JOIN_POLICY];
        let made = self.registry.change_own::<_, KeepError>("authority.init", kinds, |reader| {
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
            let mut change = OwnChange::of(put(authority_id(), &value), changes);
            if let Some(begun) = begun_with(self.join_policy.as_ref(), &self.registry, reader) {
                change.writes.extend(begun.writes);
                change.changes.extend(begun.changes);
            }
            Ok(Some(change))
        });
        made.await.map(drop)
    }

    /// Has the issuer followed by another.
    pub(super) async fn rotate_issuer(&self) -> Result<(), KeepError> {
        seal_keys::vouch_before_another(&self.registry, &self.signer).await;
        let kinds = [AUTHORITY, REVOCATION];
        let written = self.registry.change_own::<_, KeepError>("authority.rotate", kinds, |reader| {
            let now = unix_now();
            let life = issuer_to_follow(&*authority_in(reader)?);
            let due = life.filter(|life| is_issuer_due(*life, [store_unix(&self.registry), now]));
            // As long as the one before, as somebody has chosen it.
            let Some((begin, end)) = due else { return Ok(None) };
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

    /// Gives an authority a key that has none, as one has that was made by a version before.
    pub(super) async fn make_token_key(&self) -> Result<(), KeepError> {
        let made = self.registry.change_own("authority.make-token-key", [AUTHORITY], |reader| {
            let authority = authority_in(reader)?;
            if !authority.token_keys.is_empty() {
                return Ok(None);
            }
            let key = self.signer.make_token_key(&authority)?;
            let value = AuthorityValue { token_keys: vec![key], ..(*authority).clone() };
            let changes = vec!["tokenKeys: 0 -> 1".to_owned()];
            Ok(Some(OwnChange::of(put(authority_id(), &value), changes)))
        });
        made.await.map(drop)
    }
}
