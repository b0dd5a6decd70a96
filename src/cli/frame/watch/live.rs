//! A table on a terminal that is drawn again in place, and below it the newest that happened.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Feed;
use crate::cli::frame::client::count;
use crate::cli::frame::document::{field, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::output::{Format, Out};
use crate::cli::frame::screen::{Screen, printable};
use crate::cli::frame::table::{Layout, Moment, Table};
use crate::cli::frame::time;

/// How long a changed row stays marked.
const MARKED: Duration = Duration::from_secs(2);
/// Lines of a screen that are neither the table's nor news: what is hidden, the status, the cursor.
const LINES_BESIDES: usize = 3;
/// The most news that are kept.
const NEWS_MAX: usize = 10;

/// What a live table says below its rows of what has happened.
#[derive(Clone, Copy, Debug)]
pub struct News {
    /// The line of an event without its time; `None`: the event is no news.
    pub line: fn(&Value) -> Option<String>,
    /// What a row is, as in "2 more scopes unchanged".
    pub noun: &'static str,
}

/// The objects of a watch by id, as they were last seen.
pub type Known = BTreeMap<String, Value>;

/// A table on a terminal that is drawn again in place.
#[derive(Debug)]
pub struct Live {
    layout: Layout,
    absolute: bool,
    /// Lines on the screen that are ours.
    drawn: usize,
    since: Instant,
    /// When each object changed last.
    touched: BTreeMap<String, Instant>,
    /// The newest last.
    news: VecDeque<String>,
}

impl Live {
    pub fn new(layout: Layout, absolute: bool) -> Self {
        let (touched, news) = (BTreeMap::new(), VecDeque::new());
        Self { layout, absolute, drawn: 0, since: Instant::now(), touched, news }
    }

    /// Notes what an event changes; nothing is drawn yet.
    pub fn take(&mut self, feed: &Feed, event: &Value, screen: Screen) {
        // With news a change is what has happened, not what is shown for the first time.
        if feed.news.is_none() || text(event, "type") != "snapshot" {
            self.touched.insert((feed.id)(field(event, feed.object)), Instant::now());
        }
        let Some(line) = feed.news.and_then(|news| (news.line)(event)) else { return };
        let at = time::millis(field(event, "time")).or_else(time::now_ms).map(time::of_day);
        let sign = if screen.unicode { "↳" } else { ">" };
        self.news.push_back(printable(&format!("  {sign} {}  {line}", at.unwrap_or_default())));
        if self.news.len() > NEWS_MAX {
            self.news.pop_front();
        }
    }

    /// Draws the table anew over what was drawn before.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub fn draw(&mut self, out: &mut Out, feed: &Feed, known: &Known, status: &str) -> Result<(), CliError> {
        self.touched.retain(|id, _| known.contains_key(id));
        let lines = self.lines(feed, known, status, out.screen(), out.format() == Format::Wide)?;
        if self.drawn > 0 {
            out.write(format!("\x1b[{}A\x1b[J", self.drawn).as_bytes())?;
        }
        self.drawn = lines.len();
        lines.iter().try_for_each(|line| out.write_line(line))?;
        out.flush()
    }

    /// Everything that is to be on the screen: rows, how many are hidden, news, status.
    fn lines(
        &self,
        feed: &Feed,
        known: &Known,
        status: &str,
        screen: Screen,
        wide: bool,
    ) -> Result<Vec<String>, CliError> {
        let headings = usize::from(!self.layout.no_headers);
        let room = screen.height.map_or(usize::MAX, |height| height.saturating_sub(LINES_BESIDES));
        let all = known.len() + headings;
        // A table that needs all of the room leaves a third to what has happened.
        let news = self.newest((room / 3).max(room.saturating_sub(all)), screen.width);
        let rows = room.saturating_sub(news.len());
        let ids = self.order(feed, known, rows < all);
        let items: Vec<Value> = ids.iter().filter_map(|id| known.get(*id)).cloned().collect();
        let moment = Moment { now_ms: time::now_ms(), absolute: self.absolute };
        let text = Table::of(feed.columns, &items, moment, &self.layout)?.render(wide, screen).lines;
        let mut lines: Vec<String> = text.lines().take(rows).map(str::to_owned).collect();
        let shown = lines.len().saturating_sub(headings);
        for (line, id) in lines.iter_mut().skip(headings).zip(&ids) {
            if self.touched.get(*id).is_some_and(|at| at.elapsed() < MARKED) {
                *line = format!("{}{line}", if screen.color { "\x1b[1m" } else { "" });
                line.push_str(if screen.color { "\x1b[0m" } else { "  <" });
            }
        }
        lines.extend(self.hidden(feed, ids.get(shown..).unwrap_or_default()));
        lines.extend(news);
        let live = time::short(Duration::from_secs(self.since.elapsed().as_secs().max(1)));
        let dot = if screen.unicode { "·" } else { "-" };
        lines.push(format!("{status} {dot} live {live} {dot} Ctrl-C to stop"));
        Ok(lines)
    }

    /// As many of the newest news as fit into `room` lines, the newest last.
    fn newest(&self, room: usize, width: Option<usize>) -> Vec<String> {
        let mut lines = VecDeque::new();
        for line in self.news.iter().rev() {
            let folded = folded(line, width);
            if lines.len() + folded.len() > room {
                break;
            }
            folded.into_iter().rev().for_each(|line| lines.push_front(line));
        }
        lines.into()
    }

    /// The ids as they are drawn: by name, and with news those that changed last first, if not all fit.
    fn order<'a>(&self, feed: &Feed, known: &'a Known, is_short: bool) -> Vec<&'a String> {
        let mut ids: Vec<&String> = known.keys().collect();
        if is_short && feed.news.is_some() {
            ids.sort_by_key(|id| Reverse(self.touched.get(*id)));
        }
        ids
    }

    /// `2 more scopes unchanged`
    fn hidden(&self, feed: &Feed, ids: &[&String]) -> Option<String> {
        let changed = ids.iter().filter(|id| self.touched.contains_key(**id)).count();
        match (feed.news, ids.len()) {
            (_, 0) => None,
            (None, hidden) => Some(format!("... {hidden} more")),
            (Some(news), hidden) => {
                let rows = count(hidden as u64, &format!("more {}", news.noun));
                let what =
                    if changed == 0 { " unchanged".to_owned() } else { format!(", {changed} changed") };
                Some(format!("{rows}{what}"))
            }
        }
    }
}

/// A line in as many as the terminal needs, for what is drawn over is counted in lines: it is broken
/// between its parts, which two spaces separate, and cut only if one part alone is too wide.
fn folded(line: &str, width: Option<usize>) -> Vec<String> {
    let width = width.unwrap_or(usize::MAX);
    let mut lines: Vec<String> = Vec::new();
    for part in line.split("  ").filter(|part| !part.is_empty()) {
        let indent = if lines.is_empty() { "  " } else { "    " };
        match lines.last_mut().filter(|last| last.chars().count() + part.chars().count() + 2 <= width) {
            Some(last) => last.push_str(&format!("  {part}")),
            None => lines.push(format!("{indent}{part}")),
        }
    }
    lines.into_iter().map(|line| line.chars().take(width).collect()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::frame::rpc::{Call, Rpc, Verb};
    use crate::cli::frame::table::Column;
    use crate::cli::frame::watch::Keep;

    const WATCH: Rpc = Rpc { method: "", verb: Verb::Get, path: "/", scope: "mesh.read", audit_action: "" };
    static COLUMNS: &[Column] = &[Column::new("id", |item, _| text(item, "id").to_owned()).keep()];

    fn line(event: &Value) -> Option<String> {
        Some(text(event, "says").to_owned()).filter(|says| !says.is_empty())
    }

    fn feed(news: Option<News>) -> Feed<'static> {
        Feed {
            rpc: &WATCH,
            call: Call::of(&WATCH, &json!({})).unwrap(),
            object: "item",
            kind: "item",
            id: |item| text(item, "id").to_owned(),
            columns: COLUMNS,
            summary: |_| String::new(),
            line: None,
            named: &[],
            news,
            keep: Keep::Latest,
        }
    }

    /// What a terminal of `height` lines shows of `rows` items after the events `happened` to some of them;
    /// the status line, which has the time, apart.
    fn drawn(news: bool, height: usize, rows: usize, happened: &[(usize, &str)]) -> Vec<String> {
        let feed = feed(news.then_some(News { line, noun: "item" }));
        let screen = Screen { tty: true, width: Some(30), height: Some(height), ..Screen::default() };
        let mut live = Live::new(Layout::default(), false);
        let item = |number: usize| json!({"id": format!("n{number}")});
        let known: Known = (0..rows).map(|number| (format!("n{number}"), item(number))).collect();
        for number in 0..rows {
            live.take(&feed, &json!({"type": "snapshot", "item": item(number)}), screen);
        }
        for (number, says) in happened {
            let event = json!({
                "type": "changed", "time": "2026-11-20T06:02:11Z", "item": item(*number), "says": says,
            });
            live.take(&feed, &event, screen);
        }
        let mut lines = live.lines(&feed, &known, "rev 1:1", screen, false).unwrap();
        assert!(lines.len() < height, "{lines:?}");
        assert!(lines.pop().unwrap().starts_with("rev 1:1 - live "));
        lines
    }

    #[test]
    fn newest_events_stand_below_the_rows_as_many_as_fit() {
        let cases: [(&str, Vec<String>, &[&str]); 6] = [
            ("nothing has happened", drawn(true, 24, 2, &[]), &["ID", "n0", "n1"]),
            (
                "all fit",
                drawn(true, 24, 2, &[(1, "a -> b"), (1, ""), (0, "b -> c")]),
                &["ID", "n0  <", "n1  <", "  > 06:02:11  a -> b", "  > 06:02:11  b -> c"],
            ),
            (
                "rows that changed come first, and a third is for what happened",
                drawn(true, 9, 9, &[(7, "old"), (3, "mid"), (8, "new")]),
                &[
                    "ID",
                    "n8  <",
                    "n3  <",
                    "n7  <",
                    "6 more items unchanged",
                    "  > 06:02:11  mid",
                    "  > 06:02:11  new",
                ],
            ),
            (
                "not all that changed fit",
                drawn(true, 6, 5, &[(0, "a"), (1, "b"), (2, "c")]),
                &["ID", "n2  <", "4 more items, 2 changed", "  > 06:02:11  c"],
            ),
            (
                "a line too long is broken between its parts",
                drawn(true, 24, 1, &[(0, "a -> b  cause=lease_expired  without a leader 1.9s")]),
                &[
                    "ID",
                    "n0  <",
                    "  > 06:02:11  a -> b",
                    "    cause=lease_expired",
                    "    without a leader 1.9s",
                ],
            ),
            (
                "a watch without news has rows in their order",
                drawn(false, 6, 5, &[(4, "a")]),
                &["ID", "n0  <", "n1  <", "... 3 more"],
            ),
        ];
        for (what, lines, expected) in cases {
            assert_eq!(lines, expected, "{what}");
        }
    }

    #[test]
    fn old_news_are_forgotten() {
        let happened: Vec<(usize, String)> = (0..NEWS_MAX + 3).map(|at| (0, format!("e{at}"))).collect();
        let happened: Vec<(usize, &str)> = happened.iter().map(|(at, says)| (*at, says.as_str())).collect();
        let lines = drawn(true, 60, 1, &happened);
        assert_eq!(lines.len(), 2 + NEWS_MAX);
        assert_eq!(
            (lines[2].as_str(), lines.last().unwrap().as_str()),
            ("  > 06:02:11  e3", "  > 06:02:11  e12")
        );
    }
}
