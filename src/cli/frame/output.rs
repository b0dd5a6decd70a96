//! Output of commands: what goes to standard output and to standard error, and in which form.
//!
//! Standard output carries data and nothing else; everything else goes to standard error.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal as _, Write};

use clap::ValueEnum;
use omnirelay_wire::reasons;
use serde_json::Value;

use super::error::CliError;
use super::screen::{StdoutScreen, printable, visible_json, visible_lines};
use super::table::TextTable;
use super::yaml;

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// A table for people; its columns may change
    Table,
    /// A table with more columns
    Wide,
    /// One JSON document
    Json,
    /// One JSON object per line
    Jsonl,
    /// The JSON document as YAML
    Yaml,
    /// `kind/id`, one per line
    Name,
}

impl OutputFormat {
    /// Whether errors are written as JSON as well.
    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }

    /// Whether a person reads it.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorMode {
    Auto,
    Always,
    Never,
}

/// The data of one command, in every form it may be asked for.
#[derive(Clone, Debug)]
pub struct CommandOutput {
    /// The document of `json` and `yaml`.
    pub document: Value,
    /// The lines of `jsonl`; `None`: the document is the only one.
    pub items: Option<Vec<Value>>,
    /// The lines of `name`.
    pub names: Vec<String>,
    pub text: TextForm,
}

/// The form for people.
#[derive(Clone, Debug)]
pub enum TextForm {
    Table(TextTable),
    /// Complete lines.
    Lines(String),
}

impl CommandOutput {
    /// A document with one name and ready-made text.
    pub fn lines(document: Value, name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { document, items: None, names: vec![name.into()], text: TextForm::Lines(text.into()) }
    }
}

/// Standard output. Every byte of data passes here, and every failure to write comes back.
#[derive(Debug)]
pub struct OutputWriter {
    format: OutputFormat,
    screen: StdoutScreen,
    buffer: Vec<u8>,
}

impl OutputWriter {
    pub fn new(format: OutputFormat, screen: StdoutScreen) -> Self {
        Self { format, screen, buffer: Vec::new() }
    }

    pub fn format(&self) -> OutputFormat {
        self.format
    }

    pub fn screen(&self) -> StdoutScreen {
        self.screen
    }

    /// The same, with the size it has now.
    pub fn measure(&mut self) -> StdoutScreen {
        self.screen = self.screen.measured();
        self.screen
    }

    /// Writes `view` in the chosen form.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub fn show(&mut self, view: &CommandOutput) -> Result<(), CliError> {
        match self.format {
            OutputFormat::Table | OutputFormat::Wide => match &view.text {
                TextForm::Table(table) => {
                    let text = table.render(self.format == OutputFormat::Wide, self.screen);
                    self.write(visible_lines(&text.lines, self.screen.color).as_bytes())?;
                }
                TextForm::Lines(lines) => self.write(visible_lines(lines, self.screen.color).as_bytes())?,
            },
            OutputFormat::Json => self.document(&view.document)?,
            OutputFormat::Jsonl => match &view.items {
                Some(items) => items.iter().try_for_each(|item| self.line(item))?,
                None => self.line(&view.document)?,
            },
            OutputFormat::Yaml => self.yaml(&view.document)?,
            OutputFormat::Name => view.names.iter().try_for_each(|name| self.write_line(&printable(name)))?,
        }
        self.flush()
    }

    /// One JSON document: pretty for a person, compact for a pipe.
    fn document(&mut self, document: &Value) -> Result<(), CliError> {
        if !self.screen.tty {
            return self.line(document);
        }
        let text = serde_json::to_string_pretty(document)
            .map_err(|error| CliError::local(reasons::ENCODING, "cannot write the answer as JSON", &error))?;
        self.write_line(&visible_json(text))
    }

    /// One compact JSON object and a line feed.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub fn line(&mut self, object: &Value) -> Result<(), CliError> {
        self.write_line(&visible_json(object.to_string()))
    }

    /// One YAML document.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub fn yaml(&mut self, document: &Value) -> Result<(), CliError> {
        let text = yaml::write(document, "the answer")?;
        // YAML has no escapes in plain text; a JSON document is one of YAML too.
        match visible_lines(&text, false) {
            Cow::Borrowed(text) => self.write(text.as_bytes()),
            Cow::Owned(_) => self.line(document),
        }
    }

    /// One line of text.
    ///
    /// # Errors
    /// When standard output does not take it.
    pub fn write_line(&mut self, line: &str) -> Result<(), CliError> {
        self.write(line.as_bytes())?;
        self.write(b"\n")
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// When standard output does not take them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        const BUFFERED_BYTES_MAX: usize = 64 * 1024;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFERED_BYTES_MAX { self.flush() } else { Ok(()) }
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// When standard output does not take it; `broken_pipe` when its reader has gone.
    pub fn flush(&mut self) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(&self.buffer).and_then(|()| stdout.flush());
        self.buffer.clear();
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => CliError::broken_pipe(),
            _ => CliError::local(reasons::OUTPUT, "cannot write to standard output", &error),
        })
    }
}

/// Standard error: hints, warnings, questions, what is being done.
#[derive(Clone, Copy, Debug)]
pub struct StderrNotes {
    /// Data and errors only.
    pub quiet: bool,
    /// Standard output or the caller is a program: no chatter.
    pub machine: bool,
    pub verbose: u8,
    pub color: bool,
}

impl StderrNotes {
    /// Something a person may want to know; not said to programs, nor with `--quiet`.
    pub fn say(self, line: &str) {
        if !self.quiet && (!self.machine || self.verbose > 0) {
            self.write(line);
        }
    }

    /// Tells how a long command goes; programs hear of it only on a terminal.
    pub fn progress(self, line: &str) {
        if self.machine && !self.quiet && std::io::stderr().is_terminal() {
            self.write(line);
        } else {
            self.say(line);
        }
    }

    /// Something that is probably wrong.
    pub fn warn(self, line: &str) {
        self.say(&format!("warning: {line}"));
    }

    /// A step, from `level` times `-v` on.
    pub fn step(self, level: u8, line: impl FnOnce() -> String) {
        if self.verbose >= level {
            self.write(&line());
        }
    }

    /// The failure of the command, as JSON when `json`.
    pub fn failure(self, error: &CliError, json: bool) {
        if json {
            self.write(&serde_json::json!({ "error": error.to_json() }).to_string());
        } else {
            let text = error.to_text();
            let text = text.trim_end();
            match text.strip_prefix("error:") {
                Some(rest) if self.color => self.write(&format!("\x1b[1;31merror:\x1b[0m{rest}")),
                _ => self.write(text),
            }
        }
    }

    /// Writes one line; a standard error that takes nothing is nobody's business.
    pub fn write(self, line: &str) {
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "{}", visible_lines(line, self.color));
    }

    /// Whether a question can be put: both standard input and standard error are terminals.
    pub fn can_ask(self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }
}
