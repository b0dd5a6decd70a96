//! The backend that the daemons of a mesh share: Redis 7, alone, behind Sentinels, or as a Cluster.
//!
//! Each call is one script, and so one atomic step on the server, at the server's time. The log is
//! a stream whose ids are the revisions; the records of a kind are a hash, with a sorted set of
//! their keys beside it; all keys of a mesh have one hash tag. `scripts/common.lua` says how the
//! rows look.

pub mod advice;
pub(crate) mod backend;
mod commit;
mod confirm;
mod greeting;
pub mod link;
mod reply;
pub mod rights;
mod scripts;
pub(crate) mod settings;
pub mod url;
pub mod users;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use omnirelay_core::time::{Millis, whole_ms};
use redis::{Cmd, Value, cmd};
use tokio::time::Instant;

use super::{
    COMMIT_BYTES_MAX, COMMIT_WRITES_MAX, ClockReset, Commit, CommitError, CommitOutcome, Confirmation, Epoch,
    ExpelOutcome, GroupRef, HousekeepingOutcome, IdempotencyKey, Leases, LogEntry, LogPage, OpenGroup,
    OpenedGroup, Pulse, PulseAnswer, REPLACED_MAX, RESET_MIN, RESET_WALLS_MAX, ReadmitOutcome, RecordId,
    RecordKind, RenewalGrace, ResetClock, ResetClockError, Retention, Revision, RightsSet, Scan, ScanPage,
    Store, StoreCredentials, StoreError, SwitchError, SwitchOrder, SwitchOutcome, WritableKinds, limits,
    rules,
};
use greeting::{Quarantine, RedisGreeter, SeenHead, TURNED_AWAY};
use link::{LinkError, MasterLink, RedisOptions};
use reply::{Reply, incompatible};
use scripts::{Script, Scripts};
use url::RedisUrl;

/// How long a commit whose answer was lost is repeated under its idempotency key, and how often.
const REPEAT_FOR: Duration = Duration::from_secs(2);
const REPEAT_EVERY: Duration = Duration::from_millis(50);
/// The longest wait for the log on the server: after it the epoch is looked at.
const LOG_WAIT_MAX: Duration = Duration::from_secs(10);
/// The longest time that is written as milliseconds: what is longer is for ever.
const AGE_MS_MAX: u64 = 1 << 50;
/// The most entries of the log that are read at a time while waiting for the first.
const WAITED_ENTRIES_MAX: usize = 16;
/// Where a page of values ends: it must come within the response timeout, on a slow line too, and
/// heartbeats wait behind it.
const REPLY_BYTES_MAX: usize = 256 * 1024;

/// A store in Redis.
pub struct RedisStore {
    link: MasterLink,
    scripts: Scripts,
    seen: Arc<SeenHead>,
    /// Leaders rely on what no replica need have, because the user may not wait for one.
    may_not_wait: AtomicBool,
    /// The server forgets the users of nodes when it restarts, as far as that was looked at.
    users_not_kept: AtomicBool,
    database: u32,
    meta: String,
    log: String,
    prefix: String,
    mesh: String,
    quarantine: Arc<Quarantine>,
}

impl RedisStore {
    /// The store of `mesh` at `url`; connects with the first call. A new epoch begins with a
    /// quarantine of `quarantine`: as long as a session may trust what the server granted before. It becomes longer with the
    /// time to live that a pulse gives.
    pub fn new(url: RedisUrl, options: RedisOptions, mesh: &str, quarantine: Duration) -> Self {
        let tag = format!("{}:{mesh}", url.prefix);
        let (meta, log) = (format!("{{{tag}}}:meta"), format!("{{{tag}}}:log"));
        let options = RedisOptions { hash_tag: Some(tag), ..options };
        let (seen, quarantine) = (Arc::new(SeenHead::default()), Arc::new(Quarantine::of(quarantine)));
        let greeting = RedisGreeter {
            meta: meta.clone(),
            seen: Arc::clone(&seen),
            script: Script::greet(),
            quarantine: Arc::clone(&quarantine),
        };
        let (prefix, mesh, database) = (url.prefix.clone(), mesh.to_owned(), url.database);
        let link = MasterLink::new(url, options, Arc::new(greeting));
        let [may_not_wait, users_not_kept] = [const { AtomicBool::new(false) }; 2];
        let scripts = Scripts::new();
        Self {
            link,
            scripts,
            seen,
            may_not_wait,
            users_not_kept,
            database,
            meta,
            log,
            prefix,
            mesh,
            quarantine,
        }
    }

    /// The users that the nodes of the mesh have on its server.
    fn users(&self) -> users::MeshUsers<'_> {
        users::MeshUsers { link: &self.link, prefix: &self.prefix, mesh: &self.mesh, database: self.database }
    }

    /// The way to the servers.
    pub fn link(&self) -> &MasterLink {
        &self.link
    }

    /// Runs a script. One that finds no store at all has the server greeted anew and is repeated:
    /// it changed nothing.
    async fn run(&self, script: &Script, add: impl Fn(&mut Cmd)) -> Result<Value, LinkError> {
        let answer = self.run_once(script, &add).await?;
        match epoch_told(&answer) {
            Some(Epoch(0)) => self.run_once(script, &add).await,
            Some(_) | None => Ok(answer),
        }
    }

    async fn run_once(&self, script: &Script, add: &impl Fn(&mut Cmd)) -> Result<Value, LinkError> {
        let command = |mut command: Cmd| {
            add(&mut command);
            command
        };
        let mut connection = self.link.connection().await?;
        let generation = connection.generation();
        let mut answer = connection.call(&command(script.by_hash(&self.meta))).await;
        if answer.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT")) {
            answer = connection.call(&command(script.by_text(&self.meta))).await;
        }
        if answer.as_ref().is_err_and(is_about_a_key) {
            let named = connection.call(&command(script.by_text_naming_keys(&self.meta))).await;
            if let Err(error @ LinkError::Refused { .. }) = named
                && is_about_a_key(&error)
            {
                answer = Err(error);
            }
        }
        match &answer {
            Ok(answer) => {
                // Somebody greeted this server, or another in its place, after this connection did.
                if epoch_told(answer).is_some_and(|told| told != self.seen.epoch()) {
                    self.link.renew(generation);
                }
            }
            Err(error) => self.link.heed(generation, error),
        }
        answer
    }

    async fn ask(&self, script: &Script, add: impl Fn(&mut Cmd)) -> Result<Reply, StoreError> {
        match self.run(script, add).await {
            Ok(answer) => Reply::of(answer),
            Err(error) => Err(self.failure(error, StoreError::Unavailable)),
        }
    }

    /// What a failure means; `lost` says it where no answer came.
    fn failure(
        &self,
        error: LinkError,
        lost: fn(Box<dyn std::error::Error + Send + Sync>) -> StoreError,
    ) -> StoreError {
        match &error {
            LinkError::Lost(_) => lost(error.into()),
            LinkError::Refused { code, .. } if code == "OOM" => StoreError::Full(error.into()),
            LinkError::Refused { code, detail } if is_denied(code, detail) => {
                StoreError::Denied { what: format!("{code} {detail}") }
            }
            LinkError::Refused { code, detail } if is_about_a_key(&error) => {
                StoreError::Incompatible { what: format!("{code} {detail}"), record: None }
            }
            LinkError::Refused { .. } => StoreError::Unavailable(error.into()),
            LinkError::Unreachable(failure) => match self.seen.refusal() {
                Some(what) if error.code().is_some_and(|code| code == TURNED_AWAY || is_of_a_key(code)) => {
                    StoreError::Incompatible { what, record: None }
                }
                // It says the same as the error of the port.
                Some(_) | None => StoreError::Unavailable(failure.clone().into()),
            },
        }
    }

    /// The failure of a row that is no record.
    fn not_a_record(&self, id: RecordId) -> StoreError {
        let prefix = self.meta.strip_suffix("meta").unwrap_or(&self.meta);
        let what = format!("ERR {prefix}records:{}: `{}` holds what nobody wrote", id.kind.0, id.key);
        StoreError::Incompatible { what, record: Some(Box::new(id)) }
    }

    /// Makes the commit, again and again while its answer is lost and repeating it is safe.
    async fn make(&self, commit: Commit) -> Result<CommitOutcome, CommitError> {
        let script =
            if commit::only_frees(&commit) { &self.scripts.commit_freeing } else { &self.scripts.commit };
        let mut lost: Option<LinkError> = None;
        let begun = Instant::now();
        loop {
            match self.run(script, |command| commit::add_arguments(command, &commit)).await {
                Ok(answer) => {
                    let outcome = commit::outcome(commit, Reply::of(answer)?);
                    return match (outcome, lost) {
                        // What was sent first may still come, and find it otherwise.
                        (Err(refusal), Some(lost)) if !commit::is_final(&refusal) => {
                            Err(StoreError::OutcomeUnknown(lost.into()).into())
                        }
                        (outcome, _) => outcome,
                    };
                }
                Err(error @ LinkError::Lost(_)) => lost = Some(error),
                Err(error) if lost.is_none() => {
                    return Err(self.failure(error, StoreError::OutcomeUnknown).into());
                }
                // What was sent before may be made even though this try was not.
                Err(_) => {}
            }
            if let Some(error) =
                lost.take_if(|_| commit.idempotency.is_none() || begun.elapsed() > REPEAT_FOR)
            {
                return Err(StoreError::OutcomeUnknown(error.into()).into());
            }
            tokio::time::sleep(REPEAT_EVERY).await;
        }
    }

    async fn log_now(&self, after: Revision, limit: usize) -> Result<LogPage, StoreError> {
        let answer = self.ask(&self.scripts.log, |command| {
            command.arg(after.0).arg(limit).arg(REPLY_BYTES_MAX);
        });
        let mut page = expect(answer.await?, "log")?;
        let (epoch, head) = (Epoch(page.number()?), Revision(page.number()?));
        self.seen.note(epoch, head);
        let compacted = page.number()? == 1;
        let mut stream = page.list()?;
        let mut entries = Vec::new();
        while !stream.is_empty() {
            entries.push(reply::log_entry(stream.value()?)?.1);
        }
        Ok(LogPage { epoch, head, entries, compacted })
    }

    /// Waits at the end of the log for its next entries. `None`: nothing came, or what came does
    /// not follow `after`, and the log must be asked.
    async fn await_log(
        &self,
        after: Revision,
        limit: usize,
        wait: Duration,
    ) -> Result<Option<LogPage>, StoreError> {
        let wait = wait.min(LOG_WAIT_MAX);
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(limit.min(WAITED_ENTRIES_MAX));
        // 0 would wait for ever.
        read.arg("BLOCK").arg(whole_ms(wait).max(1));
        read.arg("STREAMS").arg(&self.log).arg(format!("{after}-0"));
        let answer = match self.link.call_blocking(&read, wait).await {
            Ok(Value::Nil) => return Ok(None),
            Ok(answer) => answer,
            Err(error) => return Err(self.failure(error, StoreError::Unavailable)),
        };
        let mut stream = Reply::of(answer)?.list()?;
        stream.value()?;
        self.follows(after, stream.list()?)
    }

    /// The entries as a page, if they follow `after` in the epoch that is known.
    fn follows(&self, after: Revision, mut stream: Reply) -> Result<Option<LogPage>, StoreError> {
        let epoch = self.seen.epoch();
        let mut entries: Vec<Arc<LogEntry>> = Vec::new();
        while !stream.is_empty() {
            let (head, entry) = reply::log_entry(stream.value()?)?;
            let expected = entries.last().map_or(after, |last| last.revision);
            if head.epoch != epoch || head.previous != expected {
                return Ok(None);
            }
            entries.push(entry);
        }
        let Some(head) = entries.last().map(|last| last.revision) else { return Ok(None) };
        self.seen.note(epoch, head);
        Ok(Some(LogPage { epoch, head, entries, compacted: false }))
    }
}

#[async_trait]
impl Store for RedisStore {
    fn name(&self) -> &str {
        self.link.name()
    }

    async fn pulse(&self, pulse: Pulse) -> Result<PulseAnswer, StoreError> {
        limits::pulse(&pulse)?;
        // To the script 0 stands for none.
        if pulse.epoch == Some(Epoch(0)) {
            return Err(StoreError::EpochChanged { current: self.pulse(Pulse::default()).await?.epoch });
        }
        pulse.ttl.iter().for_each(|ttl| self.quarantine.cover(*ttl));
        let answer = self.ask(&self.scripts.pulse, |command| {
            command.arg(pulse.epoch.map_or(0, |epoch| epoch.0)).arg(pulse.moved_since.0).arg(ms(pulse.grace));
            command.arg(pulse.ttl.map_or(0, ms)).arg(self.quarantine.ms());
            for of in &pulse.renew {
                command.arg(&of.id.0).arg(of.instance);
            }
        });
        let mut beat = expect(answer.await?, "beat")?;
        let (now, epoch, head) = (beat.millis()?, Epoch(beat.number()?), Revision(beat.number()?));
        self.seen.note(epoch, head);
        let quarantine_until = beat.millis()?;
        let (from, until) = (beat.millis()?, beat.millis()?);
        let grace = (until > Millis(0)).then_some(RenewalGrace { from, until });
        let mut deadlines = beat.list()?;
        let mut renewed = Vec::with_capacity(pulse.renew.len());
        while !deadlines.is_empty() {
            renewed.push(Some(deadlines.millis()?).filter(|deadline| *deadline > Millis(0)));
        }
        let moved = reply::moved(beat.list()?, beat.list()?, pulse.moved_since)?;
        Ok(PulseAnswer { now, epoch, head, renewed, moved, quarantine_until, grace })
    }

    async fn open_group(&self, open: OpenGroup) -> Result<OpenedGroup, StoreError> {
        limits::open_group(&open)?;
        let secret_hash = rules::secret_hash(&open.secret);
        let answer = self.run(&self.scripts.open_group, |command| {
            command.arg(open.epoch.0).arg(&open.id.0).arg(ms(open.ttl)).arg(&secret_hash);
            command.arg(REPLACED_MAX);
        });
        let answer = answer.await.map_err(|error| self.failure(error, StoreError::OutcomeUnknown))?;
        let mut answer = Reply::of(answer)?;
        match answer.text()?.as_str() {
            "open" => Ok(OpenedGroup::Open(reply::group(open.id, answer.bytes()?)?)),
            "held" => Ok(OpenedGroup::Held { until: answer.millis()? }),
            "epoch" => Err(StoreError::EpochChanged { current: Epoch(answer.number()?) }),
            other => Err(incompatible(&format!("`{other}` for a group to open"))),
        }
    }

    async fn close_group(&self, epoch: Epoch, group: GroupRef) -> Result<bool, StoreError> {
        let answer = self.run(&self.scripts.close_group, |command| {
            command.arg(epoch.0).arg(&group.id.0).arg(group.instance);
        });
        let answer = answer.await.map_err(|error| self.failure(error, StoreError::OutcomeUnknown))?;
        Ok(expect(Reply::of(answer)?, "closed")?.number()? == 1)
    }

    async fn commit(&self, commit: Commit) -> Result<CommitOutcome, CommitError> {
        limits::commit(&commit)?;
        let epoch = commit.epoch;
        let committed = self.make(commit).await?;
        if let CommitOutcome::Done(entry) = &committed {
            self.seen.note(epoch, entry.revision);
        }
        Ok(committed)
    }

    async fn recall(&self, key: &IdempotencyKey) -> Result<Option<(u64, CommitOutcome)>, StoreError> {
        let key = rules::answer_key(key);
        let answer = self
            .run(&self.scripts.recall, |command| {
                command.arg(&key);
            })
            .await;
        let answer = answer.map_err(|error| self.failure(error, StoreError::Unavailable))?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let mut answer = Reply::of(answer)?;
        let (revision, hash, answer) = (Revision(answer.number()?), answer.bytes()?, answer.bytes()?);
        let hash = hash.as_ref().try_into().map_err(|_| incompatible("the hash of a request"))?;
        Ok(Some((u64::from_be_bytes(hash), CommitOutcome::Replayed { revision, answer })))
    }

    async fn scan(&self, scan: Scan) -> Result<ScanPage, StoreError> {
        limits::scan(&scan)?;
        let from = match (&scan.after, scan.backwards) {
            (Some(after), _) => format!("({after}"),
            (None, false) => "-".to_owned(),
            (None, true) => "+".to_owned(),
        };
        let answer = self.ask(&self.scripts.scan, |command| {
            command.arg(scan.kind.0.as_ref()).arg(&from).arg(u8::from(scan.backwards));
            command.arg(scan.limit).arg(REPLY_BYTES_MAX);
        });
        let mut page = expect(answer.await?, "page")?;
        let (epoch, head) = (Epoch(page.number()?), Revision(page.number()?));
        self.seen.note(epoch, head);
        let more = page.number()? == 1;
        let (mut keys, mut rows) = (page.list()?, page.list()?);
        let mut records = Vec::new();
        while !keys.is_empty() {
            let id = RecordId { kind: RecordKind::clone(&scan.kind), key: keys.text()? };
            let row = rows.bytes()?;
            let record = reply::record(id.clone(), row).map_err(|_| self.not_a_record(id))?;
            records.push(record.beside(records.last()));
        }
        Ok(ScanPage { epoch, head, records, more })
    }

    async fn leases(&self) -> Result<Leases, StoreError> {
        let mut answer = expect(self.ask(&self.scripts.leases, |_| {}).await?, "leases")?;
        let epoch = Epoch(answer.number()?);
        let mut rows = answer.list()?;
        let mut leases = Vec::new();
        while !rows.is_empty() {
            leases.push(reply::lease(rows.text()?, rows.bytes()?)?);
        }
        leases.sort_by(|one, other| one.scope.cmp(&other.scope));
        Ok(Leases { epoch, leases })
    }

    async fn log(&self, after: Revision, limit: usize, wait: Duration) -> Result<LogPage, StoreError> {
        limits::page(limit)?;
        // Only whoever has seen the newest that this process knows of is likely to have to wait.
        let waits = !wait.is_zero();
        if !waits || after != self.seen.head() {
            let page = self.log_now(after, limit).await?;
            if !waits || page.compacted || !page.entries.is_empty() {
                return Ok(page);
            }
        }
        match self.await_log(after, limit, wait).await? {
            Some(page) => Ok(page),
            None => self.log_now(after, limit).await,
        }
    }

    async fn housekeep(&self, epoch: Epoch, keep: Retention) -> Result<HousekeepingOutcome, StoreError> {
        let answer = self.ask(&self.scripts.housekeep, |command| {
            command.arg(epoch.0).arg(ms(keep.log_age)).arg(keep.log_entries_max).arg(ms(keep.tombstone_age));
            command.arg(ms(keep.idempotency_age)).arg(keep.idempotency_entries_max);
            command.arg(COMMIT_WRITES_MAX).arg(COMMIT_BYTES_MAX).arg(rules::STEP_ROWS_MAX);
        });
        let mut kept = expect(answer.await?, "kept")?;
        Ok(HousekeepingOutcome {
            records_expired: kept.count()?,
            log_entries_trimmed: kept.count()?,
            tombstones_collected: kept.count()?,
            answers_forgotten: kept.count()?,
            more: kept.number()? == 1,
        })
    }

    fn confirms(&self) -> bool {
        self.link.leaders_need().is_some()
    }

    async fn confirm(&self, epoch: Epoch) -> Result<Confirmation, StoreError> {
        match self.link.leaders_need() {
            Some(need) => self.confirm_in(epoch, need).await,
            None => Ok(Confirmation::Through(Millis(u64::MAX))),
        }
    }

    async fn switch(&self, order: &SwitchOrder) -> Result<SwitchOutcome, SwitchError> {
        self.link.switch(order).await
    }

    fn disagreement(&self) -> Option<String> {
        let named = self.link.disagreement()?;
        Some(format!("the Sentinels disagree on the master, and the greatest epoch is believed: {named}"))
    }

    async fn reset_clock(&self, order: ResetClock) -> Result<ClockReset, ResetClockError> {
        let answer = self.run(&self.scripts.reset_clock, |command| {
            command.arg(order.epoch.0).arg(order.wall.0).arg(ms(RESET_WALLS_MAX)).arg(ms(RESET_MIN));
            command.arg(self.quarantine.ms()).arg(u8::from(order.dry_run));
        });
        let answer = answer.await.map_err(|error| self.failure(error, StoreError::OutcomeUnknown))?;
        let mut answer = Reply::of(answer)?;
        match answer.text()?.as_str() {
            "reset" => {
                let (epoch, before, now) = (Epoch(answer.number()?), answer.millis()?, answer.millis()?);
                Ok(ClockReset { epoch, before, now })
            }
            "apart" => Err(ResetClockError::ClocksDiffer { store: answer.millis()? }),
            "level" => Err(ResetClockError::NotAhead),
            "epoch" => Err(StoreError::EpochChanged { current: Epoch(answer.number()?) }.into()),
            other => Err(incompatible(&format!("`{other}` for store time to bring back")).into()),
        }
    }

    async fn admit(
        &self,
        who: &str,
        writable: &WritableKinds,
    ) -> Result<Option<StoreCredentials>, StoreError> {
        let made = self.users().make(who, writable).await;
        let made = made.map_err(|error| self.failure(error, StoreError::Unavailable))?;
        Ok(made.map(|(credentials, is_kept)| {
            self.users_not_kept.store(!is_kept, Ordering::Relaxed);
            credentials
        }))
    }

    async fn expel(&self, who: &str) -> Result<ExpelOutcome, StoreError> {
        let deleted = self.users().delete(who).await;
        deleted.map_err(|error| self.failure(error, StoreError::Unavailable))
    }

    async fn readmit(
        &self,
        who: &str,
        password_hash: &[u8; 32],
        writable: &WritableKinds,
    ) -> Result<ReadmitOutcome, StoreError> {
        let restored = self.users().restore(who, password_hash, writable).await;
        restored.map_err(|error| self.failure(error, StoreError::Unavailable))
    }

    async fn set_rights(&self, who: &str, writable: &WritableKinds) -> Result<RightsSet, StoreError> {
        let set = self.users().set_rights(who, writable).await;
        set.map_err(|error| self.failure(error, StoreError::Unavailable))
    }

    async fn password_hash(&self, who: &str) -> Result<Option<[u8; 32]>, StoreError> {
        let found = self.users().password_hash(who).await;
        found.map_err(|error| self.failure(error, StoreError::Unavailable))
    }

    async fn may_admit(&self) -> Result<bool, StoreError> {
        let may = self.users().may_make().await;
        may.map_err(|error| self.failure(error, StoreError::Unavailable))
    }

    async fn forgets_credentials(&self) -> Result<Option<String>, StoreError> {
        let forgets = self.users().forgets().await;
        if let Some(forgets) = forgets.map_err(|error| self.failure(error, StoreError::Unavailable))? {
            self.users_not_kept.store(forgets, Ordering::Relaxed);
        }
        Ok(self.users_not_kept.load(Ordering::Relaxed).then(|| advice::USERS_NOT_KEPT.to_owned()))
    }

    fn advice(&self) -> Vec<String> {
        let told = |is: &AtomicBool, what: &str| is.load(Ordering::Relaxed).then(|| what.to_owned());
        let may_not_wait = told(&self.may_not_wait, advice::MAY_NOT_WAIT);
        let users_not_kept = told(&self.users_not_kept, advice::USERS_NOT_KEPT);
        self.link.advice().iter().cloned().chain(may_not_wait).chain(users_not_kept).collect()
    }
}

/// True for a refusal of what a script found under a key. A script that could not read a row says
/// only where it stood.
fn is_about_a_key(error: &LinkError) -> bool {
    let LinkError::Refused { code, detail } = error else { return false };
    let unread = code == "ERR" && detail.contains("user_script") && !error.is_elsewhere();
    let is_read_only = detail.contains("Write commands are not allowed");
    is_of_a_key(code) || unread && !is_read_only && !is_denied(code, detail)
}

/// True for what the user may not do, which a script that calls it tells in its own words.
fn is_denied(code: &str, detail: &str) -> bool {
    code == "NOPERM" || code == "ERR" && detail.starts_with("The user executing the script can't")
}

/// True for the first word of an error that says what is wrong with a key.
fn is_of_a_key(code: &str) -> bool {
    matches!(code, "WRONGTYPE" | "GARBAGE")
}

/// The epoch that a script names in place of an answer; 0: there is no store.
fn epoch_told(answer: &Value) -> Option<Epoch> {
    let Value::Array(values) = answer else { return None };
    match values.as_slice() {
        [Value::BulkString(word), Value::Int(epoch)] if word == b"epoch" => {
            u64::try_from(*epoch).ok().map(Epoch)
        }
        _ => None,
    }
}

/// The answer behind its first word, which must be `word`.
fn expect(mut answer: Reply, word: &str) -> Result<Reply, StoreError> {
    match answer.text()?.as_str() {
        found if found == word => Ok(answer),
        "epoch" => Err(StoreError::EpochChanged { current: Epoch(answer.number()?) }),
        other => Err(incompatible(&format!("`{other}` in place of `{word}`"))),
    }
}

fn ms(length: Duration) -> u64 {
    whole_ms(length).min(AGE_MS_MAX)
}
