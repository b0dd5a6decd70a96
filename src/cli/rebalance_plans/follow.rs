//! Waiting for the end of a plan, with how far it is on standard error.

use std::time::Duration;

use tokio::time::Instant;

use super::get::{GET, describe};
use super::{CommandSession, KIND};
use crate::frame::global::HumanDuration;
use crate::frame::prelude::*;

/// The first pause between two looks; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Whether, and how long, the end is waited for.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Wait options")]
pub(crate) struct RebalancePlansWaitArgs {
    /// End once it has begun
    #[arg(long)]
    no_wait: bool,
    /// End with 8 when the plan has not ended after this time; 0s is for ever
    #[arg(long, value_name = "DURATION", default_value = "5m")]
    timeout: HumanDuration,
}

/// Waits for the end of a plan that was applied, and prints what it came to; Ctrl-C leaves it to itself.
///
/// # Errors
/// `PLAN_TIMEOUT`; what keeps the daemon from saying.
pub(crate) async fn to_the_end(
    session: &mut CommandSession,
    id: &str,
    applied: Value,
    wait: &RebalancePlansWaitArgs,
) -> Result<Exit, CliError> {
    if wait.no_wait {
        let lines = describe(&applied, false);
        session.show(&CommandOutput::lines(applied, format!("{KIND}/{id}"), lines))?;
        return Ok(Exit::Ok);
    }
    let ended = tokio::select! {
        ended = ended(session, id, &applied, wait.timeout.0) => ended?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(|error| CliError::local(reasons::SIGNALS, "cannot listen for signals", &error))?;
            session.notes().say(&format!("The plan goes on; omnirelay mesh rebalance-plans cancel {id} ends it."));
            return Ok(Exit::Interrupted);
        }
    };
    let is_done = text(&ended, "plan.state") == "completed";
    let lines = describe(&ended, false);
    session.show(&CommandOutput::lines(ended, format!("{KIND}/{id}"), lines))?;
    Ok(if is_done { Exit::Ok } else { Exit::Negative })
}

async fn ended(
    session: &CommandSession,
    id: &str,
    applied: &Value,
    timeout: Duration,
) -> Result<Value, CliError> {
    let deadline = Some(timeout).filter(|timeout| !timeout.is_zero()).map(|timeout| Instant::now() + timeout);
    let call = Call::of(&GET, &json!({ "planId": id, "minRevision": text(applied, "cursor") }))?;
    let (mut pause, mut told) = (PAUSE_FIRST, String::new());
    loop {
        match session.call(&call).await {
            Ok(document) if !matches!(text(&document, "plan.state"), "running" | "paused") => {
                return Ok(document);
            }
            Ok(document) => {
                let now = how_far(field(&document, "plan"));
                if now != told {
                    session.notes().progress(&printable(&format!("{KIND}/{id} {now}")));
                    told = now;
                }
            }
            // The daemon may be back before the time is over.
            Err(error) if matches!(error.exit(), Exit::Unavailable | Exit::Timeout) => {
                session.notes().step(1, || format!("asking again: {}", error.body().message));
            }
            Err(error) => return Err(error),
        }
        let rest = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if rest.is_some_and(|rest| rest.is_zero()) {
            let span = humantime::format_duration(timeout);
            let message = format!("{KIND}/{id} has not ended after {span}; it goes on");
            return Err(CliError::new(reasons::PLAN_TIMEOUT, message)
                .cause(told)
                .hint(format!("omnirelay mesh rebalance-plans get {id}       # how far it is"))
                .hint(format!("omnirelay mesh rebalance-plans cancel {id}    # end it")));
        }
        tokio::time::sleep(rest.map_or(pause, |rest| rest.min(pause))).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// `moved 38 of 41, 2 draining: 017 until node-c has stopped`
pub(crate) fn how_far(plan: &Value) -> String {
    let number = |name: &str| field(plan, name).as_u64().unwrap_or(0);
    let all = items(plan, "moves").len() as u64;
    let all = if all == 0 { field(plan, "summary.moves").as_u64().unwrap_or(0) } else { all };
    let waits: Vec<&str> = items(plan, "waitsFor").iter().filter_map(Value::as_str).take(2).collect();
    let waits = if waits.is_empty() { String::new() } else { format!(": {}", waits.join(", ")) };
    let draining = number("draining");
    let draining = if draining == 0 { String::new() } else { format!(", {draining} draining{waits}") };
    let paused = if text(plan, "state") == "paused" { ", paused" } else { "" };
    format!("moved {} of {all}{draining}{paused}", number("moved"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_plan_is_says_what_it_waits_for() {
        let plan = json!({"moved": 38, "draining": 2, "summary": {"moves": 41}, "waitsFor": ["017 until c has stopped"]});
        assert_eq!(how_far(&plan), "moved 38 of 41, 2 draining: 017 until c has stopped");
        assert_eq!(
            how_far(&json!({"moved": 0, "summary": {"moves": 3}, "state": "paused"})),
            "moved 0 of 3, paused"
        );
    }
}
