//! Keys typed while something is drawn again and again: they are not shown, and one of them ends it.

use std::io::{IsTerminal as _, Read as _};

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use tokio::sync::mpsc;

/// The keyboard, each key at once and unseen, until this is dropped. Ctrl-C and Ctrl-Z stay signals.
#[derive(Debug)]
pub struct Keys {
    before: Termios,
    typed: mpsc::Receiver<u8>,
}

impl Keys {
    /// Takes the keyboard. `None` when standard input is no terminal, or belongs to the foreground while this runs
    /// in the background.
    pub fn take() -> Option<Self> {
        let stdin = std::io::stdin();
        // A terminal that controls no session has no foreground.
        if !stdin.is_terminal() || tcgetpgrp(&stdin).is_ok_and(|foreground| foreground != getpgrp()) {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &unseen).ok()?;
        let (sender, typed) = mpsc::channel(16);
        // A thread of its own: a read of a terminal ends when a key is typed, or with the process.
        std::thread::spawn(move || {
            let mut key = [0];
            while std::io::stdin().lock().read_exact(&mut key).is_ok() && sender.blocking_send(key[0]).is_ok()
            {
            }
        });
        Some(Self { before, typed })
    }

    /// Waits for `q`; for ever where there is no keyboard.
    pub async fn quit(keys: &mut Option<Self>) {
        while let Some(keys) = keys {
            match keys.typed.recv().await {
                Some(b'q' | b'Q') => return,
                Some(_) => {}
                None => break,
            }
        }
        std::future::pending::<()>().await;
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that has gone away has nothing to put back.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}
