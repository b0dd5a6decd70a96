//! The two shapes of telemetry on one path: told apart, kept apart, and forced.

use anyhow::{Context, Result, bail, ensure};
use omnirelay_wire::pb::aeroarc::agent::v1::{
    AgentStreamMessage, RelayStreamMessage, TelemetryAck, relay_stream_message,
};
use prost::Message;
use tonic::Code;

use crate::agent::{Agent, SHAPES, Shape, ended, frame, in_shape};
use crate::on_both;
use crate::world::{Backing, Plan, Relay};

on_both! {
    the_first_message_tells_the_shape
    answers_have_the_shape_of_the_stream
    another_shape_later_ends_the_stream
    a_shape_can_be_forced
}

fn other(shape: Shape) -> Shape {
    match shape {
        Shape::Legacy => Shape::Envelope,
        Shape::Envelope => Shape::Legacy,
    }
}

fn word(shape: Shape) -> &'static str {
    match shape {
        Shape::Legacy => "legacy",
        Shape::Envelope => "envelope",
    }
}

async fn the_first_message_tells_the_shape(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let mut bare = frame("drone-1", 1);
    let of_v0_1_0 = in_shape(Shape::Legacy, bare.clone());
    bare.agent_id.clear();
    let unnamed = in_shape(Shape::Legacy, bare.clone());
    bare.session_id = Agent::new(&relay, "drone-1").await?.register().await?.session_id;
    let with_session = in_shape(Shape::Legacy, bare.clone());
    let wrapped = in_shape(Shape::Envelope, bare.clone());
    let only_seq = b"\x18\x01".to_vec();
    let cases = [
        ("as agent v0.1.0 sends it", of_v0_1_0, Shape::Legacy),
        ("without a name", unnamed, Shape::Legacy),
        ("with a session", with_session, Shape::Legacy),
        ("with a number alone", only_seq, Shape::Legacy),
        ("in an envelope", wrapped, Shape::Envelope),
    ];
    for (what, message, shape) in cases {
        // A stream that was closed has ended its session, sooner or later.
        let mut stream = Agent::registered(&relay, "drone-1").await?.stream(shape);
        ensure!(relay.drone("drone-1").await?.wire.is_empty() || what != "as agent v0.1.0 sends it");
        stream.send_raw(message)?;
        ensure!(stream.ack().await.context(what)?.seq == 1, "{what}");
        let drone = relay.drone("drone-1").await?;
        ensure!(drone.wire == word(shape), "{what}: {drone:?}");
    }
    Ok(())
}

async fn answers_have_the_shape_of_the_stream(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    for shape in SHAPES {
        let agent = Agent::registered(&relay, "drone-1").await?;
        let mut stream = agent.stream(shape);
        stream.send(300)?;
        let answer = stream.message().await?;
        let ack = match shape {
            // Field 2, a number of two bytes, and nothing else: status OK is 0.
            Shape::Legacy => {
                ensure!(answer.as_ref() == [0x10, 0xac, 0x02], "{answer:?}");
                TelemetryAck::decode(answer)?
            }
            Shape::Envelope => match RelayStreamMessage::decode(answer)?.payload {
                Some(relay_stream_message::Payload::TelemetryAck(ack)) => ack,
                other => bail!("{other:?}"),
            },
        };
        ensure!(ack == TelemetryAck { seq: 300, ..TelemetryAck::default() }, "{ack:?}");
    }
    Ok(())
}

async fn another_shape_later_ends_the_stream(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    for shape in SHAPES {
        let (_, mut stream) = Agent::streaming(&relay, "drone-1", shape).await?;
        stream.delivers(2..=5).await?;
        stream.send_raw(in_shape(other(shape), frame("drone-1", 6)))?;
        let (acks, end) = stream.rest().await?;
        ended(&end, Code::InvalidArgument, "").with_context(|| format!("{shape:?}"))?;
        ensure!(acks.is_empty() && relay.sunk()?.count("drone-1", 6) == 0, "{acks:?}");
        // What newer agents say besides is no other shape.
        if shape == Shape::Envelope {
            let (_, mut stream) = Agent::streaming(&relay, "drone-1", shape).await?;
            for unknown in [&b"\x1a\x02\x0a\x00"[..], b"\x22\x00"] {
                ensure!(AgentStreamMessage::decode(unknown)?.payload.is_none());
                stream.send_raw(unknown)?;
            }
            stream.delivers(2..=3).await?;
        }
    }
    Ok(())
}

async fn a_shape_can_be_forced(backing: Backing) -> Result<()> {
    for forced in SHAPES {
        let setting = format!("relay.telemetryWire={}", word(forced));
        let relay = Plan::new("relay-1").set(&[&setting]).start(backing)?;
        let (_, mut stream) = Agent::streaming(&relay, "right", forced).await?;
        stream.delivers(2..=10).await?;
        let agent = Agent::registered(&relay, "wrong").await?;
        let mut stream = agent.stream(other(forced));
        stream.send(1)?;
        let words = format!("takes {} messages only, and this one is {}", word(forced), word(other(forced)));
        ended(&stream.end().await?, Code::InvalidArgument, &words).with_context(|| format!("{forced:?}"))?;
        ensure!(relay.sunk()?.of("wrong")?.is_empty());
    }
    Ok(())
}
