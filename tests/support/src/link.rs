//! Link: two network namespaces that reach each other only through this process, which delays, loses and reorders what passes.
//!
//! Each end is a TUN device, so that what is between them works on any kernel, without `netem`. Only root can make one.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Order};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fastrand::Rng;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::network::NetworkNamespace;

/// Addresses of the two ends, of those that are for examples (RFC 5737).
pub const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];

const DEVICE: &str = "link0";
const MTU: usize = 1500;
/// How many packets may be under way in a direction; what comes then is lost.
const UNDER_WAY_MAX: usize = 100_000;
/// How many packets are taken before those are passed that are due.
const TAKEN_AT_ONCE: usize = 32;
/// How soon the end of the link is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What becomes of the packets of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LinkRules {
    pub delay: Duration,
    /// Up to so much more, by chance. Packets keep their order.
    pub jitter: Duration,
    /// Share of the packets that are lost, 0 to 1.
    pub loss: f64,
    /// Share of the packets that are held back for [`LinkRules::held_back`], so that later ones overtake them, 0 to 1.
    pub reordered: f64,
    pub held_back: Duration,
    /// Nothing passes.
    pub is_cut: bool,
}

impl LinkRules {
    /// Rules that only delay.
    pub fn delayed(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

/// Direction of a link, by the end where packets leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    FromFirst,
    FromSecond,
}

/// Counts of the packets of one direction since the link began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    pub passed: u64,
    pub lost: u64,
    pub cut: u64,
    pub held_back: u64,
    /// Nothing passes any more: the device cannot be read.
    pub has_failed: bool,
}

/// Two namespaces and what is between them.
pub struct Link {
    ends: [NetworkNamespace; 2],
    directions: [Arc<LinkDirection>; 2],
    forwarders: Vec<JoinHandle<()>>,
    is_over: Arc<AtomicBool>,
}

#[derive(Default)]
struct LinkDirection {
    rules: Mutex<LinkRules>,
    passed: AtomicU64,
    lost: AtomicU64,
    cut: AtomicU64,
    held_back: AtomicU64,
    has_failed: AtomicBool,
}

/// A packet that is under way.
struct PacketUnderWay {
    due: Instant,
    /// Of its arrival: of those that are due at once the first one goes first.
    number: u64,
    bytes: Vec<u8>,
}

impl Link {
    /// A link that passes everything at once, with chance from this seed.
    ///
    /// # Errors
    /// Who runs the test is not root, or the machine has no TUN devices.
    pub fn new(seed: u64) -> Result<Self> {
        let ends = [NetworkNamespace::new("true")?, NetworkNamespace::new("true")?];
        let devices = [attach(&ends[0], ADDRESSES[0])?, attach(&ends[1], ADDRESSES[1])?];
        let mut link =
            Self { ends, directions: Default::default(), forwarders: Vec::new(), is_over: Arc::default() };
        for from in [0, 1] {
            let forwarder = Forwarder {
                from: devices[from].clone(),
                to: devices[1 - from].clone(),
                direction: link.directions[from].clone(),
                is_over: link.is_over.clone(),
                chance: Rng::with_seed(seed.wrapping_mul(2).wrapping_add(from as u64)),
                under_way: BinaryHeap::new(),
                last_due: Instant::now(),
                number: 0,
            };
            link.forwarders.push(std::thread::spawn(move || forwarder.run()));
        }
        Ok(link)
    }

    /// Namespaces of the two ends, which have [`ADDRESSES`].
    pub fn ends(&self) -> [&NetworkNamespace; 2] {
        [&self.ends[0], &self.ends[1]]
    }

    /// Sets the rules of a direction, for packets that come from now on.
    pub fn set(&self, direction: Direction, rules: LinkRules) {
        *self.direction(direction).rules.lock() = rules;
    }

    /// Sets the rules of both directions.
    pub fn set_both(&self, rules: LinkRules) {
        self.set(Direction::FromFirst, rules);
        self.set(Direction::FromSecond, rules);
    }

    /// Counts of a direction: evidence that a fault has met something.
    pub fn counts(&self, direction: Direction) -> LinkCounts {
        let of = self.direction(direction);
        LinkCounts {
            passed: of.passed.load(Order::Relaxed),
            lost: of.lost.load(Order::Relaxed),
            cut: of.cut.load(Order::Relaxed),
            held_back: of.held_back.load(Order::Relaxed),
            has_failed: of.has_failed.load(Order::Relaxed),
        }
    }

    fn direction(&self, direction: Direction) -> &LinkDirection {
        match direction {
            Direction::FromFirst => &self.directions[0],
            Direction::FromSecond => &self.directions[1],
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.is_over.store(true, Order::Relaxed);
        for forwarder in self.forwarders.drain(..) {
            let _ = forwarder.join();
        }
    }
}

/// Puts a TUN device with an address into a namespace.
fn attach(end: &NetworkNamespace, address: Ipv4Addr) -> Result<Arc<SyncDevice>> {
    let device = end.run(|| {
        let device = DeviceBuilder::new().name(DEVICE).inherit_enable_state().build_sync();
        device.context("no TUN device could be made: /dev/net/tun")
    })?;
    device.set_nonblocking(true)?;
    let script = format!("ip address add {address}/30 dev {DEVICE} && ip link set {DEVICE} mtu {MTU} up");
    let made = end.command("sh").args(["-c", &script]).status().context("nsenter, of util-linux")?;
    ensure!(made.success(), "{script}: {made}");
    Ok(Arc::new(device))
}

/// Forwarder of one direction.
struct Forwarder {
    from: Arc<SyncDevice>,
    to: Arc<SyncDevice>,
    direction: Arc<LinkDirection>,
    is_over: Arc<AtomicBool>,
    chance: Rng,
    under_way: BinaryHeap<Reverse<PacketUnderWay>>,
    /// When the last packet is due that keeps the order.
    last_due: Instant,
    number: u64,
}

impl Forwarder {
    fn run(mut self) {
        let mut buffer = vec![0; MTU];
        while !self.is_over.load(Order::Relaxed) {
            let next = self.under_way.peek().map(|Reverse(packet)| packet.due);
            let wait = next.map_or(LOOK_EVERY, |due| due.saturating_duration_since(Instant::now()));
            let wait = Timespec { tv_sec: 0, tv_nsec: wait.min(LOOK_EVERY).subsec_nanos().into() };
            // Interrupted or not, both are looked at.
            let _ = poll(&mut [PollFd::new(&*self.from, PollFlags::IN)], Some(&wait));
            // A few at a time: what is due is not held up by those who send as fast as they can.
            for _ in 0..TAKEN_AT_ONCE {
                match self.from.recv(&mut buffer) {
                    Ok(length) => self.take(&buffer[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => {
                        self.direction.has_failed.store(true, Order::Relaxed);
                        return;
                    }
                }
            }
            self.pass_due();
        }
    }

    /// Decides what becomes of a packet.
    fn take(&mut self, bytes: &[u8]) {
        let rules = *self.direction.rules.lock();
        if rules.is_cut {
            self.direction.cut.fetch_add(1, Order::Relaxed);
            return;
        }
        if self.chance.f64() < rules.loss || self.under_way.len() >= UNDER_WAY_MAX {
            self.direction.lost.fetch_add(1, Order::Relaxed);
            return;
        }
        let due = Instant::now() + rules.delay + rules.jitter.mul_f64(self.chance.f64());
        let due = if self.chance.f64() < rules.reordered {
            self.direction.held_back.fetch_add(1, Order::Relaxed);
            due + rules.held_back
        } else {
            self.last_due = due.max(self.last_due);
            self.last_due
        };
        self.number += 1;
        self.under_way.push(Reverse(PacketUnderWay { due, number: self.number, bytes: bytes.to_vec() }));
    }

    fn pass_due(&mut self) {
        let now = Instant::now();
        while self.under_way.peek().is_some_and(|Reverse(packet)| packet.due <= now) {
            let Some(Reverse(packet)) = self.under_way.pop() else { break };
            let sent = self.to.send(&packet.bytes);
            let count = if sent.is_ok() { &self.direction.passed } else { &self.direction.lost };
            count.fetch_add(1, Order::Relaxed);
        }
    }
}

impl PartialEq for PacketUnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for PacketUnderWay {}

impl PartialOrd for PacketUnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PacketUnderWay {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}
