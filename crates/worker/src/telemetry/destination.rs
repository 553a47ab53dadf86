//! A server of an extension inside the sandbox, and how batches are put to it: by HTTP as AWS does, or as lines over TCP.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use lambfold_sandbox::SandboxNetwork;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::subscription::Destination;

/// Why a batch has not arrived; for the log.
type Error = String;

pub(super) struct Sender {
    destination: Destination,
    network: Arc<dyn SandboxNetwork>,
    http: Option<SendRequest<Full<Bytes>>>,
    tcp: Option<TcpStream>,
    /// What drives the HTTP connection; ends with this.
    connections: JoinSet<()>,
}

impl Sender {
    pub(super) fn new(destination: Destination, network: Arc<dyn SandboxNetwork>) -> Self {
        Self { destination, network, http: None, tcp: None, connections: JoinSet::new() }
    }

    /// Puts a batch to the server.
    pub(super) async fn send(&mut self, events: &[Bytes]) -> Result<(), Error> {
        match &self.destination {
            Destination::Http { .. } => self.post(array(events)).await,
            Destination::Tcp { port } => {
                let port = *port;
                let stream = match &mut self.tcp {
                    Some(stream) if is_open(stream) => stream,
                    tcp => tcp.insert(self.network.connect(port).await.map_err(text)?),
                };
                stream.write_all(&lines(events)).await.map_err(text)
            }
        }
    }

    /// The next batch goes over a new connection.
    pub(super) fn disconnect(&mut self) {
        (self.http, self.tcp) = (None, None);
        self.connections.abort_all();
    }

    async fn post(&mut self, body: Bytes) -> Result<(), Error> {
        let Destination::Http { host, port, path, put } = self.destination.clone() else { return Ok(()) };
        let request = Request::builder()
            .method(if put { Method::PUT } else { Method::POST })
            .uri(path)
            .header(header::HOST, format!("{host}:{port}"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "lambfold")
            .body(Full::new(body))
            .map_err(text)?;
        while self.connections.try_join_next().is_some() {}
        let mut open = None;
        if let Some(mut http) = self.http.take()
            && http.ready().await.is_ok()
        {
            open = Some(http);
        }
        let mut http = match open {
            Some(http) => http,
            None => self.connect(port).await?,
        };
        let answer = http.send_request(request).await.map_err(text)?;
        let status = answer.status();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            // Read, since the connection is to be used again, and not looked at.
            frame.map_err(text)?;
        }
        self.http = Some(http);
        if status.is_success() { Ok(()) } else { Err(format!("the extension answered {status}")) }
    }

    async fn connect(&mut self, port: u16) -> Result<SendRequest<Full<Bytes>>, Error> {
        let stream = self.network.connect(port).await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        let (http, connection) = handshake(TokioIo::new(stream)).await.map_err(text)?;
        self.connections.spawn(async move {
            // How it ends, its requests tell.
            let _ = connection.await;
        });
        Ok(http)
    }
}

/// Whether the other side has not closed it. What it says is read and dropped, within reason.
fn is_open(stream: &TcpStream) -> bool {
    let mut buffer = [0; 4096];
    for _ in 0..64 {
        match stream.try_read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
    false
}

fn array(events: &[Bytes]) -> Bytes {
    let mut body = BytesMut::with_capacity(events.iter().map(|event| event.len() + 1).sum::<usize>() + 2);
    body.put_u8(b'[');
    for (at, event) in events.iter().enumerate() {
        if at > 0 {
            body.put_u8(b',');
        }
        body.extend_from_slice(event);
    }
    body.put_u8(b']');
    body.freeze()
}

fn lines(events: &[Bytes]) -> Bytes {
    let mut lines = BytesMut::with_capacity(events.iter().map(|event| event.len() + 1).sum());
    for event in events {
        lines.extend_from_slice(event);
        lines.put_u8(b'\n');
    }
    lines.freeze()
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(error: impl ToString) -> Error {
    error.to_string()
}
