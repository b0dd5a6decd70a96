//! What an acknowledgement promises, and what becomes of frames while sinks are full, fail or hang.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use omnirelay_wire::pb::aeroarc::agent::v1::telemetry_ack::Status as AckStatus;
use serde_json::Value;

use crate::agent::{Agent, SHAPES, Shape, Stream, frame};
use crate::on_both;
use crate::process::stub::{Reply, Request, Stub};
use crate::process::{PATIENCE, until};
use crate::servers::RedisServer;
use crate::world::{Backing, Plan, Relay};

on_both! {
    what_is_acknowledged_survives_a_kill
    queued_does_not_wait_for_the_sink
    what_is_not_written_is_not_acknowledged
    a_full_queue_loses_nothing_that_is_acknowledged
    a_blocking_sink_makes_streams_wait
    a_failing_sink_ends_streams_of_those_who_wait
    one_failing_sink_stops_no_other
    a_full_disk_loses_nothing_that_is_acknowledged
    a_folder_that_is_gone_loses_nothing_that_is_acknowledged
    every_sink_gets_every_frame
    no_more_is_in_flight_than_was_said
    nothing_acknowledged_is_lost_when_the_relay_stops
}

/// How an HTTP server behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Takes = 0,
    Fails = 1,
    Hangs = 2,
}

/// An HTTP server for frames, whose mood a test changes.
struct Collector {
    stub: Stub,
    mood: Arc<AtomicU8>,
}

impl Collector {
    fn start(mood: Mood) -> Self {
        let mood = Arc::new(AtomicU8::new(mood as u8));
        let seen = mood.clone();
        let stub = Stub::start(move |_, _| match seen.load(Ordering::SeqCst) {
            0 => Reply::Text(200, "text/plain", String::new()),
            1 => Reply::Text(503, "text/plain", "not now".to_owned()),
            _ => Reply::Hang(PATIENCE),
        });
        Self { stub, mood }
    }

    fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// The settings of a sink that posts here, and gives up on a request soon.
    fn settings(&self) -> Vec<String> {
        vec![
            format!("relay.sinks.http.url={}/frames", self.stub.url()),
            "relay.sinks.http.timeout=300ms".into(),
        ]
    }

    /// The frames of all requests, whatever was answered, as `(agent, seq)`.
    fn told(&self) -> Result<BTreeSet<(String, u64)>> {
        let mut told = BTreeSet::new();
        for Request { body, .. } in self.stub.requests() {
            for line in body.lines() {
                let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
                let agent = line["agent_id"].as_str().context("no agent")?.to_owned();
                told.insert((agent, line["sequence"].as_u64().context("no sequence")?));
            }
        }
        Ok(told)
    }
}

/// A relay with the sink of a collector, and no other.
fn posting(collector: &Collector, more: &[&str], backing: Backing) -> Result<Relay> {
    let settings = collector.settings();
    let settings: Vec<&str> = settings.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Plan::new("relay-1").set(&settings).start(backing)
}

/// Sends what is not acknowledged yet again and again, as agents do, until all is; returns how often the stream was
/// ended for what was not taken.
async fn deliver_all(agent: &mut Agent, stream: &mut Stream, mut left: BTreeSet<u64>) -> Result<usize> {
    let mut ended = 0;
    let begun = std::time::Instant::now();
    while !left.is_empty() {
        ensure!(begun.elapsed() < PATIENCE, "{left:?} are not acknowledged");
        for seq in &left {
            // It may have ended meanwhile, which is heard below.
            let _ = stream.send(*seq);
        }
        while let Ok(heard) = tokio::time::timeout(Duration::from_millis(500), stream.ack_or_end()).await {
            match heard? {
                Ok(ack) => {
                    ensure!(ack.status() == AckStatus::Ok, "{ack:?}: some take any answer for a success");
                    left.remove(&ack.seq);
                }
                Err(end) => {
                    not_taken(&end)?;
                    ended += 1;
                    agent.again(stream).await?;
                    break;
                }
            }
            if left.is_empty() {
                break;
            }
        }
    }
    Ok(ended)
}

/// Fails unless a stream ended so that its agent sends again what was not acknowledged.
fn not_taken(end: &tonic::Status) -> Result<()> {
    ensure!(end.code() == tonic::Code::Unavailable && end.message().contains("sink `"), "{end:?}");
    Ok(())
}

/// Fails unless what the stream has sent is not acknowledged, and its agent learns it if that makes it send it again.
async fn learns_that_nothing_was_taken(stream: &mut Stream) -> Result<()> {
    match stream.shape {
        Shape::Legacy => stream.hears_nothing().await,
        Shape::Envelope => {
            let begun = std::time::Instant::now();
            let (acks, end) = stream.rest().await?;
            ensure!(acks.is_empty(), "{acks:?}: some take any answer for a success");
            // Agents come back at once.
            ensure!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
            not_taken(&end)
        }
    }
}

async fn what_is_acknowledged_survives_a_kill(backing: Backing) -> Result<()> {
    for level in ["written", "synced"] {
        let setting = format!("relay.acknowledgeWhen={level}");
        let mut relay = Plan::new("relay-1").set(&[&setting]).start(backing)?;
        let mut acked = Vec::new();
        for shape in SHAPES {
            let agent = Agent::registered(&relay, &format!("{shape:?}")).await?;
            let mut stream = agent.stream(shape);
            for seq in 1..=1000 {
                stream.send(seq)?;
            }
            // In the middle of its burst.
            let seqs = stream.acks(100).await?.iter().map(|ack| ack.seq).collect::<Vec<_>>();
            acked.push((agent.id.clone(), seqs, stream));
        }
        relay.kill()?;
        let sunk = relay.sunk()?;
        for (agent, seqs, _) in &acked {
            let missing = sunk.missing(agent, seqs.iter().copied());
            ensure!(missing.is_empty(), "{level}: {missing:?} of {agent} were acknowledged");
        }
        // Behind what was torn the files go on whole.
        relay.up()?;
        Agent::streaming(&relay, "afterwards", Shape::Legacy).await?;
        ensure!(relay.sunk()?.count("afterwards", 1) == 1);
    }
    Ok(())
}

async fn queued_does_not_wait_for_the_sink(backing: Backing) -> Result<()> {
    let collector = Collector::start(Mood::Hangs);
    let relay = posting(&collector, &["relay.acknowledgeWhen=queued"], backing)?;
    for shape in SHAPES {
        Agent::registered(&relay, &format!("{shape:?}")).await?.stream(shape).delivers(1..=100).await?;
    }
    Ok(())
}

async fn what_is_not_written_is_not_acknowledged(backing: Backing) -> Result<()> {
    let collector = Collector::start(Mood::Hangs);
    let relay = posting(&collector, &["relay.sinks.http.timeout=20s"], backing)?;
    for shape in SHAPES {
        let agent = Agent::registered(&relay, &format!("{shape:?}")).await?;
        let mut stream = agent.stream(shape);
        for seq in 1..=10 {
            stream.send(seq)?;
        }
        stream.hears_nothing().await?;
        let drone = relay.drone(&agent.id).await?;
        ensure!(drone.acked_frames == 0 && drone.inflight_frames == 10, "{drone:?}");
    }
    Ok(())
}

async fn a_full_queue_loses_nothing_that_is_acknowledged(backing: Backing) -> Result<()> {
    let collector = Collector::start(Mood::Hangs);
    let small = ["relay.sinks.http.queue.size=20", "relay.sinks.http.batchFrames=5"];
    let relay = posting(&collector, &small, backing)?;
    for shape in SHAPES {
        collector.set(Mood::Hangs);
        let dropped = async || relay.metric("aero_sink_dropped_total", &["sink=\"http\""]).await;
        let before = dropped().await?;
        let mut agent = Agent::registered(&relay, &format!("{shape:?}")).await?;
        let mut stream = agent.stream(shape);
        for seq in 1..=200 {
            // It may have ended already, for the first of them.
            let _ = stream.send(seq);
            // One by one, so that they do not come as one batch.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // A stream of envelopes ends with the first that finds no room.
        let few = if shape == Shape::Legacy { 20.0 } else { 1.0 };
        until("frames were dropped", async || Ok(dropped().await? >= before + few)).await?;
        collector.set(Mood::Takes);
        let ended = deliver_all(&mut agent, &mut stream, (1..=200).collect()).await?;
        ensure!((ended > 0) == (shape == Shape::Envelope), "{shape:?}: ended {ended} times");
        let told = collector.told()?;
        let missing: Vec<_> = (1..=200).filter(|seq| !told.contains(&(agent.id.clone(), *seq))).collect();
        ensure!(missing.is_empty(), "{shape:?}: {missing:?} were acknowledged");
    }
    ensure!(relay.metric("aero_relay_sink_errors_total", &["HTTPSink"]).await? > 0.0);
    Ok(())
}

async fn a_blocking_sink_makes_streams_wait(backing: Backing) -> Result<()> {
    let collector = Collector::start(Mood::Hangs);
    let small = ["relay.sinks.http.queue.size=20", "relay.sinks.http.queue.backpressure=block"];
    let relay = posting(&collector, &small, backing)?;
    for shape in SHAPES {
        collector.set(Mood::Hangs);
        let mut agent = Agent::registered(&relay, &format!("{shape:?}")).await?;
        let mut stream = agent.stream(shape);
        for seq in 1..=200 {
            stream.send(seq)?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        collector.set(Mood::Takes);
        // Whatever was given up on while it hung is sent again.
        deliver_all(&mut agent, &mut stream, (1..=200).collect()).await?;
        let told = collector.told()?;
        ensure!((1..=200).all(|seq| told.contains(&(agent.id.clone(), seq))), "{shape:?}");
    }
    ensure!(relay.metric("aero_sink_dropped_total", &["sink=\"http\""]).await.unwrap_or_default() == 0.0);
    Ok(())
}

async fn a_failing_sink_ends_streams_of_those_who_wait(backing: Backing) -> Result<()> {
    let collector = Collector::start(Mood::Fails);
    let relay = posting(&collector, &[], backing)?;
    for shape in SHAPES {
        collector.set(Mood::Fails);
        let mut agent = Agent::registered(&relay, &format!("{shape:?}")).await?;
        let mut stream = agent.stream(shape);
        stream.send(1)?;
        learns_that_nothing_was_taken(&mut stream).await?;
        agent.again(&mut stream).await?;
        collector.set(Mood::Takes);
        deliver_all(&mut agent, &mut stream, [1, 2].into()).await?;
    }
    ensure!(relay.metric("aero_sink_worker_errors_total", &["sink=\"http\""]).await? > 0.0);
    Ok(())
}

async fn one_failing_sink_stops_no_other(backing: Backing) -> Result<()> {
    for mood in [Mood::Fails, Mood::Hangs] {
        let collector = Collector::start(mood);
        let gone = crate::servers::free_port()?;
        let redis = format!("relay.sinks.redis.url=redis://127.0.0.1:{gone}");
        let more = [
            "relay.sinks.file.enabled=true",
            "relay.sinks.http.queue.size=100",
            "relay.sinks.redis.queue.size=100",
            &redis,
        ];
        let relay = posting(&collector, &more, backing)?;
        let begun = std::time::Instant::now();
        for shape in SHAPES {
            let agent = Agent::registered(&relay, &format!("{shape:?}")).await?;
            agent.stream(shape).delivers(1..=1000).await?;
            ensure!(relay.sunk()?.missing(&agent.id, 1..=1000).is_empty());
        }
        ensure!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        for sink in ["http", "redis"] {
            let label = format!("sink=\"{sink}\"");
            until(&format!("{sink} drops"), async || {
                Ok(relay.metric("aero_sink_dropped_total", &[&label]).await? > 0.0)
            })
            .await?;
        }
        ensure!(relay.metric("aero_sink_dropped_total", &["sink=\"file\""]).await.unwrap_or_default() == 0.0);
    }
    Ok(())
}

/// One frame of so many bytes does not fit in a file of [`FULL_AT`].
const FRAME_BYTES: usize = 200_000;
const FULL_AT: &str = "100000";

/// Sets how large a file may get that the relay writes, in bytes.
fn limit_files(relay: &Relay, bytes: &str) -> Result<()> {
    let pid = relay.daemon()?.pid().to_string();
    let limit = format!("--fsize={bytes}:unlimited");
    let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status()?;
    ensure!(status.success(), "cannot set a limit");
    Ok(())
}

/// Files that may not grow are to a process as a disk that is full: a write fails, or takes a part.
async fn a_full_disk_loses_nothing_that_is_acknowledged(backing: Backing) -> Result<()> {
    let relay = Plan::new("relay-1").outlives_size_limit().start(backing)?;
    for shape in SHAPES {
        let mut agent = Agent::registered(&relay, &format!("{shape:?}")).await?;
        let mut stream = agent.stream(shape);
        let id = agent.id.clone();
        let large = |seq: u64| {
            let mut frame = frame(&id, seq);
            frame.raw_mavlink = Bytes::from(vec![b'x'; FRAME_BYTES]);
            frame
        };
        for seq in 1..=3 {
            stream.send_frame(large(seq))?;
            ensure!(stream.ack().await?.status() == AckStatus::Ok);
        }
        limit_files(&relay, FULL_AT)?;
        stream.send_frame(large(4))?;
        learns_that_nothing_was_taken(&mut stream).await?;
        agent.again(&mut stream).await?;
        let sunk = relay.sunk()?;
        ensure!(sunk.missing(&agent.id, 1..=4) == [4], "{shape:?}: {:?}", sunk.of(&agent.id)?);
        limit_files(&relay, "unlimited")?;
        deliver_all(&mut agent, &mut stream, [4, 5].into()).await?;
        ensure!(relay.sunk()?.missing(&agent.id, 1..=5).is_empty(), "{shape:?}");
    }
    ensure!(relay.metric("aero_sink_worker_errors_total", &["sink=\"file\""]).await? > 0.0);
    Ok(())
}

async fn a_folder_that_is_gone_loses_nothing_that_is_acknowledged(backing: Backing) -> Result<()> {
    // Each burst is followed by another file.
    let relay = Plan::new("relay-1").set(&["relay.sinks.file.rotateBytes=4096"]).start(backing)?;
    let folder = relay.telemetry_dir();
    let away = folder.with_extension("away");
    for shape in SHAPES {
        let mut agent = Agent::registered(&relay, &format!("{shape:?}")).await?;
        let mut stream = agent.stream(shape);
        stream.delivers(1..=50).await?;
        std::fs::rename(&folder, &away)?;
        std::fs::write(&folder, "in the way")?;
        for seq in 51..=100 {
            stream.send(seq)?;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        std::fs::remove_file(&folder)?;
        std::fs::rename(&away, &folder)?;
        deliver_all(&mut agent, &mut stream, (51..=100).collect()).await?;
        ensure!(relay.sunk()?.missing(&agent.id, 1..=100).is_empty(), "{shape:?}");
    }
    Ok(())
}

async fn every_sink_gets_every_frame(backing: Backing) -> Result<()> {
    let collector = Collector::start(Mood::Takes);
    let redis = RedisServer::start(&[])?;
    let url = format!("relay.sinks.redis.url={}", redis.url());
    let more = [
        "relay.sinks.file.enabled=true",
        &url,
        "relay.sinks.redis.stream=sky",
        "relay.sinks.redis.entriesMax=100000",
    ];
    let relay = posting(&collector, &more, backing)?;
    for shape in SHAPES {
        Agent::registered(&relay, &format!("{shape:?}")).await?.stream(shape).delivers(1..=500).await?;
    }
    ensure!(relay.sunk()?.len() == 1000);
    until("the server has them", async || Ok(collector.told()?.len() == 1000)).await?;
    until("Redis has them", async || Ok(redis.cli::<usize>(&["XLEN", "sky"])? == 1000)).await?;
    for sink in ["file", "http", "redis"] {
        let label = format!("sink=\"{sink}\"");
        ensure!(relay.metric("aero_sink_enqueued_total", &[&label]).await? == 1000.0, "{sink}");
    }
    Ok(())
}

async fn no_more_is_in_flight_than_was_said(backing: Backing) -> Result<()> {
    let collector = Collector::start(Mood::Hangs);
    let more = ["relay.maxInflight=50", "relay.sinks.http.timeout=5s"];
    let relay = posting(&collector, &more, backing)?;
    let mut agent = Agent::registered(&relay, "drone-1").await?;
    let mut stream = agent.stream(Shape::Envelope);
    for seq in 1..=500 {
        stream.send(seq)?;
    }
    until("it holds what it may", async || Ok(relay.drone("drone-1").await?.inflight_frames >= 50)).await?;
    stream.hears_nothing().await?;
    let drone = relay.drone("drone-1").await?;
    ensure!(drone.inflight_frames == 50, "{drone:?}");
    collector.set(Mood::Takes);
    deliver_all(&mut agent, &mut stream, (1..=500).collect()).await?;
    Ok(())
}

async fn nothing_acknowledged_is_lost_when_the_relay_stops(backing: Backing) -> Result<()> {
    for level in ["queued", "written"] {
        let setting = format!("relay.acknowledgeWhen={level}");
        let mut relay = Plan::new("relay-1").set(&[&setting]).start(backing)?;
        let mut streams = Vec::new();
        for number in 0..4 {
            let agent = Agent::registered(&relay, &format!("drone-{number}")).await?;
            let mut stream = agent.stream(SHAPES[number % 2]);
            for seq in 1..=2000 {
                stream.send(seq)?;
            }
            stream.acks(10).await?;
            streams.push((agent.id.clone(), stream));
        }
        relay.begin_to_stop()?;
        let mut acked = Vec::new();
        for (id, mut stream) in streams {
            let (acks, _) = stream.rest().await?;
            let rest = acks.iter().filter(|ack| ack.status() == AckStatus::Ok).map(|ack| ack.seq);
            acked.push((id, (1..=10).chain(rest).collect::<BTreeSet<_>>()));
        }
        relay.has_stopped()?;
        let sunk = relay.sunk()?;
        for (id, seqs) in acked {
            let missing = sunk.missing(&id, seqs);
            ensure!(missing.is_empty(), "{level}: {missing:?} of {id} were acknowledged");
        }
        ensure!(sunk.torn == 0, "a file ends within a line");
    }
    Ok(())
}
