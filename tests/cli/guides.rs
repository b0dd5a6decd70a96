//! The examples of a guide print what the guide says.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::mesh::Mesh;
use crate::program::{Program, ended};

/// A command of a guide and what it prints.
struct Example {
    line: usize,
    command: String,
    printed: Vec<String>,
}

/// The commands in the `console` blocks of a guide, in their order.
fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match (inside, line) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, line) => match (line.strip_prefix("$ "), line.strip_prefix("> "), examples.last_mut()) {
                (Some(command), _, _) => {
                    let command = command.to_owned();
                    examples.push(Example { line: number + 1, command, printed: Vec::new() });
                }
                (None, Some(more), Some(example)) if example.printed.is_empty() => {
                    example.command.push('\n');
                    example.command.push_str(more);
                }
                (None, _, Some(example)) => example.printed.push(line.to_owned()),
                (None, _, None) => panic!("line {}: output of no command", number + 1),
            },
            (false, _) => {}
        }
    }
    examples
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

/// The examples of a guide of this name.
fn guide(name: &str) -> Vec<Example> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides").join(name);
    examples(&std::fs::read_to_string(guide).unwrap())
}

/// Runs all examples in one shell, which begins with `before`, and compares what each prints.
fn check(program: &Program, before: &str, examples: &[Example]) {
    let outputs = printed(program, before, examples);
    for (example, output) in examples.iter().zip(&outputs) {
        let same = example.printed.len() == output.len()
            && example.printed.iter().zip(output).all(|(said, line)| fits(said, line));
        let (line, command, said) = (example.line, &example.command, example.printed.join("\n"));
        assert!(same, "line {line}: {command}\nprints:\n{}\ninstead of:\n{said}", output.join("\n"));
    }
    assert!(outputs.len() > examples.len(), "the shell ended before the last example");
}

/// What each example printed.
fn printed(program: &Program, before: &str, examples: &[Example]) -> Vec<Vec<String>> {
    const MARK: &str = "=== end of an example";
    let script: Vec<String> = examples.iter().map(|e| format!("{}\necho '{MARK}'\n", e.command)).collect();
    let folder = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_omnirelay")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    program.clean(&mut command);
    command.args(["-c", &format!("exec 2>&1\n{before}\n{}", script.concat())]).env("PATH", path);
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

#[test]
fn http_clients() {
    let mut mesh = Mesh::up();
    mesh.until("mesh peers list --filter status=alive -o json", |list| list["totalSize"] == 3);
    let examples = guide("http-clients.md");
    assert!(examples.len() > 20, "the examples were found");
    check(&mesh.program, "", &examples);
    mesh.stop();
}

/// With free ports in place of those in the guide, and an end for what an example that failed leaves.
#[test]
fn operations() {
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap().port();
    let (control, redis) = (format!("127.0.0.1:{}", free()), free().to_string());
    let program = Program::at(&format!("http://{control}")).with("OMNIRELAYD__CONTROL__LISTEN", &control);
    let mut examples = guide("operations.md");
    assert!(examples.len() > 20, "the examples were found");
    examples.iter_mut().for_each(|example| example.command = example.command.replace("6379", &redis));
    let end = format!("trap 'kill $(jobs -p); redis-cli -p {redis} shutdown nosave' EXIT");
    check(&program, &end, &examples);
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
