//! `cert renew`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use omnirelay_pki::certificate::TlsNames;
use omnirelay_wire::rpc::certificate_service;

use super::KIND;
use super::files::{CertificateFolder, GeneratedKey, not_valid_at, validity};
use super::holder;
use super::issue::told;
use crate::frame::prelude::*;
use crate::frame::settings::CommandTarget;
use crate::frame::tls_files::TlsFiles;

const RENEW: RpcMethod = certificate_service::RENEW;
pub(super) const LEAF: LeafCommand =
    LeafCommand::write("cert renew", &[&RENEW]).exiting("0 1 2 4 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert renew ~/.omnirelay/ann
  omnirelay --addr https://eu-1:17420 cert renew ~/.omnirelay/ann";

/// Renew a certificate, proven by the one before
///
/// A new key is made in the folder, and what proves who asks is the key that is there. Nodes renew their own by themselves.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertRenewArgs {
    /// Folder with key.pem, chain.pem and bundle.pem
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(super) async fn run(args: &CertRenewArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    if !args.dir.is_dir() {
        return Err(CliError::usage(format!("{} is no folder", args.dir.display()))
            .hint("name the one that has key.pem, chain.pem and bundle.pem, as omnirelay cert issue --out wrote them"));
    }
    let folder = CertificateFolder::of(&args.dir);
    let target = session.target()?.clone();
    if !target.addresses.iter().all(|address| address.is_tls()) {
        return Err(CliError::usage("a certificate is shown under TLS only")
            .hint("name an address that begins with https:// (--addr, or the context's)"));
    }
    let own = TlsFiles {
        ca: Some(folder.bundle()),
        cert: Some(folder.chain()),
        key: Some(folder.key()),
        server_name: target.tls.server_name.clone(),
        clusters: target.tls.clusters.clone(),
    };
    session.turn_to(CommandTarget { tls: own, token_file: None, ..target })?;
    let document = renew_in(&folder, session).await?;
    let name = holder(field(&document, "certificate"));
    let lines = told(&name, &document);
    session.show(&CommandOutput::lines(document, format!("{KIND}/{name}"), lines))?;
    Ok(Exit::Ok)
}

/// Renews the certificate of a folder, which the session shows, and gives back what was answered.
pub(super) async fn renew_in(
    folder: &CertificateFolder,
    session: &CommandSession,
) -> Result<Value, CliError> {
    let made = GeneratedKey::of(&TlsNames::default())?;
    let call = Call::of(&RENEW, &json!({"csr": made.csr}))?;
    let document = session.call(&call.keyed(&WriteArgs::default().key()?, "")).await?;
    check_begun(folder, text(&document, "chainPem"))?;
    folder.write(&made, text(&document, "chainPem"), text(&document, "bundlePem"))?;
    Ok(document)
}

/// That what works is not replaced by what does not yet.
fn check_begun(folder: &CertificateFolder, issued: &str) -> Result<(), CliError> {
    let before = std::fs::read_to_string(folder.chain()).ok();
    let now = time::now_ms().unwrap_or(0) / 1000;
    match kept(before.and_then(|before| validity(&before)).as_ref(), validity(issued).as_ref(), now) {
        None => Ok(()),
        Some(why) => {
            Err(CliError::new(reasons::CERTIFICATE_NOT_VALID_NOW, format!("{why}; nothing was written"))
                .hint("omnirelay mesh check    # whose clock is wrong"))
        }
    }
}

/// Why the certificate of before is kept at the second `now`, and not replaced by the one that was issued; `None`: it is
/// replaced.
fn kept(
    before: Option<&RangeInclusive<i64>>,
    issued: Option<&RangeInclusive<i64>>,
    now: i64,
) -> Option<String> {
    let works = before.is_some_and(|before| before.contains(&now));
    not_valid_at(now, issued).filter(|_| works)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_works_is_not_replaced_by_what_does_not_yet() {
        let now = 1_000_000;
        let (works, has_ended, later, ended) =
            (now - 9..=now + 9, now - 9..=now - 1, now + 1..=now + 9, now - 8..=now - 2);
        let cases = [
            ("a sound one", Some(&works), &(now - 5..=now + 99), false),
            ("one that has not begun", Some(&works), &later, true),
            ("one that has ended", Some(&works), &ended, true),
            ("one that has not begun, for one that is of no use", Some(&has_ended), &later, false),
            ("one that has not begun, for none", None, &later, false),
        ];
        for (name, before, issued, is_kept) in cases {
            assert_eq!(kept(before, Some(issued), now).is_some(), is_kept, "{name}");
        }
    }
}
