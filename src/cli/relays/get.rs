//! `relays get`.

use super::columns::{address, expires, heard};
use super::{KIND, LIST, all, unknown};
use crate::complete;
use crate::frame::prelude::*;

pub(super) const LEAF: LeafCommand =
    LeafCommand::read("relays get", &[&LIST]).exiting("0 1 2 3 5 6 7 8 9 11");

const EXAMPLES: &str = "\
Examples:
  omnirelay relays get relay-1
  omnirelay relays get relay-1 -o json | jq -r .relay.address
  omnirelay relays list -o name | omnirelay relays get - -o yaml";

/// Show where relays are and how long they have been silent
#[derive(Args, Debug)]
#[command(visible_alias = "show", before_long_help = EXAMPLES)]
pub(super) struct RelaysGetArgs {
    /// Ids, relay/ID, or their first letters if unique; - reads them from standard input
    #[arg(required = true, value_name = "ID", add = complete::ids(&super::OBJECTS))]
    ids: Vec<String>,
    /// Times in UTC instead of ages
    #[arg(long, hide_short_help = true)]
    absolute: bool,
}

pub(super) async fn run(args: &RelaysGetArgs, session: &mut CommandSession) -> Result<Exit, CliError> {
    let ids = ids::expand(&args.ids, KIND)?;
    let document = all(session).await?;
    let mut batch = BatchOutcomes::new(KIND, "response", "was not found or could not be read");
    for id in ids {
        let (id, outcome) = match known(&document, &id) {
            Ok(relay) => (text(relay, "relayId").to_owned(), Ok(one(&document, relay))),
            Err(error) => (id, Err(error)),
        };
        batch.push(id, outcome);
    }
    session.warn_if_stale(&document);
    let absolute = args.absolute;
    batch.finish(session, |_, document| describe(document, absolute))
}

/// The relay of a list that has this id, or alone begins with it.
///
/// # Errors
/// Not found; usage, when several begin with it.
pub(crate) fn known<'a>(document: &'a Value, id: &str) -> Result<&'a Value, CliError> {
    let relays = items(document, "relays");
    let with = |id: &str| relays.iter().find(|relay| text(relay, "relayId") == id);
    if let Some(relay) = with(id) {
        return Ok(relay);
    }
    let ids: Vec<&str> = relays.iter().map(|relay| text(relay, "relayId")).collect();
    ids::by_prefix(id, &ids, KIND)?.and_then(with).ok_or_else(|| unknown(id))
}

/// The document of one relay: that of the list, with the relay in place of the relays.
fn one(document: &Value, relay: &Value) -> Value {
    let mut one = document.clone();
    if let Some(fields) = one.as_object_mut() {
        fields.shift_remove("nextPageToken");
        fields.shift_remove("relays");
    }
    one["relay"] = json!(relay);
    one
}

fn describe(document: &Value, absolute: bool) -> String {
    let relay = field(document, "relay");
    let moment = time::moment(document, absolute);
    let heard = time::back(heard(relay, moment), moment);
    listing(&[
        ("relay", text(relay, "relayId").to_owned()),
        ("address", address(relay)),
        ("agents", number(relay, "agents").to_string()),
        ("last heartbeat", heard),
        ("expires in", expires(relay, moment)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relay_is_found_by_its_id_or_the_beginning_of_it() {
        let relays =
            json!({"relays": [{"relayId": "relay-a"}, {"relayId": "relay-ab"}, {"relayId": "other"}]});
        let found = |id: &str| known(&relays, id).map(|relay| text(relay, "relayId").to_owned());
        assert_eq!(found("relay-a").unwrap(), "relay-a", "exactly");
        assert_eq!(found("othe").unwrap(), "other");
        assert_eq!(found("rela").unwrap_err().exit(), Exit::Usage);
        let missing = found("nope").unwrap_err();
        assert_eq!((missing.exit(), missing.reason()), (Exit::NotFound, "RELAY_NOT_FOUND"));
    }

    #[test]
    fn document_of_one_holds_no_list() {
        let list = json!({"schemaVersion": "v1", "relays": [{"relayId": "a"}], "nextPageToken": "", "cursor": "1:1"});
        let one = one(&list, &list["relays"][0]);
        assert_eq!(one, json!({"schemaVersion": "v1", "cursor": "1:1", "relay": {"relayId": "a"}}));
    }
}
