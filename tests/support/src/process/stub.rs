//! A server that says what a test wants: HTTP/1.1 on loopback, one answer per connection.
#![allow(clippy::unwrap_used, reason = "a test says so when it fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// What a client sent.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is done with a request.
pub enum Reply {
    Json(u16, Value),
    /// Status, content type and body.
    Text(u16, &'static str, String),
    /// Server-sent events; then the connection is closed, or kept open in silence.
    Events(Vec<String>, After),
    /// Bytes that need not be HTTP.
    Raw(&'static str),
    /// The same, and then the connection is kept open in silence.
    Stall(&'static str),
    /// The connection is closed without a word.
    Close,
    /// Nothing for this long, then the connection is closed.
    Hang(Duration),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum After {
    Close,
    Stay,
}

/// A running stub. It ends with the process of the test.
pub struct Stub {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Stub {
    /// Answers every request with what `answer` makes of it and of how many came before.
    pub fn start(answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// As [`Stub::start`], where somebody listens already.
    pub fn start_on(
        listener: TcpListener,
        answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (seen.clone(), answer.clone());
                thread::spawn(move || serve(stream.unwrap(), &seen, &*answer));
            }
        });
        Self { address, requests }
    }

    /// With scheme.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request, usize) -> Reply) {
    let Some(request) = read(&stream) else { return };
    let before = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    let head = |status: u16, kind: &str, rest: &str| {
        format!(
            "HTTP/1.1 {status} Status\r\ncontent-type: {kind}\r\nx-request-id: stub-1\r\nconnection: close\r\n{rest}\r\n"
        )
    };
    // A client that has gone is no failure of the stub.
    let _ = match answer(&request, before) {
        Reply::Json(status, value) => {
            let kind = if status < 400 { "application/json" } else { "application/problem+json" };
            let body = value.to_string();
            stream.write_all(format!("{}{body}", head(status, kind, &length(&body))).as_bytes())
        }
        Reply::Text(status, kind, body) => {
            stream.write_all(format!("{}{body}", head(status, kind, &length(&body))).as_bytes())
        }
        Reply::Events(events, after) => {
            let text = format!("{}retry: 2000\n\n{}", head(200, "text/event-stream", ""), events.concat());
            let written = stream.write_all(text.as_bytes());
            if after == After::Stay {
                // Until the client closes it.
                let _ = stream.read(&mut [0]);
            }
            written
        }
        Reply::Raw(text) => stream.write_all(text.as_bytes()),
        Reply::Stall(text) => {
            let written = stream.write_all(text.as_bytes());
            // Until the client closes it.
            let _ = stream.read(&mut [0]);
            written
        }
        Reply::Close => Ok(()),
        Reply::Hang(time) => {
            thread::sleep(time);
            Ok(())
        }
    };
}

fn length(body: &str) -> String {
    format!("content-length: {}\r\n", body.len())
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, value)| value.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body: String::from_utf8(body).unwrap() })
}
