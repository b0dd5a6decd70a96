//! The doctor finds what was planted in the files of a certificate, and says what to do.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use omnirelay_decisions::check::finding::{
    CheckResult,
    CheckVerdict::{self, Fail, Pass, Warn},
};
use omnirelay_pki::authority::{CertificateAuthority, ValidityPeriod};
use omnirelay_pki::certificate::{TlsNames, to_pem};
use omnirelay_pki::key::PrivateKey;
use omnirelay_pki::request::CertificateRequest;

use super::checks::CATEGORY;
use super::papers::{CertificateFiles, CertificatePaths};

/// The second at which all is looked at: that at which the files are written, as their times are real.
fn now() -> i64 {
    i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Beginning and end of a validity, from now.
type Span = (i64, i64);

/// Lifetime of each certificate.
#[derive(Clone, Copy)]
struct Lives {
    root: Span,
    issuer: Span,
    leaf: Span,
}

const FIT: Lives = Lives { root: (-DAY, 3650 * DAY), issuer: (-DAY, 365 * DAY), leaf: (-HOUR, 23 * HOUR) };

/// A folder as `cert issue --out` writes it.
struct Folder {
    place: tempfile::TempDir,
    leaf: String,
    issuer: String,
    root: String,
}

impl Folder {
    fn of(id: &str, lives: Lives) -> Self {
        let at = |(from, to): Span| ValidityPeriod { not_before: now() + from, not_after: now() + to };
        let domain = "mesh.example".parse().unwrap();
        let root = CertificateAuthority::root(domain, at(lives.root)).unwrap();
        let issuer = root.intermediate("eu", at(lives.issuer)).unwrap();
        let key = PrivateKey::make().unwrap();
        let request =
            CertificateRequest::read(&CertificateRequest::make(&key, None, &TlsNames::default()).unwrap())
                .unwrap();
        let names = TlsNames { dns: vec!["a.example".into()], ..TlsNames::default() };
        let id = format!("spiffe://mesh.example/{id}").parse().unwrap();
        let leaf = issuer.issue(&request, &id, &names, at(lives.leaf)).unwrap();
        let made = Self {
            place: tempfile::tempdir().unwrap(),
            leaf: to_pem(&leaf.der),
            issuer: to_pem(issuer.certificate()),
            root: to_pem(root.certificate()),
        };
        made.write("key.pem", &key.to_pem());
        made.write("chain.pem", &format!("{}{}", made.leaf, made.issuer));
        made.write("bundle.pem", &made.root);
        made.mode("", 0o700);
        made.mode("key.pem", 0o600);
        made
    }

    fn path(&self) -> &Path {
        self.place.path()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    fn take(&self, name: &str) {
        std::fs::remove_file(self.path().join(name)).unwrap();
    }

    fn mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn papers(&self) -> CertificateFiles {
        CertificateFiles::read(&CertificatePaths::in_folder(self.path()), now())
    }

    fn found(&self, id: &str) -> CheckResult {
        found(id, &self.papers())
    }
}

fn ann(lives: Lives) -> Folder {
    Folder::of("operator/ann", lives)
}

/// The files of `ann` with something done to them.
fn with(change: impl FnOnce(&Folder)) -> Folder {
    let folder = ann(FIT);
    change(&folder);
    folder
}

fn found(id: &str, papers: &CertificateFiles) -> CheckResult {
    (CATEGORY.checks.iter().find(|check| check.id == id).unwrap().judge)(papers)
}

#[test]
fn fit_files_pass() {
    for folder in [ann(FIT), Folder::of("mesh/eu/gateway/relay-a", FIT), Folder::of("service/billing", FIT)] {
        let papers = folder.papers();
        for check in CATEGORY.checks {
            let finding = (check.judge)(&papers);
            assert_eq!(finding.verdict, Pass, "{}: {}", check.id, finding.text);
        }
    }
}

#[test]
fn a_node_keeps_key_and_chain_in_one_file() {
    let folder = Folder::of("mesh/eu/gateway/relay-a", FIT);
    let key = std::fs::read_to_string(folder.path().join("key.pem")).unwrap();
    folder.write("identity.pem", &format!("{key}{}{}", folder.leaf, folder.issuer));
    folder.mode("identity.pem", 0o600);
    folder.take("key.pem");
    folder.take("chain.pem");
    let papers = folder.papers();
    for check in CATEGORY.checks {
        let finding = (check.judge)(&papers);
        assert_eq!(finding.verdict, Pass, "{}: {}", check.id, finding.text);
    }
    folder.mode("identity.pem", 0o640);
    assert_eq!(folder.found("cert-private").verdict, Fail);
}

/// A check, files that it finds fault with, its verdict, what it names, and what is to be run.
type Unfit = (&'static str, Folder, CheckVerdict, &'static str, &'static str);

fn unusable() -> Vec<Unfit> {
    let another = || PrivateKey::make().unwrap().to_pem().to_string();
    let stranger = ann(FIT);
    vec![
        ("cert-files", with(|f| f.take("key.pem")), Fail, "key.pem is missing", "--operator ann"),
        ("cert-files", with(|f| f.write("chain.pem", "x")), Fail, "no certificate in PEM", "cert issue"),
        ("cert-files", with(|f| f.write("key.pem", "x")), Fail, "no private key", "--operator ann"),
        ("cert-files", with(|f| f.take("bundle.pem")), Fail, "bundle.pem is missing", "ca export"),
        ("cert-key", with(|f| f.write("key.pem", &another())), Fail, "not that of", "--operator ann"),
        ("cert-private", with(|f| f.mode("key.pem", 0o644)), Fail, "0644", "chmod 600"),
        ("cert-private", with(|f| f.mode("bundle.pem", 0o666)), Fail, "0666", "chmod 644"),
        ("cert-private", with(|f| f.mode("", 0o777)), Fail, "0777", "chmod 700"),
        (
            "cert-order",
            with(|f| f.write("chain.pem", &format!("{}{}", f.issuer, f.leaf))),
            Fail,
            "wrong order",
            "--operator ann",
        ),
        (
            "cert-order",
            with(|f| f.write("chain.pem", &format!("{}{}", f.leaf, stranger.issuer))),
            Fail,
            "has not signed",
            "--operator ann",
        ),
        ("cert-order", with(|f| f.write("chain.pem", &f.issuer)), Fail, "authorities only", "cert issue"),
        ("cert-trust", with(|f| f.write("chain.pem", &f.leaf)), Fail, "another authority", "ca show"),
        ("cert-trust", with(|f| f.write("bundle.pem", &stranger.root)), Fail, "another", "ca show"),
        ("cert-trust", with(|f| f.write("bundle.pem", &f.leaf)), Fail, "no root", "ca show"),
        (
            "cert-names",
            with(|f| f.write("chain.pem", &f.root)),
            Fail,
            "no certificate of a mesh",
            "cert issue",
        ),
    ]
}

fn ended() -> Vec<Unfit> {
    let past = Lives { root: (-9 * DAY, -DAY), issuer: (-9 * DAY, -2 * DAY), leaf: (-9 * DAY, -8 * DAY) };
    let last_day = Lives { leaf: (-20 * HOUR, 4 * HOUR), ..FIT };
    let over =
        Lives { leaf: (-25 * HOUR, -HOUR), root: (-9 * DAY, 3650 * DAY), issuer: (-9 * DAY, 365 * DAY) };
    let short = Lives { issuer: (-DAY, 20 * DAY), ..FIT };
    let shorter = Lives { root: (-DAY, 60 * DAY), ..FIT };
    let ahead = Lives { leaf: (HOUR, DAY), ..FIT };
    let node = |lives| Folder::of("mesh/eu/gateway/relay-a", lives);
    vec![
        ("cert-life", ann(over), Fail, "ended at", "cert issue --operator ann"),
        ("cert-life", node(over), Fail, "ended at", "mesh join --server HOST"),
        ("cert-life", ann(last_day), Warn, "not renewed in time", "cert renew"),
        ("cert-life", node(last_day), Warn, "not renewed in time", "mesh check"),
        ("cert-issuer-life", ann(short), Warn, "issuer ends", "cert ca rotate"),
        ("cert-issuer-life", ann(past), Fail, "issuer ended", "cert ca rotate"),
        ("cert-root-life", ann(shorter), Warn, "root ends", "cert ca rotate --root"),
        ("cert-root-life", ann(past), Fail, "root ended", "lost-root"),
        ("cert-rotate-first", ann(past), Fail, "rotate the root first", "lost-root"),
        ("cert-rotate-first", ann(short), Warn, "rotate the issuer first", "cert ca rotate"),
        ("cert-rotate-first", ann(last_day), Warn, "rotate the certificate first", "cert renew"),
        ("cert-clock", ann(ahead), Fail, "behind", "timedatectl"),
    ]
}

#[test]
fn faults_are_found_and_answered() {
    let cases = || unusable().into_iter().chain(ended());
    for (id, folder, verdict, names, next) in cases() {
        let finding = folder.found(id);
        assert_eq!(finding.verdict, verdict, "{id}: {}", finding.text);
        assert!(finding.text.contains(names), "{id} does not name `{names}`: {}", finding.text);
        let hint = finding.hint.unwrap_or_default();
        assert!(hint.contains(next), "{id} does not say `{next}`: {hint}");
    }
    for check in CATEGORY.checks {
        assert!(cases().any(|(id, ..)| id == check.id), "{} has no case in which it fails", check.id);
    }
}

#[test]
fn what_has_ended_still_leads_to_its_root() {
    let past = Lives { root: (-9 * DAY, -DAY), issuer: (-9 * DAY, -2 * DAY), leaf: (-9 * DAY, -8 * DAY) };
    let papers = ann(past).papers();
    for id in ["cert-trust", "cert-order", "cert-key", "cert-names", "cert-private", "cert-clock"] {
        let finding = found(id, &papers);
        assert_eq!(finding.verdict, Pass, "{id}: {}", finding.text);
    }
}

#[test]
fn a_node_that_issues_needs_nobody() {
    let over =
        Lives { leaf: (-25 * HOUR, -HOUR), root: (-9 * DAY, 3650 * DAY), issuer: (-9 * DAY, 365 * DAY) };
    let folder = Folder::of("mesh/eu/gateway/relay-a", over);
    folder.write("issuer-secret", "x");
    folder.mode("issuer-secret", 0o600);
    let hint = folder.found("cert-life").hint.unwrap();
    assert!(hint.starts_with("systemctl restart omnirelayd"), "{hint}");
    folder.mode("issuer-secret", 0o644);
    assert!(folder.found("cert-private").text.contains("issuer-secret"), "a secret as well");
}

#[test]
fn without_any_file_nothing_else_is_judged() {
    let nowhere = CertificateFiles::read(&CertificatePaths::in_folder(Path::new("/there/is/none")), now());
    let verdicts: Vec<(&str, CheckVerdict)> =
        CATEGORY.checks.iter().map(|check| (check.id, (check.judge)(&nowhere).verdict)).collect();
    for (id, verdict) in verdicts {
        assert_eq!(verdict, if id == "cert-files" { Fail } else { CheckVerdict::Skip }, "{id}");
    }
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let folder = with(|f| f.take("key.pem"));
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("key.pem")).status().unwrap();
    assert!(made.success());
    assert!(folder.found("cert-files").text.contains("is no file"));
}
