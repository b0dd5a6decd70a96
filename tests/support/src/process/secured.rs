//! Daemons of a mesh that has a certificate authority, and operators of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Daemon, Place, clean, program};

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub output: String,
    pub complaint: String,
}

/// A daemon that speaks TLS, and whose mesh has an authority.
pub struct Secured {
    pub place: Place,
    pub daemon: Daemon,
    /// Where what operators have is written.
    pub folder: tempfile::TempDir,
}

impl Secured {
    /// Starts it and makes the authority, and the certificate of `admin`.
    pub fn start(node_id: &str, listen: &str, arguments: &[&str]) -> Result<Self> {
        Self::made_by("cert ca init --yes --out admin", node_id, listen, arguments)
    }

    /// The same, with the line that makes both.
    pub fn made_by(init: &str, node_id: &str, listen: &str, arguments: &[&str]) -> Result<Self> {
        Self::made_after(init, node_id, listen, arguments, |_| Ok(()))
    }

    /// The same of a cluster whose issuer a root elsewhere certifies: `certify` is given the request, and where its answer goes.
    pub fn carried(
        node_id: &str,
        listen: &str,
        arguments: &[&str],
        certify: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<Self> {
        let init = "cert ca init --yes --out admin --certified issuer.pem";
        Self::made_after(init, node_id, listen, arguments, |secured| {
            let prepared = secured.at_socket("cert ca prepare --out issuer.csr")?;
            ensure!(prepared.code == Some(0), "{}", prepared.complaint);
            certify(&secured.path("issuer.csr"), &secured.path("issuer.pem"))
        })
    }

    fn made_after(
        init: &str,
        node_id: &str,
        listen: &str,
        arguments: &[&str],
        prepare: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("control.sock");
        let socket = socket.to_str().context("no UTF-8")?;
        let own = ["--node-id", node_id, "--control-socket", socket];
        let mut place = Place::new(&[&own, arguments].concat())?;
        listen.clone_into(&mut place.listen);
        let daemon = place.start()?;
        let secured = Self { place, daemon, folder };
        prepare(&secured)?;
        let made = secured.at_socket(init)?;
        ensure!(made.code == Some(0), "{}", made.complaint);
        secured.await_identity()?;
        Ok(secured)
    }

    /// Place of a daemon beside it that issues its certificate itself, which is not started.
    pub fn place_beside(&self, id: &str, store: &str, more: &[&str]) -> Result<Place> {
        let secret = self.place.data_dir().join("identity/issuer-secret");
        let issues = format!("security.issuerSecretFile={}", secret.display());
        let own = ["--set", "control.tls.source=mesh", "--node-id", id, "--store", store, "--set", &issues];
        Place::new(&[&own, more].concat())
    }

    /// Waits until the daemon has a certificate.
    pub fn await_identity(&self) -> Result<()> {
        let path = self.place.data_dir().join("identity/identity.pem");
        let begun = std::time::Instant::now();
        while !path.exists() {
            ensure!(begun.elapsed() < super::PATIENCE, "no identity: {}", self.place.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(())
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.daemon.control)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command at the control socket.
    pub fn at_socket(&self, line: &str) -> Result<Ended> {
        ended(self.command(line).arg("--addr").arg(format!("unix:{}", self.path("control.sock").display())))
    }

    /// A command of somebody who shows this certificate, at the port.
    pub fn by(&self, who: &str, line: &str) -> Result<Ended> {
        ended(&mut self.shown(who, line))
    }

    /// The same, under way.
    pub fn begin(&self, who: &str, line: &str) -> Result<Child> {
        Ok(self.shown(who, line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }

    /// The same of somebody who shows nothing.
    pub fn by_nobody(&self, line: &str) -> Result<Ended> {
        let bundle = self.path("admin").join("bundle.pem");
        ended(self.command(line).args(["--addr", &self.url()]).arg("--tls-ca").arg(bundle))
    }

    fn shown(&self, who: &str, line: &str) -> Command {
        self.shown_at(&self.url(), who, line)
    }

    /// A command of somebody who shows this certificate at another daemon.
    pub fn shown_at(&self, url: &str, who: &str, line: &str) -> Command {
        let folder = self.path(who);
        let mut command = self.command(line);
        command.args(["--addr", url]);
        for (flag, name) in
            [("--tls-ca", "bundle.pem"), ("--tls-cert", "chain.pem"), ("--tls-key", "key.pem")]
        {
            command.arg(flag).arg(folder.join(name));
        }
        command
    }

    fn command(&self, line: &str) -> Command {
        command(line, self.folder.path())
    }
}

/// A daemon of a node that has joined such a mesh, with what `mesh join` has written; killed when it is dropped.
pub struct Joined(pub Child);

impl Joined {
    /// `node` is the folder that it has joined with, in that of the operators.
    pub fn start(mesh: &Secured, node: &str, listen: &str, arguments: &[&str]) -> Result<Self> {
        let folder = mesh.path(node);
        let log = std::fs::File::create(folder.join("log"))?;
        let mut daemon = super::omnirelayd();
        daemon.arg("--config").arg(folder.join("omnirelayd.yaml")).args(["--control-listen", listen]);
        let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
        daemon.args(["--set", "mesh.leadership.enabled=false", "--set", &format!("mesh.listen={host}:0")]);
        daemon.args(arguments);
        Ok(Self(daemon.stdout(Stdio::null()).stderr(log).spawn()?))
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program with the words of a line, in a folder.
pub fn command(line: &str, folder: &Path) -> Command {
    let mut command = clean(program("omnirelay"));
    command.args(line.split(' ')).current_dir(folder).env("HOME", folder).env_remove("XDG_CONFIG_HOME");
    command
}

/// Runs a command to its end.
pub fn ended(command: &mut Command) -> Result<Ended> {
    let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ended { code: output.status.code(), output: text(output.stdout), complaint: text(output.stderr) })
}
