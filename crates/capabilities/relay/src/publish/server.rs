//! One connection to the Redis: steps go over it together, and each has an outcome.

use std::sync::Arc;
use std::time::Duration;

use omnirelay_settings::PublishConfig;
use omnirelay_store::url::UrlSecret;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline, RedisConnectionInfo,
    RedisError, RedisResult, Value, cmd,
};
use tokio::time::timeout;
use tracing::debug;

use super::book::{KeyAction, KeyOutcome, KeyStep};

/// How long everything that is sent together may take.
pub(super) const OPERATION_TIMEOUT: Duration = Duration::from_millis(750);
const PORT: u16 = 6379;

/// Lets a value live on; writes it where nothing stands, or what we had put there before. 0: it is another's.
const REFRESH: &str = "\
local stands = redis.pcall('GET', KEYS[1])
if stands == ARGV[2] then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  return 1
end
local ours = not stands
for i = 3, #ARGV do ours = ours or stands == ARGV[i] end
if ours then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
  return 1
end
return 0";

/// Deletes a key whose value is ours. 0: there is none, or it is another's.
const REMOVE: &str = "\
local stands = redis.pcall('GET', KEYS[1])
for i = 1, #ARGV do
  if stands == ARGV[i] then return redis.call('DEL', KEYS[1]) end
end
return 0";

/// The answers after which the server is greeted anew: it takes no writes, or does not know us any more.
const ENDING: [&str; 6] = ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "MOVED", "CLUSTERDOWN"];

/// Endpoint of the Redis: where it is, and who we are to it.
pub(super) struct RedisEndpoint {
    client: Client,
}

/// Reason why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum RedisConnectionError {
    #[error("the Redis does not answer in time")]
    Silent,
    #[error("the Redis cannot be used")]
    Failed(#[source] RedisError),
}

/// A connection that may still hold commands, which could be carried out at any time: as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StrayConnection {
    id: String,
    address: String,
}

/// A connection that has been greeted.
pub(super) struct GreetedConnection {
    multiplexed: MultiplexedConnection,
    stray: Option<StrayConnection>,
}

impl RedisEndpoint {
    /// The server of a configuration; `None` when nothing is to be published.
    ///
    /// # Errors
    /// When the address is none.
    pub(super) fn of(config: &PublishConfig) -> RedisResult<Option<Self>> {
        let Some(address) = super::address(config) else {
            return Ok(None);
        };
        let (host, port) = host_and_port(address);
        let mut settings = RedisConnectionInfo::default()
            .set_db(i64::from(config.database.unwrap_or_default()))
            .set_skip_set_lib_name();
        if let Some(password) =
            config.password.as_ref().map(UrlSecret::reveal).filter(|password| !password.is_empty())
        {
            settings = settings.set_password(password);
        }
        let info = ConnectionAddr::Tcp(host, port).into_connection_info()?;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let client = Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))?;
        Ok(Some(Self { client }))
    }

    /// Connects, ends `stray`, so that nothing of it comes after what is sent here, and asks for an answer.
    ///
    /// # Errors
    /// When all of this takes longer than `patience` or fails.
    pub(super) async fn connect(
        &self,
        stray: Option<&StrayConnection>,
        patience: Duration,
    ) -> Result<GreetedConnection, RedisConnectionError> {
        timeout(patience, self.greet(stray, patience)).await.unwrap_or(Err(RedisConnectionError::Silent))
    }

    async fn greet(
        &self,
        stray: Option<&StrayConnection>,
        patience: Duration,
    ) -> Result<GreetedConnection, RedisConnectionError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(patience));
        let mut multiplexed = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        cmd("PING").query_async::<Value>(&mut multiplexed).await?;
        if let Some(stray) = stray {
            let mut kill = cmd("CLIENT");
            kill.arg("KILL").arg("ID").arg(&stray.id).arg("ADDR").arg(&stray.address);
            asked(&mut multiplexed, &kill).await?;
        }
        let own = asked(&mut multiplexed, cmd("CLIENT").arg("INFO")).await?;
        let stray = own.as_deref().and_then(StrayConnection::of_info);
        multiplexed.set_response_timeout(OPERATION_TIMEOUT);
        Ok(GreetedConnection { multiplexed, stray })
    }
}

/// What the server says, or `None` if it would not: not everybody may ask this.
async fn asked(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
) -> Result<Option<String>, RedisConnectionError> {
    match command.query_async::<Value>(connection).await {
        Ok(value) => Ok(redis::from_redis_value(value).ok()),
        Err(error) if error.code().is_some() => {
            debug!(%error, "the Redis says nothing of its connections");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

impl GreetedConnection {
    /// Stray connection: what stays behind when the connection is given up with commands on their way.
    pub(super) fn stray(&self) -> Option<StrayConnection> {
        self.stray.clone()
    }

    /// Sends all steps together; each has an outcome, in their order.
    ///
    /// # Errors
    /// Then nobody knows which of them were taken, and the connection is of no use any more.
    pub(super) async fn send(&mut self, steps: &[KeyStep]) -> Result<Vec<KeyOutcome>, RedisConnectionError> {
        let mut all = Pipeline::with_capacity(steps.len());
        for step in steps {
            all.add_command(command(step));
        }
        let answers: Vec<RedisResult<Value>> = all.ignore_errors().query_async(&mut self.multiplexed).await?;
        answers.into_iter().zip(steps).map(|(answer, step)| outcome(answer, step)).collect()
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// Then the connection is of no use any more.
    pub(super) async fn ping(&mut self) -> Result<(), RedisConnectionError> {
        cmd("PING").query_async::<Value>(&mut self.multiplexed).await?;
        Ok(())
    }
}

impl StrayConnection {
    /// Reads what `CLIENT INFO` says.
    fn of_info(info: &str) -> Option<Self> {
        let field = |name: &str| {
            info.split_whitespace().find_map(|field| field.strip_prefix(name)).map(str::to_owned)
        };
        Some(Self { id: field("id=")?, address: field("addr=")? })
    }
}

impl From<RedisError> for RedisConnectionError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() { Self::Silent } else { Self::Failed(error) }
    }
}

fn command(step: &KeyStep) -> Cmd {
    let ms = |ttl: &Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let texts = |all: &[Arc<str>]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let key = &*step.key;
    let mut command;
    match &step.action {
        KeyAction::Put { value, ttl } => {
            command = cmd("SET");
            command.arg(key).arg(&**value).arg("PX").arg(ms(ttl));
        }
        KeyAction::Refresh { value, older, ttl } => {
            command = cmd("EVAL");
            command.arg(REFRESH).arg(1).arg(key).arg(ms(ttl)).arg(&**value);
            command.arg(texts(older));
        }
        KeyAction::Remove { value, older } => {
            command = cmd("EVAL");
            command.arg(REMOVE).arg(1).arg(key).arg(&**value).arg(texts(older));
        }
    }
    command
}

fn outcome(answer: RedisResult<Value>, step: &KeyStep) -> Result<KeyOutcome, RedisConnectionError> {
    match answer {
        Ok(Value::Int(0)) => Ok(KeyOutcome::Others),
        Ok(_) => Ok(KeyOutcome::Done),
        Err(error) if error.code().is_some_and(|code| !ENDING.contains(&code)) => {
            debug!(%error, key = %step.key, "the Redis refused");
            Ok(KeyOutcome::Refused)
        }
        Err(error) => Err(error.into()),
    }
}

/// `HOST:PORT`, `[ADDRESS]:PORT`, or either without a port.
fn host_and_port(address: &str) -> (String, u16) {
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_owned();
    match address.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && (!host.contains(':') || host.ends_with(']')) => {
            (bare(host), port.parse().unwrap_or(PORT))
        }
        _ => (bare(address), PORT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        let cases = [
            ("a.example:6380", "a.example", 6380),
            ("a.example", "a.example", 6379),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:7000", "::1", 7000),
            ("[::1]", "::1", 6379),
            ("::1", "::1", 6379),
        ];
        for (text, host, port) in cases {
            assert_eq!(host_and_port(text), (host.to_owned(), port), "{text}");
        }
    }

    #[test]
    fn a_connection_is_known_by_its_number_and_where_it_comes_from() {
        let info = "id=7 addr=127.0.0.1:4242 laddr=127.0.0.1:6379 fd=8 name= age=0";
        let expected = StrayConnection { id: "7".to_owned(), address: "127.0.0.1:4242".to_owned() };
        assert_eq!(StrayConnection::of_info(info), Some(expected));
        assert_eq!(StrayConnection::of_info("id=7"), None);
    }
}
