//! Change of peers, common to cordon, uncordon, drain, undrain, label and forget: who is meant, and how it is told.

use omnirelay_wire::pb::omnirelay::mesh::control::v1::ListPeersRequest;

use super::list::filters;
use super::{KIND, LIST, resolve};
use crate::frame::args::FilterArgs;
use crate::frame::client::fresh_key;
use crate::frame::list;
use crate::frame::prelude::*;

/// A change of peers.
pub(super) struct PeersChange<'a> {
    pub rpc: &'a RpcMethod,
    pub write: &'a WriteArgs,
    /// `cordoned`, as in "peer/a cordoned".
    pub done: &'static str,
    /// `already cordoned`, as in "peer/a unchanged: already cordoned".
    pub already: &'static str,
    /// `was not cordoned`, for the summary of failures.
    pub failed: &'static str,
    /// The fields of the request that every peer's has, reason and the like apart.
    pub fields: Value,
}

/// The peers meant by ids and by a selector, which are joined.
///
/// # Errors
/// Usage, when neither names a peer; what kept the list away.
pub(super) async fn meant(
    session: &CommandSession,
    given: &[String],
    selector: Option<&str>,
) -> Result<Vec<String>, CliError> {
    let mut ids = if given.is_empty() && selector.is_some() { Vec::new() } else { ids::expand(given, KIND)? };
    let Some(selector) = selector else { return Ok(ids) };
    let filter = FilterArgs { selector: Some(selector.to_owned()), ..FilterArgs::default() };
    let filters = filters(&filter)?;
    let request = |page: &ListPage| {
        Call::of(&LIST, &ListPeersRequest { page_token: page.token.clone(), ..filters.clone() })
    };
    let document = list::fetch(session, "peers", &PageArgs::default(), true, request).await?;
    for peer in items(&document, "peers") {
        let id = text(peer, "nodeId").to_owned();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

impl PeersChange<'_> {
    /// Carries the change out on every one of `ids`.
    ///
    /// # Errors
    /// As of [`BatchOutcomes::finish`]; usage, when the flags do not fit.
    pub(super) async fn run(&self, session: &mut CommandSession, ids: Vec<String>) -> Result<Exit, CliError> {
        if ids.is_empty() {
            session.notes().say("No peers match.");
            return Ok(Exit::Ok);
        }
        self.write.check(session, ids.len())?;
        session.announce_target()?;
        let key = self.write.key()?;
        let several = ids.len() > 1;
        let mut changed = false;
        let mut batch = BatchOutcomes::new(KIND, "change", self.failed);
        for id in ids {
            let outcome = match batch.hopeless() {
                Some(error) => Err(error),
                None => self.one(session, &id, &key, several, self.write.if_match).await,
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
    pub(super) async fn preview(&self, session: &CommandSession, ids: &[String]) -> Result<(), CliError> {
        let key = fresh_key()?;
        for id in ids {
            let document = self.one(session, id, &key, ids.len() > 1, self.write.if_match).await?;
            session.notes().write(self.describe(id, &document).trim_end());
        }
        Ok(())
    }

    /// The change of one peer, by its id or the beginning of it.
    pub(super) async fn one(
        &self,
        session: &CommandSession,
        id: &str,
        key: &str,
        several: bool,
        version: Option<u64>,
    ) -> Result<Value, CliError> {
        match session.call(&self.call(id, key, several, version)?).await {
            Err(error) if resolve::may_be_cut(id, &error) => {
                let id = resolve::by_prefix(session, id, error).await?;
                session.call(&self.call(&id, key, several, version)?).await
            }
            result => result,
        }
    }

    fn call(&self, id: &str, key: &str, several: bool, version: Option<u64>) -> Result<Call, CliError> {
        let mut request = self.fields.clone();
        request["nodeId"] = json!(id);
        request["reason"] = json!(self.write.reason_text());
        request["dryRun"] = json!(self.write.is_dry_run());
        if let Some(version) = version {
            request["expectedVersion"] = json!(version.to_string());
        }
        // One key per request: the same key with another request is a conflict.
        let mut part = if several { format!("/{id}") } else { String::new() };
        if self.write.is_dry_run() {
            part.push_str("/dry-run");
        }
        Ok(Call::of(self.rpc, &request)?.keyed(key, &part))
    }

    /// `peer/a cordoned`, and below it what changed.
    pub(super) fn describe(&self, id: &str, document: &Value) -> String {
        let id = document.pointer("/peer/nodeId").and_then(Value::as_str).unwrap_or(id);
        let head = changed::head(&format!("{KIND}/{id}"), document, self.done, self.already);
        changed::told(&head, changed::lines(document, self.done))
    }
}
