//! A daemon under a service manager: what it is told, and what comes of an event loop that is held up.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::process::{PATIENCE, Place, until};

/// The socket of a service manager, which hears what is said at once.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn at(path: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self { socket })
    }

    /// What is said next, if anything is soon.
    fn next(&self) -> Option<String> {
        let mut said = [0; 4096];
        let length = self.socket.recv(&mut said).ok()?;
        Some(String::from_utf8_lossy(&said[..length]).into_owned())
    }

    /// Everything up to something.
    fn until(&self, what: &str) -> Result<Vec<String>> {
        let (begun, mut heard) = (Instant::now(), Vec::new());
        while !heard.iter().any(|said: &String| said.contains(what)) {
            ensure!(begun.elapsed() < PATIENCE, "{what} is not said: {heard:?}");
            heard.extend(self.next());
        }
        Ok(heard)
    }

    /// How long nothing but this is silent, at least.
    fn silent_for(&self, what: &str, time: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < time {
            if self.next().is_some_and(|said| said.contains(what)) {
                return false;
            }
        }
        true
    }
}

#[tokio::test]
async fn a_manager_hears_when_a_daemon_is_ready_lives_and_stops() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let manager = Manager::at(&folder.path().join("notify"))?;
    let socket = folder.path().join("notify");
    let socket = socket.to_str().context("path")?;
    let place = Place::new(&["--node-id", "a"])?;
    let place = place.with(&[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "2000000")]);
    let daemon = place.start()?;
    let heard = manager.until("READY=1")?.concat();
    ensure!(heard.contains("STATUS=ready at 127.0.0.1:"), "{heard}");
    let begun = Instant::now();
    for _ in 0..4 {
        manager.until("WATCHDOG=1")?;
    }
    ensure!(begun.elapsed() > Duration::from_millis(500), "it is not said more often than it has to be");
    daemon.signal("TERM")?;
    manager.until("STOPPING=1")?;
    ensure!(daemon.wait()?.success());
    Ok(())
}

#[tokio::test]
async fn what_holds_the_event_loop_up_is_named_and_the_watchdog_not_fed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let manager = Manager::at(&folder.path().join("notify"))?;
    let (socket, tokens) = (folder.path().join("notify"), folder.path().join("tokens"));
    std::fs::write(&tokens, "ci 0123456789abcdef0123456789abcdef mesh.read\n")?;
    std::fs::set_permissions(&tokens, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let tokens_file = tokens.to_str().context("path")?;
    let place = Place::new(&["--node-id", "a", "--token-file", tokens_file])?;
    let socket = socket.to_str().context("path")?;
    let place = place.with(&[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "2000000")]);
    let daemon = place.start()?;
    manager.until("WATCHDOG=1")?;
    // Nobody ever writes into it, so that whoever opens it to read waits.
    std::fs::remove_file(&tokens)?;
    let made = std::process::Command::new("mkfifo").args(["-m", "600", tokens_file]).status()?;
    ensure!(made.success());
    daemon.signal("HUP")?;
    // On a busy machine another stall may have been told before.
    until("the log names it", async || Ok(place.log().contains("asleep in wait_for_partner"))).await?;
    let log = place.log();
    ensure!(log.contains("doing=\"live\"") && log.contains("thread of the event loop held up"), "{log}");
    // What was said before may still be there to hear.
    manager.silent_for("nothing", Duration::from_millis(500));
    ensure!(manager.silent_for("WATCHDOG=1", Duration::from_secs(2)), "a manager would restart it");
    std::fs::write(&tokens, "ci 0123456789abcdef0123456789abcdef mesh.read\n")?;
    until("the log says that it goes on", async || {
        Ok(place.log().contains("thread of the event loop goes on"))
    })
    .await?;
    manager.until("WATCHDOG=1")?;
    daemon.signal("TERM")?;
    ensure!(daemon.wait()?.success());
    Ok(())
}
