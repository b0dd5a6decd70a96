//! Canvas that a view is drawn on: text in styles, cut where its place ends.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr as _;

use crate::frame::screen::{fitted, within};
use crate::top::cells::Tone;

/// Colours and signs that a terminal has.
#[derive(Clone, Copy, Debug)]
pub(in crate::top) struct Theme {
    pub color: bool,
    pub unicode: bool,
    /// It is drawn once and looked at later: nothing is selected.
    pub still: bool,
}

impl Theme {
    fn colored(self, style: Style, color: Color) -> Style {
        if self.color { style.fg(color) } else { style }
    }

    pub(super) fn plain(self) -> Style {
        Style::new()
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Style of a sign.
    pub(super) fn of(self, tone: Tone) -> Style {
        match tone {
            Tone::Good => self.colored(Style::new(), Color::Green),
            Tone::Quiet => self.dim(),
            Tone::Held => self.colored(Style::new(), Color::Cyan),
            Tone::Warn => self.colored(self.strong(), Color::Yellow),
            Tone::Bad => self.colored(self.strong(), Color::Red),
        }
    }

    /// Style of words: what is well needs no colour.
    pub(super) fn words(self, tone: Tone) -> Style {
        if tone == Tone::Good { self.plain() } else { self.of(tone) }
    }

    /// Style of the letter of the owner at this place.
    pub(super) fn owner(self, place: usize) -> Style {
        const COLORS: [Color; 5] = [Color::Blue, Color::Green, Color::Magenta, Color::Cyan, Color::Reset];
        self.colored(Style::new(), COLORS[place % COLORS.len()])
    }

    pub(super) fn pick(self, unicode: &'static str, plain: &'static str) -> &'static str {
        if self.unicode { unicode } else { plain }
    }
}

/// Part of a line.
pub(super) type Span<'a> = (&'a str, Style);

/// Canvas that a view is drawn on.
pub(super) struct Canvas<'a> {
    buffer: &'a mut Buffer,
    pub theme: Theme,
}

impl<'a> Canvas<'a> {
    pub(super) fn new(buffer: &'a mut Buffer, theme: Theme) -> Self {
        Self { buffer, theme }
    }

    /// Writes into a row of an area, from a column of it on; gives the column behind it.
    pub(super) fn put(&mut self, area: Rect, row: u16, column: u16, text: &str, style: Style) -> u16 {
        if row >= area.height || column >= area.width {
            return column;
        }
        let room = usize::from(area.width - column);
        let text = if self.theme.unicode { fitted(text, room) } else { ascii_fitted(text, room) };
        self.buffer.set_stringn(area.x + column, area.y + row, &text, room, style);
        column + text.width() as u16
    }

    /// Writes spans one behind the other; gives the column behind them.
    pub(super) fn line(&mut self, area: Rect, row: u16, column: u16, spans: &[Span]) -> u16 {
        spans.iter().fold(column, |column, (text, style)| self.put(area, row, column, text, *style))
    }

    /// Writes spans at the right end of a row, where there is room for all of them behind `column`.
    pub(super) fn right(&mut self, area: Rect, row: u16, column: u16, spans: &[Span]) {
        let width: usize = spans.iter().map(|(text, _)| text.width()).sum();
        let from = usize::from(area.width).saturating_sub(width);
        if from >= usize::from(column) {
            self.line(area, row, from as u16, spans);
        }
    }
}

/// As `fitted`, without the sign that some terminals do not have.
fn ascii_fitted(text: &str, columns: usize) -> String {
    let text: String = text.chars().map(plain_sign).collect();
    if text.width() <= columns { text } else { within(text.chars(), columns) }
}

/// Sign for terminals that have none but ASCII; names that have others are what they are.
fn plain_sign(sign: char) -> char {
    match sign {
        '→' => '>',
        '·' => '-',
        '…' => '.',
        '✓' => '+',
        '✗' => 'x',
        '‖' => '=',
        other => other,
    }
}
