//! A proxy between two ends: it passes TCP on, and of UDP what it is told to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

pub(crate) struct Proxy {
    pub address: SocketAddr,
    udp: Arc<Udp>,
    _tasks: JoinSet<()>,
}

/// State of a proxy for datagrams: which it drops, by direction, share and size, and how many it has seen.
#[derive(Default)]
struct Udp {
    cut_there: AtomicBool,
    cut_back: AtomicBool,
    lost_percent: AtomicU64,
    bytes_max: AtomicUsize,
    seen: AtomicU64,
}

impl Udp {
    fn passes(&self, length: usize, is_cut: &AtomicBool) -> bool {
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        !is_cut.load(Ordering::Relaxed) && !self.loses() && (bytes_max == 0 || length <= bytes_max)
    }

    /// Of a sequence that is the same each time and has no period that a protocol could fall into.
    fn loses(&self) -> bool {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        let mixed = (seen.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 32)) % 100) < self.lost_percent.load(Ordering::Relaxed)
    }
}

impl Proxy {
    /// One that leads to `server`, for TCP and UDP by one number.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) async fn before(server: SocketAddr) -> io::Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let address = tcp.local_addr()?;
        let (front, back) = (UdpSocket::bind(address).await?, UdpSocket::bind("127.0.0.1:0").await?);
        back.connect(server).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut from, _)) = tcp.accept().await {
                open.spawn(async move {
                    let Ok(mut to) = TcpStream::connect(server).await else { return };
                    let _ = (from.set_nodelay(true), to.set_nodelay(true));
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        });
        let udp = Arc::<Udp>::default();
        let rules = Arc::clone(&udp);
        tasks.spawn(async move {
            let (mut there, mut back_again, mut client) = (vec![0; 65536], vec![0; 65536], None);
            loop {
                tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut there) => {
                        client = Some(from);
                        if rules.passes(length, &rules.cut_there) {
                            let _ = back.send(&there[..length]).await;
                        }
                    }
                    Ok(length) = back.recv(&mut back_again) => {
                        if let Some(client) = client.filter(|_| rules.passes(length, &rules.cut_back)) {
                            let _ = front.send_to(&back_again[..length], client).await;
                        }
                    }
                }
            }
        });
        Ok(Self { address, udp, _tasks: tasks })
    }

    /// Drops all that goes to the server, and all that comes back, or lets it through again.
    pub(crate) fn cut(&self, there: bool, back: bool) {
        self.udp.cut_there.store(there, Ordering::Relaxed);
        self.udp.cut_back.store(back, Ordering::Relaxed);
    }

    /// Drops so many of a hundred datagrams.
    pub(crate) fn lose_percent(&self, percent: u64) {
        self.udp.lost_percent.store(percent, Ordering::Relaxed);
    }

    /// Drops datagrams with more bytes than this; 0: none.
    pub(crate) fn drop_larger_than(&self, bytes: usize) {
        self.udp.bytes_max.store(bytes, Ordering::Relaxed);
    }
}
