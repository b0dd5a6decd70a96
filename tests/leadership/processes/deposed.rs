//! A leader that is stopped between its decision and its commit, and goes on when somebody else leads.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use omnirelay_core::labels::Labels;
use omnirelay_leadership::campaign::{CampaignSettings, Campaigner};
use omnirelay_leadership::metrics::LeadershipMetrics;
use omnirelay_leadership_records::LEADERSHIP;
use omnirelay_leadership_records::ScopeFences as _;
use omnirelay_peer_records::PEER;
use omnirelay_peer_records::presence::{Presence, PresenceSettings};
use omnirelay_peers::keep_present::keep_present;
use omnirelay_registry::Registry;
use omnirelay_registry::act::{DaemonAct, DecisionReader, WriteAuthority};
use omnirelay_registry::follow::follow_log;
use omnirelay_store::{CommitError, LeaseFence, RecordId, RecordKind, Scan, Store, Write};
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::gates::store;
use crate::servers::RedisServer;

/// The store of a process of its own that campaigns, and does once what only the leader may.
const LEADS_ON: &str = "OMNIRELAY_TEST_LEADS_ON";
const SCOPE: &str = "global-control";
const DONE: RecordKind = RecordKind::of("done");
static MIRRORED: [RecordKind; 2] = [PEER, LEADERSHIP];
const SESSION_TTL: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What such a process says of its write.
const MADE: &str = "made";

#[test]
fn what_a_stopped_leader_had_decided_is_refused_when_it_goes_on() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    if let Ok(url) = std::env::var(LEADS_ON) {
        return runtime.block_on(lead_once(&url));
    }
    let server = RedisServer::start(&[])?;
    let mut old = Candidate::start(&server.url(), "old")?;
    let token = old.until_leading()?;
    let mut new = Candidate::start(&server.url(), "new")?;
    old.signal(Signal::STOP)?;
    let next = new.until_leading()?;
    ensure!(next > token, "{next} after {token}");
    // What it has decided is on its way as soon as it goes on.
    old.go_on()?;
    old.signal(Signal::CONT)?;
    let said = old.said()?;
    ensure!(said == format!("fenced {token} {next}"), "{said}");
    let done = runtime.block_on(async {
        let scan = Scan { kind: DONE, after: None, backwards: false, limit: 1 };
        anyhow::Ok(store(&server.url())?.scan(scan).await?.records)
    })?;
    ensure!(done.is_empty(), "{done:?}");
    // The judge: the same of the one who leads is made.
    new.go_on()?;
    let said = new.said()?;
    ensure!(said == MADE, "{said}");
    Ok(())
}

/// A process that campaigns; killed when it is dropped.
struct Candidate {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Candidate {
    fn start(url: &str, node_id: &str) -> Result<Self> {
        let this = std::thread::current().name().context("no test")?.to_owned();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--exact", "--nocapture", this.as_str()])
            .env(LEADS_ON, format!("{node_id} {url}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { child, input, output })
    }

    /// What it says next; the harness of its test speaks in between.
    fn said(&mut self) -> Result<String> {
        let said = self.output.by_ref().find_map(|line| {
            let line = line.map(|line| line.split_once("said: ").map(|(_, said)| said.to_owned()));
            line.transpose()
        });
        Ok(said.context("it has ended")??)
    }

    fn until_leading(&mut self) -> Result<u64> {
        let said = self.said()?;
        Ok(said.strip_prefix("leads ").with_context(|| said.clone())?.parse()?)
    }

    fn go_on(&mut self) -> Result<()> {
        Ok(writeln!(self.input, "go on")?)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("no pid")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Campaigns, and decides once to do what only the leader may, but does it only when it is told to go on.
async fn lead_once(node_and_url: &str) -> Result<()> {
    let (node_id, url) = node_and_url.split_once(' ').context("no node")?;
    let registry = Arc::new(Registry::new(node_id, Arc::new(store(url)?), &MIRRORED));
    let settings = PresenceSettings {
        audited: false,
        session_ttl: SESSION_TTL,
        dead_after: SESSION_TTL * 5,
        forget_after: SESSION_TTL * 1800,
        session_secret: node_id.to_owned(),
    };
    let profile = pb::PeerMetadata { campaigns: true, ..pb::PeerMetadata::default() };
    let presence = Arc::new(Presence::new(registry.clone(), settings, profile));
    let settings = CampaignSettings {
        enabled: true,
        evaluation_interval: Duration::from_millis(750),
        election_backoff: Duration::from_millis(100),
        max_election_window: SESSION_TTL * 5,
        entered: BTreeMap::from([(SCOPE.to_owned(), Labels::new())]),
        seed: 1,
    };
    let metrics = Arc::new(LeadershipMetrics::new(&prometheus::Registry::new())?);
    let campaigner = Arc::new(Campaigner::new(registry.clone(), settings, metrics));
    tokio::spawn(follow_log(registry.clone()));
    tokio::spawn(keep_present(registry.clone(), presence, SESSION_TTL / 4));
    let campaigning = campaigner.clone();
    tokio::spawn(async move { campaigning.run().await });
    let fence = loop {
        match campaigner.fence(SCOPE) {
            Some(fence) => break fence,
            None => sleep(LOOK_AGAIN).await,
        }
    };
    let done = do_once(&registry, fence).await;
    println!(
        "said: {}",
        match done {
            Ok(()) => MADE.to_owned(),
            Err(CommitError::Fenced { token, current, .. }) =>
                format!("fenced {token} {}", current.unwrap_or(0)),
            Err(error) => format!("{error:#}"),
        }
    );
    Ok(())
}

async fn do_once(registry: &Registry, fence: LeaseFence) -> Result<(), CommitError> {
    let token = fence.token;
    let act = DaemonAct::new("tests.do", [DONE], WriteAuthority::Leader(fence));
    let decide = async |reader: DecisionReader<'_>| {
        let id = RecordId::new(DONE, registry.node_id());
        let plan = reader.plan().write([Write::Put { id, value: Bytes::new(), group: None }]);
        println!("said: leads {token}");
        let told = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        told.await.expect("it reads").expect("a line");
        Ok::<_, CommitError>(Some((plan, ())))
    };
    registry.act(&act, decide).await.map(drop)
}
