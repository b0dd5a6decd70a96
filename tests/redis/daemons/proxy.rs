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
    wire: watch::Receiver<Wire>,
    counts: &Counts,
) -> Result<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (doomed, doom) = watch::channel(false);
    tokio::select! {
        up = upwards(from_client, to_server, wire.clone(), doomed, counts) => up,
        down = downwards(from_server, to_client, wire, doom, counts) => down,
    }
}

async fn upwards(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut wire: watch::Receiver<Wire>,
    doomed: watch::Sender<bool>,
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
        if let Wire::LosesAnswerTo(text) = wire
            && bytes[..count].windows(text.len()).any(|part| part == text)
        {
            doomed.send_replace(true);
        }
        to.write_all(&bytes[..count]).await?;
    }
}

async fn downwards(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut wire: watch::Receiver<Wire>,
    doom: watch::Receiver<bool>,
    counts: &Counts,
) -> Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        if *doom.borrow() {
            counts.lost.fetch_add(1, Ordering::SeqCst);
            return Ok(());
        }
        wire.wait_for(|wire| *wire != Wire::Silent).await?;
        to.write_all(&bytes[..count]).await?;
    }
}
