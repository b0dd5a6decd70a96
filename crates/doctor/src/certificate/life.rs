//! Ends of the certificate, its issuer and the root, and which of them is to be rotated first.

use std::time::Duration;

use omnirelay_core::spiffe::CertificateHolder;
use omnirelay_core::time::short;
use omnirelay_decisions::check::finding::{CheckResult, CheckVerdict};

use super::checks::{day, holder, reissue_hint};
use super::papers::{CertificateFile, CertificateFiles};

const DAY: i64 = 86_400;
/// An issuer that ends sooner is to be rotated: whatever it issues ends with it.
const ISSUER_SOON: i64 = 30 * DAY;
/// A root that ends sooner is to be rotated: it takes a while until everybody has the next.
const ROOT_SOON: i64 = 90 * DAY;
/// What is run when an issuer or a root ends, and when a root has ended.
const ROTATE: &str =
    "omnirelay cert ca rotate    # with --offline-root DIR where the root's key is elsewhere";
const ROTATE_ROOT: &str = "omnirelay cert ca rotate --root";
const LOST: &str = "omnirelay cert ca show    # then docs/security/lost-root.md";

/// State of a certificate in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CertificatePhase {
    Well,
    Due,
    Ended,
    NotYet,
}

fn stands(paper: &CertificateFile, now: i64, soon: i64) -> CertificatePhase {
    let says = &paper.says;
    match now {
        now if now > says.not_after => CertificatePhase::Ended,
        now if now < says.not_before => CertificatePhase::NotYet,
        now if now > says.not_after.saturating_sub(soon) => CertificatePhase::Due,
        _ => CertificatePhase::Well,
    }
}

/// How long before its end a certificate should have been renewed: at two thirds of its life, and a tenth of it later at
/// the latest.
fn late(paper: &CertificateFile) -> i64 {
    (paper.says.not_after - paper.says.not_before) * 7 / 30
}

fn span(seconds: i64) -> String {
    short(Duration::from_secs(seconds.unsigned_abs()))
}

fn unread() -> CheckResult {
    CheckResult::skip("the files cannot be read")
}

pub(super) fn clock_agrees(papers: &CertificateFiles) -> CheckResult {
    let Some(leaf) = papers.leaf() else { return unread() };
    let begins = leaf.says.not_before;
    if papers.now < begins {
        let (now, begins_at, behind) = (day(papers.now), day(begins), span(begins - papers.now));
        return CheckResult::fail(format!(
            "this host's clock says {now}, and the certificate begins {begins_at}: the clock is at least {behind} behind"
        ))
        .hint("timedatectl    # set the clock right, then: omnirelay cert doctor");
    }
    let written = papers.written.filter(|written| *written < begins);
    match written {
        Some(written) => CheckResult::warn(format!(
            "the certificate was written here at {}, before it began at {}: this host's clock was behind",
            day(written),
            day(begins)
        ))
        .hint("omnirelay doctor    # what keeps the clock of this host"),
        None => CheckResult::pass(format!("the certificate began at {}", day(begins))),
    }
}

pub(super) fn leaf(papers: &CertificateFiles) -> CheckResult {
    let Some(leaf) = papers.leaf() else { return unread() };
    let (ends, now) = (leaf.says.not_after, papers.now);
    match stands(leaf, now, late(leaf)) {
        CertificatePhase::Ended => {
            CheckResult::fail(format!("the certificate ended at {}", day(ends))).hint(reissue_hint(papers))
        }
        CertificatePhase::Due => {
            CheckResult::warn(format!("the certificate ends at {} and was not renewed in time", day(ends)))
                .hint(renew(papers))
        }
        CertificatePhase::NotYet => CheckResult::skip(format!("it begins at {}", day(leaf.says.not_before))),
        CertificatePhase::Well => CheckResult::pass(format!("the certificate ends at {}", day(ends))),
    }
}

pub(super) fn issuer(papers: &CertificateFiles) -> CheckResult {
    let between = papers.between();
    let Some(issuer) = between.first() else {
        return CheckResult::skip("the chain holds no issuer of the certificate");
    };
    authority(issuer, "issuer", papers.now, ISSUER_SOON, [ROTATE; 2])
}

pub(super) fn root(papers: &CertificateFiles) -> CheckResult {
    let Some(root) = papers.root() else {
        return CheckResult::skip("the chain leads to no root that is kept here");
    };
    authority(root, "root", papers.now, ROOT_SOON, [ROTATE_ROOT, LOST])
}

/// How an authority stands; what to run while it lives, and once it has ended.
fn authority(
    paper: &CertificateFile,
    what: &str,
    now: i64,
    soon: i64,
    [due, ended]: [&str; 2],
) -> CheckResult {
    let ends = day(paper.says.not_after);
    match stands(paper, now, soon) {
        CertificatePhase::Ended => {
            CheckResult::fail(format!("the {what} ended at {ends}, and all below it")).hint(ended)
        }
        CertificatePhase::Due => CheckResult::warn(format!("the {what} ends at {ends}")).hint(due),
        CertificatePhase::NotYet => {
            CheckResult::fail(format!("the {what} begins at {} only", day(paper.says.not_before)))
                .hint("timedatectl    # is the clock of this host right?")
        }
        CertificatePhase::Well => CheckResult::pass(format!("the {what} ends at {ends}")),
    }
}

/// From the top down: what is renewed below an authority ends with it.
pub(super) fn first(papers: &CertificateFiles) -> CheckResult {
    let all = [("root", root(papers)), ("issuer", issuer(papers)), ("certificate", leaf(papers))];
    if let Some((what, found)) = all.iter().find(|(_, found)| found.verdict.is_bad()) {
        let text = format!("rotate the {what} first: {}", found.text);
        let finding = if found.verdict == CheckVerdict::Fail {
            CheckResult::fail(text)
        } else {
            CheckResult::warn(text)
        };
        return match &found.hint {
            Some(hint) => finding.hint(hint.clone()),
            None => finding,
        };
    }
    let Some(leaf) = papers.leaf() else { return unread() };
    let due = leaf.says.not_before + (leaf.says.not_after - leaf.says.not_before) * 2 / 3;
    CheckResult::pass(match holder(papers) {
        Some(CertificateHolder::Node { .. }) => {
            format!("the certificate is next: its daemon renews it at {}", day(due))
        }
        _ => format!("the certificate is next: renew it from {} on", day(due)),
    })
}

/// What renews a certificate that lives.
fn renew(papers: &CertificateFiles) -> String {
    match holder(papers) {
        Some(CertificateHolder::Node { .. }) => {
            "omnirelay mesh check --category identity    # why its daemon does not renew it".to_owned()
        }
        _ => format!("omnirelay cert renew {}", papers.places.folder.display()),
    }
}
