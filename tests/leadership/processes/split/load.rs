//! Changes that are acknowledged while the network is split, and those of them that are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::task::JoinSet;

use super::world::World;
use crate::process::until;

const REST: Duration = Duration::from_millis(50);

/// A writer at each daemon, each of whose changes has a name of its own.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    writers: JoinSet<(String, BTreeSet<String>)>,
}

/// What became of the changes of each daemon.
pub(super) struct Outcome {
    pub acknowledged: BTreeMap<String, usize>,
    pub lost: BTreeMap<String, usize>,
}

impl Load {
    pub(super) fn begin(world: &World, name: &str) -> Self {
        let (stop, mut writers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for member in &world.members {
            let (api, id, name, stop) =
                (member.api.clone(), member.id.clone(), name.to_owned(), stop.clone());
            writers.spawn(async move {
                let mut acknowledged = BTreeSet::new();
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let reason = format!("load-{name}-{id}-{number}");
                    let body =
                        json!({"set": {"load": number.to_string()}, "overwrite": true, "reason": reason});
                    let key = [("idempotency-key", reason.as_str())];
                    let answer = api.change(&format!("/control/peers/{id}/labels"), &body, &key).await;
                    if answer.is_ok_and(|answer| answer.status == 200) {
                        acknowledged.insert(reason);
                    }
                    tokio::time::sleep(REST).await;
                }
                (id, acknowledged)
            });
        }
        Self { stop, writers }
    }

    /// Ends the writers and compares what was acknowledged with the audit trail.
    pub(super) async fn end(mut self, world: &World) -> Result<Outcome> {
        self.stop.store(true, Ordering::SeqCst);
        let mut said = BTreeMap::new();
        while let Some(writer) = self.writers.join_next().await {
            let (id, acknowledged) = writer?;
            said.insert(id, acknowledged);
        }
        let mut trail = Vec::new();
        until("the audit trail is read", async || {
            trail = world.members[0].api.audit().await?;
            Ok(true)
        })
        .await?;
        let made: BTreeSet<&str> = trail.iter().filter_map(|record| record["reason"].as_str()).collect();
        let lost = |all: &BTreeSet<String>| all.iter().filter(|one| !made.contains(one.as_str())).count();
        Ok(Outcome {
            lost: said.iter().map(|(id, all)| (id.clone(), lost(all))).collect(),
            acknowledged: said.into_iter().map(|(id, all)| (id, all.len())).collect(),
        })
    }
}
