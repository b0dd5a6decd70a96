//! Recorder of a support bundle: asks the daemons of nodes, and keeps of their answers what is named.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use omnirelay_core::secrets::without_secrets;

use super::reads::{ItemSource, READS, RecordedRead};
use crate::frame::bundle::archive::BundleFiles;
use crate::frame::bundle::fields::NamedFields;
use crate::frame::bundle::listed::list_at;
use crate::frame::bundle::manifest::{BundleManifest, BundledFile, BundledNode, MissingAnswer};
use crate::frame::bundle::request_of;
use crate::frame::list;
use crate::frame::prelude::*;

/// For how many items of a list something is asked.
const ITEMS_MAX: usize = 200;
/// How many bytes there may be of a node.
const NODE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// After so many failures in a row that say nobody is there, nothing more is asked of a daemon.
const FAILURES_MAX: usize = 3;

/// What no bundle holds, whatever daemons answer.
const NEVER: &[&str] = &[
    "keys, tokens, passwords and secrets, sealed ones too",
    "the contents of files, and the variables of the environment",
    "requests, answers and headers of calls",
    "what registers, agents and drones hold",
    "settings and fields of log lines that are not named in docs/guides/support-bundle.md",
];

/// Amount that is asked of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AskedOfNode {
    /// Of itself and of the mesh; no other node is asked.
    Alone,
    /// Of itself and of the mesh.
    First,
    /// Of itself only: another one has told of the mesh.
    Further,
}

/// Recorder of the answers of one bundle.
pub(super) struct BundleRecorder {
    pub manifest: BundleManifest,
    pub files: BundleFiles,
    fields: NamedFields,
    /// Items of the lists of the node that is being asked, by the paths of the lists.
    lists: BTreeMap<&'static str, Vec<Value>>,
}

impl BundleRecorder {
    /// # Errors
    /// When what is built in cannot be read.
    pub(super) fn new() -> Result<Self, CliError> {
        let manifest = BundleManifest {
            schema_version: "v1".to_owned(),
            made_at: time::exact_clock(time::now_ms().unwrap_or_default()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            never: NEVER.iter().map(|what| (*what).to_owned()).collect(),
            ..BundleManifest::default()
        };
        Ok(Self { manifest, files: BundleFiles::new(), fields: NamedFields::new()?, lists: BTreeMap::new() })
    }

    /// Notes that a node has said nothing.
    pub(super) fn missing_node(&mut self, node: &str, error: &CliError) {
        self.miss(node, "all of it", "", error);
    }

    fn miss(&mut self, node: &str, what: &str, request: &str, error: &CliError) {
        let body = error.body();
        let cause = body.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
        let why = without_secrets(&format!("{}: {}{cause}", body.reason, body.message));
        let (node_id, what, request) = (node.to_owned(), what.to_owned(), request.to_owned());
        self.manifest.missing.push(MissingAnswer { node_id, what, request, why });
    }

    /// Asks the daemon that the session talks to, which is that of `node`.
    ///
    /// # Errors
    /// When it does not even say what it is; nothing of it is kept then.
    pub(super) async fn record(
        &mut self,
        node: &str,
        asked: AskedOfNode,
        session: &CommandSession,
    ) -> Result<(), CliError> {
        let address = session.client()?.address().to_string();
        self.lists.clear();
        let mut failures = 0;
        for read in READS.iter().filter(|read| read.everywhere || asked != AskedOfNode::Further) {
            for request in self.requests(node, read, asked) {
                if failures >= FAILURES_MAX {
                    let error = CliError::new(
                        reasons::NODE_NOT_ASKED,
                        "the daemon did not answer what was asked before",
                    );
                    self.miss(node, read.what, "", &error);
                    break;
                }
                match self.ask(node, read, &request, session).await {
                    Ok(()) => failures = 0,
                    Err((_, error)) if !self.manifest.files.iter().any(|file| file.node_id == node) => {
                        return Err(error);
                    }
                    Err((request, error)) => {
                        let is_gone = matches!(error.exit(), Exit::Unavailable | Exit::Timeout);
                        failures = if is_gone { failures + 1 } else { 0 };
                        self.miss(node, read.what, &request, &error);
                    }
                }
            }
        }
        self.manifest.nodes.push(BundledNode { node_id: node.to_owned(), address });
        self.manifest.fields_left_out = self.fields.left_out.iter().cloned().collect();
        Ok(())
    }

    /// Items of a list of the node that was asked last; none where it has not said them.
    pub(super) fn listed(&self, path: &str) -> &[Value] {
        self.lists.get(path).map_or(&[], Vec::as_slice)
    }

    /// The requests of a read: one, or one for each item of its list.
    fn requests(&mut self, node: &str, read: &RecordedRead, asked: AskedOfNode) -> Vec<Value> {
        let constant = || read.with.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let Some(ItemSource { list, fields, hosts }) = &read.per else {
            return vec![Value::Object(constant())];
        };
        let all = self.listed(list);
        let is_asked = |item: &&Value| {
            !hosts
                || text(item, "status") == "alive"
                    && (asked != AskedOfNode::Alone || text(item, "nodeId") == node)
        };
        let request = |item: &Value| {
            let of_item = fields.iter().map(|(name, path)| ((*name).to_owned(), field(item, path).clone()));
            Value::Object(constant().into_iter().chain(of_item).collect())
        };
        let requests: Vec<Value> = all.iter().filter(is_asked).take(ITEMS_MAX).map(request).collect();
        let all = all.iter().filter(is_asked).count();
        if all > ITEMS_MAX {
            self.manifest.cut.push(format!("{node}: {}: the first {ITEMS_MAX} of {all}", read.what));
        }
        requests
    }

    /// Asks one thing, and keeps what is named of the answer.
    async fn ask(
        &mut self,
        node: &str,
        read: &RecordedRead,
        request: &Value,
        session: &CommandSession,
    ) -> Result<(), (String, CliError)> {
        let call = Call::of(read.rpc, request).map_err(|error| (String::new(), error))?;
        let named = request_of(&call);
        let began = Instant::now();
        let answer =
            match list_at(read.rpc.path).and_then(|list| list.pages.as_ref().map(|pages| (list, pages))) {
                Some((list, pages)) if !read.newest => {
                    let page = |page: &ListPage| {
                        let mut asked = request.clone();
                        asked[pages.size] = json!(page.size_or(list::PAGE_MAX));
                        asked[pages.token] = json!(page.token);
                        Call::of(read.rpc, &asked)
                    };
                    list::fetch(session, list.items, &PageArgs::default(), true, page).await
                }
                _ => session.call(&call).await,
            };
        let kept = match answer {
            Ok(answer) => self.keep(node, read, (&named, began.elapsed()), answer),
            Err(error) => Err(error),
        };
        kept.map_err(|error| (named, error))
    }

    fn keep(
        &mut self,
        node: &str,
        read: &RecordedRead,
        (request, took): (&str, Duration),
        mut answer: Value,
    ) -> Result<(), CliError> {
        let cut = read.newest && !text(&answer, "nextPageToken").is_empty();
        if cut {
            answer["nextPageToken"] = json!("");
        }
        let kept = self.fields.of_answer(read.rpc, &answer)?;
        let bytes = kept.to_string().into_bytes();
        let has: u64 =
            self.manifest.files.iter().filter(|file| file.node_id == node).map(|file| file.bytes).sum();
        if has + bytes.len() as u64 > NODE_BYTES_MAX {
            let message = format!("with it there would be more than {NODE_BYTES_MAX} bytes of {node}");
            return Err(CliError::new(reasons::OUTPUT, message));
        }
        if let Some(list) = list_at(read.rpc.path) {
            self.lists.insert(read.rpc.path, items(&answer, list.items).to_vec());
        }
        let file = self.name_of(node, request);
        self.manifest.files.push(BundledFile {
            file: file.clone(),
            what: read.what.to_owned(),
            node_id: node.to_owned(),
            request: request.to_owned(),
            bytes: bytes.len() as u64,
            answered_at: time::exact_clock(time::now_ms().unwrap_or_default()),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            cut,
        });
        self.files.insert(file, bytes);
        Ok(())
    }

    /// `node-1/control/peers/node-2/explain.json`
    fn name_of(&self, node: &str, request: &str) -> String {
        let path = request.split_once(' ').map_or(request, |(_, path)| path);
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '/' | '-' | '.');
        let told = |text: &str| -> String {
            text.chars().map(|letter| if plain(letter) { letter } else { '_' }).collect()
        };
        // A daemon may call itself, and others, as it likes; a path of an archive leads nowhere else.
        let (node, path) = (told(&node.replace('/', "_")), told(path));
        let name = |more: &str| format!("{node}{path}{more}.json").replace("..", "__");
        let mut numbers = (2..).map(|number| name(&format!("_{number}")));
        let free = std::iter::once(name("")).chain(&mut numbers).find(|name| !self.files.contains_key(name));
        free.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::rpc::{check_service, peer_control_service};

    use super::*;

    #[test]
    fn names_of_files_lead_nowhere_and_differ() {
        let mut recorder = BundleRecorder::new().unwrap();
        let cases = [
            ("node-1", "GET /control/peers", "node-1/control/peers.json"),
            (
                "node-1",
                "GET /control/leaders/a%2Fb:explain?x=1",
                "node-1/control/leaders/a_2Fb_explain_x_1.json",
            ),
            (
                "node-1",
                "GET /control/leaders/a_2Fb:explain?x=1",
                "node-1/control/leaders/a_2Fb_explain_x_1_2.json",
            ),
            ("../../etc", "GET /../x", "___.._etc/__/x.json"),
        ];
        for (node, request, expected) in cases {
            let name = recorder.name_of(node, request);
            assert_eq!(name, expected.replace("..", "__"), "{node} {request}");
            recorder.files.insert(name, Vec::new());
        }
    }

    #[test]
    fn what_is_asked_for_each_item_is_bounded_and_says_so() {
        let mut recorder = BundleRecorder::new().unwrap();
        let read = |rpc: &RpcMethod| READS.iter().find(|read| read.rpc == rpc).unwrap();
        let peers = (0..ITEMS_MAX + 5).map(|at| json!({"nodeId": format!("n{at}"), "status": "alive"}));
        recorder.lists.insert("/control/peers", peers.collect());
        let (explain, hosts) = (read(&peer_control_service::EXPLAIN), read(&check_service::CHECK_HOST));
        assert_eq!(recorder.requests("n1", explain, AskedOfNode::First).len(), ITEMS_MAX);
        assert_eq!(recorder.manifest.cut, ["n1: how a peer came to be as it is: the first 200 of 205"]);
        assert_eq!(recorder.requests("n1", hosts, AskedOfNode::Alone), [json!({"nodeId": "n1"})]);
    }
}
