//! `omnirelay down`: ends a mesh of `omnirelay up`.

use std::path::Path;
use std::time::{Duration, Instant};

use super::entry::{CommandEntry, entry};
use super::up::detached::terminate;
use super::up::record::{self, DevMeshRecord};
use crate::frame::prelude::*;

const LEAF: LeafCommand = LeafCommand::local("down", "ends a process on this machine").exiting("0 1 2 8");
pub(crate) static ENTRY: CommandEntry = entry!("down", DownArgs, local, &[LEAF], &[]);

const EXAMPLES: &str = "\
Examples:
  omnirelay down
  omnirelay down dev-2
  omnirelay down --all";

/// How long the nodes may take to hand over what they have, and to leave.
const STOP_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// End a mesh of `omnirelay up`, cleanly
///
/// What it kept with `up --data` stays. Without one that runs there is nothing to do, which is a success.
#[derive(Args, Debug)]
#[command(before_long_help = EXAMPLES)]
pub(crate) struct DownArgs {
    /// The mesh, as `omnirelay up status` calls it [default: the one that runs]
    #[arg(value_name = "NAME", conflicts_with = "all")]
    name: Option<String>,
    /// As `omnirelay up` takes it
    #[arg(long = "name", value_name = "NAME", hide = true, conflicts_with_all = ["name", "all"])]
    named: Option<String>,
    /// Every mesh that runs here
    #[arg(long)]
    all: bool,
}

impl DownArgs {
    fn name(&self) -> Option<&String> {
        self.name.as_ref().or(self.named.as_ref())
    }
}

/// # Errors
/// Usage, when several run and none is named; when one does not end in time.
fn run(args: &DownArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let folder = record::folder(&session.settings.config_path);
    super::up::sweep(&session.settings.config_path);
    let meshes = meant(args, record::all(&folder))?;
    for mesh in &meshes {
        session.notes().step(1, || format!("ending {} (pid {})", mesh.name, mesh.pid));
        terminate(mesh.pid);
    }
    for mesh in &meshes {
        wait(&folder, mesh)?;
    }
    let rows: Vec<Value> = meshes.iter().map(|mesh| json!({"name": mesh.name, "pid": mesh.pid})).collect();
    let lines: String = meshes.iter().map(|mesh| format!("mesh/{} is ended\n", mesh.name)).collect();
    session.show(&CommandOutput {
        document: json!({"schemaVersion": "v1", "changed": !meshes.is_empty(), "meshes": rows}),
        items: Some(rows),
        names: meshes.iter().map(|mesh| format!("mesh/{}", mesh.name)).collect(),
        text: TextForm::Lines(lines),
    })?;
    if meshes.is_empty() {
        let named = args.name().map(|name| format!(" called {name}")).unwrap_or_default();
        session.notes().say(&format!("No mesh of `omnirelay up`{named} runs here."));
    }
    Ok(Exit::Ok)
}

fn meant(args: &DownArgs, running: Vec<DevMeshRecord>) -> Result<Vec<DevMeshRecord>, CliError> {
    let names = running.iter().map(|mesh| mesh.name.as_str()).collect::<Vec<_>>().join(", ");
    match args.name() {
        Some(name) => Ok(running.into_iter().filter(|mesh| mesh.name == *name).collect()),
        None if running.len() > 1 && !args.all => {
            Err(CliError::usage(format!("several meshes run here: {names}"))
                .hint("omnirelay down NAME")
                .hint("omnirelay down --all"))
        }
        None => Ok(running),
    }
}

fn wait(folder: &Path, mesh: &DevMeshRecord) -> Result<(), CliError> {
    let began = Instant::now();
    while record::running(folder, &mesh.name).is_some_and(|found| found.pid == mesh.pid) {
        if began.elapsed() > STOP_MAX {
            let message =
                format!("the mesh `{}` (pid {}) was told to end and still runs", mesh.name, mesh.pid);
            let error = CliError::new(reasons::UP_NOT_STOPPED, message);
            return Err(match &mesh.log {
                Some(log) => error.hint(format!("its log is {}", log.display())),
                None => error.hint(format!("kill {}     # a second time ends it at once", mesh.pid)),
            });
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
