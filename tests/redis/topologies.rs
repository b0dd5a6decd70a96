//! Sentinel and Cluster: the master moves, and the link follows.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use omnirelay_store::redis::link::{LinkError, MasterLink, RedisOptions};
use redis::Value;

use crate::linked::{hasty_link, incr, link, link_with, refusal, write_until_done};
use crate::servers::proxy::Proxy;
use crate::servers::{Cluster, PATIENCE, RedisServer, Sentinels, eventually};

const TAG: &str = "omnirelay";

/// Waits until one of the servers is the master, all others follow it, and the link is on it alone.
async fn until_on_the_only_master(link: &MasterLink, servers: &[RedisServer]) -> Result<()> {
    let begun = Instant::now();
    loop {
        write_until_done(link).await?;
        let at = link.connection().await.map(|connection| connection.address().to_string());
        let look = |server: &RedisServer| {
            let is_at = at.as_ref().is_ok_and(|at| *at == server.address());
            Ok((server.info("role")?, server.connections()?, is_at))
        };
        // A server that is made a replica breaks the connections of all, this one as well.
        let seen = servers.iter().map(look).collect::<Result<Vec<_>>>();
        let right = |(role, connections, is_at): &(String, usize, bool)| match role.as_str() {
            "master" => *is_at && *connections == 1,
            _ => !is_at && *connections == 0,
        };
        let masters =
            |seen: &[(String, usize, bool)]| seen.iter().filter(|server| server.0 == "master").count();
        if seen.as_ref().is_ok_and(|seen| masters(seen) == 1 && seen.iter().all(right)) {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "role, connections, whether it is connected: {seen:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_by_sentinel_is_followed() -> Result<()> {
    let mut group = Sentinels::start(1)?;
    let (link, greeter) = hasty_link(&group.url())?;
    link.call(&incr()).await?;
    assert_eq!(link.connection().await?.address().to_string(), group.servers[0].address());

    let before = group.kill_master()?;
    // A daemon that writes all the time, as the one that is measured here, and one that does not.
    let writer = tokio::spawn({
        let link = link.clone();
        async move { write_until_done(&link).await.map(|_| Instant::now()) }
    });
    let now = tokio::task::block_in_place(|| group.wait_for_failover(before))?;
    let announced = Instant::now();
    let late = writer.await??.saturating_duration_since(announced);
    println!("first write {late:?} after the announcement");
    until_on_the_only_master(&link, &group.servers[now..=now]).await?;
    ensure!(greeter.greetings() >= 2, "the new master was greeted");

    // The old one comes back, is made a replica, and nobody is drawn to it.
    group.servers[before].restart()?;
    until_on_the_only_master(&link, &group.servers).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_sentinel_replaces_while_it_lives_is_left() -> Result<()> {
    let group = Sentinels::start(1)?;
    let (link, _) = link(&group.url())?;
    link.call(&incr()).await?;
    // Nobody can tell the old master that it is none, so it goes on taking writes.
    group.servers[0].cli::<()>(&["ACL", "SETUSER", "default", "-replicaof", "-slaveof"])?;
    eventually("a failover begins", || {
        Ok(group.sentinels[0].cli::<()>(&["SENTINEL", "FAILOVER", "mesh"]).is_ok())
    })?;
    tokio::task::block_in_place(|| group.wait_for_failover(0))?;
    let begun = Instant::now();
    loop {
        match link.connection().await {
            Ok(connection) if connection.address().port == group.servers[1].port() => break,
            Ok(_) | Err(_) => ensure!(begun.elapsed() < PATIENCE, "the old master is not left"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("left {:?} after the announcement", begun.elapsed());
    link.call(&incr()).await?;
    assert_eq!(group.servers[0].connections()?, 0);
    assert_eq!(group.servers[0].info("role")?, "master");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_replaced_is_left_by_those_who_ask_nothing() -> Result<()> {
    let group = Sentinels::start(1)?;
    let (link, _) = link(&group.url())?;
    link.call(&incr()).await?;
    tokio::task::block_in_place(|| group.wait_for_listeners(1))?;
    // Nobody can tell the old master that it is none, so it closes no connection.
    group.servers[0].cli::<()>(&["ACL", "SETUSER", "default", "-replicaof", "-slaveof"])?;
    assert_eq!(group.servers[0].connections()?, 1);
    eventually("a failover begins", || {
        Ok(group.sentinels[0].cli::<()>(&["SENTINEL", "FAILOVER", "mesh"]).is_ok())
    })?;
    eventually("the old master is left", || Ok(group.servers[0].connections()? == 0))?;
    assert_eq!(group.servers[0].info("role")?, "master");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_that_are_down_are_passed_over() -> Result<()> {
    let mut group = Sentinels::start(1)?;
    let url = group.url();
    group.sentinels[0].kill()?;
    group.sentinels[1].pause()?;
    let (link, _) = hasty_link(&url)?;
    write_until_done(&link).await?;
    // Two Sentinels name no master, and it needs none.
    let generation = link.connection().await?.generation();
    group.sentinels[1].kill()?;
    link.renew(generation);
    write_until_done(&link).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_is_asked_on_one_connection() -> Result<()> {
    let group = Sentinels::start(0)?;
    let sentinel = &group.sentinels[0];
    let proxy = Proxy::before(&sentinel.address()).await?;
    let (link, _) = link(&format!("redis+sentinel://{}/mesh", proxy.address()))?;
    until_asked(&link, &proxy, 5).await?;
    assert_eq!(proxy.connections(), 2, "the one on which the master was found, and the one that listens");
    let clients: String = sentinel.cli(&["CLIENT", "LIST"])?;
    ensure!(!clients.contains("name=omnirelayd"), "it was told a name: {clients}");

    // One that breaks is made anew, once.
    sentinel.cli::<()>(&["CLIENT", "KILL", "TYPE", "normal"])?;
    until_asked(&link, &proxy, 3).await?;
    assert_eq!(proxy.connections(), 3);
    assert_eq!(link.connection().await?.generation(), 1, "the master is the same");
    Ok(())
}

/// Uses the link until the Sentinel behind the proxy was asked so many times more.
async fn until_asked(link: &MasterLink, proxy: &Proxy, times: usize) -> Result<()> {
    let (begun, before) = (Instant::now(), proxy.said());
    while proxy.said() < before + times {
        ensure!(begun.elapsed() < PATIENCE, "asked {} times", proxy.said() - before);
        link.call(&incr()).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_sentinels_do_not_know_is_told() -> Result<()> {
    let group = Sentinels::start(0)?;
    let (other, _) = link(&group.url().replace("/mesh", "/other"))?;
    let error = refusal(other.call(&incr()).await)?;
    ensure!(matches!(error, LinkError::Unreachable(_)), "{error:?}");
    ensure!(error.chain().contains("watches no `other`"), "{}", error.chain());

    let (as_server, _) = link(&group.sentinels[0].url())?;
    let error = refusal(as_server.call(&incr()).await)?;
    ensure!(error.chain().contains("is a Sentinel"), "{}", error.chain());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_of_the_slot_is_found_from_any_node() -> Result<()> {
    let cluster = Cluster::start()?;
    let owner = cluster.owner(TAG)?;
    for node in 0..cluster.nodes.len() {
        let (link, greeter) = link(&cluster.url(&[node]))?;
        link.call(&incr()).await?;
        assert_eq!(link.connection().await?.address().to_string(), cluster.nodes[owner].address());
        assert_eq!(greeter.greetings(), 1, "only the owner is greeted");
    }
    eventually("all others were left", || {
        let connections: Vec<usize> =
            cluster.nodes.iter().map(RedisServer::connections).collect::<Result<_>>()?;
        Ok(connections.iter().sum::<usize>() == 0)
    })?;
    let (database, _) = link(&format!("{}/1", cluster.url(&[0])))?;
    let error = refusal(database.call(&incr()).await)?;
    ensure!(error.chain().contains("has no database 1"), "{}", error.chain());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hash_tag_of_ones_own_decides_the_node() -> Result<()> {
    let cluster = Cluster::start()?;
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..12 {
        let tag = format!("mesh-{number}");
        let owner = cluster.owner(&tag)?;
        let options = RedisOptions { hash_tag: Some(tag.clone()), ..RedisOptions::default() };
        let (link, _) = link_with(&cluster.url(&[0]), options)?;
        let mut set = redis::cmd("SET");
        assert_eq!(link.call(set.arg(format!("{{{tag}}}:x")).arg(1)).await?, Value::Okay);
        assert_eq!(link.connection().await?.address().to_string(), cluster.nodes[owner].address());
        seen.insert(owner);
    }
    assert_eq!(seen.len(), 3, "the tags are spread");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_in_a_cluster_is_followed() -> Result<()> {
    let mut cluster = Cluster::start_with_replica(TAG)?;
    let owner = cluster.owner(TAG)?;
    // Learned from the owner alone, which is about to die.
    let (link, _) = hasty_link(&cluster.url(&[owner]))?;
    link.call(&incr()).await?;
    assert_eq!(link.connection().await?.address().to_string(), cluster.nodes[owner].address());
    cluster.nodes[owner].kill()?;
    let took = write_until_done(&link).await?;
    println!("first write {took:?} after the owner died");
    assert_eq!(link.connection().await?.address().to_string(), cluster.nodes[3].address());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moved_is_followed() -> Result<()> {
    let cluster = Cluster::start()?;
    let owner = cluster.owner(TAG)?;
    let to = (owner + 1) % 3;
    let (link, greeter) = link(&cluster.url(&[0]))?;
    // Longer than a pause, so that what follows is made at once.
    link.connection().await?;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let slot: u16 = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", "{omnirelay}"])?;
    let id: String = cluster.nodes[to].cli(&["CLUSTER", "MYID"])?;
    for node in [to, owner, (owner + 2) % 3] {
        cluster.nodes[node].cli::<()>(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id])?;
    }
    let error = refusal(link.call(&incr()).await)?;
    ensure!(matches!(&error, LinkError::Refused { code, .. } if code == "MOVED"), "{error:?}");
    assert_eq!(link.call(&incr()).await?, Value::Int(1));
    assert_eq!(link.connection().await?.address().to_string(), cluster.nodes[to].address());
    assert_eq!(greeter.greetings(), 2);
    Ok(())
}
