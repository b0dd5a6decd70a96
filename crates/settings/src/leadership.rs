//! Settings of the election of leaders.

use std::collections::BTreeMap;
use std::time::Duration;

use omnirelay_core::labels::{self, Labels};
use omnirelay_core::scope::{GLOBAL_CONTROL, ScopeKind};
use serde::{Deserialize, Serialize};

use super::check::{InvalidSetting, within};
use super::{Config, HumanDuration, NodeSessionConfig};

/// The most scopes of one configuration.
const SCOPES_MAX: usize = 10_000;

/// Settings of the election of leaders.
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
    pub lease_duration: Option<HumanDuration>,
    /// A lease is renewed when so much of it is left, half of it or more; default: as `session.renewEvery`
    /// says (1.5 s). Too low: one lost renewal loses the lease; too high: needless work in the store.
    pub renewal_lead_time: Option<HumanDuration>,
    /// How often it is looked again what to do if nothing changes, 100 ms to 10 s; default 750 ms. It asks the
    /// store nothing. Too high: what was missed is noticed late.
    pub evaluation_interval: HumanDuration,
    /// How much later than the one before it each candidate asks for a free scope, and how long is waited
    /// after a failure, 10 ms to 5 s; default 100 ms. Too low: candidates ask at once, and all but one in
    /// vain; too high: a second candidate comes late when the first is gone as well.
    pub election_backoff: HumanDuration,
    /// An election that took longer is warned of, 1 s to 30 s; default 5 s.
    pub max_election_window: HumanDuration,
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
            evaluation_interval: HumanDuration(Duration::from_millis(750)),
            election_backoff: HumanDuration(Duration::from_millis(100)),
            max_election_window: HumanDuration(Duration::from_secs(5)),
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

impl ShardsConfig {
    fn name_of(&self, shard: &str) -> String {
        format!("shard/{}/{shard}", self.namespace)
    }
}

impl LeadershipConfig {
    /// The scopes to enter, each with the labels it begins with.
    pub fn entered(&self) -> BTreeMap<String, Labels> {
        if !self.enabled {
            return BTreeMap::new();
        }
        let shards = self
            .shards
            .iter()
            .flat_map(|of| of.shards.iter().map(|shard| (of.name_of(shard), Labels::new())));
        let scopes = self.scopes.iter().map(|scope| (scope.name(), scope.labels.clone()));
        let mut entered: BTreeMap<_, _> = shards.chain(scopes).collect();
        if entered.is_empty() {
            entered.insert(GLOBAL_CONTROL.to_owned(), Labels::new());
        }
        entered
    }

    /// As [`Section::check`](super::check::Section::check) of a section.
    pub(super) fn check(&self, all: &Config) -> Result<(), InvalidSetting> {
        let ms = Duration::from_millis;
        if let Some(lease) = self.lease_duration {
            within("mesh.leadership.leaseDuration", lease, ms(500), Duration::from_secs(600))?;
            let default = NodeSessionConfig::default().ttl;
            if all.session.ttl != default && all.session.ttl != lease {
                let what =
                    format!("{lease} contradicts `session.ttl`, {}: a lease lives as long", all.session.ttl);
                return Err(("mesh.leadership.leaseDuration", what));
            }
        }
        if let Some(lead) = self.renewal_lead_time {
            let ttl = all.session_ttl();
            within("mesh.leadership.renewalLeadTime", lead, ttl / 2, ttl.saturating_sub(ms(50)))?;
        }
        let (second, interval) = (Duration::from_secs(1), self.evaluation_interval);
        within("mesh.leadership.evaluationInterval", interval, ms(100), second * 10)?;
        within("mesh.leadership.electionBackoff", self.election_backoff, ms(10), second * 5)?;
        within("mesh.leadership.maxElectionWindow", self.max_election_window, second, second * 30)?;
        self.check_scopes()
    }

    fn check_scopes(&self) -> Result<(), InvalidSetting> {
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
        let shards = self.shards.iter().flat_map(|of| of.shards.iter().map(|shard| of.name_of(shard)));
        for name in shards {
            let kind =
                ScopeKind::of(&name).map_err(|error| (SHARDS, format!("`{name}` is no scope: {error}")))?;
            if kind.word() != "shard" {
                return Err((
                    SHARDS,
                    format!("`{name}` is no shard: neither part of its name may hold a `/`"),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::LoadedConfig;
    use super::super::layers::{ValueSource, load};
    use super::*;

    fn with(set: &[&str]) -> Result<LoadedConfig, String> {
        let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
        load(None, std::iter::empty(), &set, &[]).map_err(|error| error.to_string())
    }

    fn written(text: &str) -> Result<LoadedConfig, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(Some(file.path()), std::iter::empty(), &[], &[]).map_err(|error| error.to_string())
    }

    fn entered(config: &Config) -> String {
        let shown = config.mesh.leadership.entered().into_iter().map(|(scope, labels)| {
            let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("{scope}[{}]", labels.join(","))
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn without_a_word_every_node_campaigns_for_the_global_scope() {
        let config = Config::default();
        let leadership = &config.mesh.leadership;
        assert!(leadership.enabled);
        assert_eq!(entered(&config), "global-control[]");
        let times =
            [leadership.evaluation_interval, leadership.election_backoff, leadership.max_election_window];
        assert_eq!(times.map(|time| time.to_string()), ["750ms", "100ms", "5s"]);
        assert_eq!(
            [config.session_ttl(), config.renew_every()].map(HumanDuration).map(|time| time.to_string()),
            ["2s", "500ms"]
        );
    }

    #[test]
    fn a_file_says_everything() {
        let text = "mesh:\n  leadership:\n    leaseDuration: 00:00:08\n    renewalLeadTime: 6s\n    evaluationInterval: 1s\n    \
                    electionBackoff: 250ms\n    maxElectionWindow: 10s\n    scopes:\n    - scopeId: billing\n      kind: custom\n      \
                    labels: {tier: gold}\n    - namespace: orders\n      shardId: '07'\n      kind: shard\n    \
                    shards:\n    - namespace: users\n      shards: [a, b]\n";
        let config = written(text).unwrap().config;
        assert_eq!(
            (config.session_ttl(), config.renew_every()),
            (Duration::from_secs(8), Duration::from_secs(2))
        );
        let leadership = &config.mesh.leadership;
        let times =
            [leadership.evaluation_interval, leadership.election_backoff, leadership.max_election_window];
        assert_eq!(times.map(|time| time.to_string()), ["1s", "250ms", "10s"]);
        assert_eq!(entered(&config), "billing[tier=gold] shard/orders/07[] shard/users/a[] shard/users/b[]");
    }

    #[test]
    fn variables_say_the_same_under_both_prefixes() {
        for name in [
            "MESH_LEADERSHIP__LEASEDURATION",
            "mesh_leadership__LeaseDuration",
            "OMNIRELAYD__MESH__LEADERSHIP__LEASE_DURATION",
        ] {
            let variables = [(name.into(), "3s".into())];
            let loaded = load(None, variables.into_iter(), &[], &[]).unwrap();
            assert_eq!(loaded.config.session_ttl(), Duration::from_secs(3), "{name}");
            let source = &loaded.sources["mesh.leadership.leaseDuration"];
            assert_eq!(*source, ValueSource::Variable(name.to_owned()));
        }
        let variables = [("MESH_LEADERSHIP__ENABLED".into(), "false".into())];
        let config = load(None, variables.into_iter(), &[], &[]).unwrap().config;
        assert!(!config.mesh.leadership.enabled);
        assert_eq!(entered(&config), "", "it enters nothing");
    }

    #[test]
    fn a_lease_lives_as_long_as_a_session() {
        let both = |lease: &str, ttl: &str| {
            with(&[&format!("mesh.leadership.leaseDuration={lease}"), &format!("session.ttl={ttl}")])
        };
        let cases = [
            ("the lease alone", with(&["mesh.leadership.leaseDuration=3s"]), Ok((3000, 500))),
            ("the session alone", with(&["session.ttl=3s"]), Ok((3000, 500))),
            ("both say the same", both("3s", "3000ms"), Ok((3000, 500))),
            ("they contradict each other", both("3s", "4s"), Err("contradicts `session.ttl`")),
            (
                "a short one is renewed in time",
                with(&["mesh.leadership.leaseDuration=600ms"]),
                Ok((600, 300)),
            ),
            (
                "what is left when it is renewed",
                with(&["mesh.leadership.leaseDuration=8s", "mesh.leadership.renewalLeadTime=5s"]),
                Ok((8000, 3000)),
            ),
            ("of a session", with(&["mesh.leadership.renewalLeadTime=1500ms"]), Ok((2000, 500))),
        ];
        for (what, loaded, expected) in cases {
            match (loaded, expected) {
                (Ok(loaded), Ok(expected)) => {
                    let times = [loaded.config.session_ttl(), loaded.config.renew_every()];
                    assert_eq!(times.map(|time| time.as_millis()), [expected.0, expected.1], "{what}");
                }
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{what}: {error}"),
                (loaded, expected) => panic!("{what}: {loaded:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn times_out_of_range_name_their_key_and_range() {
        let cases = [
            ("leaseDuration=499ms", "500ms to 10m"),
            ("leaseDuration=601s", "500ms to 10m"),
            ("renewalLeadTime=999ms", "1s to 1s 950ms"),
            ("renewalLeadTime=1960ms", "1s to 1s 950ms"),
            ("evaluationInterval=99ms", "100ms to 10s"),
            ("evaluationInterval=11s", "100ms to 10s"),
            ("electionBackoff=9ms", "10ms to 5s"),
            ("electionBackoff=6s", "10ms to 5s"),
            ("maxElectionWindow=999ms", "1s to 30s"),
            ("maxElectionWindow=31s", "1s to 30s"),
        ];
        for (set, range) in cases {
            let error = with(&[&format!("mesh.leadership.{set}")]).unwrap_err();
            let key = set.split('=').next().unwrap();
            assert!(
                error.contains(&format!("mesh.leadership.{key}")) && error.contains(range),
                "{set}: {error}"
            );
        }
        for edge in
            ["leaseDuration=500ms", "renewalLeadTime=1s", "renewalLeadTime=1950ms", "electionBackoff=10ms"]
        {
            assert!(with(&[&format!("mesh.leadership.{edge}")]).is_ok(), "{edge}");
        }
    }

    #[test]
    fn scopes_that_are_none_are_refused_by_name() {
        let scopes = |text: &str| {
            written(&format!("mesh:\n  leadership:\n    {text}\n")).map(|loaded| entered(&loaded.config))
        };
        let many: Vec<String> = (0..=SCOPES_MAX).map(|id| format!("s{id}")).collect();
        let many = format!("shards: [{{namespace: a, shards: [{}]}}]", many.join(","));
        let cases = [
            ("a name", "scopes: [{scopeId: billing}]", Ok("billing[]")),
            ("its kind", "scopes: [{scopeId: global-control, kind: global}]", Ok("global-control[]")),
            (
                "another kind",
                "scopes: [{scopeId: billing, kind: shard}]",
                Err("`billing` is of kind `custom`, not `shard`"),
            ),
            ("no kind at all", "scopes: [{scopeId: billing, kind: shards}]", Err("not `shards`")),
            ("no name", "scopes: [{labels: {a: b}}]", Err("it is empty")),
            ("half a shard", "scopes: [{namespace: orders}]", Err("`shard/orders/` is no scope")),
            ("the other half", "scopes: [{shardId: '1'}]", Err("`shard//1` is no scope")),
            ("a name that is none", "scopes: [{scopeId: a b}]", Err("`a b` is no scope")),
            ("a label that is none", "scopes: [{scopeId: a, labels: {'a b': c}}]", Err("scope `a`")),
            ("an unknown key", "scopes: [{scope: a}]", Err("scope")),
            ("shards", "shards: [{namespace: a, shards: ['1', '2']}]", Ok("shard/a/1[] shard/a/2[]")),
            (
                "a shard that is none",
                "shards: [{namespace: a, shards: [b c]}]",
                Err("`shard/a/b c` is no scope"),
            ),
            (
                "a namespace of two parts",
                "shards: [{namespace: a/b, shards: [c]}]",
                Err("`shard/a/b/c` is no shard"),
            ),
            ("too many", &many, Err("10001 scopes are more than 10000")),
        ];
        for (what, text, expected) in cases {
            match (scopes(text), expected) {
                (Ok(entered), Ok(expected)) => assert_eq!(entered, expected, "{what}"),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{what}: {error}"),
                (entered, expected) => panic!("{what}: {entered:?}, not {expected:?}"),
            }
        }
    }
}
