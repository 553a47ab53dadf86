//! One TCP connection of a function, from its first packet to its last.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lambfold_types::{Clock, Entropy, SleepFuture, Timestamp};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};
use tokio::io::ReadBuf;
use tokio::sync::mpsc;

use crate::audit::Traffic;
use crate::device::Device;
use crate::packet::Ends;
use crate::stream::Stream;

/// Bytes on their way, in each direction.
const BUFFER: usize = 64 << 10;
/// How often a connection goes round before others have their turn.
const ROUNDS: usize = 16;
/// How long nothing may be said (AWS's gateways: 350 s; databases' pools are quiet for longer).
const QUIET: Duration = Duration::from_mins(30);
/// The same where one side has said that it is done.
const HALF_CLOSED: Duration = Duration::from_mins(2);

/// A stack that knows one connection: the function's side of it.
pub(crate) struct Connection {
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    port: Port,
    clock: Arc<dyn Clock>,
    wake: Option<(Timestamp, SleepFuture)>,
    last_sign: Timestamp,
    ended: Ended,
}

/// What has been passed on of the ends of the two directions.
#[derive(Default)]
struct Ended {
    /// The function has said all, and the other side knows.
    function: bool,
    /// The other way round.
    peer: bool,
}

impl Connection {
    /// Takes up the connection that `opening`, the function's first packet, asks for.
    pub(crate) fn accept(
        ends: Ends,
        opening: Vec<u8>,
        device: Arc<Device>,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Self {
        let mut socket = Socket::new(SocketBuffer::new(vec![0; BUFFER]), SocketBuffer::new(vec![0; BUFFER]));
        // Both sides decide for themselves when to send; nothing is lost on the way, nor crowded.
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.set_congestion_control(CongestionControl::None);
        // Cannot fail: the port is not zero, which was checked, and the socket is new.
        let _ = socket.listen((ends.destination.ip(), ends.destination.port()));
        let mut connection = Self::empty(ends, device, clock, entropy);
        connection.socket = connection.sockets.add(socket);
        connection.port.packets.push_back(opening);
        connection
    }

    fn empty(ends: Ends, device: Arc<Device>, clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> Self {
        let mut port = Port { packets: VecDeque::new(), device, space: Vec::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        let mut seed = [0; 8];
        entropy.fill(&mut seed);
        config.random_seed = u64::from_ne_bytes(seed);
        let now = clock.now();
        let mut interface = Interface::new(config, &mut port, instant(now));
        interface.update_ip_addrs(|addresses| {
            let address = ends.destination.ip();
            // Cannot fail: there is room for one.
            let _ = addresses.push(IpCidr::new(address.into(), if address.is_ipv4() { 32 } else { 128 }));
        });
        Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            socket: SocketHandle::default(),
            port,
            clock,
            wake: None,
            last_sign: now,
            ended: Ended::default(),
        }
    }

    /// Joins it to `stream`, taking what else the function sends from `packets`, until both are done or one has failed.
    pub(crate) async fn join(
        mut self,
        mut stream: Box<dyn Stream>,
        packets: &mut mpsc::Receiver<Vec<u8>>,
        traffic: &Traffic,
    ) {
        poll_fn(|cx| self.poll(cx, &mut *stream, packets, traffic)).await;
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut dyn Stream,
        packets: &mut mpsc::Receiver<Vec<u8>>,
        traffic: &Traffic,
    ) -> Poll<()> {
        for _ in 0..ROUNDS {
            while self.port.packets.len() < ROUNDS
                && let Poll::Ready(Some(packet)) = packets.poll_recv(cx)
            {
                self.port.packets.push_back(packet);
                self.last_sign = self.clock.now();
            }
            let now = self.clock.now();
            self.run_stack(now);
            let Ok(moved) = self.move_bytes(cx, stream, traffic) else {
                self.abort();
                return Poll::Ready(());
            };
            self.run_stack(now);
            match self.sockets.get::<Socket<'_>>(self.socket).state() {
                // What it waits for then is that the function's last packets get lost.
                State::Closed | State::TimeWait => return Poll::Ready(()),
                _ => {}
            }
            if moved {
                self.last_sign = now;
                continue;
            }
            if !self.port.packets.is_empty() {
                continue;
            }
            let over = self.ended.function || self.ended.peer;
            let quiet_until = self.last_sign + if over { HALF_CLOSED } else { QUIET };
            if quiet_until <= now {
                self.abort();
                return Poll::Ready(());
            }
            if self.sleeps(cx, now, quiet_until) {
                return Poll::Pending;
            }
        }
        // Others' turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether there is nothing to do until a packet, the stream or the time that is waited for wakes the task.
    fn sleeps(&mut self, cx: &mut Context<'_>, now: Timestamp, at_latest: Timestamp) -> bool {
        let next = self.interface.poll_at(instant(now), &self.sockets).map(|at| {
            // Rounded up: a moment too early would be for nothing.
            Timestamp::from_millis(at.total_micros().saturating_add(999) / 1000)
        });
        if next.is_some_and(|next| next <= now) {
            return false;
        }
        let next = next.map_or(at_latest, |next| next.min(at_latest));
        // An earlier one wakes in vain, once, which costs less than a new one for every packet.
        if self.wake.as_ref().is_none_or(|(at, _)| *at > next) {
            self.wake = Some((next, self.clock.sleep_until(next)));
        }
        let Some((_, sleep)) = &mut self.wake else { return false };
        if sleep.as_mut().poll(cx).is_ready() {
            self.wake = None;
            return false;
        }
        true
    }

    fn run_stack(&mut self, now: Timestamp) {
        let now = instant(now);
        while !self.port.packets.is_empty() {
            self.interface.poll_ingress_single(now, &mut self.port, &mut self.sockets);
        }
        // Each time one packet. It ends, because the function's window and the buffer do.
        while self.interface.poll_egress(now, &mut self.port, &mut self.sockets) != PollResult::None {}
    }

    /// Moves what is there, both ways, as far as the other side takes it. False if nothing moved.
    fn move_bytes(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut dyn Stream,
        traffic: &Traffic,
    ) -> io::Result<bool> {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        let mut moved = false;
        while socket.can_recv() {
            let written = socket.recv(|bytes| match Pin::new(&mut *stream).poll_write(cx, bytes) {
                Poll::Ready(Ok(length)) => (length, Ok(length)),
                Poll::Ready(Err(error)) => (0, Err(error)),
                Poll::Pending => (0, Ok(0)),
            });
            let Ok(written) = written else { break };
            match written? {
                0 => break,
                length => traffic.sent(length),
            }
            moved = true;
        }
        let all_said =
            matches!(socket.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
                && socket.recv_queue() == 0;
        if all_said && !self.ended.function && Pin::new(&mut *stream).poll_shutdown(cx)?.is_ready() {
            self.ended.function = true;
            moved = true;
        }
        while !self.ended.peer && socket.can_send() {
            let read = socket.send(|room| {
                let mut room = ReadBuf::new(room);
                match Pin::new(&mut *stream).poll_read(cx, &mut room) {
                    Poll::Ready(Ok(())) => (room.filled().len(), Ok(Some(room.filled().len()))),
                    Poll::Ready(Err(error)) => (0, Err(error)),
                    Poll::Pending => (0, Ok(None)),
                }
            });
            let Ok(read) = read else { break };
            match read? {
                None => break,
                Some(0) => {
                    socket.close();
                    self.ended.peer = true;
                }
                Some(length) => traffic.received(length),
            }
            moved = true;
        }
        Ok(moved)
    }

    /// Tells the function that the connection is broken.
    fn abort(&mut self) {
        self.sockets.get_mut::<Socket<'_>>(self.socket).abort();
        let now = self.clock.now();
        self.run_stack(now);
    }
}

/// Tells a function that nobody knows of the connection that its packet belongs to, or wants it.
pub(crate) fn refuse(
    ends: Ends,
    packet: Vec<u8>,
    device: &Arc<Device>,
    clock: &Arc<dyn Clock>,
    entropy: &dyn Entropy,
) {
    // A stack without a socket does just that.
    let mut connection = Connection::empty(ends, Arc::clone(device), Arc::clone(clock), entropy);
    connection.port.packets.push_back(packet);
    let now = connection.clock.now();
    connection.run_stack(now);
}

fn instant(time: Timestamp) -> Instant {
    Instant::from_millis(time.millis())
}

/// The stack's side of the device: packets of this connection in, any out.
struct Port {
    packets: VecDeque<Vec<u8>>,
    device: Arc<Device>,
    space: Vec<u8>,
}

struct Received(Vec<u8>);

struct Sending<'a> {
    device: &'a Device,
    space: &'a mut Vec<u8>,
}

impl phy::Device for Port {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, now: Instant) -> Option<(Received, Sending<'_>)> {
        let packet = self.packets.pop_front()?;
        Some((Received(packet), self.transmit(now)?))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending { device: &self.device, space: &mut self.space })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = lambfold_sandbox::NETWORK_MTU.into();
        // Nothing can have happened to a packet since the kernel made it, which may have left its checksums out.
        capabilities.checksum.ipv4 = phy::Checksum::Tx;
        capabilities.checksum.tcp = phy::Checksum::Tx;
        capabilities
    }
}

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        self.space.clear();
        self.space.resize(length, 0);
        let result = f(self.space);
        self.device.send(self.space);
        result
    }
}
