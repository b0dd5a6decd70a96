//! News: events as they are shown, the newest last.

use std::collections::VecDeque;

use super::super::cells::Tone;
use crate::frame::document::because;
use crate::frame::prelude::*;
use crate::frame::watch::word;

/// The most that are kept.
const NEWS_MAX: usize = 500;
/// What is of one sort and comes within so many milliseconds is told once where there is little room.
const RUN_MS: u64 = 5000;

/// Event as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::top) struct NewsItem {
    pub at_ms: i64,
    /// `peers.modified`
    pub event: String,
    /// `peer/node-2`
    pub subject: String,
    pub what: String,
    /// Whose call it follows from; empty: of nobody.
    pub actor: String,
    pub action: String,
    pub reason: String,
    pub tone: Tone,
    /// How many of the same sort came shortly before, one behind the other.
    pub run: u32,
}

impl NewsItem {
    /// An event that came just now; `None` where it is about the stream alone.
    pub(in crate::top) fn of(event: &Value, now_ms: i64) -> Option<Self> {
        if matches!(word(event), "synced" | "progress") {
            return None;
        }
        let named = text(event, "type");
        Some(Self {
            at_ms: time::millis(field(event, "time")).unwrap_or(now_ms),
            event: printable(named.strip_prefix("omnirelay.").unwrap_or(named)),
            subject: printable(text(event, "subject")),
            what: printable(&what(event)),
            actor: printable(text(event, "actor")),
            action: printable(text(event, "action")),
            reason: printable(text(event, "reason")),
            tone: tone(event),
            run: 0,
        })
    }

    /// `peers.cordon by local: disk`; empty where nobody asked for it.
    pub(in crate::top) fn cause(&self) -> String {
        if self.actor.is_empty() && self.action.is_empty() {
            return String::new();
        }
        let by = if self.actor.is_empty() { String::new() } else { format!(" by {}", self.actor) };
        let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
        format!("{}{by}{reason}", self.action).trim().to_owned()
    }

    /// Whether this is one more of what `before` tells: shards move by the dozen.
    fn is_one_more(&self, before: &Self) -> bool {
        let of_shards = |item: &Self| item.subject.starts_with("shard/");
        of_shards(self)
            && of_shards(before)
            && self.event == before.event
            && self.cause() == before.cause()
            && self.at_ms.abs_diff(before.at_ms) < RUN_MS
    }

    /// Line of it.
    pub(in crate::top) fn line(&self) -> String {
        let cause = match self.cause().as_str() {
            "" => String::new(),
            cause => format!("  ({cause})"),
        };
        format!("{}  {}  {}{cause}", self.event, self.subject, self.what)
    }

    /// Whether any of it has this text in it, in small letters.
    pub(in crate::top) fn has(&self, text: &str) -> bool {
        let parts = [&self.event, &self.subject, &self.what, &self.actor, &self.action, &self.reason];
        parts.iter().any(|part| part.to_lowercase().contains(text))
    }
}

fn what(event: &Value) -> String {
    let data = |name| Some(field(field(event, "data"), name)).filter(|data| data.is_object());
    if let Some(shard) = data("shard") {
        let history = field(field(event, "data"), "shardHistory");
        let of = |name: &str| if name.is_empty() { "-".to_owned() } else { name.to_owned() };
        let (before, now) = (text(history, "previousOwnerNodeId"), text(shard, "ownerNodeId"));
        let moved = if before == now || before.is_empty() {
            format!("{} {}", of(now), text(shard, "status"))
        } else {
            format!("{} → {}", of(before), of(now))
        };
        return [&moved, text(history, "cause"), text(history, "planId")]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
    }
    if let Some(peer) = data("peer") {
        let reason = because(peer, "statusReason");
        let status = crate::peers::columns::status(peer);
        return if flag(peer, "cordoned") { status } else { format!("{status}{reason}") };
    }
    if let Some(plan) = data("plan") {
        return format!("{} {} {}", text(plan, "namespace"), text(plan, "state"), text(plan, "stateReason"));
    }
    if let Some(namespace) = data("namespace") {
        return format!("{} {}", text(namespace, "state"), text(namespace, "stateReason"));
    }
    crate::events::what(event)
}

fn tone(event: &Value) -> Tone {
    match (text(event, "type").rsplit('.').next().unwrap_or_default(), text(event, "data.peer.status")) {
        ("expired" | "lost" | "degraded" | "reached" | "reset", _) | (_, "dead") => Tone::Bad,
        ("near", _) | (_, "suspect") => Tone::Warn,
        (_, _) => Tone::Quiet,
    }
}

/// The newest events.
#[derive(Clone, Debug, Default)]
pub(in crate::top) struct News {
    items: VecDeque<NewsItem>,
    /// How many came in all.
    pub count: u64,
}

impl News {
    pub(in crate::top) fn push(&mut self, mut item: NewsItem) {
        if let Some(before) = self.items.back().filter(|before| item.is_one_more(before)) {
            item.run = before.run + 1;
        }
        if self.items.len() >= NEWS_MAX {
            self.items.pop_front();
        }
        self.items.push_back(item);
        self.count += 1;
    }

    /// The newest first.
    pub(in crate::top) fn newest(&self) -> impl Iterator<Item = &NewsItem> {
        self.items.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_says_who_had_it_done_and_why() {
        let event = json!({
            "type": "omnirelay.peers.modified", "subject": "peer/node-2", "time": "2026-11-20T06:00:00Z",
            "action": "peers.cordon", "actor": "local", "reason": "disk\u{1b}[2J",
            "data": {"peer": {"status": "alive", "cordoned": true, "metadata": {"role": "a", "clusterId": "c"}}},
        });
        assert_eq!(
            NewsItem::of(&event, 0).unwrap().line(),
            "peers.modified  peer/node-2  alive,cordoned  (peers.cordon by local: disk\\u{1b}[2J)"
        );
        let moved = json!({
            "type": "omnirelay.shards.modified", "subject": "shard/orders/12",
            "data": {
                "shard": {"ownerNodeId": "b", "status": "active"},
                "shardHistory": {"previousOwnerNodeId": "a", "cause": "unowned", "planId": "plan_7"},
            },
        });
        assert_eq!(NewsItem::of(&moved, 0).unwrap().what, "a → b unowned plan_7");
        let mut news = News::default();
        for event in [&event, &moved, &moved, &moved] {
            news.push(NewsItem::of(event, 0).unwrap());
        }
        assert_eq!(news.newest().map(|item| item.run).collect::<Vec<_>>(), [2, 1, 0, 0]);
        assert_eq!(NewsItem::of(&json!({"type": "omnirelay.events.synced"}), 0), None);
    }

    #[test]
    fn old_news_are_forgotten() {
        let mut news = News::default();
        for n in 0..(NEWS_MAX + 5) {
            let event = json!({"type": "omnirelay.node.ready", "subject": n.to_string()});
            news.push(NewsItem::of(&event, 0).unwrap());
        }
        assert_eq!(news.newest().count(), NEWS_MAX);
        assert_eq!(news.newest().next().unwrap().subject, (NEWS_MAX + 4).to_string());
        assert_eq!(news.count, NEWS_MAX as u64 + 5);
    }
}
