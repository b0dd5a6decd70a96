//! The servers that are measured, each in a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use omnirelay_wire::pb::aeroarc::agent::v1::RegisterRequest;
use omnirelay_wire::pb::aeroarc::agent::v1::agent_gateway_client::AgentGatewayClient;
use tonic::transport::{Channel, Endpoint};

use crate::process::{Daemon, Place};
use crate::servers::free_port;

/// How long a server may take to be there.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server to measure; ended when it is dropped.
pub(crate) struct Subject {
    pub name: &'static str,
    /// With scheme.
    pub url: String,
    running: Running,
}

enum Running {
    Ours { daemon: Daemon, _place: Place },
    Echo(Child),
}

impl Subject {
    /// `omnirelayd` with these services and settings.
    pub(crate) async fn ours(store: &str, services: &[&str], settings: &[&str]) -> Result<Self> {
        let (port, http) = (free_port()?, free_port()?);
        let (listen, http) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{http}"));
        let mut arguments = vec!["--node-id", "bench", "--store", store];
        arguments.extend(["--relay-listen", &listen, "--relay-http-listen", &http]);
        services.iter().for_each(|service| arguments.extend(["--service", *service]));
        settings.iter().for_each(|setting| arguments.extend(["--set", *setting]));
        let place = Place::new(&arguments)?;
        let daemon = place.start()?;
        let url = format!("http://{listen}");
        let subject = Self { name: "omnirelayd", url, running: Running::Ours { daemon, _place: place } };
        subject.is_there().await?;
        Ok(subject)
    }

    /// This program as [`crate::echo`].
    pub(crate) async fn echo(name: &'static str, kind: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([crate::echo::SUBCOMMAND, kind]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut address = String::new();
        let out = child.stdout.take().context("no output")?;
        let running = Running::Echo(child);
        BufReader::new(out).read_line(&mut address)?;
        let subject = Self { name, url: format!("http://{}", address.trim()), running };
        subject.is_there().await?;
        Ok(subject)
    }

    async fn is_there(&self) -> Result<()> {
        let begun = Instant::now();
        while self.connect().await.is_err() {
            ensure!(begun.elapsed() < PATIENCE, "{} does not answer", self.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Result<Channel> {
        Ok(Endpoint::from_shared(self.url.clone())?.connect().await?)
    }

    fn pid(&self) -> u32 {
        match &self.running {
            Running::Ours { daemon, .. } => daemon.pid(),
            Running::Echo(child) => child.id(),
        }
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
        Ok(kib * 1024)
    }

    /// Registers an agent.
    pub(crate) async fn register(&self, channel: &Channel, agent_id: &str) -> Result<()> {
        let request = RegisterRequest { agent_id: agent_id.to_owned(), ..RegisterRequest::default() };
        AgentGatewayClient::new(channel.clone()).register(request).await?;
        Ok(())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Running::Echo(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
