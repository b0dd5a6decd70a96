//! Verdict on an answer, and on there being none.

use std::time::Duration;

use omnirelay_core::text::count;
use omnirelay_wire::fault::{Code, Exit};
use omnirelay_wire::reasons;
use serde_json::json;

use super::{Answer, CallAttempts, Client};
use crate::frame::address::SOCKET_OF_UNIT;
use crate::frame::error::{self, CliError};
use crate::frame::failure::{CallFailure, FailureKind};
use crate::frame::rpc::{Call, lower_camel};
use crate::frame::settings::ValueSource;

impl Client {
    /// The failure when a call that may be repeated freely was answered by none of its addresses.
    pub fn unreachable(
        &self,
        call: &Call,
        failures: Vec<(String, CallFailure)>,
        made: u32,
        took: Duration,
    ) -> CliError {
        let may_have_arrived = failures.iter().any(|(_, failure)| failure.kind.may_have_arrived());
        self.no_answer(call, &CallAttempts { made, failures, may_have_arrived }, took)
    }

    /// The failure that `answer` states.
    pub(super) fn fault(&self, call: &Call, answer: &Answer, attempts: &CallAttempts) -> CliError {
        let stated = serde_json::from_slice(&answer.body).ok().and_then(|body| error::from_problem(&body));
        let unknown = !call.is_read() && (answer.status >= 500 || attempts.may_have_arrived);
        let error = match stated {
            Some(error) if error.is(reasons::OUTCOME_UNKNOWN) => outcome_unknown(call, error),
            // "Nothing was changed" is said of this try; an earlier one may have arrived.
            Some(error) if unknown && error.exit() == Exit::Unavailable && attempts.may_have_arrived => {
                let said = cause_of(&error);
                let cause =
                    format!("a first try was sent and not answered; what was said of the last one: {said}");
                outcome_unknown(call, error.cause(cause))
            }
            Some(error) => error,
            None if unknown => {
                let cause = format!("{} answered HTTP {} without saying why", answer.address, answer.status);
                outcome_unknown(call, CliError::new(reasons::OUTCOME_UNKNOWN, "").cause(cause))
            }
            None => self.unexpected(call, answer),
        };
        let id = answer.header("x-request-id").map(str::to_owned);
        error.request_id(id).target(self.target.to_json(&answer.address))
    }

    /// An answer no daemon of ours gives.
    pub(super) fn unexpected(&self, call: &Call, answer: &Answer) -> CliError {
        let kind = answer.header("content-type").unwrap_or("no content type");
        let bad_gateway = matches!(answer.status, 502..=504);
        let code = if bad_gateway { Code::Unavailable } else { Code::Unknown };
        let message = format!("{} did not answer as omnirelayd does", answer.address);
        CliError::new(reasons::UNEXPECTED_ANSWER, message)
            .with_code(code)
            .cause(format!("{} {}: HTTP {}, {kind}{}", call.word(), call.path, answer.status, self.through()))
            .hint("omnirelay context current -v     # where the address comes from")
            .target(self.target.to_json(&answer.address))
    }

    /// That calls go through a proxy, which may be what has answered.
    fn through(&self) -> String {
        let proxy = self.lines.to(self.address()).proxy.as_ref();
        proxy.map_or_else(String::new, |proxy| format!(" (through the proxy {proxy})"))
    }

    /// The failure when no address answered.
    pub(super) fn no_answer(&self, call: &Call, attempts: &CallAttempts, took: Duration) -> CliError {
        let Some((address, failure)) = attempts.most_telling() else {
            return CliError::new(reasons::NO_ADDRESS, "there is no address to ask");
        };
        let made = format!("{} in {:.1}s", count(attempts.made, "attempt"), took.as_secs_f64());
        let cause = match attempts.failures.as_slice() {
            [(_, one)] => format!("{} ({made})", one.cause),
            several => {
                let each = several.iter().map(|(address, failure)| format!("{address}: {}", failure.cause));
                format!("{}\n({made})", each.collect::<Vec<_>>().join("\n"))
            }
        };
        let target = self.target.to_json(address);
        if attempts.may_have_arrived && !call.is_read() {
            let error = CliError::new(reasons::OUTCOME_UNKNOWN, "").cause(cause);
            return outcome_unknown(call, error).target(target);
        }
        let message = match (failure.kind, attempts.failures.len()) {
            (FailureKind::Rejected, 2..) => {
                format!("omnirelayd at {address} does not take the certificate of this command")
            }
            (FailureKind::Timeout, _) => format!("omnirelayd at {address} did not answer in time"),
            (FailureKind::Lost, _) => format!("lost the connection to omnirelayd at {address}"),
            (_, 1) => format!("cannot reach omnirelayd at {address}"),
            (_, several) => format!("cannot reach omnirelayd at any of {several} addresses"),
        };
        let error = CliError::new(failure.kind.reason(), message).cause(cause);
        self.hints(error, failure.kind, address).target(target)
    }

    /// What to do about a failure of `kind` at `address`.
    fn hints(&self, error: CliError, kind: FailureKind, address: &str) -> CliError {
        let origin = match (self.target.context.as_str(), self.target.source) {
            ("", source) | (_, source @ (ValueSource::Peer | ValueSource::Relay)) => {
                format!("the address is from: {source}")
            }
            (name, _) => format!("the address is from: context `{name}`"),
        };
        let of_relay = matches!(self.target.source, ValueSource::Relay | ValueSource::Flag("--relay-addr"));
        let error = match kind {
            FailureKind::Lost | FailureKind::Unreachable | FailureKind::NotHttp
                if of_relay && !address.starts_with("https:") =>
            {
                error.hint("--relay-addr https://HOST:PORT  # if its port speaks TLS")
            }
            FailureKind::NotHttp if of_relay => {
                error.hint("--relay-addr HOST:PORT  # if its port speaks no TLS")
            }
            _ => error,
        };
        match kind {
            FailureKind::OtherName if !of_relay => error
                .hint("ask under a name that is in the certificate, or give that one: --tls-server-name NAME")
                .hint(
                    "or have the certificate name this one: control.hosts in that daemon's configuration and a restart, where it issues; any \
                     other joins again, with --name NAME",
                )
                .hint(origin),
            FailureKind::Untrusted if !of_relay => error
                .hint(
                    "name the authority of the mesh with --tls-ca FILE  # omnirelay cert ca export prints it",
                )
                .hint("ask under a name that is in the certificate, or give that one: --tls-server-name NAME")
                .hint(origin),
            FailureKind::OtherCluster => error
                .hint("call a daemon of that cluster, or say of which it may be: --tls-cluster CLUSTER")
                .hint(origin),
            FailureKind::Rejected => error
                .hint("show one that is valid with --tls-cert FILE and --tls-key FILE")
                .hint("omnirelay cert inspect FILE   # what the one that was shown says")
                .hint(origin),
            FailureKind::Untrusted | FailureKind::OtherName => error
                .hint("name whoever signed it with --relay-ca FILE, in PEM")
                .hint("ask under a name that is in the certificate, with relay.advertise or --relay-addr")
                .hint(origin),
            FailureKind::Refused | FailureKind::Lost | FailureKind::Unreachable if of_relay => {
                error.hint("omnirelay relays list         # which relays live, and where").hint(origin)
            }
            FailureKind::Refused | FailureKind::Lost | FailureKind::Unreachable
                if address.starts_with("unix:") =>
            {
                error.hint("omnirelayd --control-socket PATH  # is it there, and for this user?").hint(origin)
            }
            FailureKind::Refused | FailureKind::Lost | FailureKind::Unreachable
                if !self.target.may_be_development() =>
            {
                error
                    .hint(
                        "omnirelay mesh check           # on its host: does its daemon run, and where does it listen? a mesh port takes \
                         nodes alone",
                    )
                    .hint("omnirelay context list        # or choose another mesh")
                    .hint(origin)
            }
            FailureKind::Refused | FailureKind::Lost | FailureKind::Unreachable => {
                error.hint(own_daemon()).hint("omnirelay context list        # or choose another mesh").hint(origin)
            }
            FailureKind::Timeout => error.hint("repeat with a longer --request-timeout").hint(origin),
            FailureKind::UnknownName | FailureKind::ConnectTimeout | FailureKind::NotHttp => {
                error.hint("omnirelay context current -v  # where the address comes from").hint(origin)
            }
        }
    }
}

/// How a daemon of this host is asked: that of the package's unit, where it is there.
fn own_daemon() -> String {
    match std::path::Path::new(SOCKET_OF_UNIT).exists() {
        true => format!("omnirelay --addr unix:{SOCKET_OF_UNIT} ...  # as root: the daemon of this host"),
        false => "omnirelay up                  # start a development mesh here".to_owned(),
    }
}

/// What an error says of its cause, or all that it says.
fn cause_of(error: &CliError) -> String {
    error.body().cause.clone().unwrap_or_else(|| error.body().message.clone())
}

/// A mutation of which nobody can say whether it was carried out.
fn outcome_unknown(call: &Call, error: CliError) -> CliError {
    let (flag, key) = call.repeat_with.clone().unwrap_or_default();
    let name = lower_camel(&flag.trim_start_matches('-').replace('-', "_"));
    let cause = cause_of(&error);
    CliError::new(reasons::OUTCOME_UNKNOWN, "the answer was lost: the change may have been made or not")
        .exiting(Exit::Timeout)
        .cause(cause)
        .hint(format!("repeat the command with {flag} {key}; that is safe"))
        .detail(json!({ name: key }))
        .request_id(error.body().request_id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::env::EnvironmentVariables;
    use crate::frame::global::GlobalArgs;
    use crate::frame::settings::{CommandSettings, CommandTarget};

    /// What is said of a read that these addresses answered so, the last as the first.
    fn told(addresses: &[&str], kinds: &[FailureKind]) -> CliError {
        let settings =
            CommandSettings::resolve(&GlobalArgs::default(), EnvironmentVariables::default()).unwrap();
        let addresses_of = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let target = CommandTarget::bare(addresses_of, ValueSource::BuiltIn);
        let client = Client::new(&settings, target).unwrap();
        let call = Call::of(&crate::peers::LIST, &json!({})).unwrap();
        let failures = addresses.iter().zip(kinds).map(|(address, kind)| {
            ((*address).to_owned(), CallFailure { kind: *kind, cause: format!("{kind:?}") })
        });
        client.unreachable(&call, failures.collect(), 3, Duration::ZERO)
    }

    #[test]
    fn the_address_that_says_most_is_told() {
        use FailureKind::{ConnectTimeout, Lost, NotHttp, Refused, Rejected, Untrusted};
        let three = ["https://a:1", "https://b:1", "https://c:1"];
        let cases = [
            (
                "an ended certificate before a silent node",
                [Rejected, Refused, ConnectTimeout],
                9,
                "https://a:1",
            ),
            ("wherever it is", [Refused, ConnectTimeout, Rejected], 9, "https://c:1"),
            ("before one that is not believed", [Untrusted, Rejected, Lost], 9, "https://b:1"),
            ("one that is not believed before a silent one", [Refused, Untrusted, Refused], 6, "https://b:1"),
            ("no TLS before a silent one", [NotHttp, Refused, Refused], 6, "https://a:1"),
            ("of equals the first", [Refused, Refused, Refused], 6, "https://a:1"),
        ];
        for (what, kinds, exit, address) in cases {
            let error = told(&three, &kinds);
            let body = error.body();
            assert_eq!(
                (body.exit as u8, body.target.as_ref().unwrap()["address"].as_str()),
                (exit, Some(address)),
                "{what}"
            );
            assert!(!error.to_text().contains("omnirelay up"), "{what}: {}", error.to_text());
        }
    }

    #[test]
    fn a_development_mesh_is_advised_where_nothing_but_this_host_is_named() {
        let cases: [(&[&str], bool); 6] = [
            (&["http://127.0.0.1:17420"], true),
            (&["http://localhost:1", "http://[::1]:1"], true),
            (&["http://eu-1:17420"], false),
            (&["http://127.0.0.1:1", "http://eu-1:17420"], false),
            (&["https://127.0.0.1:17420"], false),
            (&["unix:/run/omnirelay/control.sock"], false),
        ];
        for (addresses, expected) in cases {
            let text = told(addresses, &[FailureKind::Refused; 2]).to_text();
            assert_eq!(text.contains("omnirelay up"), expected, "{addresses:?}: {text}");
        }
    }
}
