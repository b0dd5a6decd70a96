//! Checks of versions: the daemons of a mesh can work together.

use super::facts::{MeshFacts, RegistryFacts};
use super::finding::{CheckDefinition, CheckJudge, CheckResult, FindingCategory};

pub static CATEGORY: FindingCategory = FindingCategory {
    name: "versions",
    page: "guides/operations.md",
    checks: &[CheckDefinition::new(
        "versions-peers",
        "live peers are at most one minor version apart",
        "An upgrade was left half done: daemons work together across one minor version, not more.",
        CheckJudge::Registry(peers),
    )],
    items: &[],
};

fn peers(registry: &RegistryFacts, _: &MeshFacts) -> CheckResult {
    let said = registry.alive().map(|peer| peer.metadata.as_ref().map_or("", |said| &said.mesh_version));
    let mut words: Vec<&str> = said.collect();
    words.sort_unstable();
    words.dedup();
    let Some(mut parsed) = words.iter().map(|word| version(word)).collect::<Option<Vec<_>>>() else {
        return CheckResult::unknown(format!("not all versions can be compared: {}", words.join(", ")));
    };
    parsed.sort_unstable();
    let text =
        format!("live peers run {}", if words.is_empty() { "nothing".into() } else { words.join(", ") });
    match (parsed.first(), parsed.last()) {
        (Some(&oldest), Some(&newest)) if are_apart(oldest, newest) => CheckResult::warn(text)
            .hint("omnirelay mesh peers list -o wide --sort-by version    # upgrade the oldest first"),
        _ => CheckResult::pass(text),
    }
}

/// Major, minor and patch; `None` when the text has another shape.
pub fn version(text: &str) -> Option<(u64, u64, u64)> {
    let core = text.split(['-', '+']).next()?;
    let mut parts = core.split('.').map(str::parse);
    match (parts.next()?, parts.next()?, parts.next()?, parts.next()) {
        (Ok(major), Ok(minor), Ok(patch), None) => Some((major, minor, patch)),
        _ => None,
    }
}

/// Whether two versions are more than one minor version apart.
pub fn are_apart(a: (u64, u64, u64), b: (u64, u64, u64)) -> bool {
    a.0 != b.0 || a.1.abs_diff(b.1) > 1
}
