//! The door of HTTP.

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use omnirelay_wire::tls::nobody;
use serde_json::{Value, json};

use super::{Door, Record, Seen, Told};
use crate::process::PATIENCE;

/// The label that holds what a client wrote last.
pub(super) const LABEL: &str = "last";

/// HTTP and JSON, with `If-Match`.
pub(super) struct Http {
    client: reqwest::Client,
    control: String,
}

impl Http {
    pub(super) fn new(control: &str) -> Result<Self> {
        let client =
            reqwest::Client::builder().tls_backend_preconfigured(nobody()).timeout(PATIENCE).build()?;
        Ok(Self { client, control: control.to_owned() })
    }

    /// Creates a register or a scope.
    pub(super) async fn create(&self, record: &Record) -> Result<()> {
        let (method, path, body) = match record {
            Record::Peer(_) | Record::Thing(_) => return Ok(()),
            Record::Scope(_) => (reqwest::Method::PUT, path_of(record), body_of(record, 0)),
            Record::Register(node, id) => {
                let body = json!({"registerId": id, "nodeId": node, "name": id});
                (reqwest::Method::POST, "/control/registers".to_owned(), body)
            }
        };
        let request = self.client.request(method, self.url(&path));
        let response =
            request.header("content-type", "application/json").body(body.to_string()).send().await?;
        let status = response.status();
        ensure!(status.is_success(), "{record:?}: {status} {}", response.text().await?);
        Ok(())
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.control)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, Value), reqwest::Error> {
        let response = request.send().await?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default()))
    }
}

#[async_trait]
impl Door for Http {
    async fn read(&self, record: &Record) -> Result<Seen> {
        let path = match record {
            Record::Register(node, _) => format!("{}?nodeId={node}", path_of(record)),
            Record::Peer(_) | Record::Scope(_) | Record::Thing(_) => path_of(record),
        };
        let request = self.client.get(self.url(&path));
        let (status, body) = self.send(request).await?;
        ensure!(status == 200, "{record:?}: {status} {body}");
        seen_in(record, &body).with_context(|| format!("{record:?}: {body}"))
    }

    async fn change(&self, record: &Record, expected: u64, value: u64) -> Told {
        let path = path_of(record);
        let request = match record {
            Record::Peer(_) => self.client.patch(self.url(&format!("{path}/labels"))),
            Record::Register(..) | Record::Thing(_) => self.client.patch(self.url(&path)),
            Record::Scope(_) => self.client.put(self.url(&path)),
        };
        let request = request
            .header("content-type", "application/json")
            .header("if-match", format!("\"{expected}\""))
            .body(body_of(record, value).to_string());
        match self.send(request).await {
            Ok((200, body)) => match seen_in(record, &body) {
                Some(seen) => Told::Done { version: seen.version },
                None => Told::Unknown(format!("an answer without a version: {body}")),
            },
            Ok((status, body)) => refused(body["reason"].as_str().unwrap_or_default(), status, &body),
            Err(error) if error.is_connect() => Told::Failed(error.to_string()),
            Err(error) => Told::Unknown(error.to_string()),
        }
    }
}

fn refused(reason: &str, status: u16, body: &Value) -> Told {
    let actual = || body["details"].as_array()?.iter().find_map(|detail| number(&detail["actualVersion"]));
    match (reason, actual()) {
        ("VERSION_CONFLICT", Some(actual)) => Told::Refused { actual },
        ("STORE_UNAVAILABLE" | "NOT_READY", _) => Told::Failed(format!("{status} {reason}")),
        _ => Told::Unknown(format!("{status} {body}")),
    }
}

fn path_of(record: &Record) -> String {
    match record {
        Record::Peer(node) => format!("/control/peers/{node}"),
        Record::Scope(scope) => format!("/control/leaders/{scope}"),
        Record::Register(_, id) => format!("/control/registers/{id}"),
        Record::Thing(key) => format!("/{key}"),
    }
}

fn body_of(record: &Record, value: u64) -> Value {
    let value = format!("v{value}");
    match record {
        Record::Peer(_) => json!({"set": {LABEL: value}, "overwrite": true}),
        Record::Scope(_) => json!({"labels": {LABEL: value}, "policy": {"eligible": {"nodes": ["nobody"]}}}),
        Record::Register(node, _) => json!({"nodeId": node, "setLabels": {LABEL: value}}),
        Record::Thing(_) => json!({}),
    }
}

fn seen_in(record: &Record, body: &Value) -> Option<Seen> {
    let (shown, labels) = match record {
        Record::Peer(_) => (&body["peer"], &body["peer"]["metadata"]["labels"]),
        Record::Scope(_) => (&body["leadership"], &body["leadership"]["labels"]),
        Record::Register(..) | Record::Thing(_) => (&body["register"], &body["register"]["labels"]),
    };
    let value = labels[LABEL].as_str().and_then(value_of).unwrap_or_default();
    Some(Seen { version: number(&shown["version"])?, value })
}

/// The number in a label's value.
pub(super) fn value_of(label: &str) -> Option<u64> {
    label.strip_prefix('v')?.parse().ok()
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
