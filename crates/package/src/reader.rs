//! One reader for two users: the zip crate and our own look at the central directory.

use std::cell::RefCell;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// The archive, buffered. Clones share it and its position: whoever reads seeks first.
pub(crate) struct Shared<'a, R>(&'a RefCell<BufReader<R>>);

impl<'a, R> Shared<'a, R> {
    pub(crate) fn new(inner: &'a RefCell<BufReader<R>>) -> Self {
        Self(inner)
    }
}

impl<R> Clone for Shared<'_, R> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<R: Read> Read for Shared<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl<R: Read + Seek> Seek for Shared<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let mut inner = self.0.borrow_mut();
        // Keeps what is buffered where it can: headers are read in many small steps.
        if let SeekFrom::Start(target) = to {
            let here = inner.stream_position()?;
            if let Ok(offset) = i64::try_from(i128::from(target) - i128::from(here)) {
                inner.seek_relative(offset)?;
                return Ok(target);
            }
        }
        inner.seek(to)
    }
}
