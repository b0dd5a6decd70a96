//! YAML as it is written: text stays text for whoever reads it.
//!
//! Readers of YAML 1.1 take `no`, `y`, `on` and `1_0` for truth values and numbers where those of YAML 1.2 take them for text, so
//! such text is written in quotes.

use omnirelay_wire::reasons;
use serde_json::Value;

use super::error::CliError;

/// Writes one document; `what` names it in the error.
///
/// # Errors
/// When it cannot be written as YAML.
pub(crate) fn write(document: &Value, what: &str) -> Result<String, CliError> {
    // Text of several lines would be wrapped otherwise, and a script looks for whole lines.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let mut text = String::new();
    serde_saphyr::to_fmt_writer_with_options(&mut text, document, options).map_err(|error| {
        CliError::local(reasons::ENCODING, format!("cannot write {what} as YAML"), &error)
    })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_stays_text_for_every_reader() {
        let words = vec![
            "y",
            "Y",
            "n",
            "no",
            "yes",
            "on",
            "off",
            "true",
            "null",
            "~",
            "",
            "1_0",
            "1e3",
            "0x1f",
            "0o7",
            "012",
            "1:30",
            "2026-11-28",
            ".inf",
            "nan",
            "=",
            "<<",
            "a: b",
            "# no comment",
            " led",
            "trailing ",
            "- a",
            "two\nlines\n",
            "\u{1f600}",
            "'",
            "\"",
            "%x",
            "@x",
            "*a",
            "&a",
            "!t",
            "[",
            "{}",
            "relay-a",
        ];
        let document = json!({
            "words": words.clone(),
            "as keys": words.iter().map(|word| ((*word).to_owned(), json!(1))).collect::<serde_json::Map<_, _>>(),
            "numbers": [1, -2, 1.5, u64::MAX], "truth": [true, false, null], "empty": [{}, []],
        });
        let text = write(&document, "a test").unwrap();
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), document, "{text}");
        assert_eq!(serde_yaml::from_str::<Value>(&text).unwrap(), document, "{text}");
        assert!(text.lines().any(|line| line == "- relay-a"), "what is clear has no quotes: {text}");
    }
}
