//! How soon registers are visible again.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figures::Figures;
use crate::mesh::{Kind, Service};

const REGISTERS: usize = 100;
/// How far apart the parts of a full restart are started.
const APART: Duration = Duration::from_millis(300);

/// Everything was killed: from the start of the servers until all are visible and confirmed.
pub(crate) async fn cold(kind: Kind, rounds: usize) -> Result<Figures> {
    let mut service = filled(kind).await?;
    let mut figures = Figures::default();
    for _ in 0..rounds {
        service.kill()?;
        let begun = Instant::now();
        service.start_store()?;
        service.start_daemon()?;
        service.until_confirmed(REGISTERS).await?;
        figures.push(begun.elapsed());
    }
    Ok(figures)
}

/// The daemon was killed: from its being ready until all are served.
pub(crate) async fn served(kind: Kind, rounds: usize) -> Result<Figures> {
    let mut service = filled(kind).await?;
    let mut figures = Figures::default();
    for _ in 0..rounds {
        service.kill_daemon()?;
        service.start_daemon()?;
        let begun = Instant::now();
        service.until_visible(REGISTERS).await?;
        figures.push(begun.elapsed());
    }
    Ok(figures)
}

/// A daemon whose catalogue is advertised.
async fn filled(kind: Kind) -> Result<Service> {
    let service = Service::start(kind, &[])?;
    service.import(REGISTERS).await?;
    service.until_confirmed(REGISTERS).await?;
    Ok(service)
}

/// What is started of a catalogue in one daemon and a pool in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    CatalogueStore,
    Catalogue,
    PoolStore,
    Pool,
}

/// Both daemons and their stores are killed, and started in each order, at the default intervals: from the last start
/// until all are visible in the pool and confirmed.
pub(crate) async fn orders(kind: Kind, rounds: usize) -> Result<Figures> {
    let mut pool = Service::start(kind, &[])?;
    let address = pool.daemon()?.control.clone();
    let mut catalogue = Service::start(kind, &[&format!("registers.peerServices=[\"http://{address}\"]")])?;
    pool.keep_address(&address);
    catalogue.import(REGISTERS).await?;
    pool.until_confirmed(REGISTERS).await?;
    let mut figures = Figures::default();
    for _ in 0..rounds {
        for order in orders_of(kind) {
            catalogue.kill()?;
            pool.kill()?;
            let mut last = Instant::now();
            for part in order {
                tokio::time::sleep(APART).await;
                last = Instant::now();
                match part {
                    Part::CatalogueStore => catalogue.start_store()?,
                    Part::Catalogue => catalogue.start_daemon()?,
                    Part::PoolStore => pool.start_store()?,
                    Part::Pool => pool.start_daemon()?,
                }
            }
            pool.until_confirmed(REGISTERS).await?;
            figures.push(last.elapsed());
        }
    }
    Ok(figures)
}

/// Every order in which the parts can be started; an embedded store is none.
fn orders_of(kind: Kind) -> Vec<Vec<Part>> {
    let parts = match kind {
        Kind::Embedded => vec![Part::Catalogue, Part::Pool],
        Kind::Redis => vec![Part::CatalogueStore, Part::Catalogue, Part::PoolStore, Part::Pool],
    };
    let mut orders = vec![Vec::new()];
    for _ in 0..parts.len() {
        let longer = orders.iter().flat_map(|order: &Vec<Part>| {
            let rest = parts.iter().filter(|part| !order.contains(part));
            rest.map(|part| [&order[..], &[*part]].concat()).collect::<Vec<_>>()
        });
        orders = longer.collect();
    }
    orders
}
