//! The names of the audit trail: what of them a search means, and what can be in no record.

use omnirelay_core::text::shown;
use omnirelay_wire::pb::omnirelay::store::v1::AuditValue;
use omnirelay_wire::rpc;

/// Longer filters are none: the longest key of a record is shorter.
const FILTER_BYTES_MAX: usize = 1024;
/// How much of a filter an error repeats.
const SHOWN_CHARS_MAX: usize = 80;
/// How many names an error offers.
const OFFERED_MAX: usize = 3;

/// The kinds of objects that records name. What stands in one row is one thing to those who search: what the trail calls it comes first,
/// then what commands print of it.
pub const KINDS: &[&[&str]] = &[
    &["advertisement"],
    &["authority"],
    &["binding"],
    &["certificate"],
    &["cluster"],
    &["domain", "domain-replica"],
    &["drone", "agent"],
    &["join-policy"],
    &["join-token", "token"],
    &["leadership", "leader"],
    &["namespace"],
    &["operation"],
    &["peer", "node"],
    &["rebalance-plan", "plan"],
    &["register"],
    &["registry"],
    &["revocation"],
    &["shard"],
    &["store"],
    &["transport-policy"],
];

/// What nodes enter by themselves, besides the actions of methods.
pub const OWN_ACTIONS: &[&str] = &[
    "audit.dropped",
    "authority.make-token-key",
    "authority.require-signatures",
    "bindings.seed",
    "certificates.note-credentials",
    "certificates.note-store-user",
    "certificates.prove-issuer",
    "certificates.restore-revocations",
    "certificates.set-store-rights",
    "certificates.vouch-for-seal-keys",
    "domains.follow",
    "join-tokens.carry-over",
    "leaders.elected",
    "leaders.expired",
    "leaders.handed-over",
    "leaders.lost",
    "leaders.order-dropped",
    "leaders.overtaken",
    "leaders.removed",
    "leaders.split-seen",
    "leaders.stepped-down",
    "namespaces.ready",
    "peers.die",
    "peers.join",
    "peers.leave",
    "reads",
    "rebalance-plans.end",
    "rebalance-plans.enter",
    "registry.epoch-changed",
    "registry.restore",
    "signed-records.refuse",
    "signed-records.restore",
    "signed-records.sign",
    "tls.handshake",
    "transport-policy.seed",
];

/// Before the name of a principal that was proven, or is known by where it calls from.
const PRINCIPALS: &[&str] = &["address", "node", "oidc", "operator", "service", "token", "uid"];

/// What the actions of calls begin with that would have changed nothing.
const READS: &str = "reads.";

/// Every action of the trail, in order.
pub fn actions() -> Vec<&'static str> {
    let of_methods = rpc::ALL.iter().map(|rpc| rpc.audit_action).filter(|action| !action.is_empty());
    let mut actions: Vec<&str> = of_methods.chain(OWN_ACTIONS.iter().copied()).collect();
    actions.sort_unstable();
    actions.dedup();
    actions
}

/// A filter that no record can match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmatchableFilter {
    /// The field of the request.
    pub field: &'static str,
    pub why: String,
    /// What may be meant, the likeliest first; empty: nothing is like it.
    pub meant: Vec<String>,
}

/// Search of the audit trail for records. Each name may have `*` for whatever stands there; an empty one is any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditSearch {
    actor: String,
    action: String,
    /// The rows of [`KINDS`] that are meant; empty: objects of any kind, and none.
    kinds: Vec<usize>,
    /// Of the object, what follows its kind.
    key: String,
    node_id: String,
}

impl AuditSearch {
    /// Reads a search from filters: names as the trail has them, or as commands print them.
    ///
    /// # Errors
    /// [`UnmatchableFilter`], where a name can be in no record.
    pub fn of(actor: &str, action: &str, object: &str, node_id: &str) -> Result<Self, UnmatchableFilter> {
        for (field, text) in [("actor", actor), ("action", action), ("object", object), ("nodeId", node_id)] {
            if text.len() > FILTER_BYTES_MAX {
                return Err(unmatchable(field, format!("it is longer than {FILTER_BYTES_MAX} bytes"), []));
            }
        }
        // As lines of the trail are printed: `uid:root at node-1`. Other names may have ` at ` in them.
        let of_host = actor.starts_with("uid:").then(|| actor.rsplit_once(" at ")).flatten();
        let (actor, at) = of_host.unwrap_or((actor, ""));
        if !at.is_empty() && !node_id.is_empty() && bare_node(at) != bare_node(node_id) {
            let why = format!("`{}` names another node than `nodeId` does", shown(at, SHOWN_CHARS_MAX));
            return Err(unmatchable("actor", why, []));
        }
        check_principal(actor)?;
        check_action(action)?;
        let (kinds, key) = read_object(object)?;
        let node_id = bare_node(if node_id.is_empty() { at } else { node_id });
        if let Some(unusable) = node_id.chars().find(|c| c.is_whitespace() || *c == '/') {
            return Err(unmatchable("nodeId", format!("no node has `{unusable}` in its id"), []));
        }
        Ok(Self {
            actor: actor.to_owned(),
            action: action.to_owned(),
            kinds,
            key: key.to_owned(),
            node_id: node_id.to_owned(),
        })
    }

    /// Whether it lets everything through.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a record is one of those.
    pub fn matches(&self, record: &AuditValue) -> bool {
        is_like(&self.actor, &record.actor)
            && is_like(&self.action, &record.action)
            && is_like(&self.node_id, &record.node_id)
            && self.matches_object(&record.object)
    }

    fn matches_object(&self, object: &str) -> bool {
        if self.kinds.is_empty() {
            return true;
        }
        let (kind, key) = object.split_once('/').unwrap_or((object, ""));
        if !self.kinds.iter().any(|row| KINDS[*row].contains(&kind)) {
            return false;
        }
        // Commands print registers without the node that has them.
        let of_node = (kind == "register").then(|| key.split_once('/')).flatten();
        is_like(&self.key, key) || of_node.is_some_and(|(_, register)| is_like(&self.key, register))
    }
}

fn unmatchable(field: &'static str, why: String, meant: impl Into<Vec<String>>) -> UnmatchableFilter {
    UnmatchableFilter { field, why, meant: meant.into() }
}

/// The id of a node, as it is or as `peer/ID` or `node/ID`.
fn bare_node(given: &str) -> &str {
    given.strip_prefix("peer/").or_else(|| given.strip_prefix("node/")).unwrap_or(given)
}

/// Whoever is no node by its id, nor one of few words, is `KIND:NAME`.
fn check_principal(actor: &str) -> Result<(), UnmatchableFilter> {
    let Some((kind, name)) = actor.split_once(':').filter(|(kind, _)| !kind.contains('*')) else {
        return Ok(());
    };
    if PRINCIPALS.contains(&kind) {
        return Ok(());
    }
    let why = format!("no principal is `{}:...`", shown(kind, SHOWN_CHARS_MAX));
    let meant = nearest(kind, PRINCIPALS.iter().copied());
    let meant = if meant.is_empty() { PRINCIPALS.to_vec() } else { meant };
    let named = meant.into_iter().map(|kind| format!("{kind}:{}", shown(name, SHOWN_CHARS_MAX)));
    Err(unmatchable("actor", why, named.collect::<Vec<_>>()))
}

fn check_action(action: &str) -> Result<(), UnmatchableFilter> {
    let known = actions();
    let is_read = |action: &str| rpc::ALL.iter().any(|rpc| is_like(action, &read_of(rpc)));
    if action.is_empty() || known.iter().any(|one| is_like(action, one)) || is_read(action) {
        return Ok(());
    }
    let why = format!("there is no action `{}`", shown(action, SHOWN_CHARS_MAX));
    let reads: Vec<String> = rpc::ALL.iter().map(read_of).collect();
    let all = known.iter().copied().chain(reads.iter().map(String::as_str));
    let near = owned(nearest(action, all));
    let mut meant = Vec::new();
    let (noun, verb) = action.split_once('.').unwrap_or((action, ""));
    let nouns = known.iter().filter_map(|one| one.split_once('.').map(|(noun, _)| noun));
    // `peers` is all of an object's, and `cordon` is done to whatever it is done to.
    meant.extend(nearest(noun, nouns).into_iter().map(|noun| format!("{noun}.*")).take(1));
    let of_verb = format!("*.{noun}");
    meant.extend(Some(of_verb).filter(|like| verb.is_empty() && known.iter().any(|one| is_like(like, one))));
    let says_no_verb = verb.is_empty() || verb.contains('*');
    let meant = if says_no_verb { [meant, near].concat() } else { [near, meant].concat() };
    Err(unmatchable("action", why, meant))
}

/// What the trail calls a refused call of a method, if it would have changed nothing: `reads.PeerControlService.List`.
fn read_of(rpc: &rpc::RpcMethod) -> String {
    let (service, method) = rpc.method.rsplit_once('/').unwrap_or(("", rpc.method));
    format!("{READS}{}.{method}", service.rsplit('.').next().unwrap_or(service))
}

/// The rows of kinds and the key of `KIND/KEY`.
fn read_object(object: &str) -> Result<(Vec<usize>, &str), UnmatchableFilter> {
    // Records without an object are among all as well.
    if object.is_empty() || object == "*" {
        return Ok((Vec::new(), ""));
    }
    let (kind, key) = object.split_once('/').unwrap_or((object, ""));
    let rows = KINDS.iter().enumerate().filter(|(_, row)| row.iter().any(|name| is_like(kind, name)));
    let rows: Vec<usize> = rows.map(|(at, _)| at).collect();
    let said = shown(object, SHOWN_CHARS_MAX);
    if rows.is_empty() {
        let names = KINDS.iter().flat_map(|row| row.iter().copied());
        let meant = nearest(kind, names.clone());
        let meant = if meant.is_empty() { names.collect() } else { meant };
        let rest = if key.is_empty() { "*".to_owned() } else { shown(key, SHOWN_CHARS_MAX) };
        let mut meant: Vec<String> = meant.into_iter().map(|kind| format!("{kind}/{rest}")).collect();
        if !object.contains('/') {
            meant.insert(0, format!("*/{said}"));
        }
        return Err(unmatchable("object", format!("there are no objects of the kind of `{said}`"), meant));
    }
    if key.is_empty() {
        let why = format!("`{said}` names no object: they are KIND/ID");
        return Err(unmatchable("object", why, [format!("{}/*", kind.trim_end_matches('/'))]));
    }
    Ok((rows, key))
}

/// Whether a text is as a pattern says, in which `*` stands for whatever is there; an empty pattern is any text.
pub fn is_like(pattern: &str, text: &str) -> bool {
    if pattern.is_empty() {
        return true;
    }
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    // Without a `*` there is nothing behind the first part.
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn owned(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// The names that a slip or two of the hand make of what was given, the nearest first.
fn nearest<'n>(given: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let given: Vec<char> = given.chars().filter(|c| *c != '*').take(SHOWN_CHARS_MAX).collect();
    let near = |name: &str| slips(&given, name) <= (given.len() / 3).max(1) || is_begun(&given, name);
    let mut found: Vec<(usize, &str)> =
        names.filter(|name| near(name)).map(|name| (slips(&given, name), name)).collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(OFFERED_MAX).map(|(_, name)| name).collect()
}

/// Whether a name begins with what was given, or the other way round, as `peers` and `peer`.
fn is_begun(given: &[char], name: &str) -> bool {
    const SHORTEST: usize = 3;
    given.len() >= SHORTEST && given.iter().copied().zip(name.chars()).all(|(one, other)| one == other)
}

/// How many characters have to be put in, taken out or changed to make the one of the other.
fn slips(given: &[char], name: &str) -> usize {
    let mut before: Vec<usize> = (0..=given.len()).collect();
    for (at, theirs) in name.chars().enumerate() {
        let mut now = vec![at + 1];
        for (index, ours) in given.iter().enumerate() {
            let changed = before[index] + usize::from(*ours != theirs);
            now.push(changed.min(before[index + 1] + 1).min(now[index] + 1));
        }
        before = now;
    }
    before.last().copied().unwrap_or(0)
}

#[cfg(test)]
#[path = "audit_names_test.rs"]
mod tests;
