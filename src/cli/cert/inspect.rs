//! `cert inspect`.

use std::path::Path;

use omnirelay_core::time::Millis;
use omnirelay_pki::certificate::AnyCertificate;
use omnirelay_pki::key::Fingerprint;
use omnirelay_wire::pem_file;
use rustls::pki_types::CertificateDer;

use super::list::LIST;
use super::presented::{self, HostPort, ServerCertificates, is_unreachable};
use super::{KIND, names};
use crate::frame::error::chain;
use crate::frame::prelude::*;
use crate::node::control_address;
use crate::peers;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("cert inspect", &[&LIST, &peers::get::GET]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert inspect ~/.omnirelay/ann/chain.pem
  omnirelay cert inspect eu-1.example:17420
  omnirelay cert inspect node-2
  omnirelay cert inspect chain.pem -o json | jq -r .certificate.notAfter";

/// Show what a certificate says: of a file, of a server, or of a node
///
/// A server is asked for what it shows, which is not believed; whether the context's roots would believe it is told. Of a node
/// it is shown what its control port shows, and what the registry remembers of its certificates.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertInspectArgs {
    /// File in PEM, of several certificates the first; HOST:PORT; or the id of a node
    #[arg(value_name = "FILE|NODE|HOST:PORT")]
    what: String,
    /// Times in UTC instead of how far they are
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

/// Extensions by which a file is meant, although there is none.
const FILES: [&str; 4] = [".pem", ".crt", ".cer", ".der"];

pub(super) async fn run(args: &CertInspectArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let what = args.what.as_str();
    let is_file = || what.contains('/') || FILES.iter().any(|end| what.ends_with(end));
    let document = if !what.starts_with("https://") && Path::new(what).exists() {
        json!({"schemaVersion": "v1", "certificate": shown(&read(Path::new(what))?)})
    } else if let Ok(endpoint) = what.parse() {
        of_server(&endpoint, session).await?
    } else if is_file() {
        json!({"schemaVersion": "v1", "certificate": shown(&read(Path::new(what))?)})
    } else {
        of_node(what, session).await?
    };
    let lines = lines(&document, time::moment(&document, args.absolute));
    let serial = text(&document, "certificate.serial").to_owned();
    session.show(&CommandOutput::lines(document, format!("{KIND}/{serial}"), lines))?;
    Ok(Exit::Ok)
}

/// What a server shows.
async fn of_server(endpoint: &HostPort, session: &CommandSession) -> Result<Value, CliError> {
    // Without a target of its own a command believes what flags and variables name.
    let tls = session.target().map_or_else(|_| session.settings.own_tls(), |target| target.tls.clone());
    let ServerCertificates { chain: presented, version, distrust } =
        presented::ask(endpoint, &tls, session.settings.request_timeout).await?;
    let read = |der: &CertificateDer<'_>| {
        let refuse = |error: omnirelay_pki::certificate::CertificateError| {
            CliError::new(reasons::NOT_HTTP, format!("what {endpoint} shows is no certificate"))
                .cause(chain(&error))
        };
        Ok::<_, CliError>((AnyCertificate::read(der).map_err(refuse)?, Fingerprint::of(der)))
    };
    let mut all = presented.iter().map(read).collect::<Result<Vec<_>, _>>()?.into_iter();
    let mut document = json!({"schemaVersion": "v1"});
    if let Some(first) = all.next() {
        document["certificate"] = shown(&first);
    }
    document["presented"] = json!({
        "address": endpoint.to_string(),
        "protocol": version,
        "believed": distrust.is_none(),
        "chain": all.map(|one| shown(&one)).collect::<Vec<_>>(),
    });
    if let Some(why) = distrust {
        document["presented"]["why"] = why.into();
    }
    Ok(document)
}

/// What the control port of a node shows, and what the registry remembers of its certificates.
async fn of_node(given: &str, session: &CommandSession) -> Result<Value, CliError> {
    let given = given.strip_prefix("node/").or(given.strip_prefix("peer/")).unwrap_or(given);
    let answer = peers::get::one(session, given).await?;
    let peer = field(&answer, "peer");
    let id = text(peer, "nodeId").to_owned();
    let remembered = json!({"kinds": ["node"], "name": id, "all": true});
    let remembered = session.call(&Call::of(&LIST, &remembered)?).await?;
    let asked = match control_address(&id, peer, session.client()?.address()) {
        Ok(address) => {
            let bare = address.authority();
            match bare.parse::<HostPort>() {
                Ok(endpoint) => of_server(&endpoint, session).await,
                Err(()) => Err(CliError::usage(format!("`{address}` is no HOST:PORT"))),
            }
        }
        Err(error) => Err(error),
    };
    let mut document = match asked {
        Ok(document) => document,
        // What is remembered is told, whether or not it can be asked.
        Err(error) if is_unreachable(&error) => {
            session.notes().warn(&error.body().message);
            json!({"schemaVersion": "v1"})
        }
        Err(error) => return Err(error),
    };
    document["node"] = id.into();
    document["generatedAt"] = field(&remembered, "generatedAt").clone();
    document["remembered"] = field(&remembered, "certificates").clone();
    Ok(document)
}

fn lines(document: &Value, moment: CellContext) -> String {
    let mut rows = Vec::new();
    let of = field(document, "certificate");
    if of.is_object() {
        let id = match text(of, "id") {
            "" => text(of, "subject"),
            id => id,
        };
        rows.extend([
            ("id", id.to_owned()),
            ("serial", text(of, "serial").to_owned()),
            ("since", time::ago(field(of, "notBefore"), moment)),
            ("ends", time::left(field(of, "notAfter"), moment)),
            ("names", names(of).replace(',', ", ")),
            ("key", text(of, "keyFingerprint").to_owned()),
            ("fingerprint", text(of, "fingerprint").to_owned()),
        ]);
    }
    let presented = field(document, "presented");
    if presented.is_object() {
        let believed = match flag(presented, "believed") {
            true => "yes".to_owned(),
            false => format!("no: {}", text(presented, "why")),
        };
        rows.extend([
            ("shown by", format!("{}, {}", text(presented, "address"), text(presented, "protocol"))),
            ("believed", believed),
        ]);
    }
    rows.extend(items(document, "remembered").iter().map(|one| ("issued", remembered(one, moment))));
    listing(&rows)
}

/// `77eb…, valid, ends in 4h, by node-1`.
fn remembered(one: &Value, moment: CellContext) -> String {
    format!(
        "{}  {}  ends {}  by {}",
        text(one, "serial"),
        text(one, "status"),
        time::left(field(one, "notAfter"), moment),
        text(one, "issuedBy")
    )
}

/// The schema of the document.
pub(super) fn schema() -> Value {
    let (word, time) = (json!({"type": "string"}), json!({"type": "string", "format": "date-time"}));
    let words = json!({"type": "array", "items": {"type": "string"}});
    let certificate = json!({
        "type": "object",
        "properties": {
            "serial": word, "id": word, "subject": word, "issuer": word, "isAuthority": {"type": "boolean"},
            "notBefore": time, "notAfter": time, "dnsNames": words, "addresses": words,
            "keyFingerprint": word, "fingerprint": word,
        },
    });
    let presented = json!({
        "type": "object",
        "properties": {
            "address": word, "protocol": word, "believed": {"type": "boolean"}, "why": word,
            "chain": {"type": "array", "items": certificate},
        },
    });
    json!({
        "type": "object",
        "required": ["schemaVersion"],
        "properties": {
            "schemaVersion": {"const": "v1"}, "certificate": certificate, "presented": presented, "node": word,
            "generatedAt": time, "remembered": {"type": "array", "items": {"type": "object"}},
        },
    })
}

/// The first certificate of a file, and its own fingerprint.
fn read(path: &Path) -> Result<(AnyCertificate, Fingerprint), CliError> {
    let refuse = |cause: String| {
        CliError::new(reasons::TLS_FILE, format!("{} is no certificate", path.display())).cause(cause)
    };
    let bytes = std::fs::read(path).map_err(|error| refuse(chain(&error)))?;
    let found = pem_file::certificates(&bytes).map_err(|fault| refuse(format!("it {fault}")))?;
    let der = found.into_iter().next().unwrap_or_else(|| CertificateDer::from(Vec::new()));
    let certificate = AnyCertificate::read(&der).map_err(|error| refuse(chain(&error)))?;
    Ok((certificate, Fingerprint::of(&der)))
}

fn shown((certificate, fingerprint): &(AnyCertificate, Fingerprint)) -> Value {
    let at = |seconds: i64| omnirelay_core::time::rfc3339(Millis::of_unix(seconds));
    let mut shown = json!({
        "serial": certificate.serial.to_string(),
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "isAuthority": certificate.is_authority,
        "notBefore": at(certificate.not_before),
        "notAfter": at(certificate.not_after),
        "dnsNames": certificate.names.dns,
        "addresses": certificate.names.addresses,
        "keyFingerprint": certificate.key.to_string(),
        "fingerprint": fingerprint.to_string(),
    });
    if let Some(id) = &certificate.id {
        shown["id"] = id.to_string().into();
    }
    shown
}
