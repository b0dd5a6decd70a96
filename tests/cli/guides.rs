//! The examples of a guide or a runbook print what it says.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::flying::Flying;
use crate::mesh::{Mesh, give_ports};
use crate::process::built;
use crate::program::{Program, ended};
use omnirelay_support::servers::free_port;

/// A command of a guide and what it prints.
struct Example {
    line: usize,
    command: String,
    printed: Vec<String>,
    /// It only prepares the next one: whatever it prints is right.
    scene: bool,
}

/// The commands in the `console` blocks of a guide, and those of its comments that begin with `scene:`, in
/// their order.
fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (false, line) => {
                let scene = line.strip_prefix("<!-- scene: ").and_then(|rest| rest.strip_suffix(" -->"));
                examples.extend(scene.map(|command| Example::new(number + 1, command, true)));
            }
            (true, "```") => inside = false,
            (true, line) => match (line.strip_prefix("$ "), line.strip_prefix("> "), examples.last_mut()) {
                (Some(command), _, _) => examples.push(Example::new(number + 1, command, false)),
                (None, Some(more), Some(example)) if example.printed.is_empty() => {
                    example.command.push('\n');
                    example.command.push_str(more);
                }
                (None, _, Some(example)) => example.printed.push(line.to_owned()),
                (None, _, None) => panic!("line {}: output of no command", number + 1),
            },
        }
    }
    examples
}

impl Example {
    fn new(line: usize, command: &str, scene: bool) -> Self {
        Self { line, command: command.to_owned(), printed: Vec::new(), scene }
    }
}

/// Whether `line` is what the guide says; `[..]` is any text.
fn fits(said: &str, line: &str) -> bool {
    let mut parts = said.split("[..]");
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// The examples of a document below `docs`.
fn document(path: &str) -> Vec<Example> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(path);
    examples(&std::fs::read_to_string(document).unwrap())
}

/// Runs all examples in one shell, which begins with `before`; the first that prints something else is the
/// error.
fn check(program: &Program, before: &str, examples: &[Example]) -> Result<(), String> {
    let mut outputs = printed(program, before, examples);
    // Where the package is installed, messages name its pages.
    for line in outputs.iter_mut().flatten() {
        *line = line.replace("/usr/share/doc/omnirelay/docs/", "docs/");
    }
    for (example, output) in examples.iter().zip(&outputs) {
        let same = example.scene
            || example.printed.len() == output.len()
                && example.printed.iter().zip(output).all(|(said, line)| fits(said, line));
        if !same {
            let (line, command, said) = (example.line, &example.command, example.printed.join("\n"));
            let output = output.join("\n");
            return Err(format!("line {line}: {command}\nprints:\n{output}\ninstead of:\n{said}"));
        }
    }
    match examples.get(outputs.len() - 1) {
        Some(last) => Err(format!("line {}: {}\nended the shell", last.line, last.command)),
        None => Ok(()),
    }
}

/// What each example printed, up to the one at which the shell ended.
fn printed(program: &Program, before: &str, examples: &[Example]) -> Vec<Vec<String>> {
    const MARK: &str = "=== end of an example";
    let line = |example: &Example| match example.scene {
        true => format!("{{ {}; }} || exit 1\necho '{MARK}'\n", example.command),
        false => format!("{}\necho '{MARK}'\n", example.command),
    };
    let script: Vec<String> = examples.iter().map(line).collect();
    let folder = tempfile::tempdir().unwrap();
    let built = built();
    let programs = std::env::var_os("OMNIRELAY_PROGRAMS").map_or(built, Into::into);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    // What waits for something that never comes ends as well.
    let mut command = Command::new("timeout");
    program.clean(&mut command);
    let script = format!("exec 2>&1\n{before}\n{}", script.concat());
    command.args(["300", "bash", "-c", &script]).env("PATH", path);
    let ended = ended(command.current_dir(folder.path()).stdin(Stdio::null()).output().unwrap());
    let mut outputs: Vec<Vec<String>> = vec![Vec::new()];
    for line in ended.stdout.lines() {
        match line == MARK {
            true => outputs.push(Vec::new()),
            false => outputs.last_mut().unwrap().push(line.to_owned()),
        }
    }
    outputs
}

/// Repeats a run whose mesh lost a session to a machine that stood still for longer than that: what it shows then is
/// right, and not what the document says. `run` returns what differs, and what the daemons said.
fn repeat_where_it_stood_still(run: impl Fn() -> (Result<(), String>, String)) {
    for tries_left in (0..5).rev() {
        let (checked, said) = run();
        let Err(what) = checked else { return };
        let stood_still = said.contains("session had ended before it was renewed");
        assert!(stood_still && tries_left > 0, "{what}\nthe daemons said:\n{said}");
    }
}

/// Runs the examples of a document, `least` of them or more, on a mesh whose nodes are alive and whose one scope is
/// led, in a folder that has the `tests` of a checkout.
fn check_on_a_mesh(path: &str, least: usize) {
    check_on_a_mesh_of(path, least, "", |_| ());
}

/// The same on a mesh that is started with more flags, with what `begin` puts there.
fn check_on_a_mesh_of<T>(path: &str, least: usize, flags: &str, begin: impl Fn(&Mesh) -> T) {
    let examples = document(path);
    assert!(examples.len() >= least, "the examples were found");
    let before = format!("ln -s '{}/tests' tests", env!("CARGO_MANIFEST_DIR"));
    repeat_where_it_stood_still(|| {
        let mut mesh = Mesh::up_with(flags);
        mesh.until("mesh peers list --filter status=alive -o json", |list| list["totalSize"] == 3);
        let led = |list: &Value| list["tokens"].as_array().is_some_and(|led| led.len() == 1);
        mesh.until("mesh leaders list -o json", led);
        let there = begin(&mesh);
        let checked = check(&mesh.program, &before, &examples);
        drop(there);
        let history = mesh.program.run("mesh leaders history global-control").stdout;
        (checked, mesh.stop_and_tell() + &history)
    });
}

#[test]
fn http_clients() {
    check_on_a_mesh("guides/http-clients.md", 21);
}

#[test]
fn leadership() {
    check_on_a_mesh("guides/leadership.md", 21);
}

#[test]
fn registers() {
    check_on_a_mesh("guides/registers.md", 12);
}

/// With a drone that streams to the first relay.
#[test]
fn relay() {
    let flags = "--service relay --service registry";
    check_on_a_mesh_of("guides/relay.md", 20, flags, |mesh| {
        let known = |list: &Value| list["relays"].as_array().is_some_and(|relays| relays.len() == 3);
        let list = mesh.until("relays list -o json", known);
        let relay = &list["relays"][0];
        let address = format!("{}:{}", relay["address"].as_str().unwrap(), relay["grpcPort"]);
        let flying = Flying::start(&address, "drone-7");
        mesh.until("agents list -o json", |list| list["agents"].as_array().is_some_and(|all| all.len() == 1));
        flying
    });
}

#[test]
fn guide_of_shards() {
    check_on_a_mesh("guides/shards.md", 17);
}

#[test]
fn runbook_of_leadership() {
    check_on_a_mesh("runbooks/leadership.md", 21);
}

/// With free ports in place of those in the guide, and an end for what an example that failed leaves.
#[test]
fn operations() {
    let (control, redis) = (format!("127.0.0.1:{}", free_port().unwrap()), free_port().unwrap().to_string());
    let program = Program::at(&format!("http://{control}")).with("OMNIRELAYD__CONTROL__LISTEN", &control);
    let mut examples = document("guides/operations.md");
    assert!(examples.len() > 20, "the examples were found");
    examples.iter_mut().for_each(|example| example.command = example.command.replace("6379", &redis));
    let end = format!("trap 'kill $(jobs -p); redis-cli -p {redis} shutdown nosave' EXIT");
    check(&program, &end, &examples).unwrap();
}

/// From an empty folder, with free ports in place of those of the guide; in the programs of this build, or those that
/// `OMNIRELAY_PROGRAMS` names the folder of.
#[test]
fn first_ten_minutes() {
    repeat_where_it_stood_still(|| {
        let program = Program::new();
        let home = program.home.path();
        let folder = home.join("mesh");
        give_ports(&folder);
        let mut examples = document("guides/first-ten-minutes.md");
        assert!(examples.len() > 40, "the examples were found");
        let ports = ["6379", "17420", "17430", "17440"].map(|port| (port, free_port().unwrap().to_string()));
        for (port, other) in &ports {
            examples.iter_mut().for_each(|example| example.command = example.command.replace(port, other));
        }
        // What is said from there on tells nothing of the machine: the guide itself has the store stand still.
        let stall = examples.iter().position(|example| example.command.starts_with("kill -STOP")).unwrap();
        let said = home.join("said");
        let tell = format!("tail -n +1 [abc].log >>'{}'", said.display());
        examples.insert(stall, Example::new(0, &tell, true));
        let end = "trap 'omnirelay down --all -q; kill -KILL $(jobs -p); kill -KILL $(cat redis.pid)' EXIT";
        let before = format!("mkdir mesh; cp '{}/up.json' mesh/; {end}", folder.display());
        let checked = check(&program, &before, &examples);
        let up = program.config().with_file_name("omnirelay-up").join("dev.log");
        (checked, [up, said].map(|log| std::fs::read_to_string(log).unwrap_or_default()).concat())
    });
}

#[test]
fn what_differs_is_told_from_what_does_not() {
    let cases = [
        ("same", "same", true),
        ("same", "same and more", false),
        ("", "", true),
        ("[..]", "anything", true),
        ("id: [..]", "id: 7", true),
        ("id: [..]", "no id: 7", false),
        ("[..] of [..] calls", "3 of 4 calls", true),
        ("[..] of [..] calls", "3 of 4 calls more", false),
    ];
    for (said, line, expected) in cases {
        assert_eq!(fits(said, line), expected, "{said:?} and {line:?}");
    }
}
