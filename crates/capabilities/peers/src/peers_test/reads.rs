//! Lists, pages, tags and watches.

use std::collections::BTreeSet;

use omnirelay_wire::timestamp::millis;

use super::*;
use pb::peer_health::State;

#[tokio::test(start_paused = true)]
async fn filters_and_orders_choose_and_sort() {
    let store = store();
    let (a, b, _c) = (joined(&store, "a").await, joined(&store, "b").await, joined(&store, "c").await);
    b.presence.leave().await;
    drop(b);
    sleep(Duration::from_millis(50)).await;
    let cases = [
        ("all by id", pb::ListPeersRequest::default(), vec!["a", "b", "c"]),
        (
            "by status",
            pb::ListPeersRequest { status: vec![PeerStatus::Left.into()], ..Default::default() },
            vec!["b"],
        ),
        (
            "descending",
            pb::ListPeersRequest { order_by: "node_id desc".to_owned(), ..Default::default() },
            vec!["c", "b", "a"],
        ),
        (
            "by status, then id",
            pb::ListPeersRequest { order_by: "status desc".to_owned(), ..Default::default() },
            vec!["b", "c", "a"],
        ),
        (
            "by selector",
            pb::ListPeersRequest { selector: "tier!=std".to_owned(), ..Default::default() },
            vec![],
        ),
        ("by role", pb::ListPeersRequest { role: vec!["gateway".to_owned()], ..Default::default() }, vec![]),
    ];
    for (what, request, expected) in cases {
        assert_eq!(ids(&list(&a, request).await), expected, "{what}");
    }
    let bad = pb::ListPeersRequest { status: vec![77], ..Default::default() };
    assert_eq!(reason_of(a.peers.list(called(bad, |_| {})).await), "INVALID_ARGUMENT");
}

#[tokio::test(start_paused = true)]
async fn pages_show_one_revision_whatever_changes_meanwhile() {
    let store = store();
    let a = joined(&store, "a").await;
    let _others = [joined(&store, "b").await, joined(&store, "c").await];
    let first = list(&a, pb::ListPeersRequest { page_size: 2, ..Default::default() }).await;
    assert_eq!((ids(&first), first.total_size), (vec!["a", "b"], 3));
    let _late = joined(&store, "bb").await;
    a.peers.cordon(called(cordon("c", "disk"), |_| {})).await.unwrap();
    let next = pb::ListPeersRequest {
        page_size: 2,
        page_token: first.next_page_token.clone(),
        ..Default::default()
    };
    let second = list(&a, next.clone()).await;
    assert_eq!((ids(&second), second.cursor.as_str()), (vec!["c"], first.cursor.as_str()));
    assert!(!second.peers[0].cordoned, "as it was on the first page");
    assert_eq!(second.next_page_token, "");

    let other = pb::ListPeersRequest { order_by: "role".to_owned(), ..next };
    assert_eq!(reason_of(a.peers.list(called(other, |_| {})).await), "INVALID_PAGE_TOKEN");
}

#[tokio::test(start_paused = true)]
async fn a_page_token_that_is_too_old_says_so() {
    let store = store();
    let a = joined(&store, "a").await;
    let _b = joined(&store, "b").await;
    let first = list(&a, pb::ListPeersRequest { page_size: 1, ..Default::default() }).await;
    for n in 0..1100 {
        a.peers.cordon(called(cordon("a", &n.to_string()), |_| {})).await.unwrap();
    }
    let next = pb::ListPeersRequest { page_size: 1, page_token: first.next_page_token, ..Default::default() };
    assert_eq!(reason_of(a.peers.list(called(next, |_| {})).await), "PAGE_TOKEN_EXPIRED");
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_list_is_not_sent_again() {
    let store = store();
    let a = joined(&store, "a").await;
    let tag = |response: &Response<EncodedMessage<pb::ListPeersResponse>>| {
        response.metadata().get("etag").unwrap().to_str().unwrap().to_owned()
    };
    let first = a.peers.list(called(pb::ListPeersRequest::default(), |_| {})).await.unwrap();
    let held = tag(&first);
    sleep(TTL).await;
    let with = |held: &str| {
        let held = held.to_owned();
        move |caller: &mut Caller| caller.if_none_match = Some(held)
    };
    let again = a.peers.list(called(pb::ListPeersRequest::default(), with(&held))).await.unwrap();
    assert!(again.metadata().contains_key(omnirelay_nouns::NOT_MODIFIED), "renewals do not change a list");
    a.peers.cordon(called(cordon("a", ""), |_| {})).await.unwrap();
    let changed = a.peers.list(called(pb::ListPeersRequest::default(), with(&held))).await.unwrap();
    assert!(!changed.metadata().contains_key(omnirelay_nouns::NOT_MODIFIED));
    assert_ne!(tag(&changed), held);
}

/// A list is put together from what was encoded before; what moves without a revision must not stand still in it.
#[tokio::test(start_paused = true)]
async fn a_list_shows_what_a_single_peer_shows() {
    let store = store();
    let (a, _b) = (joined(&store, "a").await, joined(&store, "b").await);
    let mut seen = BTreeSet::new();
    for round in 0..5 {
        a.peers.cordon(called(cordon("b", &format!("round {}", round / 2)), |_| {})).await.unwrap();
        sleep(TTL / 3).await;
        let listed = list(&a, pb::ListPeersRequest::default()).await;
        // Of whoever does not gossip that is known, and no event says so.
        let health = Some(pb::PeerHealth { state: State::Unknown.into(), ..Default::default() });
        let fresh = ["a", "b"].into_iter().filter_map(|node| shown(&a, node));
        let fresh: Vec<_> = fresh.map(|peer| pb::Peer { health: health.clone(), ..peer }).collect();
        assert_eq!(listed.peers, fresh);
        seen.extend(listed.peers.iter().filter_map(|peer| Some(millis(peer.last_seen.as_ref()?))));
    }
    assert!(seen.len() > 2, "they were renewed meanwhile");
}

#[tokio::test(start_paused = true)]
async fn reads_ask_nothing_of_the_store() {
    let store = store();
    let a = joined(&store, "a").await;
    let before = store.calls.load(Ordering::Relaxed);
    for _ in 0..100 {
        list(&a, pb::ListPeersRequest::default()).await;
        let get = pb::GetPeerRequest { node_id: "a".to_owned(), ..Default::default() };
        a.peers.get(called(get, |_| {})).await.unwrap();
    }
    let watch = a.peers.watch(called(pb::WatchPeersRequest::default(), |_| {})).await.unwrap();
    let events: Vec<_> = watch.into_inner().take(2).collect().await;
    assert_eq!(events.len(), 2);
    assert_eq!(store.calls.load(Ordering::Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn watches_are_bounded_in_number() {
    let store = store();
    let a = joined(&store, "a").await;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(a.peers.watch(called(pb::WatchPeersRequest::default(), |_| {})).await.unwrap());
    }
    let refused =
        a.peers.watch(called(pb::WatchPeersRequest::default(), |_| {})).await.map(|_| Response::new(()));
    assert_eq!(reason_of(refused), "TOO_MANY_WATCHES");
    held.pop();
    a.peers.watch(called(pb::WatchPeersRequest::default(), |_| {})).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_change_is_encoded_once_for_all_watchers_of_a_filter() {
    let store = store();
    let (a, _b) = (joined(&store, "a").await, joined(&store, "b").await);
    let since = a.registry.view().list(&PEER).cursor.to_string();
    let watch = async |node_id: &str| {
        let node_id = Some(node_id.to_owned()).filter(|id| !id.is_empty()).into_iter().collect();
        let asked = pb::WatchPeersRequest { since: since.clone(), node_id, ..Default::default() };
        a.peers.watch(called(asked, |_| {})).await.unwrap().into_inner()
    };
    let (mut one, mut other) = (watch("").await, watch("").await);
    // To these two the one commit behind the cursor has the same cursors, and is not the same.
    let (mut of_a, mut of_b) = (watch("a").await, watch("b").await);
    let writes = ["a", "b"].map(|id| {
        let mut value = PeerValue::clone(&a.registry.view().get(&peer_id(id)).unwrap().value().unwrap());
        value.cordoned = true;
        Write::Put { id: peer_id(id), value: value.encode_to_vec().into(), group: None }
    });
    let epoch = a.registry.view().head().epoch;
    store.commit(Commit { epoch, writes: writes.into(), ..Commit::default() }).await.unwrap();

    for node_id in ["a", "b"] {
        let (first, second) = (one.next().await.unwrap().unwrap(), other.next().await.unwrap().unwrap());
        assert_eq!(first.peer.as_ref().unwrap().node_id, node_id);
        assert!(std::ptr::eq(first.bytes().as_ptr(), second.bytes().as_ptr()), "encoded twice: {node_id}");
        assert_eq!(pb::PeerEvent::decode(first.bytes().clone()).unwrap(), *first);
    }
    let (of_a, of_b) = (of_a.next().await.unwrap().unwrap(), of_b.next().await.unwrap().unwrap());
    assert_eq!((&of_a.cursor, &of_a.prev_cursor), (&of_b.cursor, &of_b.prev_cursor));
    assert_eq!([of_a, of_b].map(|event| event.into_message().peer.unwrap().node_id), ["a", "b"]);
}
