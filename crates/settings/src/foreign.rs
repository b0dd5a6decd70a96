//! Variables by which relays of Aero Arc are set. Whatever has a name of our own wins over them.

use std::ffi::{OsStr, OsString};

use omnirelay_core::names::nearest_id;
use serde_json::Value;

use super::ConfigError;
use super::check::is_host_and_port;

const REDIS_ADDR: &str = "REDIS_ADDR";
const REDIS_PASSWORD: &str = "REDIS_PASSWORD";
const REDIS_DB: &str = "REDIS_DB";
const RELAY_ID: &str = "RELAY_ID";

/// The variables, and what they set.
static NAMES: [(&str, [&str; 3]); 4] = [
    (REDIS_ADDR, ["relay", "publish", "address"]),
    (REDIS_PASSWORD, ["relay", "publish", "password"]),
    (REDIS_DB, ["relay", "publish", "database"]),
    (RELAY_ID, ["relay", "id", ""]),
];

/// Whether a variable is one of these.
pub fn is_foreign(name: &OsStr) -> bool {
    NAMES.iter().any(|(known, _)| *known == name)
}

/// Setting that one variable makes.
#[derive(Debug, PartialEq)]
pub(super) struct ForeignSetting {
    pub name: &'static str,
    pub path: Vec<String>,
    pub value: Value,
}

/// Reads those that are among `variables`, and says what is wrong with them: none of it stops a relay.
pub(super) fn read(
    variables: &[(OsString, OsString)],
) -> Result<(Vec<ForeignSetting>, Vec<String>), ConfigError> {
    let (mut given, mut warnings) = (Vec::new(), Vec::new());
    for (name, path) in &NAMES {
        let found = variables.iter().find(|(known, text)| *known == **name && !text.is_empty());
        let Some((_, text)) = found else { continue };
        let text = text.to_str().ok_or_else(|| ConfigError::NotText { name: (*name).to_owned() })?;
        if let Some(value) = value_of(name, text, &mut warnings) {
            let path = path.iter().filter(|part| !part.is_empty()).map(|part| (*part).to_owned()).collect();
            given.push(ForeignSetting { name, path, value });
        }
    }
    Ok((given, warnings))
}

fn value_of(name: &str, text: &str, warnings: &mut Vec<String>) -> Option<Value> {
    match name {
        REDIS_ADDR => {
            // A port alone is one of this host.
            let address = if text.starts_with(':') { format!("localhost{text}") } else { text.to_owned() };
            if !is_host_and_port(&address) {
                warnings.push(format!("{REDIS_ADDR}: `{text}` is not HOST:PORT; nothing is published there"));
                return None;
            }
            Some(address.into())
        }
        REDIS_DB => {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse::<u32>().ok().filter(|_| digits);
            if number.is_none() {
                warnings.push(format!("{REDIS_DB}: `{text}` is no number; database 0 is used"));
            }
            Some(number.unwrap_or(0).into())
        }
        RELAY_ID => {
            let id = nearest_id(text);
            match &id {
                Some(id) if id == text => {}
                Some(id) => warnings.push(format!("{RELAY_ID}: `{text}` is no id; this relay is `{id}`")),
                None => warnings.push(format!("{RELAY_ID}: `{text}` is no id; the host names this relay")),
            }
            id.map(Value::from)
        }
        _ => Some(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_a_relay_are_read_and_none_of_them_stops_it() {
        let cases = [
            // name, text, value, whether it is told
            (REDIS_ADDR, "redis.internal:6380", Some("redis.internal:6380".into()), false),
            (REDIS_ADDR, ":6379", Some("localhost:6379".into()), false),
            (REDIS_ADDR, "redis.internal", None, true),
            (REDIS_ADDR, "", None, false),
            (REDIS_PASSWORD, "12345", Some("12345".into()), false),
            (REDIS_DB, "3", Some(3.into()), false),
            (REDIS_DB, "three", Some(0.into()), true),
            (REDIS_DB, "-1", Some(0.into()), true),
            (REDIS_DB, "+1", Some(0.into()), true),
            (RELAY_ID, "relay-7", Some("relay-7".into()), false),
            (RELAY_ID, "relay 7", Some("relay-7".into()), true),
            (RELAY_ID, "//", None, true),
            ("REDIS_URL", "redis://x", None, false),
        ];
        for (name, text, expected, told) in cases {
            let (given, warnings) = read(&[(name.into(), text.into())]).unwrap();
            let value = given.first().map(|given| given.value.clone());
            assert_eq!((value, !warnings.is_empty()), (expected, told), "{name}={text}");
        }
    }
}
