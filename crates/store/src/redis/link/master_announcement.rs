//! Announcements of Sentinels: that a master is about to be replaced, and that it was.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use redis::RedisConnectionInfo;
use redis::aio::PubSub;
use tokio::time::sleep;
use tracing::debug;

use super::dial::{DialOptions, open, within};
use super::error::StoreFailure;
use super::resolve::ConnectionMaker;
use super::state::SharedLink;
use crate::url::{ServerAddress, UrlSecret};

/// The replica that takes over is being chosen; it is promoted a tenth of a second later at the earliest.
const BEGINS: &str = "+failover-state-select-slave";
const SWITCHED: &str = "+switch-master";
const ABORTED: [&str; 2] = ["-failover-abort-no-good-slave", "-failover-abort-slave-timeout"];
/// How long a Sentinel that does not listen is left in peace, and how long one whose user may not subscribe.
const PAUSE: Duration = Duration::from_secs(1);
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Announcement about the master of one's own service.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum MasterAnnouncement {
    Begins,
    Aborted,
    /// The master is at `to` from now on, and at `from` no more.
    Switched {
        from: ServerAddress,
        to: ServerAddress,
    },
}

/// Listens to every Sentinel of the URL as long as the link lives: the one that carries a failover out announces its
/// beginning, and the others do not. Who hears nothing asks once a second as ever.
pub(super) async fn listen(link: Weak<SharedLink>, maker: Arc<ConnectionMaker>) {
    let Some(sentinels) = maker.sentinels() else { return };
    let all = sentinels.addresses.iter();
    join_all(all.map(|sentinel| listen_on(&link, &maker, sentinel, &sentinels.service))).await;
}

async fn listen_on(
    link: &Weak<SharedLink>,
    maker: &ConnectionMaker,
    sentinel: &ServerAddress,
    service: &str,
) {
    while link.strong_count() > 0 {
        let ended = listen_to(link, maker, sentinel, service).await;
        let refused = ended.as_ref().is_err_and(|failure| failure.code() == Some("NOPERM"));
        if let Err(failure) = ended {
            debug!(%sentinel, error = %failure.chain(), "Sentinel is not listened to");
        }
        sleep(if refused { REFUSED_PAUSE } else { PAUSE }).await;
    }
}

/// Until the connection ends.
async fn listen_to(
    link: &Weak<SharedLink>,
    maker: &ConnectionMaker,
    sentinel: &ServerAddress,
    service: &str,
) -> Result<(), StoreFailure> {
    let manner = maker.manner_with_sentinels().await?;
    let failed =
        |error| StoreFailure::because(format!("cannot listen to {sentinel}"), super::LinkError::from(error));
    let limit = manner.connect_timeout + 2 * manner.response_timeout;
    let listener = within(limit, "listening", async {
        let stream = open(sentinel, &manner).await?;
        let mut listener = PubSub::new(&who(&manner), stream).await.map_err(failed)?;
        for channel in [BEGINS, SWITCHED].into_iter().chain(ABORTED) {
            listener.subscribe(channel).await.map_err(failed)?;
        }
        Ok(listener)
    });
    let mut announcements = listener.await?.into_on_message();
    while let Some(message) = announcements.next().await {
        let text: String = message.get_payload().unwrap_or_default();
        let Some(link) = link.upgrade() else { return Ok(()) };
        if let Some(announced) = read(message.get_channel_name(), &text, service) {
            link.heed_announcement(&announced);
        }
    }
    Ok(())
}

fn who(manner: &DialOptions) -> RedisConnectionInfo {
    let mut who = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(username) = &manner.username {
        who = who.set_username(username);
    }
    if let Some(password) = manner.password.as_ref().map(UrlSecret::reveal) {
        who = who.set_password(password);
    }
    who
}

/// What is announced of `service`: `SERVICE OLD-HOST OLD-PORT HOST PORT` for a switch, `master SERVICE HOST PORT` else.
fn read(channel: &str, text: &str, service: &str) -> Option<MasterAnnouncement> {
    let mut words = text.split(' ');
    if channel == SWITCHED {
        let of_it = words.next()? == service;
        let (from, to) = (address(&mut words)?, address(&mut words)?);
        return of_it.then_some(MasterAnnouncement::Switched { from, to });
    }
    if words.next()? != "master" || words.next()? != service {
        return None;
    }
    Some(if channel == BEGINS { MasterAnnouncement::Begins } else { MasterAnnouncement::Aborted })
}

/// `HOST PORT`
fn address<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<ServerAddress> {
    Some(ServerAddress { host: words.next()?.to_owned(), port: words.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_of_ones_own_service_is_understood() {
        let at = |host: &str, port| ServerAddress { host: host.to_owned(), port };
        let to = |host: &str, port| {
            Some(MasterAnnouncement::Switched { from: at("10.0.0.1", 6379), to: at(host, port) })
        };
        let cases = [
            (SWITCHED, "mesh 10.0.0.1 6379 10.0.0.2 6380", to("10.0.0.2", 6380)),
            (SWITCHED, "other 10.0.0.1 6379 10.0.0.2 6380", None),
            (SWITCHED, "mesh 10.0.0.1 6379", None),
            (SWITCHED, "mesh 10.0.0.1 6379 10.0.0.2 x", None),
            (SWITCHED, "", None),
            (BEGINS, "master mesh 10.0.0.1 6379", Some(MasterAnnouncement::Begins)),
            (BEGINS, "master other 10.0.0.1 6379", None),
            (BEGINS, "slave mesh 10.0.0.1 6379", None),
            (ABORTED[0], "master mesh 10.0.0.1 6379", Some(MasterAnnouncement::Aborted)),
            (ABORTED[1], "master mesh 10.0.0.1 6379", Some(MasterAnnouncement::Aborted)),
            (ABORTED[1], "", None),
        ];
        for (channel, text, expected) in cases {
            assert_eq!(read(channel, text, "mesh"), expected, "{channel}: {text}");
        }
    }
}
