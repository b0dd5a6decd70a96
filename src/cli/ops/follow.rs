//! Following an operation until it has ended, over as many connections as it takes.

use std::time::Duration;

use omnirelay_wire::rpc::operation_service;
use tokio::time::Instant;

use super::progress::OperationProgress;
use super::{KIND, is_ended};
use crate::frame::client::pause;
use crate::frame::failure::CallFailure;
use crate::frame::global::HumanDuration;
use crate::frame::prelude::*;
use crate::frame::watch::stream::{self, OpenEventStream, StreamEnd};
use crate::frame::watch::{SILENCE_MAX, pass};

pub(crate) const WATCH: RpcMethod = operation_service::WATCH;

/// Whether and how long a command waits for what it began.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Wait options")]
pub(crate) struct OperationWaitArgs {
    /// Wait until it has ended; this is what is done unless --no-wait
    #[arg(long, overrides_with = "no_wait", hide_short_help = true)]
    wait: bool,

    /// End once it has begun, and print its id
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,

    /// End with 8 when it goes on after this time; 0s is for ever
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    pub timeout: HumanDuration,
}

impl OperationWaitArgs {
    pub(crate) fn waits(&self) -> bool {
        !self.no_wait
    }
}

/// An operation that is followed.
pub(crate) struct OperationFollower {
    operation: Value,
    progress: OperationProgress,
    /// Another command comes to the same daemon only if it names the node.
    names_node: bool,
}

impl OperationFollower {
    pub(crate) fn of(session: &CommandSession, operation: Value, names_node: bool) -> Self {
        Self { operation, progress: OperationProgress::of(session), names_node }
    }

    /// The operation as it was last heard to be.
    pub(crate) fn operation(&self) -> &Value {
        &self.operation
    }

    /// Deadline of a wait that begins now; no time is for ever.
    pub(crate) fn deadline(timeout: Duration) -> Option<Instant> {
        (!timeout.is_zero()).then(|| Instant::now() + timeout)
    }

    /// Follows the operation until it has ended; false when somebody does not want to wait any more.
    ///
    /// Only the daemon that answered last is asked: no other knows of it.
    ///
    /// # Errors
    /// `OPERATION_TIMEOUT` at the deadline, `OPERATION_FORGOTTEN` when the daemon does not know it any more,
    /// `OPERATION_OUT_OF_SIGHT` when it cannot be asked; the daemon's refusal.
    pub(crate) async fn until_ended(
        &mut self,
        session: &CommandSession,
        timeout: Duration,
        deadline: Option<Instant>,
    ) -> Result<bool, CliError> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let followed = tokio::select! {
            followed = self.attend(session) => followed.map(|()| true),
            interrupted = tokio::signal::ctrl_c() => interrupted
                .map(|()| false)
                .map_err(|error| CliError::local(reasons::SIGNALS, "cannot listen for signals", &error)),
            // Without time left it is looked at all the same, once.
            () = pass(left.map(|left| left.max(Duration::from_millis(1)))) => Err(self.too_slow(timeout)),
        };
        self.progress.end();
        if let Ok(false) = followed {
            let commands = self.commands().join("; ");
            session.notes().progress(&format!("{} goes on: {commands}", self.name()));
        }
        followed
    }

    /// Listens to one connection after the other.
    async fn attend(&mut self, session: &CommandSession) -> Result<(), CliError> {
        let call = Call::of(&WATCH, &json!({ "operationId": text(&self.operation, "operationId") }))?;
        // As long as for any other request that is repeated.
        let patience = session.settings.request_timeout;
        let mut lost: Option<(Instant, u32)> = None;
        while !is_ended(&self.operation) {
            self.progress.show(&self.operation);
            let ended = match stream::open(session.client()?, &call, "").await {
                Ok(stream) => self.listen(stream, &mut lost).await,
                Err(ended) => Some(ended),
            };
            let cause = match ended {
                None => continue,
                Some(StreamEnd::Refused(error)) => return Err(self.refused(error)),
                Some(StreamEnd::Later(error)) => error.body().message.clone(),
                Some(StreamEnd::Failed(failure)) => failure.cause,
            };
            let (since, tries) = lost.unwrap_or_else(|| (Instant::now(), 0));
            if tries == 0 {
                self.progress.say(&format!("connection lost, looking for {} again: {cause}", self.name()));
            }
            if since.elapsed() >= patience {
                return Err(self.out_of_sight(&cause));
            }
            lost = Some((since, tries + 1));
            tokio::time::sleep(pause(tries + 1)).await;
        }
        Ok(())
    }

    /// Takes events until the operation or the stream ends; `None` when the operation has.
    async fn listen(
        &mut self,
        mut stream: OpenEventStream,
        lost: &mut Option<(Instant, u32)>,
    ) -> Option<StreamEnd> {
        let mut heard = Instant::now();
        loop {
            let until_dead = SILENCE_MAX.saturating_sub(heard.elapsed());
            let wait = self.progress.next().map_or(until_dead, |next| next.min(until_dead));
            match tokio::time::timeout(wait, stream.next()).await {
                Ok(Ok(event)) => {
                    heard = Instant::now();
                    let operation = event.map(|event| field(&event.document, "operation").clone());
                    if let Some(operation) = operation.filter(Value::is_object) {
                        *lost = None;
                        self.operation = operation;
                    }
                    if is_ended(&self.operation) {
                        return None;
                    }
                }
                Ok(Err(ended)) => return Some(ended),
                Err(_) if heard.elapsed() >= SILENCE_MAX => {
                    return Some(StreamEnd::Failed(CallFailure::silent(SILENCE_MAX.as_secs())));
                }
                Err(_) => {}
            }
            self.progress.show(&self.operation);
        }
    }

    fn name(&self) -> String {
        format!("{KIND}/{}", text(&self.operation, "operationId"))
    }

    /// How to look at it and how to stop it.
    fn commands(&self) -> [String; 2] {
        let id = text(&self.operation, "operationId");
        let node = match self.names_node {
            true => format!(" --node {}", text(&self.operation, "nodeId")),
            false => String::new(),
        };
        [format!("omnirelay ops get {id}{node}"), format!("omnirelay ops cancel {id}{node}")]
    }

    fn too_slow(&self, timeout: Duration) -> CliError {
        let span = humantime::format_duration(timeout);
        let message = format!("{} has not ended after {span}; it goes on", self.name());
        let error = CliError::new(reasons::OPERATION_TIMEOUT, message);
        let done = Some(super::done(&self.operation)).filter(|done| !done.is_empty());
        let words = [
            done.map(|done| format!("done: {done}")).unwrap_or_default(),
            text(&self.operation, "message").to_owned(),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|words| !words.is_empty()).collect();
        let error = if words.is_empty() { error } else { error.cause(words.join(", ")) };
        self.commands().into_iter().fold(error, CliError::hint)
    }

    /// What the daemon's refusal means for an operation that it knew a moment ago.
    fn refused(&self, error: CliError) -> CliError {
        if error.exit() != Exit::NotFound {
            return error;
        }
        let message = format!("{} is not known any more, and nobody can say how it ended", self.name());
        CliError::new(reasons::OPERATION_FORGOTTEN, message)
            .cause("the daemon was started anew meanwhile, or another one answers")
            .hint("repeat the command: what is done already is left as it is")
    }

    fn out_of_sight(&self, cause: &str) -> CliError {
        let message = format!("lost sight of {}; it may go on", self.name());
        let error = CliError::new(reasons::OPERATION_OUT_OF_SIGHT, message).cause(cause);
        self.commands().into_iter().fold(error, CliError::hint)
    }
}

/// Error of how an operation has ended; `None`: it succeeded.
pub(crate) fn verdict(operation: &Value) -> Option<CliError> {
    let name = format!("{KIND}/{}", text(operation, "operationId"));
    let error = match text(operation, "state") {
        "succeeded" => return None,
        "partial" => CliError::partial(format!("a part of {name} was not done")),
        "cancelled" => CliError::new(reasons::OPERATION_CANCELLED, format!("{name} was cancelled")),
        _ => CliError::new(reasons::OPERATION_FAILED, format!("{name} has failed")),
    };
    let error = match text(operation, "message") {
        "" => error,
        message => error.cause(message),
    };
    let details = items(operation, "failures").iter().cloned();
    Some(details.fold(error, CliError::detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_exit_code() {
        let cases = [
            ("succeeded", None),
            ("partial", Some((7, "PARTIAL_FAILURE"))),
            ("failed", Some((1, "OPERATION_FAILED"))),
            ("cancelled", Some((4, "OPERATION_CANCELLED"))),
        ];
        for (state, expected) in cases {
            let operation = json!({"operationId": "op_1", "state": state, "message": "so it was"});
            let error = verdict(&operation);
            let told = error.as_ref().map(|error| (error.exit() as u8, error.reason()));
            assert_eq!(told, expected, "{state}");
            assert!(error.is_none_or(|error| error.body().cause.as_deref() == Some("so it was")), "{state}");
        }
    }
}
