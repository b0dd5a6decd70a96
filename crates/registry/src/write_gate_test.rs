//! Writes that the write gate lets pass, and those that it refuses.

use std::sync::Arc;

use bytes::Bytes;
use omnirelay_scripted::memory;
use omnirelay_store::{CommitError, Epoch, Precondition, RecordId, RecordKind, StoreError, Version, Write};

use crate::Registry;
use crate::act::{CommitPlan, DaemonAct, WriteAuthority};
use crate::lab::{self, LabRegistry};
use crate::write_gate::{GateRule, Passage, RecordSelector};

const THING: RecordKind = RecordKind::of("thing");
const OTHER: RecordKind = RecordKind::of("other");
const DOMAIN: RecordKind = RecordKind::of("domain");
static MIRRORED: [RecordKind; 3] = [THING, OTHER, DOMAIN];
const FOLLOW: &str = "things.follow";

async fn write_by(action: &'static str, registry: &Registry, id: RecordId) -> Result<(), CommitError> {
    let act = DaemonAct::new(action, [THING, OTHER, DOMAIN], WriteAuthority::Unfenced);
    let put = Write::Put { id, value: Bytes::from_static(b"v"), group: None };
    registry.attempt(&act, CommitPlan::default().write([put])).await.map(drop)
}

async fn write(registry: &Registry, kind: RecordKind, key: &str) -> Result<(), CommitError> {
    write_by("things.put", registry, RecordId::new(kind, key)).await
}

fn north(passage: Passage) -> GateRule {
    let selectors = vec![RecordSelector { kind: THING, prefix: "north/".into() }];
    GateRule { selectors, passage, exempt: &[FOLLOW] }
}

#[tokio::test(start_paused = true)]
async fn a_closed_kind_is_refused_by_its_prefix_until_it_is_open_again() {
    let lab = LabRegistry::new(lab::registry("a", memory(), &MIRRORED)).await;
    let registry: &Arc<Registry> = &lab.registry;
    registry.write_gate().set("north", north(Passage::Closed("east is active".into())));

    let refused = write(registry, THING, "north/1").await;
    assert!(
        matches!(&refused, Err(CommitError::Closed { id, why }) if id.key == "north/1" && &**why == "east is active"),
        "{refused:?}"
    );
    write(registry, THING, "south/1").await.unwrap();
    write(registry, OTHER, "north/1").await.unwrap();
    write_by(FOLLOW, registry, RecordId::new(THING, "north/1")).await.unwrap();

    let epoch = registry.view().head().epoch;
    registry.write_gate().set("north", north(Passage::Open(epoch, Vec::new())));
    write(registry, THING, "north/1").await.unwrap();
    let all = vec![RecordSelector::all(THING)];
    let closed = GateRule { selectors: all, passage: Passage::Closed("no".into()), exempt: &[] };
    registry.write_gate().set("all", closed);
    assert!(matches!(write(registry, THING, "south/2").await, Err(CommitError::Closed { .. })));
    registry.write_gate().remove("all");
    write(registry, THING, "south/2").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_committed_on_the_conditions_of_its_passage() {
    let lab = LabRegistry::new(lab::registry("a", memory(), &MIRRORED)).await;
    let registry: &Arc<Registry> = &lab.registry;
    write(registry, DOMAIN, "north").await.unwrap();
    let version = Version(1);
    let active = Precondition::Version { id: RecordId::new(DOMAIN, "north"), version };
    let epoch = registry.view().head().epoch;
    registry.write_gate().set("north", north(Passage::Open(epoch, vec![active.clone()])));
    write(registry, THING, "north/1").await.unwrap();

    // As another daemon that closes it for all does.
    write(registry, DOMAIN, "north").await.unwrap();
    let late = write(registry, THING, "north/1").await;
    assert!(matches!(&late, Err(CommitError::Closed { id, .. }) if id.kind == DOMAIN), "{late:?}");
    write(registry, THING, "south/1").await.unwrap();

    // Versions of another epoch say nothing.
    registry.write_gate().set("north", north(Passage::Open(Epoch(epoch.0 + 1), vec![active])));
    let other = write(registry, THING, "north/1").await;
    assert!(matches!(&other, Err(CommitError::Store(StoreError::EpochChanged { .. }))), "{other:?}");
}
