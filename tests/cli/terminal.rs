//! What a person at a terminal sees.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcgetpgrp, tcsetwinsize};

use crate::program::{Program, signal};
use crate::stub::{Stub, mesh};

/// The program on a terminal of its own.
pub(crate) struct Terminal {
    master: File,
    slave: Option<File>,
    pub child: Child,
    pub seen: String,
}

impl Terminal {
    pub(crate) fn start(program: &Program, line: &str, columns: u16) -> Self {
        Self::sized(program, line, columns, 24)
    }

    pub(crate) fn sized(program: &Program, line: &str, columns: u16, rows: u16) -> Self {
        Self::of(program.command(line), columns, rows)
    }

    /// As [`Terminal::start`], in a session whose terminal it is: its keys and its size send signals.
    pub(crate) fn controlled(program: &Program, line: &str, columns: u16) -> Self {
        let alone = program.command(line);
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(alone.get_program()).args(alone.get_args());
        program.clean(&mut command);
        Self::of(command, columns, 24)
    }

    /// As [`Terminal::sized`], of any command.
    pub(crate) fn of(mut command: Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        tcsetwinsize(&master, winsize(columns, rows)).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = || File::options().read(true).write(true).custom_flags(NOCTTY).open(&name).unwrap();
        command.stdin(Stdio::from(open())).stdout(Stdio::from(open())).stderr(Stdio::from(open()));
        // Held, so that its modes can be read once the program has ended.
        let slave = open();
        Self {
            child: command.spawn().unwrap(),
            master: File::from(master),
            slave: Some(slave),
            seen: String::new(),
        }
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        tcsetwinsize(&self.master, winsize(columns, rows)).unwrap();
    }

    pub(crate) fn modes(&self) -> Termios {
        tcgetattr(&self.master).unwrap()
    }

    /// Signals what runs in the foreground of the terminal.
    pub(crate) fn signal_group(&self, signal: Signal) {
        kill_process_group(tcgetpgrp(&self.master).unwrap(), signal).unwrap();
    }

    /// Waits until what runs in the foreground of the terminal is stopped.
    pub(crate) fn wait_until_stopped(&self) {
        let process = tcgetpgrp(&self.master).unwrap().as_raw_nonzero();
        let state = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        wait_until("it is stopped", || state().contains(") T "));
    }

    /// Writes a line as another program on the same terminal does, and reads until that is seen: what was written
    /// before it has been read then.
    pub(crate) fn write_beside(&mut self, line: &str) {
        writeln!(self.slave.as_mut().unwrap(), "{line}").unwrap();
        self.wait_for(line);
    }

    /// Waits for `words` that are shown behind the first `seen` bytes.
    pub(crate) fn wait_for_after(&mut self, seen: usize, words: &str) {
        let before = self.seen.drain(..seen).collect::<String>();
        self.wait_for(words);
        self.seen.insert_str(0, &before);
    }

    /// Waits for the end of the program, reading what it still says.
    pub(crate) fn wait_for_end(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end: {}", self.seen);
            std::thread::sleep(Duration::from_millis(10));
        }
        self.slave = None;
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = self.master.read(&mut bytes) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }

    /// What stands on a screen of this size, which got another one behind so many bytes.
    pub(crate) fn screen(&self, rows: u16, columns: u16, resized: Option<(usize, u16, u16)>) -> String {
        self.emulated(rows, columns, resized, 0).screen().contents()
    }

    /// How many lines have left a screen of this size at its top.
    pub(crate) fn scrolled(&self, rows: u16, columns: u16) -> usize {
        let mut emulated = self.emulated(rows, columns, None, 1000);
        emulated.screen_mut().set_scrollback(1000);
        emulated.screen().scrollback()
    }

    fn emulated(
        &self,
        rows: u16,
        columns: u16,
        resized: Option<(usize, u16, u16)>,
        kept: usize,
    ) -> vt100::Parser {
        let mut emulated = vt100::Parser::new(rows, columns, kept);
        let (before, after) = self.seen.as_bytes().split_at(resized.map_or(self.seen.len(), |(at, ..)| at));
        emulated.process(before);
        if let Some((_, rows, columns)) = resized {
            emulated.screen_mut().set_size(rows, columns);
        }
        emulated.process(after);
        emulated
    }

    /// Reads until `words` are seen.
    pub(crate) fn wait_for(&mut self, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.seen.contains(words) {
            assert!(Instant::now() < deadline, "`{words}` never came: {}", self.seen);
            let mut bytes = [0; 4096];
            // The other end is closed once the program has ended.
            let Ok(read) = self.master.read(&mut bytes) else { break };
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        assert!(self.seen.contains(words), "`{words}` never came: {}", self.seen);
    }

    /// Reads until `words` stand on a screen of this size.
    pub(crate) fn wait_for_screen(&mut self, rows: u16, columns: u16, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let shown = self.screen(rows, columns, None);
            if shown.contains(words) {
                return;
            }
            assert!(Instant::now() < deadline, "`{words}` never stood there: {shown}");
            let mut bytes = [0; 4096];
            let read = self.master.read(&mut bytes).unwrap_or(0);
            assert!(read > 0, "`{words}` never stood there: {shown}");
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    }

    /// Signals the program itself, below the shell that waits for it.
    pub(crate) fn signal_program(&self, signal: Signal) {
        let group = tcgetpgrp(&self.master).unwrap().as_raw_nonzero().to_string();
        let found = Command::new("pgrep").args(["-g", &group, "-x", "omnirelay"]).output().unwrap();
        let process = String::from_utf8(found.stdout).unwrap().trim().parse().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(process).unwrap(), signal).unwrap();
    }

    pub(crate) fn type_line(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// The exit code and everything that was shown.
    pub(crate) fn end(mut self) -> (i32, String) {
        self.slave = None;
        let mut bytes = [0; 4096];
        while let Ok(read) = self.master.read(&mut bytes) {
            if read == 0 {
                break;
            }
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        (self.child.wait().unwrap().code().unwrap(), std::mem::take(&mut self.seen))
    }
}

/// Waits for what must come to be.
pub(crate) fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A terminal that is opened becomes that of nobody's session.
const NOCTTY: i32 = OpenptFlags::NOCTTY.bits() as i32;

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> (Stub, Program) {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url()).with("LANG", "C.UTF-8");
    (stub, program)
}

#[test]
fn table_fits_the_terminal_and_keeps_ids_whole() {
    let (_stub, program) = program();
    for (columns, last_heading) in [(40, "STATUS"), (60, "ZONE"), (80, "VERSION"), (200, "LEADS")] {
        let (code, seen) = Terminal::start(&program, "mesh peers list --color never", columns).end();
        assert_eq!(code, 0, "{seen}");
        let table: Vec<&str> = seen.lines().take(4).map(str::trim_end).collect();
        assert!(table[0].ends_with(last_heading), "{columns}: {seen}");
        for (line, id) in table[1..].iter().zip(["relay-a7f3", "relay-b119", "relay-c0de"]) {
            assert!(line.starts_with(id), "{columns}: {line}");
            assert!(line.chars().count() <= usize::from(columns), "{columns}: {line}");
        }
        assert_eq!(seen.contains("The terminal is too narrow for "), columns <= 80, "{columns}: {seen}");
    }
}

#[test]
fn columns_variable_wins_over_the_terminal() {
    let stub = Stub::start(|request, _| mesh(request));
    let narrow = Program::at(&stub.url()).with("COLUMNS", "40");
    let (_, seen) = Terminal::start(&narrow, "mesh peers list --color never", 200).end();
    assert!(seen.lines().next().unwrap().trim_end().ends_with("STATUS"), "{seen}");
    let (_, seen) = Terminal::start(&narrow, "mesh peers list --color never --no-trunc", 200).end();
    assert!(seen.lines().next().unwrap().trim_end().ends_with("LEADS"), "{seen}");
}

#[test]
fn colour_marks_words_on_a_terminal_only() {
    let (_stub, program) = program();
    let (_, seen) = Terminal::start(&program, "mesh peers list", 100).end();
    assert!(seen.contains("\x1b[32malive\x1b[0m") && seen.contains("\x1b[33msuspect\x1b[0m"), "{seen}");
    let dumb = Program::at(&_stub.url()).with("TERM", "dumb");
    let (_, seen) = Terminal::start(&dumb, "mesh peers list", 100).end();
    assert!(!seen.contains('\x1b'), "{seen}");
}

#[test]
fn json_is_pretty_on_a_terminal() {
    let (_stub, program) = program();
    let (_, seen) = Terminal::start(&program, "mesh peers list -o json", 100).end();
    assert!(seen.starts_with("{\r\n  \"schemaVersion\": \"v1\""), "{seen}");
}

#[test]
fn watch_draws_its_table_again_in_place() {
    let (_stub, program) = program();
    let mut terminal = Terminal::start(&program, "mesh peers list --watch --color never", 100);
    terminal.wait_for("rev 7f2c:48214");
    terminal.wait_for("q to quit");
    assert!(terminal.seen.contains("ID          ROLE"), "{}", terminal.seen);
    terminal.wait_for("A\x1b[J");
    assert!(!terminal.seen.contains("snapshot"), "no log of events: {}", terminal.seen);
    signal(&terminal.child, Signal::INT);
    assert_eq!(terminal.end().0, 130);
    let mut terminal = Terminal::start(&program, "mesh peers watch --max-events 1", 100);
    terminal.wait_for("modified");
    assert!(!terminal.end().1.contains("\x1b[J"), "a log is not drawn again");
}

#[test]
fn question_shows_what_would_happen_and_takes_no_for_an_answer() {
    let (stub, program) = program();
    for (answer, code) in [("y\n", 0), ("yes\n", 0), ("\n", 130), ("n\n", 130)] {
        let mut terminal = Terminal::start(&program, "mesh peers forget relay-b119", 100);
        terminal.wait_for("Forget peer/relay-b119? [y/N]");
        assert!(terminal.seen.contains("would be forgotten"), "{}", terminal.seen);
        let before = stub.requests().len();
        terminal.type_line(answer);
        let (ended, seen) = terminal.end();
        assert_eq!(ended, code, "{answer:?}: {seen}");
        assert_eq!(stub.requests().len() - before, usize::from(code == 0), "{answer:?}");
    }
}

#[test]
fn protected_context_has_its_cluster_typed() {
    let (stub, _) = program();
    let program = Program::new();
    program.write_config(&format!(
        "currentContext: prod\ncontexts: [{{name: prod, address: '{}', cluster: eu-1, protected: true}}]",
        stub.url()
    ));
    for (answer, code) in [("y\n", 130), ("eu-1\n", 0)] {
        let mut terminal = Terminal::start(&program, "mesh peers forget relay-b119 --reason gone", 100);
        terminal.wait_for("Type `eu-1` to confirm:");
        terminal.type_line(answer);
        assert_eq!(terminal.end().0, code, "{answer:?}");
    }
}

#[test]
fn leader_steps_down_only_when_a_person_has_seen_what_changes_and_says_so() {
    let (stub, program) = program();
    for (answer, code, made) in [("n\n", 130, 1), ("y\n", 0, 2)] {
        let before = stub.requests().len();
        let mut terminal = Terminal::start(&program, "mesh leaders step-down global-control", 100);
        terminal.wait_for("Have the leader of global-control step down? [y/N]");
        assert!(terminal.seen.contains("leader: relay-a7f3 -> -"), "the plan comes first: {}", terminal.seen);
        terminal.type_line(answer);
        assert_eq!(terminal.end().0, code, "{answer:?}");
        let bodies: Vec<String> =
            stub.requests()[before..].iter().map(|request| request.body.clone()).collect();
        assert_eq!(bodies.len(), made, "{bodies:?}");
        assert!(bodies[0].contains("\"dryRun\":true"), "{bodies:?}");
        assert!(bodies[1..].iter().all(|body| !body.contains("dryRun")), "{bodies:?}");
    }
}

#[test]
fn lease_has_a_bar_where_it_can_be_shown() {
    let (stub, program) = program();
    let (_, seen) = Terminal::start(&program, "mesh leaders status --color never", 100).end();
    assert!(seen.contains("  ▇▇▇▇▇▇▁▁ 1.4s  "), "{seen}");
    let ascii = Program::at(&stub.url()).with("LANG", "C");
    let (_, seen) = Terminal::start(&ascii, "mesh leaders status --color never", 100).end();
    assert!(seen.contains("  1.4s   ") && seen.is_ascii(), "{seen}");
}

#[test]
fn watch_of_leaders_is_drawn_in_place_and_tells_each_transition_below() {
    let (_stub, program) = program();
    let mut terminal = Terminal::start(&program, "mesh leaders status --watch --color never", 100);
    terminal.wait_for("rev 7f2c:48241");
    let happened =
        "  ↳ 06:02:11  shard/orders/04  relay-c0de -> relay-b119  cause=lease_expired  without a leader 1.9s";
    let table = terminal.seen.split("FLAPS/1h").last().unwrap();
    assert!(table.contains(happened), "{}", terminal.seen);
    assert!(table.find("shard/orders/03") < table.find(happened), "below the rows: {}", terminal.seen);
    signal(&terminal.child, Signal::INT);
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn watch_of_registers_is_a_table_unless_lines_are_wanted() {
    let (_stub, program) = program();
    for line in ["registers watch --color never", "registers available --watch --color never"] {
        let mut terminal = Terminal::start(&program, line, 100);
        terminal.wait_for("rev 7f2c:48215");
        let drawn = terminal.seen.split("REGISTER").last().unwrap();
        assert!(drawn.contains("reg-orders  relay-b119  catalogue  Orders       17"), "{}", terminal.seen);
        assert!(!drawn.contains("relay-a7f3"), "what was removed has no row: {}", terminal.seen);
        signal(&terminal.child, Signal::INT);
        assert_eq!(terminal.end().0, 130);
    }
    let (code, seen) = Terminal::start(&program, "registers watch --append --max-events 2", 100).end();
    assert!(code == 0 && seen.contains("  removed   reg-orders/relay-a7f3/catalogue"), "{code}: {seen}");
}

#[test]
fn nobody_is_asked_where_questions_are_unwelcome() {
    let (stub, _) = program();
    let ci = Program::at(&stub.url()).with("CI", "true");
    assert_eq!(Terminal::start(&ci, "mesh peers forget relay-b119", 100).end().0, 2);
    let (_stub, program) = program();
    assert_eq!(Terminal::start(&program, "mesh peers forget relay-b119 --no-input", 100).end().0, 2);
}

#[test]
fn check_uses_signs_where_they_can_be_shown() {
    let (stub, program) = program();
    let (_, seen) =
        Terminal::start(&program, "mesh check --skip client-clock,leadership-led --color never", 100).end();
    assert!(seen.contains("  ✓ ") && seen.contains("  ! suspect: relay-b119"), "{seen}");
    let ascii = Program::at(&stub.url()).with("LANG", "C");
    let (_, seen) =
        Terminal::start(&ascii, "mesh check --skip client-clock,leadership-led --color never", 100).end();
    assert!(seen.contains("  ok   ") && seen.is_ascii(), "{seen}");
}
