//! Whether a daemon is fit to serve, and what is missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::daemon::registry::Registry;
use crate::wire::pb::omnirelay::mesh::control::v1::ReadinessItem;

/// What a daemon needs to be of full use.
pub struct Readiness {
    registry: Arc<Registry>,
    is_registered: Box<dyn Fn() -> bool + Send + Sync>,
    draining: AtomicBool,
}

impl Readiness {
    /// `is_registered` says whether the node's record is entered.
    pub fn new(registry: Arc<Registry>, is_registered: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { registry, is_registered: Box::new(is_registered), draining: AtomicBool::new(false) }
    }

    /// Says that the daemon is stopping: it is not ready from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether every required item is fine.
    pub fn is_ready(&self) -> bool {
        self.items().iter().all(|item| item.ok || !item.required)
    }

    /// Each need by name, with what to do where it is not met.
    pub fn items(&self) -> Vec<ReadinessItem> {
        let view = self.registry.view();
        let silence = view.silence();
        let store = silence.map(|age| {
            format!(
                "the store has not answered for {} ms; reads are stale, changes are refused",
                age.as_millis()
            )
        });
        let caught_up = view.head().caught_up;
        let session = (self.is_registered)();
        let serving = !self.draining.load(Ordering::Relaxed);
        vec![
            item("serving", true, (!serving).then(|| "the daemon is stopping".to_owned())),
            item("view", true, (!caught_up).then(|| "the registry is still being loaded".to_owned())),
            item("store", false, store),
            item(
                "session",
                true,
                (!session).then(|| "this node is not registered yet; see its log".to_owned()),
            ),
            item("mesh", false, Some("not enrolled".to_owned())),
        ]
    }
}

fn item(name: &str, required: bool, trouble: Option<String>) -> ReadinessItem {
    ReadinessItem {
        name: name.to_owned(),
        ok: trouble.is_none(),
        message: trouble.unwrap_or_default(),
        required,
    }
}
