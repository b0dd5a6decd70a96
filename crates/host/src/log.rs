//! The log: one line per change of state, as text or JSON, on standard error.

#[cfg(any(test, feature = "testing"))]
mod captured;
mod chosen;
mod fields;
mod limiter;
mod recent;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use omnirelay_core::text::chain;
use serde::{Deserialize, Serialize};
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

#[cfg(any(test, feature = "testing"))]
pub use captured::captured;
pub use limiter::{FaultLimiter, KeyedLogLimiter, LogLimiter, LogTurn};
pub use recent::{RECENT_LINES_MAX, RecentLine, RecentLines};

use crate::duration::HumanDuration;

use chosen::{ChosenFormat, ChosenLines};
use fields::{TextFields, VisibleJson};
use recent::RecentLayer;

/// Changes what is logged, and how, while the process runs.
#[derive(Clone)]
pub struct LogControl {
    filter: reload::Handle<EnvFilter, Registry>,
    format: Arc<ChosenFormat>,
    recent: Arc<RecentLines>,
}

/// The log could not be set up as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("`{filter}` is no log filter: {what}; write such as `info` or `warn,omnirelay=debug`")]
    Filter { filter: String, what: String },
    #[error("the log is set up already")]
    Twice,
}

/// How long a call may take before a line tells of it, unless the configuration says.
const SLOW_CALLS: HumanDuration = HumanDuration(Duration::from_secs(1));

/// Configuration of the log: its format, its filter, and what counts as slow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A filter such as `info` or `info,omnirelay_registry=debug`.
    pub filter: String,
    /// How long a call may take before a line tells of it, `10ms` to `1h`; `0s`: none does. Too low: the log tells of what is well; too
    /// high: what callers wait for is found in no log.
    pub slow_calls: HumanDuration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned(), slow_calls: SLOW_CALLS }
    }
}

/// Begins to log, for the whole process.
///
/// # Errors
/// [`LogError::Filter`] when the filter cannot be read.
pub fn start(config: &LogConfig) -> Result<LogControl, LogError> {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let (subscriber, control) = subscriber(config, io::stderr, colour)?;
    subscriber.try_init().map_err(|_| LogError::Twice)?;
    Ok(control)
}

/// Begins to log what this thread does, until the guard is dropped.
///
/// # Errors
/// As of [`start`].
#[cfg(any(test, feature = "testing"))]
pub fn start_captured<W: io::Write + 'static>(
    config: &LogConfig,
    writer: impl Fn() -> W + Clone + Send + Sync + 'static,
) -> Result<(LogControl, tracing::subscriber::DefaultGuard), LogError> {
    let (subscriber, control) = subscriber(config, writer, false)?;
    Ok((control, captured(subscriber)))
}

/// What writes each event in the format that is chosen by then, and what chooses.
fn subscriber<W: io::Write + 'static>(
    config: &LogConfig,
    writer: impl Fn() -> W + Clone + Send + Sync + 'static,
    colour: bool,
) -> Result<(impl Subscriber + Send + Sync, LogControl), LogError> {
    let (filter, control) = reload::Layer::new(read_filter(&config.filter)?);
    let format = Arc::new(ChosenFormat::of(config.format));
    let text = ChosenLines {
        format: LogFormat::Text,
        chosen: Arc::clone(&format),
        lines: lines(LogFormat::Text, writer.clone(), colour),
    };
    let json = ChosenLines {
        format: LogFormat::Json,
        chosen: Arc::clone(&format),
        lines: lines(LogFormat::Json, writer, colour),
    };
    let recent = Arc::<RecentLines>::default();
    let kept = RecentLayer(Arc::clone(&recent));
    let subscriber = tracing_subscriber::registry().with(filter).with(text).with(json).with(kept);
    Ok((subscriber, LogControl { filter: control, format, recent }))
}

/// Writes each event as one line. Whatever stands in its values, it is one line, and each value one value.
fn lines<S, M, W>(format: LogFormat, writer: M, colour: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    M: Fn() -> W + Send + Sync + 'static,
    W: io::Write + 'static,
{
    match format {
        LogFormat::Text => fmt::layer()
            .with_target(false)
            .with_ansi(colour)
            .fmt_fields(TextFields)
            .with_writer(writer)
            .boxed(),
        LogFormat::Json => {
            fmt::layer().json().flatten_event(true).with_writer(move || VisibleJson(writer())).boxed()
        }
    }
}

impl LogControl {
    /// The newest lines, as others may see them.
    pub fn recent(&self) -> Arc<RecentLines> {
        Arc::clone(&self.recent)
    }

    /// Writes lines in another format from now on.
    pub fn set_format(&self, format: LogFormat) {
        self.format.choose(format);
    }

    /// Logs by another filter from now on.
    ///
    /// # Errors
    /// [`LogError::Filter`]; the old filter stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let parsed = read_filter(filter)?;
        self.filter
            .reload(parsed)
            .map_err(|error| LogError::Filter { filter: filter.to_owned(), what: chain(&error) })
    }
}

/// Says whether a filter can be read.
///
/// # Errors
/// [`LogError::Filter`].
pub fn check_filter(filter: &str) -> Result<(), LogError> {
    read_filter(filter).map(drop)
}

fn read_filter(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(filter)
        .map_err(|error| LogError::Filter { filter: filter.to_owned(), what: chain(&error) })
}
