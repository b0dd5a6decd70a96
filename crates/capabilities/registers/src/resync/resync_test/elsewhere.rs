//! Pools of others: a peer service that the test serves, and what it may answer.

use omnirelay_wire::fault::Code;
use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes as Body;
use axum::extract::State as Shared;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use control::operation::State;
use omnirelay_identity::caller::Scope;
use serde_json::{Value, json};

use super::*;

/// A call as the peer service got it: path and body.
type Got = (String, Value);

/// Calls that a peer service has heard, and what it says to them.
#[derive(Default)]
pub(super) struct Heard {
    calls: Lock<Vec<Got>>,
    /// Said instead of the truth.
    says: Lock<Option<(u16, String)>>,
    public: Lock<BTreeSet<String>>,
}

impl Heard {
    pub(super) fn calls(&self) -> Vec<Got> {
        self.calls.lock().clone()
    }

    fn say(&self, says: Option<(u16, &str)>) {
        *self.says.lock() = says.map(|(status, text)| (status, text.to_owned()));
    }

    pub(super) fn public(&self) -> Vec<String> {
        self.public.lock().iter().cloned().collect()
    }

    /// Does with a call what a peer service does.
    fn take(&self, path: &str, body: &Value) -> Value {
        let mut public = self.public.lock();
        if let Some(id) = path.strip_suffix("/advertise").and_then(|path| path.rsplit('/').next()) {
            let shows = body["isPublic"] == true;
            let _ = if shows { public.insert(id.to_owned()) } else { public.remove(id) };
            return json!({"registerId": id, "isPublic": shows});
        }
        let pushed = body["advertisements"].as_array().unwrap().iter();
        let pushed: BTreeSet<String> =
            pushed.map(|item| item["registerId"].as_str().unwrap().to_owned()).collect();
        let added = pushed.difference(&public).count();
        let gone = if body["fullSync"] == true { public.difference(&pushed).count() } else { 0 };
        let updated = pushed.len() - added;
        let answer = json!({"processed": pushed.len(), "added": added, "updated": updated, "removed": gone});
        if body["fullSync"] == true {
            public.clear();
        }
        public.extend(pushed);
        answer
    }
}

async fn handle(Shared(heard): Shared<Arc<Heard>>, uri: Uri, body: Body) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    heard.calls.lock().push((uri.path().to_owned(), body.clone()));
    if let Some((status, text)) = heard.says.lock().clone() {
        let elsewhere = [("location", "http://127.0.0.1:1/")];
        return (StatusCode::from_u16(status).unwrap(), elsewhere, text).into_response();
    }
    heard.take(uri.path(), &body).to_string().into_response()
}

/// A peer service; ended when it is dropped.
pub(super) struct PeerService {
    pub(super) heard: Arc<Heard>,
    address: SocketAddr,
    _serving: JoinSet<()>,
}

async fn peer_service_at(address: &str) -> PeerService {
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let (address, heard) = (listener.local_addr().unwrap(), Arc::<Heard>::default());
    let routes = Router::new().fallback(handle).with_state(heard.clone());
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, routes).await.unwrap() });
    PeerService { heard, address, _serving: serving }
}

impl PeerService {
    pub(super) async fn new() -> Self {
        peer_service_at("127.0.0.1:0").await
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/gateway", self.address)
    }
}

/// A daemon that pushes to a peer service as well.
async fn pushing(to: &PeerService, registers: &[&str], every: Duration) -> Daemon {
    let daemon = unregistered(&[&to.url()], every).await;
    daemon.host(registers).await;
    daemon.register();
    until("it has called", || !to.heard.calls().is_empty()).await;
    daemon
}

pub(super) fn state(daemon: &Daemon) -> pb::AdvertisementSyncState {
    daemon.resync.state().targets[1].clone()
}

#[tokio::test]
async fn a_peer_service_gets_all_of_it_at_once_and_then_what_changes() {
    let peer = PeerService::new().await;
    let daemon = pushing(&peer, &["a", "-b", "c"], INTERVAL).await;
    let (path, body) = peer.heard.calls()[0].clone();
    assert_eq!(path, "/gateway/api/registers/bulk-advertise");
    let item = |id: &str| {
        json!({"registerId": id, "name": format!("name of {id}"), "description": "", "isPublic": true,
               "latestVersion": 0, "latestDocketVersion": 0})
    };
    assert_eq!(body, json!({"advertisements": [item("a"), item("c")], "fullSync": true}));
    until("it is noted", || state(&daemon).status() == Status::Success).await;
    let noted = state(&daemon);
    assert_eq!((noted.target, noted.register_count), (peer.url(), 2));
    assert_eq!(noted.last_run.unwrap().added, 2);
    sleep(MS * 100).await;
    let before = peer.heard.calls().len();
    daemon.put("d", true).await;
    until("it is there", || peer.heard.public().contains(&"d".to_owned())).await;
    assert_eq!(peer.heard.calls()[before].1, json!({"advertisements": [item("d")], "fullSync": false}));
    daemon.put("a", false).await;
    until("it is hidden", || !peer.heard.public().contains(&"a".to_owned())).await;
    let hidden = peer.heard.calls().last().unwrap().clone();
    assert_eq!(hidden, ("/gateway/api/registers/a/advertise".to_owned(), json!({"isPublic": false})));
    daemon.delete("c").await;
    until("it is gone", || ids(&peer.heard.public()) == ["d"]).await;
    assert_eq!(daemon.audit_records().await, 0);
}

#[tokio::test]
async fn what_a_peer_service_forgets_in_a_restart_is_pushed_again() {
    let peer = PeerService::new().await;
    let daemon = pushing(&peer, &["a", "b"], MS * 200).await;
    let address = peer.address.to_string();
    drop(peer);
    until("it was noticed", || state(&daemon).status() == Status::Failed).await;
    assert!(
        state(&daemon).error.contains("the peer service cannot be reached: "),
        "{}",
        state(&daemon).error
    );
    let peer = peer_service_at(&address).await;
    until("all is there again", || peer.heard.public().len() == 2).await;
    until("it is noted", || state(&daemon).status() == Status::Success).await;
    let runs = state(&daemon).runs_unchanged;
    until("others run", || state(&daemon).runs_unchanged > runs + 1).await;
    peer.heard.public.lock().remove("a");
    until("it is repaired", || peer.heard.public().len() == 2).await;
    assert_eq!(ids(&daemon.pool.ids()), ["a", "b"], "the own pool was not concerned");
}

#[tokio::test]
async fn answers_that_are_none_are_failures_and_said() {
    let peer = PeerService::new().await;
    let daemon = pushing(&peer, &["a"], INTERVAL).await;
    until("it is noted", || state(&daemon).status() == Status::Success).await;
    let long = format!("\u{1b}[31mgone{}", "x".repeat(100_000));
    let cases = [
        ("an error", 503, "out of order", "answered 503 Service Unavailable"),
        ("not JSON", 200, "<html>", "answered something else than counts"),
        ("a list", 200, "[1]", "something else than counts"),
        ("nothing", 200, "", "something else than counts"),
        ("elsewhere", 307, "over there", "answered 307 Temporary Redirect"),
        ("much", 500, &long, "answered 500 Internal Server Error"),
    ];
    for (what, status, text, expected) in cases {
        peer.heard.say(Some((status, text)));
        daemon.register();
        until(what, || state(&daemon).error.ends_with(expected)).await;
        peer.heard.say(None);
        daemon.register();
        until("it is well again", || state(&daemon).status() == Status::Success).await;
    }
    peer.heard.say(Some((200, r#"{"Processed": 1, "added": "many", "new": {}}"#)));
    daemon.register();
    let runs = state(&daemon).runs;
    until("it has run", || state(&daemon).runs > runs).await;
    let noted = state(&daemon);
    assert_eq!((noted.status(), noted.last_run.unwrap().processed), (Status::Success, 1));
    assert_eq!(noted.last_run.unwrap().added, 0, "what is missing or no number is none");
}

#[tokio::test]
async fn an_empty_catalogue_withdraws_from_others_only_what_was_deleted() {
    let peer = PeerService::new().await;
    peer.heard.public.lock().insert("theirs".to_owned());
    let daemon = pushing(&peer, &[], INTERVAL).await;
    assert_eq!(peer.heard.calls()[0].1, json!({"advertisements": [], "fullSync": false}));
    assert_eq!(ids(&peer.heard.public()), ["theirs"]);
    daemon.put("a", true).await;
    until("it is there", || peer.heard.public().len() == 2).await;
    daemon.delete("a").await;
    until("it is hidden", || ids(&peer.heard.public()) == ["theirs"]).await;
}

#[tokio::test]
async fn a_pool_elsewhere_is_pushed_to_on_demand() {
    let peer = PeerService::new().await;
    let daemon = daemon_in_real_time(&peer, &["a", "b"]).await;
    let asked = |full: bool, dry_run: bool| pb::ResyncRequest {
        peer: peer.url(),
        full,
        dry_run,
        ..pb::ResyncRequest::default()
    };
    let plan = daemon.demand(asked(true, true)).await.unwrap().plan.unwrap();
    assert_eq!((plan.target, plan.add, plan.remove, plan.changes.len()), (peer.url(), 2, 0, 2));
    assert!(peer.heard.calls().is_empty());
    for full in [false, true] {
        let ended = daemon.ended(&daemon.demand(asked(full, false)).await.unwrap()).await;
        assert_eq!(ended.state(), State::Succeeded, "{}", ended.message);
        assert_eq!(peer.heard.calls().last().unwrap().1["fullSync"], full);
    }
    peer.heard.say(Some((500, "no")));
    let ended = daemon.ended(&daemon.demand(asked(false, false)).await.unwrap()).await;
    assert_eq!((ended.state(), ended.failures.len()), (State::Failed, 0));
    let expected = "PEER_SERVICE_FAILED: the peer service answered 500 Internal Server Error";
    assert_eq!(ended.message, expected, "nobody reads there by it");
    assert_eq!(daemon.resync.state().targets.len(), 1, "it is none of those that are kept up to date");
}

#[tokio::test]
async fn what_is_not_configured_is_an_administrators_to_name_and_never_of_this_host_or_the_store() {
    let (peer, configured) = (PeerService::new().await, PeerService::new().await);
    let daemon = daemon_in_real_time(&configured, &["a"]).await;
    let ask = async |scopes: &[Scope], address: &str| {
        let caller = Caller { scopes: scopes.iter().copied().collect(), ..Caller::of_tests("operator:ann") };
        let asked = pb::ResyncRequest { peer: address.to_owned(), ..pb::ResyncRequest::default() };
        daemon.resync.demand(&caller, asked).await.map_err(|fault| fault.reason.into_owned())
    };
    let (operates, administers) = ([Scope::MeshOperate], [Scope::MeshOperate, Scope::MeshAdmin]);
    let answer = ask(&operates, &configured.url()).await.unwrap();
    assert_eq!(daemon.ended(&answer).await.state(), State::Succeeded);
    for address in
        ["http://10.0.0.7", "http://peer-service:8080", &peer.url(), "http://169.254.169.254/latest"]
    {
        assert_eq!(ask(&operates, address).await.unwrap_err(), "PEER_NOT_CONFIGURED", "{address}");
    }
    let port = peer.address.port();
    for host in
        ["127.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "[fe80::1]"]
    {
        let refused = ask(&administers, &format!("http://{host}:{port}/gateway")).await.unwrap_err();
        assert_eq!(refused, "ADDRESS_NOT_ALLOWED", "{host}");
    }
    assert_eq!(ask(&administers, "http://redis.internal:6379").await.unwrap_err(), "ADDRESS_NOT_ALLOWED");
    // What a name stands for is judged once it is connected to.
    let answer = ask(&administers, &format!("http://localhost:{port}/gateway")).await.unwrap();
    let ended = daemon.ended(&answer).await;
    assert_eq!(ended.state(), State::Failed);
    assert!(ended.message.contains("of the daemon's own host"), "{}", ended.message);
    assert!(peer.heard.calls().is_empty(), "nothing was asked of it");
}

/// A daemon without peer services, of which a resync may name one.
async fn daemon_in_real_time(named: &PeerService, registers: &[&str]) -> Daemon {
    let daemon = naming(&[], &[&named.url()], INTERVAL).await;
    daemon.host(registers).await;
    daemon.register();
    until("it has pushed", || daemon.pool.ids().len() == registers.len()).await;
    daemon
}

#[tokio::test]
async fn others_keep_what_a_new_epoch_has_lost() {
    let peer = PeerService::new().await;
    let daemon = pushing(&peer, &["a", "b", "c"], INTERVAL).await;
    until("it is noted", || state(&daemon).status() == Status::Success).await;
    let (before, runs) = (peer.heard.calls().len(), state(&daemon).runs);
    daemon.fail_over(begun_anew(daemon.clock, &["a"]).await).await;
    until("it has run", || state(&daemon).runs > runs && state(&daemon).status() == Status::Success).await;
    let full = pb::ResyncRequest { full: true, peer: peer.url(), ..pb::ResyncRequest::default() };
    assert_eq!(daemon.ended(&daemon.demand(full).await.unwrap()).await.state(), State::Succeeded);
    let calls = peer.heard.calls();
    assert!(calls.len() >= before + 2);
    assert!(calls[before..].iter().all(|(_, body)| body["fullSync"] == false), "{:?}", &calls[before..]);
    assert_eq!(ids(&peer.heard.public()), ["a", "b", "c"]);
    daemon.host(&["b", "c"]).await;
    daemon.register();
    until("all is known again", || peer.heard.calls().last().unwrap().1["fullSync"] == true).await;
}

#[tokio::test]
async fn nothing_at_all_withdraws_everything_elsewhere_only_by_order() {
    let peer = PeerService::new().await;
    let daemon = daemon_in_real_time(&peer, &[]).await;
    peer.heard.public.lock().insert("theirs".to_owned());
    let full = pb::ResyncRequest { full: true, peer: peer.url(), ..pb::ResyncRequest::default() };
    let refused = daemon.demand(full.clone()).await.unwrap_err();
    assert_eq!((refused.code, refused.reason.as_ref()), (Code::FailedPrecondition, "REMOVES_TOO_MANY"));
    assert!(refused.message.contains("would withdraw everything"), "{refused}");
    assert!(peer.heard.calls().is_empty());
    let dry = pb::ResyncRequest { dry_run: true, ..full.clone() };
    assert!(daemon.demand(dry).await.is_ok(), "a plan removes nothing");
    let answer = daemon.demand(pb::ResyncRequest { override_brake: true, ..full }).await.unwrap();
    assert_eq!(daemon.ended(&answer).await.counts["removed"], 1);
}

#[tokio::test]
async fn what_a_file_put_elsewhere_the_catalogue_does_not_answer_for() {
    let peer = PeerService::new().await;
    let daemon = pushing(&peer, &["a"], MS * 200).await;
    until("it is noted", || state(&daemon).status() == Status::Success).await;
    let item = pb::AdvertisedRegister { register_id: "x".to_owned(), ..pb::AdvertisedRegister::default() };
    let asked = pb::ResyncRequest {
        peer: peer.url(),
        from_file: true,
        advertisements: vec![item],
        ..pb::ResyncRequest::default()
    };
    let sent = || daemon.resync.lines.foreign(&peer_service(&peer.url()).unwrap()).unwrap().sent();
    assert_eq!(ids(&sent()), ["a"]);
    assert_eq!(daemon.ended(&daemon.demand(asked).await.unwrap()).await.state(), State::Succeeded);
    assert!(peer.heard.calls().iter().any(|(_, body)| body["advertisements"][0]["registerId"] == "x"));
    assert_eq!(ids(&sent()), ["a"]);
}

#[tokio::test]
async fn what_a_peer_service_refuses_in_part_is_a_failure() {
    let peer = PeerService::new().await;
    let daemon = pushing(&peer, &["a", "b"], INTERVAL).await;
    until("it is noted", || state(&daemon).status() == Status::Success).await;
    let asked = || pb::ResyncRequest { peer: peer.url(), ..pb::ResyncRequest::default() };
    let result =
        |at: usize| json!({"registerId": format!("r{at:05}"), "reason": "FULL", "message": "no room"});
    let results: Vec<Value> = (0..3000).map(result).collect();
    let named = json!({"processed": 3001, "results": results, "added": 1, "failed": 3000}).to_string();
    assert!(named.len() > 128 << 10);
    let cases = [
        (r#"{"processed": 2, "added": 1, "failed": 1}"#, 1, &peer.url(), "1 of the registers was refused"),
        (&named, 3000, &"r00000".to_owned(), "no room"),
    ];
    for (answer, failed, object, message) in cases {
        peer.heard.say(Some((200, answer)));
        daemon.register();
        until("it is noticed", || state(&daemon).status() == Status::Failed).await;
        assert_eq!(state(&daemon).last_run.unwrap().failed, failed);
        assert!(state(&daemon).error.contains(message), "{}", state(&daemon).error);
        let ended = daemon.ended(&daemon.demand(asked()).await.unwrap()).await;
        assert_eq!((ended.state(), ended.counts["failed"]), (State::Partial, u64::from(failed)));
        assert_eq!((&ended.failures[0].object, ended.failures.len()), (object, failed.min(1000) as usize));
        assert!(ended.failures[0].message.contains(message), "{}", ended.failures[0].message);
        peer.heard.say(None);
        until("it is tried again", || state(&daemon).status() == Status::Success).await;
    }
}
