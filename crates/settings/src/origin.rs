//! The configuration of a relay of Aero Arc, read as if it had been written as ours.
//!
//! Only what the origin has is translated here; whatever else a file holds is left as it is, and is checked as
//! always.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Sections that only the origin's files have, and keys of theirs in a section of the same name.
const SECTIONS: [&str; 3] = ["sinks", "mavlink", "logging"];
const RELAY_KEYS: [&str; 3] = ["grpc_port", "buffer_size", "mode"];

/// All sinks that have a queue.
const SINKS: [&str; 4] = ["file", "redis", "http", "stdout"];

/// A file in our words.
#[derive(Debug, Default)]
pub(super) struct TranslatedFile {
    pub tree: Value,
    /// The origin's key of each of ours that was made of one.
    pub from: BTreeMap<String, String>,
    pub warnings: Vec<String>,
}

/// Setting of the origin's file that cannot be had here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnsupportedSetting {
    /// As the file has it.
    pub key: String,
    pub what: String,
}

/// Whether this is a file of the origin's.
pub(super) fn is_origin(tree: &Value) -> bool {
    let has = |value: Option<&Value>, key: &str| value.and_then(|value| value.get(key)).is_some();
    SECTIONS.iter().any(|key| has(Some(tree), key))
        || RELAY_KEYS.iter().any(|key| has(tree.get("relay"), key))
}

/// Puts variables in the place of `$NAME` and `${NAME}`, those that are not set as nothing; what a comment names need
/// not be set.
pub(super) fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> (String, Vec<String>) {
    let (mut expanded, mut warnings) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        let Some((name, behind_name)) = name_of(behind) else {
            expanded.push('$');
            rest = behind;
            continue;
        };
        match variable(name) {
            Some(value) => expanded.push_str(&value),
            None if is_commented(&text[..text.len() - behind.len() - 1]) => {}
            None => warnings.push(format!("variable `{name}` is not set; the configuration names it")),
        }
        rest = behind_name;
    }
    expanded.push_str(rest);
    (expanded, warnings)
}

/// Whether what follows this is in a comment, which a `#` begins that is the first of its line or behind a blank, and
/// in no quotes.
fn is_commented(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    let (mut quote, mut last) = (None, ' ');
    for letter in line.chars() {
        match quote {
            Some(open) if letter == open => quote = None,
            Some(_) => {}
            None if letter == '#' && last.is_whitespace() => return true,
            // Within a word it is only an apostrophe.
            None if matches!(letter, '"' | '\'') && !last.is_alphanumeric() => quote = Some(letter),
            None => {}
        }
        last = letter;
    }
    false
}

/// The name at the beginning of what follows a dollar sign, and what follows the name.
fn name_of(text: &str) -> Option<(&str, &str)> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if let Some(inner) = text.strip_prefix('{') {
        let (name, behind) = inner.split_once('}')?;
        return (!name.is_empty() && name.chars().all(is_letter)).then_some((name, behind));
    }
    let end = text.find(|letter| !is_letter(letter)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Says in our words what the file says.
pub(super) fn translate(tree: Value) -> Result<TranslatedFile, UnsupportedSetting> {
    let Value::Object(mut fields) = tree else {
        return Ok(TranslatedFile { tree, ..TranslatedFile::default() });
    };
    let [sinks, mavlink, logging] = SECTIONS.map(|section| fields.remove(section));
    let mut words =
        FileTranslation { done: TranslatedFile { tree: Value::Object(fields), ..TranslatedFile::default() } };
    words.relay()?;
    words.sinks(section("sinks", sinks)?)?;
    words.logging(section("logging", logging)?)?;
    if mavlink.is_some_and(|mavlink| !mavlink.is_null()) {
        words.warn("`mavlink` is ignored: agents bring telemetry, this daemon opens no endpoints of its own");
    }
    // Whoever configures a relay wants one.
    if words.done.tree.pointer("/node/services").is_none() {
        words.put("relay", "node.services", json!(["relay"]));
    }
    Ok(words.done)
}

/// The keys of a section that may be absent or empty.
fn section(key: &str, value: Option<Value>) -> Result<Map<String, Value>, UnsupportedSetting> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) => Err(refused(key, "is no section with keys of its own")),
    }
}

fn refused(key: &str, what: impl Into<String>) -> UnsupportedSetting {
    UnsupportedSetting { key: key.to_owned(), what: what.into() }
}

/// Translation of a file under way.
struct FileTranslation {
    done: TranslatedFile,
}

impl FileTranslation {
    fn warn(&mut self, text: impl Into<String>) {
        self.done.warnings.push(text.into());
    }

    /// Sets one of our keys to what the origin's says.
    fn put(&mut self, origin: &str, key: &str, value: Value) {
        let mut level = &mut self.done.tree;
        for part in key.split('.') {
            if !level.is_object() {
                *level = Value::Object(Map::new());
            }
            let Value::Object(fields) = level else { return };
            level = fields.entry(part).or_insert(Value::Null);
        }
        *level = value;
        self.done.from.insert(key.to_owned(), origin.to_owned());
    }

    fn relay(&mut self) -> Result<(), UnsupportedSetting> {
        let Some(Value::Object(relay)) = self.done.tree.get_mut("relay") else { return Ok(()) };
        let [port, buffer, mode] = RELAY_KEYS.map(|key| relay.remove(key));
        if let Some(port) = whole("relay.grpc_port", port.as_ref(), u64::from(u16::MAX))? {
            self.put("relay.grpc_port", "relay.listen", format!("0.0.0.0:{port}").into());
        }
        if let Some(size) = whole("relay.buffer_size", buffer.as_ref(), u64::from(u32::MAX))? {
            for sink in SINKS {
                self.put("relay.buffer_size", &format!("relay.sinks.{sink}.queue.size"), size.into());
            }
        }
        match mode.as_ref().map(Value::as_str) {
            None | Some(Some("" | "multi")) => Ok(()),
            Some(Some("1:1")) => Err(refused(
                "relay.mode",
                "a relay of mode `1:1` reads MAVLink by itself, which this daemon does not: run an agent beside \
                 each vehicle, and say `multi`",
            )),
            Some(_) if mode == Some(Value::Null) => Ok(()),
            Some(_) => Err(refused("relay.mode", "is neither `multi` nor `1:1`")),
        }
    }

    fn sinks(&mut self, mut sinks: Map<String, Value>) -> Result<(), UnsupportedSetting> {
        let file = sinks.remove("file");
        if let Some((name, _)) = sinks.iter().find(|(_, value)| !value.is_null()) {
            let key = format!("sinks.{name}");
            return Err(refused(
                &key,
                "there is no such sink here; there is `file`, and under `relay.sinks` there are `redis`, `http` and \
                 `stdout`",
            ));
        }
        let Some(file) = file.filter(|file| !file.is_null()) else { return Ok(()) };
        self.put("sinks.file", "relay.sinks.file.enabled", true.into());
        for (name, value) in section("sinks.file", Some(file))? {
            self.file_sink(&name, value)?;
        }
        Ok(())
    }

    fn file_sink(&mut self, name: &str, value: Value) -> Result<(), UnsupportedSetting> {
        let key = format!("sinks.file.{name}");
        let ours = |name: &str| format!("relay.sinks.file.{name}");
        match name {
            _ if value.is_null() => {}
            "path" | "prefix" => self.put(&key, &ours(name), value),
            "format" if value == "json" => {}
            "format" => {
                return Err(refused(&key, format!("{value} cannot be written here; there is `json`")));
            }
            // Nought is the origin's word for its default, which is ours.
            "rotation_interval" if matches!(value.as_str(), Some("0" | "0s" | "")) || value == 0 => {}
            "rotation_interval" => self.put(&key, &ours("rotateEvery"), value),
            "queue_size" => {
                if let Some(size) = whole(&key, Some(&value), u64::from(u32::MAX))? {
                    self.put(&key, &ours("queue.size"), size.into());
                }
            }
            "backpressure_policy" => {
                let policy = if value == "block" { "block" } else { "drop" };
                if value != policy && value != "" {
                    self.warn(format!("`{key}`: {value} is no policy; frames that find no room are dropped"));
                }
                self.put(&key, &ours("queue.backpressure"), policy.into());
            }
            _ => {
                let known =
                    "`path`, `prefix`, `format`, `rotation_interval`, `queue_size`, `backpressure_policy`";
                return Err(refused(&key, format!("there is no such setting; `sinks.file` has {known}")));
            }
        }
        Ok(())
    }

    fn logging(&mut self, logging: Map<String, Value>) -> Result<(), UnsupportedSetting> {
        for (name, value) in logging {
            let key = format!("logging.{name}");
            let text = value.as_str().unwrap_or_default().to_ascii_lowercase();
            match (name.as_str(), text.as_str()) {
                _ if value.is_null() => {}
                ("level", "trace" | "debug" | "info" | "warn" | "error") => {
                    self.put(&key, "log.filter", text.into());
                }
                ("level", "warning") => self.put(&key, "log.filter", "warn".into()),
                ("level", "fatal" | "panic") => self.put(&key, "log.filter", "error".into()),
                ("level", _) => self.warn(format!("`{key}`: {value} is no level; `info` is used")),
                ("format", "text" | "json") => self.put(&key, "log.format", text.into()),
                ("format", _) => self.warn(format!("`{key}`: {value} is no format; `text` is used")),
                ("output", "stderr" | "") | ("file", "") => {}
                ("output" | "file", _) => {
                    self.warn(format!("`{key}` is ignored: the log goes to standard error"));
                }
                _ => {
                    let known = "`level`, `format`, `output`, `file`";
                    return Err(refused(&key, format!("there is no such setting; `logging` has {known}")));
                }
            }
        }
        Ok(())
    }
}

/// A whole number, also one that a variable has left in quotes; `None` for nought, which is the origin's word for
/// its default.
fn whole(key: &str, value: Option<&Value>, max: u64) -> Result<Option<u64>, UnsupportedSetting> {
    let number = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.is_empty() => return Ok(None),
        Some(Value::String(text)) => text.parse().ok(),
        Some(other) => other.as_u64(),
    };
    match number {
        Some(0) => Ok(None),
        Some(number) if number <= max => Ok(Some(number)),
        Some(_) | None => Err(refused(key, format!("must be a whole number from 1 to {max}"))),
    }
}

#[cfg(test)]
#[path = "origin_test.rs"]
mod tests;
