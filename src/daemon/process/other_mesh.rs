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
    let Some(own) = KnownMesh::read(files) else { return Ok(()) };
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
        Some(found) if page.epoch.0 != own.epoch && !own.has_root_of(&found) => Err(refusal(store.name())),
        Some(_) | None => Ok(()),
    }
}

/// Mesh that this host has known.
struct KnownMesh {
    /// The roots of its authority, in DER.
    roots: Vec<Vec<u8>>,
    /// The epoch of its store at that time.
    epoch: u64,
}

impl KnownMesh {
    /// `None`: this host has known none.
    fn read(files: &IdentityFiles) -> Option<Self> {
        let kept = KeptRecords::decode(files.signed_records().ok()?.as_slice()).ok()?;
        // A host that was stopped as soon as it had trusted the roots has kept the epoch, and not yet the authority.
        let roots = match authority_in(&kept) {
            Some(authority) => authority.roots.into_iter().map(|root| root.certificate).collect(),
            None if kept.epoch == 0 => return None,
            None => files.bundle().ok()?.iter().map(|root| root.to_vec()).collect::<Vec<_>>(),
        };
        (!roots.is_empty()).then_some(Self { roots, epoch: kept.epoch })
    }

    fn has_root_of(&self, found: &AuthorityValue) -> bool {
        found.roots.iter().any(|root| self.roots.contains(&root.certificate))
    }
}

fn authority_in(kept: &KeptRecords) -> Option<AuthorityValue> {
    let id = authority_id();
    let record = kept.records.iter().find(|record| record.kind == *id.kind.0 && record.key == id.key)?;
    AuthorityValue::decode(record.value.as_slice()).ok()
}

fn authority(record: &Record) -> Option<AuthorityValue> {
    AuthorityValue::decode(record.value.clone()).ok()
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
