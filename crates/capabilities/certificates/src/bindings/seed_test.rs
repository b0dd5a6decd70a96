use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use omnirelay_identity::caller::Scope;
use omnirelay_registry::act::{CommitPlan, DaemonAct, WriteAuthority};
use omnirelay_registry::follow::wait_for;
use omnirelay_registry::lab::{self, LabRegistry};
use omnirelay_store::{CommitOutcome, MemoryStore, Write};
use prost::Message as _;

use super::super::granted;
use super::*;

const WHO: &str = "role:sre";

fn seeds(registry: &Arc<Registry>, has_authority: &Arc<AtomicBool>) -> Arc<ConfiguredSeeds> {
    let asked = has_authority.clone();
    let says = move || if asked.load(Ordering::Relaxed) { HasAuthority::Yes } else { HasAuthority::No };
    let trust = Arc::new(MeshTrust::default().asking(says));
    let given =
        GrantedRoles { principal: WHO.to_owned(), scopes: [Scope::MeshOperate].into_iter().collect() };
    let (door, seeds) = (Arc::default(), vec![given].into());
    Arc::new(ConfiguredSeeds { registry: registry.clone(), trust, door, seeds })
}

/// What the registry gives by now, once it has all that was committed.
async fn in_registry(seeds: &ConfiguredSeeds) -> String {
    // Behind it everything that was committed before is seen.
    let barrier =
        RecordId::new(BINDING, format!("token:barrier-{}", seeds.registry.view().head().revision.0));
    change(&seeds.registry, Write::Put { id: barrier, value: Bytes::new(), group: None }).await;
    granted(seeds.registry.view(), WHO).to_string()
}

async fn change(registry: &Registry, write: Write) {
    let act = DaemonAct::new("bindings.set", [BINDING], WriteAuthority::Unfenced);
    let plan = CommitPlan::read_in(registry.view().head().epoch).write([write]);
    let committed = registry.attempt(&act, plan).await.unwrap();
    let CommitOutcome::Done(entry) = committed else { panic!("it is new") };
    wait_for(registry.view(), entry.revision).await;
}

#[tokio::test]
async fn what_a_file_gives_is_entered_once_and_stays_as_it_is_left() {
    let store = Arc::new(MemoryStore::system());
    let registry = lab::registry("node-1", store, &[BINDING, BINDING_SEED]);
    let LabRegistry { registry, tasks: _tasks } = LabRegistry::new(registry).await;
    let has_authority = Arc::new(AtomicBool::new(false));
    let first = seeds(&registry, &has_authority);
    first.driver().look().await;
    assert_eq!(first.granted(WHO).to_string(), "mesh.operate", "this daemon judges by its file");
    assert_eq!(first.granted("role:other").to_string(), "none");
    assert_eq!(in_registry(&first).await, "none", "nothing is entered before there is an authority");
    has_authority.store(true, Ordering::Relaxed);
    assert_eq!(first.granted(WHO).to_string(), "none", "the registry says what holds");
    first.driver().look().await;
    assert_eq!(in_registry(&first).await, "mesh.operate");
    let before =
        registry.view().get(&binding_id(WHO)).and_then(|found| found.value::<BindingValue>()).unwrap();
    let changed = BindingValue { scopes: vec!["mesh.read".to_owned()], ..BindingValue::clone(&before) };
    let changed = changed.encode_to_vec();
    change(&registry, Write::Put { id: binding_id(WHO), value: changed.into(), group: None }).await;
    first.driver().look().await;
    assert_eq!(in_registry(&first).await, "mesh.read", "an operator has changed it");
    change(&registry, Write::Delete { id: binding_id(WHO) }).await;
    // Another daemon, with the same file.
    let second = seeds(&registry, &has_authority);
    for seeds in [&first, &second] {
        seeds.driver().look().await;
        assert_eq!(in_registry(seeds).await, "none", "an operator has deleted it");
    }
}

#[tokio::test]
async fn what_is_there_already_counts_as_entered() {
    let store = Arc::new(MemoryStore::system());
    let registry = lab::registry("node-1", store, &[BINDING, BINDING_SEED]);
    let LabRegistry { registry, tasks: _tasks } = LabRegistry::new(registry).await;
    let seeds = seeds(&registry, &Arc::new(AtomicBool::new(true)));
    let known = BindingValue { scopes: vec!["mesh.read".to_owned()], unknown_fields: Default::default() }
        .encode_to_vec();
    change(&registry, Write::Put { id: binding_id(WHO), value: known.into(), group: None }).await;
    seeds.driver().look().await;
    assert_eq!(in_registry(&seeds).await, "mesh.read");
    change(&registry, Write::Delete { id: binding_id(WHO) }).await;
    seeds.driver().look().await;
    assert_eq!(in_registry(&seeds).await, "none");
}
