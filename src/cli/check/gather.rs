//! Gathering what the checks judge.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream;
use serde_json::{Value, json};

use super::facts::{Answer, Facts, NODE, NodeSaid, Question};
use crate::cli::frame::args::PageArgs;
use crate::cli::frame::document::{items, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::list::{self, Page};
use crate::cli::frame::rpc::Call;
use crate::cli::frame::session::Session;
use crate::cli::frame::settings::{Source, Target};
use crate::cli::frame::time;
use crate::cli::node::control_address;
use crate::cli::peers::checks::PEERS;

/// The most nodes that are asked themselves.
const NODES_MAX: usize = 100;
const ASKED_AT_ONCE: usize = 32;
/// How long one of them may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// Above this, the first question has not only asked, in milliseconds: it has tried addresses, or been put off.
const ASKING_MAX_MS: u64 = 50;

/// Asks everything the checks need; the other nodes only where what they say is wanted. `claimed` are the items of
/// readiness that a category has for its own.
pub async fn gather(
    session: &Session,
    questions: &[&'static Question],
    claimed: Vec<&'static str>,
    others_too: bool,
) -> Facts {
    let config = session.settings.config.clone();
    let mut node = ask(session, &NODE).await;
    if node.said.is_ok() && node.took_ms > ASKING_MAX_MS {
        // Clocks are compared by what one answer took.
        node = ask(session, &NODE).await;
    }
    let now_ms = time::now_ms().map(|now| now - i64::try_from(node.took_ms / 2).unwrap_or(0));
    let others: Vec<&'static Question> =
        questions.iter().copied().filter(|question| !std::ptr::eq(*question, &NODE)).collect();
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
        claimed,
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
    let said = say(session, &id, peer).await;
    NodeSaid { id, address, said }
}

async fn say(session: &Session, id: &str, peer: &Value) -> Result<Value, CliError> {
    let address = control_address(id, peer, session.client()?.address())?;
    let target = Target { addresses: vec![address], source: Source::Peer, ..session.target()?.clone() };
    let patience = PATIENCE.min(session.settings.request_timeout);
    session.client()?.towards(target, patience)?.call(&Call::of(NODE.rpc, &json!({}))?).await
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
