//! `mesh shards simulate`, and what a plan is told with.

use omnirelay_wire::rpc::shard_control_service;
use serde_json::Map;

use super::which::NamespaceArg;
use crate::complete;
use crate::frame::document::or_nobody;
use crate::frame::listing::first;
use crate::frame::output::OutputFormat;
use crate::frame::prelude::*;
use crate::node::bare;
use crate::{namespaces, peers};

const SIMULATE: RpcMethod = shard_control_service::SIMULATE;
pub(super) const LEAF: LeafCommand =
    LeafCommand::read("mesh shards simulate", &[&SIMULATE, &namespaces::LIST])
        .exiting("0 1 2 3 5 6 8 9 10 11");

/// How many moves are told in a table.
const MOVES_TOLD: usize = 20;

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh shards simulate --remove node-3
  omnirelay mesh shards simulate -n orders --strategy ring --add node-9:2:eu:eu-1a
  omnirelay mesh shards simulate --weight node-1=2 --force
  omnirelay mesh shards simulate --strategy rendezvous -o json | jq -e '.summary.movedPercent < 10'";

/// Say what would move if nodes or rules were others, and change nothing
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(super) struct ShardsSimulateArgs {
    #[command(flatten)]
    which: NamespaceArg,
    #[command(flatten)]
    wanted: ShardsWantedArgs,
    /// A node that comes, as ID[:WEIGHT[:REGION[:ZONE]]]
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    add: Vec<String>,
    /// The nodes there are to be in the place of those of the mesh, each as ID[:WEIGHT[:REGION[:ZONE]]]
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    node: Vec<String>,
    /// Exit with 10 when something would move
    #[arg(long)]
    exit_code: bool,
}

/// What is to be otherwise.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ShardsWantedArgs {
    /// Another strategy: ring, rendezvous or locality
    #[arg(long, value_name = "STRATEGY", value_parser = ["ring", "rendezvous", "locality"])]
    pub strategy: Option<String>,
    /// A node that is to own nothing any more
    #[arg(long, value_name = "NODE", value_delimiter = ',', add = complete::ids(&peers::OBJECTS))]
    pub remove: Vec<String>,
    /// Another weight of a node, 0 to 1000
    #[arg(long, value_name = "NODE=WEIGHT", value_delimiter = ',', value_parser = weight)]
    pub weight: Vec<(String, f64)>,
    /// More moves by choice than a plan may have
    #[arg(long)]
    pub force: bool,
}

impl ShardsWantedArgs {
    /// The fields of a request.
    pub(super) fn fields(&self, namespace: &str) -> Value {
        let remove: Vec<&str> = self.remove.iter().map(|node| bare(node)).collect();
        let weights: Map<String, Value> =
            self.weight.iter().map(|(node, weight)| (bare(node).to_owned(), json!(weight))).collect();
        json!({
            "namespace": namespace, "strategyId": self.strategy, "remove": remove, "weights": weights,
            "force": self.force,
        })
    }

    /// The flags that say the same.
    fn flags(&self) -> String {
        let mut flags = String::new();
        let mut add = |flag: &str, value: &str| flags.push_str(&format!(" --{flag} {value}"));
        self.strategy.iter().for_each(|strategy| add("strategy", strategy));
        self.remove.iter().for_each(|node| add("remove", bare(node)));
        self.weight.iter().for_each(|(node, weight)| add("weight", &format!("{}={weight}", bare(node))));
        flags
    }
}

/// `NODE=WEIGHT`
pub(crate) fn weight(given: &str) -> Result<(String, f64), String> {
    let (node, weight) = given.split_once('=').ok_or_else(|| format!("`{given}` is no NODE=WEIGHT"))?;
    let weight: f64 = weight.parse().map_err(|_| format!("`{weight}` is no number"))?;
    if (0.0..=1000.0).contains(&weight) && !node.is_empty() {
        return Ok((node.to_owned(), weight));
    }
    Err(format!("`{given}`: a weight is 0 to 1000"))
}

/// `ID[:WEIGHT[:REGION[:ZONE]]]`, as the origin has it.
fn node(given: &str) -> Result<Value, CliError> {
    let mut parts = given.splitn(4, ':');
    let id = bare(parts.next().unwrap_or_default()).to_owned();
    let number = parts.next().filter(|weight| !weight.is_empty()).map(str::parse::<f64>);
    let number = number.transpose().map_err(|_| {
        CliError::usage(format!("`{given}` is no ID[:WEIGHT[:REGION[:ZONE]]]: its weight is no number"))
    })?;
    if number == Some(0.0) {
        return Err(CliError::usage(format!(
            "`{given}` has weight 0: such a node gets no shards; leave it out"
        )));
    }
    Ok(json!({
        "nodeId": id, "weight": number, "region": parts.next().unwrap_or_default(), "zone": parts.next().unwrap_or_default(),
    }))
}

pub(super) async fn run(args: &ShardsSimulateArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let namespace = args.which.one(session).await?;
    let mut request = args.wanted.fields(&namespace);
    for (field, given) in [("add", &args.add), ("nodes", &args.node)] {
        request[field] = Value::Array(given.iter().map(|given| node(given)).collect::<Result<_, _>>()?);
    }
    let document = session.call(&Call::of(&SIMULATE, &request)?).await?;
    session.warn_if_stale(&document);
    let mut lines = String::from("Simulation only: nothing was changed.\n");
    lines.push_str(&told(session, &document, "changes")?);
    let moves = items(&document, "changes").len();
    if moves > 0 && args.add.is_empty() && args.node.is_empty() {
        let (flags, version) = (args.wanted.flags(), text(&document, "map.version"));
        let force = if args.wanted.force { " --force" } else { "" };
        lines.push_str(&format!(
            "Next: omnirelay mesh shards rebalance -n {namespace}{flags}{force} --if-match {version}\n"
        ));
    }
    session.show(&CommandOutput::lines(document, format!("namespace/{namespace}"), lines))?;
    Ok(if moves > 0 && args.exit_code { Exit::Negative } else { Exit::Ok })
}

static LOADS: &[Column] = &[
    Column::new("peer", |load, _| text(load, "nodeId").to_owned()).keep(),
    Column::new("now", |load, _| field(load, "before").to_string())
        .number(|load| field(load, "before").as_f64().unwrap_or(0.0)),
    Column::new("after", |load, _| field(load, "after").to_string())
        .number(|load| field(load, "after").as_f64().unwrap_or(0.0)),
    Column::new("delta", |load, _| delta(load)).number(|load| change(load) as f64),
    Column::new("most", |load, _| {
        field(load, "most").as_u64().map(|most| most.to_string()).unwrap_or_default()
    })
    .number(|load| field(load, "most").as_f64().unwrap_or(0.0)),
    Column::new("weight", |load, _| field(load, "weight").as_f64().unwrap_or(0.0).to_string()),
    Column::new("excluded-by", |load, _| joined(load, "excludedBy")).titled("EXCLUDED-BY"),
];

fn change(load: &Value) -> i64 {
    let of = |name: &str| field(load, name).as_i64().unwrap_or(0);
    of("after") - of("before")
}

fn delta(load: &Value) -> String {
    match change(load) {
        0 => String::new(),
        change => format!("{change:+}"),
    }
}

/// A plan in words: how many move, who has what, and which; `moves` is the field that says which.
///
/// # Errors
/// When the table cannot be made.
pub(super) fn told(session: &CommandSession, document: &Value, moves: &str) -> Result<String, CliError> {
    let summary = field(document, "summary");
    let number = |name: &str| field(summary, name).as_u64().unwrap_or(0);
    let ratio = |name: &str| field(summary, name).as_f64().unwrap_or(0.0);
    let mut lines = format!(
        "Shards {}: {} move ({:.1}%), no plan has fewer than {} of them; {} by choice, of {} at most\n\n",
        number("shards"),
        number("moves"),
        ratio("movedPercent"),
        number("lowerBound"),
        number("byChoice"),
        number("byChoiceLimit")
    );
    let moment = time::moment(document, false);
    let table = TextTable::of(LOADS, items(document, "loads"), moment, &Default::default())?;
    for line in table.render(session.format() == OutputFormat::Wide, session.out.screen()).lines.lines() {
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines.push_str(&format!(
        "\nimbalance (most beside a share)  {:.3} -> {:.3}\n",
        ratio("imbalanceBefore"),
        ratio("imbalanceAfter")
    ));
    for warning in items(document, "warnings").iter().filter_map(Value::as_str) {
        lines.push_str(&format!("! {}\n", printable(warning)));
    }
    let moves = items(document, moves);
    if !moves.is_empty() {
        lines.push_str(&format!("\nMoves ({})\n", moves.len()));
    }
    lines.push_str(&first(moves, MOVES_TOLD, line));
    Ok(lines)
}

/// `012  node-a -> node-b  owner_leaves`, of a simulation or of a plan.
fn line(one: &Value) -> String {
    let either = |names: [&str; 2]| {
        let said = names.into_iter().map(|name| text(one, name)).find(|said| !said.is_empty());
        or_nobody(said.unwrap_or_default()).to_owned()
    };
    let (from, to) = (either(["currentOwner", "from"]), either(["proposedOwner", "to"]));
    let progress = match text(one, "progress") {
        "" | "unspecified" | "pending" => String::new(),
        progress => format!("  {progress}"),
    };
    format!("{}  {from} -> {to}  {}{progress}", text(one, "shardId"), text(one, "cause"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_given_as_the_origin_has_them() {
        assert_eq!(node("a").unwrap(), json!({"nodeId": "a", "weight": null, "region": "", "zone": ""}));
        assert_eq!(
            node("peer/a:2.5:eu:eu-1").unwrap(),
            json!({"nodeId": "a", "weight": 2.5, "region": "eu", "zone": "eu-1"})
        );
        assert!(node("a:x").is_err() && node("a:0").is_err());
        assert_eq!(weight("a=2"), Ok(("a".to_owned(), 2.0)));
        for bad in ["a", "a=x", "a=-1", "a=1001", "a=NaN", "=1"] {
            assert!(weight(bad).is_err(), "{bad}");
        }
    }
}
