//! `registers get`.

use omnirelay_core::text::some_of;
use omnirelay_wire::rpc::register_service;

use super::KIND;
use super::columns::yes_or_no;
use crate::complete;
use crate::frame::prelude::*;
use crate::node::NodeArgs;

pub(super) const GET: RpcMethod = register_service::GET;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("registers get", &[&GET]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay registers get orders
  omnirelay registers get orders invoices -o yaml
  omnirelay registers get orders --node node-2 -o json | jq -r .register.version
  omnirelay registers list -o name | omnirelay registers get - -o json";

/// Show everything known of registers, and who advertises them
#[derive(Args, Debug)]
#[command(visible_alias = "show", before_long_help = EXAMPLES)]
pub(super) struct RegistersGetArgs {
    /// Ids or register/ID, in full; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(super) async fn run(
    args: &RegistersGetArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let node = node.id();
    let ids = ids::expand(&args.ids, KIND)?;
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    for id in ids {
        let outcome = match batch.hopeless() {
            Some(error) => Err(error),
            None => session.call(&Call::of(&GET, &json!({ "registerId": id, "nodeId": node }))?).await,
        };
        batch.push(id, outcome);
    }
    let absolute = args.absolute;
    batch.finish(session, |id, document| describe(id, document, absolute))
}

/// Everything of a register, one line per field.
fn describe(id: &str, document: &Value, absolute: bool) -> String {
    let register = field(document, "register");
    let moment = time::moment(document, absolute);
    let ago = |path: &str| time::back(time::ago(field(register, path), moment), moment);
    let by = advertised_by(items(document, "advertisements"));
    if register.is_null() {
        return listing(&[("id", id.to_owned()), ("hosted", "no".to_owned()), ("advertised by", by)]);
    }
    listing(&[
        ("id", id.to_owned()),
        ("node", text(register, "nodeId").to_owned()),
        ("name", text(register, "name").to_owned()),
        ("description", text(register, "description").to_owned()),
        ("advertise", yes_or_no(flag(register, "advertise")).to_owned()),
        ("latest version", plain(field(register, "latestVersion"))),
        ("latest docket", plain(field(register, "latestDocketVersion"))),
        ("labels", pairs(register, "labels")),
        ("advertised by", by),
        ("version", plain(field(register, "version"))),
        ("written by", text(register, "lastWriterId").to_owned()),
        ("created", ago("createdAt")),
        ("updated", ago("updatedAt")),
    ])
}

/// `3: node-1 (catalogue), node-2 (http:billing, hidden)`: how many there are, and the first of them.
fn advertised_by(advertisements: &[Value]) -> String {
    const NAMED_MAX: usize = 10;
    if advertisements.is_empty() {
        return "nobody".to_owned();
    }
    let named = advertisements.iter().map(|advertisement| {
        let hidden = if flag(advertisement, "isPublic") { "" } else { ", hidden" };
        format!("{} ({}{hidden})", text(advertisement, "source"), text(advertisement, "producer"))
    });
    let named: Vec<String> = named.collect();
    format!("{}: {}", named.len(), some_of(&named, NAMED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertisers_are_counted_and_ten_of_them_named() {
        let of = |count: usize| -> Vec<Value> {
            (0..count)
                .map(|at| json!({"source": format!("n{at}"), "producer": "file", "isPublic": at != 1}))
                .collect()
        };
        assert_eq!(advertised_by(&[]), "nobody");
        assert_eq!(advertised_by(&of(2)), "2: n0 (file), n1 (file, hidden)");
        let many = advertised_by(&of(12));
        assert!(many.starts_with("12: n0") && many.ends_with("n9 (file) and 2 more"), "{many}");
    }
}
