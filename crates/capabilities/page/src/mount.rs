//! Putting together what serves the page.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use omnirelay_node::NodeBuilder;
use omnirelay_node::PortName;

use super::{INDEX, file};

/// Serves the page below `/ui/` of the control port. Nobody has to prove anything for it: there is nothing of the mesh in it, which
/// it asks for as whoever opens it.
pub fn mount(node: &mut NodeBuilder) {
    // Relative, so that it is right behind a proxy that takes a part of the path off.
    let below = || async { (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "ui/")]) };
    let index = |headers: HeaderMap| async move { named(INDEX, &headers) };
    let one = |Path(name): Path<String>, headers: HeaderMap| async move { named(&name, &headers) };
    let routes =
        Router::new().route("/ui", get(below)).route("/ui/", get(index)).route("/ui/{name}", get(one));
    node.routes(PortName::Control, routes);
}

fn named(name: &str, headers: &HeaderMap) -> Response {
    match file(name) {
        Some(file) => file.answer(headers).map(axum::body::Body::from).into_response(),
        None => (StatusCode::NOT_FOUND, "The page has no such file.\n").into_response(),
    }
}
