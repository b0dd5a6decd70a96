//! Observability: which daemons Prometheus scrapes, and what their processes take.

mod mount;
mod process_metrics;
mod scrape_targets;
mod service;

pub use mount::mount;
