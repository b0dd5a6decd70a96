//! What `mesh check` asks of the identity of nodes.

use crate::cli::check::facts::{Facts, NAMED_MAX};
use crate::cli::check::finding::{Category, Check, Finding, Judge};
use crate::cli::frame::client::some_of;
use crate::cli::frame::document::{field, number, text};
use crate::cli::peers::columns::enrol;

/// The items of a node's readiness.
const ITEM: &str = "identity";
const CREDENTIALS: &str = "store-credentials";
const PLAINTEXT: &str = "plaintext";
const FEDERATION: &str = "federation";
const KEY_FILES: &str = "key-files";
const WITHOUT: &str = "without-identity";
const SIGNED: &str = "signed-records";
const UNSIGNED: &str = "unsigned-records";
const ISSUERS: &str = "issuers";
const SECOND_ISSUER: &str = "second-issuer";

pub static CATEGORY: Category = Category {
    name: "identity",
    page: "runbooks/identity.md",
    checks: &[
        Check::new(
            "identity-certificate",
            "every node has a certificate that lives and is renewed",
            "A node has no certificate of the mesh's authority, or of its files, or one that was revoked, has ended, or \
             should have been renewed long ago: soon nobody believes who it is.",
            Judge::Nodes(certificate),
        ),
        Check::new(
            "identity-revocations",
            "every node judges by the newest list of revocations",
            "A node has not taken over what was revoked last, so that whoever was put out meanwhile is still let in there. It \
             may be cut off from the store, or not believe who has signed the list.",
            Judge::Nodes(revocations),
        ),
        Check::new(
            "identity-store-credentials",
            "nobody who was put out of the mesh knows the credentials of the store",
            "A node was revoked that used the store with the same credentials as this one: it can read and write the registry \
             until they are others.",
            Judge::Nodes(credentials),
        ),
        Check::new(
            "identity-plaintext",
            "nothing leaves a node in plaintext",
            "A relay's port beyond loopback has no TLS, or a node calls a registry, a peer service or a collector of \
             telemetry on another host by http://: whoever is on the way reads and changes what is said.",
            Judge::Nodes(plaintext),
        ),
        Check::new(
            "identity-federation",
            "the roots of federated clusters can be read, count and live",
            "A node of a federated cluster is let in by roots that are in a file. The file cannot be read, or holds what is no \
             root, the roots have ended or end within two weeks, or they are said to be of the trust domain of this mesh, \
             whose own count. Nothing is exchanged with that cluster then, or soon.",
            Judge::Nodes(federation),
        ),
        Check::new(
            "identity-strangers",
            "every node that lives has a certificate of the mesh",
            "A daemon that the mesh has given no certificate reaches the store, and so it is a peer that lives: it may be one of \
             before the authority, one whose enrolment was forgotten, or nobody's. It leads nothing, gets no shards, and nobody is \
             shown what it advertises; who can reach the store can write to it.",
            Judge::Nodes(strangers),
        ),
        Check::new(
            "identity-keys",
            "no private key of a node is open to everybody of its host",
            "A file that the configuration names for a private key may be read or written by every user of that host, and so \
             has to be taken for known: close it (chmod o=), then have another key certified.",
            Judge::Nodes(keys),
        ),
        Check::new(
            "identity-signed-records",
            "every record of who may do what is as an issuer has signed it",
            "Somebody wrote to the store, or deleted there, what only an issuer may: the authority, a binding, a join token, the \
             join policy or the transport policy. It does not count, and an issuer puts back what does; but whoever did so has \
             credentials of the store and a reason. Told for a day.",
            Judge::Nodes(signed_records),
        ),
        Check::new(
            "identity-unsigned-records",
            "records of who may do what count only when an issuer has signed them",
            "The mesh has an authority, and whoever can write to the store still administers it: bindings and join tokens count \
             whoever wrote them. One command ends that, once every daemon knows signatures.",
            Judge::Nodes(unsigned_records),
        ),
        Check::new(
            "identity-issuers",
            "a node that can issue certificates lives",
            "No node that lives has the secret of the issuers: certificates end and nobody renews them, no host joins, and nobody \
             changes bindings, join tokens or the policies. Start an issuer again, or put its secret on another host.",
            Judge::Nodes(issuers),
        ),
        Check::new(
            "identity-second-issuer",
            "more than one node can issue certificates",
            "One node alone has the secret of the issuers. While it is away no host joins and nobody changes who may do what, and \
             if its disk is lost, so is the authority. Where hosts have users of their own in Redis, they join by an issuer \
             whose user may make others.",
            Judge::Nodes(second_issuer),
        ),
    ],
    items: &[
        ITEM,
        CREDENTIALS,
        PLAINTEXT,
        FEDERATION,
        KEY_FILES,
        WITHOUT,
        SIGNED,
        UNSIGNED,
        ISSUERS,
        SECOND_ISSUER,
    ],
};

fn signed_records(facts: &Facts) -> Finding {
    match facts.trouble(SIGNED) {
        Some(trouble) => Finding::fail(trouble).hint("omnirelay audit list --action signed-records.restore"),
        None => {
            Finding::of_item(facts, SIGNED, "every record is as it was signed", "the daemon does not say")
        }
    }
}

fn unsigned_records(facts: &Facts) -> Finding {
    match facts.trouble(UNSIGNED) {
        Some(trouble) => Finding::warn(trouble).hint("omnirelay cert ca protect"),
        None => Finding::of_item(facts, UNSIGNED, "no other one counts", "the daemon does not say"),
    }
}

fn issuers(facts: &Facts) -> Finding {
    match facts.trouble(ISSUERS) {
        Some(trouble) => Finding::fail(trouble).hint("omnirelay explain identity-issuers"),
        None => Finding::of_item(facts, ISSUERS, "there is one", "the daemon does not say"),
    }
}

fn second_issuer(facts: &Facts) -> Finding {
    match facts.trouble(SECOND_ISSUER) {
        Some(trouble) => Finding::warn(trouble).hint("omnirelay cert ca share NODE"),
        None => Finding::of_item(facts, SECOND_ISSUER, "no node issues alone", "the daemon does not say"),
    }
}

fn credentials(facts: &Facts) -> Finding {
    match facts.trouble(CREDENTIALS) {
        Some(trouble) => Finding::fail(trouble).hint("omnirelay explain identity-store-credentials"),
        None => Finding::of_item(
            facts,
            CREDENTIALS,
            "the credentials of the store are known to nobody who was put out",
            "the daemon does not say",
        ),
    }
}

fn strangers(facts: &Facts) -> Finding {
    match facts.trouble(WITHOUT) {
        Some(trouble) => Finding::warn(trouble).hint(enrol("NODE")),
        None => Finding::of_item(facts, WITHOUT, "every node that lives has one", "the daemon does not say"),
    }
}

fn certificate(facts: &Facts) -> Finding {
    let enrolments: Vec<(&str, &str)> =
        facts.nodes().map(|(id, node)| (id, text(node, "enrolment"))).collect();
    let not_enrolled = enrolments.iter().find(|(_, enrolment)| *enrolment == "not_enrolled");
    let nobody_has = !enrolments.is_empty() && enrolments.iter().all(|(_, of)| *of == "no_authority");
    match (facts.trouble(ITEM), not_enrolled) {
        (Some(trouble), Some((id, _))) => return Finding::warn(trouble).hint(enrol(id)),
        // What that means is said of the mesh port.
        (None, _) if nobody_has => {
            return Finding::skip("no node has one, for this mesh has no authority");
        }
        (Some(_) | None, _) => {}
    }
    match facts.trouble(ITEM) {
        Some(trouble) => Finding::warn(trouble).hint("omnirelay cert list --kind node --all"),
        None => Finding::of_item(facts, ITEM, "certificates live and are renewed", "the daemon does not say"),
    }
}

/// What each node says of revocations: the number of the newest list that it knows of, and of the one that it judges by.
/// Daemons that do not say it are older.
fn revocations(facts: &Facts) -> Finding {
    let says = |(id, node)| {
        let is_said = !field(node, "revocationsEnforcedNumber").is_null();
        is_said.then(|| (id, number(node, "revocationsNumber"), number(node, "revocationsEnforcedNumber")))
    };
    let told: Vec<(&str, u64, u64)> = facts.nodes().filter_map(says).collect();
    let newest = told.iter().map(|(_, known, enforced)| *known.max(enforced)).max();
    let Some(newest) = newest else { return Finding::skip("the daemons do not say") };
    let behind = told.iter().filter(|(_, _, enforced)| *enforced < newest);
    let behind: Vec<String> = behind.map(|(id, _, enforced)| format!("{id} by list {enforced}")).collect();
    match (newest, behind.as_slice()) {
        (0, _) => Finding::pass(format!("nothing was revoked{}", facts.coverage())),
        (_, []) => Finding::pass(format!("every node judges by list {newest}{}", facts.coverage())),
        (_, behind) => Finding::fail(format!(
            "list {newest} is not judged by everywhere: {}",
            some_of(behind, NAMED_MAX)
        ))
        .hint("omnirelay --addr NODE:PORT cert revocations    # is its store away (stale)? what does its log say?"),
    }
}

fn federation(facts: &Facts) -> Finding {
    let found = Finding::of_item(
        facts,
        FEDERATION,
        "the roots of all that are named live",
        "the daemon does not say",
    );
    found.next(
        "omnirelay cert ca show; then put a new file in the place of that of security.federatedClusters",
    )
}

fn keys(facts: &Facts) -> Finding {
    let found =
        Finding::of_item(facts, KEY_FILES, "no private key is open to everybody", "the daemon does not say");
    found.next("chmod o= the file, then replace the key")
}

fn plaintext(facts: &Facts) -> Finding {
    let found = Finding::of_item(facts, PLAINTEXT, "nothing leaves in plaintext", "the daemon does not say");
    found.next("set relay.tls.source, or the address to https://, in the configuration of omnirelayd")
}
