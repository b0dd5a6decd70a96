//! The columns of tables of relays.

use crate::frame::prelude::*;

pub(crate) static COLUMNS: &[Column] = &[
    Column::new("relay", |relay, _| text(relay, "relayId").to_owned()).keep(),
    Column::new("address", |relay, _| address(relay)).keep(),
    Column::new("agents", |relay, _| number(relay, "agents").to_string())
        .number(|relay| number(relay, "agents") as f64),
    Column::new("last-heartbeat", heard).ranked(|relay| number(relay, "lastHeartbeatUnixMs") as f64),
    Column::new("expires-in", expires).ranked(|relay| number(relay, "expiresInMs") as f64),
];

/// Those of a watch, in which no heartbeat is told.
pub(crate) static WATCHED: &[Column] = &[COLUMNS[0], COLUMNS[1]];

/// `10.0.2.7:50051`, or `https://10.0.2.7:50051` where it speaks TLS, as it can be given to `--relay-addr`.
pub(crate) fn address(relay: &Value) -> String {
    let (host, port) = (text(relay, "address"), number(relay, "grpcPort"));
    let scheme = if flag(relay, "tls") { "https://" } else { "" };
    match host {
        "" => String::new(),
        host if host.contains(':') && !host.starts_with('[') => format!("{scheme}[{host}]:{port}"),
        host => format!("{scheme}{host}:{port}"),
    }
}

/// Age of the last heartbeat; of relays and of agents.
pub(crate) fn heard(one: &Value, moment: CellContext) -> String {
    at(one, "lastHeartbeatUnixMs", moment)
}

/// Age of a time in milliseconds; empty when there is none.
pub(crate) fn at(one: &Value, name: &str, moment: CellContext) -> String {
    match i64::try_from(number(one, name)) {
        Ok(0) | Err(_) => String::new(),
        Ok(then) => time::ago_of(then, moment),
    }
}

/// Time after which it ends unless it is heard of; empty while the registry cannot say.
pub(crate) fn expires(one: &Value, moment: CellContext) -> String {
    let (false, Some(now)) = (field(one, "expiresInMs").is_null(), moment.now_ms) else {
        return String::new();
    };
    time::left_of(now.saturating_add_unsigned(number(one, "expiresInMs")), moment)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_can_be_given_again() {
        let of = |host: &str| address(&json!({"address": host, "grpcPort": 50051}));
        assert_eq!(of("10.0.2.7"), "10.0.2.7:50051");
        assert_eq!(of("relay-1.example"), "relay-1.example:50051");
        assert_eq!(of("fd00::7"), "[fd00::7]:50051");
        assert_eq!(of("[fd00::7]"), "[fd00::7]:50051");
        assert_eq!(of(""), "");
        let relay = json!({"address": "fd00::7", "grpcPort": 50051, "tls": true});
        assert_eq!(address(&relay), "https://[fd00::7]:50051");
    }

    #[test]
    fn what_is_not_known_is_not_shown() {
        let moment = CellContext { now_ms: Some(1_000_000), absolute: false };
        let relay = json!({"lastHeartbeatUnixMs": "996000", "expiresInMs": "26000"});
        assert_eq!((heard(&relay, moment), expires(&relay, moment)), ("4s".into(), "26s".into()));
        assert_eq!((heard(&json!({}), moment), expires(&json!({}), moment)), (String::new(), String::new()));
        let absolute = CellContext { absolute: true, ..moment };
        assert_eq!(expires(&relay, absolute), "1970-01-01T00:17:06Z");
    }
}
