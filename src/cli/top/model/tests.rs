//! The model is tested without a terminal and a daemon.

use serde_json::json;

use super::*;
use crate::top::keymap::{Action, Step};

const NOW_MS: i64 = 1_795_000_000_000;

fn model() -> TopModel {
    TopModel::new(KeyMap::built_in().unwrap(), "dev")
}

/// Answers all that is due, until nothing is, with what `mesh` says; gives what was asked.
fn settle(model: &mut TopModel, now_ms: i64, mesh: impl Fn(&Ask) -> Result<Value, String>) -> Vec<Ask> {
    let mut asked = Vec::new();
    for _ in 0..20 {
        let asks = model.due(now_ms);
        if asks.is_empty() {
            break;
        }
        for ask in asks {
            asked.push(ask.clone());
            let answered = mesh(&ask);
            model.answer(ask, answered, now_ms);
        }
    }
    asked
}

fn peers(count: usize, total: usize) -> Value {
    let peers: Vec<Value> =
        (0..count).map(|n| json!({"nodeId": format!("n{n}"), "status": "alive"})).collect();
    let next = if count < total { "more" } else { "" };
    json!({"localNodeId": "n0", "peers": peers, "totalSize": total, "nextPageToken": next, "stale": false})
}

fn mesh(ask: &Ask) -> Result<Value, String> {
    Ok(match ask {
        Ask::Page { page, .. } => match page.kind {
            ListKind::Peers => peers(3, 3),
            ListKind::Namespaces => {
                json!({"namespaces": [{"namespace": "orders", "shards": 2, "unowned": 1}]})
            }
            ListKind::Shards => json!({"items": [{"namespace": "orders", "shardId": "0"}], "totalSize": 1}),
            ListKind::Leaders => {
                json!({"scopes": [{"scope": "global-control", "leaderId": "n0"}], "totalSize": 1})
            }
            ListKind::Registers | ListKind::Relays | ListKind::Plans => json!({}),
        },
        Ask::Count { .. } => json!({"totalSize": 7}),
        Ask::Check | Ask::Certificates | Ask::Facts { .. } => json!({}),
    })
}

fn kinds(asked: &[Ask]) -> Vec<ListKind> {
    let kind = |ask: &Ask| match ask {
        Ask::Page { page, .. } => Some(page.kind),
        Ask::Count { .. } | Ask::Check | Ask::Certificates | Ask::Facts { .. } => None,
    };
    asked.iter().filter_map(kind).collect()
}

#[test]
fn nothing_is_asked_for_that_did_not_change_but_health_and_the_check() {
    let mut model = model();
    model.linked(Link::Live);
    let asked = settle(&mut model, NOW_MS, mesh);
    assert_eq!(
        kinds(&asked).len(),
        ListKind::ALL.len() + 1,
        "each list, and shards of the namespace: {asked:?}"
    );
    assert!(model.due(NOW_MS + 4999).is_empty());
    let asked = settle(&mut model, NOW_MS + 5000, mesh);
    assert_eq!((kinds(&asked), asked.len()), (vec![ListKind::Peers], 2), "{asked:?}");
    let event = json!({"type": "omnirelay.leadership.elected", "cursor": "1:9"});
    for _ in 0..100 {
        model.event(&event, NOW_MS + 6000);
    }
    assert_eq!(kinds(&settle(&mut model, NOW_MS + 6000, mesh)), [ListKind::Peers, ListKind::Leaders]);
    assert_eq!(model.cursor, "1:9");
    model.event(&event, NOW_MS + 6001);
    assert!(model.due(NOW_MS + 6001).is_empty(), "four times a second at most");
    assert_eq!(model.due_in(NOW_MS + 6001), 249);
}

#[test]
fn totals_are_of_all_and_not_of_what_is_here() {
    let mut model = model();
    let large = |ask: &Ask| match ask {
        Ask::Page { page, .. } if page.kind == ListKind::Peers => Ok(peers(100, 10_000)),
        Ask::Count { status } => Ok(json!({"totalSize": if *status == "dead" { 3 } else { 10 }})),
        ask => mesh(ask),
    };
    settle(&mut model, NOW_MS, large);
    let asked = settle(&mut model, NOW_MS + 5000, large);
    assert_eq!(asked.iter().filter(|ask| matches!(ask, Ask::Count { .. })).count(), 4);
    assert_eq!(model.peer_counts(), PeerCounts { total: 10_000, alive: 10, suspect: 10, dead: 3, gone: 10 });
    assert_eq!(model.shard_counts(), (1, 2));
}

#[test]
fn a_frozen_view_asks_nothing_and_takes_up_all_it_missed() {
    let mut model = model();
    settle(&mut model, NOW_MS, mesh);
    model.act(Action::Freeze, NOW_MS);
    let event = json!({"type": "omnirelay.peers.modified", "subject": "peer/n1"});
    model.event(&event, NOW_MS + 9000);
    assert!(model.due(NOW_MS + 9000).is_empty());
    assert_eq!(model.shown_news().count(), 0);
    model.act(Action::Freeze, NOW_MS + 9000);
    assert!(kinds(&settle(&mut model, NOW_MS + 9000, mesh)).contains(&ListKind::Peers));
    assert_eq!(model.shown_news().count(), 1);
}

#[test]
fn lists_of_another_time_are_asked_for_with_that_time() {
    let mut model = model();
    settle(&mut model, NOW_MS, mesh);
    for seconds in [20, 40] {
        let time = time::exact_clock(NOW_MS - seconds * 1000);
        model.event(&json!({"type": "omnirelay.peers.modified", "time": time}), NOW_MS);
    }
    settle(&mut model, NOW_MS, mesh);
    model.act(Action::Earlier, NOW_MS);
    model.act(Action::Earlier, NOW_MS);
    let refused = |ask: &Ask| match ask {
        Ask::Page { request, .. } => {
            assert_eq!(request["at"], json!(time::exact_clock(NOW_MS - 30_000)), "{request}");
            Err("unknown field `at`".to_owned())
        }
        ask => panic!("{ask:?}"),
    };
    let asked = kinds(&settle(&mut model, NOW_MS, refused));
    assert_eq!(asked.len(), ListKind::ALL.len() - 1, "registers have no past: {asked:?}");
    model.event(&json!({"type": "omnirelay.peers.modified"}), NOW_MS);
    assert!(model.due(NOW_MS + 4000).is_empty(), "what was is not changed by what happens");
    assert_eq!(model.shown_news().count(), 1, "what happened later is not shown");
    let said = model.listed(ListKind::Peers).unwrap().error.clone();
    assert_eq!(said.as_deref(), Some("unknown field `at`"));
    model.act(Action::Later, NOW_MS);
    model.act(Action::Later, NOW_MS);
    settle(&mut model, NOW_MS, mesh);
    assert!(model.travel.is_none() && model.listed(ListKind::Peers).unwrap().error.is_none());
}

#[test]
fn what_was_missed_while_away_is_asked_for() {
    let mut model = model();
    settle(&mut model, NOW_MS, mesh);
    model.lost("connection refused".to_owned(), NOW_MS + 1000);
    model.lost("connection refused".to_owned(), NOW_MS + 3000);
    assert_eq!(model.link, Link::Behind { since_ms: NOW_MS + 1000, cause: "connection refused".to_owned() });
    model.linked(Link::Live);
    assert_eq!(kinds(&settle(&mut model, NOW_MS + 4000, mesh)).len(), ListKind::ALL.len());
}

#[test]
fn command_is_for_what_is_selected() {
    let mut model = model();
    settle(&mut model, NOW_MS, mesh);
    assert_eq!(model.command(), "omnirelay mesh peers explain n0 --context dev");
    model.act(Action::Move(Step::Down), NOW_MS);
    assert_eq!(model.command(), "omnirelay mesh peers explain n1 --context dev");
    model.act(Action::Move(Step::NextPane), NOW_MS);
    assert_eq!(model.command(), "omnirelay mesh leaders explain global-control --context dev");
    model.act(Action::Move(Step::NextPane), NOW_MS);
    assert_eq!(
        model.act(Action::Copy, NOW_MS),
        Effect::Copy("omnirelay mesh shards explain orders/0 --context dev".into())
    );
    model.event(&json!({"type": "omnirelay.peers.modified", "subject": "peer/n 1"}), NOW_MS);
    model.act(Action::Open(View::Events), NOW_MS);
    assert_eq!(model.command(), "omnirelay events tail --since 10m --subject 'peer/n 1' --context dev");
    model.act(Action::Open(View::Overview), NOW_MS);
    model.problems = vec![Problem {
        id: "x".into(),
        tone: Tone::Bad,
        message: "x".into(),
        hint: "omnirelay mesh peers list".into(),
    }];
    model.pane = Pane::Problems;
    assert_eq!(model.command(), "omnirelay mesh peers list --context dev");
}

#[test]
fn why_is_asked_of_the_daemon_and_shown_in_a_drawer() {
    let mut model = model();
    settle(&mut model, NOW_MS, mesh);
    model.act(Action::Explain, NOW_MS);
    let said = |_: &Ask| {
        Ok(json!({"nodeId": "n0", "localNodeId": "n1", "health": {"state": "alive"}, "chapters": []}))
    };
    let asked = settle(&mut model, NOW_MS, said);
    assert!(
        matches!(&asked[..], [Ask::Facts { request, .. }] if *request == json!({"nodeId": "n0"})),
        "{asked:?}"
    );
    let drawer = model.drawer.as_ref().unwrap();
    assert_eq!(drawer.lines.as_ref().unwrap()[0].text, "n0 is alive, as n1 has it");
    assert_eq!(drawer.command, "omnirelay mesh peers explain n0 --context dev");
    // What came too late is shown to nobody.
    model.act(Action::Details, NOW_MS);
    assert_eq!(model.act(Action::Close, NOW_MS), Effect::None);
    assert!(model.drawer.is_none());
    model.answer(asked[0].clone(), Ok(json!({})), NOW_MS);
    assert!(model.drawer.is_none());
}

#[test]
fn close_leaves_the_innermost_first() {
    let mut model = model();
    settle(&mut model, NOW_MS, mesh);
    model.act(Action::Open(View::List(ListKind::Peers)), NOW_MS);
    model.set_filter("n1");
    model.act(Action::Problems, NOW_MS);
    model.act(Action::Help, NOW_MS);
    for _ in 0..4 {
        assert_eq!(model.act(Action::Close, NOW_MS), Effect::None);
    }
    assert_eq!(model.view, View::Overview);
    assert_eq!(model.act(Action::Close, NOW_MS), Effect::Quit);
}

#[test]
fn every_action_can_be_done_anywhere() {
    let actions = [
        Action::GoTo,
        Action::Filter,
        Action::Details,
        Action::Explain,
        Action::History,
        Action::Changes,
        Action::Problems,
        Action::Sort,
        Action::Reverse,
        Action::Freeze,
        Action::Earlier,
        Action::Later,
        Action::Copy,
        Action::Times,
        Action::Namespace,
        Action::Reconnect,
        Action::Help,
        Action::Close,
        Action::Move(Step::Up),
        Action::Move(Step::Down),
        Action::Move(Step::PageDown),
        Action::Move(Step::PageUp),
        Action::Move(Step::Last),
        Action::Move(Step::First),
        Action::Move(Step::PaneBefore),
    ];
    for answered in [false, true] {
        for view in [View::Overview, View::Events].into_iter().chain(ListKind::ALL.map(View::List)) {
            for first in actions {
                for second in actions {
                    let mut model = model();
                    if answered {
                        settle(&mut model, NOW_MS, mesh);
                    }
                    model.open(view);
                    model.act(first, NOW_MS);
                    model.act(second, NOW_MS);
                    settle(&mut model, NOW_MS, mesh);
                }
            }
        }
    }
}

#[test]
fn sorting_is_the_daemons() {
    let mut model = model();
    model.act(Action::Open(View::List(ListKind::Peers)), NOW_MS);
    model.act(Action::Sort, NOW_MS);
    model.act(Action::Reverse, NOW_MS);
    assert_eq!(model.list.as_ref().unwrap().request("", "")["orderBy"], "status desc");
    model.act(Action::Open(View::List(ListKind::Leaders)), NOW_MS);
    model.act(Action::Sort, NOW_MS);
    assert_eq!(model.note(NOW_MS), Some("the daemon sorts leaders by their ids alone"));
}

#[test]
fn only_what_is_wrong_is_shown_and_all_is_counted() {
    let mut model = model();
    let sick = |ask: &Ask| match ask {
        Ask::Page { page, request, .. } if page.kind == ListKind::Peers => {
            assert!(request.get("health").is_none(), "all are counted: {request}");
            Ok(
                json!({"peers": [{"nodeId": "a", "status": "alive"}, {"nodeId": "b", "status": "dead"}], "totalSize": 2}),
            )
        }
        ask => mesh(ask),
    };
    settle(&mut model, NOW_MS, sick);
    model.act(Action::Problems, NOW_MS);
    settle(&mut model, NOW_MS + 5000, sick);
    assert_eq!(model.command(), "omnirelay mesh peers explain b --context dev");
    assert_eq!((model.peer_counts().total, model.peer_counts().alive), (2, 1));
    model.act(Action::Open(View::List(ListKind::Peers)), NOW_MS + 5000);
    let asked = settle(&mut model, NOW_MS + 5000, mesh);
    assert!(asked.iter().any(
        |ask| matches!(ask, Ask::Page { request, .. } if request["health"] == json!(["suspect", "dead"]))
    ));
}
