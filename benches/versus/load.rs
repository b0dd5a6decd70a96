//! Calls one after another, and many at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::Streaming;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic_prost::ProstCodec;

/// How many calls are under way where calls are many.
pub(crate) const IN_FLIGHT: usize = 64;

/// The median of some figures; 0 of none.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// `part` of some times, in microseconds.
pub(crate) fn quantile_us(times: &mut [Duration], part: f64) -> f64 {
    times.sort();
    let place = (times.len().saturating_sub(1) as f64 * part).round() as usize;
    times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e6)
}

/// The median time of a call, in microseconds, when one is sent after another.
pub(crate) async fn alone<F, Fut>(turn: Duration, call: F) -> Result<f64>
where
    F: Fn(usize, u64) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let (mut times, end) = (Vec::new(), Instant::now() + turn);
    for count in 0.. {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        call(0, count).await?;
        times.push(begun.elapsed());
    }
    Ok(quantile_us(&mut times, 0.5))
}

/// Calls a second when 64 are under way. A call hears which of the 64 it is, and how many went before it there.
pub(crate) async fn together<F, Fut>(turn: Duration, call: F) -> Result<f64>
where
    F: Fn(usize, u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let (calls, took) = counted(turn, call).await?;
    Ok(calls as f64 / took.as_secs_f64())
}

/// How many calls were answered when 64 are under way, and how long that took.
pub(crate) async fn counted<F, Fut>(turn: Duration, call: F) -> Result<(u64, Duration)>
where
    F: Fn(usize, u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let call = Arc::new(call);
    let (begun, mut running) = (Instant::now(), JoinSet::new());
    for number in 0..IN_FLIGHT {
        let call = Arc::clone(&call);
        running.spawn(async move {
            let mut count = 0;
            while begun.elapsed() < turn {
                call(number, count).await?;
                count += 1;
            }
            Ok::<_, anyhow::Error>(count)
        });
    }
    let mut all = 0;
    while let Some(count) = running.join_next().await {
        all += count??;
    }
    Ok((all, begun.elapsed()))
}

/// Hears from so many watchers.
pub(crate) struct Heard(mpsc::Receiver<Instant>, usize);

/// Says when a watcher has heard of a change.
#[derive(Clone)]
pub(crate) struct Ear(mpsc::Sender<Instant>);

impl Ear {
    /// A watcher has heard. False: nobody asks any more.
    pub(crate) async fn heard(&self) -> bool {
        self.0.send(Instant::now()).await.is_ok()
    }

    /// Listens to a watch until it ends; what is no change is not told of.
    pub(crate) fn listen<E: Send + 'static>(&self, mut events: Streaming<E>, is_change: fn(&E) -> bool) {
        let ear = self.clone();
        tokio::spawn(async move {
            while let Ok(Some(event)) = events.message().await {
                if is_change(&event) && !ear.heard().await {
                    return;
                }
            }
        });
    }
}

impl Heard {
    /// What so many watchers hear with.
    pub(crate) fn from(watchers: usize) -> (Ear, Self) {
        let (say, heard) = mpsc::channel(watchers * 4);
        (Ear(say), Self(heard, watchers))
    }

    /// When the last of them had heard.
    pub(crate) async fn all(&mut self) -> Result<Instant> {
        let mut last = None;
        for _ in 0..self.1 {
            let at = tokio::time::timeout(Duration::from_secs(10), self.0.recv()).await?;
            last = last.max(Some(at.context("a watcher ended")?));
        }
        last.context("there are no watchers")
    }
}

/// A stream of calls and answers.
pub(crate) async fn stream<M, A>(
    channel: Channel,
    path: &'static str,
    calls: mpsc::Receiver<M>,
) -> Result<Streaming<A>>
where
    M: prost::Message + 'static,
    A: prost::Message + Default + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let calls =
        futures_util::stream::unfold(calls, |mut calls| async move { Some((calls.recv().await?, calls)) });
    let codec = ProstCodec::<M, A>::default();
    let path = PathAndQuery::from_static(path);
    Ok(grpc.streaming(tonic::Request::new(calls), path, codec).await?.into_inner())
}

/// A stream that answers each message with one.
pub(crate) struct Stream<M, A> {
    message: M,
    calls: mpsc::Sender<M>,
    answers: Streaming<A>,
}

impl<M, A> Stream<M, A>
where
    M: prost::Message + Clone + 'static,
    A: prost::Message + Default + 'static,
{
    /// Opens a stream on which `message` is sent again and again.
    pub(crate) async fn open(channel: Channel, path: &'static str, message: M) -> Result<Self> {
        let (calls, sent) = mpsc::channel(1);
        let answers = stream(channel, path, sent);
        // Some servers answer a stream only after its first message.
        let (answers, sent) = tokio::join!(answers, calls.send(message.clone()));
        sent?;
        let mut answers = answers?;
        answers.message().await?.context("no answer")?;
        Ok(Self { message, calls, answers })
    }
}

impl<M: Clone + Send + Sync + 'static, A> Stream<M, A> {
    /// Sends the message once more, and waits for its answer.
    pub(crate) async fn call(&mut self) -> Result<()> {
        self.calls.send(self.message.clone()).await?;
        self.answers.message().await?.context("the stream ended")?;
        Ok(())
    }
}
