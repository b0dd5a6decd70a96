//! Lists of a moment that is over.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::mesh::Mesh;

/// Longer than two times are apart that a list can tell.
const APART: Duration = Duration::from_millis(300);

/// A moment between what was done before and what is done after.
fn moment() -> String {
    std::thread::sleep(APART);
    let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    std::thread::sleep(APART);
    now
}

fn list(mesh: &Mesh, line: &str) -> Value {
    let ended = mesh.program.run(&format!("{line} -o json"));
    assert_eq!(ended.code, 0, "{line}: {ended:?}");
    ended.json()
}

fn peer<'d>(document: &'d Value, id: &str) -> &'d Value {
    document["peers"].as_array().unwrap().iter().find(|peer| peer["nodeId"] == id).unwrap()
}

fn ids(document: &Value, items: &str, id: &str) -> Vec<String> {
    let listed = document[items].as_array().unwrap().iter();
    listed.map(|item| item[id].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lists_show_what_was_and_nothing_that_nobody_wrote_down() {
    let mesh = Mesh::up_with("--service relay --service registry");
    mesh.done("mesh leaders create jobs/nightly --node node-1");
    mesh.until("mesh leaders get jobs/nightly -o json", |found| found["leadership"]["leaderId"] == "node-1");
    mesh.done("registers create orders --node node-1 --advertise");
    let first = moment();
    mesh.done("mesh peers cordon node-2 --reason test");
    mesh.done("mesh leaders set jobs/nightly --node node-3");
    mesh.done("mesh leaders transfer jobs/nightly --to node-3 --yes");
    mesh.done("mesh namespaces create orders --shards 8 --self-approval --reason test");
    let second = moment();
    mesh.done("mesh peers uncordon node-2");
    mesh.done("mesh namespaces delete orders --yes --reason test");
    mesh.done("registers delete orders --node node-1 --yes");
    mesh.until("mesh namespaces list -o json", |found| found["namespaces"].as_array().unwrap().is_empty());

    for (at, cordoned, leader, shards) in [(&first, false, "node-1", 0), (&second, true, "node-3", 8)] {
        let peers = list(&mesh, &format!("mesh peers list --at {at}"));
        let found = peer(&peers, "node-2");
        assert_eq!(found["cordoned"].as_bool().unwrap_or(false), cordoned, "{at}: {found}");
        for moving in ["health", "rttMs", "lastSeen"] {
            assert!(found.get(moving).is_none_or(Value::is_null), "{at}: {moving} of {found}");
        }
        let told = humantime::parse_rfc3339(peers["generatedAt"].as_str().unwrap()).unwrap();
        assert_eq!(told, humantime::parse_rfc3339(at).unwrap(), "ages are of then");
        let leaders = list(&mesh, &format!("mesh leaders list --at {at}"));
        let nightly = leaders["scopes"].as_array().unwrap().iter().find(|it| it["scope"] == "jobs/nightly");
        assert_eq!(nightly.unwrap()["leaderId"], leader, "{at}: {leaders}");
        let led = list(&mesh, &format!("mesh leaders list --leader {leader} --at {at}"));
        assert!(ids(&led, "scopes", "scope").contains(&"jobs/nightly".to_owned()), "{at}: {led}");
        let found = list(&mesh, &format!("mesh shards list --at {at}"));
        assert_eq!(found["totalSize"].as_u64().unwrap_or(0), shards, "{at}: {found}");
        let registers = list(&mesh, &format!("registers list --node node-1 --at {at}"));
        assert_eq!(ids(&registers, "registers", "registerId"), ["orders"], "{at}");
        let advertised = list(&mesh, &format!("registers advertisements --at {at}"));
        assert_eq!(ids(&advertised, "advertisements", "registerId"), ["orders"], "{at}");
        let available = list(&mesh, &format!("registers available --at {at}"));
        assert_eq!(ids(&available, "registers", "registerId"), ["orders"], "{at}");
        let relays = list(&mesh, &format!("relays list --at {at}"));
        assert_eq!(ids(&relays, "relays", "relayId").len(), 3);
        assert!(relays["relays"][0]["lastHeartbeatUnixMs"].as_str().is_none_or(|at| at == "0"), "{relays}");
    }
    // Pages go on at the moment of the first one, whatever happens meanwhile.
    let begun = list(&mesh, "mesh peers list --limit 1 --page-size 1 --at 0s");
    mesh.done("mesh peers cordon node-3 --reason test");
    let token = begun["nextPageToken"].as_str().unwrap();
    let rest = list(&mesh, &format!("mesh peers list --page-size 1 --at 0s --page-token {token}"));
    assert!(!peer(&rest, "node-3")["cordoned"].as_bool().unwrap_or(false), "{rest}");
    // A place in the log is a moment as well.
    let pages = list(&mesh, &format!("mesh peers list --page-size 1 --at {second}"));
    assert_eq!(ids(&pages, "peers", "nodeId"), ["node-1", "node-2", "node-3"]);
    assert_eq!(peer(&pages, "node-2")["cordoned"], true);
    let cursor = pages["cursor"].as_str().unwrap();
    assert_eq!(peer(&list(&mesh, &format!("mesh peers list --at {cursor}")), "node-2")["cordoned"], true);
    let now = list(&mesh, "mesh peers list --at 0s");
    assert!(!peer(&now, "node-2")["cordoned"].as_bool().unwrap_or(false), "{now}");
    let told = mesh.program.run(&format!("mesh peers list --at {first}"));
    assert!(told.stderr.contains("As it was at 20"), "{told:?}");
}

#[test]
fn what_cannot_be_known_is_refused_with_what_can() {
    let mesh = Mesh::up();
    for (line, code, said) in [
        ("mesh peers list --at 2001-01-01T00:00:00Z", 3, "it begins at 20"),
        ("mesh peers list --at 2999-01-01T00:00:00Z", 2, "yet to come"),
        ("mesh peers list --at ff:1", 4, "begun anew"),
        ("mesh peers list --at yesterday", 2, "such as 14:02"),
        ("mesh peers list --at 1s --filter health=alive", 2, "not in the history"),
        ("mesh peers list --at 1s --watch", 2, "a moment that is over"),
    ] {
        let ended = mesh.program.run(line);
        assert!(ended.code == code && ended.stderr.contains(said), "{line}: {ended:?}");
    }
    let rows = mesh.until("mesh peers round-trips -o json", |found| {
        let rows = found["rows"].as_array().unwrap();
        rows.len() == 3
            && rows.iter().all(|row| row["roundTrips"].as_array().is_some_and(|row| row.len() == 2))
    });
    assert!(!rows["byZone"].as_bool().unwrap_or(false), "{rows}");
    let one = mesh.program.run("mesh peers round-trips node-2 -o json").json();
    assert_eq!(ids(&one, "rows", "from"), ["node-2"]);
    assert_eq!(mesh.program.run("mesh peers round-trips nobody").code, 3);
}
