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

/// How long datagrams are under way from one end to the other, the shortest first: both ends are threads of this process.
fn under_way(from: &UdpSocket, to: &UdpSocket) -> Result<Vec<Duration>> {
    let mut taken = Vec::new();
    for number in 0_u32..20 {
        let (sent, mut buffer) = (Instant::now(), [0; 4]);
        from.send(&number.to_be_bytes())?;
        to.recv(&mut buffer)?;
        ensure!(buffer == number.to_be_bytes());
        taken.push(sent.elapsed());
    }
    taken.sort();
    Ok(taken)
}

#[test]
fn a_delay_is_that_of_each_direction() -> Result<()> {
    let link = Link::new(1)?;
    let [near, far] = sockets(&link)?;
    let at_once = under_way(&near, &far)?[10];
    for (there, back) in [(20, 20), (30, 0), (0, 30)] {
        link.set(Direction::FromFirst, LinkRules::delayed(Duration::from_millis(there)));
        link.set(Direction::FromSecond, LinkRules::delayed(Duration::from_millis(back)));
        for (asked, taken) in [(there, under_way(&near, &far)?), (back, under_way(&far, &near)?)] {
            println!("{asked} ms: {:?} to {:?}; without: {at_once:?}", taken[0], taken[19]);
            ensure!(taken[0] >= Duration::from_millis(asked), "{taken:?}");
            // The shortest of twenty: a machine that is busy for all of them is another matter.
            ensure!(taken[0] < Duration::from_millis(asked + 10), "{taken:?}");
        }
    }
    Ok(())
}

/// What is due is passed while others send as fast as they can.
#[test]
fn a_flood_does_not_hold_up_what_is_due() -> Result<()> {
    let link = Link::new(6)?;
    let [near, far] = sockets(&link)?;
    link.set(Direction::FromFirst, LinkRules::delayed(Duration::from_millis(20)));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = near.try_clone()?;
        scope.spawn(|| {
            let flood = flood;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                // Full buffers are what is wanted.
                let _ = flood.send(&[0; 1200]);
            }
        });
        let begun = Instant::now();
        let (mut first, mut buffer) = (None, [0; 1200]);
        while begun.elapsed() < Duration::from_millis(300) {
            if far.recv(&mut buffer).is_ok() && first.is_none() {
                first = Some(begun.elapsed());
            }
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        let first = first.context("nothing has passed")?;
        println!("the first of a flood after {first:?}");
        ensure!(first < Duration::from_millis(200), "the first came after {first:?}");
        Ok(())
    })
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
