//! Settings of the limits of the mesh and of this daemon.

use omnirelay_decisions::capacity::{LimitEffect, LimitKind, LimitMode, LimitRow, LimitScope, SetLimit};
use serde::{Deserialize, Serialize};

use super::Config;
use super::check::{InvalidSetting, Section};

/// The greatest limit that can be set.
const MAX: u64 = 1_000_000_000_000;

/// Limit of something, and what is done at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitConfig {
    /// The greatest use, 1 to 1000000000000; none: there is no limit. Too low: what should be done is refused or warned of; too high:
    /// nobody is told before the machines are at their own limits.
    pub max: Option<u64>,
    /// Whether what would go beyond it is refused, or told of alone.
    pub mode: LimitMode,
}

/// Limit of something that is told of and never refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObservedLimitConfig {
    /// As of [`LimitConfig`].
    pub max: Option<u64>,
}

/// Settings of the limits; by default there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsConfig {
    pub peers: LimitConfig,
    pub shards: LimitConfig,
    pub records: LimitConfig,
    pub bytes: LimitConfig,
    /// A minute, of this daemon.
    pub joins: LimitConfig,
    /// A second, of this daemon.
    pub commits: LimitConfig,
    /// A second, of this daemon.
    pub calls: LimitConfig,
    pub watchers: LimitConfig,
    pub gossip_fanout: ObservedLimitConfig,
    /// A second.
    pub gossip_messages: ObservedLimitConfig,
}

impl LimitsConfig {
    /// The limit of a kind; `None`: there is none.
    pub fn of(&self, kind: LimitKind) -> Option<SetLimit> {
        let (max, mode) = self.parts(kind);
        max.map(|max| SetLimit { max, mode })
    }

    fn parts(&self, kind: LimitKind) -> (Option<u64>, LimitMode) {
        let by_mode = |limit: LimitConfig| (limit.max, limit.mode);
        let observed = |limit: ObservedLimitConfig| (limit.max, LimitMode::Observe);
        match kind {
            LimitKind::Peers => by_mode(self.peers),
            LimitKind::Shards => by_mode(self.shards),
            LimitKind::Records => by_mode(self.records),
            LimitKind::Bytes => by_mode(self.bytes),
            LimitKind::Joins => by_mode(self.joins),
            LimitKind::Commits => by_mode(self.commits),
            LimitKind::Calls => by_mode(self.calls),
            LimitKind::Watchers => by_mode(self.watchers),
            LimitKind::GossipFanout => observed(self.gossip_fanout),
            LimitKind::GossipMessages => observed(self.gossip_messages),
        }
    }

    /// The settings that are to be the same on all nodes.
    pub(super) fn mesh_wide(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let of_mesh = LimitKind::ALL.into_iter().filter(|kind| kind.row().scope == LimitScope::Mesh);
        let said: Vec<_> = of_mesh
            .flat_map(|kind| {
                let LimitRow { max_key, effect, .. } = kind.row();
                let (max, mode) = self.parts(kind);
                let max = max.map_or("none".to_owned(), |max| max.to_string());
                let mode = match effect {
                    LimitEffect::ByMode(key) => Some((*key, mode.word().to_owned())),
                    LimitEffect::Observed => None,
                };
                [(*max_key, max)].into_iter().chain(mode)
            })
            .collect();
        said.into_iter()
    }

    /// The same with a limit of each kind, for the schema.
    pub(super) fn with_all_set(self) -> Self {
        let limit = LimitConfig { max: Some(0), mode: LimitMode::Observe };
        let observed = ObservedLimitConfig { max: Some(0) };
        Self {
            peers: limit,
            shards: limit,
            records: limit,
            bytes: limit,
            joins: limit,
            commits: limit,
            calls: limit,
            watchers: limit,
            gossip_fanout: observed,
            gossip_messages: observed,
        }
    }
}

impl Section for LimitsConfig {
    fn check(&self, _: &Config) -> Result<(), InvalidSetting> {
        for kind in LimitKind::ALL {
            if let Some(SetLimit { max, .. }) = self.of(kind)
                && !(1..=MAX).contains(&max)
            {
                return Err((kind.row().max_key, format!("{max} is out of range: 1 to {MAX}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::keys;

    #[test]
    fn the_section_has_the_settings_of_the_table_and_no_others() {
        let said: BTreeSet<String> =
            keys().into_iter().map(|(key, _)| key).filter(|key| key.starts_with("limits.")).collect();
        let of_row = |kind: LimitKind| {
            let LimitRow { max_key, effect, .. } = kind.row();
            let mode = match effect {
                LimitEffect::ByMode(key) => Some(*key),
                LimitEffect::Observed => None,
            };
            [*max_key].into_iter().chain(mode).map(str::to_owned)
        };
        assert_eq!(said, LimitKind::ALL.into_iter().flat_map(of_row).collect());
    }

    /// Each kind has the limit of its own field.
    #[test]
    fn a_limit_is_that_of_its_kind() {
        for kind in LimitKind::ALL {
            let section = kind.row().max_key.strip_prefix("limits.").unwrap().strip_suffix(".max").unwrap();
            let limits: LimitsConfig =
                serde_json::from_value(serde_json::json!({section: {"max": 7}})).unwrap();
            for other in LimitKind::ALL {
                assert_eq!(
                    limits.of(other).map(|limit| limit.max),
                    (other == kind).then_some(7),
                    "{section}"
                );
            }
            let mut config = Config { limits, ..Config::default() };
            assert_eq!(config.check(), Ok(()));
            config.limits = serde_json::from_value(serde_json::json!({section: {"max": 0}})).unwrap();
            assert_eq!(config.check().unwrap_err().0, kind.row().max_key);
        }
        assert!(serde_json::from_str::<LimitsConfig>(r#"{"gossipFanout": {"mode": "enforce"}}"#).is_err());
    }

    #[test]
    fn what_counts_for_the_whole_mesh_is_to_be_the_same_everywhere() {
        let said = |config: &Config| config.mesh_wide();
        let mut config = Config::default();
        assert_eq!(said(&config)["limits.peers.max"], "none");
        config.limits.peers = LimitConfig { max: Some(9), mode: LimitMode::Enforce };
        assert_eq!(
            (said(&config)["limits.peers.max"].as_str(), said(&config)["limits.peers.mode"].as_str()),
            ("9", "enforce")
        );
        assert!(!said(&config).contains_key("limits.calls.max"));
    }
}
