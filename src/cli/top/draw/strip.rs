//! Strip of the shards of a namespace: a letter for each owner, a sign for what is not well.

use std::collections::BTreeMap;

use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr as _;

use super::canvas::{Canvas, Theme};
use super::part;
use crate::top::cells::{Row, Tone};
use crate::top::model::listing::Listing;
use crate::top::views::shard;

/// Columns before the first shard.
const BEFORE: u16 = 3;
/// Shards between two gaps.
const GROUP: usize = 10;
const LETTERS: &[u8; 26] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Owners in the order of their names, and how many shards each has.
fn owners(list: &Listing) -> BTreeMap<&str, usize> {
    let mut owners = BTreeMap::new();
    for row in list.rows.iter().filter(|row| row.said(shard::OWNER) != "-") {
        *owners.entry(row.said(shard::OWNER)).or_insert(0) += 1;
    }
    owners
}

/// Letter of the owner at this place; those behind the last letter have one in common.
fn letter(place: usize) -> String {
    LETTERS.get(place).map_or('?', |&letter| char::from(letter)).to_string()
}

/// Place of each owner: that of its node among all, so that its letter stays when another one loses its shards.
fn places<'a>(owners: &BTreeMap<&'a str, usize>, nodes: &'a [String]) -> BTreeMap<&'a str, usize> {
    let known = nodes.iter().map(String::as_str).take(LETTERS.len());
    let unknown = owners.keys().copied().filter(|owner| !nodes.iter().any(|node| node == owner));
    known.chain(unknown).enumerate().map(|(place, owner)| (owner, place)).collect()
}

fn sign(row: &Row, places: &BTreeMap<&str, usize>, theme: Theme) -> (String, Style) {
    if row.tone == Tone::Bad {
        return (theme.pick("✗", "x").to_owned(), theme.of(Tone::Bad));
    }
    if !row.said(shard::FOLLOWS).is_empty() || row.said(shard::STATUS).starts_with("draining") {
        return (theme.pick("→", ">").to_owned(), theme.of(Tone::Warn));
    }
    if row.tone == Tone::Held {
        return (theme.pick("‖", "=").to_owned(), theme.of(Tone::Held));
    }
    let place = places.get(row.said(shard::OWNER)).copied().unwrap_or(LETTERS.len());
    (letter(place), theme.owner(place))
}

/// How many shards have room in a row of a strip.
fn per_row(width: u16) -> usize {
    let room = usize::from(width.saturating_sub(BEFORE));
    // Each group takes a gap more.
    (room / (GROUP + 1) * GROUP).max(room.min(GROUP)).max(1)
}

/// Rows that the strip wants: of the shards, and one of their owners.
pub(super) fn height(list: &Listing, width: u16) -> u16 {
    if list.rows.is_empty() { 0 } else { list.rows.len().div_ceil(per_row(width)) as u16 + 1 }
}

/// Draws the strip, the selected shard underlined.
pub(super) fn draw(canvas: &mut Canvas, area: Rect, list: &Listing, nodes: &[String], is_focused: bool) {
    let theme = canvas.theme;
    let owners = owners(list);
    let places = places(&owners, nodes);
    let (each, rows) = (per_row(area.width), area.height.saturating_sub(1));
    let selected = list.selected_row().map(|row| row.id.as_str()).filter(|_| is_focused && !theme.still);
    let shown = usize::from(rows) * each;
    for (place, row) in list.rows.iter().take(shown).enumerate() {
        let (sign, mut style) = sign(row, &places, theme);
        if selected == Some(row.id.as_str()) {
            style = style.add_modifier(ratatui::style::Modifier::REVERSED);
        }
        let column = place % each;
        let at = BEFORE as usize + column + column / GROUP;
        canvas.put(area, (place / each) as u16, at as u16, &sign, style);
    }
    if let Some(row) = area.height.checked_sub(1) {
        legend(canvas, part(area, row, 1), list, (&owners, &places), shown);
    }
}

/// Says whose letters these are, and which shards are not shown.
fn legend(
    canvas: &mut Canvas,
    area: Rect,
    list: &Listing,
    (owners, places): (&BTreeMap<&str, usize>, &BTreeMap<&str, usize>),
    shown: usize,
) {
    let theme = canvas.theme;
    let all = list.total.unwrap_or(list.rows.len() as u64);
    let hidden = all.saturating_sub(list.rows.len().min(shown) as u64);
    let more = if hidden > 0 { format!("{hidden} more: 4  ") } else { String::new() };
    let mut column = canvas.put(area, 0, BEFORE, &more, theme.dim());
    for (owner, count) in owners {
        let place = places.get(owner).copied().unwrap_or(LETTERS.len());
        let count = if list.is_whole() { format!(" {count}  ") } else { "  ".to_owned() };
        let width = (1 + 1 + owner.width() + count.width()) as u16;
        if column + width + 2 > area.width {
            canvas.put(area, 0, column, theme.pick("…", "..."), theme.dim());
            return;
        }
        column = canvas.line(
            area,
            0,
            column,
            &[
                (&letter(place), theme.owner(place)),
                (" ", theme.plain()),
                (owner, theme.dim()),
                (&count, theme.dim()),
            ],
        );
    }
}
