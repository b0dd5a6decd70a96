//! The relays that are asked: one, or all that the registry knows to live.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueHint;
use futures_util::StreamExt as _;
use futures_util::stream;
use omnirelay_wire::tls::authorities;
use rustls::ClientConfig;

use super::LIST;
use crate::complete;
use crate::frame::address::Address;
use crate::frame::client::Client;
use crate::frame::env;
use crate::frame::error::chain;
use crate::frame::prelude::*;
use crate::frame::settings::{CommandTarget, ValueSource};
use crate::relays::columns::address as address_of;
use crate::relays::{self, known};

/// How many relays are asked at the same time.
const ASKED_AT_ONCE: usize = 16;
/// How long one relay of several may take, unless somebody chose a time.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which relays are asked.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Relay options")]
pub(super) struct DronesRelayArgs {
    /// Ask only this relay, an id or relay/ID [default: all that live]
    #[arg(long, value_name = "ID", value_parser = relays::id, conflicts_with = "relay_addr",
          add = complete::ids(&relays::OBJECTS))]
    pub relay: Option<String>,

    /// Ask the relay at this gRPC port, whatever the registry says; https://HOST:PORT under TLS
    #[arg(long, value_name = "HOST:PORT")]
    pub relay_addr: Option<Address>,

    /// Trust the relays under TLS whose certificate is signed by one of this PEM file [default: public authorities]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub relay_ca: Option<PathBuf>,
}

/// A relay that can be asked, or why it cannot.
#[derive(Debug)]
pub(super) struct RelaySite {
    /// Empty when nobody said it.
    pub relay_id: String,
    /// As the registry or the command line has it.
    pub address: String,
    client: Result<Client, CliError>,
}

/// The relays that are to be asked.
#[derive(Debug)]
pub(super) struct QueriedRelays {
    pub sites: Vec<RelaySite>,
    /// The registry's store does not answer, so that these are those that were known.
    pub stale: bool,
    /// One relay was named, so that its failure is the command's.
    pub named: bool,
}

impl QueriedRelays {
    /// The relays that `args` mean.
    ///
    /// # Errors
    /// When the registry cannot be asked, or does not know the relay that is named.
    pub(super) async fn of(args: &DronesRelayArgs, session: &CommandSession) -> Result<Self, CliError> {
        let patience = |several: bool| match session.settings.request_timeout_given || !several {
            true => session.settings.request_timeout,
            false => PATIENCE.min(session.settings.request_timeout),
        };
        if let Some(address) = &args.relay_addr {
            let target = CommandTarget {
                context: String::new(),
                addresses: vec![address.clone()],
                cluster: None,
                source: ValueSource::Flag("--relay-addr"),
                ..session.target()?.clone()
            };
            let trusted = trusted(args, session).await?;
            let client = reach(session, target, patience(false), &trusted);
            let site = RelaySite { relay_id: String::new(), address: address.to_string(), client };
            return Ok(Self { sites: vec![site], stale: false, named: true });
        }
        let trusted = trusted(args, session).await?;
        let document = relays::all(session).await?;
        session.warn_if_stale(&document);
        let stale = flag(&document, "stale");
        if let Some(id) = &args.relay {
            let site = RelaySite::of(known(&document, id)?, session, patience(false), &trusted)?;
            return Ok(Self { sites: vec![site], stale, named: true });
        }
        let relays = items(&document, "relays").iter();
        let sites = relays.map(|relay| RelaySite::of(relay, session, patience(true), &trusted));
        Ok(Self { sites: sites.collect::<Result<_, _>>()?, stale, named: false })
    }

    /// Asks all relays the same, some at a time; the answers are in the order of the relays.
    pub(super) async fn ask<T>(
        &self,
        question: impl AsyncFn(&RelaySite) -> Result<T, CliError>,
    ) -> Vec<(&RelaySite, Result<T, CliError>)> {
        let question = &question;
        let asked = self.sites.iter().map(|site| async move { (site, question(site).await) });
        stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await
    }
}

/// To whom relays under TLS must prove who they are, and what is shown to those that ask.
///
/// # Errors
/// When the file that is named holds no authorities, or what is to be shown cannot be.
async fn trusted(args: &DronesRelayArgs, session: &CommandSession) -> Result<Arc<ClientConfig>, CliError> {
    let variable = session.settings.env.get(env::RELAY_CA).map(PathBuf::from);
    let ca = args.relay_ca.clone().or(variable);
    let roots = authorities(ca.as_deref()).await.map_err(|error| {
        CliError::new(reasons::CA_FILE, "cannot tell which relays to trust")
            .cause(chain(&error))
            .hint("name a PEM file with whoever signed the relays' certificates, with --relay-ca")
    })?;
    session.target()?.tls.towards(roots).map(Arc::new)
}

/// A client of one relay.
fn reach(
    session: &CommandSession,
    target: CommandTarget,
    patience: Duration,
    trusted: &Arc<ClientConfig>,
) -> Result<Client, CliError> {
    let client = session.client()?.towards(target, patience)?;
    if client.address().is_tls() { client.trusting(trusted.clone()) } else { Ok(client) }
}

/// How many sessions a relay is asked for at a time.
const PAGE_SIZE: u32 = 1000;
/// How many times at most: as many sessions as a relay may have.
const PAGES_MAX: usize = 1000;

impl RelaySite {
    fn of(
        relay: &Value,
        session: &CommandSession,
        patience: Duration,
        trusted: &Arc<ClientConfig>,
    ) -> Result<Self, CliError> {
        let (relay_id, address) = (text(relay, "relayId").to_owned(), address_of(relay));
        let client = match address.parse::<Address>() {
            Ok(parsed) => {
                let target = CommandTarget {
                    addresses: vec![parsed],
                    source: ValueSource::Relay,
                    ..session.target()?.clone()
                };
                reach(session, target, patience, trusted)
            }
            Err(error) => {
                let message =
                    format!("nobody can ask relay/{relay_id}: it registered without a good address");
                Err(CliError::new(reasons::RELAY_ADDRESS_UNKNOWN, message)
                    .cause(chain(&error))
                    .hint("set relay.advertise where it runs, or name its address with --relay-addr"))
            }
        };
        Ok(Self { relay_id, address, client })
    }

    /// Calls a method of this relay.
    ///
    /// # Errors
    /// As of [`Client::call`].
    pub(super) async fn call(&self, call: &Call) -> Result<Value, CliError> {
        match &self.client {
            Ok(client) => client.call(call).await,
            Err(error) => Err(error.clone()),
        }
    }

    /// The drones of this relay, page by page.
    ///
    /// # Errors
    /// As of [`Client::call`].
    pub(super) async fn drones(&self) -> Result<Vec<Value>, CliError> {
        let (mut drones, mut token) = (Vec::new(), String::new());
        for _ in 0..PAGES_MAX {
            let call = Call::of(&LIST, &json!({"pageSize": PAGE_SIZE, "pageToken": token}))?;
            let mut document = self.call(&call).await?;
            let found = document.get_mut("drones").and_then(Value::as_array_mut);
            drones.extend(found.map(std::mem::take).unwrap_or_default());
            let next = text(&document, "nextPageToken");
            if next.is_empty() {
                break;
            }
            next.clone_into(&mut token);
        }
        Ok(drones)
    }

    /// `relay/relay-1 at 10.0.2.7:50051`
    pub(super) fn describe(&self) -> String {
        match self.relay_id.as_str() {
            "" => format!("the relay at {}", self.address),
            id => format!("relay/{id} at {}", self.address),
        }
    }
}

/// A relay that did not answer, and why.
pub(super) type SilentRelay<'a> = (&'a RelaySite, CliError);

/// `unreachable[]`: the relays that did not answer.
pub(super) fn unreachable(silent: &[SilentRelay]) -> Value {
    let one = |(site, error): &SilentRelay| json!({"relayId": site.relay_id, "address": site.address, "error": error.to_json()});
    silent.iter().map(one).collect()
}

/// Tells a person of each relay that did not answer.
pub(super) fn warn(session: &CommandSession, silent: &[SilentRelay]) {
    for (site, error) in silent.iter().filter(|_| !session.format().is_json()) {
        let body = error.body();
        let why = body.cause.as_ref().and_then(|cause| cause.lines().next()).unwrap_or(&body.message);
        session.notes().warn(&format!("{} did not answer: {why}", site.describe()));
    }
}

/// Verdict on a question that `silent` of `asked` relays did not answer.
///
/// # Errors
/// A partial failure, with the exit code of the first when all were silent; nothing when none was.
pub(super) fn verdict(silent: &[SilentRelay], asked: usize) -> Result<(), CliError> {
    let Some((_, first)) = silent.first() else { return Ok(()) };
    let message = format!(
        "{} of {} did not answer; what they hold is missing",
        silent.len(),
        count(asked as u64, "relay")
    );
    let mut error = CliError::partial(message);
    if silent.len() == asked {
        error = error.exiting(first.exit());
    }
    for (site, failure) in silent {
        error = error.detail(
            json!({"name": format!("{}/{}", relays::KIND, site.relay_id), "error": failure.to_json()}),
        );
    }
    // What helps against the first failure mostly helps against all.
    if let Some(hint) = first.body().hints.first() {
        error = error.hint(hint.clone());
    }
    Err(error.hint("a relay that has crashed is not asked any more once its time to live is over"))
}

#[cfg(test)]
mod tests {
    use omnirelay_wire::fault::Exit;

    use super::*;

    #[test]
    fn silence_of_some_is_partial_and_of_all_is_theirs() {
        let site = |id: &str| RelaySite {
            relay_id: id.to_owned(),
            address: "h:1".to_owned(),
            client: Err(CliError::usage("nobody")),
        };
        let (a, b) = (site("a"), site("b"));
        let refused = || CliError::new(reasons::CONNECTION_REFUSED, "cannot reach it");
        assert!(verdict(&[], 2).is_ok());
        let error = verdict(&[(&a, refused())], 2).unwrap_err();
        assert_eq!((error.exit(), error.body().details.len()), (Exit::Partial, 1));
        let error = verdict(&[(&a, refused()), (&b, refused())], 2).unwrap_err();
        assert_eq!(error.exit(), Exit::Unavailable);
        let silent = [(&b, refused())];
        assert_eq!(unreachable(&silent)[0]["relayId"], "b");
        assert_eq!(unreachable(&silent)[0]["error"]["reason"], "CONNECTION_REFUSED");
    }
}
