//! Checks of the identity of nodes: each has a certificate, and who may do what is as an issuer has signed it.

use omnirelay_core::text::some_of;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;

use super::facts::{MeshFacts, NAMED_MAX, is_alive};
use super::finding::{CheckDefinition, CheckJudge, CheckResult, CheckVerdict, FindingCategory};

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
const ADMINISTRATORS: &str = "administrators";

pub static CATEGORY: FindingCategory = FindingCategory {
    name: "identity",
    page: "runbooks/identity.md",
    checks: &[
        CheckDefinition::new(
            "identity-certificate",
            "every node has a certificate that lives and is renewed",
            "A node has no certificate of the mesh's authority, or of its files, or one that was revoked, has ended, or \
             should have been renewed long ago: soon nobody believes who it is.",
            CheckJudge::Nodes(certificate),
        ),
        CheckDefinition::new(
            "identity-revocations",
            "every node judges by the newest list of revocations",
            "A node has not taken over what was revoked last, so that whoever was put out meanwhile is still let in there. It \
             may be cut off from the store, or not believe who has signed the list.",
            CheckJudge::Nodes(revocations),
        ),
        CheckDefinition::new(
            "identity-store-credentials",
            "nobody who was put out of the mesh knows the credentials of the store",
            "A node was revoked that used the store with the same credentials as this one: it can read and write the registry \
             until they are others.",
            CheckJudge::Nodes(credentials),
        ),
        CheckDefinition::new(
            "identity-plaintext",
            "nothing leaves a node in plaintext",
            "A relay's port beyond loopback has no TLS, or a node calls a registry, a peer service or a collector of \
             telemetry on another host by http://, or a Redis there by redis://: whoever is on the way reads and changes what is \
             said, and learns the password.",
            CheckJudge::Nodes(plaintext),
        ),
        CheckDefinition::new(
            "identity-federation",
            "the roots of federated clusters can be read, count and live",
            "A node of a federated cluster is let in by roots that are in a file. The file cannot be read, or holds what is no \
             root, the roots have ended or end within two weeks, or they are said to be of the trust domain of this mesh, \
             whose own count. Nothing is exchanged with that cluster then, or soon.",
            CheckJudge::Nodes(federation),
        ),
        CheckDefinition::new(
            "identity-strangers",
            "every node that lives has a certificate of the mesh",
            "A daemon that the mesh has given no certificate reaches the store, and so it is a peer that lives: it may be one of \
             before the authority, one whose enrolment was forgotten, or nobody's. It leads nothing, gets no shards, and nobody is \
             shown what it advertises; who can reach the store can write to it.",
            CheckJudge::Nodes(strangers),
        ),
        CheckDefinition::new(
            "identity-keys",
            "no private key of a node is open to everybody of its host",
            "A file that the configuration names for a private key may be read or written by every user of that host, and so \
             has to be taken for known: close it (chmod o=), then have another key certified.",
            CheckJudge::Nodes(keys),
        ),
        CheckDefinition::new(
            "identity-signed-records",
            "every record of who may do what is as an issuer has signed it",
            "Somebody wrote to the store, or deleted there, what only an issuer may: the authority, a binding, a join token, the \
             join policy or the transport policy. It does not count, and an issuer puts back what does; but whoever did so has \
             credentials of the store and a reason. Told for a day.",
            CheckJudge::Nodes(signed_records),
        ),
        CheckDefinition::new(
            "identity-unsigned-records",
            "records of who may do what count only when an issuer has signed them",
            "The mesh has an authority, and whoever can write to the store still administers it: bindings and join tokens count \
             whoever wrote them. One command ends that, once every daemon knows signatures.",
            CheckJudge::Nodes(unsigned_records),
        ),
        CheckDefinition::new(
            "identity-issuers",
            "a node that can issue certificates lives",
            "No node that lives has the secret of the issuers: certificates end and nobody renews them, no host joins, and nobody \
             changes bindings, join tokens or the policies. Start an issuer again, or put its secret on another host.",
            CheckJudge::Nodes(issuers),
        ),
        CheckDefinition::new(
            "identity-second-issuer",
            "more than one node can issue certificates",
            "One node alone has the secret of the issuers. While it is away no host joins and nobody changes who may do what, and \
             if its disk is lost, so is the authority. Where hosts have users of their own in Redis, they join by an issuer \
             whose user may make others.",
            CheckJudge::Nodes(second_issuer),
        ),
        CheckDefinition::new(
            "identity-administrators",
            "somebody may administer the mesh from elsewhere",
            "No binding gives `mesh.admin` to anybody who may come in: the last one was deleted, or put out. Only the control socket \
             of an issuer's host, and tokens of files, administer the mesh.",
            CheckJudge::Nodes(administrators),
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
        ADMINISTRATORS,
    ],
};

fn signed_records(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(
        facts,
        SIGNED,
        CheckVerdict::Fail,
        "every record is as it was signed",
        "the daemon does not say",
    )
    .next("omnirelay audit list --action signed-records.restore")
}

fn unsigned_records(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(
        facts,
        UNSIGNED,
        CheckVerdict::Warn,
        "no record counts that no issuer has signed",
        "the daemon does not say",
    )
    .next("omnirelay cert ca protect")
}

fn issuers(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(
        facts,
        ISSUERS,
        CheckVerdict::Fail,
        "nothing keeps the mesh from issuing certificates",
        "the daemon does not say",
    )
    .next("omnirelay explain identity-issuers")
}

fn administrators(facts: &MeshFacts) -> CheckResult {
    if facts.own().is_some_and(|own| own.let_in != "nobody" || own.enrolment == "no_authority") {
        return CheckResult::skip("callers need no certificate, or the mesh has no authority");
    }
    let fine = "a binding gives mesh.admin to somebody who was not put out";
    CheckResult::of_item(facts, ADMINISTRATORS, CheckVerdict::Warn, fine, "the daemon does not say").next(
        "omnirelay bindings set operator:NAME mesh.admin    # at the control socket of an issuer's host; then omnirelay cert issue --operator \
         NAME",
    )
}

fn second_issuer(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(
        facts,
        SECOND_ISSUER,
        CheckVerdict::Warn,
        "no node issues alone",
        "the daemon does not say",
    )
    .next("omnirelay cert ca share NODE")
}

fn credentials(facts: &MeshFacts) -> CheckResult {
    CheckResult::of_item(
        facts,
        CREDENTIALS,
        CheckVerdict::Fail,
        "the credentials of the store are known to nobody who was put out",
        "the daemon does not say",
    )
    .next("omnirelay explain identity-store-credentials")
}

fn strangers(facts: &MeshFacts) -> CheckResult {
    let is_stranger = |peer: &&pb::Peer| is_alive(peer) && !peer.unproven.is_empty();
    CheckResult::of_item(
        facts,
        WITHOUT,
        CheckVerdict::Warn,
        "every node that lives has one",
        "the daemon does not say",
    )
    .next(match facts.registry.as_ref().and_then(|registry| registry.peers.iter().find(is_stranger)) {
        Some(peer) => enrol_hint(&peer.node_id),
        None => enrol_hint("NODE"),
    })
}

fn certificate(facts: &MeshFacts) -> CheckResult {
    let is = |word: &'static str| facts.told().filter(move |(_, node)| node.enrolment == word);
    let not_enrolled = is("not_enrolled").next();
    let found = CheckResult::of_item(
        facts,
        ITEM,
        CheckVerdict::Warn,
        "certificates live and are renewed",
        "the daemon does not say",
    )
    .about_themselves();
    match (found.verdict, not_enrolled) {
        (CheckVerdict::Warn, Some((id, _))) => found.hint(enrol_hint(id)),
        (CheckVerdict::Warn, None) => found.hint("omnirelay cert list --kind node --all"),
        // What that means is said of the mesh port.
        (_, _) if facts.told().count() > 0 && is("no_authority").count() == facts.told().count() => {
            CheckResult::skip("no node has one, for this mesh has no authority")
        }
        (_, _) => found,
    }
}

/// Next step for a node that needs a certificate: how it gets one.
pub fn enrol_hint(id: &str) -> String {
    format!(
        "omnirelay token create --replace --node {id} --role ROLE    # its role, as before; then on its host, or stop its daemon: omnirelay \
         mesh join --force; if it was put out: omnirelay cert reinstate --node {id}, first"
    )
}

/// By the number of the newest list that any node knows of, and of those that they judge by. Daemons that say nothing of their
/// enrolment are older and say nothing of lists.
fn revocations(facts: &MeshFacts) -> CheckResult {
    let told: Vec<(&str, u64, u64)> = facts
        .told()
        .filter(|(_, node)| !node.enrolment.is_empty())
        .map(|(id, node)| (id, node.revocations_number, node.revocations_enforced_number))
        .collect();
    let Some(newest) = told.iter().map(|(_, known, enforced)| *known.max(enforced)).max() else {
        return CheckResult::skip("the daemons do not say");
    };
    let behind: Vec<&(&str, u64, u64)> = told.iter().filter(|(_, _, enforced)| *enforced < newest).collect();
    let coverage = facts.coverage(told.len());
    let all = told.iter().map(|(id, ..)| *id);
    match (newest, behind.as_slice()) {
        (0, _) => CheckResult::pass(format!("nothing was revoked{coverage}")).seen_by(all),
        (_, []) => CheckResult::pass(format!("every node judges by list {newest}{coverage}")).seen_by(all),
        (_, behind) => {
            let words: Vec<String> =
                behind.iter().map(|(id, _, enforced)| format!("{id} by list {enforced}")).collect();
            let knows = told.iter().filter(|(_, known, enforced)| *known.max(enforced) == newest);
            CheckResult::fail(format!("list {newest} is not judged by everywhere: {}", some_of(&words, NAMED_MAX)))
                .hint("omnirelay --addr NODE:PORT cert revocations    # is its store away (stale)? what does its log say?")
                .seen_by(knows.map(|(id, ..)| *id))
        }
    }
}

fn federation(facts: &MeshFacts) -> CheckResult {
    let found = CheckResult::of_item(
        facts,
        FEDERATION,
        CheckVerdict::Warn,
        "the roots of all that are named live",
        "the daemon does not say",
    );
    found.next(
        "omnirelay cert ca show; then put a new file in the place of that of security.federatedClusters",
    )
}

fn keys(facts: &MeshFacts) -> CheckResult {
    let found = CheckResult::of_item(
        facts,
        KEY_FILES,
        CheckVerdict::Warn,
        "no private key is open to everybody",
        "the daemon does not say",
    )
    .about_themselves();
    found.next("chmod o= the file, then replace the key")
}

fn plaintext(facts: &MeshFacts) -> CheckResult {
    let found = CheckResult::of_item(
        facts,
        PLAINTEXT,
        CheckVerdict::Warn,
        "nothing leaves in plaintext",
        "the daemon does not say",
    )
    .about_themselves();
    found.next(
        "give the setting that is named an address of https:// or rediss://, in the configuration of omnirelayd; for a relay set \
         relay.tls.source",
    )
}
