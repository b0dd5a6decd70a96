//! What `mesh check` asks of registers.

use crate::cli::check::{Category, Check, Facts, Finding, Judge};

/// The item of a node's readiness that says how far its pools are as its catalogue says.
const ITEM: &str = "registers";

pub static CATEGORY: Category = Category {
    name: "registers",
    page: "runbooks/registers.md",
    checks: &[Check::new(
        "registers-synced",
        "every pool is as the catalogue says",
        "What a node hosts is not what others are told: a pool cannot be reached, or has entries that should go and an \
         automatic run does not dare to remove so many.",
        Judge::Nodes(synced),
    )],
    items: &[ITEM],
};

fn synced(facts: &Facts) -> Finding {
    match facts.trouble(ITEM) {
        Some(trouble) => Finding::warn(trouble).hint("omnirelay registers status --node NODE"),
        None if facts.has_item(ITEM) => Finding::pass("pools are as the catalogues say"),
        None => Finding::skip("the daemon does not say"),
    }
}
