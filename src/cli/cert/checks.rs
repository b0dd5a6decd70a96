//! What `mesh check` asks of the identity of nodes.

use crate::cli::check::facts::Facts;
use crate::cli::check::finding::{Category, Check, Finding, Judge};

/// The items of a node's readiness.
const ITEM: &str = "identity";
const CREDENTIALS: &str = "store-credentials";

pub static CATEGORY: Category = Category {
    name: "identity",
    page: "security/threat-model.md",
    checks: &[
        Check::new(
            "identity-certificate",
            "every node has a certificate that lives and is renewed",
            "The mesh has a certificate authority, and a node has no certificate of it, or one that was revoked, has ended, or \
         should have been renewed long ago: soon nobody believes who it is.",
            Judge::Nodes(certificate),
        ),
        Check::new(
            "identity-store-credentials",
            "nobody who was put out of the mesh knows the credentials of the store",
            "A node was revoked that used the store with the same credentials as this one: it can read and write the registry \
         until they are others.",
            Judge::Nodes(credentials),
        ),
    ],
    items: &[ITEM, CREDENTIALS],
};

fn credentials(facts: &Facts) -> Finding {
    match facts.trouble(CREDENTIALS) {
        Some(trouble) => Finding::fail(trouble).hint("omnirelay explain identity-store-credentials"),
        None => Finding::of_item(facts, CREDENTIALS, "nobody else knows them", "the daemon does not say"),
    }
}

fn certificate(facts: &Facts) -> Finding {
    match facts.trouble(ITEM) {
        Some(trouble) => Finding::warn(trouble).hint("omnirelay cert list --kind node --all"),
        None => Finding::of_item(facts, ITEM, "certificates live and are renewed", "the daemon does not say"),
    }
}
