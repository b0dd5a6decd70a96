//! Rights of a node's user on a server: the commands of a daemon, and the keys that it reads and writes.

use std::collections::BTreeSet;

use crate::{RecordKind, WritableKinds};

/// What a daemon does on a server, as `docs/guides/storage.md` has it.
pub const COMMANDS: &[&str] = &[
    "+info",
    "+eval",
    "+evalsha",
    "+wait",
    "+xread",
    "+xadd",
    "+xlen",
    "+xrange",
    "+xrevrange",
    "+xtrim",
    "+append",
    "+exists",
    "+get",
    "+pexpire",
    "+time",
    "+type",
    "+hdel",
    "+hget",
    "+hgetall",
    "+hmget",
    "+hset",
    "+zadd",
    "+zcard",
    "+zrange",
    "+zrangebylex",
    "+zrem",
    "+zscore",
];

/// The keys of a mesh that belong to no kind, as patterns behind its hash tag: every daemon writes them. A server looks through
/// patterns in this order, so that those come first which are written most.
pub const KEYS_OF_NO_KIND: &[&str] = &[
    "meta",
    "log",
    "groups",
    "moved:*",
    "members",
    "answers",
    "answer_times",
    "leases",
    "due",
    "ended",
    "stale",
    "tombstones",
    "floors",
    "secrets",
];

/// What the keys of each kind begin with.
const OF_KINDS: [&str; 2] = ["records:", "order:"];

/// Rights that a user is to have.
pub struct UserRights<'a> {
    /// What all keys of the mesh begin with: its hash tag and a colon.
    pub prefix: String,
    pub writable: &'a WritableKinds,
    /// Whether it has to select a database.
    pub selects: bool,
}

/// Rights that a user has, as a server tells them.
#[derive(Debug, Default)]
pub struct GrantedRights {
    /// Its patterns of keys.
    pub keys: Vec<String>,
    pub commands: Vec<String>,
    /// Whether it has further rights, each with commands and keys of its own.
    pub has_selectors: bool,
}

impl UserRights<'_> {
    /// The rights as words of `ACL SETUSER`, for a user that has none.
    pub fn words(&self) -> Vec<String> {
        let mut words = self.keys();
        words.extend(self.commands());
        words
    }

    /// The words of `ACL SETUSER` that bring a user to these rights; `None`: it has them.
    pub fn words_for(&self, allowed: &GrantedRights) -> Option<Vec<String>> {
        let has = |word: &String| allowed.commands.contains(word);
        let lacking = match allowed.commands.iter().any(|word| word == "+@all") {
            true => Vec::new(),
            false => self.commands().into_iter().filter(|word| !has(word)).collect(),
        };
        let wanted = self.keys();
        let further: Vec<String> = allowed.keys.iter().filter(|key| self.is_of_later(key)).cloned().collect();
        let due: BTreeSet<&String> = wanted.iter().chain(&further).collect();
        let is_right = !allowed.has_selectors && allowed.keys.iter().collect::<BTreeSet<_>>() == due;
        if is_right && lacking.is_empty() {
            return None;
        }
        let mut words = Vec::new();
        if !is_right {
            words.extend(["clearselectors", "resetkeys"].map(str::to_owned));
            words.extend(wanted.iter().cloned());
            words.extend(further.iter().filter(|key| !wanted.contains(key)).cloned());
        }
        words.extend(lacking);
        Some(words)
    }

    fn commands(&self) -> Vec<String> {
        let select = self.selects.then_some(&"+select");
        COMMANDS.iter().chain(select).map(|word| (*word).to_owned()).collect()
    }

    fn keys(&self) -> Vec<String> {
        let prefix = literal(&self.prefix);
        let WritableKinds::Only { kinds, .. } = self.writable else { return vec![format!("~{prefix}*")] };
        // First, as more is read than written.
        let mut keys = vec![format!("%R~{prefix}*")];
        keys.extend(KEYS_OF_NO_KIND.iter().map(|key| format!("~{prefix}{key}")));
        for of in OF_KINDS {
            keys.extend(kinds.iter().map(|kind| format!("~{prefix}{of}{}", literal(&kind.0))));
        }
        keys
    }

    /// Whether a pattern is of one kind that this version does not know: a later one has given it.
    fn is_of_later(&self, pattern: &str) -> bool {
        let WritableKinds::Only { kinds, never } = self.writable else { return false };
        let prefix = format!("~{}", literal(&self.prefix));
        let of_kind = pattern.strip_prefix(&prefix).and_then(|key| {
            OF_KINDS.iter().find_map(|of| key.strip_prefix(of)).filter(|kind| !kind.is_empty())
        });
        let is_known = |name: &str| kinds.iter().chain(never).any(|RecordKind(kind)| **kind == *name);
        let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        of_kind.is_some_and(|name| is_plain(name) && !is_known(name))
    }
}

/// A text as a pattern that nothing else matches.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for sign in text.chars() {
        if matches!(sign, '*' | '?' | '[' | ']' | '^' | '\\') {
            pattern.push('\\');
        }
        pattern.push(sign);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUIDE: &str = include_str!("../../../../docs/guides/storage.md");
    const SCRIPTS: &str = include_str!("scripts/common.lua");

    fn only(kinds: &[&'static str], never: &[&'static str]) -> WritableKinds {
        let of = |names: &[&'static str]| names.iter().map(|name| RecordKind::of(name)).collect();
        WritableKinds::Only { kinds: of(kinds), never: of(never) }
    }

    fn rights(writable: &WritableKinds) -> UserRights<'_> {
        UserRights { prefix: "{p:m}:".to_owned(), writable, selects: false }
    }

    fn allowed(keys: &[String]) -> GrantedRights {
        let commands = COMMANDS.iter().map(|word| (*word).to_owned());
        let commands = std::iter::once("-@all".to_owned()).chain(commands).collect();
        GrantedRights { keys: keys.to_vec(), commands, has_selectors: false }
    }

    /// The words of the guide's user under a heading.
    fn told(heading: &str) -> Vec<&'static str> {
        let block = GUIDE.split(heading).nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        block.split_whitespace().collect()
    }

    #[test]
    fn a_node_may_do_what_the_guide_lets_a_daemon_do() {
        let own: BTreeSet<&str> = COMMANDS.iter().copied().collect();
        for heading in ["# servers\n", "# nodes of a Cluster\n", "# a daemon that is no issuer\n"] {
            let words = told(heading);
            let told: BTreeSet<&str> = words.into_iter().filter(|word| word.starts_with('+')).collect();
            let told: BTreeSet<&str> = told.into_iter().filter(|word| *word != "+cluster|slots").collect();
            assert_eq!(told, own, "{heading}");
        }
    }

    /// The kinds of the guide are compared where they are known.
    #[test]
    fn the_guides_user_that_is_no_issuer_writes_the_keys_of_no_kind() {
        let prefix = "~{omnirelay:*}:";
        let words = told("# a daemon that is no issuer\n");
        assert!(words.contains(&"%R~{omnirelay:*}:*"), "it reads everything");
        let keys = words.iter().filter_map(|word| word.strip_prefix(prefix));
        let of_kinds = |key: &&str| OF_KINDS.iter().any(|of| key.starts_with(of));
        let keys: BTreeSet<&str> = keys.filter(|key| !of_kinds(key)).collect();
        assert_eq!(keys, KEYS_OF_NO_KIND.iter().copied().collect());
    }

    #[test]
    fn every_key_that_the_scripts_name_is_known() {
        let named = SCRIPTS.split("PREFIX .. '").skip(1).filter_map(|rest| rest.split('\'').next());
        let named: BTreeSet<String> = named
            .map(|name| if name.ends_with(':') { format!("{name}*") } else { name.to_owned() })
            .collect();
        let known = KEYS_OF_NO_KIND.iter().filter(|key| **key != "meta").map(|key| (*key).to_owned());
        let known: BTreeSet<String> = known.chain(OF_KINDS.map(|of| format!("{of}*"))).collect();
        assert_eq!(named, known);
    }

    #[test]
    fn a_user_is_brought_to_its_rights_once() {
        let workers = only(&["peer", "shard"], &["binding"]);
        let whole = vec!["~{p:m}:*".to_owned()];
        let narrow = rights(&workers).keys();
        let of_binding = [&narrow[..], &["~{p:m}:records:binding".to_owned()]].concat();
        let of_later = [&narrow[..], &["~{p:m}:records:later".to_owned()]].concat();
        let of_pattern = [&narrow[..], &["~{p:m}:records:b*".to_owned()]].concat();
        let cases = [
            // what                        is               may write        words
            ("the whole", &whole, &workers, Some(&narrow)),
            ("a kind less", &narrow[..narrow.len() - 1].to_vec(), &workers, Some(&narrow)),
            ("as it is to be", &narrow, &workers, None),
            ("one of the others", &of_binding, &workers, Some(&narrow)),
            ("a pattern", &of_pattern, &workers, Some(&narrow)),
            ("a kind of a later version", &of_later, &workers, None),
            ("an issuer", &narrow, &WritableKinds::All, Some(&whole)),
            ("an issuer already", &whole, &WritableKinds::All, None),
        ];
        for (what, is, writable, words) in cases {
            let found = rights(writable).words_for(&allowed(is));
            let reset = ["clearselectors", "resetkeys"].map(str::to_owned);
            assert_eq!(found, words.map(|words| [&reset[..], words].concat()), "{what}");
        }
        let of_selector = GrantedRights { has_selectors: true, ..allowed(&narrow) };
        assert!(rights(&workers).words_for(&of_selector).is_some(), "further rights");
        let mut of_before = allowed(&narrow);
        of_before.commands.retain(|word| word != "+wait");
        assert_eq!(rights(&workers).words_for(&of_before), Some(vec!["+wait".to_owned()]));
    }

    #[test]
    fn what_a_later_version_has_given_stays_when_something_else_is_changed() {
        let workers = only(&["peer"], &["binding"]);
        let later = "~{p:m}:order:later".to_owned();
        let is = [&["~{p:m}:*".to_owned()], &[later.clone()][..]].concat();
        let words = rights(&workers).words_for(&allowed(&is)).unwrap();
        assert!(words.contains(&later) && !words.contains(&"~{p:m}:*".to_owned()), "{words:?}");
    }

    #[test]
    fn a_name_with_signs_of_patterns_is_matched_by_itself_alone() {
        let writable = only(&["a*b"], &[]);
        let keys = UserRights { prefix: "{p:[m]}:".to_owned(), writable: &writable, selects: false }.keys();
        assert!(keys.contains(&"~{p:\\[m\\]}:order:a\\*b".to_owned()), "{keys:?}");
    }
}
