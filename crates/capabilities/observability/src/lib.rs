//! Observability: which daemons Prometheus scrapes.

mod mount;
mod scrape_targets;
mod service;

pub use mount::mount;
