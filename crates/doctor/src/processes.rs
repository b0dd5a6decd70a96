//! The daemons that run on this machine, as the kernel tells of them.

use std::path::Path;

/// A daemon that runs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalDaemon {
    pub pid: u32,
    /// The most files it may open; `None`: without limit.
    pub files_max: Option<u64>,
    /// The files it has open; `None` where that is its owner's to know.
    pub files: Option<u64>,
}

/// The processes called `omnirelayd` below `proc`, in the order of their ids.
pub fn daemons(proc: &Path) -> Vec<LocalDaemon> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<LocalDaemon> =
        pids.filter_map(|pid| daemon(&proc.join(format!("{pid}")), pid)).collect();
    found.sort_by_key(|daemon| daemon.pid);
    found
}

/// This process, whatever it is called.
pub fn own() -> Option<LocalDaemon> {
    process(Path::new("/proc/self"), std::process::id())
}

/// The process of this folder, if it is a daemon and there yet.
fn daemon(folder: &Path, pid: u32) -> Option<LocalDaemon> {
    let name = std::fs::read_to_string(folder.join("comm")).ok()?;
    (name.trim_end() == "omnirelayd").then(|| process(folder, pid))?
}

/// What the kernel tells of the process of this folder.
fn process(process: &Path, pid: u32) -> Option<LocalDaemon> {
    let limits = std::fs::read_to_string(process.join("limits")).ok()?;
    let files = std::fs::read_dir(process.join("fd")).ok().map(|files| files.count() as u64);
    Some(LocalDaemon { pid, files_max: files_max(&limits)?, files })
}

/// The soft limit of open files in a file of limits; `None` where it has none, inside where that is unlimited.
fn files_max(limits: &str) -> Option<Option<u64>> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemons_are_found_among_the_processes() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: &str, name: &str, limit: &str, files: usize| {
            let folder = proc.path().join(pid);
            std::fs::create_dir_all(folder.join("fd")).unwrap();
            std::fs::write(folder.join("comm"), format!("{name}\n")).unwrap();
            let limits = format!(
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max processes             95000                95000                processes\n\
                 Max open files            {limit:<20} 524288               files\n"
            );
            std::fs::write(folder.join("limits"), limits).unwrap();
            for number in 0..files {
                std::fs::write(folder.join("fd").join(number.to_string()), "").unwrap();
            }
        };
        process("70", "omnirelayd", "1024", 3);
        process("8", "omnirelayd", "unlimited", 0);
        process("9", "omnirelay", "1024", 1);
        process("self", "omnirelayd", "1024", 1);
        std::fs::create_dir(proc.path().join("71")).unwrap();
        let found = daemons(proc.path());
        let expected = [
            LocalDaemon { pid: 8, files_max: None, files: Some(0) },
            LocalDaemon { pid: 70, files_max: Some(1024), files: Some(3) },
        ];
        assert_eq!(found, expected);
        assert!(daemons(Path::new("/nowhere")).is_empty());
    }
}
