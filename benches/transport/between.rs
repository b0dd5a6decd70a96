//! What is between two nodes: it passes TCP on, and of UDP what it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

pub struct Between {
    pub address: SocketAddr,
    /// One datagram in so many is dropped; 0: none.
    drops: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Between {
    pub async fn before(server: SocketAddr) -> Result<Self> {
        let tcp = TcpListener::bind("127.0.0.1:0").await?;
        let address = tcp.local_addr()?;
        let (front, back) = (UdpSocket::bind(address).await?, UdpSocket::bind("127.0.0.1:0").await?);
        back.connect(server).await?;
        let (drops, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
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
        let every = Arc::clone(&drops);
        tasks.spawn(async move {
            let (mut there, mut back_again) = (vec![0; 65536], vec![0; 65536]);
            let (mut client, mut seen) = (None, 0_usize);
            let mut passes = || {
                seen += 1;
                let every = every.load(Ordering::Relaxed);
                every == 0 || !seen.is_multiple_of(every)
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
        Ok(Self { address, drops, _tasks: tasks })
    }

    pub fn drop_every(&self, datagrams: usize) {
        self.drops.store(datagrams, Ordering::Relaxed);
    }
}
