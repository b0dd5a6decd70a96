//! The columns of a table of peers.

use omnirelay_core::text::some_of;
use omnirelay_decisions::check::identity::enrol_hint;

use crate::frame::prelude::*;

/// The columns, those of `-o wide` last: wide only adds on the right.
pub(crate) static COLUMNS: &[Column] = &[
    Column::new("id", |peer, _| text(peer, "nodeId").to_owned()).keep(),
    Column::new("role", |peer, _| text(peer, "metadata.role").to_owned()),
    Column::new("status", |peer, _| status(peer)).keep(),
    Column::new("health", |peer, _| health(peer)).seldom(),
    Column::new("cluster", |peer, _| text(peer, "metadata.clusterId").to_owned()),
    Column::new("zone", |peer, _| text(peer, "metadata.zone").to_owned()).seldom(),
    Column::new("rtt", |peer, _| rtt(peer))
        .number(|peer| field(peer, "rttMs").as_f64().unwrap_or(f64::MAX))
        .seldom(),
    Column::new("shards", |peer, _| shards(peer))
        .number(|peer| field(peer, "shards").as_f64().unwrap_or(0.0))
        .seldom(),
    Column::new("version", |peer, _| text(peer, "metadata.meshVersion").to_owned()),
    Column::new("age", |peer, moment| time::ago(field(peer, "createdAt"), moment)).ranked(|peer| {
        // An older peer has the greater age.
        -(time::millis(field(peer, "createdAt")).unwrap_or(0) as f64)
    }),
    Column::new("leads", |peer, _| leads(peer)).number(|peer| items(peer, "leads").len() as f64),
    Column::new("endpoint", |peer, _| text(peer, "metadata.endpoint").to_owned()).wide(),
    Column::new("control", |peer, _| text(peer, "metadata.endpoints.control").to_owned()).wide(),
    Column::new("transport", |peer, _| transport(peer)).wide(),
    Column::new("region", |peer, _| text(peer, "metadata.region").to_owned()).wide(),
    Column::new("last-seen", |peer, moment| time::ago(field(peer, "lastSeen"), moment))
        .ranked(|peer| time::millis(field(peer, "lastSeen")).unwrap_or(0) as f64)
        .wide(),
    Column::new("reason", |peer, _| text(peer, "statusReason").to_owned()).wide(),
    Column::new("record", |peer, _| text(peer, "version").to_owned())
        .number(|peer| text(peer, "version").parse().unwrap_or(0.0))
        .wide(),
    Column::new("labels", |peer, _| pairs(peer, "metadata.labels")).wide(),
];

/// `alive`, `alive,cordoned`, `suspect,draining`, `alive,no-certificate`.
pub(crate) fn status(peer: &Value) -> String {
    let mut words: Vec<&str> = vec![text(peer, "status")];
    orders(peer).chain(unproven(peer).map(UnprovenReason::mark)).for_each(|word| words.push(word));
    words.join(",")
}

/// Reason why a peer is none of the mesh, as far as that matters: of one that is gone only that it was put out does.
pub(crate) fn unproven(peer: &Value) -> Option<UnprovenReason> {
    let is_there = matches!(text(peer, "status"), "alive" | "suspect");
    match text(peer, "unproven") {
        "certificate_revoked" => Some(UnprovenReason::Revoked),
        "certificate_ended" if is_there => Some(UnprovenReason::Ended),
        "no_certificate" if is_there => Some(UnprovenReason::NoCertificate),
        _ => None,
    }
}

/// Reason why a peer is none of the mesh by its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnprovenReason {
    NoCertificate,
    Revoked,
    Ended,
}

impl UnprovenReason {
    /// As the column of the status says it.
    pub(crate) fn mark(self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::Revoked => "revoked",
            Self::Ended => "certificate-ended",
        }
    }

    /// As a sentence says it.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::NoCertificate => "the mesh has given it no certificate",
            Self::Revoked => "its certificate was revoked",
            Self::Ended => "its certificate has ended too long ago to be renewed",
        }
    }

    /// Command that is to be run next.
    pub(crate) fn next(self, id: &str) -> String {
        match self {
            Self::NoCertificate => enrol_hint(id),
            Self::Ended => format!("{} --force", enrol_hint(id)),
            Self::Revoked => {
                format!(
                    "omnirelay cert reinstate --node {id}    # if it is to come back; else stop its daemon"
                )
            }
        }
    }
}

/// `suspect by node-2`: how it is by gossip, where that is another thing than its status says.
pub(crate) fn health(peer: &Value) -> String {
    let state = text(peer, "health.state");
    if state == text(peer, "status") || matches!(state, "" | "unknown") {
        return String::new();
    }
    let by: Vec<&str> = items(peer, "health.by").iter().filter_map(Value::as_str).collect();
    if by.is_empty() { state.to_owned() } else { format!("{state} by {}", some_of(&by, 3)) }
}

/// Orders of an operator for a peer: `cordoned`, `draining`.
pub(crate) fn orders(peer: &Value) -> impl Iterator<Item = &'static str> {
    ["cordoned", "draining"].into_iter().filter(|order| flag(peer, order))
}

/// How many scopes it leads; nothing where it leads none.
fn leads(peer: &Value) -> String {
    match items(peer, "leads").len() {
        0 => String::new(),
        scopes => scopes.to_string(),
    }
}

/// How many shards it owns; nothing where it owns none.
fn shards(peer: &Value) -> String {
    match field(peer, "shards").as_u64().unwrap_or(0) {
        0 => String::new(),
        shards => shards.to_string(),
    }
}

/// `0.4ms`, `12ms`; nothing where none was measured.
pub(crate) fn rtt(peer: &Value) -> String {
    match field(peer, "rttMs").as_f64() {
        Some(ms) if ms >= 10.0 => format!("{ms:.0}ms"),
        Some(ms) => format!("{ms:.1}ms"),
        None => String::new(),
    }
}

/// `http3`, or `http2!` where it should be HTTP/3.
fn transport(peer: &Value) -> String {
    let attention = if text(peer, "downgrade").is_empty() { "" } else { "!" };
    match text(peer, "rpcTransport") {
        "" => String::new(),
        word => format!("{word}{attention}"),
    }
}

/// Line of a watch about a peer.
pub(crate) fn summary(peer: &Value) -> String {
    format!(
        "{} role={} cluster={}",
        status(peer),
        text(peer, "metadata.role"),
        text(peer, "metadata.clusterId")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_peer_without_a_certificate_is_not_plainly_alive() {
        let cases = [
            ("alive", "", "alive"),
            ("alive", "no_certificate", "alive,no-certificate"),
            ("suspect", "certificate_ended", "suspect,certificate-ended"),
            ("alive", "certificate_revoked", "alive,revoked"),
            ("alive", "of_a_later_version", "alive"),
            // One that is gone shows none, and that is no news unless somebody has put it out.
            ("dead", "no_certificate", "dead"),
            ("left", "certificate_ended", "left"),
            ("dead", "certificate_revoked", "dead,revoked"),
        ];
        for (is, unproven, expected) in cases {
            assert_eq!(status(&json!({"status": is, "unproven": unproven})), expected, "{is} {unproven}");
        }
        let both = json!({"status": "alive", "cordoned": true, "unproven": "no_certificate"});
        assert_eq!(status(&both), "alive,cordoned,no-certificate");
    }
}
