//! `registers list`.

use omnirelay_wire::rpc::register_service;

use super::KIND;
use super::columns::COLUMNS;
use crate::frame::args::FilterArgs;
use crate::frame::prelude::*;
use crate::frame::table;
use crate::node::NodeArgs;

pub const LIST: RpcMethod = register_service::LIST;
pub(super) const LEAF: LeafCommand = LeafCommand::read("registers list", &[&LIST])
    .exiting("0 1 2 3 5 6 8 9 10 11")
    .listing(&COLUMNS, &["advertise"]);

const EXAMPLES: &str = "\
Examples:
  omnirelay registers list
  omnirelay registers list --filter advertise=false -l tier=std -o wide
  omnirelay registers list --node node-2 --sort-by updated:desc --limit 10
  omnirelay registers list -o json | jq -r '.registers[].registerId'";

/// List the registers that a node hosts
#[derive(Args, Debug)]
#[command(visible_alias = "ls", before_long_help = EXAMPLES)]
pub(super) struct RegistersListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    at: AtArgs,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    table: TableArgs,
}

pub(super) async fn run(
    args: &RegistersListArgs,
    node: &NodeArgs,
    session: &mut CommandSession,
) -> Result<Exit, CliError> {
    let node = node.id();
    let advertise = advertised(&args.filter)?;
    let order = args.table.sort_by.as_ref().map(order_by);
    // A column the daemon does not sort by is sorted here, so all of the list is needed first.
    let sorts_here = matches!(order, Some(None));
    let list = ListSpec {
        field: "registers",
        columns: COLUMNS,
        name: |register| format!("{KIND}/{}", text(register, "registerId")),
        none: match args.filter.describe() {
            words if words.is_empty() => "There are no registers.".to_owned(),
            words => format!("No registers match {words}."),
        },
        footer,
    };
    let request = |page: &ListPage| {
        let order = order.clone().flatten().unwrap_or_default();
        let mut request = json!({"orderBy": order, "pageSize": page.size, "pageToken": page.token});
        request["nodeId"] = json!(node);
        request["at"] = json!(args.at.text());
        request["selector"] = json!(args.filter.selector);
        // As text, so that it is sent whichever it is.
        request["advertise"] = json!(advertise.map(|advertise| advertise.to_string()));
        Call::of(&LIST, &request)
    };
    let document = list.pages(session, (&args.page, &args.table), sorts_here, request).await?;
    args.at.tell(&document, session);
    list.print(document, &args.table, args.page.fail_empty, session)
}

/// `12 registers: 9 advertised, rev 7f2c:48213`
fn footer(document: &Value, registers: &[Value]) -> String {
    let advertised = registers.iter().filter(|register| flag(register, "advertise")).count();
    let all = count(registers.len() as u64, "register");
    format!("{all}: {advertised} advertised, rev {}", text(document, "cursor"))
}

/// What `--filter advertise=` says; `None` when it is not given.
fn advertised(args: &FilterArgs) -> Result<Option<bool>, CliError> {
    let mut found = None;
    for (name, value) in &args.filter {
        let advertise = match (name.as_str(), value.as_str()) {
            ("advertise", "true") => true,
            ("advertise", "false") => false,
            ("advertise", other) => {
                return Err(CliError::usage(format!("`{other}` is neither true nor false")));
            }
            (other, _) => {
                return Err(CliError::usage(format!("registers cannot be filtered by `{other}`"))
                    .hint("filter by advertise=true or advertise=false; labels go into -l"));
            }
        };
        if found.replace(advertise).is_some_and(|other| other != advertise) {
            return Err(CliError::usage("advertise cannot be both true and false").hint("leave it out"));
        }
    }
    Ok(found)
}

/// The daemon's name of an order; `None` when it does not sort by that column.
fn order_by(by: &table::SortBy) -> Option<String> {
    let name = match by.column.as_str() {
        "id" => "register_id",
        "name" => "name",
        "version" => "latest_version",
        "updated" => "updated_at",
        _ => return None,
    };
    Some(if by.descending { format!("{name} desc") } else { name.to_owned() })
}
