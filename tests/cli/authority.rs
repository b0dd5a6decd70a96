//! What the stub says of the certificate authority.

use serde_json::{Value, json};

use crate::stub::{Reply, Request, answer, changed};

/// A root or an issuer.
fn signing(digit: &str, ends: &str) -> Value {
    json!({
        "fingerprint": digit.repeat(64), "pem": "-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n",
        "notBefore": "2026-11-20T00:00:00Z", "notAfter": ends, "keyInRegistry": true,
    })
}

/// Answers what is asked of the authority.
pub(crate) fn authority(request: &Request) -> Reply {
    let authority = json!({
        "trustDomain": "mesh.example", "roots": [signing("a", "2036-11-17T00:00:00Z")],
        "issuers": [signing("b", "2027-11-20T00:00:00Z")], "version": "1", "lastWriterId": "relay-a7f3",
        "secretGivenTo": [{"nodeId": "node-2", "since": "2026-11-20T05:31:00Z"}],
    });
    let bundle = include_str!("../data/root.pem");
    let verb = request.path.rsplit_once(':').map_or("", |(_, verb)| verb);
    let (older, newer) = ("a".repeat(64), "d".repeat(64));
    let mut rotated = authority.clone();
    rotated["roots"] = json!([signing("d", "2036-11-17T00:00:00Z"), signing("a", "2036-11-17T00:00:00Z")]);
    match (request.method.as_str(), verb) {
        ("GET", _) => answer(json!({
            "authority": authority, "issues": true, "bundlePem": bundle, "issuingNodes": ["node-2", "relay-a7f3"],
            "federated": [{"cluster": "us-1", "trustDomain": "us.example", "roots": [signing("c", "2031-01-09T00:00:00Z")]}],
        })),
        (_, "rotate") => {
            let changes = [
                format!("root: {older} -> {newer}"),
                format!("issuer: {} -> {}", "b".repeat(64), "e".repeat(64)),
            ];
            changed(request, json!({"authority": rotated, "bundlePem": bundle, "changes": changes}))
        }
        (_, "protectRecords") => changed(
            request,
            json!({
                "digest": older, "recordsProtected": true,
                "records": [{"record": "binding/operator:ann", "lastWriterId": "relay-a7f3", "version": "3",
                    "updatedAt": "2026-11-20T05:31:00Z"}],
                "changes": [format!("records are signed by: none -> {newer}"), "binding/operator:ann: becomes signed".to_owned()],
            }),
        ),
        (_, "shareIssuer") if request.body.contains("relay-a7f3") => {
            answer(json!({"nodeId": "relay-a7f3", "issues": true}))
        }
        (_, "shareIssuer") => changed(
            request,
            json!({"nodeId": "node-2", "issues": true, "changes": ["secret of the issuers: given to node-2"]}),
        ),
        (_, "retireRoot") => changed(
            request,
            json!({"authority": authority, "bundlePem": bundle, "changes": [format!("root: {older} -> none")]}),
        ),
        _ => changed(
            request,
            json!({
                "authority": authority, "chainPem": "", "bundlePem": bundle,
                "changes": ["trustDomain: none -> mesh.example", format!("root: none -> {}", "a".repeat(64))],
            }),
        ),
    }
}
