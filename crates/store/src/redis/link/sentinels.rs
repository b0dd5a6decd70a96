//! The Sentinels of a URL: all are asked at once where the master is, and told when they disagree.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::{Value, cmd};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::belief::{Doubt, MasterBelief, SentinelOpinion, disagreement, is_majority};
use super::dial::{DialOptions, FreshConnection, dial};
use super::error::{LinkError, StoreFailure};
use crate::url::ServerAddress;

const STORE_RUNBOOK: &str = "docs/runbooks/store.md";
/// How long those that have not answered are waited for once more than half have named the same. Too low: the one
/// that alone has heard of a failover is passed over for a second; too high: one that is dead delays a failover.
const STRAGGLERS: Duration = Duration::from_millis(50);
/// How long what a Sentinel said counts for whether they disagree, where its next answer comes too late for the question:
/// the Sentinels are asked every second.
const LATE_COUNTS: Duration = Duration::from_secs(3);
/// How long they must disagree until that is told: in a failover some hear of it up to 2 s later than others.
const DISAGREE_FOR: Duration = Duration::from_secs(4);
/// How often the log tells of a disagreement that goes on.
const TELL_EVERY: Duration = Duration::from_secs(300);
/// How long a Sentinel that does not tell its epoch is not asked for it: each refusal leaves a line in its `ACL LOG`.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// The Sentinels, and what they have said.
pub(super) struct Sentinels {
    pub addresses: Vec<ServerAddress>,
    /// What they call the master.
    pub service: String,
    heard: Arc<Mutex<HeardAnswers>>,
    belief: Mutex<MasterBelief>,
    disagreement: Mutex<Disagreement>,
}

/// Answers heard from each Sentinel, those that came too late for their question too: one that takes longer than the
/// others to be reached would else be dialed anew for every question, and be late for all of them.
#[derive(Default)]
struct HeardAnswers {
    /// A connection to each that has answered; taken out while it is asked.
    kept: BTreeMap<ServerAddress, SentinelConnection>,
    last: BTreeMap<ServerAddress, (Instant, SentinelOpinion)>,
}

/// Connection to a Sentinel, kept between questions.
struct SentinelConnection {
    dialed: FreshConnection,
    /// When it refused to tell its epoch.
    refused: Option<Instant>,
}

#[derive(Default)]
struct Disagreement {
    what: Option<String>,
    since: Option<Instant>,
    /// When they were last seen to disagree.
    last: Option<Instant>,
    told: Option<Instant>,
}

/// Answers and failures of asking all Sentinels.
struct SentinelAnswers {
    opinions: Vec<SentinelOpinion>,
    failures: Vec<StoreFailure>,
}

impl Sentinels {
    pub(super) fn new(addresses: Vec<ServerAddress>, service: String) -> Self {
        Self {
            addresses,
            service,
            heard: Arc::default(),
            belief: Mutex::default(),
            disagreement: Mutex::default(),
        }
    }

    /// Address of the master, by all that answer. Those that are silent are waited for as long as it takes to connect
    /// and to be answered, and only a moment longer once more than half agree.
    pub(super) async fn master(
        &self,
        manner: DialOptions,
        store: &str,
    ) -> Result<ServerAddress, StoreFailure> {
        let SentinelAnswers { opinions, mut failures } = self.ask_all(manner).await;
        let asked = self.addresses.len();
        let late = self.late(&opinions);
        let newest = opinions.iter().filter_map(|opinion| opinion.epoch).max();
        // One that came late and is of a greater epoch than all others may alone have heard of a failover.
        let newer = late.iter().filter(|opinion| newest.is_some() && opinion.epoch > newest);
        let weighed: Vec<SentinelOpinion> = opinions.iter().chain(newer).cloned().collect();
        let believed = self.belief.lock().weigh(&weighed, asked, Instant::now());
        let heard: Vec<SentinelOpinion> = opinions.iter().cloned().chain(late).collect();
        self.note_disagreement(&heard, store);
        believed.map_err(|doubt| {
            let what = match doubt {
                Doubt::Silence => "no Sentinel names a master that can be used".to_owned(),
                Doubt::Replaced => format!(
                    "{} of {asked} Sentinels answer, and name a master that was replaced: {}",
                    opinions.len(),
                    masters(&opinions),
                ),
                Doubt::Tie => format!(
                    "the Sentinels disagree, and no epoch tells who is right (let our user +sentinel|master): {}",
                    masters(&opinions),
                ),
            };
            if doubt == Doubt::Silence {
                return StoreFailure::of_all(&what, failures);
            }
            failures.insert(0, StoreFailure::new(what));
            StoreFailure::of_all("no Sentinel names a master that can be used", failures)
        })
    }

    /// An announcement: `to` is the master in place of `from`.
    pub(super) fn replaced(&self, from: &ServerAddress, to: &ServerAddress) {
        self.belief.lock().replaced(from, to);
    }

    /// Disagreement of Sentinels about the master, once it has lasted for long.
    pub(super) fn disagreement(&self) -> Option<String> {
        let told = self.disagreement.lock();
        told.since.filter(|since| since.elapsed() >= DISAGREE_FOR).and(told.what.clone())
    }

    async fn ask_all(&self, manner: DialOptions) -> SentinelAnswers {
        let limit = Instant::now() + manner.connect_timeout + manner.response_timeout;
        let mut silent: BTreeSet<&ServerAddress> = self.addresses.iter().collect();
        let mut answered = self.ask_each(Arc::new(manner));
        let mut answers = SentinelAnswers { opinions: Vec::new(), failures: Vec::new() };
        let mut until = limit;
        while let Ok(Some((at, answer))) = timeout_at(until, answered.recv()).await {
            silent.remove(&at);
            match answer {
                Ok(opinion) => answers.opinions.push(opinion),
                Err(failure) => answers.failures.push(failure),
            }
            if agreed(&answers.opinions, self.addresses.len()) {
                until = until.min(Instant::now() + STRAGGLERS);
            }
        }
        let late = |at: &ServerAddress| StoreFailure::new(format!("Sentinel {at} has not answered in time"));
        answers.failures.extend(silent.into_iter().map(late));
        answers
    }

    /// Asks each in a task of its own, which ends by the limits of connecting and answering, and is waited for no longer
    /// than somebody wants the answer.
    fn ask_each(
        &self,
        manner: Arc<DialOptions>,
    ) -> mpsc::Receiver<(ServerAddress, Result<SentinelOpinion, StoreFailure>)> {
        let (told, answered) = mpsc::channel(self.addresses.len().max(1));
        for at in self.addresses.clone() {
            let (told, manner, heard) = (told.clone(), Arc::clone(&manner), Arc::clone(&self.heard));
            let service = self.service.clone();
            tokio::spawn(async move {
                let answer = ask(&at, &manner, &service, &heard).await;
                if let Ok(opinion) = &answer {
                    heard.lock().last.insert(at.clone(), (Instant::now(), opinion.clone()));
                }
                // Nobody may wait any more.
                let _ = told.try_send((at, answer));
            });
        }
        answered
    }

    /// The last opinions of those that have not answered in time.
    fn late(&self, in_time: &[SentinelOpinion]) -> Vec<SentinelOpinion> {
        let heard = self.heard.lock();
        let late = heard.last.iter().filter(|(at, (when, _))| {
            when.elapsed() < LATE_COUNTS && in_time.iter().all(|opinion| opinion.sentinel != **at)
        });
        late.map(|(_, (_, opinion))| opinion.clone()).collect()
    }

    fn note_disagreement(&self, opinions: &[SentinelOpinion], store: &str) {
        let mut noted = self.disagreement.lock();
        let Some(what) = disagreement(opinions) else {
            // Those that answered in time agree; the one that names another may be among those that did not.
            let all = opinions.len() == self.addresses.len();
            let is_over = all || noted.last.is_none_or(|last| last.elapsed() >= DISAGREE_FOR);
            if opinions.len() > 1 && is_over && std::mem::take(&mut *noted).told.is_some() {
                info!(store, "sentinels agreed again");
            }
            return;
        };
        let since = *noted.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= DISAGREE_FOR && noted.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            noted.told = Some(Instant::now());
            warn!(store, named = %what, runbook = STORE_RUNBOOK, "sentinels disagreed on the master");
        }
        noted.last = Some(Instant::now());
        noted.what = Some(what);
    }
}

/// Asks on the connection that is kept, and on a new one if there is none or it fails.
async fn ask(
    at: &ServerAddress,
    manner: &DialOptions,
    service: &str,
    heard: &Mutex<HeardAnswers>,
) -> Result<SentinelOpinion, StoreFailure> {
    let kept = heard.lock().kept.remove(at).filter(|kept| !kept.dialed.driver.is_over());
    if let Some(mut kept) = kept
        && let Ok(opinion) = kept.opinion(service).await
    {
        heard.lock().kept.insert(at.clone(), kept);
        return Ok(opinion);
    }
    let mut kept = SentinelConnection { dialed: dial(at, manner).await?, refused: None };
    let opinion = kept.opinion(service).await?;
    heard.lock().kept.insert(at.clone(), kept);
    Ok(opinion)
}

impl SentinelConnection {
    /// The epoch is asked for first: an answer of before a failover and one of after it are then an old epoch and a
    /// new master, which misleads nobody.
    async fn opinion(&mut self, service: &str) -> Result<SentinelOpinion, StoreFailure> {
        let epoch = self.epoch(service).await?;
        let mut command = cmd("SENTINEL");
        let command = command.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
        let answer = self.dialed.ask(command, "ask for the master").await?;
        let at = &self.dialed.at;
        match answer {
            Value::Nil => Err(StoreFailure::new(format!("Sentinel {at} watches no `{service}`"))),
            answer => redis::from_redis_value(answer)
                .map(|(host, port)| SentinelOpinion {
                    sentinel: at.clone(),
                    master: ServerAddress { host, port },
                    epoch,
                })
                .map_err(|error| StoreFailure::because(format!("Sentinel {at} named no address"), error)),
        }
    }

    async fn epoch(&mut self, service: &str) -> Result<Option<u64>, StoreFailure> {
        if self.refused.is_some_and(|at| at.elapsed() < REFUSED_PAUSE) {
            return Ok(None);
        }
        let mut command = cmd("SENTINEL");
        match super::dial::ask(&mut self.dialed.multiplexed, command.arg("MASTER").arg(service)).await {
            Ok(answer) => {
                let fields: HashMap<String, String> = redis::from_redis_value(answer).unwrap_or_default();
                Ok(fields.get("config-epoch").and_then(|epoch| epoch.parse().ok()))
            }
            // Our user may not, or it watches no such service.
            Err(LinkError::Refused { .. }) => {
                self.refused = Some(Instant::now());
                Ok(None)
            }
            Err(error) => Err(StoreFailure::because(
                format!("{} did not let us ask for the epoch", self.dialed.at),
                error,
            )),
        }
    }
}

/// Whether more than half name the same master of the same epoch.
fn agreed(opinions: &[SentinelOpinion], asked: usize) -> bool {
    let Some(last) = opinions.last() else { return false };
    is_majority(opinions, &last.master, asked)
        && opinions.iter().all(|opinion| opinion.master != last.master || opinion.epoch == last.epoch)
}

/// Who is named, and by whom.
fn masters(opinions: &[SentinelOpinion]) -> String {
    disagreement(opinions).unwrap_or_else(|| {
        opinions.first().map_or_else(String::new, |opinion| format!("all name {}", opinion.master))
    })
}
