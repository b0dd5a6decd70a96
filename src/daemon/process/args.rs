//! The command line of `omnirelayd`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use omnirelay_store::MissingFileAction;

/// The control daemon of a mesh.
#[derive(Debug, Parser)]
#[command(
    name = "omnirelayd",
    version,
    about = "The control daemon of a mesh",
    long_about = "The control daemon of a mesh: registry of peers, watches, and the API that `omnirelay` speaks.\n\n\
                  Settings come from the configuration file, then the environment (OMNIRELAYD__<SECTION>__<KEY>), \
                  then --set, then flags.",
    after_help = "Examples:\n  omnirelayd\n  omnirelayd --config /etc/omnirelay/omnirelayd.yaml\n  \
                  omnirelayd --node-id relay-a --set session.ttl=3s\n  omnirelayd config validate --config omnirelayd.yaml\n\n\
                  Exit codes: 0 stopped on request, 1 failed, 2 bad arguments or configuration, 10 `config validate` found a fault, \
                  130 or 143 ended by a second signal",
    max_term_width = 100,
    args_override_self = true
)]
pub struct DaemonArgs {
    #[command(flatten)]
    pub settings: SettingArgs,

    /// Write a JSON file with the addresses once the daemon is ready; removed at start and stop
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,

    /// Begin anew when the embedded registry of the data directory is missing or empty: everything that was
    /// registered is given up; go on without what its log lacks: the newest changes are. Without it the daemon does
    /// not start then. Give it once
    #[arg(long)]
    pub accept_data_loss: bool,

    #[command(subcommand)]
    pub command: Option<DaemonCommand>,
}

impl DaemonArgs {
    /// Choice of what to do about a registry that was there and is not.
    pub fn missing(&self) -> MissingFileAction {
        if self.accept_data_loss { MissingFileAction::AcceptLoss } else { MissingFileAction::Refuse }
    }
}

#[derive(Debug, Subcommand)]
pub enum DaemonCommand {
    /// Look at the configuration without starting
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigCommand),
    /// Look after an embedded store that no daemon uses
    #[command(subcommand, arg_required_else_help = true)]
    Store(StoreCommand),
}

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Read all of a store and change nothing: exit 0 if it is sound, 10 if not
    #[command(after_help = "Examples:\n  omnirelayd store check /var/lib/omnirelay")]
    Check {
        /// Data directory of the daemon
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Give room that a store does not use back to the disk: exit 0 when that is done, 10 if the store is not sound
    #[command(after_help = "Examples:\n  omnirelayd store compact /var/lib/omnirelay")]
    Compact {
        /// Data directory of the daemon
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration: exit 0 if it is sound, 10 if not
    #[command(after_help = "Examples:\n  omnirelayd config validate --config /etc/omnirelay/omnirelayd.yaml")]
    Validate,
    /// Print every setting with its value and where it comes from
    #[command(
        after_help = "Examples:\n  omnirelayd config print\n  OMNIRELAYD__SESSION__TTL=3s omnirelayd config print"
    )]
    Print,
}

/// Flags that set a configuration key.
#[derive(Debug, Default, Args)]
pub struct SettingArgs {
    /// Read this YAML file
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Name of this node, unique in the mesh [default: host name and four hex digits, kept]
    #[arg(long, value_name = "ID", global = true)]
    pub node_id: Option<String>,

    /// What the node is for, such as gateway or worker [default: worker]
    #[arg(long, global = true)]
    pub role: Option<String>,

    /// Switch a service on: relay or registry (repeatable)
    #[arg(long, value_name = "SERVICE", global = true)]
    pub service: Vec<String>,

    /// Cluster the node belongs to [default: default]
    #[arg(long, global = true)]
    pub cluster: Option<String>,

    /// Region the node is in
    #[arg(long, global = true)]
    pub region: Option<String>,

    /// Zone the node is in
    #[arg(long, global = true)]
    pub zone: Option<String>,

    /// Directory for what must survive a restart [default: /var/lib/omnirelay for root]
    #[arg(long, value_name = "DIR", global = true)]
    pub data_dir: Option<PathBuf>,

    /// Where the registry is kept: embedded:, memory: or the URL of a Redis [default: embedded:]
    #[arg(long, value_name = "URL", global = true)]
    pub store: Option<String>,

    /// Address of the API [default: 127.0.0.1:17420]
    #[arg(long, value_name = "ADDR", global = true)]
    pub control_listen: Option<String>,

    /// Unix socket of the API, beside its address: whoever can open it may do anything
    #[arg(long, value_name = "PATH", global = true)]
    pub control_socket: Option<PathBuf>,

    /// File of tokens that prove callers [default: control-token in the data directory]
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,

    /// Address of the mesh [default: 0.0.0.0:17421]
    #[arg(long, value_name = "ADDR", global = true)]
    pub mesh_listen: Option<String>,

    /// Address at which other nodes reach the mesh port
    #[arg(long, value_name = "HOST:PORT", global = true)]
    pub mesh_advertise: Option<String>,

    /// Another node of the mesh (repeatable)
    #[arg(long, value_name = "HOST:PORT", global = true)]
    pub seed: Vec<String>,

    /// Address of the relay [default: 0.0.0.0:50051]
    #[arg(long, value_name = "ADDR", global = true)]
    pub relay_listen: Option<String>,

    /// Address of the relay's metrics and health [default: 0.0.0.0:2112]
    #[arg(long, value_name = "ADDR", global = true)]
    pub relay_http_listen: Option<String>,

    /// Set any configuration key (repeatable)
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,

    /// Form of the log: text or json [default: text]
    #[arg(long, value_name = "FORMAT", global = true)]
    pub log_format: Option<String>,

    /// Serve beyond loopback without authentication: whoever reaches the port may do anything
    #[arg(long, global = true)]
    pub insecure: bool,
}

impl SettingArgs {
    /// The flags that were given, as `(flag, key, value)`.
    pub fn given(&self) -> Vec<(&'static str, &'static str, String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let list =
            |list: &[String]| (!list.is_empty()).then(|| serde_json::to_string(list).unwrap_or_default());
        let rows = [
            ("--node-id", "node.id", self.node_id.clone()),
            ("--role", "node.role", self.role.clone()),
            ("--service", "node.services", list(&self.service)),
            ("--cluster", "node.cluster", self.cluster.clone()),
            ("--region", "node.region", self.region.clone()),
            ("--zone", "node.zone", self.zone.clone()),
            ("--data-dir", "node.dataDir", path(&self.data_dir)),
            ("--store", "store.url", self.store.clone()),
            ("--control-listen", "control.listen", self.control_listen.clone()),
            ("--control-socket", "control.socket", path(&self.control_socket)),
            ("--token-file", "security.tokenFile", path(&self.token_file)),
            ("--mesh-listen", "mesh.listen", self.mesh_listen.clone()),
            ("--mesh-advertise", "mesh.advertise", self.mesh_advertise.clone()),
            ("--seed", "mesh.seeds", list(&self.seed)),
            ("--relay-listen", "relay.listen", self.relay_listen.clone()),
            ("--relay-http-listen", "relay.httpListen", self.relay_http_listen.clone()),
            ("--log-format", "log.format", self.log_format.clone()),
            ("--insecure", "control.insecure", self.insecure.then(|| "true".to_owned())),
        ];
        rows.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value?))).collect()
    }
}
