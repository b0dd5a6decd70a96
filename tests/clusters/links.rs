//! The link of these tests does what its rules say: judged by datagrams that pass it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::link::{ADDRESSES, Direction, Link, LinkCounts, LinkRules};
use crate::network::NetworkNamespace;

const PATIENCE: Duration = Duration::from_secs(20);

/// Sockets of the two ends, each connected to the other.
fn sockets(link: &Link) -> Result<[UdpSocket; 2]> {
    let address = |end: usize| SocketAddr::from((ADDRESSES[end], 4000));
    let open = |at: usize, end: &NetworkNamespace| {
        end.run(|| {
            let socket = UdpSocket::bind(address(at))?;
            socket.connect(address(1 - at))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })
    };
    let [first, second] = link.ends();
    Ok([open(0, first)?, open(1, second)?])
}

/// Sends numbered datagrams, a few at a time so that no buffer overflows.
fn send_numbers(socket: &UdpSocket, count: u32) -> Result<()> {
    for number in 0..count {
        socket.send(&number.to_be_bytes())?;
        if number % 50 == 49 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// The numbers that come until none has come for a while.
fn numbers(socket: &UdpSocket) -> Result<Vec<u32>> {
    socket.set_read_timeout(Some(Duration::from_millis(600)))?;
    let (mut found, mut buffer) = (Vec::new(), [0; 4]);
    while let Ok(4) = socket.recv(&mut buffer) {
        found.push(u32::from_be_bytes(buffer));
    }
    Ok(found)
}

/// How many numbers came behind a greater one.
fn overtaken(numbers: &[u32]) -> usize {
    let (mut greatest, mut late) = (0, 0);
    for number in numbers {
        late += usize::from(*number < greatest);
        greatest = greatest.max(*number);
    }
    late
}

#[test]
fn a_delay_is_that_of_each_direction() -> Result<()> {
    let link = Link::new(1)?;
    let [near, far] = sockets(&link)?;
    let round_trips = |there: u64, back: u64| -> Result<Vec<Duration>> {
        link.set(Direction::FromFirst, LinkRules::delayed(Duration::from_millis(there)));
        link.set(Direction::FromSecond, LinkRules::delayed(Duration::from_millis(back)));
        let mut taken = Vec::new();
        for number in 0_u32..20 {
            let (sent, mut buffer) = (Instant::now(), [0; 4]);
            near.send(&number.to_be_bytes())?;
            far.recv(&mut buffer)?;
            far.send(&buffer)?;
            near.recv(&mut buffer)?;
            ensure!(buffer == number.to_be_bytes());
            taken.push(sent.elapsed());
        }
        taken.sort();
        Ok(taken)
    };
    let at_once = round_trips(0, 0)?;
    for (there, back) in [(20, 20), (30, 0), (0, 30)] {
        let asked = Duration::from_millis(there + back);
        let taken = round_trips(there, back)?;
        println!("{there} and {back} ms: {:?} to {:?}; without: {:?}", taken[0], taken[19], at_once[10]);
        ensure!(taken[0] >= asked, "{taken:?}");
        // The median, and a second: a busy machine is no fault of the link.
        ensure!(taken[10] < asked + Duration::from_secs(1), "{taken:?}");
    }
    Ok(())
}

#[test]
fn a_share_is_lost_and_the_rest_comes_in_order() -> Result<()> {
    let link = Link::new(2)?;
    let [near, far] = sockets(&link)?;
    let jitter = Duration::from_millis(5);
    link.set(Direction::FromFirst, LinkRules { loss: 0.3, jitter, ..LinkRules::default() });
    let before = link.counts(Direction::FromFirst);
    let reader = std::thread::spawn(move || numbers(&far));
    send_numbers(&near, 4000)?;
    let came = reader.join().expect("no panic")?;
    let LinkCounts { lost, .. } = link.counts(Direction::FromFirst);
    let lost = usize::try_from(lost - before.lost)?;
    // Five standard deviations of 4,000 tries.
    ensure!((1055..=1345).contains(&(4000 - came.len())), "{} of 4000 came", came.len());
    // Besides these the hosts send a few packets of their own.
    ensure!(lost.abs_diff(4000 - came.len()) < 20, "{lost} counted, {} of 4000 came", came.len());
    ensure!(overtaken(&came) == 0, "{came:?}");
    Ok(())
}

#[test]
fn packets_that_are_held_back_are_overtaken() -> Result<()> {
    let link = Link::new(3)?;
    let [near, far] = sockets(&link)?;
    let held_back = Duration::from_millis(10);
    link.set(Direction::FromFirst, LinkRules { reordered: 0.1, held_back, ..LinkRules::default() });
    let reader = std::thread::spawn(move || numbers(&far));
    send_numbers(&near, 2000)?;
    let came = reader.join().expect("no panic")?;
    ensure!(came.len() == 2000, "none is lost: {}", came.len());
    ensure!((100..=300).contains(&overtaken(&came)), "{} were overtaken", overtaken(&came));
    Ok(())
}

#[test]
fn a_cut_is_of_one_direction_and_ends() -> Result<()> {
    let link = Link::new(4)?;
    let [near, far] = sockets(&link)?;
    link.set(Direction::FromSecond, LinkRules { is_cut: true, ..LinkRules::default() });
    let mut buffer = [0; 4];
    near.send(b"ping")?;
    ensure!(far.recv(&mut buffer)? == 4, "this direction is open");
    far.send(b"pong")?;
    near.set_read_timeout(Some(Duration::from_millis(500)))?;
    ensure!(near.recv(&mut buffer).is_err(), "this one is cut");
    ensure!(link.counts(Direction::FromSecond).cut > 0);
    link.set(Direction::FromSecond, LinkRules::default());
    near.set_read_timeout(Some(PATIENCE))?;
    far.send(b"pong")?;
    ensure!(near.recv(&mut buffer)? == 4, "it has ended");
    Ok(())
}

#[test]
fn a_stream_passes_a_bad_link_whole() -> Result<()> {
    let link = Link::new(5)?;
    let delay = Duration::from_millis(5);
    let held_back = Duration::from_millis(3);
    link.set_both(LinkRules { delay, loss: 0.02, reordered: 0.02, held_back, ..LinkRules::default() });
    let [first, second] = link.ends();
    let listener = second.run(|| Ok(TcpListener::bind((ADDRESSES[1], 4000))?))?;
    let sent: Vec<u8> = (0_u32..50_000).flat_map(u32::to_be_bytes).collect();
    let expected = sent.clone();
    let reader = std::thread::spawn(move || -> Result<Vec<u8>> {
        let (mut stream, mut came) = (listener.accept()?.0, Vec::new());
        stream.read_to_end(&mut came)?;
        Ok(came)
    });
    first.run(move || {
        let mut stream = TcpStream::connect((ADDRESSES[1], 4000)).context("connect")?;
        Ok(stream.write_all(&sent)?)
    })?;
    ensure!(reader.join().expect("no panic")? == expected, "the bytes differ");
    let counts = link.counts(Direction::FromFirst);
    ensure!(counts.lost > 0 && counts.held_back > 0, "the rules met nothing: {counts:?}");
    Ok(())
}
