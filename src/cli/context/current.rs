//! `context current`.

use super::LOCAL;
use crate::frame::address::Address;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand = LeafCommand::local("context current", LOCAL);

const EXAMPLES: &str = "\
Examples:
  omnirelay context current
  omnirelay context current -v          # where each value comes from
  curl \"$(omnirelay context current -o json | jq -r .address)/control/peers\"";

/// Show whom commands talk to now
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ContextCurrentArgs {}

pub(super) async fn run(_: &ContextCurrentArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let target = session.target()?.clone();
    let addresses: Vec<&str> = target.addresses.iter().map(Address::as_str).collect();
    let cluster = target.cluster.as_deref().unwrap_or_default();
    let document = json!({
        "schemaVersion": "v1",
        "name": target.context,
        "address": addresses.first().copied().unwrap_or_default(),
        "addresses": addresses,
        "cluster": cluster,
    });
    let text = listing(&[
        ("name", target.context.clone()),
        ("address", addresses.join(", ")),
        ("cluster", cluster.to_owned()),
    ]);
    let names =
        if target.context.is_empty() { Vec::new() } else { vec![format!("context/{}", target.context)] };
    session.show(&CommandOutput { document, items: None, names, text: TextForm::Lines(text) })?;
    let settings = &session.settings;
    session.notes().step(1, || format!("context and address are from: {}", target.source));
    session.notes().step(1, || format!("configuration file: {}", settings.config_path.display()));
    session
        .notes()
        .step(1, || format!("request timeout: {}", humantime::format_duration(settings.request_timeout)));
    Ok(Exit::Ok)
}
