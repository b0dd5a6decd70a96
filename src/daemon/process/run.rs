//! The process `omnirelayd`: load configuration, assemble, serve, drain.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use omnirelay_audit::files::AuditFiles;
use omnirelay_core::text::{causes, chain};
use omnirelay_host::data_dir::{self, DataDir};
use omnirelay_host::log;
use omnirelay_host::stalls::{LoopStalls, doing};
use omnirelay_identity::IdentitySources;
use omnirelay_identity::federation::FederatedClusters;
use omnirelay_identity::node_identity::{IDENTITY_FOLDER, IdentityFiles};
use omnirelay_identity::proof::SecretTokens;
use omnirelay_identity::provided::ChosenProvider;
use omnirelay_identity::socket::ControlSocket;
use omnirelay_identity::without_proof::WithoutProof;
use omnirelay_node::{Node, NodeSpec, RelayAddresses, RelayListeners, TELEMETRY_FOLDER};
use omnirelay_relay::assembly::STOP_LIMIT;
use omnirelay_settings::{Config, ConfigError, ConfigReload, ConfigSource, LiveConfig, LoadedConfig};
use omnirelay_store::whole_file::write_whole;
use omnirelay_store::{MissingFileAction, StoreSource};
use omnirelay_wire::fault::Exit;
use sd_notify::NotifyState;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use super::args::{ConfigCommand, DaemonArgs, DaemonCommand, SettingArgs, StoreCommand};
use super::limits;
use super::live_settings::{follow_log, follow_tokens, live_config, now, read_tokens};
use super::service;
use super::signals::EndSignals;
use super::store_choice::open_store;
use super::{other_mesh, store_tool};
use crate::compose::{self, FromProcess};

/// How long leaving may take once running calls have had their time.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// Why a daemon ends of which a part has panicked.
const BROKEN: &str =
    "a part of the daemon has panicked, and what it did is done by nobody; its log says where";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the process to its end.
pub fn main() -> ExitCode {
    let args = DaemonArgs::parse();
    let loaded = source(&args.settings).load();
    let outcome = match &args.command {
        Some(DaemonCommand::Config(ConfigCommand::Validate)) => validate(loaded),
        Some(DaemonCommand::Config(ConfigCommand::Print)) => {
            loaded.map_err(Failure::from).and_then(|l| print(&l))
        }
        Some(DaemonCommand::Store(command)) => look_after(command),
        None => match loaded {
            Ok(mut loaded) => match loaded.check_transport(now()) {
                Ok(()) => serve(&args, &loaded).map(|()| Exit::Ok),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        },
    };
    let exit = outcome.unwrap_or_else(|error| {
        complain(error.as_ref());
        if error.is::<ConfigError>() { Exit::Usage } else { Exit::Error }
    });
    ExitCode::from(exit as u8)
}

fn source(args: &SettingArgs) -> ConfigSource {
    ConfigSource { file: args.config.clone(), set: args.set.clone(), flags: args.given() }
}

/// Says what went wrong and every cause, a line each.
fn complain(error: &dyn std::error::Error) {
    let mut text = String::new();
    for (at, cause) in causes(error).iter().enumerate() {
        let label = if at == 0 { "error" } else { "cause" };
        text.push_str(&format!("{label}: {cause}\n"));
    }
    // With standard error gone there is nobody left to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn validate(loaded: Result<LoadedConfig, ConfigError>) -> Result<Exit, Failure> {
    let checked = loaded.and_then(|mut loaded| {
        loaded.check_files(now())?;
        Ok(loaded.warnings)
    });
    match checked {
        Ok(warnings) => {
            warn_of(&warnings);
            say("the configuration is sound\n")?;
            Ok(Exit::Ok)
        }
        Err(error) => {
            complain(&error);
            Ok(Exit::Negative)
        }
    }
}

fn look_after(command: &StoreCommand) -> Result<Exit, Failure> {
    let (told, exit) = store_tool::run(command)?;
    say(&told)?;
    Ok(exit)
}

fn print(loaded: &LoadedConfig) -> Result<Exit, Failure> {
    warn_of(&loaded.warnings);
    let rows = loaded.explain();
    let wide = |pick: fn(&(String, String, omnirelay_settings::ValueSource)) -> usize| {
        rows.iter().map(pick).max().unwrap_or(0)
    };
    let (keys, values) = (wide(|row| row.0.len()), wide(|row| row.1.len()));
    let lines = rows.iter().map(|(key, value, source)| format!("{key:keys$}  {value:values$}  # {source}\n"));
    say(&lines.collect::<String>())?;
    Ok(Exit::Ok)
}

/// Says what was read otherwise than it was written.
fn warn_of(warnings: &[String]) {
    let text: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    // With standard error gone there is nobody left to tell.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Writes to standard output. That its reader has seen enough is no error.
fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn serve(args: &DaemonArgs, loaded: &LoadedConfig) -> Result<(), Failure> {
    let config = &loaded.config;
    let log = log::start(&config.log)?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    limits::raise_open_files();
    limits::outlive_file_size();
    limits::check_threads()?;
    let settings = live_config(source(&args.settings), config);
    let end = EndSignals::listen(settings.live(stop_limit))?;
    if let Some(path) = &args.ready_file {
        make_way(path)?;
    }
    let path = config.node.data_dir.clone().unwrap_or_else(data_dir::default_path);
    let directory = DataDir::open(&path)?;
    let node_id = directory.node_id(config.node.id.as_deref())?;
    let audit = AuditFiles::open(directory.path(), &node_id)?;
    if config.store.url == "memory:" {
        audit.begin_anew()?;
    }
    let spec = NodeSpec {
        node_id,
        session_secret: directory.session_secret()?,
        store: open_stores(loaded, directory.path(), args.missing())?.of_node(),
        listener: listen(config)?,
        access: access(config, directory.path())?,
        relay: RelayListeners::of(config)?,
        identity: IdentityFiles::of(&directory.path().join(IDENTITY_FOLDER), None),
        data_dir: directory.path().to_owned(),
        config: settings.clone(),
        source: Some(source(&args.settings)),
    };
    let telemetry = directory.path().join(TELEMETRY_FOLDER);
    let stalls = Arc::<LoopStalls>::default();
    let given = FromProcess { audit, telemetry, stalls: stalls.clone(), log: log.recent(), faults: None };
    limits::end_when_main_panics();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    stalls.look_at(builder.enable_all());
    let runtime = builder.build()?;
    runtime.spawn(service::show_life(stalls.clone()));
    runtime.spawn(follow_log(&settings, log));
    runtime.spawn(follow_tokens(&settings, &spec.access.tokens, directory.path()));
    stalls.watch()?;
    let outcome = runtime.block_on(doing("live", live(spec, given, args, end)));
    runtime.shutdown_background();
    outcome
}

/// Time that a process may take to stop once it is told to: running calls, telemetry that waits, and leaving.
pub fn stop_limit(config: &Config) -> Duration {
    let relay = if config.serves("relay") { STOP_LIMIT } else { Duration::ZERO };
    config.control.drain_grace.0 + relay + LEAVE_LIMIT
}

fn open_stores(
    loaded: &LoadedConfig,
    directory: &Path,
    missing: MissingFileAction,
) -> Result<StoreSource, Failure> {
    let config = &loaded.config;
    if config.store.url == "embedded:" && !config.mesh.seeds.is_empty() {
        warn!(seeds = %config.mesh.seeds.join(" "), "the embedded store shares no registry with other nodes");
    }
    loaded.check_store()?;
    Ok(open_store(config, directory, missing)?)
}

fn listen(config: &Config) -> Result<TcpListener, Failure> {
    let address = config.control.listen;
    TcpListener::bind(address).map_err(|error| {
        format!("cannot listen on {address}: {error}; choose another address with --control-listen").into()
    })
}

/// By what callers are let in, besides the port.
fn access(config: &Config, directory: &Path) -> Result<IdentitySources, Failure> {
    let tokens = Arc::new(SecretTokens::default());
    tokens.replace(&read_tokens(config.security.token_file.as_deref(), directory)?);
    let control = &config.control;
    let open =
        |path: &PathBuf| ControlSocket::open(path, control.socket_mode.0, control.socket_group.as_deref());
    let provision = ChosenProvider::of(config.security.identity.provided());
    let federation = FederatedClusters::of(config.federated());
    Ok(IdentitySources {
        socket: control.socket.as_ref().map(open).transpose()?,
        tokens,
        provision,
        federation,
    })
}

async fn live(spec: NodeSpec, given: FromProcess, args: &DaemonArgs, end: EndSignals) -> Result<(), Failure> {
    let mut hangup = signal(SignalKind::hangup())?;
    let settings = spec.config.clone();
    say_who_comes_in(&spec);
    other_mesh::check(&*spec.store, &spec.identity).await?;
    let node = compose::start(spec, given).await?;
    say_ports(&node);
    service::tell(&[NotifyState::Status("waits until it is ready, as /readyz says")]);
    let (mut is_ready, mut ready) = (false, Box::pin(node.ready()));
    loop {
        tokio::select! {
            () = end.asked() => break,
            // As a crash would: what goes on may not know what is so.
            () = node.broken() => return Err(BROKEN.into()),
            () = &mut ready, if !is_ready => {
                say_ready(args, &node);
                is_ready = true;
            }
            // Beside all else: it reads files, which may be far away.
            _ = hangup.recv() => drop(tokio::spawn(reload(settings.clone()))),
        }
    }
    drop(ready);
    let limit = u32::try_from(stop_limit(&settings.now()).as_micros()).unwrap_or(u32::MAX);
    service::tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(limit)]);
    stop(node, args).await;
    Ok(())
}

/// Says which node this is, of which mesh and version, who comes in at the control port without proof, and what else there is.
fn say_who_comes_in(spec: &NodeSpec) {
    let config = &spec.config.now();
    let omnirelay_settings::NodeConfig { cluster, role, region, zone, .. } = &config.node;
    info!(
        peer = spec.node_id,
        cluster,
        role,
        region,
        zone,
        version = env!("CARGO_PKG_VERSION"),
        "daemon starts"
    );
    match config.without_proof() {
        WithoutProof::Anyone => {
            warn!(listen = %config.control.listen, "control port open to whoever reaches it");
        }
        WithoutProof::Host => info!("control port open to every user of this host"),
        WithoutProof::HostUntilAuthority => {
            info!("control port open to every user of this host until the mesh has an authority");
        }
        WithoutProof::Nobody => info!("control port needs proof"),
    }
    if let Some(socket) = &spec.access.socket {
        let (path, mode) = (socket.path().display(), config.control.socket_mode);
        info!(%path, %mode, "control socket open");
    }
}

/// Says where it listens: it answers there before it is ready.
fn say_ports(node: &Node) {
    info!(peer = node.id(), control = %node.control(), "control port listens");
    if let Some(RelayAddresses { grpc, http }) = node.relay() {
        info!(peer = node.id(), relay = %grpc, relay_http = %http, "relay ports open");
    }
}

/// That it could be written was found out at the start. By now, which may be hours later, the node has agents and peers,
/// and does not end for a file.
fn say_ready(args: &DaemonArgs, node: &Node) {
    info!(peer = node.id(), control = %node.control(), "daemon ready");
    let status = format!("ready at {}", node.control());
    service::tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    let Some(path) = &args.ready_file else { return };
    let nodes = [ready_row(node.id(), &node.control().to_string(), node.relay())];
    if let Err(error) = write_ready(path, &nodes) {
        error!(error = %chain(error.as_ref()), "ready file not written; whoever waits for it has to ask /readyz");
    }
}

/// Row of the ready file about one node; a port that is not bound is null.
pub fn ready_row(node_id: &str, control: &str, relay: Option<RelayAddresses>) -> serde_json::Value {
    let (grpc, http) = relay.map(|relay| (relay.grpc.to_string(), relay.http.to_string())).unzip();
    json!({
        "nodeId": node_id,
        "control": control,
        "mesh": null,
        "relay": grpc,
        "relayHttp": http,
        "pid": std::process::id(),
    })
}

/// Removes what a former process said, and makes sure that a ready file can be written there later.
///
/// # Errors
/// Those of the file system, with the path.
pub fn make_way(path: &Path) -> Result<(), Failure> {
    remove_if_there(path)?;
    // Beside it: a file at the path is believed by whoever sees it.
    let mut trial = path.as_os_str().to_owned();
    trial.push(".trial");
    let tried = write_whole(Path::new(&trial), b"").and_then(|()| std::fs::remove_file(&trial));
    tried.map_err(|error| not_ready(path, &error))
}

/// Writes the ready file whole or not at all.
///
/// # Errors
/// Those of the file system, with the path.
pub fn write_ready(path: &Path, nodes: &[serde_json::Value]) -> Result<(), Failure> {
    let text = format!("{}\n", json!({"nodes": nodes}));
    write_whole(path, text.as_bytes()).map_err(|error| not_ready(path, &error))
}

fn not_ready(path: &Path, error: &std::io::Error) -> Failure {
    format!("cannot write the ready file `{}`: {error}", path.display()).into()
}

/// Removes a file; one that is not there is fine.
///
/// # Errors
/// Those of the file system, with the path.
fn remove_if_there(path: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove `{}`: {error}", path.display()).into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

async fn stop(node: Node, args: &DaemonArgs) {
    info!(peer = node.id(), "daemon stopping");
    withdraw_ready(args.ready_file.as_deref());
    node.stop().await;
    info!("daemon stopped");
}

/// Removes the ready file; a file system in trouble is no reason not to leave the mesh.
pub fn withdraw_ready(path: Option<&Path>) {
    if let Some(Err(error)) = path.map(remove_if_there) {
        warn!(%error, "ready file stays behind");
    }
}

/// Reads the tokens and the configuration again, and takes over what can be changed while running.
async fn reload(settings: LiveConfig) {
    // It reads files.
    let reloaded = tokio::task::spawn_blocking(move || settings.reload()).await;
    match reloaded.map_err(Failure::from).and_then(|reloaded| reloaded.map_err(Failure::from)) {
        Ok(ConfigReload { changed, restart_due }) if restart_due.is_empty() => {
            info!(changed = changed.join(" "), "configuration reloaded");
        }
        Ok(ConfigReload { changed, restart_due }) => {
            let (changed, restart_due) = (changed.join(" "), restart_due.join(" "));
            warn!(changed, restart_due, "configuration reloaded; the rest needs a restart");
        }
        Err(error) => {
            error!(error = %chain(error.as_ref()), "configuration not reloaded; the old one stays");
        }
    }
}
