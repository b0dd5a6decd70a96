//! Support bundle: what daemons have answered, recorded, so that commands read it as if the daemons were asked.

pub(crate) mod archive;
pub(crate) mod fields;
pub(crate) mod listed;
pub(crate) mod manifest;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use omnirelay_wire::reasons;
use reqwest::header::HeaderMap;
use serde_json::Value;

use super::address::Address;
use super::client::Answer;
use super::error::{CliError, chain};
use super::rpc::Call;
use super::settings::{CommandTarget, ValueSource};
use super::time;
use listed::{QueryParameters, list_at};
use manifest::{BundleManifest, BundledFile};

/// A support bundle that was opened.
#[derive(Debug)]
pub struct SupportBundle {
    manifest: BundleManifest,
    /// By the node that answered and by [`key_of`] its request.
    answers: BTreeMap<(String, String), (BundledFile, Bytes)>,
}

/// Key that tells an answer from others of its node: the request, or the route alone where it is all of a list.
fn key_of(request: &str) -> &str {
    let route = request.split('?').next().unwrap_or(request);
    let path = route.split_once(' ').map_or("", |(_, path)| path);
    if list_at(path).is_some() { route } else { request }
}

/// `GET /control/peers?role=worker`
pub(crate) fn request_of(call: &Call) -> String {
    format!("{} {}", call.word(), call.path)
}

impl SupportBundle {
    /// Opens a bundle.
    ///
    /// # Errors
    /// `BUNDLE_UNREADABLE`.
    pub(crate) fn open(path: &Path) -> Result<Self, CliError> {
        let (manifest, mut files) = archive::read(path)?;
        let unnamed = |what: &str| {
            CliError::new(reasons::BUNDLE_UNREADABLE, format!("`{}` is no support bundle", path.display()))
                .cause(what)
        };
        if manifest.nodes.is_empty() {
            return Err(unnamed("its manifest names no node"));
        }
        let mut answers = BTreeMap::new();
        for file in &manifest.files {
            let bytes = files
                .remove(&file.file)
                .ok_or_else(|| unnamed(&format!("its manifest names `{}`, which is not in it", file.file)))?;
            let key = (file.node_id.clone(), key_of(&file.request).to_owned());
            answers.insert(key, (file.clone(), Bytes::from(bytes)));
        }
        Ok(Self { manifest, answers })
    }

    /// The daemon that commands ask: the one that was asked when the bundle was made, or that at `address`.
    ///
    /// # Errors
    /// When the bundle tells nothing of a daemon there.
    pub(crate) fn target(&self, address: Option<&str>) -> Result<CommandTarget, CliError> {
        let unusable =
            |error| CliError::usage(format!("cannot use an address of the support bundle: {error}"));
        let first = self.manifest.nodes.first().map(|node| node.address.as_str()).unwrap_or_default();
        let address: Address = address.unwrap_or(first).parse().map_err(unusable)?;
        self.node_at(&address)?;
        Ok(CommandTarget::bare(vec![address], ValueSource::Flag("--support-bundle")))
    }

    fn node_at(&self, address: &Address) -> Result<&str, CliError> {
        let node = self.manifest.node_at(address.as_str());
        node.map(|node| node.node_id.as_str()).ok_or_else(|| {
            let nodes =
                self.manifest.nodes.iter().map(|node| format!("{} at {}", node.node_id, node.address));
            let message = format!("the support bundle has nothing of a daemon at {address}");
            CliError::new(reasons::NOT_IN_BUNDLE, message)
                .cause(format!("it has {}", nodes.collect::<Vec<_>>().join(", ")))
                .hint("tar -xzOf FILE manifest.json | jq .missing    # who did not answer, and why")
        })
    }

    /// Says whose answers they are, and of when.
    pub(crate) fn origin(&self, address: &Address) -> String {
        let node = self.manifest.node_at(address.as_str()).map_or("nobody", |node| node.node_id.as_str());
        format!("from a support bundle: as {node} had it at {}", self.manifest.made_at)
    }

    /// The answer to a call of the daemon at an address.
    ///
    /// # Errors
    /// Usage for a change; `NOT_IN_BUNDLE`.
    pub(crate) fn answer(&self, address: &Address, call: &Call) -> Result<(Answer, bool), CliError> {
        let request = request_of(call);
        if !call.is_read() {
            return Err(read_only(&request));
        }
        let node = self.node_at(address)?;
        let found = |request: &str| self.answers.get(&(node.to_owned(), key_of(request).to_owned()));
        // Asked of itself by name, a daemon says the same.
        let own = request.strip_suffix(&format!("?nodeId={node}"));
        let Some((file, body)) = found(&request).or_else(|| found(own?)) else {
            return Err(self.lacks(node, &request));
        };
        let body = match request.split_once('?') {
            // It was recorded with what it asks.
            _ if request == file.request => body.clone(),
            Some((_, query)) => narrowed(&request, body, query)?,
            None => body.clone(),
        };
        let answer = Answer {
            status: 200,
            headers: HeaderMap::new(),
            body,
            address: address.to_string(),
            took: Duration::from_millis(file.took_ms),
            came_ms: time::millis(&Value::from(file.answered_at.as_str())),
        };
        Ok((answer, file.cut))
    }

    fn lacks(&self, node: &str, request: &str) -> CliError {
        let error = CliError::new(
            reasons::NOT_IN_BUNDLE,
            format!("the support bundle has no answer of {node} to {request}"),
        );
        let is_it = |key: &str| key_of(key) == key_of(request);
        let missing = self.manifest.missing.iter().find(|it| it.node_id == node && is_it(&it.request));
        let error = match missing {
            Some(missing) => error.cause(missing.why.clone()),
            None => error,
        };
        error.hint("tar -xzOf FILE manifest.json | jq '.files[].request'    # what it has")
    }
}

/// Refusal of what a bundle cannot do: be changed, or go on telling.
pub(crate) fn read_only(what: &str) -> CliError {
    CliError::usage(format!("a support bundle tells how a mesh was, and takes no {what}"))
        .hint("leave --support-bundle out to ask the mesh itself")
}

/// The part of a whole list that a query asks for.
fn narrowed(request: &str, body: &Bytes, query: &str) -> Result<Bytes, CliError> {
    let path = request.split(['?', ' ']).nth(1).unwrap_or_default();
    let Some(list) = list_at(path) else { return Ok(body.clone()) };
    let whole = serde_json::from_slice(body).map_err(|error| {
        CliError::new(reasons::BUNDLE_UNREADABLE, format!("the support bundle holds no JSON for {path}"))
            .cause(chain(&error))
    })?;
    Ok(Bytes::from(list.answer(whole, &parameters(query))?.to_string()))
}

fn parameters(query: &str) -> QueryParameters {
    let mut parameters = QueryParameters::new();
    for (name, value) in
        reqwest::Url::parse(&format!("http://bundle/?{query}")).iter().flat_map(|url| url.query_pairs())
    {
        parameters.entry(name.into_owned()).or_default().push(value.into_owned());
    }
    parameters
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::rpc::{RpcMethod, leadership_control_service, node_service, peer_control_service};
    use serde_json::json;

    use super::manifest::{BundledNode, MissingAnswer};
    use super::*;

    /// A bundle of a node, of whose answers these are.
    fn bundle(answers: &[(&str, Value)]) -> SupportBundle {
        let file = |request: &str, number: usize| BundledFile {
            file: format!("{number}.json"),
            node_id: "a".to_owned(),
            request: request.to_owned(),
            took_ms: 7,
            answered_at: "2026-11-20T06:00:00.000Z".to_owned(),
            ..BundledFile::default()
        };
        let files: Vec<BundledFile> =
            answers.iter().enumerate().map(|(at, (request, _))| file(request, at)).collect();
        let contents = answers.iter().enumerate();
        let contents =
            contents.map(|(at, (_, body))| (format!("{at}.json"), body.to_string().into_bytes())).collect();
        let manifest = BundleManifest {
            nodes: vec![BundledNode { node_id: "a".to_owned(), address: "http://127.0.0.1:1".to_owned() }],
            files,
            missing: vec![MissingAnswer {
                node_id: "a".to_owned(),
                request: "GET /control/node".to_owned(),
                why: "MISSING_SCOPE: no".to_owned(),
                ..MissingAnswer::default()
            }],
            ..BundleManifest::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar.gz");
        archive::write(&path, &manifest, &contents, false).unwrap();
        SupportBundle::open(&path).unwrap()
    }

    fn ask(bundle: &SupportBundle, rpc: &RpcMethod, request: Value) -> Result<Value, CliError> {
        let (answer, _) = bundle.answer(&"http://127.0.0.1:1".parse().unwrap(), &Call::of(rpc, &request)?)?;
        Ok(serde_json::from_slice(&answer.body).unwrap())
    }

    fn peers() -> SupportBundle {
        let peer = |id: &str, zone: &str, status: &str, tier: &str| json!({"nodeId": id, "status": status, "metadata": {"zone": zone, "labels": {"tier": tier}}});
        let peers = json!([
            peer("a", "z2", "alive", "gold"),
            peer("b", "z1", "alive", "std"),
            peer("c", "z1", "dead", "std"),
            peer("d", "z2", "left", "gold"),
        ]);
        let list =
            json!({"peers": peers, "totalSize": 4, "nextPageToken": "", "heardOnly": [{"nodeId": "x"}]});
        bundle(&[("GET /control/peers?pageSize=1000", list)])
    }

    #[test]
    fn lists_are_narrowed_sorted_and_cut_as_daemons_do_it() {
        let bundle = peers();
        let cases = [
            (json!({}), "a b c d", 4, ""),
            (json!({"status": ["alive", "left"]}), "a b d", 3, ""),
            (json!({"status": ["alive"], "zone": ["z1"]}), "b", 1, ""),
            (json!({"selector": "tier in (gold)"}), "a d", 2, ""),
            (json!({"zone": ["none"]}), "", 0, ""),
            (json!({"orderBy": "zone desc"}), "d a c b", 4, ""),
            (json!({"orderBy": "node_id desc"}), "d c b a", 4, ""),
            (json!({"pageSize": 3}), "a b c", 4, "3"),
            (json!({"pageSize": 3, "pageToken": "3"}), "d", 4, ""),
            (json!({"pageSize": 3, "pageToken": "99"}), "", 4, ""),
        ];
        for (request, ids, total, next) in cases {
            let said = ask(&bundle, &peer_control_service::LIST, request.clone()).unwrap();
            let found: Vec<&str> = said["peers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|peer| peer["nodeId"].as_str().unwrap())
                .collect();
            assert_eq!((found.join(" ").as_str(), &said["totalSize"]), (ids, &json!(total)), "{request}");
            assert_eq!(said["nextPageToken"], next, "{request}");
            let is_of_all = ["orderBy", "pageSize"].iter().any(|name| request.get(name).is_some())
                || request == json!({});
            assert_eq!(said["heardOnly"].as_array().unwrap().is_empty(), !is_of_all, "{request}");
        }
        for request in
            [json!({"orderBy": "colour"}), json!({"pageToken": "x"}), json!({"selector": "tier in ("})]
        {
            assert!(ask(&bundle, &peer_control_service::LIST, request.clone()).is_err(), "{request}");
        }
    }

    #[test]
    fn a_history_is_cut_by_its_limit() {
        let tenures = json!({"tenures": [{"scope": "s", "term": "2"}, {"scope": "s", "term": "1"}, {"scope": "t", "term": "1"}]});
        let bundle = bundle(&[("GET /control/leaders:history?limit=1000", tenures)]);
        let of = |request| ask(&bundle, &leadership_control_service::HISTORY, request).unwrap();
        assert_eq!(of(json!({"limit": 1}))["tenures"], json!([{"scope": "s", "term": "2"}]));
        assert_eq!(of(json!({"scope": "t", "limit": 100}))["tenures"], json!([{"scope": "t", "term": "1"}]));
    }

    #[test]
    fn what_a_bundle_does_not_have_is_said_with_the_reason() {
        let bundle = peers();
        let missing = ask(&bundle, &node_service::GET, json!({})).unwrap_err();
        assert!(missing.is(reasons::NOT_IN_BUNDLE) && missing.exit() as u8 == 3);
        assert_eq!(missing.body().cause.as_deref(), Some("MISSING_SCOPE: no"));
        let change = ask(&bundle, &peer_control_service::CORDON, json!({"nodeId": "a"})).unwrap_err();
        assert_eq!(change.exit() as u8, 2);
        let elsewhere = bundle.target(Some("http://127.0.0.1:2")).unwrap_err();
        assert!(elsewhere.body().cause.as_deref().unwrap().contains("a at http://127.0.0.1:1"));
        assert!(bundle.target(None).is_ok());
    }

    #[test]
    fn the_times_of_an_answer_are_those_of_who_asked() {
        let bundle = peers();
        let call = Call::of(&peer_control_service::LIST, &json!({})).unwrap();
        let (answer, is_cut) = bundle.answer(&"http://127.0.0.1:1".parse().unwrap(), &call).unwrap();
        assert_eq!((answer.took, answer.came_ms), (Duration::from_millis(7), Some(1_795_154_400_000)));
        assert!(!is_cut);
    }
}
