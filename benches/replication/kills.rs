//! Kills: how long changes are not seen when the daemon that follows is killed, and another one has to.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use omnirelay_support::link::{ADDRESSES, LinkRules};
use omnirelay_support::linked_clusters::LinkedClusters;
use omnirelay_support::process::Daemon;
use omnirelay_support::process::channel::{ShownCertificate, channel};
use omnirelay_support::process::secured::Secured;
use omnirelay_support::process::siblings::Siblings;
use omnirelay_wire::pb::omnirelay::mesh::control::v1 as pb;
use pb::leadership_control_service_client::LeadershipControlServiceClient;
use tonic::transport::Channel;

use crate::clusters::{SETTINGS, connect, make_namespaces};
use crate::lag::{CALLERS, change};
use crate::versions::{Shared, watch};

/// How long no change may be seen.
const LIMIT: Duration = Duration::from_secs(3);
/// How many commits are made in a second meanwhile, and for how long.
const RATE: u64 = 200;
const LASTS: Duration = Duration::from_secs(10);
/// When of that time the daemon is killed.
const KILLED_AFTER: Duration = Duration::from_secs(3);
/// Time that a daemon has to start and to be a member, and that changes have to be followed again.
const SETTLES_WITHIN: Duration = Duration::from_secs(6);

/// Measures it so many times: the daemon that leads is killed, what the other one shows is watched, and the first is started again.
pub(crate) fn measure(kills: u64, delay: Duration) -> Result<()> {
    let LinkedClusters { clusters: Siblings { east, west }, servers, link } =
        LinkedClusters::start(&SETTINGS)?;
    let [first, second] = link.ends();
    let [here, there] = [first.runtime()?, second.runtime()?];
    let source = here.block_on(here.spawn(connect(&east)))??;
    here.block_on(here.spawn(make_namespaces(source.clone(), CALLERS as u64, 1)))??;
    let mut beside = west.place_beside("w2", &servers[1].url(), &["--set", "node.cluster=west"])?;
    beside.listen = format!("{}:0", ADDRESSES[1]);
    let Secured { place, daemon, folder } = west;
    let admin = folder.path().join("admin");
    let connect = |daemon: &Daemon| {
        let shown = ShownCertificate::in_folder(&admin);
        let connected = channel(format!("https://{}", daemon.control), admin.join("bundle.pem"), Some(shown));
        there.block_on(there.spawn(connected))?
    };
    let (places, mut daemons) = ([&place, &beside], [daemon, second.run(|| beside.start())?]);
    std::thread::sleep(SETTLES_WITHIN);
    link.set_both(LinkRules::delayed(delay));
    let mut longest = Vec::new();
    for _ in 0..kills {
        let leader = there.block_on(there.spawn(leader(connect(&daemons[0])?)))??;
        let leads = daemons.iter().position(|daemon| daemon.node_id == leader);
        let leads = leads.with_context(|| format!("`{leader}` leads"))?;
        let versions = Shared::default();
        let watching = there.spawn(watch(connect(&daemons[1 - leads])?, versions.clone()));
        let changing: Vec<_> = (0..CALLERS)
            .map(|caller| here.spawn(change(caller, RATE, LASTS, source.clone(), versions.clone())))
            .collect();
        std::thread::sleep(KILLED_AFTER);
        daemons[leads].signal("KILL")?;
        for caller in changing {
            here.block_on(caller)??;
        }
        std::thread::sleep(KILLED_AFTER);
        ensure!(!watching.is_finished(), "the watch has ended");
        watching.abort();
        let seen = std::mem::take(&mut *versions.lock());
        ensure!(seen.unseen() == 0, "{} changes were never seen", seen.unseen());
        longest.push(seen.took.iter().max().copied().context("nothing was seen")?);
        daemons[leads] = second.run(|| places[leads].start())?;
        std::thread::sleep(SETTLES_WITHIN);
    }
    longest.sort_unstable();
    let told: Vec<_> = longest.iter().map(|longest| format!("{:.2} s", longest.as_secs_f64())).collect();
    let worst = longest.last().map_or(0.0, Duration::as_secs_f64);
    println!(
        "the daemon that follows is killed, {kills} times: changes were not seen for {}; the longest is {:.2} of the {} s that it may be",
        told.join(", "),
        worst / LIMIT.as_secs_f64(),
        LIMIT.as_secs()
    );
    Ok(())
}

/// Asks who leads the scope whose leader follows.
async fn leader(channel: Channel) -> Result<String> {
    let scope = "global-control".to_owned();
    let mut leaders = LeadershipControlServiceClient::new(channel);
    let told = leaders.get(pb::GetLeaderRequest { scope, ..Default::default() }).await?.into_inner();
    Ok(told.leadership.context("no leader")?.leader_id)
}
