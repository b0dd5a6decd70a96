//! Many watchers on a store that is slow and often fails.

use std::sync::atomic::{AtomicUsize, Ordering};

use omnirelay_scripted::{Answered, Call, Script, Scripted};

use super::*;

/// Answers 200 ms late, and fails one call in ten.
struct Sluggish {
    inner: Arc<MemoryStore>,
    calls: AtomicUsize,
}

#[tonic::async_trait]
impl Script for Sluggish {
    async fn pass(&self, call: Call) -> Answered {
        sleep(MS * 200).await;
        // Odd enough that no sort of call is spared, and the same each time.
        let mixed = xxhash_rust::xxh64::xxh64(&self.calls.fetch_add(1, Ordering::Relaxed).to_le_bytes(), 7);
        if mixed.is_multiple_of(10) {
            return Err(StoreError::Unavailable("sluggish".into()).into());
        }
        call.on(&*self.inner).await
    }
}

/// A watcher that goes on where it was, however often it is replaced.
struct Watcher {
    scoped: bool,
    cursor: String,
    events: Option<NounEventStream<pb::LeaderEvent>>,
    /// Type, leader and token of everything told of [`SCOPE`].
    told: Vec<(Type, String, i64)>,
}

impl Watcher {
    async fn open(&mut self, daemon: &Daemon) {
        let scope = if self.scoped { vec![SCOPE.to_owned()] } else { Vec::new() };
        let request = pb::WatchLeadersRequest { scope, since: self.cursor.clone(), ..Default::default() };
        self.events = Some(daemon.leaders.watch(called(request, |_| {})).await.unwrap().into_inner());
    }

    /// Takes what there is now.
    async fn take(&mut self) {
        let Some(events) = &mut self.events else { return };
        while let Ok(Some(event)) = tokio::time::timeout(MS, events.next()).await {
            let event = event.unwrap();
            assert_ne!(event.r#type(), Type::Reset, "the history reaches back");
            if !event.cursor.is_empty() {
                self.cursor.clone_from(&event.cursor);
            }
            if let Some(tenure) = event.tenure.as_ref().filter(|tenure| tenure.scope == SCOPE) {
                self.told.push((event.r#type(), tenure.leader_id.clone(), tenure.fence_token));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_watchers_see_the_same_however_often_they_are_replaced_and_the_store_fails() {
    let store = Arc::new(Scripted(Sluggish { inner: memory(), calls: AtomicUsize::new(0) }));
    let scopes = [SCOPE, "shard/users/1"];
    let reader = reader(store.clone()).await;
    let mut watchers: Vec<Watcher> = (0..64)
        .map(|place| Watcher {
            scoped: place % 2 == 0,
            cursor: String::new(),
            events: None,
            told: Vec::new(),
        })
        .collect();
    for watcher in &mut watchers {
        watcher.open(&reader).await;
        watcher.take().await;
    }
    let mut daemons = Vec::new();
    for node_id in ["a", "b", "c", "d"] {
        daemons.push(daemon(store.clone(), node_id, &scopes).await);
    }
    for round in 0..3 {
        let before = agreed(&daemons, SCOPE).await;
        // Some are replaced while nobody leads.
        drop(take_leader(&mut daemons, SCOPE));
        for watcher in watchers.iter_mut().skip(round).step_by(3) {
            watcher.take().await;
            watcher.open(&reader).await;
        }
        let after = agreed(&daemons, SCOPE).await;
        assert!(after.fence_token > before.fence_token);
    }
    let last = agreed(&daemons, SCOPE).await;
    until("the reader sees it", || {
        reader.shown(SCOPE).is_some_and(|shown| shown.fence_token == last.fence_token)
    })
    .await;
    // Those that ask the store for what they missed ask again when that fails, and a store that fails may cost
    // one more leader its lease meanwhile.
    for _ in 0..600 {
        for watcher in &mut watchers {
            watcher.take().await;
        }
        let newest = reader.shown(SCOPE).map(|shown| shown.fence_token);
        if watchers.iter().all(|watcher| watcher.told.last().map(|told| told.2) == newest) {
            break;
        }
        sleep(MS * 100).await;
    }
    let first = watchers[0].told.clone();
    let elected: Vec<_> = first.iter().filter(|told| told.0 == Type::Elected).map(|told| told.2).collect();
    assert!(elected.len() >= 4 && elected.is_sorted_by(|a, b| a < b), "{elected:?}");
    for (place, watcher) in watchers.iter().enumerate() {
        assert_eq!(watcher.told, first, "watcher {place}");
    }
}
