//! The stream of heartbeats to another registry: all that is to be said at one time is one message.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::stream::poll_fn;
use omnirelay_wire::pb::aeroarc::registry::v1 as pb;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use pb::aero_registry_client::AeroRegistryClient;

/// How many heartbeats may wait for the stream; more wait outside.
const WAITING_MAX: usize = 1024;
/// The most agents of one message.
const MESSAGE_MAX: usize = 1000;

/// Says heartbeats on one stream, which is opened with the first and again after a failure.
pub(super) struct HeartbeatStream {
    words: mpsc::Sender<Heartbeat>,
    /// The registry has no such call.
    is_unknown: AtomicBool,
    sending: AbortHandle,
}

/// An agent lives, and somebody waits to hear what the registry says to that.
struct Heartbeat {
    agent_id: String,
    relay_id: String,
    answer: oneshot::Sender<Result<(), Status>>,
}

/// Open stream of heartbeats.
struct OpenHeartbeatStream {
    messages: mpsc::Sender<pb::HeartbeatAgentsRequest>,
    answers: Streaming<pb::HeartbeatAgentsResponse>,
}

impl HeartbeatStream {
    /// Must be called inside a runtime.
    pub(super) fn start(client: AeroRegistryClient<Channel>) -> Self {
        let (words, said) = mpsc::channel(WAITING_MAX);
        let sending = tokio::spawn(send(client, said)).abort_handle();
        Self { words, is_unknown: AtomicBool::new(false), sending }
    }

    /// Says that an agent lives; `None`: it must be said in a call of its own.
    pub(super) async fn say(&self, agent_id: &str, relay_id: &str) -> Option<Result<(), Status>> {
        if self.is_unknown.load(Ordering::Relaxed) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let (agent_id, relay_id) = (agent_id.to_owned(), relay_id.to_owned());
        self.words.send(Heartbeat { agent_id, relay_id, answer }).await.ok()?;
        match answered.await.ok()? {
            Err(status) if status.code() == Code::Unimplemented => {
                self.is_unknown.store(true, Ordering::Relaxed);
                None
            }
            heard => Some(heard),
        }
    }
}

impl Drop for HeartbeatStream {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

async fn send(client: AeroRegistryClient<Channel>, mut said: mpsc::Receiver<Heartbeat>) {
    let (mut open, mut together) = (None, Vec::new());
    while said.recv_many(&mut together, MESSAGE_MAX).await > 0 {
        // All but those whose caller has given up.
        together.retain(|word| !word.answer.is_closed());
        while let Some(first) = together.first() {
            let relay_id = first.relay_id.clone();
            let (words, others) = together.drain(..).partition(|word: &Heartbeat| word.relay_id == relay_id);
            together = others;
            open = say_together(&client, open, words).await;
        }
    }
}

/// Says what there is of one relay, and gives back the stream if it can go on.
async fn say_together(
    client: &AeroRegistryClient<Channel>,
    open: Option<OpenHeartbeatStream>,
    words: Vec<Heartbeat>,
) -> Option<OpenHeartbeatStream> {
    match exchange(client, open, &words).await {
        Ok((open, answer)) => {
            for Heartbeat { agent_id, answer: caller, .. } in words {
                let refused = answer.refused.iter().find(|refused| refused.agent_id == agent_id);
                let heard = refused.map_or(Ok(()), |refused| {
                    Err(Status::new(Code::from_i32(refused.code), refused.message.clone()))
                });
                // Whoever has gone meanwhile wants no answer.
                let _ = caller.send(heard);
            }
            Some(open)
        }
        Err(status) => {
            for word in words {
                let _ = word.answer.send(Err(status.clone()));
            }
            None
        }
    }
}

async fn exchange(
    client: &AeroRegistryClient<Channel>,
    open: Option<OpenHeartbeatStream>,
    words: &[Heartbeat],
) -> Result<(OpenHeartbeatStream, pb::HeartbeatAgentsResponse), Status> {
    let mut open = match open {
        Some(open) => open,
        None => {
            let (messages, mut sent) = mpsc::channel(1);
            let sent = poll_fn(move |context| sent.poll_recv(context));
            let answers = client.clone().heartbeat_agents(sent).await?.into_inner();
            OpenHeartbeatStream { messages, answers }
        }
    };
    let ended = || Status::unavailable("the registry has ended the stream of heartbeats");
    let relay_id = words.first().map(|word| word.relay_id.clone()).unwrap_or_default();
    let agent_id = words.iter().map(|word| word.agent_id.clone()).collect();
    open.messages.send(pb::HeartbeatAgentsRequest { relay_id, agent_id }).await.map_err(|_| ended())?;
    let answer = open.answers.message().await?.ok_or_else(ended)?;
    Ok((open, answer))
}
