//! Prometheus that evaluates the rules: which it has, which of their alerts are active, and which nodes it scrapes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use omnirelay_core::text::chain;
use omnirelay_wire::tls::public_authorities;
use reqwest::Url;

use crate::frame::prelude::*;
use crate::frame::tls_files::TlsFiles;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The longest answer that is taken, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Client of one Prometheus.
pub(super) struct Prometheus {
    client: reqwest::Client,
    base: Url,
}

/// Rule of an alert, as Prometheus has loaded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoadedRule {
    /// How long its expression has to hold.
    pub held_for: Duration,
    /// How often it is evaluated.
    pub interval: Duration,
}

/// Alerts that are active, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ActiveAlerts {
    pub pending: BTreeSet<String>,
    pub firing: BTreeSet<String>,
}

impl ActiveAlerts {
    pub(super) fn has(&self, alert: &str) -> bool {
        self.pending.contains(alert) || self.firing.contains(alert)
    }
}

impl Prometheus {
    /// A client of the one at this address.
    ///
    /// # Errors
    /// When it cannot be prepared.
    pub(super) fn at(mut base: Url) -> Result<Self, CliError> {
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let tls = TlsFiles::default().towards(public_authorities())?;
        let built = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_WITHIN)
            .no_proxy()
            .build();
        let client = built.map_err(|error| {
            CliError::local(reasons::CLIENT, "cannot prepare a client of Prometheus", &error)
        })?;
        Ok(Self { client, base })
    }

    /// Rules of alerts, by name; the longest wait of those that share one.
    pub(super) async fn rules(&self) -> Result<BTreeMap<String, LoadedRule>, CliError> {
        let answer = self.get("api/v1/rules", &[("type", "alert")]).await?;
        let mut rules: BTreeMap<String, LoadedRule> = BTreeMap::new();
        for group in items(&answer, "groups") {
            for rule in items(group, "rules") {
                let found =
                    LoadedRule { held_for: seconds(rule, "duration"), interval: seconds(group, "interval") };
                let known = rules.entry(text(rule, "name").to_owned()).or_insert(found);
                known.held_for = known.held_for.max(found.held_for);
                known.interval = known.interval.max(found.interval);
            }
        }
        Ok(rules)
    }

    /// Alerts that are active now.
    pub(super) async fn alerts(&self) -> Result<ActiveAlerts, CliError> {
        let answer = self.get("api/v1/alerts", &[]).await?;
        let mut active = ActiveAlerts::default();
        for alert in items(&answer, "alerts") {
            let name = text(alert, "labels.alertname").to_owned();
            match text(alert, "state") {
                "firing" => active.firing.insert(name),
                "pending" => active.pending.insert(name),
                _ => false,
            };
        }
        Ok(active)
    }

    /// Nodes that are scraped, by their label `node`.
    pub(super) async fn scraped(&self) -> Result<BTreeSet<String>, CliError> {
        let answer = self.get("api/v1/query", &[("query", "up{mesh!=\"\",node!=\"\"} == 1")]).await?;
        let series = items(&answer, "result").iter();
        Ok(series.map(|one| text(one, "metric.node").to_owned()).collect())
    }

    /// What `data` of an answer is.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, CliError> {
        // A password in it stays unsaid.
        let at = || format!("{}{}{path}", self.base.origin().ascii_serialization(), self.base.path());
        let mut url = self
            .base
            .join(path)
            .map_err(|error| CliError::usage(format!("{} is no address of Prometheus: {error}", at())))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let unreached = |why: &str| {
            CliError::new(reasons::CONNECT_FAILED, format!("Prometheus does not answer at {}", at()))
                .cause(why)
                .hint("name its address with --prometheus, such as http://127.0.0.1:9090")
        };
        let mut answer = self.client.get(url).send().await.map_err(|error| unreached(&chain(&error)))?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|error| unreached(&chain(&error)))? {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(unreached("the answer is longer than 16 MiB"));
            }
            body.extend_from_slice(&part);
        }
        let mut document: Value = serde_json::from_slice(&body)
            .map_err(|_| unreached(&format!("HTTP {}, and no answer of Prometheus", status.as_u16())))?;
        if text(&document, "status") != "success" {
            return Err(unreached(&format!("HTTP {}: {}", status.as_u16(), text(&document, "error"))));
        }
        Ok(document["data"].take())
    }
}

/// A number of seconds, of a field that may have fractions; none is 0.
fn seconds(document: &Value, name: &str) -> Duration {
    let given = field(document, name).as_f64().unwrap_or_default();
    Duration::try_from_secs_f64(given).unwrap_or_default()
}
