//! The format of log lines as it is chosen by then: a layer for each, of which one writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::LogFormat;

/// Format that lines are written in.
pub(super) struct ChosenFormat {
    is_json: AtomicBool,
}

impl ChosenFormat {
    pub(super) fn of(format: LogFormat) -> Self {
        Self { is_json: AtomicBool::new(format == LogFormat::Json) }
    }

    pub(super) fn choose(&self, format: LogFormat) {
        self.is_json.store(format == LogFormat::Json, Ordering::Relaxed);
    }

    fn is(&self, format: LogFormat) -> bool {
        self.is_json.load(Ordering::Relaxed) == (format == LogFormat::Json)
    }
}

/// Lines of one format, written for as long as that is chosen. It knows all spans: whatever began before is in a line after.
pub(super) struct ChosenLines<L> {
    pub format: LogFormat,
    pub chosen: Arc<ChosenFormat>,
    pub lines: L,
}

impl<S: Subscriber, L: Layer<S>> Layer<S> for ChosenLines<L> {
    fn on_layer(&mut self, subscriber: &mut S) {
        self.lines.on_layer(subscriber);
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.lines.on_new_span(attributes, id, context);
    }

    fn on_record(&self, span: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.lines.on_record(span, values, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.chosen.is(self.format) {
            self.lines.on_event(event, context);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        self.lines.on_enter(id, context);
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        self.lines.on_exit(id, context);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        self.lines.on_close(id, context);
    }
}
