//! A Prometheus of a test.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::Value;

use super::web_server::WebServer;

/// A Prometheus that scrapes; killed when it is dropped.
pub struct Prometheus(WebServer);

impl Prometheus {
    /// Starts one with this configuration, and waits until it is ready.
    pub fn start(config: &str) -> Result<Self> {
        WebServer::start("prometheus", "prometheus", config, &["--storage.tsdb.path=data"]).map(Self)
    }

    /// Its address, `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.address())
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        self.0.log()
    }

    /// The series of an instant query: their labels, each with its value, and the value.
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let series = self.asked("/api/v1/query", &[("query", expression)])?;
        series.into_iter().map(|one| Ok((one["metric"].clone(), number(&one["value"])?))).collect()
    }

    /// The series of a query over the last seconds, a point each second: their labels, each with its points.
    pub fn query_range(&self, expression: &str, seconds: u64) -> Result<Vec<(Value, Vec<f64>)>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let (start, end) = ((now - seconds).to_string(), now.to_string());
        let form = [("query", expression), ("start", &start), ("end", &end), ("step", "1")];
        let mut all = Vec::new();
        for one in self.asked("/api/v1/query_range", &form)? {
            let points = one["values"].as_array().context("no values")?.iter();
            all.push((one["metric"].clone(), points.map(number).collect::<Result<_>>()?));
        }
        Ok(all)
    }

    fn asked(&self, path: &str, form: &[(&str, &str)]) -> Result<Vec<Value>> {
        let mut answer: Value = serde_json::from_str(&self.0.get(path, form)?)?;
        match answer["data"]["result"].take() {
            Value::Array(series) => Ok(series),
            _ => anyhow::bail!("no result"),
        }
    }
}

/// The value of a point, which has its time before it.
fn number(point: &Value) -> Result<f64> {
    Ok(point[1].as_str().context("no value")?.parse()?)
}
