//! Settings of the export by OTLP: which collector is sent metrics and spans, and how many of them.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, Section, within};
use super::client_tls::ClientTlsKeys;
use super::sinks::server_url;
use super::{ClientTlsConfig, Config, HumanDuration};

const TLS: ClientTlsKeys = ClientTlsKeys {
    trust: "otlp.tls.trust",
    ca: "otlp.tls.ca",
    identity: "otlp.tls.identity",
    cert: "otlp.tls.cert",
    key: "otlp.tls.key",
    address: ENDPOINT,
};
const ENDPOINT: &str = "otlp.endpoint";

/// Settings of the export by OTLP: the collector that metrics and spans are sent to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// An `http://` or `https://` address, below which `/v1/metrics` and `/v1/traces` are; nothing: nothing is sent.
    pub endpoint: Option<String>,
    /// A file of headers, such as `authorization: Bearer ...`, one a line, 16 KiB at most; the daemon alone reads it. Read anew for
    /// each request.
    pub headers_file: Option<PathBuf>,
    pub tls: ClientTlsConfig,
    /// How long the collector may take to answer, 100 ms to 1 min; default 10 s. Too low: what it has taken is sent again; too
    /// high: a collector that hangs is noticed late.
    pub timeout: HumanDuration,
    /// Whether metrics are sent; default true.
    pub metrics: bool,
    /// How often, 1 s to 1 h; default 15 s. Too low: needless work; too high: what happens in between is not seen.
    pub metrics_interval: HumanDuration,
    /// Whether spans of calls are sent; default true.
    pub traces: bool,
    /// The share of the traces that begin here whose spans are sent, 0 to 1; default 1. Whoever calls with a `traceparent` has
    /// decided for its trace. Too low: the call that is looked for is not there; too high: work for each call.
    pub traces_sampled: f64,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers_file: None,
            tls: ClientTlsConfig::default(),
            timeout: HumanDuration(Duration::from_secs(10)),
            metrics: true,
            metrics_interval: HumanDuration(Duration::from_secs(15)),
            traces: true,
            traces_sampled: 1.0,
        }
    }
}

impl OtlpConfig {
    /// Address of the collector; `None`: nothing is sent.
    ///
    /// # Errors
    /// The key of the setting, and why it is no address.
    pub fn collector(&self) -> Result<Option<Url>, InvalidSetting> {
        let Some(text) = &self.endpoint else { return Ok(None) };
        let url = server_url(ENDPOINT, text)?;
        if url.query().is_some() || url.fragment().is_some() {
            let what = "paths are put behind it: leave out what begins with `?` or `#`, and name secrets in `otlp.headersFile`";
            return Err((ENDPOINT, what.to_owned()));
        }
        Ok(Some(url))
    }

    /// Share of the traces that begin here whose spans are sent, 0 to 1; `None`: spans are not sent at all.
    pub fn sampled(&self) -> Option<f64> {
        (self.traces && self.endpoint.is_some()).then_some(self.traces_sampled)
    }
}

impl Section for OtlpConfig {
    fn check(&self, _: &Config) -> Result<(), InvalidSetting> {
        let url = self.collector()?;
        if url.is_none() && self.headers_file.is_some() {
            return Err(("otlp.headersFile", format!("it means nothing here: there is no `{ENDPOINT}`")));
        }
        self.tls.check(&TLS, url.is_some_and(|url| url.scheme() == "https"))?;
        within("otlp.timeout", self.timeout, Duration::from_millis(100), Duration::from_secs(60))?;
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        within("otlp.metricsInterval", self.metrics_interval, second, hour)?;
        if !(0.0..=1.0).contains(&self.traces_sampled) {
            let what = format!("{} is no share: 0 to 1", self.traces_sampled);
            return Err(("otlp.tracesSampled", what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: impl FnOnce(&mut OtlpConfig)) -> Result<(), InvalidSetting> {
        let mut config = OtlpConfig::default();
        change(&mut config);
        config.check(&Config::default())
    }

    #[test]
    fn what_is_wrong_names_its_key_and_no_secret() {
        type Case = (&'static str, fn(&mut OtlpConfig), &'static str);
        let cases: [Case; 10] = [
            ("endpoint", |c| c.endpoint = Some("collector:4317".to_owned()), "write https://HOST:PORT"),
            (
                "endpoint",
                |c| c.endpoint = Some("grpc://collector:4317".to_owned()),
                "`grpc://` is not spoken",
            ),
            ("endpoint", |c| c.endpoint = Some("https://me:secret@a".to_owned()), "a user or a password"),
            ("endpoint", |c| c.endpoint = Some("https://a/in?key=secret".to_owned()), "headersFile"),
            ("headersFile", |c| c.headers_file = Some("x".into()), "there is no `otlp.endpoint`"),
            ("tls.ca", |c| c.tls.ca = Some("x".into()), "no https:// address"),
            ("timeout", |c| c.timeout = HumanDuration(Duration::from_secs(61)), "100ms to 1m"),
            ("metricsInterval", |c| c.metrics_interval = HumanDuration(Duration::ZERO), "1s to 1h"),
            ("tracesSampled", |c| c.traces_sampled = 1.1, "0 to 1"),
            ("tracesSampled", |c| c.traces_sampled = f64::NAN, "0 to 1"),
        ];
        for (key, change, expected) in cases {
            let (of, what) = said(change).unwrap_err();
            assert_eq!(of, format!("otlp.{key}"));
            assert!(
                what.contains(expected) && !what.contains("secret@") && !what.contains("=secret"),
                "{what}"
            );
        }
    }

    #[test]
    fn spans_are_sent_where_there_is_a_collector_and_they_are_wanted() {
        assert_eq!(OtlpConfig::default().sampled(), None);
        let endpoint = Some("http://[::1]:4318/otlp/".to_owned());
        let config = OtlpConfig { endpoint, ..OtlpConfig::default() };
        assert_eq!((config.check(&Config::default()), config.sampled()), (Ok(()), Some(1.0)));
        assert_eq!(OtlpConfig { traces: false, ..config }.sampled(), None);
    }
}
