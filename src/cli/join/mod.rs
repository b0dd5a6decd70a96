//! Joining the mesh and leaving it: `mesh join`, `mesh leave`, `mesh revoke`.

mod config_file;
pub(crate) mod leave;
mod node;
mod owner;
pub(crate) mod revoke;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;

use omnirelay_pki::join_token::JoinToken;
use omnirelay_wire::rpc::{enrollment_service, node_service};

use self::node::JoiningHost;
use super::entry::{CommandEntry, entry};
use super::frame::address::Address;
use super::frame::error::chain;
use super::frame::settings::{CommandSettings, CommandTarget, ValueSource};
use super::frame::tls_files::TlsFiles;
use super::schema::documents::own;
use crate::frame::prelude::*;

const JOIN: RpcMethod = enrollment_service::JOIN;
const BUNDLE: RpcMethod = enrollment_service::GET_BUNDLE;
const NODE: RpcMethod = node_service::GET;
pub(crate) const LEAF: LeafCommand =
    LeafCommand::write("mesh join", &[&JOIN, &BUNDLE, &NODE]).exiting("0 1 2 4 5 6 8 9 11");

/// Where a daemon listens whose address has no port.
const PORT: u16 = 17420;

pub(crate) static ENTRY: CommandEntry =
    entry!("join", JoinArgs, asking, &[LEAF], &[own("joined-node", "mesh join", node::schema)]);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh join --server eu-1.example --token-file token
  omnirelay mesh join --server 10.0.0.1:17420 --token-file token --node-id relay-b --listen 10.0.0.2:17420
  omnirelay token create | ssh host-b omnirelay mesh join --server eu-1.example --token-file -";

/// Make this host a node of a mesh
///
/// Its key is made here, and what it gets is a certificate and the configuration of its daemon. The mesh must show the authority that the token names before anything is asked of it; the token is not sent. Repeating
/// it changes nothing. The file with the token is that of --token-file, and - is standard input.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct JoinArgs {
    /// A daemon of the mesh: HOST or HOST:PORT
    #[arg(long, value_name = "HOST")]
    server: String,
    /// What the node is to be called [default: host name and four hex digits, kept]
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
    /// The role it wants; refused if the token is for another
    #[arg(long)]
    role: Option<String>,
    /// Data directory of its daemon [default: /var/lib/omnirelay for root]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// File for the configuration of its daemon; what it says besides stays [default: omnirelayd.yaml in the data directory, or that of the package's unit]
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Where its daemon is to listen [default: 127.0.0.1:17420]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// A DNS name or an address that it is called by (repeatable)
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// The environment it is for, as the join policy may ask
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// A namespace that it wants to serve, as the join policy may ask (repeatable)
    #[arg(long, value_name = "NAME")]
    namespace: Vec<String>,
    /// A label by which the join policy may judge it (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// A program that attests this host: it is given the hash of the key in hex, and prints attester, body and signature
    #[arg(long, value_name = "PROGRAM")]
    evidence_command: Option<PathBuf>,
    /// Join anew, with another key, although it is a node already; write over the configuration
    #[arg(long)]
    force: bool,
}

pub(crate) async fn run(args: &JoinArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let token = read_token(session)?;
    let host = JoiningHost::open(args)?;
    let address = address(&args.server)?;
    let clusters = session.settings.own_tls().clusters;
    let joined = host.joined(&token, &clusters, args.force)?;
    if let Some(known) = joined
        && !is_put_out(&host, &address, session).await?
    {
        session.show(&CommandOutput::lines(
            known,
            format!("node/{}", host.node_id),
            format!("node/{} is joined already: nothing was changed\n", host.node_id),
        ))?;
        if args.listen.is_some() || !args.name.is_empty() {
            session.notes().warn(&format!(
                "--listen and --name change nothing: where it listens says control.listen in {}; another name takes another \
                 certificate, with a token of --replace: omnirelay mesh join --force",
                host.config_path().display()
            ));
        }
        return Ok(Exit::Ok);
    }
    host.check_config(args.force)?;
    host.keep_bundle(&bundle(session, &address).await?, &token)?;
    let own = TlsFiles { ca: Some(host.bundle_path()), ..session.settings.own_tls() };
    session.turn_to(at(address, own))?;
    let asked = host.ask(args, &token)?;
    let key = super::frame::client::fresh_key()?;
    let call = Call::of(&JOIN, &asked.request)?.keyed(&key, "");
    // Whoever issues has to show the authority that the token names, as the first one had to.
    let answer = session.call(&call).await?;
    let joined = host.take(args, &token, &asked, &answer)?;
    for warning in &joined.warnings {
        session.notes().warn(warning);
    }
    let lines = joined.lines();
    session.show(&CommandOutput::lines(joined.document(), format!("node/{}", host.node_id), lines))?;
    session.notes().say(&format!("hint: {}", host.start_line()));
    Ok(Exit::Ok)
}

/// Whether the mesh has put this node out since it joined: its certificate lives, and is not taken there. What a server that does not
/// answer would say is not known; the node is taken for joined then.
async fn is_put_out(
    host: &JoiningHost,
    address: &Address,
    session: &mut CommandSession,
) -> Result<bool, CliError> {
    let own = TlsFiles {
        ca: Some(host.bundle_path()),
        cert: Some(host.identity_path()),
        ..session.settings.own_tls()
    };
    session.turn_to(at(address.clone(), own))?;
    let answer: Result<Value, CliError> = session.call(&Call::of(&NODE, &json!({}))?).await;
    let is_out = answer.is_err_and(|error| error.is(reasons::CERTIFICATE_REJECTED));
    if is_out {
        session.notes().warn("the mesh has put this node out: it joins anew, with another key");
    }
    Ok(is_out)
}

fn read_token(session: &CommandSession) -> Result<JoinToken, CliError> {
    let path = session.settings.own_token_file().ok_or_else(|| {
        CliError::usage("a host joins with a token")
            .hint("add --token-file FILE")
            .hint("omnirelay token create --out FILE   # by an administrator of the mesh")
    })?;
    let read = match path.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(&path),
    };
    let refuse = |cause: String| {
        let message = format!("cannot use the join token of {}", path.display());
        CliError::new(reasons::TOKEN_FILE, message)
            .cause(cause)
            .hint("omnirelay token create --out FILE   # by an administrator of the mesh")
    };
    let text = zeroize::Zeroizing::new(read.map_err(|error| refuse(chain(&error)))?);
    text.parse().map_err(|error: omnirelay_pki::join_token::JoinTokenError| refuse(chain(&error)))
}

fn address(server: &str) -> Result<Address, CliError> {
    let plain = server.strip_prefix("https://").unwrap_or(server);
    let has_port = plain.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
    });
    let full = if has_port { format!("https://{plain}") } else { format!("https://{plain}:{PORT}") };
    full.parse().map_err(|error| CliError::usage(format!("--server: {error}")))
}

fn at(address: Address, tls: TlsFiles) -> CommandTarget {
    CommandTarget { tls, ..CommandTarget::bare(vec![address], ValueSource::Flag("--server")) }
}

/// The roots that the server shows, whoever it is: what it says is believed only as far as the token names it.
async fn bundle(session: &CommandSession, address: &Address) -> Result<String, CliError> {
    let settings = CommandSettings { believes_anybody: true, ..session.settings.clone() };
    let client = super::frame::client::Client::new(&settings, at(address.clone(), TlsFiles::default()))?;
    let asked = client.call(&Call::of(&BUNDLE, &json!({}))?).await;
    let document: Value = asked.map_err(|error| match error.is(reasons::CERTIFICATE_REJECTED) {
        true => error.hint("or name the control port with --server: the mesh port takes nodes alone, which have a certificate"),
        false => error,
    })?;
    Ok(text(&document, "bundlePem").to_owned())
}
