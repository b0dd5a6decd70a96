//! What an object is besides its record: that moves without an event, so it is asked for while a person looks.

use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::live::{Known, Live};
use crate::cli::frame::client::Client;
use crate::cli::frame::document::{field, items};
use crate::cli::frame::error::CliError;
use crate::cli::frame::rpc::Call;
use crate::cli::frame::time;

/// How often is asked: of a lease, which is the shortest-lived of what is shown, it leaves a few looks.
const EVERY: Duration = Duration::from_millis(500);

/// What of an object moves without an event, and who knows it.
pub struct Present {
    /// The call that answers it for the objects with these ids.
    pub call: fn(&[String]) -> Result<Call, CliError>,
    /// The field of the answer in which they are.
    pub list: &'static str,
    /// The fields of an object that move.
    pub fields: &'static [&'static str],
}

type Answer = Pin<Box<dyn Future<Output = Result<Value, CliError>>>>;

/// A question at a time.
#[derive(Default)]
pub struct Asking {
    answer: Option<Answer>,
    answered: Option<Instant>,
}

impl Asking {
    /// Prepares to ask the daemon that streams for what is on the screen, once that is due.
    ///
    /// # Errors
    /// When the call cannot be made.
    pub fn ask(&mut self, present: &Present, live: &Live, client: &Client) -> Result<(), CliError> {
        if self.answer.is_some() || live.shown().is_empty() {
            return Ok(());
        }
        let call = (present.call)(live.shown())?;
        let client = client.alone()?;
        let due = self.answered.map_or_else(Instant::now, |answered| answered + EVERY);
        self.answer = Some(Box::pin(async move {
            tokio::time::sleep_until(due).await;
            client.call(&call).await
        }));
        Ok(())
    }

    /// Waits for the answer; for ever where nothing was asked.
    pub async fn answered(&mut self) -> Result<Value, CliError> {
        match self.answer.as_mut() {
            Some(answer) => {
                let answer = answer.await;
                (self.answer, self.answered) = (None, Some(Instant::now()));
                answer
            }
            None => std::future::pending().await,
        }
    }
}

impl Present {
    /// Takes over what was answered. What was not told of is not known any more.
    pub fn take(
        &self,
        answer: Result<Value, CliError>,
        id: fn(&Value) -> String,
        known: &mut Known,
        live: &mut Live,
    ) {
        let answer = answer.unwrap_or_default();
        if let Some(now_ms) = time::millis(field(&answer, "generatedAt")) {
            live.set_clock(now_ms);
        }
        let told: Known = items(&answer, self.list).iter().map(|one| (id(one), one.clone())).collect();
        for (id, object) in known {
            let Some(object) = object.as_object_mut() else { continue };
            for &name in self.fields {
                match told.get(id).and_then(|one| one.get(name)) {
                    Some(value) => object.insert(name.to_owned(), value.clone()),
                    None => object.remove(name),
                };
            }
        }
    }
}
