//! A full disk, which callers are told of: it is the one failure of a database that they can do something about.

use std::error::Error;
use std::io;

pub(crate) fn is(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

/// The error, as one of the system's if it is that.
pub(crate) fn told(error: rusqlite::Error) -> Box<dyn Error + Send + Sync> {
    if is(&error) { Box::new(io::Error::new(io::ErrorKind::StorageFull, error)) } else { Box::new(error) }
}
