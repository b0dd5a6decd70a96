//! The scripts: each is one atomic step on the server.

use redis::{Cmd, cmd};

/// What every script begins with.
const COMMON: &str = include_str!("scripts/common.lua");
/// Runs although the server is full.
const ALLOW_OOM: &str = "flags=allow-oom";
const NO_WRITES: &str = "flags=no-writes";
const WRITES: &str = "";

/// What a store sends or calls, each with arguments that it may have: the user is asked whether it may.
const COMMANDS: [(&str, &str); 24] = [
    ("APPEND", "META, ''"),
    ("EXISTS", "META"),
    ("GET", "META"),
    ("HDEL", "META, 'f'"),
    ("HGET", "META, 'f'"),
    ("HGETALL", "META"),
    ("HMGET", "META, 'f'"),
    ("HSET", "META, 'f', ''"),
    ("INFO", ""),
    ("PEXPIRE", "META, '1'"),
    ("TIME", ""),
    ("TYPE", "META"),
    ("XADD", "META, '*', 'f', ''"),
    ("XLEN", "META"),
    ("XRANGE", "META, '-', '+'"),
    ("XREAD", "'STREAMS', META, '0'"),
    ("XREVRANGE", "META, '+', '-'"),
    ("XTRIM", "META, 'MINID', '0'"),
    ("ZADD", "META, '0', 'm'"),
    ("ZCARD", "META"),
    ("ZRANGE", "META, '0', '-1'"),
    ("ZRANGEBYLEX", "META, '-', '+'"),
    ("ZREM", "META, 'm'"),
    ("ZSCORE", "META, 'm'"),
];

/// A script and the name that the server knows it by.
pub(super) struct Script {
    source: String,
    hash: String,
    /// The same script, whose errors name the key that they are about.
    naming: String,
}

/// All scripts of the store.
pub(super) struct Scripts {
    pub commit: Script,
    /// The same for commits that only free something.
    pub commit_freeing: Script,
    pub recall: Script,
    pub pulse: Script,
    pub open_group: Script,
    pub close_group: Script,
    pub scan: Script,
    pub leases: Script,
    pub log: Script,
    pub housekeep: Script,
    pub confirm: Script,
    pub reset_clock: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let commit = include_str!("scripts/commit.lua");
        Self {
            commit: Script::new(WRITES, commit),
            commit_freeing: Script::new(ALLOW_OOM, commit),
            recall: Script::new(NO_WRITES, include_str!("scripts/recall.lua")),
            pulse: Script::new(ALLOW_OOM, include_str!("scripts/pulse.lua")),
            open_group: Script::new(WRITES, include_str!("scripts/open_group.lua")),
            close_group: Script::new(ALLOW_OOM, include_str!("scripts/close_group.lua")),
            scan: Script::new(NO_WRITES, include_str!("scripts/scan.lua")),
            leases: Script::new(NO_WRITES, include_str!("scripts/leases.lua")),
            log: Script::new(NO_WRITES, include_str!("scripts/log.lua")),
            housekeep: Script::new(ALLOW_OOM, include_str!("scripts/housekeep.lua")),
            confirm: Script::new(ALLOW_OOM, include_str!("scripts/confirm.lua")),
            reset_clock: Script::new(ALLOW_OOM, include_str!("scripts/reset_clock.lua")),
        }
    }
}

impl Script {
    /// The script that every new connection runs first. It runs seldom enough to name its keys.
    pub(super) fn greet() -> Self {
        let (body, all) = (include_str!("scripts/greet.lua"), rights(|_| true));
        Self { source: text(ALLOW_OOM, true, &all, body), ..Self::new(ALLOW_OOM, body) }
    }

    fn new(flags: &str, body: &str) -> Self {
        let needed = if flags == NO_WRITES {
            String::new()
        } else {
            rights(|name| calls(COMMON, name) || calls(body, name))
        };
        let source = text(flags, false, &needed, body);
        let hash = redis::Script::new(&source).get_hash().to_owned();
        // It is run to be told what was wrong, and must change nothing.
        Self { source, hash, naming: text(NO_WRITES, true, "", body) }
    }

    /// Calls it by its hash, which the server may have forgotten; its arguments go behind.
    pub(super) fn by_hash(&self, meta: &str) -> Cmd {
        command("EVALSHA", &self.hash, meta)
    }

    /// Calls it again after an error that did not say which key it is about. Writes nothing.
    pub(super) fn by_text_naming_keys(&self, meta: &str) -> Cmd {
        command("EVAL", &self.naming, meta)
    }

    /// Calls it by its text, after which the server knows the hash.
    pub(super) fn by_text(&self, meta: &str) -> Cmd {
        command("EVAL", &self.source, meta)
    }
}

fn text(flags: &str, names_keys: bool, needed: &str, body: &str) -> String {
    format!("#!lua {flags}\nlocal NAMES_KEYS = {names_keys}\n{COMMON}\n{needed}{body}")
}

/// Refuses a user that may not do all of this, before anything is done: a script that writes stops at the first command
/// that is denied, and what it has written by then stays. A right can be taken from a user that is connected.
fn rights(is_needed: impl Fn(&str) -> bool) -> String {
    let needed = COMMANDS.iter().filter(|(name, _)| is_needed(name));
    let asked = needed.map(|(name, arguments)| {
        let comma = if arguments.is_empty() { "" } else { ", " };
        let word = name.to_lowercase();
        format!("if not redis.acl_check_cmd('{name}'{comma}{arguments}) then lacking = lacking .. ' +{word}' end\n")
    });
    let asked: String = asked.collect();
    format!(
        "local lacking = ''\n{asked}if lacking ~= '' then return redis.error_reply('NOPERM the user needs' .. lacking) end\n"
    )
}

fn calls(script: &str, name: &str) -> bool {
    script.contains(&format!("redis.call('{name}'")) || script.contains(&format!("redis.pcall('{name}'"))
}

fn command(name: &str, script: &str, meta: &str) -> Cmd {
    let mut command = cmd(name);
    command.arg(script).arg(1).arg(meta);
    command
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const GUIDE: &str = include_str!("../../../../docs/guides/storage.md");
    /// What is sent beside what the scripts call.
    const SENT: [&str; 5] = ["eval", "evalsha", "info", "wait", "xread"];

    fn called(script: &Script) -> impl Iterator<Item = String> {
        let calls =
            script.source.split("redis.call('").skip(1).chain(script.source.split("redis.pcall('").skip(1));
        calls.filter_map(|rest| rest.split('\'').next()).map(str::to_lowercase)
    }

    /// What a script asks about.
    fn asked(script: &Script) -> BTreeSet<String> {
        let asked = script.source.split("redis.acl_check_cmd('").skip(1);
        asked.filter_map(|rest| rest.split('\'').next()).map(str::to_lowercase).collect()
    }

    /// Every command that is sent or called.
    fn done() -> BTreeSet<String> {
        let (scripts, greet) = (Scripts::new(), Script::greet());
        let Scripts { commit, commit_freeing, recall, pulse, open_group, close_group, .. } = &scripts;
        let Scripts { scan, leases, log, housekeep, confirm, reset_clock, .. } = &scripts;
        let all = [commit, commit_freeing, recall, pulse, open_group, close_group];
        let all = all.into_iter().chain([scan, leases, log, housekeep, confirm, reset_clock, &greet]);
        all.flat_map(called).chain(SENT.map(str::to_owned)).collect()
    }

    /// What the first script on a connection asks the server about before it goes on.
    #[test]
    fn every_command_is_asked_for() {
        let asked = asked(&Script::greet());
        let mut needed = done();
        // Without the first two nothing asks. A user that may not wait is one of an earlier version, and told so.
        needed.retain(|command| !["eval", "evalsha", "wait"].contains(&command.as_str()));
        assert_eq!(asked, needed);
    }

    #[test]
    fn a_script_that_writes_asks_for_all_that_it_calls_before_it_calls() {
        let all = Scripts::new();
        let writing = [&all.commit, &all.commit_freeing, &all.pulse, &all.open_group, &all.close_group];
        for script in writing.into_iter().chain([&all.housekeep, &all.confirm, &all.reset_clock]) {
            assert_eq!(asked(script), called(script).collect(), "{}", script.source);
        }
        for script in [&all.recall, &all.scan, &all.leases, &all.log] {
            assert_eq!(asked(script), BTreeSet::new(), "what writes nothing is not torn");
        }
    }

    #[test]
    fn the_guides_user_may_do_what_is_done_and_no_more() {
        let done = done();
        for (whom, further) in [("# servers", None), ("# nodes of a Cluster", Some("cluster|slots"))] {
            let line = GUIDE.split(whom).nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
            let allowed = line.split_whitespace().filter_map(|word| word.strip_prefix('+'));
            let allowed: BTreeSet<String> = allowed.map(str::to_owned).collect();
            let needed = done.iter().cloned().chain(further.map(str::to_owned)).collect();
            assert_eq!(allowed, needed, "{whom}");
        }
    }
}
