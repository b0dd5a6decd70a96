//! The signals that end a process: the first asks it to stop, the second ends it at once.

use std::io;
use std::time::Duration;

use omnirelay_host::live::Live;
use omnirelay_wire::fault::Exit;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::error;

/// SIGINT and SIGTERM, heard on a thread of their own: whatever hangs, they are obeyed.
#[derive(Clone)]
pub struct EndSignals {
    asked: watch::Receiver<bool>,
}

impl EndSignals {
    /// Hears the signals from now on, for the rest of the process. Once the first has come, the
    /// process ends after `limit` at the latest, as that is then, with exit code 1; at a second signal it ends at
    /// once, with 130 or 143.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn listen(limit: impl Into<Live<Duration>>) -> io::Result<Self> {
        let limit = limit.into();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut signals = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let (say, asked) = watch::channel(false);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let exit = runtime.block_on(async move {
                next(&mut signals).await;
                say.send_replace(true);
                let limit = limit.get();
                tokio::select! {
                    exit = next(&mut signals) => exit,
                    () = tokio::time::sleep(limit) => {
                        error!(limit_ms = limit.as_millis(), "process did not stop in time, ended as it stands");
                        Exit::Error
                    }
                }
            });
            std::process::exit(exit as i32);
        })?;
        Ok(Self { asked })
    }

    /// Whether one has come.
    pub fn has_come(&self) -> bool {
        *self.asked.borrow()
    }

    /// Returns once the process is asked to stop.
    pub async fn asked(&self) {
        // The other side ends with the process only.
        let _ = self.asked.clone().wait_for(|asked| *asked).await;
    }
}

async fn next((interrupt, terminate): &mut (Signal, Signal)) -> Exit {
    tokio::select! {
        _ = interrupt.recv() => Exit::Interrupted,
        _ = terminate.recv() => Exit::Terminated,
    }
}
