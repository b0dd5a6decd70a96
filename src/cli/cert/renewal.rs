//! Renewal of the certificate that a context shows, while it is used: by the command that finds it two thirds through its life.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{CertificateFolder, validity};
use super::renew::renew_in;
use crate::frame::address::Address;
use crate::frame::env;
use crate::frame::prelude::*;
use crate::frame::settings::CommandTarget;

/// How long a command waits for it at most, behind its own work.
const WITHIN: Duration = Duration::from_secs(3);
/// How long after one that failed it is tried again: each command would wait for it.
const AGAIN: Duration = Duration::from_secs(300);
/// What the lock holds after one that failed.
const FAILED: &[u8] = b"failed\n";
/// What the variable says that switches it off.
const NEVER: &str = "never";
/// Of its life a certificate is renewed after two of three parts, as that of a node is; and where that fails, it is told in the last
/// of six.
const PARTS: i64 = 6;
const DUE_PART: i64 = 4;
const TOLD_PART: i64 = 5;
/// Held by whoever renews: commands that run at the same time do not do it twice.
const LOCK: &str = ".renewing";

/// A certificate that is due.
struct DueCertificate {
    folder: PathBuf,
    /// Seconds of the Unix time.
    ends: i64,
    /// Little is left: whoever it is of is to know that it is not renewed.
    is_late: bool,
}

/// Renews the certificate of the context that a command has used, where it is due. What becomes of the command does not
/// depend on it.
pub(crate) async fn renew_when_due(session: &mut CommandSession) {
    let Some(due) = due(session) else { return };
    let Some(mut lock) = lock(&due.folder) else { return };
    let notes = session.notes();
    let renewed = tokio::time::timeout(WITHIN, renew(session, &due.folder)).await;
    // That a failure is not noted has the next command try again, and nothing else.
    let _ = match &renewed {
        Ok(Ok(())) => lock.set_len(0),
        Ok(Err(_)) | Err(_) => lock.write_all(FAILED),
    };
    let told = match renewed {
        Ok(Ok(())) => return notes.say(&format!("The certificate in {} was renewed", due.folder.display())),
        Ok(Err(error)) => error.body().message.clone(),
        Err(_elapsed) => "no answer in time".to_owned(),
    };
    let left = time::span(u64::try_from(due.ends - now()).unwrap_or(0).saturating_mul(1000));
    let line =
        format!("the certificate in {} ends in {left} and is not renewed: {told}", due.folder.display());
    match due.is_late {
        true => notes.warn(&line),
        false => notes.step(1, || line),
    }
}

fn now() -> i64 {
    time::now_ms().unwrap_or(0) / 1000
}

/// The certificate that the context shows, if it is due and is as `cert issue` has written it.
fn due(session: &CommandSession) -> Option<DueCertificate> {
    let target = session.target().ok()?;
    let is_of_context = !target.context.is_empty() && session.settings.own_tls().cert.is_none();
    // Who answers is to be known: what it says is kept as whom to trust.
    let is_verified = target.addresses.iter().all(Address::is_tls) && !session.settings.believes_anybody;
    if !is_of_context
        || !is_verified
        || !session.has_called()
        || session.settings.env.get(env::RENEW) == Some(NEVER)
    {
        return None;
    }
    let (cert, key) = (target.tls.cert.as_deref()?, target.tls.key.as_deref()?);
    let folder = cert.parent()?;
    let files = CertificateFolder::of(folder);
    if files.chain() != cert || files.key() != key {
        return None;
    }
    let valid = validity(&std::fs::read_to_string(cert).ok()?)?;
    due_at(*valid.start(), *valid.end(), now()).map(|is_late| DueCertificate {
        folder: folder.to_owned(),
        ends: *valid.end(),
        is_late,
    })
}

/// Whether a certificate is due, and if so, whether it is late; `None` too where it has ended, for it proves nothing any more.
fn due_at(begin: i64, end: i64, now: i64) -> Option<bool> {
    let (lived, life) = (now.saturating_sub(begin), end.saturating_sub(begin));
    let is_behind = |part: i64| lived.saturating_mul(PARTS) >= life.saturating_mul(part);
    (now < end && is_behind(DUE_PART)).then(|| is_behind(TOLD_PART))
}

/// The lock of a folder; `None`: somebody else renews there or has just failed to, or the folder is another user's.
fn lock(folder: &Path) -> Option<File> {
    let of = std::fs::metadata(folder).ok()?.uid();
    if of != rustix::process::geteuid().as_raw() {
        return None;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK)).ok()?;
    file.try_lock().ok()?;
    let noted = file.metadata().ok()?;
    let has_just_failed = || noted.modified().ok()?.elapsed().ok().map(|since| since < AGAIN);
    if noted.len() > 0 && has_just_failed() == Some(true) {
        return None;
    }
    Some(file)
}

async fn renew(session: &mut CommandSession, folder: &Path) -> Result<(), CliError> {
    let folder = CertificateFolder::of(folder);
    // The certificate itself proves who asks, and no token that `login` has kept.
    let target = session.target()?.clone();
    session.turn_to(CommandTarget { token_file: None, ..target })?;
    renew_in(&folder, session).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_due_after_two_thirds_of_its_life_and_until_its_end() {
        let cases = [
            (0, None),
            (3999, None),
            (4000, Some(false)),
            (4999, Some(false)),
            (5000, Some(true)),
            (6000, None),
        ];
        for (now, expected) in cases {
            assert_eq!(due_at(0, 6000, now), expected, "{now}");
        }
    }

    #[test]
    fn one_at_a_time_renews_and_who_may_not_write_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path());
        assert!(held.is_some() && lock(folder.path()).is_none());
        drop(held);
        assert!(lock(folder.path()).is_some());
        assert!(lock(&folder.path().join("absent")).is_none());
        lock(folder.path()).unwrap().write_all(FAILED).unwrap();
        assert!(lock(folder.path()).is_none(), "it is not tried at once again");
    }
}
