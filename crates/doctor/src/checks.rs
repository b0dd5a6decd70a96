//! What is checked of a host.

use omnirelay_decisions::check::finding::{Category, Check, Examine, Finding, Verdict};

use super::machine::{Clock, DataState, Machine, Port, PortAvailability, SocketState};
use super::processes::Daemon;

pub static CATEGORIES: &[&Category<Examine<Machine>>] = &[&DAEMON, &HOST];

static DAEMON: Category<Examine<Machine>> = Category {
    name: "daemon",
    page: "guides/configuration.md",
    checks: &[
        Check::new(
            "doctor-config",
            "the daemon's configuration is valid",
            "omnirelayd does not start with this file.",
            config,
        ),
        Check::new(
            "doctor-data",
            "the data directory is the daemon's own",
            "The folder that holds the registry, the node's id and its keys cannot be used, or others than the daemon's \
             user may read or change what is in it. A daemon that was started once as root leaves files there that it \
             cannot open later.",
            data,
        ),
        Check::new(
            "doctor-space",
            "there is room where the store is",
            "When the disk is full, changes are refused until there is room. Sessions and leaders last.",
            space,
        ),
        Check::new(
            "doctor-ports",
            "the daemon's ports are free, or a daemon has them",
            "omnirelayd does not start while another process listens on one of its ports.",
            ports,
        ),
        Check::new(
            "doctor-socket",
            "the daemon can make its unix socket",
            "omnirelayd does not start where its socket has no folder, and takes no other file's place.",
            socket,
        ),
    ],
    items: &[],
};

static HOST: Category<Examine<Machine>> = Category {
    name: "host",
    page: "guides/operations.md",
    checks: &[
        Check::new(
            "doctor-names",
            "every name that is configured has an address",
            "A host that a context or the daemon's configuration names is not known to the name server.",
            names,
        ),
        Check::new(
            "doctor-files",
            "a process may open enough files",
            "Each agent, watch and client is an open file: with few of them a daemon turns connections away.",
            files,
        ),
        Check::new(
            "doctor-limits",
            "the daemons that run here have files left to open",
            "A daemon that has as many files open as it may turns connections away, and a watch or an agent with them.",
            limits,
        ),
        Check::new(
            "doctor-clock",
            "something keeps the clock",
            "Leases hold whatever clocks say, but logs, ages and audit records of different hosts do not line up.",
            clock,
        ),
    ],
    items: &[],
};

fn names(machine: &Machine) -> Finding {
    let failed: Vec<(&String, &String)> =
        machine.names.iter().filter_map(|(name, found)| Some((name, found.as_ref().err()?))).collect();
    let told: Vec<String> = failed.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    match (machine.names.len(), failed.first()) {
        (0, _) => Finding::skip("no name has to be looked up"),
        (_, None) => Finding::pass("every name has an address"),
        (_, Some((name, _))) => Finding::fail(told.join("; ")).hint(format!(
            "getent hosts {name}     # then mend the name: omnirelay context list, omnirelayd config print"
        )),
    }
}

fn config(machine: &Machine) -> Finding {
    match &machine.daemon {
        None => Finding::skip(
            "no file is found or named (here: --daemon-config FILE; of the daemon: --config FILE)",
        ),
        Some((path, Ok(_))) => Finding::pass(format!("{} is valid", path.display())),
        Some((path, Err(why))) => {
            Finding::fail(why.clone()).hint(format!("omnirelayd config validate --config {}", path.display()))
        }
    }
}

fn data(machine: &Machine) -> Finding {
    let Some(data) = &machine.data else {
        return Finding::skip("where it is says a configuration that cannot be read (--data-dir DIR)");
    };
    let path = data.path.display();
    match &data.state {
        DataState::Fine => Finding::pass(format!("{path} is there, and its owner's alone")),
        DataState::Absent => Finding::pass(format!("{path} is not there yet; the daemon makes it")),
        DataState::NoFolder => Finding::fail(format!("{path} is no folder"))
            .hint("name another one: node.dataDir in the daemon's configuration"),
        DataState::Open(mode) => Finding::fail(format!("anybody may write to {path} ({mode:04o})"))
            .hint(format!("chmod 700 {path}")),
        DataState::Shared(mode) => Finding::warn(format!("others may look into {path} ({mode:04o})"))
            .hint(format!("chmod 700 {path}")),
        DataState::Foreign { file, of, dir_of } => {
            Finding::fail(format!("{} belongs to {of}, and {path} to {dir_of}", file.display()))
                .hint(format!("chown -R {dir_of}: {path}"))
        }
        DataState::Unreadable(why) => {
            Finding::unknown(format!("{path}: {why}")).hint("sudo omnirelay doctor")
        }
    }
}

/// Below this a store soon refuses changes, in bytes.
const FREE_WARN: u64 = 1 << 30;
/// Below this it is about to.
const FREE_FAIL: u64 = 100 << 20;

fn space(machine: &Machine) -> Finding {
    let Some((data, free)) = machine.data.as_ref().and_then(|data| Some((data, data.free?))) else {
        return Finding::skip("where it is says a configuration that cannot be read (--data-dir DIR)");
    };
    let text = format!("{} MiB are free at {}", free >> 20, data.path.display());
    let hint = format!("df -h {}", data.path.display());
    match free {
        ..FREE_FAIL => Finding::fail(text).hint(hint),
        FREE_FAIL..FREE_WARN => Finding::warn(text).hint(hint),
        FREE_WARN.. => Finding::pass(text),
    }
}

fn ports(machine: &Machine) -> Finding {
    let mut fine = Vec::new();
    for Port { address, key, taken } in &machine.ports {
        let port = address.port();
        match taken {
            PortAvailability::Free => fine.push(format!("{address} is free")),
            PortAvailability::ByDaemon if *key == "control.listen" => {
                fine.push(format!("a daemon answers at {address}"));
            }
            PortAvailability::ByDaemon => fine.push(format!("{address} is taken, as where a daemon runs")),
            PortAvailability::ByAnother => {
                return Finding::fail(format!("another process listens on {address}"))
                    .hint(format!("ss -ltnp 'sport = :{port}'     # which; or set {key}"));
            }
            PortAvailability::Reserved => fine.push(format!("{address} is for root to try")),
            PortAvailability::Refused(why) => {
                return Finding::fail(format!("nobody can listen on {address}: {why}"))
                    .hint(format!("set {key} to an address of this host"));
            }
        }
    }
    if fine.is_empty() {
        Finding::skip("which they are says a configuration that cannot be read")
    } else {
        Finding::pass(fine.join("; "))
    }
}

fn socket(machine: &Machine) -> Finding {
    let Some((path, state)) = &machine.socket else {
        return Finding::skip("none is configured (control.socket)");
    };
    let shown = path.display();
    match state {
        SocketState::There => Finding::pass(format!("{shown} is there")),
        SocketState::CanBeMade => Finding::pass(format!("{shown} can be made")),
        SocketState::OfService => Finding::pass(format!("{shown} is made when the service starts")),
        SocketState::Unreadable(why) => Finding::skip(format!("{shown}: {why}")),
        SocketState::Open(folder, mode) => {
            let folder = folder.display();
            Finding::fail(format!("anybody may put another socket into {folder} ({mode:04o})"))
                .hint(format!("chmod 755 {folder}     # or set control.socket"))
        }
        SocketState::NoFolder(folder) => Finding::fail(format!("{} is no folder", folder.display()))
            .hint(format!("make {} as the daemon's user, mode 755; or set control.socket", folder.display())),
        SocketState::NoSocket => {
            Finding::fail(format!("{shown} is something else")).hint("set control.socket to another path")
        }
    }
}

/// Fewer files than this are few for a daemon.
const FILES_WARN: u64 = 16_384;

fn files(machine: &Machine) -> Finding {
    match machine.files {
        None => Finding::pass("a process may open any number of files"),
        Some(files) if files < FILES_WARN => Finding::warn(format!(
            "a process may open {files} files at most"
        ))
        .hint(format!("LimitNOFILE={FILES_WARN} in the unit of omnirelayd, or ulimit -n {FILES_WARN}")),
        Some(files) => Finding::pass(format!("a process may open {files} files")),
    }
}

fn limits(machine: &Machine) -> Finding {
    let grave = |found: &Finding| (found.verdict == Verdict::Fail, found.verdict == Verdict::Warn);
    let found = machine.running.iter().map(limit);
    match (machine.running.as_slice(), found.max_by_key(grave)) {
        ([_], Some(one)) => one,
        (many, Some(worst)) if worst.verdict == Verdict::Pass => {
            Finding::pass(format!("{} daemons have files left to open", many.len()))
        }
        (_, Some(worst)) => worst,
        (_, None) => Finding::skip("no daemon is seen to run here"),
    }
}

fn limit(daemon: &Daemon) -> Finding {
    // Who opens connections needs some left; more than this share of them in use are many.
    let is_short = |files: u64, most: u64| files > most / 10 * 8;
    let hint = format!("LimitNOFILE={FILES_WARN} in the unit of omnirelayd, or ulimit -n {FILES_WARN}");
    let who = format!("omnirelayd (process {})", daemon.pid);
    match (daemon.files_max, daemon.files) {
        (Some(most), Some(files)) if is_short(files, most) => {
            Finding::fail(format!("{who} has {files} files open of {most} that it may")).hint(hint)
        }
        (Some(most), _) if most < FILES_WARN => {
            Finding::warn(format!("{who} may open {most} files at most")).hint(hint)
        }
        (Some(most), None) => {
            Finding::pass(format!("{who} may open {most} files; how many it has is root's to see"))
        }
        (_, _) => Finding::pass(format!("{who} has files left to open")),
    }
}

fn clock(machine: &Machine) -> Finding {
    match machine.clock {
        Clock::Kept(by) => Finding::pass(format!("{by} keeps the clock")),
        Clock::Nobody => {
            Finding::warn("no service that is known keeps the clock; in a container its host may")
                .hint("apt install chrony")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::machine::Data;
    use omnirelay_settings::Config;

    fn machine() -> Machine {
        Machine {
            names: vec![("relay.example".into(), Ok(()))],
            daemon: Some((PathBuf::from("d.yaml"), Ok(Config::default()))),
            data: Some(Data { path: "/data".into(), state: DataState::Fine, free: Some(FREE_WARN) }),
            ports: vec![Port {
                address: ([127, 0, 0, 1], 17420).into(),
                key: "control.listen",
                taken: PortAvailability::Free,
            }],
            socket: Some((PathBuf::from("/run/o.sock"), SocketState::There)),
            running: vec![Daemon { pid: 7, files_max: Some(FILES_WARN), files: Some(20) }],
            files: Some(FILES_WARN),
            clock: Clock::Kept("chrony"),
        }
    }

    fn found(id: &str, machine: &Machine) -> Finding {
        let mut checks = CATEGORIES.iter().flat_map(|category| category.checks);
        (checks.find(|check| check.id == id).unwrap().judge)(machine)
    }

    fn with(change: impl FnOnce(&mut Machine)) -> Machine {
        let mut machine = machine();
        change(&mut machine);
        machine
    }

    fn with_data(state: DataState, free: u64) -> Machine {
        with(|machine| machine.data = Some(Data { path: "/data".into(), state, free: Some(free) }))
    }

    fn with_port(taken: PortAvailability) -> Machine {
        with(|machine| machine.ports[0].taken = taken)
    }

    fn with_running(most: u64, files: u64) -> Machine {
        let daemon = Daemon { pid: 7, files_max: Some(most), files: Some(files) };
        with(|machine| machine.running = vec![daemon])
    }

    #[test]
    fn a_fit_machine_passes() {
        for check in CATEGORIES.iter().flat_map(|category| category.checks) {
            let finding = (check.judge)(&machine());
            assert_eq!(finding.verdict, Verdict::Pass, "{}: {}", check.id, finding.text);
        }
    }

    /// A check, a machine that it finds fault with, its verdict and what it names.
    type Unfit = (&'static str, Machine, Verdict, &'static str);

    fn without_room() -> Vec<Unfit> {
        let foreign =
            DataState::Foreign { file: "/data/log".into(), of: "root".into(), dir_of: "omnirelay".into() };
        vec![
            ("doctor-data", with_data(DataState::Open(0o777), FREE_WARN), Verdict::Fail, "0777"),
            ("doctor-data", with_data(DataState::NoFolder, FREE_WARN), Verdict::Fail, "no folder"),
            ("doctor-data", with_data(DataState::Unreadable("denied".into()), 0), Verdict::Unknown, "denied"),
            ("doctor-data", with_data(DataState::Shared(0o750), FREE_WARN), Verdict::Warn, "0750"),
            ("doctor-data", with_data(foreign, FREE_WARN), Verdict::Fail, "/data/log belongs to root"),
            ("doctor-space", with_data(DataState::Fine, FREE_WARN - 1), Verdict::Warn, "1023 MiB"),
            ("doctor-space", with_data(DataState::Fine, FREE_FAIL - 1), Verdict::Fail, "99 MiB"),
        ]
    }

    fn unreached() -> Vec<Unfit> {
        let socket = |state| with(|machine| machine.socket = Some(("/run/o/o.sock".into(), state)));
        let no_folder = SocketState::NoFolder("/run/o".into());
        let unnamed = with(|machine| machine.names[0].1 = Err("unknown".into()));
        vec![
            ("doctor-names", unnamed, Verdict::Fail, "relay.ex"),
            ("doctor-ports", with_port(PortAvailability::ByAnother), Verdict::Fail, "another process"),
            (
                "doctor-ports",
                with_port(PortAvailability::Refused("not ours".into())),
                Verdict::Fail,
                "not ours",
            ),
            ("doctor-socket", socket(SocketState::NoSocket), Verdict::Fail, "/run/o/o.sock"),
            ("doctor-socket", socket(SocketState::Open("/run/o".into(), 0o777)), Verdict::Fail, "0777"),
            ("doctor-socket", socket(no_folder), Verdict::Fail, "/run/o is no folder"),
        ]
    }

    fn unfit() -> Vec<Unfit> {
        let misconfigured = with(|machine| machine.daemon.as_mut().unwrap().1 = Err("no".into()));
        let mut unfit = vec![
            ("doctor-config", misconfigured, Verdict::Fail, "no"),
            ("doctor-limits", with_running(1024, 20), Verdict::Warn, "1024 files"),
            ("doctor-limits", with_running(FILES_WARN, FILES_WARN - 1), Verdict::Fail, "16383 files open"),
            ("doctor-files", with(|machine| machine.files = Some(1024)), Verdict::Warn, "1024"),
            ("doctor-clock", with(|machine| machine.clock = Clock::Nobody), Verdict::Warn, "keeps the clock"),
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
        let daemon = |pid, files_max, files| Daemon { pid, files_max, files };
        let fine = daemon(7, Some(FILES_WARN), Some(20));
        for (second, verdict, names) in [
            (daemon(8, Some(1024), None), Verdict::Warn, "process 8"),
            (daemon(9, Some(FILES_WARN), Some(FILES_WARN)), Verdict::Fail, "process 9"),
            (daemon(10, None, Some(1 << 20)), Verdict::Pass, "2 daemons"),
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
            assert_eq!(found(id, &bare).verdict, Verdict::Skip, "{id}");
        }
        assert_eq!(found("doctor-data", &with_data(DataState::Absent, 0)).verdict, Verdict::Pass);
        assert_eq!(found("doctor-ports", &with_port(PortAvailability::ByDaemon)).verdict, Verdict::Pass);
        assert_eq!(found("doctor-files", &with(|machine| machine.files = None)).verdict, Verdict::Pass);
    }
}
