//! Metrics of the process: its processor time, memory and files, as the kernel counts them, and its stalls.

use std::fs::read_to_string;

use omnirelay_doctor::processes;
use omnirelay_host::stalls::LoopStalls;
use omnirelay_node::metrics::registrar::{gauge_value, raise_to};
use omnirelay_node::metrics::row::MetricLabel;
use omnirelay_node::prometheus::{Error, Registry};
use rustix::param::{clock_ticks_per_second, page_size};

/// Version of the daemon.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const VERSION_LABEL: MetricLabel = MetricLabel::each("version", || vec![VERSION]);
const LOOP: &str = "loop";
const PROCESS: &str = "process";
const HELD_UP: MetricLabel = MetricLabel::each("mesh_cause", || vec![LOOP, PROCESS]);

omnirelay_node::metrics! {
    /// Metrics of the process. Nodes of one process, as under `omnirelay up`, have the same.
    pub(crate) struct ProcessMetrics {
        cpu: FloatCounter("process_cpu_seconds_total", "Processor time that the process has used, in seconds"),
        resident: Gauge("process_resident_memory_bytes", "Memory of the process that is resident, in bytes"),
        files: Gauge("process_open_fds", "Files and connections that the process has open"),
        files_max: Gauge("process_max_fds", "The most files and connections that the process may have open"),
        started: FloatGauge("process_start_time_seconds", "When the process began, in seconds since 1970"),
        build: Gauges("omnirelay_build_info", "1 for the version of the daemon that runs", &[VERSION_LABEL]).flag(),
        stalls: Counters("omnirelay_stalls_total",
            "How often nothing was done for a second and longer: the event loop was held up (`loop`), or the whole process was (`process`)",
            &[HELD_UP]),
    }
}

/// Figures of the process in `/proc/self/stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct ProcessStat {
    /// Processor time of all threads, in ticks.
    cpu: u64,
    /// When it began, in ticks after the machine did.
    started: u64,
    /// In pages.
    resident: u64,
}

impl ProcessMetrics {
    /// Metrics of this process, with what does not change while it runs.
    ///
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub(crate) fn of_this_process(all: &Registry) -> Result<Self, Error> {
        let metrics = Self::new(all)?;
        metrics.build.with_label_values(&[VERSION]).set(1);
        let machine = read_to_string("/proc/stat").ok().as_deref().and_then(machine_start);
        if let (Some(machine), Some(stat)) = (machine, own_stat()) {
            metrics.started.set(machine as f64 + stat.started as f64 / clock_ticks_per_second() as f64);
        }
        Ok(metrics)
    }

    /// Brings everything up to date. What the kernel does not say stays as it was.
    pub(crate) fn read(&self, stalls: &LoopStalls) {
        let counts = stalls.counts();
        for (what, count) in [(LOOP, counts.of_loop), (PROCESS, counts.of_process)] {
            raise_to(&self.stalls.with_label_values(&[what]), count);
        }
        if let Some(stat) = own_stat() {
            let cpu = stat.cpu as f64 / clock_ticks_per_second() as f64;
            self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
            self.resident.set(gauge_value(stat.resident.saturating_mul(page_size() as u64)));
        }
        if let Some(process) = processes::own() {
            self.files.set(process.files.map_or(0, gauge_value));
            self.files_max.set(process.files_max.map_or(i64::MAX, gauge_value));
        }
    }
}

fn own_stat() -> Option<ProcessStat> {
    parse(&read_to_string("/proc/self/stat").ok()?)
}

/// Fields of `/proc/self/stat` (proc(5)): the name, in parentheses, may have blanks and parentheses.
fn parse(stat: &str) -> Option<ProcessStat> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // Field 3 is the first behind the name.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(ProcessStat { cpu: number(14)? + number(15)?, started: number(22)?, resident: number(24)? })
}

/// When the machine began, in seconds since 1970.
fn machine_start(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read_whatever_the_process_is_called() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 20 0 9 0 7777 100 512 18446744073709551615 1";
        for name in ["omnirelayd", "a b) (c", ")"] {
            let stat = parse(&format!("42 ({name}) {rest}"));
            assert_eq!(stat, Some(ProcessStat { cpu: 300, started: 7777, resident: 512 }), "{name}");
        }
        assert_eq!(parse("42 (a) S 1"), None);
        assert_eq!(machine_start("cpu 1\nbtime 1700000000\nprocesses 2\n"), Some(1_700_000_000));
    }

    #[test]
    fn the_process_of_the_test_is_measured() {
        let metrics = ProcessMetrics::of_this_process(&Registry::new()).unwrap();
        let stalls = LoopStalls::default();
        metrics.read(&stalls);
        let (cpu, files) = (metrics.cpu.get(), metrics.files.get());
        assert!(metrics.resident.get() > 1_000_000 && metrics.started.get() > 1.6e9);
        assert!(files > 2 && files < metrics.files_max.get(), "{files}");
        let begun = std::time::Instant::now();
        while metrics.cpu.get() <= cpu && begun.elapsed().as_secs() < 30 {
            metrics.read(&stalls);
        }
        assert!(metrics.cpu.get() > cpu, "reading it takes processor time");
    }
}
