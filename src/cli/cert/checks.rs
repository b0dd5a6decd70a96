//! What `mesh check` asks of the identity of nodes.

use crate::cli::check::facts::Facts;
use crate::cli::check::finding::{Category, Check, Finding, Judge};

/// The items of a node's readiness.
const ITEM: &str = "identity";
const PLAINTEXT: &str = "plaintext";

pub static CATEGORY: Category = Category {
    name: "identity",
    page: "security/threat-model.md",
    checks: &[
        Check::new(
            "identity-certificate",
            "every node has a certificate that lives and is renewed",
            "A node has no certificate of the mesh's authority, or of its files, or one that was revoked, has ended, or \
             should have been renewed long ago: soon nobody believes who it is.",
            Judge::Nodes(certificate),
        ),
        Check::new(
            "identity-plaintext",
            "nothing leaves a node in plaintext",
            "A relay's port beyond loopback has no TLS, or a node calls a registry, a peer service or a collector of \
             telemetry on another host by http://: whoever is on the way reads and changes what is said.",
            Judge::Nodes(plaintext),
        ),
    ],
    items: &[ITEM, PLAINTEXT],
};

fn certificate(facts: &Facts) -> Finding {
    match facts.trouble(ITEM) {
        Some(trouble) => Finding::warn(trouble).hint("omnirelay cert list --kind node --all"),
        None => Finding::of_item(facts, ITEM, "certificates live and are renewed", "the daemon does not say"),
    }
}

fn plaintext(facts: &Facts) -> Finding {
    let found = Finding::of_item(facts, PLAINTEXT, "nothing leaves in plaintext", "the daemon does not say");
    found.next("set relay.tls.source, or the address to https://, in the configuration of omnirelayd")
}
