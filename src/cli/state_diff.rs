//! `omnirelay mesh state-diff`: where what a daemon holds of the registry differs from its store, from another daemon, or from another
//! cluster.

use omnirelay_wire::rpc::{domain_control_service, state_diff_service};

use super::clusters;
use super::domains;
use super::entry::{CommandEntry, entry};
use super::peers;
use super::schema::documents::message;
use crate::complete;
use crate::frame::document::real;
use crate::frame::prelude::*;

const GET: RpcMethod = state_diff_service::GET;
const RECONCILE: RpcMethod = state_diff_service::RECONCILE;
const COMPARE: RpcMethod = domain_control_service::COMPARE;
const LEAF: LeafCommand = LeafCommand::write(
    "mesh state-diff",
    &[&GET, &RECONCILE, &COMPARE, &peers::LIST, &clusters::LIST, &domains::LIST],
)
.listing(&COLUMNS, &[]);
pub(crate) static ENTRY: CommandEntry = entry!(
    "state-diff",
    StateDiffArgs,
    asking,
    &[LEAF],
    &[
        message("state-diff", "mesh state-diff", "omnirelay.mesh.control.v1.GetStateDiffResponse"),
        message(
            "state-reconciliation",
            "mesh state-diff --reconcile",
            "omnirelay.mesh.control.v1.ReconcileStateResponse"
        ),
    ]
);

const EXAMPLES: &str = "\
Examples:
  omnirelay mesh state-diff
  omnirelay mesh state-diff --node node-2 --exit-code
  omnirelay mesh state-diff --with west --domain mesh
  omnirelay mesh state-diff --reconcile --dry-run
  omnirelay mesh state-diff --reconcile --reason \"INC-4711\" --addr node-2:17420
  omnirelay mesh state-diff -o json | jq -r '.differences[] | \"\\(.kind)/\\(.key)\"'";

/// Show where what a daemon holds differs from its store
///
/// Each daemon holds the registry in memory and answers from there. This compares what the daemon that answers holds with its store, record
/// by record, or with what the daemon of another node holds: records that end with a session, and signed ones, with the store alone. What
/// changes meanwhile is no difference. With --with, what is here of a domain is compared with what another cluster has of it: `mesh domains
/// approve` at the follower and `mesh domains heal` at the active cluster make both the same. With --reconcile it is loaded anew from the store where it differs: the store is what nodes have
/// agreed on. Watches at this daemon begin anew then.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
#[command(mut_arg("if_match", |argument| argument.hide(true)))]
#[command(mut_arg("exit_code", |argument| argument.help("Exit with 10 when something differs")))]
#[command(mut_arg("dry_run", |argument| argument.requires("reconcile")))]
#[command(mut_arg("reason", |argument| argument.requires("reconcile")))]
pub(crate) struct StateDiffArgs {
    /// Compare with the store [the default]
    #[arg(long)]
    store: bool,
    /// Compare with what the daemon of this node holds
    #[arg(long, value_name = "NODE", conflicts_with = "store", add = complete::ids(&peers::OBJECTS))]
    node: Option<String>,
    /// Compare a domain with what this cluster has of it
    #[arg(long, value_name = "CLUSTER", conflicts_with_all = ["store", "node"], value_parser = id_of(clusters::KIND), add = complete::ids(&clusters::OBJECTS))]
    with: Option<String>,
    /// The domain that is compared
    #[arg(long, value_name = "DOMAIN", requires = "with", default_value = "mesh", value_parser = id_of(domains::KIND), add = complete::ids(&domains::OBJECTS))]
    domain: String,
    /// Load anew from the store where it differs
    #[arg(long, conflicts_with_all = ["node", "with"])]
    reconcile: bool,
    /// How many differences to list; all are counted
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000), conflicts_with = "reconcile")]
    limit: u32,
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    write: WriteArgs,
}

static COLUMNS: &[Column] = &[
    Column::new("record", |one, _| record_name(one)).keep(),
    Column::new("state", |one, _| state_words(one)).keep(),
    Column::new("here", |one, _| version(one, "here")).keep().number(|one| real(one, "here.version")),
    Column::new("there", |one, _| version(one, "there")).keep().number(|one| real(one, "there.version")),
    Column::new("writer-here", |one, _| text(one, "here.lastWriterId").to_owned()),
    Column::new("writer-there", |one, _| text(one, "there.lastWriterId").to_owned()),
    Column::new("updated-there", |one, moment| time::ago(field(one, "there.updatedAt"), moment)).wide(),
    Column::new("digest-here", |one, _| text(one, "here.digest").to_owned()).wide(),
    Column::new("digest-there", |one, _| text(one, "there.digest").to_owned()).wide(),
];

/// `peer/node-3`
fn record_name(one: &Value) -> String {
    format!("{}/{}", text(one, "kind"), text(one, "key"))
}

/// `only here`
fn state_words(one: &Value) -> String {
    text(one, "state").replace('_', " ")
}

/// Version of a record at a side; `-` where there is none.
fn version(one: &Value, side: &str) -> String {
    match field(one, side) {
        Value::Null => "-".to_owned(),
        record => number(record, "version").to_string(),
    }
}

async fn run(args: &StateDiffArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.table.check_order(COLUMNS)?;
    if args.reconcile {
        return reconcile(args, session).await;
    }
    let call = match &args.with {
        Some(with) => {
            Call::of(&COMPARE, &json!({"domain": args.domain, "withCluster": with, "limit": args.limit}))?
        }
        None => {
            let node = args.node.as_deref().unwrap_or_default();
            Call::of(&GET, &json!({"nodeId": node, "limit": args.limit}))?
        }
    };
    let document = session.call(&call).await?;
    let differs = number(&document, "differing") > 0;
    let list = ListSpec {
        field: "differences",
        columns: COLUMNS,
        name: record_name,
        none: match left_out(&document) {
            Some(_) => format!("Of what was compared nothing differs: {}.", compared(&document)),
            None => format!("Nothing differs: {}.", compared(&document)),
        },
        footer: |document, _| {
            format!("{} differ: {}", count(number(document, "differing"), "record"), compared(document))
        },
    };
    if session.format().is_text() {
        left_out(&document).iter().for_each(|line| session.notes().say(line));
        drifted(&document).for_each(|line| session.notes().say(&line));
    }
    let differs = differs || drifted(&document).next().is_some();
    list.show(document, &args.table, session)?;
    Ok(if args.write.exit_code && differs { Exit::Negative } else { Exit::Ok })
}

/// What was not compared, and why; `None`: everything was.
fn left_out(document: &Value) -> Option<String> {
    let unsettled = number(document, "unsettled");
    let kinds: Vec<_> =
        items(document, "notCompared").iter().filter_map(Value::as_str).map(printable).collect();
    let changed = (unsettled > 0)
        .then(|| format!("{} changed whenever they were looked at", count(unsettled, "record")));
    let other =
        (!kinds.is_empty()).then(|| format!("the other daemon holds no records of {}", kinds.join(", ")));
    let told: Vec<String> = changed.into_iter().chain(other).collect();
    (!told.is_empty()).then(|| format!("Not compared: {}", told.join("; ")))
}

/// A line for each pool that has advertisements of registers that are gone.
fn drifted(document: &Value) -> impl Iterator<Item = String> {
    let pools = items(document, "pools").iter().filter(|pool| number(pool, "drifted") > 0);
    pools.map(|pool| {
        let (target, many) =
            (printable(text(pool, "target")), count(number(pool, "drifted"), "advertisement"));
        format!("The pool {target} has {many} that should go: omnirelay registers resync --full")
    })
}

/// `5000 records of node-1 beside the store, in 12ms`
fn compared(document: &Value) -> String {
    let with = match text(document, "comparedWith") {
        "store" => "the store".to_owned(),
        other => printable(other),
    };
    format!(
        "{} of {} beside {with}, in {}ms",
        count(number(document, "records"), "record"),
        text(document, "localNodeId"),
        number(document, "tookMs"),
    )
}

async fn reconcile(args: &StateDiffArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    args.write.without_version("what a daemon holds")?;
    session.announce_target()?;
    let request = json!({"reason": args.write.reason_text(), "dryRun": args.write.is_dry_run()});
    let part = if args.write.is_dry_run() { "dry-run" } else { "" };
    let call = Call::of(&RECONCILE, &request)?.keyed(&args.write.key()?, part);
    let document = session.call(&call).await?;
    let changed = flag(&document, "changed");
    let name = format!("node/{}", text(&document, "localNodeId"));
    let lines = described(&document);
    session.show(&CommandOutput::lines(document, name, lines))?;
    Ok(if args.write.exit_code && changed { Exit::Negative } else { Exit::Ok })
}

/// `node/node-1 loaded anew: 3 records differed, 0 differ now`
fn described(document: &Value) -> String {
    let (node, before) = (text(document, "localNodeId"), field(document, "before"));
    let differed = count(number(before, "differing"), "record");
    let mut lines = match (flag(document, "changed"), flag(document, "dryRun")) {
        (false, _) => format!("node/{node}: nothing differs: {}\n", compared(before)),
        (true, true) => format!("node/{node} would be loaded anew (dry run): {differed} differ\n"),
        (true, false) => match field(document, "after") {
            Value::Null => {
                format!("node/{node}: {differed} differed; it is loaded anew once the store answers\n")
            }
            after => {
                format!(
                    "node/{node} loaded anew: {differed} differed, {} differ now\n",
                    number(after, "differing")
                )
            }
        },
    };
    for one in items(before, "differences") {
        let state = state_words(one);
        let record = printable(&record_name(one));
        lines.push_str(&format!(
            "  {record} {state}: {} here, {} there\n",
            version(one, "here"),
            version(one, "there")
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_mended_is_told_with_each_record() {
        let difference =
            json!({"kind": "peer", "key": "node-3", "state": "only_there", "there": {"version": "7"}});
        let before = json!({"comparedWith": "store", "localNodeId": "node-1", "records": "40", "tookMs": 3,
            "differing": "1", "differences": [difference]});
        let mut document =
            json!({"localNodeId": "node-1", "changed": true, "before": before, "after": {"differing": "0"}});
        let told = described(&document);
        assert_eq!(
            told,
            "node/node-1 loaded anew: 1 record differed, 0 differ now\n  peer/node-3 only there: - here, 7 there\n"
        );
        document["after"] = Value::Null;
        assert!(described(&document).starts_with("node/node-1: 1 record differed; it is loaded anew once"));
        document["dryRun"] = json!(true);
        assert!(
            described(&document).starts_with("node/node-1 would be loaded anew (dry run): 1 record differ")
        );
        let same = json!({"localNodeId": "node-1", "changed": false, "before": {"comparedWith": "node/node-2", "localNodeId": "node-1", "records": "40", "tookMs": 3}});
        assert_eq!(
            described(&same),
            "node/node-1: nothing differs: 40 records of node-1 beside node/node-2, in 3ms\n"
        );
    }
}
