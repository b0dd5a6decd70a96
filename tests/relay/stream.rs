//! AgentGateway.TelemetryStream: who may stream, what is acknowledged, how streams end.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use omnirelay_wire::pb::aeroarc::agent::v1::TelemetryFrame;
use omnirelay_wire::pb::aeroarc::agent::v1::telemetry_ack::Status as AckStatus;
use tonic::Code;

use crate::agent::{Agent, SHAPES, Shape, Stream, ended, frame};
use crate::on_both;
use crate::process::until;
use crate::world::{Backing, Relay, raw_frame};

/// What a message may have, in bytes.
const MESSAGE_MAX: usize = 4 * 1024 * 1024;
/// As many frames as agent v0.1.0 sends at once.
const BURST: u64 = 1000;
/// How many times an agent in a storm comes back.
const STORM: usize = 100;

on_both! {
    streams_without_a_name_are_refused
    streams_of_the_unregistered_are_refused
    each_frame_is_acknowledged_by_its_seq
    the_end_of_a_stream_is_a_clean_close
    bursts_of_a_thousand_are_acknowledged
    duplicates_are_acknowledged_again
    storms_of_reconnects_are_served
    too_large_messages_end_only_their_stream
    garbage_ends_only_its_stream
    frames_without_seq_are_not_taken
    frames_captured_under_another_id_are_taken
    frames_of_an_earlier_session_are_taken
    a_newer_stream_replaces_the_older
    an_agent_has_eight_streams_at_most
    frames_reach_the_file_whole_and_in_order
}

async fn streams_without_a_name_are_refused(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let agent = Agent::registered(&relay, "drone-1").await?;
    let cases: [(&str, &[&str]); 3] =
        [("no header", &[]), ("an empty one", &[""]), ("two", &["drone-1", "drone-2"])];
    for (what, ids) in cases {
        let end = agent.stream_as(Shape::Legacy, ids).end().await?;
        ended(&end, Code::InvalidArgument, "aero-arc-agent-id").context(what)?;
    }
    agent.stream(Shape::Legacy).delivers(1..=1).await
}

async fn streams_of_the_unregistered_are_refused(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let agent = Agent::new(&relay, "drone-1").await?;
    let mut stream = agent.stream(Shape::Legacy);
    for seq in 1..=3 {
        // It does not wait for an answer before it sends.
        let _ = stream.send(seq);
    }
    let (acks, end) = stream.rest().await?;
    ended(&end, Code::FailedPrecondition, "must register first")?;
    ensure!(acks.is_empty() && relay.drones().await?.is_empty() && relay.sunk()?.len() == 0, "{acks:?}");
    Ok(())
}

async fn each_frame_is_acknowledged_by_its_seq(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    for shape in SHAPES {
        let agent = Agent::registered(&relay, &format!("{shape:?}")).await?;
        let mut stream = agent.stream(shape);
        let seqs = [7, 8, u64::from(u32::MAX) + 1, u64::MAX, 1];
        for seq in seqs {
            stream.send(seq)?;
            let ack = stream.ack().await?;
            ensure!(ack.seq == seq && ack.status() == AckStatus::Ok && ack.error.is_empty(), "{ack:?}");
            ensure!(relay.sunk()?.count(&agent.id, seq) == 1, "{seq} is acknowledged and not written");
        }
        stream.hears_nothing().await?;
    }
    Ok(())
}

async fn the_end_of_a_stream_is_a_clean_close(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    for shape in SHAPES {
        let agent = Agent::registered(&relay, "drone-1").await?;
        // Before anything was said, and with everything on its way.
        agent.stream(shape).close().await?;
        let agent = Agent::registered(&relay, &agent.id).await?;
        let mut stream = agent.stream(shape);
        for seq in 1..=200 {
            stream.send(seq)?;
        }
        stream.finish();
        let (acks, end) = stream.rest().await?;
        ended(&end, Code::Ok, "")?;
        ensure!(acks.iter().map(|ack| ack.seq).eq(1..=200), "{} acknowledged", acks.len());
        until("it is no drone any more", async || Ok(relay.drones().await?.is_empty())).await?;
    }
    Ok(())
}

async fn bursts_of_a_thousand_are_acknowledged(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    for shape in SHAPES {
        let agent = Agent::registered(&relay, &format!("{shape:?}")).await?;
        let mut stream = agent.stream(shape);
        for burst in 0..3 {
            stream.delivers(burst * BURST + 1..=(burst + 1) * BURST).await?;
        }
        let sunk = relay.sunk()?;
        ensure!(sunk.of(&agent.id)? == (1..=3 * BURST).collect::<Vec<_>>(), "not each once, in order");
        let drone = relay.drone(&agent.id).await?;
        let known = (drone.acked_frames, drone.acked_seq, drone.inflight_frames);
        ensure!(known == (3 * BURST, 3 * BURST, 0), "{drone:?}");
    }
    Ok(())
}

async fn duplicates_are_acknowledged_again(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    for shape in SHAPES {
        let (agent, mut stream) = Agent::streaming(&relay, &format!("{shape:?}"), shape).await?;
        stream.delivers([2, 3, 2, 2, 3]).await?;
        // On another stream, with a log that began anew, the same numbers are other frames.
        drop(stream);
        let mut agent = agent;
        agent.register().await?;
        agent.stream(shape).delivers([1, 2, 3]).await?;
        ensure!(relay.sunk()?.missing(&agent.id, 1..=3).is_empty());
    }
    Ok(())
}

async fn storms_of_reconnects_are_served(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let channel = relay.channel().await?;
    let storm = async |name: &str| {
        let mut agent = Agent::on(channel.clone(), name);
        let mut ids = BTreeSet::new();
        for _ in 0..STORM {
            ids.insert(agent.register().await?.session_id);
            // It comes back before anything of the stream before it was noticed.
            agent.stream(Shape::Legacy).send(1)?;
        }
        ensure!(ids.len() == STORM);
        agent.register().await?;
        let mut last = agent.stream(Shape::Legacy);
        last.delivers(1..=10).await?;
        Ok(last)
    };
    let names: Vec<String> = (0..10).map(|number| format!("drone-{number}")).collect();
    let streams = futures_util::future::join_all(names.iter().map(|name| storm(name))).await;
    let streams = streams.into_iter().collect::<Result<Vec<_>>>()?;
    let drones = relay.drones().await?;
    ensure!(drones.iter().map(|drone| &drone.drone_id).eq(&names), "{drones:?}");
    ensure!(drones.iter().all(|drone| drone.streaming), "{drones:?}");
    drop(streams);
    until("none streams", async || Ok(relay.drones().await?.iter().all(|drone| !drone.streaming))).await
}

/// What an agent does beside one that misbehaves.
async fn goes_on(relay: &Relay, witness: &mut Stream, seq: u64) -> Result<()> {
    witness.delivers(seq..=seq).await?;
    ensure!(relay.read("/healthz").await?.0 == 200);
    Ok(())
}

async fn too_large_messages_end_only_their_stream(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let (_, mut witness) = Agent::streaming(&relay, "witness", Shape::Legacy).await?;
    for (place, shape) in SHAPES.into_iter().enumerate() {
        let agent = Agent::registered(&relay, "drone-1").await?;
        let mut stream = agent.stream(shape);
        let of_size = |size: usize| {
            let mut frame = frame("drone-1", 1);
            frame.raw_mavlink = Bytes::from(vec![b'x'; size]);
            let over = crate::agent::in_shape(shape, frame.clone()).len() - size;
            frame.raw_mavlink = Bytes::from(vec![b'x'; size - over]);
            let message = crate::agent::in_shape(shape, frame);
            (message.len() == size).then_some(message).context("it has another size")
        };
        stream.send_raw(of_size(MESSAGE_MAX)?)?;
        ensure!(stream.ack().await?.status() == AckStatus::Ok, "4 MiB are taken");
        stream.send_raw(of_size(MESSAGE_MAX + 1)?)?;
        ended(&stream.end().await?, Code::InvalidArgument, "larger than the 4194304 bytes")?;
        goes_on(&relay, &mut witness, 2 + place as u64).await?;
        // The agent may try again.
        Agent::registered(&relay, "drone-1").await?.stream(shape).delivers(2..=2).await?;
    }
    Ok(())
}

async fn garbage_ends_only_its_stream(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let (_, mut witness) = Agent::streaming(&relay, "witness", Shape::Legacy).await?;
    let cases: [&[u8]; 5] =
        [b"\xff\xff\xff\xff", b"no message at all", b"\x0a\xff\x01", b"\x1a\x05abc", b"\x18\x01\x12\x7f"];
    for (place, bytes) in cases.into_iter().enumerate() {
        for shape in SHAPES {
            for before in [false, true] {
                let agent = Agent::registered(&relay, "drone-1").await?;
                let mut stream = agent.stream(shape);
                if before {
                    stream.delivers(1..=1).await?;
                }
                stream.send_raw(bytes)?;
                let (acks, end) = stream.rest().await.with_context(|| format!("{bytes:?}"))?;
                ended(&end, Code::InvalidArgument, "").with_context(|| format!("{bytes:?}"))?;
                ensure!(acks.is_empty(), "{bytes:?}: {acks:?}");
            }
        }
        goes_on(&relay, &mut witness, 2 + place as u64).await?;
    }
    Ok(())
}

/// Sends what must not be taken between frames that are; the stream goes on.
async fn is_not_taken(
    relay: &Relay,
    shape: Shape,
    spoilt: impl Fn(&mut TelemetryFrame),
    words: &str,
) -> Result<()> {
    let (_, mut stream) = Agent::streaming(relay, "drone-1", shape).await?;
    let before = relay.sunk()?.len();
    let mut wrong = frame("drone-1", 2);
    spoilt(&mut wrong);
    stream.send_frame(wrong.clone())?;
    match shape {
        // Any acknowledgement would make it forget the frame.
        Shape::Legacy => stream.hears_nothing().await?,
        Shape::Envelope => {
            let ack = stream.ack().await?;
            let refused = ack.status() == AckStatus::PermanentError && ack.seq == wrong.seq;
            ensure!(refused && ack.error.contains(words), "{ack:?}");
        }
    }
    ensure!(relay.sunk()?.len() == before, "it was written");
    stream.delivers(3..=4).await
}

async fn frames_without_seq_are_not_taken(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    for shape in SHAPES {
        is_not_taken(&relay, shape, |frame| frame.seq = 0, "seq")
            .await
            .with_context(|| format!("{shape:?}"))?;
    }
    Ok(())
}

/// An agent that has lost its id keeps its log: what it captured under the former one comes again until it is taken.
async fn frames_captured_under_another_id_are_taken(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    for shape in SHAPES {
        let (agent, mut stream) = Agent::streaming(&relay, &format!("{shape:?}"), shape).await?;
        let captured_as = ["former", "former", "", "line\nbreak \u{1b}[2K"];
        for (seq, id) in (2..).zip(captured_as) {
            stream.send_frame(TelemetryFrame { agent_id: id.to_owned(), ..frame(&agent.id, seq) })?;
            let ack = stream.ack().await?;
            ensure!(ack.seq == seq && ack.status() == AckStatus::Ok, "{shape:?}: {ack:?}");
        }
        let sunk = relay.sunk()?;
        ensure!(sunk.of(&agent.id)? == [1, 2, 3, 4, 5], "{shape:?}: {:?}", sunk.of(&agent.id)?);
    }
    let log = relay.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("under another id were taken")).collect();
    // Once in a stream, and of two that come so soon after another the first.
    ensure!(told.len() == 1 && told[0].contains("former") && told[0].contains("Legacy"), "{told:?}");
    Ok(())
}

/// Agents keep frames with the session in which they were made, and send them in the next.
async fn frames_of_an_earlier_session_are_taken(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    for shape in SHAPES {
        let mut agent = Agent::new(&relay, &format!("{shape:?}")).await?;
        let earlier = agent.register().await?.session_id;
        let now = agent.register().await?.session_id;
        let mut stream = agent.stream(shape);
        for (seq, session_id) in [(1, earlier), (2, now), (3, String::new())] {
            stream.send_frame(TelemetryFrame { session_id, ..frame(&agent.id, seq) })?;
            let ack = stream.ack().await?;
            ensure!(ack.seq == seq && ack.status() == AckStatus::Ok, "{ack:?}");
        }
        ensure!(relay.sunk()?.of(&agent.id)? == [1, 2, 3]);
    }
    Ok(())
}

async fn a_newer_stream_replaces_the_older(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    for again in [false, true] {
        let (mut agent, mut older) = Agent::streaming(&relay, "drone-1", Shape::Legacy).await?;
        // The same session, or that of a newer registration, on a connection of its own.
        let session = match again {
            true => agent.register().await?.session_id,
            false => relay.drone("drone-1").await?.session_id,
        };
        let other = Agent::new(&relay, "drone-1").await?;
        let mut newer = other.stream(Shape::Envelope);
        newer.delivers(2..=3).await?;
        let begun = relay.drone("drone-1").await?;
        older.finish();
        older.end().await?;
        drop(older);
        // The end of the older has been noticed by then, and has taken nothing away.
        tokio::time::sleep(Duration::from_millis(300)).await;
        newer.delivers(4..=5).await?;
        let drone = relay.drone("drone-1").await?;
        ensure!(drone.streaming && drone.session_id == session && drone.wire == "envelope", "{drone:?}");
        ensure!(drone.connected_at_unix_ns == begun.connected_at_unix_ns, "{drone:?}");
        newer.close().await?;
    }
    Ok(())
}

async fn an_agent_has_eight_streams_at_most(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    let agent = Agent::registered(&relay, "drone-1").await?;
    let mut streams: Vec<Stream> = Vec::new();
    for number in 1..=9 {
        let mut stream = agent.stream(Shape::Legacy);
        stream.delivers([number]).await?;
        streams.push(stream);
    }
    ended(&streams[0].end().await?, Code::Aborted, "newer streams")?;
    for stream in &mut streams[1..] {
        stream.delivers([10]).await?;
    }
    Ok(())
}

async fn frames_reach_the_file_whole_and_in_order(backing: Backing) -> Result<()> {
    let relay = Relay::start(backing, "relay-1")?;
    for shape in SHAPES {
        let id = format!("{shape:?}");
        let agent = Agent::registered(&relay, &id).await?;
        let mut stream = agent.stream(shape);
        let mut sent = frame(&id, 1);
        (sent.device_timestamp_sec, sent.msg_id) = (1234.5, 30);
        sent.msg_name = "*common.MessageAttitude".to_owned();
        stream.send_frame(sent.clone())?;
        stream.ack().await?;
        stream.delivers(2..=100).await?;
        let sunk = relay.sunk()?;
        ensure!(sunk.of(&id)? == (1..=100).collect::<Vec<_>>());
        let line = sunk.lines.iter().find(|line| line["agent_id"] == *id).context("no line")?;
        let names = [
            "agent_id",
            "source",
            "timestamp_relay",
            "timestamp_device",
            "msg_id",
            "msg_name",
            "system_id",
            "component_id",
            "sequence",
            "fields",
            "raw",
        ];
        let found: Vec<&String> = line.as_object().context("no object")?.keys().collect();
        ensure!(names.iter().all(|name| found.contains(&&(*name).to_owned())), "{line}");
        ensure!(line["timestamp_device"] == 1234.5 && line["msg_id"] == 30, "{line}");
        ensure!(
            line["msg_name"] == "*common.MessageAttitude" && line["fields"]["Autopilot"] == "3",
            "{line}"
        );
        let came = line["timestamp_relay"].as_str().context("no time")?;
        ensure!(came.ends_with('Z') && came.parse::<chrono::DateTime<chrono::Utc>>().is_ok(), "{line}");
        ensure!(raw_frame(line)? == sent, "{line}");
    }
    Ok(())
}
