//! Real processes, real sockets, real signals: daemons as their operator runs them.

mod abuse;
mod audit;
mod daemon;
mod lifecycle;
mod process;
mod up;
