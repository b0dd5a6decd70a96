//! Signals that end a command which has something to say before it does, and those that disturb what was drawn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::CliError;

/// Ctrl-C and SIGTERM.
pub(crate) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When this process cannot have it.
    pub(crate) fn listen() -> Result<Self, CliError> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| CliError::local(reasons::SIGNALS, "cannot listen for signals", &error))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for one of them; with which exit the command ends.
    pub(crate) async fn wait(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// Watcher for when what was drawn may not be on the screen as it was drawn: the terminal has another size, or the
/// process was stopped for a while.
pub(crate) struct ScreenWatcher {
    resized: Option<Signal>,
    continued: Option<Signal>,
    stopped: ResumeFlag,
    /// It was told before SIGCONT came.
    is_told: bool,
}

/// Flag that this process has stopped itself, and goes on: known before SIGCONT is taken, which may be some time later.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResumeFlag(Arc<AtomicBool>);

impl ResumeFlag {
    /// Notes that it goes on.
    pub(crate) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Disturbance of what is on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScreenDisturbance {
    Resized,
    /// Others have written on it since.
    Continued,
}

impl ScreenWatcher {
    /// Listens from now on; what cannot be listened for does not come.
    pub(crate) fn listen() -> Self {
        let continued = signal(SignalKind::from_raw(signal_hook::consts::SIGCONT)).ok();
        let resized = signal(SignalKind::window_change()).ok();
        Self { resized, continued, stopped: ResumeFlag::default(), is_told: false }
    }

    /// For whoever stops this process.
    pub(crate) fn stopped(&self) -> ResumeFlag {
        self.stopped.clone()
    }

    /// Whether the process has stopped itself and goes on, which is told once: here, or as
    /// [`ScreenDisturbance::Continued`].
    pub(crate) fn goes_on(&mut self) -> bool {
        let goes_on = self.stopped.0.swap(false, Ordering::Relaxed);
        self.is_told |= goes_on;
        goes_on
    }

    /// Waits for it.
    pub(crate) async fn wait(&mut self) -> ScreenDisturbance {
        async fn next(signal: &mut Option<Signal>) {
            match signal {
                Some(signal) => _ = signal.recv().await,
                None => std::future::pending().await,
            }
        }
        loop {
            tokio::select! {
                () = next(&mut self.continued) => {
                    let was_told = std::mem::take(&mut self.is_told);
                    if self.stopped.0.swap(false, Ordering::Relaxed) || !was_told {
                        return ScreenDisturbance::Continued;
                    }
                }
                () = next(&mut self.resized) => return ScreenDisturbance::Resized,
            }
        }
    }
}
