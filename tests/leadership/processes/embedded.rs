//! A leader on the embedded store that dies and comes back: the times of its tenures, over a crash.

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, ensure};
use chrono::DateTime;
use serde_json::Value;

use crate::process::api::Api;
use crate::process::{Place, until};

const SCOPE: &str = "global-control";
/// How long it leads before it dies: much longer than a session lives, so that a time without a leader that began
/// with the tenure is told from one that began with its end.
const LEADS: Duration = Duration::from_secs(8);
/// What a session may live beyond the last sign of its node, and the clocks of two readings.
const SLACK: Duration = Duration::from_secs(4);
const ROUNDS: usize = 2;

async fn led(api: &Api, term: u64) -> Result<()> {
    until("the scope is led", async || {
        let found = api.get(&format!("/control/leaders/{SCOPE}")).await?.ok()?;
        let scope = &found["leadership"];
        Ok(scope["leaderId"] == "a" && number(&scope["term"]) == term)
    })
    .await
}

fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).or(value.as_u64()).unwrap_or(0)
}

/// Milliseconds since 1970.
fn instant(value: &Value) -> Result<u64> {
    let at = DateTime::parse_from_rfc3339(value.as_str().context("no time")?).map_err(Error::msg)?;
    Ok(u64::try_from(at.timestamp_millis())?)
}

#[tokio::test]
async fn tenures_over_a_crash_are_told_with_true_times() -> Result<()> {
    let place = Place::new(&["--node-id", "a"])?;
    let mut daemon = place.start()?;
    let mut api = Api::new(&daemon.control)?;
    led(&api, 1).await?;
    let mut away = Vec::new();
    for round in 1..=ROUNDS {
        tokio::time::sleep(LEADS).await;
        let died = Instant::now();
        daemon.kill()?;
        daemon = place.start()?;
        api = Api::new(&daemon.control)?;
        led(&api, round as u64 + 1).await?;
        away.push(died.elapsed());
    }
    let history = api.get(&format!("/control/leaders:history?scope={SCOPE}")).await?.ok()?;
    let mut tenures = history["tenures"].as_array().context("no tenures")?.clone();
    tenures.sort_by_key(|tenure| number(&tenure["term"]));
    ensure!(tenures.len() == ROUNDS + 1, "{tenures:?}");
    for (at, tenure) in tenures.iter().enumerate() {
        let elected = instant(&tenure["electedAt"])?;
        if at < ROUNDS {
            let ended = instant(&tenure["endedAt"])?;
            ensure!(ended >= elected, "it ended before it began: {tenure}");
            let lasted = Duration::from_millis(ended - elected);
            ensure!(lasted >= LEADS - SLACK && lasted <= LEADS + SLACK + away[at], "{lasted:?}: {tenure}");
        }
        if at > 0 {
            let leaderless = Duration::from_millis(number(&tenure["leaderlessMs"]));
            ensure!(
                leaderless <= away[at - 1] + SLACK,
                "{leaderless:?}, away for {:?}: {tenure}",
                away[at - 1]
            );
            ensure!(elected >= instant(&tenures[at - 1]["endedAt"])?, "{tenures:?}");
        }
    }
    Ok(())
}
