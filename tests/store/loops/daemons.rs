//! Real daemons on one store, killed and paused while clients change what they hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::api::Http;
use super::grpc::Grpc;
use super::{Door, Record, run, seed, time};
use crate::linearizable::Chance;
use crate::process::{Daemon, Place, until};
use crate::servers::free_port;

/// What happens to the daemons of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Faults {
    None,
    /// `kill -9` and a new start, `SIGSTOP` and `SIGCONT`.
    KillsAndPauses,
}

struct Member {
    place: Place,
    daemon: Option<Daemon>,
}

/// Runs closed loops through HTTP and gRPC of as many daemons as there are stores given.
pub(super) async fn loops(stores: &[&str], faults: Faults) -> Result<()> {
    let (seed, mut members) = (seed(), Vec::new());
    for (number, store) in stores.iter().enumerate() {
        let id = format!("n{}", number + 1);
        let mut place = Place::new(&["--node-id", &id, "--store", store])?;
        // The same port after each start, so that clients find it again.
        place.listen = format!("127.0.0.1:{}", free_port()?);
        let daemon = Some(place.start()?);
        members.push(Member { place, daemon });
    }
    let mut doors: Vec<Arc<dyn Door>> = Vec::new();
    let mut creators = Vec::new();
    for member in &members {
        let control = &member.place.listen;
        doors.push(Arc::new(Http::new(control)?));
        doors.push(Arc::new(Grpc::new(control)?));
        creators.push(Http::new(control)?);
    }
    let (over, chance) = (Arc::new(AtomicBool::new(false)), Chance::of(seed));
    let disturbing = {
        let over = over.clone();
        tokio::task::spawn_blocking(move || disturb(members, faults, chance, &over))
    };
    let outcome = run::rounds(&doors, seed, time(), async |round| {
        let records = [
            Record::Peer("n1".to_owned()),
            Record::Scope(format!("loops/{round}")),
            Record::Register("n1".to_owned(), format!("r{round}")),
        ];
        for record in &records {
            create(&creators, record).await?;
        }
        Ok(records.to_vec())
    })
    .await;
    over.store(true, Ordering::Relaxed);
    let logs = disturbing.await??;
    if outcome.is_err() {
        logs.iter().for_each(|log| println!("{log}"));
    }
    outcome.map(drop)
}

/// Creates a record through whichever daemon is there, and waits until all that are there show it.
async fn create(creators: &[Http], record: &Record) -> Result<()> {
    until(&format!("{record:?} is created"), async || {
        for creator in creators {
            // An earlier attempt may have done it without saying so.
            let made = creator.create(record).await;
            if made.is_ok() || creator.read(record).await.is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    })
    .await
}

/// Disturbs the daemons until it is over; what they have said.
fn disturb(
    mut members: Vec<Member>,
    faults: Faults,
    mut chance: Chance,
    over: &AtomicBool,
) -> Result<Vec<String>> {
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100 + chance.below(500)));
        if faults == Faults::None {
            continue;
        }
        let place = chance.below(members.len() as u64) as usize;
        let member = &mut members[place];
        let daemon = member.daemon.take().context("it was started again")?;
        if chance.once_in(2) {
            daemon.signal("STOP")?;
            // Now and then longer than a session lives.
            let longest = if chance.once_in(4) { 2_500 } else { 400 };
            let pause = Duration::from_millis(50 + chance.below(longest));
            std::thread::sleep(pause);
            daemon.signal("CONT")?;
            member.daemon = Some(daemon);
        } else {
            daemon.kill()?;
            member.daemon = Some(member.place.start()?);
        }
    }
    Ok(members.iter().map(|member| member.place.log()).collect())
}
