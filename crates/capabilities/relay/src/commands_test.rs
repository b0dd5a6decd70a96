use super::*;
use crate::sessions::{SessionSettings, StreamEnding, StreamOrders};

/// A relay with one agent.
struct Rig {
    sessions: AgentSessions,
    commands: RelayCommands,
}

impl Rig {
    fn new() -> Self {
        let settings = SessionSettings {
            relay_id: "relay-1".to_owned(),
            ttl: Duration::from_secs(45),
            sessions_max: 10,
        };
        let sessions = AgentSessions::new(settings, Arc::default(), Arc::default());
        Self { sessions, commands: RelayCommands::default() }
    }

    fn register(&self) {
        let asked = pb::RegisterRequest { agent_id: "a".to_owned(), ..Default::default() };
        self.sessions.register(asked).unwrap();
    }

    fn connect(&self, shape: Option<StreamShape>) -> (Arc<AgentStream>, StreamOrders) {
        self.register();
        let (stream, orders) = self.sessions.open("a").unwrap_or_else(|fault| panic!("{fault:?}"));
        if let Some(shape) = shape {
            stream.shape.set(shape).unwrap();
        }
        (stream, orders)
    }

    async fn give(&self, order: AgentCommand) -> Result<Status, String> {
        let answer = match self.commands.send(&self.sessions, "a", order) {
            Ok(given) => given.answer().await,
            Err(fault) => Err(fault),
        };
        answer.map(|answer| answer.status()).map_err(|fault| fault.reason.to_string())
    }

    fn answer(&self, stream: &AgentStream, command_id: &str, status: Status, flight: &str) {
        let active_context = (!flight.is_empty()).then(|| context(flight));
        let (command_id, status) = (command_id.to_owned(), status.into());
        let ack = pb::OperationContextCommandAck { command_id, status, active_context, error: String::new() };
        self.commands.note(stream, ack.into());
    }

    /// Gives an order, and answers what is sent.
    async fn answered(&self, order: AgentCommand, status: Status, flight: &str) -> Result<Status, String> {
        let (stream, mut orders) = self.connect(Some(StreamShape::Envelope));
        let command_id = order.command_id().to_owned();
        let agent = async {
            orders.commands.recv().await.unwrap();
            self.answer(&stream, &command_id, status, flight);
        };
        tokio::join!(self.give(order), agent).0
    }
}

fn context(flight: &str) -> pb::OperationContext {
    pb::OperationContext { flight_id: flight.to_owned(), intent_id: "i".to_owned(), intent_version: 1 }
}

fn set(command_id: &str, flight: &str) -> AgentCommand {
    let (command_id, context) = (command_id.to_owned(), Some(context(flight)));
    AgentCommand::Set(pb::SetOperationContextCommand { command_id, context }.into())
}

fn clear(command_id: &str) -> AgentCommand {
    let (command_id, flight_id) = (command_id.to_owned(), "f".to_owned());
    AgentCommand::Clear(pb::ClearOperationContextCommand { command_id, flight_id }.into())
}

#[tokio::test]
async fn an_agent_obeys_and_says_what_it_does() {
    let rig = Rig::new();
    assert_eq!(rig.answered(set("c1", "f"), Status::Applied, "f").await, Ok(Status::Applied));
    assert_eq!(rig.sessions.status("a").unwrap().flight_id, "f");
    assert_eq!(rig.answered(clear("c2"), Status::Applied, "").await, Ok(Status::Applied));
    assert_eq!(rig.sessions.status("a").unwrap().flight_id, "");
    assert_eq!(rig.answered(set("c3", "f"), Status::Rejected, "").await, Ok(Status::Rejected));
    let other = rig.answered(set("c4", "f"), Status::Applied, "g").await;
    assert_eq!(other, Err("INTERNAL".to_owned()));
}

#[tokio::test]
async fn a_command_is_answered_as_it_was_the_first_time() {
    let rig = Rig::new();
    assert_eq!(rig.answered(set("c1", "f"), Status::Applied, "f").await, Ok(Status::Applied));
    // Nobody is asked again: there is no stream any more.
    let (stream, _orders) = rig.connect(Some(StreamShape::Envelope));
    rig.sessions.close(&stream, StreamEnding::Clean);
    assert_eq!(rig.give(set("c1", "f")).await, Ok(Status::Applied));
    assert_eq!(rig.give(set("c1", "other")).await, Err("COMMAND_REUSED".to_owned()));
    assert_eq!(rig.give(clear("c1")).await, Err("COMMAND_REUSED".to_owned()));
}

#[tokio::test]
async fn what_could_not_be_done_for_the_moment_is_asked_again() {
    let rig = Rig::new();
    let first = rig.answered(set("c1", "f"), Status::TemporaryError, "").await;
    assert_eq!(first, Ok(Status::TemporaryError));
    assert_eq!(rig.answered(set("c1", "f"), Status::Applied, "f").await, Ok(Status::Applied));
}

#[tokio::test]
async fn who_takes_no_commands_is_sent_none() {
    let rig = Rig::new();
    assert_eq!(rig.give(set("c1", "f")).await, Err("DRONE_NOT_FOUND".to_owned()));
    rig.register();
    assert_eq!(rig.give(set("c1", "f")).await, Err("AGENT_OFFLINE".to_owned()));
    for shape in [None, Some(StreamShape::Legacy)] {
        let (_stream, mut orders) = rig.connect(shape);
        assert_eq!(rig.give(set("c1", "f")).await, Err("AGENT_TAKES_NO_COMMANDS".to_owned()), "{shape:?}");
        assert!(orders.commands.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_stream_that_ends_or_is_replaced_ends_the_wait() {
    let rig = Rig::new();
    let (stream, orders) = rig.connect(Some(StreamShape::Envelope));
    let broken = async {
        tokio::task::yield_now().await;
        drop(orders);
        rig.sessions.close(&stream, StreamEnding::Broken);
    };
    assert_eq!(tokio::join!(rig.give(set("c1", "f")), broken).0, Err("AGENT_OFFLINE".to_owned()));
    let (_stream, _orders) = rig.connect(Some(StreamShape::Envelope));
    let replaced = async {
        tokio::task::yield_now().await;
        rig.register();
    };
    assert_eq!(tokio::join!(rig.give(set("c1", "f")), replaced).0, Err("SESSION_REPLACED".to_owned()));
}

#[tokio::test]
async fn answers_of_others_and_to_nothing_are_ignored() {
    let rig = Rig::new();
    let asked = pb::RegisterRequest { agent_id: "b".to_owned(), ..Default::default() };
    rig.sessions.register(asked).unwrap();
    let (other, _other_orders) = rig.sessions.open("b").unwrap_or_else(|fault| panic!("{fault:?}"));
    let (stream, mut orders) = rig.connect(Some(StreamShape::Envelope));
    let agents = async {
        orders.commands.recv().await.unwrap();
        rig.answer(&other, "c1", Status::Rejected, "");
        rig.answer(&stream, "c0", Status::Rejected, "");
        tokio::task::yield_now().await;
        rig.answer(&stream, "c1", Status::Applied, "f");
        rig.answer(&stream, "c1", Status::Rejected, "");
    };
    assert_eq!(tokio::join!(rig.give(set("c1", "f")), agents).0, Ok(Status::Applied));
    assert_eq!(rig.give(set("c1", "f")).await, Ok(Status::Applied));
}

#[tokio::test]
async fn as_many_commands_are_remembered_as_there_is_room_for() {
    let rig = Rig::new();
    let (stream, mut orders) = rig.connect(Some(StreamShape::Envelope));
    for number in 0..REMEMBERED_MAX {
        let id = format!("c{number}");
        let agent = async {
            orders.commands.recv().await.unwrap();
            rig.answer(&stream, &id, Status::Applied, "f");
        };
        assert_eq!(tokio::join!(rig.give(set(&id, "f")), agent).0, Ok(Status::Applied));
    }
    assert_eq!(rig.give(set("one more", "f")).await, Err("TOO_MANY_COMMANDS".to_owned()));
}

#[tokio::test]
async fn commands_that_nobody_waits_for_make_room() {
    let rig = Rig::new();
    let (_stream, mut orders) = rig.connect(Some(StreamShape::Envelope));
    for number in 0..=REMEMBERED_MAX {
        let order = set(&format!("c{number}"), "f");
        // The caller gives up once it is sent.
        tokio::select! {
            biased;
            answer = rig.give(order) => panic!("{answer:?}"),
            _ = orders.commands.recv() => {}
        }
    }
}

#[tokio::test]
async fn what_agents_say_is_kept_in_bounds() {
    let rig = Rig::new();
    let (stream, mut orders) = rig.connect(Some(StreamShape::Envelope));
    let long = "ü".repeat(100_000);
    let agent = async {
        orders.commands.recv().await.unwrap();
        let active_context = Some(pb::OperationContext {
            flight_id: long.clone(),
            intent_id: "i".to_owned(),
            intent_version: 1,
        });
        let (command_id, status, error) = ("c1".to_owned(), Status::Applied.into(), long.clone());
        let ack = pb::OperationContextCommandAck { command_id, status, error, active_context };
        rig.commands.note(&stream, ack.into());
    };
    assert_eq!(tokio::join!(rig.give(set("c1", "f")), agent).0, Err("INTERNAL".to_owned()));
    stream.session.note_flight(&long, "i", 1);
    let status = rig.sessions.status("a").unwrap();
    assert_eq!((status.flight_id.as_str(), status.intent_version), ("", 0));
    let kept = rig.commands.by_id.lock()["c1"].answer.borrow().clone().unwrap();
    assert!(kept.bytes().len() < 2048, "{}", kept.bytes().len());
}

#[tokio::test]
async fn what_is_not_understood_of_an_answer_is_kept_in_bounds() {
    for (length, kept) in [(100, 100), (COMMAND_BYTES_MAX, 0)] {
        let rig = Rig::new();
        let (stream, mut orders) = rig.connect(Some(StreamShape::Envelope));
        let (command_id, status) = ("c1".to_owned(), Status::Rejected.into());
        let known = pb::OperationContextCommandAck { command_id, status, ..Default::default() };
        let later = EncodedMessage::around(
            known.clone(),
            9,
            &EncodedMessage::<pb::TelemetryAck>::from(pb::TelemetryAck {
                error: "x".repeat(length),
                ..Default::default()
            }),
        );
        let known = EncodedMessage::from(known);
        let ack =
            EncodedMessage::read([known.bytes().clone(), later.bytes().clone()].concat().into()).unwrap();
        let agent = async {
            orders.commands.recv().await.unwrap();
            rig.commands.note(&stream, ack);
        };
        assert_eq!(tokio::join!(rig.give(set("c1", "f")), agent).0, Ok(Status::Rejected));
        let answer = rig.commands.by_id.lock()["c1"].answer.borrow().clone().unwrap();
        let more = answer.bytes().len() - known.bytes().len();
        assert!(if kept == 0 { more == 0 } else { more > kept }, "{length}: {more} bytes more");
    }
}

#[tokio::test]
async fn an_answer_counts_though_the_stream_ends_with_it() {
    for _ in 0..20 {
        let rig = Rig::new();
        let (stream, mut orders) = rig.connect(Some(StreamShape::Envelope));
        let agent = async {
            orders.commands.recv().await.unwrap();
            rig.answer(&stream, "c1", Status::Applied, "f");
            drop(orders);
            rig.sessions.close(&stream, StreamEnding::Clean);
        };
        assert_eq!(tokio::join!(rig.give(set("c1", "f")), agent).0, Ok(Status::Applied));
    }
}
