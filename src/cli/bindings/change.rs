//! Change of one binding, common to set and delete: how it is made and told.

use super::KIND;
use crate::frame::prelude::*;

/// A change of one binding.
pub(super) struct BindingsChange<'a> {
    pub rpc: &'a RpcMethod,
    pub principal: &'a str,
    pub write: &'a WriteArgs,
    /// What is asked before it; `None`: nothing.
    pub question: Option<String>,
    /// `set`, as in "binding/token:a set".
    pub done: &'static str,
    /// The fields of the request that only this change has.
    pub fields: Value,
}

impl BindingsChange<'_> {
    /// Carries the change out and prints the answer.
    ///
    /// # Errors
    /// The daemon's fault; usage, when the flags do not fit or nobody confirms.
    pub(super) async fn run(&self, session: &mut CommandSession) -> Result<Exit, CliError> {
        self.write.check(session, 1)?;
        if let Some(question) = self.question.as_deref().filter(|_| !self.write.is_dry_run()) {
            self.write.confirm(session, question)?;
        }
        session.announce_target()?;
        let mut request = self.fields.clone();
        request["principal"] = json!(self.principal);
        request["reason"] = json!(self.write.reason_text());
        request["dryRun"] = json!(self.write.is_dry_run());
        if let Some(version) = self.write.if_match {
            request["expectedVersion"] = json!(version.to_string());
        }
        // One key per request: the same key with another request is a conflict.
        let part = if self.write.is_dry_run() { "/dry-run" } else { "" };
        let document = session.call(&Call::of(self.rpc, &request)?.keyed(&self.write.key()?, part)).await?;
        let changed = flag(&document, "changed");
        let lines = self.describe(&document);
        session.show(&CommandOutput::lines(document, format!("{KIND}/{}", self.principal), lines))?;
        Ok(if changed && self.write.exit_code { Exit::Negative } else { Exit::Ok })
    }

    /// `binding/token:a set`, and below it what changes.
    fn describe(&self, document: &Value) -> String {
        let head = changed::head(&format!("{KIND}/{}", self.principal), document, self.done, "");
        changed::told(&head, changed::lines(document, self.done))
    }
}
