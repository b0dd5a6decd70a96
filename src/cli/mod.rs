//! The operator's command line.

mod address;
mod agents;
mod api;
mod args;
mod audit;
mod batch;
mod check;
mod client;
mod complete;
mod completions;
pub mod context;
mod dev;
mod document;
mod drones;
mod env;
pub mod error;
mod explain;
mod failure;
mod global;
mod help;
mod ids;
mod leaders;
mod list;
mod man;
mod node;
mod ops;
mod output;
mod peers;
pub mod registers;
mod relays;
pub mod rpc;
mod schema;
mod session;
mod settings;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod time;
mod up;
mod verbs;
mod version;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub use self::address::Address;
use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;

use self::env::Env;
use self::error::CliError;
use self::global::GlobalArgs;
use self::output::{Color, Format, Notes, Out, Screen};
use self::rpc::Leaf;
use self::session::Session;
use self::settings::{Settings, colored};

/// Operate a mesh of OmniRelay daemons
#[derive(Debug, Parser)]
#[command(
    name = "omnirelay",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    subcommand_required = true,
    infer_long_args = false,
    infer_subcommands = false,
    disable_help_subcommand = true,
    args_override_self = true,
    max_term_width = 100
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    Mesh(MeshArgs),
    /// The registers that nodes host, and who advertises them
    #[command(visible_alias = "reg", alias = "register", arg_required_else_help = true)]
    Registers(Box<registers::RegistersArgs>),
    /// The relays that live, as the registry knows them
    #[command(alias = "relay", arg_required_else_help = true)]
    Relays(relays::RelaysArgs),
    /// The agents that live, and which relay holds each
    #[command(alias = "agent", arg_required_else_help = true)]
    Agents(agents::AgentsArgs),
    /// The sessions that relays hold, and what drones are told to fly
    #[command(alias = "drone", arg_required_else_help = true)]
    Drones(Box<drones::DronesArgs>),
    /// What takes a daemon longer than a call
    #[command(alias = "operations", arg_required_else_help = true)]
    Ops(ops::OpsArgs),
    /// Read the audit trail
    #[command(arg_required_else_help = true)]
    Audit(audit::AuditArgs),
    /// Choose which mesh to talk to
    #[command(arg_required_else_help = true)]
    Context(context::ContextArgs),
    Up(up::UpArgs),
    /// Make nodes of `omnirelay up` fail, and come back
    #[command(arg_required_else_help = true)]
    Dev(dev::DevArgs),
    Api(api::ApiArgs),
    Schema(schema::SchemaArgs),
    Version(version::VersionArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    Help(help::HelpArgs),
    Explain(explain::ExplainArgs),
}

/// Look at and change the mesh
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
struct MeshArgs {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, Subcommand)]
enum Noun {
    /// The nodes of the mesh
    #[command(visible_alias = "p", alias = "peer", arg_required_else_help = true)]
    Peers(Box<peers::PeersArgs>),
    /// The scopes of the mesh and who leads them
    #[command(alias = "leader", arg_required_else_help = true)]
    Leaders(Box<leaders::LeadersArgs>),
    /// The store that the mesh shares
    #[command(arg_required_else_help = true)]
    Store(store::StoreArgs),
    Check(check::CheckArgs),
}

/// Every leaf of the command tree, what it calls and how it may end.
pub fn leaves() -> Vec<&'static Leaf> {
    static SINGLE: &[Leaf] = &[
        check::LEAF,
        up::LEAF,
        api::LEAF,
        schema::LEAF,
        version::LEAF,
        completions::LEAF,
        man::LEAF,
        help::LEAF,
        explain::LEAF,
    ];
    [
        peers::LEAVES,
        leaders::LEAVES,
        store::LEAVES,
        registers::LEAVES,
        relays::LEAVES,
        agents::LEAVES,
        drones::LEAVES,
        ops::LEAVES,
        audit::LEAVES,
        context::LEAVES,
        dev::LEAVES,
        SINGLE,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The command tree, its help laid out.
pub fn command() -> Command {
    dress(Cli::command(), "")
}

/// Examples before the arguments, exit codes after them.
const TEMPLATE: &str = "{about-with-newline}\n{usage-heading} {usage}\n\n{before-help}{all-args}{after-help}";

fn dress(command: Command, path: &str) -> Command {
    let mut command = command.help_template(TEMPLATE);
    if let Some(leaf) = leaves().into_iter().find(|leaf| leaf.path == path) {
        let scopes: std::collections::BTreeSet<&str> = leaf.calls.iter().map(|call| call.scope).collect();
        let scopes = scopes.into_iter().collect::<Vec<_>>().join(", ");
        let scopes = if scopes.is_empty() { scopes } else { format!("Scopes: {scopes}\n") };
        command = command
            .after_long_help(format!("{scopes}Exit codes: {}    See: omnirelay help exit-codes", leaf.exits));
    } else if path.is_empty() {
        command = command.after_help(
            "Learn more: omnirelay help exit-codes|output|environment|scripting|selectors|contexts",
        );
    }
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        let below = if path.is_empty() { name.clone() } else { format!("{path} {name}") };
        command = command.mut_subcommand(&name, |sub| dress(sub, &below));
    }
    command
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    if let Some(answered) = complete::answer(std::env::args_os().collect(), &Env::of_process()) {
        return answered;
    }
    std::panic::set_hook(Box::new(|info| {
        let text = format!("error: a bug in omnirelay: {info}\n  try: report it, with the command you ran");
        Notes { quiet: false, machine: false, verbose: 0, color: false }.write(&text);
    }));
    let args = last_output_wins(std::env::args_os());
    // Whatever panics is told by the hook above; the code 101 would mean nothing to scripts.
    let exit = std::panic::catch_unwind(|| run(&args)).unwrap_or(Exit::Error);
    ExitCode::from(exit as u8)
}

/// Rewrites `--json` to `--output=json`: with `-o`, the last of the two wins, at whatever level they stand.
fn last_output_wins(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut options = true;
    args.map(|arg| {
        options &= arg != "--";
        if options && arg == "--json" { "--output=json".into() } else { arg }
    })
    .collect()
}

fn run(args: &[OsString]) -> Exit {
    let env = Env::of_process();
    let parsed = command().try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error, args, &env),
    };
    let settings = match Settings::resolve(&cli.global, env) {
        Ok(settings) => settings,
        Err(error) => {
            let json = cli.global.output.is_some_and(Format::is_json);
            return failed(&error, Notes { quiet: false, machine: json, verbose: 0, color: false }, json);
        }
    };
    let mut session = Session::new(settings);
    let notes = session.notes();
    let json = session.format().is_json();
    match execute(&cli.command, &mut session).and_then(|exit| session.out.flush().map(|()| exit)) {
        Ok(exit) => exit,
        Err(error) => failed(&error, notes, json),
    }
}

/// Tells the failure; with standard output closed there is nobody to tell, and the signal says it.
fn failed(error: &CliError, notes: Notes, json: bool) -> Exit {
    if error.body().broken_pipe {
        // Dies of the signal, as a program does that never ignored it. Only now: a socket that is
        // closed by its peer must not kill the process.
        let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE);
    }
    notes.failure(error, json);
    error.exit()
}

fn execute(command: &Cmd, session: &mut Session) -> Result<Exit, CliError> {
    match command {
        Cmd::Up(args) => up::run(args, session),
        Cmd::Schema(args) => schema::run(args, session),
        Cmd::Completions(args) => completions::run(args, session),
        Cmd::Man(args) => man::run(args, session),
        Cmd::Help(args) => help::run(args, session),
        Cmd::Explain(args) => explain::run(args, session),
        Cmd::Mesh(_)
        | Cmd::Registers(_)
        | Cmd::Relays(_)
        | Cmd::Agents(_)
        | Cmd::Drones(_)
        | Cmd::Ops(_)
        | Cmd::Audit(_)
        | Cmd::Context(_)
        | Cmd::Dev(_)
        | Cmd::Api(_)
        | Cmd::Version(_) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| CliError::local(reasons::RUNTIME, "cannot prepare to talk to a daemon", &error))?
            .block_on(ask(command, session)),
    }
}

/// The commands that may talk to a daemon.
async fn ask(command: &Cmd, session: &mut Session) -> Result<Exit, CliError> {
    match command {
        Cmd::Mesh(MeshArgs { noun: Noun::Peers(args) }) => peers::run(args, session).await,
        Cmd::Mesh(MeshArgs { noun: Noun::Leaders(args) }) => leaders::run(args, session).await,
        Cmd::Mesh(MeshArgs { noun: Noun::Store(args) }) => store::run(args, session).await,
        Cmd::Mesh(MeshArgs { noun: Noun::Check(args) }) => check::run(args, session).await,
        Cmd::Registers(args) => registers::run(args, session).await,
        Cmd::Relays(args) => relays::run(args, session).await,
        Cmd::Agents(args) => agents::run(args, session).await,
        Cmd::Drones(args) => drones::run(args, session).await,
        Cmd::Ops(args) => ops::run(args, session).await,
        Cmd::Audit(args) => audit::run(args, session).await,
        Cmd::Context(args) => context::run(args, session).await,
        Cmd::Dev(args) => dev::run(args, session).await,
        Cmd::Api(args) => api::run(args, session).await,
        Cmd::Version(args) => version::run(args, session).await,
        Cmd::Up(_) | Cmd::Schema(_) | Cmd::Completions(_) | Cmd::Man(_) | Cmd::Help(_) | Cmd::Explain(_) => {
            execute(command, session)
        }
    }
}

/// Help and the version go to standard output, everything else is a mistake of the caller.
fn not_parsed(error: &clap::Error, args: &[OsString], env: &Env) -> Exit {
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let color = colour_of(&args);
    let text = error.render();
    if error.use_stderr() {
        let json = asks_for_json(&args, env);
        let colored = colored(color, env, std::io::IsTerminal::is_terminal(&std::io::stderr()));
        let notes = Notes { quiet: false, machine: json, verbose: 0, color: colored };
        if json {
            return failed(&usage_error(&text.to_string()), notes, true);
        }
        notes.write(if colored { text.ansi().to_string() } else { text.to_string() }.trim_end());
        return Exit::Usage;
    }
    let tty = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let mut out = Out::new(Format::Table, Screen { tty, ..Screen::default() });
    let text = if colored(color, env, tty) { text.ansi().to_string() } else { text.to_string() };
    match out.write(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Ok,
        Err(error) => failed(&error, Notes { quiet: false, machine: false, verbose: 0, color: false }, false),
    }
}

/// The parser's complaint as an error of ours: its first line, and the rest as the cause.
fn usage_error(text: &str) -> CliError {
    let text = text.trim().trim_start_matches("error: ");
    let (message, rest) = text.split_once('\n').unwrap_or((text, ""));
    let error = CliError::usage(message);
    match rest.trim() {
        "" => error,
        rest => error.hint(rest),
    }
}

/// What `--color` says on a command line that was not understood.
fn colour_of(args: &[String]) -> Color {
    let after = args.iter().position(|arg| arg == "--color").and_then(|at| args.get(at + 1));
    let joined = args.iter().find_map(|arg| arg.strip_prefix("--color="));
    match after.map(String::as_str).or(joined) {
        Some("always") => Color::Always,
        Some("never") => Color::Never,
        _ => Color::Auto,
    }
}

/// Whether a command line that was not understood asks for JSON.
fn asks_for_json(args: &[String], env: &Env) -> bool {
    let mut format = env.get(env::OUTPUT).unwrap_or_default();
    for (at, arg) in args.iter().enumerate() {
        let next = args.get(at + 1).map(String::as_str).unwrap_or_default();
        match arg.as_str() {
            "-o" | "--output" => format = next,
            joined => {
                if let Some(value) = joined.strip_prefix("--output=").or_else(|| joined.strip_prefix("-o")) {
                    format = value;
                }
            }
        }
    }
    matches!(format, "json" | "jsonl")
}
