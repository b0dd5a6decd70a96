//! A change of the store: what it would do is asked of the daemon and told first, then it is confirmed and made.

use crate::frame::client::fresh_key;
use crate::frame::prelude::*;

/// A change of the store.
pub(super) struct StoreChangePlan<'a> {
    pub rpc: &'a RpcMethod,
    pub write: &'a WriteArgs,
    /// The fields of the request, but for the reason and whether it is a dry run.
    pub fields: Value,
    /// What is asked before it is made, by what the daemon would do.
    pub question: fn(&Value) -> String,
    /// Holds the change to what was planned.
    pub bind: fn(&Value, &mut Value),
    /// `store/...`, of an answer.
    pub name: fn(&Value) -> String,
    /// What is told of an answer.
    pub describe: fn(&Value) -> String,
}

impl StoreChangePlan<'_> {
    /// Carries the change out and prints the answer.
    ///
    /// # Errors
    /// The daemon's fault; usage, when the flags do not fit or nobody confirms.
    pub(super) async fn run(mut self, session: &mut CommandSession) -> Result<Exit, CliError> {
        self.write.without_version("the store")?;
        self.write.check(session, 1)?;
        session.announce_target()?;
        let plan = session.call(&self.call(true, &fresh_key()?)?).await?;
        if self.write.is_dry_run() {
            return self.show(session, plan);
        }
        if !self.write.yes {
            session.notes().write((self.describe)(&plan).trim_end());
        }
        self.write.confirm(session, &(self.question)(&plan))?;
        (self.bind)(&plan, &mut self.fields);
        let document = session.call(&self.call(false, &self.write.key()?)?).await?;
        self.show(session, document)
    }

    fn show(&self, session: &mut CommandSession, document: Value) -> Result<Exit, CliError> {
        let (name, lines) = ((self.name)(&document), (self.describe)(&document));
        session.show(&CommandOutput::lines(document, name, lines))?;
        Ok(if self.write.exit_code { Exit::Negative } else { Exit::Ok })
    }

    fn call(&self, dry_run: bool, key: &str) -> Result<Call, CliError> {
        let mut request = self.fields.clone();
        request["dryRun"] = json!(dry_run);
        request["reason"] = json!(self.write.reason_text());
        let part = if dry_run { "/dry-run" } else { "" };
        Ok(Call { awaits_work: true, ..Call::of(self.rpc, &request)?.keyed(key, part) })
    }
}
