//! How many handshakes of mutual TLS 1.3 are done in a second, here and by rustls alone.

use std::sync::Arc;

use anyhow::{Result, ensure};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::bare::{Bare, PREFACE, SETTINGS};
use crate::load::{self, median};
use crate::{Asked, Plan, mesh, paired, say, together};

#[derive(Default)]
struct Figures {
    /// Handshakes a second: one after another, 64 under way, and each second of a core of the server.
    rates: [Vec<f64>; 3],
}

pub(crate) async fn all(plan: Plan) -> Result<()> {
    println!("\nhandshakes: whole ones of mutual TLS 1.3, until the server's first frame has come");
    let mesh = mesh::start("bench", "127.0.0.1:0", &[])?;
    let bare = Bare::start(&mesh)?;
    let config = mesh::Identity::of(&mesh.path("admin"))?.config()?;
    let places = [(mesh.daemon.control.clone(), mesh.daemon.pid()), (bare.address.clone(), bare.pid())];
    let mut figures = [Figures::default(), Figures::default()];
    for round in 0..plan.rounds {
        for place in [round % 2, (round + 1) % 2] {
            let (address, server) = places[place].clone();
            let one = load::alone(plan.turn, |_, _| handshake(address.clone(), config.clone())).await?;
            let config = config.clone();
            let many =
                together(plan.turn, server, move |_| handshake(address.clone(), config.clone())).await?;
            let rates = [1e6 / one, many.per_second, 1e6 / many.cost_us];
            figures[place].rates.iter_mut().zip(rates).for_each(|(of, rate)| of.push(rate));
        }
    }
    let [ours, rustls] = figures;
    let rows = ["1 in flight", "64 in flight", "each second of a core of the server"];
    for (at, row) in rows.into_iter().enumerate() {
        let (ours, rustls) = (&ours.rates[at], &rustls.rates[at]);
        say(&format!("handshakes, {row}"), median(ours.clone()), "/s", None);
        say("  rustls alone", median(rustls.clone()), "/s", None);
        say("  ratio", paired(ours, rustls, |ours, rustls| ours / rustls), "", Some(Asked::AtLeast(0.7)));
    }
    Ok(())
}

/// Connects, agrees on TLS, and waits for what a server of HTTP/2 says first: by then it has judged the certificate.
pub(crate) async fn handshake(address: String, config: Arc<ClientConfig>) -> Result<()> {
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    let mut stream = TlsConnector::from(config).connect(name, stream).await?;
    stream.write_all(&[&PREFACE[..], &SETTINGS].concat()).await?;
    let mut first = [0; SETTINGS.len()];
    stream.read_exact(&mut first).await?;
    ensure!(first[3] == SETTINGS[3], "the first frame is no settings");
    Ok(())
}
