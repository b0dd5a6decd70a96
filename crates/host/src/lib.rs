//! Host of a process: the log, clocks, chance, files that are its own, live settings, and what its event loop is doing.

pub mod chance;
pub mod data_dir;
pub mod duration;
pub mod live;
pub mod log;
pub mod permissions;
pub mod places;
pub mod stalls;
pub mod users;
pub mod wall_clock;
