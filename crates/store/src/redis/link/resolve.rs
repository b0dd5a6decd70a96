//! Resolution of the address of the master, and the way in which a connection to it is made.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redis::cmd;

use super::super::url::{RedisUrl, StoreServers};
use super::dial::{DialOptions, FreshConnection, dial, within};
use super::error::{LinkError, StoreFailure};
use super::info::{Info, Role};
use super::options::RedisOptions;
use super::sentinels::Sentinels;
use super::slots::{SlotMap, slot};
use super::{ConnectionHello, tls};
use crate::url::ServerAddress;

/// How long a search for the master may take altogether.
const SEARCH_MAX: Duration = Duration::from_secs(5);
/// The most servers that are remembered.
const KNOWN_MAX: usize = 64;
/// The first version whose scripts say in their flags what they do.
const VERSION_MIN: (u32, u32) = (7, 0);

/// Maker of connections to the master.
pub(super) struct ConnectionMaker {
    url: RedisUrl,
    name: String,
    pub options: RedisOptions,
    hello: Arc<dyn ConnectionHello>,
    /// The servers to ask (nodes of a Cluster, or servers one of which is the master), the one that
    /// last knew the master first.
    known: Mutex<Vec<ServerAddress>>,
    /// `None`: the URL names servers.
    sentinels: Option<Sentinels>,
}

impl ConnectionMaker {
    pub(super) fn new(url: RedisUrl, options: RedisOptions, hello: Arc<dyn ConnectionHello>) -> Self {
        let known = Mutex::new(url.addresses().to_vec());
        let sentinels = match &url.servers {
            StoreServers::Redis(_) => None,
            StoreServers::Sentinels { sentinels, service } => {
                Some(Sentinels::new(sentinels.clone(), service.clone()))
            }
        };
        Self { name: url.name(), url, options, hello, known, sentinels }
    }

    /// The URL without its secrets.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Finds the master, connects and greets.
    pub(super) async fn make(&self) -> Result<FreshConnection, StoreFailure> {
        within(SEARCH_MAX, "the search for the master", async {
            let manner = self.manner().await?;
            let mut dialed = match &self.sentinels {
                None => self.among(&manner).await?,
                Some(sentinels) => self.by_sentinels(sentinels, &manner).await?,
            };
            dialed.select(self.url.database).await?;
            self.greeted(dialed).await
        })
        .await
    }

    /// Makes a further connection to the master that was found before.
    pub(super) async fn make_further(&self, at: &ServerAddress) -> Result<FreshConnection, StoreFailure> {
        within(SEARCH_MAX, "a further connection", async {
            let mut dialed = dial(at, &self.manner().await?).await?;
            dialed.select(self.url.database).await?;
            self.greeted(dialed).await
        })
        .await
    }

    /// The Sentinels of the URL; `None`: there are none.
    pub(super) fn sentinels(&self) -> Option<&Sentinels> {
        self.sentinels.as_ref()
    }

    /// Address of the master as the Sentinels name it; `None`: none of them is believed.
    pub(super) async fn named(&self) -> Option<ServerAddress> {
        let sentinels = self.sentinels.as_ref()?;
        let manner = self.manner_with_sentinels().await.ok()?;
        sentinels.master(manner, &self.name).await.ok()
    }

    async fn greeted(&self, mut dialed: FreshConnection) -> Result<FreshConnection, StoreFailure> {
        let what =
            |error: LinkError| StoreFailure::because(format!("{} is not fit for use", dialed.at), error);
        let greeting = self.hello.greet(&mut dialed.multiplexed);
        greeting.await.map_err(what)?;
        Ok(dialed)
    }

    pub(super) async fn manner(&self) -> Result<DialOptions, StoreFailure> {
        let Self { url, options, .. } = self;
        Ok(DialOptions {
            username: options.username.clone().or_else(|| url.username.clone()),
            password: options.password.clone().or_else(|| url.password.clone()),
            names_itself: true,
            ..self.manner_of_all().await?
        })
    }

    /// To Sentinels we have no name: their users are seldom permitted to give one.
    pub(super) async fn manner_with_sentinels(&self) -> Result<DialOptions, StoreFailure> {
        let Self { options, .. } = self;
        Ok(DialOptions {
            username: options.sentinel_username.clone(),
            password: options.sentinel_password.clone(),
            ..self.manner_of_all().await?
        })
    }

    async fn manner_of_all(&self) -> Result<DialOptions, StoreFailure> {
        let Self { url, options, .. } = self;
        Ok(DialOptions {
            username: None,
            password: None,
            tls: if url.tls { Some(tls::connector(&options.tls).await?) } else { None },
            connect_timeout: options.connect_timeout,
            response_timeout: options.response_timeout,
            names_itself: false,
        })
    }

    /// Asks the known servers in turn until one is the master, or knows it as a node of a Cluster.
    async fn among(&self, manner: &DialOptions) -> Result<FreshConnection, StoreFailure> {
        let mut tried = Vec::new();
        for at in self.known() {
            let found = match inspect(&at, manner).await {
                Ok((dialed, info)) if info.in_cluster() => self.owner(dialed, manner).await,
                Ok(inspected) => master(inspected).inspect(|_| self.remember(&at, &[])),
                Err(failure) => Err(failure),
            };
            match found {
                Ok(found) => return Ok(found),
                Err(failure) => tried.push(failure),
            }
            self.postpone(&at);
        }
        Err(StoreFailure::of_all("no server is a master that can be used", tried))
    }

    /// Asks a node of a Cluster who has the slot of our keys, and connects there.
    async fn owner(
        &self,
        mut asked: FreshConnection,
        manner: &DialOptions,
    ) -> Result<FreshConnection, StoreFailure> {
        let database = self.url.database;
        if database != 0 {
            let what = format!("{} is a node of a Cluster, which has no database {database}", asked.at);
            return Err(StoreFailure::new(what));
        }
        let slot = slot(self.options.hash_tag.as_deref().unwrap_or(&self.url.prefix));
        let answer = asked.ask(cmd("CLUSTER").arg("SLOTS"), "read CLUSTER SLOTS").await?;
        let map = SlotMap::read(&answer, &asked.at);
        let Some(owner) = map.owner(slot).cloned() else {
            return Err(StoreFailure::new(format!("{} knows no node that has slot {slot}", asked.at)));
        };
        self.remember(&asked.at, &map.nodes);
        drop(asked);
        master(inspect(&owner, manner).await?)
    }

    /// Asks all Sentinels, and looks whether the server that they name is a master indeed.
    async fn by_sentinels(
        &self,
        sentinels: &Sentinels,
        manner: &DialOptions,
    ) -> Result<FreshConnection, StoreFailure> {
        let at = sentinels.master(self.manner_with_sentinels().await?, &self.name).await?;
        inspect(&at, manner).await.and_then(master)
    }

    /// A connection to a Sentinel.
    pub(super) async fn sentinel(&self, at: &ServerAddress) -> Result<FreshConnection, StoreFailure> {
        dial(at, &self.manner_with_sentinels().await?).await
    }

    fn known(&self) -> Vec<ServerAddress> {
        self.known.lock().clone()
    }

    /// Puts a server that knew the master before all others, and learns of further ones.
    fn remember(&self, first: &ServerAddress, learned: &[ServerAddress]) {
        let mut known = self.known.lock();
        let mut seen = BTreeSet::new();
        let all: Vec<ServerAddress> = if learned.is_empty() {
            [std::slice::from_ref(first), known.as_slice()].concat()
        } else {
            // What is learned replaces what was learned before; the URL's own stay.
            [std::slice::from_ref(first), self.url.addresses(), learned].concat()
        };
        *known = all.into_iter().filter(|address| seen.insert(address.clone())).take(KNOWN_MAX).collect();
    }

    /// Puts a server that was of no use behind all others, so that a search that runs out of time
    /// is followed by one that begins where it ended.
    fn postpone(&self, useless: &ServerAddress) {
        let mut known = self.known.lock();
        if let Some(at) = known.iter().position(|address| address == useless) {
            known[at..].rotate_left(1);
        }
    }
}

/// Connects and asks the server what it is.
pub(super) async fn inspect(
    at: &ServerAddress,
    manner: &DialOptions,
) -> Result<(FreshConnection, Info), StoreFailure> {
    let mut dialed = dial(at, manner).await?;
    let info = dialed.info().await?;
    Ok((dialed, info))
}

/// Refuses a server that cannot take writes.
fn master((dialed, info): (FreshConnection, Info)) -> Result<FreshConnection, StoreFailure> {
    match unfit(&dialed.at, &info) {
        Some(why) => Err(StoreFailure::new(why)),
        None => Ok(dialed),
    }
}

/// Why a server is of no use as the master.
fn unfit(at: &ServerAddress, info: &Info) -> Option<String> {
    match (info.role(), info.version()) {
        (Role::Sentinel, _) => Some(format!("{at} is a Sentinel: its URL is redis+sentinel://{at}/SERVICE")),
        (_, Some(version)) if version < VERSION_MIN => {
            Some(format!("{at} is Redis {}.{}; it takes 7.0 or later", version.0, version.1))
        }
        (Role::Replica(of), _) => Some(format!("{at} is a replica, of {of}")),
        (Role::Master, _) if info.is_loading() => Some(format!("{at} is still loading its data")),
        (Role::Master, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoGreeting;

    #[async_trait::async_trait]
    impl ConnectionHello for NoGreeting {
        async fn greet(&self, _: &mut redis::aio::MultiplexedConnection) -> Result<(), LinkError> {
            Ok(())
        }
    }

    #[test]
    fn whoever_helped_is_asked_first_and_whoever_did_not_last() {
        let url: RedisUrl = "redis://a,b,c".parse().unwrap();
        let maker = ConnectionMaker::new(url, RedisOptions::default(), Arc::new(NoGreeting));
        let of = |host: &str| ServerAddress { host: host.to_owned(), port: 6379 };
        let hosts = || maker.known().into_iter().map(|known| known.host).collect::<Vec<_>>().join(" ");
        maker.postpone(&of("a"));
        assert_eq!(hosts(), "b c a");
        maker.postpone(&of("c"));
        assert_eq!(hosts(), "b a c");
        maker.remember(&of("c"), &[]);
        assert_eq!(hosts(), "c b a");
        maker.remember(&of("b"), &[of("d"), of("b"), of("e")]);
        assert_eq!(hosts(), "b a c d e");
        maker.remember(&of("e"), &[of("f")]);
        assert_eq!(hosts(), "e a b c f", "what was learned before is forgotten");
        let many: Vec<ServerAddress> = (0..200).map(|at| of(&format!("h{at}"))).collect();
        maker.remember(&of("a"), &many);
        assert_eq!(maker.known().len(), KNOWN_MAX);
    }

    #[test]
    fn what_cannot_take_writes_is_unfit() {
        let at = ServerAddress { host: "a".to_owned(), port: 1 };
        let cases = [
            ("a master", "redis_version:7.0.15\nrole:master", None),
            ("a later one", "redis_version:8.2.1\nrole:master", None),
            ("an old one", "redis_version:6.2.14\nrole:master", Some("takes 7.0 or later")),
            ("a replica", "redis_version:7.0.0\nrole:slave\nmaster_host:b\nmaster_port:2", Some("of b:2")),
            ("a Sentinel", "redis_version:7.0.0\nredis_mode:sentinel", Some("redis+sentinel://a:1")),
            ("one that loads", "redis_version:7.0.0\nrole:master\nloading:1", Some("still loading")),
        ];
        for (what, info, expected) in cases {
            let why = unfit(&at, &Info::new(info.to_owned()));
            assert_eq!(why.is_some(), expected.is_some(), "{what}: {why:?}");
            assert!(why.unwrap_or_default().contains(expected.unwrap_or_default()), "{what}");
        }
    }
}
