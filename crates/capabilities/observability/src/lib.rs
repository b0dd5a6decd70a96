//! Observability: which daemons Prometheus scrapes, what their processes take, and what a collector is sent by OTLP.

mod mount;
mod otlp;
mod process_metrics;
mod scrape_targets;
mod service;

pub use mount::mount;
