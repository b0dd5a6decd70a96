//! `omnirelay ui`: the page of a mesh, as whoever the context says.

mod access;
mod proxy;

use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use self::access::PageAccess;
use self::proxy::PageProxy;
use super::entry::{CommandEntry, entry};
use crate::frame::client::Client;
use crate::frame::local_server::{LocalServer, ServerLimits};
use crate::frame::prelude::*;
use crate::frame::signals::StopSignals;

const LEAF: LeafCommand =
    LeafCommand::local("ui", "asks for whatever the page shows").exiting("0 1 2 3 4 5 6 8 9 11");
pub(crate) static ENTRY: CommandEntry = entry!("ui", UiArgs, asking, &[LEAF], &[]);

/// A page has a stream and a few requests at once; a day is as long as it may stay.
const LIMITS: ServerLimits =
    ServerLimits { connections_max: 256, connection_time: Duration::from_secs(24 * 3600) };

const EXAMPLES: &str = "\
Examples:
  omnirelay ui
  omnirelay ui --context prod-eu --port 8080
  omnirelay ui --support-bundle mesh.tar.gz";

/// Serve the page of the mesh to browsers of this machine
///
/// Prints an address that opens it once, and goes on until Ctrl-C. The page asks the mesh through this program, as whoever the context
/// says, and reads alone: nothing in it changes the mesh. With --support-bundle it shows what the bundle has.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct UiArgs {
    /// Port of 127.0.0.1 to serve it at; 0 is any that is free
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

async fn run(args: &UiArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let target = session.target()?.clone();
    let client = Client::new(&session.settings, target)?;
    if session.settings.bundle.is_none() {
        // Whatever keeps the mesh from answering is told here, and not in a browser.
        client.call(&Call::of(&crate::whoami::WHO, &json!({}))?).await?;
    }
    let access = Arc::new(PageAccess::new());
    let proxy =
        Arc::new(PageProxy { client, access: access.clone(), has_bundle: session.settings.bundle.is_some() });
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), args.port);
    let mut stop = StopSignals::listen()?;
    let answer = move |request| {
        let proxy = proxy.clone();
        async move { proxy.answer(request).await }
    };
    let server = LocalServer::listen(address, LIMITS, answer).await?;
    access.serve_at(server.address());
    print_address(&access, session)?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let asks = std::io::stdin().is_terminal();
    loop {
        tokio::select! {
            exit = stop.wait() => return Ok(exit),
            line = lines.next_line(), if asks => match line {
                Ok(Some(_)) => print_address(&access, session)?,
                Ok(None) | Err(_) => return Ok(stop.wait().await),
            },
        }
    }
}

/// Prints an address that opens the page once.
fn print_address(access: &PageAccess, session: &mut CommandSession) -> Result<(), CliError> {
    let address = access.new_address()?;
    session.out.write_line(&address)?;
    session.out.flush()?;
    let more = if std::io::stdin().is_terminal() { "; Enter prints another one" } else { "" };
    session.notes().say(&format!("It opens the page once{more}. Ctrl-C ends it."));
    Ok(())
}
