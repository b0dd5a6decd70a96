//! A leader whose disk hangs.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::run::{Run, Setup, recorded};
use crate::checker::AtLeast;
use crate::process::until;
use crate::servers::RedisServer;

/// The files that a daemon writes while it runs, under the names that they have until they are whole.
const WRITTEN: [&str; 3] = ["seal.new", "heads.json.new", "refusals.json.new"];
const NONBLOCK: i32 = 0o4000;
/// How many stale writes are refused at each gate.
const STALE: usize = 200;
/// How long it leads with a disk that hangs: several times as long as a session lives.
const HANGS: Duration = Duration::from_secs(6);

/// A file that takes nothing and refuses nothing: whoever writes it waits. It is a pipe that is full.
struct Hanging {
    path: PathBuf,
    pipe: File,
}

impl Hanging {
    fn at(path: PathBuf) -> Result<Self> {
        ensure!(Command::new("mkfifo").arg(&path).status()?.success(), "cannot make {}", path.display());
        let mut pipe = OpenOptions::new().read(true).write(true).custom_flags(NONBLOCK).open(&path)?;
        loop {
            match pipe.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Self { path, pipe }),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whoever waits goes on, and who comes next makes a file of his own.
    fn recover(mut self) -> Result<()> {
        std::fs::remove_file(&self.path)?;
        let mut bytes = [0; 4096];
        while matches!(self.pipe.read(&mut bytes), Ok(count) if count > 0) {}
        Ok(())
    }
}

/// What a daemon with this directory will write.
fn hang(data_dir: &Path, node: &str) -> Result<Vec<Hanging>> {
    let directory = data_dir.join("audit").join(node);
    DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
    WRITTEN.iter().map(|name| Hanging::at(directory.join(name))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_hangs_goes_on_or_is_succeeded() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mut hanging = Vec::new();
    let setup = Setup::of("disk hangs", &server.url());
    let at_least =
        AtLeast { grants: 21, audited: 21, accepted: 100, refused: STALE * 2, ..AtLeast::default() };
    recorded(setup, at_least, async |run: &mut Run| {
        run.terminate(0).await?;
        let seal = run.members[0].place.data_dir().join("audit/n1/seal");
        let sealed = std::fs::read(&seal)?;
        hanging = hang(&run.members[0].place.data_dir(), "n1")?;
        run.launch(0)?;
        run.give_all_to(0).await?;
        tokio::time::sleep(HANGS).await;
        ensure!(std::fs::read(&seal)? == sealed, "its disk does not hang");
        println!("with a disk that hangs it leads {} scopes", run.led_by(0).len());
        run.until_led().await?;
        for file in hanging.drain(..) {
            file.recover()?;
        }
        until("what it did is sealed", async || Ok(std::fs::read(&seal)? != sealed)).await?;
        let led = run.kill(0).await?;
        let zombie = run.zombie(0, led.clone());
        run.until_succeeded(&led).await?;
        zombie.fall(STALE).await
    })
    .await
}
