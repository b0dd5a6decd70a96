//! A proxy between two ends: it passes TCP on, and of UDP what it is told to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

pub struct Proxy {
    pub address: SocketAddr,
    pub is_cut: Arc<AtomicBool>,
    /// One datagram in so many is dropped; 0: none.
    pub drops: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// One that leads to `server`, for TCP and UDP by one number.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn before(server: SocketAddr) -> io::Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let address = tcp.local_addr()?;
        let (front, back) = (UdpSocket::bind(address).await?, UdpSocket::bind("127.0.0.1:0").await?);
        back.connect(server).await?;
        let (is_cut, drops) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
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
        let (cut, every) = (Arc::clone(&is_cut), Arc::clone(&drops));
        tasks.spawn(async move {
            let (mut there, mut back_again) = (vec![0; 65536], vec![0; 65536]);
            let (mut client, mut seen) = (None, 0_usize);
            let mut passes = || {
                seen += 1;
                let every = every.load(Ordering::Relaxed);
                !cut.load(Ordering::Relaxed) && (every == 0 || !seen.is_multiple_of(every))
            };
            loop {
                tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut there) => {
                        client = Some(from);
                        if passes() { let _ = back.send(&there[..length]).await; }
                    }
                    Ok(length) = back.recv(&mut back_again) => {
                        if let Some(client) = client.filter(|_| passes()) {
                            let _ = front.send_to(&back_again[..length], client).await;
                        }
                    }
                }
            }
        });
        Ok(Self { address, is_cut, drops, _tasks: tasks })
    }
}
