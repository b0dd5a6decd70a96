//! Rows of a list: as many columns as there is room for, the selection marked.

use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::canvas::Canvas;
use crate::frame::table::CellContext;
use crate::top::cells::{Row, padded};
use crate::top::model::listing::Listing;

/// Columns before the first cell: the mark of the selection, the sign, a gap.
const BEFORE: usize = 3;
/// Columns between two cells, where there is room and where there is little.
pub(super) const GAP: usize = 2;
pub(super) const NARROW_GAP: usize = 1;

/// Columns that fit, each with its width, and what is between two of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowLayout {
    pub columns: Vec<(usize, usize)>,
    pub gap: usize,
}

impl RowLayout {
    /// Columns of a screen that all of it takes.
    pub(super) fn width(&self) -> usize {
        let cells: usize = self.columns.iter().map(|(_, width)| width + self.gap).sum();
        BEFORE + cells.saturating_sub(self.gap)
    }
}

/// Columns that fit, each with its width: those on the right go first. The last one has what is left.
pub(super) fn fitting(list: &Listing, wanted: &[usize], width: usize) -> RowLayout {
    let roomy = fitting_apart(list, wanted, width, GAP);
    let narrow = fitting_apart(list, wanted, width, NARROW_GAP);
    if narrow.columns.len() > roomy.columns.len() { narrow } else { roomy }
}

fn fitting_apart(list: &Listing, wanted: &[usize], width: usize, gap_each: usize) -> RowLayout {
    let columns = list.kind.spec().columns;
    let empty = |column: usize| {
        column > 0 && list.known && list.rows.iter().all(|row| matches!(&row.cells[column], crate::top::cells::Cell::Text(text) if text.is_empty() || text == "-"))
    };
    let mut fitting: Vec<(usize, usize)> = Vec::new();
    let mut used = BEFORE;
    for &column in wanted {
        if empty(column) {
            continue;
        }
        let own = list.widths.get(column).copied().unwrap_or(columns[column].title.len());
        let gap = if fitting.is_empty() { 0 } else { gap_each };
        if used + gap + own > width {
            let left = width.saturating_sub(used + gap);
            // The name and what is the matter are shortened; the others are left out.
            if fitting.len() < 2 && left >= 4 {
                fitting.push((column, left));
            }
            break;
        }
        used += gap + own;
        fitting.push((column, own));
    }
    RowLayout { columns: fitting, gap: gap_each }
}

/// Draws the heading, with the digit of the view before it.
pub(super) fn heading(canvas: &mut Canvas, area: Rect, digit: &str, list: &Listing, columns: &RowLayout) {
    let style = canvas.theme.dim().add_modifier(Modifier::BOLD);
    canvas.put(area, 0, 0, digit, canvas.theme.strong());
    let mut at = BEFORE;
    for &(column, width) in &columns.columns {
        let known = &list.kind.spec().columns[column];
        canvas.put(area, 0, at as u16, &padded(known.title, width, known.right), style);
        at += width + columns.gap;
    }
}

/// Draws the rows that fit below each other, scrolled to where the selection is.
pub(super) fn rows(
    canvas: &mut Canvas,
    area: Rect,
    list: &mut Listing,
    columns: &RowLayout,
    (moment, is_focused): (CellContext, bool),
) {
    let height = usize::from(area.height);
    list.top = scrolled(list.top, list.selected, height, list.shown.len());
    for (row, place) in (list.top..list.shown.len()).take(height).enumerate() {
        let Some(known) = list.rows.get(list.shown[place]) else { continue };
        let is_selected = is_focused && place == list.selected && !canvas.theme.still;
        draw_row(canvas, super::part(area, row as u16, 1), known, list, columns, (moment, is_selected));
    }
}

fn draw_row(
    canvas: &mut Canvas,
    area: Rect,
    row: &Row,
    list: &Listing,
    columns: &RowLayout,
    (moment, is_selected): (CellContext, bool),
) {
    let theme = canvas.theme;
    let mut words = theme.words(row.tone);
    if is_selected {
        words = words.add_modifier(Modifier::BOLD);
        canvas.put(area, 0, 0, theme.pick("›", ">"), theme.strong());
    }
    canvas.put(area, 0, 1, row.tone.sign(theme.unicode), theme.of(row.tone));
    let mut from = BEFORE;
    for &(column, width) in &columns.columns {
        let known = &list.kind.spec().columns[column];
        let text = row.cells.get(column).map(|cell| cell.shown(moment)).unwrap_or_default();
        canvas.put(area, 0, from as u16, &padded(&text, width, known.right), words);
        from += width + columns.gap;
    }
}

/// The first row of a list on the screen, so that the selection is on it.
pub(super) fn scrolled(top: usize, selected: usize, height: usize, rows: usize) -> usize {
    let last_top = rows.saturating_sub(height);
    let top = top.min(last_top);
    if selected < top { selected } else { top.max((selected + 1).saturating_sub(height)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_is_on_the_screen() {
        for (top, selected, height, rows, expected) in [
            (0, 0, 10, 5, 0),
            (0, 9, 10, 20, 0),
            (0, 10, 10, 20, 1),
            (5, 3, 10, 20, 3),
            (15, 19, 10, 20, 10),
            (8, 0, 10, 3, 0),
            (0, 5, 0, 20, 6),
        ] {
            assert_eq!(scrolled(top, selected, height, rows), expected, "{top} {selected}");
        }
    }
}
