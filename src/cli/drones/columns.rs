//! The columns of a table of drones.

use crate::frame::prelude::*;

/// The columns, those of `-o wide` last: wide only adds on the right.
pub(super) static COLUMNS: &[Column] = &[
    Column::new("drone", |drone, _| text(drone, "droneId").to_owned()).keep(),
    Column::new("relay", |drone, _| text(drone, "relayId").to_owned()).keep(),
    Column::new("state", |drone, _| state(drone).to_owned()),
    Column::new("connected", |drone, moment| at(drone, "connectedAtUnixNs", moment))
        .ranked(|drone| number(drone, "connectedAtUnixNs") as f64),
    Column::new("last-heard", |drone, moment| at(drone, "lastHeartbeatUnixNs", moment))
        .ranked(|drone| number(drone, "lastHeartbeatUnixNs") as f64),
    Column::new("inflight", |drone, _| number(drone, "inflightFrames").to_string())
        .number(|drone| number(drone, "inflightFrames") as f64),
    Column::new("flight", |drone, _| text(drone, "flightId").to_owned()),
    Column::new("intent", |drone, _| intent(drone)),
    Column::new("acked", |drone, _| number(drone, "ackedFrames").to_string())
        .number(|drone| number(drone, "ackedFrames") as f64)
        .wide(),
    Column::new("acked-seq", |drone, _| number(drone, "ackedSeq").to_string())
        .number(|drone| number(drone, "ackedSeq") as f64)
        .wide(),
    Column::new("wire", |drone, _| text(drone, "wire").to_owned()).wide(),
    Column::new("session", |drone, _| text(drone, "sessionId").to_owned()).wide(),
    Column::new("version", |drone, _| text(drone, "agentVersion").to_owned()).wide(),
    Column::new("platform", |drone, _| text(drone, "platform").to_owned()).wide(),
];

/// Whether the session has a stream open.
pub(super) fn state(drone: &Value) -> &'static str {
    if flag(drone, "streaming") { "streaming" } else { "idle" }
}

/// `survey-9/3`: what it was told to do, and in which version.
pub(super) fn intent(drone: &Value) -> String {
    match (text(drone, "intentId"), number(drone, "intentVersion")) {
        ("", _) => String::new(),
        (intent, 0) => intent.to_owned(),
        (intent, version) => format!("{intent}/{version}"),
    }
}

/// Age of a time in nanoseconds; empty when there is none.
pub(super) fn at(drone: &Value, name: &str, moment: CellContext) -> String {
    match i64::try_from(number(drone, name) / 1_000_000) {
        Ok(0) | Err(_) => String::new(),
        Ok(then) => time::ago_of(then, moment),
    }
}

/// Line of a watch about a drone that is new or gone.
pub(super) fn summary(drone: &Value) -> String {
    let flight = match text(drone, "flightId") {
        "" => String::new(),
        flight => format!(" flight={flight} intent={}", intent(drone)),
    };
    format!("{} relay={}{flight}", state(drone), text(drone, "relayId"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn drone_is_told_by_what_it_does() {
        let drone = json!({
            "droneId": "d", "relayId": "r", "streaming": true, "flightId": "f-1", "intentId": "survey",
            "intentVersion": 3, "connectedAtUnixNs": "1000000000000",
        });
        assert_eq!(summary(&drone), "streaming relay=r flight=f-1 intent=survey/3");
        assert_eq!(summary(&json!({"relayId": "r"})), "idle relay=r");
        let moment = CellContext { now_ms: Some(1_004_000), absolute: false };
        assert_eq!(at(&drone, "connectedAtUnixNs", moment), "4s");
        assert_eq!(at(&drone, "lastHeartbeatUnixNs", moment), "");
    }
}
