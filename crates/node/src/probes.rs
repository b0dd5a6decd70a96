//! HTTP endpoints for probes and scrapers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use omnirelay_registry::Registry;

use crate::metrics::Metrics;
use crate::readiness::Readiness;

/// Sources that the answers to probes are taken from.
#[derive(Clone)]
pub(super) struct ProbeSources {
    pub registry: Arc<Registry>,
    pub readiness: Arc<Readiness>,
    pub metrics: Arc<Metrics>,
}

/// Those of the control port.
pub(super) fn probes(probed: ProbeSources) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(probed)
}

/// Those of the relay's own port, as relays of Aero Arc answer them: ready as soon as telemetry can go where it
/// should, and until the daemon stops.
pub(super) fn relay_probes(
    probed: ProbeSources,
    is_up: impl Fn() -> bool + Clone + Send + Sync + 'static,
) -> Router {
    let readiness = probed.readiness.clone();
    let ready = move || async move { relay_readyz(is_up() && !readiness.is_draining()) };
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(probed)
        .route("/healthz", get(healthz))
        .route("/readyz", get(ready))
}

/// Answers as long as the process does.
async fn healthz() -> Response {
    json(StatusCode::OK, &serde_json::json!({"status": "ok"}))
}

fn relay_readyz(ready: bool) -> Response {
    if ready {
        return json(StatusCode::OK, &serde_json::json!({"status": "ok"}));
    }
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (StatusCode::SERVICE_UNAVAILABLE, plain, "{\"status\":\"not ready\"}\n").into_response()
}

/// 200 when every required item is fine, else 503; says what is not.
async fn readyz(State(probed): State<ProbeSources>) -> Response {
    let ready = probed.readiness.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let items = probed.readiness.items();
    json(status, &serde_json::json!({"ready": ready, "nodeId": probed.registry.node_id(), "items": items}))
}

async fn metrics(State(probed): State<ProbeSources>) -> Response {
    let ready = probed.readiness.is_ready();
    match probed.metrics.text(&probed.registry, ready).await {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
