//! One message with its descriptors per packet, over a Unix seqpacket socket: boundaries are kept, and the end of the
//! other process is seen as end of file.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message. An environment is 4 KB in AWS's rules, a command line and five layer paths are not much more.
pub(crate) const MAX_BYTES: usize = 128 * 1024;
/// The most descriptors in one message.
pub(crate) const MAX_DESCRIPTORS: usize = 16;

/// A connected pair, closed on exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message. On a non-blocking socket it may fail with `WouldBlock`, having sent nothing.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let bytes = encode(message)?;
    send_bytes(socket, &bytes, descriptors, flags)
}

/// The bytes of a message, or an error if it is too long.
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a message of {} bytes is over the limit of {MAX_BYTES}", bytes.len()),
        ));
    }
    Ok(bytes)
}

/// Sends what [`encode`] made.
pub(crate) fn send_bytes(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors in one message"));
    }
    loop {
        match rustix::net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags | SendFlags::NOSIGNAL)
        {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives one message; `None` when the other side has closed. On a non-blocking socket it may fail with `WouldBlock`.
///
/// A message some of whose descriptors are lost, as when this process may open no more files, comes without any: what is
/// sent next has nothing to do with it, so only what it is about fails.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MAX_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(&socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(received) => break received,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message did not fit"));
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        descriptors.clear();
    }
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, descriptors)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_keep_their_boundaries_and_descriptors() {
        let (near, far) = pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        send(&near, &"first", &[], SendFlags::empty()).unwrap();
        send(&near, &"second", &[writer.as_fd()], SendFlags::empty()).unwrap();
        drop((near, writer));

        let (first, none) = receive::<String>(&far).unwrap().unwrap();
        assert_eq!((first.as_str(), none.len()), ("first", 0));
        let (second, descriptors) = receive::<String>(&far).unwrap().unwrap();
        assert_eq!(second, "second");
        rustix::io::write(&descriptors[0], b"x").unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(&reader, &mut byte).unwrap(), 1);
        assert!(receive::<String>(&far).unwrap().is_none());
    }

    #[test]
    fn a_message_that_lost_descriptors_comes_without_any_and_the_next_one_whole() {
        let (near, far) = pair().unwrap();
        let (_reader, writer) = rustix::pipe::pipe().unwrap();
        let many = [writer.as_fd(); MAX_DESCRIPTORS + 8];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS + 8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&many)));
        rustix::net::sendmsg(&near, &[IoSlice::new(b"\"first\"")], &mut control, SendFlags::empty()).unwrap();
        send(&near, &"second", &[writer.as_fd()], SendFlags::empty()).unwrap();

        let (first, none) = receive::<String>(&far).unwrap().unwrap();
        assert_eq!((first.as_str(), none.len()), ("first", 0));
        let (second, one) = receive::<String>(&far).unwrap().unwrap();
        assert_eq!((second.as_str(), one.len()), ("second", 1));
    }

    #[test]
    fn a_message_over_the_limit_is_refused() {
        assert!(encode(&"x".repeat(MAX_BYTES)).is_err());
    }
}
