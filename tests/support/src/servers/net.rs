//! A network of servers and their clients that a test can split in two, process by process.
//!
//! Each server is reached by a door, whose address is the one that it announces. A door knows which process knocks,
//! by the socket at the other end; while the network is split nothing passes between processes of two sides, and
//! nothing is closed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often it is looked for the process that has just connected.
const LOOKS: usize = 40;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Which processes do not reach each other; none while the network is whole.
#[derive(Default)]
struct CutOff {
    inside: BTreeSet<u32>,
    /// `None`: all that are not inside.
    outside: Option<BTreeSet<u32>>,
}

impl CutOff {
    fn passes(&self, one: u32, other: u32) -> bool {
        let is_inside = |pid| self.inside.contains(&pid);
        let is_outside =
            |pid| self.outside.as_ref().map_or(!is_inside(pid), |outside| outside.contains(&pid));
        !(is_inside(one) && is_outside(other) || is_inside(other) && is_outside(one))
    }
}

/// The network.
#[derive(Clone, Default)]
pub struct Net {
    cut_off: Arc<watch::Sender<CutOff>>,
    /// All processes that may knock.
    known: Arc<watch::Sender<BTreeSet<u32>>>,
}

/// The way to one server; gone with its value, and all its connections with it.
pub struct Door {
    port: u16,
    server: Arc<OnceLock<(String, u32)>>,
    delay: Arc<OnceLock<Duration>>,
    _serving: JoinSet<()>,
}

impl Net {
    /// Knows a process from now on.
    pub fn know(&self, pid: u32) {
        self.known.send_modify(|known| {
            known.insert(pid);
        });
    }

    /// Cuts these processes off from all others.
    pub fn cut_off(&self, pids: impl IntoIterator<Item = u32>) {
        self.cut_off.send_replace(CutOff { inside: pids.into_iter().collect(), outside: None });
    }

    /// Cuts these processes off from those; all others reach both.
    pub fn cut_off_from(&self, pids: impl IntoIterator<Item = u32>, others: impl IntoIterator<Item = u32>) {
        let outside = Some(others.into_iter().collect());
        self.cut_off.send_replace(CutOff { inside: pids.into_iter().collect(), outside });
    }

    pub fn heal(&self) {
        self.cut_off.send_replace(CutOff::default());
    }

    /// A door that leads nowhere yet.
    pub async fn door(&self) -> Result<Door> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let server = Arc::<OnceLock<(String, u32)>>::default();
        let delay = Arc::<OnceLock<Duration>>::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(self.clone(), listener, server.clone(), delay.clone()));
        Ok(Door { port, server, delay, _serving: serving })
    }

    /// Which process is at the other end of a connection that was accepted at `door`.
    async fn who(&self, peer: SocketAddr, door: SocketAddr) -> Option<u32> {
        for _ in 0..LOOKS {
            let known = self.known.borrow().clone();
            let look = move || {
                let inode = inode_of(peer, door)?;
                Some(known.into_iter().find(|pid| has_open(*pid, &inode)))
            };
            match tokio::task::spawn_blocking(look).await.ok()? {
                Some(Some(pid)) => return Some(pid),
                // It is told of in a moment.
                Some(None) => tokio::time::sleep(LOOK_EVERY).await,
                // It has gone again.
                None => return None,
            }
        }
        None
    }
}

impl Door {
    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Leads to the server of this process from now on.
    pub fn leads_to(&self, address: String, pid: u32) -> Result<()> {
        self.server.set((address, pid)).ok().context("it leads somewhere already")
    }

    /// Each connection through it takes this much longer to be made.
    pub fn is_slow(&self, delay: Duration) -> Result<()> {
        self.delay.set(delay).ok().context("it is slow already")
    }
}

/// The socket of a connection between local addresses, as the system numbers it. One that has ended may have had the same port,
/// to elsewhere.
fn inode_of(from: SocketAddr, to: SocketAddr) -> Option<String> {
    let [from, to] = [from, to].map(|address| format!("0100007F:{:04X}", address.port()));
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let mut rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&from.as_str()) && row.get(2) == Some(&to.as_str()))?;
    // Whoever has closed it has no socket any more.
    row.get(9).filter(|inode| **inode != "0").map(|inode| format!("socket:[{inode}]"))
}

fn has_open(pid: u32, socket: &str) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut targets = open.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.any(|target| target.to_str() == Some(socket))
}

async fn serve(
    net: Net,
    listener: TcpListener,
    server: Arc<OnceLock<(String, u32)>>,
    delay: Arc<OnceLock<Duration>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, peer)) = listener.accept().await {
        let (net, server, delay) = (net.clone(), server.clone(), delay.clone());
        connections.spawn(async move {
            let Some((address, to)) = server.get().cloned() else { return };
            let Ok(door) = client.local_addr() else { return };
            let Some(from) = net.who(peer, door).await else { return };
            if let Some(delay) = delay.get() {
                tokio::time::sleep(*delay).await;
            }
            // However a connection ends: whoever has it lives with that.
            let _ = join(&net, client, &address, from, to).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn join(net: &Net, client: TcpStream, address: &str, from: u32, to: u32) -> Result<()> {
    let passes = move |cut_off: &CutOff| cut_off.passes(from, to);
    let mut cut_off = net.cut_off.subscribe();
    tokio::select! {
        healed = cut_off.wait_for(passes) => drop(healed?),
        () = gone(&client) => return Ok(()),
    }
    let server = TcpStream::connect(address).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        up = pass_on(from_client, to_server, net.cut_off.subscribe(), passes) => up,
        down = pass_on(from_server, to_client, net.cut_off.subscribe(), passes) => down,
    }
}

/// Is ready once the other end has closed a connection that nobody reads meanwhile.
async fn gone(client: &TcpStream) {
    let mut byte = [0];
    // One that has said something is looked at now and then: the end comes behind it.
    while !matches!(client.peek(&mut byte).await, Ok(0) | Err(_)) {
        let ready = client.ready(Interest::READABLE).await;
        if ready.is_ok_and(|ready| ready.is_read_closed()) {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut cut_off: watch::Receiver<CutOff>,
    passes: impl Fn(&CutOff) -> bool,
) -> Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        cut_off.wait_for(&passes).await?;
        if count == 0 {
            return Ok(());
        }
        to.write_all(&bytes[..count]).await?;
    }
}
