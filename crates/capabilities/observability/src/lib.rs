//! Observability: which daemons Prometheus scrapes, what their processes take, what a collector is sent by OTLP, and what they tell support.

mod diagnostics;
mod mount;
mod otlp;
mod process_metrics;
mod scrape_targets;
mod service;

pub use mount::mount;
