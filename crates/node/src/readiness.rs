//! Readiness of a daemon: whether it is fit to serve, and what is missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use omnirelay_core::time::{Millis, rfc3339, whole_ms};
use omnirelay_host::wall_clock::CLOCKS_APART;
use omnirelay_registry::Registry;
use omnirelay_registry::epoch_loss::EpochLoss;
use omnirelay_wire::pb::omnirelay::mesh::control::v1::ReadinessItem;
use parking_lot::RwLock;

/// What still works while the store has no room.
const FULL: &str = "the store is full: changes are refused until there is room; nobody loses a session over it, and none \
                    begins";

/// Says what else a daemon needs.
type ReadinessSource = Box<dyn Fn() -> Vec<ReadinessItem> + Send + Sync>;

/// Needs of a daemon that is to be of full use.
pub struct Readiness {
    pub registry: Arc<Registry>,
    /// What the capabilities of the node need besides.
    further: RwLock<Vec<ReadinessSource>>,
    draining: AtomicBool,
}

impl Readiness {
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry, further: RwLock::default(), draining: AtomicBool::new(false) }
    }

    /// Asks for these items as well, each time.
    pub fn add(&self, further: impl Fn() -> Vec<ReadinessItem> + Send + Sync + 'static) {
        self.further.write().push(Box::new(further));
    }

    /// Whether the daemon is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
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
        let full = self.registry.is_full().then(|| FULL.to_owned());
        let store = view.silence().map(|age| silence(&self.registry, age));
        let advice = self.registry.store().advice();
        let settings = (!advice.is_empty()).then(|| advice.join("\n"));
        let caught_up = view.head().caught_up;
        let serving = !self.draining.load(Ordering::Relaxed);
        let mut items = vec![
            item("serving", true, (!serving).then(|| "the daemon is stopping".to_owned())),
            item("view", true, (!caught_up).then(|| "the registry is still being loaded".to_owned())),
            item("store", false, store),
            item("store-room", false, full),
            item("store-settings", false, settings),
            item("store-sentinels", false, self.registry.store().disagreement()),
            item("store-clock", false, clocks_apart(&self.registry)),
            history(&self.registry),
            item("leaders-replicas", false, too_few(&self.registry)),
            item("leaders-split", false, splits(&self.registry)),
            item("audit", false, self.registry.audit_faults().unsealed()),
            item("audit-trail", false, audit_trail(&self.registry)),
        ];
        let further = self.further.read();
        items.extend(further.iter().flat_map(|further| further()));
        items
    }
}

/// A need that is met unless there is trouble.
pub fn item(name: &str, required: bool, trouble: Option<String>) -> ReadinessItem {
    ReadinessItem {
        name: name.to_owned(),
        ok: trouble.is_none(),
        message: trouble.unwrap_or_default(),
        required,
    }
}

/// What still works while the store does not.
fn silence(registry: &Registry, age: Duration) -> String {
    let (connectivity, age_ms) = (registry.view().connectivity(), age.as_millis());
    let trouble = connectivity.trouble().unwrap_or_default();
    if !connectivity.has_answered() {
        return format!(
            "the store has never answered ({age_ms} ms so far): nothing is known yet, and the daemon goes on \
             asking: {trouble}"
        );
    }
    let since = rfc3339(Millis(connectivity.now().0.saturating_sub(whole_ms(age))));
    format!(
        "the store has not answered since {since} ({age_ms} ms ago): reads and watches go on with what was \
         known then, changes are refused, and nobody is judged gone: {trouble}"
    )
}

/// Distance of store time from the wall clock of this host, where it is too large for both to be right.
pub fn clocks_apart(registry: &Registry) -> Option<String> {
    let ahead_ms = registry.view().connectivity().ahead_of_host_ms()?;
    let apart = Duration::from_millis(ahead_ms.unsigned_abs());
    if apart < CLOCKS_APART {
        return None;
    }
    let apart = humantime::format_duration(Duration::from_secs(apart.as_secs()));
    Some(match ahead_ms > 0 {
        true => format!(
            "store time is {apart} ahead of the clock of this host: this clock is behind, or that of the store was ahead once, \
             and store time goes back by an operator's word alone (omnirelay mesh store reset-clock)"
        ),
        false => format!(
            "store time is {apart} behind the clock of this host: this clock is ahead, or that of the store is behind; what \
             waits for a time by the store's clock is late by as much"
        ),
    })
}

/// Why leaders end although the store answers.
fn too_few(registry: &Registry) -> Option<String> {
    let (has, needs) = registry.confirmations().lacking()?;
    Some(format!(
        "leaders rely on nothing that {needs} replicas do not have, and {has} have what was granted: nobody leads until \
         more follow the master (store.redis.leadersNeedReplicas)"
    ))
}

/// How often the trail was found otherwise than it was written, since the daemon started, and what it should tell of and does not.
fn audit_trail(registry: &Registry) -> Option<String> {
    let noticed = match registry.audit_faults().noticed() {
        0 => None,
        times => {
            let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
            Some(format!(
                "the trail was found otherwise than it was written {times} since this daemon started, which forgets it"
            ))
        }
    };
    let unaudited = registry.view().unaudited_writes();
    let newest = unaudited.iter().max_by_key(|(_, write)| write.at).map(|(id, write)| {
        let (by, at, count) = (&write.writer, rfc3339(write.at), unaudited.len());
        format!("records of who may do what were written within a day and no audit record tells of that ({count}): {id} last, by {by} at {at}")
    });
    let told: Vec<String> = noticed.into_iter().chain(newest).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// The splits of the last day.
fn splits(registry: &Registry) -> Option<String> {
    let splits: Vec<String> = registry.view().splits().iter().map(ToString::to_string).collect();
    (!splits.is_empty()).then(|| splits.join("; "))
}

/// The new epochs of the last day, until everything that they cost is restored not fine.
fn history(registry: &Registry) -> ReadinessItem {
    let told = registry.losses().told(registry.view());
    let lines: Vec<String> = told.iter().map(ToString::to_string).collect();
    ReadinessItem {
        name: "history".to_owned(),
        ok: told.iter().all(EpochLoss::is_restored),
        message: lines.join("; "),
        required: false,
    }
}
