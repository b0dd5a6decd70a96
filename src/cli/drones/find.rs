//! Search for the relay that holds a drone.

use super::STATUS;
use super::fleet::{self, DronesRelayArgs, QueriedRelays, RelaySite, SilentRelay};
use crate::agents::placement;
use crate::frame::prelude::*;

/// A relay that holds a drone, and what it says of it.
pub(super) struct FoundDrone<'a> {
    pub site: &'a RelaySite,
    pub document: Value,
}

/// Asks the relay that is named, or the one at which the registry has placed the drone, else all of `fleet`.
///
/// # Errors
/// Not found, when no relay holds it; what kept the answer away.
pub(super) async fn find<'a>(
    session: &CommandSession,
    args: &DronesRelayArgs,
    fleet: &'a QueriedRelays,
    id: &str,
) -> Result<FoundDrone<'a>, CliError> {
    let call = Call::of(&STATUS, &json!({ "droneId": id }))?;
    if fleet.named
        && let Some(site) = fleet.sites.first()
    {
        let document = site.call(&call).await.map_err(|error| next_step(error, args))?;
        return Ok(FoundDrone { site, document });
    }
    // A session that has no stream yet is placed nowhere, and one that is placed may be over.
    let relay_id = match placement(session, id).await {
        Ok(document) => text(&document, "placement.relayId").to_owned(),
        Err(error) if error.exit() == Exit::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if let Some(site) = fleet.sites.iter().find(|site| site.relay_id == relay_id) {
        match site.call(&call).await {
            Ok(document) => return Ok(FoundDrone { site, document }),
            Err(error) if error.exit() == Exit::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    session.notes().step(1, || format!("{} is placed nowhere: asking every relay", printable(id)));
    everywhere(session, fleet, &call, id).await
}

/// Of the relays that hold the drone the one whose session is newest; one with a stream wins.
async fn everywhere<'a>(
    session: &CommandSession,
    fleet: &'a QueriedRelays,
    call: &Call,
    id: &str,
) -> Result<FoundDrone<'a>, CliError> {
    let mut silent: Vec<SilentRelay> = Vec::new();
    let mut found: Option<FoundDrone> = None;
    for (site, answer) in fleet.ask(async |site: &RelaySite| site.call(call).await).await {
        match answer {
            Ok(document) if found.as_ref().is_none_or(|best| newer(&document, &best.document)) => {
                found = Some(FoundDrone { site, document });
            }
            Ok(_) => {}
            Err(error) if error.exit() == Exit::NotFound => {}
            Err(error) => silent.push((site, error)),
        }
    }
    fleet::warn(session, &silent);
    found.ok_or_else(|| missing(id, fleet, &silent))
}

fn newer(one: &Value, other: &Value) -> bool {
    let rank = |document: &Value| {
        let drone = field(document, "drone");
        (flag(drone, "streaming"), number(drone, "connectedAtUnixNs"))
    };
    rank(one) > rank(other)
}

/// The failure when no relay that answered holds the drone.
fn missing(id: &str, fleet: &QueriedRelays, silent: &[SilentRelay]) -> CliError {
    if let Err(error) = fleet::verdict(silent, fleet.sites.len()) {
        let cause = error.body().message.clone();
        let message = format!("no relay that answered holds drone `{id}`");
        return CliError::new(reasons::RELAY_UNREACHABLE, message)
            .cause(cause)
            .detail(json!({ "unreachable": fleet::unreachable(silent) }))
            .hint("omnirelay relays list         # which relays live, and where");
    }
    let message = match fleet.sites.len() {
        0 => format!("nobody holds drone `{id}`: no relay lives"),
        _ => format!("no live relay holds drone `{id}`"),
    };
    let error = CliError::new(reasons::DRONE_NOT_FOUND, message);
    match fleet.sites.len() {
        0 => error.hint("omnirelay relays list         # which relays there are, and how they are"),
        _ => error.hint("omnirelay drones list         # those that are held"),
    }
}

/// A relay that is asked alone says itself what it does not hold; what to do next depends on who chose it.
fn next_step(error: CliError, args: &DronesRelayArgs) -> CliError {
    let (Exit::NotFound, true) = (error.exit(), error.body().hints.is_empty()) else { return error };
    let flag = if args.relay.is_some() { "--relay" } else { "--relay-addr" };
    error.hint(format!("leave {flag} out to ask every live relay"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_with_a_stream_wins_then_the_newest() {
        let one =
            |streaming: bool, at: &str| json!({"drone": {"streaming": streaming, "connectedAtUnixNs": at}});
        assert!(newer(&one(true, "1"), &one(false, "9")));
        assert!(newer(&one(true, "10"), &one(true, "9")), "numbers, not texts");
        assert!(!newer(&one(false, "9"), &one(true, "1")));
    }

    #[test]
    fn nobody_who_lives_is_told_apart_from_nobody_who_holds_it() {
        let fleet = |sites| QueriedRelays { sites, stale: false, named: false };
        let error = missing("d", &fleet(Vec::new()), &[]);
        assert_eq!((error.exit(), error.reason()), (Exit::NotFound, "DRONE_NOT_FOUND"));
        let text = error.to_text();
        assert!(
            text.contains("omnirelay relays list") && !text.contains("omnirelay up"),
            "of any mesh: {text}"
        );
    }
}
