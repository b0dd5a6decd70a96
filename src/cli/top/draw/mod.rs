//! Drawing: what the model has, on a screen of any size. It asks nobody and changes nothing but how far is scrolled.

mod canvas;
mod overview;
mod rows;
mod strip;
#[cfg(test)]
mod tests;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr as _;

use self::canvas::Canvas;
pub(super) use self::canvas::Theme;
pub(super) use self::overview::still_height;
use super::cells::Tone;
use super::model::drawer::{Drawer, DrawerKind};
use super::model::{Link, Prompt, TopModel};
use super::views::{ListKind, View};
use crate::frame::prelude::*;

/// Least columns and rows that anything is drawn on.
const LEAST: (u16, u16) = (20, 4);
/// A drawer is beside its view from this width on.
const WIDE: u16 = 140;
/// Before the rest of a line that is broken.
const INDENT: &str = "    ";
/// Help stands in two columns from this width on.
const TWO_COLUMNS: u16 = 76;
/// Columns of the left half.
const HELP_LEFT: u16 = 46;

/// Draws everything.
pub(super) fn draw(model: &mut TopModel, buffer: &mut Buffer, now_ms: i64, theme: Theme) {
    let area = buffer.area;
    let mut canvas = Canvas::new(buffer, theme);
    if area.width < LEAST.0 || area.height < LEAST.1 {
        canvas.put(area, 0, 0, "too small", theme.plain());
        return;
    }
    head(&mut canvas, part(area, 0, 1), model, now_ms);
    if theme.still {
        overview::draw(&mut canvas, part(area, 1, area.height - 1), model, now_ms);
        return;
    }
    let (mut body, last) = (part(area, 1, area.height - 2), part(area, area.height - 1, 1));
    if let Some(drawer) = &mut model.drawer {
        let beside = area.width >= WIDE && drawer.kind != DrawerKind::Help;
        let place = if beside { side(body, body.width / 2) } else { body };
        draw_drawer(&mut canvas, place, drawer);
        model.page_rows = usize::from(place.height.saturating_sub(1));
        body.width = if beside { body.width / 2 - 1 } else { 0 };
    }
    if body.width > 0 {
        match model.view {
            View::Overview => overview::draw(&mut canvas, body, model, now_ms),
            View::List(_) => list(&mut canvas, body, model, now_ms),
            View::Events => events(&mut canvas, body, model),
        }
    }
    last_line(&mut canvas, last, model, now_ms);
}

/// Rows of an area, from one on.
fn part(area: Rect, row: u16, height: u16) -> Rect {
    let row = row.min(area.height);
    Rect { y: area.y + row, height: height.min(area.height - row), ..area }
}

/// Right part of an area.
fn side(area: Rect, column: u16) -> Rect {
    Rect { x: area.x + column, width: area.width - column, ..area }
}

/// `dev · node-1 · rev 48213 · live            5 peers 4✓ 1✗   3 leaders   61/64 shards`
fn head(canvas: &mut Canvas, area: Rect, model: &TopModel, now_ms: i64) {
    let theme = canvas.theme;
    let (sign, state, tone) = state(model, now_ms, theme);
    let name = if model.context.is_empty() { &model.cluster } else { &model.context };
    let revision = model.cursor.split_once(':').map_or("", |(_, revision)| revision);
    let revision = revision.split(',').next().unwrap_or_default();
    let dot = theme.pick(" · ", " - ");
    let name = printable(name);
    let mut spans = vec![(name.as_str(), theme.strong()), (dot, theme.dim()), (&model.node, theme.plain())];
    let revision = format!("rev {revision}");
    if area.width >= 60 {
        spans.extend([(dot, theme.dim()), (&revision, theme.dim())]);
    }
    spans.extend([(dot, theme.dim()), (sign, theme.of(tone)), (&state, theme.words(tone))]);
    if model.wrong_only && model.list.is_none() {
        spans.extend([(dot, theme.dim()), ("only what is wrong", theme.of(Tone::Held))]);
    }
    let column = canvas.line(area, 0, 0, &spans);
    // Where there is little room those of the peers are left.
    let counts = counts(model);
    let spans: Vec<(&str, _)> =
        counts.iter().map(|(text, tone)| (text.as_str(), theme.words(*tone))).collect();
    let room = usize::from(area.width.saturating_sub(column + 2));
    let width = |spans: &[(&str, _)]| spans.iter().map(|(text, _)| text.width()).sum::<usize>();
    let fitting = (0..=spans.len()).rev().find(|&kept| width(&spans[..kept]) <= room).unwrap_or(0);
    canvas.right(area, 0, column + 2, &spans[..fitting]);
}

/// How the data is: live, behind, stale, frozen, or of another time.
fn state(model: &TopModel, now_ms: i64, theme: Theme) -> (&'static str, String, Tone) {
    let age =
        |since_ms: i64| time::short(std::time::Duration::from_millis((now_ms - since_ms).max(0) as u64));
    if let Some(travel) = model.travel {
        let before = (model.daemon_ms(now_ms) - travel.at_ms).max(0) as u64;
        let before = time::short(std::time::Duration::from_millis(before));
        let said = format!("as of {}, {before} ago", time::of_day(travel.at_ms));
        return (theme.pick("↶ ", "< "), said, Tone::Held);
    }
    if let Some((at_ms, count)) = model.frozen {
        let since = model.news.count - count;
        let since = if since > 0 { format!(", {since} since") } else { String::new() };
        return (theme.pick("‖ ", "= "), format!("frozen {}{since}", time::of_day(at_ms)), Tone::Held);
    }
    match (&model.link, model.stale) {
        (Link::Connecting, _) => (theme.pick("○ ", "o "), "connecting".to_owned(), Tone::Quiet),
        (Link::Behind { since_ms, .. }, _) => {
            (theme.pick("○ ", "o "), format!("behind {}", age(*since_ms)), Tone::Warn)
        }
        (Link::Live, Some((said_ms, stale_ms))) => {
            let since = said_ms.saturating_sub(stale_ms as i64);
            (theme.pick("◌ ", "o "), format!("stale {}", age(since)), Tone::Warn)
        }
        (Link::Live, None) => (theme.pick("● ", "* "), "live".to_owned(), Tone::Good),
    }
}

/// Counts of the head, each with how it is.
fn counts(model: &TopModel) -> Vec<(String, Tone)> {
    let mut counts = Vec::new();
    if model.listed(ListKind::Peers).is_some_and(|list| list.known) {
        let peers = model.peer_counts();
        counts.push((count(peers.total, "peer"), Tone::Good));
        let parts = peers.health.map(|health| {
            [
                (health.alive, Tone::Good),
                (health.suspect, Tone::Warn),
                (health.dead, Tone::Bad),
                (health.gone, Tone::Quiet),
            ]
        });
        for (number, tone) in parts.into_iter().flatten().filter(|(number, _)| *number > 0) {
            counts.push((format!(" {number}{}", tone.sign(true)), tone));
        }
    }
    if let Some(leaders) = model.listed(ListKind::Leaders).filter(|list| list.known) {
        let total = leaders.count();
        let led = leaders.rows.iter().filter(|row| row.tone != Tone::Bad).count() as u64;
        let said =
            if leaders.is_whole() { format!("   {led}/{total} led") } else { format!("   {total} scopes") };
        let is_led = !leaders.is_whole() || led == total.number;
        counts.push((said, if is_led { Tone::Good } else { Tone::Bad }));
    }
    if model.listed(ListKind::Namespaces).is_some_and(|list| list.known && !list.rows.is_empty()) {
        let (owned, all) = model.shard_counts();
        counts.push((
            format!("   {}/{all} shards", owned.number),
            if owned == all { Tone::Good } else { Tone::Bad },
        ));
    }
    counts
}

/// Draws a list that fills the screen.
fn list(canvas: &mut Canvas, area: Rect, model: &mut TopModel, now_ms: i64) {
    let theme = canvas.theme;
    let moment = model.moment(now_ms);
    let digit = digit(model, model.view).to_owned();
    let (namespaces, nodes) = (model.namespaces().len(), model.nodes());
    let Some(list) = &mut model.list else { return };
    let spec = list.kind.spec();
    let title = format!("{digit} {}", spec.noun.to_uppercase());
    let number = if list.known { format!("  {}", list.count()) } else { "  asking".to_owned() };
    let column = canvas.line(area, 0, 0, &[(&title, theme.strong()), (&number, theme.plain())]);
    let dot = theme.pick("  ·  ", "  -  ");
    let said: String = described(list).iter().map(|part| format!("{dot}{part}")).collect();
    canvas.put(area, 0, column, &said, theme.of(Tone::Held));
    let mut row = 1;
    if let Some(error) = &list.error {
        canvas.put(area, row, 0, &format!("{} {error}", Tone::Bad.sign(theme.unicode)), theme.of(Tone::Bad));
        row += 1;
    }
    let is_of_one = !list.namespace.is_empty() || namespaces == 1;
    if list.kind == ListKind::Shards && area.height >= 16 && is_of_one {
        let height = strip::height(list, area.width).min(area.height / 4);
        strip::draw(canvas, part(area, row, height), list, &nodes, true);
        row += height;
    }
    let all: Vec<usize> = (0..spec.columns.len()).collect();
    let columns = rows::fitting(list, &all, usize::from(area.width));
    rows::heading(canvas, part(area, row, 1), "", list, &columns);
    let body = part(area, row + 1, area.height.saturating_sub(row + 1));
    rows::rows(canvas, body, list, &columns, (moment, true));
    if list.known && list.shown.is_empty() && list.error.is_none() {
        let said = if described(list).is_empty() { "there are none" } else { "none fits" };
        canvas.put(body, 0, 3, said, theme.dim());
    }
    model.page_rows = usize::from(body.height).saturating_sub(1);
}

/// What of a list is shown, and how it is sorted.
fn described(list: &super::model::listing::Listing) -> Vec<String> {
    let spec = list.kind.spec();
    let mut parts = Vec::new();
    if !list.namespace.is_empty() {
        parts.push(format!("namespace {}", printable(&list.namespace)));
    }
    if !list.filter.typed.is_empty() {
        parts.push(printable(&list.filter.typed));
    }
    if list.wrong_only {
        parts.push("only what is wrong".to_owned());
    }
    if list.filtered_here() {
        parts.push(format!("{} of the {} that are here", list.shown.len(), list.rows.len()));
    }
    if let (Some((order, _)), true) = (spec.orders.get(list.order.0), list.order != (0, false)) {
        let turned = if list.order.1 { ", descending" } else { "" };
        parts.push(format!("by {}{turned}", order.replace('_', " ")));
    }
    parts
}

/// Draws all events.
fn events(canvas: &mut Canvas, area: Rect, model: &mut TopModel) {
    let theme = canvas.theme;
    let title = format!("{} EVENTS", digit(model, View::Events));
    let shown = model.shown_news().count();
    let column = canvas.line(area, 0, 0, &[(&title, theme.strong()), (&format!("  {shown}"), theme.plain())]);
    if !model.news_filter.is_empty() {
        let said = format!("  ·  {}  ·  of the newest that are here", printable(&model.news_filter));
        canvas.put(area, 0, column, &said, theme.of(Tone::Held));
    }
    let body = part(area, 1, area.height.saturating_sub(1));
    overview::news(canvas, body, model, true);
    model.page_rows = usize::from(body.height).saturating_sub(1);
}

/// Digit of a view.
fn digit(model: &TopModel, view: View) -> &str {
    model.keys.views.iter().find(|known| known.name == view.name()).map_or("", |known| known.key.as_str())
}

fn draw_drawer(canvas: &mut Canvas, area: Rect, drawer: &mut Drawer) {
    let theme = canvas.theme;
    let title = format!(" {} ", drawer.title);
    let rule = theme.pick("─", "-").repeat(usize::from(area.width));
    canvas.put(area, 0, 0, &rule, theme.dim());
    canvas.put(area, 0, 2, &title, theme.strong());
    canvas.right(area, 0, (title.width() + 4) as u16, &[(" Esc closes ", theme.dim())]);
    let body = part(area, 1, area.height.saturating_sub(1));
    let Some(lines) = &drawer.lines else {
        canvas.put(body, 0, 2, "asking", theme.dim());
        return;
    };
    if drawer.kind == DrawerKind::Help && body.width >= TWO_COLUMNS {
        let each = lines.len().div_ceil(2);
        for (place, line) in lines.iter().enumerate() {
            let half = side(body, if place < each { 0 } else { HELP_LEFT });
            canvas.put(half, (place % each) as u16, 2, &line.text, theme.words(line.tone));
        }
        return;
    }
    let width = usize::from(body.width.saturating_sub(3)).max(10);
    let wrapped: Vec<(String, Tone)> = lines
        .iter()
        .flat_map(|line| wrapped(&line.text, width).into_iter().map(|text| (text, line.tone)))
        .collect();
    drawer.top = drawer.top.min(wrapped.len().saturating_sub(usize::from(body.height)));
    for (row, (text, tone)) in wrapped.iter().skip(drawer.top).take(usize::from(body.height)).enumerate() {
        if tone.is_wrong() {
            canvas.put(body, row as u16, 0, tone.sign(theme.unicode), theme.of(*tone));
        }
        canvas.put(body, row as u16, 2, text, theme.words(*tone));
    }
}

/// Text in lines of so many columns, broken between words where that is possible.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    let mut indent = "";
    while rest.width() + indent.width() > width {
        let fits = crate::frame::screen::within(rest.chars(), width - indent.width());
        // A character wider than the screen is not drawn, and ends nothing.
        let cut = if fits.is_empty() { rest.chars().next().map_or(1, char::len_utf8) } else { fits.len() };
        let space = rest[..cut].rfind(' ').filter(|space| *space > width / 2);
        let end = space.unwrap_or(cut);
        lines.push(format!("{indent}{}", &rest[..end]));
        rest = rest[end..].trim_start();
        indent = INDENT;
        if lines.len() > 100 {
            break;
        }
    }
    lines.push(format!("{indent}{rest}"));
    lines
}

/// The last line: what is typed, what is said, or the command for what is selected.
fn last_line(canvas: &mut Canvas, area: Rect, model: &TopModel, now_ms: i64) {
    let theme = canvas.theme;
    match &model.prompt {
        Some(Prompt::Filter(typed)) => return prompt(canvas, area, "/", typed, &filter_hint(model)),
        Some(Prompt::View(typed)) => {
            let names: Vec<&str> = model.keys.views.iter().map(|view| view.name.as_str()).collect();
            return prompt(canvas, area, ":", typed, &names.join(" "));
        }
        None => {}
    }
    if let Some(note) = model.note(now_ms) {
        canvas.put(area, 0, 0, note, theme.of(Tone::Held));
        return;
    }
    let command = model.command();
    let column = canvas.line(area, 0, 0, &[("$ ", theme.dim()), (&printable(&command), theme.plain())]);
    let keys =
        [("c", theme.strong()), (" copy  ", theme.dim()), ("?", theme.strong()), (" help", theme.dim())];
    canvas.right(area, 0, column + 2, &keys);
}

fn filter_hint(model: &TopModel) -> String {
    match &model.list {
        Some(list) if !list.kind.spec().filters.is_empty() => {
            format!("text, or {}=…", list.kind.spec().filters.join("= "))
        }
        Some(_) | None => "text".to_owned(),
    }
}

fn prompt(canvas: &mut Canvas, area: Rect, sign: &str, typed: &str, hint: &str) {
    let theme = canvas.theme;
    let typed = printable(typed);
    let block = theme.strong().add_modifier(ratatui::style::Modifier::REVERSED);
    let spans = [(sign, theme.strong()), (typed.as_str(), theme.plain()), (" ", block)];
    let column = canvas.line(area, 0, 0, &spans);
    canvas.put(area, 0, column + 2, hint, theme.dim());
}
