//! Live terminal: keys, events and answers come in, and what has changed is drawn.

use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use signal_hook::consts::{SIGCONT, SIGQUIT, SIGTSTP};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::data::{self, StreamNews};
use super::draw::Theme;
use super::keymap::{Action, KeyMap};
use super::model::listing::AskFailure;
use super::model::{Ask, Effect, Link, Prompt, TopModel};
use super::terminal::TakenTerminal;
use crate::frame::prelude::*;
use crate::frame::signals::StopSignals;
use crate::frame::watch::pass;
use crate::node::NODE;

/// The shortest time between two drawings of what was typed: ten a second.
const KEY_PAUSE: Duration = Duration::from_millis(100);
/// The same of what has happened: on a slow line each drawing counts.
const DRAW_PAUSE: Duration = Duration::from_millis(200);
/// The longest: ages go on.
const REDRAW: Duration = Duration::from_secs(1);
/// Events that wait to be taken; behind them the stream waits.
const EVENTS_MAX: usize = 256;

/// Clock that does not jump, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct SteadyClock {
    started_ms: i64,
    started: Instant,
}

impl SteadyClock {
    pub(super) fn begin() -> Self {
        Self { started_ms: time::now_ms().unwrap_or(0), started: Instant::now() }
    }

    pub(super) fn now_ms(self) -> i64 {
        self.started_ms.saturating_add(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

/// Signals that stop the process for a while or end it with what it holds.
struct JobSignals {
    stop: Signal,
    go_on: Signal,
    quit: Signal,
}

/// Signal that came.
#[derive(Clone, Copy, Debug)]
enum JobSignal {
    Stop,
    GoOn,
    Quit,
}

impl JobSignals {
    fn listen() -> Result<Self, CliError> {
        let listen = |number| {
            signal(SignalKind::from_raw(number))
                .map_err(|error| CliError::local(reasons::SIGNALS, "cannot listen for signals", &error))
        };
        Ok(Self { stop: listen(SIGTSTP)?, go_on: listen(SIGCONT)?, quit: listen(SIGQUIT)? })
    }

    async fn wait(&mut self) -> JobSignal {
        tokio::select! {
            _ = self.stop.recv() => JobSignal::Stop,
            _ = self.go_on.recv() => JobSignal::GoOn,
            _ = self.quit.recv() => JobSignal::Quit,
        }
    }
}

/// Live terminal that runs.
struct LiveTop {
    model: TopModel,
    terminal: TakenTerminal,
    clock: SteadyClock,
    drawn: Instant,
    /// Something was typed since.
    was_typed: bool,
    /// SIGCONT of a stop of its own is to come.
    stopped_itself: bool,
}

/// Shows the mesh until somebody closes it, a signal comes, its time is over or the daemon refuses.
///
/// # Errors
/// Why the daemon could not be asked at the start, or what it refuses later; when the terminal cannot be drawn on.
pub(super) async fn run(session: &CommandSession, time: Option<Duration>) -> Result<Exit, CliError> {
    // Who cannot be asked is told as everywhere, and no terminal is taken for it.
    let node = session.call(&Call::of(&NODE, &json!({}))?).await?;
    let screen = session.out.screen();
    let theme = Theme { color: screen.color, unicode: screen.unicode, still: false };
    let clock = SteadyClock::begin();
    let mut model = TopModel::new(KeyMap::built_in()?, &session.target()?.context);
    model.introduce(&node, clock.now_ms());
    // Before the terminal is taken, so that no signal comes between the two.
    let mut stops = StopSignals::listen()?;
    let jobs = JobSignals::listen()?;
    let terminal = TakenTerminal::take(theme)?;
    let mut top = LiveTop {
        model,
        terminal,
        clock,
        drawn: Instant::now() - REDRAW,
        was_typed: false,
        stopped_itself: false,
    };
    tokio::select! {
        ended = top.show(session, jobs) => ended,
        stopped = stops.wait() => Ok(stopped),
        () = pass(time) => Ok(Exit::Ok),
    }
}

impl LiveTop {
    async fn show(&mut self, session: &CommandSession, mut jobs: JobSignals) -> Result<Exit, CliError> {
        let (told, mut news) = mpsc::channel(EVENTS_MAX);
        let again = Notify::new();
        let stream = data::follow(session, told, &again);
        tokio::pin!(stream);
        let mut keys = EventStream::new();
        let mut answers = FuturesUnordered::new();
        let mut is_followed = true;
        loop {
            for ask in self.model.due(self.clock.now_ms()) {
                answers.push(data::answer(session, ask));
            }
            if std::mem::take(&mut self.model.reconnect) {
                again.notify_one();
            }
            self.draw_if_due()?;
            let wait = self.pause();
            tokio::select! {
                biased;
                key = keys.next() => match key {
                    Some(Ok(event)) => if let Some(exit) = self.typed(&event)? { return Ok(exit) },
                    // Nobody can type any more: the terminal has gone away.
                    Some(Err(_)) | None => return Ok(Exit::Terminated),
                },
                job = jobs.wait() => self.signalled(job)?,
                Some((ask, answered)) = answers.next(), if !answers.is_empty() => self.answered(ask, answered),
                heard = news.recv() => match heard {
                    Some(heard) => self.heard(heard)?,
                    None => return Ok(Exit::Ok),
                },
                () = &mut stream, if is_followed => is_followed = false,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// How long until something is due without anything coming in.
    fn pause(&self) -> Duration {
        let until_due =
            Duration::from_millis(u64::try_from(self.model.due_in(self.clock.now_ms())).unwrap_or(1));
        let since_drawn = self.drawn.elapsed();
        until_due.min(self.draw_pause().saturating_sub(since_drawn)).max(Duration::from_millis(1))
    }

    fn draw_if_due(&mut self) -> Result<(), CliError> {
        if self.drawn.elapsed() >= self.draw_pause() {
            self.terminal.draw(&mut self.model, self.clock.now_ms())?;
            (self.drawn, self.was_typed) = (Instant::now(), false);
        }
        Ok(())
    }

    fn draw_pause(&self) -> Duration {
        match (self.model.dirty, self.was_typed) {
            (true, true) => KEY_PAUSE,
            (true, false) => DRAW_PAUSE,
            (false, _) => REDRAW,
        }
    }

    fn answered(&mut self, ask: Ask, answered: Result<Value, AskFailure>) {
        self.model.answer(ask, answered, self.clock.now_ms());
    }

    fn heard(&mut self, heard: StreamNews) -> Result<(), CliError> {
        let now_ms = self.clock.now_ms();
        match heard {
            StreamNews::Event(event) => self.model.event(&event, now_ms),
            StreamNews::Live => self.model.linked(Link::Live),
            StreamNews::Lost(cause) => self.model.lost(printable(&cause), now_ms),
            StreamNews::Refused(error) => return Err(error),
        }
        Ok(())
    }

    fn signalled(&mut self, job: JobSignal) -> Result<(), CliError> {
        match job {
            JobSignal::Stop => self.suspend(),
            JobSignal::GoOn if std::mem::take(&mut self.stopped_itself) => Ok(()),
            JobSignal::GoOn => {
                self.model.dirty = true;
                self.terminal.take_again()
            }
            JobSignal::Quit => {
                self.terminal.quit();
                Ok(())
            }
        }
    }

    fn suspend(&mut self) -> Result<(), CliError> {
        self.stopped_itself = true;
        self.model.dirty = true;
        self.terminal.suspend()
    }

    /// Takes what was typed; gives the end, where it is one.
    fn typed(&mut self, event: &Event) -> Result<Option<Exit>, CliError> {
        self.was_typed = true;
        let key = match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => key,
            Event::Resize(..) => {
                self.model.dirty = true;
                return Ok(None);
            }
            Event::Paste(_) | Event::Key(_) | Event::Mouse(_) | Event::FocusGained | Event::FocusLost => {
                return Ok(None);
            }
        };
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Ok(Some(Exit::Interrupted)),
                KeyCode::Char('z') => self.suspend()?,
                KeyCode::Char('\\' | '4') => self.terminal.quit(),
                KeyCode::Char('l') => self.terminal.redraw()?,
                KeyCode::Char('u') => self.model.edit_prompt(String::clear),
                _ => {}
            }
            self.model.dirty = true;
            return Ok(None);
        }
        if self.model.prompt.is_some() {
            self.prompted(key);
            return Ok(None);
        }
        let mut key = *key;
        if key.modifiers.contains(KeyModifiers::ALT) {
            // Escape, and what was typed right behind it.
            if self.model.act(Action::Close, self.clock.now_ms()) == Effect::Quit {
                return Ok(Some(Exit::Ok));
            }
            key.modifiers.remove(KeyModifiers::ALT);
        }
        let Some(action) = self.model.keys.meaning(&key) else { return Ok(None) };
        match self.model.act(action, self.clock.now_ms()) {
            Effect::None => Ok(None),
            Effect::Quit => Ok(Some(Exit::Ok)),
            Effect::Copy(text) => {
                self.terminal.copy(&text)?;
                let said = format!("copied (OSC 52), where this terminal takes it: {}", printable(&text));
                self.model.say(said, self.clock.now_ms());
                Ok(None)
            }
        }
    }

    /// Takes a key of the line that is being typed.
    fn prompted(&mut self, key: &KeyEvent) {
        match key.code {
            KeyCode::Enter => self.model.prompted(self.clock.now_ms()),
            KeyCode::Esc => self.model.prompt = None,
            KeyCode::Backspace => self.model.edit_prompt(|typed| _ = typed.pop()),
            KeyCode::Char(letter) => self.model.edit_prompt(|typed| typed.push(letter)),
            _ => {}
        }
        self.model.dirty = true;
    }
}

impl TopModel {
    /// Changes the line that is being typed.
    fn edit_prompt(&mut self, change: impl FnOnce(&mut String)) {
        if let Some(Prompt::Filter(typed) | Prompt::View(typed)) = &mut self.prompt {
            change(typed);
        }
    }
}
