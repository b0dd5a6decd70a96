//! A daemon under a service manager: what it is told, and what comes of an event loop that is held up.

use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use omnirelay_wire::tls::nobody;
use parking_lot::Mutex;

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

/// Reader of a daemon's log, as a collector that may stand still.
struct LogReader {
    reads: Arc<AtomicBool>,
    text: Arc<Mutex<String>>,
}

impl LogReader {
    /// Reads what is written to `path`, which is made for it.
    fn at(path: &Path) -> Result<Self> {
        let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(path).status()?;
        ensure!(made.success());
        let (reads, text) = (Arc::new(AtomicBool::new(true)), Arc::<Mutex<String>>::default());
        let (path, may_read, into) = (path.to_owned(), reads.clone(), text.clone());
        std::thread::spawn(move || {
            // Whoever opens it to write waits for this.
            let Ok(mut log) = std::fs::File::open(path) else { return };
            let mut buffer = [0; 65536];
            loop {
                while !may_read.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                match log.read(&mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(length) => into.lock().push_str(&String::from_utf8_lossy(&buffer[..length])),
                }
            }
        });
        Ok(Self { reads, text })
    }

    fn says(&self, what: &str) -> bool {
        self.text.lock().contains(what)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_the_event_loop_up_is_named_and_the_watchdog_not_fed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let manager = Manager::at(&folder.path().join("notify"))?;
    let socket = folder.path().join("notify");
    let place = Place::new(&["--node-id", "a", "--set", "log.filter=debug"])?;
    let socket = socket.to_str().context("path")?;
    let place = place.with(&[("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "2000000")]);
    let log = LogReader::at(&place.log_file())?;
    let daemon = place.start()?;
    manager.until("WATCHDOG=1")?;
    // Nobody reads any more, so that whoever logs waits, once there is no room.
    log.reads.store(false, Ordering::Relaxed);
    let (url, client) =
        (daemon.url("/control/peers"), reqwest::Client::builder().tls_backend_preconfigured(nobody()));
    let client = client.timeout(Duration::from_millis(200)).build()?;
    let calls = tokio::spawn(async move {
        loop {
            drop(client.get(&url).send().await);
        }
    });
    let begun = Instant::now();
    while !manager.silent_for("WATCHDOG=1", Duration::from_secs(2)) {
        ensure!(begun.elapsed() < PATIENCE, "a manager would not restart it");
    }
    log.reads.store(true, Ordering::Relaxed);
    // What looks for stalls waits for its own line as well, and told then of all threads, as they were.
    until("the log names it", async || Ok(log.says("event loop stalled"))).await?;
    ensure!(log.says("pipe_write"), "what it waits for is not named");
    calls.abort();
    until("the log says that it goes on", async || Ok(log.says("event loop goes on"))).await?;
    manager.until("WATCHDOG=1")?;
    daemon.signal("TERM")?;
    ensure!(daemon.wait()?.success());
    Ok(())
}
