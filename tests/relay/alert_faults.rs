//! Faults of a mesh, and the alerts that tell of them: five daemons, a Redis, a Prometheus and an Alertmanager, in a network of their
//! own. The table of the guide is what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::agent::{Agent, SHAPES};
use crate::network::with_an_address;
use crate::process::secured::{Joined, Secured, command, ended};
use crate::process::{Daemon, PATIENCE, Place};
use crate::servers::{Alertmanager, HeldAlert, Prometheus, RedisServer, eventually, free_port};

/// How much faster rules are than their operators have them. Much faster, and what a mesh mends by itself within seconds would be told.
const SPEED: u32 = 20;
/// How long is looked at what fires besides, once all has fired that should.
const SETTLE: Duration = Duration::from_secs(17);
/// How long Alertmanager waits before it sends a new group.
const GROUP_WAIT: Duration = Duration::from_secs(10);
/// How long a fault may take until its last alert fires, and until the last one goes.
const FIRE_MAX: Duration = Duration::from_secs(150);

const TLS: [&str; 2] = ["--set", "control.tls.source=mesh"];
const GUIDE: &str = "docs/observability/README.md";
const BEGIN: &str = "<!-- faults: written by tests/relay/alert_faults.rs -->\n";
const END: &str = "<!-- end of faults -->\n";
const TITLE: &str = "| fault | pages | tickets | said by another already | fires after | goes after |\n\
                     | --- | --- | --- | --- | --- | --- |\n";

/// What fired under a fault.
struct FaultRow {
    fault: &'static str,
    pages: BTreeSet<String>,
    tickets: BTreeSet<String>,
    inhibited: BTreeSet<String>,
    fires: Duration,
    /// `None`: it was not waited for.
    goes: Option<Duration>,
}

/// Fault that is planted, and what must come of it.
struct PlantedFault {
    name: &'static str,
    /// Alerts that fire, whatever becomes of them.
    fires: &'static [&'static str],
    /// Those of them that page.
    pages: &'static [&'static str],
    /// What fires goes after a time that no speed makes shorter.
    stays: bool,
}

/// Alerts that were seen under a fault, each with how bad it is and since when it tells of something new.
#[derive(Default)]
struct SeenAlerts(BTreeMap<String, SeenAlert>);

#[derive(Default)]
struct SeenAlert {
    severity: String,
    /// `None`: another one says it already.
    since: Option<Instant>,
    was_sent: bool,
}

impl SeenAlerts {
    fn note(&mut self, held: &[HeldAlert], firing: &BTreeSet<String>) {
        for alert in held.iter().filter(|alert| firing.contains(&alert.name)) {
            let seen = self.0.entry(alert.name.clone()).or_default();
            seen.severity.clone_from(&alert.severity);
            seen.since = (!alert.is_inhibited).then(|| seen.since.unwrap_or_else(Instant::now));
            seen.was_sent |= seen.since.is_some_and(|since| since.elapsed() >= GROUP_WAIT);
        }
    }

    /// Those of which somebody was told.
    fn told(&self, severity: &str) -> BTreeSet<String> {
        let told = self.0.iter().filter(|(_, seen)| seen.was_sent && seen.severity == severity);
        told.map(|(name, _)| name.clone()).collect()
    }

    /// Those of which nobody was told.
    fn inhibited(&self) -> BTreeSet<String> {
        let kept_back = self.0.iter().filter(|(_, seen)| !seen.was_sent && seen.since.is_none());
        kept_back.map(|(name, _)| name.clone()).collect()
    }
}

/// A mesh that is looked at.
struct WatchedMesh {
    server: RedisServer,
    mesh: Secured,
    others: Vec<(Option<Daemon>, Place)>,
    relay_port: u16,
    disk: SmallDisk,
    prometheus: Prometheus,
    alertmanager: Alertmanager,
    rows: Vec<FaultRow>,
}

/// A disk of a megabyte; taken away when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(path))?;
        Ok(Self(path.to_owned()))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves room for nothing.
    fn fill(&self) -> Result<()> {
        // It ends with an error once the disk is full.
        let _ = std::fs::write(self.filler(), vec![1; 2 << 20]);
        Ok(())
    }

    fn free(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.filler())?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Blocks datagrams in the network of this thread, those of loopback as well, or lets them pass again.
fn block_udp(blocks: bool) -> Result<()> {
    let ip = |line: &str| run(Command::new("ip").args(line.split(' ')));
    match blocks {
        true => ip("rule add pref 50 ipproto udp blackhole"),
        false => ip("rule del pref 50"),
    }
}

fn beside(mesh: &Secured, id: &str, store: &str, more: &[&str]) -> Result<(Option<Daemon>, Place)> {
    let mut place = mesh.place_beside(id, store, more)?;
    let daemon = place.start()?;
    place.listen.clone_from(&daemon.control);
    Ok((Some(daemon), place))
}

impl WatchedMesh {
    fn start() -> Result<Self> {
        // What is blocked later has to be found before what is local.
        run(Command::new("sh").args(["-c", "ip rule add pref 100 lookup local && ip rule del pref 0"]))?;
        let server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"])?;
        let store = server.url();
        let first = [&TLS[..], &["--store", &store, "--set", "mesh.leadership.enabled=false"]].concat();
        let mesh = Secured::start("n0", "127.0.0.1:0", &first)?;
        let (disk, relay_port) = (SmallDisk::at(&mesh.path("disk"))?, free_port()?);
        let sink = format!("relay.sinks.file.path={}", mesh.path("disk").display());
        let listen = format!("127.0.0.1:{relay_port}");
        let relay = [
            "--service",
            "relay",
            "--relay-listen",
            &listen,
            "--relay-http-listen",
            "127.0.0.1:0",
            "--set",
            &sink,
        ];
        let mut others = vec![beside(&mesh, "n1", &store, &relay)?];
        for id in ["n2", "n3", "n4"] {
            others.push(beside(&mesh, id, &store, &[])?);
        }
        let alertmanager = Alertmanager::start(&exported(&mesh, "alertmanager.example.yml")?)?;
        let made = mesh.by("admin", "cert issue --service prometheus --out prometheus")?;
        ensure!(made.code == Some(0), "{}", made.complaint);
        let prometheus = Prometheus::start(&configuration(&mesh, &others, &alertmanager))?;
        let rows = Vec::new();
        let watched = Self { server, mesh, others, relay_port, disk, prometheus, alertmanager, rows };
        eventually("all daemons are scraped", || {
            Ok(watched.prometheus.query("up == 1")?.len() == watched.others.len() + 1)
        })?;
        Ok(watched)
    }

    fn by_admin(&self, line: &str) -> Result<String> {
        let done = self.mesh.by("admin", line)?;
        ensure!(done.code == Some(0), "{line}: {}", done.complaint);
        Ok(done.output)
    }

    /// Alerts in a state that page or make a ticket.
    fn in_state(&self, state: &str) -> Result<BTreeSet<String>> {
        let query = format!("ALERTS{{alertstate=\"{state}\",severity=~\"warning|critical\"}}");
        let series = self.prometheus.query(&query)?;
        let name = |(labels, _): &(Value, f64)| Some(labels["alertname"].as_str()?.to_owned());
        Ok(series.iter().filter_map(name).collect())
    }

    /// Plants a fault, takes it away, and notes what fired meanwhile.
    fn prove(
        &mut self,
        fault: &PlantedFault,
        plant: impl FnOnce(&mut Self) -> Result<()>,
        heal: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let before = self.in_state("firing")?;
        ensure!(before.is_empty(), "before {}: {before:?}", fault.name);
        let begun = Instant::now();
        let mut seen = SeenAlerts::default();
        plant(self)?;
        let fires = self.until_all_fire(fault, begun, &mut seen)?;
        let settled = Instant::now();
        while settled.elapsed() < SETTLE {
            seen.note(&self.alertmanager.alerts()?, &self.in_state("firing")?);
            std::thread::sleep(Duration::from_millis(500));
        }
        let healed = Instant::now();
        heal(self)?;
        let goes = match fault.stays {
            true => None,
            false => Some(self.until_none_fires(fault, healed, &mut seen)?),
        };
        let (pages, tickets, inhibited) = (seen.told("critical"), seen.told("warning"), seen.inhibited());
        let wanted = fault.pages.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        ensure!(pages == wanted, "{}: {pages:?} page, and {wanted:?} should", fault.name);
        self.rows.push(FaultRow { fault: fault.name, pages, tickets, inhibited, fires, goes });
        Ok(())
    }

    fn until_all_fire(
        &self,
        fault: &PlantedFault,
        begun: Instant,
        seen: &mut SeenAlerts,
    ) -> Result<Duration> {
        loop {
            let firing = self.in_state("firing")?;
            seen.note(&self.alertmanager.alerts()?, &firing);
            if fault.fires.iter().all(|name| firing.contains(*name)) {
                return Ok(begun.elapsed());
            }
            ensure!(
                begun.elapsed() < FIRE_MAX,
                "{}: {firing:?} fire, {:?} are pending, and {:?} should",
                fault.name,
                self.in_state("pending")?,
                fault.fires
            );
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    fn until_none_fires(
        &self,
        fault: &PlantedFault,
        healed: Instant,
        seen: &mut SeenAlerts,
    ) -> Result<Duration> {
        loop {
            let firing = self.in_state("firing")?;
            seen.note(&self.alertmanager.alerts()?, &firing);
            if firing.is_empty() {
                return Ok(healed.elapsed());
            }
            ensure!(healed.elapsed() < FIRE_MAX, "{}: {firing:?} still fire", fault.name);
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    fn kill(&mut self, at: usize) -> Result<()> {
        self.others[at].0.take().context("it does not run")?.kill()
    }

    fn resume(&mut self, at: usize) -> Result<()> {
        let (daemon, place) = &mut self.others[at];
        *daemon = Some(place.start()?);
        Ok(())
    }

    /// Has one stand still twice, for two seconds each.
    fn stand_still(&mut self, at: usize) -> Result<()> {
        let daemon = self.others[at].0.as_ref().context("it does not run")?;
        for _ in 0..2 {
            daemon.signal("STOP")?;
            std::thread::sleep(Duration::from_secs(2));
            daemon.signal("CONT")?;
            std::thread::sleep(Duration::from_secs(2));
        }
        Ok(())
    }

    /// One of the others that does not lead, and serves no relay: what is done to it costs no leader.
    fn follower(&self) -> Result<usize> {
        let leader = self.leader()?;
        (1..self.others.len()).find(|at| *at != leader).context("all of them lead")
    }

    /// Which of the others leads the scope of all meshes.
    fn leader(&self) -> Result<usize> {
        let mut found = None;
        eventually("somebody leads", || {
            let said: Value =
                serde_json::from_str(&self.by_admin("mesh leaders get global-control -o json")?)?;
            let leader = said["leadership"]["leaderId"].as_str().unwrap_or_default().to_owned();
            found = leader.strip_prefix('n').and_then(|number| number.parse::<usize>().ok());
            Ok(found.is_some())
        })?;
        found.and_then(|number| number.checked_sub(1)).context("n0 leads, which may not")
    }
}

/// A file of those that the program writes.
fn exported(mesh: &Secured, name: &str) -> Result<String> {
    let line = format!("alerts export rules --speed {SPEED} --force -q");
    let written = ended(&mut command(&line, mesh.folder.path()))?;
    ensure!(written.code == Some(0), "{}", written.complaint);
    Ok(std::fs::read_to_string(mesh.path("rules").join(name))?)
}

fn configuration(mesh: &Secured, others: &[(Option<Daemon>, Place)], alertmanager: &Alertmanager) -> String {
    let tls = ["ca_file", "cert_file", "key_file"].into_iter().zip(["bundle.pem", "chain.pem", "key.pem"]);
    let tls: Vec<String> =
        tls.map(|(key, name)| format!("{key}: {}", mesh.path("prometheus").join(name).display())).collect();
    let tls = format!("tls_config: {{{}}}", tls.join(", "));
    let discovered: String = [&mesh.daemon.control, &others[0].1.listen]
        .map(|control| {
            format!("      - {{url: \"https://{control}/control/prometheus/targets\", refresh_interval: 1s, {tls}}}\n")
        })
        .concat();
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: [\"{}/*.yaml\"]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: [\"{}\"]}}]}}]}}\n\
         scrape_configs:\n  - job_name: omnirelay\n    scheme: https\n    {tls}\n    http_sd_configs:\n{discovered}",
        mesh.path("rules").display(),
        alertmanager.address(),
    )
}

impl FaultRow {
    fn line(&self) -> String {
        let names = |set: &BTreeSet<String>| match set.is_empty() {
            true => "–".to_owned(),
            false => set.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        };
        format!(
            "| {} | {} | {} | {} | {} s | {} |",
            self.fault,
            names(&self.pages),
            names(&self.tickets),
            names(&self.inhibited),
            self.fires.as_secs(),
            self.goes.map_or("half an hour".to_owned(), |goes| format!("{} s", goes.as_secs()))
        )
    }

    /// Without tickets, of which there may be one more or fewer, and without how long it took.
    fn told(line: &str) -> String {
        line.split(" | ").take(2).collect::<Vec<_>>().join(" | ")
    }
}

/// Holds the table of the guide against what came out, or writes it.
fn hold_table(rows: &[FaultRow]) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GUIDE);
    let guide = std::fs::read_to_string(&path)?;
    let (before, rest) = guide.split_once(BEGIN).context("the guide has no table of faults")?;
    let (table, after) = rest.split_once(END).context("the table of faults has no end")?;
    let lines: Vec<String> = rows.iter().map(FaultRow::line).collect();
    if std::env::var_os("OMNIRELAY_GENERATE").is_some() {
        return Ok(std::fs::write(
            path,
            format!("{before}{BEGIN}{TITLE}{}\n{END}{after}", lines.join("\n")),
        )?);
    }
    let told = |lines: &mut dyn Iterator<Item = &str>| lines.map(FaultRow::told).collect::<Vec<_>>();
    let (shown, found) = (told(&mut table.lines().skip(2)), told(&mut lines.iter().map(String::as_str)));
    ensure!(
        shown == found,
        "the table of {GUIDE} is another; write it with OMNIRELAY_GENERATE=1:\n{}",
        lines.join("\n")
    );
    Ok(())
}

/// Sends frames until it is dropped.
async fn send_frames(port: u16) -> Result<tokio::task::AbortHandle> {
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?.connect().await?;
    let mut agent = Agent::on(channel, "drone-1");
    agent.register().await.map_err(|status| anyhow::anyhow!("{status}"))?;
    let sending = tokio::spawn(async move {
        let mut next = 1;
        loop {
            let mut stream = agent.stream(SHAPES[1]);
            // Until it is not taken any more.
            while stream.send(next).is_ok() {
                let acknowledged = tokio::time::timeout(Duration::from_secs(1), stream.ack_or_end()).await;
                match acknowledged {
                    Ok(Ok(Ok(_))) => next += 1,
                    Err(_) => {}
                    Ok(_) => break,
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            let _ = agent.register().await;
        }
    });
    Ok(sending.abort_handle())
}

fn faults_of_daemons(watched: &mut WatchedMesh) -> Result<()> {
    const ONE: &[&str] = &["DaemonDown", "PeerUnexpectedlyGone"];
    let at = watched.follower()?;
    let killed = PlantedFault { name: "one daemon of five is killed", fires: ONE, pages: &[], stays: false };
    watched.prove(&killed, |mesh| mesh.kill(at), |mesh| mesh.resume(at))?;
    watched.by_admin(&format!("mesh leaders create jobs/nightly --node n{} -q", at + 1))?;
    let only = PlantedFault {
        name: "the only daemon that may lead a scope is killed",
        fires: &["DaemonDown", "PeerUnexpectedlyGone", "NoLeader"],
        pages: &["NoLeader"],
        stays: false,
    };
    watched.prove(&only, |mesh| mesh.kill(at), |mesh| mesh.resume(at))?;
    watched.by_admin("mesh leaders delete jobs/nightly --yes -q")?;
    let leader = watched.leader()?;
    let led = PlantedFault { name: "the daemon that leads is killed", fires: ONE, pages: &[], stays: false };
    watched.prove(&led, |mesh| mesh.kill(leader), |mesh| mesh.resume(leader))?;
    let leader = watched.leader()?;
    let followers = || (0..4).filter(move |at| *at != leader);
    let many = PlantedFault {
        name: "three daemons of five are killed",
        fires: &["DaemonDown", "DaemonsMissing"],
        pages: &["DaemonsMissing"],
        stays: false,
    };
    watched.prove(
        &many,
        |mesh| followers().try_for_each(|at| mesh.kill(at)),
        |mesh| followers().try_for_each(|at| mesh.resume(at)),
    )?;
    let held = PlantedFault {
        name: "a daemon stands still for two seconds, twice (SIGSTOP)",
        fires: &["DaemonHeldUp"],
        pages: &[],
        stays: false,
    };
    let at = watched.follower()?;
    watched.prove(&held, |mesh| mesh.stand_still(at), |_| Ok(()))
}

/// The last of all: what fires stays for half an hour.
fn faults_of_leaders(watched: &mut WatchedMesh) -> Result<()> {
    let flaps = PlantedFault {
        name: "leaders are killed again and again",
        fires: &["LeaderFlaps"],
        pages: &[],
        stays: true,
    };
    let kill_leaders = |mesh: &mut WatchedMesh| {
        for _ in 0..3 {
            let at = mesh.leader()?;
            mesh.kill(at)?;
            let others = || Ok(mesh.leader()? != at);
            eventually("another one leads", others)?;
            mesh.resume(at)?;
        }
        Ok(())
    };
    watched.prove(&flaps, kill_leaders, |_| Ok(()))
}

fn faults_of_the_store(watched: &mut WatchedMesh) -> Result<()> {
    let away = PlantedFault {
        name: "the store is stopped",
        fires: &["StoreAway"],
        pages: &["StoreAway"],
        stays: false,
    };
    watched.prove(&away, |mesh| mesh.server.kill(), |mesh| mesh.server.restart())
}

fn faults_of_certificates(watched: &mut WatchedMesh) -> Result<()> {
    let ends = PlantedFault {
        name: "a certificate ends in three hours",
        fires: &["NodeCertificateEnds"],
        pages: &["NodeCertificateEnds"],
        stays: false,
    };
    let policy = "{\"rules\": [{\"name\": \"short\", \"effect\": \"allow\", \"lifetimeSeconds\": 10800}]}";
    std::fs::write(watched.mesh.path("policy.json"), policy)?;
    watched.by_admin("join-policy set -f policy.json --yes -q")?;
    watched.by_admin("token create --out token --node n5")?;
    let server = watched.mesh.daemon.control.clone();
    let line = format!("mesh join --server {server} --token-file token --node-id n5 --data-dir n5");
    let joined = ended(&mut command(&line, watched.mesh.folder.path()))?;
    ensure!(joined.code == Some(0), "{}", joined.complaint);
    let (mut host, listen) = (None, format!("127.0.0.1:{}", free_port()?));
    let slot = std::cell::RefCell::new(&mut host);
    watched.prove(
        &ends,
        |mesh| {
            **slot.borrow_mut() = Some(Joined::start(&mesh.mesh, "n5", &listen, &[])?);
            Ok(())
        },
        |_| {
            // It stops cleanly, and is none of the mesh then.
            let mut host = slot.borrow_mut().take().context("it does not run")?;
            run(Command::new("kill").arg(host.0.id().to_string()))?;
            host.0.wait()?;
            Ok(())
        },
    )
}

fn faults_of_the_network(watched: &mut WatchedMesh) -> Result<()> {
    let udp =
        PlantedFault { name: "UDP is blocked", fires: &["MeshTransportFallsBack"], pages: &[], stays: false };
    watched.prove(&udp, |_| block_udp(true), |_| block_udp(false))
}

fn faults_of_shards(watched: &mut WatchedMesh) -> Result<()> {
    let unbalanced = PlantedFault {
        name: "one node owns all shards",
        fires: &["ShardsUnbalanced"],
        pages: &[],
        stays: false,
    };
    let plant = |mesh: &mut WatchedMesh| {
        for node in ["n1", "n2", "n3", "n4"] {
            mesh.by_admin(&format!("mesh peers cordon {node} --reason drill -q"))?;
        }
        mesh.by_admin("mesh namespaces create orders --shards 40 -q")?;
        for node in ["n1", "n2", "n3", "n4"] {
            mesh.by_admin(&format!("mesh peers uncordon {node} -q"))?;
        }
        Ok(())
    };
    let heal = |mesh: &mut WatchedMesh| mesh.by_admin("mesh namespaces delete orders --yes -q").map(drop);
    watched.prove(&unbalanced, plant, heal)
}

async fn faults_of_telemetry(watched: &mut WatchedMesh) -> Result<()> {
    let sending = send_frames(watched.relay_port).await?;
    let full = PlantedFault {
        name: "the disk of a sink of telemetry is full",
        fires: &["RelaySinkBehind"],
        pages: &[],
        stays: false,
    };
    let proven = watched.prove(&full, |mesh| mesh.disk.fill(), |mesh| mesh.disk.free());
    sending.abort();
    proven
}

#[test]
#[ignore = "some minutes, as root: scripts/nightly alerts"]
fn each_fault_fires_what_tells_of_it_and_no_other_page() -> Result<()> {
    with_an_address(async |_: IpAddr| {
        let mut watched = WatchedMesh::start()?;
        // A few minutes, as these rules have it.
        std::thread::sleep(PATIENCE.min(Duration::from_secs(20)));
        for state in ["pending", "firing"] {
            let found = watched.in_state(state)?;
            ensure!(found.is_empty(), "{found:?} are {state} on a mesh that is well");
        }
        faults_of_daemons(&mut watched)?;
        faults_of_the_store(&mut watched)?;
        faults_of_certificates(&mut watched)?;
        faults_of_the_network(&mut watched)?;
        faults_of_shards(&mut watched)?;
        faults_of_telemetry(&mut watched).await?;
        faults_of_leaders(&mut watched)?;
        watched.rows.iter().for_each(|row| println!("{}", row.line()));
        hold_table(&watched.rows)
    })
}
