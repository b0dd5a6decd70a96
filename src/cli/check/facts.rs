//! What the checks judge: gathered once, so that judging needs no daemon.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use serde_json::{Value, json};

use super::PEERS;
use crate::cli::frame::args::PageArgs;
use crate::cli::frame::context_file::ContextFile;
use crate::cli::frame::document::{flag, items, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::list::{self, Page};
use crate::cli::frame::rpc::{Call, Rpc};
use crate::cli::frame::session::Session;
use crate::cli::frame::settings::{Source, Target};
use crate::cli::frame::time;
use crate::cli::node::{self, control_address};

/// The most nodes that are asked themselves.
const NODES_MAX: usize = 100;
const ASKED_AT_ONCE: usize = 32;
/// How long one of them may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the daemon that answers is asked.
#[derive(Debug)]
pub struct Question {
    pub rpc: &'static Rpc,
    /// The field that holds the items, where it is a list.
    pub list: Option<&'static str>,
}

/// What the daemon that answers says of itself; it is asked first.
pub static NODE: Question = Question { rpc: &node::NODE, list: None };

/// An answer, or why there is none.
#[derive(Clone, Debug)]
pub struct Answer {
    pub said: Result<Value, CliError>,
    pub took_ms: u64,
}

/// What a node says of itself when it is asked at its own address.
#[derive(Clone, Debug)]
pub struct NodeSaid {
    pub id: String,
    /// Where it was asked; empty when nobody knows.
    pub address: String,
    pub said: Result<Value, CliError>,
    /// This machine's time then, half of the round trip taken off.
    pub now_ms: Option<i64>,
}

/// What was found out, or why it could not be.
#[derive(Clone, Debug)]
pub struct Facts {
    pub config: Result<ContextFile, CliError>,
    /// Where the answers are from.
    pub address: String,
    pub is_loopback: bool,
    /// This machine's time when the daemon answered, half of the round trip taken off.
    pub now_ms: Option<i64>,
    pub answers: Vec<(&'static Question, Answer)>,
    /// The other nodes that live, at most [`NODES_MAX`] of them.
    pub others: Vec<NodeSaid>,
    /// How many more there are.
    pub not_asked: usize,
    pub nodes_ms: u64,
}

impl NodeSaid {
    /// What it said, with its id; `None` where nobody answered, or another one.
    pub fn itself(&self) -> Option<(&str, &Value)> {
        let said = self.said.as_ref().ok().filter(|said| text(said, "localNodeId") == self.id)?;
        Some((&self.id, said))
    }
}

/// So many are named where there are more.
const NAMED_MAX: usize = 5;

/// `a, b, c and 12 more`
pub fn some_of<T: AsRef<str>>(all: &[T]) -> String {
    let named: Vec<&str> = all.iter().take(NAMED_MAX).map(AsRef::as_ref).collect();
    match all.len().saturating_sub(NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

impl Facts {
    /// The answer to a question.
    ///
    /// # Errors
    /// Why there is none.
    pub fn of(&self, question: &Question) -> Result<&Value, &CliError> {
        let found = self.answers.iter().find(|(asked, _)| std::ptr::eq(*asked, question));
        // Every question of a check is asked; a test asks of each check what it says when nothing was.
        found.map_or_else(|| self.node(), |(_, answer)| answer.said.as_ref())
    }

    /// What the daemon that answers says of itself.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn node(&self) -> Result<&Value, &CliError> {
        self.answers[0].1.said.as_ref()
    }

    pub fn took_ms(&self, question: &Question) -> u64 {
        let found = self.answers.iter().find(|(asked, _)| std::ptr::eq(*asked, question));
        found.map_or(0, |(_, answer)| answer.took_ms)
    }

    /// Why the daemon could not be asked everything.
    pub fn failure(&self) -> Option<&CliError> {
        self.answers.iter().find_map(|(_, answer)| answer.said.as_ref().err())
    }

    /// Every node that said something of itself, with its id, the one that answers first.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Value)> {
        let own = self.node().ok().map(|node| (text(node, "localNodeId"), node));
        own.into_iter().chain(self.others.iter().filter_map(NodeSaid::itself))
    }

    /// ` (1 of 3 live nodes said so)`, unless all did.
    pub fn coverage(&self) -> String {
        let (said, all) = (self.nodes().count(), 1 + self.others.len() + self.not_asked);
        if said == all { String::new() } else { format!(" ({said} of {all} live nodes said so)") }
    }

    /// Whether any node that was asked has this item of readiness.
    pub fn has_item(&self, name: &str) -> bool {
        self.nodes().any(|(_, node)| items(node, "readiness").iter().any(|item| text(item, "name") == name))
    }

    /// What is wrong with this item of readiness, and on which nodes; `None` where nothing is.
    pub fn trouble(&self, name: &str) -> Option<String> {
        let mut told: Vec<(&str, Vec<&str>)> = Vec::new();
        for (id, node) in self.nodes() {
            let of_name = items(node, "readiness").iter().filter(|item| text(item, "name") == name);
            for message in of_name.filter(|item| !flag(item, "ok")).map(|item| text(item, "message")) {
                match told.iter_mut().find(|(known, _)| *known == message) {
                    Some((_, ids)) => ids.push(id),
                    None => told.push((message, vec![id])),
                }
            }
        }
        let told: Vec<String> =
            told.iter().map(|(message, ids)| format!("{}: {message}", some_of(ids))).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

/// Above this, the first question has not only asked, in milliseconds: it has tried addresses, or been put off.
const ASKING_MAX_MS: u64 = 50;

/// Asks everything the checks need; the other nodes only where what they say is wanted.
pub async fn gather(session: &Session, others_too: bool) -> Facts {
    let config = session.settings.config.clone();
    let mut node = ask(session, &NODE).await;
    if node.said.is_ok() && node.took_ms > ASKING_MAX_MS {
        // Clocks are compared by what one answer took.
        node = ask(session, &NODE).await;
    }
    let now_ms = time::now_ms().map(|now| now - i64::try_from(node.took_ms / 2).unwrap_or(0));
    let others: Vec<&Question> =
        super::questions().filter(|question| !std::ptr::eq(*question, &NODE)).collect();
    let answers = match &node.said {
        Ok(_) => join_all(others.iter().map(|question| ask(session, question))).await,
        // Whoever does not answer one question is not asked the next.
        Err(error) => vec![Answer { said: Err(error.clone()), took_ms: 0 }; others.len()],
    };
    let client = session.client().ok();
    let mut facts = Facts {
        config,
        address: client.map(|client| client.address().to_string()).unwrap_or_default(),
        is_loopback: client.is_some_and(|client| client.address().is_loopback()),
        now_ms,
        answers: std::iter::once((&NODE, node)).chain(others.into_iter().zip(answers)).collect(),
        others: Vec::new(),
        not_asked: 0,
        nodes_ms: 0,
    };
    let began = Instant::now();
    if others_too {
        (facts.others, facts.not_asked) = ask_others(session, &facts).await;
    }
    facts.nodes_ms = elapsed_ms(began);
    facts
}

async fn ask(session: &Session, question: &Question) -> Answer {
    let began = Instant::now();
    let said = match question.list {
        Some(name) => {
            let request = |page: &Page| Call::of(question.rpc, &json!({"pageToken": page.token}));
            list::fetch(session, name, &PageArgs::default(), true, request).await
        }
        None => match Call::of(question.rpc, &json!({})) {
            Ok(call) => session.call(&call).await,
            Err(error) => Err(error),
        },
    };
    Answer { said, took_ms: elapsed_ms(began) }
}

/// Asks the other nodes that live what they say of themselves; and how many were not asked.
async fn ask_others(session: &Session, facts: &Facts) -> (Vec<NodeSaid>, usize) {
    let (Ok(node), Ok(peers)) = (facts.node(), facts.of(&PEERS)) else { return (Vec::new(), 0) };
    let own = text(node, "localNodeId");
    let is_other = |peer: &&Value| text(peer, "status") == "alive" && text(peer, "nodeId") != own;
    let others: Vec<&Value> = items(peers, "peers").iter().filter(is_other).collect();
    let asked = others.iter().take(NODES_MAX).map(|peer| ask_node(session, peer));
    let said = stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await;
    (said, others.len().saturating_sub(NODES_MAX))
}

async fn ask_node(session: &Session, peer: &Value) -> NodeSaid {
    let id = text(peer, "nodeId").to_owned();
    let address = text(peer, "metadata.endpoints.control").to_owned();
    let began = Instant::now();
    let said = say(session, &id, peer).await;
    let took_ms = elapsed_ms(began);
    let half_ms = i64::try_from(took_ms / 2).unwrap_or(0);
    // What took long says nothing of a clock.
    let now_ms = time::now_ms().filter(|_| took_ms <= ASKING_MAX_MS).map(|now| now - half_ms);
    NodeSaid { id, address, said, now_ms }
}

async fn say(session: &Session, id: &str, peer: &Value) -> Result<Value, CliError> {
    let address = control_address(id, peer)?;
    let target = Target { addresses: vec![address], source: Source::Peer, ..session.target()?.clone() };
    let patience = PATIENCE.min(session.settings.request_timeout);
    session.client()?.towards(target, patience)?.call(&Call::of(NODE.rpc, &json!({}))?).await
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
