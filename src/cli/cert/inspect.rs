//! `cert inspect`.

use std::path::Path;

use clap::Args;
use omnirelay_core::time::Millis;
use omnirelay_pki::certificate::Certificate;
use omnirelay_pki::key::Fingerprint;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::{KIND, names};
use crate::cli::frame::document::{field, text};
use crate::cli::frame::error::{CliError, chain};
use crate::cli::frame::listing::listing;
use crate::cli::frame::output::View;
use crate::cli::frame::rpc::Leaf;
use crate::cli::frame::session::Session;
use crate::cli::frame::time;

const LOCAL: &str = "a certificate is read from a file";
pub const LEAF: Leaf = Leaf::local("cert inspect", LOCAL).exiting("0 1 2");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert inspect ~/.omnirelay/ann/chain.pem
  omnirelay cert inspect chain.pem -o json | jq -r .certificate.notAfter";

/// Show what a certificate says: who holds it, until when, by what names
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub struct InspectArgs {
    /// File in PEM; of several certificates the first
    #[arg(value_name = "FILE")]
    file: std::path::PathBuf,
    /// Times in UTC instead of how far they are
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub async fn run(args: &InspectArgs, session: &mut Session) -> Result<Exit, CliError> {
    let certificate = read(&args.file)?;
    let document = json!({"schemaVersion": "v1", "certificate": shown(&certificate)});
    let moment = time::moment(&document, args.absolute);
    let of = field(&document, "certificate");
    let rows = [
        ("id", text(of, "id").to_owned()),
        ("serial", text(of, "serial").to_owned()),
        ("since", time::ago(field(of, "notBefore"), moment)),
        ("ends", time::left(field(of, "notAfter"), moment)),
        ("names", names(of).replace(',', ", ")),
        ("key", text(of, "keyFingerprint").to_owned()),
        ("fingerprint", text(of, "fingerprint").to_owned()),
    ];
    let lines = listing(&rows);
    session.show(&View::lines(document, format!("{KIND}/{}", certificate.0.serial), lines))?;
    Ok(Exit::Ok)
}

/// The schema of the document.
pub fn schema() -> Value {
    let (word, time) = (json!({"type": "string"}), json!({"type": "string", "format": "date-time"}));
    let words = json!({"type": "array", "items": {"type": "string"}});
    let certificate = json!({
        "type": "object",
        "properties": {
            "serial": word, "id": word, "notBefore": time, "notAfter": time, "dnsNames": words, "addresses": words,
            "keyFingerprint": word, "fingerprint": word,
        },
    });
    json!({
        "type": "object",
        "required": ["schemaVersion", "certificate"],
        "properties": {"schemaVersion": {"const": "v1"}, "certificate": certificate},
    })
}

/// The first certificate of a file, and its own fingerprint.
fn read(path: &Path) -> Result<(Certificate, Fingerprint), CliError> {
    let refuse = |cause: String| {
        CliError::new(reasons::TLS_FILE, format!("{} is no certificate of a mesh", path.display()))
            .cause(cause)
    };
    let bytes = std::fs::read(path).map_err(|error| refuse(chain(&error)))?;
    let der = CertificateDer::from_pem_slice(&bytes)
        .map_err(|_| refuse("it holds no certificate in PEM".into()))?;
    let certificate = Certificate::read(&der).map_err(|error| refuse(error.to_string()))?;
    Ok((certificate, Fingerprint::of(&der)))
}

fn shown((certificate, fingerprint): &(Certificate, Fingerprint)) -> Value {
    let at = |seconds: i64| omnirelay_core::time::rfc3339(Millis::of_unix(seconds));
    json!({
        "serial": certificate.serial.to_string(),
        "id": certificate.id.to_string(),
        "notBefore": at(certificate.not_before),
        "notAfter": at(certificate.not_after),
        "dnsNames": certificate.names.dns,
        "addresses": certificate.names.addresses,
        "keyFingerprint": certificate.key.to_string(),
        "fingerprint": fingerprint.to_string(),
    })
}
