//! Keys that are published for outsiders, as a client of their Redis sees them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use omnirelay_relay::metrics::publish::PublishMetrics;
use omnirelay_relay::publish::{Publications, PublishSettings};
use omnirelay_relay::published::{drone_key, drone_value};
use omnirelay_settings::PublishConfig;
use omnirelay_store::url::UrlSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::servers::{RedisServer, eventually};

const TTL: Duration = Duration::from_secs(45);
const SHORT: Duration = Duration::from_secs(2);
/// How long a call may take that waits for no server, on a busy machine: one that waits for a server that is away or
/// hangs waits for as long as it does.
const AT_ONCE: Duration = Duration::from_secs(5);
const KEY: &str = "drone:a";
const MANY: usize = 10_000;

/// Publishes until it is dropped, which is no clean end.
struct Publishing {
    publications: Arc<Publications>,
    running: JoinSet<()>,
}

impl Publishing {
    fn to(address: &str, ttl: Duration) -> Result<Self> {
        Self::of(&PublishConfig { address: Some(address.to_owned()), ..PublishConfig::default() }, ttl)
    }

    fn of(config: &PublishConfig, ttl: Duration) -> Result<Self> {
        let metrics = Arc::new(PublishMetrics::new(&prometheus::Registry::new())?);
        let settings = PublishSettings { server: config.clone(), ttl, keys_max: MANY };
        let publications = Arc::new(Publications::new(settings, metrics));
        let mut running = JoinSet::new();
        let runs = publications.clone();
        running.spawn(async move { runs.run().await });
        Ok(Self { publications, running })
    }

    fn put_and_keep(&self, key: &str, value: &str) {
        self.publications.put(key, value);
        self.publications.keep(key);
    }

    /// Waits until all that is wished is done.
    fn settled(&self) -> Result<()> {
        eventually("all wishes are done", || {
            let health = self.publications.health();
            Ok(health.waiting == 0 && health.failing_for.is_none())
        })
    }

    fn failing(&self) -> Result<()> {
        eventually("the Redis is found to be away", || Ok(self.publications.health().failing_for.is_some()))
    }
}

fn get(server: &RedisServer, key: &str) -> Result<Option<String>> {
    server.cli(&["GET", key])
}

fn stands(server: &RedisServer, key: &str, expected: Option<&str>) -> Result<()> {
    let what = format!("`{key}` is {expected:?}");
    eventually(&what, || Ok(get(server, key)?.as_deref() == expected))
}

fn at_once(what: &str, call: impl FnOnce()) -> Result<()> {
    let begun = Instant::now();
    call();
    ensure!(begun.elapsed() < AT_ONCE, "{what} took {:?}", begun.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_sees_the_key_its_value_and_its_time_to_live() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let publishing = Publishing::to(&server.address(), TTL)?;
    let key = drone_key("a");
    publishing.publications.put(&key, &drone_value("relay-1", "sess-1"));
    stands(&server, "drone:a", Some(r#"{"relay_id":"relay-1","session_id":"sess-1"}"#))?;
    let left: u64 = server.cli(&["PTTL", "drone:a"])?;
    ensure!((40_000..=45_000).contains(&left), "{left} ms");
    eventually("it is counted", || Ok(publishing.publications.health().published == 1))?;
    publishing.publications.remove(&key, &drone_value("relay-1", "sess-1"));
    stands(&server, "drone:a", None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_lives_on_only_while_it_is_kept() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let publishing = Publishing::to(&server.address(), SHORT)?;
    publishing.put_and_keep(KEY, "A");
    publishing.publications.put("drone:b", "B");
    stands(&server, "drone:b", Some("B"))?;
    stands(&server, KEY, Some("A"))?;
    let begun = Instant::now();
    stands(&server, "drone:b", None)?;
    while begun.elapsed() < SHORT * 2 {
        assert_eq!(get(&server, KEY)?.as_deref(), Some("A"), "after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    publishing.publications.let_go(KEY);
    let begun = Instant::now();
    stands(&server, KEY, None)?;
    ensure!(begun.elapsed() < SHORT * 2, "it went on for {:?}", begun.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_is_written_again_and_what_is_anothers_is_left() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let publishing = Publishing::to(&server.address(), SHORT)?;
    for key in ["gone", "anothers", "a-set"] {
        publishing.put_and_keep(key, "ours");
    }
    eventually("all stand", || Ok(publishing.publications.health().published == 3))?;
    server.cli::<()>(&["DEL", "gone", "a-set"])?;
    server.cli::<()>(&["SET", "anothers", "theirs"])?;
    server.cli::<()>(&["SADD", "a-set", "theirs"])?;
    stands(&server, "gone", Some("ours"))?;
    eventually("the others are given up", || Ok(publishing.publications.health().published == 1))?;
    publishing.publications.remove("anothers", "ours");
    publishing.publications.remove("a-set", "ours");
    publishing.settled()?;
    assert_eq!(get(&server, "anothers")?.as_deref(), Some("theirs"));
    assert_eq!(server.cli::<i64>(&["PTTL", "anothers"])?, -1, "nobody has given it a time to live");
    assert_eq!(server.cli::<usize>(&["SCARD", "a-set"])?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_session_wins_and_the_end_of_an_old_one_removes_nothing() -> Result<()> {
    let server = RedisServer::start(&[])?;
    server.cli::<()>(&["SET", KEY, "of another relay"])?;
    let publishing = Publishing::to(&server.address(), TTL)?;
    publishing.put_and_keep(KEY, "old");
    stands(&server, KEY, Some("old"))?;
    publishing.put_and_keep(KEY, "new");
    publishing.publications.remove(KEY, "old");
    publishing.settled()?;
    stands(&server, KEY, Some("new"))?;
    // Another relay has it now.
    server.cli::<()>(&["SET", KEY, "elsewhere"])?;
    publishing.publications.remove(KEY, "new");
    eventually("the removal was tried", || Ok(publishing.publications.health().published == 0))?;
    publishing.settled()?;
    assert_eq!(get(&server, KEY)?.as_deref(), Some("elsewhere"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_at_the_start_is_written_to_when_it_comes() -> Result<()> {
    let mut server = RedisServer::start(&[])?;
    server.kill()?;
    let publishing = Publishing::to(&server.address(), TTL)?;
    at_once("10000 wishes", || {
        for _ in 0..1000 {
            for n in 0..10 {
                publishing.publications.put(&format!("drone:{n}"), "A");
            }
        }
    })?;
    publishing.publications.remove("drone:9", "A");
    publishing.failing()?;
    assert_eq!(publishing.publications.health().waiting, 10, "the newest wish for each key");
    server.restart()?;
    stands(&server, "drone:0", Some("A"))?;
    publishing.settled()?;
    assert_eq!(server.cli::<usize>(&["DBSIZE"])?, 9);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_has_lost_everything_is_given_what_should_stand() -> Result<()> {
    let mut server = RedisServer::start(&[])?;
    let publishing = Publishing::to(&server.address(), TTL)?;
    for key in ["kept", "ended", "moved"] {
        publishing.put_and_keep(key, "A");
    }
    publishing.publications.put("registered", "A");
    eventually("all stand", || Ok(publishing.publications.health().published == 4))?;
    server.kill()?;
    publishing.publications.remove("ended", "A");
    publishing.put_and_keep("moved", "B");
    publishing.failing()?;
    server.restart()?;
    for (key, value) in [("kept", Some("A")), ("registered", Some("A")), ("moved", Some("B"))] {
        stands(&server, key, value)?;
    }
    publishing.settled()?;
    assert_eq!(get(&server, "ended")?, None);
    let left: u64 = server.cli(&["PTTL", "registered"])?;
    ensure!(left <= 45_000, "{left} ms");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_stops_nobody_and_has_the_last_wish_in_the_end() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let publishing = Publishing::to(&server.address(), TTL)?;
    publishing.put_and_keep(KEY, "old");
    stands(&server, KEY, Some("old"))?;
    server.pause()?;
    for round in 0..3 {
        at_once("a put", || publishing.put_and_keep(KEY, &format!("A{round}")))?;
        // What was sent hangs with the server; the next is sent over another connection.
        tokio::time::sleep(Duration::from_secs(1)).await;
        at_once("a removal", || publishing.publications.remove(KEY, &format!("A{round}")))?;
    }
    at_once("a put", || publishing.put_and_keep(KEY, "B"))?;
    publishing.failing()?;
    server.resume()?;
    stands(&server, KEY, Some("B"))?;
    publishing.settled()?;
    assert_eq!(get(&server, KEY)?.as_deref(), Some("B"));
    Ok(())
}

/// Lets everything pass but what the first connection is sent while it is held.
struct Late {
    address: String,
    holds: watch::Sender<bool>,
    /// Whether the first connection has ended.
    ended: watch::Receiver<bool>,
    _serving: JoinSet<()>,
}

impl Late {
    async fn before(server: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let (holds, (told, ended)) = (watch::Sender::new(false), watch::channel(false));
        let (held, mut serving) = (holds.subscribe(), JoinSet::new());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            let (mut first, (_never, free)) = (Some((held, told)), watch::channel(false));
            while let Ok((client, _)) = listener.accept().await {
                let (held, told) = first.take().unwrap_or_else(|| (free.clone(), watch::Sender::new(false)));
                let Ok(server) = TcpStream::connect(&server).await else { return };
                connections.spawn(async move {
                    // A connection ends as it likes.
                    let _ = carry(client, server, held, &told).await;
                    told.send_replace(true);
                });
            }
        });
        Ok(Self { address, holds, ended, _serving: serving })
    }
}

async fn carry(
    client: TcpStream,
    server: TcpStream,
    mut held: watch::Receiver<bool>,
    told: &watch::Sender<bool>,
) -> Result<()> {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let up = async {
        let mut bytes = vec![0; 64 * 1024];
        let mut was_held = false;
        loop {
            let count = from_client.read(&mut bytes).await.unwrap_or(0);
            was_held |= *held.borrow();
            held.wait_for(|held| !held).await?;
            if count == 0 {
                // The server must have answered what was held, or have closed.
                return if was_held { std::future::pending().await } else { Ok(()) };
            }
            to_server.write_all(&bytes[..count]).await?;
        }
    };
    let down = async {
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let count = from_server.read(&mut bytes).await?;
            if count == 0 {
                return Ok(());
            }
            if to_client.write_all(&bytes[..count]).await.is_err() {
                told.send_replace(true);
            }
        }
    };
    tokio::select! {
        up = up => up,
        down = down => down,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_old_connection_brings_late_is_not_written() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mut late = Late::before(server.address()).await?;
    let publishing = Publishing::to(&late.address, TTL)?;
    publishing.put_and_keep(KEY, "first");
    stands(&server, KEY, Some("first"))?;
    publishing.settled()?;
    late.holds.send_replace(true);
    publishing.put_and_keep(KEY, "A");
    // Over another connection.
    stands(&server, KEY, Some("A"))?;
    publishing.put_and_keep(KEY, "B");
    stands(&server, KEY, Some("B"))?;
    late.holds.send_replace(false);
    // The server closes it; one that has taken what was held says so to nobody.
    let closed = tokio::time::timeout(Duration::from_secs(5), late.ended.wait_for(|ended| *ended)).await;
    ensure!(closed.is_ok(), "the old connection lives on");
    assert_eq!(get(&server, KEY)?.as_deref(), Some("B"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_and_a_database_are_used() -> Result<()> {
    let server = RedisServer::start(&["--requirepass", "secret"])?;
    let config = PublishConfig {
        address: Some(server.address()),
        password: Some(UrlSecret::new("secret")),
        database: Some(3),
    };
    let publishing = Publishing::of(&config, TTL)?;
    publishing.publications.put(KEY, "A");
    publishing.settled()?;
    let keys: String = server.cli_as(":secret", &["INFO", "keyspace"])?;
    ensure!(keys.contains("db3:keys=1"), "{keys}");
    let wrong = PublishConfig { password: Some(UrlSecret::new("wrong")), ..config };
    let refused = Publishing::of(&wrong, TTL)?;
    refused.failing()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_is_written_to_once_it_has_room() -> Result<()> {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"])?;
    let publishing = Publishing::to(&server.address(), TTL)?;
    publishing.put_and_keep("drone:b", "B");
    stands(&server, "drone:b", Some("B"))?;
    server.cli::<()>(&["CONFIG", "SET", "maxmemory", "1kb"])?;
    publishing.put_and_keep(KEY, "A");
    publishing.publications.remove("drone:b", "B");
    stands(&server, "drone:b", None)?;
    assert_eq!(get(&server, KEY)?, None);
    server.cli::<()>(&["CONFIG", "SET", "maxmemory", "0"])?;
    stands(&server, KEY, Some("A"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_end_takes_away_what_is_ours_and_no_more() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let mut publishing = Publishing::to(&server.address(), TTL)?;
    for key in ["a", "b", "c"] {
        publishing.put_and_keep(key, "ours");
    }
    publishing.publications.put("d", "ours");
    eventually("all stand", || Ok(publishing.publications.health().published == 4))?;
    server.cli::<()>(&["SET", "b", "theirs"])?;
    publishing.publications.close(Duration::from_secs(10)).await;
    publishing.running.join_next().await.context("it runs")??;
    assert_eq!(server.cli::<Vec<String>>(&["KEYS", "*"])?, ["b"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_waits_for_a_redis_that_hangs_no_longer_than_it_may() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let publishing = Publishing::to(&server.address(), TTL)?;
    publishing.put_and_keep(KEY, "A");
    stands(&server, KEY, Some("A"))?;
    server.pause()?;
    let begun = Instant::now();
    publishing.publications.close(Duration::from_millis(300)).await;
    ensure!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    server.resume()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_without_a_word_leaves_its_keys_to_their_time() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let publishing = Publishing::to(&server.address(), SHORT)?;
    publishing.put_and_keep(KEY, "A");
    stands(&server, KEY, Some("A"))?;
    drop(publishing);
    let begun = Instant::now();
    assert_eq!(get(&server, KEY)?.as_deref(), Some("A"));
    stands(&server, KEY, None)?;
    ensure!(begun.elapsed() < SHORT * 2, "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_keys_are_written_refreshed_and_brought_back() -> Result<()> {
    let server = RedisServer::start(&[])?;
    let publishing = Publishing::to(&server.address(), SHORT * 2)?;
    for n in 0..MANY {
        publishing.put_and_keep(&format!("drone:{n}"), &drone_value("relay-1", &format!("sess-{n}")));
    }
    let all = || Ok(server.cli::<usize>(&["DBSIZE"])? == MANY);
    eventually("all stand", all)?;
    let begun = Instant::now();
    while begun.elapsed() < SHORT * 3 {
        ensure!(all()?, "some have ended after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.cli::<()>(&["FLUSHALL"])?;
    server.cli::<()>(&["CLIENT", "KILL", "TYPE", "normal"])?;
    eventually("all are back", all)?;
    at_once("one more, for which there is no room", || publishing.publications.put("drone:x", "A"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_address_nothing_is_published() -> Result<()> {
    for address in [None, Some(String::new())] {
        let mut publishing = Publishing::of(&PublishConfig { address, ..PublishConfig::default() }, TTL)?;
        publishing.put_and_keep(KEY, "A");
        assert_eq!(publishing.publications.health(), Default::default());
        // It runs on, since it may be switched on.
        publishing.publications.close(TTL).await;
        let ended = tokio::time::timeout(Duration::from_secs(10), publishing.running.join_next());
        ended.await?.context("it runs")??;
        assert_eq!(publishing.publications.health(), Default::default());
    }
    Ok(())
}
