//! Signals that end a command which has something to say before it does, and those that disturb what was drawn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;

/// Ctrl-C and SIGTERM.
pub struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    /// Listens from now on.
    ///
    /// # Errors
    /// When this process cannot have it.
    pub fn listen() -> Result<Self, CliError> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| CliError::local(reasons::SIGNALS, "cannot listen for signals", &error))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for one of them; with which exit the command ends.
    pub async fn wait(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// What was drawn may not be on the screen as it was drawn: the terminal has another size, or the process was stopped
/// for a while.
pub struct Disturbed {
    resized: Option<Signal>,
    continued: Option<Signal>,
    stop: Stop,
}

/// A stop of the process, from before it until SIGCONT was taken: the clock may have gone on before that signal comes.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The process is about to stop.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the screen may be somebody else's.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What has happened to the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    Resized,
    /// Others have written on it since.
    Continued,
}

impl Disturbed {
    /// Listens from now on; what cannot be listened for does not come.
    pub fn listen() -> Self {
        let continued = signal(SignalKind::from_raw(signal_hook::consts::SIGCONT)).ok();
        Self { resized: signal(SignalKind::window_change()).ok(), continued, stop: Stop::default() }
    }

    /// The stop after which [`Disturbance::Continued`] comes.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Waits for it.
    pub async fn wait(&mut self) -> Disturbance {
        async fn next(signal: &mut Option<Signal>) {
            match signal {
                Some(signal) => _ = signal.recv().await,
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = next(&mut self.continued) => {
                self.stop.end();
                Disturbance::Continued
            }
            () = next(&mut self.resized) => Disturbance::Resized,
        }
    }
}
