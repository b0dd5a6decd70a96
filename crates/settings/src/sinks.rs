//! Checks of the settings of sinks that types alone cannot make.

use std::fmt;
use std::time::Duration;

use omnirelay_core::text::is_unseen;
use omnirelay_store::redis::url::RedisUrl;
use omnirelay_store::url::{UrlSecret, redacted};
use reqwest::Url;

use super::check::{InvalidSetting, count, within};
use super::client_tls::ClientTlsKeys;
use super::{HttpSinkConfig, QueueConfig, RedisSinkConfig, SinksConfig};

/// The longest key of a stream, and the longest prefix of a file's name, in bytes.
const STREAM_BYTES_MAX: usize = 512;
const PREFIX_BYTES_MAX: usize = 64;

const FILE_QUEUE: [&str; 2] = ["relay.sinks.file.queue.size", "relay.sinks.file.queue.bytesMax"];
const REDIS_QUEUE: [&str; 2] = ["relay.sinks.redis.queue.size", "relay.sinks.redis.queue.bytesMax"];
const HTTP_QUEUE: [&str; 2] = ["relay.sinks.http.queue.size", "relay.sinks.http.queue.bytesMax"];
const STDOUT_QUEUE: [&str; 2] = ["relay.sinks.stdout.queue.size", "relay.sinks.stdout.queue.bytesMax"];

const HTTP_TLS: ClientTlsKeys = ClientTlsKeys {
    trust: "relay.sinks.http.tls.trust",
    ca: "relay.sinks.http.tls.ca",
    identity: "relay.sinks.http.tls.identity",
    cert: "relay.sinks.http.tls.cert",
    key: "relay.sinks.http.tls.key",
    address: "relay.sinks.http.url",
};

impl SinksConfig {
    /// Checks what can be said without looking into files: the first key that is wrong, and why.
    pub fn check(&self) -> Result<(), InvalidSetting> {
        let Self { file, redis, http, stdout } = self;
        self.check_files()?;
        if let Some(url) = &redis.url {
            redis_sink_url(url)?;
        } else if redis.password_file.is_some() {
            let what = "it means nothing here: there is no `relay.sinks.redis.url`".to_owned();
            return Err(("relay.sinks.redis.passwordFile", what));
        }
        let stream = &redis.stream;
        if stream.is_empty() || stream.len() > STREAM_BYTES_MAX || stream.chars().any(is_unseen) {
            let what = format!("`{}` is no key: 1 to {STREAM_BYTES_MAX} bytes", stream.escape_default());
            return Err(("relay.sinks.redis.stream", what));
        }
        count("relay.sinks.redis.entriesMax", redis.entries_max, 1, 100_000_000)?;
        let url = http.url.as_deref().map(http_sink_url).transpose()?;
        http.tls.check(&HTTP_TLS, url.is_some_and(|url| url.scheme() == "https"))?;
        within(
            "relay.sinks.http.timeout",
            http.timeout,
            Duration::from_millis(100),
            Duration::from_secs(300),
        )?;
        count("relay.sinks.http.batchFrames", http.batch_frames, 1, 10_000)?;
        file.queue.check(FILE_QUEUE)?;
        redis.queue.check(REDIS_QUEUE)?;
        http.queue.check(HTTP_QUEUE)?;
        stdout.queue.check(STDOUT_QUEUE)?;
        self.check_acknowledging()
    }

    fn check_files(&self) -> Result<(), InvalidSetting> {
        let file = &self.file;
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let sound = (1..=PREFIX_BYTES_MAX).contains(&file.prefix.len()) && file.prefix.bytes().all(letter);
        if !sound || file.prefix.starts_with('.') {
            let what = format!(
                "`{}` is no prefix: 1 to {PREFIX_BYTES_MAX} letters, digits, `-`, `_` and `.`, no `.` first",
                file.prefix.escape_default()
            );
            return Err(("relay.sinks.file.prefix", what));
        }
        let second = Duration::from_secs(1);
        within("relay.sinks.file.rotateEvery", file.rotate_every, second, second * 24 * 3600)?;
        let (least, most) = (4 * 1024, 1 << 40);
        if !(least..=most).contains(&file.rotate_bytes) {
            let what = format!("{} is out of range: {least} to {most}", file.rotate_bytes);
            return Err(("relay.sinks.file.rotateBytes", what));
        }
        if file.enabled == Some(false) && !self.has_others() {
            let what = "no sink is left; switch on another, or leave this one on".to_owned();
            return Err(("relay.sinks.file.enabled", what));
        }
        Ok(())
    }

    /// Whether files are written.
    pub fn has_file(&self) -> bool {
        let others = self.has_others();
        self.file.enabled.unwrap_or(!others) || !others
    }

    fn has_others(&self) -> bool {
        self.redis.url.is_some() || self.http.url.is_some() || self.stdout.enabled
    }

    /// An acknowledgement says that somebody has the frame.
    fn check_acknowledging(&self) -> Result<(), InvalidSetting> {
        let file = self.has_file();
        let key = |name: &'static str, on: bool, queue: &QueueConfig, default: bool| {
            (on && !queue.acknowledges.unwrap_or(default)).then_some(name).ok_or(on)
        };
        let all = [
            key("relay.sinks.file.queue.acknowledges", file, &self.file.queue, true),
            key("relay.sinks.redis.queue.acknowledges", self.redis.url.is_some(), &self.redis.queue, !file),
            key("relay.sinks.http.queue.acknowledges", self.http.url.is_some(), &self.http.queue, !file),
            key("relay.sinks.stdout.queue.acknowledges", self.stdout.enabled, &self.stdout.queue, !file),
        ];
        match all.iter().find_map(|sink| sink.ok()) {
            Some(key) if !all.contains(&Err(true)) => {
                let what = "no sink acknowledges: frames would be acknowledged that nobody has".to_owned();
                Err((key, what))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl QueueConfig {
    fn check(&self, [size, bytes_max]: [&'static str; 2]) -> Result<(), InvalidSetting> {
        count(size, self.size, 1, 1_000_000)?;
        count(bytes_max, self.bytes_max, 64 * 1024, 1 << 30)
    }
}

impl RedisSinkConfig {
    /// The URL, and the password of the file; `None` where the sink is off.
    ///
    /// # Errors
    /// The key of the setting that is wrong, or of the file that cannot be used, and why.
    pub fn server(&self) -> Result<Option<(RedisUrl, Option<UrlSecret>)>, InvalidSetting> {
        let Some(url) = &self.url else { return Ok(None) };
        let password = UrlSecret::of_file("relay.sinks.redis.passwordFile", self.password_file.as_deref())?;
        Ok(Some((redis_sink_url(url)?, password)))
    }
}

/// Without the password that the URL may hold.
impl fmt::Debug for RedisSinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, password_file, stream, entries_max, queue } = self;
        f.debug_struct("RedisSinkConfig")
            .field("url", &url.as_deref().map(redacted))
            .field("password_file", password_file)
            .field("stream", stream)
            .field("entries_max", entries_max)
            .field("queue", queue)
            .finish()
    }
}

/// Without the token that the URL may hold.
impl fmt::Debug for HttpSinkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, tls, timeout, batch_frames, queue } = self;
        f.debug_struct("HttpSinkConfig")
            .field("url", &url.as_deref().map(without_query))
            .field("tls", tls)
            .field("timeout", timeout)
            .field("batch_frames", batch_frames)
            .field("queue", queue)
            .finish()
    }
}

impl HttpSinkConfig {
    /// The address; `None` where the sink is off.
    ///
    /// # Errors
    /// The key of the setting, and why it is no address.
    pub fn server(&self) -> Result<Option<Url>, InvalidSetting> {
        self.url.as_deref().map(http_sink_url).transpose()
    }
}

/// An address as it may be shown: what is behind its path may be a secret.
pub(crate) fn without_query(text: &str) -> String {
    match text.split_once(['?', '#']) {
        Some((place, _)) => format!("{}?***", redacted(place)),
        None => redacted(text),
    }
}

fn redis_sink_url(text: &str) -> Result<RedisUrl, InvalidSetting> {
    let wrong = |error| ("relay.sinks.redis.url", format!("`{}` is no Redis: {error}", redacted(text)));
    text.parse().map_err(wrong)
}

/// Reads the address of a server that takes telemetry. What is wrong with it is told without repeating it where it
/// could hold a secret.
///
/// # Errors
/// The key of the setting, and why it is no address.
pub fn http_sink_url(text: &str) -> Result<Url, InvalidSetting> {
    server_url("relay.sinks.http.url", text)
}

/// The address of a server that is sent something, as the setting with this key says it.
pub(super) fn server_url(key: &'static str, text: &str) -> Result<Url, InvalidSetting> {
    let wrong = |what: String| (key, what);
    let syntax = || wrong("it is no address of a server: write https://HOST:PORT/PATH or http://".to_owned());
    let url = Url::parse(text).map_err(|_| syntax())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("an address of a server must not hold a user or a password".to_owned()));
    }
    match url.scheme() {
        "http" | "https" => {}
        other => {
            let what =
                format!("`{other}://` is not spoken to servers: write https://HOST:PORT/PATH or http://");
            return Err(wrong(what));
        }
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(syntax());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::super::HumanDuration;
    use super::super::layers::load;
    use super::*;

    fn said(change: fn(&mut SinksConfig)) -> Result<(), InvalidSetting> {
        let mut config = SinksConfig::default();
        change(&mut config);
        config.check()
    }

    #[test]
    fn what_is_wrong_names_its_key() {
        type Case = (&'static str, fn(&mut SinksConfig), &'static str);
        let cases: [Case; 16] = [
            ("file.prefix", |c| c.file.prefix = "a/b".to_owned(), "no prefix"),
            ("file.prefix", |c| c.file.prefix = "..".to_owned(), "no prefix"),
            ("file.prefix", |c| c.file.prefix.clear(), "no prefix"),
            (
                "file.rotateEvery",
                |c| c.file.rotate_every = HumanDuration(Duration::from_millis(999)),
                "1s to 1day",
            ),
            ("file.rotateBytes", |c| c.file.rotate_bytes = 4095, "4096 to"),
            ("file.enabled", |c| c.file.enabled = Some(false), "no sink is left"),
            ("file.queue.size", |c| c.file.queue.size = 0, "1 to 1000000"),
            ("file.queue.acknowledges", |c| c.file.queue.acknowledges = Some(false), "nobody has"),
            ("http.queue.bytesMax", |c| c.http.queue.bytes_max = 65_535, "65536 to 1073741824"),
            ("redis.url", |c| c.redis.url = Some("rediss://:secret@".to_owned()), "is no Redis"),
            ("redis.passwordFile", |c| c.redis.password_file = Some("x".into()), "means nothing here"),
            ("redis.stream", |c| c.redis.stream = "a\nb".to_owned(), "no key"),
            ("redis.entriesMax", |c| c.redis.entries_max = 0, "1 to 100000000"),
            ("http.tls.ca", |c| c.http.tls.ca = Some("x".into()), "no https:// address"),
            ("http.timeout", |c| c.http.timeout = HumanDuration(Duration::from_secs(301)), "100ms to 5m"),
            ("http.batchFrames", |c| c.http.batch_frames = 10_001, "1 to 10000"),
        ];
        for (key, change, expected) in cases {
            let (of, what) = said(change).unwrap_err();
            assert_eq!(of, format!("relay.sinks.{key}"));
            assert!(what.contains(expected) && !what.contains("secret"), "{key}: {what}");
        }
    }

    #[test]
    fn what_is_right_is_taken() {
        let cases: [fn(&mut SinksConfig); 5] = [
            |_| {},
            |c| c.stdout.enabled = true,
            |c| {
                c.file.enabled = Some(false);
                c.http.url = Some("http://collector:8080/in?tenant=a".to_owned());
            },
            |c| {
                c.file.enabled = Some(true);
                c.file.queue.acknowledges = Some(false);
                c.redis.url = Some("redis://:secret@cache:6379/2".to_owned());
                c.redis.queue.acknowledges = Some(true);
            },
            |c| c.file.rotate_bytes = 1 << 40,
        ];
        for (at, change) in cases.into_iter().enumerate() {
            assert_eq!(said(change), Ok(()), "{at}");
        }
    }

    #[test]
    fn the_password_of_a_url_is_shown_nowhere() {
        let set = [
            "relay.sinks.redis.url=redis://:hidden@cache".to_owned(),
            "relay.sinks.http.url=http://collector:8080/in?token=hidden&a=b".to_owned(),
        ];
        let loaded = load(None, std::iter::empty(), &set, &[]).unwrap();
        for shown in [format!("{:?}", loaded.config.relay), format!("{:?}", loaded.explain())] {
            assert!(shown.contains("redis://:***@cache") && !shown.contains("hidden"), "{shown}");
            assert!(shown.contains("http://collector:8080/in?***"), "{shown}");
        }
    }

    #[test]
    fn addresses_of_servers_are_told_without_their_secrets() {
        let cases = [
            ("ftp://a", "`ftp://` is not spoken"),
            ("collector", "write https://HOST:PORT"),
            ("http://me:secret@a", "must not hold a user or a password"),
        ];
        for (text, expected) in cases {
            let (_, what) = http_sink_url(text).unwrap_err();
            assert!(what.contains(expected) && !what.contains("secret"), "{text}: {what}");
        }
    }
}
