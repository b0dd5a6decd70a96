//! A file of registers: a JSON array, an object with `registers`, JSON lines, or YAML of the first two.

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::cli::error::CliError;
use crate::core::catalogue::check_imported;
use crate::wire::pb::omnirelay::registers::v1::ImportedRegister;

/// The longest file that is taken: a hundred thousand registers with a page of text each.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
const FIELD: &str = "registers";

/// Reads the registers of a file; `-` is standard input.
///
/// # Errors
/// What cannot be read; usage, naming the line or the item, for what is no register.
pub fn read(path: &Path) -> Result<Vec<ImportedRegister>, CliError> {
    let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
    let text = text_of(path, &name)?;
    let yaml = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    parse(&text, yaml).map_err(|wrong| CliError::usage(format!("{name}: {wrong}")).hint(HINT))
}

const HINT: &str = "nothing was sent; omnirelay registers import --help shows a file";

fn text_of(path: &Path, name: &str) -> Result<String, CliError> {
    let failed = |error: std::io::Error| CliError::local("INPUT", format!("cannot read {name}"), &error);
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_string(&mut text),
        _ => {
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
        }
    };
    read.map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(CliError::usage(format!("{name} is larger than {FILE_BYTES_MAX} bytes"))
            .hint("import it in parts"));
    }
    Ok(text)
}

/// The registers of a text.
///
/// # Errors
/// What is wrong, with its line or its item.
fn parse(text: &str, yaml: bool) -> Result<Vec<ImportedRegister>, String> {
    let document = match text.trim_start().chars().next() {
        None => return Err("it is empty".to_owned()),
        Some('{') if !yaml => match serde_json::from_str::<Value>(text) {
            // One line is a document too, of one register.
            Ok(document) if document.get(FIELD).is_some() => document,
            Ok(_) | Err(_) => return lines(text),
        },
        Some('[') if !yaml => {
            serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?
        }
        Some(_) => {
            serde_saphyr::from_str(text).map_err(|error| format!("it is neither JSON nor YAML: {error}"))?
        }
    };
    items(document)
}

fn lines(text: &str) -> Result<Vec<ImportedRegister>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            let register = serde_json::from_str(line).map_err(|error| error.to_string());
            register.and_then(checked).map_err(|wrong| format!("line {}: {wrong}", at + 1))
        })
        .collect()
}

fn items(document: Value) -> Result<Vec<ImportedRegister>, String> {
    let list = match document {
        Value::Array(list) => list,
        Value::Object(mut fields) => {
            let list = fields.shift_remove(FIELD);
            if let Some(other) = fields.keys().find(|name| *name != "schemaVersion") {
                return Err(format!("it has a field `{other}` beside `{FIELD}`"));
            }
            match list {
                Some(Value::Array(list)) => list,
                Some(_) | None => return Err(format!("it has no list `{FIELD}`")),
            }
        }
        _ => return Err("it is no list of registers".to_owned()),
    };
    let items = list.into_iter().enumerate().map(|(at, item)| {
        let register = serde_json::from_value(item).map_err(|error| error.to_string());
        register.and_then(checked).map_err(|wrong| format!("{FIELD}[{at}]: {wrong}"))
    });
    items.collect()
}

/// Checks here what a daemon would refuse, so that a file is sent in order or not at all.
fn checked(register: ImportedRegister) -> Result<ImportedRegister, String> {
    match check_imported(&register) {
        Ok(()) => Ok(register),
        Err(error) => Err(format!("field `{}`: {error}", error.field())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_file_is_read() {
        let forms = [
            ("an array", r#"[{"registerId":"a","name":"A"},{"registerId":"b"}]"#, false),
            ("an object", r#"{"registers":[{"registerId":"a","name":"A"},{"registerId":"b"}]}"#, false),
            ("lines", "{\"registerId\":\"a\",\"name\":\"A\"}\n\n{\"registerId\":\"b\"}\n", false),
            ("a YAML list", "- registerId: a\n  name: A\n- registerId: b\n", false),
            ("a YAML object", "registers:\n- registerId: a\n  name: A\n- registerId: b\n", true),
            ("JSON in a YAML file", r#"[{"registerId":"a","name":"A"},{"registerId":"b"}]"#, true),
        ];
        for (what, text, yaml) in forms {
            let found = parse(text, yaml).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
            let names: Vec<_> =
                found.iter().map(|it| (it.register_id.as_str(), it.name.as_deref())).collect();
            assert_eq!(names, [("a", Some("A")), ("b", None)], "{what}");
        }
        let one = parse(r#"{"registerId":"a","advertise":false,"latestVersion":"7"}"#, false).unwrap();
        assert_eq!((one[0].advertise, one[0].latest_version), (Some(false), Some(7)));
        assert!(parse("[]", false).unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("", "empty"),
            ("{\"registerId\":\"a\"}\n{\"registerId\":\"b\",\"colour\":1}", "line 2: unknown field `colour`"),
            ("{\"registerId\":\"a\"}\nnonsense", "line 2: "),
            (r#"[{"registerId":"a"},{"registerId":"b/c"}]"#, "registers[1]: field `registerId`: "),
            (r#"[{"registerId":"a","nodeId":"b"}]"#, "registers[0]: unknown field `nodeId`"),
            (r#"{"registers":[],"node":"b"}"#, "`node`"),
            ("registers: 7", "no list"),
            ("just words", "no list of registers"),
            ("[{", "no JSON"),
        ];
        for (text, expected) in cases {
            let wrong = parse(text, false).unwrap_err();
            assert!(wrong.contains(expected), "{text}: {wrong}");
        }
    }
}
