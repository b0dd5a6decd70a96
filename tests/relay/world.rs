//! Daemons that are relay and registry, each stopped and started at one address, and what they have written.

use omnirelay_wire::tls::nobody;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use omnirelay_wire::pb::aeroarc::agent::v1::TelemetryFrame;
use omnirelay_wire::pb::aeroarc::registry::v1::aero_registry_client::AeroRegistryClient;
use omnirelay_wire::pb::aeroarc::relay::v1::relay_control_client::RelayControlClient;
use omnirelay_wire::pb::aeroarc::relay::v1::{DroneStatus, GetDroneStatusRequest, ListActiveDronesRequest};
use prost::Message;
use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

use crate::process::{Daemon, Place};
use crate::servers::{RedisServer, free_port};

/// How often other ports are tried.
const PORTS_TRIED: usize = 20;
/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What the daemons of a scenario keep their records in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    Embedded,
    Redis,
}

/// A daemon with both services.
pub(crate) struct Relay {
    /// Of the node, and of the relay.
    pub id: String,
    pub place: Place,
    /// `None`: its store is the embedded one, or that of others.
    pub server: Option<RedisServer>,
    pub port: u16,
    pub http_port: u16,
    daemon: Option<Daemon>,
}

/// What a relay is to be started with.
pub(crate) struct Plan {
    id: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    outlives_size_limit: bool,
}

/// Times to live in which a test can see things end, and relays and agents that are heard of often enough for them.
pub(crate) const BRISK: &[&str] = &[
    "registry.relayTtl=3s",
    "registry.agentTtl=3s",
    "relay.registry.heartbeatInterval=500ms",
    "relay.sessionTtl=3s",
];

/// Defines a test of each scenario for each store.
#[macro_export]
macro_rules! on_both {
    ($($name:ident)*) => {
        mod embedded {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() -> anyhow::Result<()> {
                    super::$name($crate::world::Backing::Embedded).await
                }
            )*
        }
        mod redis {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() -> anyhow::Result<()> {
                    super::$name($crate::world::Backing::Redis).await
                }
            )*
        }
    };
}

impl Plan {
    /// A relay of this name with [`BRISK`] settings.
    pub(crate) fn new(id: &str) -> Self {
        let plan = Self {
            id: id.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            outlives_size_limit: false,
        };
        plan.set(BRISK)
    }

    /// With these settings as well; of two for one key the later counts.
    pub(crate) fn set(mut self, settings: &[&str]) -> Self {
        for setting in settings {
            self.arguments.extend(["--set".to_owned(), (*setting).to_owned()]);
        }
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Publishes to a Redis.
    pub(crate) fn publishes_to(self, address: &str) -> Self {
        self.environment("REDIS_ADDR", address)
    }

    /// Is told of files that are too large by errors.
    pub(crate) fn outlives_size_limit(mut self) -> Self {
        self.outlives_size_limit = true;
        self
    }

    /// Starts it on a store of its own.
    pub(crate) fn start(self, backing: Backing) -> Result<Relay> {
        let server = match backing {
            Backing::Embedded => None,
            // Kept through a restart, as the file of the embedded store is.
            Backing::Redis => Some(RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"])?),
        };
        let url = server.as_ref().map_or_else(|| "embedded:".to_owned(), RedisServer::url);
        let mut relay = self.start_on(&url)?;
        relay.server = server;
        Ok(relay)
    }

    /// Starts it on a store that is given.
    pub(crate) fn start_on(self, url: &str) -> Result<Relay> {
        let mut arguments = vec!["--node-id", &self.id, "--store", url];
        arguments.extend(["--service", "relay", "--service", "registry"]);
        let named = self.environment.iter().any(|(name, _)| name == "RELAY_ID");
        let own = format!("relay.id={}", self.id);
        if !named {
            arguments.extend(["--set", &own]);
        }
        arguments.extend(self.arguments.iter().map(String::as_str));
        let environment: Vec<_> = self.environment.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let mut place = Place::new(&arguments)?.with(&environment);
        place.outlives_size_limit = self.outlives_size_limit;
        let own = place.arguments.len();
        let mut relay =
            Relay { id: self.id.clone(), place, server: None, port: 0, http_port: 0, daemon: None };
        // The ports stay the relay's own while it is down: nobody is given one as low by the system.
        for _ in 0..PORTS_TRIED {
            (relay.port, relay.http_port) = (free_port()?, free_port()?);
            relay.place.listen = format!("127.0.0.1:{}", free_port()?);
            relay.place.arguments.truncate(own);
            let (listen, http) =
                (format!("127.0.0.1:{}", relay.port), format!("127.0.0.1:{}", relay.http_port));
            let ports = ["--relay-listen", &listen, "--relay-http-listen", &http];
            relay.place.arguments.extend(ports.map(str::to_owned));
            match relay.up() {
                Ok(()) => return Ok(relay),
                Err(_) if relay.place.log().contains("in use") => {
                    std::fs::remove_file(relay.place.log_file())?;
                }
                Err(error) => return Err(error),
            }
        }
        bail!("no ports were free long enough")
    }
}

impl Relay {
    /// A relay of that name on a store of its own, as [`Plan::new`] has it.
    pub(crate) fn start(backing: Backing, id: &str) -> Result<Self> {
        Plan::new(id).start(backing)
    }

    pub(crate) fn up(&mut self) -> Result<()> {
        self.daemon = Some(self.place.start()?);
        Ok(())
    }

    /// `kill -9`
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("it does not run")?.kill()
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.begin_to_stop()?;
        self.has_stopped()
    }

    pub(crate) fn begin_to_stop(&self) -> Result<()> {
        self.daemon()?.signal("TERM")
    }

    /// Waits until it has ended well.
    pub(crate) fn has_stopped(&mut self) -> Result<()> {
        let ended = self.daemon.take().context("it does not run")?.wait()?;
        ensure!(ended.success(), "{ended} {}", self.place.log());
        Ok(())
    }

    pub(crate) fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.up()
    }

    /// What its daemon has logged.
    pub(crate) fn log(&self) -> String {
        self.place.log()
    }

    pub(crate) fn daemon(&self) -> Result<&Daemon> {
        self.daemon.as_ref().context("it does not run")
    }

    pub(crate) fn server(&mut self) -> Result<&mut RedisServer> {
        self.server.as_mut().context("the store is no server")
    }

    /// `127.0.0.1:PORT`, where agents connect.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// With scheme.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// With scheme and path, of its metrics and health.
    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http_port)
    }

    /// What a path of its metrics and health answers: status, content type, body.
    pub(crate) async fn read(&self, path: &str) -> Result<(u16, String, String)> {
        let response = reqwest::Client::builder()
            .tls_backend_preconfigured(nobody())
            .build()?
            .get(self.http(path))
            .send()
            .await?;
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().map(str::to_owned));
        let (status, kind) = (response.status().as_u16(), kind.transpose()?.unwrap_or_default());
        Ok((status, kind, response.text().await?))
    }

    /// The value of a metric that has these labels.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let (_, _, text) = self.read("/metrics").await?;
        let mut lines = text.lines().filter(|line| {
            let behind = line.strip_prefix(name);
            behind.is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|it| line.contains(it))
        });
        let line = lines.next().with_context(|| format!("no {name} {labels:?} in {text}"))?;
        Ok(line.rsplit(' ').next().context("no value")?.parse()?)
    }

    pub(crate) async fn channel(&self) -> Result<Channel> {
        channel(&self.url()).await
    }

    pub(crate) async fn control(&self) -> Result<RelayControlClient<Channel>> {
        Ok(RelayControlClient::new(self.channel().await?))
    }

    pub(crate) async fn registry(&self) -> Result<AeroRegistryClient<Channel>> {
        Ok(AeroRegistryClient::new(self.channel().await?))
    }

    /// What it says of the drones it has.
    pub(crate) async fn drones(&self) -> Result<Vec<DroneStatus>> {
        let answer = self.control().await?.list_active_drones(ListActiveDronesRequest::default()).await?;
        Ok(answer.into_inner().drones)
    }

    /// What it says of one drone.
    pub(crate) async fn drone(&self, id: &str) -> Result<DroneStatus> {
        let request = GetDroneStatusRequest { drone_id: id.to_owned() };
        let answer = self.control().await?.get_drone_status(request).await?;
        answer.into_inner().drone.context("no drone")
    }

    /// Where its file sink writes unless it is told.
    pub(crate) fn telemetry_dir(&self) -> PathBuf {
        self.place.data_dir().join("telemetry")
    }

    /// What is in the files of its sink.
    pub(crate) fn sunk(&self) -> Result<Sunk> {
        Sunk::read(&self.telemetry_dir())
    }
}

/// A connection to a port that speaks gRPC.
pub(crate) async fn channel(url: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(url.to_owned())?.connect_timeout(CONNECT_LIMIT);
    endpoint.connect().await.with_context(|| format!("cannot reach {url}"))
}

/// What files of JSON Lines hold.
#[derive(Debug, Default)]
pub(crate) struct Sunk {
    /// Whole lines in the order of the files' names and within them.
    pub lines: Vec<Value>,
    /// How many files end within a line.
    pub torn: usize,
    counts: BTreeMap<(String, u64), usize>,
}

impl Sunk {
    /// # Errors
    /// A line that is no JSON, unless it is the last of its file and has no end.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let mut sunk = Self::default();
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(sunk),
            Err(error) => return Err(error.into()),
        };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            sunk.add(&text).with_context(|| path.display().to_string())?;
        }
        Ok(sunk)
    }

    fn add(&mut self, text: &str) -> Result<()> {
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.torn += usize::from(whole < text.len());
        for line in text[..whole].lines() {
            let line: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
            *self.counts.entry(key(&line)?).or_default() += 1;
            self.lines.push(line);
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// How often the frame of an agent is there.
    pub(crate) fn count(&self, agent: &str, seq: u64) -> usize {
        self.counts.get(&(agent.to_owned(), seq)).copied().unwrap_or_default()
    }

    /// The frames of an agent in their order.
    pub(crate) fn of(&self, agent: &str) -> Result<Vec<u64>> {
        let own = self.lines.iter().filter(|line| line["agent_id"] == agent);
        own.map(|line| Ok(key(line)?.1)).collect()
    }

    /// Those of these frames that are not there.
    pub(crate) fn missing(&self, agent: &str, seqs: impl IntoIterator<Item = u64>) -> Vec<u64> {
        seqs.into_iter().filter(|seq| self.count(agent, *seq) == 0).collect()
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.torn += other.torn;
        self.lines.extend(other.lines);
        for (key, count) in other.counts {
            *self.counts.entry(key).or_default() += count;
        }
    }
}

fn key(line: &Value) -> Result<(String, u64)> {
    let agent = line["agent_id"].as_str().with_context(|| format!("no agent: {line}"))?;
    Ok((agent.to_owned(), line["sequence"].as_u64().with_context(|| format!("no sequence: {line}"))?))
}

/// The frame that a line of a sink was made of.
pub(crate) fn raw_frame(line: &Value) -> Result<TelemetryFrame> {
    let raw = line["raw"].as_str().with_context(|| format!("no raw: {line}"))?;
    Ok(TelemetryFrame::decode(base64::engine::general_purpose::STANDARD.decode(raw)?.as_slice())?)
}

#[test]
fn lines_of_files_are_read() -> Result<()> {
    let directory = tempfile::tempdir()?;
    ensure!(Sunk::read(&directory.path().join("none"))?.len() == 0);
    let line = |seq: u64| format!("{{\"agent_id\":\"a\",\"sequence\":{seq}}}\n");
    let write = |name: &str, text: String| std::fs::write(directory.path().join(name), text);
    write("1", line(1) + &line(2) + &line(2))?;
    write("2", line(3) + "{\"agent_id\":\"a\",\"sequ")?;
    let sunk = Sunk::read(directory.path())?;
    ensure!((sunk.len(), sunk.torn) == (4, 1), "{sunk:?}");
    ensure!(sunk.count("a", 2) == 2 && sunk.of("a")? == [1, 2, 2, 3], "{sunk:?}");
    ensure!(sunk.missing("a", 1..=5) == [4, 5] && sunk.missing("b", [1]) == [1], "{sunk:?}");
    write("3", "torn".to_owned() + &line(3))?;
    ensure!(Sunk::read(directory.path()).is_err(), "what is torn is at the end of a file");
    Ok(())
}
