//! A table on a terminal that is drawn again in place, and below it the newest that happened.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use omnirelay_core::text::count;
use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr as _};

use super::WatchFeed;
use super::present::PolledState;
use crate::frame::document::{field, items, text};
use crate::frame::error::CliError;
use crate::frame::output::{OutputFormat, OutputWriter};
use crate::frame::screen::{StdoutScreen, fitted, printable};
use crate::frame::table::{CellContext, TableLayout, TextTable};
use crate::frame::time;

/// How long a changed row stays marked.
const MARKED: Duration = Duration::from_secs(2);
/// Lines of a screen that are neither the table's nor news: what is hidden, the status, the cursor.
const LINES_BESIDES: usize = 3;
/// The most news that are kept.
const NEWS_MAX: usize = 10;

/// News that a live table says below its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LiveTableFooter {
    /// The line of an event without its time; `None`: the event is no news.
    pub line: fn(&Value) -> Option<String>,
    /// What a row is, as in "2 more scopes unchanged".
    pub noun: &'static str,
}

/// The objects of a watch by id, as they were last seen.
pub(crate) type LastSeenObjects = BTreeMap<String, Value>;

/// A table on a terminal that is drawn again in place.
#[derive(Debug)]
pub(crate) struct LiveTable {
    layout: TableLayout,
    absolute: bool,
    /// The lines on the screen that are ours, and its columns when they were drawn.
    drawn: Vec<ScreenLine>,
    drawn_at: Option<usize>,
    /// What was asked of each object besides what its events told.
    present: LastSeenObjects,
    /// The ids that have a row on it.
    shown: Vec<String>,
    since: Instant,
    /// When each object changed last.
    touched: BTreeMap<String, Instant>,
    /// The newest last.
    news: VecDeque<String>,
    /// Since when there is no connection, and why.
    lost: Option<(Instant, String)>,
    /// The daemon's clock less that of this machine, in milliseconds.
    clock_ms: i64,
    /// How a person ends it.
    ends_by: &'static str,
}

/// A line of the screen: with its colours, and without.
#[derive(Debug, PartialEq, Eq)]
struct ScreenLine {
    colored: String,
    plain: String,
}

impl ScreenLine {
    fn of(plain: String) -> Self {
        Self { colored: plain.clone(), plain }
    }
}

impl LiveTable {
    pub(crate) fn new(layout: TableLayout, absolute: bool) -> Self {
        Self {
            layout,
            absolute,
            drawn: Vec::new(),
            drawn_at: None,
            present: LastSeenObjects::new(),
            shown: Vec::new(),
            since: Instant::now(),
            touched: BTreeMap::new(),
            news: VecDeque::new(),
            lost: None,
            clock_ms: 0,
            ends_by: "Ctrl-C to stop",
        }
    }

    /// `q` ends it.
    pub(crate) fn ends_by_key(&mut self) {
        self.ends_by = "q to quit";
    }

    /// The connection is lost, and why; `None`: it is there.
    pub(crate) fn lost(&mut self, cause: Option<&str>) {
        let since = self.lost.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        self.lost = cause.map(|cause| (since, printable(cause)));
    }

    /// Takes over what was answered just now.
    pub(crate) fn set_present(&mut self, present: &PolledState, id: fn(&Value) -> String, answer: &Value) {
        if let Some(daemon_ms) = time::millis(field(answer, "generatedAt")) {
            self.clock_ms = daemon_ms.saturating_sub(time::now_ms().unwrap_or(daemon_ms));
        }
        let moving = |one: &Value| {
            let fields = present.fields.iter().map(|&name| (name.to_owned(), field(one, name).clone()));
            Value::Object(fields.collect())
        };
        self.present = items(answer, present.list).iter().map(|one| (id(one), moving(one))).collect();
    }

    /// An object as its events and the last answer have it.
    fn now(&self, id: &str, object: &Value) -> Value {
        let mut now = object.clone();
        let present = self.present.get(id).and_then(Value::as_object);
        if let (Some(now), Some(present)) = (now.as_object_mut(), present) {
            now.extend(present.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        now
    }

    /// Has the table drawn again: what was drawn may not look as it did.
    pub(crate) fn draw_again(&mut self) {
        self.drawn_at = None;
    }

    /// Leaves what was drawn as it stands: others have written below it.
    pub(crate) fn begin_below(&mut self) {
        self.drawn.clear();
    }

    /// The ids that have a row on the screen.
    pub(crate) fn shown(&self) -> &[String] {
        &self.shown
    }

    /// Notes what an event changes; nothing is drawn yet.
    pub(crate) fn take(&mut self, feed: &WatchFeed, event: &Value, screen: StdoutScreen) {
        // The event knows better than an answer before it.
        self.present.remove(&(feed.id)(field(event, feed.object)));
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
    pub(crate) fn draw(
        &mut self,
        out: &mut OutputWriter,
        feed: &WatchFeed,
        known: &LastSeenObjects,
        status: &str,
    ) -> Result<(), CliError> {
        self.touched.retain(|id, _| known.contains_key(id));
        let screen = out.measure().bounded();
        let lines = self.lines(feed, known, status, screen, out.format() == OutputFormat::Wide)?;
        if self.drawn_at == screen.width && self.drawn == lines {
            return Ok(());
        }
        self.clear(out)?;
        lines.iter().try_for_each(|line| out.write_line(&line.colored))?;
        (self.drawn, self.drawn_at) = (lines, screen.width);
        out.flush()
    }

    /// Takes away what was drawn, as before something else is written. The terminal may have got another size since,
    /// and broken the lines anew.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub(crate) fn clear(&mut self, out: &mut OutputWriter) -> Result<(), CliError> {
        let width = out.measure().columns;
        let rows: usize = self.drawn.drain(..).map(|line| rows_of(&line.plain, width)).sum();
        if rows == 0 { Ok(()) } else { out.write(format!("\r\x1b[{rows}A\x1b[J").as_bytes()) }
    }

    /// Everything that is to be on the screen: rows, how many are hidden, news, status.
    fn lines(
        &mut self,
        feed: &WatchFeed,
        known: &LastSeenObjects,
        status: &str,
        screen: StdoutScreen,
        wide: bool,
    ) -> Result<Vec<ScreenLine>, CliError> {
        let headings = usize::from(!self.layout.no_headers);
        let room = screen.height.map_or(usize::MAX, |height| height.saturating_sub(LINES_BESIDES));
        let all = known.len() + headings;
        // A table that needs all of the room leaves a third to what has happened.
        let news = self.newest((room / 3).max(room.saturating_sub(all)), screen.width);
        let rows = room.saturating_sub(news.len());
        let mut ids = self.order(feed, known, rows < all);
        let hidden = ids.split_off(rows.saturating_sub(headings).min(ids.len()));
        let mut lines = self.rows(feed, known, &ids, screen, wide)?;
        // Lines that are broken take more room.
        while lines.iter().map(|line| rows_of(&line.plain, screen.width)).sum::<usize>() > rows {
            lines.pop();
        }
        let hidden =
            ids.split_off(lines.len().saturating_sub(headings).min(ids.len())).into_iter().chain(hidden);
        let hidden = self.hidden(feed, &hidden.collect::<Vec<_>>());
        self.shown = ids.into_iter().cloned().collect();
        lines.extend(hidden.map(|line| ScreenLine::of(cut(line, screen.width))));
        lines.extend(news.into_iter().map(ScreenLine::of));
        lines.push(ScreenLine::of(cut(self.status(status, screen), screen.width)));
        // The cursor has a line of its own.
        let most = screen.height.map_or(usize::MAX, |height| height.saturating_sub(1));
        Ok(lines.split_off(lines.len().saturating_sub(most)))
    }

    /// The table of the objects with these ids, those that changed marked.
    fn rows(
        &self,
        feed: &WatchFeed,
        known: &LastSeenObjects,
        ids: &[&String],
        screen: StdoutScreen,
        wide: bool,
    ) -> Result<Vec<ScreenLine>, CliError> {
        const MARK: &str = "  <";
        let items: Vec<Value> = ids.iter().filter_map(|id| Some(self.now(id, known.get(*id)?))).collect();
        let now_ms = time::now_ms().map(|now| now.saturating_add(self.clock_ms));
        let moment = CellContext { now_ms, absolute: self.absolute };
        let table = TextTable::of(feed.columns, &items, moment, &self.layout)?;
        let width = screen.width.map(|width| width - if screen.color { 0 } else { MARK.len().min(width) });
        let text = |color| table.render(wide, StdoutScreen { color, width, ..screen }).lines;
        let (plain, colored) = (text(false), text(screen.color));
        let pairs = plain.lines().zip(colored.lines());
        let mut lines: Vec<ScreenLine> = pairs
            .map(|(plain, colored)| ScreenLine { plain: plain.to_owned(), colored: colored.to_owned() })
            .collect();
        let headings = usize::from(!self.layout.no_headers);
        for (line, id) in lines.iter_mut().skip(headings).zip(ids) {
            match self.touched.get(*id).is_some_and(|at| at.elapsed() < MARKED) {
                true if screen.color => line.colored = format!("\x1b[1m{}\x1b[0m", line.colored),
                true => *line = ScreenLine::of(format!("{}{MARK}", line.plain)),
                false => {}
            }
        }
        Ok(lines)
    }

    /// `rev 7f2c:48240 · live 2m · q to quit`, or why it is not live.
    fn status(&self, status: &str, screen: StdoutScreen) -> String {
        let dot = if screen.unicode { "·" } else { "-" };
        let joined = |parts: &[&str]| parts.join(&format!(" {dot} "));
        if let Some((at, cause)) = &self.lost {
            // The cause may be long, and then is cut.
            let lost = format!("connection lost {} ago", passed(*at));
            return joined(&[&lost, self.ends_by, &format!("trying again: {cause}")]);
        }
        let now = format!("live {}", passed(self.since));
        let whole = joined(&[status, &now, self.ends_by]);
        // Where the terminal is narrow, how long and how to end it say more than the place in the stream.
        match status.is_empty() || screen.width.is_some_and(|width| whole.width() > width) {
            true => joined(&[&now, self.ends_by]),
            false => whole,
        }
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
    fn order<'a>(&self, feed: &WatchFeed, known: &'a LastSeenObjects, is_short: bool) -> Vec<&'a String> {
        let mut ids: Vec<&String> = known.keys().collect();
        if is_short && feed.news.is_some() {
            ids.sort_by_key(|id| Reverse(self.touched.get(*id)));
        }
        ids
    }

    /// `2 more scopes unchanged`
    fn hidden(&self, feed: &WatchFeed, ids: &[&String]) -> Option<String> {
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

/// How long ago, in whole seconds.
fn passed(since: Instant) -> String {
    time::short(Duration::from_secs(since.elapsed().as_secs().max(1)))
}

/// `line` without what does not fit.
fn cut(line: String, width: Option<usize>) -> String {
    width.map_or_else(|| line.clone(), |width| fitted(&line, width))
}

/// How many rows of a terminal a line takes that is broken where it ends.
fn rows_of(line: &str, width: Option<usize>) -> usize {
    let Some(width) = width else { return 1 };
    let (mut rows, mut used) = (1, 0);
    for columns in line.chars().filter_map(UnicodeWidthChar::width) {
        used += columns;
        if used > width {
            (rows, used) = (rows + 1, columns);
        }
    }
    rows
}

/// A line in as many as the terminal needs: it is broken between its parts, which two spaces separate, and cut only
/// if one part alone is too wide.
fn folded(line: &str, width: Option<usize>) -> Vec<String> {
    let most = width.unwrap_or(usize::MAX);
    let mut lines: Vec<String> = Vec::new();
    for part in line.split("  ").filter(|part| !part.is_empty()) {
        let indent = if lines.is_empty() { "  " } else { "    " };
        match lines.last_mut().filter(|last| last.width() + part.width() + 2 <= most) {
            Some(last) => last.push_str(&format!("  {part}")),
            None => lines.push(format!("{indent}{part}")),
        }
    }
    lines.into_iter().map(|line| cut(line, width)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::frame::rpc::{Call, HttpVerb, RpcMethod};
    use crate::frame::table::Column;
    use crate::frame::watch::KeptObjects;

    const WATCH: RpcMethod = RpcMethod {
        method: "",
        verb: HttpVerb::Get,
        path: "/",
        scope: "mesh.read",
        audit_action: "",
        awaits_work: false,
    };
    static COLUMNS: &[Column] = &[Column::new("id", |item, _| text(item, "id").to_owned()).keep()];

    fn line(event: &Value) -> Option<String> {
        Some(text(event, "says").to_owned()).filter(|says| !says.is_empty())
    }

    fn feed(news: Option<LiveTableFooter>) -> WatchFeed<'static> {
        WatchFeed {
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
            present: None,
            keep: KeptObjects::Latest,
        }
    }

    /// What a terminal of `height` lines shows of `rows` items after the events `happened` to some of them;
    /// the status line, which has the time, apart.
    fn drawn(news: bool, height: usize, rows: usize, happened: &[(usize, &str)]) -> Vec<String> {
        let feed = feed(news.then_some(LiveTableFooter { line, noun: "item" }));
        let screen =
            StdoutScreen { tty: true, width: Some(30), height: Some(height), ..StdoutScreen::default() };
        let mut live = LiveTable::new(TableLayout::default(), false);
        let item = |number: usize| json!({"id": format!("n{number}")});
        let known: LastSeenObjects = (0..rows).map(|number| (format!("n{number}"), item(number))).collect();
        for number in 0..rows {
            live.take(&feed, &json!({"type": "snapshot", "item": item(number)}), screen);
        }
        for (number, says) in happened {
            let event = json!({
                "type": "changed", "time": "2026-11-20T06:02:11Z", "item": item(*number), "says": says,
            });
            live.take(&feed, &event, screen);
        }
        let lines = live.lines(&feed, &known, "rev 1:1", screen, false).unwrap();
        let mut lines: Vec<String> = lines.into_iter().map(|line| line.plain).collect();
        assert!(lines.len() < height, "{lines:?}");
        assert!(lines.pop().unwrap().starts_with("live "), "the state stands last");
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

    #[test]
    fn line_that_a_terminal_breaks_takes_as_many_rows_as_it_shows() {
        for (line, width, rows) in [
            ("", Some(40), 1),
            ("x".repeat(40).as_str(), Some(40), 1),
            ("x".repeat(41).as_str(), Some(40), 2),
            ("x".repeat(100).as_str(), Some(40), 3),
            // A wide character is not split, and a combining one needs no room.
            ("\u{6f22}\u{5b57}", Some(3), 2),
            ("e\u{301}e\u{301}", Some(2), 1),
            ("x".repeat(100).as_str(), None, 1),
        ] {
            assert_eq!(rows_of(line, width), rows, "{line:?} at {width:?}");
        }
    }
}
