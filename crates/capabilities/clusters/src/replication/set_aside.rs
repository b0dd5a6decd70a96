//! Records that are set aside: what another cluster has and cannot be written here is noted by its name, so that it neither holds up
//! the others nor is passed over unsaid.

use omnirelay_core::text::printable;
use omnirelay_core::time::Millis;
use omnirelay_wire::pb::omnirelay::store::v1::SetAsideRecordValue;

/// How many records of a domain are set aside before it is followed no more.
pub(super) const SET_ASIDE_MAX: usize = 64;
/// How many characters of a key and of a reason are kept.
const CHARS_MAX: usize = 256;

/// Adds a record, in the place of what was said of it; false: there are as many as may be.
pub(super) fn add(
    all: &mut Vec<SetAsideRecordValue>,
    (kind, key): (&str, &str),
    reason: &str,
    now: Millis,
) -> bool {
    remove(all, kind, key);
    if all.len() >= SET_ASIDE_MAX {
        return false;
    }
    let (key, reason) = (short(key), short(reason));
    all.push(SetAsideRecordValue {
        kind: kind.to_owned(),
        key,
        reason,
        since_ms: now.0,
        ..Default::default()
    });
    true
}

/// Removes a record.
pub(super) fn remove(all: &mut Vec<SetAsideRecordValue>, kind: &str, key: &str) {
    all.retain(|aside| aside.kind != kind || aside.key != short(key));
}

/// Changes between two moments, as the audit trail has them.
pub(super) fn changes(before: &[SetAsideRecordValue], after: &[SetAsideRecordValue]) -> Vec<String> {
    let missing = |of: &[SetAsideRecordValue], others: &[SetAsideRecordValue], what: &str| {
        let is_missing = |aside: &&SetAsideRecordValue| {
            others.iter().all(|other| (&other.kind, &other.key) != (&aside.kind, &aside.key))
        };
        let line = |aside: &SetAsideRecordValue| format!("{}/{}: {what}", aside.kind, aside.key);
        of.iter().filter(is_missing).map(line).collect::<Vec<_>>()
    };
    let mut changes = missing(after, before, "set aside");
    changes.extend(missing(before, after, "no longer set aside"));
    changes
}

/// Beginning of a text, without what a terminal would take for an order.
fn short(text: &str) -> String {
    printable(text).to_string().chars().take(CHARS_MAX).collect()
}
