//! `omnirelay up`: a whole mesh in one process, for trying things out and for tests.

use std::fs::DirBuilder;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use omnirelay_audit::files::{AuditFiles, AuditFilesError};
use omnirelay_certificates::operator::OPERATOR;
use omnirelay_core::text::chain;
use omnirelay_core::time::Millis;
use omnirelay_host::chance::{random_secret, random_u64};
use omnirelay_host::data_dir::{DataDir, DataDirError, UP_STATE};
use omnirelay_host::log::{self, LogError};
use omnirelay_host::log::{LogConfig, LogFormat};
use omnirelay_identity::caller::Scope;
use omnirelay_identity::node_identity::{IDENTITY_FOLDER, ISSUER_SECRET, IdentityFiles};
use omnirelay_identity::operator_files::{OPERATOR_FOLDER, OperatorFiles};
use omnirelay_identity::trust::unix_now;
use omnirelay_node::{RelayAddresses, RelayListeners, TELEMETRY_FOLDER};
use omnirelay_settings::{BindingConfig, Config, ConfigError, LoopbackTrust, TlsSource};
use omnirelay_store::whole_file::write_whole;
use omnirelay_store::{MissingFileAction, StoreOpenError};
use omnirelay_wire::fault::Exit;
use serde::{Deserialize, Serialize};

use super::fleet::{Fleet, FleetError, MemberSpec, NodeListeners};
use super::limits;
use super::run::{make_way, ready_row, stop_limit, withdraw_ready, write_ready};
use super::signals::EndSignals;
use super::store_choice::open_store;

/// The most nodes of one process; each is a thread.
pub const NODES_MAX: u16 = 64;
/// How many nodes a new mesh has.
const NODES_DEFAULT: usize = 3;
/// Control port of the first node; the others follow at this distance.
pub const FIRST_PORT: u16 = 17420;
const PORT_STEP: u16 = 10;
/// The ports of the relay of the first node, and of its metrics; the others take what is free.
const FIRST_RELAY_PORTS: [u16; 2] = [50051, 2112];

/// What it decides for each node itself.
const OWN: [&str; 10] = [
    "control.listen",
    "mesh.listen",
    "control.socket",
    "node.id",
    "node.dataDir",
    "relay.listen",
    "relay.httpListen",
    "security.makeAuthority",
    "security.tokenFile",
    "store.url",
];

/// The same where the control API asks for proof.
const OWN_SECURE: [&str; 5] =
    ["control.insecure", "control.tls.cert", "control.tls.key", "control.tls.source", "security.loopback"];

/// The control socket of the first node, where the authority is certified elsewhere.
const CONTROL_SOCKET: &str = "control.sock";
/// How long the first node may take to issue a certificate to the operator.
const OPERATOR_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Options of the mesh that is to be started.
#[derive(Clone, Debug)]
pub struct UpOptions {
    /// 1 to [`NODES_MAX`]; `None`: as many as the directory knows, else 3.
    pub nodes: Option<u16>,
    /// Where the registry, ids and ports are kept; `None`: nowhere, gone at the end.
    pub data: Option<PathBuf>,
    /// What to do when the directory had an embedded registry, and it is gone.
    pub missing: MissingFileAction,
    /// Written when all nodes are ready, removed at start and stop.
    pub ready_file: Option<PathBuf>,
    /// `embedded:` (default), `memory:` or the URL of a Redis store.
    pub store: Option<String>,
    /// Services to switch on.
    pub services: Vec<String>,
    /// Whether callers of the control API have to prove who they are, and the API is under TLS.
    pub secure: bool,
    /// Name of the cluster; `None`: as the settings have it.
    pub cluster: Option<String>,
    /// Control port of the first node, where its directory knows none.
    pub first_port: u16,
    /// Settings of all nodes, each `KEY=VALUE` as of `omnirelayd --set`.
    pub set: Vec<String>,
    pub log_format: LogFormat,
    /// What to log; `warn` leaves the terminal to the operator.
    pub log_filter: String,
}

/// Reason why the mesh did not come up.
#[derive(Debug, thiserror::Error)]
pub enum UpError {
    #[error("--nodes is {0}; a process runs 1 to {NODES_MAX} nodes")]
    Nodes(u16),
    #[error(
        "--set {0}: that is for `up` to decide, for each node; see --nodes, --data, --store and --secure"
    )]
    Own(String),
    #[error("cannot use the settings")]
    Config(#[from] ConfigError),
    #[error("cannot use the directory `{path}`")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error(
        "`{path}` does not say which nodes there were: {what}; remove it to begin with new ids and ports"
    )]
    State { path: PathBuf, what: String },
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("cannot keep the audit trail")]
    Audit(#[from] AuditFilesError),
    #[error("--store: {0}")]
    Store(String),
    #[error(
        "the operator got no certificate within {}s; the authority of the mesh in this store may be of another directory",
        OPERATOR_WITHIN.as_secs()
    )]
    Operator,
    #[error("the issuer was not certified: {0}")]
    Certified(String),
    #[error("cannot open the store")]
    OpenStore(#[from] StoreOpenError),
    #[error("cannot begin to log")]
    Log(#[from] LogError),
    #[error(transparent)]
    Fleet(#[from] FleetError),
    #[error("{0}")]
    ReadyFile(String),
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
}

/// One node of the mesh as the operator is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpNode {
    pub node_id: String,
    pub control: SocketAddr,
    /// Where the relay and the registry of relays listen; `None` while they were never switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayAddresses>,
    #[serde(rename = "sessionSecret")]
    secret: String,
}

/// A port that somebody else had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedPort {
    pub node_id: String,
    pub wanted: SocketAddr,
    pub instead: SocketAddr,
}

/// The nodes to start, each with its ports taken, and those that are not where they were to be.
type ChosenNodes = (Vec<UpNode>, Vec<NodeListeners>, Vec<MovedPort>);

#[derive(Default, Serialize, Deserialize)]
struct State {
    nodes: Vec<UpNode>,
}

/// A running mesh.
pub struct UpMesh {
    nodes: Vec<UpNode>,
    moved: Vec<MovedPort>,
    fleet: Arc<Fleet>,
    end: EndSignals,
    ready_file: Option<PathBuf>,
    operator: Option<OperatorFiles>,
    // In this order: the store is closed before its directory is unlocked and removed.
    _directory: MeshDirectory,
}

/// Has the issuer of a mesh certified by a root elsewhere, over the control socket of its first node; does nothing where there is an
/// authority already.
pub type IssuerCertifier<'a> = dyn Fn(&Path) -> Result<(), String> + 'a;

/// Starts the nodes; returns when all are ready, or wait for their store. The mesh makes its authority itself, unless there is who has it
/// certified.
///
/// # Errors
/// [`UpError`]; nothing runs then.
pub fn start(options: &UpOptions, certify: Option<&IssuerCertifier<'_>>) -> Result<UpMesh, UpError> {
    if let Some(count) = options.nodes.filter(|count| !(1..=NODES_MAX).contains(count)) {
        return Err(UpError::Nodes(count));
    }
    let log =
        LogConfig { format: options.log_format, filter: options.log_filter.clone(), ..LogConfig::default() };
    let log = log::start(&log)?.recent();
    limits::raise_open_files();
    limits::outlive_file_size();
    let mut config = configured(options)?;
    config.security.make_authority = certify.is_none();
    config.store.check_files().map_err(|(_, what)| UpError::Store(what))?;
    let end = EndSignals::listen(stop_limit(&config)).map_err(UpError::Signals)?;
    if let Some(path) = &options.ready_file {
        make_way(path).map_err(|error| UpError::ReadyFile(chain(error.as_ref())))?;
    }
    let directory = MeshDirectory::open(options.data.as_deref())?;
    let stores = open_store(&config, directory.data.path(), options.missing)?;
    let relays = !config.node.services.is_empty();
    let (nodes, listeners, moved) = choose_nodes(&directory, (options.nodes, options.first_port), relays)?;
    if let Some(id) = config.relay.id.as_ref().filter(|_| relays && nodes.len() > 1) {
        tracing::warn!(
            id,
            nodes = nodes.len(),
            "relays are called as their nodes: one id cannot name several"
        );
    }
    let operator = operator(&directory, options.secure)?;
    let identities = directory.data.path().join(IDENTITY_FOLDER);
    let issuer_secret = identities.join(ISSUER_SECRET);
    let socket = directory.data.path().join(CONTROL_SOCKET);
    let mut members = Vec::new();
    for (node, (listener, relay)) in nodes.iter().zip(listeners) {
        let mut identity = IdentityFiles::of(&identities.join(&node.node_id), Some(&issuer_secret));
        // One node is enough, and two would be in each other's way.
        identity.operator = operator.clone().filter(|_| members.is_empty());
        let audit = AuditFiles::open(directory.data.path(), &node.node_id)?;
        if options.store.as_deref() == Some("memory:") {
            audit.begin_anew()?;
        }
        let mut own = of_node(&config, node, nodes.len());
        own.control.socket = certify.filter(|_| members.is_empty()).map(|_| socket.clone());
        members.push(MemberSpec {
            node_id: node.node_id.clone(),
            config: Arc::new(own),
            identity,
            data_dir: directory.data.path().to_owned(),
            telemetry: directory.data.path().join(TELEMETRY_FOLDER).join(&node.node_id),
            session_secret: node.secret.clone(),
            log: log.clone(),
            control: node.control,
            audit,
            listener,
            relay: node.relay.zip(relay),
        });
    }
    let fleet = Fleet::start(members, &stores, end.asked())?;
    let ready_file = options.ready_file.clone();
    let up = UpMesh { nodes, moved, fleet, end, ready_file, operator, _directory: directory };
    if let Some(certify) = certify {
        certify(&socket).map_err(UpError::Certified)?;
    }
    // Nobody can say how long a store is away.
    if up.awaited().is_none() && !up.has_operator(OPERATOR_WITHIN) {
        return Err(UpError::Operator);
    }
    Ok(up)
}

/// Where the operator's certificate is to be; what a former life left of it is taken away.
fn operator(directory: &MeshDirectory, secure: bool) -> Result<Option<OperatorFiles>, UpError> {
    let files = OperatorFiles::of(directory.data.path().join(OPERATOR_FOLDER));
    let refuse = |source| UpError::Directory { path: files.folder().to_owned(), source };
    if secure {
        files.forget_chain().map_err(refuse)?;
        return Ok(Some(files));
    }
    files.forget().map_err(refuse)?;
    Ok(None)
}

/// The settings that all nodes share.
fn configured(options: &UpOptions) -> Result<Config, UpError> {
    let environment = std::env::vars_os().filter(|(name, _)| omnirelay_settings::is_foreign(name));
    let is_own = |key: &str| OWN.contains(&key) || options.secure && OWN_SECURE.contains(&key);
    if let Some(set) = options.set.iter().find(|set| is_own(set.split('=').next().unwrap_or_default())) {
        return Err(UpError::Own(set.clone()));
    }
    let services = serde_json::to_string(&options.services).unwrap_or_default();
    let given = [("--service", "node.services", services)];
    let given = if options.services.is_empty() { &[][..] } else { &given };
    let mut loaded = omnirelay_settings::load(None, environment, &options.set, given)?;
    loaded.check_transport(Millis::of_unix(unix_now()))?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(cluster) = &options.cluster {
        loaded.config.node.cluster.clone_from(cluster);
    }
    if let Some(url) = &options.store {
        loaded.config.store.url.clone_from(url);
    }
    let security = &mut loaded.config.security;
    if options.secure {
        security.loopback = Some(LoopbackTrust::Proof);
        loaded.config.control.insecure = false;
        loaded.config.control.tls.source = TlsSource::Mesh;
        let scopes = Scope::ALL.map(|scope| scope.word().to_owned()).to_vec();
        let principal = Some(format!("operator:{OPERATOR}"));
        security.bindings.push(BindingConfig { principal, scopes, ..BindingConfig::default() });
    }
    // Of a mesh for trying things out there is one operator.
    loaded.config.mesh.shards.self_approval.get_or_insert(true);
    // A mesh for trying things out is open to its host, whether or not it has an authority.
    security.loopback.get_or_insert(LoopbackTrust::Open);
    Ok(loaded.config)
}

/// The settings of one of so many nodes: its ports, and its name as a relay, which only one that is alone is given.
fn of_node(shared: &Config, node: &UpNode, nodes: usize) -> Config {
    let mut config = shared.clone();
    // Whichever is free: others find it in the registry.
    config.mesh.listen = SocketAddr::new(node.control.ip(), 0);
    let given = config.relay.id.take().filter(|_| nodes == 1);
    config.relay.id = Some(given.unwrap_or_else(|| node.node_id.clone()));
    if let Some(RelayAddresses { grpc, http }) = node.relay {
        (config.relay.listen, config.relay.http_listen) = (grpc, http);
    }
    config
}

impl UpMesh {
    /// The nodes in the order of their numbers.
    pub fn nodes(&self) -> &[UpNode] {
        &self.nodes
    }

    /// The ports that somebody else had, of those that were chosen or kept.
    pub fn moved(&self) -> &[MovedPort] {
        &self.moved
    }

    /// Reason why the store was away at the start, if it was: the nodes wait for it.
    pub fn awaited(&self) -> Option<&str> {
        self.fleet.awaited()
    }

    /// Files where the operator has what proves who they are; `None`: nobody has to.
    pub fn operator(&self) -> Option<&OperatorFiles> {
        self.operator.as_ref()
    }

    /// Waits so long for the operator's certificate; whether it is there, or none is to be, or nobody waits for it any more.
    fn has_operator(&self, within: Duration) -> bool {
        let Some(files) = &self.operator else { return true };
        let begun = Instant::now();
        while !files.chain().exists() && !self.end.has_come() {
            if begun.elapsed() > within {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    /// Serves until Ctrl-C or SIGTERM, then lets every node leave. A second signal ends at once. That the nodes are
    /// ready is said from here on, once they are: what the caller has to say of them comes before it.
    ///
    /// # Errors
    /// When signals cannot be waited for, or the ready file cannot be written.
    pub fn serve(self, on_ready: impl FnOnce()) -> Result<Exit, UpError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(UpError::Signals)?;
        let said = async {
            self.fleet.ready().await;
            self.say_ready()?;
            on_ready();
            std::future::pending().await
        };
        let served = runtime.block_on(async {
            tokio::select! {
                () = self.end.asked() => Ok(()),
                error = said => error,
            }
        });
        drop(self);
        served.map(|()| Exit::Ok)
    }

    fn say_ready(&self) -> Result<(), UpError> {
        let Some(path) = &self.ready_file else { return Ok(()) };
        let rows: Vec<_> = self
            .nodes
            .iter()
            .map(|node| ready_row(&node.node_id, &node.control.to_string(), node.relay))
            .collect();
        write_ready(path, &rows).map_err(|error| UpError::ReadyFile(chain(error.as_ref())))
    }
}

impl Drop for UpMesh {
    fn drop(&mut self) {
        // However it ends: whoever reads the file must not believe that the nodes are there.
        withdraw_ready(self.ready_file.as_deref());
        self.fleet.stop();
    }
}

/// The directory of the mesh, locked; one that was made for this run goes with it.
struct MeshDirectory {
    data: DataDir,
    kept: bool,
}

impl MeshDirectory {
    fn open(path: Option<&Path>) -> Result<Self, UpError> {
        match path {
            Some(path) => Ok(Self { data: DataDir::open(path)?, kept: true }),
            None => Ok(Self { data: DataDir::open(&make_ephemeral()?)?, kept: false }),
        }
    }
}

impl Drop for MeshDirectory {
    fn drop(&mut self) {
        if !self.kept {
            // A leftover in the temporary directory harms nobody.
            let _ = std::fs::remove_dir_all(self.data.path());
        }
    }
}

fn make_ephemeral() -> Result<PathBuf, UpError> {
    let temporary = std::env::temp_dir();
    let refuse = |source| UpError::Directory { path: temporary.clone(), source };
    let number = random_u64().map_err(refuse)?;
    let path = temporary.join(format!("omnirelay-up-{}-{number:08x}", std::process::id()));
    DirBuilder::new()
        .mode(0o700)
        .create(&path)
        .map_err(|source| UpError::Directory { path: path.clone(), source })?;
    Ok(path)
}

/// The nodes to start, each with its port taken: the first that the directory knows, and as many
/// new ones as are missing. Those that are not started now keep their ids, ports and secrets.
fn choose_nodes(
    directory: &MeshDirectory,
    (asked, first_port): (Option<u16>, u16),
    relays: bool,
) -> Result<ChosenNodes, UpError> {
    let path = directory.data.path().join(UP_STATE);
    let refuse = |source| UpError::Directory { path: path.clone(), source };
    let mut state = read_state(&path)?;
    let count = match (asked, state.nodes.len()) {
        (Some(asked), _) => usize::from(asked),
        (None, 0) => NODES_DEFAULT,
        (None, known) => known.min(usize::from(NODES_MAX)),
    };
    for number in state.nodes.len() + 1..=count {
        let offset = PORT_STEP * (number as u16 - 1);
        state.nodes.push(UpNode {
            node_id: format!("node-{number}"),
            control: SocketAddr::from((Ipv4Addr::LOCALHOST, first_port + offset)),
            relay: None,
            secret: random_secret().map_err(refuse)?,
        });
    }
    let (mut listeners, mut moved) = (Vec::new(), Vec::new());
    for (number, node) in state.nodes[..count].iter_mut().enumerate() {
        let listener = listen(node.control).map_err(refuse)?;
        let (wanted, instead) = (node.control, listener.local_addr().map_err(refuse)?);
        if wanted != instead {
            moved.push(MovedPort { node_id: node.node_id.clone(), wanted, instead });
        }
        node.control = instead;
        let relay = relays.then(|| listen_as_relay(number, node.relay)).transpose().map_err(refuse)?;
        if let Some(relay) = &relay {
            node.relay = Some(relay.addresses().map_err(refuse)?);
        }
        listeners.push((listener, relay));
    }
    let text = serde_json::to_vec_pretty(&state).unwrap_or_default();
    write_whole(&path, &text).map_err(refuse)?;
    state.nodes.truncate(count);
    for (node, (_, relay)) in state.nodes.iter_mut().zip(&listeners) {
        // They are kept for another time; now nobody listens there.
        node.relay = node.relay.filter(|_| relay.is_some());
    }
    Ok((state.nodes, listeners, moved))
}

fn read_state(path: &Path) -> Result<State, UpError> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| UpError::State { path: path.to_owned(), what: chain(&error) }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(State::default()),
        Err(source) => Err(UpError::Directory { path: path.to_owned(), source }),
    }
}

/// Takes the ports of a relay: those it had, else those that everybody expects for the first node.
fn listen_as_relay(number: usize, known: Option<RelayAddresses>) -> std::io::Result<RelayListeners> {
    let wanted = known.unwrap_or_else(|| {
        let [grpc, http] = if number == 0 { FIRST_RELAY_PORTS } else { [0, 0] };
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        RelayAddresses { grpc: at(grpc), http: at(http) }
    });
    Ok(RelayListeners { grpc: listen(wanted.grpc)?, http: listen(wanted.http)? })
}

/// Listens on the address, or on a free one when somebody else listens there.
fn listen(wanted: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(wanted).or_else(|_| TcpListener::bind(SocketAddr::new(wanted.ip(), 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_are_not_started_are_remembered() {
        let place = tempfile::tempdir().unwrap();
        let directory = MeshDirectory::open(Some(place.path())).unwrap();
        let chosen = |asked| choose_nodes(&directory, (asked, FIRST_PORT), false).unwrap().0;
        let all = chosen(Some(3));
        assert_eq!(chosen(Some(1)).len(), 1);
        let secrets = |nodes: &[UpNode]| nodes.iter().map(|node| node.secret.clone()).collect::<Vec<_>>();
        assert_eq!(secrets(&chosen(None)), secrets(&all));
        assert_eq!(secrets(&chosen(Some(4)))[..3], secrets(&all)[..]);
    }

    #[test]
    fn ports_that_nobody_listens_at_are_kept_and_not_told() {
        let place = tempfile::tempdir().unwrap();
        let directory = MeshDirectory::open(Some(place.path())).unwrap();
        let relay =
            |relays| choose_nodes(&directory, (Some(1), FIRST_PORT), relays).unwrap().0.remove(0).relay;
        let first = relay(true);
        assert!(first.is_some());
        assert_eq!(relay(false), None);
        assert_eq!(relay(true), first, "they are those of before");
    }

    #[test]
    fn a_given_id_names_a_relay_that_is_alone() {
        let place = tempfile::tempdir().unwrap();
        let directory = MeshDirectory::open(Some(place.path())).unwrap();
        let node = choose_nodes(&directory, (Some(1), FIRST_PORT), false).unwrap().0.remove(0);
        let mut shared = Config::default();
        let id = |shared: &Config, nodes| of_node(shared, &node, nodes).relay.id;
        assert_eq!(id(&shared, 1).as_deref(), Some("node-1"));
        shared.relay.id = Some("relay-7".to_owned());
        assert_eq!(id(&shared, 1).as_deref(), Some("relay-7"));
        assert_eq!(id(&shared, 2).as_deref(), Some("node-1"));
    }
}
