//! Signals that end a command which has something to say before it does, and that the terminal has another size.

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

/// The terminal has another size.
pub struct Resized(Option<Signal>);

impl Resized {
    /// Listens from now on; one that cannot be listened for does not come.
    pub fn listen() -> Self {
        Self(signal(SignalKind::window_change()).ok())
    }

    /// Waits for it.
    pub async fn wait(&mut self) {
        match &mut self.0 {
            Some(resized) => _ = resized.recv().await,
            None => std::future::pending().await,
        }
    }
}
