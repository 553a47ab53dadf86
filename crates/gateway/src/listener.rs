//! Accepting connections: no more at once than there is room for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lambfold_types::{Clock, SleepFuture};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::Connected;

use crate::Options;
use crate::metrics::{ListenerLabels, Metrics};

/// Before the next attempt when none could be accepted.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// A bound listener with a bound on its connections.
pub(crate) struct Listener {
    socket: TcpListener,
    room: Arc<Semaphore>,
    open: Gauge,
    clock: Arc<dyn Clock>,
    first_byte_within: Duration,
}

impl Listener {
    /// Takes connections from `socket`, as many at once as `options` allow.
    pub(crate) fn new(
        socket: TcpListener,
        name: &'static str,
        options: &Options,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let open = metrics.connections.get_or_create(&ListenerLabels { listener: name }).clone();
        let most = options.max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(most));
        Self { socket, room, open, clock, first_byte_within: options.header_timeout }
    }

    /// The next connection, once there is room for it.
    pub(crate) async fn accept(&self) -> Connection {
        loop {
            let permit = self.room.clone().acquire_owned().await.expect("the semaphore is never closed");
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    // Without it small answers wait for the client's acknowledgement of the one before.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection broke before it was served");
                        continue;
                    }
                    self.open.inc();
                    let place = Place { _permit: permit, open: self.open.clone() };
                    let silence = self.clock.sleep_until(self.clock.now() + self.first_byte_within);
                    return Connection { stream, silence: Some(silence), _place: place };
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

/// An accepted connection, which holds its place until it is dropped. One that does not begin to speak breaks.
pub(crate) struct Connection {
    stream: TcpStream,
    /// When silence has lasted too long; `None` once the client has spoken.
    silence: Option<SleepFuture>,
    _place: Place,
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
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(silence) = &mut self.silence {
            if buf.filled().len() > before {
                self.silence = None;
            } else if read.is_pending() && silence.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
