//! The rows of the table.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use tonic::transport::Channel;

use crate::load::{Heard, IN_FLIGHT, Stream, alone, median, quantile_us, together};
use crate::ours::Ours;
use crate::process::{CONNECTIONS, Process};
use crate::table::{Asked, Row, Table};
use crate::{Plan, echo, etcd, fleet, growth, json, ours, sizes};

const PEERS: usize = 1_000;
/// By which names the rows about sizes, JSON, and a fleet are asked for: all rows are, or these.
const SIZES: [&str; 2] = ["", "sizes"];
const JSON: [&str; 2] = ["", "json"];
const FLEET: [&str; 2] = ["", "fleet"];
/// How often a watched key is changed in one run.
const CHANGES: u64 = 60;
/// About what an event of a changed peer has.
const EVENT_BYTES: usize = 512;

/// The processes that are measured, and the connections to them.
struct Subjects {
    plan: Plan,
    _ours: Ours,
    ours: Vec<Channel>,
    registry: Vec<Channel>,
    etcd: Option<(Process, Vec<Channel>)>,
    echo: Vec<Channel>,
    _echo: Process,
    table: Table,
}

/// A call of one of the subjects: by which of the 64 clients, and how many it has made before.
type Call = Arc<dyn Fn(usize, u64) -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send + Sync>;

fn call<F, Fut>(channels: &[Channel], call: F) -> Call
where
    F: Fn(Channel, usize, u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let channels = channels.to_vec();
    Arc::new(move |number, count| Box::pin(call(channels[number % CONNECTIONS].clone(), number, count)))
}

/// A call is one message of a stream and its answer; each of the 64 clients has a stream of its own.
fn streamed<M, A>(streams: Vec<Stream<M, A>>) -> Call
where
    M: Clone + Send + Sync + 'static,
    A: Send + 'static,
{
    let streams: Arc<Vec<_>> = Arc::new(streams.into_iter().map(tokio::sync::Mutex::new).collect());
    Arc::new(move |number, _| {
        let streams = Arc::clone(&streams);
        Box::pin(async move { streams[number].lock().await.call().await })
    })
}

/// The same work, for each subject that can do it.
struct Work {
    ours: Option<Call>,
    etcd: Option<Call>,
    echo: Option<Call>,
}

/// The figures of all runs, run by run.
#[derive(Default)]
struct Figures {
    ours: Vec<f64>,
    etcd: Vec<f64>,
    echo: Vec<f64>,
}

impl Figures {
    fn beside(part: &[f64], whole: &[f64]) -> Option<f64> {
        (!part.is_empty() && !whole.is_empty())
            .then(|| median(part.iter().zip(whole).map(|(part, whole)| part / whole).collect()))
    }

    /// A ratio to etcd's figure of the same run.
    fn to_etcd(&self) -> Option<f64> {
        Self::beside(&self.ours, &self.etcd)
    }

    fn to_echo(&self) -> Option<f64> {
        Self::beside(&self.ours, &self.echo)
    }
}

fn most(what: &'static str, is: Option<f64>, figure: f64) -> Asked {
    Asked { what, is, at_least: false, figure }
}

fn least(what: &'static str, is: Option<f64>, figure: f64) -> Asked {
    Asked { what, is, at_least: true, figure }
}

/// Measures everything that is asked for.
pub(crate) async fn all(plan: &Plan) -> Result<Table> {
    let mut subjects = Subjects::start(plan).await?;
    subjects.reads().await?;
    subjects.lists().await?;
    subjects.changes().await?;
    subjects.compared_changes().await?;
    subjects.heartbeats().await?;
    subjects.watches(1, "watch, 1 watcher").await?;
    subjects.watches(100, "watch, last of 100").await?;
    subjects.memory()?;
    let mut sizes = Vec::new();
    if JSON.contains(&plan.only.as_str()) {
        sizes.extend(json::all(&subjects._ours, if plan.runs == 1 { 20 } else { 300 }).await?);
    }
    // The others end here, with what they need of the machine.
    let Subjects { mut table, .. } = subjects;
    if FLEET.contains(&plan.only.as_str()) {
        sizes.extend(fleet::all(plan).await?);
    }
    // Only where it is asked for: it takes some minutes.
    if plan.only == "growth" || plan.runs == 1 && plan.only.is_empty() {
        sizes.extend(growth::all(plan).await?);
    }
    if SIZES.contains(&plan.only.as_str()) {
        sizes.extend(sizes::all(plan).await?);
    }
    for size in sizes {
        let asked = size.at_most.map(|figure| most("", Some(size.is), figure)).into_iter().collect();
        let (name, unit, ours) = (size.name, size.unit, Some(size.is));
        say(&mut table, Row { name, unit, ours, etcd: None, echo: None, asked });
    }
    Ok(table)
}

impl Subjects {
    async fn start(plan: &Plan) -> Result<Self> {
        let ours = ours::start(PEERS).await?;
        let echo = echo::start().await?;
        let etcd = match etcd::start().await? {
            Some(etcd) => {
                let channels = etcd.channels().await?;
                for number in 0..PEERS {
                    etcd::put(channels[0].clone(), ours::key(number), value(0)).await?;
                }
                Some((etcd, channels))
            }
            None => None,
        };
        Ok(Self {
            plan: plan.clone(),
            ours: ours.process.channels().await?,
            registry: ours.registry().await?,
            _ours: ours,
            etcd,
            echo: echo.channels().await?,
            _echo: echo,
            table: Table::default(),
        })
    }

    fn is_asked(&self, name: &str) -> bool {
        name.contains(&self.plan.only)
    }

    fn etcd(&self) -> Option<&[Channel]> {
        self.etcd.as_ref().map(|(_, channels)| channels.as_slice())
    }

    /// Has the subjects take turns, another one first in each run.
    async fn interleaved(&self, work: &Work, many: bool) -> Result<Figures> {
        let mut figures: [Vec<f64>; 3] = Default::default();
        for run in 0..self.plan.runs {
            for place in 0..3 {
                let at = (run + place) % 3;
                let Some(call) = [&work.ours, &work.etcd, &work.echo][at].clone() else { continue };
                let figure = if many {
                    together(self.plan.turn, move |number, count| call(number, count)).await?
                } else {
                    alone(self.plan.turn, |number, count| call(number, count)).await?
                };
                figures[at].push(figure);
            }
        }
        let [ours, etcd, echo] = figures;
        Ok(Figures { ours, etcd, echo })
    }

    /// One row of the table, if it is asked for: the time of a call alone, or calls a second of many.
    async fn row(
        &mut self,
        name: &'static str,
        many: bool,
        work: &Work,
        asked: impl FnOnce(&Figures) -> Vec<Asked>,
    ) -> Result<()> {
        if self.is_asked(name) {
            let figures = self.interleaved(work, many).await?;
            let asked = asked(&figures);
            self.add(name, if many { "/s" } else { "us" }, &figures, asked);
        }
        Ok(())
    }

    fn add(&mut self, name: &'static str, unit: &'static str, figures: &Figures, asked: Vec<Asked>) {
        let of = |figures: &[f64]| (!figures.is_empty()).then(|| median(figures.to_vec()));
        let row = Row {
            name: name.into(),
            unit,
            ours: of(&figures.ours),
            etcd: of(&figures.etcd),
            echo: of(&figures.echo),
            asked,
        };
        say(&mut self.table, row);
    }

    async fn reads(&mut self) -> Result<()> {
        let bytes = ours::answer_bytes(self.ours[0].clone(), ours::key(7)).await?;
        let sent = ours::key(7).len() + 2;
        let work = Work {
            ours: Some(call(&self.ours, |channel, _, _| ours::get(channel, ours::key(7)))),
            etcd: self.etcd().map(|etcd| call(etcd, |channel, _, _| etcd::get(channel, ours::key(7)))),
            echo: Some(call(&self.echo, move |channel, _, _| echo::unary(channel, echo::of(sent, bytes)))),
        };
        let asked =
            |of: &Figures| vec![most("to echo", of.to_echo(), 1.15), most("to etcd", of.to_etcd(), 1.0)];
        self.row("read one, 1 in flight", false, &work, asked).await?;
        let asked =
            |of: &Figures| vec![least("to echo", of.to_echo(), 0.6), least("to etcd", of.to_etcd(), 1.0)];
        self.row("read one, 64 in flight", true, &work, asked).await
    }

    async fn lists(&mut self) -> Result<()> {
        let work = Work {
            ours: Some(call(&self.ours, |channel, _, _| async {
                let count = ours::list(channel).await?;
                ensure!(count == PEERS, "{count} peers");
                Ok(())
            })),
            etcd: self.etcd().map(|etcd| {
                call(etcd, |channel, _, _| async {
                    let count = etcd::list(channel).await?;
                    ensure!(count == PEERS, "{count} keys");
                    Ok(())
                })
            }),
            echo: None,
        };
        self.row("list 1,000", false, &work, |of| vec![most("to etcd", of.to_etcd(), 0.5)]).await
    }

    async fn changes(&mut self) -> Result<()> {
        let turns = Arc::new(AtomicU64::new(0));
        let work = Work {
            ours: Some(call(&self.ours, move |channel, number, _| {
                let turn = turns.fetch_add(1, Ordering::Relaxed);
                async move { ours::cordon(channel, ours::key(number), turn, None).await.map(drop) }
            })),
            etcd: self.etcd().map(|etcd| {
                call(etcd, |channel, number, count| etcd::put(channel, ours::key(number), value(count)))
            }),
            echo: Some(call(&self.echo, |channel, _, _| echo::unary(channel, echo::of(256, 256)))),
        };
        let asked = |of: &Figures| vec![most("to etcd", of.to_etcd(), 0.7)];
        self.row("durable change, 1 in flight", false, &work, asked).await?;
        let asked = |of: &Figures| vec![least("to etcd", of.to_etcd(), 1.3)];
        self.row("durable change, 64 in flight", true, &work, asked).await
    }

    /// Each of the 64 changes a record of its own, and says which version it has seen last.
    async fn compared_changes(&mut self) -> Result<()> {
        // Nobody else changes these.
        let first = PEERS - IN_FLIGHT;
        let versions =
            |first: u64| Arc::new((0..IN_FLIGHT).map(|_| AtomicU64::new(first)).collect::<Vec<_>>());
        let (seen, theirs) = (versions(0), versions(1));
        for (number, seen) in seen.iter().enumerate() {
            let version = ours::cordon(self.ours[0].clone(), ours::key(first + number), 0, None).await?;
            seen.store(version, Ordering::Relaxed);
        }
        let turns = Arc::new(AtomicU64::new(1));
        let work = Work {
            ours: Some(call(&self.ours, move |channel, number, _| {
                let (seen, turn) = (seen.clone(), turns.fetch_add(1, Ordering::Relaxed));
                async move {
                    let expected = Some(seen[number].load(Ordering::Relaxed));
                    let version = ours::cordon(channel, ours::key(first + number), turn, expected).await?;
                    seen[number].store(version, Ordering::Relaxed);
                    Ok(())
                }
            })),
            etcd: self.etcd().map(|etcd| {
                call(etcd, move |channel, number, count| {
                    let version = theirs[number].fetch_add(1, Ordering::Relaxed);
                    etcd::compare_and_put(channel, ours::key(first + number), version as i64, value(count))
                })
            }),
            echo: None,
        };
        let asked = |of: &Figures| vec![most("to etcd", of.to_etcd(), 0.7)];
        self.row("compare and set, 1 in flight", false, &work, asked).await?;
        let asked = |of: &Figures| vec![least("to etcd", of.to_etcd(), 1.5)];
        self.row("compare and set, 64 in flight", true, &work, asked).await
    }

    async fn heartbeats(&mut self) -> Result<()> {
        let sent = ours::heartbeat_bytes();
        let work = Work {
            ours: Some(call(&self.registry, |channel, number, count| {
                ours::heartbeat(channel, number + count as usize * IN_FLIGHT)
            })),
            etcd: None,
            echo: Some(call(&self.echo, move |channel, _, _| echo::unary(channel, echo::of(sent, 0)))),
        };
        let asked = |of: &Figures| vec![most("to echo", of.to_echo(), 1.3)];
        self.row("heartbeat, 1 in flight", false, &work, asked).await?;
        let asked = |of: &Figures| vec![least("to echo", of.to_echo(), 0.5)];
        self.row("heartbeat, 64 in flight", true, &work, asked).await?;
        let work = Work {
            ours: Some(streamed(ours::streams(&self.registry).await?)),
            etcd: match self.etcd() {
                Some(etcd) => Some(streamed(etcd::keep_alives(etcd).await?)),
                None => None,
            },
            echo: Some(streamed(echo::streams(&self.echo, sent).await?)),
        };
        let asked = |of: &Figures| vec![most("to etcd", of.to_etcd(), 1.0)];
        self.row("streamed heartbeat, 1 in flight", false, &work, asked).await?;
        let asked = |of: &Figures| vec![least("to etcd", of.to_etcd(), 1.0)];
        self.row("streamed heartbeat, 64 in flight", true, &work, asked).await
    }

    /// From the sending of a change to the last of so many watchers that have heard of it.
    async fn watches(&mut self, watchers: usize, name: &'static str) -> Result<()> {
        if !self.is_asked(name) {
            return Ok(());
        }
        let changes = if self.plan.runs == 1 { 5 } else { CHANGES };
        let mut heard = self.watchers(watchers).await?;
        let mut figures = Figures::default();
        let mut turn = self.table.0.len() as u64 * 1_000_000;
        for run in 0..self.plan.runs {
            for place in 0..heard.len() {
                let subject = (run + place) % heard.len();
                let mut times = Vec::new();
                for _ in 0..changes {
                    turn += 1;
                    let begun = Instant::now();
                    let last = match self.change(subject, turn) {
                        Some(change) => tokio::try_join!(change, heard[subject].all())?.1,
                        None => break,
                    };
                    times.push(last - begun);
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                if !times.is_empty() {
                    let of_subject = [&mut figures.ours, &mut figures.etcd, &mut figures.echo];
                    of_subject[subject].push(quantile_us(&mut times, 0.5));
                }
            }
        }
        let asked = vec![most("to etcd", figures.to_etcd(), 0.7)];
        self.add(name, "us", &figures, asked);
        Ok(())
    }

    /// So many who watch each of us, etcd and the echo.
    async fn watchers(&self, watchers: usize) -> Result<[Heard; 3]> {
        let [(ear, heard), (etcd_ear, heard_etcd), (echo_ear, heard_echo)] =
            [(); 3].map(|()| Heard::from(watchers));
        for number in 0..watchers {
            let connection = number % CONNECTIONS;
            ear.listen(ours::watch(self.ours[connection].clone(), &ours::key(3)).await?, |_| true);
            if let Some(channels) = self.etcd() {
                let events = etcd::watch(channels[connection].clone(), &ours::key(3)).await?;
                etcd_ear.listen(events, |answer| !answer.events.is_empty());
            }
            echo_ear.listen(echo::watch(self.echo[connection].clone()).await?, |_| true);
        }
        Ok([heard, heard_etcd, heard_echo])
    }

    /// A change that those who watch this subject hear of; `None`: it is not there.
    fn change(&self, subject: usize, turn: u64) -> Option<Pin<Box<dyn Future<Output = Result<()>>>>> {
        Some(match subject {
            0 => {
                let cordon = ours::cordon(self.ours[0].clone(), ours::key(3), turn, None);
                Box::pin(async { cordon.await.map(drop) })
            }
            1 => Box::pin(etcd::put(self.etcd()?[0].clone(), ours::key(3), value(turn))),
            _ => Box::pin(echo::tell(self.echo[0].clone(), echo::of(EVENT_BYTES, 0))),
        })
    }

    /// After everything else that was done in this run.
    fn memory(&mut self) -> Result<()> {
        if !self.is_asked("resident after the load") {
            return Ok(());
        }
        let etcd = self.etcd.as_ref().map(|(etcd, _)| etcd.resident_mb()).transpose()?;
        let ours = vec![self._ours.process.resident_mb()?];
        let figures = Figures { ours, etcd: etcd.into_iter().collect(), echo: Vec::new() };
        let asked = vec![most("to etcd", figures.to_etcd(), 1.0)];
        self.add("resident after the load", "MB", &figures, asked);
        Ok(())
    }
}

/// Adds a row, and shows it at once.
fn say(table: &mut Table, row: Row) {
    eprintln!("{}", Table(vec![row.clone()]).to_text().lines().last().unwrap_or_default());
    table.0.push(row);
}

/// A value of 256 bytes.
fn value(turn: u64) -> Bytes {
    Bytes::from(format!("{turn:0256}"))
}
