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
use crate::life::Life;
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
    life: Arc<Life>,
    ended: Ended,
    /// What the function had said when it and the stack were done with each other, and the other side has not taken yet. The
    /// stack would forget it after ten seconds.
    rest: Vec<u8>,
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
        life: Arc<Life>,
    ) -> Self {
        let mut socket = Socket::new(SocketBuffer::new(vec![0; BUFFER]), SocketBuffer::new(vec![0; BUFFER]));
        // Both sides decide for themselves when to send; nothing is lost on the way, nor crowded.
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.set_congestion_control(CongestionControl::None);
        // Cannot fail: the port is not zero, which was checked, and the socket is new.
        let _ = socket.listen((ends.destination.ip(), ends.destination.port()));
        let mut connection = Self::empty(ends, device, clock, entropy, life);
        connection.socket = connection.sockets.add(socket);
        connection.port.packets.push_back(opening);
        connection
    }

    fn empty(
        ends: Ends,
        device: Arc<Device>,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        life: Arc<Life>,
    ) -> Self {
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
            life,
            ended: Ended::default(),
            rest: Vec::new(),
        }
    }

    /// Joins it to `stream`, taking what else the function sends from `packets`, until both are done or one has failed.
    pub(crate) async fn join(
        &mut self,
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
            let now = self.clock.now();
            // Only an empty channel wakes the task when something comes.
            let mut drained = false;
            while !drained && self.port.packets.len() < ROUNDS {
                if let Poll::Ready(Some(packet)) = packets.poll_recv(cx) {
                    self.port.packets.push_back(packet);
                    self.life.sign(now);
                } else {
                    drained = true;
                }
            }
            self.run_stack(now);
            let was_over = self.is_over();
            let Ok(moved) = self.move_bytes(cx, stream, traffic) else {
                self.abort();
                return Poll::Ready(());
            };
            self.run_stack(now);
            let is_over = self.is_over();
            // All that the function said has been passed on. What the stack waits for then is that the function's last packets
            // get lost.
            if is_over && self.ended.function {
                return Poll::Ready(());
            }
            if moved {
                self.life.sign(now);
                continue;
            }
            if !drained || is_over != was_over {
                continue;
            }
            let over = is_over || self.ended.function || self.ended.peer;
            let quiet_until = self.life.last_sign() + if over { HALF_CLOSED } else { QUIET };
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

    /// Whether the function and its side of the connection are done with each other; what it said may still be here.
    fn is_over(&self) -> bool {
        let state = self.sockets.get::<Socket<'_>>(self.socket).state();
        matches!(state, State::Closed | State::TimeWait)
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
        let is_over = self.is_over();
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        let mut moved = false;
        while is_over && socket.can_recv() {
            let kept = socket.recv(|bytes| {
                self.rest.extend_from_slice(bytes);
                (bytes.len(), ())
            });
            if kept.is_err() {
                break;
            }
        }
        while !self.rest.is_empty()
            && let Poll::Ready(length) = Pin::new(&mut *stream).poll_write(cx, &self.rest)?
        {
            if length == 0 {
                break;
            }
            traffic.sent(length);
            self.rest.drain(..length);
            moved = true;
        }
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
        let all_said = matches!(
            socket.state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed
        ) && socket.recv_queue() == 0
            && self.rest.is_empty();
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
    pub(crate) fn abort(&mut self) {
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
    let life = Arc::new(Life::new(clock.now()));
    let mut connection = Connection::empty(ends, Arc::clone(device), Arc::clone(clock), entropy, life);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use lambfold_clock::{ManualClock, SystemEntropy};
    use lambfold_types::{Clock, Timestamp};
    use smoltcp::wire::TcpControl;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::net::UnixDatagram;
    use tokio::sync::mpsc;

    use super::Connection;
    use crate::audit::Traffic;
    use crate::device::Device;
    use crate::life::Life;
    use crate::testing::{Peer, Segment, device, ends, packet, soon};

    /// A connection at work: the function's side, and the other.
    struct Joined {
        function: Peer,
        packets: mpsc::Sender<Vec<u8>>,
        device: Arc<UnixDatagram>,
        other: DuplexStream,
        clock: ManualClock,
    }

    impl Joined {
        /// Of which `room` bytes are on their way to and from the other side.
        async fn with(room: usize) -> Self {
            let (network, device) = device();
            let (near, other) = tokio::io::duplex(room);
            let (packets, mut received) = mpsc::channel(64);
            let (mut function, opening) = Peer::open(ends(40_000, "192.0.2.1:80".parse().unwrap()));
            let clock = ManualClock::at(Timestamp::from_millis(0));
            let life = Arc::new(Life::new(clock.now()));
            let network = Arc::new(Device::new(network));
            let time = Arc::new(clock.clone());
            let mut connection =
                Connection::accept(function.ends, opening, network, time, &SystemEntropy, life);
            tokio::spawn(async move {
                connection.join(Box::new(near), &mut received, &Traffic::default()).await;
            });
            function.take(&packet(&device).await);
            let mut joined = Self { function, packets, device, other, clock };
            joined.send(TcpControl::None, &[]);
            joined
        }

        fn send(&mut self, control: TcpControl, payload: &[u8]) {
            self.packets.try_send(self.function.send(control, payload)).unwrap();
        }

        /// Lets the connection do what it can.
        async fn rest(&self) {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }

        async fn until(&mut self, is: impl Fn(&Peer, &Segment) -> bool) {
            loop {
                let segment = self.function.take(&packet(&self.device).await);
                if is(&self.function, &segment) {
                    return;
                }
            }
        }
    }

    #[tokio::test]
    async fn packets_that_move_nothing_do_not_put_it_to_sleep() {
        let mut joined = Joined::with(1024).await;
        // As many as it takes in one go.
        for _ in 0..super::ROUNDS - 1 {
            joined.send(TcpControl::None, &[]);
        }
        joined.rest().await;
        joined.send(TcpControl::Psh, b"hello");
        let mut heard = [0; 5];
        soon(joined.other.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"hello");
    }

    #[tokio::test]
    async fn all_of_an_upload_arrives_though_the_other_side_had_said_all() {
        let mut joined = Joined::with(1024).await;
        joined.other.shutdown().await.unwrap();
        joined.until(|_, segment| segment.ends).await;
        for _ in 0..8 {
            joined.send(TcpControl::Psh, &[7; 1000]);
        }
        joined.send(TcpControl::Fin, &[]);
        joined.until(Peer::is_acknowledged).await;
        joined.rest().await;
        // Longer than the stack remembers a connection that is over.
        joined.clock.advance(Duration::from_secs(11));
        joined.rest().await;
        let mut heard = Vec::new();
        soon(joined.other.read_to_end(&mut heard)).await.unwrap();
        assert_eq!(heard, [7; 8000]);
    }
}
