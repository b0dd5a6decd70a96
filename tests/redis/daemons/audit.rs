//! Rows of the audit trail that somebody wrote to Redis by hand: each is found and named.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use prost::Message as _;
use serde_json::Value;

use super::mesh::Mesh;
use crate::process::clean;
use crate::process::until;
use crate::servers::RedisServer;

/// Behind the time and before the writer: flags, version, revision, created and updated.
const HEAD_BYTES: usize = 1 + 4 * 8;
const REVISION_AT: usize = 9;
const CREATED_AT: usize = 17;

/// A mesh of one node on a server of its own, and the rows of its trail.
struct Trail {
    server: RedisServer,
    mesh: Mesh,
}

impl Trail {
    /// A trail of which everything is sealed.
    async fn sealed() -> Result<Self> {
        let server = RedisServer::start(&[])?;
        let mesh = Mesh::start(&server.url(), 1).await?;
        for _ in 0..3 {
            mesh.first().cordon("n1", "test").await?.ok()?;
        }
        let trail = Self { server, mesh };
        until("everything is sealed", async || {
            let (code, verdict) = trail.verify()?;
            Ok(code == Some(0) && verdict["unsealed"] == "0")
        })
        .await?;
        Ok(trail)
    }

    fn run(&self, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
        let mut command = clean(env!("CARGO_BIN_EXE_omnirelay"));
        let address = self.mesh.nodes[0].daemon.url("");
        command.args(["--addr", &address]).args(arguments).stdin(Stdio::null());
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
        Ok((output.status.code(), String::from_utf8(output.stdout)?, String::from_utf8(output.stderr)?))
    }

    fn verify(&self) -> Result<(Option<i32>, Value)> {
        let (code, output, error) = self.run(&["audit", "verify", "-o", "json"])?;
        let verdict = serde_json::from_str(&output).with_context(|| format!("{code:?}: {output}{error}"))?;
        Ok((code, verdict))
    }

    /// Refuses a verdict other than this finding of this record, and nothing else.
    fn expect(&self, wrong: &str, record: &str) -> Result<()> {
        let (code, verdict) = self.verify()?;
        let findings = verdict["findings"].as_array().context("no findings")?;
        let named = findings.iter().all(|one| one["wrong"] == wrong && one["recordId"] == record);
        ensure!(code == Some(10) && findings.len() == 1 && named, "{wrong} {record}: {code:?} {verdict}");
        Ok(())
    }

    fn key(of: &str) -> String {
        format!("{{omnirelay:default}}:{of}:audit")
    }

    fn ids(&self) -> Result<Vec<String>> {
        self.server.cli(&["ZRANGE", &Self::key("order"), "0", "-1"])
    }

    fn row(&self, id: &str) -> Result<Vec<u8>> {
        self.server.cli(&["HGET", &Self::key("records"), id])
    }

    /// Writes a row, in hex and by a script, because arguments here are text.
    fn write(&self, id: &str, row: &[u8]) -> Result<()> {
        let hex: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let script = "local row = ARGV[2]:gsub('..', function(h) return string.char(tonumber(h, 16)) end) \
                      redis.call('HSET', KEYS[1], ARGV[1], row) \
                      return redis.call('ZADD', KEYS[2], 0, ARGV[1])";
        let (rows, order) = (Self::key("records"), Self::key("order"));
        self.server.cli::<i64>(&["EVAL", script, "2", &rows, &order, id, &hex]).map(drop)
    }

    fn remove(&self, id: &str) -> Result<()> {
        self.server.cli::<i64>(&["HDEL", &Self::key("records"), id])?;
        self.server.cli::<i64>(&["ZREM", &Self::key("order"), id]).map(drop)
    }
}

/// The row of another record, with another number in its head.
fn with_number(row: &[u8], at: usize, number: u64) -> Vec<u8> {
    let mut row = row.to_vec();
    row[at..at + 8].copy_from_slice(&number.to_be_bytes());
    row
}

/// The row of another record, in the name of another node.
fn in_the_name_of(row: &[u8], node_id: &str) -> Result<Vec<u8>> {
    let writer = usize::from(u16::from_be_bytes([row[HEAD_BYTES], row[HEAD_BYTES + 1]]));
    let (head, value) = row.split_at(HEAD_BYTES + 2 + writer);
    let value =
        AuditValue { node_id: node_id.to_owned(), ..AuditValue::decode(Bytes::copy_from_slice(value))? };
    Ok([head, value.encode_to_vec().as_slice()].concat())
}

fn number(row: &[u8], at: usize) -> u64 {
    row[at..at + 8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_somebody_wrote_are_found_and_named() -> Result<()> {
    let trail = Trail::sealed().await?;
    let id = trail.ids()?.last().context("no record")?.clone();
    let (row, added) = (trail.row(&id)?, format!("{id}0"));

    trail.write(&added, &with_number(&row, REVISION_AT, (1 << 53) - 2))?;
    trail.expect("added", &added)?;

    // Nobody of this name was ever here, and the row is not of just now.
    let old = with_number(&row, CREATED_AT, number(&row, CREATED_AT) - 60_000);
    let foreign = in_the_name_of(&old, "nobody")?;
    trail.write(&added, &foreign)?;
    trail.expect("unclaimed", &added)?;
    trail.remove(&added)?;

    for spoilt in [[&[0xff], &row[1..]].concat(), row[..5].to_vec(), Vec::new()] {
        trail.write(&added, &spoilt)?;
        trail.expect("unreadable", &added)?;
        trail.remove(&added)?;
        trail.write(&id, &spoilt)?;
        trail.expect("unreadable", &id)?;
        let (code, _, error) = trail.run(&["audit", "list"])?;
        ensure!(
            code == Some(1) && error.contains(&id) && error.contains("omnirelay audit verify"),
            "{code:?}: {error}"
        );
        trail.write(&id, &row)?;
    }
    let (code, verdict) = trail.verify()?;
    ensure!(code == Some(0) && verdict["unsealed"] == "0", "mended: {verdict}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seal_that_cannot_be_read_is_found_and_named() -> Result<()> {
    let trail = Trail::sealed().await?;
    let (order, rows) = ("{omnirelay:default}:order:audit-seal", "{omnirelay:default}:records:audit-seal");
    let seals: Vec<String> = trail.server.cli(&["ZRANGE", order, "0", "-1"])?;
    let newest = seals.last().context("no seal")?;
    trail.server.cli::<i64>(&["HSET", rows, newest, "x"])?;
    let (code, verdict) = trail.verify()?;
    let chain = newest.split('/').nth(1).context("no chain")?;
    let name = format!("{chain}/{}", seals.len());
    let findings = verdict["findings"].as_array().context("no findings")?;
    let named = findings.iter().any(|one| one["wrong"] == "changed" && one["seal"] == name);
    ensure!(code == Some(10) && named, "{code:?} {newest}: {verdict}");
    Ok(())
}
