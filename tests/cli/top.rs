//! The live terminal of a mesh: what it shows of a mesh of its own, and that it gives the terminal back in every end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::mesh::Mesh;
use crate::program::Program;
use crate::stub::{Stub, answer, mesh, peer};
use crate::terminal::Terminal;

const ROWS: u16 = 24;
const COLUMNS: u16 = 100;

/// Modes of the terminal before and after, as `stty` says them.
fn modes(seen: &str) -> Vec<&str> {
    seen.lines().map(str::trim).filter_map(|line| Some(line.split_once("modes=")?.1)).collect()
}

/// Starts it in a shell that says how the terminal is set before and after.
fn start(program: &Program, flags: &str) -> Terminal {
    let path = env!("CARGO_BIN_EXE_omnirelay");
    let script = format!("echo modes=$(stty -g); {path} mesh top {flags}; echo ended=$? modes=$(stty -g)");
    let mut command = std::process::Command::new("setsid");
    command.args(["--ctty", "--wait", "sh", "-c", &script]);
    program.clean(&mut command);
    Terminal::of(command, COLUMNS, ROWS)
}

fn screen(terminal: &Terminal) -> String {
    terminal.screen(ROWS, COLUMNS, None)
}

/// Waits until the terminal is as it was, with the program ended so.
fn check_given_back(mut terminal: Terminal, code: i32, what: &str) {
    terminal.wait_for(&format!("ended={code}"));
    terminal.wait_for_end();
    let modes = modes(&terminal.seen);
    assert_eq!(modes.len(), 2, "{what}: {}", terminal.seen);
    assert_eq!(modes[0], modes[1], "{what}");
    let left = terminal.seen.rfind("\x1b[?1049l").unwrap_or_else(|| panic!("{what}: it stays on its screen"));
    assert!(left > terminal.seen.rfind("\x1b[?1049h").unwrap(), "{what}");
    assert!(terminal.seen.rfind("\x1b[?25h") > terminal.seen.rfind("\x1b[?25l"), "{what}: no cursor");
}

#[test]
fn live_terminal_shows_the_mesh_and_what_changes_within_a_second() {
    let mut mesh = Mesh::up();
    mesh.until("mesh peers list -o json", |list| list["totalSize"] == 3);
    let mut terminal = start(&mesh.program, "");
    terminal.wait_for_screen(ROWS, COLUMNS, "node-3");
    terminal.wait_for_screen(ROWS, COLUMNS, "live");
    assert!(screen(&terminal).contains("3 peers"), "{}", screen(&terminal));
    assert_eq!(mesh.program.run("mesh peers cordon node-3 --reason disk").code, 0);
    let began = Instant::now();
    terminal.wait_for_screen(ROWS, COLUMNS, "alive,cordoned");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    terminal.wait_for_screen(ROWS, COLUMNS, "peers.cordon by local: disk");
    terminal.type_line("jj");
    terminal.wait_for_screen(ROWS, COLUMNS, "$ omnirelay mesh peers explain node-3 --context dev");
    terminal.type_line("c");
    terminal.wait_for("\x1b]52;c;");
    terminal.wait_for_screen(ROWS, COLUMNS, "copied (OSC 52)");
    terminal.type_line("e");
    terminal.wait_for_screen(ROWS, COLUMNS, "node-3 is alive");
    // Escape and what is typed right behind it come as one.
    terminal.type_line("\x1b2");
    terminal.wait_for_screen(ROWS, COLUMNS, "2 PEERS");
    terminal.type_line("/zone=nowhere\r");
    terminal.wait_for_screen(ROWS, COLUMNS, "none fits");
    terminal.type_line("qqq");
    check_given_back(terminal, 0, "q");

    let terminal = behind(&mut mesh);
    mesh.restart();
    let mut terminal = terminal;
    terminal.wait_for_screen(ROWS, COLUMNS, "* live");
    terminal.type_line("q");
    check_given_back(terminal, 0, "after a restart");
}

/// Watches the mesh go away.
fn behind(mesh: &mut Mesh) -> Terminal {
    let mut terminal = start(&mesh.program, "");
    terminal.wait_for_screen(ROWS, COLUMNS, "* live");
    mesh.stop();
    terminal.wait_for_screen(ROWS, COLUMNS, "behind");
    assert!(screen(&terminal).contains("node-3"), "what was known stays: {}", screen(&terminal));
    terminal
}

fn stub() -> (Stub, Program) {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url()).with("LANG", "C.UTF-8");
    (stub, program)
}

#[test]
fn every_end_gives_the_terminal_back() {
    let (_stub, program) = stub();
    for (what, flags, typed, code) in
        [("q", "", "q", 0), ("Ctrl-C", "", "\x03", 130), ("time", "--for 1s", "", 0)]
    {
        let mut terminal = start(&program, flags);
        terminal.wait_for_screen(ROWS, COLUMNS, "PEER");
        terminal.type_line(typed);
        check_given_back(terminal, code, what);
    }
    let mut terminal = start(&program, "");
    terminal.wait_for_screen(ROWS, COLUMNS, "PEER");
    // The shell that waits is in the group as well.
    terminal.signal_program(Signal::TERM);
    check_given_back(terminal, 143, "SIGTERM");
}

#[test]
fn stopped_terminal_is_given_back_until_it_goes_on() {
    let (_stub, program) = stub();
    let mut terminal = Terminal::controlled(&program, "mesh top", COLUMNS);
    terminal.wait_for_screen(ROWS, COLUMNS, "PEER");
    terminal.type_line("\x1a");
    terminal.wait_for("\x1b[?1049l");
    terminal.wait_until_stopped();
    let modes = terminal.modes().local_modes;
    assert!(modes.contains(rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO));
    terminal.write_beside("what a shell says");
    let stopped = terminal.seen.len();
    terminal.signal_group(Signal::CONT);
    terminal.wait_for_after(stopped, "PEER");
    terminal.type_line("q");
    terminal.wait_for_end();
    assert!(terminal.seen.rfind("\x1b[?1049l") > terminal.seen.rfind("\x1b[?1049h"));
}

#[test]
fn without_a_terminal_the_overview_is_printed_once() {
    let (_stub, program) = stub();
    let ended = program.run("mesh top");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("PEER") && !ended.stdout.contains('\x1b'), "{}", ended.stdout);
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 80), "{}", ended.stdout);
    let document = program.run("mesh top -o json").json();
    assert!(document["peers"]["total"].as_u64() > Some(0), "{document}");
}

#[test]
fn one_overview_counts_all_peers_and_no_part_of_anything() {
    let stub = Stub::start(|request, _| {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if path == "/control/peers" {
            let (size, total) = match query.contains("status=") {
                true => (1, if query.contains("status=alive") { 397 } else { 1 }),
                false => (100, 400),
            };
            let peers: Vec<_> = (0..size).map(|n| peer(&format!("n{n:05}"), "alive", false)).collect();
            return answer(serde_json::json!({"peers": peers, "totalSize": total, "nextPageToken": "more"}));
        }
        mesh(request)
    });
    let program = Program::at(&stub.url()).with("LANG", "C.UTF-8");
    let document = program.run("mesh top -o json").json();
    let expected = serde_json::json!({"total": 400, "alive": 397, "suspect": 1, "dead": 1, "left": 1});
    assert_eq!(document["peers"], expected, "{document}");
    let ended = program.run("mesh top --once");
    assert!(ended.stdout.contains("400 peers 397"), "{}", ended.stdout);
}

/// Requests that came, by kind.
#[derive(Debug, Default)]
struct Asked {
    streams: AtomicUsize,
    pages: AtomicUsize,
    others: AtomicUsize,
}

#[test]
fn ten_thousand_peers_are_one_stream_and_no_more_pages_than_are_looked_at() {
    const PEERS: usize = 10_000;
    let asked = Arc::new(Asked::default());
    let counted = asked.clone();
    let stub = Stub::start(move |request, _| {
        let path = request.path.split('?').next().unwrap();
        let query = |name: &str| {
            let pairs = request.path.split_once('?').map_or("", |(_, query)| query).split('&');
            pairs.filter_map(|pair| pair.strip_prefix(name)).next().unwrap_or("").parse::<usize>()
        };
        if path.starts_with("/control/events") {
            counted.streams.fetch_add(1, Ordering::Relaxed);
        } else if path == "/control/peers" {
            counted.pages.fetch_add(1, Ordering::Relaxed);
            let (size, from) = (query("pageSize=").unwrap_or(1000), query("pageToken=").unwrap_or(0));
            let peers: Vec<_> =
                (from..from + size).map(|n| peer(&format!("n{n:05}"), "alive", false)).collect();
            let next = (from + size).to_string();
            return answer(serde_json::json!({"peers": peers, "totalSize": PEERS, "nextPageToken": next}));
        } else {
            counted.others.fetch_add(1, Ordering::Relaxed);
        }
        mesh(request)
    });
    let program = Program::at(&stub.url()).with("LANG", "C.UTF-8");
    let mut terminal = start(&program, "");
    terminal.wait_for_screen(ROWS, COLUMNS, "10000 peers");
    terminal.type_line("2");
    terminal.wait_for_screen(ROWS, COLUMNS, "2 PEERS  10000");
    for last in ["n00099", "n00199", "n00299"] {
        terminal.type_line("G");
        terminal.wait_for_screen(ROWS, COLUMNS, last);
    }
    std::thread::sleep(Duration::from_secs(6));
    terminal.type_line("qq");
    check_given_back(terminal, 0, "q");
    assert_eq!(asked.streams.load(Ordering::Relaxed), 1);
    assert!(asked.pages.load(Ordering::Relaxed) < 40, "{asked:?}");
    assert!(asked.others.load(Ordering::Relaxed) < 40, "{asked:?}");
}
