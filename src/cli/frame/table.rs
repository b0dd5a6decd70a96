//! Tables: which columns, how wide, in which order.
//!
//! On a terminal a table that does not fit has cells shortened in columns that say so, then loses columns, the
//! rightmost first; then its last column is shortened in the middle. The first column is never dropped. Into a pipe
//! nothing is ever cut.

use std::cmp::Ordering;

use comfy_table::{Cell, CellAlignment, Table as Grid, presets};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::error::CliError;
use super::screen::{StdoutScreen, printable, within};

/// Context that a cell is made in.
#[derive(Clone, Copy, Debug)]
pub struct CellContext {
    /// When the daemon answered: ages are counted from here, in milliseconds since the epoch.
    pub now_ms: Option<i64>,
    /// Times as they are instead of ages.
    pub absolute: bool,
}

/// One column of objects of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// As in `--columns` and `--sort-by`, in lower case with hyphens.
    pub name: &'static str,
    /// The heading; `None`: the capitals of the name.
    pub title: Option<&'static str>,
    /// The text of the cell.
    pub cell: fn(&Value, CellContext) -> String,
    /// What to sort by; `None`: the text.
    pub rank: Option<fn(&Value) -> f64>,
    /// Shown with `-o wide` only.
    pub wide: bool,
    /// Shown only when a row has something in it, unless it is asked for.
    pub seldom: bool,
    /// Stays when others are dropped.
    pub keep: bool,
    /// Its cells are shortened to so many characters where the terminal is too narrow; `None`: they are not.
    pub narrow: Option<usize>,
    pub right: bool,
}

impl Column {
    pub const fn new(name: &'static str, cell: fn(&Value, CellContext) -> String) -> Self {
        Self {
            name,
            title: None,
            cell,
            rank: None,
            wide: false,
            seldom: false,
            keep: false,
            narrow: None,
            right: false,
        }
    }

    #[must_use]
    pub const fn titled(mut self, title: &'static str) -> Self {
        self.title = Some(title);
        self
    }

    #[must_use]
    pub const fn wide(mut self) -> Self {
        self.wide = true;
        self
    }

    #[must_use]
    pub const fn seldom(mut self) -> Self {
        self.seldom = true;
        self
    }

    #[must_use]
    pub const fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    /// At most so many characters of each cell, where the terminal is too narrow for all columns.
    #[must_use]
    pub const fn at_most(mut self, characters: usize) -> Self {
        self.narrow = Some(characters);
        self
    }

    #[must_use]
    pub const fn number(mut self, rank: fn(&Value) -> f64) -> Self {
        self.right = true;
        self.rank = Some(rank);
        self
    }

    #[must_use]
    pub const fn ranked(mut self, rank: fn(&Value) -> f64) -> Self {
        self.rank = Some(rank);
        self
    }

    /// The heading: `last-seen` is `LAST SEEN`.
    pub fn heading(&self) -> String {
        let capitals = || self.name.replace('-', " ").to_ascii_uppercase();
        self.title.map_or_else(capitals, str::to_owned)
    }
}

/// Layout in which a table is to be shown.
#[derive(Clone, Debug, Default)]
pub struct TableLayout {
    /// `--columns`: exactly these, in this order; empty: the usual ones.
    pub columns: Vec<String>,
    pub no_headers: bool,
    /// Never drop or shorten, terminal or not.
    pub no_trunc: bool,
}

/// Rows of text under columns.
#[derive(Clone, Debug)]
pub struct TextTable {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    layout: TableLayout,
}

/// A table as text.
#[derive(Clone, Debug, Default)]
pub struct RenderedTable {
    pub lines: String,
    /// The columns that did not fit.
    pub hidden: Vec<&'static str>,
}

impl TextTable {
    /// The table of `items`.
    ///
    /// # Errors
    /// When the layout names a column that there is not.
    pub fn of(
        columns: &[Column],
        items: &[Value],
        moment: CellContext,
        layout: &TableLayout,
    ) -> Result<Self, CliError> {
        let columns = chosen(columns, layout)?;
        let row = |item: &Value| columns.iter().map(|column| cell(column, item, moment)).collect();
        let rows = items.iter().map(row).collect();
        Ok(Self { columns, rows, layout: layout.clone() })
    }

    /// Name of its first column.
    pub fn first(&self) -> &'static str {
        self.columns.first().map_or("", |column| column.name)
    }

    /// The text of the table for `screen`.
    pub fn render(&self, wide: bool, screen: StdoutScreen) -> RenderedTable {
        let explicit = !self.layout.columns.is_empty();
        let is_usual = |index: &usize| {
            let column = &self.columns[*index];
            !column.wide && (!column.seldom || self.rows.iter().any(|row| row[*index] != EMPTY))
        };
        let mut shown: Vec<usize> =
            (0..self.columns.len()).filter(|index| explicit || wide || is_usual(index)).collect();
        let width = screen.width.filter(|_| !self.layout.no_trunc && !explicit);
        let before = shown.clone();
        let narrowed = width.filter(|width| self.width_of(&shown) > *width).map(|_| self.narrowed());
        let table = narrowed.as_ref().unwrap_or(self);
        let mut last_max = None;
        if let Some(width) = width {
            table.drop_until_fits(&mut shown, width);
            last_max = table.room_of_last(&shown, width);
        }
        let lost = before.iter().filter(|index| !shown.contains(index));
        let hidden = lost.map(|&index| self.columns[index].name).collect();
        RenderedTable { lines: table.draw(&shown, last_max, screen.color), hidden }
    }

    /// The same with shortened cells, in columns that say how many characters are enough.
    fn narrowed(&self) -> Self {
        let mut narrowed = self.clone();
        for row in &mut narrowed.rows {
            for (cell, column) in row.iter_mut().zip(&self.columns) {
                if let Some(max) = column.narrow {
                    *cell = shorten(cell, max);
                }
            }
        }
        narrowed
    }

    /// Drops columns from the right until the rest fits into `width`.
    fn drop_until_fits(&self, shown: &mut Vec<usize>, width: usize) {
        while self.width_of(shown) > width {
            let droppable = (1..shown.len()).rev().find(|&at| !self.columns[shown[at]].keep);
            let Some(at) = droppable else { return };
            shown.remove(at);
        }
    }

    /// The columns left for the last column when the table is still too wide.
    fn room_of_last(&self, shown: &[usize], width: usize) -> Option<usize> {
        const SHORTEST: usize = 5;
        let (&last, others) = shown.split_last()?;
        if others.is_empty() || self.width_of(shown) <= width {
            return None;
        }
        let used = self.width_of(others) + GAP;
        Some(width.saturating_sub(used).max(SHORTEST).min(self.width(last)))
    }

    fn width_of(&self, shown: &[usize]) -> usize {
        let cells: usize = shown.iter().map(|&index| self.width(index)).sum();
        cells + GAP * shown.len().saturating_sub(1)
    }

    fn width(&self, index: usize) -> usize {
        let heading = if self.layout.no_headers { 0 } else { self.columns[index].heading().len() };
        self.rows.iter().map(|row| row[index].width()).max().unwrap_or(0).max(heading)
    }

    fn draw(&self, shown: &[usize], last_max: Option<usize>, color: bool) -> String {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING);
        let mut headings = Vec::new();
        if !self.layout.no_headers {
            headings = shown.iter().map(|&index| self.columns[index].heading()).collect();
            grid.set_header(headings.clone());
        }
        let rows: Vec<Vec<String>> = self.rows.iter().map(|row| cut(row, shown, last_max)).collect();
        for row in &rows {
            grid.add_row(row.iter().map(Cell::new));
        }
        for (at, &index) in shown.iter().enumerate() {
            if let Some(column) = grid.column_mut(at) {
                let gap = if at + 1 == shown.len() { 0 } else { GAP as u16 };
                column.set_padding((0, gap));
                if self.columns[index].right {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        let mut cells = rows.iter();
        let mut text = String::new();
        for (at, line) in grid.lines().enumerate() {
            let line = line.trim_end();
            let is_heading = at == 0 && !headings.is_empty();
            match (color, is_heading) {
                (true, true) => text.push_str(&format!("\x1b[1m{line}\x1b[0m")),
                (true, false) => text.push_str(&paint(line, cells.next())),
                (false, _) => text.push_str(line),
            }
            text.push('\n');
        }
        text
    }
}

/// Spaces between two columns.
const GAP: usize = 2;
/// What stands where there is nothing.
const EMPTY: &str = "-";

fn cell(column: &Column, item: &Value, moment: CellContext) -> String {
    let text = printable(&(column.cell)(item, moment));
    if text.is_empty() { EMPTY.to_owned() } else { text }
}

/// The cells of `row` that are shown, the last one shortened to `last_max`.
fn cut(row: &[String], shown: &[usize], last_max: Option<usize>) -> Vec<String> {
    let mut cells: Vec<String> = shown.iter().map(|&index| row[index].clone()).collect();
    if let (Some(max), Some(last)) = (last_max, cells.last_mut()) {
        *last = shorten(last, max);
    }
    cells
}

/// `text` with its middle replaced by an ellipsis when it takes more than `max` columns of the terminal.
fn shorten(text: &str, max: usize) -> String {
    if text.width() <= max {
        return text.to_owned();
    }
    let kept = max.saturating_sub(1);
    let head = within(text.chars(), kept.div_ceil(2));
    let tail = within(text.chars().rev(), kept / 2);
    format!("{head}…{}", tail.chars().rev().collect::<String>())
}

/// Colours the words of a row that say how a thing is.
fn paint(line: &str, cells: Option<&Vec<String>>) -> String {
    let mut painted = String::with_capacity(line.len());
    let mut rest = line;
    for cell in cells.into_iter().flatten() {
        let Some(at) = rest.find(cell.as_str()) else { break };
        let (before, from) = rest.split_at(at);
        painted.push_str(before);
        match tint(cell) {
            Some(code) => painted.push_str(&format!("\x1b[{code}m{cell}\x1b[0m")),
            None => painted.push_str(cell),
        }
        rest = &from[cell.len()..];
    }
    painted.push_str(rest);
    painted
}

/// The colour of a word; the word itself always says the same.
fn tint(cell: &str) -> Option<&'static str> {
    let first = cell.split(',').next().unwrap_or(cell);
    match first {
        "alive" | "running" | "pass" if first == cell => Some("32"),
        "alive" | "suspect" | "paused" | "warn" => Some("33"),
        "dead" | "killed" | "fail" => Some("31"),
        "left" => Some("2"),
        _ => None,
    }
}

/// The columns the layout asks for; all of them when it asks for none.
fn chosen(columns: &[Column], layout: &TableLayout) -> Result<Vec<Column>, CliError> {
    if layout.columns.is_empty() {
        return Ok(columns.to_vec());
    }
    layout.columns.iter().map(|name| find(columns, name, "--columns").copied()).collect()
}

/// The column called `name`, whatever its case and whether it is written with `-`, `_` or a space.
///
/// # Errors
/// Usage, with the names there are.
pub(crate) fn find<'a>(columns: &'a [Column], name: &str, flag: &str) -> Result<&'a Column, CliError> {
    let wanted = name.trim().to_ascii_lowercase().replace(['_', ' '], "-");
    columns.iter().find(|column| column.name == wanted).ok_or_else(|| {
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        CliError::usage(format!("there is no column `{name}` for {flag}"))
            .hint(format!("choose from {}", names.join(", ")))
    })
}

/// `--sort-by COL[:desc]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SortBy {
    pub column: String,
    pub descending: bool,
}

impl std::str::FromStr for SortBy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (column, order) = text.split_once(':').unwrap_or((text, "asc"));
        let descending = match order {
            "asc" => false,
            "desc" => true,
            other => return Err(format!("`{other}` is no order: write `{column}:asc` or `{column}:desc`")),
        };
        Ok(Self { column: column.to_owned(), descending })
    }
}

/// Sorts `items` by a column; equal ones stay in the order of the column before all others.
///
/// # Errors
/// Usage, when there is no such column.
pub(crate) fn sort(columns: &[Column], items: &mut [Value], by: &SortBy) -> Result<(), CliError> {
    let column = find(columns, &by.column, "--sort-by")?;
    let first = columns.first().unwrap_or(column);
    let moment = CellContext { now_ms: None, absolute: true };
    let text = |column: &Column, item: &Value| (column.cell)(item, moment);
    let compare = |a: &Value, b: &Value| match column.rank {
        Some(rank) => rank(a).partial_cmp(&rank(b)).unwrap_or(Ordering::Equal),
        None => text(column, a).cmp(&text(column, b)),
    };
    items.sort_by(|a, b| {
        let order = if by.descending { compare(b, a) } else { compare(a, b) };
        order.then_with(|| text(first, a).cmp(&text(first, b)))
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: &[Column] = &[
        Column::new("id", |item, _| item["id"].as_str().unwrap_or_default().to_owned()).keep(),
        Column::new("status", |item, _| item["status"].as_str().unwrap_or_default().to_owned()).keep(),
        Column::new("zone", |item, _| item["zone"].as_str().unwrap_or_default().to_owned()),
        Column::new("rtt", |item, _| item["rtt"].to_string())
            .number(|item| item["rtt"].as_f64().unwrap_or(f64::MAX)),
        Column::new("labels", |item, _| item["labels"].as_str().unwrap_or_default().to_owned()).wide(),
    ];

    fn items() -> Vec<Value> {
        vec![
            json!({"id": "relay-a7f3-in-a-long-row", "status": "alive", "zone": "eu-west-1a", "rtt": 10.5, "labels": "tier=std"}),
            json!({"id": "relay-b119", "status": "alive,cordoned", "zone": "", "rtt": 2.0, "labels": ""}),
        ]
    }

    fn render(layout: &TableLayout, wide: bool, width: Option<usize>) -> RenderedTable {
        let moment = CellContext { now_ms: None, absolute: false };
        let screen = StdoutScreen { width, ..StdoutScreen::default() };
        TextTable::of(COLUMNS, &items(), moment, layout).unwrap().render(wide, screen)
    }

    #[test]
    fn pipe_is_never_cut() {
        let text = render(&TableLayout::default(), true, None);
        assert_eq!(
            text.lines,
            "\
ID                        STATUS          ZONE         RTT  LABELS
relay-a7f3-in-a-long-row  alive           eu-west-1a  10.5  tier=std
relay-b119                alive,cordoned  -            2.0  -
"
        );
    }

    #[test]
    fn what_is_wide_takes_two_columns_and_what_combines_none() {
        assert_eq!(shorten("注文台帳の名前", 9), "注文…名前");
        assert_eq!(shorten("e\u{301}e\u{301}e\u{301}", 3), "e\u{301}e\u{301}e\u{301}");
        assert!(shorten("注文台帳の名前", 6).width() <= 6);
    }

    #[test]
    fn a_column_that_says_nothing_is_left_out_unless_it_is_asked_for() {
        let columns = [COLUMNS[0], Column::new("zone", |_, _| String::new()).seldom()];
        let items = [json!({"id": "a"})];
        let moment = CellContext { now_ms: None, absolute: false };
        let shown = |columns: &[Column], layout: &TableLayout, wide| {
            let table = TextTable::of(columns, &items, moment, layout).unwrap();
            table.render(wide, StdoutScreen::default()).lines.lines().next().unwrap().to_owned()
        };
        assert_eq!(shown(&columns, &TableLayout::default(), false), "ID");
        assert_eq!(shown(&columns, &TableLayout::default(), true), "ID  ZONE");
        let asked = TableLayout { columns: vec!["zone".into()], ..TableLayout::default() };
        assert_eq!(shown(&columns, &asked, false), "ZONE");
        let full = [COLUMNS[0], Column::new("zone", |_, _| "x".to_owned()).seldom()];
        assert_eq!(shown(&full, &TableLayout::default(), false), "ID  ZONE");
    }

    #[test]
    fn narrow_terminal_loses_columns_from_the_right() {
        let text = render(&TableLayout::default(), true, Some(60));
        assert_eq!(text.hidden.len(), 1);
        assert!(text.lines.lines().next().unwrap().ends_with("RTT"), "{}", text.lines);
        let text = render(&TableLayout::default(), true, Some(45));
        assert_eq!(text.hidden.len(), 3);
        assert!(text.lines.starts_with("ID                        STATUS\n"), "{}", text.lines);
    }

    #[test]
    fn id_stays_whole_and_the_last_column_is_shortened_in_the_middle() {
        let text = render(&TableLayout::default(), false, Some(36));
        assert_eq!(
            text.lines,
            "\
ID                        STATUS
relay-a7f3-in-a-long-row  alive
relay-b119                alive…oned
"
        );
        let text = render(&TableLayout::default(), false, Some(4));
        assert!(text.lines.contains("relay-a7f3-in-a-long-row"), "{}", text.lines);
    }

    #[test]
    fn long_texts_are_shortened_before_columns_are_dropped() {
        let columns = [
            Column::new("why", |item, _| item["id"].as_str().unwrap_or_default().to_owned())
                .keep()
                .at_most(9),
            COLUMNS[2],
        ];
        let moment = CellContext { now_ms: None, absolute: false };
        let table = TextTable::of(&columns, &items(), moment, &TableLayout::default()).unwrap();
        let at = |width| table.render(false, StdoutScreen { width, ..StdoutScreen::default() });
        assert_eq!(at(Some(24)).lines, "WHY        ZONE\nrela…-row  eu-west-1a\nrela…b119  -\n");
        assert_eq!(at(Some(24)).hidden, Vec::<&str>::new());
        assert!(at(Some(60)).lines.contains("relay-a7f3-in-a-long-row"), "there is room for all of it");
        assert!(at(None).lines.contains("relay-a7f3-in-a-long-row"));
    }

    #[test]
    fn chosen_columns_are_shown_whatever_the_width() {
        let layout = TableLayout {
            columns: vec!["RTT".into(), "id".into()],
            no_headers: true,
            ..TableLayout::default()
        };
        let text = render(&layout, false, Some(10));
        assert_eq!(text.lines, "10.5  relay-a7f3-in-a-long-row\n 2.0  relay-b119\n");
    }

    #[test]
    fn unknown_column_names_those_there_are() {
        let layout = TableLayout { columns: vec!["nope".into()], ..TableLayout::default() };
        let moment = CellContext { now_ms: None, absolute: false };
        let error = TextTable::of(COLUMNS, &[], moment, &layout).unwrap_err();
        assert!(error.to_text().contains("choose from id, status, zone"), "{}", error.to_text());
    }

    #[test]
    fn numbers_sort_as_numbers() {
        let mut items = items();
        sort(COLUMNS, &mut items, &"rtt".parse().unwrap()).unwrap();
        assert_eq!(items[0]["id"], "relay-b119");
        sort(COLUMNS, &mut items, &"rtt:desc".parse().unwrap()).unwrap();
        assert_eq!(items[1]["id"], "relay-b119");
        assert!("rtt:down".parse::<SortBy>().is_err());
    }

    #[test]
    fn colour_marks_words_and_changes_no_other_byte() {
        let moment = CellContext { now_ms: None, absolute: false };
        let table = TextTable::of(COLUMNS, &items(), moment, &TableLayout::default()).unwrap();
        let plain = table.render(false, StdoutScreen::default()).lines;
        let colored = table.render(false, StdoutScreen { color: true, ..StdoutScreen::default() }).lines;
        assert!(colored.contains("\x1b[32malive\x1b[0m"), "{colored}");
        let stripped = colored.replace("\x1b[32m", "").replace("\x1b[33m", "").replace("\x1b[1m", "");
        assert_eq!(stripped.replace("\x1b[0m", ""), plain);
    }
}
