//! As much of HTTP/1.1 as runtimes speak: request heads, bodies with a length or in chunks (with trailers),
//! `Expect: 100-continue`, keep-alive. Written out because a general server costs more per invocation than all else.

use std::io;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// The largest head, as on AWS, whose server is Go's: runtimes send causes of errors in one, of which 64 KiB are kept.
const MAX_HEAD_BYTES: usize = 1 << 20;
/// Up to here every connection may have one at once; larger ones of an environment come one after another.
const SMALL_HEAD_BYTES: usize = 192 << 10;
const MAX_HEADERS: usize = 100;
/// How much of a refused body is read and dropped before the connection is closed instead.
const MAX_DROPPED_BYTES: usize = 256 << 20;

/// Method, path and the headers, names in lower case.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: Vec<(String, Vec<u8>)>,
    /// HTTP/1.0, or asked for by the client.
    pub(crate) close: bool,
}

impl Head {
    /// The first header of that name, as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        std::str::from_utf8(value).ok().map(str::trim)
    }
}

/// What stood behind the last chunk, or nothing.
pub(crate) type Trailers = Vec<(String, String)>;

/// How reading a body ended.
#[derive(Debug)]
pub(crate) enum Body {
    /// All of it.
    Whole(Bytes, Trailers),
    /// It is larger than allowed; the rest was dropped.
    TooLarge,
    /// The connection ended first.
    Truncated,
}

/// One connection of a runtime.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: BytesMut,
    /// Whose turn it is to have a large head, of all connections of an environment.
    large_heads: Arc<Semaphore>,
}

#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
}

/// Where in a body its reader stands.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// So many bytes are left, and then there is nothing.
    Sized(usize),
    /// So many bytes of a chunk are left.
    InChunk(usize),
    /// Before the size of a chunk.
    BetweenChunks,
    /// Behind it all.
    End,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, large_heads: Arc<Semaphore>) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(4096), large_heads }
    }

    /// The next request's head; `None` when the client has closed between requests.
    pub(crate) async fn read_head(&mut self) -> io::Result<Option<Head>> {
        let (mut searched, mut turn) = (0, None);
        loop {
            // Parsed once, when it is whole: it may come byte by byte.
            if self.has_empty_line(searched)
                && let Some(head) = self.parse_head()?
            {
                return Ok(Some(head));
            }
            searched = self.buffer.len().saturating_sub(3);
            if self.buffer.len() > MAX_HEAD_BYTES {
                return Err(invalid("the head is too large"));
            }
            if self.buffer.len() > SMALL_HEAD_BYTES && turn.is_none() {
                turn = Some(Arc::clone(&self.large_heads).acquire_owned().await.map_err(io::Error::other)?);
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// Whether one ends behind `from`.
    fn has_empty_line(&self, from: usize) -> bool {
        let rest = &self.buffer[from..];
        let ends = |at: usize| rest[at + 1..].starts_with(b"\n") || rest[at + 1..].starts_with(b"\r\n");
        rest.iter().enumerate().any(|(at, byte)| *byte == b'\n' && ends(at))
    }

    fn parse_head(&mut self) -> io::Result<Option<Head>> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(&self.buffer) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(error) => return Err(invalid(error)),
        };
        let mut head = Head {
            method: request.method.unwrap_or_default().to_owned(),
            path: request.path.unwrap_or_default().to_owned(),
            close: request.version == Some(0),
            headers: Vec::with_capacity(request.headers.len()),
        };
        for header in request.headers.iter() {
            head.headers.push((header.name.to_ascii_lowercase(), header.value.to_vec()));
        }
        match head.header("connection") {
            Some(value) if value.eq_ignore_ascii_case("close") => head.close = true,
            Some(value) if value.eq_ignore_ascii_case("keep-alive") => head.close = false,
            _ => {}
        }
        self.buffer.advance(length);
        Ok(Some(head))
    }

    /// Reads the body that belongs to `head`, up to `limit` bytes.
    pub(crate) async fn read_body(&mut self, head: &Head, limit: usize) -> io::Result<Body> {
        let framing = framing(head)?;
        if let Framing::Length(0) = framing {
            return Ok(Body::Whole(Bytes::new(), Trailers::new()));
        }
        self.encourage(head).await?;
        let read = match framing {
            Framing::Length(length) => self.read_sized(length, limit).await,
            Framing::Chunked => self.read_chunked(limit).await,
        };
        match read {
            Err(error) if is_disconnect(&error) => Ok(Body::Truncated),
            other => other,
        }
    }

    async fn encourage(&mut self, head: &Head) -> io::Result<()> {
        if head.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        Ok(())
    }

    /// Begins the body that belongs to `head`, for [`piece`](Self::piece).
    pub(crate) async fn begin_body(&mut self, head: &Head) -> io::Result<Place> {
        let framing = framing(head)?;
        self.encourage(head).await?;
        Ok(match framing {
            Framing::Length(length) => Place::Sized(length),
            Framing::Chunked => Place::BetweenChunks,
        })
    }

    /// What has arrived of the body, up to `most` bytes; waits if that is nothing. `None` at its end. An error of a
    /// kind that [`is_disconnect`] knows: it ended early.
    pub(crate) async fn piece(&mut self, place: &mut Place, most: usize) -> io::Result<Option<Bytes>> {
        loop {
            let left = match *place {
                Place::End | Place::Sized(0) => return Ok(None),
                Place::Sized(left) | Place::InChunk(left) => left,
                Place::BetweenChunks => {
                    let line = self.read_line().await?;
                    let digits = line.split(';').next().unwrap_or_default().trim();
                    let size = usize::from_str_radix(digits, 16).map_err(invalid)?;
                    *place = if size == 0 { Place::End } else { Place::InChunk(size) };
                    continue;
                }
            };
            if self.buffer.is_empty() && self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let piece = self.buffer.split_to(left.min(most).min(self.buffer.len())).freeze();
            let left = left - piece.len();
            *place = match *place {
                Place::InChunk(_) if left == 0 => {
                    self.end_chunk().await?;
                    Place::BetweenChunks
                }
                Place::InChunk(_) => Place::InChunk(left),
                _ => Place::Sized(left),
            };
            return Ok(Some(piece));
        }
    }

    async fn end_chunk(&mut self) -> io::Result<()> {
        self.read_exactly(2).await?;
        if &self.buffer[..2] != b"\r\n" {
            return Err(invalid("a chunk does not end where it should"));
        }
        self.buffer.advance(2);
        Ok(())
    }

    async fn read_sized(&mut self, length: usize, limit: usize) -> io::Result<Body> {
        if length > limit {
            self.drop_bytes(length).await?;
            return Ok(Body::TooLarge);
        }
        self.read_exactly(length).await?;
        Ok(Body::Whole(self.buffer.split_to(length).freeze(), Trailers::new()))
    }

    async fn read_chunked(&mut self, limit: usize) -> io::Result<Body> {
        let mut body = BytesMut::new();
        let (mut too_large, mut dropped) = (false, 0usize);
        loop {
            let line = self.read_line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).map_err(invalid)?;
            if size == 0 {
                break;
            }
            if too_large || size > limit - body.len() {
                too_large = true;
                body = BytesMut::new();
                dropped = dropped.saturating_add(size);
                if dropped > MAX_DROPPED_BYTES {
                    return Err(invalid("the body is far too large"));
                }
                self.drop_bytes(size).await?;
            } else {
                self.read_exactly(size).await?;
                body.extend_from_slice(&self.buffer[..size]);
                self.buffer.advance(size);
            }
            self.end_chunk().await?;
        }
        let trailers = self.trailers().await?;
        Ok(if too_large { Body::TooLarge } else { Body::Whole(body.freeze(), trailers) })
    }

    /// What stands behind the last chunk.
    pub(crate) async fn trailers(&mut self) -> io::Result<Trailers> {
        let mut trailers = Trailers::new();
        loop {
            let line = self.read_line().await?;
            if line.is_empty() {
                break;
            }
            if trailers.len() == MAX_HEADERS {
                return Err(invalid("too many trailers"));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid("a trailer without a colon"))?;
            trailers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Ok(trailers)
    }

    /// A line without its end. Trailers may carry an error of some size, in base64.
    async fn read_line(&mut self) -> io::Result<String> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(searched + at + 1);
                let line = line.strip_suffix(b"\r\n").unwrap_or(&line[..line.len() - 1]);
                return String::from_utf8(line.to_vec()).map_err(invalid);
            }
            searched = self.buffer.len();
            if searched > 8 << 20 {
                return Err(invalid("the line is too long"));
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn read_exactly(&mut self, length: usize) -> io::Result<()> {
        self.buffer.reserve(length.saturating_sub(self.buffer.len()));
        while self.buffer.len() < length {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    async fn drop_bytes(&mut self, mut length: usize) -> io::Result<()> {
        if length > MAX_DROPPED_BYTES {
            return Err(invalid("the body is far too large"));
        }
        loop {
            let have = self.buffer.len().min(length);
            self.buffer.advance(have);
            length -= have;
            if length == 0 {
                return Ok(());
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(4096);
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Returns when the client has closed its side. Cancel-safe.
    pub(crate) async fn gone(&mut self) {
        let mut byte = [0];
        if self.buffer.is_empty() && matches!(self.stream.peek(&mut byte).await, Ok(0) | Err(_)) {
            return;
        }
        // It sent something while it waits: that is looked at when the wait is over.
        std::future::pending::<()>().await;
    }

    /// Writes head and body together.
    pub(crate) async fn write(&mut self, head: Bytes, body: Bytes) -> io::Result<()> {
        let mut both = head.chain(body);
        while both.has_remaining() {
            if self.stream.write_buf(&mut both).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Writes a whole JSON answer.
    pub(crate) async fn answer(&mut self, status: &str, body: &str, close: bool) -> io::Result<()> {
        let connection = if close { "Connection: close\r\n" } else { "" };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{connection}Content-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(answer.as_bytes()).await
    }
}

fn framing(head: &Head) -> io::Result<Framing> {
    match (head.header("transfer-encoding"), head.header("content-length")) {
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        (None, Some(length)) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().map(Framing::Length).map_err(invalid)
        }
        (None, None) => Ok(Framing::Length(0)),
        _ => Err(invalid("the body's length is not clear")),
    }
}

/// Whether the other side went away.
pub(crate) fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lambfold_clock::SystemClock;
    use lambfold_types::Clock;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    /// Connections of one environment: their clients' ends, and the paths of the heads that were read.
    async fn connections(count: usize) -> (Vec<TcpStream>, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let large_heads = Arc::new(Semaphore::new(1));
        let (read, heads) = mpsc::unbounded_channel();
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let mut connection =
                Connection::new(listener.accept().await.unwrap().0, Arc::clone(&large_heads));
            let read = read.clone();
            tokio::spawn(async move {
                while let Ok(Some(head)) = connection.read_head().await {
                    read.send(head.path).unwrap();
                }
            });
        }
        (clients, heads)
    }

    /// In which what can be read is.
    async fn pause() {
        let clock = SystemClock::new();
        clock.sleep_until(clock.now() + Duration::from_millis(100)).await;
    }

    fn head(path: &str, bytes: usize) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nFiller: {}\r\n\r\n", "x".repeat(bytes)).into_bytes()
    }

    /// Each may be a mebibyte, and a function may open hundreds of connections.
    #[tokio::test]
    async fn large_heads_come_one_after_another_and_small_ones_at_once() {
        let (mut clients, mut heads) = connections(3).await;
        let large = head("/first", 900 << 10);
        let (begin, rest) = large.split_at(300 << 10);
        clients[0].write_all(begin).await.unwrap();
        pause().await;
        let mut other = clients.pop().unwrap();
        let second = tokio::spawn(async move {
            other.write_all(&head("/second", 900 << 10)).await.unwrap();
            other
        });
        clients[1].write_all(&head("/small", 100 << 10)).await.unwrap();
        assert_eq!(heads.recv().await.unwrap(), "/small");
        pause().await;
        assert!(heads.try_recv().is_err(), "the second waits for the first");
        clients[0].write_all(rest).await.unwrap();
        assert_eq!(heads.recv().await.unwrap(), "/first");
        assert_eq!(heads.recv().await.unwrap(), "/second");
        drop(second.await.unwrap());
    }
}
