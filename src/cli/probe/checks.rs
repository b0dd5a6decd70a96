//! Checks of a probe: each does what a caller of a mesh does.

use std::time::Duration;

use clap::ValueEnum;
use omnirelay_wire::rpc::{
    leadership_control_service, namespace_control_service, peer_control_service, shard_control_service,
};

use super::http3;
use crate::frame::client::{Client, fresh_key};
use crate::frame::prelude::*;
use crate::frame::watch::stream::{OpenEventStream, StreamEnd, open};
use crate::frame::watch::word;

const PEERS: RpcMethod = peer_control_service::LIST;
const WATCH: RpcMethod = leadership_control_service::WATCH;
const GET: RpcMethod = leadership_control_service::GET;
const SET_SCOPE: RpcMethod = leadership_control_service::SET_SCOPE;
const STEP_DOWN: RpcMethod = leadership_control_service::STEP_DOWN;
const NAMESPACES: RpcMethod = namespace_control_service::LIST;
const LOOKUP: RpcMethod = shard_control_service::LOOKUP;

/// All that probes call.
pub(super) const CALLED: &[&RpcMethod] =
    &[&PEERS, &WATCH, &GET, &SET_SCOPE, &STEP_DOWN, &NAMESPACES, &LOOKUP];

/// How often is asked whether somebody leads again.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Reason of what a probe changes, as the audit trail has it.
const REASON: &str = "probe";
/// Label of the scope of probes, which each change sets anew.
const LABEL: &str = "probe";

/// Check of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ProbeCheck {
    /// Peers are listed
    List,
    /// A watch begins, and is complete
    Watch,
    /// The owner of a shard is looked up
    Lookup,
    /// A call is answered over HTTP/3
    Http3,
    /// A change is committed, and seen in a watch
    Change,
    /// A leader steps down, and another is elected with a later fence token
    Lock,
}

/// End of a check that did not pass.
#[derive(Debug)]
pub(super) enum CheckEnd {
    Failed(String),
    /// There is nothing to check.
    Skipped(String),
}

impl From<CliError> for CheckEnd {
    fn from(error: CliError) -> Self {
        let cause = error.body().cause.clone().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self::Failed(format!("{}{cause}", error.body().message))
    }
}

impl From<StreamEnd> for CheckEnd {
    fn from(end: StreamEnd) -> Self {
        match end {
            StreamEnd::Failed(failure) => Self::Failed(failure.to_string()),
            StreamEnd::Later(error) | StreamEnd::Refused(error) => error.into(),
        }
    }
}

/// Mesh that is probed.
pub(super) struct ProbeTarget<'a> {
    session: &'a CommandSession,
    client: &'a Client,
    scope: &'a str,
}

impl<'a> ProbeTarget<'a> {
    /// The target of a session; `scope` is what checks change.
    ///
    /// # Errors
    /// When there is no client.
    pub(super) fn new(session: &'a CommandSession, scope: &'a str) -> Result<Self, CliError> {
        Ok(Self { session, client: session.client()?, scope })
    }

    async fn call(&self, rpc: &RpcMethod, request: Value) -> Result<Value, CliError> {
        self.client.call(&Call::of(rpc, &request)?).await
    }

    async fn change(&self, rpc: &RpcMethod, mut request: Value) -> Result<Value, CliError> {
        request["scope"] = json!(self.scope);
        request["reason"] = json!(REASON);
        self.client.call(&Call::of(rpc, &request)?.keyed(&fresh_key()?, "")).await
    }

    async fn scope(&self) -> Result<Value, CliError> {
        let document = self.call(&GET, json!({ "scope": self.scope })).await?;
        Ok(document.get("leadership").cloned().unwrap_or_default())
    }

    /// A stream at the first address that answers, as of any other call.
    async fn open(&self, call: &Call) -> Result<OpenEventStream, StreamEnd> {
        for _ in 1..self.client.target().addresses.len() {
            match open(self.client, call, "").await {
                Err(StreamEnd::Failed(_)) => self.client.turn_away(),
                opened => return opened,
            }
        }
        open(self.client, call, "").await
    }

    /// A watch of the scope, whose snapshot is complete.
    async fn watch(&self) -> Result<OpenEventStream, CheckEnd> {
        let call = Call::of(&WATCH, &json!({ "scope": [self.scope] }))?;
        let mut events = self.open(&call).await?;
        loop {
            if events.next().await?.is_some_and(|event| word(&event.document) == "synced") {
                return Ok(events);
            }
        }
    }
}

impl ProbeCheck {
    pub(super) const ALL: [Self; 6] =
        [Self::List, Self::Watch, Self::Lookup, Self::Http3, Self::Change, Self::Lock];

    /// As metrics, flags and documents have it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Watch => "watch",
            Self::Lookup => "lookup",
            Self::Http3 => "http3",
            Self::Change => "change",
            Self::Lock => "lock",
        }
    }

    /// Whether it changes something.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::Change | Self::Lock)
    }

    /// Makes the check; what it found, in a few words.
    ///
    /// # Errors
    /// Why it did not pass.
    pub(super) async fn make(self, target: &ProbeTarget<'_>) -> Result<String, CheckEnd> {
        match self {
            Self::List => list(target).await,
            Self::Watch => target.watch().await.map(|_| "the snapshot is complete".to_owned()),
            Self::Lookup => lookup(target).await,
            Self::Http3 => http3::call(target.session, target.client).await,
            Self::Change => change(target).await,
            Self::Lock => lock(target).await,
        }
    }
}

/// Reads go on while the store is away: an answer that is old is one, and says so.
async fn list(target: &ProbeTarget<'_>) -> Result<String, CheckEnd> {
    let document = target.call(&PEERS, json!({ "pageSize": 1 })).await?;
    let age = if flag(&document, "stale") { ", as an old view has it" } else { "" };
    match items(&document, "peers").is_empty() {
        true => Err(CheckEnd::Failed("there are no peers".to_owned())),
        false => Ok(format!("{} answered{age}", text(&document, "localNodeId"))),
    }
}

async fn lookup(target: &ProbeTarget<'_>) -> Result<String, CheckEnd> {
    let namespaces = target.call(&NAMESPACES, json!({ "pageSize": 1 })).await?;
    let Some(namespace) = items(&namespaces, "namespaces").first() else {
        return Err(CheckEnd::Skipped("there is no namespace".to_owned()));
    };
    let name = text(namespace, "namespace");
    let found = target.call(&LOOKUP, json!({ "namespace": name, "key": LABEL })).await?;
    match text(&found, "shard.ownerNodeId") {
        "" => Err(CheckEnd::Failed(format!("nobody owns shard {} of {name}", text(&found, "shard.shardId")))),
        owner => Ok(format!("shard {} of {name} is of {owner}", text(&found, "shard.shardId"))),
    }
}

/// Sets the label of the scope, which it makes where it is not there.
async fn set_label(target: &ProbeTarget<'_>, value: &str) -> Result<(), CliError> {
    let known = match target.scope().await {
        Ok(known) => known,
        Err(absent) if absent.exit() == Exit::NotFound => json!({}),
        Err(error) => return Err(error),
    };
    let part = |name: &str| known.get(name).cloned().unwrap_or_else(|| json!({}));
    let mut labels = part("labels");
    labels[LABEL] = json!(value);
    // What somebody else changes meanwhile is not undone.
    let version = number(&known, "version").to_string();
    let change = json!({ "policy": part("policy"), "labels": labels, "expectedVersion": version });
    target.change(&SET_SCOPE, change).await.map(drop)
}

async fn change(target: &ProbeTarget<'_>) -> Result<String, CheckEnd> {
    let mut events = target.watch().await?;
    let value = fresh_key()?.chars().filter(char::is_ascii_alphanumeric).take(12).collect::<String>();
    set_label(target, &value).await?;
    loop {
        let Some(event) = events.next().await? else { continue };
        if event.document.to_string().contains(&value) {
            return Ok(format!("{} was changed, and a watch told it", target.scope));
        }
    }
}

/// The fence token of whoever leads the scope.
async fn led(target: &ProbeTarget<'_>, above: u64) -> Result<(String, u64), CliError> {
    loop {
        let scope = target.scope().await?;
        let (leader, token) = (text(&scope, "leaderId"), number(&scope, "fenceToken"));
        if !leader.is_empty() && token > above {
            return Ok((leader.to_owned(), token));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn lock(target: &ProbeTarget<'_>) -> Result<String, CheckEnd> {
    if let Err(absent) = target.scope().await {
        if absent.exit() != Exit::NotFound {
            return Err(absent.into());
        }
        set_label(target, LABEL).await?;
    }
    let (_, token) = led(target, 0).await?;
    target.change(&STEP_DOWN, json!({})).await?;
    let (leader, later) = led(target, token).await?;
    Ok(format!("{leader} leads with token {later}, after {token}"))
}
