//! A client of one daemon, as simple as can be: it repeats nothing.

use anyhow::{Context, Result, ensure};
use omnirelay_wire::tls::nobody;
use serde_json::{Value, json};

use super::PATIENCE;

/// One daemon's API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    pub control: String,
}

/// What a daemon answered: its status, and the document.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The stable word of a refusal; empty for an answer that is none.
    pub fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    /// The answer, if it is 200.
    pub fn ok(self) -> Result<Value> {
        ensure!(self.status == 200, "{} {}", self.status, self.body);
        Ok(self.body)
    }
}

impl Api {
    pub fn new(control: &str) -> Result<Self> {
        let client =
            reqwest::Client::builder().tls_backend_preconfigured(nobody()).timeout(PATIENCE).build()?;
        Ok(Self { client, control: control.to_owned() })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.control)
    }

    /// Begins to watch the peers, behind `since` if it is given.
    pub async fn watch(&self, since: Option<&str>) -> Result<reqwest::Response> {
        let client =
            reqwest::Client::builder().tls_backend_preconfigured(nobody()).read_timeout(PATIENCE).build()?;
        let mut request = client.get(self.url("/control/peers")).header("accept", "text/event-stream");
        if let Some(since) = since {
            request = request.header("last-event-id", since);
        }
        Ok(request.send().await?.error_for_status()?)
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        answer(self.client.get(self.url(path))).await
    }

    /// Changes something; headers are such as `if-match` and `idempotency-key`.
    pub async fn change(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Result<Answer> {
        let url = self.url(path);
        let request = if path.ends_with("/labels") { self.client.patch(url) } else { self.client.post(url) };
        let request = request.header("content-type", "application/json").body(body.to_string());
        answer(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    /// Sends a body as it is, of type JSON.
    pub async fn send(&self, method: &str, path: &str, body: impl Into<reqwest::Body>) -> Result<Answer> {
        let request = self.client.request(method.parse()?, self.url(path));
        answer(request.header("content-type", "application/json").body(body)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send("POST", path, body.to_string()).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send("PATCH", path, body.to_string()).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        answer(self.client.delete(self.url(path))).await
    }

    pub async fn cordon(&self, node: &str, reason: &str) -> Result<Answer> {
        self.change(&format!("/control/peers/{node}:cordon"), &json!({"reason": reason}), &[]).await
    }

    pub async fn peers(&self) -> Result<Vec<Value>> {
        let list = self.get("/control/peers").await?.ok()?;
        Ok(list["peers"].as_array().context("no peers")?.clone())
    }

    pub async fn peer(&self, node: &str) -> Result<Value> {
        Ok(self.get(&format!("/control/peers/{node}")).await?.ok()?["peer"].clone())
    }

    /// An item of `/readyz` by its name, as `(ok, message)`.
    pub async fn item(&self, name: &str) -> Result<(bool, String)> {
        let readiness = self.get("/readyz").await?.body;
        let items = readiness["items"].as_array().context("no items")?;
        let item = items.iter().find(|item| item["name"] == name).with_context(|| format!("no {name}"))?;
        Ok((item["ok"] == true, item["message"].as_str().unwrap_or_default().to_owned()))
    }

    pub async fn is_ready(&self) -> Result<bool> {
        Ok(self.get("/readyz").await?.status == 200)
    }

    /// The whole audit trail, the newest first.
    pub async fn audit(&self) -> Result<Vec<Value>> {
        let (mut records, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("/control/audit?pageSize=1000&pageToken={token}")).await?.ok()?;
            records.extend(page["records"].as_array().cloned().unwrap_or_default());
            page["nextPageToken"].as_str().unwrap_or_default().clone_into(&mut token);
            if token.is_empty() {
                return Ok(records);
            }
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let bytes = response.bytes().await?;
    let body = serde_json::from_slice(&bytes)
        .with_context(|| format!("{status} {}", String::from_utf8_lossy(&bytes)))?;
    Ok(Answer { status, body })
}
