//! One command on several objects: all are tried, every failure is told.

use omnirelay_core::text::some_of;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons::{self, Reason};
use serde_json::{Value, json};

use super::error::CliError;
use super::output::{CommandOutput, TextForm};
use super::session::CommandSession;

/// How many failures a person is told of, and how many names of those that failed alike.
const TOLD_MAX: usize = 100;
const NAMED_MAX: usize = 3;

/// The outcomes of one command, one per object.
#[derive(Debug)]
pub(crate) struct BatchOutcomes {
    kind: &'static str,
    /// The field that holds an object's answer in the JSON of several.
    answer: &'static str,
    /// What the summary says of objects that failed: `was not cordoned`.
    failed: &'static str,
    outcomes: Vec<(String, Result<Value, CliError>)>,
}

impl BatchOutcomes {
    pub(crate) fn new(kind: &'static str, answer: &'static str, failed: &'static str) -> Self {
        Self { kind, answer, failed, outcomes: Vec::new() }
    }

    pub(crate) fn push(&mut self, id: String, outcome: Result<Value, CliError>) {
        self.outcomes.push((id, outcome));
    }

    /// The outcomes in the order in which they came.
    pub(crate) fn outcomes(&self) -> &[(String, Result<Value, CliError>)] {
        &self.outcomes
    }

    /// As [`BatchOutcomes::outcomes`].
    pub(crate) fn into_outcomes(self) -> Vec<(String, Result<Value, CliError>)> {
        self.outcomes
    }

    /// The failure after which the others need not be tried: nobody answers, or nobody lets us in.
    pub(crate) fn hopeless(&self) -> Option<CliError> {
        let (_, last) = self.outcomes.last()?;
        let error = last.as_ref().err()?;
        matches!(error.exit(), Exit::Unavailable | Exit::Unauthenticated).then(|| error.clone())
    }

    /// Writes the outcomes: of one object the API's own document, of several `results[]`.
    ///
    /// # Errors
    /// The failure of the only object; a partial failure when some failed, the first when all did.
    pub(crate) fn finish(
        mut self,
        session: &mut CommandSession,
        text: impl Fn(&str, &Value) -> String,
    ) -> Result<Exit, CliError> {
        if self.outcomes.len() == 1
            && let Some((id, outcome)) = self.outcomes.pop()
        {
            let document = outcome?;
            let lines = text(&id, &document);
            session.show(&CommandOutput::lines(document.clone(), self.name(&id, &document), lines))?;
            return Ok(Exit::Ok);
        }
        let results: Vec<Value> =
            self.outcomes.iter().map(|(id, outcome)| self.result(id, outcome)).collect();
        let succeeded = self.outcomes.iter().filter_map(|(id, outcome)| Some((id, outcome.as_ref().ok()?)));
        let names = succeeded.clone().map(|(id, document)| self.name(id, document)).collect();
        let lines = succeeded.map(|(id, document)| text(id, document)).collect::<Vec<_>>();
        let separator = if lines.iter().any(|lines| lines.lines().count() > 3) { "\n" } else { "" };
        session.show(&CommandOutput {
            document: json!({"schemaVersion": "v1", "results": results}),
            items: Some(results),
            names,
            text: TextForm::Lines(lines.join(separator)),
        })?;
        self.verdict(session)
    }

    fn name(&self, id: &str, document: &Value) -> String {
        let exact = document.pointer("/peer/nodeId").and_then(Value::as_str).unwrap_or(id);
        format!("{}/{exact}", self.kind)
    }

    fn result(&self, id: &str, outcome: &Result<Value, CliError>) -> Value {
        match outcome {
            Ok(document) => {
                json!({"name": self.name(id, document), "status": "ok", (self.answer): document})
            }
            Err(error) => json!({
                "name": format!("{}/{id}", self.kind), "status": "error", "error": error.to_json(),
            }),
        }
    }

    /// A line per failure, and one for many that have failed alike.
    fn told(&self, failures: &[(&String, &CliError)]) -> Vec<String> {
        let alike = |one: &(&String, &CliError), other: &(&String, &CliError)| {
            one.1.body().message == other.1.body().message
        };
        let names = failures.chunk_by(alike).map(|group| {
            let names = group.iter().map(|(id, _)| format!("{}/{id}", self.kind));
            (some_of(&names.collect::<Vec<_>>(), NAMED_MAX), &group[0].1.body().message)
        });
        names.map(|(names, message)| format!("{names}: {message}")).collect()
    }

    /// Takes a failure for this reason for nothing to be done.
    #[must_use]
    pub(crate) fn forgiving(self, reason: Reason) -> Self {
        let forgiven = |outcome: Result<Value, CliError>| match outcome {
            Err(error) if error.is(reason) => {
                Ok(json!({"schemaVersion": "v1", "changed": false, "changes": [], "advertised": true}))
            }
            outcome => outcome,
        };
        let outcomes = self.outcomes.into_iter().map(|(id, outcome)| (id, forgiven(outcome))).collect();
        Self { outcomes, ..self }
    }

    /// Verdict on the outcomes, without their documents; a person is told of each failure.
    ///
    /// # Errors
    /// A partial failure when some failed, with the exit code of the first when all did.
    pub(crate) fn verdict(&self, session: &CommandSession) -> Result<Exit, CliError> {
        let failures: Vec<(&String, &CliError)> =
            self.outcomes.iter().filter_map(|(id, outcome)| Some((id, outcome.as_ref().err()?))).collect();
        let Some((_, first)) = failures.first() else { return Ok(Exit::Ok) };
        if !session.format().is_json() {
            let lines = self.told(&failures);
            lines.iter().take(TOLD_MAX).for_each(|line| session.notes().write(line));
            if lines.len() > TOLD_MAX {
                session.notes().write(&format!("and {} more; -o json names all", lines.len() - TOLD_MAX));
            }
        }
        let (failed, all) = (failures.len(), self.outcomes.len());
        let message = format!("{failed} of {all} {}s {}", self.kind, self.failed);
        let mut error = CliError::partial(message);
        if let Some(target) = &first.body().target {
            error = error.target(target.clone());
        }
        if failed == all {
            error = error.exiting(first.exit());
        }
        let unknown = failures.iter().find(|(_, failure)| failure.is(reasons::OUTCOME_UNKNOWN));
        let hint = unknown.and_then(|(_, failure)| failure.body().hints.first().cloned());
        for (id, failure) in failures {
            error = error.detail(json!({"name": format!("{}/{id}", self.kind), "error": failure.to_json()}));
        }
        Err(error.hint(hint.unwrap_or_else(|| "repeat the command for those that failed".to_owned())))
    }
}
