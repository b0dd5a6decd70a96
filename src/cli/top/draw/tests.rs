//! Drawing is tested on a screen in memory.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::*;
use crate::top::keymap::{Action, KeyMap, Step};
use crate::top::model::Ask;

/// 2026-11-20T14:03:20Z
const NOW_MS: i64 = 1_795_183_400_000;

fn at(seconds: i64) -> String {
    time::exact_clock(NOW_MS - seconds * 1000)
}

fn peers() -> Value {
    let peer = |n: u64, status: &str, shards: u64, leads: &[&str]| {
        json!({
            "nodeId": format!("node-{n}"), "status": status, "health": {"state": status}, "shards": shards, "leads": leads,
            "rttMs": if status == "dead" { Value::Null } else { json!(0.4 * n as f64) }, "statusSince": at(8),
            "certificateEnds": at(-950_400), "metadata": {"role": "worker", "meshVersion": "0.3.0"},
        })
    };
    let mut peers = vec![
        peer(1, "alive", 22, &["global-control"]),
        peer(2, "alive", 20, &[]),
        peer(3, "dead", 0, &[]),
        peer(4, "alive", 19, &["orders"]),
    ];
    peers[1]["cordoned"] = json!(true);
    json!({"localNodeId": "node-1", "cursor": "1a2:48213", "stale": false, "peers": peers, "totalSize": 4})
}

fn leaders() -> Value {
    let scope = |name: &str, leader: &str, term: u64, since: i64| json!({"scope": name, "leaderId": leader, "term": term, "electedAt": at(since)});
    json!({"scopes": [scope("global-control", "node-1", 17, 172_800), scope("orders", "node-4", 4, 8)], "totalSize": 2})
}

fn shards() -> Value {
    let shard = |n: usize| {
        let owner = ["node-1", "node-2", "node-4"][n % 3];
        let mut shard = json!({
            "namespace": "orders", "shardId": format!("{n:02}"), "ownerNodeId": owner, "status": "active",
        });
        match n {
            12 => (shard["ownerNodeId"], shard["status"]) = (json!(""), json!("paused")),
            13 => (shard["targetNodeId"], shard["status"]) = (json!("node-4"), json!("draining")),
            14 => shard["status"] = json!("disabled"),
            _ => {}
        }
        shard
    };
    json!({"items": (0..64).map(shard).collect::<Vec<_>>(), "totalSize": 64})
}

fn answer(ask: &Ask) -> Value {
    match ask {
        Ask::Page { page, .. } => match page.kind {
            ListKind::Peers => peers(),
            ListKind::Leaders => leaders(),
            ListKind::Namespaces => json!({"namespaces": [
                {"namespace": "orders", "shards": 64, "unowned": 1, "moving": 1, "paused": 1, "state": "rebalancing"},
            ]}),
            ListKind::Shards => shards(),
            ListKind::Registers => json!({"registers": [], "totalSize": 12}),
            ListKind::Relays => json!({"relays": [{"relayId": "relay-1", "agents": 3}]}),
            ListKind::Plans => {
                json!({"plans": [{"planId": "plan_7f", "namespace": "orders", "state": "running"}]})
            }
        },
        Ask::Check => json!({"categories": [{"checks": [
            {"id": "shards-owned", "result": "fail", "message": "orders: 1 shard has no owner for 8s", "hint": "omnirelay mesh shards list -n orders"},
            {"id": "transport-http3", "result": "warn", "message": "node-2 speaks HTTP/2 since 14:02", "hint": ""},
        ]}]}),
        Ask::Count { .. } | Ask::Certificates | Ask::Facts { .. } => json!({}),
    }
}

fn sample() -> TopModel {
    let mut model = TopModel::new(KeyMap::built_in().unwrap(), "dev");
    model.linked(Link::Live);
    for _ in 0..4 {
        for ask in model.due(NOW_MS) {
            let answered = answer(&ask);
            model.answer(ask, Ok(answered), NOW_MS);
        }
    }
    model.event(
        &json!({
            "type": "omnirelay.peers.modified", "subject": "peer/node-2", "time": at(20), "cursor": "1a2:48212",
            "action": "peers.cordon", "actor": "ann", "reason": "disk",
            "data": {"peer": {"status": "alive", "cordoned": true, "metadata": {"role": "worker", "clusterId": "c"}}},
        }),
        NOW_MS,
    );
    model.event(
        &json!({
            "type": "omnirelay.peers.modified", "subject": "peer/node-3", "time": at(9), "cursor": "1a2:48213",
            "data": {"peer": {"status": "dead", "statusReason": "session_expired"}},
        }),
        NOW_MS,
    );
    answer_all(&mut model);
    model
}

fn answer_all(model: &mut TopModel) {
    for _ in 0..4 {
        for ask in model.due(NOW_MS + 1000) {
            let answered = answer(&ask);
            model.answer(ask, Ok(answered), NOW_MS);
        }
    }
}

const PLAIN: Theme = Theme { color: false, unicode: true, still: false };

fn screen(model: &mut TopModel, width: u16, height: u16, theme: Theme) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(model, frame.buffer_mut(), NOW_MS, theme)).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(row).collect::<Vec<_>>().join("\n")
}

/// Checks a screen against its file; OMNIRELAY_GENERATE=1 writes it.
fn check(model: &mut TopModel, (width, height): (u16, u16), theme: Theme, name: &str) {
    let shown = format!("{}\n", screen(model, width, height, theme).trim_end());
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("top/draw/screens/{name}.txt"));
    if std::env::var_os("OMNIRELAY_GENERATE").is_some() {
        std::fs::write(&file, &shown).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(shown, expected, "{} is another:\n{shown}", file.display());
}

#[test]
fn overview_fits_screens_of_all_sizes() {
    for (name, size) in [
        ("overview_80x24", (80, 24)),
        ("overview_120x40", (120, 40)),
        ("overview_60x16", (60, 16)),
        ("overview_40x10", (40, 10)),
    ] {
        check(&mut sample(), size, PLAIN, name);
    }
    check(&mut sample(), (80, 24), Theme { unicode: false, ..PLAIN }, "overview_ascii");
    let still = Theme { still: true, ..PLAIN };
    let mut model = sample();
    let height = still_height(&model, 80);
    check(&mut model, (80, height), still, "overview_still");
}

#[test]
fn views_and_drawers_fit_80x24() {
    let mut model = sample();
    model.act(Action::Open(View::List(ListKind::Peers)), NOW_MS);
    answer_all(&mut model);
    model.act(Action::Move(Step::Down), NOW_MS);
    check(&mut model, (80, 24), PLAIN, "peers");
    model.act(Action::Filter, NOW_MS);
    check(&mut model, (80, 24), PLAIN, "peers_filter");
    model.prompt = None;
    model.set_filter("zone=a node");
    model.act(Action::Sort, NOW_MS);
    model.act(Action::Reverse, NOW_MS);
    answer_all(&mut model);
    check(&mut model, (80, 24), PLAIN, "peers_filtered");
    model.act(Action::Open(View::List(ListKind::Shards)), NOW_MS);
    answer_all(&mut model);
    check(&mut model, (80, 24), PLAIN, "shards");
    model.act(Action::Open(View::Events), NOW_MS);
    check(&mut model, (80, 24), PLAIN, "events");
    model.act(Action::Help, NOW_MS);
    check(&mut model, (80, 24), PLAIN, "help");
    model.act(Action::Changes, NOW_MS);
    check(&mut model, (80, 24), PLAIN, "changes");
    check(&mut model, (160, 20), PLAIN, "changes_wide");
}

#[test]
fn how_old_it_is_stands_above_it() {
    for (name, link, stale) in [
        ("behind", Link::Behind { since_ms: NOW_MS - 12_000, cause: "connection refused".to_owned() }, None),
        ("stale", Link::Live, Some((NOW_MS, 8000))),
        ("connecting", Link::Connecting, None),
    ] {
        let mut model = sample();
        (model.link, model.stale) = (link, stale);
        let shown = screen(&mut model, 80, 24, PLAIN);
        let head = shown.lines().next().unwrap();
        assert!(head.contains(name), "{head}");
        assert_eq!(shown.contains("connection refused"), name == "behind", "{shown}");
    }
    let mut model = sample();
    model.act(Action::Freeze, NOW_MS);
    assert!(screen(&mut model, 80, 24, PLAIN).contains("frozen 14:03:20"));
    model.act(Action::Earlier, NOW_MS);
    assert!(screen(&mut model, 80, 24, PLAIN).contains("as of 14:03:10, 10s ago"));
}

#[test]
fn nothing_breaks_a_screen_of_any_size() {
    for width in [1, 2, 19, 20, 21, 33, 47, 69, 70, 71, 139, 140, 200] {
        for height in [1, 3, 4, 5, 7, 12, 60] {
            for action in [None, Some(Action::Help), Some(Action::Open(View::List(ListKind::Shards)))] {
                let mut model = sample();
                action.into_iter().for_each(|action| _ = model.act(action, NOW_MS));
                answer_all(&mut model);
                screen(&mut model, width, height, PLAIN);
                screen(&mut model, width, height, Theme { unicode: false, color: true, still: false });
            }
        }
    }
}

#[test]
fn names_of_others_cannot_drive_the_terminal() {
    let mut model = sample();
    let evil = "\u{1b}[2J\u{202e}<b>\u{7}";
    let named = |list: &str, id: &str| json!({list: [{id: evil, "status": evil, "leaderId": evil, "metadata": {"role": evil}}], "totalSize": 1, "localNodeId": evil});
    model.touch(&ListKind::ALL);
    for ask in model.due(NOW_MS + 9000) {
        let answered = match &ask {
            Ask::Page { page, .. } if page.kind == ListKind::Peers => named("peers", "nodeId"),
            Ask::Page { page, .. } if page.kind == ListKind::Leaders => named("scopes", "scope"),
            Ask::Check => {
                json!({"categories": [{"checks": [{"id": evil, "result": "fail", "message": evil, "hint": evil}]}]})
            }
            _ => json!({}),
        };
        model.answer(ask, Ok(answered), NOW_MS + 9000);
    }
    model.event(
        &json!({"type": evil, "subject": evil, "actor": evil, "reason": evil, "cursor": evil}),
        NOW_MS,
    );
    model.lost(printable(evil), NOW_MS);
    for action in [None, Some(Action::Details), Some(Action::Changes), Some(Action::Open(View::Events))] {
        action.into_iter().for_each(|action| _ = model.act(action, NOW_MS));
        let shown = screen(&mut model, 200, 40, PLAIN);
        assert!(!shown.chars().any(|c| c != '\n' && omnirelay_core::text::is_unseen(c)), "{shown}");
        assert!(shown.contains("\\u{1b}"), "{shown}");
    }
}

#[test]
fn without_colours_nothing_is_said_by_colour() {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    terminal.draw(|frame| draw(&mut sample(), frame.buffer_mut(), NOW_MS, PLAIN)).unwrap();
    let cells = &terminal.backend().buffer().content;
    assert!(cells.iter().all(|cell| cell.fg == ratatui::style::Color::Reset && cell.bg == cell.fg));
}

#[test]
fn sums_of_a_part_are_no_totals() {
    let mut model = TopModel::new(KeyMap::built_in().unwrap(), "dev");
    for ask in model.due(NOW_MS) {
        let mut answered = answer(&ask);
        if let Ask::Page { page, .. } = &ask {
            answered[page.kind.spec().next_token] = json!("more");
        }
        model.answer(ask, Ok(answered), NOW_MS);
    }
    let shown = screen(&mut model, 120, 24, PLAIN);
    for said in ["63/64+ shards", "REGISTERS 12 ", "RELAYS 1+ ", "DRONES 3+ ", "OPEN PLANS 1+", "2 scopes"] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
}

#[test]
fn the_log_is_named_where_events_of_another_time_are_not_here() {
    let mut model = sample();
    model.act(Action::Open(View::Events), NOW_MS);
    (0..4).for_each(|_| _ = model.act(Action::Earlier, NOW_MS));
    let shown = screen(&mut model, 80, 24, PLAIN);
    assert!(shown.contains("$ omnirelay events tail --since 2026-11-20T13:56:20Z"), "{shown}");
    assert!(!shown.contains("nothing in the last minutes"), "{shown}");
}
