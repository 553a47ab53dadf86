//! A layer without its compression, counted and hashed on the way. Which compression it is its first bytes tell.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::{Digest, Sha256};

use crate::error::PackageError;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The middle of the magic of a frame that is to be skipped; its first byte is 0x50 to 0x5f.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];

/// The bytes of the tar archive.
pub(super) struct Uncompressed<R: Read> {
    decoder: Decoder<Source<R>>,
    hash: Sha256,
    counts: Counts,
    limit: u64,
}

/// What has been read so far; shared with who holds no reader any more.
#[derive(Clone, Default)]
pub(super) struct Counts(Rc<Cell<(u64, bool)>>);

impl Counts {
    /// Whether there were more bytes than allowed.
    pub(super) fn exceeded(&self) -> bool {
        self.0.get().1
    }
}

/// The layer, its first bytes in front.
type Source<R> = io::Chain<io::Cursor<Vec<u8>>, BufReader<R>>;

enum Decoder<R> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(Box<Frames<R>>),
}

impl<R: Read> Uncompressed<R> {
    pub(super) fn open(mut layer: BufReader<R>, limit: u64) -> Result<Self, PackageError> {
        // However few of them come at once: who looks through a layer and who unpacks it have to see the same.
        let mut start = Vec::new();
        layer.by_ref().take(ZSTD.len() as u64).read_to_end(&mut start).map_err(PackageError::read)?;
        let layer = io::Cursor::new(start.clone()).chain(layer);
        let decoder = if start.starts_with(GZIP) {
            Decoder::Gzip(Box::new(MultiGzDecoder::new(layer)))
        } else if start.starts_with(ZSTD) || start.get(1..4) == Some(ZSTD_SKIPPABLE) {
            Decoder::Zstd(Box::new(Frames { source: layer, decoder: FrameDecoder::new(), inside: false }))
        } else {
            Decoder::Plain(layer)
        };
        Ok(Self { decoder, hash: Sha256::new(), counts: Counts::default(), limit })
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// Reads what is left, and tells the bytes that there were, and their SHA-256.
    pub(super) fn finish(mut self) -> Result<(u64, [u8; 32]), PackageError> {
        let mut rest = vec![0; 64 * 1024];
        loop {
            match self.read(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(PackageError::read(error)),
            }
        }
        Ok((self.counts.0.get().0, self.hash.finalize().into()))
    }
}

impl<R: Read> Read for Uncompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.decoder {
            Decoder::Plain(layer) => layer.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(frames) => frames.read(buffer),
        }?;
        let total = self.counts.0.get().0 + count as u64;
        let exceeded = total > self.limit;
        self.counts.0.set((total, exceeded));
        if exceeded {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than allowed"));
        }
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// All frames of a zstd stream. How much memory one may ask for is bounded by the decoder.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    /// Whether a frame has begun that has not ended.
    inside: bool,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let broken = |error: FrameDecoderError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        loop {
            if self.inside {
                if self.decoder.can_collect() > 0 {
                    return self.decoder.read(buffer);
                }
                if self.decoder.is_finished() {
                    self.inside = false;
                } else {
                    let step = BlockDecodingStrategy::UptoBlocks(1);
                    self.decoder.decode_blocks(&mut self.source, step).map_err(broken)?;
                }
                continue;
            }
            if self.source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => self.inside = true,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(broken(error)),
            }
        }
    }
}
