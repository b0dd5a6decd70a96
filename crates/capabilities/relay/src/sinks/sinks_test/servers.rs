//! HTTP servers that take, refuse, fail and hang. Redis is in `tests/redis`.

use omnirelay_settings::{FileSinkConfig, HttpSinkConfig, HumanDuration, SinksConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::NotTaken;
use super::*;

/// A server that answers with these codes in turn, then with the last one; 0: never.
struct Server {
    url: String,
    /// What was posted, with what it was answered.
    posted: Arc<Mutex<Vec<(u16, String)>>>,
    accepting: JoinHandle<()>,
}

impl Server {
    async fn start(codes: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let posted = Arc::new(Mutex::new(Vec::new()));
        let (codes, told) = (Arc::new(Mutex::new(codes.to_vec())), Arc::clone(&posted));
        let accepting = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(serve(stream, Arc::clone(&codes), Arc::clone(&told)));
            }
        });
        Self { url, posted, accepting }
    }

    fn bodies(&self, code: u16) -> Vec<String> {
        self.posted.lock().iter().filter(|(of, _)| *of == code).map(|(_, body)| body.clone()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    codes: Arc<Mutex<Vec<u16>>>,
    posted: Arc<Mutex<Vec<(u16, String)>>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        while stream.read_line(&mut head).await? > 2 {
            let lower = head.to_lowercase();
            if let Some((_, value)) = lower.split_once("content-length:") {
                length = value.lines().next().unwrap().trim().parse().unwrap();
            }
        }
        if head.is_empty() {
            return Ok(());
        }
        assert!(head.starts_with("POST /in ") && head.contains("application/x-ndjson"), "{head}");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let code = {
            let mut codes = codes.lock();
            if codes.len() > 1 { codes.remove(0) } else { codes[0] }
        };
        posted.lock().push((code, String::from_utf8(body).unwrap()));
        if code == 0 {
            std::future::pending::<()>().await;
        }
        // Beside 420, which nothing else means.
        let wait = if code == 420 { "retry-after: 1\r\n" } else { "" };
        let answer = format!("HTTP/1.1 {code} Said\r\n{wait}content-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn config(server: &Server, with_file: bool) -> SinksConfig {
    SinksConfig {
        file: FileSinkConfig { enabled: Some(with_file), ..FileSinkConfig::default() },
        http: HttpSinkConfig {
            url: Some(server.url.clone()),
            timeout: HumanDuration(Duration::from_millis(500)),
            batch_frames: 10,
            ..HttpSinkConfig::default()
        },
        ..SinksConfig::default()
    }
}

fn open(config: &SinksConfig, folder: &Path) -> Sinks {
    Sinks::open(config, AcknowledgeWhen::Written, folder, metrics(), &Arc::default()).unwrap()
}

#[tokio::test]
async fn every_line_reaches_a_server_that_fails_first() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&[503, 429, 200]).await;
    let sinks = open(&config(&server, false), place.path());
    assert!(files_in(place.path()).is_empty(), "there is another sink");
    let mut handed = Vec::new();
    for at in 0..20 {
        handed.push(sinks.take(batch("a", at * 3..at * 3 + 3)).await);
    }
    // Larger than a request may be.
    handed.push(sinks.take(batch("a", 60..85)).await);
    for handed in handed {
        assert_eq!(handed.done().await, Ok(()));
    }
    let bodies = server.bodies(200);
    assert!(bodies.iter().all(|body| body.lines().count() <= 10));
    let read: Vec<u64> = bodies.iter().flat_map(|body| seqs(body)).map(|(_, seq)| seq).collect();
    assert_eq!(read, (0..85).collect::<Vec<_>>());
    sinks.close(PATIENCE).await;
}

#[tokio::test]
async fn a_server_that_hangs_holds_up_no_file() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&[0]).await;
    let sinks = open(&config(&server, true), place.path());
    for at in 0..100 {
        let handed = sinks.take(batch("a", at * 10..at * 10 + 10)).await;
        assert_eq!(handed.done().await, Ok(()), "the file has it");
    }
    let text = std::fs::read_to_string(&files_in(place.path())[0]).unwrap();
    assert_eq!(text.lines().count(), 1000);
    eventually("the server is told to fail", || {
        let health = sinks.health();
        health[0].healthy && health[1].what.as_deref().is_some_and(|what| what.contains("timed out"))
    })
    .await;
    sinks.close(Duration::from_millis(10)).await;
}

#[tokio::test]
async fn what_a_server_refuses_is_dropped_and_not_sent_for_ever() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&[400, 200]).await;
    let sinks = open(&config(&server, false), place.path());
    let refused = sinks.take(batch("a", 0..3)).await.done().await;
    assert_eq!(refused, Err(NotTaken::Failed { sink: "http" }));
    assert_eq!(sinks.take(batch("a", 3..6)).await.done().await, Ok(()));
    assert_eq!((server.bodies(400).len(), server.bodies(200).len()), (1, 1));
    assert_eq!((sinks.current()[0].counts.dropped.get(), sinks.current()[0].counts.lost.get()), (3, 3));
    assert_eq!(sinks.current()[0].counts.relay_errors.get(), 0);
    sinks.close(PATIENCE).await;
}

#[tokio::test]
async fn nobody_is_told_that_a_dead_server_has_something() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&[200]).await;
    let config = config(&server, false);
    drop(server);
    let sinks = open(&config, place.path());
    let handed = sinks.take(batch("a", 0..3)).await;
    assert_eq!(handed.done().await, Err(NotTaken::Failed { sink: "http" }));
    sinks.close(Duration::ZERO).await;
}

#[tokio::test]
async fn what_a_server_has_of_a_large_batch_is_not_sent_again() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&[200, 503, 200, 401, 200, 429, 200]).await;
    let sinks = open(&config(&server, false), place.path());
    assert_eq!(sinks.take(batch("a", 0..45)).await.done().await, Ok(()));
    // The next begins anew.
    assert_eq!(sinks.take(batch("a", 45..50)).await.done().await, Ok(()));
    let taken: Vec<u64> = server.bodies(200).iter().flat_map(|body| seqs(body)).map(|(_, seq)| seq).collect();
    assert_eq!(taken, (0..50).collect::<Vec<_>>());
    let again = |code| server.bodies(code).iter().map(|body| seqs(body)[0].1).collect::<Vec<_>>();
    assert_eq!((again(503), again(401), again(429)), (vec![10], vec![20], vec![30]));
    sinks.close(PATIENCE).await;
}

#[tokio::test]
async fn after_a_refusal_the_next_batch_begins_with_its_first_line() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&[200, 413, 200]).await;
    let sinks = open(&config(&server, false), place.path());
    assert!(sinks.take(batch("a", 0..30)).await.done().await.is_err());
    assert_eq!(sinks.take(batch("a", 30..45)).await.done().await, Ok(()));
    let taken: Vec<u64> = server.bodies(200).iter().flat_map(|body| seqs(body)).map(|(_, seq)| seq).collect();
    assert_eq!(taken, (0..10).chain(30..45).collect::<Vec<_>>());
    sinks.close(PATIENCE).await;
}

#[tokio::test]
async fn a_server_is_left_alone_when_it_asks_for_it() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&[420, 200]).await;
    let sinks = open(&config(&server, false), place.path());
    let begun = tokio::time::Instant::now();
    assert_eq!(sinks.take(batch("a", 0..5)).await.done().await, Ok(()));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    sinks.close(PATIENCE).await;
}

#[tokio::test]
async fn one_refused_batch_does_not_make_a_sink_fail() {
    let place = tempfile::tempdir().unwrap();
    let server = Server::start(&[503, 400]).await;
    let sinks = open(&config(&server, false), place.path());
    assert!(sinks.take(batch("a", 0..3)).await.done().await.is_err());
    let health = sinks.health().remove(0);
    assert!(health.healthy && health.acknowledges, "{health:?}");
    // A server that takes nothing at all is another matter.
    for at in 1..11 {
        assert!(sinks.take(batch("a", [at])).await.done().await.is_err());
    }
    let what = sinks.health().remove(0).what.unwrap_or_default();
    assert!(what.contains("400"), "{what}");
    sinks.close(PATIENCE).await;
}
