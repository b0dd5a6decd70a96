//! State of an object besides its record: that moves without an event, so it is asked for while a person looks.

use std::pin::Pin;
use std::time::Duration;

use omnirelay_wire::fault::Exit;
use serde_json::Value;
use tokio::time::Instant;

use super::RunningWatch;
use super::live::LiveTable;
use crate::frame::client::Client;
use crate::frame::error::CliError;
use crate::frame::rpc::Call;
use crate::frame::session::CommandSession;

/// So many objects are asked for at most: no screen shows more.
const ASKED_MAX: usize = 100;
/// How much longer than usual is waited after a failure.
const PATIENCE: u32 = 8;

/// State of an object that moves without an event, and who knows it.
pub(crate) struct PolledState<'a> {
    /// The call that answers it for the objects with these ids, or for more.
    pub call: PolledStateCall<'a>,
    /// How often that is asked.
    pub every: Duration,
    /// The field of the answer in which they are.
    pub list: &'static str,
    /// The fields of an object that move.
    pub fields: &'static [&'static str],
}

/// Makes the call that asks for the objects with these ids.
pub(crate) type PolledStateCall<'a> = Box<dyn Fn(&[String]) -> Result<Call, CliError> + 'a>;
type PendingAnswer = Pin<Box<dyn Future<Output = Result<Value, CliError>>>>;

/// Poller of what moves without an event: it has one question at a time.
#[derive(Default)]
pub(crate) struct StatePoller {
    answer: Option<PendingAnswer>,
    /// When the next question is due; `None` at the beginning.
    due: Option<Instant>,
    /// Whoever asks may not know.
    refused: bool,
}

impl StatePoller {
    /// Prepares to ask the daemon that streams for what is on the screen, once that is due.
    ///
    /// # Errors
    /// When the call cannot be made.
    pub(crate) fn ask(
        &mut self,
        present: &PolledState,
        live: &LiveTable,
        client: &Client,
    ) -> Result<(), CliError> {
        let shown = live.shown();
        if self.answer.is_some() || self.refused || shown.is_empty() {
            return Ok(());
        }
        let call = (present.call)(&shown[..shown.len().min(ASKED_MAX)])?;
        let client = client.alone()?;
        let due = self.due.unwrap_or_else(Instant::now);
        self.answer = Some(Box::pin(async move {
            tokio::time::sleep_until(due).await;
            client.call(&call).await
        }));
        Ok(())
    }

    /// Waits for the answer to a question that is asked `every` so often; for ever where nothing was asked.
    pub(crate) async fn answered(&mut self, every: Duration) -> Result<Value, CliError> {
        let Some(answer) = self.answer.as_mut() else { return std::future::pending().await };
        let answer = answer.await;
        self.answer = None;
        let pause = if answer.is_ok() { every } else { every * PATIENCE };
        self.due = Some(Instant::now() + pause);
        self.refused =
            answer.as_ref().is_err_and(|error| matches!(error.exit(), Exit::Denied | Exit::Unauthenticated));
        answer
    }
}

impl RunningWatch<'_> {
    /// Asks for what moves without an event, where it is shown and time; how often that is.
    pub(super) fn ask_present(&mut self, session: &CommandSession) -> Result<Duration, CliError> {
        match (&self.feed.present, self.printer.live()) {
            (Some(present), Some(live)) => {
                // What was asked before the list was begun anew may still be answered.
                if self.synced {
                    self.asking.ask(present, live, session.client()?)?;
                }
                Ok(present.every)
            }
            _ => Ok(Duration::MAX),
        }
    }

    /// Draws what was answered at once: a lease that was renewed looks as good as it is.
    pub(super) fn take_present(
        &mut self,
        session: &mut CommandSession,
        answer: Result<Value, CliError>,
    ) -> Result<(), CliError> {
        match (&self.feed.present, self.printer.live(), answer) {
            (Some(present), Some(live), Ok(answer)) => live.set_present(present, self.feed.id, &answer),
            // What was known stands until it is known better.
            _ => return Ok(()),
        }
        self.settle(session)
    }
}
