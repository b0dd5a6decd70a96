//! The host of this node: found out, and judged.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use omnirelay_core::text::chain;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use super::report::Report;
use crate::core::check::finding::{Finding, checks_of};
use crate::daemon::config::{Config, ConfigSource};
use crate::daemon::doctor::certificate::papers::{Papers, Places};
use crate::daemon::doctor::machine::{ConfigFound, Machine, Port, Taken};
use crate::daemon::doctor::processes::own;
use crate::daemon::doctor::{certificate, checks};
use crate::daemon::identity::trust::unix_now;

/// What is judged of the host of this node.
pub struct Host {
    /// The configuration that the daemon runs with.
    pub config: Arc<Config>,
    /// Where it is from; `None`: the process has made it.
    pub source: Option<ConfigSource>,
    pub data_dir: PathBuf,
    /// Where the files of its certificate are by now.
    pub certificate: Box<dyn Fn() -> Places + Send + Sync>,
    /// Where it listens.
    pub ports: Vec<(&'static str, SocketAddr)>,
}

impl Host {
    /// Looks at everything, and judges it.
    pub async fn check(self: Arc<Self>) -> Report {
        // Files may be on a disk that hangs.
        let looked = spawn_blocking(move || {
            let places = (self.certificate)();
            let papers = places.chain.exists().then(|| Papers::read(&places, unix_now()));
            (Handle::current().block_on(self.machine()), papers)
        });
        let mut report = Report::default();
        let Ok((machine, papers)) = looked.await else { return report };
        for (category, check) in checks_of(checks::CATEGORIES) {
            report.add(category.name, check, (check.judge)(&machine));
        }
        for (category, check) in checks_of(certificate::checks::CATEGORIES) {
            let found = papers.as_ref().map(check.judge);
            let found = found.unwrap_or_else(|| Finding::skip("this node has no certificate"));
            report.add(category.name, check, found);
        }
        report
    }

    async fn machine(&self) -> Machine {
        let port = |(key, address): &(&'static str, SocketAddr)| Port {
            address: *address,
            key,
            taken: Taken::ByDaemon,
        };
        let (ports, running) = (self.ports.iter().map(port).collect(), own().into_iter().collect());
        let names = Some(BTreeSet::new());
        Machine::examine(self.config_found(), &self.config, Some(&self.data_dir), names, ports, running).await
    }

    /// The configuration as its file has it now; the daemon runs with what was there when it started.
    fn config_found(&self) -> Option<ConfigFound> {
        let source = self.source.as_ref()?;
        let path = source.file.clone()?;
        Some((path, source.load().map(|loaded| loaded.config).map_err(|error| chain(&error))))
    }
}
