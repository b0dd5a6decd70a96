//! `BindingService` on the memory store.

use futures_util::StreamExt as _;
use omnirelay_node::lab::reason;
use omnirelay_registry::follow::{follow_log, wait_for};
use omnirelay_registry::lab;
use omnirelay_store::MemoryStore;
use tonic::Request;

use super::*;

const WHO: &str = "token:deploy";

async fn served() -> (Bindings, tokio::task::JoinSet<()>) {
    let registry = Arc::new(lab::registry("node-1", Arc::new(MemoryStore::system()), &[BINDING]));
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(follow_log(registry.clone()));
    wait_for(registry.view(), omnirelay_store::Revision(0)).await;
    (Bindings::new(registry, Arc::default(), 10), tasks)
}

fn called<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(Caller::of_tests("alice"));
    request
}

fn wanted(principal: &str, scopes: &[&str]) -> pb::SetBindingRequest {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    pb::SetBindingRequest { principal: principal.to_owned(), scopes, ..Default::default() }
}

fn gone() -> pb::DeleteBindingRequest {
    pb::DeleteBindingRequest { principal: WHO.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_binding_gives_its_scopes_until_it_is_deleted() {
    let (bindings, _tasks) = served().await;
    let granted = || granted(bindings.registry.view(), WHO).to_string();
    assert_eq!(granted(), "none");
    let asked = wanted(WHO, &["mesh.operate", "mesh.read", "mesh.read"]);
    let set = bindings.set(called(asked.clone())).await.unwrap().into_inner();
    assert_eq!(set.changes, ["scopes: none -> mesh.read, mesh.operate"]);
    assert_eq!(set.binding.unwrap().version, 1);
    bindings.registry.ready_for(&set.cursor).await.unwrap();
    assert_eq!(granted(), "mesh.read, mesh.operate");
    assert!(!bindings.set(called(asked)).await.unwrap().into_inner().changed, "it is so already");
    let listed = bindings.list(called(pb::ListBindingsRequest::default())).await.unwrap().into_inner();
    assert_eq!(listed.bindings.iter().map(|one| one.principal.as_str()).collect::<Vec<_>>(), [WHO]);
    let dry = pb::DeleteBindingRequest { dry_run: true, ..gone() };
    assert!(bindings.delete(called(dry)).await.unwrap().into_inner().dry_run);
    let deleted = bindings.delete(called(gone())).await.unwrap().into_inner();
    assert_eq!(deleted.changes, ["scopes: mesh.read, mesh.operate -> none"]);
    bindings.registry.ready_for(&deleted.cursor).await.unwrap();
    assert_eq!(granted(), "none");
    assert_eq!(reason(bindings.delete(called(gone())).await), "BINDING_NOT_FOUND");
}

#[tokio::test]
async fn the_last_administrator_goes_only_when_somebody_says_so() {
    let (bindings, _tasks) = served().await;
    let set = async |principal: &str, scopes: &[&str]| {
        let done = bindings.set(called(wanted(principal, scopes))).await?.into_inner();
        bindings.registry.ready_for(&done.cursor).await.unwrap();
        Ok::<_, tonic::Status>(done)
    };
    let delete = |principal: &str, last_administrator: bool| pb::DeleteBindingRequest {
        principal: principal.to_owned(),
        last_administrator,
        ..Default::default()
    };
    set("operator:ann", &["mesh.admin"]).await.unwrap();
    set("operator:bob", &["mesh.read"]).await.unwrap();
    let refused = Some("LAST_ADMINISTRATOR");
    let reason_of = |status: tonic::Status| Fault::from(&status).reason.into_owned();
    let narrowed = set("operator:ann", &["mesh.read"]).await.map_err(reason_of);
    assert_eq!(narrowed.err().as_deref(), refused, "narrowed");
    let gone = bindings.delete(called(delete("operator:ann", false))).await.map_err(reason_of);
    assert_eq!(gone.err().as_deref(), refused, "deleted");
    // Others than the last one, and what is none, go as before.
    set("operator:bob", &["mesh.read", "mesh.admin"]).await.unwrap();
    set("operator:ann", &["mesh.read"]).await.unwrap();
    bindings.delete(called(delete("operator:ann", false))).await.unwrap();
    let gone = bindings.delete(called(delete("operator:bob", true))).await.unwrap().into_inner();
    assert_eq!(gone.changes[1], "administrators: the last one -> nobody", "{:?}", gone.changes);
    bindings.registry.ready_for(&gone.cursor).await.unwrap();
    // Where nobody was, nobody is taken away.
    set("operator:bob", &["mesh.read"]).await.unwrap();
    bindings.delete(called(delete("operator:bob", false))).await.unwrap();
}

#[tokio::test]
async fn a_version_that_has_gone_by_is_refused() {
    let (bindings, _tasks) = served().await;
    bindings.set(called(wanted(WHO, &["mesh.read"]))).await.unwrap();
    for expected in [0, 2] {
        let late = pb::SetBindingRequest { expected_version: Some(expected), ..wanted(WHO, &["mesh.admin"]) };
        assert_eq!(reason(bindings.set(called(late)).await), "VERSION_CONFLICT", "{expected}");
    }
    let seen = pb::SetBindingRequest { expected_version: Some(1), ..wanted(WHO, &["mesh.admin"]) };
    assert_eq!(bindings.set(called(seen)).await.unwrap().into_inner().binding.unwrap().version, 2);
}

#[tokio::test]
async fn nobody_without_proof_and_no_unknown_scope_is_bound() {
    let (bindings, _tasks) = served().await;
    let long = format!("token:{}", "x".repeat(PRINCIPAL_BYTES_MAX));
    for principal in
        ["", "local", "anonymous", "token:", "uid:ann", "token:a b", "token:a/b", "token:\u{e9}", &long]
    {
        let refused = bindings.set(called(wanted(principal, &["mesh.read"]))).await;
        assert_eq!(reason(refused), "INVALID_ARGUMENT", "{principal}");
    }
    for scopes in [&[][..], &["mesh.reed"], &["mesh.read", ""]] {
        let refused = bindings.set(called(wanted(WHO, scopes))).await;
        assert_eq!(reason(refused), "INVALID_ARGUMENT", "{scopes:?}");
    }
    let listed = bindings.list(called(pb::ListBindingsRequest::default())).await.unwrap().into_inner();
    assert!(listed.bindings.is_empty());
}

#[tokio::test]
async fn there_are_as_many_as_may_be() {
    let (bindings, _tasks) = served().await;
    for number in 0..BINDINGS_MAX {
        let set = bindings.set(called(wanted(&format!("token:{number}"), &["mesh.read"]))).await;
        bindings.registry.ready_for(&set.unwrap().into_inner().cursor).await.unwrap();
    }
    assert_eq!(reason(bindings.set(called(wanted(WHO, &["mesh.read"]))).await), "TOO_MANY_BINDINGS");
    bindings.set(called(wanted("token:7", &["mesh.operate"]))).await.expect("that one is there");
}

#[tokio::test]
async fn those_who_watch_are_told_of_each_change() {
    let (bindings, _tasks) = served().await;
    let mut events = bindings.watch(called(pb::WatchBindingsRequest::default())).await.unwrap().into_inner();
    let mut next = async || {
        let event = events.next().await.unwrap().unwrap().into_message();
        (event.r#type(), event.binding.map(|binding| binding.scopes).unwrap_or_default())
    };
    assert_eq!(next().await.0, Type::Synced);
    bindings.set(called(wanted(WHO, &["mesh.read"]))).await.unwrap();
    assert_eq!(next().await, (Type::Added, vec!["mesh.read".to_owned()]));
    bindings.set(called(wanted(WHO, &["mesh.admin"]))).await.unwrap();
    assert_eq!(next().await, (Type::Modified, vec!["mesh.admin".to_owned()]));
    let gone = pb::DeleteBindingRequest { last_administrator: true, ..gone() };
    bindings.delete(called(gone)).await.unwrap();
    assert_eq!(next().await, (Type::Removed, vec!["mesh.admin".to_owned()]));
}
