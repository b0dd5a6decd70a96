//! What commands print as JSON is what `omnirelay schema` says of it: every line of the transcripts is asked again, with `-o json`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::program::{Program, ended};
use crate::stub::{Stub, mesh};
use crate::transcripts::transcripts;

/// What prints no document of one kind, and why.
const WITHOUT_A_KIND: [(&str, &str); 6] = [
    ("api", "whatever the API answers"),
    ("completions", "a script, told in one field"),
    ("explain", "what is built in"),
    ("help", "what is built in"),
    ("man", "a page, told in one field"),
    ("schema", "a schema, or the list of them"),
];

/// The schema of each document, and which commands print it: the words of the command, and a flag that it is printed with alone.
struct Schemas {
    by_kind: BTreeMap<String, Value>,
    printed: Vec<(String, Option<String>, String)>,
}

impl Schemas {
    fn read(program: &Program) -> Self {
        let list = program.run("schema -o json").json();
        let mut schemas = Self { by_kind: BTreeMap::new(), printed: Vec::new() };
        for row in list["schemas"].as_array().unwrap() {
            let kind = row["kind"].as_str().unwrap();
            schemas.by_kind.insert(kind.to_owned(), program.run(&format!("schema {kind} -o json")).json());
            for (path, flag) in printers(row["printedBy"].as_str().unwrap()) {
                schemas.printed.push((path, flag, kind.to_owned()));
            }
        }
        schemas
    }

    /// The kinds that the command prints with these words, one with a flag of its own before all others.
    fn of(&self, path: &str, words: &[String]) -> Vec<&str> {
        let fits = |flag: &Option<String>| flag.as_ref().is_some_and(|flag| words.contains(flag));
        let of_path = || self.printed.iter().filter(|(of, ..)| of == path);
        let special: Vec<&str> =
            of_path().filter(|(_, flag, _)| fits(flag)).map(|(.., kind)| kind.as_str()).collect();
        if !special.is_empty() {
            return special;
        }
        of_path().filter(|(_, flag, _)| flag.is_none()).map(|(.., kind)| kind.as_str()).collect()
    }
}

/// The commands of `mesh shards pause, disable` or `registers watch, available --watch`: further ones leave out what is the same.
fn printers(text: &str) -> Vec<(String, Option<String>)> {
    let is_leaf = |path: &str| omnirelay::cli::leaves().any(|leaf| leaf.path == path);
    let mut found: Vec<(String, Option<String>)> = Vec::new();
    for part in text.split(['(', ':']).next().unwrap().split(',').map(str::trim) {
        let (words, flags): (Vec<&str>, Vec<&str>) =
            part.split_whitespace().partition(|word| !word.starts_with("--"));
        let before = found.last().map(|(path, _)| path.clone()).unwrap_or_default();
        let noun = before.rsplit_once(' ').map_or("", |(noun, _)| noun);
        let words = words.join(" ");
        let paths = [words.clone(), format!("{noun} {words}"), before.clone()];
        if let Some(path) = paths.into_iter().find(|path| is_leaf(path)) {
            found.push((path, flags.first().map(|flag| (*flag).to_owned())));
        }
    }
    found
}

/// Where a document is not what its schema says, in words.
fn differences(value: &Value, schema: &Value, root: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        return differences(value, root.pointer(name.trim_start_matches('#')).unwrap(), root, at, found);
    }
    let is = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => true,
    };
    if !is {
        return found.push(format!("{at} is {value}, and not of type {}", schema["type"]));
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        differences(item, &schema["items"], root, &format!("{at}[{number}]"), found);
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let below = format!("{at}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) if schema["properties"].is_object() => {
                found.push(format!("{below} is not in it"))
            }
            (Value::Null, other) => differences(field, other, root, &below, found),
            (known, _) => differences(field, known, root, &below, found),
        }
    }
}

/// The words of a line of shell, without what it does with the output; `None`: more than one command stands there.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars().chain([' ']) {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '"' | '\'') => (quote, word) = (Some(letter), Some(word.unwrap_or_default())),
            (None, '|' | '>' | '<' | ';' | '$' | '&') => return None,
            (None, ' ') => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    let at = words.iter().position(|word| word == "-o" || word == "--output");
    if let Some(at) = at {
        words.drain(at..(at + 2).min(words.len()));
    }
    words.retain(|word| word != "--json" && !word.starts_with("-o"));
    Some(words)
}

#[test]
fn what_is_printed_is_what_its_schema_says() {
    let stub = Stub::start(|request, _| mesh(request));
    let program = Program::at(&stub.url());
    let schemas = Schemas::read(&program);
    let (mut wrong, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
    let texts = transcripts();
    for line in texts.lines().filter_map(|line| line.strip_prefix("$ omnirelay ")) {
        let Some(words) = words(line) else { continue };
        let joined = words.join(" ");
        let mut leaves: Vec<&str> = omnirelay::cli::leaves().map(|leaf| leaf.path).collect();
        leaves.retain(|path| joined == *path || joined.starts_with(&format!("{path} ")));
        let Some(path) = leaves.into_iter().max_by_key(|path| path.len()) else { continue };
        let kinds = schemas.of(path, &words);
        // These run for as long as nobody ends them, or change what is not the stub's.
        if kinds.is_empty() || ["up", "down", "mesh join", "mesh leave"].contains(&path) {
            continue;
        }
        let ended =
            ended(program.command("").args(&words).args(["-o", "json", "--no-input"]).output().unwrap());
        let documents = ended.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for document in documents {
            let kind_of = |kind: &&str| {
                let (schema, mut found) = (&schemas.by_kind[*kind], Vec::new());
                differences(&document, schema, schema, "", &mut found);
                found
            };
            let several = if document["results"].is_array() { Some("results") } else { None };
            let each: Vec<Vec<String>> =
                kinds.iter().copied().chain(several).map(|kind| kind_of(&kind)).collect();
            seen.extend(kinds.iter().map(|kind| (*kind).to_owned()));
            if let Some(least) = each.into_iter().min_by_key(Vec::len).filter(|found| !found.is_empty()) {
                wrong.push(format!("{line} ({}): {}", kinds.join(", "), least.join("; ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for kind in ["shards", "shard-diff", "peers", "certificates", "registers", "shard-history"] {
        assert!(seen.contains(kind), "no transcript shows {kind}");
    }
}

#[test]
fn every_command_prints_a_document_that_has_a_schema() {
    let program = Program::new();
    let schemas = Schemas::read(&program);
    for leaf in omnirelay::cli::leaves().filter(|leaf| leaf.local.is_none()) {
        let excepted = WITHOUT_A_KIND.iter().any(|(path, _)| *path == leaf.path);
        let has_one = schemas.printed.iter().any(|(path, ..)| path == leaf.path);
        assert!(has_one || excepted, "no schema is of what `{}` prints", leaf.path);
    }
}

#[test]
fn a_document_that_is_not_so_is_found() {
    let schema: Value = serde_json::json!({
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"$ref": "#/$defs/Shard"}}},
        "$defs": {"Shard": {"type": "object", "properties": {"shardId": {"type": "string"}}}},
    });
    let of = |document: Value| {
        let mut found = Vec::new();
        differences(&document, &schema, &schema, "", &mut found);
        found.len()
    };
    assert_eq!(of(serde_json::json!({"items": [{"shardId": "1"}]})), 0);
    assert_eq!(of(serde_json::json!({"shards": [{"shardId": "1"}]})), 1);
    assert_eq!(of(serde_json::json!({"items": [{"shardId": 1, "other": true}]})), 2);
}
