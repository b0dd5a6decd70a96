//! A peer service that speaks as Sorcha's does, and fails in every way.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::stub::{Reply, Request, Stub};

/// How the service is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Accepts, and closes without a word.
    Closing,
    /// Accepts, and is silent.
    Hanging,
    Failing(u16),
    /// Answers 200 with what is no JSON.
    Garbage,
    /// Answers what is no HTTP.
    Noise,
    /// Answers 200 with JSON that is no counts.
    Strange,
    /// Sends one somewhere else.
    Redirecting,
}

/// A running service; it ends with the process of the test.
pub(crate) struct PeerService {
    stub: Stub,
    state: Arc<Mutex<State>>,
}

struct State {
    mood: Mood,
    /// The registers that are advertised, with their flags.
    registers: BTreeMap<String, Value>,
    calls: Vec<Call>,
}

/// A call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub method: String,
    pub path: String,
    pub content_type: String,
    pub body: Value,
}

impl PeerService {
    pub(crate) fn start() -> anyhow::Result<Self> {
        Ok(Self::start_on(TcpListener::bind("127.0.0.1:0")?))
    }

    pub(crate) fn start_on(listener: TcpListener) -> Self {
        let state = State { mood: Mood::Well, registers: BTreeMap::new(), calls: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let stub = Stub::start_on(listener, move |request, _| lock(&shared).answer(request));
        Self { stub, state }
    }

    pub(crate) fn url(&self) -> String {
        self.stub.url()
    }

    pub(crate) fn set(&self, mood: Mood) {
        lock(&self.state).mood = mood;
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        lock(&self.state).calls.clone()
    }

    /// The public registers, in order.
    pub(crate) fn shown(&self) -> Vec<String> {
        let state = lock(&self.state);
        let public = state.registers.iter().filter(|(_, item)| item["isPublic"] == true);
        public.map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn register(&self, id: &str) -> Value {
        lock(&self.state).registers.get(id).cloned().unwrap_or_default()
    }

    /// Forgets all, as one does that is started anew without a store.
    pub(crate) fn forget(&self) {
        lock(&self.state).registers.clear();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        self.calls.push(Call {
            method: request.method.clone(),
            path: request.path.clone(),
            content_type: request.header("content-type").unwrap_or_default().to_owned(),
            body: serde_json::from_str(&request.body).unwrap_or_default(),
        });
        match self.mood {
            Mood::Well => self.serve(request),
            Mood::Closing => Reply::Close,
            // Longer than anybody waits.
            Mood::Hanging => Reply::Hang(Duration::from_secs(60)),
            Mood::Failing(status) => Reply::Text(status, "text/plain", "not today".to_owned()),
            Mood::Garbage => Reply::Text(200, "text/html", "<html>Welcome</html>".to_owned()),
            Mood::Noise => Reply::Raw("SSH-2.0-OpenSSH_9.2\r\n"),
            Mood::Strange => Reply::Json(200, json!(["counts", 1])),
            Mood::Redirecting => {
                Reply::Raw("HTTP/1.1 307 Elsewhere\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n")
            }
        }
    }

    fn serve(&mut self, request: &Request) -> Reply {
        let Ok(body) = serde_json::from_str::<Value>(&request.body) else {
            return Reply::Text(400, "text/plain", "no JSON".to_owned());
        };
        let id =
            request.path.strip_prefix("/api/registers/").and_then(|path| path.strip_suffix("/advertise"));
        match (request.method.as_str(), request.path.as_str(), id) {
            ("POST", "/api/registers/bulk-advertise", _) => self.bulk(&body),
            ("POST", _, Some(id)) => {
                if body["isPublic"] == true {
                    let item = json!({"registerId": id, "isPublic": true});
                    self.registers.entry(id.to_owned()).or_insert(item);
                } else {
                    self.registers.remove(id);
                }
                Reply::Json(200, json!({"registerId": id, "isPublic": body["isPublic"]}))
            }
            (_, _, _) => Reply::Text(404, "text/plain", String::new()),
        }
    }

    /// As the origin does it: whatever is known counts as updated, and a full sync removes the rest.
    fn bulk(&mut self, body: &Value) -> Reply {
        let items = body["advertisements"].as_array().cloned().unwrap_or_default();
        let (mut added, mut updated) = (0, 0);
        let mut kept = Vec::new();
        for item in &items {
            let id = item["registerId"].as_str().unwrap_or_default().to_owned();
            let known = self.registers.insert(id.clone(), item.clone()).is_some();
            *(if known { &mut updated } else { &mut added }) += 1;
            kept.push(id);
        }
        let before = self.registers.len();
        if body["fullSync"] == true {
            self.registers.retain(|id, _| kept.contains(id));
        }
        let removed = before - self.registers.len();
        let counts =
            json!({"processed": items.len(), "added": added, "updated": updated, "removed": removed});
        Reply::Json(200, counts)
    }
}
