//! What transfer, step-down, create, set and delete have in common: how one is made and told.

use std::iter;

use omnirelay_wire::fault::Exit;
use serde_json::{Value, json};

use super::columns::ms;
use super::{KIND, explain};
use crate::cli::frame::args::WriteArgs;
use crate::cli::frame::changed;
use crate::cli::frame::client::fresh_key;
use crate::cli::frame::document::{field, flag, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::output::View;
use crate::cli::frame::rpc::{Call, Rpc};
use crate::cli::frame::session::Session;
use crate::cli::frame::time;

/// A change of one scope.
pub struct Change<'a> {
    pub rpc: &'a Rpc,
    pub scope: &'a str,
    pub write: &'a WriteArgs,
    /// What is asked before it; `None`: nothing.
    pub question: Option<String>,
    /// `transferred`, as in "leader/a transferred".
    pub done: &'static str,
    /// `it leads the scope already`, as in "leader/a unchanged: it leads the scope already".
    pub already: &'static str,
    /// What the line of a change says besides.
    pub told: Told,
    /// Who led the scope before a change of who may lead it, empty for nobody; `None`: who may stays the same.
    pub led_by: Option<&'a str>,
    /// The version to be replaced, unless `--if-match` says another.
    pub version: Option<u64>,
    /// The fields of the request that only this change has.
    pub fields: Value,
}

/// What is said of a change that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// From whom to whom the scope went.
    Handover,
    /// What of the record is different.
    Lines,
}

impl Change<'_> {
    /// Carries the change out and prints the answer.
    ///
    /// # Errors
    /// The daemon's fault; usage, when the flags do not fit or nobody confirms.
    pub async fn run(&self, session: &mut Session) -> Result<Exit, CliError> {
        self.write.check(session, 1)?;
        if let Some(question) = self.question.as_deref().filter(|_| !self.write.is_dry_run()) {
            if !self.write.yes && !session.settings.no_input && session.notes().can_ask() {
                let plan = session.call(&self.call(&fresh_key()?, true)?).await?;
                session.notes().write(self.describe(&plan).trim_end());
            }
            self.write.confirm(session, question)?;
        }
        session.announce_target()?;
        let key = self.write.key()?;
        let document = session.call(&self.call(&key, self.write.is_dry_run())?).await?;
        let changed = flag(&document, "changed");
        let lines = self.describe(&document);
        let cursor = text(&document, "cursor").to_owned();
        session.show(&View::lines(document, format!("{KIND}/{}", self.scope), lines))?;
        let tells = changed && !self.write.is_dry_run() && session.format().is_text();
        if let Some(leader) = self.led_by.filter(|_| tells) {
            explain::warn_of_excluded(session, self.scope, leader, &cursor).await;
        }
        Ok(if changed && self.write.exit_code { Exit::Negative } else { Exit::Ok })
    }

    fn call(&self, key: &str, dry_run: bool) -> Result<Call, CliError> {
        let mut request = self.fields.clone();
        request["scope"] = json!(self.scope);
        request["reason"] = json!(self.write.reason_text());
        request["dryRun"] = json!(dry_run);
        let version = self.write.if_match.or(self.version);
        if let Some(version) = version {
            request["expectedVersion"] = json!(version.to_string());
        }
        // One key per request: the same key with another request is a conflict. What was read before
        // a repetition may differ.
        let mut part = self.version.map(|version| format!("/{version}")).unwrap_or_default();
        if dry_run {
            part.push_str("/dry-run");
        }
        let call = Call::of(self.rpc, &request)?.keyed(key, &part);
        Ok(Call { awaits_work: true, ..call })
    }

    /// `leader/a transferred: node-1 -> node-2, ...`, and below it what changes.
    fn describe(&self, document: &Value) -> String {
        let name = format!("{KIND}/{}", self.scope);
        let head = changed::head(&name, document, self.done, self.already);
        let lines = changed::lines(document, self.done);
        match (self.told, flag(document, "dryRun")) {
            (Told::Handover, false) if flag(document, "changed") => {
                changed::told(&format!("{head}: {}", handover(document)), iter::empty())
            }
            (Told::Handover, false) => changed::told(&head, iter::empty()),
            _ => changed::told(&head, lines),
        }
    }
}

/// `node-1 -> node-2, term 8, fence 1795155507427, 0ms without a leader`
fn handover(document: &Value) -> String {
    let scope = field(document, "leadership");
    let word = |name: &str| Some(text(scope, name)).filter(|id| !id.is_empty()).unwrap_or("-").to_owned();
    if text(scope, "leaderId").is_empty() {
        return format!("{} -> -, nobody leads it yet", word("previousLeaderId"));
    }
    let took = ms(field(scope, "leaderlessMs")).map(time::span);
    let took = took.map(|took| format!(", {took} without a leader")).unwrap_or_default();
    format!(
        "{} -> {}, term {}, fence {}{took}",
        word("previousLeaderId"),
        word("leaderId"),
        word("term"),
        word("fenceToken"),
    )
}
