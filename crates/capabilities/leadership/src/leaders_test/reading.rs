//! Reads of scopes: what is answered about them.

use omnirelay_wire::fault::Code;

use super::*;

const NAMES: [&str; 5] = ["billing", "global-control", "shard/orders/0", "shard/orders/1", "shard/users/0"];

fn list(change: impl FnOnce(&mut pb::ListLeadersRequest)) -> pb::ListLeadersRequest {
    let mut request = pb::ListLeadersRequest::default();
    change(&mut request);
    request
}

fn names(response: &pb::ListLeadersResponse) -> Vec<&str> {
    response.scopes.iter().map(|shown| shown.scope.as_str()).collect()
}

async fn mesh_of_all(store: &Arc<MemoryStore>, node_ids: &[&str]) -> Vec<Daemon> {
    let mut daemons = Vec::new();
    for node_id in node_ids {
        daemons.push(daemon(store.clone(), node_id, &NAMES).await);
    }
    for scope in NAMES {
        agreed(&daemons, scope).await;
    }
    daemons
}

#[tokio::test(start_paused = true)]
async fn lists_are_filtered_by_every_field() {
    let store = memory();
    let daemons = mesh_of_all(&store, &["a"]).await;
    type Change = fn(&mut pb::ListLeadersRequest);
    let cases: [(&str, Change, &[&str]); 9] = [
        ("all", |_| {}, &NAMES),
        ("a name", |r| r.scope = vec!["billing".into()], &["billing"]),
        ("upper case", |r| r.scope = vec!["Shard/ORDERS/0".into()], &["shard/orders/0"]),
        (
            "two names",
            |r| r.scope = vec!["billing".into(), "shard/users/0".into()],
            &["billing", "shard/users/0"],
        ),
        ("an unknown name", |r| r.scope = vec!["nowhere".into()], &[]),
        ("a part of a name", |r| r.scope = vec!["shard".into()], &[]),
        ("a kind", |r| r.kind = vec!["shard".into()], &NAMES[2..]),
        (
            "a kind and a name of another",
            |r| {
                r.kind = vec!["shard".into()];
                r.scope = vec!["billing".into()];
            },
            &[],
        ),
        ("another leader", |r| r.leader = vec!["b".into()], &[]),
    ];
    for (what, change, expected) in cases {
        let listed = daemons[0].list(list(change)).await;
        assert_eq!(names(&listed), expected, "{what}");
        assert_eq!(
            (listed.total_size as usize, listed.tokens.len()),
            (expected.len(), expected.len()),
            "{what}"
        );
    }
    let unknown = daemons[0].leaders.list(called(list(|r| r.kind = vec!["shards".into()]), |_| {})).await;
    assert_eq!(reason(unknown), "INVALID_ARGUMENT");
}

#[tokio::test(start_paused = true)]
async fn pages_hold_every_scope_once() {
    let store = memory();
    let daemons = mesh_of_all(&store, &["a"]).await;
    let mut seen = Vec::new();
    let mut token = String::new();
    let mut sizes = Vec::new();
    loop {
        let page = daemons[0]
            .list(list(|r| {
                r.page_size = 2;
                r.page_token = token.clone();
            }))
            .await;
        assert_eq!(page.total_size, 5);
        sizes.push(page.scopes.len());
        seen.extend(names(&page).into_iter().map(str::to_owned));
        if page.next_page_token.is_empty() {
            break;
        }
        token = page.next_page_token;
    }
    assert_eq!((sizes, seen), (vec![2, 2, 1], NAMES.map(str::to_owned).to_vec()));
    let other = list(|r| {
        r.page_token = token;
        r.kind = vec!["shard".into()];
    });
    let refused = daemons[0].leaders.list(called(other, |_| {})).await;
    assert_eq!(fault(refused).code, Code::InvalidArgument, "a token of other filters");
}

#[tokio::test(start_paused = true)]
async fn a_tag_holds_while_only_deadlines_move_and_ends_with_a_lease() {
    let store = memory();
    let reader = reader(store.clone()).await;
    let a = daemon(store.clone(), "a", &[SCOPE]).await;
    until("it is seen", || reader.leader(SCOPE) == "a").await;
    let asked = |tag: Option<String>| {
        let leaders = &reader.leaders;
        async move {
            let request = called(pb::ListLeadersRequest::default(), |caller| caller.if_none_match = tag);
            let response = leaders.list(request).await.unwrap();
            let tag = response.metadata().get(omnirelay_nouns::ETAG).unwrap().to_str().unwrap().to_owned();
            (tag, response.metadata().contains_key(omnirelay_nouns::NOT_MODIFIED))
        }
    };
    let (tag, fresh) = asked(None).await;
    assert!(!fresh);
    sleep(TTL * 2).await;
    assert_eq!(asked(Some(tag.clone())).await, (tag.clone(), true), "only a deadline has moved");
    drop(a);
    until("the lease is over", || reader.leader(SCOPE).is_empty()).await;
    let (later, same) = asked(Some(tag.clone())).await;
    assert!(!same && later != tag, "nothing was committed, and yet nobody leads");
}

#[tokio::test(start_paused = true)]
async fn a_scope_is_shown_with_its_history_and_why() {
    let store = memory();
    let mut daemons = mesh(&store, &["a", "b"]).await;
    let first = agreed(&daemons, SCOPE).await;
    drop(take_leader(&mut daemons, SCOPE));
    let second = agreed(&daemons, SCOPE).await;
    let request = pb::LeadershipHistoryRequest { scope: SCOPE.to_owned(), ..Default::default() };
    let history = daemons[0].leaders.history(called(request, |_| {})).await.unwrap().into_inner();
    let terms: Vec<_> =
        history.tenures.iter().map(|tenure| (tenure.term, tenure.leader_id.as_str())).collect();
    assert_eq!(terms, [(2, second.leader_id.as_str()), (1, first.leader_id.as_str())]);
    assert_eq!((history.tenures[1].end_reason.as_str(), second.elections_last_hour), ("lease_expired", 2));
    assert_eq!(history.tenures[1].end_correlation_id, history.tenures[0].correlation_id, "one transition");
    let request = pb::ExplainLeaderRequest { scope: SCOPE.to_owned(), ..Default::default() };
    let told = daemons[0].leaders.explain(called(request, |_| {})).await.unwrap().into_inner();
    let candidates: Vec<_> =
        told.candidates.iter().map(|c| (c.node_id.as_str(), c.leads, c.eligible, c.rank)).collect();
    assert_eq!(
        candidates,
        [(second.leader_id.as_str(), true, true, 1), (first.leader_id.as_str(), false, false, 0)]
    );
    assert!(told.because[0].contains("lease_expired"), "{:?}", told.because);
    let request = pb::GetLeaderRequest { scope: "nowhere".to_owned(), ..Default::default() };
    assert_eq!(reason(daemons[0].leaders.get(called(request, |_| {})).await), "SCOPE_NOT_FOUND");
}
