//! Lines as entries of a Redis Stream.

use std::sync::Arc;
use std::time::Duration;

use ::redis::Pipeline;
use ::redis::aio::MultiplexedConnection;
use async_trait::async_trait;

use super::envelope::Item;
use super::queue::Bounds;
use super::worker::{WriteError, Writer};
use crate::daemon::store::redis::link::{Hello, Link, LinkError, RedisOptions};
use crate::daemon::store::redis::url::{RedisUrl, Secret};

/// Fewer than a connection may have in flight.
const BOUNDS: Bounds = Bounds { frames: 1000, bytes: 1024 * 1024 };
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the server may do nothing before those who wait give up.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Adds entries to a stream.
pub(super) struct RedisWriter {
    link: Link,
    stream: String,
    entries_max: usize,
}

/// Any server will do.
struct Anyone;

#[async_trait]
impl Hello for Anyone {
    async fn greet(&self, _connection: &mut MultiplexedConnection) -> Result<(), LinkError> {
        Ok(())
    }
}

impl RedisWriter {
    /// Begins without connecting.
    pub fn new(url: RedisUrl, password: Option<Secret>, stream: &str, entries_max: usize) -> Self {
        let options = RedisOptions {
            password,
            hash_tag: Some(hash_tag(stream).to_owned()),
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            ..RedisOptions::default()
        };
        Self { link: Link::new(url, options, Arc::new(Anyone)), stream: stream.to_owned(), entries_max }
    }
}

/// The part of a key that decides its place in a Cluster: what is between the first braces, else all of it.
fn hash_tag(key: &str) -> &str {
    let inner = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(inner, _)| inner);
    inner.filter(|inner| !inner.is_empty()).unwrap_or(key)
}

#[async_trait]
impl Writer for RedisWriter {
    fn bounds(&self) -> Bounds {
        BOUNDS
    }

    async fn write(&mut self, items: &[Arc<Item>]) -> Result<(), WriteError> {
        let frames = items.iter().map(|item| item.frames()).sum();
        let mut commands = Pipeline::with_capacity(frames);
        for item in items {
            for line in item.lines().each() {
                let command =
                    commands.cmd("XADD").arg(&self.stream).arg("MAXLEN").arg("~").arg(self.entries_max);
                command.arg("*").arg("envelope").arg(line).arg("agent_id").arg(&*item.batch.agent_id);
            }
        }
        self.link.pipeline(&commands).await.map_err(|error| WriteError::Failed(said(&error)))
    }
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
}
