//! Settings of sinks that change while telemetry goes to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use omnirelay_settings::{Backpressure, Config, HumanDuration, LiveConfig};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::sinks_test::{batch, eventually, files_in, metrics, seqs};
use super::{HandedBatch, Sink, Sinks};
use crate::assembly::start_sinks;
use crate::fake_redis::FakeRedis;

const ALL: [&str; 4] = ["file", "redis", "http", "stdout"];

/// Sinks by settings that may change.
struct Rig {
    settings: LiveConfig,
    sinks: Arc<Sinks>,
    place: tempfile::TempDir,
    _running: JoinSet<()>,
}

fn rig(change: impl FnOnce(&mut Config)) -> Rig {
    let mut config = Config::default();
    change(&mut config);
    let (settings, place, mut running) =
        (LiveConfig::from(config), tempfile::tempdir().unwrap(), JoinSet::new());
    let folder = place.path().join("default");
    let sinks = start_sinks(&settings, &folder, metrics(), &Arc::default(), &mut running).unwrap();
    Rig { settings, sinks, place, _running: running }
}

/// All four, of which two are servers that are not there.
fn rig_of_all() -> Rig {
    rig(|config| {
        let sinks = &mut config.relay.sinks;
        sinks.file.enabled = Some(true);
        sinks.redis.url = Some("redis://127.0.0.1:1".to_owned());
        sinks.http.url = Some("http://127.0.0.1:1/".to_owned());
        sinks.stdout.enabled = true;
        for queue in
            [&mut sinks.file.queue, &mut sinks.redis.queue, &mut sinks.http.queue, &mut sinks.stdout.queue]
        {
            queue.backpressure = Some(Backpressure::Drop);
        }
    })
}

impl Rig {
    fn sink(&self, name: &str) -> Option<Arc<Sink>> {
        self.sinks.current().iter().find(|sink| sink.name() == name).cloned()
    }

    /// Changes something, and waits until each of these sinks is another one.
    async fn change(&self, names: &[&str], change: impl FnOnce(&LiveConfig)) {
        let before: Vec<_> = names.iter().map(|name| self.sink(name)).collect();
        change(&self.settings);
        let is_other = |(name, before): (&&str, &Option<Arc<Sink>>)| match (self.sink(name), before) {
            (Some(now), Some(before)) => !Arc::ptr_eq(&now, before),
            (now, before) => now.is_some() != before.is_some(),
        };
        eventually("they are opened anew", || names.iter().zip(&before).all(is_other)).await;
    }

    /// Hands over a batch, and waits until it is safe.
    async fn write(&self, seqs: std::ops::Range<u64>) {
        assert_eq!(self.sinks.take(batch("a", seqs)).await.done().await, Ok(()));
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("default")
    }
}

/// The numbers of all lines in a folder.
fn read(folder: &Path) -> Vec<u64> {
    let text: String = files_in(folder).iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let mut all: Vec<u64> = seqs(&text).into_iter().map(|(_, seq)| seq).collect();
    all.sort_unstable();
    all
}

fn waits_for(handed: &HandedBatch, name: &str) -> bool {
    handed.waits.iter().any(|wait| wait.sink == name)
}

#[tokio::test]
async fn files_go_where_is_set_by_then_and_none_is_lost() {
    let rig = rig(|_| {});
    let other = rig.place.path().join("other/deep");
    // In the queue of the one that is about to be replaced.
    let first = rig.sinks.take(batch("a", 0..100)).await;
    rig.change(&["file"], |settings| settings.set("relay.sinks.file.path", other.to_str().unwrap())).await;
    rig.write(100..110).await;
    assert_eq!(first.done().await, Ok(()));
    assert_eq!(read(&rig.folder()), (0..100).collect::<Vec<_>>());
    assert_eq!(read(&other), (100..110).collect::<Vec<_>>());
    rig.change(&["file"], |settings| settings.set("relay.sinks.file.prefix", "flight")).await;
    rig.write(110..111).await;
    let named = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().starts_with("flight");
    assert_eq!(files_in(&other).iter().filter(|file| named(file)).count(), 1);
    rig.sinks.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_come_while_a_sink_is_opened_anew_are_all_taken() {
    let rig = rig(|config| config.relay.sinks.file.queue.size = 50);
    let (sinks, stop) = (rig.sinks.clone(), Arc::new(AtomicBool::new(false)));
    let mut streams = JoinSet::new();
    for stream in 0..4 {
        let (sinks, stop) = (sinks.clone(), stop.clone());
        streams.spawn(async move {
            let mut next = stream * 1_000_000;
            while !stop.load(Ordering::Relaxed) {
                let handed = sinks.take(batch("a", next..next + 20)).await;
                assert_eq!(handed.done().await, Ok(()));
                next += 20;
            }
            next - stream * 1_000_000
        });
    }
    for bytes in 0..30 {
        rig.change(&["file"], |settings| settings.set("relay.sinks.file.rotateBytes", 100_000 + bytes)).await;
        sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let taken: u64 = streams.join_all().await.into_iter().sum();
    let read = read(&rig.folder());
    assert!(taken > 0 && read.windows(2).all(|pair| pair[0] != pair[1]), "none is there twice");
    assert_eq!(read.len() as u64, taken);
    eventually("those that were replaced end", || rig.sinks.retired.lock().iter().all(|sink| sink.is_over()))
        .await;
}

#[tokio::test]
async fn files_are_followed_by_others_compressed_and_removed_as_is_set_by_then() {
    let rig = rig(|_| {});
    let files = || files_in(&rig.folder()).len();
    rig.write(0..20).await;
    rig.write(20..40).await;
    assert_eq!(files(), 1);
    rig.change(&["file"], |settings| settings.set("relay.sinks.file.rotateBytes", 4096)).await;
    rig.write(40..60).await;
    rig.write(60..80).await;
    assert_eq!(files(), 3);
    rig.change(&["file"], |settings| settings.set("relay.sinks.file.compress", "zstd")).await;
    rig.write(80..100).await;
    rig.write(100..120).await;
    let compressed = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "zst");
    eventually("they are compressed", || {
        files_in(&rig.folder()).iter().filter(|f| compressed(f)).count() > 2
    })
    .await;
    rig.change(&["file"], |settings| settings.set("relay.sinks.file.filesMax", 2)).await;
    rig.write(120..140).await;
    rig.write(140..160).await;
    eventually("two are kept", || files() <= 3).await;
    rig.sinks.close(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_file_is_as_old_as_is_set_by_then() {
    let rig = rig(|_| {});
    rig.change(&["file"], |settings| settings.set("relay.sinks.file.rotateEvery", "1s")).await;
    rig.write(0..1).await;
    sleep(Duration::from_millis(1100)).await;
    rig.write(1..2).await;
    assert_eq!(files_in(&rig.folder()).len(), 2);
}

#[tokio::test]
async fn sinks_come_and_go() {
    let rig = rig(|_| {});
    rig.change(&["stdout"], |settings| settings.set("relay.sinks.stdout.enabled", true)).await;
    // With another one there are no files unless it is said.
    let names = || rig.sinks.health().iter().map(|sink| sink.name).collect::<Vec<_>>();
    assert_eq!(names(), ["stdout"]);
    rig.change(&["file"], |settings| settings.set("relay.sinks.file.enabled", true)).await;
    assert_eq!(names(), ["file", "stdout"]);
    rig.write(0..1).await;
    assert_eq!(read(&rig.folder()), [0]);
}

#[tokio::test]
async fn what_cannot_be_opened_is_refused_and_nothing_changes() {
    let rig = rig(|_| {});
    let file = rig.place.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = |change: &dyn Fn(&mut Config)| {
        let mut config = Config::clone(&rig.settings.now());
        change(&mut config);
        rig.settings.replace(config).unwrap_err().key
    };
    assert_eq!(
        refused(&|config| config.relay.sinks.file.path = Some(file.join("in"))),
        "relay.sinks.file.path"
    );
    let without_password = |config: &mut Config| {
        config.relay.sinks.redis.url = Some("redis://127.0.0.1:1".to_owned());
        config.relay.sinks.redis.password_file = Some("/nowhere/password".into());
    };
    assert_eq!(refused(&without_password), "relay.sinks.redis.passwordFile");
    // A check makes nothing.
    let deep = rig.place.path().join("a/b");
    let mut config = Config::clone(&rig.settings.now());
    config.relay.sinks.file.path = Some(deep.clone());
    let specs = super::sink_specs(&config.relay.sinks, config.relay.acknowledge_when, Path::new("/nowhere"));
    assert!(rig.sinks.check(&specs).is_ok() && !deep.exists() && !rig.place.path().join("a").exists());
    rig.write(0..1).await;
    assert_eq!(read(&rig.folder()), [0]);
}

/// What is offered without others having their turn stays in the queue.
#[tokio::test]
async fn queues_hold_as_much_as_is_set_by_then() {
    let rig = rig_of_all();
    let dropped = |name: &str| rig.sink(name).unwrap().counts.dropped.get();
    let offer = |seqs: std::ops::Range<u64>| drop(rig.sinks.take(batch("a", seqs)).now_or_never());
    rig.change(&ALL, |settings| {
        settings.set("relay.sinks.file.queue.size", 1);
        settings.set("relay.sinks.redis.queue.size", 1);
        settings.set("relay.sinks.http.queue.size", 1);
        settings.set("relay.sinks.stdout.queue.size", 1);
    })
    .await;
    let before = ALL.map(dropped);
    (0..3).for_each(|at| offer(at..at + 1));
    for (name, before) in ALL.into_iter().zip(before) {
        assert_eq!(dropped(name) - before, 2, "{name} has room for one frame");
    }
    let large = |settings: &LiveConfig, size: usize| {
        settings.set("relay.sinks.file.queue.size", size);
        settings.set("relay.sinks.redis.queue.size", size);
        settings.set("relay.sinks.http.queue.size", size);
        settings.set("relay.sinks.stdout.queue.size", size);
    };
    rig.change(&ALL, |settings| {
        large(settings, 1000);
        settings.set("relay.sinks.file.queue.bytesMax", 65_536);
        settings.set("relay.sinks.redis.queue.bytesMax", 65_536);
        settings.set("relay.sinks.http.queue.bytesMax", 65_536);
        settings.set("relay.sinks.stdout.queue.bytesMax", 65_536);
    })
    .await;
    let before = ALL.map(dropped);
    (0..2).for_each(|at| offer(at * 150..at * 150 + 150));
    for (name, before) in ALL.into_iter().zip(before) {
        assert_eq!(dropped(name) - before, 150, "{name} has room for a batch of 45 kB");
    }
}

#[tokio::test]
async fn frames_that_find_no_room_wait_or_not_as_is_set_by_then() {
    let rig = rig_of_all();
    type TextSetter = fn(&LiveConfig, &str);
    let cases: [(&str, TextSetter); 4] = [
        ("file", |settings, how| settings.set("relay.sinks.file.queue.backpressure", how)),
        ("redis", |settings, how| settings.set("relay.sinks.redis.queue.backpressure", how)),
        ("http", |settings, how| settings.set("relay.sinks.http.queue.backpressure", how)),
        ("stdout", |settings, how| settings.set("relay.sinks.stdout.queue.backpressure", how)),
    ];
    for (name, set) in cases {
        rig.change(&[name], |settings| set(settings, "block")).await;
        let took = || rig.sinks.take(batch("a", 0..10_000)).now_or_never().is_some();
        assert!(took(), "{name} is empty");
        assert!(!took(), "{name} is full, and waited for");
        rig.change(&[name], |settings| set(settings, "drop")).await;
        assert!(took() && took(), "{name} is full, and not waited for");
    }
}

#[tokio::test]
async fn who_acknowledges_and_when_is_as_set_by_then() {
    let rig = rig_of_all();
    let handed = async || rig.sinks.take(batch("a", 0..1)).await;
    type FlagSetter = fn(&LiveConfig, bool);
    let cases: [(&str, bool, FlagSetter); 4] = [
        ("redis", true, |settings, on| settings.set("relay.sinks.redis.queue.acknowledges", on)),
        ("http", true, |settings, on| settings.set("relay.sinks.http.queue.acknowledges", on)),
        ("stdout", true, |settings, on| settings.set("relay.sinks.stdout.queue.acknowledges", on)),
        ("file", false, |settings, on| settings.set("relay.sinks.file.queue.acknowledges", on)),
    ];
    for (name, on, set) in cases {
        assert_eq!(waits_for(&handed().await, name), !on, "{name}");
        rig.change(&[name], |settings| set(settings, on)).await;
        assert_eq!(waits_for(&handed().await, name), on, "{name}");
    }
    rig.change(&["redis"], |settings| settings.set("relay.acknowledgeWhen", "queued")).await;
    assert!(handed().await.waits.is_empty());
}

#[tokio::test]
async fn entries_go_to_the_redis_that_is_set_by_then() {
    let (redis, other) = (FakeRedis::start().await, FakeRedis::start().await);
    let rig = rig(|_| {});
    let url = |redis: &FakeRedis| format!("redis://{}", redis.address);
    rig.change(&["redis"], |settings| settings.set("relay.sinks.redis.url", url(&redis))).await;
    rig.write(0..1).await;
    redis.is_told(&["XADD telemetry MAXLEN ~ 1000000", "\"sequence\":0"]).await;
    rig.change(&["redis"], |settings| settings.set("relay.sinks.redis.stream", "fleet")).await;
    rig.write(1..2).await;
    redis.is_told(&["XADD fleet MAXLEN", "\"sequence\":1"]).await;
    rig.change(&["redis"], |settings| settings.set("relay.sinks.redis.entriesMax", 7)).await;
    rig.write(2..3).await;
    redis.is_told(&["XADD fleet MAXLEN ~ 7 ", "\"sequence\":2"]).await;
    let password = rig.place.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let password = password.to_str().unwrap();
    rig.change(&["redis"], |settings| settings.set("relay.sinks.redis.passwordFile", password)).await;
    rig.write(3..4).await;
    redis.is_told(&["AUTH", "secret"]).await;
    rig.change(&["redis"], |settings| settings.set("relay.sinks.redis.url", url(&other))).await;
    rig.write(4..5).await;
    other.is_told(&["XADD fleet", "\"sequence\":4"]).await;
}

/// A server that takes connections, and never says anything.
async fn mute() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    (listener, url)
}

impl Rig {
    /// Waits until the HTTP sink fails with these words.
    async fn fails(&self, words: &str) {
        let what = || self.sink("http").and_then(|sink| sink.state.health().what).unwrap_or_default();
        eventually(words, || what().contains(words)).await;
    }
}

#[tokio::test]
async fn lines_are_posted_as_is_set_by_then() {
    let (listener, url) = mute().await;
    let rig = rig(|config| {
        config.relay.sinks.file.enabled = Some(true);
        config.relay.sinks.http.timeout = HumanDuration(Duration::from_secs(300));
    });
    rig.change(&["http"], |settings| settings.set("relay.sinks.http.url", url)).await;
    rig.change(&["http"], |settings| settings.set("relay.sinks.http.timeout", "100ms")).await;
    rig.write(0..1).await;
    rig.fails("timed out after 100 ms").await;
    // A request is of one frame, and what is written at once as well.
    rig.change(&["http"], |settings| settings.set("relay.sinks.http.batchFrames", 1)).await;
    rig.write(1..3).await;
    rig.write(3..4).await;
    let (head, body) = loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let (mut head, mut body) = (String::new(), String::new());
        while stream.read_line(&mut head).await.unwrap_or_default() > 2 {}
        let _ = stream.read_line(&mut body).await;
        if body.contains("\"sequence\":1,") {
            break (head.to_lowercase(), body);
        }
    };
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head} {body}");
}

#[tokio::test]
async fn a_server_is_believed_and_shown_what_is_set_by_then() {
    let (listener, url) = mute().await;
    let accepting = tokio::spawn(async move {
        loop {
            // It ends before it has said who it is.
            drop(listener.accept().await);
        }
    });
    let rig = rig(|config| {
        let sinks = &mut config.relay.sinks;
        sinks.file.enabled = Some(true);
        sinks.http.url = Some(url.replace("http://", "https://"));
    });
    let http = ["http"];
    rig.change(&http, |settings| settings.set("relay.sinks.http.tls.ca", "/nowhere/ca")).await;
    rig.write(0..1).await;
    rig.fails("/nowhere/ca").await;
    rig.change(&http, |settings| settings.set("relay.sinks.http.tls.ca", Value::Null)).await;
    let both = serde_json::json!({"cert": "/nowhere/a", "key": "/nowhere/b"});
    rig.change(&http, |settings| settings.set("relay.sinks.http.tls", both)).await;
    rig.change(&http, |settings| settings.set("relay.sinks.http.tls.cert", "/nowhere/cert")).await;
    rig.write(1..2).await;
    rig.fails("/nowhere/cert").await;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = rig.place.path().join("cert.pem");
    std::fs::write(&cert, made.cert.pem()).unwrap();
    let cert = cert.to_str().unwrap();
    rig.change(&http, |settings| settings.set("relay.sinks.http.tls.cert", cert)).await;
    rig.change(&http, |settings| settings.set("relay.sinks.http.tls.key", "/nowhere/key")).await;
    rig.write(2..3).await;
    rig.fails("/nowhere/key").await;
    // Whom it believes and what it shows is looked at in a handshake: the next one is by these.
    rig.change(&http, |settings| settings.set("relay.sinks.http.tls", serde_json::json!({}))).await;
    rig.change(&http, |settings| settings.set("relay.sinks.http.tls.trust", "mesh")).await;
    rig.change(&http, |settings| settings.set("relay.sinks.http.tls.identity", "mesh")).await;
    accepting.abort();
}
