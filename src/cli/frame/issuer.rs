//! Going on to an issuer: a daemon that cannot sign or issue names others that can, and the same call is made there, once, with
//! the caller's own proof.

use omnirelay_certificates::issuers::ISSUERS;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;
use serde_json::Value;

use super::address::Address;
use super::client::Client;
use super::error::CliError;
use super::rpc::Call;
use super::session::CommandSession;
use super::settings::{CommandTarget, ValueSource};
use super::tls_files::TlsFiles;

/// How many of those that are named are asked.
const ISSUERS_MAX: usize = 3;

/// The control ports of daemons that can issue, `HOST:PORT` each, as the refusal of one that cannot names them.
pub(crate) fn named(refused: &CliError) -> Vec<String> {
    let named = refused.body().details.iter().find_map(|detail| detail.get(ISSUERS)?.as_str());
    let named = named.unwrap_or_default().split(',').filter(|named| !named.is_empty());
    named.take(ISSUERS_MAX).map(str::to_owned).collect()
}

/// Makes a call that was refused at daemons that can issue, until one answers. A certificate proves the caller there, to servers that
/// lead to the roots that were given for this mesh; a token goes nowhere that only the mesh has named.
///
/// # Errors
/// What the first says that is an issuer; else the refusal.
pub(crate) async fn call_issuer(
    session: &CommandSession,
    call: &Call,
    mut refused: CliError,
) -> Result<Value, CliError> {
    let client = session.client()?;
    let (target, asked) = (client.target(), client.address());
    for named in named(&refused) {
        let Some(address) = address_of(&named, target, asked) else { continue };
        session.notes().step(1, || format!("asking {address}, which is an issuer"));
        let tls = TlsFiles { server_name: None, ..target.tls.clone() };
        // The mesh has told where it is, and so it gets no token.
        let source = ValueSource::Peer;
        let target = CommandTarget { addresses: vec![address.clone()], tls, source, ..target.clone() };
        // Other connections: that is not the name of the first one.
        let issuer = Client::new(&session.settings, target)?;
        match issuer.call(call).await {
            // It may have had the secret, and has not that of now.
            Err(error) if error.exit() == Exit::Unavailable || error.is(reasons::NOT_AN_ISSUER) => {
                refused = refused.cause(format!("{address}: {}", error.body().message));
            }
            answered => return answered,
        }
    }
    Err(refused)
}

/// Where an issuer is asked; `None`: the caller's proof is not to go there.
fn address_of(named: &str, target: &CommandTarget, asked: &Address) -> Option<Address> {
    if asked.is_tls() {
        // Who has neither proves itself by what is in the request.
        let proves = target.tls.cert.is_some() || target.token_file.is_none();
        return format!("https://{named}").parse().ok().filter(|_| target.tls.ca.is_some() && proves);
    }
    // In plaintext nothing leaves this machine, and being on it is the proof; a socket is that of one daemon.
    let address: Option<Address> = format!("http://{named}").parse().ok();
    address.filter(|address| asked.socket().is_none() && asked.is_loopback() && address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_proof_goes_where_the_mesh_is_proven_or_stays_on_the_host() {
        let target = |ca: Option<&str>| CommandTarget {
            tls: TlsFiles { ca: ca.map(PathBuf::from), cert: Some("cert".into()), ..TlsFiles::default() },
            ..CommandTarget::bare(Vec::new(), ValueSource::BuiltIn)
        };
        let cases = [
            ("https://a:1", "b:2", Some("ca"), Some("https://b:2")),
            ("https://a:1", "b:2", None, None),
            ("http://127.0.0.1:1", "127.0.0.1:2", None, Some("http://127.0.0.1:2")),
            ("http://127.0.0.1:1", "b:2", None, None),
            ("http://a:1", "127.0.0.1:2", None, None),
            ("unix:/run/omnirelay.sock", "127.0.0.1:2", Some("ca"), None),
            ("https://a:1", "", Some("ca"), None),
        ];
        for (asked, named, ca, expected) in cases {
            let found = address_of(named, &target(ca), &asked.parse().unwrap());
            assert_eq!(found.as_ref().map(Address::as_str), expected, "{asked} {named} {ca:?}");
        }
        let tls = TlsFiles { ca: Some("ca".into()), ..TlsFiles::default() };
        let by_request = CommandTarget { tls, ..target(None) };
        let by_token = CommandTarget { token_file: Some("token".into()), ..by_request.clone() };
        let asked: Address = "https://a:1".parse().unwrap();
        assert!(address_of("b:2", &by_token, &asked).is_none());
        assert!(address_of("b:2", &by_request, &asked).is_some());
    }
}
