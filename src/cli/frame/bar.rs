//! Progress of a long command: a bar on a terminal, now and then a line elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use super::env;
use super::output::StderrNotes;
use super::session::CommandSession;

/// Without a terminal a line is said at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);
const TEMPLATE: &str = "{prefix}  {bar:20}  {pos}/{len}  ETA {eta}";

/// Tells on standard error how much is done.
#[derive(Debug)]
pub(crate) struct ProgressMeter {
    notes: StderrNotes,
    /// `registers`
    what: String,
    total: usize,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl ProgressMeter {
    /// For so many of `what`.
    pub(crate) fn of(session: &CommandSession, what: &str, total: usize) -> Self {
        let notes = session.notes();
        let is_dumb = session.settings.env.get(env::TERM) == Some("dumb");
        let bar = (std::io::stderr().is_terminal() && !notes.quiet && !is_dumb).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style.progress_chars(if session.settings.env.is_utf8() {
                    "▇▇▁"
                } else {
                    "##-"
                }));
            }
            bar.set_prefix(what.to_owned());
            bar
        });
        Self { notes, what: what.to_owned(), total, bar, said: Instant::now() }
    }

    /// So many are done.
    pub(crate) fn show(&mut self, done: usize) {
        match &self.bar {
            Some(bar) => bar.set_position(done as u64),
            None if self.said.elapsed() >= LINE_EVERY => {
                self.said = Instant::now();
                self.notes.say(&format!("{done} of {} {}", self.total, self.what));
            }
            None => {}
        }
    }
}

impl Drop for ProgressMeter {
    /// Takes it off the screen.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
