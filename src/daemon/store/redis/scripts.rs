//! The scripts: each is one atomic step on the server.

use redis::{Cmd, cmd};

/// Runs although the server is full.
const ALLOW_OOM: &str = "flags=allow-oom";
const NO_WRITES: &str = "flags=no-writes";
const WRITES: &str = "";

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
}

impl Scripts {
    pub fn new() -> Self {
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
        }
    }
}

impl Script {
    /// The script that every new connection runs first. It runs seldom enough to name its keys.
    pub fn greet() -> Self {
        let body = include_str!("scripts/greet.lua");
        Self { source: text(ALLOW_OOM, true, body), ..Self::new(ALLOW_OOM, body) }
    }

    fn new(flags: &str, body: &str) -> Self {
        let source = text(flags, false, body);
        let hash = redis::Script::new(&source).get_hash().to_owned();
        // It is run to be told what was wrong, and must change nothing.
        Self { source, hash, naming: text(NO_WRITES, true, body) }
    }

    /// Calls it by its hash, which the server may have forgotten; its arguments go behind.
    pub fn by_hash(&self, meta: &str) -> Cmd {
        command("EVALSHA", &self.hash, meta)
    }

    /// Calls it again after an error that did not say which key it is about. Writes nothing.
    pub fn by_text_naming_keys(&self, meta: &str) -> Cmd {
        command("EVAL", &self.naming, meta)
    }

    /// Calls it by its text, after which the server knows the hash.
    pub fn by_text(&self, meta: &str) -> Cmd {
        command("EVAL", &self.source, meta)
    }
}

fn text(flags: &str, names_keys: bool, body: &str) -> String {
    let common = include_str!("scripts/common.lua");
    format!("#!lua {flags}\nlocal NAMES_KEYS = {names_keys}\n{common}\n{body}")
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

    /// Every command that is sent or called.
    fn done() -> BTreeSet<String> {
        let (scripts, greet) = (Scripts::new(), Script::greet());
        let Scripts { commit, commit_freeing, recall, pulse, open_group, close_group, .. } = &scripts;
        let Scripts { scan, leases, log, housekeep, confirm, .. } = &scripts;
        let all = [commit, commit_freeing, recall, pulse, open_group, close_group];
        let all = all.into_iter().chain([scan, leases, log, housekeep, confirm, &greet]);
        all.flat_map(called).chain(SENT.map(str::to_owned)).collect()
    }

    /// What the first script on a connection asks the server about before it goes on.
    #[test]
    fn every_command_is_asked_for() {
        let greet = Script::greet();
        let list = greet.source.split("local NEEDED = {").nth(1).and_then(|rest| rest.split("\n}").next());
        let asked = list.unwrap_or_default().split("{ '").skip(1).filter_map(|rest| rest.split('\'').next());
        let asked: BTreeSet<String> = asked.map(str::to_lowercase).collect();
        let mut needed = done();
        // Without the first two nothing asks. A user that may not wait is one of an earlier version, and told so.
        needed.retain(|command| !["eval", "evalsha", "wait"].contains(&command.as_str()));
        assert_eq!(asked, needed);
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
