//! How soon registers are visible again.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figures::Figures;
use crate::mesh::{Kind, Service};

const REGISTERS: usize = 100;
/// How far apart the parts of a full restart are started.
const APART: Duration = Duration::from_millis(300);

/// Everything was killed, and the pool has forgotten: from the start of the servers until all are visible.
pub async fn cold(kind: Kind, rounds: usize) -> Result<Figures> {
    let mut service = Service::start(kind, &["registers.advertisementTtl=2s"])?;
    service.import(REGISTERS).await?;
    service.until_visible(REGISTERS).await?;
    let mut figures = Figures::default();
    for _ in 0..rounds {
        service.kill()?;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let begun = Instant::now();
        service.start_store()?;
        service.start_daemon()?;
        service.until_visible(REGISTERS).await?;
        figures.push(begun.elapsed());
    }
    Ok(figures)
}

/// The daemon was killed: from its being ready until all are served.
pub async fn served(kind: Kind, rounds: usize) -> Result<Figures> {
    let mut service = Service::start(kind, &[])?;
    service.import(REGISTERS).await?;
    service.until_visible(REGISTERS).await?;
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

/// A catalogue in one daemon and a pool in another; both and their stores are killed, and started in each order: from
/// the last start until all are visible in the pool.
pub async fn orders(kind: Kind, rounds: usize) -> Result<Figures> {
    let mut pool = Service::start(kind, &["registers.advertisementTtl=2s"])?;
    let address = pool.daemon()?.control.clone();
    let target = format!("registers.peerServices=[\"http://{address}\"]");
    let mut catalogue = Service::start(kind, &[&target, "registers.resyncInterval=1s"])?;
    catalogue.import(REGISTERS).await?;
    pool.until_visible(REGISTERS).await?;
    let mut figures = Figures::default();
    for _ in 0..rounds {
        for catalogue_first in [true, false] {
            for stores_first in [true, false] {
                catalogue.kill()?;
                pool.kill()?;
                tokio::time::sleep(Duration::from_millis(2500)).await;
                figures.push(restarted(&mut catalogue, &mut pool, catalogue_first, stores_first).await?);
            }
        }
    }
    Ok(figures)
}

async fn restarted(
    catalogue: &mut Service,
    pool: &mut Service,
    catalogue_first: bool,
    stores_first: bool,
) -> Result<Duration> {
    let order = if catalogue_first { [true, false] } else { [false, true] };
    let mut last = Instant::now();
    for stores in if stores_first { [true, false] } else { [false, true] } {
        for first in order {
            tokio::time::sleep(APART).await;
            last = Instant::now();
            let service = if first { &mut *catalogue } else { &mut *pool };
            if stores { service.start_store()? } else { service.start_daemon()? }
        }
    }
    pool.until_visible(REGISTERS).await?;
    Ok(last.elapsed())
}
