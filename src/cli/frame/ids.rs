//! Ids as they are given: several, `kind/id`, from standard input, or the beginning of one.

use std::collections::HashSet;
use std::io::Read as _;

use omnirelay_wire::reasons;

use super::error::CliError;

/// The fewest characters that may stand for a longer id.
pub(crate) const PREFIX_MIN: usize = 4;
const IDS_MAX: usize = 100_000;
const INPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The ids of `given`: `-` is replaced by those of standard input, `kind/` is taken off, each once.
///
/// # Errors
/// Usage, when an id is empty or of another kind, or there are none or too many.
pub(crate) fn expand(given: &[String], kind: &str) -> Result<Vec<String>, CliError> {
    let (mut ids, mut known) = (Vec::new(), HashSet::new());
    let mut push = |given: &str| -> Result<(), CliError> {
        let id = id_of(given, kind)?;
        if known.insert(id.to_owned()) {
            ids.push(id.to_owned());
        }
        Ok(())
    };
    for id in given {
        if id == "-" {
            for line in read_stdin()?.split_whitespace() {
                push(line)?;
            }
        } else {
            push(id)?;
        }
    }
    match ids.len() {
        0 => Err(CliError::usage(format!("no {kind} was named")).hint(format!("give the id of a {kind}"))),
        1..=IDS_MAX => Ok(ids),
        many => Err(CliError::usage(format!("{many} ids are too many, at most {IDS_MAX} go in one command"))),
    }
}

/// An id without its kind.
fn id_of<'g>(given: &'g str, kind: &str) -> Result<&'g str, CliError> {
    let id = match given.split_once('/') {
        Some((prefix, id)) if prefix == kind => id,
        Some(_) => return Err(CliError::usage(format!("`{given}` is no {kind}/ID"))),
        None => given,
    };
    if id.is_empty() { Err(CliError::usage(format!("an empty text is no id of a {kind}"))) } else { Ok(id) }
}

fn read_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(INPUT_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| CliError::local(reasons::INPUT, "cannot read ids from standard input", &error))?;
    Ok(text)
}

/// The one id of `known` that begins with `given`; `None` when none does or `given` is too short.
///
/// # Errors
/// Usage, with the candidates, when several do.
pub(crate) fn by_prefix<'a>(given: &str, known: &[&'a str], kind: &str) -> Result<Option<&'a str>, CliError> {
    const SHOWN_MAX: usize = 10;
    if given.chars().count() < PREFIX_MIN {
        return Ok(None);
    }
    let matching: Vec<&str> = known.iter().copied().filter(|id| id.starts_with(given)).collect();
    match matching.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        several => {
            let shown = several[..several.len().min(SHOWN_MAX)].join(", ");
            let more = if several.len() > SHOWN_MAX { ", ..." } else { "" };
            Err(CliError::new(
                reasons::AMBIGUOUS_ID,
                format!("`{given}` is the beginning of {} {kind} ids", several.len()),
            )
            .cause(format!("it could be: {shown}{more}"))
            .hint("give more of the id"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    #[test]
    fn kind_is_taken_off_and_each_id_stays_once() {
        assert_eq!(expand(&owned(&["peer/a", "b", "a"]), "peer").unwrap(), ["a", "b"]);
        assert!(expand(&owned(&["shard/a"]), "peer").is_err());
        assert!(expand(&owned(&["peer/"]), "peer").is_err());
        assert!(expand(&[], "peer").is_err());
    }

    #[test]
    fn prefix_must_be_long_enough_and_unique() {
        let known = ["relay-a1", "relay-a2", "relay-b1"];
        assert_eq!(by_prefix("relay-b", &known, "peer").unwrap(), Some("relay-b1"));
        assert_eq!(by_prefix("rel", &known, "peer").unwrap(), None);
        assert_eq!(by_prefix("none", &known, "peer").unwrap(), None);
        let error = by_prefix("relay-a", &known, "peer").unwrap_err();
        assert_eq!(error.exit() as u8, 2);
        assert!(error.to_text().contains("relay-a1, relay-a2"), "{}", error.to_text());
    }
}
