//! Changes of a scope by transfer, step-down, create and set: what they tell beside what any change tells.

use super::columns::ms;
use super::explain;
use crate::frame::change::ObjectChange;
use crate::frame::prelude::*;

/// Carries out a change of who may lead a scope that `leader` has led, empty for nobody, and warns if it may not any longer.
///
/// # Errors
/// As of [`ObjectChange::run`].
pub(super) async fn of_policy(
    change: &ObjectChange<'_>,
    scope: &str,
    leader: &str,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let document = change.send(session).await?;
    let tells = flag(&document, "changed") && !change.write.is_dry_run() && session.format().is_text();
    let cursor = text(&document, "cursor").to_owned();
    let exit = change.tell(session, document)?;
    if tells {
        explain::warn_of_excluded(session, scope, leader, &cursor).await;
    }
    Ok(exit)
}

/// `node-1 -> node-2, term 8, fence 1795155507427, 0ms without a leader`
pub(super) fn handover(document: &Value) -> String {
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
