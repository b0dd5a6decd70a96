//! The host of a node, as its daemon judges it.

use std::time::{Duration, Instant};

use omnirelay_wire::rpc::{RpcMethod, check_service};

use crate::check::checked_mesh::of_older;
use crate::check::report::{CheckRow, RoundReport, leave_out};
use crate::frame::prelude::*;
use crate::node::bare;
use crate::{complete, peers};

/// Judges the host of a node.
pub(crate) const CHECK_HOST: RpcMethod = check_service::CHECK_HOST;

/// Whose host is judged.
#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorHostArgs {
    /// Have the daemon of this node judge its own host
    #[arg(long, value_name = "NODE", add = complete::ids(&peers::OBJECTS))]
    node: Option<String>,
}

impl DoctorHostArgs {
    /// The node that is named. What `-o name` prints of a peer can be given again.
    pub(crate) fn node(&self) -> Option<&str> {
        self.node.as_deref().map(bare)
    }
}

/// Options of the report on a host: what is reported, and how.
pub(crate) struct ReportOptions<'a> {
    /// What the document is called.
    pub kind: &'static str,
    pub categories: &'a [&'a str],
    /// Checks and categories that are left out.
    pub skip: &'a [String],
    /// Warnings count as failures.
    pub strict: bool,
}

/// Has the daemon of a node judge its host.
///
/// # Errors
/// Why it could not be asked.
pub(crate) async fn report(
    session: &CommandSession,
    node: &str,
    options: &ReportOptions<'_>,
) -> Result<RoundReport, CliError> {
    let began = Instant::now();
    let found = session.call(&Call::of(&CHECK_HOST, &json!({"nodeId": node}))?).await;
    let found = found.map_err(|error| {
        let hint = "run it on that host: omnirelay doctor, omnirelay cert doctor";
        of_older(error, "the daemon is older, and judges no host", hint)
    })?;
    let mut rows = CheckRow::all_of(&found, Duration::ZERO);
    rows.retain(|row| options.categories.contains(&row.category.as_str()));
    let host = text(&found, "nodeId");
    if let Some(lacks) = options.categories.iter().find(|name| !rows.iter().any(|row| row.category == **name))
    {
        return Err(CliError::new(
            reasons::UNEXPECTED_ANSWER,
            format!("the daemon says nothing of {lacks} on {host}"),
        ));
    }
    leave_out(&mut rows, options.skip);
    for row in &mut rows {
        row.finding.hint = row.finding.hint.take().map(|hint| format!("{hint}    # on the host of {host}"));
    }
    let nodes = vec![json!({"nodeId": host, "version": text(&found, "version")})];
    Ok(RoundReport { kind: options.kind, rows, took: began.elapsed(), strict: options.strict, nodes })
}
