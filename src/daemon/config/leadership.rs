//! How leaders are elected.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Span;
use crate::core::labels::{self, Labels};
use crate::core::scope::{GLOBAL_CONTROL, ScopeKind};

/// The most scopes of one configuration.
const SCOPES_MAX: usize = 10_000;

/// How leaders are elected.
///
/// A lease lives as long as the session of its node, so its times are those of `session`: `leaseDuration`
/// stands for `session.ttl`, and `renewalLeadTime` for what is left of it when it is renewed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeadershipConfig {
    /// False: this node leads nothing, and enters no scopes.
    pub enabled: bool,
    /// How long a lease lives without a renewal, 500 ms to 10 min; default `session.ttl` (2 s). Too low: a
    /// busy machine loses what it leads; too high: a crash is noticed late.
    pub lease_duration: Option<Span>,
    /// A lease is renewed when so much of it is left, half of it or more; default: as `session.renewEvery`
    /// says (1.5 s). Too low: one lost renewal loses the lease; too high: needless work in the store.
    pub renewal_lead_time: Option<Span>,
    /// How often it is looked again what to do if nothing changes, 100 ms to 10 s; default 750 ms. It asks the
    /// store nothing. Too high: what was missed is noticed late.
    pub evaluation_interval: Span,
    /// How much later than the one before it each candidate asks for a free scope, and how long is waited
    /// after a failure, 10 ms to 5 s; default 100 ms. Too low: candidates ask at once, and all but one in
    /// vain; too high: a second candidate comes late when the first is gone as well.
    pub election_backoff: Span,
    /// An election that took longer is warned of, 1 s to 30 s; default 5 s.
    pub max_election_window: Span,
    /// Scopes that this node enters if they are not there. None here and no shards: `global-control`.
    pub scopes: Vec<ScopeConfig>,
    /// Scopes of shards, by namespace.
    pub shards: Vec<ShardsConfig>,
}

/// A scope that a node enters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScopeConfig {
    /// Its name; or say `namespace` and `shardId`.
    pub scope_id: String,
    /// `global`, `shard` or `custom`, if it is to be checked that the name is of that kind.
    pub kind: String,
    pub namespace: String,
    pub shard_id: String,
    pub labels: Labels,
}

/// The shards of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ShardsConfig {
    pub namespace: String,
    pub shards: Vec<String>,
}

impl Default for LeadershipConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            lease_duration: None,
            renewal_lead_time: None,
            evaluation_interval: Span(Duration::from_millis(750)),
            election_backoff: Span(Duration::from_millis(100)),
            max_election_window: Span(Duration::from_secs(5)),
            scopes: Vec::new(),
            shards: Vec::new(),
        }
    }
}

impl ScopeConfig {
    fn name(&self) -> String {
        if self.scope_id.is_empty() && !(self.namespace.is_empty() && self.shard_id.is_empty()) {
            return format!("shard/{}/{}", self.namespace, self.shard_id);
        }
        self.scope_id.clone()
    }
}

impl LeadershipConfig {
    /// The scopes to enter, each with the labels it begins with.
    pub fn entered(&self) -> BTreeMap<String, Labels> {
        if !self.enabled {
            return BTreeMap::new();
        }
        let shards = self.shards.iter().flat_map(|of| {
            let name = |shard: &String| (format!("shard/{}/{shard}", of.namespace), Labels::new());
            of.shards.iter().map(name)
        });
        let scopes = self.scopes.iter().map(|scope| (scope.name(), scope.labels.clone()));
        let mut entered: BTreeMap<_, _> = shards.chain(scopes).collect();
        if entered.is_empty() {
            entered.insert(GLOBAL_CONTROL.to_owned(), Labels::new());
        }
        entered
    }

    pub(super) fn check_scopes(&self) -> Result<(), (&'static str, String)> {
        const SCOPES: &str = "mesh.leadership.scopes";
        const SHARDS: &str = "mesh.leadership.shards";
        for scope in &self.scopes {
            let name = scope.name();
            let kind =
                ScopeKind::of(&name).map_err(|error| (SCOPES, format!("`{name}` is no scope: {error}")))?;
            if !scope.kind.is_empty() && scope.kind != kind.word() {
                let what = format!("scope `{name}` is of kind `{}`, not `{}`", kind.word(), scope.kind);
                return Err((SCOPES, what));
            }
            labels::update(&Labels::new(), &scope.labels, &[], false)
                .map_err(|error| (SCOPES, format!("scope `{name}`: {error}")))?;
        }
        let named: usize = self.scopes.len() + self.shards.iter().map(|of| of.shards.len()).sum::<usize>();
        if named > SCOPES_MAX {
            return Err((SHARDS, format!("{named} scopes are more than {SCOPES_MAX}")));
        }
        for name in self.entered().keys().filter(|_| self.enabled) {
            ScopeKind::of(name).map_err(|error| (SHARDS, format!("`{name}` is no scope: {error}")))?;
        }
        Ok(())
    }
}
