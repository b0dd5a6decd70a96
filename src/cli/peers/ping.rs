//! `mesh peers ping`.

use omnirelay_decisions::check::transport::downgrade;
use omnirelay_wire::rpc::peer_control_service;

use super::{KIND, resolve};
use crate::complete;
use crate::frame::prelude::*;
use crate::node::bare;

pub(super) const PING: RpcMethod = peer_control_service::PING;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh peers ping", &[&PING]).exiting("0 1 2 3 5 6 7 8 9 10 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh peers ping node-2
  omnirelay mesh peers ping node-2 --count 20
  omnirelay mesh peers ping node-2 -o json | jq -r .rpcTransport";

/// Measure how a peer is reached over HTTP/3 and over HTTP/2
///
/// The daemon that is asked opens a connection of each kind to the mesh port of the peer and calls it a few times. Exits with
/// 10 when the peer is reached by neither.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct PeersPingArgs {
    /// Id, peer/ID, or its first letters if unique
    #[arg(value_name = "ID", add = complete::ids(&super::OBJECTS))]
    id: String,
    /// How many calls to make over each connection
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    count: u32,
}

pub(super) async fn run(args: &PeersPingArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let id = bare(&args.id);
    let call = |id: &str| Call::of(&PING, &json!({ "nodeId": id, "count": args.count }));
    let document = resolve::ask(session, id, call).await?;
    let name = format!("{KIND}/{}", text(&document, "nodeId"));
    session.show(&CommandOutput::lines(document.clone(), name, describe(&document)))?;
    let is_reached = items(&document, "carriers").iter().any(|carrier| answered(carrier) > 0);
    Ok(if is_reached { Exit::Ok } else { Exit::Negative })
}

fn answered(carrier: &Value) -> u64 {
    field(carrier, "answered").as_u64().unwrap_or(0)
}

/// A line for each carrier, and which of them calls use.
fn describe(document: &Value) -> String {
    let mut lines =
        format!("{} at {}\n", printable(text(document, "nodeId")), printable(text(document, "address")));
    for carrier in items(document, "carriers") {
        let ms = |name: &str| {
            field(carrier, name).as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"))
        };
        let lost = field(carrier, "lost").as_u64().unwrap_or(0);
        let measured = match field(carrier, "connectMs").as_f64() {
            None => "no connection".to_owned(),
            Some(connect) => format!(
                "connected in {connect:.1}ms, {} of {} answered, rtt {}/{}/{}ms (min/avg/max)",
                answered(carrier),
                answered(carrier) + lost,
                ms("rttMinMs"),
                ms("rttAvgMs"),
                ms("rttMaxMs"),
            ),
        };
        let error = match text(carrier, "error") {
            "" => String::new(),
            error => format!(": {}", printable(error)),
        };
        lines.push_str(&format!("  {}  {measured}{error}\n", printable(text(carrier, "rpcTransport"))));
    }
    lines.push_str(&match (text(document, "rpcTransport"), text(document, "downgrade")) {
        ("", _) => "calls go nowhere: there is no connection\n".to_owned(),
        (used, "") => format!("calls go over {used}\n"),
        (used, why) => format!("calls go over {used}: {}\n", downgrade(why)),
    });
    lines
}
