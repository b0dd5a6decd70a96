//! The model is tested without a terminal and a daemon.

use serde_json::json;

use super::counts::{HealthCounts, PeerCounts};
use super::*;
use crate::top::keymap::{Action, Step};

const NOW_MS: i64 = 1_795_000_000_000;

fn model() -> TopModel {
    TopModel::new(KeyMap::built_in().unwrap(), "dev")
}

/// Answers all that is due, until nothing is, with what `mesh` says; gives what was asked.
fn settle(model: &mut TopModel, now_ms: i64, mesh: impl Fn(&Ask) -> Result<Value, AskFailure>) -> Vec<Ask> {
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

fn mesh(ask: &Ask) -> Result<Value, AskFailure> {
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
        Ask::Count { status, .. } => Ok(json!({"totalSize": if *status == "dead" { 3 } else { 10 }})),
        ask => mesh(ask),
    };
    let all = model.due(NOW_MS);
    all.into_iter().for_each(|ask| model.answer(ask.clone(), large(&ask), NOW_MS));
    assert_eq!(
        model.peer_counts(),
        PeerCounts { total: 10_000, health: None },
        "those that are here are not all"
    );
    let counts = |asked: &[Ask]| asked.iter().filter(|ask| matches!(ask, Ask::Count { .. })).count();
    assert_eq!(counts(&settle(&mut model, NOW_MS, large)), 4, "as soon as there are more than are here");
    let health = HealthCounts { alive: 10, suspect: 10, dead: 3, gone: 10 };
    assert_eq!(model.peer_counts(), PeerCounts { total: 10_000, health: Some(health) });
    assert_eq!(counts(&settle(&mut model, NOW_MS + 4999, large)), 0);
    assert_eq!(counts(&settle(&mut model, NOW_MS + 5000, large)), 4);
    let (owned, shards) = model.shard_counts();
    assert_eq!((owned.whole(), shards.whole()), (Some(1), Some(2)));
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
            Err(AskFailure { said: "unknown field `at`".to_owned(), is_refused: true })
        }
        ask => panic!("{ask:?}"),
    };
    let asked = kinds(&settle(&mut model, NOW_MS, refused));
    assert_eq!(asked.len(), ListKind::ALL.len(), "{asked:?}");
    model.event(&json!({"type": "omnirelay.peers.modified"}), NOW_MS);
    assert!(model.due(NOW_MS + 4000).is_empty(), "what was is not changed by what happens");
    assert!(model.due(NOW_MS + 60_000).is_empty(), "a time that was refused is refused again");
    let peers = model.listed(ListKind::Peers).unwrap();
    assert!(peers.rows.is_empty() && !peers.known, "those of now are not of then: {:?}", peers.rows);
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
    assert_eq!(model.list.as_ref().unwrap().request("")["orderBy"], "status desc");
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
    let peers = model.peer_counts();
    assert_eq!((peers.total, peers.health.map(|health| health.alive)), (2, Some(1)));
    model.act(Action::Open(View::List(ListKind::Peers)), NOW_MS + 5000);
    let asked = settle(&mut model, NOW_MS + 5000, mesh);
    assert!(asked.iter().any(
        |ask| matches!(ask, Ask::Page { request, .. } if request["health"] == json!(["suspect", "dead"]))
    ));
}

#[test]
fn a_time_that_was_not_judged_is_asked_for_again() {
    let mut model = model();
    settle(&mut model, NOW_MS, mesh);
    model.act(Action::Earlier, NOW_MS);
    let away = |_: &Ask| Err(AskFailure { said: "connection refused".to_owned(), is_refused: false });
    settle(&mut model, NOW_MS, away);
    assert!(model.due(NOW_MS + 4999).is_empty());
    assert!(kinds(&settle(&mut model, NOW_MS + 6000, mesh)).contains(&ListKind::Peers));
    assert_eq!(model.listed(ListKind::Peers).unwrap().rows.len(), 3);
    // Another time is another question.
    model.act(Action::Earlier, NOW_MS + 6000);
    assert!(model.listed(ListKind::Peers).unwrap().rows.is_empty());
    assert!(kinds(&settle(&mut model, NOW_MS + 6000, mesh)).contains(&ListKind::Peers));
}

#[test]
fn selection_stays_with_its_row_over_time() {
    let mut model = model();
    settle(&mut model, NOW_MS, mesh);
    model.act(Action::Move(Step::Down), NOW_MS);
    model.act(Action::Earlier, NOW_MS);
    let fewer = |ask: &Ask| match ask {
        Ask::Page { page, .. } if page.kind == ListKind::Peers => Ok(json!({"peers": [{"nodeId": "n1"}]})),
        ask => mesh(ask),
    };
    settle(&mut model, NOW_MS, fewer);
    model.act(Action::Later, NOW_MS);
    settle(&mut model, NOW_MS, mesh);
    assert_eq!(model.command(), "omnirelay mesh peers explain n1 --context dev");
}

#[test]
fn what_is_opened_while_frozen_is_asked_for_once() {
    let mut model = model();
    settle(&mut model, NOW_MS, mesh);
    model.act(Action::Freeze, NOW_MS);
    let opened = |model: &mut TopModel, what: &str, expected: ListKind| {
        let asked = kinds(&settle(model, NOW_MS + 9000, mesh));
        assert_eq!(asked, [expected], "{what}");
        model.event(&json!({"type": "omnirelay.peers.modified", "subject": "peer/n1"}), NOW_MS + 9000);
        assert!(model.due(NOW_MS + 20_000).is_empty(), "{what}: what happens is not asked for");
    };
    model.act(Action::Open(View::List(ListKind::Plans)), NOW_MS + 9000);
    opened(&mut model, "a view", ListKind::Plans);
    model.act(Action::Open(View::List(ListKind::Peers)), NOW_MS + 9000);
    opened(&mut model, "another view", ListKind::Peers);
    model.set_filter("role=a");
    opened(&mut model, "a filter", ListKind::Peers);
    model.act(Action::Sort, NOW_MS + 9000);
    opened(&mut model, "an order", ListKind::Peers);
    model.act(Action::Earlier, NOW_MS + 9000);
    assert!(kinds(&settle(&mut model, NOW_MS + 9000, mesh)).contains(&ListKind::Leaders), "another time");
}

#[test]
fn history_is_of_the_events_about_it() {
    let mut model = model();
    let offered = |ask: &Ask| match ask {
        Ask::Page { page, .. } if page.kind == ListKind::Plans => {
            Ok(json!({"plans": [{"planId": "plan_7", "state": "running"}]}))
        }
        Ask::Page { page, .. } if page.kind == ListKind::Registers => {
            Ok(json!({"registers": [{"registerId": "r1", "sources": ["n1", "n2"]}], "totalSize": 1}))
        }
        ask => mesh(ask),
    };
    for (kind, subject, subjects) in [
        (ListKind::Plans, "rebalance-plan/plan_7", "rebalance-plan/plan_7"),
        (ListKind::Registers, "register/n1/r1", "register/n1/r1,register/n2/r1"),
    ] {
        let subjects = format!("omnirelay events tail --since 1h --subject {subjects} --context dev");
        for other in ["register/n1/r2", "rebalance-plan/plan_8", "peer/r1", subject] {
            model.event(&json!({"type": "omnirelay.some.added", "subject": other}), NOW_MS);
        }
        model.act(Action::Open(View::List(kind)), NOW_MS);
        settle(&mut model, NOW_MS, offered);
        model.act(Action::History, NOW_MS);
        let drawer = model.drawer.as_ref().unwrap();
        let lines = drawer.lines.as_ref().unwrap();
        assert!(lines.len() == 1 && lines[0].text.contains(subject), "{lines:?}");
        assert_eq!(drawer.command, subjects);
        // The event itself is about the same.
        model.act(Action::Open(View::Events), NOW_MS);
        model.act(Action::History, NOW_MS);
        assert_eq!(model.drawer.as_ref().unwrap().lines.as_ref().map(Vec::len), Some(1), "{subject}");
        model.news = News::default();
    }
}

#[test]
fn answers_of_another_time_do_not_set_the_clock() {
    let mut model = model();
    let since = |seconds: i64| time::exact_clock(NOW_MS - seconds * 1000);
    settle(&mut model, NOW_MS, mesh);
    model.act(Action::Earlier, NOW_MS);
    let late = model.due(NOW_MS);
    model.act(Action::Later, NOW_MS);
    for ask in late {
        model.answer(ask, Ok(json!({"generatedAt": since(10)})), NOW_MS);
    }
    assert_eq!(model.daemon_ms(NOW_MS), NOW_MS);
    model.act(Action::Earlier, NOW_MS);
    model.answer(Ask::Check, Ok(json!({"generatedAt": since(-3)})), NOW_MS);
    assert_eq!(model.daemon_ms(NOW_MS), NOW_MS + 3000, "what is of now does");
}

#[test]
fn health_of_another_time_is_looked_for_in_what_is_here() {
    let mut model = model();
    settle(&mut model, NOW_MS, mesh);
    model.act(Action::Open(View::List(ListKind::Peers)), NOW_MS);
    model.act(Action::Problems, NOW_MS);
    model.act(Action::Earlier, NOW_MS);
    let then = |ask: &Ask| match ask {
        Ask::Page { page, request, .. } if page.kind == ListKind::Peers => {
            assert!(request.get("health").is_none(), "the daemon refuses it: {request}");
            assert_eq!(request["at"], json!(time::exact_clock(NOW_MS - 10_000)));
            let peer = |id: &str, status: &str| json!({"nodeId": id, "status": status, "cordoned": true});
            Ok(
                json!({"peers": [peer("a", "alive"), peer("b", "dead"), peer("c", "suspect")], "totalSize": 3}),
            )
        }
        ask => mesh(ask),
    };
    let shown = |model: &TopModel| {
        let list = model.list.as_ref().unwrap();
        assert!(list.filtered_here());
        list.shown.iter().map(|&row| list.rows[row].id.clone()).collect::<Vec<_>>().join(" ")
    };
    settle(&mut model, NOW_MS, then);
    assert_eq!(shown(&model), "b c");
    model.act(Action::Problems, NOW_MS);
    for (typed, expected) in [("health=dead,suspect", "b c"), ("health=alive", "a"), ("health=gone", "")] {
        model.set_filter(typed);
        settle(&mut model, NOW_MS, then);
        assert_eq!(shown(&model), expected, "{typed}");
    }
    model.act(Action::Later, NOW_MS);
    let asked = settle(&mut model, NOW_MS, mesh);
    let asks_health = |ask: &Ask| matches!(ask, Ask::Page { of_view: true, request, .. } if request["health"] == json!(["gone"]));
    assert!(asked.iter().any(asks_health), "{asked:?}");
}

#[test]
fn what_is_of_now_says_so_in_the_past() {
    let mut model = model();
    settle(&mut model, NOW_MS, mesh);
    model.act(Action::Open(View::List(ListKind::Peers)), NOW_MS);
    model.act(Action::Earlier, NOW_MS);
    settle(&mut model, NOW_MS, mesh);
    for (action, title) in [
        (Action::Explain, "why n0, of now"),
        (Action::Details, "n0, of now"),
        (Action::History, "history of n0, of now"),
        (Action::Changes, "what changed, of now"),
    ] {
        model.act(action, NOW_MS);
        assert_eq!(model.drawer.as_ref().unwrap().title, title);
    }
    model.act(Action::Open(View::Events), NOW_MS);
    let since = time::clock(NOW_MS - 310_000);
    assert_eq!(model.command(), format!("omnirelay events tail --since {since} --context dev"));
    model.act(Action::Later, NOW_MS);
    model.act(Action::Changes, NOW_MS);
    assert_eq!(model.drawer.as_ref().unwrap().title, "what changed");
}
