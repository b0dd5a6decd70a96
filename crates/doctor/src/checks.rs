//! Checks of a host.

use omnirelay_decisions::check::finding::{
    CheckDefinition, CheckResult, CheckVerdict, FactExaminer, FindingCategory,
};

use super::machine::{ClockKeeper, DataState, HostFacts, PortAvailability, PortToListenOn, SocketState};
use super::processes::LocalDaemon;

pub static CATEGORIES: &[&FindingCategory<FactExaminer<HostFacts>>] = &[&DAEMON, &HOST];

static DAEMON: FindingCategory<FactExaminer<HostFacts>> = FindingCategory {
    name: "daemon",
    page: "guides/configuration.md",
    checks: &[
        CheckDefinition::new(
            "doctor-config",
            "the daemon's configuration is valid",
            "omnirelayd does not start with this file.",
            config,
        ),
        CheckDefinition::new(
            "doctor-data",
            "the data directory is the daemon's own",
            "The folder that holds the registry, the node's id and its keys cannot be used, or others than the daemon's \
             user may read or change what is in it. A daemon that was started once as root leaves files there that it \
             cannot open later.",
            data,
        ),
        CheckDefinition::new(
            "doctor-space",
            "there is room where the store is",
            "When the disk is full, changes are refused until there is room. Sessions and leaders last.",
            space,
        ),
        CheckDefinition::new(
            "doctor-ports",
            "the daemon's ports are free, or a daemon has them",
            "omnirelayd does not start while another process listens on one of its ports.",
            ports,
        ),
        CheckDefinition::new(
            "doctor-socket",
            "the daemon can make its unix socket",
            "omnirelayd does not start where its socket has no folder, and takes no other file's place.",
            socket,
        ),
    ],
    items: &[],
};

static HOST: FindingCategory<FactExaminer<HostFacts>> = FindingCategory {
    name: "host",
    page: "guides/operations.md",
    checks: &[
        CheckDefinition::new(
            "doctor-names",
            "every name that is configured has an address",
            "A host that a context or the daemon's configuration names is not known to the name server.",
            names,
        ),
        CheckDefinition::new(
            "doctor-files",
            "a process may open enough files",
            "Each agent, watch and client is an open file: with few of them a daemon turns connections away.",
            files,
        ),
        CheckDefinition::new(
            "doctor-limits",
            "the daemons that run here have files left to open",
            "A daemon that has as many files open as it may turns connections away, and a watch or an agent with them.",
            limits,
        ),
        CheckDefinition::new(
            "doctor-clock",
            "something keeps the clock",
            "Leases hold whatever clocks say, but logs, ages and audit records of different hosts do not line up.",
            clock,
        ),
    ],
    items: &[],
};

fn names(machine: &HostFacts) -> CheckResult {
    let failed: Vec<(&String, &String)> =
        machine.names.iter().filter_map(|(name, found)| Some((name, found.as_ref().err()?))).collect();
    let told: Vec<String> = failed.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    match (machine.names.len(), failed.first()) {
        (0, _) => CheckResult::skip("no name has to be looked up"),
        (_, None) => CheckResult::pass("every name has an address"),
        (_, Some((name, _))) => CheckResult::fail(told.join("; ")).hint(format!(
            "getent hosts {name}     # then mend the name: omnirelay context list, omnirelayd config print"
        )),
    }
}

fn config(machine: &HostFacts) -> CheckResult {
    match &machine.daemon {
        None => CheckResult::skip(
            "no file is found or named (here: --daemon-config FILE; of the daemon: --config FILE)",
        ),
        Some((path, Ok(_))) => CheckResult::pass(format!("{} is valid", path.display())),
        Some((path, Err(why))) => CheckResult::fail(why.clone())
            .hint(format!("omnirelayd config validate --config {}", path.display())),
    }
}

fn data(machine: &HostFacts) -> CheckResult {
    let Some(data) = &machine.data else {
        return CheckResult::skip("where it is says a configuration that cannot be read (--data-dir DIR)");
    };
    let path = data.path.display();
    match &data.state {
        DataState::Fine => CheckResult::pass(format!("{path} is there, and its owner's alone")),
        DataState::Absent => CheckResult::pass(format!("{path} is not there yet; the daemon makes it")),
        DataState::NoFolder => CheckResult::fail(format!("{path} is no folder"))
            .hint("name another one: node.dataDir in the daemon's configuration"),
        DataState::Open(mode) => CheckResult::fail(format!("anybody may write to {path} ({mode:04o})"))
            .hint(format!("chmod 700 {path}")),
        DataState::Shared(mode) => CheckResult::warn(format!("others may look into {path} ({mode:04o})"))
            .hint(format!("chmod 700 {path}")),
        DataState::Foreign { file, of, dir_of } => {
            CheckResult::fail(format!("{} belongs to {of}, and {path} to {dir_of}", file.display()))
                .hint(format!("chown -R {dir_of}: {path}"))
        }
        DataState::Unreadable(why) => {
            CheckResult::unknown(format!("{path}: {why}")).hint("sudo omnirelay doctor")
        }
    }
}

/// Below this a store soon refuses changes, in bytes.
const FREE_WARN: u64 = 1 << 30;
/// Below this it is about to.
const FREE_FAIL: u64 = 100 << 20;

fn space(machine: &HostFacts) -> CheckResult {
    let Some((data, free)) = machine.data.as_ref().and_then(|data| Some((data, data.free?))) else {
        return CheckResult::skip("where it is says a configuration that cannot be read (--data-dir DIR)");
    };
    let text = format!("{} MiB are free at {}", free >> 20, data.path.display());
    let hint = format!("df -h {}", data.path.display());
    match free {
        ..FREE_FAIL => CheckResult::fail(text).hint(hint),
        FREE_FAIL..FREE_WARN => CheckResult::warn(text).hint(hint),
        FREE_WARN.. => CheckResult::pass(text),
    }
}

fn ports(machine: &HostFacts) -> CheckResult {
    let mut fine = Vec::new();
    for PortToListenOn { address, key, taken } in &machine.ports {
        let port = address.port();
        match taken {
            PortAvailability::Free => fine.push(format!("{address} is free")),
            PortAvailability::ByDaemon if *key == "control.listen" => {
                fine.push(format!("a daemon answers at {address}"));
            }
            PortAvailability::ByDaemon => fine.push(format!("{address} is taken, as where a daemon runs")),
            PortAvailability::ByAnother => {
                return CheckResult::fail(format!("another process listens on {address}"))
                    .hint(format!("ss -ltnp 'sport = :{port}'     # which; or set {key}"));
            }
            PortAvailability::Reserved => fine.push(format!("{address} is for root to try")),
            PortAvailability::Refused(why) => {
                return CheckResult::fail(format!("nobody can listen on {address}: {why}"))
                    .hint(format!("set {key} to an address of this host"));
            }
        }
    }
    if fine.is_empty() {
        CheckResult::skip("which they are says a configuration that cannot be read")
    } else {
        CheckResult::pass(fine.join("; "))
    }
}

fn socket(machine: &HostFacts) -> CheckResult {
    let Some((path, state)) = &machine.socket else {
        return CheckResult::skip("none is configured (control.socket)");
    };
    let shown = path.display();
    match state {
        SocketState::There => CheckResult::pass(format!("{shown} is there")),
        SocketState::CanBeMade => CheckResult::pass(format!("{shown} can be made")),
        SocketState::OfService => CheckResult::pass(format!("{shown} is made when the service starts")),
        SocketState::Unreadable(why) => CheckResult::skip(format!("{shown}: {why}")),
        SocketState::Open(folder, mode) => {
            let folder = folder.display();
            CheckResult::fail(format!("anybody may put another socket into {folder} ({mode:04o})"))
                .hint(format!("chmod 755 {folder}     # or set control.socket"))
        }
        SocketState::NoFolder(folder) => CheckResult::fail(format!("{} is no folder", folder.display()))
            .hint(format!("make {} as the daemon's user, mode 755; or set control.socket", folder.display())),
        SocketState::NoSocket => {
            CheckResult::fail(format!("{shown} is something else")).hint("set control.socket to another path")
        }
    }
}

/// Fewer files than this are few for a daemon.
const FILES_WARN: u64 = 16_384;

fn files(machine: &HostFacts) -> CheckResult {
    match machine.files {
        None => CheckResult::pass("a process may open any number of files"),
        Some(files) if files < FILES_WARN => CheckResult::warn(format!(
            "a process may open {files} files at most"
        ))
        .hint(format!("LimitNOFILE={FILES_WARN} in the unit of omnirelayd, or ulimit -n {FILES_WARN}")),
        Some(files) => CheckResult::pass(format!("a process may open {files} files")),
    }
}

fn limits(machine: &HostFacts) -> CheckResult {
    let grave =
        |found: &CheckResult| (found.verdict == CheckVerdict::Fail, found.verdict == CheckVerdict::Warn);
    let found = machine.running.iter().map(limit);
    match (machine.running.as_slice(), found.max_by_key(grave)) {
        ([_], Some(one)) => one,
        (many, Some(worst)) if worst.verdict == CheckVerdict::Pass => {
            CheckResult::pass(format!("{} daemons have files left to open", many.len()))
        }
        (_, Some(worst)) => worst,
        (_, None) => CheckResult::skip("no daemon is seen to run here"),
    }
}

fn limit(daemon: &LocalDaemon) -> CheckResult {
    // Who opens connections needs some left; more than this share of them in use are many.
    let is_short = |files: u64, most: u64| files > most / 10 * 8;
    let hint = format!("LimitNOFILE={FILES_WARN} in the unit of omnirelayd, or ulimit -n {FILES_WARN}");
    let who = format!("omnirelayd (process {})", daemon.pid);
    match (daemon.files_max, daemon.files) {
        (Some(most), Some(files)) if is_short(files, most) => {
            CheckResult::fail(format!("{who} has {files} files open of {most} that it may")).hint(hint)
        }
        (Some(most), _) if most < FILES_WARN => {
            CheckResult::warn(format!("{who} may open {most} files at most")).hint(hint)
        }
        (Some(most), None) => {
            CheckResult::pass(format!("{who} may open {most} files; how many it has is root's to see"))
        }
        (_, _) => CheckResult::pass(format!("{who} has files left to open")),
    }
}

fn clock(machine: &HostFacts) -> CheckResult {
    match machine.clock {
        ClockKeeper::Kept(by) => CheckResult::pass(format!("{by} keeps the clock")),
        ClockKeeper::Nobody => {
            CheckResult::warn("no service that is known keeps the clock; in a container its host may")
                .hint("apt install chrony")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::machine::DataDirectory;
    use omnirelay_settings::Config;

    fn machine() -> HostFacts {
        HostFacts {
            names: vec![("relay.example".into(), Ok(()))],
            daemon: Some((PathBuf::from("d.yaml"), Ok(Config::default()))),
            data: Some(DataDirectory { path: "/data".into(), state: DataState::Fine, free: Some(FREE_WARN) }),
            ports: vec![PortToListenOn {
                address: ([127, 0, 0, 1], 17420).into(),
                key: "control.listen",
                taken: PortAvailability::Free,
            }],
            socket: Some((PathBuf::from("/run/o.sock"), SocketState::There)),
            running: vec![LocalDaemon { pid: 7, files_max: Some(FILES_WARN), files: Some(20) }],
            files: Some(FILES_WARN),
            clock: ClockKeeper::Kept("chrony"),
        }
    }

    fn found(id: &str, machine: &HostFacts) -> CheckResult {
        let mut checks = CATEGORIES.iter().flat_map(|category| category.checks);
        (checks.find(|check| check.id == id).unwrap().judge)(machine)
    }

    fn with(change: impl FnOnce(&mut HostFacts)) -> HostFacts {
        let mut machine = machine();
        change(&mut machine);
        machine
    }

    fn with_data(state: DataState, free: u64) -> HostFacts {
        with(|machine| machine.data = Some(DataDirectory { path: "/data".into(), state, free: Some(free) }))
    }

    fn with_port(taken: PortAvailability) -> HostFacts {
        with(|machine| machine.ports[0].taken = taken)
    }

    fn with_running(most: u64, files: u64) -> HostFacts {
        let daemon = LocalDaemon { pid: 7, files_max: Some(most), files: Some(files) };
        with(|machine| machine.running = vec![daemon])
    }

    #[test]
    fn a_fit_machine_passes() {
        for check in CATEGORIES.iter().flat_map(|category| category.checks) {
            let finding = (check.judge)(&machine());
            assert_eq!(finding.verdict, CheckVerdict::Pass, "{}: {}", check.id, finding.text);
        }
    }

    /// A check, a machine that it finds fault with, its verdict and what it names.
    type Unfit = (&'static str, HostFacts, CheckVerdict, &'static str);

    fn without_room() -> Vec<Unfit> {
        let foreign =
            DataState::Foreign { file: "/data/log".into(), of: "root".into(), dir_of: "omnirelay".into() };
        vec![
            ("doctor-data", with_data(DataState::Open(0o777), FREE_WARN), CheckVerdict::Fail, "0777"),
            ("doctor-data", with_data(DataState::NoFolder, FREE_WARN), CheckVerdict::Fail, "no folder"),
            (
                "doctor-data",
                with_data(DataState::Unreadable("denied".into()), 0),
                CheckVerdict::Unknown,
                "denied",
            ),
            ("doctor-data", with_data(DataState::Shared(0o750), FREE_WARN), CheckVerdict::Warn, "0750"),
            ("doctor-data", with_data(foreign, FREE_WARN), CheckVerdict::Fail, "/data/log belongs to root"),
            ("doctor-space", with_data(DataState::Fine, FREE_WARN - 1), CheckVerdict::Warn, "1023 MiB"),
            ("doctor-space", with_data(DataState::Fine, FREE_FAIL - 1), CheckVerdict::Fail, "99 MiB"),
        ]
    }

    fn unreached() -> Vec<Unfit> {
        let socket = |state| with(|machine| machine.socket = Some(("/run/o/o.sock".into(), state)));
        let no_folder = SocketState::NoFolder("/run/o".into());
        let unnamed = with(|machine| machine.names[0].1 = Err("unknown".into()));
        vec![
            ("doctor-names", unnamed, CheckVerdict::Fail, "relay.ex"),
            ("doctor-ports", with_port(PortAvailability::ByAnother), CheckVerdict::Fail, "another process"),
            (
                "doctor-ports",
                with_port(PortAvailability::Refused("not ours".into())),
                CheckVerdict::Fail,
                "not ours",
            ),
            ("doctor-socket", socket(SocketState::NoSocket), CheckVerdict::Fail, "/run/o/o.sock"),
            ("doctor-socket", socket(SocketState::Open("/run/o".into(), 0o777)), CheckVerdict::Fail, "0777"),
            ("doctor-socket", socket(no_folder), CheckVerdict::Fail, "/run/o is no folder"),
        ]
    }

    fn unfit() -> Vec<Unfit> {
        let misconfigured = with(|machine| machine.daemon.as_mut().unwrap().1 = Err("no".into()));
        let mut unfit = vec![
            ("doctor-config", misconfigured, CheckVerdict::Fail, "no"),
            ("doctor-limits", with_running(1024, 20), CheckVerdict::Warn, "1024 files"),
            (
                "doctor-limits",
                with_running(FILES_WARN, FILES_WARN - 1),
                CheckVerdict::Fail,
                "16383 files open",
            ),
            ("doctor-files", with(|machine| machine.files = Some(1024)), CheckVerdict::Warn, "1024"),
            (
                "doctor-clock",
                with(|machine| machine.clock = ClockKeeper::Nobody),
                CheckVerdict::Warn,
                "keeps the clock",
            ),
        ];
        unfit.extend(without_room());
        unfit.extend(unreached());
        unfit
    }

    #[test]
    fn each_check_fails_when_it_should_and_says_what_to_do() {
        let cases = unfit();
        for (id, machine, verdict, names) in &cases {
            let finding = found(id, machine);
            assert_eq!(finding.verdict, *verdict, "{id}: {}", finding.text);
            assert!(finding.text.contains(names) && finding.hint.is_some(), "{id}: {finding:?}");
        }
        for check in CATEGORIES.iter().flat_map(|category| category.checks) {
            assert!(
                cases.iter().any(|(id, ..)| *id == check.id),
                "{} has no case in which it fails",
                check.id
            );
        }
    }

    #[test]
    fn of_several_daemons_the_worst_is_told() {
        let daemon = |pid, files_max, files| LocalDaemon { pid, files_max, files };
        let fine = daemon(7, Some(FILES_WARN), Some(20));
        for (second, verdict, names) in [
            (daemon(8, Some(1024), None), CheckVerdict::Warn, "process 8"),
            (daemon(9, Some(FILES_WARN), Some(FILES_WARN)), CheckVerdict::Fail, "process 9"),
            (daemon(10, None, Some(1 << 20)), CheckVerdict::Pass, "2 daemons"),
        ] {
            for running in [vec![fine.clone(), second.clone()], vec![second.clone(), fine.clone()]] {
                let finding = found("doctor-limits", &with(|machine| machine.running = running));
                assert_eq!(finding.verdict, verdict, "{}", finding.text);
                assert!(finding.text.contains(names), "{}", finding.text);
            }
        }
        let unseen = with(|machine| machine.running = vec![daemon(7, Some(FILES_WARN), None)]);
        assert!(found("doctor-limits", &unseen).text.contains("root's to see"));
    }

    #[test]
    fn what_is_not_configured_is_left_out() {
        let bare = with(|machine| {
            (machine.daemon, machine.data, machine.socket) = (None, None, None);
            machine.names.clear();
            machine.ports.clear();
            machine.running.clear();
        });
        let parts = ["names", "config", "data", "space", "ports", "socket", "limits"];
        for id in parts.map(|part| format!("doctor-{part}")) {
            let id = id.as_str();
            assert_eq!(found(id, &bare).verdict, CheckVerdict::Skip, "{id}");
        }
        assert_eq!(found("doctor-data", &with_data(DataState::Absent, 0)).verdict, CheckVerdict::Pass);
        assert_eq!(found("doctor-ports", &with_port(PortAvailability::ByDaemon)).verdict, CheckVerdict::Pass);
        assert_eq!(found("doctor-files", &with(|machine| machine.files = None)).verdict, CheckVerdict::Pass);
    }
}
