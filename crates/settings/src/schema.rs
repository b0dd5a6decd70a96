//! Every setting there is, and of which kind it is.

use serde_json::Value;

use super::shards::LoadConfig;
use super::{Config, OidcConfig, SinksConfig as RelaySinks};

/// A tree of every setting with a value of its kind, also those that have none by default.
pub(super) fn schema() -> Value {
    let mut config = Config::default();
    config.security.oidc = Some(OidcConfig::default());
    config.mesh.gossip = config.mesh.gossip.with_all_names();
    config.store.redis.leaders_need_replicas = Some(0);
    config.control.connections_per_address_max = Some(0);
    config.control.http3_advertise = Some(0);
    config.mesh.shards.self_approval = Some(true);
    config.mesh.shards.load = LoadConfig {
        pending_max: Some(0),
        queue_depth_max: Some(0),
        latency_max_ms: Some(0.0),
        error_rate_max: Some(0.0),
    };
    config.limits = config.limits.with_all_set();
    let relay = &mut config.relay;
    relay.connections_per_address_max = Some(0);
    relay.publish.database = Some(0);
    relay.sinks.file.enabled = Some(true);
    let RelaySinks { file, redis, http, stdout } = &mut relay.sinks;
    for queue in [&mut file.queue, &mut redis.queue, &mut http.queue, &mut stdout.queue] {
        queue.acknowledges = Some(true);
    }
    serde_json::to_value(config).unwrap_or_default()
}

/// Every setting by its key, and its default; empty where it has none.
#[cfg(any(test, feature = "testing"))]
pub fn keys() -> Vec<(String, String)> {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut keys = Vec::new();
    collect(&schema(), "", &defaults, &mut keys);
    keys
}

#[cfg(any(test, feature = "testing"))]
fn collect(level: &Value, path: &str, defaults: &Value, keys: &mut Vec<(String, String)>) {
    match level {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, below) in fields {
                let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(below, &key, &defaults[name], keys);
            }
        }
        _ => {
            let default = match defaults {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                Value::Array(items) if items.is_empty() => String::new(),
                Value::Object(fields) if fields.is_empty() => String::new(),
                other => other.to_string(),
            };
            keys.push((path.to_owned(), default));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::super::layers::{insert, read};
    use super::*;

    /// Where nothing is, and which is no text.
    fn untyped(level: &Value, path: &mut Vec<String>, into: &mut Vec<String>) {
        match level {
            Value::Null => {
                let mut tree = Value::Object(Map::new());
                insert(&mut tree, path, "1".into());
                let error = serde_path_to_error::deserialize::<_, Config>(&tree).err();
                if error.is_some_and(|error| error.to_string().contains("invalid type: string")) {
                    into.push(path.join("."));
                }
            }
            Value::Object(fields) => {
                for (name, below) in fields {
                    path.push(name.clone());
                    untyped(below, path, into);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    #[test]
    fn a_setting_that_is_no_text_can_be_set_although_it_has_no_default() {
        let mut found = Vec::new();
        untyped(&schema(), &mut Vec::new(), &mut found);
        // These are documents, which a file has.
        found.retain(|key| !["security.joinPolicy", "transport.policy"].contains(&key.as_str()));
        assert_eq!(found, Vec::<String>::new(), "`schema` is to have a value of its kind");
        let set = ["store.redis.leadersNeedReplicas=1", "mesh.shards.load.errorRateMax=0.5"];
        let loaded = read(None, std::iter::empty(), &set.map(str::to_owned), &[]).unwrap();
        assert_eq!(loaded.config.store.redis.leaders_need_replicas, Some(1));
        assert_eq!(loaded.config.mesh.shards.load.error_rate_max, Some(0.5));
    }
}
