//! Files of registers: a JSON array, an object with a list in it, JSON Lines, or any of it as YAML.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use omnirelay_core::text::chain;
use serde::de::DeserializeOwned;
use serde_json::Map;

use crate::frame::prelude::*;

/// The fields of an object in which the items may stand.
const LISTS: [&str; 2] = ["advertisements", "registers"];

/// Format that is expected of a file of `T`s.
pub(super) struct FileFormat<T> {
    /// The longest file in bytes, and what to do with a longer one.
    pub bytes_max: u64,
    pub too_long: &'static str,
    /// Makes an item ready before it is read.
    pub prepare: fn(&mut Map<String, Value>),
    /// Says what is wrong with one that was read.
    pub check: fn(&T) -> Result<(), String>,
}

/// The items of `file`; `-` is standard input.
///
/// # Errors
/// When the file cannot be read; usage, naming the item, when something is wrong in it.
pub(super) fn read<T: DeserializeOwned>(file: &Path, form: &FileFormat<T>) -> Result<Vec<T>, CliError> {
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let text = text(file, &name, form)?;
    items(&text, &name)?.into_iter().enumerate().map(|(at, item)| one(at + 1, item, &name, form)).collect()
}

fn text<T>(file: &Path, name: &str, form: &FileFormat<T>) -> Result<String, CliError> {
    let bytes_max = form.bytes_max;
    let unreadable =
        |error: std::io::Error| CliError::local(reasons::FILE, format!("cannot read {name}"), &error);
    let mut text = String::new();
    // One byte more, to see whether there is more.
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(bytes_max + 1).read_to_string(&mut text)
    } else {
        File::open(file).map_err(unreadable)?.take(bytes_max + 1).read_to_string(&mut text)
    };
    if read.map_err(unreadable)? as u64 > bytes_max {
        let limit = bytes_max / (1024 * 1024);
        return Err(CliError::usage(format!("{name} is larger than {limit} MiB")).hint(form.too_long));
    }
    Ok(text)
}

/// The items of a document, whatever its shape.
fn items(text: &str, name: &str) -> Result<Vec<Value>, CliError> {
    match parsed(text, name)? {
        Value::Array(items) => Ok(items),
        Value::Object(fields) => listed(fields, name),
        _ => Err(shape(name)),
    }
}

/// A JSON document, JSON Lines as an array, or a YAML document.
fn parsed(text: &str, name: &str) -> Result<Value, CliError> {
    let broken = |error: String| {
        CliError::usage(format!("cannot understand {name}"))
            .cause(error)
            .hint("nothing was sent; write a JSON list, JSON Lines or YAML")
    };
    let begins_as_json = text.trim_start().starts_with(['{', '[']);
    let json = match serde_json::from_str(text) {
        // A file with one line may be meant as one document or as one line: the list says which.
        Ok(Value::Object(fields)) if !LISTS.iter().any(|list| fields.contains_key(*list)) => {
            return Ok(Value::Array(vec![Value::Object(fields)]));
        }
        Ok(document) => return Ok(document),
        Err(error) => error,
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    if let Ok(items) = lines.map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()
        && !items.is_empty()
    {
        return Ok(Value::Array(items));
    }
    match serde_yaml::from_str(text) {
        Ok(document) => Ok(document),
        Err(_) if begins_as_json => Err(broken(json.to_string())),
        Err(error) => Err(broken(chain(&error))),
    }
}

/// What stands beside the list in the answer of a daemon.
const ENVELOPE: [&str; 7] =
    ["schemaVersion", "generatedAt", "localNodeId", "cursor", "stale", "staleMs", "totalSize"];

/// The items of an object with a list in it, and nothing else that would be passed over in silence.
fn listed(mut fields: Map<String, Value>, name: &str) -> Result<Vec<Value>, CliError> {
    if fields.get("nextPageToken").and_then(Value::as_str).is_some_and(|token| !token.is_empty()) {
        return Err(CliError::usage(format!("{name} is one page of a list of more"))
            .hint("nothing was sent; list all of it, without --limit"));
    }
    fields.shift_remove("nextPageToken");
    ENVELOPE.iter().for_each(|name| drop(fields.shift_remove(*name)));
    let list = LISTS.iter().find_map(|list| fields.shift_remove(*list));
    match (list, fields.keys().next()) {
        (Some(_), Some(other)) => Err(CliError::usage(format!("{name}: `{other}` stands beside the list"))
            .hint("leave it out; whether the list is complete is said by --full")),
        (Some(Value::Array(items)), None) => Ok(items),
        (Some(_), None) | (None, _) => Err(shape(name)),
    }
}

fn shape(name: &str) -> CliError {
    CliError::usage(format!("{name} holds no list of registers"))
        .hint("write a list, an object with `registers` or `advertisements`, or one JSON object per line")
}

/// One item as a `T`; a field that there is not is an error, for it may be a field that is written wrongly.
fn one<T: DeserializeOwned>(
    at: usize,
    mut item: Value,
    name: &str,
    form: &FileFormat<T>,
) -> Result<T, CliError> {
    let id = item.get("registerId").and_then(Value::as_str).map(|id| format!(" ({id})")).unwrap_or_default();
    let wrong = |cause: String| {
        CliError::usage(format!("{name}: item {at}{id} is no register")).cause(cause).hint("nothing was sent")
    };
    match &mut item {
        Value::Object(fields) => (form.prepare)(fields),
        _ => return Err(wrong("it is not an object".to_owned())),
    }
    let read = serde_path_to_error::deserialize(item).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner().to_string();
        wrong(if path == "." || inner.contains(&format!("`{path}`")) {
            inner
        } else {
            format!("{path}: {inner}")
        })
    })?;
    (form.check)(&read).map_err(wrong)?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::pb::omnirelay::registers::v1::AdvertisedRegister;

    use super::*;

    const FORM: FileFormat<AdvertisedRegister> = FileFormat {
        bytes_max: 1024 * 1024,
        too_long: "split it",
        prepare: |_| {},
        check: |one| if one.register_id == "wrong" { Err("so it is".to_owned()) } else { Ok(()) },
    };

    fn parse(text: &str) -> Result<Vec<AdvertisedRegister>, CliError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registers");
        std::fs::write(&file, text).unwrap();
        read(&file, &FORM)
    }

    #[test]
    fn every_shape_holds_the_same_registers() {
        let shapes = [
            r#"[{"registerId": "a", "latestVersion": 7}, {"registerId": "b"}]"#,
            r#"{"registers": [{"registerId": "a", "latestVersion": "7"}, {"registerId": "b"}]}"#,
            r#"{"advertisements": [{"registerId": "a", "latestVersion": 7}, {"registerId": "b"}]}"#,
            "{\"registerId\": \"a\", \"latestVersion\": 7}\n\n{\"registerId\": \"b\"}\n",
            "- registerId: a\n  latestVersion: 7\n- registerId: b\n",
            "registers:\n- {registerId: a, latestVersion: 7}\n- registerId: b\n",
        ];
        for shape in shapes {
            let found = parse(shape).unwrap_or_else(|error| panic!("{shape}: {}", error.to_text()));
            let told: Vec<(&str, Option<u64>)> =
                found.iter().map(|one| (one.register_id.as_str(), one.latest_version)).collect();
            assert_eq!(told, [("a", Some(7)), ("b", None)], "{shape}");
        }
        assert_eq!(parse(r#"{"registerId": "a"}"#).unwrap().len(), 1, "JSON Lines with one line");
        let listed = r#"{"schemaVersion": "v1", "cursor": "1:2", "nextPageToken": "", "totalSize": 1,
                         "stale": false, "registers": [{"registerId": "a"}]}"#;
        assert_eq!(parse(listed).unwrap().len(), 1, "what a daemon answers");
        let long = format!("[{}]", " ".repeat(1024 * 1024));
        assert!(parse(&long).unwrap_err().to_text().contains("larger than 1 MiB"));
        assert!(parse("[]").unwrap().is_empty() && parse(r#"{"registers": []}"#).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_item() {
        let cases = [
            (r#"[{"registerId": "a"}, {"registerId": "b", "versoin": 7}]"#, "item 2 (b)", "`versoin`"),
            (r#"[{"registerId": "a", "latestVersion": "x"}]"#, "item 1 (a)", "latestVersion"),
            (r#"[{"registerId": "a", "syncState": "odd"}]"#, "item 1 (a)", "odd"),
            ("- registerId: 7\n", "item 1", "registerId"),
            ("[7]", "item 1", "not an object"),
            (r#"[{"registerId": "a"}, {"registerId": "wrong"}]"#, "item 2 (wrong)", "so it is"),
            (r#"{"registrs": []}"#, "item 1", "`registrs`"),
            (r#"{"registers": [], "fullSync": true}"#, "`fullSync` stands beside the list", "--full"),
            (r#"{"registers": [], "nextPageToken": "x"}"#, "one page of a list", "--limit"),
            (r#"{"registers": {}}"#, "no list of registers", "one JSON object per line"),
            ("hello", "no list of registers", ""),
            ("[{\"registerId\": \"a\"}", "cannot understand", "line 1"),
            ("a: [", "cannot understand", "line"),
        ];
        for (text, what, cause) in cases {
            let error = parse(text).unwrap_err();
            assert_eq!(error.exit() as u8, 2, "{text}");
            let told = error.to_text();
            assert!(told.contains(what) && told.contains(cause), "{text}: {told}");
        }
    }

    #[test]
    fn file_that_is_not_there_is_an_error_of_this_machine() {
        let error = read(Path::new("/nonexistent/x"), &FORM).unwrap_err();
        assert_eq!((error.exit() as u8, error.reason()), (1, "FILE"));
    }
}
