//! Lifetimes of relays and agents: what lives goes over to the time to live that is set by then.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use omnirelay_core::text::chain;
use omnirelay_core::time::whole_ms;
use omnirelay_registry::Registry;
use omnirelay_registry::ttl_records::{REGISTRATION_MAX, TtlClaim};
use omnirelay_registry::view::ViewRecord;
use tokio::time::Instant;
use tracing::debug;

/// How many go over at once.
const TOGETHER: usize = 32;

/// Has records that were just spoken for live by this time to live, where they have another one: each begins another life. One that
/// cannot for the moment does so when it is spoken for again.
pub(crate) async fn live_by(registry: &Registry, records: Vec<Arc<ViewRecord>>, ttl: Duration) {
    let others = records.into_iter().filter(|record| has_other_ttl(registry, record, ttl));
    let others: Vec<Arc<ViewRecord>> = others.collect();
    let claims = others.iter().map(|record| begin_anew(registry, record, ttl));
    let claims: Vec<_> = claims.collect();
    iter(claims).buffer_unordered(TOGETHER).for_each(|()| std::future::ready(())).await;
}

async fn begin_anew(registry: &Registry, record: &ViewRecord, ttl: Duration) {
    let (until, value) = (Instant::now() + REGISTRATION_MAX, &record.record.value);
    let claim = TtlClaim { record, ttl, until, value, preconditions: &[] };
    if let Err(error) = registry.claim(claim).await {
        debug!(id = %record.record.id, error = %chain(&error), "record lives by its former time to live");
    }
}

fn has_other_ttl(registry: &Registry, record: &ViewRecord, ttl: Duration) -> bool {
    let group = record.record.group.as_ref().and_then(|group| registry.view().group(&group.id));
    group.is_some_and(|group| whole_ms(group.ttl) != whole_ms(ttl))
}
