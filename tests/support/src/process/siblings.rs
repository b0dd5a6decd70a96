//! Two clusters of one trust domain, a daemon each, and operators of both.

use std::path::Path;

use anyhow::{Result, ensure};

use super::secured::{Ended, Secured, command, ended};

/// Two clusters under a root that is kept in a folder of the first.
pub struct Siblings {
    pub east: Secured,
    pub west: Secured,
}

/// Runs a command as the administrator of a cluster; what it prints.
///
/// # Errors
/// What it complains of.
pub fn run(of: &Secured, line: &str) -> Result<String> {
    let Ended { code, output, complaint } = of.by("admin", line)?;
    ensure!(code == Some(0), "{line}: {complaint}{output}");
    Ok(output)
}

impl Siblings {
    /// East makes the root, and west is certified by it, as what is carried there and back. Each daemon gets further arguments.
    ///
    /// # Errors
    /// What could not be started.
    pub fn start(east: &[&str], west: &[&str]) -> Result<Self> {
        let east = Self::first("127.0.0.1:0", east)?;
        let west = Self::second(&east, "127.0.0.1:0", west)?;
        Ok(Self { east, west })
    }

    /// East, which makes the root.
    ///
    /// # Errors
    /// What could not be started.
    pub fn first(listen: &str, arguments: &[&str]) -> Result<Secured> {
        let arguments = [&["--set", "node.cluster=east"], arguments].concat();
        let init = "cert ca init --yes --out admin --trust-domain mesh.example --offline-root root";
        let mut east = Secured::made_by(init, "e1", listen, &arguments)?;
        // Where it is it stays.
        east.daemon.control.clone_into(&mut east.place.listen);
        Ok(east)
    }

    /// West, which east certifies.
    ///
    /// # Errors
    /// What could not be started.
    pub fn second(east: &Secured, listen: &str, arguments: &[&str]) -> Result<Secured> {
        let arguments = [&["--set", "node.cluster=west"], arguments].concat();
        // Whoever keeps the root stands between.
        let certify = |csr: &Path, out: &Path| {
            let line = format!(
                "cert ca certify {} --cluster west --out {} --offline-root {} --yes",
                csr.display(),
                out.display(),
                east.path("root").display()
            );
            let Ended { code, complaint, .. } = ended(&mut command(&line, east.folder.path()))?;
            ensure!(code == Some(0), "{complaint}");
            Ok(())
        };
        let mut west = Secured::carried("w1", listen, &arguments, certify)?;
        west.daemon.control.clone_into(&mut west.place.listen);
        Ok(west)
    }

    /// Has each know where the other is.
    ///
    /// # Errors
    /// What a daemon refuses.
    pub fn introduce(&self) -> Result<()> {
        Self::tell(&self.east, "west", &self.west)?;
        Self::tell(&self.west, "east", &self.east)
    }

    /// Has one know where another is.
    ///
    /// # Errors
    /// What its daemon refuses.
    pub fn tell(of: &Secured, other: &str, at: &Secured) -> Result<()> {
        run(of, &format!("mesh clusters set {other} --endpoint {}", at.daemon.control)).map(drop)
    }
}
