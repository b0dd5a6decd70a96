//! Who leads by his own daemon's word while the network is split, and whether that holds together.

use omnirelay_wire::tls::nobody;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tokio::task::JoinSet;

use super::super::service::own_tokens;
use super::world::World;
use crate::checker::{AtLeast, Bounds, Rule, Violation, check};
use crate::history::{Event, History};
use crate::recorder::Recorder;

const ASK_EVERY: Duration = Duration::from_millis(25);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Somebody led, and showed this token.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub at_us: u64,
    pub node: String,
    pub scope: String,
    pub token: u64,
}

/// Asks each daemon all the time what it leads.
pub(super) struct Judge {
    pub recorder: Arc<Recorder>,
    seen: Arc<Mutex<Vec<Seen>>>,
    asking: JoinSet<()>,
}

/// What was found.
pub(super) struct Verdict {
    /// Two who took themselves for the leader of one scope.
    pub doubles: Vec<Violation>,
    /// A token that was shown behind a greater one.
    pub falls: Vec<(Seen, Seen)>,
    pub seen: Vec<Seen>,
    pub history: History,
}

impl Judge {
    pub(super) fn begin(world: &World) -> Result<Self> {
        let (recorder, seen) = (Arc::new(Recorder::new()), Arc::<Mutex<Vec<Seen>>>::default());
        let mut asking = JoinSet::new();
        for member in &world.members {
            let client = reqwest::Client::builder()
                .tls_backend_preconfigured(nobody())
                .timeout(ANSWER_WITHIN)
                .build()?;
            let url = member.daemon.url("/control/leaders");
            let (node, recorder, seen) = (member.id.clone(), recorder.clone(), seen.clone());
            asking.spawn(async move {
                let mut led = BTreeMap::new();
                loop {
                    let asked_us = recorder.now_us();
                    if let Ok(answer) = ask(&client, &url).await
                        && let Ok(said) = own_tokens(&answer, &node, asked_us)
                    {
                        led = believe(&recorder, &seen, &node, &led, said);
                    }
                    tokio::time::sleep(ASK_EVERY).await;
                }
            });
        }
        Ok(Self { recorder, seen, asking })
    }

    pub(super) async fn end(mut self) -> Verdict {
        self.asking.shutdown().await;
        let history = self.recorder.history();
        let at_least = AtLeast { beliefs: 7, ..AtLeast::default() };
        let bounds =
            Bounds { leaderless_max: Duration::from_secs(60), handover_max: Duration::ZERO, at_least };
        let violations = check(&history, &bounds).err().unwrap_or_default();
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let doubles = violations.into_iter().filter(|found| found.rule == Rule::Beliefs).collect();
        Verdict { doubles, falls: falls(&seen), seen, history }
    }
}

async fn ask(client: &reqwest::Client, url: &str) -> Result<Value> {
    let response = client.get(url).send().await?.error_for_status()?;
    Ok(serde_json::from_slice(&response.bytes().await?)?)
}

type Led = BTreeMap<String, (u64, u64)>;

/// Records what a node takes itself for.
fn believe(recorder: &Recorder, seen: &Mutex<Vec<Seen>>, node: &str, before: &Led, said: Led) -> Led {
    let node = node.to_owned();
    for (scope, (token, _)) in before.iter().filter(|(scope, _)| !said.contains_key(*scope)) {
        recorder.push(Event::EndLead { node: node.clone(), scope: scope.clone(), token: *token });
    }
    for (scope, (token, until_us)) in &said {
        let (scope, token, until_us) = (scope.clone(), *token, *until_us);
        if recorder.now_us() >= until_us {
            continue;
        }
        let is_new = before.get(&scope).is_none_or(|(before, _)| *before != token);
        let event = (node.clone(), scope.clone());
        let at_us = recorder.push(match is_new {
            true => Event::BeginLead { node: event.0, scope: event.1, token, until_us },
            false => Event::KeepLead { node: event.0, scope: event.1, token, until_us },
        });
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(Seen { at_us, node: node.clone(), scope, token });
    }
    said
}

/// What a gate would have refused that has heard of every leader.
fn falls(seen: &[Seen]) -> Vec<(Seen, Seen)> {
    let mut sorted = seen.to_vec();
    sorted.sort_by_key(|seen| seen.at_us);
    let mut greatest: BTreeMap<String, Seen> = BTreeMap::new();
    let mut found = Vec::new();
    for one in sorted {
        match greatest.get(&one.scope) {
            Some(before) if before.token > one.token => found.push((before.clone(), one)),
            Some(_) | None => {
                greatest.insert(one.scope.clone(), one);
            }
        }
    }
    found
}

impl Verdict {
    /// The longest time in which somebody of `side` led beside somebody who is not, in ms.
    pub(super) fn beside_ms(&self, side: &[&str]) -> u64 {
        let of = |inside: bool| {
            let mine = self.seen.iter().filter(move |seen| side.contains(&seen.node.as_str()) == inside);
            mine.fold(BTreeMap::<&str, (u64, u64)>::new(), |mut spans, seen| {
                let span = spans.entry(seen.scope.as_str()).or_insert((seen.at_us, seen.at_us));
                *span = (span.0.min(seen.at_us), span.1.max(seen.at_us));
                spans
            })
        };
        let (inside, outside) = (of(true), of(false));
        let overlaps = inside.iter().filter_map(|(scope, span)| {
            let other = outside.get(scope)?;
            Some(span.1.min(other.1).saturating_sub(span.0.max(other.0)) / 1000)
        });
        overlaps.max().unwrap_or(0)
    }
}
