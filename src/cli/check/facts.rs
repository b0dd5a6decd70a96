//! What the checks judge: gathered once, so that judging needs no daemon.

use serde_json::Value;

use crate::cli::frame::client::some_of;
use crate::cli::frame::context_file::ContextFile;
use crate::cli::frame::document::{field, flag, items, text};
use crate::cli::frame::error::CliError;
use crate::cli::frame::rpc::Rpc;
use crate::cli::frame::time;
use crate::cli::node;

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
    /// The other nodes that live, or as many of them as are asked.
    pub others: Vec<NodeSaid>,
    /// How many more there are.
    pub not_asked: usize,
    pub nodes_ms: u64,
    /// The items of readiness that a category has for its own.
    pub claimed: Vec<&'static str>,
}

impl NodeSaid {
    /// What it said, with its id; `None` where nobody answered, or another one.
    pub fn itself(&self) -> Option<(&str, &Value)> {
        let said = self.said.as_ref().ok().filter(|said| text(said, "localNodeId") == self.id)?;
        Some((&self.id, said))
    }
}

/// So many are named where there are more.
pub const NAMED_MAX: usize = 5;

impl Facts {
    /// The answer to a question.
    ///
    /// # Errors
    /// Why there is none.
    pub fn of(&self, question: &Question) -> Result<&Value, &CliError> {
        // Every question of a check is asked.
        self.answer(question).map_or_else(|| self.node(), |answer| answer.said.as_ref())
    }

    fn answer(&self, question: &Question) -> Option<&Answer> {
        let found = self.answers.iter().find(|(asked, _)| std::ptr::eq(*asked, question));
        found.map(|(_, answer)| answer)
    }

    /// How far this machine's clock is before that of the daemon that answers, in milliseconds.
    pub fn skew_ms(&self) -> Option<i64> {
        let theirs = time::millis(field(self.node().ok()?, "generatedAt"))?;
        Some(self.now_ms? - theirs)
    }

    /// What the daemon that answers says of itself.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn node(&self) -> Result<&Value, &CliError> {
        self.answers[0].1.said.as_ref()
    }

    pub fn took_ms(&self, question: &Question) -> u64 {
        self.answer(question).map_or(0, |answer| answer.took_ms)
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
            told.iter().map(|(message, ids)| format!("{}: {message}", some_of(ids, NAMED_MAX))).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}
