//! Another mesh: a store whose authority is not the one that this host has known, as where `store.url` names the wrong server.
//!
//! A daemon with an authority of its own takes another one for forged, and its issuer would put its own in that place, over and
//! over. What others write into the store of its own mesh is no such case: then the store is in the epoch that this host knows.

use std::time::Duration;

use omnirelay_certificate_records::authority_id;
use omnirelay_identity::node_identity::IdentityFiles;
use omnirelay_store::{Record, Scan, Store};
use omnirelay_wire::pb::omnirelay::store::v1::{AuthorityValue, KeptRecords};
use prost::Message as _;
use tracing::warn;

/// How long the store is waited for; where it is away longer, the daemon starts and waits for it unasked.
const WITHIN: Duration = Duration::from_secs(3);

/// Checks that a store is not of another mesh than the one whose authority `files` have kept.
///
/// # Errors
/// That it is, and what to do.
pub(super) async fn check(store: &dyn Store, files: &IdentityFiles) -> Result<(), String> {
    let Some((own, epoch)) = known(files) else { return Ok(()) };
    let scan = Scan { kind: authority_id().kind, after: None, backwards: false, limit: 2 };
    let page = match tokio::time::timeout(WITHIN, store.scan(scan)).await {
        Ok(Ok(page)) => page,
        Ok(Err(error)) => {
            warn!(%error, "not known whether the store is of this mesh");
            return Ok(());
        }
        Err(_elapsed) => {
            warn!(within = ?WITHIN, "not known whether the store is of this mesh: it does not answer");
            return Ok(());
        }
    };
    let found = page.records.iter().find(|record| record.id == authority_id()).and_then(authority);
    match found {
        Some(found) if page.epoch.0 != epoch && !shares_root(&own, &found) => Err(refusal(store.name())),
        Some(_) | None => Ok(()),
    }
}

/// The authority that this host has known, and the epoch of the store at that time.
fn known(files: &IdentityFiles) -> Option<(AuthorityValue, u64)> {
    let kept = KeptRecords::decode(files.signed_records().ok()?.as_slice()).ok()?;
    let id = authority_id();
    let record = kept.records.iter().find(|record| record.kind == *id.kind.0 && record.key == id.key)?;
    Some((AuthorityValue::decode(record.value.as_slice()).ok()?, kept.epoch))
}

fn authority(record: &Record) -> Option<AuthorityValue> {
    AuthorityValue::decode(record.value.clone()).ok()
}

fn shares_root(own: &AuthorityValue, found: &AuthorityValue) -> bool {
    own.roots.iter().any(|root| found.roots.iter().any(|other| other.certificate == root.certificate))
}

fn refusal(store: &str) -> String {
    format!(
        "the store {store} is of another mesh: its authority is not the one that this host has known\n  \
         if it is the wrong store: put `store.url` right\n  \
         if this host is to become a node of that mesh: omnirelay token create there, and omnirelay mesh join here with \
         another data directory\n  \
         if the authority of this mesh was replaced while this host was away: have it join again, as above, with omnirelay mesh join --force"
    )
}
