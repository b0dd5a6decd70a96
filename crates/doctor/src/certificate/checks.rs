//! Checks of the files of a certificate.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::time::{Millis, rfc3339};
use omnirelay_decisions::check::finding::{CheckDefinition, CheckResult, FactExaminer, FindingCategory};
use omnirelay_host::permissions::{
    is_open_to_others, is_own, is_writable_by_all, is_writable_by_group, mode,
};
use omnirelay_host::users::{Uid, user_name};
use omnirelay_pki::certificate::Certificate;
use omnirelay_pki::trust::{ChainTrustError, ChainUsage, TrustBundle};
use rustls::pki_types::CertificateDer;

use super::life;
use super::papers::{CertificateFiles, FilePermissions, FileSecrecy, UnusableFile};

pub static CATEGORIES: &[&FindingCategory<FactExaminer<CertificateFiles>>] = &[&CATEGORY];

pub static CATEGORY: FindingCategory<FactExaminer<CertificateFiles>> = FindingCategory {
    name: "certificate-files",
    page: "runbooks/identity.md",
    checks: &[
        CheckDefinition::new(
            "cert-files",
            "key, chain and roots are there and can be read",
            "A file of the certificate is missing, is not this user's to read, or holds something else: nothing can be \
             proven with it.",
            files,
        ),
        CheckDefinition::new(
            "cert-private",
            "the key is its owner's alone, and nobody else may change the files",
            "Others on this host can read the key, and so be who it is of, or put other roots in place of those that are \
             trusted. A daemon does not use a key that is open to others.",
            private,
        ),
        CheckDefinition::new(
            "cert-key",
            "the key is that of the certificate",
            "The key and the certificate are not of each other, as after a renewal of which one file was lost or copied \
             over: no handshake succeeds.",
            key,
        ),
        CheckDefinition::new(
            "cert-names",
            "the certificate says who it is of",
            "The certificate has no SPIFFE ID of a mesh, so that it proves nobody there, or a node's has no name by which \
             clients could find it.",
            names,
        ),
        CheckDefinition::new(
            "cert-order",
            "the chain begins with the certificate, and each is signed by the next",
            "TLS sends the chain as it stands in the file: in another order, or with something missing, others cannot \
             follow it.",
            order,
        ),
        CheckDefinition::new(
            "cert-trust",
            "the chain leads to a root of the bundle",
            "The roots that are trusted here are not those that the certificate was issued under: the mesh has another \
             authority, or the files are of two meshes.",
            trust,
        ),
        CheckDefinition::new(
            "cert-clock",
            "the certificate has begun, by this host's clock",
            "By the clock of this host the certificate has not begun: the clock is behind, and every handshake fails until \
             it is right.",
            life::clock_agrees,
        ),
        CheckDefinition::new(
            "cert-life",
            "the certificate lives, and was renewed in time",
            "The certificate has ended, or should have been renewed long ago: soon nobody believes it.",
            life::leaf,
        ),
        CheckDefinition::new(
            "cert-issuer-life",
            "the issuer lives",
            "What has signed the certificate has ended, or is about to: whatever it has issued ends with it, and it issues \
             nothing that lives longer.",
            life::issuer,
        ),
        CheckDefinition::new(
            "cert-root-life",
            "the root lives",
            "The root that the chain leads to has ended, or is about to: the whole mesh ends with it.",
            life::root,
        ),
        CheckDefinition::new(
            "cert-rotate-first",
            "nothing is to be rotated now",
            "Of the certificate, its issuer and the root, this one is to be rotated first: those below it end with it.",
            life::first,
        ),
    ],
    items: &[],
};

/// Next step where the files cannot be mended: get new ones.
pub fn reissue_hint(papers: &CertificateFiles) -> String {
    let folder = papers.places.folder.display();
    match holder(papers) {
        Some(CertificateHolder::Operator(name)) => issue("operator", name, &papers.places.folder),
        Some(CertificateHolder::Service(name)) => issue("service", name, &papers.places.folder),
        Some(CertificateHolder::Node { node, .. }) if !papers.can_issue => format!(
            "omnirelay mesh join --server HOST --token-file FILE --node-id {node} --force    # the token of an administrator"
        ),
        Some(CertificateHolder::Node { .. }) => {
            "systemctl restart omnirelayd    # it issues its own certificate anew".to_owned()
        }
        None if papers.can_issue => {
            "systemctl restart omnirelayd    # it issues its own certificate anew".to_owned()
        }
        None => format!("omnirelay cert issue --operator NAME --out {folder} --replace --force"),
    }
}

/// Has an administrator, or the control socket of a daemon that issues, make another.
fn issue(kind: &str, name: &str, folder: &Path) -> String {
    format!("omnirelay cert issue --{kind} {name} --out {} --replace --force", folder.display())
}

pub fn holder(papers: &CertificateFiles) -> Option<&CertificateHolder> {
    papers.leaf()?.says.id.as_ref().map(|id| id.holder())
}

/// Of what cannot be judged for want of a file.
fn nothing() -> CheckResult {
    CheckResult::skip("the files cannot be read")
}

fn files(papers: &CertificateFiles) -> CheckResult {
    let places = &papers.places;
    if !places.folder.is_dir() && matches!(papers.chain, Err(UnusableFile::Missing)) {
        let message = format!("there is no folder {}", places.folder.display());
        return CheckResult::fail(message).hint("omnirelay cert issue --operator NAME --out DIR");
    }
    let lacks = [
        (&places.key, papers.key.as_ref().err()),
        (&places.chain, papers.chain.as_ref().err()),
        (&places.bundle, papers.roots.as_ref().err()),
    ];
    let mut told: Vec<String> =
        lacks.iter().filter_map(|(path, lack)| Some(lack.as_ref()?.tell(path))).collect();
    told.dedup();
    match lacks.map(|(_, lack)| lack) {
        [None, None, None] => {
            CheckResult::pass(format!("key, chain and roots are in {}", places.folder.display()))
        }
        lacks if lacks.contains(&Some(&UnusableFile::Denied)) => {
            CheckResult::unknown(told.join("; ")).hint("sudo omnirelay cert doctor DIR    # or as the owner")
        }
        [None, None, Some(_)] => CheckResult::fail(told.join("; ")).hint(format!(
            "omnirelay cert ca export > {}    # compare its fingerprint with the one that you were given",
            places.bundle.display()
        )),
        _ => CheckResult::fail(told.join("; ")).hint(reissue_hint(papers)),
    }
}

fn private(papers: &CertificateFiles) -> CheckResult {
    if papers.guarded.is_empty() {
        return nothing();
    }
    let folder_uid =
        papers.guarded.iter().find(|one| one.kind == FileSecrecy::Folder).map(|one| one.metadata.uid());
    let found = papers.guarded.iter().find_map(|one| exposed(one, folder_uid));
    found.unwrap_or_else(|| CheckResult::pass("nobody else may read the key or change the files"))
}

/// What is wrong with who may do what with a file.
fn exposed(one: &FilePermissions, folder_uid: Option<u32>) -> Option<CheckResult> {
    let FilePermissions { path, metadata, kind } = one;
    let (shown, bits, uid) = (path.display(), mode(metadata), metadata.uid());
    let writable = is_writable_by_all(metadata) || is_writable_by_group(metadata);
    match kind {
        FileSecrecy::Secret if is_open_to_others(metadata) => {
            Some(CheckResult::fail(format!("{shown} is open to others ({bits:04o})")).hint(format!(
                "chmod 600 {shown}    # and if others were on this host: renew it, as they may have its key"
            )))
        }
        FileSecrecy::Folder if writable => Some(
            CheckResult::fail(format!("others may change what is in {shown} ({bits:04o})"))
                .hint(format!("chmod 700 {shown}")),
        ),
        FileSecrecy::Public if writable => Some(
            CheckResult::fail(format!("others may change {shown} ({bits:04o})"))
                .hint(format!("chmod 644 {shown}")),
        ),
        FileSecrecy::Secret | FileSecrecy::Public
            if folder_uid.is_some_and(|owner| owner != uid) && !is_own(metadata) =>
        {
            let (of, owner) = (user_name(Uid(uid)), user_name(Uid(folder_uid.unwrap_or(uid))));
            Some(
                CheckResult::fail(format!("{shown} belongs to {of}, and its folder to {owner}"))
                    .hint(format!("chown {owner}: {shown}")),
            )
        }
        FileSecrecy::Secret | FileSecrecy::Public | FileSecrecy::Folder => None,
    }
}

fn key(papers: &CertificateFiles) -> CheckResult {
    let (Ok(key), Some(leaf)) = (&papers.key, papers.leaf()) else { return nothing() };
    if *key == leaf.says.key {
        return CheckResult::pass("the key is that of the certificate");
    }
    let (key_path, chain) = (papers.places.key.display(), papers.places.chain.display());
    CheckResult::fail(format!("the key in {key_path} is not that of the certificate in {chain}"))
        .hint(reissue_hint(papers))
}

fn names(papers: &CertificateFiles) -> CheckResult {
    let Some(leaf) = papers.leaf() else { return nothing() };
    let read = match Certificate::read(&leaf.der) {
        Ok(read) => read,
        Err(error) => {
            let message = format!("{} is no certificate of a mesh: {error}", papers.places.chain.display());
            return CheckResult::fail(message).hint(reissue_hint(papers));
        }
    };
    let addresses = read.names.addresses.iter().map(ToString::to_string);
    let all: Vec<String> = read.names.dns.iter().cloned().chain(addresses).collect();
    match (read.id.holder(), all.as_slice()) {
        (CertificateHolder::Node { .. }, []) => {
            CheckResult::warn(format!("{} has no name by which clients could find it", read.id))
                .hint("control.hosts in the daemon's configuration, then: systemctl restart omnirelayd")
        }
        (_, []) => CheckResult::pass(format!("it is of {}", read.id)),
        (_, all) => CheckResult::pass(format!("it is of {}, also called {}", read.id, all.join(", "))),
    }
}

fn order(papers: &CertificateFiles) -> CheckResult {
    let (Ok(chain), Some(leaf)) = (&papers.chain, papers.leaf()) else { return nothing() };
    let path = papers.places.chain.display();
    if leaf.says.is_authority {
        return CheckResult::fail(format!("{path} holds authorities only, and no certificate of anybody"))
            .hint(reissue_hint(papers));
    }
    let right: Vec<_> = std::iter::once(leaf).chain(papers.between()).map(|paper| &paper.der).collect();
    if chain.iter().map(|paper| &paper.der).eq(right.iter().copied()) {
        let between = right.len() - 1;
        return match between {
            0 => CheckResult::pass("the chain is the certificate alone"),
            1 => CheckResult::pass("the chain is the certificate and its issuer"),
            more => CheckResult::pass(format!("the chain is the certificate and {more} authorities")),
        };
    }
    if right.len() == chain.len() {
        return CheckResult::fail(format!(
            "{path} is in the wrong order: the certificate comes first, then its issuer"
        ))
        .hint(reissue_hint(papers));
    }
    CheckResult::fail(format!("{path} holds what has not signed the certificate before it"))
        .hint(reissue_hint(papers))
}

/// Whether the chain leads to a root, at a time when all of them lived: that they do now is asked elsewhere.
fn trust(papers: &CertificateFiles) -> CheckResult {
    let (Some(leaf), Ok(roots)) = (papers.leaf(), &papers.roots) else { return nothing() };
    let mut chain = vec![leaf.der.clone()];
    chain.extend(papers.between().iter().map(|paper| paper.der.clone()));
    let begun = papers.between().iter().map(|paper| paper.says.not_before).max().unwrap_or(0);
    let begun = begun.max(leaf.says.not_before);
    let mut refused = None;
    for root in roots {
        let bundle = match TrustBundle::of(vec![root.der.clone()]) {
            Ok(bundle) => bundle,
            Err(error) => {
                let message = format!("{} holds what is no root: {error}", papers.places.bundle.display());
                return CheckResult::fail(message).hint(export(papers));
            }
        };
        match bundle.verify(&chain, begun.max(root.says.not_before), ChainUsage::Client) {
            Ok(_) => {
                let domain = bundle.trust_domain();
                return CheckResult::pass(format!("the chain leads to the root of {domain}"));
            }
            Err(error) => refused = Some(error),
        }
    }
    CheckResult::fail(format!(
        "the chain leads to no root of {}: {}",
        papers.places.bundle.display(),
        why(refused)
    ))
    .hint(export(papers))
}

fn why(refused: Option<ChainTrustError>) -> String {
    match refused {
        Some(ChainTrustError::UnknownIssuer) | None => "it was signed by another authority".to_owned(),
        Some(other) => other.to_string(),
    }
}

/// What tells which roots the mesh has now.
fn export(papers: &CertificateFiles) -> String {
    let mut fingerprints = papers.roots.iter().flatten().map(|root| fingerprint(&root.der));
    match fingerprints.next_back() {
        Some(kept) => format!("omnirelay cert ca show    # the root that is kept here is {kept}"),
        None => "omnirelay cert ca show".to_owned(),
    }
}

fn fingerprint(der: &CertificateDer<'_>) -> String {
    omnirelay_pki::key::Fingerprint::of(der).to_string()
}

/// A second of the Unix time, as it is told.
pub fn day(seconds: i64) -> String {
    rfc3339(Millis::of_unix(seconds))
}
