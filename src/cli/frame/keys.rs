//! Keys typed while something is drawn again and again: they are not shown, and one of them ends it.

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use omnirelay_wire::reasons;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use signal_hook::consts::{SIGQUIT, SIGTSTP};
use signal_hook::low_level::emulate_default_handler;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;
use super::signals::ResumeFlag;

/// How often is looked for a key: nobody feels a delay this short.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The keyboard, each key at once and unseen, until this is dropped or the process is stopped. Ctrl-C stays a signal.
#[derive(Debug)]
pub(crate) struct KeyboardInput {
    before: Termios,
    stopped: Signal,
    continued: Signal,
    quit: Signal,
    stop_is_over: ResumeFlag,
}

impl KeyboardInput {
    /// Takes the keyboard, and tells when this process has stopped itself. `None` when standard input is no terminal, or
    /// belongs to the foreground while this runs in the background.
    ///
    /// # Errors
    /// When this process cannot have signals.
    pub(crate) fn take(stop_is_over: ResumeFlag) -> Result<Option<Self>, CliError> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() || !is_in_foreground() {
            return Ok(None);
        }
        let listen = |number| {
            signal(SignalKind::from_raw(number))
                .map_err(|error| CliError::local(reasons::SIGNALS, "cannot listen for signals", &error))
        };
        // First, so that none of them comes while the terminal is not as it was and nobody listens.
        let (stopped, quit) = (listen(SIGTSTP)?, listen(SIGQUIT)?);
        let continued = listen(signal_hook::consts::SIGCONT)?;
        let Ok(before) = tcgetattr(&stdin) else { return Ok(None) };
        let keys = Self { before, stopped, continued, quit, stop_is_over };
        keys.hide();
        Ok(Some(keys))
    }

    /// Waits for `q`; for ever where there is no keyboard. While the process is stopped, or in the background, the
    /// terminal is as it was.
    pub(crate) async fn quit(keys: &mut Option<Self>) {
        match keys {
            Some(keys) => keys.wait().await,
            None => std::future::pending().await,
        }
    }

    async fn wait(&mut self) {
        loop {
            tokio::select! {
                _ = self.stopped.recv() => {
                    self.show();
                    // It comes back once the process is continued.
                    let _ = emulate_default_handler(SIGTSTP);
                    self.stop_is_over.note();
                    self.hide();
                }
                _ = self.continued.recv() => self.hide(),
                _ = self.quit.recv() => {
                    self.show();
                    let _ = emulate_default_handler(SIGQUIT);
                }
                () = tokio::time::sleep(LOOK_EVERY) => {
                    if typed().iter().any(|key| matches!(key, b'q' | b'Q')) {
                        return;
                    }
                }
            }
        }
    }

    /// Each key at once and unseen. Who sets a terminal from the background is stopped.
    fn hide(&self) {
        let mut unseen = self.before.clone();
        unseen.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        self.set(&unseen);
    }

    fn show(&self) {
        self.set(&self.before);
    }

    fn set(&self, modes: &Termios) {
        if is_in_foreground() {
            // A terminal that has gone away has nothing to set.
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, modes);
        }
    }
}

impl Drop for KeyboardInput {
    fn drop(&mut self) {
        self.show();
    }
}

/// Whether the terminal is this process's to read from and to set. One that controls no session has no foreground.
fn is_in_foreground() -> bool {
    tcgetpgrp(std::io::stdin()).map_or(true, |foreground| foreground == getpgrp())
}

/// What was typed, as far as it can be read at once: who reads a terminal from the background is stopped.
fn typed() -> Vec<u8> {
    let stdin = std::io::stdin();
    let mut ready = [PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN)];
    if !is_in_foreground() || !poll(&mut ready, Some(&Timespec::default())).is_ok_and(|ready| ready > 0) {
        return Vec::new();
    }
    let mut keys = [0; 64];
    let read = rustix::io::read(&stdin, &mut keys).unwrap_or_default();
    keys[..read].to_vec()
}
