//! An answer as it arrives: head, and a body of known length, in chunks, or up to the end of the connection. The servers
//! of others are measured, too.

use std::ops::Range;

use anyhow::{Context, bail};

/// Headers of an answer, at most.
const HEADERS: usize = 64;

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More has to be read.
    Wants,
    /// It is whole.
    Whole,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunks,
    UntilClosed,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    framing: Framing,
    keeps_alive: bool,
}

/// An answer in a buffer that serves one after the other.
#[derive(Debug, Default)]
pub(super) struct Answer {
    bytes: Vec<u8>,
    head: Option<Head>,
    /// Where the body is, as far as it has come.
    body: Range<usize>,
    /// Where the next chunk begins.
    next_chunk: usize,
}

impl Answer {
    /// Forgets the one before.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.head = None;
        self.body = 0..0;
    }

    /// Where to read to, with room for `bytes` at least.
    pub(super) fn room(&mut self, bytes: usize) -> &mut Vec<u8> {
        self.bytes.reserve(bytes);
        &mut self.bytes
    }

    pub(super) fn status(&self) -> u16 {
        self.head.map_or(0, |head| head.status)
    }

    pub(super) fn keeps_alive(&self) -> bool {
        self.head.is_some_and(|head| head.keeps_alive)
    }

    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(self.body.clone()).unwrap_or_default()
    }

    /// Looks at what has been read since the last time.
    pub(super) fn progress(&mut self) -> anyhow::Result<Progress> {
        let head = match self.head {
            Some(head) => head,
            None => match self.read_head()? {
                Some(head) => head,
                None => return Ok(Progress::Wants),
            },
        };
        let whole = match head.framing {
            Framing::Length(length) => {
                self.body.end = self.body.start + length;
                self.bytes.len() >= self.body.end
            }
            Framing::Chunks => self.read_chunks()?,
            Framing::UntilClosed => {
                self.body.end = self.bytes.len();
                false
            }
        };
        Ok(if whole { Progress::Whole } else { Progress::Wants })
    }

    /// The connection has ended: which is how some bodies do.
    pub(super) fn end(&self) -> anyhow::Result<()> {
        match self.head {
            Some(Head { framing: Framing::UntilClosed, .. }) => Ok(()),
            _ => bail!("the connection broke"),
        }
    }

    fn read_head(&mut self) -> anyhow::Result<Option<Head>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(&self.bytes)? else { return Ok(None) };
        let status = response.code.context("an answer has a status")?;
        let mut head =
            Head { status, framing: Framing::UntilClosed, keeps_alive: response.version == Some(1) };
        for header in response.headers.iter() {
            let value = || std::str::from_utf8(header.value).unwrap_or_default().trim();
            if header.name.eq_ignore_ascii_case("content-length") {
                head.framing = Framing::Length(value().parse()?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                head.framing = Framing::Chunks;
            } else if header.name.eq_ignore_ascii_case("connection") {
                head.keeps_alive = !value().eq_ignore_ascii_case("close");
            }
        }
        head.keeps_alive &= head.framing != Framing::UntilClosed;
        self.head = Some(head);
        self.body = length..length;
        self.next_chunk = length;
        Ok(Some(head))
    }

    /// Moves chunks together; true when the last has come.
    fn read_chunks(&mut self) -> anyhow::Result<bool> {
        loop {
            let rest = self.bytes.get(self.next_chunk..).unwrap_or_default();
            let size = httparse::parse_chunk_size(rest);
            let size = size.map_err(|_| anyhow::anyhow!("the size of a chunk is no number"))?;
            let httparse::Status::Complete((line, size)) = size else { return Ok(false) };
            let start = self.next_chunk + line;
            let end = start + usize::try_from(size)?;
            // Behind each comes an empty line; nobody sends trailers here.
            if self.bytes.len() < end + 2 {
                return Ok(false);
            }
            if size == 0 {
                return Ok(true);
            }
            self.bytes.copy_within(start..end, self.body.end);
            self.body.end += end - start;
            self.next_chunk = end + 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Progress};

    /// Fed byte by byte: it is whole at the last, and not before.
    fn read(text: &str) -> Answer {
        let mut answer = Answer::default();
        for (place, byte) in text.bytes().enumerate() {
            assert_eq!(answer.progress().unwrap(), Progress::Wants, "before byte {place}");
            answer.room(1).push(byte);
        }
        answer
    }

    #[test]
    fn a_body_ends_where_its_length_says() {
        let mut answer = read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        assert_eq!(answer.progress().unwrap(), Progress::Whole);
        assert_eq!((answer.status(), answer.body(), answer.keeps_alive()), (200, &b"{}"[..], true));
        answer.clear();
        answer
            .room(1)
            .extend_from_slice(b"HTTP/1.1 400 Bad\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        assert_eq!(answer.progress().unwrap(), Progress::Whole);
        assert_eq!((answer.status(), answer.body(), answer.keeps_alive()), (400, &b""[..], false));
    }

    #[test]
    fn chunks_are_put_together() {
        let mut answer = read(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n3;x=y\r\n12}\r\n0\r\n\r\n",
        );
        assert_eq!(answer.progress().unwrap(), Progress::Whole);
        assert_eq!((answer.body(), answer.keeps_alive()), (&b"{\"a\":12}"[..], true));
    }

    #[test]
    fn without_a_length_a_body_ends_with_the_connection() {
        let mut answer = read("HTTP/1.0 200 OK\r\n\r\n{}");
        assert_eq!(answer.progress().unwrap(), Progress::Wants);
        answer.end().unwrap();
        assert_eq!((answer.body(), answer.keeps_alive()), (&b"{}"[..], false));
        assert!(read("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}").end().is_err());
    }
}
