//! A planned switch of masters: changes are paused, the replicas catch up, the Sentinels promote one of them.

use std::error::Error;
use std::time::Duration;

use omnirelay_core::text::chain;
use redis::{Value, cmd};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use super::super::super::switch::{StandbyServer, SwitchError, SwitchObstacle, SwitchOrder, SwitchOutcome};
use super::MasterLink;
use super::dial::FreshConnection;
use super::error::StoreFailure;
use super::info::{Follower, Role};
use super::master_announcement::MasterAnnouncement;
use super::resolve::{ConnectionMaker, inspect};
use super::sentinels::Sentinels;
use crate::url::ServerAddress;

/// How long changes are paused at most: the server ends it by itself.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long the replicas may take to have everything, all of them together.
const CATCH_UP_MAX: Duration = Duration::from_secs(3);
/// How long it may take until a Sentinel has begun the failover. With the next it must be less than the pause.
const ORDER_MAX: Duration = Duration::from_secs(3);
/// How long the Sentinels may take to name another master.
const FAILOVER_MAX: Duration = Duration::from_secs(6);
/// For how long the old master takes no changes once there is another: until all have left it. Longer, and the
/// Sentinels, whose own messages wait as well, make it a replica later.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A replica that is followed on a connection of its own.
struct Replica {
    dialed: FreshConnection,
    at: ServerAddress,
    behind_bytes: u64,
}

/// Switch that is ready: nothing is in the way of it.
struct ReadySwitch {
    master: FreshConnection,
    replicas: Vec<Replica>,
}

pub(in super::super) async fn switch(
    link: &MasterLink,
    order: &SwitchOrder,
) -> Result<SwitchOutcome, SwitchError> {
    let Some(sentinels) = link.shared.maker.sentinels() else {
        return Err(SwitchError::alone("this Redis stands alone, or is a Cluster"));
    };
    let Ok(_turn) = link.shared.switching.try_acquire() else {
        return Err(SwitchError::Unavailable("another switch goes on".to_owned()));
    };
    let mut ready = prepare(link, order).await?;
    let from = ready.master.at.clone();
    let standbys: Vec<StandbyServer> = ready.replicas.iter().map(Replica::told).collect();
    if order.dry_run {
        return Ok(SwitchOutcome { from: from.to_string(), to: None, standbys, paused: Duration::ZERO });
    }
    let begun = Instant::now();
    if let Err(error) = ready.hold_still().await {
        // Also where only the answer was lost.
        ready.unpause().await;
        return Err(error);
    }
    let ordered = timeout(ORDER_MAX, order_failover(&link.shared.maker, sentinels)).await;
    match ordered {
        Ok(Ok(())) => {}
        // It may have been begun all the same: nothing may be acknowledged that it would lose.
        Err(_) | Ok(Err(NotOrdered::Lost)) => {}
        Ok(Err(NotOrdered::Refused(failure))) => {
            // One that goes on has paused changes itself.
            if failure.code() != Some("INPROG") {
                ready.unpause().await;
            }
            return Err(not_begun(&failure));
        }
    }
    let Ok(to) = timeout(FAILOVER_MAX, other_master(&link.shared.maker, &from)).await else {
        return Err(unknown("the Sentinels have named no other master yet"));
    };
    let paused = begun.elapsed();
    info!(store = link.name(), %from, %to, paused_ms = paused.as_millis(), "store switched to another master");
    link.shared.heed_announcement(&MasterAnnouncement::Switched { from: from.clone(), to: to.clone() });
    tokio::spawn(async move {
        sleep(LEAVE_WITHIN).await;
        ready.unpause().await;
    });
    let to = to.to_string();
    if standbys.iter().all(|standby| standby.at != to) {
        let what =
            format!("{to} took over, which did not follow {from} when it was looked at; changes may be lost");
        return Err(unknown(&what));
    }
    Ok(SwitchOutcome { from: from.to_string(), to: Some(to), standbys, paused })
}

/// Finds the master and its replicas, and whether one of them could take over.
async fn prepare(link: &MasterLink, order: &SwitchOrder) -> Result<ReadySwitch, SwitchError> {
    let main = link.connection().await.map_err(away)?;
    let at = main.address();
    if let Some(from) = order.from.as_ref().filter(|from| **from != at.to_string()) {
        return Err(SwitchError::Refused {
            obstacle: SwitchObstacle::OtherMaster,
            what: format!("{at} is the master, and not {from}; nothing was changed"),
            hint: "it may have been switched already: omnirelay mesh store switch --dry-run".to_owned(),
        });
    }
    let mut master = link.shared.maker.make_further(at).await.map_err(away)?;
    check_permission(&mut master).await?;
    let told = master.info().await.map_err(away)?;
    let followers = told.followers();
    if let Some(late) = followers.iter().find(|follower| !follower.follows) {
        return Err(no_standby(&format!("replica {} of {at} does not follow it now", late.at)));
    }
    let offset = told.number("master_repl_offset").unwrap_or(0);
    let mut replicas = Vec::new();
    for Follower { at: replica, .. } in followers {
        let manner = link.shared.maker.manner().await.map_err(away)?;
        let (dialed, info) = inspect(&replica, &manner).await.map_err(|failure| {
            no_standby(&format!("replica {replica} cannot be used: {}", failure.chain()))
        })?;
        // 0: never to be promoted.
        if !matches!(info.role(), Role::Replica(_)) || info.number("slave_priority") == Some(0) {
            continue;
        }
        let behind_bytes = offset.saturating_sub(info.number("slave_repl_offset").unwrap_or(0));
        replicas.push(Replica { dialed, at: replica, behind_bytes });
    }
    if replicas.is_empty() {
        return Err(no_standby(&format!("{at} has no replica that may be promoted")));
    }
    Ok(ReadySwitch { master, replicas })
}

/// Whether our user may pause changes.
async fn check_permission(master: &mut FreshConnection) -> Result<(), SwitchError> {
    const MAY: &str = "return (redis.acl_check_cmd('client', 'pause', '1', 'write') and redis.acl_check_cmd('client', 'unpause')) \
         and 1 or 0";
    match master.ask(cmd("EVAL").arg(MAY).arg(0), "look at our permissions").await {
        Ok(Value::Int(1)) => Ok(()),
        Ok(_) => Err(SwitchError::Refused {
            obstacle: SwitchObstacle::NotPermitted,
            what: format!("our user may not pause changes on {}; nothing was changed", master.at),
            hint: "add +client|pause +client|unpause to it on each server".to_owned(),
        }),
        Err(failure) => Err(away(failure)),
    }
}

impl ReadySwitch {
    /// No change is acknowledged from here on, and every replica has those that were.
    async fn hold_still(&mut self) -> Result<(), SwitchError> {
        self.pause().await?;
        self.catch_up().await?;
        // From now on for as long again.
        self.pause().await
    }

    /// No change is acknowledged from here on, for [`PAUSE_MAX`].
    async fn pause(&mut self) -> Result<(), SwitchError> {
        let mut pause = cmd("CLIENT");
        let pause = pause.arg("PAUSE").arg(PAUSE_MAX.as_millis() as u64).arg("WRITE");
        let answer = self.master.ask(pause, "pause changes").await;
        answer.map(drop).map_err(away)
    }

    /// Changes are taken again. The pause ends by itself if this does not reach the server.
    async fn unpause(&mut self) {
        let at = self.master.at.clone();
        if let Err(failure) = self.master.ask(cmd("CLIENT").arg("UNPAUSE"), "take changes again").await {
            warn!(%at, error = %failure.chain(), "changes are paused until the server ends that by itself");
        }
    }

    /// Waits until every replica has all that was acknowledged: any of them may be promoted.
    async fn catch_up(&mut self) -> Result<(), SwitchError> {
        let told = self.master.info().await.map_err(away)?;
        let offset = told.number("master_repl_offset").unwrap_or(u64::MAX);
        let until = Instant::now() + CATCH_UP_MAX;
        for replica in &mut self.replicas {
            let late = match timeout_at(until, replica.reaches(offset)).await {
                Ok(Ok(())) => continue,
                Ok(Err(failure)) => failure.chain(),
                Err(_) => "it lacks changes still".to_owned(),
            };
            return Err(no_standby(&format!("replica {} did not catch up: {late}", replica.at)));
        }
        Ok(())
    }
}

impl Replica {
    fn told(&self) -> StandbyServer {
        StandbyServer { at: self.at.to_string(), behind_bytes: self.behind_bytes }
    }

    async fn reaches(&mut self, offset: u64) -> Result<(), StoreFailure> {
        while self.dialed.info().await?.number("slave_repl_offset").unwrap_or(0) < offset {
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// Reason why no Sentinel has said that it begins a failover.
enum NotOrdered {
    Refused(StoreFailure),
    /// One was told to, and did not answer.
    Lost,
}

/// Has the first Sentinel that does so begin a failover.
async fn order_failover(maker: &ConnectionMaker, sentinels: &Sentinels) -> Result<(), NotOrdered> {
    let mut tried = Vec::new();
    for at in &sentinels.addresses {
        let mut sentinel = match maker.sentinel(at).await {
            Ok(sentinel) => sentinel,
            Err(failure) => {
                tried.push(failure);
                continue;
            }
        };
        let answer =
            sentinel.ask(cmd("SENTINEL").arg("FAILOVER").arg(&sentinels.service), "begin a failover").await;
        match answer {
            Ok(_) => return Ok(()),
            // Another Sentinel would begin a second one.
            Err(failure) if failure.code() == Some("INPROG") => return Err(NotOrdered::Refused(failure)),
            Err(failure) if failure.code().is_none() => return Err(NotOrdered::Lost),
            Err(failure) => tried.push(failure),
        }
    }
    Err(NotOrdered::Refused(StoreFailure::of_all("no Sentinel begins a failover", tried)))
}

async fn other_master(maker: &ConnectionMaker, from: &ServerAddress) -> ServerAddress {
    loop {
        if let Some(named) = maker.named().await.filter(|named| named != from) {
            return named;
        }
        sleep(LOOK_EVERY).await;
    }
}

fn away(error: impl Error) -> SwitchError {
    SwitchError::Unavailable(chain(&error))
}

fn no_standby(what: &str) -> SwitchError {
    SwitchError::Refused {
        obstacle: SwitchObstacle::NoStandby,
        what: format!("{what}; nothing was changed"),
        hint: "every replica must follow, and be one that we can use: redis-cli info replication".to_owned(),
    }
}

fn not_begun(failure: &StoreFailure) -> SwitchError {
    SwitchError::Refused {
        obstacle: SwitchObstacle::NotBegun,
        what: format!("{}; nothing was changed", failure.chain()),
        hint: "NOPERM: add +sentinel|failover to our user on each Sentinel; INPROG or NOGOODSLAVE: try again in a \
               minute"
            .to_owned(),
    }
}

fn unknown(what: &str) -> SwitchError {
    SwitchError::OutcomeUnknown(format!("the failover was begun, and how it ended is not known: {what}"))
}
