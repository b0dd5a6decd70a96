//! The host of this node: found out, and judged.

use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_decisions::check::finding::{CheckResult, checks_of};
use omnirelay_doctor::certificate::papers::{CertificateFiles, CertificatePaths};
use omnirelay_doctor::machine::{
    ConfigFound, HostFacts, NameFound, PortAvailability, PortToListenOn, look_up, names_of,
};
use omnirelay_doctor::processes::own;
use omnirelay_doctor::{certificate, checks};
use omnirelay_identity::trust::unix_now;
use omnirelay_settings::{ConfigSource, LiveConfig};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use super::report::CheckReport;

/// How long what became of looking up names is kept: a name server that is silent keeps a thread for each.
const NAMES_KEPT: Duration = Duration::from_secs(10);

/// Finds out what there is of the host of this node, and judges it.
pub struct HostChecker {
    /// The configuration that the daemon runs with by now.
    pub settings: LiveConfig,
    /// Where it is from; `None`: the process has made it.
    pub source: Option<ConfigSource>,
    pub data_dir: PathBuf,
    /// Where the files of its certificate are by now; or why there are none that can be judged.
    pub certificate: Box<dyn Fn() -> Result<CertificatePaths, &'static str> + Send + Sync>,
    /// Where it listens.
    pub ports: Vec<(&'static str, SocketAddr)>,
    /// What became of its names, and when they were looked up.
    pub names: Mutex<Option<(Instant, Vec<NameFound>)>>,
}

impl HostChecker {
    /// Looks at everything, and judges it.
    pub async fn check(self: Arc<Self>) -> CheckReport {
        let names = self.names().await;
        // Files may be on a disk that hangs.
        let looked = spawn_blocking(move || {
            let papers = (self.certificate)().map(|places| CertificateFiles::read(&places, unix_now()));
            (self.machine(names), papers)
        });
        let (machine, papers) = looked.await.unwrap_or_else(|error| resume_unwind(Box::new(error)));
        let mut report = CheckReport::default();
        for (category, check) in checks_of(checks::CATEGORIES) {
            report.add(category.name, check, (check.judge)(&machine));
        }
        for (category, check) in checks_of(certificate::checks::CATEGORIES) {
            let found = papers.as_ref().map(check.judge);
            report.add(category.name, check, found.unwrap_or_else(|why| CheckResult::skip(*why)));
        }
        report
    }

    async fn names(&self) -> Vec<NameFound> {
        let kept = || self.names.lock();
        let names = names_of(&self.settings.now());
        let is_of_these = |(at, found): &&(Instant, Vec<NameFound>)| {
            at.elapsed() < NAMES_KEPT && found.iter().map(|(name, _)| name).eq(&names)
        };
        if let Some((_, found)) = kept().as_ref().filter(is_of_these) {
            return found.clone();
        }
        let found = look_up(names).await;
        *kept() = Some((Instant::now(), found.clone()));
        found
    }

    fn machine(&self, names: Vec<NameFound>) -> HostFacts {
        let port = |(key, address): &(&'static str, SocketAddr)| PortToListenOn {
            address: *address,
            key,
            taken: PortAvailability::ByDaemon,
        };
        let (ports, running) = (self.ports.iter().map(port).collect(), own().into_iter().collect());
        let config = self.settings.now();
        HostFacts::examine(self.config_found(), &config, Some(&self.data_dir), names, ports, running)
    }

    /// The configuration as its file has it now, with the files that it names; the daemon runs with what was there when it read it last.
    fn config_found(&self) -> Option<ConfigFound> {
        let source = self.source.as_ref()?;
        let path = source.file.clone()?;
        let loaded = source.load().and_then(|mut loaded| {
            loaded.check_files(Millis::of_unix(unix_now()))?;
            Ok(loaded.config)
        });
        Some((path, loaded.map_err(|error| chain(&error))))
    }
}

#[cfg(test)]
mod reload_test;
