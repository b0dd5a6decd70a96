//! One connection to one server: TCP, TLS, who we are.

use std::future::Future;
use std::io;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, Value, cmd};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::error::{LinkError, StoreFailure};
use super::info::Info;
use crate::url::{ServerAddress, UrlSecret};

/// The most commands on one connection that wait for their answers; further ones queue.
const IN_FLIGHT_MAX: usize = 4096;
/// When a connection on which nothing is said is asked whether it lives, and how often.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(3);
const KEEPALIVE_TRIES: u32 = 3;
/// How long sent bytes may stay unacknowledged before the system breaks the connection.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(5);

/// What is said to whoever reaches a port that may be one for TLS.
const NO_TLS: &str = " (if it expects TLS, the URL must begin with `rediss`)";

/// Options by which a connection is made.
pub(super) struct DialOptions {
    pub username: Option<String>,
    pub password: Option<UrlSecret>,
    pub tls: Option<TlsConnector>,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
    /// Whether the server is told our name, for whoever looks at `CLIENT LIST`.
    pub names_itself: bool,
}

/// Fresh connection, which nobody else uses yet.
pub(super) struct FreshConnection {
    pub multiplexed: MultiplexedConnection,
    pub driver: ConnectionDriver,
    pub at: ServerAddress,
    /// What a server may mean that ends the connection in place of its first answer.
    hint: &'static str,
    /// What the server refused that it may refuse; `None` once it has answered something.
    said: Option<String>,
}

/// Task that reads and writes a connection. Dropping it closes the connection.
pub(super) struct ConnectionDriver(JoinHandle<()>);

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Connects and says who we are.
pub(super) async fn dial(at: &ServerAddress, manner: &DialOptions) -> Result<FreshConnection, StoreFailure> {
    let stream = open(at, manner).await?;
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(Some(manner.response_timeout))
        .set_concurrency_limit(IN_FLIGHT_MAX);
    // Who we are is said below, where a refusal can be told in the server's own words.
    let silent = RedisConnectionInfo::default().set_skip_set_lib_name();
    let (multiplexed, driver) = MultiplexedConnection::new_with_config(&silent, stream, config)
        .await
        .map_err(|error| StoreFailure::because(format!("cannot use the connection to {at}"), error))?;
    let driver = ConnectionDriver(tokio::spawn(driver));
    let hint = if manner.tls.is_some() { "" } else { NO_TLS };
    let mut dialed = FreshConnection { multiplexed, driver, at: at.clone(), hint, said: None };
    introduce(&mut dialed, manner).await?;
    Ok(dialed)
}

pub(super) async fn open(at: &ServerAddress, manner: &DialOptions) -> Result<Box<dyn Stream>, StoreFailure> {
    let end = Instant::now() + manner.connect_timeout;
    let tcp = timeout_at(end, omnirelay_dial::tcp(&at.host, at.port))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .and_then(settle)
        .map_err(|error| StoreFailure::because(format!("cannot connect to {at}"), error))?;
    let Some(tls) = &manner.tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(at.host.clone())
        .map_err(|error| StoreFailure::because(format!("a certificate cannot name `{}`", at.host), error))?;
    let stream = timeout_at(end, tls.connect(name, tcp))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|error| StoreFailure::because(format!("cannot agree on TLS with {at}"), error))?;
    Ok(Box::new(stream))
}

/// Sends small commands at once, and notices a peer that is gone without a word.
fn settle(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_TRIES))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN))?;
    Ok(stream)
}

async fn introduce(dialed: &mut FreshConnection, manner: &DialOptions) -> Result<(), StoreFailure> {
    if manner.username.is_some() || manner.password.is_some() {
        let mut auth = cmd("AUTH");
        auth.arg(manner.username.as_slice());
        // There are users that any password is right for.
        auth.arg(manner.password.as_ref().map_or("", UrlSecret::reveal));
        dialed.ask(&auth, "authenticate").await?;
    }
    if !manner.names_itself {
        return Ok(());
    }
    // A user need not have the permission.
    match ask(&mut dialed.multiplexed, cmd("CLIENT").arg("SETNAME").arg("omnirelayd")).await {
        Ok(_) => {
            dialed.hint = "";
            Ok(())
        }
        Err(refused @ LinkError::Refused { .. }) => {
            dialed.hint = "";
            // A server that has no room for one more says so to the first command, whatever that is, and closes.
            dialed.said = Some(refused.chain());
            Ok(())
        }
        // A server that does not like the certificate says so in place of its first answer.
        Err(error) => Err(StoreFailure::because(
            format!("{} does not accept us{}", dialed.at, dialed.hint_at(&error)),
            error,
        )),
    }
}

/// Sends one command and waits for its answer.
pub(super) async fn ask(connection: &mut MultiplexedConnection, command: &Cmd) -> Result<Value, LinkError> {
    Ok(command.query_async(connection).await?)
}

impl FreshConnection {
    /// Sends a command that the connection is of no use without.
    pub(super) async fn ask(&mut self, command: &Cmd, purpose: &str) -> Result<Value, StoreFailure> {
        match ask(&mut self.multiplexed, command).await {
            Ok(answer) => {
                (self.hint, self.said) = ("", None);
                Ok(answer)
            }
            Err(error) => {
                let said = self.said.take().filter(|_| matches!(error, LinkError::Lost(_)));
                let said = said.map(|said| format!(" (it had said: {said})")).unwrap_or_default();
                let what = format!("{} did not let us {purpose}{}{said}", self.at, self.hint_at(&error));
                Err(StoreFailure::because(what, error))
            }
        }
    }

    fn hint_at(&self, error: &LinkError) -> &'static str {
        if matches!(error, LinkError::Lost(_)) { self.hint } else { "" }
    }

    /// Takes a database other than the first.
    pub(super) async fn select(&mut self, database: u32) -> Result<(), StoreFailure> {
        if database != 0 {
            self.ask(cmd("SELECT").arg(database), "take the database").await?;
        }
        Ok(())
    }

    /// Asks the server what it is.
    pub(super) async fn info(&mut self) -> Result<Info, StoreFailure> {
        let value = self.ask(&cmd("INFO"), "read INFO").await?;
        redis::from_redis_value(value).map(Info::new).map_err(|error| {
            StoreFailure::because(format!("{} answered INFO with something else", self.at), error)
        })
    }
}

impl ConnectionDriver {
    /// Whether the connection has ended: nothing that is sent from now on reaches the server.
    pub(super) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for ConnectionDriver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Gives a step of several commands its time.
pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    step: impl Future<Output = Result<T, StoreFailure>>,
) -> Result<T, StoreFailure> {
    timeout(limit, step).await.unwrap_or_else(|_| Err(StoreFailure::new(format!("{what} took too long"))))
}
