//! Accepting connections: no more at once than there is room for, plain or inside TLS.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use lambfold_api::transport::ServerStream;
use lambfold_types::{Clock, SleepFuture};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;

use crate::metrics::{ListenerLabels, Metrics};
use crate::{Options, PlainFrom, Tls};

/// Before the next attempt when none could be accepted.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// A bound listener with a bound on its connections.
pub(crate) struct Listener {
    socket: TcpListener,
    room: Arc<Semaphore>,
    open: Gauge,
    clock: Arc<dyn Clock>,
    greeting: usize,
    greeting_within: Duration,
    tls: Option<Tls>,
}

impl Listener {
    /// Takes connections from `socket`, as many at once as `options` allow. Clients have to send the `greeting` first
    /// bytes in the time of a first head.
    pub(crate) fn new(
        socket: TcpListener,
        name: &'static str,
        greeting: usize,
        options: &Options,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let open = metrics.connections.get_or_create(&ListenerLabels { listener: name }).clone();
        let most = options.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(most));
        let (greeting_within, tls) = (options.header_timeout, options.tls.clone());
        Self { socket, room, open, clock, greeting, greeting_within, tls }
    }

    /// The next connection, once there is room for it.
    pub(crate) async fn accept(&self) -> Connection {
        loop {
            let permit = self.room.clone().acquire_owned().await.expect("the semaphore is never closed");
            match self.socket.accept().await {
                Ok((stream, from)) => {
                    // Without it small answers wait for the client's acknowledgement of the one before.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection broke before it was served");
                        continue;
                    }
                    self.open.inc();
                    let place = Place { _permit: permit, open: self.open.clone() };
                    let silence = self.clock.sleep_until(self.clock.now() + self.greeting_within);
                    let transport = match &self.tls {
                        None => Transport::Known(ServerStream::Plain(stream)),
                        Some(tls) => {
                            let plain = match tls.plain {
                                PlainFrom::Nobody => false,
                                PlainFrom::Loopback => from.ip().to_canonical().is_loopback(),
                                PlainFrom::Everybody => true,
                            };
                            Transport::Unknown { stream: Some(stream), tls: tls.clone(), plain }
                        }
                    };
                    let secure = Arc::new(AtomicBool::new(false));
                    return Connection {
                        transport,
                        secure,
                        from: from.ip(),
                        greeting: self.greeting,
                        silence: Some(silence),
                        _place: place,
                    };
                }
                Err(error) => {
                    // One connection's failure, or no file handles left: then the others have to end first.
                    tracing::warn!(%error, "a connection could not be accepted");
                    self.clock.sleep_until(self.clock.now() + AFTER_FAILURE).await;
                }
            }
        }
    }
}

/// An accepted connection, which holds its place until it is dropped. One that does not greet breaks.
pub(crate) struct Connection {
    transport: Transport,
    secure: Arc<AtomicBool>,
    from: IpAddr,
    /// How many bytes of the greeting have not come yet.
    greeting: usize,
    /// When silence has lasted too long; `None` once the client has greeted.
    silence: Option<SleepFuture>,
    _place: Place,
}

enum Transport {
    /// The first byte tells TLS from what is none; the stream is taken out once that has come.
    Unknown {
        stream: Option<TcpStream>,
        tls: Tls,
        plain: bool,
    },
    Known(ServerStream<TcpStream>),
}

/// The first byte of a TLS handshake; no request line and no HTTP/2 preface begins with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// What a client is told that speaks plainly where it must not.
const WANTS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n\
    Lambfold wants TLS here: use https:// (setting gateway.tls.plain).\n";

impl Connection {
    /// Set as soon as the client has shown that it speaks TLS.
    pub(crate) fn secure(&self) -> Arc<AtomicBool> {
        self.secure.clone()
    }

    /// Who connected.
    pub(crate) fn from(&self) -> IpAddr {
        self.from
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut ServerStream<TcpStream>>>> {
        if let Transport::Unknown { stream: waiting, tls, plain } = &mut self.transport {
            let Some(stream) = waiting else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
            let mut first = [0];
            ready!(stream.poll_peek(cx, &mut ReadBuf::new(&mut first)))?;
            let is_tls = first[0] == TLS_HANDSHAKE;
            if !is_tls && !*plain {
                // If it does not fit into the socket now, the connection just ends.
                let _ = stream.try_write(WANTS_TLS);
                return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
            }
            let Some(stream) = waiting.take() else { return Poll::Pending };
            self.secure.store(is_tls, Ordering::Release);
            let stream = if is_tls { tls.server.accept(stream) } else { ServerStream::Plain(stream) };
            self.transport = Transport::Known(stream);
        }
        match &mut self.transport {
            Transport::Known(stream) => Poll::Ready(Ok(Pin::new(stream))),
            Transport::Unknown { .. } => Poll::Pending,
        }
    }
}

struct Place {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = match self.poll_stream(cx) {
            Poll::Ready(stream) => stream?.poll_read(cx, buf),
            Poll::Pending => Poll::Pending,
        };
        self.greeting = self.greeting.saturating_sub(buf.filled().len() - before);
        if self.greeting == 0 {
            self.silence = None;
        } else if let Some(silence) = &mut self.silence
            && read.is_pending()
            && silence.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(cx))?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_stream(cx))?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        matches!(&self.transport, Transport::Known(stream) if stream.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_stream(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Known(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Unknown { .. } => Poll::Ready(Ok(())),
        }
    }
}
