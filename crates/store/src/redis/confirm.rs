//! Confirmation that enough replicas have what leaders rely on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use omnirelay_core::replicas::{MasterReplicas, must_settle, needed};
use omnirelay_core::time::{Millis, whole_ms};
use redis::{Cmd, Value, cmd};

use super::link::{LaneConnection, ReplicaQuorum};
use super::reply::Reply;
use super::scripts::Script;
use super::{Confirmation, Epoch, RedisStore, StoreError, epoch_told, expect};

/// How long replicas may take. Longer, and the wait for the next renewal begins late; a session lives 2 s.
const WAIT_MAX: Duration = Duration::from_millis(700);
/// How long another wait may go on before this one has its turn.
const TURN_MAX: Duration = Duration::from_secs(1);

/// Report of the master before replicas are waited for.
struct MasterReport {
    now: Millis,
    replicas: MasterReplicas,
    /// Enough replicas have followed this master in this epoch.
    settled: bool,
}

impl RedisStore {
    pub(super) async fn confirm_in(
        &self,
        epoch: Epoch,
        need: ReplicaQuorum,
    ) -> Result<Confirmation, StoreError> {
        let failed = |error| self.failure(error, StoreError::Unavailable);
        let mut own = self.link.confirming(TURN_MAX).await.map_err(failed)?;
        let answer = self.confirm_on(&mut own, epoch, need).await;
        own.give_back();
        answer
    }

    async fn confirm_on(
        &self,
        own: &mut LaneConnection<'_>,
        epoch: Epoch,
        need: ReplicaQuorum,
    ) -> Result<Confirmation, StoreError> {
        let configured = match need {
            ReplicaQuorum::Count(count) => Some(count),
            ReplicaQuorum::Enough => None,
        };
        let told = self.tell(own, epoch, false).await?;
        let needs = needed(configured, told.replicas);
        let has = self.wait_for(own, need, needs).await?;
        if has < needs {
            return Ok(Confirmation::Lacking { has, needs });
        }
        if told.settled || !must_settle(configured, told.replicas) {
            return Ok(Confirmation::Through(told.now));
        }
        let told = self.tell(own, epoch, true).await?;
        let has = self.wait_for(own, need, needs).await?;
        Ok(if has < needs { Confirmation::Lacking { has, needs } } else { Confirmation::Through(told.now) })
    }

    async fn tell(
        &self,
        own: &mut LaneConnection<'_>,
        epoch: Epoch,
        settles: bool,
    ) -> Result<MasterReport, StoreError> {
        let script = &self.scripts.confirm;
        let at = own.address();
        let with = |mut command: Cmd| {
            command.arg(epoch.0).arg(&at).arg(u8::from(settles));
            command
        };
        let mut answer = own.call(&with(script.by_hash(&self.meta)), Duration::ZERO).await;
        if answer.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT")) {
            answer = own.call(&with(Script::by_text(script, &self.meta)), Duration::ZERO).await;
        }
        let answer = answer.map_err(|error| self.failure(error, StoreError::Unavailable))?;
        if let Some(current) = epoch_told(&answer) {
            return Err(StoreError::EpochChanged { current });
        }
        let mut told = expect(Reply::of(answer)?, "confirm")?;
        let now = told.millis()?;
        let known = u32::try_from(told.number()?).unwrap_or(u32::MAX);
        let seen = told.number()? == 1;
        Ok(MasterReport { now, replicas: MasterReplicas { known, seen }, settled: told.number()? == 1 })
    }

    /// How many replicas have what was written on this connection, once enough have it or that takes too long.
    async fn wait_for(
        &self,
        own: &mut LaneConnection<'_>,
        need: ReplicaQuorum,
        needs: u32,
    ) -> Result<u32, StoreError> {
        if needs == 0 {
            return Ok(0);
        }
        let mut wait = cmd("WAIT");
        match own.call(wait.arg(needs).arg(whole_ms(WAIT_MAX)), WAIT_MAX).await {
            Ok(Value::Int(count)) => {
                self.may_not_wait.store(false, Ordering::Relaxed);
                Ok(u32::try_from(count).unwrap_or(0))
            }
            Ok(_) => Ok(0),
            // The user of an earlier version, which nobody has asked for more: advice tells.
            Err(error) if error.code() == Some("NOPERM") && need == ReplicaQuorum::Enough => {
                self.may_not_wait.store(true, Ordering::Relaxed);
                Ok(needs)
            }
            Err(error) => Err(self.failure(error, StoreError::Unavailable)),
        }
    }
}
