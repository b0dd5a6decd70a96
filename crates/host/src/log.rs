//! The log: one line per change of state, as text or JSON, on standard error.

#[cfg(any(test, feature = "testing"))]
mod captured;
mod fields;
mod limiter;

use std::io::{self, IsTerminal};

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

use fields::{TextFields, VisibleJson};

/// Changes what is logged while the process runs.
#[derive(Clone)]
pub struct LogControl(reload::Handle<EnvFilter, Registry>);

/// The log could not be set up as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("`{filter}` is no log filter: {what}; write such as `info` or `warn,omnirelay=debug`")]
    Filter { filter: String, what: String },
    #[error("the log is set up already")]
    Twice,
}

/// Configuration of the log: its format and its filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A filter such as `info` or `info,omnirelay_registry=debug`. Reloaded on SIGHUP.
    pub filter: String,
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
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

/// Begins to log, for the whole process.
///
/// # Errors
/// [`LogError::Filter`] when the filter cannot be read.
pub fn start(config: &LogConfig) -> Result<LogControl, LogError> {
    let (filter, control) = reload::Layer::new(read_filter(&config.filter)?);
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let lines = lines(config.format, io::stderr, colour);
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|_| LogError::Twice)?;
    Ok(LogControl(control))
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
    /// Logs by another filter from now on.
    ///
    /// # Errors
    /// [`LogError::Filter`]; the old filter stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        let parsed = read_filter(filter)?;
        self.0
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
