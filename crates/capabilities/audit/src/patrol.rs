//! The patrol of the audit trail: one node of the mesh checks what was recorded of late, again and again, so that a record that is
//! taken away is told before anybody asks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_decisions::audit_seal::check::SealFinding;
use omnirelay_peer_records as peers;
use omnirelay_registry::Registry;
use tokio::time::{Instant, sleep};
use tracing::{debug, error};

use super::heads::ChainHeads;
use super::verify::verify;

/// How far back it looks.
const WINDOW: Duration = Duration::from_secs(600);
/// The shortest pause between two looks, and how many times as long as the last one a pause is: a twentieth of a core at most,
/// however much is recorded.
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_FACTOR: u32 = 20;
/// The most findings that are remembered, so that each is told once.
const TOLD_MAX: usize = 1000;

/// Checks the newest part of the trail, for ever, while this node is the first of those that live.
pub async fn patrol(registry: Arc<Registry>, heads: Arc<ChainHeads>) {
    let mut told = BTreeSet::new();
    let (mut pause, mut last) = (PAUSE_MIN, None::<Millis>);
    loop {
        sleep(pause).await;
        let is_away = registry.view().silence().is_some() || !registry.view().head().caught_up;
        if is_away || !is_first(&registry) {
            continue;
        }
        let began = Instant::now();
        // However long it has paused, nothing is passed over.
        let now = registry.view().now();
        let from = last.map_or(now, |last| last.min(now));
        let since = from.0.saturating_sub(WINDOW.as_millis() as u64).max(1);
        match verify(&registry, &heads, since).await {
            Ok(report) => {
                tell(&registry, &report.findings, &mut told);
                last = Some(now);
            }
            Err(error) => {
                debug!(error = %chain(&error), "the audit trail could not be looked at; trying again");
            }
        }
        pause = (began.elapsed() * PAUSE_FACTOR).max(PAUSE_MIN);
    }
}

/// Tells what was not told before.
fn tell(registry: &Registry, findings: &[SealFinding], told: &mut BTreeSet<String>) {
    for finding in findings {
        let wrong = finding.wrong().as_str_name();
        let about = [&finding.record_id, &finding.seal, &finding.object].map(String::as_str).join(" ");
        // What is said of it in words may be other words the next time.
        if told.len() < TOLD_MAX && told.insert(format!("{wrong} {} {about}", finding.node_id)) {
            let what = &finding.what;
            error!(
                wrong,
                about, what, "the audit trail is not as it was written; omnirelay audit verify tells more"
            );
            registry.audit_faults().note();
        }
    }
}

/// Whether this node has the first id of those that live.
fn is_first(registry: &Registry) -> bool {
    let alive = peers::live_with(registry, |_, _| true);
    alive.iter().map(String::as_str).min() == Some(registry.node_id())
}
