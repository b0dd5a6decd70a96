//! A wire to a server that a test can cut, silence, or make lose an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of what the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    Whole,
    /// Nothing passes, in either direction, and nothing is closed.
    Silent,
    /// What the client sends with this text in it reaches the server; its answer is lost, and the
    /// connection with it.
    LosesAnswerTo(&'static [u8]),
    /// What the client sends with this text in it reaches the server; its answer, and what comes behind
    /// it, stays on the way until something else is set.
    KeepsAnswerTo(&'static [u8]),
    /// Connections are closed, and new ones as soon as they are made.
    Cut,
}

/// What becomes of the next answer on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Passes,
    IsLost,
    IsKept,
}

/// A proxy before one server; gone with its value, and all its connections with it.
pub struct Proxy {
    address: String,
    wire: Arc<watch::Sender<Wire>>,
    counts: Arc<Counts>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    said: AtomicUsize,
    lost: AtomicUsize,
    kept: AtomicUsize,
}

impl Proxy {
    pub async fn before(server: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (wire, counts) = (Arc::new(watch::Sender::new(Wire::Whole)), Arc::<Counts>::default());
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, server.to_owned(), wire.clone(), counts.clone()));
        Ok(Self { address, wire, counts, _serving: serving })
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }

    /// How many answers were lost.
    pub fn lost(&self) -> usize {
        self.counts.lost.load(Ordering::SeqCst)
    }

    /// How many answers were kept back for a while.
    pub fn kept(&self) -> usize {
        self.counts.kept.load(Ordering::SeqCst)
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// How often a client said something: one small command at a time is one each.
    pub fn said(&self) -> usize {
        self.counts.said.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, server: String, wire: Arc<watch::Sender<Wire>>, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        counts.connections.fetch_add(1, Ordering::SeqCst);
        let (server, wire, counts) = (server.clone(), wire.subscribe(), counts.clone());
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(&server).await else { return };
            // However a connection ends: the daemon has to live with it.
            let _ = join(client, server, wire, &counts).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn join(
    client: TcpStream,
    server: TcpStream,
    mut wire: watch::Receiver<Wire>,
    counts: &Counts,
) -> Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (told, answer) = watch::channel(Answer::Passes);
    tokio::select! {
        up = upwards(from_client, to_server, wire.clone(), told, counts) => up,
        down = downwards(from_server, to_client, wire.clone(), answer, counts) => down,
        _ = wire.wait_for(|wire| *wire == Wire::Cut) => Ok(()),
    }
}

async fn upwards(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut wire: watch::Receiver<Wire>,
    answer: watch::Sender<Answer>,
    counts: &Counts,
) -> Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        counts.said.fetch_add(1, Ordering::SeqCst);
        let wire = wire.wait_for(|wire| *wire != Wire::Silent).await?.clone();
        let has = |text: &[u8]| bytes[..count].windows(text.len()).any(|part| part == text);
        match wire {
            Wire::LosesAnswerTo(text) if has(text) => answer.send_replace(Answer::IsLost),
            Wire::KeepsAnswerTo(text) if has(text) => answer.send_replace(Answer::IsKept),
            Wire::Whole | Wire::Silent | Wire::Cut | Wire::LosesAnswerTo(_) | Wire::KeepsAnswerTo(_) => {
                Answer::Passes
            }
        };
        to.write_all(&bytes[..count]).await?;
    }
}

async fn downwards(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut wire: watch::Receiver<Wire>,
    answer: watch::Receiver<Answer>,
    counts: &Counts,
) -> Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        let answer = *answer.borrow();
        match answer {
            Answer::Passes => {}
            Answer::IsLost => {
                counts.lost.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            Answer::IsKept => {
                counts.kept.fetch_add(1, Ordering::SeqCst);
                wire.wait_for(|wire| !matches!(wire, Wire::KeepsAnswerTo(_))).await?;
            }
        }
        wire.wait_for(|wire| *wire != Wire::Silent).await?;
        to.write_all(&bytes[..count]).await?;
    }
}
