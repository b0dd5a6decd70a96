//! Terminal while it is drawn on: taken, and given back as it was in every end.

use std::io::{Stdout, Write as _};

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Position, Rect};
use signal_hook::consts::{SIGQUIT, SIGTSTP};
use signal_hook::low_level::emulate_default_handler;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::draw::{Theme, draw};
use super::model::TopModel;
use crate::frame::prelude::*;

type PanicHook = Box<dyn Fn(&std::panic::PanicHookInfo<'_>) + Sync + Send + 'static>;

/// Terminal that is drawn on until this is dropped.
pub(super) struct TakenTerminal {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    theme: Theme,
}

impl TakenTerminal {
    /// Takes the terminal: its other screen, each key at once and unseen.
    ///
    /// # Errors
    /// When it does not let itself be set.
    pub(super) fn take(theme: Theme) -> Result<Self, CliError> {
        // Whatever panics is told on the screen that stays.
        let before: PanicHook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            leave();
            before(info);
        }));
        let terminal = Terminal::new(CrosstermBackend::new(std::io::stdout())).map_err(failed)?;
        let mut taken = Self { terminal, theme };
        taken.enter()?;
        Ok(taken)
    }

    fn enter(&mut self) -> Result<(), CliError> {
        enable_raw_mode().map_err(failed)?;
        execute!(std::io::stdout(), EnterAlternateScreen, Hide).map_err(failed)?;
        self.redraw()
    }

    /// Forgets what is on the screen: all of it is drawn again.
    ///
    /// # Errors
    /// When the terminal does not take it.
    pub(super) fn redraw(&mut self) -> Result<(), CliError> {
        // `clear` would ask the terminal where its cursor is, and wait for the answer.
        let size = self.terminal.size().map_err(failed)?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size))).map_err(failed)
    }

    /// Draws what has changed.
    ///
    /// # Errors
    /// When the terminal does not take it.
    pub(super) fn draw(&mut self, model: &mut TopModel, now_ms: i64) -> Result<(), CliError> {
        let theme = self.theme;
        let drawn = self.terminal.draw(|frame| draw(model, frame.buffer_mut(), now_ms, theme));
        model.dirty = false;
        drawn.map(|_| ()).map_err(failed)
    }

    /// Gives the terminal back, stops this process as Ctrl-Z does, and takes it again once it goes on.
    ///
    /// # Errors
    /// As of [`TakenTerminal::take`].
    pub(super) fn suspend(&mut self) -> Result<(), CliError> {
        leave();
        // It comes back once the process is continued.
        let _ = emulate_default_handler(SIGTSTP);
        self.enter()
    }

    /// Takes the terminal again, which others may have set since.
    ///
    /// # Errors
    /// As of [`TakenTerminal::take`].
    pub(super) fn take_again(&mut self) -> Result<(), CliError> {
        let _ = disable_raw_mode();
        self.enter()
    }

    /// Gives the terminal back and dies of SIGQUIT.
    pub(super) fn quit(&mut self) {
        leave();
        let _ = emulate_default_handler(SIGQUIT);
    }

    /// Hands a text to the clipboard of whoever sits before the terminal, by OSC 52.
    ///
    /// # Errors
    /// When the terminal does not take it.
    pub(super) fn copy(&mut self, text: &str) -> Result<(), CliError> {
        let mut out = std::io::stdout();
        write!(out, "\x1b]52;c;{}\x07", STANDARD.encode(text)).and_then(|()| out.flush()).map_err(failed)
    }
}

impl Drop for TakenTerminal {
    fn drop(&mut self) {
        leave();
        // Who panics cannot set it, and does not have to.
        if !std::thread::panicking() {
            drop(std::panic::take_hook());
        }
    }
}

/// Gives the terminal back as it was. One that has gone away has nothing to give back to.
fn leave() {
    let _ = execute!(std::io::stdout(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

fn failed(error: std::io::Error) -> CliError {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        return CliError::new(reasons::OUTPUT, "the terminal has gone away");
    }
    CliError::local(reasons::OUTPUT, "cannot draw on the terminal", &error)
}
