//! `omnirelay up`: a whole mesh in one process.

mod clusters;
pub(crate) mod detached;
pub(crate) mod record;
mod status;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Subcommand, ValueEnum};
use omnirelay_core::time::{Millis, rfc3339};
use omnirelay_daemon::process::fleet::FleetError;
use omnirelay_daemon::process::up::{self, IssuerCertifier, UpError, UpMesh, UpNode, UpOptions};
use omnirelay_host::log::LogFormat;
use omnirelay_identity::operator_files::OperatorFiles;
use omnirelay_store::{MissingFileAction, StorePlace};
use xxhash_rust::xxh64::xxh64;

use self::record::{DevMeshLock, DevMeshLockFailure, DevMeshNode, DevMeshRecord};
use super::context::{drop_context, put_context};
use super::entry::{CommandEntry, entry};
use super::frame::address::Address;
use super::frame::context_file::ContextFile;
use super::frame::env;
use super::frame::error::chain;
use super::frame::table::TableLayout;
use super::frame::tls_files::TlsFiles;
use crate::frame::prelude::*;

const LEAF: LeafCommand =
    LeafCommand::local("up", "starts the daemons that others talk to").exiting("0 1 2 4 8");
pub(crate) static ENTRY: CommandEntry = entry!("up", UpArgs, local, &[LEAF, status::LEAF], &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay up
  omnirelay up -d
  omnirelay up --nodes 5 --data ./mesh
  omnirelay up --secure
  omnirelay up --clusters 2 --nodes 3
  omnirelay up --store redis://127.0.0.1:6379
  omnirelay up --data ./mesh --ready-file ./mesh/ready.json";

/// Run a development mesh until Ctrl-C, or in the background
///
/// Starts complete nodes that share one store, embedded or in Redis, writes a context with their addresses, and prints
/// what to try next. Ctrl-C, or `omnirelay down`, is a clean leave of all of them. The context goes with them, but for
/// nodes of a folder (`--data`): they come back to where they were, and until then a command says that they are gone.
/// Any program of this machine may call them, unless `--secure` asks for proof: the context then has an administrator's
/// certificate.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct UpArgs {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Go to the background once all nodes are ready; `omnirelay down` ends them
    #[arg(short, long)]
    detach: bool,
    /// Is in the background
    #[arg(long, hide = true)]
    detached: bool,
    /// What the mesh and its context are called
    #[arg(long, value_name = "NAME", default_value = CONTEXT, value_parser = super::context::checked_name)]
    name: String,
    /// How many nodes, 1 to 64 [default: as many as DIR knows, else 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(up::NODES_MAX)))]
    nodes: Option<u16>,
    /// Folder that keeps store, ids and ports; without it nothing outlives the process, or for a Redis store one beside the contexts
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// File to write once all nodes are ready; removed at start and stop
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    /// Store that the nodes share: embedded:, memory: or the URL of a Redis store; with --clusters once for each [default: embedded:]
    #[arg(long = "store", value_name = "URL")]
    stores: Vec<String>,
    /// Serve the control API under TLS, to callers that prove who they are; the context does
    #[arg(long)]
    secure: bool,
    /// How many clusters of one trust domain, 2 to 8, each with so many nodes and a context NAME-1, NAME-2 and so on; the first is
    /// active for everything, and the others follow it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=i64::from(CLUSTERS_MAX)),
          conflicts_with_all = ["cluster", "sibling_of"])]
    clusters: Option<u16>,
    /// What the cluster is called [default: default]
    #[arg(long, value_name = "CLUSTER", hide = true)]
    cluster: Option<String>,
    /// The mesh of several clusters that it is part of
    #[arg(long, value_name = "NAME", hide = true)]
    part_of: Option<String>,
    /// Control port of the first node
    #[arg(long, value_name = "PORT", hide = true)]
    first_port: Option<u16>,
    /// Context of the cluster whose root certifies the issuer of this one
    #[arg(long, value_name = "CONTEXT", hide = true, requires = "secure")]
    sibling_of: Option<String>,
    /// Services to switch on besides the control plane, such as relay
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,
    /// A setting of all nodes, as of omnirelayd; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Form of the log on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormatArg,
    /// Begin anew when the registry that DIR had is missing or empty: everything that was registered is given up
    #[arg(long)]
    accept_data_loss: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormatArg {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Status(status::UpStatusArgs),
}

/// How many clusters there may be.
const CLUSTERS_MAX: u16 = 8;
/// The context that leads to the nodes, unless they are called otherwise.
const CONTEXT: &str = "dev";
/// The cluster that nodes are of when nothing says otherwise.
const CLUSTER: &str = "default";

static COLUMNS: &[Column] = &[
    Column::new("node", |node, _| super::frame::document::text(node, "nodeId").to_owned()).keep(),
    Column::new("address", |node, _| super::frame::document::text(node, "address").to_owned()).keep(),
];

/// Runs the mesh until it is told to stop, or has another process do so.
///
/// # Errors
/// Why it could not be started.
fn run(args: &UpArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    match &args.verb {
        Some(Verb::Status(args)) => return status::run(args, session),
        None if args.detach && !args.detached => return detached::start(args, session),
        None => {}
    }
    if let Some(count) = args.clusters {
        return clusters::run(args, count, session);
    }
    if let [_, _, ..] = args.stores[..] {
        return Err(CliError::usage("--store is given once, but for --clusters".to_owned()));
    }
    let options = options(args, session);
    if args.detached {
        detached::leave();
    }
    let folder = record::folder(&session.settings.config_path);
    let mut held = match DevMeshLock::take(&folder, &args.name) {
        Ok(held) => Some(held),
        Err(failure) => not_taken(failure, session)?,
    };
    let mut record = DevMeshRecord {
        name: args.name.clone(),
        part_of: args.part_of.clone(),
        pid: std::process::id(),
        started_at: started_at(),
        data: options.data.clone(),
        log: args.detached.then(|| record::log_of(&folder, &args.name)),
        ..DevMeshRecord::default()
    };
    // From here on others see that it starts, and can end it.
    keep(session, held.as_mut(), &record);
    sweep(&session.settings.config_path);
    if args.part_of.is_some() {
        std::thread::spawn(clusters::end_with_parent);
    }
    let certify = |socket: &Path| certify(args, session, socket);
    let certify: Option<&IssuerCertifier<'_>> = if args.sibling_of.is_some() { Some(&certify) } else { None };
    let mesh = match up::start(&options, certify) {
        Ok(mesh) => mesh,
        // Asked to stop while it started: that is a clean end too.
        Err(UpError::Fleet(FleetError::Stopped)) => return Ok(Exit::Ok),
        Err(error) => return Err(not_started(&error)),
    };
    tell_of_nodes(&mut record, &mesh);
    let context = DevContext::write(session, &mut record, args.cluster.as_deref().unwrap_or(CLUSTER));
    keep(session, held.as_mut(), &record);
    if !args.detached {
        tell(session, &record)?;
        session.notes().say("Ctrl-C stops them all.");
    }
    if let Some(why) = mesh.awaited() {
        session.notes().warn(&format!("the nodes wait for their store: {why}"));
    }
    let ended = mesh.serve(|| {
        record.ready = true;
        keep(session, held.as_mut(), &record);
    });
    drop(context);
    ended.map_err(|error| not_started(&error))
}

fn started_at() -> String {
    rfc3339(Millis(u64::try_from(time::now_ms().unwrap_or(0)).unwrap_or(0)))
}

/// Says that a mesh goes without a record, unless one of its name runs.
fn not_taken(failure: DevMeshLockFailure, session: &CommandSession) -> Result<Option<DevMeshLock>, CliError> {
    match failure {
        DevMeshLockFailure::Running(found) => Err(running_already(&found)),
        // A home that cannot be written to is no reason to run nothing.
        DevMeshLockFailure::Io(path, error) => {
            session.notes().warn(&format!("others cannot find this mesh: {}: {error}", path.display()));
            Ok(None)
        }
    }
}

/// Command of this program, with the same contexts.
fn own_command(session: &CommandSession) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--config").arg(std::path::absolute(&session.settings.config_path)?);
    Ok(command)
}

/// Has the root of another context certify the issuer of a mesh whose first node has this socket.
fn certify(args: &UpArgs, session: &CommandSession, socket: &Path) -> Result<(), String> {
    let context = args.sibling_of.as_deref().unwrap_or_default();
    let out = socket.with_file_name("certified");
    let mut command = own_command(session).map_err(|error| chain(&error))?;
    command.args(["cert", "ca", "init", "--yes", "--sibling-of", context, "--out"]).arg(&out);
    command.arg("--addr").arg(format!("unix:{}", socket.display()));
    let ended = command.stdin(Stdio::null()).output().map_err(|error| chain(&error))?;
    let complaint = String::from_utf8_lossy(&ended.stderr).into_owned();
    // It has an authority already, as one that was started before.
    let is_certified = ended.status.code() == Some(Exit::Conflict as i32);
    match ended.status.success() || is_certified {
        true => Ok(()),
        false => Err(complaint.trim_start_matches("error: ").trim_end().to_owned()),
    }
}

fn options(args: &UpArgs, session: &CommandSession) -> UpOptions {
    // Wherever the process goes, and for whoever reads them elsewhere.
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    UpOptions {
        nodes: args.nodes,
        data: args.data.as_ref().map(absolute).or_else(|| folder_of_store(args.stores.first()?, session)),
        missing: if args.accept_data_loss {
            MissingFileAction::AcceptLoss
        } else {
            MissingFileAction::Refuse
        },
        ready_file: args.ready_file.as_ref().map(absolute),
        store: args.stores.first().cloned(),
        cluster: args.cluster.clone(),
        first_port: args.first_port.unwrap_or(up::FIRST_PORT),
        services: args.services.clone(),
        secure: args.secure,
        set: args.set.clone(),
        log_format: match args.log_format {
            LogFormatArg::Text => LogFormat::Text,
            LogFormatArg::Json => LogFormat::Json,
        },
        // By default only what needs attention comes between the operator and the terminal.
        log_filter: session.settings.env.get(env::LOG).unwrap_or("warn").to_owned(),
    }
}

/// Where the nodes of a mesh are kept that was given no folder, if its registry outlives the process: in it stand the authority
/// that only the secret in the folder opens, and the nodes that have their ids and their certificates from there.
fn folder_of_store(store: &str, session: &CommandSession) -> Option<PathBuf> {
    let place = StorePlace::of_url(store).ok().filter(|place| !place.servers.is_empty())?;
    // Whoever uses it by another user or password uses the same registry.
    let name = format!("{:016x}", xxh64(place.name.as_bytes(), 0));
    Some(session.settings.config_path.with_file_name("omnirelay-up-stores").join(name))
}

/// Takes away what meshes that have crashed left: their records, and the contexts that lead to nobody.
pub(crate) fn sweep(contexts: &Path) {
    for left in record::sweep(&record::folder(contexts)).iter().filter(|left| left.data.is_none()) {
        // One that stays leads nowhere, which is said when it is used.
        let _ = drop_context(contexts, &left.name, &left.addresses());
    }
}

/// Enters where the nodes are, and that they are not where they were to be.
fn tell_of_nodes(record: &mut DevMeshRecord, mesh: &UpMesh) {
    record.operator = mesh.operator().map(|files| files.folder().to_owned());
    let scheme = if record.operator.is_some() { "https" } else { "http" };
    let node = |node: &UpNode| DevMeshNode {
        node_id: node.node_id.clone(),
        address: format!("{scheme}://{}", node.control),
    };
    record.nodes = mesh.nodes().iter().map(node).collect();
    let moved = mesh.moved().iter().map(|moved| {
        format!(
            "{} is taken by another process: {} listens on {}",
            moved.wanted, moved.node_id, moved.instead
        )
    });
    record.warnings = moved.collect();
}

/// Writes the record, where there is one.
fn keep(session: &CommandSession, held: Option<&mut DevMeshLock>, record: &DevMeshRecord) {
    if let Some(Err(error)) = held.map(|held| held.write(record)) {
        session.notes().warn(&format!("others cannot find this mesh: {error}"));
    }
}

/// What callers show, and whom they believe.
fn tls(record: &DevMeshRecord) -> TlsFiles {
    let files = record.operator.clone().map(OperatorFiles::of);
    let of = |path: fn(&OperatorFiles) -> PathBuf| files.as_ref().map(path);
    TlsFiles {
        ca: of(OperatorFiles::bundle),
        cert: of(OperatorFiles::chain),
        key: of(OperatorFiles::key),
        server_name: None,
        clusters: Vec::new(),
    }
}

/// The context of a mesh that does not come back to its addresses; it goes with it.
struct DevContext {
    path: PathBuf,
    name: String,
    addresses: Vec<Address>,
}

impl DevContext {
    /// Writes the context of any mesh, and returns it if it is to go; that it cannot be written is a warning of the
    /// record.
    ///
    /// That of a folder stays, since its nodes keep their ports: without it, a command that was meant for them would go
    /// to whatever answers at the default address.
    fn write(session: &CommandSession, record: &mut DevMeshRecord, cluster: &str) -> Option<Self> {
        let path = session.settings.config_path.clone();
        let addresses = record.addresses();
        match put_context(&path, &record.name, addresses.clone(), cluster, tls(record)) {
            Ok(_) => {
                record.context = Some(record.name.clone());
                record.data.is_none().then(|| Self { path, name: record.name.clone(), addresses })
            }
            Err(error) => {
                record.warnings.push(format!("no context was written: {}", error.body().message));
                None
            }
        }
    }
}

impl Drop for DevContext {
    fn drop(&mut self) {
        // Somebody may have given it another meaning meanwhile. One that stays leads nowhere, which is said when it is
        // used.
        let _ = drop_context(&self.path, &self.name, &self.addresses);
    }
}

/// Prints the nodes, and says on standard error what to try next.
///
/// # Errors
/// When standard output does not take it.
fn tell(session: &mut CommandSession, record: &DevMeshRecord) -> Result<(), CliError> {
    let has_context = record.context.is_some();
    let file = ContextFile::load(&session.settings.config_path).ok();
    let is_current = has_context && file.is_some_and(|file| file.current == record.context);
    let rows: Vec<Value> = record.nodes.iter().map(|node| json!(node)).collect();
    let moment = CellContext { now_ms: None, absolute: false };
    let table = TextTable::of(COLUMNS, &rows, moment, &TableLayout::default())?;
    session.show(&CommandOutput {
        document: json!({
            "schemaVersion": "v1",
            "context": record.context.as_deref().unwrap_or_default(),
            "current": is_current,
            "nodes": rows,
            "warnings": record.warnings,
        }),
        items: Some(rows),
        names: record.nodes.iter().map(|node| format!("node/{}", node.node_id)).collect(),
        text: TextForm::Table(table),
    })?;
    session.out.flush()?;
    let notes = session.notes();
    for warning in &record.warnings {
        notes.warn(warning);
    }
    let name = record.context.as_ref().unwrap_or(&record.name);
    match (has_context, is_current) {
        (true, true) => notes.say(&format!("\nContext `{name}` leads to these nodes. In another shell:")),
        (true, false) => {
            notes.warn(&format!("context `{name}` leads to these nodes, and another one is current"));
            notes.say("\nIn another shell:");
            notes.say(&format!("  omnirelay context use {name}"));
        }
        (false, _) => {
            let first = record.nodes.first().map(|node| node.address.as_str()).unwrap_or_default();
            notes.say(&format!("In another shell:\n  export OMNIRELAY_ADDR={first}"));
            let TlsFiles { ca, cert, key, .. } = tls(record);
            for (variable, path) in [(env::TLS_CA, ca), (env::TLS_CERT, cert), (env::TLS_KEY, key)] {
                if let Some(path) = path {
                    notes.say(&format!("  export {}={}", variable.name, path.display()));
                }
            }
        }
    }
    notes.say(
        "  omnirelay mesh peers list\n  omnirelay mesh peers watch\n  omnirelay mesh leaders status --watch",
    );
    if let (Some(first), Some(last)) = (record.nodes.first(), record.nodes.last()) {
        let (first, last) = (&first.node_id, &last.node_id);
        notes.say(&format!(
            "  omnirelay mesh peers cordon {last} --reason test\n  omnirelay dev kill {first}"
        ));
    }
    tell_of_curl(session, record);
    if record.log.is_some() {
        session.notes().say("It runs in the background: omnirelay up status, omnirelay down");
    }
    Ok(())
}

/// Says how another client proves who it is, where that is asked for.
fn tell_of_curl(session: &CommandSession, record: &DevMeshRecord) {
    let TlsFiles { ca: Some(ca), cert: Some(cert), key: Some(key), .. } = tls(record) else { return };
    let first = record.nodes.first().map(|node| node.address.as_str()).unwrap_or_default();
    session.notes().say(&format!(
        "  curl --cacert {} --cert {} --key {} {first}/control/peers",
        ca.display(),
        cert.display(),
        key.display()
    ));
}

fn running_already(found: &DevMeshRecord) -> CliError {
    CliError::new(reasons::UP_RUNNING, format!("the mesh `{}` runs already (pid {})", found.name, found.pid))
        .hint("omnirelay up status")
        .hint("omnirelay down            # end it")
        .hint("omnirelay up --name OTHER # run another one beside it")
}

fn not_started(error: &UpError) -> CliError {
    match error {
        UpError::Operator => CliError::local(reasons::UP_FAILED, "cannot run the mesh", error)
            .hint("if another folder or host has made its authority, begin there: omnirelay up --data DIR --store URL")
            .hint("or begin another mesh in that Redis: omnirelay up --store URL?prefix=NAME"),
        UpError::Nodes(_) | UpError::Store(_) | UpError::Own(_) | UpError::Config(_) => {
            CliError::usage(chain(error)).hint("omnirelay up --help")
        }
        other => {
            let error = CliError::local(reasons::UP_FAILED, "cannot run the mesh", other);
            error.hint("another process may be using the folder: name another with --data")
        }
    }
}
