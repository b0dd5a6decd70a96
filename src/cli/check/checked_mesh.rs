//! Facts that the checks of the command line judge: gathered once, so that judging asks nobody.

use std::time::{Duration, Instant};

use omnirelay_wire::rpc::{RpcMethod, check_service, node_service};

use crate::frame::context_file::ContextFile;
use crate::frame::prelude::*;

/// Judges the mesh, on the daemon that answers.
pub(crate) const CHECK: RpcMethod = check_service::CHECK;

/// Above this, an answer has taken too long for clocks to be compared by it: addresses were tried, or it was put off.
const ASKING_MAX: Duration = Duration::from_millis(50);

/// Facts that were found out, or the reason why they could not be.
#[derive(Clone, Debug)]
pub(crate) struct CheckedFacts {
    pub config: Result<ContextFile, CliError>,
    /// Where the answers are from.
    pub address: String,
    /// What the daemon that answers says of itself.
    pub node: FactAnswer,
    /// What it finds of the mesh; `None`: that is not wanted.
    pub mesh: Option<FactAnswer>,
}

/// An answer, or why there is none.
#[derive(Clone, Debug)]
pub(crate) struct FactAnswer {
    pub said: Result<Value, CliError>,
    pub took: Duration,
    /// This machine's time when it came, in milliseconds.
    pub came_ms: Option<i64>,
}

impl CheckedFacts {
    /// Asks the daemon what it is, and what it finds of the mesh where that is wanted.
    pub(crate) async fn gather(session: &CommandSession, mesh_too: bool) -> Self {
        let mut node = ask(session, &node_service::GET).await;
        if node.said.is_ok() && node.took > ASKING_MAX {
            node = ask(session, &node_service::GET).await;
        }
        let mesh = match &node.said {
            _ if !mesh_too => None,
            Ok(node) => {
                let mesh = ask(session, &CHECK).await;
                let message =
                    format!("the daemon is older ({}) and does not judge the mesh", text(node, "version"));
                let hint = "omnirelay mesh check --addr NODE:PORT    # of a daemon that was upgraded; or the omnirelay of its version";
                Some(FactAnswer { said: mesh.said.map_err(|error| of_older(error, message, hint)), ..mesh })
            }
            // Whoever does not answer one question is not asked the next.
            Err(error) => Some(FactAnswer { said: Err(error.clone()), took: Duration::ZERO, came_ms: None }),
        };
        let address = session.client().map(|client| client.address().to_string()).unwrap_or_default();
        Self { config: session.settings.config.clone(), address, node, mesh }
    }

    /// Reason why the daemon could not be asked everything that is wanted.
    pub(crate) fn failure(&self) -> Option<&CliError> {
        let mesh = self.mesh.as_ref().and_then(|mesh| mesh.said.as_ref().err());
        self.node.said.as_ref().err().or(mesh)
    }

    /// Milliseconds by which this machine's clock and that of the daemon differ for certain: the answer was made at some
    /// moment while it was waited for.
    pub(crate) fn skew_ms(&self) -> Option<u64> {
        let theirs = time::millis(field(self.node.said.as_ref().ok()?, "generatedAt"))?;
        let came = self.node.came_ms?;
        let asked = came - i64::try_from(self.node.took.as_millis()).ok()?;
        Some(match theirs {
            before if before < asked => asked.abs_diff(before),
            after if after > came => after.abs_diff(came),
            _ => 0,
        })
    }
}

/// Says of a daemon that does not know the question that it is older, and what to do then.
pub(crate) fn of_older(error: CliError, message: impl Into<String>, hint: &str) -> CliError {
    if !error.is(reasons::ROUTE_UNKNOWN) {
        return error;
    }
    CliError::new(reasons::ROUTE_UNKNOWN, message).hint(hint)
}

/// Asks one question.
pub(super) async fn ask(session: &CommandSession, rpc: &'static RpcMethod) -> FactAnswer {
    let began = Instant::now();
    let asked = async { session.client()?.ask(&Call::of(rpc, &json!({}))?).await };
    match asked.await {
        Ok((document, answer)) => {
            FactAnswer { said: Ok(document), took: answer.took, came_ms: answer.came_ms }
        }
        Err(error) => FactAnswer { said: Err(error), took: began.elapsed(), came_ms: time::now_ms() },
    }
}
