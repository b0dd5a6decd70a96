//! Diagnostics of this daemon for support: its settings that may be shown, the newest lines of its log, its metrics.

use std::sync::Arc;

use omnirelay_core::text::chain;
use omnirelay_core::time::{Millis, whole_ms};
use omnirelay_host::log::{RecentLine, RecentLines};
use omnirelay_node::metrics::Metrics;
use omnirelay_node::readiness::Readiness;
use omnirelay_nouns::{at_cursor, envelope, head_cursor, serve, timestamp};
use omnirelay_registry::Registry;
use omnirelay_settings::LiveConfig;
use omnirelay_wire::envelope::EnvelopedAnswer as _;
use omnirelay_wire::fault::Fault;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use omnirelay_wire::reasons;
use pb::support_service_server::SupportService;
use tonic::Response;

/// Serves `SupportService`.
pub(crate) struct SupportCalls {
    pub registry: Arc<Registry>,
    pub readiness: Arc<Readiness>,
    pub settings: LiveConfig,
    pub metrics: Arc<Metrics>,
    pub log: Arc<RecentLines>,
}

impl SupportCalls {
    /// Answers also while the store is away: that is when somebody asks.
    async fn diagnostics(&self) -> Result<Response<pb::GetDiagnosticsResponse>, Fault> {
        let metrics = self.metrics.text(&self.registry, self.readiness.is_ready()).await;
        let metrics = metrics.map_err(|error| {
            Fault::new(reasons::INTERNAL, "the metrics could not be written").because(chain(&error))
        })?;
        let (settings, left_out) = self.settings.now().shown();
        let cursor = head_cursor(self.registry.view());
        let answer = pb::GetDiagnosticsResponse {
            cursor: cursor.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: settings.into_iter().map(|(key, value)| pb::ShownSetting { key, value }).collect(),
            settings_left_out: left_out as u32,
            log_lines: self.log.all().into_iter().map(log_line).collect(),
            metrics,
            ..Default::default()
        };
        Ok(at_cursor(answer.within(envelope(&self.registry)), &cursor))
    }
}

fn log_line(line: RecentLine) -> pb::LogLine {
    let RecentLine { time, level, target, message, fields } = line;
    pb::LogLine {
        time: Some(timestamp(Millis(whole_ms(time)))),
        level: level.to_owned(),
        target,
        message,
        fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    }
}

serve! {
    SupportService for SupportCalls {
        get_diagnostics(GetDiagnosticsRequest) -> GetDiagnosticsResponse: |service, _, _| service.diagnostics();
    }
}
