//! A table that is drawn again in place, as a terminal shows it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use rustix::termios::LocalModes;
use serde_json::json;

use crate::program::{Program, signal};
use crate::stub::{After, Reply, Stub, event, mesh, problem};
use crate::terminal::{Terminal, wait_until};

fn program() -> (Stub, Program) {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url()).with("LANG", "C.UTF-8");
    (stub, program)
}

/// Lines of the screen that begin with a heading of the table.
fn headings(shown: &str) -> usize {
    shown.lines().filter(|line| line.starts_with("ID ") || line.starts_with("SCOPE ")).count()
}

#[test]
fn q_quits_and_what_is_typed_is_not_shown() {
    let (_stub, program) = program();
    for (line, code) in [
        ("mesh peers list --watch --color never", 0),
        ("mesh peers list --watch --until status==dead", 130),
        ("mesh peers list --watch --max-events 9", 130),
    ] {
        let mut terminal = Terminal::start(&program, line, 100);
        terminal.wait_for("q to quit");
        terminal.type_line("look\r\nxyz");
        std::thread::sleep(Duration::from_millis(1200));
        assert!(is_taken(&terminal));
        terminal.type_line("q");
        let (ended, seen) = terminal.end();
        assert_eq!(ended, code, "{line}: {seen}");
        assert!(!seen.contains("look") && !seen.contains("xyz"), "{line}: {seen}");
    }
}

/// Whether keys come one by one and unseen.
fn is_taken(terminal: &Terminal) -> bool {
    let modes = terminal.modes().local_modes;
    let taken = !modes.intersects(LocalModes::ICANON | LocalModes::ECHO);
    assert!(taken || modes.contains(LocalModes::ICANON | LocalModes::ECHO), "half: {modes:?}");
    taken
}

/// Waits until the terminal is taken or given back.
fn wait_until_taken(terminal: &Terminal, taken: bool) {
    wait_until(if taken { "it is taken" } else { "it is given back" }, || is_taken(terminal) == taken);
}

#[test]
fn stopped_process_gives_the_terminal_back_until_it_goes_on() {
    let (_stub, program) = program();
    for end in ["q", "TERM"] {
        let mut terminal = Terminal::controlled(&program, "mesh peers list --watch --color never", 100);
        terminal.wait_for("q to quit");
        wait_until_taken(&terminal, true);
        terminal.type_line("\x1a");
        wait_until_taken(&terminal, false);
        terminal.wait_until_stopped();
        terminal.write_beside("what a shell says");
        // The time of the next drawing comes and goes.
        std::thread::sleep(Duration::from_millis(1100));
        if end == "TERM" {
            terminal.signal_group(Signal::TERM);
        }
        let stopped = terminal.seen.len();
        terminal.signal_group(Signal::CONT);
        if end == "q" {
            terminal.wait_for_after(stopped, "q to quit");
            wait_until_taken(&terminal, true);
            let shown = terminal.screen(24, 100, None);
            assert_eq!(headings(&shown), 2, "a new table stands below what a shell has written: {shown}");
            assert!(shown.contains("what a shell says"), "{shown}");
            terminal.type_line("q");
        }
        terminal.wait_for_end();
        assert!(!is_taken(&terminal), "{end}");
    }
}

#[test]
fn width_of_the_environment_leaves_one_table() {
    let stub = Stub::start(|request, _| mesh(request));
    let wide = Program::at(&stub.url()).with("LANG", "C.UTF-8").with("COLUMNS", "200");
    let mut terminal = Terminal::sized(&wide, "mesh peers list --watch --color never", 60, 12);
    std::thread::sleep(Duration::from_millis(3500));
    signal(&terminal.child, Signal::INT);
    terminal.wait_for_end();
    let shown = terminal.screen(12, 60, None);
    assert_eq!((headings(&shown), terminal.scrolled(12, 60)), (1, 0), "{shown}");
    assert!(terminal.seen.matches("\x1b[J").count() > 1, "drawn again");
}

#[test]
fn steps_on_the_same_terminal_are_told_between_lines() {
    let (_stub, program) = program();
    let mut terminal = Terminal::start(&program, "mesh peers list --watch -v", 100);
    terminal.wait_for("modified");
    assert!(!terminal.seen.contains("\x1b[J") && terminal.seen.contains("snapshot"), "{}", terminal.seen);
    signal(&terminal.child, Signal::INT);
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn terminal_is_given_back_as_it_was() {
    let (_stub, program) = program();
    for end in ["q", "\x03", "TERM"] {
        let mut terminal = Terminal::controlled(&program, "mesh peers list --watch", 100);
        terminal.wait_for("q to quit");
        match end {
            "TERM" => terminal.signal_group(Signal::TERM),
            key => terminal.type_line(key),
        }
        terminal.wait_for_end();
        assert!(!is_taken(&terminal), "{end:?}");
    }
}

#[test]
fn resized_terminal_shows_one_table() {
    let (_stub, program) = program();
    for (columns, rows) in [(40, 24), (100, 8), (30, 6), (200, 50)] {
        let mut terminal = Terminal::controlled(&program, "mesh peers list --watch", 120);
        terminal.wait_for("q to quit");
        let before = terminal.seen.len();
        terminal.resize(columns, rows);
        // The signal has it drawn at once, and the passing time again.
        terminal.wait_for_after(before, "q to quit");
        let again = terminal.seen.len();
        terminal.wait_for_after(again, "q to quit");
        let shown = terminal.screen(24, 120, Some((before, rows, columns)));
        assert_eq!(headings(&shown), 1, "{columns}x{rows}:\n{shown}");
        let lines = shown.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines < usize::from(rows), "{columns}x{rows}:\n{shown}");
    }
}

#[test]
fn short_and_narrow_screens_show_one_table_however_often_it_is_drawn() {
    let (_stub, program) = program();
    let lines = ["mesh peers list --watch --color never", "mesh leaders status --watch --no-trunc"];
    let sizes = [(12, 24), (60, 5), (20, 4), (8, 3), (1, 1)];
    let cases = sizes.into_iter().flat_map(|size| lines.map(|line| (size, line)));
    let running: Vec<_> = cases
        .map(|((columns, rows), line)| (columns, rows, Terminal::sized(&program, line, columns, rows)))
        .collect();
    std::thread::sleep(Duration::from_millis(4000));
    for (columns, rows, mut terminal) in running {
        signal(&terminal.child, Signal::INT);
        terminal.wait_for_end();
        let shown = terminal.screen(rows, columns, None);
        assert!(headings(&shown) <= 1, "{columns}x{rows}:\n{shown}");
        assert_eq!(terminal.scrolled(rows, columns), 0, "{columns}x{rows}: what was drawn has scrolled away");
        assert!(rows == 1 || terminal.seen.matches("\x1b[J").count() > 1, "{columns}x{rows}: drawn again");
    }
}

#[test]
fn lost_connection_is_said_in_the_table_until_it_is_back() {
    let away = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&away);
    let streams = Arc::new(Mutex::new(0));
    let stub = Stub::start(move |request, _| match mesh(request) {
        _ if told.load(Ordering::Relaxed) => problem("unavailable", "STORE_UNAVAILABLE", 503),
        // The first stream ends, and so the next is asked for.
        Reply::Events(events, _) => {
            let mut streams = streams.lock().unwrap();
            *streams += 1;
            if *streams == 1 {
                told.store(true, Ordering::Relaxed);
                Reply::Events(events, After::Close)
            } else {
                Reply::Events(events, After::Stay)
            }
        }
        other => other,
    });
    let program = Program::at(&stub.url()).with("LANG", "C.UTF-8");
    let mut terminal = Terminal::start(&program, "mesh peers list --watch", 140);
    terminal.wait_for(" ago · q to quit · trying again: the daemon says unavailable");
    let lost = terminal.screen(24, 140, None);
    assert!(headings(&lost) == 1 && lost.contains("relay-c0de"), "{lost}");
    away.store(false, Ordering::Relaxed);
    let at = terminal.seen.len();
    terminal.wait_for_after(at, "· live ");
    let back = terminal.screen(24, 140, None);
    assert!(headings(&back) == 1 && !back.contains("lost"), "{back}");
    assert!(!back.contains("reconnecting"), "{back}");
    signal(&terminal.child, Signal::INT);
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn leases_go_on_in_a_live_table() {
    let (stub, program) = program();
    let mut terminal = Terminal::start(&program, "mesh leaders status --watch --color never", 120);
    terminal.wait_for("rev 7f2c:48241");
    let at = terminal.seen.len();
    terminal.wait_for_after(at, "▇▇▇▇▇▇▁▁ 1.");
    // All of a drawing.
    terminal.wait_for_after(at, "q to quit");
    let shown = terminal.screen(24, 120, None);
    assert!(shown.contains("LEASE") && headings(&shown) == 1, "{shown}");
    let asked = || {
        let is_question = |path: &str| path.starts_with("/control/leaders?") && path.contains("scope=");
        stub.requests().iter().filter(|request| is_question(&request.path)).count()
    };
    assert!(
        asked() > 0,
        "{:?}",
        stub.requests().iter().map(|request| request.path.clone()).collect::<Vec<_>>()
    );
    signal(&terminal.child, Signal::INT);
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn answer_that_comes_while_the_list_begins_anew_is_taken() {
    let streams = Arc::new(AtomicUsize::new(0));
    let begun = streams.clone();
    let stub = Stub::start(move |request, _| {
        if request.path.starts_with("/control/leaders?") && request.path.contains("scope=") {
            std::thread::sleep(Duration::from_millis(300));
        }
        match mesh(request) {
            Reply::Events(events, _) if begun.fetch_add(1, Ordering::Relaxed) == 0 => {
                Reply::Events(events, After::Close)
            }
            // What was known is too old, and the list is long in coming.
            Reply::Events(..) => {
                let reset = json!({"type": "reset", "cursor": "", "prevCursor": "", "reason": "compacted"});
                Reply::Events(vec![event(&reset)], After::Stay)
            }
            other => other,
        }
    });
    let program = Program::at(&stub.url()).with("LANG", "C.UTF-8");
    let mut terminal = Terminal::start(&program, "mesh leaders status --watch --color never", 120);
    wait_until("it asks for a second stream", || streams.load(Ordering::Relaxed) == 2);
    std::thread::sleep(Duration::from_millis(900));
    terminal.type_line("q");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
}

#[test]
fn dumb_terminal_gets_lines() {
    let (stub, _) = program();
    let dumb = Program::at(&stub.url()).with("TERM", "dumb");
    let mut terminal = Terminal::start(&dumb, "mesh peers list --watch", 100);
    terminal.wait_for("modified");
    assert!(!terminal.seen.contains('\x1b') && terminal.seen.contains("snapshot"), "{}", terminal.seen);
    signal(&terminal.child, Signal::INT);
    assert_eq!(terminal.end().0, 130);
}

#[test]
fn note_about_what_is_absent_stands_above_the_table() {
    let (_stub, program) = program();
    let mut terminal = Terminal::start(&program, "mesh leaders status jobs/none --watch --color never", 120);
    terminal.wait_for("There is no leader/jobs/none yet.");
    let at = terminal.seen.len();
    terminal.wait_for_after(at, "q to quit");
    let shown = terminal.screen(24, 120, None);
    assert_eq!((headings(&shown), shown.matches("There is no").count()), (1, 1), "{shown}");
    signal(&terminal.child, Signal::INT);
    assert_eq!(terminal.end().0, 130);
}
