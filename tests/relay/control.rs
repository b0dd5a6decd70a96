//! RelayControl: what is told of drones, and commands to them.

use omnirelay_wire::tls::nobody;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use omnirelay_wire::encoded::EncodedMessage;
use omnirelay_wire::pb::aeroarc::agent::v1::operation_context_command_ack::Status as Outcome;
use omnirelay_wire::pb::aeroarc::agent::v1::{
    ClearOperationContextCommand, OperationContext, OperationContextCommandAck, SetOperationContextCommand,
    relay_stream_message,
};
use omnirelay_wire::pb::aeroarc::relay::v1::relay_control_client::RelayControlClient;
use omnirelay_wire::pb::aeroarc::relay::v1::{
    ClearOperationContextRequest, GetDroneStatusRequest, SetOperationContextRequest,
};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::agent::{Agent, SHAPES, Shape, Stream, frame, refused};
use crate::network::with_an_address;
use crate::on_both;
use crate::process::{PATIENCE, until};
use crate::world::{Backing, Plan, Relay};

on_both! {
    drones_are_listed_in_order
    a_drone_is_asked_for_by_its_name
    contexts_are_set_and_cleared
    a_repeated_command_gets_the_first_answer
    commands_without_what_they_need_are_refused
    commands_to_the_unregistered_are_not_found
    commands_without_a_stream_are_unavailable
    commands_to_streams_that_take_none_are_refused
    a_command_to_a_session_that_was_replaced_is_aborted
    a_command_ends_with_its_callers_patience
    an_answer_that_contradicts_the_command_is_internal
    what_the_agent_says_of_a_command_is_passed_on
    what_later_versions_say_is_passed_on
    a_command_that_is_too_long_is_refused
    answers_that_nobody_waits_for_are_ignored
    commands_from_other_hosts_are_refused
}

pub(crate) fn context(flight: &str, intent: &str, version: u32) -> OperationContext {
    OperationContext { flight_id: flight.to_owned(), intent_id: intent.to_owned(), intent_version: version }
}

fn set_command(agent: &str, id: &str, context: Option<OperationContext>) -> SetOperationContextRequest {
    let command = SetOperationContextCommand { command_id: id.to_owned(), context };
    SetOperationContextRequest { agent_id: agent.to_owned(), command: Some(command) }
}

fn clear_command(agent: &str, id: &str, flight: &str) -> ClearOperationContextRequest {
    let command = ClearOperationContextCommand { command_id: id.to_owned(), flight_id: flight.to_owned() };
    ClearOperationContextRequest { agent_id: agent.to_owned(), command: Some(command) }
}

async fn drones_are_listed_in_order(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    ensure!(relay.drones().await?.is_empty());
    let mut streams = Vec::new();
    for (place, id) in ["m", "Z", "a:1", "0", "z", "a.1"].into_iter().enumerate() {
        streams.push(Agent::streaming(&relay, id, SHAPES[place % 2]).await?);
    }
    let drones = relay.drones().await?;
    ensure!(drones.iter().map(|drone| drone.drone_id.as_str()).eq(["0", "Z", "a.1", "a:1", "m", "z"]));
    for drone in &drones {
        ensure!(
            drone.agent_id == drone.drone_id && drone.relay_id == "relay-1" && drone.streaming,
            "{drone:?}"
        );
    }
    Ok(())
}

async fn a_drone_is_asked_for_by_its_name(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let mut client = relay.control().await?;
    let mut ask = async |id: &str| {
        client.get_drone_status(GetDroneStatusRequest { drone_id: id.to_owned() }).await.map(|_| ())
    };
    refused(ask("").await, Code::InvalidArgument, "drone_id")?;
    refused(ask("drone-1").await, Code::NotFound, "drone-1")?;
    let mut agent = Agent::new(&relay, "drone-1").await?;
    let session = agent.register().await?.session_id;
    let before = relay.drone("drone-1").await?;
    ensure!(before.session_id == session && !before.streaming && before.wire.is_empty(), "{before:?}");
    ensure!(before.connected_at_unix_ns > 0, "{before:?}");
    let mut stream = agent.stream(Shape::Legacy);
    let mut sent = frame("drone-1", 1);
    (sent.flight_id, sent.intent_id, sent.intent_version) = ("f-1".to_owned(), "i-1".to_owned(), 7);
    stream.send_frame(sent)?;
    stream.ack().await?;
    let drone = relay.drone("drone-1").await?;
    ensure!(drone.streaming && drone.wire == "legacy" && drone.session_id == session, "{drone:?}");
    ensure!((drone.acked_seq, drone.acked_frames, drone.inflight_frames) == (1, 1, 0), "{drone:?}");
    ensure!(drone.connected_at_unix_ns >= before.connected_at_unix_ns, "{drone:?}");
    let flight = (drone.flight_id.as_str(), drone.intent_id.as_str(), drone.intent_version);
    ensure!(flight == ("f-1", "i-1", 7), "{drone:?}");
    stream.delivers(2..=2).await?;
    let later = relay.drone("drone-1").await?;
    ensure!(later.last_heartbeat_unix_ns > drone.last_heartbeat_unix_ns, "{later:?}");
    Ok(())
}

type Control = RelayControlClient<Channel>;
type Answer = Result<OperationContextCommandAck, Status>;

async fn sets(control: &Control, request: SetOperationContextRequest) -> Answer {
    let mut request = Request::new(EncodedMessage::from(request));
    request.set_timeout(PATIENCE);
    let answer = control.clone().set_operation_context(request).await?.into_inner();
    answer.result.clone().ok_or_else(|| Status::unknown("no result"))
}

async fn clears(control: &Control, request: ClearOperationContextRequest) -> Answer {
    let mut request = Request::new(EncodedMessage::from(request));
    request.set_timeout(PATIENCE);
    let answer = control.clone().clear_operation_context(request).await?.into_inner();
    answer.result.clone().ok_or_else(|| Status::unknown("no result"))
}

/// The agent takes the next command, which must be this, and answers it.
async fn applies(stream: &mut Stream, id: &str, context: Option<OperationContext>) -> Result<()> {
    let asked = match stream.command().await? {
        relay_stream_message::Payload::SetOperationContext(command) => (command.command_id, command.context),
        relay_stream_message::Payload::ClearOperationContext(command) => (command.command_id, None),
        other => anyhow::bail!("{other:?}"),
    };
    ensure!(asked == (id.to_owned(), context.clone()), "{asked:?}");
    stream.answer(id, Outcome::Applied, context)
}

async fn contexts_are_set_and_cleared(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let control = relay.control().await?;
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Envelope).await?;
    let told = context("f-1", "i-1", 1);
    let (answer, taken) = tokio::join!(
        sets(&control, set_command("drone-1", "c-1", Some(told.clone()))),
        applies(&mut stream, "c-1", Some(told.clone()))
    );
    taken?;
    let answer = answer?;
    ensure!(answer.command_id == "c-1" && answer.status() == Outcome::Applied, "{answer:?}");
    ensure!(answer.active_context == Some(told), "{answer:?}");
    let drone = relay.drone("drone-1").await?;
    ensure!(drone.flight_id == "f-1" && drone.intent_id == "i-1" && drone.intent_version == 1, "{drone:?}");
    stream.delivers(2..=3).await?;
    let (answer, taken) = tokio::join!(
        clears(&control, clear_command("drone-1", "c-2", "f-1")),
        applies(&mut stream, "c-2", None)
    );
    taken?;
    let answer = answer?;
    ensure!(answer.status() == Outcome::Applied && answer.active_context.is_none(), "{answer:?}");
    let drone = relay.drone("drone-1").await?;
    ensure!(drone.flight_id.is_empty() && drone.intent_version == 0, "{drone:?}");
    Ok(())
}

async fn a_repeated_command_gets_the_first_answer(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let control = relay.control().await?;
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Envelope).await?;
    let told = context("f-1", "i-1", 1);
    let command = set_command("drone-1", "c-1", Some(told.clone()));
    let (first, taken) =
        tokio::join!(sets(&control, command.clone()), applies(&mut stream, "c-1", Some(told.clone())));
    taken?;
    let first = first?;
    ensure!(sets(&control, command).await? == first);
    stream.hears_nothing().await?;
    let other = set_command("drone-1", "c-1", Some(context("f-1", "i-1", 2)));
    refused(sets(&control, other).await, Code::AlreadyExists, "c-1")?;
    refused(clears(&control, clear_command("drone-1", "c-1", "f-1")).await, Code::AlreadyExists, "c-1")?;
    // Another agent is another content.
    let (_, mut second) = Agent::streaming(&relay, "drone-2", Shape::Envelope).await?;
    refused(sets(&control, set_command("drone-2", "c-1", Some(told))).await, Code::AlreadyExists, "c-1")?;
    second.hears_nothing().await?;
    Ok(())
}

async fn commands_without_what_they_need_are_refused(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let control = relay.control().await?;
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Envelope).await?;
    let whole = || Some(context("f-1", "i-1", 1));
    let cases = [
        ("no agent", set_command("", "c-1", whole())),
        ("no command", SetOperationContextRequest { agent_id: "drone-1".to_owned(), command: None }),
        ("no command id", set_command("drone-1", "", whole())),
        ("no context", set_command("drone-1", "c-1", None)),
        ("no flight", set_command("drone-1", "c-1", Some(context("", "i-1", 1)))),
        ("no intent", set_command("drone-1", "c-1", Some(context("f-1", "", 1)))),
        ("version 0", set_command("drone-1", "c-1", Some(context("f-1", "i-1", 0)))),
    ];
    for (what, request) in cases {
        refused(sets(&control, request).await, Code::InvalidArgument, "").context(what)?;
    }
    let cases = [
        ("no agent", clear_command("", "c-1", "f-1")),
        ("no command", ClearOperationContextRequest { agent_id: "drone-1".to_owned(), command: None }),
        ("no command id", clear_command("drone-1", "", "f-1")),
        ("no flight", clear_command("drone-1", "c-1", "")),
    ];
    for (what, request) in cases {
        refused(clears(&control, request).await, Code::InvalidArgument, "").context(what)?;
    }
    stream.hears_nothing().await
}

async fn commands_to_the_unregistered_are_not_found(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let control = relay.control().await?;
    let set = set_command("nobody", "c-1", Some(context("f-1", "i-1", 1)));
    refused(sets(&control, set).await, Code::NotFound, "nobody")?;
    refused(clears(&control, clear_command("nobody", "c-1", "f-1")).await, Code::NotFound, "nobody")
}

async fn commands_without_a_stream_are_unavailable(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let control = relay.control().await?;
    Agent::registered(&relay, "drone-1").await?;
    let set = || set_command("drone-1", "c-1", Some(context("f-1", "i-1", 1)));
    refused(sets(&control, set()).await, Code::Unavailable, "drone-1")?;
    refused(clears(&control, clear_command("drone-1", "c-2", "f-1")).await, Code::Unavailable, "drone-1")?;
    // What was not sent may be sent later under the same name.
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Envelope).await?;
    let told = context("f-1", "i-1", 1);
    let (answer, taken) = tokio::join!(sets(&control, set()), applies(&mut stream, "c-1", Some(told)));
    taken?;
    ensure!(answer?.status() == Outcome::Applied);
    Ok(())
}

async fn commands_to_streams_that_take_none_are_refused(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let control = relay.control().await?;
    let (_, mut legacy) = Agent::streaming(&relay, "legacy", Shape::Legacy).await?;
    let undecided = Agent::registered(&relay, "undecided").await?;
    let mut silent = undecided.stream(Shape::Envelope);
    until("it has a stream", async || Ok(relay.drone("undecided").await?.streaming)).await?;
    for agent in ["legacy", "undecided"] {
        let set = set_command(agent, "c-1", Some(context("f-1", "i-1", 1)));
        refused(sets(&control, set).await, Code::FailedPrecondition, agent)?;
        let clear = clear_command(agent, "c-2", "f-1");
        refused(clears(&control, clear).await, Code::FailedPrecondition, agent)?;
    }
    legacy.hears_nothing().await?;
    silent.hears_nothing().await?;
    legacy.delivers(2..=2).await
}

async fn a_command_to_a_session_that_was_replaced_is_aborted(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let control = relay.control().await?;
    let (mut agent, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Envelope).await?;
    let command = set_command("drone-1", "c-1", Some(context("f-1", "i-1", 1)));
    let replaced = async {
        stream.command().await?;
        agent.register().await?;
        let mut newer = agent.stream(Shape::Envelope);
        newer.delivers(1..=1).await?;
        Ok::<_, anyhow::Error>(newer)
    };
    let (answer, newer) = tokio::join!(sets(&control, command), replaced);
    let _newer = newer?;
    refused(answer, Code::Aborted, "drone-1")
}

/// How a call ends by the word of the relay; the client of the generated code would end it itself.
async fn status_within(relay: &Relay, timeout: &str, request: SetOperationContextRequest) -> Result<Code> {
    let message = request.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len())?.to_be_bytes());
    body.extend(message);
    let client =
        reqwest::Client::builder().tls_backend_preconfigured(nobody()).http2_prior_knowledge().build()?;
    let request = client.post(format!("{}/aeroarc.relay.v1.RelayControl/SetOperationContext", relay.url()));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let answer = request.header("grpc-timeout", timeout).timeout(PATIENCE).body(body).send().await?;
    let status = answer.headers().get("grpc-status").context("no status")?.to_str()?;
    Ok(Code::from_i32(status.parse()?))
}

async fn a_command_ends_with_its_callers_patience(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let control = relay.control().await?;
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Envelope).await?;
    let told = context("f-1", "i-1", 1);
    let begun = Instant::now();
    let status = status_within(&relay, "300m", set_command("drone-1", "c-1", Some(told.clone()))).await?;
    ensure!(status == Code::DeadlineExceeded, "{status:?}");
    let took = begun.elapsed();
    ensure!(took > Duration::from_millis(250) && took < Duration::from_secs(5), "{took:?}");
    // The agent has it all the same; asking again finds out what it said.
    applies(&mut stream, "c-1", Some(told.clone())).await?;
    let again = sets(&control, set_command("drone-1", "c-1", Some(told.clone())));
    let answering = async {
        if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(500), stream.command()).await {
            stream.answer("c-1", Outcome::AlreadyApplied, Some(told.clone()))?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let (answer, answered) = tokio::join!(again, answering);
    answered?;
    let answer = answer?;
    ensure!(matches!(answer.status(), Outcome::Applied | Outcome::AlreadyApplied), "{answer:?}");
    Ok(())
}

async fn an_answer_that_contradicts_the_command_is_internal(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let control = relay.control().await?;
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Envelope).await?;
    let told = context("f-1", "i-1", 1);
    for (id, active) in [("c-1", Some(context("f-2", "i-1", 1))), ("c-2", None)] {
        let answers = async {
            stream.command().await?;
            stream.answer(id, Outcome::Applied, active.clone())
        };
        let (answer, taken) =
            tokio::join!(sets(&control, set_command("drone-1", id, Some(told.clone()))), answers);
        taken?;
        refused(answer, Code::Internal, "").context(id)?;
    }
    let answers = async {
        stream.command().await?;
        stream.answer("c-3", Outcome::Applied, Some(told.clone()))
    };
    let (answer, taken) = tokio::join!(clears(&control, clear_command("drone-1", "c-3", "f-1")), answers);
    taken?;
    refused(answer, Code::Internal, "").context("it goes on")
}

async fn what_the_agent_says_of_a_command_is_passed_on(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let control = relay.control().await?;
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Envelope).await?;
    for (id, outcome) in
        [("c-1", Outcome::Rejected), ("c-2", Outcome::TemporaryError), ("c-3", Outcome::AlreadyApplied)]
    {
        let told = context("f-1", "i-1", 1);
        let active = (outcome == Outcome::AlreadyApplied).then(|| told.clone());
        let answers = async {
            stream.command().await?;
            stream.answer(id, outcome, active.clone())
        };
        let (answer, taken) = tokio::join!(sets(&control, set_command("drone-1", id, Some(told))), answers);
        taken?;
        let answer = answer?;
        ensure!(answer.status() == outcome && answer.command_id == id, "{answer:?}");
    }
    Ok(())
}

/// A field with this number that holds bytes.
fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    encode_key(number, WireType::LengthDelimited, &mut field);
    encode_varint(value.len() as u64, &mut field);
    [field, value.to_vec()].concat()
}

async fn what_later_versions_say_is_passed_on(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let mut control = relay.control().await?;
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Envelope).await?;
    let told = context("f-1", "i-1", 1).encode_to_vec();
    // The aircraft, and something that nobody has thought of yet.
    let told = [told, field(4, b"aircraft-7"), field(15, b"later")].concat();
    let command = [field(14, b"later"), field(1, b"c-1"), field(2, &told)].concat();
    let request = Bytes::from([field(1, b"drone-1"), field(2, &command)].concat());
    let asked = tokio::spawn(async move {
        let answer =
            control.set_operation_context(EncodedMessage::read(request.clone())?).await?.into_inner();
        // The same again is no other command.
        let again = control.set_operation_context(EncodedMessage::read(request)?).await?.into_inner();
        Ok::<_, anyhow::Error>((answer, again))
    });
    ensure!(stream.message().await? == field(2, &command));
    let outcome = [2 << 3, Outcome::Applied as u8].to_vec();
    let ack = [field(1, b"c-1"), outcome, field(4, &told), field(13, b"later")].concat();
    stream.send_raw(field(2, &ack))?;
    let (answer, again) = asked.await??;
    ensure!(answer.bytes() == &field(1, &ack) && again == answer, "{answer:?}");
    ensure!(relay.drone("drone-1").await?.flight_id == "f-1");

    let ending = [field(1, b"c-2"), field(2, b"f-1"), field(12, b"later")].concat();
    let request = Bytes::from([field(1, b"drone-1"), field(2, &ending)].concat());
    let mut control = relay.control().await?;
    let asked = tokio::spawn(async move {
        control.clear_operation_context(EncodedMessage::read(request)?).await.map(drop).context("")
    });
    ensure!(stream.message().await? == field(3, &ending));
    stream.answer("c-2", Outcome::Applied, None)?;
    asked.await?
}

async fn a_command_that_is_too_long_is_refused(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Envelope).await?;
    let told = context("f-1", "i-1", 1).encode_to_vec();
    let command = [field(1, b"c-1"), field(2, &told), field(9, &[b'x'; 9000])].concat();
    let request = Bytes::from([field(1, b"drone-1"), field(2, &command)].concat());
    let refusal = relay.control().await?.set_operation_context(EncodedMessage::read(request)?).await;
    refused(refusal, Code::InvalidArgument, "longer than")?;
    stream.hears_nothing().await
}

async fn answers_that_nobody_waits_for_are_ignored(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Envelope).await?;
    for id in ["", "never-sent"] {
        stream.answer(id, Outcome::Applied, Some(context("f-9", "i-9", 9)))?;
    }
    stream.delivers(2..=3).await?;
    let drone = relay.drone("drone-1").await?;
    ensure!(drone.flight_id.is_empty(), "{drone:?}");
    Ok(())
}

/// A caller that comes from another address than it calls is as one from another host.
async fn commands_from_other_hosts_are_refused(backing: Backing) -> Result<()> {
    with_an_address(|from| commands_are_refused_from(from, backing))
}

async fn commands_are_refused_from(from: IpAddr, backing: Backing) -> Result<()> {
    let relay = Plan::new("relay-1").start(backing)?;
    let far = Endpoint::from_shared(relay.url())?.local_address(Some(from)).connect().await?;
    let (_, mut stream) = Agent::streaming(&relay, "drone-1", Shape::Envelope).await?;
    let control = Control::new(far.clone());
    let set = set_command("drone-1", "c-1", Some(context("f-1", "i-1", 1)));
    refused(sets(&control, set).await, Code::PermissionDenied, "mesh.operate")?;
    let clear = clear_command("drone-1", "c-2", "f-1");
    refused(clears(&control, clear).await, Code::PermissionDenied, "mesh.operate")?;
    stream.hears_nothing().await?;
    // Agents connect from there, and whoever wants to may look.
    let mut agent = Agent::on(far, "drone-2");
    agent.register().await?;
    let mut kept = agent.stream(Shape::Legacy);
    kept.delivers(1..=3).await?;
    let request = GetDroneStatusRequest { drone_id: "drone-2".to_owned() };
    control.clone().get_drone_status(request).await?;
    Ok(())
}
