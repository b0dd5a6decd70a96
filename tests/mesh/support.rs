//! `omnirelay support bundle` on a mesh that runs, and commands that read what it wrote.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::servers::eventually;
use crate::up::{Mesh, hold_ports};

const FILE: &str = "mesh.tar.gz";

/// Makes a bundle of all nodes, and gives what was printed and its exit code.
fn bundle(mesh: &Mesh, further: &[&str]) -> Result<Output> {
    let file = mesh.path(FILE);
    let arguments =
        ["support", "bundle", &file.to_string_lossy(), "--all-nodes", "--yes", "--force", "-o", "json"];
    let output = mesh
        .omnirelay(&[&arguments, further].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()?;
    Ok(output)
}

fn manifest(output: &Output) -> Result<Value> {
    serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What a command prints as JSON, by the bundle or by the mesh; its exit code.
fn asked(mesh: &Mesh, by_bundle: bool, command: &[&str]) -> Result<(Option<i32>, Value)> {
    let file = mesh.path(FILE);
    let file = file.to_string_lossy();
    let bundle: &[&str] = if by_bundle { &["--support-bundle", &file] } else { &[] };
    let all = [bundle, command, &["-o", "json"]].concat();
    let output = mesh.omnirelay(&all).stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    let said = || format!("{all:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok((output.status.code(), timeless(serde_json::from_slice(&output.stdout).with_context(said)?)))
}

/// Fields that move while nothing happens.
const MOVES: [&str; 13] = [
    "rttMs",
    "tookMs",
    "durationMs",
    "diskFreeBytes",
    "clockAheadMs",
    "storeSilentMs",
    "unwell",
    "used",
    "peak",
    "added",
    "judged",
    "watchedMs",
    "nextPageToken",
];

/// A document without times, and without what is measured anew for each answer.
fn timeless(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(name, _)| !MOVES.contains(&name.as_str()));
            fields
                .map(|(name, value)| {
                    let value = match (name.as_str(), value) {
                        ("message", Value::String(text)) => Value::from(without_digits(&text)),
                        (_, value) => timeless(value),
                    };
                    (name, value)
                })
                .collect()
        }
        Value::Array(items) => items.into_iter().map(timeless).collect(),
        Value::String(text) if text.len() >= 20 && text.ends_with('Z') && text.contains('T') => {
            Value::from("time")
        }
        other => other,
    }
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

#[test]
fn commands_read_from_a_bundle_what_they_read_from_the_mesh() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up()?;
    mesh.run(&["mesh", "peers", "label", "node-2", "tier=gold"])?;
    mesh.run(&["mesh", "peers", "cordon", "node-3", "--reason", "a disk"])?;
    mesh.run(&["mesh", "namespaces", "create", "orders", "--shards", "8"])?;
    let commands: &[&[&str]] = &[
        &["mesh", "peers", "list"],
        &["mesh", "peers", "list", "--filter", "status=alive", "-l", "tier=gold"],
        &["mesh", "peers", "list", "--filter", "role=nobody"],
        &["mesh", "peers", "list", "--sort-by", "id:desc", "--filter", "health=alive"],
        &["mesh", "peers", "list", "--sort-by", "status"],
        &["mesh", "peers", "list", "--page-size", "2"],
        &["mesh", "peers", "get", "node-2"],
        &["mesh", "peers", "explain", "node-2"],
        &["mesh", "check"],
        &["mesh", "leaders", "status"],
        &["mesh", "leaders", "list", "--kind", "global"],
        &["mesh", "leaders", "explain", "global-control"],
        &["mesh", "leaders", "history", "--limit", "1"],
        &["mesh", "namespaces", "list"],
        &["mesh", "shards", "list"],
        &["mesh", "shards", "list", "--owner", "node-1", "--status", "active"],
        &["mesh", "shards", "explain", "0"],
        &["mesh", "shards", "history"],
        &["mesh", "rebalance-plans", "list"],
        &["mesh", "targets"],
        &["mesh", "capacity"],
        &["registers", "status"],
        &["ops", "list"],
        &["audit", "list", "--limit", "3"],
        &["doctor", "--node", "node-2"],
        &["mesh", "peers", "lease-health"],
    ];
    for command in commands {
        let mut seen = Vec::new();
        let same = eventually(&format!("{command:?} says the same"), || {
            let before = asked(&mesh, false, command)?;
            let made = bundle(&mesh, &[])?;
            ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            seen = vec![before, asked(&mesh, true, command)?];
            Ok(seen[0] == seen[1])
        });
        same.with_context(|| format!("{seen:#?}"))?;
    }
    Ok(())
}

#[test]
fn a_node_that_was_killed_is_missing_with_the_reason() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up()?;
    let _ports = hold_ports();
    mesh.run(&["dev", "kill", "node-3"])?;
    let made = bundle(&mesh, &[])?;
    assert_eq!(made.status.code(), Some(7), "{}", String::from_utf8_lossy(&made.stderr));
    let manifest = manifest(&made)?;
    let nodes: Vec<&str> = items(&manifest, "nodes").filter_map(|node| node["nodeId"].as_str()).collect();
    assert_eq!(nodes, ["node-1", "node-2"]);
    let missing =
        items(&manifest, "missing").find(|missing| missing["nodeId"] == "node-3").context("node-3")?;
    assert!(missing["why"].as_str().is_some_and(|why| why.contains(": ")), "{missing}");
    let (code, list) = asked(&mesh, true, &["mesh", "peers", "list"])?;
    assert_eq!((code, items(&list, "peers").count()), (Some(0), 3));
    Ok(())
}

#[test]
fn what_is_no_read_is_refused_and_a_file_is_written_once() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up()?;
    let file = mesh.path(FILE);
    let path = file.to_string_lossy().into_owned();
    let node_2 = ["support", "bundle", &path, "--node", "node-2"];
    let ended = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let output = mesh
            .omnirelay(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let (code, said) = ended(&node_2)?;
    assert!(code == Some(2) && said.contains("--yes") && !file.exists(), "{said}");
    let (code, said) = ended(&[&node_2[..], &["--dry-run"]].concat())?;
    assert!(code == Some(0) && said.contains("Never in it") && !file.exists(), "{said}");
    let (code, said) = ended(&[&node_2[..], &["--yes"]].concat())?;
    assert_eq!((code, file.metadata()?.permissions().mode() & 0o777), (Some(0), 0o600), "{said}");
    let (code, said) = ended(&[&node_2[..], &["--yes"]].concat())?;
    assert!(code == Some(2) && said.contains("--force"), "{said}");
    let by_bundle = |command: &[&str]| ended(&[&["--support-bundle", &path], command].concat());
    let (code, said) = by_bundle(&["mesh", "peers", "list"])?;
    assert!(code == Some(0) && said.contains("as node-2 had it"), "{said}");
    let refused: &[&[&str]] = &[
        &["mesh", "peers", "cordon", "node-1"],
        &["mesh", "leaders", "step-down", "global-control", "--yes"],
        &["mesh", "peers", "list", "--watch"],
        &["events", "tail"],
        &["audit", "export"],
        &["api", "POST", "/control/peers/node-1:cordon"],
    ];
    for command in refused {
        let (code, said) = by_bundle(command)?;
        assert!(code == Some(2) && said.contains("a support bundle"), "{command:?}: {code:?} {said}");
    }
    let (code, said) = by_bundle(&["mesh", "peers", "ping", "node-1"])?;
    assert!(code == Some(3) && said.contains("has no answer"), "{said}");
    let garbage = mesh.path("garbage");
    std::fs::write(&garbage, b"hello")?;
    let (code, said) = ended(&["--support-bundle", &garbage.to_string_lossy(), "mesh", "check"])?;
    assert!(code == Some(2) && said.contains("no support bundle"), "{said}");
    Ok(())
}

fn items<'a>(document: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    document[name].as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// Of five nodes it takes 10 s at most, and 5 MB each. The figures are printed.
#[test]
fn a_bundle_of_five_nodes_is_small_and_soon_made() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh.up_with(&["--nodes", "5"])?;
    mesh.run(&["mesh", "namespaces", "create", "orders", "--shards", "128"])?;
    let begun = Instant::now();
    let made = bundle(&mesh, &[])?;
    let took = begun.elapsed();
    let (manifest, packed) = (manifest(&made)?, mesh.path(FILE).metadata()?.len());
    assert_eq!(
        (made.status.code(), items(&manifest, "nodes").count()),
        (Some(0), 5),
        "{:?}",
        manifest["missing"]
    );
    let mut most = 0;
    for node in items(&manifest, "nodes") {
        let of_node = items(&manifest, "files").filter(|file| file["nodeId"] == node["nodeId"]);
        let bytes: u64 = of_node.filter_map(|file| file["bytes"].as_u64()).sum();
        most = most.max(bytes);
    }
    println!("five nodes: {took:?}, {packed} bytes packed, at most {most} bytes of a node unpacked");
    assert!(took.as_secs() < 10 && most < 5_000_000, "{took:?}, {most} bytes of a node");
    Ok(())
}

/// A secret, by its number.
fn secret(number: usize) -> String {
    format!("pl{number:02}nted-{}-secret", number * 7919)
}

/// How it may be written.
fn encodings(secret: &str) -> [String; 5] {
    let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    [secret.to_owned(), STANDARD_NO_PAD.encode(secret), URL_SAFE_NO_PAD.encode(secret), hex, percent]
}

/// All bytes of the bundle, unpacked.
fn unpacked(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Settings with secrets in them: passwords, URLs, names that nobody else is to know. `%N` is secret N.
const SETTINGS: [&str; 13] = [
    "relay.publish.password=%1",
    "relay.sinks.redis.url=redis://u:%2@127.0.0.1:9/0",
    "relay.sinks.http.url=http://127.0.0.1:9/%3?q=%4",
    "security.oidc.issuer=https://127.0.0.1:9/%5",
    "security.oidc.audience=%6",
    "security.oidc.jwksUrl=https://127.0.0.1:9/%7?q=%8",
    "mesh.shards.webhook.url=https://127.0.0.1:9/%9?t=%10",
    "registers.peerServices=[\"http://127.0.0.1:9/%12\",\"http://127.0.0.1:7/%16\",\"http://127.0.0.1:6/%18\"]",
    "relay.sinks.file.prefix=%13",
    "relay.sinks.redis.stream=%14",
    "registers.resyncPeers=[\"https://127.0.0.1:9/%15\"]",
    "log.filter=info,%17=info",
    "mesh.shards.webhook.secretFile=",
];
/// In a file that a setting names, and in another one of the data directory.
const IN_FILES: [usize; 2] = [11, 19];
/// In variables of the daemon, and of the command.
const DAEMON_VARIABLES: std::ops::Range<usize> = 20..27;
const COMMAND_VARIABLES: std::ops::Range<usize> = 27..31;
/// In a call: its path, its query, its headers and its body.
const CALL: std::ops::Range<usize> = 31..39;
/// In the reason of an operator, as a word and in a URL.
const REASON: [usize; 2] = [39, 40];
const SECRETS: std::ops::RangeInclusive<usize> = 1..=40;

fn planted(text: &str) -> String {
    // From the last on, so that the first digit of one is not taken for another.
    SECRETS.rev().fold(text.to_owned(), |text, number| text.replace(&format!("%{number}"), &secret(number)))
}

/// A mesh in which all of them are planted.
fn mesh_with_secrets(mesh: &Mesh) -> Result<crate::up::Up> {
    let [file, other] = ["webhook.secret", "other.secret"].map(|name| mesh.path(name));
    for (path, number) in [&file, &other].into_iter().zip(IN_FILES) {
        std::fs::write(path, format!("{0}{0}", secret(number)))?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    let mut arguments =
        vec!["--nodes".to_owned(), "2".to_owned(), "--service".to_owned(), "relay".to_owned()];
    for setting in SETTINGS {
        let of_file =
            if setting.ends_with('=') { file.to_string_lossy().into_owned() } else { String::new() };
        arguments.extend(["--set".to_owned(), planted(setting) + &of_file]);
    }
    let variables: Vec<(String, String)> =
        DAEMON_VARIABLES.map(|number| (format!("PLANTED_{number}_TOKEN"), secret(number))).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    mesh.up_in(&variables, &arguments)
}

/// Calls a daemon with a secret wherever a call has room for one.
fn call_with_secrets(address: &str) -> Result<()> {
    let mut numbers = CALL.map(secret);
    let mut next = || numbers.next().unwrap_or_default();
    let basic = STANDARD_NO_PAD.encode(format!("u:{}", next()));
    let body = format!("{{\"{}\":\"{}\"}}", next(), next());
    let request = format!(
        "POST /control/peers/{}:cordon?token={} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {basic}\r\nCookie: s={}\r\n\
         User-Agent: {}\r\nX-Api-Key: {}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        next(),
        next(),
        next(),
        next(),
        next(),
        body.len(),
    );
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    Ok(())
}

#[test]
fn no_secret_is_in_a_bundle_however_it_is_written() -> Result<()> {
    let mesh = Mesh::new()?;
    let _up = mesh_with_secrets(&mesh)?;
    let context = mesh.json(&["context", "current", "-o", "json"])?;
    let address =
        context["addresses"][0].as_str().and_then(|url| url.strip_prefix("http://")).context("address")?;
    call_with_secrets(address)?;
    let [word, url] = REASON.map(secret);
    mesh.run(&[
        "mesh",
        "peers",
        "cordon",
        "node-2",
        "--reason",
        &format!("see {word} https://u:{url}@h/{url}?q={url}"),
    ])?;
    // What may be shown is found, so what may not be would be.
    mesh.run(&["mesh", "peers", "label", "node-2", "shown=label-that-is-shown"])?;
    eventually("the daemon has complained of what it cannot reach", || {
        Ok(std::fs::read_to_string(mesh.path("up.log"))?.contains(&secret(12)))
    })?;
    let file = mesh.path(FILE);
    let mut command = mesh.omnirelay(&["support", "bundle", &file.to_string_lossy(), "--all-nodes", "--yes"]);
    command.envs(COMMAND_VARIABLES.map(|number| (format!("PLANTED_{number}"), secret(number))));
    let made = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
    let said = [made.stdout, made.stderr].concat();
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&said));
    let all = [unpacked(&file)?, said].concat();
    let text = String::from_utf8_lossy(&all).to_ascii_lowercase();
    let has = |needle: &str| text.contains(&needle.to_ascii_lowercase());
    for shown in [
        "label-that-is-shown",
        "advertisements could not be pushed",
        "http://127.0.0.1:9/***",
        "see *** https://h/***",
    ] {
        assert!(has(shown), "{shown} is not in it");
    }
    let mut looked_for = 0;
    for number in SECRETS {
        for (encoding, needle) in encodings(&secret(number)).iter().enumerate() {
            looked_for += 1;
            assert!(!has(needle), "secret {number} is in it, in encoding {encoding}");
        }
    }
    println!("{looked_for} looked for, 0 found, in {} bytes", all.len());
    assert_eq!(looked_for, 200);
    Ok(())
}
