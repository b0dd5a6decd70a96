//! A leader of the past that goes on writing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinHandle;

use super::gates::Gates;
use crate::history::Outcome;
use crate::process::until;

/// Between two scopes.
const PAUSE: Duration = Duration::from_millis(1);

/// Shows old tokens at both gates, without end and without asking anybody. Some are accepted as long as
/// nobody has succeeded; the checker says which may have been.
pub(super) struct Zombie {
    refused: Arc<[AtomicUsize; 2]>,
    task: JoinHandle<()>,
}

impl Zombie {
    pub(super) fn rise(gates: Arc<Gates>, node: &str, tokens: BTreeMap<String, u64>) -> Self {
        let refused = Arc::<[AtomicUsize; 2]>::default();
        let (node, counts) = (node.to_owned(), refused.clone());
        let task = tokio::spawn(async move {
            let note = |at: usize, outcome| {
                counts[at].fetch_add(usize::from(outcome == Outcome::Refused), Ordering::SeqCst);
            };
            loop {
                for (scope, token) in &tokens {
                    note(0, gates.write_store(&node, scope, *token).await);
                    note(1, gates.write_resource(&node, scope, *token));
                    tokio::time::sleep(PAUSE).await;
                }
                // Without a scope it has nothing to write.
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { refused, task }
    }

    /// Lets it go on until so many of its writes were refused at each gate.
    pub(super) async fn fall(self, refused: usize) -> Result<()> {
        until("stale writes are refused", async || {
            Ok(self.refused.iter().all(|count| count.load(Ordering::SeqCst) >= refused))
        })
        .await
    }
}

impl Drop for Zombie {
    fn drop(&mut self) {
        self.task.abort();
    }
}
