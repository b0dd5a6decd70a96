//! The operator's command line.

mod agents;
mod alerts;
mod api;
mod arguments;
mod audit;
mod bindings;
mod capacity;
mod cert;
mod check;
mod clusters;
mod complete;
mod completions;
pub mod context;
mod dashboards;
mod dev;
mod doctor;
mod documents;
mod domains;
mod down;
mod drones;
mod entry;
mod events;
mod explain;
#[cfg(test)]
mod field_paths_test;
mod field_words;
mod frame;
mod help;
mod join;
mod join_policy;
mod leaders;
mod login;
mod logout;
mod man;
mod mesh_config;
mod namespaces;
mod node;
mod ops;
mod peers;
mod probe;
mod rebalance_plans;
pub mod registers;
mod relays;
mod schema;
mod shards;
mod snapshot;
mod state_diff;
mod status;
mod store;
mod support;
mod targets;
#[cfg(test)]
mod tests;
mod token;
mod top;
mod ui;
mod up;
mod version;
mod whoami;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _, Parser};
use omnirelay_wire::fault::Exit;
use omnirelay_wire::reasons;

pub use self::frame::{address::Address, error, rpc};

use self::arguments::{asks_for_json, colour_of, last_output_wins, usage_error, written_out};
use self::entry::{CommandEntry, CommandRunner};
use self::frame::bundle;
use self::frame::env::EnvironmentVariables;
use self::frame::error::CliError;
use self::frame::global::GlobalArgs;
use self::frame::output::{OutputFormat, OutputWriter, StderrNotes};
use self::frame::rpc::LeafCommand;
use self::frame::screen::StdoutScreen;
use self::frame::session::CommandSession;
use self::frame::settings::{CommandSettings, colored};

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
}

/// The commands of `omnirelay mesh`, in the order of its help.
static MESH: &[&CommandEntry] = &[
    &peers::ENTRY,
    &leaders::ENTRY,
    &shards::ENTRY,
    &namespaces::ENTRY,
    &rebalance_plans::ENTRY,
    &clusters::ENTRY,
    &domains::ENTRY,
    &store::ENTRY,
    &join::ENTRY,
    &join::leave::ENTRY,
    &join::revoke::ENTRY,
    &mesh_config::ENTRY,
    &status::ENTRY,
    &check::ENTRY,
    &capacity::ENTRY,
    &state_diff::ENTRY,
    &targets::ENTRY,
    &top::ENTRY,
];

/// Those beside `mesh`.
static BESIDE: &[&CommandEntry] = &[
    &registers::ENTRY,
    &relays::ENTRY,
    &agents::ENTRY,
    &drones::ENTRY,
    &ops::ENTRY,
    &bindings::ENTRY,
    &cert::ENTRY,
    &token::ENTRY,
    &join_policy::ENTRY,
    &login::ENTRY,
    &logout::ENTRY,
    &whoami::ENTRY,
    &events::ENTRY,
    &audit::ENTRY,
    &snapshot::ENTRY,
    &support::ENTRY,
    &context::ENTRY,
    &ui::ENTRY,
    &up::ENTRY,
    &down::ENTRY,
    &doctor::ENTRY,
    &alerts::ENTRY,
    &dashboards::ENTRY,
    &probe::ENTRY,
    &dev::ENTRY,
    &api::ENTRY,
    &schema::ENTRY,
    &version::ENTRY,
    &completions::ENTRY,
    &man::ENTRY,
    &help::ENTRY,
    &explain::ENTRY,
];

fn entries() -> impl Iterator<Item = &'static CommandEntry> {
    MESH.iter().chain(BESIDE).copied()
}

/// Every leaf of the command tree, what it calls and how it may end.
pub fn leaves() -> impl Iterator<Item = &'static LeafCommand> {
    entries().flat_map(|entry| entry.leaves)
}

/// The command tree, its help laid out.
pub fn command() -> Command {
    tree(CommandEntry::command)
}

/// The command tree as far as a line of these words can go: to make all of it takes longer than most commands.
fn command_in(words: &[OsString]) -> Command {
    tree(|entry| entry.command_in(words))
}

fn tree(of: impl Fn(&CommandEntry) -> Command) -> Command {
    let below = |command: Command, entries: &[&'static CommandEntry]| {
        command.subcommands(entries.iter().map(|entry| of(entry)))
    };
    let mesh = Command::new("mesh")
        .about("Look at and change the mesh")
        .subcommand_required(true)
        .arg_required_else_help(true);
    dress(below(Cli::command().subcommand(below(mesh, MESH)), BESIDE), "")
}

/// Examples before the arguments, exit codes after them.
const TEMPLATE: &str = "{about-with-newline}\n{usage-heading} {usage}\n\n{before-help}{all-args}{after-help}";

fn dress(command: Command, path: &str) -> Command {
    let mut command = command.help_template(TEMPLATE);
    if let Some(leaf) = leaves().find(|leaf| leaf.path == path) {
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
    if let Some(answered) =
        complete::answer(std::env::args_os().collect(), &EnvironmentVariables::of_process())
    {
        return answered;
    }
    std::panic::set_hook(Box::new(|info| {
        let text = format!("error: a bug in omnirelay: {info}\n  try: report it, with the command you ran");
        StderrNotes { quiet: false, machine: false, verbose: 0, color: false }.write(&text);
    }));
    let args = written_out(last_output_wins(std::env::args_os()));
    // Whatever panics is told by the hook above; the code 101 would mean nothing to scripts.
    let exit = std::panic::catch_unwind(|| run(&args)).unwrap_or(Exit::Error);
    ExitCode::from(exit as u8)
}

fn run(args: &[OsString]) -> Exit {
    let env = EnvironmentVariables::of_process();
    let parsed = command_in(args)
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches).map(|cli| (cli, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return not_parsed(&error, args, &env),
    };
    let settings = match CommandSettings::resolve(&cli.global, env) {
        Ok(settings) => settings,
        Err(error) => {
            let json = cli.global.output.is_some_and(OutputFormat::is_json);
            return failed(
                &error,
                StderrNotes { quiet: false, machine: json, verbose: 0, color: false },
                json,
            );
        }
    };
    let mut session = CommandSession::new(settings);
    let notes = session.notes();
    let json = session.format().is_json();
    match execute(&matches, &mut session).and_then(|exit| session.out.flush().map(|()| exit)) {
        Ok(exit) => exit,
        Err(error) => {
            let mut root = command();
            root.build();
            let called = field_words::called(&root, &matches);
            let told =
                |text: &str| documents::on_this_host(&field_words::in_words_of(called, text)).into_owned();
            failed(&error.reworded(told), notes, json)
        }
    }
}

/// Tells the failure; with standard output closed there is nobody to tell, and the signal says it.
fn failed(error: &CliError, notes: StderrNotes, json: bool) -> Exit {
    if error.body().broken_pipe {
        // Dies of the signal, as a program does that never ignored it. Only now: a socket that is
        // closed by its peer must not kill the process.
        let _ = signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE);
    }
    notes.failure(error, json);
    error.exit()
}

/// Refuses a command that changes something where a support bundle is asked.
fn check_bundle(matches: &ArgMatches, session: &CommandSession) -> Result<(), CliError> {
    let (mut path, mut below) = (Vec::new(), matches);
    while let Some((name, matches)) = below.subcommand() {
        path.push(name);
        below = matches;
    }
    let path = path.join(" ");
    let changes = leaves().any(|leaf| leaf.path == path && leaf.calls.iter().any(|rpc| rpc.mutates()));
    match session.settings.bundle {
        Some(_) if changes => Err(bundle::read_only(&format!("`{path}`, which changes it"))),
        Some(_) | None => Ok(()),
    }
}

/// Runs the command that was parsed.
fn execute(root: &ArgMatches, session: &mut CommandSession) -> Result<Exit, CliError> {
    let (entries, matches) = match root.subcommand() {
        Some(("mesh", matches)) => (MESH, matches),
        _ => (BESIDE, root),
    };
    let found = matches.subcommand().and_then(|(name, matches)| {
        entries.iter().find(|entry| entry.name == name).map(|entry| (entry, matches))
    });
    let Some((entry, matches)) = found else { return Err(CliError::usage("no command is given")) };
    check_bundle(root, session)?;
    match entry.run {
        CommandRunner::Local(run) => run(matches, session),
        CommandRunner::Asking(run) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| {
                CliError::local(reasons::RUNTIME, "cannot prepare to talk to a daemon", &error)
            })?;
            let mut ended = runtime.block_on(run(matches, session));
            if ended.is_ok() {
                // What the command has to say waits for nothing else.
                ended = session.out.flush().and(ended);
                runtime.block_on(cert::renewal::renew_when_due(session));
            }
            // A name server that does not answer is not waited for.
            runtime.shutdown_background();
            ended
        }
    }
}

/// Help and the version go to standard output, everything else is a mistake of the caller.
fn not_parsed(error: &clap::Error, args: &[OsString], env: &EnvironmentVariables) -> Exit {
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let color = colour_of(&args);
    let text = error.render();
    if error.use_stderr() {
        let json = asks_for_json(&args, env);
        let colored = colored(color, env, std::io::IsTerminal::is_terminal(&std::io::stderr()));
        let notes = StderrNotes { quiet: false, machine: json, verbose: 0, color: colored };
        // A noun without a verb: its help says more than an error.
        if !json && error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            notes.write(if colored { text.ansi().to_string() } else { text.to_string() }.trim_end());
            return Exit::Usage;
        }
        return failed(&usage_error(error, &args), notes, json);
    }
    let tty = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let mut out = OutputWriter::new(OutputFormat::Table, StdoutScreen { tty, ..StdoutScreen::default() });
    let text = if colored(color, env, tty) { text.ansi().to_string() } else { text.to_string() };
    match out.write(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            failed(&error, StderrNotes { quiet: false, machine: false, verbose: 0, color: false }, false)
        }
    }
}
