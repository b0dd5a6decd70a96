//! `cert ca show`.

use omnirelay_wire::rpc::certificate_service;

use crate::frame::prelude::*;

pub(super) const GET: RpcMethod = certificate_service::GET_AUTHORITY;
pub(super) const LEAF: LeafCommand = LeafCommand::read("cert ca show", &[&GET]).exiting("0 1 2 4 5 6 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay cert ca show
  omnirelay cert ca show -o json | jq -r '.authority.roots[0].fingerprint'";

/// Show the certificate authority, and whether this daemon issues
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct CertShowArgs {
    /// Times in UTC instead of how far they are
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(super) async fn run(args: &CertShowArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let document = session.call(&Call::of(&GET, &json!({}))?).await?;
    if !field(&document, "authority").is_object() {
        return Err(no_authority());
    }
    let lines = describe(&document, time::moment(&document, args.absolute));
    session.show(&CommandOutput::lines(document.clone(), "authority/mesh", lines))?;
    session.warn_if_stale(&document);
    Ok(Exit::Ok)
}

pub(super) fn no_authority() -> CliError {
    CliError::new(omnirelay_wire::reasons::NO_AUTHORITY, "this mesh has no certificate authority")
        .hint("omnirelay cert ca init")
}

fn describe(document: &Value, moment: CellContext) -> String {
    let node = text(document, "localNodeId");
    let issues = if flag(document, "issues") { "yes" } else { "no" };
    let mut rows = vec![
        ("trust domain", text(document, "authority.trustDomain").to_owned()),
        ("issues", format!("{issues}, {node}")),
    ];
    let issuing: Vec<&str> = items(document, "issuingNodes").iter().filter_map(Value::as_str).collect();
    if !issuing.is_empty() {
        rows.push(("issuers alive", issuing.join(", ")));
    }
    for holder in items(document, "authority.secretGivenTo") {
        let since = time::back(time::ago(field(holder, "since"), moment), moment);
        rows.push(("secret given to", format!("{}, {since}", text(holder, "nodeId"))));
    }
    for (name, path) in [("root", "authority.roots"), ("issuer", "authority.issuers")] {
        for certificate in items(document, path) {
            let ends = time::left(field(certificate, "notAfter"), moment);
            let kept =
                if flag(certificate, "keyInRegistry") { "key in the registry" } else { "key elsewhere" };
            rows.push((name, format!("{} ends in {ends}, {kept}", text(certificate, "fingerprint"))));
        }
    }
    for issuer in items(document, "authority.siblingIssuers") {
        let ends = time::left(field(issuer, "notAfter"), moment);
        let (cluster, fingerprint) = (text(issuer, "cluster"), text(issuer, "fingerprint"));
        rows.push(("issuer of another cluster", format!("{cluster}: {fingerprint} ends in {ends}")));
    }
    for cluster in items(document, "federated") {
        let roots = items(cluster, "roots").iter();
        let ends = roots.map(|root| time::left(field(root, "notAfter"), moment)).collect::<Vec<_>>();
        let (name, domain) = (text(cluster, "cluster"), text(cluster, "trustDomain"));
        rows.push(("federated", format!("{name} of {domain}, roots end in {}", ends.join(", "))));
    }
    let prepared = text(document, "preparedKeyFingerprint");
    if !prepared.is_empty() {
        rows.push((
            "prepared",
            format!("a next issuer with the key {prepared}, which no root has certified"),
        ));
    }
    listing(&rows)
}
