//! `omnirelay cert`: the certificate authority of a mesh, and the certificates that it issues.

mod ca;
mod certified;
mod certify;
pub(crate) mod doctor;
mod export;
mod files;
mod init;
mod inspect;
mod issue;
mod list;
mod offline;
mod offline_csr;
mod prepare;
pub(crate) mod presented;
mod protect;
mod reinstate;
mod renew;
pub(crate) mod renewal;
mod retire;
mod revocations;
mod revoke;
mod rotate;
mod share;
mod show;
mod target;

use clap::Subcommand;

use super::entry::{CommandEntry, entry};
use super::schema::documents::{message, own};
use super::schema::schemas;
use crate::frame::prelude::*;

pub(crate) use revoke::RevocationEdit as Revoking;

/// The kind in the names of certificates.
const KIND: &str = "certificate";

/// Issue, look at and revoke certificates, and look after the authority
#[derive(Args, Debug)]
#[command(alias = "certs", alias = "certificates", arg_required_else_help = true)]
pub(crate) struct CertArgs {
    #[command(subcommand)]
    verb: Verb,
}

/// Issue, look at and revoke certificates, and look after the authority
#[derive(Args, Debug)]
#[command(alias = "certs", alias = "certificates", arg_required_else_help = true)]
struct Outline;

#[derive(Debug, Subcommand)]
enum Verb {
    Ca(ca::CertCaArgs),
    Issue(Box<issue::CertIssueArgs>),
    Renew(Box<renew::CertRenewArgs>),
    List(Box<list::CertListArgs>),
    Inspect(Box<inspect::CertInspectArgs>),
    Doctor(Box<doctor::CertDoctorArgs>),
    Revoke(Box<revoke::CertRevokeArgs>),
    Reinstate(Box<reinstate::CertReinstateArgs>),
    Revocations(Box<revocations::CertRevocationsArgs>),
}

pub(crate) static ENTRY: CommandEntry = entry!(
    "cert",
    CertArgs,
    Outline,
    asking,
    &[
        init::LEAF,
        show::LEAF,
        export::LEAF,
        protect::LEAF,
        share::LEAF,
        prepare::LEAF,
        certify::LEAF,
        rotate::LEAF,
        retire::LEAF,
        issue::LEAF,
        renew::LEAF,
        list::LEAF,
        inspect::LEAF,
        doctor::LEAF,
        revoke::LEAF,
        reinstate::LEAF,
        revocations::LEAF,
    ],
    &[
        message("authority", "cert ca show", "omnirelay.security.v1.GetAuthorityResponse"),
        message("authority-change", "cert ca init, rotate, retire", "omnirelay.security.v1.AuthorityChange"),
        own("certificate", "cert inspect", inspect::schema),
        own("certificate-report", "cert doctor", schemas::check),
        message("certificates", "cert list", "omnirelay.security.v1.ListCertificatesResponse"),
        message("issuer-share", "cert ca share", "omnirelay.security.v1.IssuerShare"),
        message("issued-certificate", "cert issue, renew", "omnirelay.security.v1.IssuedCertificate"),
        message("record-protection", "cert ca protect", "omnirelay.security.v1.RecordProtection"),
        message("prepared-issuer", "cert ca prepare", "omnirelay.security.v1.PreparedIssuer"),
        message("sibling-issuer", "cert ca certify", "omnirelay.security.v1.SiblingIssuer"),
        message("revocation-change", "cert revoke, reinstate", "omnirelay.security.v1.RevocationChange"),
        message("revocations", "cert revocations", "omnirelay.security.v1.ListRevocationsResponse"),
    ]
);

async fn run(of: &CertArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    match &of.verb {
        Verb::Ca(args) => ca::run(args, session).await,
        Verb::Issue(args) => issue::run(args, session).await,
        Verb::Renew(args) => renew::run(args, session).await,
        Verb::List(args) => list::run(args, session).await,
        Verb::Inspect(args) => inspect::run(args, session).await,
        Verb::Doctor(args) => doctor::run(args, session).await,
        Verb::Revoke(args) => revoke::run(args, session).await,
        Verb::Reinstate(args) => reinstate::run(args, session).await,
        Verb::Revocations(args) => revocations::run(args, session).await,
    }
}

static COLUMNS: &[Column] = &[
    Column::new("holder", |certificate, _| holder(certificate)).keep(),
    Column::new("role", |certificate, _| text(certificate, "holder.role").to_owned()),
    Column::new("cluster", |certificate, _| text(certificate, "holder.cluster").to_owned()).wide(),
    Column::new("status", |certificate, _| text(certificate, "status").to_owned()).keep(),
    Column::new("expires", |certificate, moment| time::left(field(certificate, "notAfter"), moment))
        .ranked(|certificate| time::millis(field(certificate, "notAfter")).unwrap_or(0) as f64),
    Column::new("serial", |certificate, _| text(certificate, "serial").to_owned()),
    Column::new("names", |certificate, _| names(certificate)).wide(),
    Column::new("issued by", |certificate, _| text(certificate, "issuedBy").to_owned()).wide(),
];

/// `node/node-1`, `operator/ann`: what `-o name` prints, and what is revoked by.
fn holder(certificate: &Value) -> String {
    format!("{}/{}", text(certificate, "holder.kind"), text(certificate, "holder.name"))
}

fn names(certificate: &Value) -> String {
    let all = items(certificate, "dnsNames").iter().chain(items(certificate, "addresses"));
    all.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}
