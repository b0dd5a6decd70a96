//! Overview: what is wrong, peers beside leaders, a strip of shards, and what happened.

use ratatui::layout::Rect;
use ratatui::style::Modifier;
use unicode_width::UnicodeWidthStr as _;

use super::canvas::Canvas;
use super::{digit, part, rows, side, strip};
use crate::frame::prelude::*;
use crate::top::cells::{Tone, padded};
use crate::top::model::news::NewsItem;
use crate::top::model::{Link, Pane, TopModel};
use crate::top::views::{ListKind, View, namespace};

/// Leaders stand beside peers from this width on.
const BESIDE: u16 = 70;
/// Columns of a line of an event before what happened.
const CLOCK: usize = 8;
/// Columns of peers and leaders on the overview.
const PEERS: [usize; 6] = [0, 1, 2, 3, 4, 5];
const LEADERS: [usize; 4] = [0, 1, 3, 2];
/// Rows of events beyond the fewest, so that there is room for gaps.
const EVENTS_ROOMY: u16 = 3;
/// Events of a screen that does not move.
const STILL_EVENTS: usize = 8;

/// Heights of the parts, from the top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Heights {
    problems: u16,
    peers: u16,
    /// Below the peers, where there is no room beside them.
    leaders: u16,
    strip: u16,
    counts: u16,
    events: u16,
    /// Rows between two parts.
    gap: u16,
}

/// Lines that say what is wrong.
fn problem_lines(model: &TopModel) -> u16 {
    let behind = u16::from(matches!(model.link, Link::Behind { .. }) || model.check_error.is_some());
    let failed = model.lists.values().filter(|list| list.error.is_some()).count().min(1) as u16;
    (model.problems.len() as u16).saturating_add(behind + failed).max(1)
}

fn shown(model: &TopModel, kind: ListKind) -> u16 {
    model.listed(kind).map_or(0, |list| u16::try_from(list.shown.len()).unwrap_or(u16::MAX))
}

/// Distributes the rows: what is wrong first, the rest goes to the events.
fn heights(model: &TopModel, area: Rect) -> Heights {
    let (peers, leaders) = (shown(model, ListKind::Peers).max(1), shown(model, ListKind::Leaders).max(1));
    let beside = area.width >= BESIDE;
    let strip = model.listed(ListKind::Shards).map_or(0, |list| strip::height(list, area.width));
    let strip = if strip > 0 { strip.saturating_add(1) } else { 0 };
    let mut left = area.height;
    let mut take = |wanted: u16, most: u16| {
        let taken = wanted.min(most).min(left);
        left -= taken;
        taken
    };
    let problems = take(problem_lines(model), (area.height / 5).max(1));
    let counts = take(1, 1);
    let events_least = take(3, 3);
    let most = (area.height / 3).max(3);
    let peers = take(if beside { peers.max(leaders) } else { peers }.saturating_add(1), most);
    let leaders_below = if beside { 0 } else { take(leaders.saturating_add(1), (most / 2).max(2)) };
    let strip = take(strip, (area.height / 4).max(3));
    // Where there is room to spare, parts stand apart.
    let gaps = 3 + u16::from(strip > 0) + u16::from(leaders_below > 0);
    let gap = u16::from(left >= gaps + EVENTS_ROOMY);
    let events = events_least + left - gap * gaps;
    Heights { problems, peers, leaders: leaders_below, strip, counts, events, gap }
}

/// Rows that everything has room in, for a screen that does not move.
pub(in crate::top) fn still_height(model: &TopModel, width: u16) -> u16 {
    let (peers, leaders) = (shown(model, ListKind::Peers).max(1), shown(model, ListKind::Leaders).max(1));
    let tables = if width >= BESIDE { peers.max(leaders) + 1 } else { peers + leaders + 2 };
    let strip = model.listed(ListKind::Shards).map_or(0, |list| strip::height(list, width));
    let strip = if strip > 0 { strip + 1 } else { 0 };
    let events = model.shown_news().count().min(STILL_EVENTS) as u16;
    1 + problem_lines(model) + tables + strip + 1 + if events > 0 { events + 1 } else { 0 }
}

/// Heights of a screen that has room for everything.
fn still_heights(model: &TopModel, area: Rect) -> Heights {
    let beside = area.width >= BESIDE;
    let (peers, leaders) = (shown(model, ListKind::Peers).max(1), shown(model, ListKind::Leaders).max(1));
    let strip = model.listed(ListKind::Shards).map_or(0, |list| strip::height(list, area.width));
    let mut heights = Heights {
        problems: problem_lines(model),
        peers: if beside { peers.max(leaders) + 1 } else { peers + 1 },
        leaders: if beside { 0 } else { leaders + 1 },
        strip: if strip > 0 { strip + 1 } else { 0 },
        counts: 1,
        events: 0,
        gap: 0,
    };
    let used = heights.problems + heights.peers + heights.leaders + heights.strip + heights.counts;
    heights.events = area.height.saturating_sub(used);
    heights
}

/// Draws it.
pub(super) fn draw(canvas: &mut Canvas, area: Rect, model: &mut TopModel, now_ms: i64) {
    let heights = if canvas.theme.still { still_heights(model, area) } else { heights(model, area) };
    let mut row = 0;
    let mut next = |height: u16| {
        let taken = part(area, row, height);
        row += height + if height > 0 { heights.gap } else { 0 };
        taken
    };
    problems(canvas, next(heights.problems), model);
    let table = next(heights.peers);
    if heights.leaders > 0 || area.width < BESIDE {
        peers(canvas, table, model, now_ms);
        leaders(canvas, next(heights.leaders), model, now_ms);
    } else {
        let split = split(model, area.width);
        peers(canvas, Rect { width: split - 2, ..table }, model, now_ms);
        leaders(canvas, side(table, split), model, now_ms);
    }
    shards(canvas, next(heights.strip), model);
    counts(canvas, next(heights.counts), model);
    events(canvas, next(heights.events), model);
    model.page_rows = usize::from(heights.peers).saturating_sub(2);
}

/// Column at which leaders begin: peers take what they need, and leaders have at least a third.
fn split(model: &TopModel, width: u16) -> u16 {
    let wanted = model
        .listed(ListKind::Peers)
        .map_or(0, |list| rows::fitting(list, &PEERS, usize::from(width * 5 / 8)).width() + 2);
    u16::try_from(wanted).unwrap_or(u16::MAX).clamp(width / 3, width - width / 3)
}

fn problems(canvas: &mut Canvas, area: Rect, model: &TopModel) {
    let theme = canvas.theme;
    let mut lines: Vec<(Tone, String, Option<usize>)> = Vec::new();
    if let Link::Behind { cause, .. } = &model.link {
        lines.push((Tone::Warn, format!("what is shown is behind: {}", printable(cause)), None));
    } else if let Some(error) = &model.check_error {
        lines.push((Tone::Warn, format!("the check could not be asked: {error}"), None));
    }
    let failed = model.lists.values().find_map(|list| Some((list.kind.spec().noun, list.error.as_ref()?)));
    if let Some((noun, error)) = failed {
        let said = match model.travel {
            Some(travel) => format!("{noun} at {}: {error}", time::of_day(travel.at_ms)),
            None => format!("{noun}: {error}"),
        };
        lines.push((Tone::Warn, said, None));
    }
    let found = model.problems.iter().enumerate().filter(|_| model.travel.is_none());
    lines.extend(found.map(|(place, problem)| (problem.tone, problem.message.clone(), Some(place))));
    if lines.is_empty() {
        let (sign, said) = match (model.checked, model.travel.is_some()) {
            (_, true) => (" ", "what was wrong then is not in the log"),
            (true, false) => (Tone::Good.sign(theme.unicode), "nothing is wrong"),
            (false, false) => (" ", "asking what is wrong"),
        };
        canvas.put(area, 0, 1, sign, theme.of(Tone::Good));
        canvas.put(area, 0, 3, said, theme.dim());
        return;
    }
    let room = usize::from(area.height);
    let focused = model.pane == Pane::Problems && !theme.still;
    let top = if focused { rows::scrolled(0, model.problem, room, lines.len()) } else { 0 };
    for (row, (tone, said, place)) in lines.iter().skip(top).take(room).enumerate() {
        let row = row as u16;
        if focused && *place == Some(model.problem) {
            canvas.put(area, row, 0, theme.pick("›", ">"), theme.strong());
        }
        canvas.put(area, row, 1, tone.sign(theme.unicode), theme.of(*tone));
        let column = canvas.put(area, row, 3, said, theme.words(*tone));
        let command = place.and_then(|place| model.problems.get(place)?.command());
        let command = command.map(|command| format!("   $ {command}")).unwrap_or_default();
        let room_beside = usize::from(area.width.saturating_sub(column));
        if command.width() <= room_beside && !theme.still {
            canvas.put(area, row, column, &command, theme.dim());
        }
        let more = lines.len().saturating_sub(top + room);
        if usize::from(row) + 1 == room && more > 0 {
            let said = format!("  {more} more: !  ");
            canvas.right(
                area,
                row,
                column.min(area.width.saturating_sub(said.len() as u16)),
                &[(&said, theme.dim())],
            );
        }
    }
}

fn peers(canvas: &mut Canvas, area: Rect, model: &mut TopModel, now_ms: i64) {
    table(canvas, area, model, (ListKind::Peers, Pane::Peers, &PEERS), now_ms);
}

fn leaders(canvas: &mut Canvas, area: Rect, model: &mut TopModel, now_ms: i64) {
    table(canvas, area, model, (ListKind::Leaders, Pane::Leaders, &LEADERS), now_ms);
}

fn table(
    canvas: &mut Canvas,
    area: Rect,
    model: &mut TopModel,
    (kind, pane, wanted): (ListKind, Pane, &[usize]),
    now_ms: i64,
) {
    if area.height == 0 {
        return;
    }
    let (moment, is_focused) = (model.moment(now_ms), model.pane == pane);
    let digit = digit(model, View::List(kind)).to_owned();
    let theme = canvas.theme;
    let Some(list) = model.lists.get_mut(&kind) else { return };
    let columns = rows::fitting(list, wanted, usize::from(area.width));
    rows::heading(canvas, part(area, 0, 1), &digit, list, &columns);
    let mut body = part(area, 1, area.height - 1);
    let total = list.total.unwrap_or(0);
    let room = u64::from(body.height);
    if total > room && body.height > 1 && list.shown.len() as u64 > room && !theme.still {
        body.height -= 1;
        let said = format!("   {} more: {digit}", total - u64::from(body.height));
        canvas.put(part(area, area.height - 1, 1), 0, 0, &said, theme.dim());
    }
    rows::rows(canvas, body, list, &columns, (moment, is_focused));
    if list.known && list.shown.is_empty() {
        let said = if list.rows.is_empty() { "there are none" } else { "none that is wrong" };
        canvas.put(body, 0, 3, said, theme.dim());
    }
}

fn shards(canvas: &mut Canvas, area: Rect, model: &TopModel) {
    let Some(list) = model.listed(ListKind::Shards).filter(|_| area.height > 0) else { return };
    let theme = canvas.theme;
    let namespaces = model.listed(ListKind::Namespaces);
    let row = namespaces.and_then(|known| known.rows.iter().find(|row| row.id == list.namespace));
    let heading = theme.dim().add_modifier(Modifier::BOLD);
    let digit = digit(model, View::List(ListKind::Shards));
    canvas.put(area, 0, 0, digit, theme.strong());
    let name = printable(&list.namespace);
    let mut column = canvas.line(area, 0, 3, &[("SHARDS  ", heading), (&name, theme.strong())]);
    for (place, word, tone) in [
        (namespace::SHARDS, "shards", Tone::Good),
        (namespace::UNOWNED, "unowned", Tone::Bad),
        (namespace::MOVING, "moving", Tone::Warn),
        (namespace::PAUSED, "paused", Tone::Held),
        (namespace::STATE, "", Tone::Good),
    ] {
        let said = row.map(|row| row.said(place)).unwrap_or_default();
        if !said.is_empty() {
            column = canvas.put(area, 0, column, &format!("  {said} {word}"), theme.words(tone));
        }
    }
    if namespaces.is_some_and(|known| known.rows.len() > 1) {
        let count = namespaces.map(|known| known.count()).unwrap_or_default();
        let said = format!("n: {count} namespaces");
        canvas.right(area, 0, column + 2, &[(&said, theme.dim())]);
    }
    strip::draw(canvas, part(area, 1, area.height - 1), list, &model.nodes(), model.pane == Pane::Shards);
}

/// `5 REGISTERS 12   6 RELAYS 1   DRONES 0   7 PLANS 1`
fn counts(canvas: &mut Canvas, area: Rect, model: &TopModel) {
    let theme = canvas.theme;
    let heading = theme.dim().add_modifier(Modifier::BOLD);
    let mut column = 0;
    for kind in [ListKind::Registers, ListKind::Relays, ListKind::Plans] {
        let Some(list) = model.listed(kind) else { continue };
        let number = if kind == ListKind::Plans { model.open_plan_count() } else { list.count() };
        let number = if list.known { number.to_string() } else { "-".to_owned() };
        let title = format!(
            "  {} ",
            if kind == ListKind::Plans { "OPEN PLANS".to_owned() } else { kind.spec().noun.to_uppercase() }
        );
        let spans =
            [(digit(model, View::List(kind)), theme.strong()), (&title, heading), (&number, theme.plain())];
        column = canvas.line(area, 0, column, &spans) + 4;
        if kind == ListKind::Relays {
            let drones = if list.known { model.agent_count().to_string() } else { "-".to_owned() };
            column = canvas.line(area, 0, column, &[("DRONES ", heading), (&drones, theme.plain())]) + 4;
        }
    }
}

fn events(canvas: &mut Canvas, area: Rect, model: &TopModel) {
    if area.height == 0 {
        return;
    }
    let theme = canvas.theme;
    canvas.put(area, 0, 0, digit(model, View::Events), theme.strong());
    canvas.put(area, 0, 3, "WHAT CHANGED", theme.dim().add_modifier(Modifier::BOLD));
    news(canvas, part(area, 1, area.height - 1), model, model.pane == Pane::Events);
}

/// Draws events below each other, the newest first.
pub(super) fn news(canvas: &mut Canvas, area: Rect, model: &TopModel, is_focused: bool) {
    let theme = canvas.theme;
    let shown: Vec<&NewsItem> = model.shown_news().collect();
    let top =
        if is_focused { rows::scrolled(0, model.event, usize::from(area.height), shown.len()) } else { 0 };
    for (row, item) in shown.iter().skip(top).take(usize::from(area.height)).enumerate() {
        let is_selected = is_focused && !theme.still && top + row == model.event;
        let more = if model.view == View::Overview { item.run } else { 0 };
        event_line(canvas, part(area, row as u16, 1), item, is_selected, more);
    }
    if shown.is_empty() && model.travel.is_some() {
        let since = model.news_since();
        canvas.put(area, 0, 3, "what happened before this began is not here; the log has it:", theme.dim());
        canvas.put(area, 1, 3, &format!("$ omnirelay events tail --since {since}"), theme.dim());
    } else if shown.is_empty() {
        canvas.put(area, 0, 3, "nothing in the last minutes", theme.dim());
    }
}

/// `14:03:11  shard/orders/12 modified  node-3 → node-1 unowned`
fn event_line(canvas: &mut Canvas, area: Rect, item: &NewsItem, is_selected: bool, more: u32) {
    let theme = canvas.theme;
    let words =
        if is_selected { theme.strong() } else { theme.words(item.tone).remove_modifier(Modifier::DIM) };
    if is_selected {
        canvas.put(area, 0, 0, theme.pick("›", ">"), theme.strong());
    }
    if item.tone.is_wrong() {
        canvas.put(area, 0, 1, item.tone.sign(theme.unicode), theme.of(item.tone));
    }
    let clock = padded(&time::of_day(item.at_ms), CLOCK, false);
    let verb = item.event.rsplit('.').next().unwrap_or_default();
    let subject = if item.subject.is_empty() { item.event.as_str() } else { item.subject.as_str() };
    let cause = item.cause();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let gap = if cause.is_empty() { "" } else { "  " };
    canvas.line(
        area,
        0,
        3,
        &[
            (&clock, theme.dim()),
            ("  ", theme.dim()),
            (subject, words),
            (" ", words),
            (verb, words),
            (&more, words),
            (gap, theme.dim()),
            (&cause, theme.of(Tone::Held)),
            ("  ", theme.dim()),
            (&item.what, theme.dim()),
        ],
    );
}
