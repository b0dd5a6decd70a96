//! Change of registers, common to create, update, delete, advertise and unadvertise: how it is made and told.

use xxhash_rust::xxh64::xxh64;

use super::KIND;
use crate::frame::bar::ProgressMeter;
use crate::frame::client::fresh_key;
use crate::frame::error;
use crate::frame::prelude::*;
use crate::frame::signals::StopSignals;

/// The most registers of one request.
const REQUEST_ITEMS_MAX: usize = 1000;
/// How many are shown before a question.
const PREVIEWED_MAX: usize = 20;

/// Note on a change that is not shown by the pool of `node` yet; empty: of the node that is asked. That of another node
/// is never waited for, and it `does` it without being told.
pub(super) fn not_shown(node: &str, does: &str, changed: bool) -> Option<String> {
    match (node, changed) {
        ("", _) => Some("the pool does not show this yet; it will as soon as it can be reached".to_owned()),
        (node, true) => Some(format!("{node} will {does} by itself")),
        (_, false) => None,
    }
}

/// A change of registers.
pub(super) struct RegistersChange<'a> {
    pub rpc: &'a RpcMethod,
    /// The same of many; `None`: it is of one only.
    pub batch: Option<&'a RpcMethod>,
    /// Whose registers; empty: of the node that is asked.
    pub node: &'a str,
    pub write: &'a WriteArgs,
    /// `updated`, as in "register/a updated".
    pub done: &'static str,
    /// `advertise it`, as in "node-2 will advertise it by itself".
    pub follows: &'static str,
    /// `it is so already`, as in "register/a unchanged: it is so already".
    pub already: &'static str,
    /// `could not be updated`, for the summary of failures.
    pub failed: &'static str,
    /// A register that is not there is as it should be.
    pub forgives_missing: bool,
    /// The fields of the request that every register's has, reason and the like apart.
    pub fields: Value,
}

impl RegistersChange<'_> {
    /// Carries the change out on every one of `ids`: one by itself, several in requests of a thousand.
    ///
    /// # Errors
    /// As of [`BatchOutcomes::finish`]; usage, when the flags do not fit.
    pub(super) async fn run(&self, session: &mut CommandSession, ids: Vec<String>) -> Result<Exit, CliError> {
        self.write.check(session, ids.len())?;
        session.announce_target()?;
        let key = self.write.key()?;
        let mut batch = BatchOutcomes::new(KIND, "change", self.failed);
        let mut stopped = None;
        match ids.as_slice() {
            [id] => batch.push(id.clone(), session.call(&self.call(id, &key, false)?).await),
            ids => stopped = self.send(session, ids, &key, &mut batch).await?,
        }
        if self.forgives_missing {
            batch = batch.forgiving(reasons::REGISTER_NOT_FOUND);
        }
        let outcomes = batch.outcomes();
        let changed =
            outcomes.iter().any(|(_, outcome)| outcome.as_ref().is_ok_and(|it| flag(it, "changed")));
        let finished = batch.finish(session, |id, document| self.describe(id, document));
        if let Some(stopped) = stopped {
            // What was not done is the failure that is told.
            return finished.map(|_| stopped).map_err(|error| error.exiting(stopped));
        }
        match finished {
            Ok(Exit::Ok) if changed && self.write.exit_code => Ok(Exit::Negative),
            finished => finished,
        }
    }

    /// Sends several; with which exit, if somebody did not want to wait for all.
    async fn send(
        &self,
        session: &CommandSession,
        ids: &[String],
        key: &str,
        batch: &mut BatchOutcomes,
    ) -> Result<Option<Exit>, CliError> {
        let (mut bar, mut stops) =
            (ProgressMeter::of(session, "registers", ids.len()), StopSignals::listen()?);
        let Some(rpc) = self.batch else {
            return self.send_one_by_one(session, ids, key, batch, &mut stops).await;
        };
        for (number, part) in ids.chunks(REQUEST_ITEMS_MAX).enumerate() {
            let call = self.call_of_many(rpc, part, key, number)?;
            let answered = tokio::select! {
                answered = session.call(&call) => answered,
                stopped = stops.wait() => {
                    let dry_run = self.write.is_dry_run();
                    let sent = number * REQUEST_ITEMS_MAX + part.len();
                    part.iter().for_each(|id| batch.push(id.clone(), Err(in_flight(dry_run))));
                    ids[sent..].iter().for_each(|id| batch.push(id.clone(), Err(not_sent())));
                    return Ok(Some(stopped));
                }
            };
            match answered {
                Ok(document) => take(batch, document),
                // One of 0.1 changes them one by one.
                Err(error) if number == 0 && error.is(reasons::ROUTE_UNKNOWN) => {
                    return self.send_one_by_one(session, ids, key, batch, &mut stops).await;
                }
                Err(error) => {
                    part.iter().for_each(|id| batch.push(id.clone(), Err(error.clone())));
                }
            }
            if let Some(error) = batch.hopeless() {
                let rest = &ids[number * REQUEST_ITEMS_MAX + part.len()..];
                rest.iter().for_each(|id| batch.push(id.clone(), Err(error.clone())));
                break;
            }
            bar.show(number * REQUEST_ITEMS_MAX + part.len());
        }
        Ok(None)
    }

    async fn send_one_by_one(
        &self,
        session: &CommandSession,
        ids: &[String],
        key: &str,
        batch: &mut BatchOutcomes,
        stops: &mut StopSignals,
    ) -> Result<Option<Exit>, CliError> {
        for (at, id) in ids.iter().enumerate() {
            if let Some(error) = batch.hopeless() {
                batch.push(id.clone(), Err(error));
                continue;
            }
            let call = self.call(id, key, true)?;
            tokio::select! {
                outcome = session.call(&call) => batch.push(id.clone(), outcome),
                stopped = stops.wait() => {
                    batch.push(id.clone(), Err(in_flight(self.write.is_dry_run())));
                    ids[at + 1..].iter().for_each(|id| batch.push(id.clone(), Err(not_sent())));
                    return Ok(Some(stopped));
                }
            }
        }
        Ok(None)
    }

    /// Shows what would change, as the daemon computes it, before a question.
    ///
    /// # Errors
    /// The first refusal.
    pub(super) async fn preview(&self, session: &CommandSession, ids: &[String]) -> Result<(), CliError> {
        let key = fresh_key()?;
        for id in ids.iter().take(PREVIEWED_MAX) {
            let document = session.call(&self.call(id, &key, ids.len() > 1)?).await?;
            session.notes().write(self.describe(id, &document).trim_end());
        }
        if ids.len() > PREVIEWED_MAX {
            session.notes().write(&format!("and {} more; --dry-run shows all", ids.len() - PREVIEWED_MAX));
        }
        Ok(())
    }

    fn call(&self, id: &str, key: &str, several: bool) -> Result<Call, CliError> {
        let mut request = self.request(json!(id));
        if let Some(version) = self.write.if_match {
            request["expectedVersion"] = json!(version.to_string());
        }
        // One key per request: the same key with another request is a conflict. An id may be longer than a
        // key may be.
        let part = if several { format!("/{:016x}", xxh64(id.as_bytes(), 0)) } else { String::new() };
        self.keyed(self.rpc, &request, key, part)
    }

    fn call_of_many(
        &self,
        rpc: &RpcMethod,
        ids: &[String],
        key: &str,
        number: usize,
    ) -> Result<Call, CliError> {
        self.keyed(rpc, &self.request(json!(ids)), key, format!("/{number}"))
    }

    /// What is asked of these registers.
    fn request(&self, ids: Value) -> Value {
        let mut request = self.fields.clone();
        request["registerId"] = ids;
        for (name, value) in [
            ("nodeId", (!self.node.is_empty()).then(|| json!(self.node))),
            ("reason", self.write.reason.as_ref().map(|reason| json!(reason))),
            ("dryRun", self.write.is_dry_run().then(|| json!(true))),
        ] {
            if let Some(value) = value {
                request[name] = value;
            }
        }
        request
    }

    fn keyed(&self, rpc: &RpcMethod, request: &Value, key: &str, mut part: String) -> Result<Call, CliError> {
        if self.write.is_dry_run() {
            part.push_str("/dry-run");
        }
        // What is given is sent, whatever it is: absent would leave it as it was.
        let call = Call::exactly(rpc, request)?.keyed(key, &part);
        Ok(Call { awaits_work: true, ..call })
    }

    /// `register/a updated`, and below it what changed.
    fn describe(&self, id: &str, document: &Value) -> String {
        let head = changed::head(&format!("{KIND}/{id}"), document, self.done, self.already);
        let (waits, dry_run) = (!flag(document, "advertised"), flag(document, "dryRun"));
        let changed = flag(document, "changed");
        let waits = (waits && !dry_run).then(|| not_shown(self.node, self.follows, changed)).flatten();
        changed::told(&head, changed::lines(document, self.done).chain(waits.as_deref()))
    }
}

/// Takes the outcomes of a request apart.
fn take(batch: &mut BatchOutcomes, mut document: Value) {
    for outcome in document["results"].as_array_mut().into_iter().flatten() {
        let id = text(outcome, "registerId").to_owned();
        let failed = error::from_failure(field(outcome, "failure"));
        batch.push(id, failed.map_or_else(|| Ok(outcome["change"].take()), Err));
    }
}

/// Error of registers whose request nobody waited for.
pub(super) fn in_flight(dry_run: bool) -> CliError {
    if dry_run {
        return CliError::new(
            reasons::INTERRUPTED,
            "interrupted before it was answered: nothing was to be done",
        );
    }
    let message = "interrupted before it was answered: it may have been done or not";
    CliError::new(reasons::OUTCOME_UNKNOWN, message).hint("repeat the command: what is done already stays so")
}

/// The same of those that were not sent.
pub(super) fn not_sent() -> CliError {
    CliError::new(reasons::INTERRUPTED, "interrupted before it was sent: nothing was done")
}
