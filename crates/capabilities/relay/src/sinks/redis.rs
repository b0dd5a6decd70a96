//! Lines as entries of a Redis Stream.

use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{Pipeline, Value, cmd, from_redis_value_ref};
use async_trait::async_trait;
use omnirelay_store::redis::link::{ConnectionHello, LinkError, MasterLink, RedisOptions};
use omnirelay_store::redis::url::RedisUrl;
use omnirelay_store::url::UrlSecret;

use super::envelope::SinkBatch;
use super::queue::WriteBounds;
use super::worker::{SinkWriter, WriteError};

/// Fewer than a connection may have in flight.
const BOUNDS: WriteBounds = WriteBounds { frames: 1000, bytes: 1024 * 1024 };
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How much longer an answer may take for each MiB that is sent: a slow line takes as long.
const MIB_TIMEOUT: Duration = Duration::from_secs(2);
/// After so many failures lines are sent one by one, so that each has the line to the server for itself.
const FAILURES_MAX: u32 = 3;
/// The settings of a server that limit what it reads of one client.
const LIMITS: [&str; 2] = ["proto-max-bulk-len", "client-query-buffer-limit"];
/// About the most bytes of lines in one go.
const PIECE_BYTES: usize = 4 * 1024 * 1024;
/// How long the server may do nothing before those who wait give up.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Adds entries to a stream.
pub(super) struct RedisWriter {
    link: MasterLink,
    stream: String,
    entries_max: usize,
    /// How many lines of the batches that failed last were taken before.
    written: usize,
    /// How often they have failed since a line was taken.
    failures: u32,
    alone: bool,
}

/// Greeting that takes any server.
struct AnyServer;

#[async_trait]
impl ConnectionHello for AnyServer {
    async fn greet(&self, _connection: &mut MultiplexedConnection) -> Result<(), LinkError> {
        Ok(())
    }
}

impl RedisWriter {
    /// Begins without connecting.
    pub(super) fn new(url: RedisUrl, password: Option<UrlSecret>, stream: &str, entries_max: usize) -> Self {
        let options = RedisOptions {
            password,
            hash_tag: Some(hash_tag(stream).to_owned()),
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            ..RedisOptions::default()
        };
        let link = MasterLink::new(url, options, Arc::new(AnyServer));
        Self { link, stream: stream.to_owned(), entries_max, written: 0, failures: 0, alone: false }
    }

    /// Writes what is left of these lines.
    async fn write_on(&mut self, lines: &[(&str, &[u8])]) -> Result<(), WriteError> {
        while let Some(left) = lines.get(self.written..).filter(|left| !left.is_empty()) {
            let now = &left[..piece(left, self.alone)];
            let outcome = self.link.pipeline_within(&self.commands(now), time_for(now)).await;
            match outcome {
                Ok(()) => {
                    self.written += now.len();
                    self.failures = 0;
                }
                Err(error) => return Err(self.failed(now, &error).await),
            }
        }
        Ok(())
    }

    async fn failed(&mut self, lines: &[(&str, &[u8])], error: &LinkError) -> WriteError {
        self.failures = self.failures.saturating_add(1);
        let said = said(error);
        let protocol =
            matches!(error, LinkError::Refused { detail, .. } if detail.contains("invalid bulk length"));
        // A server that is given too much breaks the connection, and its reason with it.
        if protocol || (self.alone && self.failures >= FAILURES_MAX && self.is_too_long(lines).await) {
            return WriteError::Refused(format!("an entry is larger than the server takes: {said}"));
        }
        self.alone |= self.failures >= FAILURES_MAX;
        WriteError::Failed(said)
    }

    /// Whether the server says that it never takes as much. It need not say anything.
    async fn is_too_long(&self, lines: &[(&str, &[u8])]) -> bool {
        let longest = lines.iter().map(|(_, line)| line.len()).max().unwrap_or(0);
        for limit in LIMITS {
            let Ok(answer) = self.link.call(cmd("CONFIG").arg("GET").arg(limit)).await else { continue };
            if limit_of(&answer).is_some_and(|most| longest as u64 > most) {
                return true;
            }
        }
        false
    }

    /// A command for each agent's line.
    fn commands(&self, lines: &[(&str, &[u8])]) -> Pipeline {
        let mut commands = Pipeline::with_capacity(lines.len());
        for (agent_id, line) in lines {
            let command = commands.cmd("XADD").arg(&self.stream).arg("MAXLEN").arg("~").arg(self.entries_max);
            command.arg("*").arg("envelope").arg(line).arg("agent_id").arg(agent_id);
        }
        commands
    }
}

/// The part of a key that decides its place in a Cluster: what is between the first braces, else all of it.
fn hash_tag(key: &str) -> &str {
    let inner = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(inner, _)| inner);
    inner.filter(|inner| !inner.is_empty()).unwrap_or(key)
}

#[async_trait]
impl SinkWriter for RedisWriter {
    fn bounds(&self) -> WriteBounds {
        BOUNDS
    }

    async fn write(&mut self, items: &[Arc<SinkBatch>]) -> Result<(), WriteError> {
        let lines =
            items.iter().flat_map(|item| item.lines().each().map(|line| (&*item.batch.agent_id, line)));
        let lines: Vec<_> = lines.collect();
        let written = self.write_on(&lines).await;
        if !matches!(written, Err(WriteError::Failed(_))) {
            self.forget();
        }
        written
    }

    fn forget(&mut self) {
        (self.written, self.failures, self.alone) = (0, 0, false);
    }

    fn may_take(&self, items: &[Arc<SinkBatch>]) -> Duration {
        time_of(items.iter().map(|item| item.lines().text.len()).sum())
    }
}

/// How many of these lines are sent in one go: one at least.
fn piece(lines: &[(&str, &[u8])], alone: bool) -> usize {
    let mut bytes = 0;
    let fitting = lines.iter().take(BOUNDS.frames).take_while(|(_, line)| {
        bytes += line.len();
        bytes <= PIECE_BYTES
    });
    if alone { 1 } else { fitting.count().max(1) }
}

/// How long the server may take for these.
fn time_for(lines: &[(&str, &[u8])]) -> Duration {
    time_of(lines.iter().map(|(_, line)| line.len()).sum())
}

fn time_of(bytes: usize) -> Duration {
    RESPONSE_TIMEOUT + MIB_TIMEOUT.mul_f64(bytes as f64 / (1024.0 * 1024.0))
}

/// The value of the one setting that was asked for.
fn limit_of(answer: &Value) -> Option<u64> {
    let settings: Vec<(String, u64)> = from_redis_value_ref(answer).ok()?;
    settings.first().map(|(_, value)| *value)
}

/// The error without the words of a store.
fn said(error: &LinkError) -> String {
    match error {
        LinkError::Unreachable(failure) | LinkError::Lost(failure) => failure.chain(),
        LinkError::Refused { code, detail } => format!("the server refused: {code} {detail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_tag_is_what_a_cluster_takes() {
        let cases = [("telemetry", "telemetry"), ("{fleet}:t", "fleet"), ("a{}b", "a{}b"), ("a{b", "a{b")];
        for (key, tag) in cases {
            assert_eq!(hash_tag(key), tag, "{key}");
        }
    }

    #[test]
    fn pieces_are_bounded_and_have_their_time() {
        let (small, large) = (vec![0; 1024], vec![0; 5 * 1024 * 1024]);
        let of = |sizes: &[&Vec<u8>], count| piece(&vec![("a", sizes[0].as_slice()); count], false);
        assert_eq!((of(&[&small], 3), of(&[&small], 5000), of(&[&large], 3)), (3, 1000, 1));
        assert_eq!(piece(&[("a", &small[..]); 3], true), 1);
        assert_eq!(time_for(&[("a", &small[..])]).as_secs(), 1);
        assert_eq!(time_for(&[("a", &large[..])]), Duration::from_secs(11));
    }
}
