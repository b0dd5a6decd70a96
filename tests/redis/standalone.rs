//! One server, or several of which one is the master.

use std::time::Duration;

use anyhow::{Result, ensure};
use omnirelay_store::redis::link::LinkError;
use redis::{Value, cmd};

use crate::linked::{incr, link, pause_of_the_link, refusal, write_until_done};
use crate::servers::{RedisServer, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_use_connects() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let before = server.connections_received()?;
    let (link, greeter) = link(&server.url())?;
    // This connection counts itself.
    assert_eq!(server.connections_received()?, before + 1);
    assert_eq!(link.call(&incr()).await?, Value::Int(1));
    assert_eq!(link.call(&incr()).await?, Value::Int(2));
    assert_eq!(greeter.greetings(), 1);
    assert_eq!(link.connection().await?.generation(), 1);
    assert_eq!(server.connections()?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_its_own_is_taken() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let (link, _) = link(&format!("{}/3", server.url()))?;
    link.call(&incr()).await?;
    assert_eq!(server.info("db3")?.split(',').next(), Some("keys=1"));
    let mut waiting = cmd("BLPOP");
    waiting.arg("{omnirelay}:queue").arg(1);
    link.call_blocking(&waiting, Duration::from_secs(1)).await?;
    let clients: String = server.cli(&["CLIENT", "LIST"])?;
    let ours: Vec<&str> = clients.lines().filter(|line| line.contains("name=omnirelayd")).collect();
    ensure!(ours.len() == 2 && ours.iter().all(|line| line.contains(" db=3 ")), "{clients}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_master_among_several_is_found() -> Result<()> {
    let master = RedisServer::start(&[])?;
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &master.port().to_string()])?;
    let url = format!("redis://127.0.0.1:1,{},{}", replica.address(), master.address());
    let (both, _) = link(&url)?;
    assert_eq!(both.call(&incr()).await?, Value::Int(1));
    assert_eq!(both.connection().await?.address().to_string(), master.address());

    let (alone, _) = link(&replica.url())?;
    let error = refusal(alone.call(&incr()).await)?;
    ensure!(matches!(error, LinkError::Unreachable(_)), "{error:?}");
    ensure!(error.chain().contains(&format!("{} is a replica", replica.address())), "{}", error.chain());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_demoted_is_left() -> Result<()> {
    let first = RedisServer::start(&[])?;
    let second = RedisServer::start(&["--replicaof", "127.0.0.1", &first.port().to_string()])?;
    eventually("the replica follows", || Ok(second.info("master_link_status")? == "up"))?;
    let (link, greeter) = link(&format!("redis://{},{}", first.address(), second.address()))?;
    link.call(&incr()).await?;

    second.cli::<()>(&["REPLICAOF", "NO", "ONE"])?;
    first.cli::<()>(&["REPLICAOF", "127.0.0.1", &second.port().to_string()])?;
    let error = refusal(link.call(&incr()).await)?;
    // The server may break the connections of its clients when it is demoted, or answer.
    match error.code() {
        Some(code) => assert_eq!(code, "READONLY"),
        None => ensure!(matches!(error, LinkError::Lost(_)), "{error:?}"),
    }
    write_until_done(&link).await?;
    assert_eq!(link.connection().await?.address().to_string(), second.address());
    assert_eq!(greeter.greetings(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_later_is_found() -> Result<()> {
    let mut server = RedisServer::start(&[])?;
    server.kill()?;
    let (link, _) = link(&server.url())?;
    let error = refusal(link.call(&incr()).await)?;
    ensure!(matches!(error, LinkError::Unreachable(_)), "{error:?}");
    ensure!(error.chain().contains(&server.address()), "{}", error.chain());
    server.restart()?;
    write_until_done(&link).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_that_the_server_closed_costs_no_command() -> Result<()> {
    let mut server = RedisServer::start(&[])?;
    let (link, _) = link(&server.url())?;
    link.call(&incr()).await?;
    server.kill()?;
    server.restart()?;
    // Longer than a pause: the connection has lasted, so the next is made at once.
    pause_of_the_link().await;
    assert_eq!(link.call(&incr()).await?, Value::Int(1), "a fresh server counts from 1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_refused_leaves_the_connection() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let (link, greeter) = link(&server.url())?;
    let fail = |word: &str| {
        let mut command = cmd("EVAL");
        command.arg(format!("return redis.error_reply('{word} because')")).arg(0);
        command
    };
    for code in ["FENCED", "NOSCRIPT", "OOM", "WRONGTYPE"] {
        let error = refusal(link.call(&fail(code)).await)?;
        ensure!(matches!(&error, LinkError::Refused { code: found, .. } if found == code), "{error:?}");
    }
    assert_eq!(greeter.greetings(), 1);
    server.cli::<()>(&["CONFIG", "SET", "maxmemory", "1kb"])?;
    assert_eq!(refusal(link.call(&incr()).await)?.code(), Some("OOM"));
    assert_eq!(greeter.greetings(), 1, "a full server is no other server");
    Ok(())
}
