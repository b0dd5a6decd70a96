//! Connects to a host by all addresses of its name: the next is tried beside as soon as one takes long, and the first that
//! answers is taken (RFC 8305).
//!
//! A name may stand for an address that nobody can reach from here, such as one of IPv6 without a way out, and what is sent
//! there is often dropped without a word. Whoever tries only the first waits until all time is over.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};

/// How long one address is tried until the next is tried beside. Too short: servers are called twice where the first is far;
/// too long: whoever calls waits as long for each address that is silent.
pub const NEXT_AFTER: Duration = Duration::from_millis(200);
/// How many addresses of a name are tried.
const ADDRESSES_MAX: usize = 16;

/// Connects to a host by TCP. How long that may take is the caller's to say.
///
/// # Errors
/// Those of the look-up; else why the first address was not reached.
pub async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    tcp_to(lookup(host, port).await?).await
}

/// As [`tcp`], to addresses that were looked up before.
///
/// # Errors
/// Why the first of them was not reached.
pub async fn tcp_to(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let reached = first_of(addresses, TcpStream::connect).await;
    reached.map_err(|error| error.unwrap_or_else(without_address))
}

/// The addresses of a host, in the order in which they are to be tried: as the system has them, the families by turns.
///
/// # Errors
/// Those of the look-up, and where there is none.
pub async fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = by_turns(lookup_host((host, port)).await?);
    addresses.truncate(ADDRESSES_MAX);
    if addresses.is_empty() { Err(without_address()) } else { Ok(addresses) }
}

/// What a name that stands for nothing is as an error.
fn without_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the name has no address")
}

/// Tries one place after the other, the next beside once one takes long, or at once where one has failed. What the first says
/// that answers; what others do is dropped then.
///
/// # Errors
/// Why the first that failed did; `None`: there is no place.
pub async fn first_of<P, T, E, F>(places: Vec<P>, dial: impl Fn(P) -> F) -> Result<T, Option<E>>
where
    F: Future<Output = Result<T, E>>,
{
    let (mut dialled, mut rest) = (FuturesUnordered::new(), places.into_iter());
    let mut failed = None;
    loop {
        let next = rest.next();
        let is_last = next.is_none();
        dialled.extend(next.map(&dial));
        if dialled.is_empty() {
            return Err(failed);
        }
        let late = async {
            match is_last {
                true => std::future::pending().await,
                false => tokio::time::sleep(NEXT_AFTER).await,
            }
        };
        tokio::select! {
            Some(answered) = dialled.next() => match answered {
                Ok(open) => return Ok(open),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            },
            () = late => {}
        }
    }
}

/// Takes one of the first's family and one of the other by turns, so that a family that leads nowhere costs one wait.
fn by_turns(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<_> = addresses.into_iter().collect();
    let is_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == is_first);
    let (mut first, mut other) = (first.into_iter(), other.into_iter());
    let turns = std::iter::from_fn(|| {
        let turn: Vec<_> = first.next().into_iter().chain(other.next()).collect();
        (!turn.is_empty()).then_some(turn)
    });
    turns.flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_come_by_turns() {
        let found = ["[2001:db8::1]:1", "[2001:db8::2]:1", "10.0.0.1:1", "[2001:db8::3]:1", "10.0.0.2:1"];
        let expected = ["[2001:db8::1]:1", "10.0.0.1:1", "[2001:db8::2]:1", "10.0.0.2:1", "[2001:db8::3]:1"];
        assert_eq!(by_turns(found.map(at)), expected.map(at));
        assert_eq!(by_turns(["10.0.0.1:1", "[::1]:1"].map(at)), ["10.0.0.1:1", "[::1]:1"].map(at));
        assert_eq!(by_turns([]), []);
    }

    /// What is dialled when each place does what its word says.
    async fn dialled(
        places: &[&'static str],
    ) -> (Result<&'static str, Option<&'static str>>, Vec<&'static str>) {
        let tried = RefCell::new(Vec::new());
        let outcome = first_of(places.to_vec(), |place| {
            tried.borrow_mut().push(place);
            async move {
                match place.split('-').next() {
                    Some("silent") => std::future::pending().await,
                    Some("slow") => {
                        tokio::time::sleep(NEXT_AFTER * 3).await;
                        Ok(place)
                    }
                    Some("refused") => Err(place),
                    _ => Ok(place),
                }
            }
        })
        .await;
        (outcome, tried.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_costs_one_wait_and_a_refused_one_none() {
        let begun = tokio::time::Instant::now();
        let (outcome, tried) = dialled(&["silent-1", "silent-2", "open-1", "open-2"]).await;
        assert_eq!((outcome, tried), (Ok("open-1"), vec!["silent-1", "silent-2", "open-1"]));
        assert_eq!(begun.elapsed(), NEXT_AFTER * 2);
        let begun = tokio::time::Instant::now();
        let (outcome, _) = dialled(&["refused-1", "refused-2", "open-1"]).await;
        assert_eq!((outcome, begun.elapsed()), (Ok("open-1"), Duration::ZERO));
        let (outcome, _) = dialled(&["slow-1", "silent-1"]).await;
        assert_eq!(outcome, Ok("slow-1"), "one that takes long is waited for beside the others");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_first_said_is_told_when_all_have_failed() {
        let (outcome, tried) = dialled(&["refused-1", "refused-2"]).await;
        assert_eq!((outcome, tried.len()), (Err(Some("refused-1")), 2));
        assert_eq!(dialled(&[]).await.0, Err(None));
    }

    #[tokio::test]
    async fn a_host_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(tcp("127.0.0.1", port).await.is_ok());
        drop(listener);
        assert_eq!(tcp("127.0.0.1", port).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
