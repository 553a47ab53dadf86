//! Datagrams between a function's socket and one address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lambfold_types::{Clock, Timestamp};
use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::audit::Traffic;
use crate::device::Device;
use crate::life::Life;
use crate::packet::{self, Ends, Unreachable};

/// How long nothing may be said in either direction.
const QUIET: Duration = Duration::from_mins(2);
/// The same as long as nothing has ever come back (RFC 4787 is about two-way traffic).
const UNANSWERED: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Association {
    ends: Ends,
    socket: UdpSocket,
    pub(crate) life: Arc<Life>,
    answered: AtomicBool,
    pub(crate) traffic: Traffic,
}

impl Association {
    pub(crate) fn open(ends: Ends, now: Timestamp) -> io::Result<Self> {
        let any: IpAddr = if ends.destination.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = std::net::UdpSocket::bind((any, 0))?;
        // Of no other address is anything heard.
        socket.connect(ends.destination)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            ends,
            socket: UdpSocket::from_std(socket)?,
            life: Arc::new(Life::new(now)),
            answered: AtomicBool::new(false),
            traffic: Traffic::default(),
        })
    }

    /// Sends what the function sent. What cannot go now is lost, as datagrams are.
    pub(crate) fn send(&self, payload: &[u8], device: &Device, now: Timestamp) {
        self.life.sign(now);
        // Not through the runtime, which does not know yet that a new socket is ready, and would lose the first datagram.
        let send = || rustix::net::send(&self.socket, payload, SendFlags::DONTWAIT);
        let sent = match send() {
            // What became of an earlier one, in place of this one.
            Err(Errno::CONNREFUSED) => {
                self.report_refusal(device);
                send()
            }
            sent => sent,
        };
        if sent.is_ok() {
            self.traffic.sent(payload.len());
        }
    }

    /// Gives the function what comes back, until nothing has been said for a while.
    pub(crate) async fn receive(&self, device: &Device, clock: &dyn Clock) {
        let mut buffer = Vec::new();
        loop {
            let quiet = if self.answered.load(Ordering::Relaxed) { QUIET } else { UNANSWERED };
            let until = self.life.last_sign() + quiet;
            if until <= clock.now() {
                break;
            }
            tokio::select! {
                ready = self.socket.ready(Interest::READABLE | Interest::ERROR) => match ready {
                    Ok(ready) if ready.is_error() => {
                        if self.take_error() == Some(io::ErrorKind::ConnectionRefused) {
                            self.report_refusal(device);
                        }
                        continue;
                    }
                    Ok(_) => {}
                    Err(_) => break,
                },
                () = clock.sleep_until(until) => continue,
                () = self.life.must_end() => break,
            }
            buffer.resize(64 << 10, 0);
            match self.socket.try_recv(&mut buffer) {
                Ok(length) if packet::fits(&buffer[..length]) => {
                    self.traffic.received(length);
                    self.answered.store(true, Ordering::Relaxed);
                    self.life.sign(clock.now());
                    device.send(&packet::datagram(
                        self.ends.destination,
                        self.ends.source,
                        &buffer[..length],
                    ));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => self.report_refusal(device),
                Err(_) => break,
            }
        }
    }

    /// What the host's system was told of the other side. An error is no datagram: reading alone would not see it.
    fn take_error(&self) -> Option<io::ErrorKind> {
        let taken = self.socket.try_io(Interest::ERROR, || match self.socket.take_error()? {
            Some(error) => Ok(error.kind()),
            // So the next one is waited for.
            None => Err(io::ErrorKind::WouldBlock.into()),
        });
        taken.ok()
    }

    /// Nobody listens there.
    fn report_refusal(&self, device: &Device) {
        let lost = packet::datagram(self.ends.source, self.ends.destination, &[]);
        if let Some(report) = packet::unreachable(&lost, Unreachable::Port) {
            device.send(&report);
        }
    }
}
