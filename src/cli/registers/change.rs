//! What create, update, delete, advertise and unadvertise have in common: how one is made and told.

use omnirelay_wire::fault::Exit;
use serde_json::{Value, json};
use xxhash_rust::xxh64::xxh64;

use super::KIND;
use crate::cli::frame::args::WriteArgs;
use crate::cli::frame::batch::Batch;
use crate::cli::frame::changed;
use crate::cli::frame::client::fresh_key;
use crate::cli::frame::document::flag;
use crate::cli::frame::error::CliError;
use crate::cli::frame::rpc::{Call, Rpc};
use crate::cli::frame::session::Session;

/// What is said of a change that is not shown by the pool of `node` yet; empty: of the node that is asked. That of
/// another node is never waited for, and it `does` it without being told.
pub fn not_shown(node: &str, does: &str, changed: bool) -> Option<String> {
    match (node, changed) {
        ("", _) => Some("the pool does not show this yet; it will as soon as it can be reached".to_owned()),
        (node, true) => Some(format!("{node} will {does} by itself")),
        (_, false) => None,
    }
}

/// A change of registers.
pub struct Change<'a> {
    pub rpc: &'a Rpc,
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
    /// The fields of the request that every register's has, reason and the like apart.
    pub fields: Value,
}

impl Change<'_> {
    /// Carries the change out on every one of `ids`.
    ///
    /// # Errors
    /// As of [`Batch::finish`]; usage, when the flags do not fit.
    pub async fn run(&self, session: &mut Session, ids: Vec<String>) -> Result<Exit, CliError> {
        self.write.check(session, ids.len())?;
        session.announce_target()?;
        let key = self.write.key()?;
        let several = ids.len() > 1;
        let mut changed = false;
        let mut batch = Batch::new(KIND, "change", self.failed);
        for id in ids {
            let outcome = match batch.hopeless() {
                Some(error) => Err(error),
                None => session.call(&self.call(&id, &key, several)?).await,
            };
            changed |= outcome.as_ref().is_ok_and(|document| flag(document, "changed"));
            batch.push(id, outcome);
        }
        let exit = batch.finish(session, |id, document| self.describe(id, document))?;
        Ok(if changed && self.write.exit_code && exit == Exit::Ok { Exit::Negative } else { exit })
    }

    /// Shows what would change, as the daemon computes it, before a question.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn preview(&self, session: &Session, ids: &[String]) -> Result<(), CliError> {
        let key = fresh_key()?;
        for id in ids {
            let document = session.call(&self.call(id, &key, ids.len() > 1)?).await?;
            session.notes().write(self.describe(id, &document).trim_end());
        }
        Ok(())
    }

    fn call(&self, id: &str, key: &str, several: bool) -> Result<Call, CliError> {
        let mut request = self.fields.clone();
        request["registerId"] = json!(id);
        for (name, value) in [
            ("nodeId", (!self.node.is_empty()).then(|| json!(self.node))),
            ("reason", self.write.reason.as_ref().map(|reason| json!(reason))),
            ("dryRun", self.write.is_dry_run().then(|| json!(true))),
            ("expectedVersion", self.write.if_match.map(|version| json!(version.to_string()))),
        ] {
            if let Some(value) = value {
                request[name] = value;
            }
        }
        // One key per request: the same key with another request is a conflict. An id may be longer than a
        // key may be.
        let mut part = if several { format!("/{:016x}", xxh64(id.as_bytes(), 0)) } else { String::new() };
        if self.write.is_dry_run() {
            part.push_str("/dry-run");
        }
        // What is given is sent, whatever it is: absent would leave it as it was.
        let call = Call::exactly(self.rpc, &request)?.keyed(key, &part);
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
