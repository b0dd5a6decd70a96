//! The stores of the nodes of a process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use omnirelay_registry::held_groups::margin;
use omnirelay_settings::Config;
use omnirelay_store::embedded::{MissingFileAction, OpenError};
use omnirelay_store::redis::link::RedisOptions;
use omnirelay_store::redis::url::RedisUrl;
use omnirelay_store::{EmbeddedStore, MemoryStore, RedisStore, Store};

/// Source that every node of a process gets its store from.
#[derive(Clone)]
pub enum StoreSource {
    /// All have the same.
    One(Arc<dyn Store>),
    /// Each has its own connections, which its own runtime serves: they end with the node, and
    /// stand still when it does.
    Redis(Box<RedisMesh>),
}

/// The registry of a mesh in Redis.
#[derive(Clone)]
pub struct RedisMesh {
    url: RedisUrl,
    options: RedisOptions,
    cluster: String,
    quarantine: Duration,
}

impl StoreSource {
    /// The stores that are configured, `redis` as [`StoreConfig::redis`] has it; an embedded one
    /// keeps its file in `directory`, and `missing` says what to do when it was there and is not. A server that cannot be reached is no error: nodes wait for
    /// it.
    ///
    /// # Errors
    /// When the file cannot be opened.
    ///
    /// [`StoreConfig::redis`]: super::config::StoreConfig::redis
    pub fn open(
        config: &Config,
        redis: Option<(RedisUrl, RedisOptions)>,
        directory: &Path,
        missing: MissingFileAction,
    ) -> Result<Self, OpenError> {
        if let Some((url, options)) = redis {
            let cluster = config.node.cluster.clone();
            let ttl = config.session_ttl();
            let quarantine = ttl + margin(ttl);
            return Ok(Self::Redis(Box::new(RedisMesh { url, options, cluster, quarantine })));
        }
        Ok(Self::One(match config.store.url.as_str() {
            "memory:" => Arc::new(MemoryStore::system()),
            _ => Arc::new(EmbeddedStore::open_or(directory, missing)?),
        }))
    }

    /// The store of one life of a node.
    pub fn of_node(&self) -> Arc<dyn Store> {
        match self {
            Self::One(store) => store.clone(),
            Self::Redis(mesh) => {
                let RedisMesh { url, options, cluster, quarantine } = mesh.as_ref();
                Arc::new(RedisStore::new(url.clone(), options.clone(), cluster, *quarantine))
            }
        }
    }
}
