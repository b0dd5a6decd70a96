//! The audit trail of real daemons: killed, restarted, tampered with, exported.

use omnirelay_wire::tls::nobody;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use omnirelay_audit::AUDIT_SEAL;
use omnirelay_registry::audit_record::AUDIT;
use omnirelay_store::{
    Commit, EmbeddedStore, PAGE_MAX, Pulse, Record, RecordId, RecordKind, Scan, Store, Write,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::process::{Daemon, PATIENCE, Place, clean, pause};

/// How a command of the program ended, and what it printed.
struct Ended {
    code: Option<i32>,
    output: String,
}

impl Ended {
    fn json(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.output)?)
    }
}

fn omnirelay(daemon: Option<&Daemon>, arguments: &[&str]) -> Result<Ended> {
    let mut command = clean(env!("CARGO_BIN_EXE_omnirelay"));
    // Without a daemon nobody listens where it would be looked for.
    let address = daemon.map_or("http://127.0.0.1:1".to_owned(), |daemon| daemon.url(""));
    command.args(["--addr", &address]).args(arguments);
    let output = command.stdout(Stdio::piped()).output()?;
    Ok(Ended { code: output.status.code(), output: String::from_utf8(output.stdout)? })
}

/// A daemon that leads nothing: its elections would be in the trail as well.
fn place() -> Result<Place> {
    // What is recorded here is what the tests do: that the node itself comes and goes is not counted.
    let own = ["--node-id", "a", "--set", "mesh.leadership.enabled=false", "--set", "audit.membership=false"];
    Place::new(&own)
}

/// Changes something `count` times, which leaves as many records.
async fn act(daemon: &Daemon, count: usize) -> Result<()> {
    for number in 0..count {
        let verb = ["cordon", "uncordon"][number % 2];
        let path = format!("/control/peers/{}:{verb}", daemon.node_id);
        let (status, answer) = daemon.post(&path, &json!({"reason": "test"})).await?;
        ensure!(status == 200, "{answer}");
    }
    Ok(())
}

/// Returns the verdict once it is sound and nothing is unsealed.
fn sealed(daemon: &Daemon) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let ended = omnirelay(Some(daemon), &["audit", "verify", "-o", "json"])?;
        ensure!(ended.code == Some(0), "{}", ended.output);
        let verdict = ended.json()?;
        if verdict["unsealed"] == "0" {
            return Ok(verdict);
        }
        ensure!(begun.elapsed() < PATIENCE, "records stay unsealed: {verdict}");
        std::thread::sleep(pause(begun));
    }
}

/// The first finding, once it names this record: a node first puts back the seal that it signed last.
fn found(daemon: &Daemon, record_id: &str) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let ended = omnirelay(Some(daemon), &["audit", "verify", "-o", "json"])?;
        ensure!(ended.code == Some(10), "{}", ended.output);
        let finding = ended.json()?["findings"][0].clone();
        if finding["recordId"] == record_id {
            return Ok(finding);
        }
        ensure!(begun.elapsed() < PATIENCE, "{finding}");
        std::thread::sleep(pause(begun));
    }
}

/// The stopped daemon's store, to write to it as an intruder would.
struct Intruder(EmbeddedStore);

impl Intruder {
    fn open(place: &Place) -> Result<Self> {
        Ok(Self(EmbeddedStore::open(&place.data_dir())?))
    }

    async fn all(&self, kind: RecordKind) -> Result<Vec<Record>> {
        let scan = Scan { kind, after: None, backwards: false, limit: PAGE_MAX };
        let records = self.0.scan(scan).await?.records;
        Ok(records.into_iter().filter(|record| !record.deleted).collect())
    }

    async fn write(&self, writes: Vec<Write>) -> Result<()> {
        let epoch = self.0.pulse(Pulse::default()).await?.epoch;
        self.0.commit(Commit { epoch, writes, writer: "a".into(), ..Commit::default() }).await?;
        Ok(())
    }
}

fn put(id: &RecordId, value: Bytes) -> Write {
    Write::Put { id: id.clone(), value, group: None }
}

fn delete(record: &Record) -> Write {
    Write::Delete { id: record.id.clone() }
}

#[tokio::test]
async fn what_a_killed_daemon_left_unsealed_is_sealed_at_its_next_start() -> Result<()> {
    let place = place()?;
    let mut records = 0;
    for round in 0..3 {
        let daemon = place.start()?;
        act(&daemon, 6).await?;
        records += 6;
        // Some of these rounds end within a second of the last seal.
        std::thread::sleep(Duration::from_millis(400 * round));
        daemon.kill()?;
        let daemon = place.start()?;
        let verdict = sealed(&daemon)?;
        assert_eq!(verdict["sealed"], records.to_string());
        daemon.kill()?;
    }
    let key = place.data_dir().join("audit/a/key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(key)?.permissions());
    assert_eq!(mode & 0o777, 0o600);
    Ok(())
}

#[tokio::test]
async fn what_was_forged_while_a_daemon_was_away_is_told_from_what_it_left_unsealed() -> Result<()> {
    for forged in [false, true] {
        let place = place()?;
        let daemon = place.start()?;
        act(&daemon, 4).await?;
        sealed(&daemon)?;
        act(&daemon, 2).await?;
        daemon.kill()?;
        let intruder = Intruder::open(&place)?;
        let records = intruder.all(AUDIT).await?;
        let newest = records.last().context("a record")?;
        // All that it says is what the node says, but the key.
        let id = RecordId::new(AUDIT, format!("{}0", newest.id.key));
        if forged {
            intruder.write(vec![put(&id, newest.value.clone())]).await?;
        }
        drop(intruder);
        let daemon = place.start()?;
        if !forged {
            assert_eq!(sealed(&daemon)?["sealed"], "6");
            continue;
        }
        let finding = sealed_finding(&daemon)?;
        let named = |finding: &Value| {
            assert_eq!(
                (&finding["wrong"], &finding["nodeId"]),
                (&json!("foreign"), &json!("a")),
                "{finding}"
            );
            assert_eq!(finding["recordId"], *id.key);
        };
        named(&finding);
        let text = omnirelay(Some(&daemon), &["audit", "verify"])?.output;
        assert!(text.contains("it claims to be of node `a`, which did not write it"), "{text}");
        let file = place.directory.path().join("audit.jsonl");
        let path = file.display().to_string();
        assert_eq!(omnirelay(Some(&daemon), &["audit", "export", &path])?.code, Some(0));
        daemon.kill()?;
        let verdict = verify_file(&file, &[])?;
        assert_eq!(verdict.code, Some(10), "{}", verdict.output);
        named(&verdict.json()?["findings"][0]);
    }
    Ok(())
}

/// The only finding, once everything is sealed.
fn sealed_finding(daemon: &Daemon) -> Result<Value> {
    let begun = Instant::now();
    loop {
        let ended = omnirelay(Some(daemon), &["audit", "verify", "-o", "json"])?;
        let verdict = ended.json()?;
        let findings = verdict["findings"].as_array().map_or(0, Vec::len);
        if verdict["unsealed"] == "0" && findings == 1 {
            ensure!(ended.code == Some(10), "{verdict}");
            return Ok(verdict["findings"][0].clone());
        }
        ensure!(begun.elapsed() < PATIENCE, "{verdict}");
        std::thread::sleep(pause(begun));
    }
}

#[tokio::test]
async fn what_an_intruder_did_to_the_store_is_found_and_named() -> Result<()> {
    type Tamper = fn(&[Record], &[Record]) -> Vec<Write>;
    let cases: [(&str, &str, Tamper); 4] = [
        ("a changed byte", "changed", |records, _| {
            let mut value = records[2].value.to_vec();
            let last = value.len() - 1;
            value[last] ^= 1;
            vec![put(&records[2].id, value.into())]
        }),
        ("a removed record", "missing", |records, _| vec![delete(&records[2])]),
        ("two swapped records", "changed", |records, _| {
            let (a, b) = (&records[2], &records[3]);
            vec![put(&a.id, b.value.clone()), put(&b.id, a.value.clone())]
        }),
        ("the newest record and its seal removed", "missing", |records, seals| {
            // Which record is the third does not matter here.
            let newest = seals.last().map(delete);
            [delete(&records[2])].into_iter().chain(newest).collect()
        }),
    ];
    for (what, wrong, tamper) in cases {
        let place = place()?;
        let daemon = place.start()?;
        act(&daemon, 4).await?;
        sealed(&daemon)?;
        daemon.signal("TERM")?;
        ensure!(daemon.wait()?.success());
        let intruder = Intruder::open(&place)?;
        let (records, seals) = (intruder.all(AUDIT).await?, intruder.all(AUDIT_SEAL).await?);
        intruder.write(tamper(&records, &seals)).await?;
        drop(intruder);
        let daemon = place.start()?;
        let finding = found(&daemon, &records[2].id.key).with_context(|| what.to_owned())?;
        assert_eq!(finding["wrong"], wrong, "{what}: {finding}");
        let text = omnirelay(Some(&daemon), &["audit", "verify"])?.output;
        assert!(text.contains("NOT SOUND") && text.contains(&records[2].id.key), "{what}: {text}");
    }
    Ok(())
}

fn verify_file(file: &Path, more: &[&str]) -> Result<Ended> {
    let file = file.display().to_string();
    omnirelay(None, &[&["audit", "verify", &file, "-o", "json"], more].concat())
}

/// An export without its seals, ended anew.
fn without_seals(export: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = export.split_inclusive(|byte| *byte == b'\n').collect();
    let is_seal = |line: &&&[u8]| line.starts_with(b"{\"seal\"");
    let kept: Vec<&[u8]> = lines[..lines.len() - 1].iter().filter(|line| !is_seal(line)).copied().collect();
    let mut edited = kept.concat();
    let hash: String = Sha256::digest(&edited).iter().map(|byte| format!("{byte:02x}")).collect();
    // All but the first are records now.
    let end = json!({"end": {"records": kept.len() - 1, "seals": 0, "sha256": hash}});
    edited.extend_from_slice(format!("{end}\n").as_bytes());
    edited
}

#[tokio::test]
async fn an_export_is_checked_without_a_daemon_and_every_byte_of_it_counts() -> Result<()> {
    let place = place()?;
    let daemon = place.start()?;
    act(&daemon, 5).await?;
    let file = place.directory.path().join("audit.jsonl");
    let path = file.display().to_string();
    // It waits for the seal of what was done a moment ago.
    assert_eq!(omnirelay(Some(&daemon), &["audit", "export", &path])?.code, Some(0));
    let printed = omnirelay(Some(&daemon), &["audit", "export"])?.output;
    let key = daemon.get("/control/peers/a").await?["peer"]["metadata"]["auditKey"].clone();
    let key = format!("a={}", key.as_str().context("the key of the node")?);
    daemon.kill()?;

    let verdict = verify_file(&file, &[])?;
    assert_eq!((verdict.code, &verdict.json()?["sealed"]), (Some(0), &json!("5")), "{}", verdict.output);
    assert_eq!(verdict.json()?["unsealed"], "0");
    assert_eq!(verify_file(&file, &["--key", &key])?.code, Some(0));
    let other = "a=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let verdict = verify_file(&file, &["--key", other])?;
    assert_eq!((verdict.code, &verdict.json()?["findings"][0]["wrong"]), (Some(10), &json!("unknown_key")));

    let text = std::fs::read(&file)?;
    let lines =
        |text: &[u8]| text.split(|byte| *byte == b'\n').skip(1).map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert_eq!(lines(printed.as_bytes())[..6], lines(&text)[..6], "standard output gets the same");
    let spoilt = place.directory.path().join("spoilt.jsonl");
    for at in (0..text.len()).step_by(31).chain(text.len() - 12..text.len()) {
        let mut changed = text.clone();
        changed[at] ^= 1;
        std::fs::write(&spoilt, changed)?;
        let verdict = verify_file(&spoilt, &[])?;
        assert_eq!(verdict.code, Some(10), "byte {at}: {}", verdict.output);
    }
    for (what, cut) in [("the last line", 1), ("the last record", 2)] {
        let kept: Vec<Vec<u8>> = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        std::fs::write(&spoilt, kept[..kept.len() - cut].concat())?;
        assert_eq!(verify_file(&spoilt, &[])?.code, Some(10), "{what} is cut off");
    }
    std::fs::write(&spoilt, without_seals(&text))?;
    let verdict = verify_file(&spoilt, &["--key", &key])?;
    let finding = &verdict.json()?["findings"][0];
    assert_eq!(
        (verdict.code, &finding["wrong"], &finding["nodeId"]),
        (Some(10), &json!("missing"), &json!("a"))
    );
    Ok(())
}

#[tokio::test]
async fn a_filtered_export_says_what_it_left_out() -> Result<()> {
    let place = place()?;
    let daemon = place.start()?;
    act(&daemon, 5).await?;
    let file = place.directory.path().join("audit.jsonl");
    let path = file.display().to_string();
    let arguments = ["audit", "export", &path, "--action", "peers.cordon"];
    assert_eq!(omnirelay(Some(&daemon), &arguments)?.code, Some(0));
    let verdict = verify_file(&file, &[])?;
    assert_eq!(verdict.code, Some(0), "{}", verdict.output);
    let verdict = verdict.json()?;
    assert_eq!((&verdict["sealed"], &verdict["leftOut"]), (&json!("3"), &json!("2")));
    Ok(())
}

#[tokio::test]
async fn a_refused_call_is_in_the_trail_once_its_minute_is_over() -> Result<()> {
    let place = place()?;
    let daemon = place.start()?;
    for _ in 0..3 {
        let request = reqwest::Client::builder()
            .tls_backend_preconfigured(nobody())
            .build()?
            .post(daemon.url("/control/peers/a:cordon"));
        let response = request.header("origin", "https://evil.example").send().await?;
        assert_eq!(response.status(), 403);
        let read = reqwest::Client::builder()
            .tls_backend_preconfigured(nobody())
            .build()?
            .get(daemon.url("/control/peers"));
        assert_eq!(read.header("origin", "https://evil.example").send().await?.status(), 403);
    }
    let spool = place.data_dir().join("audit/a/refusals.json");
    let begun = Instant::now();
    let read = || -> Value {
        serde_json::from_slice(&std::fs::read(&spool).unwrap_or_default()).unwrap_or_default()
    };
    let count = |spooled: &Value| -> u64 {
        // Should the minute end just now, they are in a batch already, or in the trail.
        let rows = [&spooled["rows"], &spooled["batch"]["rows"], &spooled["records"]];
        let rows = rows.into_iter().filter_map(Value::as_array).flatten();
        rows.filter_map(|row| row["count"].as_u64()).sum()
    };
    while count(&read()) + count(&daemon.get("/control/audit").await?) < 6 {
        ensure!(begun.elapsed() < PATIENCE, "nothing was spooled");
        std::thread::sleep(pause(begun));
    }
    daemon.kill()?;
    // Time passes while the daemon is away.
    let mut spooled = read();
    for row in spooled["rows"].as_array_mut().context("rows")? {
        row["minute"] = json!(row["minute"].as_u64().context("minute")? - 2);
    }
    std::fs::write(&spool, spooled.to_string())?;
    let daemon = place.start()?;
    let verdict = loop {
        let verdict = sealed(&daemon)?;
        if verdict["sealed"] != "0" || begun.elapsed() > PATIENCE {
            break verdict;
        }
        std::thread::sleep(pause(begun));
    };
    assert_ne!(verdict["sealed"], "0", "the refusals are in the trail");
    let trail = daemon.get("/control/audit").await?;
    let records = trail["records"].as_array().context("no records")?;
    for action in ["peers.cordon", "reads"] {
        let told =
            records.iter().find(|record| record["action"] == action).with_context(|| trail.to_string())?;
        assert_eq!(
            (&told["count"], &told["refusal"], &told["refused"]),
            (&json!(3), &json!("ORIGIN_NOT_ALLOWED"), &json!(true))
        );
    }
    assert_eq!(records.len(), 2, "{trail}");
    Ok(())
}

#[tokio::test]
async fn a_tail_goes_on_where_it_ended() -> Result<()> {
    let place = place()?;
    let daemon = place.start()?;
    act(&daemon, 4).await?;
    let cursor = place.directory.path().join("audit.cursor").display().to_string();
    let tail = |more: &[&str]| -> Result<Vec<Value>> {
        let follow = ["audit", "tail", "-o", "jsonl", "--cursor-file", &cursor];
        let ended = omnirelay(Some(&daemon), &[&follow, more].concat())?;
        ensure!(ended.code == Some(0), "{}", ended.output);
        ended.output.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    };
    // Nothing new comes: it ends with the time, and its cursor stands behind what it showed.
    let first = tail(&["--limit", "2", "--for", "500ms"])?;
    let kinds = |lines: &[Value]| -> Vec<String> {
        lines.iter().map(|line| line["type"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(kinds(&first), ["snapshot", "snapshot"]);
    act(&daemon, 2).await?;
    let second = tail(&["--max-events", "2", "--timeout", "30s"])?;
    assert_eq!(kinds(&second).iter().filter(|kind| *kind == "added").count(), 2, "{second:?}");
    assert!(second.iter().all(|line| !first.iter().any(|told| told["record"] == line["record"])));
    act(&daemon, 1).await?;
    let third = tail(&["--max-events", "1", "--timeout", "30s"])?;
    assert_eq!(kinds(&third), ["added"], "nothing is told twice: {third:?}");
    Ok(())
}
