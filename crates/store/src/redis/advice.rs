//! Advice on risky settings of a server, under which the registry can be lost.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};

use super::link::Info;

/// What a user of an earlier version lacks.
pub const MAY_NOT_WAIT: &str = "the user may not wait for replicas: leaders rely on leases that no replica has, and a \
                                network split can give two; grant the user +wait";

/// What comes of a server without a file of users.
pub const USERS_NOT_KEPT: &str = "users are not kept: a restart of Redis locks out every node that has joined with a user of \
                                  its own, until a daemon that can issue makes them anew; set aclfile";

/// The longest `min-replicas-max-lag` in seconds with which a master that was cut off ends its leaders before there
/// are others: a new epoch grants nothing for a little longer than a session lives, which is 2 s.
const LAG_MAX: u64 = 2;

/// Reads what the server says of itself and returns what is risky, a sentence each: what, why, and
/// what to set. What the user may not read is left out. `leaders_wait`: leaders rely on nothing that too few replicas
/// have.
pub async fn advise(connection: &mut MultiplexedConnection, leaders_wait: bool) -> Vec<String> {
    let Ok(info) = cmd("INFO").query_async::<String>(connection).await else { return Vec::new() };
    let settings = ServerSettings::read(connection).await;
    judge(&Info::new(info), &settings, leaders_wait)
}

/// Settings of a server that matter; `None`: not to be read.
#[derive(Clone, Debug, Default)]
struct ServerSettings {
    appendonly: Option<String>,
    appendfsync: Option<String>,
    save: Option<String>,
    min_replicas: Option<String>,
    max_lag: Option<String>,
    /// `None`: not to be read.
    default_user: Option<DefaultUser>,
}

/// Default user of a server, for those who do not say who they are, and for what it loads of its append-only file.
#[derive(Clone, Copy, Debug)]
struct DefaultUser {
    /// Whether it takes whoever comes for this user.
    is_open: bool,
    /// Whether the user may write what scripts write, be it switched off or not; `None`: it is not told.
    may_write: Option<bool>,
}

/// Without one of these the default user may not run all that scripts write with.
const NEEDED_TO_LOAD: &[&str] = &[
    "@all",
    "@write",
    "@read",
    "@fast",
    "@slow",
    "@keyspace",
    "@string",
    "@hash",
    "@sortedset",
    "@stream",
    "@transaction",
    "append",
    "del",
    "exec",
    "hdel",
    "hset",
    "multi",
    "pexpire",
    "pexpireat",
    "set",
    "xadd",
    "xtrim",
    "zadd",
    "zrem",
];

impl ServerSettings {
    async fn read(connection: &mut MultiplexedConnection) -> Self {
        Self {
            appendonly: setting(connection, "appendonly").await,
            appendfsync: setting(connection, "appendfsync").await,
            save: setting(connection, "save").await,
            min_replicas: setting(connection, "min-replicas-to-write").await,
            max_lag: setting(connection, "min-replicas-max-lag").await,
            default_user: DefaultUser::read(connection).await,
        }
    }
}

async fn setting(connection: &mut MultiplexedConnection, name: &str) -> Option<String> {
    let mut command = cmd("CONFIG");
    let answer = command.arg("GET").arg(name).query_async::<Vec<String>>(connection).await;
    answer.ok()?.into_iter().nth(1)
}

impl DefaultUser {
    async fn read(connection: &mut MultiplexedConnection) -> Option<Self> {
        let mut command = cmd("ACL");
        command.arg("GETUSER").arg("default");
        let mut fields = command.query_async::<HashMap<String, Value>>(connection).await.ok()?;
        let flags = redis::from_redis_value::<Vec<String>>(fields.remove("flags")?).ok()?;
        let mut text = |field: &str| redis::from_redis_value::<String>(fields.remove(field)?).ok();
        let rules = text("commands").zip(text("keys"));
        Some(Self {
            is_open: ["on", "nopass"].iter().all(|flag| flags.iter().any(|has| has == flag)),
            may_write: rules.map(|(commands, keys)| may_write(&commands, &keys)),
        })
    }
}

/// Whether these rules of a user, as `ACL GETUSER` tells them, let it write what scripts write.
fn may_write(commands: &str, keys: &str) -> bool {
    let may_any_key = keys.split(' ').any(|pattern| pattern == "~*");
    let mut rules = commands.split(' ');
    let taken = |rule: &str| rule.strip_prefix('-').is_some_and(|of| NEEDED_TO_LOAD.contains(&of));
    may_any_key && rules.next() == Some("+@all") && !rules.any(taken)
}

fn judge(info: &Info, settings: &ServerSettings, leaders_wait: bool) -> Vec<String> {
    let replicas = info.number("connected_slaves").unwrap_or(0);
    [
        memory(info),
        persistence(info, settings),
        flushing(info, settings),
        loading(info, settings),
        replication(replicas, settings),
        lag(replicas, settings, leaders_wait),
        leaders(replicas, settings, leaders_wait),
        access(settings),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn memory(info: &Info) -> Option<String> {
    let policy = info.get("maxmemory_policy").filter(|policy| *policy != "noeviction")?;
    let limit = info.get("maxmemory").filter(|limit| *limit != "0");
    let when = if limit.is_some() { "when memory is full" } else { "once maxmemory is set and reached" };
    Some(format!(
        "maxmemory-policy is {policy}: {when}, Redis deletes parts of the registry; set maxmemory-policy noeviction"
    ))
}

fn persistence(info: &Info, settings: &ServerSettings) -> Option<String> {
    if info.get("aof_enabled") == Some("1") || settings.appendonly.as_deref() == Some("yes") {
        return None;
    }
    Some(match settings.save.as_deref() {
        Some("") => "appendonly is no and nothing is saved: a restart of Redis loses the registry; set \
                     appendonly yes"
            .to_owned(),
        Some(_) | None => "appendonly is no: a crash of Redis loses what was committed since the last \
                           snapshot; set appendonly yes"
            .to_owned(),
    })
}

fn flushing(info: &Info, settings: &ServerSettings) -> Option<String> {
    let appends = info.get("aof_enabled") == Some("1");
    let policy = settings.appendfsync.as_deref().filter(|policy| appends && *policy != "always")?;
    let lost =
        if policy == "no" { "what the system has not written yet" } else { "up to a second of commits" };
    Some(format!(
        "appendfsync is {policy}: a crash of the host loses {lost}; set appendfsync always if that matters"
    ))
}

/// Redis loads what scripts wrote as its default user, and drops without a word what that user may not do: up to the releases
/// with the change of <https://github.com/redis/redis/pull/14545>.
fn loading(info: &Info, settings: &ServerSettings) -> Option<String> {
    let appends = info.get("aof_enabled") == Some("1");
    (appends && settings.default_user.is_some_and(|user| user.may_write == Some(false))).then(|| {
        "the default user may not run every command on every key: a restart of Redis drops what it has appended, and the \
         registry is lost; let it ~* &* +@all, also where it is off"
            .to_owned()
    })
}

fn replication(replicas: u64, settings: &ServerSettings) -> Option<String> {
    if replicas == 0 {
        return Some(
            "no replica is connected: the registry is gone when this server is; add a replica".to_owned(),
        );
    }
    settings.min_replicas.as_deref().filter(|count| *count == "0").map(|_| {
        "min-replicas-to-write is 0: a master that was cut off goes on taking commits that are lost when it \
         comes back; have two replicas and set min-replicas-to-write 1"
            .to_owned()
    })
}

/// How long a master that was cut off goes on; 0 replicas or no limit is told otherwise.
fn lag(replicas: u64, settings: &ServerSettings, leaders_wait: bool) -> Option<String> {
    let demanded = settings.min_replicas.as_deref().is_some_and(|count| count != "0");
    let lag: u64 = settings.max_lag.as_deref()?.parse().ok()?;
    if replicas == 0 || !demanded || lag > 0 && lag <= LAG_MAX {
        return None;
    }
    // 0 switches the demand off.
    let how_long = if lag == 0 { "without end".to_owned() } else { format!("for {lag} s") };
    let also = if leaders_wait { "" } else { ", and leaders beside those that are elected elsewhere" };
    Some(format!(
        "min-replicas-max-lag is {lag}: a master that was cut off goes on {how_long} taking commits that are lost when \
         it comes back{also}; set min-replicas-max-lag {LAG_MAX}"
    ))
}

/// Whether a master that was cut off can have leaders beside those that are elected elsewhere.
fn leaders(replicas: u64, settings: &ServerSettings, leaders_wait: bool) -> Option<String> {
    let unlimited = settings.min_replicas.as_deref() == Some("0");
    (replicas > 0 && unlimited && !leaders_wait).then(|| {
        "leaders do not wait for replicas: a master that was cut off keeps its leaders beside those that are elected \
         elsewhere; leave store.redis.leadersNeedReplicas to its default behind Sentinels, or set it to 1"
            .to_owned()
    })
}

fn access(settings: &ServerSettings) -> Option<String> {
    settings.default_user.is_some_and(|user| user.is_open).then(|| {
        "the default user has no password: whoever reaches Redis can change the registry; set requirepass, or with \
         an aclfile user default off ~* &* +@all"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const GUIDE: &str = include_str!("../../../../docs/guides/storage.md");

    /// What is said of a server with these lines in INFO and these settings, for all of them.
    fn all_that_is_told() -> BTreeSet<String> {
        let text = |text: &str| Some(text.to_owned());
        let mut told = BTreeSet::from([MAY_NOT_WAIT, USERS_NOT_KEPT].map(str::to_owned));
        for policy in ["noeviction", "allkeys-lru"] {
            for (limit, appends, replicas) in (0..8).map(|bits| (bits & 1, bits >> 1 & 1, bits >> 2)) {
                let info = Info::new(format!(
                    "maxmemory_policy:{policy}\r\nmaxmemory:{limit}\r\naof_enabled:{appends}\r\n\
                     connected_slaves:{replicas}\r\n"
                ));
                for (appendfsync, save, min_replicas, lag, is_open) in [
                    ("always", "", "0", "10", true),
                    ("everysec", "60 1", "1", "10", false),
                    ("no", "", "1", "0", false),
                ] {
                    let settings = ServerSettings {
                        appendonly: None,
                        appendfsync: text(appendfsync),
                        save: text(save),
                        min_replicas: text(min_replicas),
                        max_lag: text(lag),
                        default_user: Some(DefaultUser { is_open, may_write: Some(is_open) }),
                    };
                    told.extend(judge(&info, &settings, true));
                    told.extend(judge(&info, &settings, false));
                }
            }
        }
        told
    }

    #[test]
    fn the_guide_lists_what_is_told() {
        let section = GUIDE.split("## Settings of Redis").nth(1).expect("the section");
        let listed = section.split("\n## ").next().unwrap_or_default().lines();
        let listed = listed.filter_map(|line| line.strip_prefix("- `")?.strip_suffix('`'));
        let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
        assert_eq!(listed, all_that_is_told());
    }

    /// As Redis 7.0 tells them.
    #[test]
    fn rules_that_drop_what_scripts_write_are_told_from_others() {
        for (commands, keys, expected) in [
            ("+@all", "~*", true),
            ("+@all -@dangerous", "~* ~x:*", true),
            ("-@all", "~*", false),
            ("-@all +ping", "~*", false),
            ("+@all", "", false),
            ("+@all -@write", "~*", false),
            ("+@all -@dangerous -xadd", "~*", false),
        ] {
            assert_eq!(may_write(commands, keys), expected, "{commands} {keys}");
        }
    }

    #[test]
    fn each_risk_is_told_with_its_remedy() {
        let sound = "maxmemory_policy:noeviction\r\naof_enabled:1\r\nconnected_slaves:1\r\n";
        let settings = |fsync: &str, save: &str, replicas: &str| ServerSettings {
            appendonly: None,
            appendfsync: Some(fsync.to_owned()),
            save: Some(save.to_owned()),
            min_replicas: Some(replicas.to_owned()),
            max_lag: Some("2".to_owned()),
            default_user: Some(OFF),
        };
        let all = || settings("always", "", "1");
        const OFF: DefaultUser = DefaultUser { is_open: false, may_write: Some(true) };
        const BARE: DefaultUser = DefaultUser { is_open: false, may_write: Some(false) };
        let of = |user| ServerSettings { default_user: Some(user), ..all() };
        let lagging = |lag: &str| ServerSettings { max_lag: Some(lag.to_owned()), ..all() };
        let no_aof = sound.replace("aof_enabled:1", "aof_enabled:0");
        let lru = sound.replace("noeviction", "allkeys-lru");
        let alone = sound.replace("connected_slaves:1", "connected_slaves:0");
        let cases = [
            ("nothing", sound.to_owned(), all(), None),
            ("eviction", lru, all(), Some("set maxmemory-policy noeviction")),
            ("nothing is kept", no_aof.clone(), all(), Some("a restart of Redis loses the registry")),
            ("snapshots", no_aof.clone(), settings("always", "60 1", "1"), Some("since the last snapshot")),
            ("a second", sound.to_owned(), settings("everysec", "", "1"), Some("up to a second")),
            ("no replica", alone, all(), Some("add a replica")),
            ("cut off", sound.to_owned(), settings("always", "", "0"), Some("min-replicas-to-write 1")),
            ("cut off for long", sound.to_owned(), lagging("10"), Some("set min-replicas-max-lag 2")),
            ("cut off for ever", sound.to_owned(), lagging("0"), Some("set min-replicas-max-lag 2")),
            ("open", sound.to_owned(), of(DefaultUser { is_open: true, ..OFF }), Some("set requirepass")),
            ("not loaded", sound.to_owned(), of(BARE), Some("+@all")),
            ("nothing to load", no_aof.clone(), of(BARE), Some("loses the registry")),
            ("settings not to be read", sound.to_owned(), ServerSettings::default(), None),
        ];
        for (what, info, settings, expected) in cases {
            let told = judge(&Info::new(info), &settings, true);
            assert_eq!(told.len(), usize::from(expected.is_some()), "{what}: {told:?}");
            if let (Some(line), Some(expected)) = (told.first(), expected) {
                assert!(line.contains(expected), "{what}: {line}");
            }
        }
    }
}
