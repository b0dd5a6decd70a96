//! One snapshot: the overview as text, or as a document.

use futures_util::future::join_all;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::cells::Tone;
use super::data;
use super::draw::{Theme, draw, still_height};
use super::keymap::KeyMap;
use super::live::SteadyClock;
use super::model::{Link, TopModel};
use super::views::{ListKind, namespace};
use crate::frame::prelude::*;
use crate::node::NODE;

/// Columns where there is no terminal to say how many it has.
const COLUMNS: u16 = 80;
/// Rounds of questions: namespaces are known before their shards are asked for.
const ROUNDS: usize = 3;

/// Prints the overview once.
///
/// # Errors
/// Why the daemon could not be asked.
pub(super) async fn run(session: &mut CommandSession) -> Result<Exit, CliError> {
    let node = session.call(&Call::of(&NODE, &json!({}))?).await?;
    let clock = SteadyClock::begin();
    let mut model = TopModel::new(KeyMap::built_in()?, &session.target()?.context);
    model.introduce(&node, clock.now_ms());
    model.linked(Link::Live);
    for _ in 0..ROUNDS {
        let asks = model.due(clock.now_ms());
        for (ask, answered) in join_all(asks.into_iter().map(|ask| data::answer(session, ask))).await {
            model.answer(ask, answered, clock.now_ms());
        }
    }
    let screen = session.out.measure();
    let theme = Theme { color: false, unicode: screen.unicode || !screen.tty, still: true };
    let width = screen.width.and_then(|width| u16::try_from(width).ok()).unwrap_or(COLUMNS);
    let lines = lines(&mut model, width, clock.now_ms(), theme);
    let document = document(&model, &node);
    let name = format!("peer/{}", text(&node, "localNodeId"));
    session.show(&CommandOutput::lines(document, name, lines))?;
    Ok(Exit::Ok)
}

/// The overview as lines of text.
fn lines(model: &mut TopModel, width: u16, now_ms: i64, theme: Theme) -> String {
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, still_height(model, width)));
    draw(model, &mut buffer, now_ms, theme);
    let mut lines = String::new();
    for row in 0..buffer.area.height {
        let mut line = String::new();
        let mut skipped = 0;
        for column in 0..buffer.area.width {
            // A wide character has the cell behind it as well.
            if skipped > 0 {
                skipped -= 1;
                continue;
            }
            let symbol = buffer[(column, row)].symbol();
            skipped = unicode_width::UnicodeWidthStr::width(symbol).saturating_sub(1);
            line.push_str(symbol);
        }
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines
}

/// The overview as a document.
fn document(model: &TopModel, node: &Value) -> Value {
    let peers = model.peer_counts();
    let health = peers.health;
    let (owned, shards) = model.shard_counts();
    let known = |kind| model.listed(kind).filter(|list| list.known);
    let total = |kind| known(kind).and_then(|list| list.count().whole());
    let led = known(ListKind::Leaders).filter(|list| list.is_whole());
    let led = led.map(|list| list.rows.iter().filter(|row| row.tone != Tone::Bad).count());
    let problems: Vec<Value> = model
        .problems
        .iter()
        .map(|problem| {
            let result = match problem.tone {
                Tone::Bad => "fail",
                Tone::Warn => "warn",
                Tone::Good | Tone::Quiet | Tone::Held => "unknown",
            };
            json!({"id": problem.id, "result": result, "message": problem.message, "hint": problem.hint})
        })
        .collect();
    let mut document = json!({
        "schemaVersion": "v1",
        "generatedAt": node["generatedAt"],
        "localNodeId": node["localNodeId"],
        "cursor": node["cursor"],
        "stale": node["stale"],
        "staleMs": node["staleMs"],
        "clusterId": node["clusterId"],
        "version": node["version"],
        "peers": {
            "total": peers.total, "alive": health.map(|of| of.alive), "suspect": health.map(|of| of.suspect),
            "dead": health.map(|of| of.dead), "left": health.map(|of| of.gone),
        },
        "leaders": {"scopes": total(ListKind::Leaders), "led": led},
        "shards": {
            "total": shards.whole(), "owned": owned.whole(),
            "moving": model.shards_in(namespace::MOVING).whole(),
            "paused": model.shards_in(namespace::PAUSED).whole(),
        },
        "registers": {"available": total(ListKind::Registers)},
        "relays": {"total": total(ListKind::Relays), "agents": model.agent_count().whole()},
        "plans": {"open": model.open_plan_count().whole()},
        "problems": problems,
    });
    if let Some(fields) = document.as_object_mut() {
        // What is not known, or of a part alone, is left out.
        fields.retain(|_, value| !value.is_null());
        for part in fields.values_mut().filter_map(Value::as_object_mut) {
            part.retain(|_, value| !value.is_null());
        }
        fields.retain(|_, value| value.as_object().is_none_or(|part| !part.is_empty()));
    }
    document
}

#[cfg(test)]
mod tests {
    use super::super::model::Ask;
    use super::*;

    #[test]
    fn document_counts_all_or_says_nothing() {
        let mut model = TopModel::new(KeyMap::built_in().unwrap(), "dev");
        for _ in 0..ROUNDS {
            for ask in model.due(1000) {
                let answered = match &ask {
                    Ask::Page { page, .. } => json!({
                        "peers": [{"nodeId": "a", "status": "alive"}], "namespaces": [{"namespace": "o", "shards": 2}],
                        "relays": [{"relayId": "r", "agents": 2}], "plans": [{"planId": "p", "state": "running"}],
                        "scopes": [], "registers": [], "nextPageToken": "more",
                        "totalSize": if page.kind == ListKind::Peers { json!(500) } else { Value::Null },
                    }),
                    Ask::Count { .. } => json!({"totalSize": 125}),
                    Ask::Check | Ask::Certificates | Ask::Facts { .. } => json!({}),
                };
                model.answer(ask, Ok(answered), 1000);
            }
        }
        let document = document(&model, &json!({}));
        let counts = json!({"total": 500, "alive": 125, "suspect": 125, "dead": 125, "left": 125});
        assert_eq!(document["peers"], counts);
        for part in ["leaders", "shards", "registers", "relays", "plans"] {
            assert_eq!(document.get(part), None, "{document}");
        }
    }
}
