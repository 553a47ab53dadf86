//! The other side of a function's connection.

use tokio::io::{AsyncRead, AsyncWrite};

/// A connection of the host, or what stands for one.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
