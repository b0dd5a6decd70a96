//! What the doctor checks.

use super::machine::{Clock, DataState, Machine, Taken};
use crate::cli::check::client;
use crate::cli::check::finding::{Category, Check, Finding};

/// Judges this machine.
pub type Examine = fn(&Machine) -> Finding;

pub static CATEGORIES: &[&Category<Examine>] = &[&COMMAND_LINE, &DAEMON, &HOST];

static COMMAND_LINE: Category<Examine> = Category {
    name: "command-line",
    page: "guides/scripting.md",
    checks: &[
        Check::new(
            "doctor-contexts",
            "the file of contexts is valid and private",
            "The file with the contexts cannot be used as it is, or others can read it, and so learn where meshes are.",
            |machine| client::file(&machine.contexts),
        ),
        Check::new(
            "doctor-home",
            "the folder of contexts can be written",
            "No context can be written, so that `omnirelay up` makes none and completion keeps nothing. Addresses can \
             still be given with --addr.",
            home,
        ),
        Check::new(
            "doctor-names",
            "every name that is configured has an address",
            "A host that a context or the daemon's configuration names is not known to the name server.",
            names,
        ),
    ],
    items: &[],
};

static DAEMON: Category<Examine> = Category {
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
            "The folder that holds the registry, the node's id and its keys is not there, or anybody may change what is \
             in it.",
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
            "the daemon's port is free, or a daemon has it",
            "omnirelayd does not start while another process listens on its port.",
            ports,
        ),
    ],
    items: &[],
};

static HOST: Category<Examine> = Category {
    name: "host",
    page: "guides/operations.md",
    checks: &[
        Check::new(
            "doctor-files",
            "a process may open enough files",
            "Each agent, watch and client is an open file: with few of them a daemon turns connections away.",
            files,
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

fn home(machine: &Machine) -> Finding {
    let (folder, can) = &machine.home;
    let path = folder.display();
    match can {
        Ok(()) => Finding::pass(format!("{path} can be written")),
        Err(why) => Finding::warn(format!("{path} cannot be written: {why}"))
            .hint("name a file that can be with OMNIRELAY_CONFIG"),
    }
}

fn names(machine: &Machine) -> Finding {
    let failed = machine.names.iter().filter_map(|(name, found)| Some((name, found.as_ref().err()?)));
    let told: Vec<String> = failed.map(|(name, why)| format!("{name}: {why}")).collect();
    match (machine.names.len(), told.as_slice()) {
        (0, _) => Finding::skip("no name has to be looked up"),
        (_, []) => Finding::pass("every name has an address"),
        (_, told) => Finding::fail(told.join("; ")).hint(
            "getent hosts NAME; then correct the name: omnirelay context list, omnirelayd config print",
        ),
    }
}

fn config(machine: &Machine) -> Finding {
    match &machine.daemon {
        None => Finding::skip("there is no configuration of a daemon here (--daemon-config FILE)"),
        Some((path, Ok(_))) => Finding::pass(format!("{} is valid", path.display())),
        Some((path, Err(why))) => {
            Finding::fail(why.clone()).hint(format!("omnirelayd config validate --config {}", path.display()))
        }
    }
}

fn data(machine: &Machine) -> Finding {
    let Some(data) = &machine.data else {
        return Finding::skip("no data directory is configured (--data-dir DIR)");
    };
    let path = data.path.display();
    match &data.state {
        DataState::Fine => Finding::pass(format!("{path} is there, and not open to all")),
        DataState::Absent => Finding::pass(format!("{path} is not there yet; the daemon makes it")),
        DataState::NoFolder => Finding::fail(format!("{path} is no folder"))
            .hint("name another one: node.dataDir in the daemon's configuration"),
        DataState::Open(mode) => Finding::fail(format!("anybody may write to {path} ({mode:04o})"))
            .hint(format!("chmod 700 {path}")),
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
        return Finding::skip("no data directory is configured (--data-dir DIR)");
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
    for (address, taken) in &machine.ports {
        let port = address.port();
        match taken {
            Taken::Free => fine.push(format!("{address} is free")),
            Taken::ByDaemon => fine.push(format!("a daemon answers at {address}")),
            Taken::ByAnother => {
                return Finding::fail(format!("another process listens on {address}"))
                    .hint(format!("ss -ltnp 'sport = :{port}'     # which; or set control.listen"));
            }
            Taken::Refused(why) => {
                return Finding::fail(format!("nobody can listen on {address}: {why}"))
                    .hint("set control.listen to an address of this host");
            }
        }
    }
    if fine.is_empty() {
        Finding::skip("there is no configuration of a daemon here")
    } else {
        Finding::pass(fine.join("; "))
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
    use crate::cli::check::finding::Verdict;
    use crate::cli::doctor::machine::Data;
    use crate::cli::frame::context_file::ContextFile;
    use crate::daemon::config::Config;

    fn machine() -> Machine {
        Machine {
            contexts: Ok(ContextFile::default()),
            home: (PathBuf::from("/home/a"), Ok(())),
            names: vec![("relay.example".into(), Ok(()))],
            daemon: Some((PathBuf::from("d.yaml"), Ok(Config::default()))),
            data: Some(Data { path: "/data".into(), state: DataState::Fine, free: Some(FREE_WARN) }),
            ports: vec![(([127, 0, 0, 1], 17420).into(), Taken::Free)],
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

    fn with_port(taken: Taken) -> Machine {
        with(|machine| machine.ports[0].1 = taken)
    }

    #[test]
    fn a_fit_machine_passes() {
        for check in CATEGORIES.iter().flat_map(|category| category.checks) {
            let finding = (check.judge)(&machine());
            assert_eq!(finding.verdict, Verdict::Pass, "{}: {}", check.id, finding.text);
        }
    }

    #[test]
    fn each_check_fails_when_it_should_and_says_what_to_do() {
        let mut loose = ContextFile::default();
        loose.mode = Some(0o644);
        let cases = [
            ("doctor-contexts", with(|machine| machine.contexts = Ok(loose)), Verdict::Warn, "0644"),
            (
                "doctor-home",
                with(|machine| machine.home.1 = Err("read-only".into())),
                Verdict::Warn,
                "read-only",
            ),
            (
                "doctor-names",
                with(|machine| machine.names[0].1 = Err("unknown".into())),
                Verdict::Fail,
                "relay.ex",
            ),
            (
                "doctor-config",
                with(|machine| machine.daemon.as_mut().unwrap().1 = Err("no".into())),
                Verdict::Fail,
                "no",
            ),
            ("doctor-data", with_data(DataState::Open(0o777), FREE_WARN), Verdict::Fail, "0777"),
            ("doctor-data", with_data(DataState::NoFolder, FREE_WARN), Verdict::Fail, "no folder"),
            ("doctor-data", with_data(DataState::Unreadable("denied".into()), 0), Verdict::Unknown, "denied"),
            ("doctor-space", with_data(DataState::Fine, FREE_WARN - 1), Verdict::Warn, "1023 MiB"),
            ("doctor-space", with_data(DataState::Fine, FREE_FAIL - 1), Verdict::Fail, "99 MiB"),
            ("doctor-ports", with_port(Taken::ByAnother), Verdict::Fail, "another process"),
            ("doctor-ports", with_port(Taken::Refused("not ours".into())), Verdict::Fail, "not ours"),
            ("doctor-files", with(|machine| machine.files = Some(1024)), Verdict::Warn, "1024"),
            ("doctor-clock", with(|machine| machine.clock = Clock::Nobody), Verdict::Warn, "keeps the clock"),
        ];
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
    fn what_is_not_configured_is_left_out() {
        let bare = with(|machine| {
            (machine.daemon, machine.data) = (None, None);
            machine.names.clear();
            machine.ports.clear();
        });
        for id in ["doctor-names", "doctor-config", "doctor-data", "doctor-space", "doctor-ports"] {
            assert_eq!(found(id, &bare).verdict, Verdict::Skip, "{id}");
        }
        assert_eq!(found("doctor-data", &with_data(DataState::Absent, 0)).verdict, Verdict::Pass);
        assert_eq!(found("doctor-ports", &with_port(Taken::ByDaemon)).verdict, Verdict::Pass);
        assert_eq!(found("doctor-files", &with(|machine| machine.files = None)).verdict, Verdict::Pass);
    }
}
