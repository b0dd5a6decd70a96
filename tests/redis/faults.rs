//! Servers that stall, lie dead, or let nobody in.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use omnirelay_store::redis::link::{LinkError, RedisOptions};
use redis::{Value, cmd};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::linked::{hasty_link, incr, link, link_with, pause_of_the_link, refusal, write_until_done};
use crate::servers::{RedisServer, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outcome_on_a_slow_server_is_unknown() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let (link, _) = hasty_link(&server.url())?;
    link.call(&incr()).await?;
    server.cli::<()>(&["CLIENT", "PAUSE", "1500", "WRITE"])?;
    let error = refusal(link.call(&incr()).await)?;
    ensure!(matches!(error, LinkError::Lost(_)), "{error:?}");
    write_until_done(&link).await?;
    eventually("no connection is left behind", || Ok(server.connections()? == 1))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_is_noticed_and_found_again() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let (link, _) = hasty_link(&server.url())?;
    link.call(&incr()).await?;
    server.pause()?;
    let error = refusal(link.call(&incr()).await)?;
    ensure!(matches!(error, LinkError::Lost(_)), "{error:?}");
    // Nothing is sent any more: the server takes the connection (its system does) and is silent.
    for _ in 0..20 {
        let error = refusal(link.call(&incr()).await)?;
        ensure!(matches!(error, LinkError::Unreachable(_)), "{error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.resume()?;
    write_until_done(&link).await?;
    eventually("no connection is left behind", || Ok(server.connections()? == 1))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_never_answers_holds_nobody() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (link, _) = hasty_link(&format!("redis://{}", listener.local_addr()?))?;
    let begun = Instant::now();
    let error = refusal(link.call(&incr()).await)?;
    ensure!(matches!(error, LinkError::Unreachable(_)), "{error:?}");
    ensure!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    Ok(())
}

/// A port to which nothing can connect, as if its packets were lost: the queue of its listener is
/// full, and the system drops what comes.
async fn black_hole() -> Result<(TcpListener, TcpStream, TcpStream)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind("127.0.0.1:0".parse()?)?;
    let listener = socket.listen(0)?;
    let at = listener.local_addr()?;
    let held = TcpStream::connect(at).await?;
    // The system's queue is one longer than it was told.
    let second = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(at)).await;
    let second = match second {
        Ok(second) => second?,
        Err(_) => TcpStream::connect(TcpListener::bind("127.0.0.1:0").await?.local_addr()?).await?,
    };
    let third = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(at)).await;
    ensure!(third.is_err(), "the port takes connections");
    Ok((listener, held, second))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_swallow_all_are_passed_over() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mut holes = Vec::new();
    for _ in 0..5 {
        holes.push(black_hole().await?);
    }
    let mut hosts =
        holes.iter().map(|hole| Ok(hole.0.local_addr()?.to_string())).collect::<Result<Vec<_>>>()?;
    hosts.push(server.address());
    let (link, _) = hasty_link(&format!("redis://{}", hosts.join(",")))?;
    // Five times 400 ms is longer than a caller waits; the search goes on without it.
    let error = refusal(link.call(&incr()).await)?;
    ensure!(error.chain().contains("goes on"), "{}", error.chain());
    write_until_done(&link).await?;
    // The server that was found is asked first from now on.
    tokio::time::sleep(Duration::from_millis(600)).await;
    link.renew(link.connection().await?.generation());
    link.call(&incr()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_port_is_not_hammered() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (link, _) = link(&format!("redis://{}", listener.local_addr()?))?;
    let count = tokio::spawn(async move {
        let mut accepted = 0_u32;
        let end = tokio::time::sleep(Duration::from_secs(2));
        tokio::pin!(end);
        loop {
            tokio::select! {
                // Closed at once.
                taken = listener.accept() => accepted += u32::from(taken.is_ok()),
                () = &mut end => return accepted,
            }
        }
    });
    let mut refused = 0_u32;
    while !count.is_finished() {
        refusal(link.call(&incr()).await)?;
        refused += 1;
        tokio::task::yield_now().await;
    }
    let accepted = count.await?;
    // 20 + 40 + 80 + 160 + 320 + 500 + 500 + 500 ms, each shortened by up to a quarter.
    ensure!((1..=11).contains(&accepted), "{accepted} attempts in two seconds");
    ensure!(refused > 100, "callers are answered at once meanwhile: {refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_everything_is_not_hammered() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let (link, _) = link(&server.url())?;
    let before = server.connections_received()?;
    let mut readonly = cmd("EVAL");
    readonly.arg("return redis.error_reply('READONLY always')").arg(0);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        refusal(link.call(&readonly).await)?;
        tokio::task::yield_now().await;
    }
    let made = server.connections_received()? - before;
    ensure!((2..=12).contains(&made), "{made} connections in two seconds");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_make_one_connection() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let (link, greeter) = link(&server.url())?;
    link.call(&incr()).await?;
    pause_of_the_link().await;
    for round in 1..=5 {
        let before = server.connections_received()?;
        server.cli::<Value>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])?;
        let callers: Vec<_> = (0..200)
            .map(|_| {
                let link = link.clone();
                tokio::spawn(async move { write_until_done(&link).await })
            })
            .collect();
        for caller in callers {
            caller.await??;
        }
        // Those of `cli` and the one that all callers share.
        assert_eq!(server.connections_received()?, before + 3, "round {round}");
        assert_eq!(greeter.greetings(), 1 + round);
        pause_of_the_link().await;
    }
    assert_eq!(server.connections()?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_generation_is_given_up_once() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let (link, greeter) = link(&server.url())?;
    let first = link.connection().await?.generation();
    pause_of_the_link().await;
    link.renew(first);
    let second = link.connection().await?.generation();
    assert_eq!(second, first + 1);
    for _ in 0..10 {
        link.renew(first);
    }
    assert_eq!(link.connection().await?.generation(), second, "another generation's renewal is not ours");
    assert_eq!(greeter.greetings(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_commands_have_a_connection_of_their_own() -> Result<()> {
    let mut server = RedisServer::start(&[])?;
    let (link, greeter) = link(&server.url())?;
    let mut pop = cmd("BLPOP");
    pop.arg("{omnirelay}:queue").arg(20);
    let wait = Duration::from_secs(20);
    let waiting = tokio::spawn({
        let (link, pop) = (link.clone(), pop.clone());
        async move { link.call_blocking(&pop, wait).await }
    });
    eventually("the command waits", || Ok(server.info("blocked_clients")? == "1"))?;
    for _ in 0..10 {
        link.call(&incr()).await?;
    }
    let mut push = cmd("RPUSH");
    link.call(push.arg("{omnirelay}:queue").arg("x")).await?;
    ensure!(matches!(waiting.await??, Value::Array(_)));
    assert_eq!((server.connections()?, greeter.greetings()), (2, 2));

    // Abandoned: its connection is closed, and nobody waits behind it.
    let call = link.call_blocking(&pop, wait);
    ensure!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err());
    eventually("the abandoned connection is closed", || Ok(server.connections()? == 1))?;

    // The server dies: so does the wait.
    let waiting = tokio::spawn({
        let (link, pop) = (link.clone(), pop.clone());
        async move { link.call_blocking(&pop, wait).await }
    });
    eventually("the command waits", || Ok(server.info("blocked_clients")? == "1"))?;
    server.kill()?;
    let error = refusal(waiting.await?)?;
    ensure!(matches!(error, LinkError::Lost(_)), "{error:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_when_the_connection_of_the_others_is_given_up() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let (link, _) = link(&server.url())?;
    let generation = link.connection().await?.generation();
    let waiting = tokio::spawn({
        let link = link.clone();
        async move {
            let mut pop = cmd("BLPOP");
            link.call_blocking(pop.arg("{omnirelay}:queue").arg(20), Duration::from_secs(20)).await
        }
    });
    eventually("the command waits", || Ok(server.info("blocked_clients")? == "1"))?;
    link.renew(generation);
    let error = refusal(waiting.await?)?;
    ensure!(matches!(error, LinkError::Lost(_)), "{error:?}");
    eventually("its connection is closed", || Ok(server.info("blocked_clients")? == "0"))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_grows_while_the_server_comes_and_goes() -> Result<()> {
    let mut server = RedisServer::start(&[])?;
    let (link, _) = link(&server.url())?;
    let descriptors = || Ok::<_, std::io::Error>(std::fs::read_dir("/proc/self/fd")?.count());
    write_until_done(&link).await?;
    let before = descriptors()?;
    for _ in 0..10 {
        server.kill()?;
        refusal(link.call(&incr()).await)?;
        server.restart()?;
        write_until_done(&link).await?;
    }
    assert_eq!(server.connections()?, 1);
    // Other tests of this process open and close files of their own.
    eventually("descriptors are given back", || Ok(descriptors()? <= before + 40))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_as_such() -> Result<()> {
    let server = RedisServer::start(&["--requirepass", "right"])?;
    let cases = [
        ("wrong", format!("redis://:wrong@{}", server.address()), Some("WRONGPASS")),
        ("none", server.url(), Some("NOAUTH")),
        ("unknown user", format!("redis://me:right@{}", server.address()), Some("WRONGPASS")),
    ];
    for (what, url, code) in cases {
        let (link, _) = link(&url)?;
        let error = refusal(link.call(&incr()).await)?;
        ensure!(matches!(error, LinkError::Unreachable(_)), "{what}: {error:?}");
        assert_eq!(error.code(), code, "{what}: {}", error.chain());
        let shown = format!("{error:?} {}", error.chain());
        ensure!(!shown.contains("right") && !shown.contains("wrong"), "{what}: {shown}");
    }
    let (from_url, _) = link(&format!("redis://:right@{}", server.address()))?;
    from_url.call(&incr()).await?;
    let password = Some(omnirelay_store::url::UrlSecret::new("right"));
    let (from_options, _) = link_with(&server.url(), RedisOptions { password, ..RedisOptions::default() })?;
    from_options.call(&incr()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_a_permission_is_told_which() -> Result<()> {
    let server = RedisServer::start(&[])?;
    server.cli::<()>(&[
        "ACL",
        "SETUSER",
        "mesh",
        "on",
        ">pw",
        "~{omnirelay}:*",
        "+@write",
        "+info",
        "+ping",
    ])?;
    server.cli::<()>(&["ACL", "SETUSER", "blind", "on", ">pw", "~*", "+@all", "-info"])?;
    let (mesh, greeter) = link(&format!("redis://mesh:pw@{}", server.address()))?;
    mesh.call(&incr()).await?;
    let mut config = cmd("CONFIG");
    let error = refusal(mesh.call(config.arg("GET").arg("save")).await)?;
    ensure!(matches!(&error, LinkError::Refused { code, .. } if code == "NOPERM"), "{error:?}");
    let mut other = cmd("SET");
    assert_eq!(refusal(mesh.call(other.arg("other").arg(1)).await)?.code(), Some("NOPERM"));
    assert_eq!(greeter.greetings(), 1, "what is forbidden does not end the connection");

    let (blind, _) = link(&format!("redis://blind:pw@{}", server.address()))?;
    let error = refusal(blind.call(&incr()).await)?;
    ensure!(error.code() == Some("NOPERM") && error.chain().contains("INFO"), "{}", error.chain());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_risky_is_told() -> Result<()> {
    let server = RedisServer::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"])?;
    let (link, _) = link(&server.url())?;
    link.call(&incr()).await?;
    eventually("the advice is there", || Ok(!link.advice().is_empty()))?;
    let advice = link.advice().join("\n");
    for expected in ["maxmemory-policy noeviction", "appendonly yes", "add a replica", "set requirepass"] {
        ensure!(advice.contains(expected), "{expected}: {advice}");
    }
    Ok(())
}
