//! `--until FIELD==VALUE`: when a watch has seen enough.

use std::str::FromStr;

use serde_json::Value;

use crate::cli::frame::document::{field, plain};

/// A comparison of one field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Until {
    /// As in the JSON: `status`, `cordoned`, `metadata.role`.
    pub field: String,
    pub equal: bool,
    pub value: String,
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (split, equal) = match (text.split_once("=="), text.split_once("!=")) {
            (Some(split), _) => (split, true),
            (None, Some(split)) => (split, false),
            (None, None) => {
                return Err(format!("`{text}` is no condition: write FIELD==VALUE or FIELD!=VALUE"));
            }
        };
        let (field, value) = (split.0.trim(), split.1.trim());
        if field.is_empty() {
            return Err(format!("`{text}` names no field"));
        }
        Ok(Self { field: field.to_owned(), equal, value: value.to_owned() })
    }
}

impl Until {
    /// Whether `object` meets the condition. A field that is not there equals the empty text.
    pub fn holds(&self, object: &Value) -> bool {
        (plain(field(object, &self.field)) == self.value) == self.equal
    }
}

impl std::fmt::Display for Until {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}{}", self.field, if self.equal { "==" } else { "!=" }, self.value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_compare_text_flags_and_numbers() {
        let peer =
            json!({"status": "alive", "cordoned": true, "version": "7", "metadata": {"role": "worker"}});
        let cases = [
            ("status==alive", true),
            ("status == dead", false),
            ("status!=dead", true),
            ("cordoned==true", true),
            ("version==7", true),
            ("metadata.role==worker", true),
            ("metadata.zone==", true),
            ("nothing!=x", true),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Until>().unwrap().holds(&peer), expected, "{text}");
        }
        assert!("status=alive".parse::<Until>().is_err());
        assert!("==alive".parse::<Until>().is_err());
    }
}
