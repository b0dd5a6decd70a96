//! Drawer: what is known of one thing, in lines.

use omnirelay_core::text::some_of;

use super::super::cells::Tone;
use crate::frame::document::because;
use crate::frame::prelude::*;

/// The most lines that a drawer has.
const LINES_MAX: usize = 2000;

/// Subject of a drawer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::top) enum DrawerKind {
    Details,
    Explain,
    History,
    Changes,
    Problems,
    Help,
}

/// Line of a drawer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct DrawerLine {
    pub text: String,
    pub tone: Tone,
}

impl DrawerLine {
    pub(in crate::top) fn new(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: printable(text.as_ref()), tone }
    }

    pub(in crate::top) fn plain(text: impl AsRef<str>) -> Self {
        Self::new(text, Tone::Good)
    }
}

/// Drawer over a view.
#[derive(Clone, Debug)]
pub(in crate::top) struct Drawer {
    pub kind: DrawerKind,
    pub title: String,
    /// `None`: it is being asked for.
    pub lines: Option<Vec<DrawerLine>>,
    /// Lines above the screen.
    pub top: usize,
    /// What it shows, as a command.
    pub command: String,
    /// Questions of another drawer are answered to nobody.
    pub generation: u64,
}

/// Facts of an object, a line for each field.
pub(in crate::top) fn facts(document: &Value) -> Vec<DrawerLine> {
    let mut lines = Vec::new();
    // The object itself, without the head of the answer.
    let object = document.as_object().and_then(|fields| fields.values().find(|value| value.is_object()));
    push_facts("", object.unwrap_or(document), &mut lines);
    lines.truncate(LINES_MAX);
    lines
}

fn push_facts(path: &str, value: &Value, lines: &mut Vec<DrawerLine>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| push_facts(&below(name), value, lines));
        }
        Value::Array(all) if all.iter().any(Value::is_object) => {
            for (place, value) in all.iter().enumerate() {
                push_facts(&below(&place.to_string()), value, lines);
            }
        }
        Value::Array(all) => {
            let all: Vec<String> = all.iter().map(plain).collect();
            push_fact(path, &all.join(", "), lines);
        }
        value => push_fact(path, &plain(value), lines),
    }
}

fn push_fact(path: &str, said: &str, lines: &mut Vec<DrawerLine>) {
    if !matches!(said, "" | "0" | "false") {
        lines.push(DrawerLine::plain(format!("{path:<28} {said}")));
    }
}

/// Explanation of something: the answer of `explain`, of a peer, a scope or a shard.
pub(in crate::top) fn explanation(document: &Value, moment: CellContext) -> Vec<DrawerLine> {
    let mut lines: Vec<DrawerLine> =
        items(document, "because").iter().filter_map(Value::as_str).map(DrawerLine::plain).collect();
    if let Some(health) = document.get("health") {
        let by: Vec<&str> = items(health, "by").iter().filter_map(Value::as_str).collect();
        let by = if by.is_empty() { String::new() } else { format!(" by {}", some_of(&by, 4)) };
        let local = text(document, "localNodeId");
        let said =
            format!("{} is {}{by}, as {local} has it", text(document, "nodeId"), text(health, "state"));
        lines.push(DrawerLine::plain(said));
    }
    let silent: Vec<&str> = items(document, "silent").iter().filter_map(Value::as_str).collect();
    if !silent.is_empty() {
        let said = format!("not heard, though they took part: {}", some_of(&silent, 8));
        lines.push(DrawerLine::new(said, Tone::Warn));
    }
    let candidates = items(document, "candidates");
    if !candidates.is_empty() {
        lines.push(DrawerLine::new("", Tone::Quiet));
        lines.push(DrawerLine::new("RANK  NODE                         EXCLUDED BY", Tone::Quiet));
        lines.extend(candidates.iter().map(candidate));
    }
    let chapters = items(document, "chapters");
    if document.get("chapters").is_some() {
        lines.push(DrawerLine::new("", Tone::Quiet));
        lines.extend(chapters.iter().map(|chapter| of_chapter(chapter, moment)));
        if chapters.is_empty() {
            lines.push(DrawerLine::new("nothing has happened to it that is remembered", Tone::Quiet));
        }
    }
    if !items(document, "changes").is_empty() {
        lines.push(DrawerLine::new("", Tone::Quiet));
        lines.push(DrawerLine::new("CHANGES", Tone::Quiet));
    }
    lines.extend(items(document, "changes").iter().map(|change| {
        let when = time::back(time::ago(field(change, "time"), moment), moment);
        DrawerLine::plain(format!("{when}  {}", crate::shards::difference(change)))
    }));
    lines.truncate(LINES_MAX);
    lines
}

fn candidate(candidate: &Value) -> DrawerLine {
    let rank = Some(plain(field(candidate, "rank"))).filter(|rank| rank != "0").unwrap_or_default();
    let excluded: Vec<&str> = items(candidate, "excludedBy").iter().filter_map(Value::as_str).collect();
    let has = if flag(candidate, "leads") || flag(candidate, "owns") { "has it" } else { "" };
    let tone = if excluded.is_empty() { Tone::Good } else { Tone::Held };
    let said = format!("{rank:>4}  {:<20} {has:<7} {}", text(candidate, "nodeId"), excluded.join(", "));
    DrawerLine::new(said, tone)
}

fn of_chapter(chapter: &Value, moment: CellContext) -> DrawerLine {
    let when = time::back(time::ago(field(chapter, "time"), moment), moment);
    let verdict = text(chapter, "verdict");
    let tone = match verdict {
        "died" | "confirmed" => Tone::Bad,
        "suspected" | "streams_alone" | "through_others" => Tone::Warn,
        _ => Tone::Good,
    };
    let by = match text(chapter, "by") {
        "" => String::new(),
        by => format!(" by {by}"),
    };
    let why = crate::peers::why(field(chapter, "evidence"));
    let why = if why.is_empty() { why } else { format!(": {why}") };
    DrawerLine::new(format!("{when:>10}  {} saw: {verdict}{by}{why}", text(chapter, "observer")), tone)
}

/// History of something: tenures of a scope, or changes of a map.
pub(in crate::top) fn history(document: &Value, moment: CellContext) -> Vec<DrawerLine> {
    let when = |one: &Value, name: &str| time::back(time::ago(field(one, name), moment), moment);
    let mut lines: Vec<DrawerLine> = Vec::new();
    for tenure in items(document, "tenures") {
        let ended = match text(tenure, "endReason") {
            "" => "leads".to_owned(),
            reason => format!("ended {}: {reason}", when(tenure, "endedAt")),
        };
        lines.push(DrawerLine::plain(format!(
            "{:>10}  term {}  {}  elected: {}; {ended}",
            when(tenure, "electedAt"),
            number(tenure, "term"),
            text(tenure, "leaderId"),
            text(tenure, "reason"),
        )));
    }
    for change in items(document, "changes") {
        lines.push(DrawerLine::plain(format!(
            "{:>10}  map {}  {} by {}{}",
            when(change, "at"),
            number(change, "version"),
            text(change, "cause"),
            text(change, "actor"),
            because(change, "reason"),
        )));
    }
    if lines.is_empty() {
        lines.push(DrawerLine::new("nothing is remembered", Tone::Quiet));
    }
    lines.truncate(LINES_MAX);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_lines_with_what_is_there() {
        let document = json!({
            "schemaVersion": "v1", "peer": {
                "nodeId": "a", "cordoned": true, "draining": false, "metadata": {"labels": {"x": "\u{202e}"}},
                "leads": ["s", "t"], "zero": "0",
            },
        });
        let lines: Vec<String> = facts(&document).into_iter().map(|line| line.text).collect();
        assert_eq!(
            lines,
            [
                format!("{:<28} a", "nodeId"),
                format!("{:<28} true", "cordoned"),
                format!("{:<28} \\u{{202e}}", "metadata.labels.x"),
                format!("{:<28} s, t", "leads"),
            ]
        );
    }

    #[test]
    fn explanations_of_all_kinds_become_lines() {
        let moment = CellContext { now_ms: time::millis(&json!("2026-11-20T06:00:10Z")), absolute: false };
        let scope = json!({
            "because": ["a leads it"],
            "candidates": [
                {"nodeId": "a", "rank": 1, "leads": true},
                {"nodeId": "b", "excludedBy": ["cordoned"]},
            ],
        });
        let lines: Vec<String> = explanation(&scope, moment).into_iter().map(|line| line.text).collect();
        assert_eq!(lines[0], "a leads it");
        assert!(lines[3].trim_end().ends_with("has it") && lines[4].ends_with("cordoned"), "{lines:?}");
        let peer = json!({
            "nodeId": "b", "localNodeId": "a", "health": {"state": "suspect", "by": ["c"]}, "silent": ["d"],
            "chapters": [{
                "observer": "c", "verdict": "suspected", "time": "2026-11-20T06:00:00Z",
                "evidence": {"waitedMs": 700},
            }],
        });
        let lines: Vec<String> = explanation(&peer, moment).into_iter().map(|line| line.text).collect();
        assert_eq!(lines[0], "b is suspect by c, as a has it");
        assert_eq!(lines[3], "   10s ago  c saw: suspected: no answer in 700 ms, nor over a stream");
    }
}
