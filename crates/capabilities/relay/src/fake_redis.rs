//! A Redis that says yes to everything, and remembers what it was told.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(30);
const INFO: &str = "redis_version:7.2.0\r\nredis_mode:standalone\r\nrole:master\r\n";

pub(crate) struct FakeRedis {
    /// `HOST:PORT`.
    pub address: String,
    told: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl FakeRedis {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, told) = (listener.local_addr().unwrap().to_string(), Arc::<Mutex<Vec<_>>>::default());
        let (mut serving, into) = (JoinSet::new(), told.clone());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, into.clone()));
            }
        });
        Self { address, told, _serving: serving }
    }

    /// Waits until it is told all of these words in one command.
    pub(crate) async fn is_told(&self, words: &[&str]) {
        let begun = std::time::Instant::now();
        let is = |command: &String| words.iter().all(|word| command.contains(word));
        while !self.told.lock().iter().any(is) {
            assert!(begun.elapsed() < PATIENCE, "{words:?} is not in {:#?}", self.told.lock());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn forget(&self) {
        self.told.lock().clear();
    }
}

async fn serve(stream: TcpStream, told: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(words) = command(&mut stream).await {
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let answer = match words[0].to_uppercase().as_str() {
            "INFO" => bulk(INFO),
            "XADD" => bulk("1-1"),
            "EVAL" => ":1\r\n".to_owned(),
            "CLIENT" if words[1] == "INFO" => bulk("id=7 addr=127.0.0.1:1"),
            "CONFIG" | "CLUSTER" => "*0\r\n".to_owned(),
            "PING" => "+PONG\r\n".to_owned(),
            _ => "+OK\r\n".to_owned(),
        };
        told.lock().push(words.join(" "));
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for _ in 0..number(stream, '*').await? {
        let mut word = vec![0; number(stream, '$').await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
    }
    Some(words)
}

async fn number(stream: &mut BufReader<TcpStream>, sign: char) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.strip_prefix(sign)?.trim().parse().ok()
}
