//! Progress of an operation: a bar on a terminal, now and then a line elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use crate::frame::env;
use crate::frame::output::StderrNotes;
use crate::frame::prelude::*;

/// Without a terminal a line is said at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);
const BAR: &str = "{prefix}  {bar:20}  {pos}/{len}  {msg}  ETA {eta}";
/// While nobody knows how much there is to do.
const BEGINNING: &str = "{prefix}  {msg}";

/// Tells on standard error how far an operation is.
pub(super) struct OperationProgress {
    notes: StderrNotes,
    form: ProgressForm,
}

enum ProgressForm {
    Bar {
        bar: ProgressBar,
        unicode: bool,
    },
    /// The last line, and whether there is another to say in its time.
    Lines {
        said: Option<(Instant, String)>,
        waits: bool,
    },
}

impl OperationProgress {
    pub(super) fn of(session: &CommandSession) -> Self {
        let notes = session.notes();
        let is_dumb = session.settings.env.get(env::TERM) == Some("dumb");
        let form = if std::io::stderr().is_terminal() && !notes.quiet && !is_dumb {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            ProgressForm::Bar { bar, unicode: session.settings.env.is_utf8() }
        } else {
            ProgressForm::Lines { said: None, waits: false }
        };
        Self { notes, form }
    }

    /// Shows how `operation` is, when it is time to.
    pub(super) fn show(&mut self, operation: &Value) {
        match &mut self.form {
            ProgressForm::Bar { bar, unicode } => draw(bar, *unicode, operation),
            ProgressForm::Lines { said, waits } => {
                // A short operation is told by its result alone.
                if number(operation, "done") == 0 {
                    return;
                }
                let line = line(operation);
                let is_due = said.as_ref().is_none_or(|(at, _)| at.elapsed() >= LINE_EVERY);
                let is_news = said.as_ref().is_none_or(|(_, last)| *last != line);
                *waits = is_news && !is_due;
                if is_news && is_due {
                    self.notes.say(&line);
                    *said = Some((Instant::now(), line));
                }
            }
        }
    }

    /// Time until there is something to say; `None`: nothing waits for its time.
    pub(super) fn next(&self) -> Option<Duration> {
        match &self.form {
            ProgressForm::Lines { said: Some((at, _)), waits: true } => {
                Some(LINE_EVERY.saturating_sub(at.elapsed()))
            }
            ProgressForm::Lines { .. } | ProgressForm::Bar { .. } => None,
        }
    }

    /// Says something besides.
    pub(super) fn say(&self, line: &str) {
        match &self.form {
            ProgressForm::Bar { bar, .. } => bar.suspend(|| self.notes.progress(line)),
            ProgressForm::Lines { .. } => self.notes.progress(line),
        }
    }

    /// Takes the bar off the screen.
    pub(super) fn end(&self) {
        if let ProgressForm::Bar { bar, .. } = &self.form {
            bar.finish_and_clear();
        }
    }
}

fn draw(bar: &ProgressBar, unicode: bool, operation: &Value) {
    let total = number(operation, "total");
    let template = if total == 0 { BEGINNING } else { BAR };
    let Ok(style) = ProgressStyle::with_template(template) else { return };
    bar.set_style(style.progress_chars(if unicode { "▇▇▁" } else { "##-" }));
    bar.set_length(total);
    bar.set_position(number(operation, "done"));
    bar.set_prefix(text(operation, "action").to_owned());
    let words = [printable(text(operation, "message")), format!("{} failed", failed(operation))];
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|words| !words.is_empty()).collect();
    bar.set_message(words.join("  "));
}

/// `resync: 50/101 (0 failed)`
fn line(operation: &Value) -> String {
    let action = text(operation, "action");
    let verb = action.rsplit('.').next().unwrap_or(action);
    let (done, total) = (number(operation, "done"), number(operation, "total"));
    printable(&format!("{verb}: {done}/{total} ({} failed)", failed(operation)))
}

/// How many things could not be done: what is counted, or, of an older daemon, what is listed.
fn failed(operation: &Value) -> u64 {
    let listed = crate::frame::document::items(operation, "failures").len() as u64;
    number(operation, "counts.failed").max(listed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operation(done: u64) -> Value {
        json!({
            "action": "registers.resync", "done": done.to_string(), "total": "101", "counts": {"failed": "1"},
        })
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_said_every_ten_seconds_and_only_when_something_has_moved() {
        let notes = StderrNotes { quiet: true, machine: true, verbose: 0, color: false };
        let mut progress =
            OperationProgress { notes, form: ProgressForm::Lines { said: None, waits: false } };
        let said = |progress: &OperationProgress| match &progress.form {
            ProgressForm::Lines { said, .. } => {
                said.as_ref().map(|(_, line)| line.clone()).unwrap_or_default()
            }
            ProgressForm::Bar { .. } => String::new(),
        };
        progress.show(&operation(1));
        assert_eq!(said(&progress), "resync: 1/101 (1 failed)");
        tokio::time::advance(Duration::from_secs(9)).await;
        progress.show(&operation(2));
        assert_eq!(said(&progress), "resync: 1/101 (1 failed)", "too soon");
        assert_eq!(progress.next(), Some(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        progress.show(&operation(2));
        assert_eq!(said(&progress), "resync: 2/101 (1 failed)");
        tokio::time::advance(Duration::from_secs(11)).await;
        progress.show(&operation(2));
        assert_eq!(progress.next(), None, "nothing has moved, so nothing waits");
    }
}
